"""The particle of a map, taken out of its box: what is fitted, wherever it lies and however it is sampled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy

from drgnalign.arrays import FloatArray, FloatVolume
from drgnalign.fourier import rfft_volume
from drgnalign.known.read import level_around
from drgnalign.known.spectrum import ComplexArray, Spectrum, spectrum_of

# Voxels of the window around what is in the mask; padding that makes the nearest Fourier pixel, and linear
# interpolation between pixels, good enough.
MARGIN = 2
SEARCH_PADDING, PADDING = 3.0, 2.0
# Å of frequency that shells of whitening are wide, in parts of 1/diameter.
SHELLS_A_DIAMETER = 0.5


@dataclass(frozen=True)
class Body:
    """Masked density in a window around its centre of mass.

    Attributes
    ----------
    density : (n, n, n) float32
        n even; centred at n//2.
    pixel_size : float
        Å.
    centre : (3,) float64
        Of the window, as (x, y, z) in Å from the centre of the map's own box.
    """

    density: FloatVolume
    pixel_size: float
    centre: FloatArray

    @cached_property
    def diameter(self) -> float:
        """Å, of an even ball with the same radius of gyration."""
        axis = (np.arange(len(self.density)) - len(self.density) // 2) * self.pixel_size
        weight = np.abs(self.density)
        squares = sum(
            float((weight.sum(axis=tuple(other for other in range(3) if other != along)) * axis**2).sum())
            for along in range(3)
        )
        return 2 * math.sqrt(5 / 3 * squares / float(weight.sum()))

    @property
    def nyquist(self) -> float:
        """1/Å."""
        return 0.5 / self.pixel_size

    def spectrum(self, finest: float, padding: float = PADDING) -> Spectrum:
        """The transform up to a frequency (1/Å), with amplitudes taken off (`whitened`)."""
        found = spectrum_of(self.density, self.pixel_size, min(finest, self.nyquist), padding)
        return whitened(found, SHELLS_A_DIAMETER / self.diameter)

    def coefficients(self, finest: float) -> tuple[FloatArray, ComplexArray]:
        """Frequencies (m, 3), 1/Å, and values (m,) of the window's own Fourier pixels in a half space, up to one.

        Amplitudes are taken off.
        """
        box = len(self.density)
        transform = rfft_volume(self.density)
        full, half = np.fft.fftfreq(box, self.pixel_size), np.fft.rfftfreq(box, self.pixel_size)
        z, y, x = np.meshgrid(full, full, half, indexing="ij", sparse=True)
        radius = np.sqrt(x**2 + y**2 + z**2)
        inside = (radius > 0) & (radius <= finest) & ((x > 0) | (y > 0) | ((y == 0) & (z > 0)))
        places = [np.broadcast_to(axis, inside.shape)[inside] for axis in (x, y, z)]
        values, shells = transform[inside], np.rint(radius[inside] * box * self.pixel_size).astype(np.int64)
        amplitude = np.sqrt(np.bincount(shells, np.abs(values) ** 2) / np.maximum(np.bincount(shells), 1))
        return np.stack(places, axis=1), (values / np.maximum(amplitude, 1e-30)[shells]).astype(np.complex64)


def body_of(volume: FloatVolume, pixel_size: float, mask: FloatVolume) -> Body:
    """Take what is in a mask out of a map.

    Parameters
    ----------
    volume, mask : (N, N, N) float32
    pixel_size : float
        Å.

    Returns
    -------
    Body
    """
    masked = (volume - level_around(volume, mask)) * mask
    middle = np.rint(scipy.ndimage.center_of_mass(np.maximum(masked, 0))).astype(np.int64)
    occupied = [np.flatnonzero(mask.any(axis=tuple(o for o in range(3) if o != along))) for along in range(3)]
    reach = max(max(m - o[0], o[-1] - m) for m, o in zip(middle, occupied, strict=True))
    side = 2 * scipy.fft.next_fast_len(int(reach) + MARGIN)
    centre = (middle - np.array(volume.shape) // 2)[::-1] * pixel_size
    return Body(window(masked, middle, side), pixel_size, centre.astype(np.float64))


def window(volume: FloatVolume, middle: FloatArray, side: int) -> FloatVolume:
    """The cube (side, side, side) around a voxel (z, y, x), with zeros where it leaves the volume."""
    taken = np.zeros((side,) * 3, np.float32)
    starts = [int(m) - side // 2 for m in middle]
    here = tuple(slice(max(s, 0), min(s + side, n)) for s, n in zip(starts, volume.shape, strict=True))
    there = tuple(slice(h.start - s, h.stop - s) for h, s in zip(here, starts, strict=True))
    taken[there] = volume[here]
    return taken


def whitened(spectrum: Spectrum, width: float) -> Spectrum:
    """The same with amplitudes divided by their root mean square in shells of a width (1/Å)."""
    depth = spectrum.transform.shape[2]
    axis = np.arange(-(depth - 1), depth) / spectrum.field
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + (np.arange(depth) / spectrum.field) ** 2)
    place = radius / width
    shells = np.rint(place).astype(np.int64)
    power = np.bincount(shells.ravel(), np.abs(spectrum.transform.ravel()) ** 2) / np.bincount(shells.ravel())
    amplitude = np.sqrt(np.maximum(power, 1e-12 * power.max()))
    smooth = np.exp(np.interp(place, np.arange(len(amplitude)), np.log(amplitude)))
    return Spectrum((spectrum.transform / smooth).astype(np.complex64), spectrum.field)
