"""The transform of a map, to be read at any frequency: so a map is turned, shifted, scaled and mirrored at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drgnalign.arrays import FloatArray, FloatVolume
from drgnalign.engine.reference import interpolation_envelope
from drgnalign.fourier import padded_transform

ComplexArray = NDArray[np.complex64]
# Corners of a Fourier voxel as (z, y, x).
CORNERS = [(z, y, x) for z in (0, 1) for y in (0, 1) for x in (0, 1)]


@dataclass(frozen=True)
class Spectrum:
    """Low frequencies of a centred map that was zero-padded.

    Attributes
    ----------
    transform : (2K+1, 2K+1, K+1) complex64
        Element [z + K, y + K, x]; what is at x < 0 is the conjugate of what is opposite. Of the map's integral, so
        that values do not depend on its voxels.
    field : float
        Side of the padded box, Å: neighbours are 1/field apart.
    """

    transform: ComplexArray
    field: float

    @property
    def finest(self) -> float:
        """Highest frequency that is held in every direction, 1/Å."""
        return (self.transform.shape[2] - 2) / self.field

    def at(self, frequencies: FloatArray) -> ComplexArray:
        """Values (n,) at frequencies (n, 3) as (x, y, z) in 1/Å, interpolated linearly."""
        return self._interpolated(frequencies, gradients=False)[0]

    def with_gradients(self, frequencies: FloatArray) -> tuple[ComplexArray, ComplexArray]:
        """Values (n,) and their derivatives (n, 3) by x, y and z, Å, at frequencies (n, 3) in 1/Å."""
        return self._interpolated(frequencies, gradients=True)

    def nearest(self, frequencies: FloatArray) -> ComplexArray:
        """Values (n,) of the nearest Fourier pixels, for a search where padding makes that good enough."""
        places, mirrored = self._places(frequencies)
        values = self.transform.ravel()[self._index(np.rint(places).astype(np.int32))]
        return np.where(mirrored, values.conj(), values)

    def _places(self, frequencies: FloatArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """In Fourier pixels, with x ≥ 0, and which were turned round for that."""
        places = (frequencies * self.field).astype(np.float32)
        mirrored = places[:, 0] < 0
        places[mirrored] *= -1
        return places, mirrored

    def _index(self, corner: NDArray[np.int32]) -> NDArray[np.int32]:
        rows, depth, edge = self.transform.shape[0], self.transform.shape[2], self.transform.shape[2] - 1
        return ((corner[:, 2] + edge) * rows + corner[:, 1] + edge) * depth + corner[:, 0]

    def _interpolated(self, frequencies: FloatArray, gradients: bool) -> tuple[ComplexArray, ComplexArray]:
        places, mirrored = self._places(frequencies)
        corner = np.floor(places).astype(np.int32)
        part, base, values = places - corner, self._index(corner), self.transform.ravel()
        _, rows, depth = self.transform.shape
        found = np.zeros(len(places), np.complex64)
        slopes = np.zeros((3, len(places)), np.complex64)
        for z, y, x in CORNERS:
            value = values[base + (z * rows + y) * depth + x]
            along = [part[:, axis] if step else 1 - part[:, axis] for axis, step in enumerate((x, y, z))]
            found += value * (along[0] * along[1] * along[2])
            if gradients:
                for axis, step in enumerate((x, y, z)):
                    other = along[(axis + 1) % 3] * along[(axis + 2) % 3]
                    slopes[axis] += value * (other if step else -other)
        # the derivative of conj F(-k) is minus that of F there, conjugated
        found = np.where(mirrored, found.conj(), found)
        slopes = np.where(mirrored, -slopes.conj(), slopes) * np.float32(self.field)
        return found, slopes.T


def spectrum_of(volume: FloatVolume, pixel_size: float, finest: float, padding: float) -> Spectrum:
    """Transform a centred map up to a frequency.

    Parameters
    ----------
    volume : (N, N, N) float32
        Zero towards its borders.
    pixel_size : float
        Å.
    finest : float
        1/Å; what is beyond Nyquist is 0.
    padding : float
        Side of the padded box in that of the map.

    Returns
    -------
    Spectrum
        Compensated for linear interpolation.
    """
    box = len(volume)
    padded = 2 * math.ceil(padding * box / 2)
    field = padded * pixel_size
    compensated = volume / interpolation_envelope(box, padded) * np.float32(pixel_size**3)
    return Spectrum(padded_transform(compensated, padded, math.ceil(finest * field) + 2), field)
