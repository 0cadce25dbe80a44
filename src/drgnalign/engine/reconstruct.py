"""Reconstruction by direct Fourier inversion: sums that can be made in parts, and the maps they give."""

from __future__ import annotations

import ctypes
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drgnalign.arrays import FloatVolume
from drgnalign.compiled import Array, load_library
from drgnalign.engine.images import coefficient_batches, poses_of
from drgnalign.engine.kernels import Kernels, kernels_for
from drgnalign.engine.plan import coefficient_plan
from drgnalign.engine.reference import interpolation_envelope
from drgnalign.engine.sampling import padded_box, sphere_rows
from drgnalign.errors import InputError
from drgnalign.files import atomic_path, refuse_emptied
from drgnalign.formats.mrc import ImageSource
from drgnalign.fourier import central_box
from drgnalign.particles import Particles

if TYPE_CHECKING:
    from drgnalign.engine.torch_kernels import TorchKernels

HALVES = (1, 2)
# A voxel that few views reach keeps at least this share of its shell's mean weight, so that it stays small
# instead of being blown up.
LEAST_WEIGHT = 1e-2
# Stands in where no particle was added at all, so that an empty half gives an empty map.
SMALLEST_WEIGHT = 1e-30
# Parts are read in pieces of so many bytes.
PIECE = 2**24
# Sums of a half set, (K, K) starts and lengths of its rows, and K.
_SUMS = (Array(np.float32), Array(np.int32), Array(np.int64), ctypes.c_int)
_LIBRARY = load_library(
    __file__,
    {
        # totals and counts of shells
        "shell_weights": (*_SUMS, Array(np.float64), Array(np.float64)),
        # frequencies held, radius, the least that a shell is divided by, the transform
        "divided": (*_SUMS, ctypes.c_int, ctypes.c_float, Array(np.float64), Array(np.complex64)),
    },
)


class HalfMapSums:
    """Sums of CTF·F/σ² and CTF²/σ² over the particles of each half set, on the padded Fourier grid within Nyquist.

    Parts made of different particles add up to the whole. A half set without particles takes neither memory nor
    disk, so that large boxes can be worked on half by half.

    Parameters
    ----------
    box : int
        Image size N.
    pixel_size : float
        Å.
    padding : float
        See `drgnalign.engine.sampling.oversampling`.
    symmetry : (n, 3, 3) float64, optional
        Rotations of a point group (`drgnalign.symmetry.point_group`); particles are added at all their n poses.
    """

    def __init__(
        self, box: int, pixel_size: float, padding: float, symmetry: NDArray[np.float64] | None = None
    ) -> None:
        self._symmetry = np.eye(3)[None] if symmetry is None else symmetry
        self.box, self.pixel_size, self.padding = box, pixel_size, padding
        self.padded = padded_box(box, padding)
        self._rows = sphere_rows(self.padded)
        # Real and imaginary part of the numerator, the denominator, and what fills up to a power of two.
        self.sums = np.zeros((2, self._rows.voxels, 4), np.float32)
        self.counts = np.zeros(2, dtype=np.int64)

    @property
    def numerator(self) -> NDArray[np.complex64]:
        """Σ CTF·F/σ² (half set, voxel), a view."""
        return self.sums[:, :, :2].view(np.complex64)[:, :, 0]

    @property
    def denominator(self) -> NDArray[np.float32]:
        """Σ CTF²/σ² (half set, voxel), a view."""
        return self.sums[:, :, 2]

    def insert(
        self,
        half: int,
        kernels: Kernels | TorchKernels,
        coefficients: Any,
        poses: NDArray[np.float64],
        shares: NDArray[np.float64] | None = None,
    ) -> None:
        """Add particles of a half set (1 or 2), each with its share (n,) or wholly; coefficients and poses as of
        `drgnalign.engine.kernels.Kernels`."""
        scale = self.padded / self.box
        if shares is not None and (shares != 1).any():
            # both sums are of second order in the coefficients
            coefficients = kernels.scaled(coefficients, np.sqrt(shares))
        for element in self._symmetry:
            alike = np.concatenate([(element @ poses[:, :9].reshape(-1, 3, 3)).reshape(-1, 9), poses[:, 9:]], axis=1)
            kernels.insert(self.sums[half - 1], self._rows.starts, scale, self.box / 2, coefficients, alike)
        self.counts[half - 1] += len(poses)

    def save(self, path: Path) -> None:
        """Write the sums to a file; `part_file` does so half by half."""
        with part_file(path) as add:
            add(self)

    @classmethod
    def load_sum(cls, paths: Sequence[Path], halves: Sequence[int] = HALVES) -> HalfMapSums:
        """Add up the parts in files, in the order of their names, so that the result does not depend on the list.

        Parameters
        ----------
        paths : sequence of Path
            Files of `part_file`; at least one. They are read piece by piece: memory is that of the sums.
        halves : sequence of int
            Half sets to read.

        Returns
        -------
        HalfMapSums

        Raises
        ------
        InputError
            A file is no such part, or the parts were made for different boxes, pixel sizes or paddings.
        """
        total = None
        refuse_emptied(paths)
        for path in sorted(paths, key=lambda path: path.name):
            try:
                with zipfile.ZipFile(path) as archive:
                    box, pixel_size, padding = _read_small(archive, "geometry")
                    total = total or cls(int(box), float(pixel_size), padding)
                    if (box, pixel_size, padding) != (total.box, total.pixel_size, total.padding):
                        raise InputError(path, "it belongs to another reconstruction", "make all parts again")
                    total._add(archive, halves)
            except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
                raise InputError(path, "it is not a part of a reconstruction", "give a star file or parts") from error
        assert total is not None
        return total

    def _add(self, archive: zipfile.ZipFile, halves: Sequence[int]) -> None:
        counts = {half: int(_read_small(archive, f"count_{half}")[0]) for half in halves if _holds(archive, half)}
        for half, count in counts.items():
            _add_array(archive, f"sums_{half}", self.sums[half - 1])
            self.counts[half - 1] += count

    @classmethod
    def total(cls, parts: Iterable[HalfMapSums]) -> HalfMapSums:
        """The sum of parts of one reconstruction, at least one; a single part itself."""
        first, *others = parts
        if not others:
            return first
        total = cls(first.box, first.pixel_size, first.padding)
        for part in (first, *others):
            total.sums += part.sums
            total.counts += part.counts
        return total

    def half_map(self, half: int) -> FloatVolume:
        """The unfiltered map of one half set (1 or 2), as large as the images."""
        held = (self.padded - 1) // 2
        least = LEAST_WEIGHT * self._shell_means(half)
        transform = np.zeros((2 * held + 1, 2 * held + 1, held + 1), dtype=np.complex64)
        _LIBRARY.divided(*self._of_half(half), held, self.padded / 2, least, transform)
        real = central_box(transform, self.padded, self.box)
        return real / interpolation_envelope(self.box, self.padded)

    def weights(self, half: int) -> FloatVolume:
        """Σ CTF²/σ² of one half set at the images' own Fourier pixels.

        Returns
        -------
        (N, N, N//2 + 1) float32
            Order of a transform; 0 well beyond Nyquist.
        """
        edge, scale = self._rows.edge, self.padded / self.box
        result = np.zeros((self.box, self.box, self.box // 2 + 1), np.float32)
        radius = (self.box - 1) // 2
        rows = np.arange(-radius, radius + 1)
        places = np.rint(scale * rows).astype(np.int64) + edge
        columns = np.rint(scale * np.arange(radius + 1)).astype(np.int64)
        for z, place in zip(rows, places, strict=True):
            plane = self._weights(half, int(place) - edge)
            result[z, rows[:, None], np.arange(radius + 1)] = plane[places[:, None], columns]
        return result

    def _weights(self, half: int, z: int) -> NDArray[np.float32]:
        """Denominators of a plane z = −K…K (2K+1, K+1).

        What was inserted at the Hermitian mates V(0, y, z) and conj V(0, −y, −z) is added up.
        """
        denominator, starts, edge = self.denominator[half - 1], self._rows.starts, self._rows.edge
        held = np.arange(edge + 1) < self._rows.lengths[z + edge][:, None]
        begin = int(starts[z + edge, 0])
        plane = np.zeros(held.shape, np.float32)
        plane[held] = denominator[begin : begin + int(held.sum())]
        plane[held[:, 0], 0] += denominator[starts[edge - z][::-1][held[:, 0]]]
        return plane

    def _shell_means(self, half: int) -> NDArray[np.float64]:
        """Mean weight of each shell, and a tiny positive number where a shell is empty."""
        totals, counts = np.zeros((2, 2 * self._rows.edge))
        _LIBRARY.shell_weights(*self._of_half(half), totals, counts)
        means = totals / np.maximum(counts, 1)
        return np.maximum(means, max(float(means.max()) * 1e-6, SMALLEST_WEIGHT))

    def _of_half(self, half: int) -> tuple[Any, ...]:
        """Its sums and where they are, as C is given them."""
        return self.sums[half - 1], self._rows.starts, self._rows.lengths, self._rows.edge


@contextmanager
def part_file(path: Path) -> Iterator[Callable[[HalfMapSums], None]]:
    """Write sums to a file, which appears when the block ends.

    Yields
    ------
    callable
        Adds the half sets of a `HalfMapSums` that have particles; no half set may be added twice.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:

        def write(name: str, array: NDArray[np.generic]) -> None:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)

        def add(sums: HalfMapSums) -> None:
            if "geometry.npy" not in archive.namelist():
                write("geometry", np.array([sums.box, sums.pixel_size, sums.padding]))
            for half in HALVES:
                if sums.counts[half - 1]:
                    write(f"sums_{half}", sums.sums[half - 1])
                    write(f"count_{half}", sums.counts[half - 1 : half])

        yield add


def _holds(archive: zipfile.ZipFile, half: int) -> bool:
    return f"count_{half}.npy" in archive.namelist()


def _read_small(archive: zipfile.ZipFile, name: str) -> NDArray[np.generic]:
    with archive.open(f"{name}.npy") as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _add_array(archive: zipfile.ZipFile, name: str, total: NDArray[Any]) -> None:
    """Add a stored array, of which only a piece at a time is in memory."""
    with archive.open(f"{name}.npy") as member:
        np.lib.format.read_magic(member)
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        if shape != total.shape or dtype != total.dtype:
            raise ValueError(f"{name} is of another shape")
        flat = total.reshape(-1)
        for start in range(0, len(flat), PIECE // dtype.itemsize):
            piece = np.frombuffer(member.read(PIECE), dtype)
            flat[start : start + len(piece)] += piece


def insert_particles(
    particles: Particles,
    source: ImageSource,
    noise: NDArray[np.float64],
    padding: float,
    symmetry: NDArray[np.float64] | None = None,
    device: str = "cpu",
) -> HalfMapSums:
    """Sums of a reconstruction of particles at their present poses.

    Parameters
    ----------
    particles : Particles
    source : ImageSource
    noise : (groups, N//2 + 1) float64
        See `drgnalign.engine.noise.estimate_noise`.
    padding : float
    symmetry : (n, 3, 3) float64, optional
        Of the particle, see `HalfMapSums`.
    device : str
        ``cpu`` or ``cuda``.

    Returns
    -------
    HalfMapSums
    """
    plan = coefficient_plan(particles.box, particles.pixel_size)
    kernels = kernels_for(plan, device)
    sums = HalfMapSums(particles.box, particles.pixel_size, padding, symmetry)
    poses = poses_of(particles)
    shares = particles.occupancies()
    for batch in coefficient_batches(particles, source, plan, kernels, noise, "reconstruct"):
        sums.insert(batch.half, kernels, batch.coefficients, poses[batch.rows], shares[batch.rows])
    kernels.finish()
    return sums
