"""Reconstruction by direct Fourier inversion: sums that can be made in parts, and the maps they give."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drgnalign.engine.images import Batch, coefficient_batches
from drgnalign.engine.kernels import Image, insert_slice, new_phases
from drgnalign.engine.plan import CoefficientPlan, coefficient_plan, padded_box
from drgnalign.engine.reference import interpolation_envelope
from drgnalign.errors import InputError
from drgnalign.files import atomic_path
from drgnalign.formats.mrc import ImageSource
from drgnalign.fourier import irfft_volume
from drgnalign.particles import Particles

FloatVolume = NDArray[np.float32]
# A voxel that few views reach keeps at least this share of its shell's mean weight, so that it stays small
# instead of being blown up.
LEAST_WEIGHT = 1e-2
# Stands in where no particle was added at all, so that an empty half gives an empty map.
SMALLEST_WEIGHT = 1e-30


class HalfMapSums:
    """Sums of CTF·F/σ² and CTF²/σ² over the particles of each half set, on the padded Fourier grid.

    Parts made of different particles add up to the whole.

    Parameters
    ----------
    box : int
        Image size N.
    pixel_size : float
        Å.
    padding : float
        See `drgnalign.engine.plan.oversampling`.
    """

    def __init__(self, box: int, pixel_size: float, padding: float) -> None:
        self.box, self.pixel_size, self.padding = box, pixel_size, padding
        self.padded = padded_box(box, padding)
        edge = math.ceil(self.padded / 2) + 1
        shape = (2, 2 * edge + 1, 2 * edge + 1, edge + 1)
        # Double precision, so that the split into chunks leaves no trace in the maps: with single precision the poses
        # refined against them differed by up to 0.004 degrees.
        self.numerator = np.zeros(shape, dtype=np.complex128)
        self.denominator = np.zeros(shape, dtype=np.float64)
        self.counts = np.zeros(2, dtype=np.int64)
        self._phases = new_phases(box)

    def insert(
        self,
        plan: CoefficientPlan,
        batch: Batch,
        rotations: NDArray[np.float64],
        displacements: NDArray[np.float64],
        weights: NDArray[np.float32],
        half_sets: NDArray[np.int64],
    ) -> None:
        """Add a batch of particles.

        Parameters
        ----------
        plan : CoefficientPlan
        batch : Batch
        rotations : (n, 3, 3) float64
        displacements : (n, 2) float64
            Pixels.
        weights : (n, m) float32
            1/σ² at each coefficient.
        half_sets : (n,) int
            1 or 2.
        """
        scale = self.padded / self.box
        for i, half in enumerate(half_sets - 1):
            image = Image(self.box, plan.kx, plan.ky, batch.data[i], batch.ctf[i])
            insert_slice(
                self.numerator[half],
                self.denominator[half],
                scale,
                image,
                weights[i],
                rotations[i],
                displacements[i],
                self._phases,
            )
            self.counts[half] += 1

    def save(self, path: Path) -> None:
        """Write the sums to an ``.npz`` file."""
        # Written through a file object: numpy would add a suffix to the name.
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                geometry=np.array([self.box, self.pixel_size, self.padding]),
                numerator=self.numerator,
                denominator=self.denominator,
                counts=self.counts,
            )

    @classmethod
    def load_sum(cls, paths: Sequence[Path]) -> HalfMapSums:
        """Add up the parts in files, in the order of their names, so that the result does not depend on the list.

        Parameters
        ----------
        paths : sequence of Path
            Files of `save`; at least one.

        Returns
        -------
        HalfMapSums

        Raises
        ------
        InputError
            A file is no such part, or the parts were made for different boxes, pixel sizes or paddings.
        """
        first, *others = sorted(paths, key=lambda path: path.name)
        part = _read_part(first)
        geometry = part["geometry"]
        total = cls(int(geometry[0]), float(geometry[1]), float(geometry[2]))
        total._add(part)
        for path in others:
            part = _read_part(path)
            if not np.array_equal(part["geometry"], geometry):
                raise InputError(path, "it belongs to another reconstruction", "make all parts again")
            total._add(part)
        return total

    def _add(self, part: dict[str, Any]) -> None:
        self.numerator += part["numerator"]
        self.denominator += part["denominator"]
        self.counts += part["counts"]

    def half_map(self, half: int) -> FloatVolume:
        """The unfiltered map of one half set (1 or 2), as large as the images."""
        numerator, denominator = _complete_plane(self.numerator[half - 1], self.denominator[half - 1])
        floor = LEAST_WEIGHT * self._shell_means(denominator)
        return self._to_real(numerator / np.maximum(denominator, floor))

    def _radii(self) -> NDArray[np.float32]:
        """Distance of each padded Fourier pixel from zero."""
        edge = self.numerator.shape[1] // 2
        axis = np.arange(-edge, edge + 1, dtype=np.float32)
        return np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, edge:] ** 2)

    def _shell_means(self, denominator: NDArray[np.float64]) -> NDArray[np.float32]:
        """Mean weight of each voxel's shell, and a tiny positive number where a shell is empty."""
        shells = np.rint(self._radii()).astype(np.int64)
        totals = np.bincount(shells.ravel(), weights=denominator.ravel())
        means = totals / np.maximum(np.bincount(shells.ravel()), 1)
        tiny = max(float(means.max()) * 1e-6, SMALLEST_WEIGHT)
        return np.maximum(means, tiny).astype(np.float32)[shells]

    def _to_real(self, half_volume: NDArray[np.complex128]) -> FloatVolume:
        """Inverse transform within Nyquist, cut out the central box, undo the interpolation's envelope."""
        padded, box = self.padded, self.box
        edge = half_volume.shape[0] // 2
        held = (padded - 1) // 2
        signed = np.arange(-held, held + 1)
        within = self._radii() <= padded / 2
        transform = np.zeros((padded, padded, padded // 2 + 1), dtype=np.complex64)
        central = slice(edge - held, edge + held + 1)
        transform[np.ix_(signed % padded, signed % padded, np.arange(held + 1))] = (half_volume * within)[
            central, central, : held + 1
        ]
        start = padded // 2 - box // 2
        window = slice(start, start + box)
        real = irfft_volume(transform, padded)[window, window, window]
        return (real / interpolation_envelope(box, padded)).astype(np.float32)


def _read_part(path: Path) -> dict[str, Any]:
    """The arrays of one file of `HalfMapSums.save`."""
    try:
        with np.load(path) as part:
            return {name: part[name] for name in ("geometry", "numerator", "denominator", "counts")}
    except (ValueError, KeyError, OSError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(path, "it is not a part of a reconstruction", "give a star file or parts") from error


def _complete_plane(
    numerator: NDArray[np.complex128], denominator: NDArray[np.float64]
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Add to the plane x = 0 what was inserted at its Hermitian mates, V(0, y, z) and conj V(0, −y, −z)."""
    numerator, denominator = numerator.copy(), denominator.copy()
    numerator[:, :, 0] += numerator[::-1, ::-1, 0].conj()
    denominator[:, :, 0] += denominator[::-1, ::-1, 0]
    return numerator, denominator


def insert_particles(
    particles: Particles, source: ImageSource, noise: NDArray[np.float64], padding: float
) -> HalfMapSums:
    """Sums of a reconstruction of particles at their present poses.

    Parameters
    ----------
    particles : Particles
    source : ImageSource
    noise : (groups, N//2 + 1) float64
        See `drgnalign.engine.noise.estimate_noise`.
    padding : float

    Returns
    -------
    HalfMapSums
    """
    plan = coefficient_plan(particles.box, particles.pixel_size)
    sums = HalfMapSums(particles.box, particles.pixel_size, padding)
    rotations, displacements = particles.rotations(), particles.displacements()
    half_sets, groups = particles.half_sets(), particles.optics_rows()
    weights = (1.0 / noise)[:, plan.shell].astype(np.float32)
    for batch in coefficient_batches(particles, source, plan, "reconstruct"):
        rows = batch.rows
        sums.insert(plan, batch, rotations[rows], displacements[rows], weights[groups[rows]], half_sets[rows])
    return sums
