"""The inner loops of the engine, compiled from kernels.c.

One is for the CTF, one for interpolation and the normal equations, one for insertion, and one searches for a pose.

Only the half x ≥ 0 of a volume's transform is kept; values at x < 0 follow from ``V(-k) = conj V(k)``.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from drgnalign.compiled import Array, load_library
from drgnalign.ctf import LEAST_SINE, CtfTerms
from drgnalign.engine.fft import Fft, aligned, radices_of
from drgnalign.errors import DrgnalignError

if TYPE_CHECKING:
    from drgnalign.engine.plan import CoefficientPlan
    from drgnalign.engine.torch_kernels import TorchKernels

# Coefficients are worked on so many at a time.
LANES = 8
# Of a linear latent model: the most volumes, and what of an image is multiplied with their slices besides.
MOST_VOLUMES, BESIDES = 16, 6
# The sums of `products`: of the five derivatives with each other (upper triangle, row by row), with the model and with
# the data; model·model and data·model.
SUMS = np.dtype(
    [
        ("curvature", np.float64, 15),
        ("with_model", np.float64, 5),
        ("with_data", np.float64, 5),
        ("power", np.float64),
        ("match", np.float64),
    ]
)
# Settings of the search for a pose. A match this much weaker than expected (in amplitude²) hints at a wrong local
# optimum. Damping of a first step, and its factors after a step up and a step down.
WEAK, FIRST_DAMPING, SUCCESS, FAILURE = 0.6, 1e-3, 0.2, 20.0
# Nats: a step that promises less ends a stage. Radians: the longest step, and the rotations of the scan.
SMALL_GAIN, LARGEST_ROTATION, SCAN_ROTATION = 0.2, math.radians(6.0), math.radians(7.0)
# Shifts of the scan in each direction.
GRID = 5
# Images of a batch, and bytes of its coefficients, which stay in the processor's cache.
BATCH, BATCH_BYTES = 64, 2**21


class Reference(NamedTuple):
    """A band-limited half volume in Fourier space.

    Attributes
    ----------
    transform : (2K+1, 2K+1, K+1) complex64
        Element [z + K, y + K, x], x ≥ 0, in Fourier pixels of the padded box.
    scale : float
        Padded box / box: the distance, in those pixels, of one Fourier pixel of an image.
    """

    transform: NDArray[np.complex64]
    scale: float


@dataclass(frozen=True)
class ReferenceSet:
    """References that images are compared with at once: at least one, all of one size."""

    members: tuple[Reference, ...]

    @cached_property
    def packs(self) -> NDArray[np.float32]:
        """Side by side, eight at a time: (packs, 2K+1, 2K+1, K+1, 2, 8), filled up with zeros."""
        shape, number = self.members[0].transform.shape, -(-len(self.members) // LANES)
        # a voxel is one line of the processor's cache
        packs = aligned(number * math.prod(shape) * 2 * LANES).reshape(number, *shape, 2, LANES)
        packs[...] = 0.0
        for index, member in enumerate(self.members):
            assert member.transform.shape == shape and member.scale == self.members[0].scale
            packs[index // LANES, ..., 0, index % LANES] = member.transform.real
            packs[index // LANES, ..., 1, index % LANES] = member.transform.imag
        return packs


class Matches(NamedTuple):
    """What images and references have in common, in nats where both are whitened.

    Attributes
    ----------
    products, powers : (n, K) float64
        Re⟨D, m⟩ of image D and the slice m of a reference; ⟨m, m⟩.
    bulk_products, bulk_powers : (n, K) float64
        The same over the coarsest coefficients alone.
    """

    products: NDArray[np.float64]
    powers: NDArray[np.float64]
    bulk_products: NDArray[np.float64]
    bulk_powers: NDArray[np.float64]


class LatentEquations:
    """Normal equations of the volumes of a linear latent model at the Fourier pixels of a cube.

    Parameters
    ----------
    volumes : int
        V, the mean among them.
    edge : int
        K.
    scale : float
        Padded box / box.

    Attributes
    ----------
    sums : (2K+1, 2K+1, K+1, pairs + 2 filled) float32
        As the kernels add them up; `normal` is a view of them, `data` a copy.
    """

    def __init__(self, volumes: int, edge: int, scale: float) -> None:
        self.volumes, self.edge, self.scale = volumes, edge, scale
        self.filled = -(-volumes // LANES) * LANES
        self.pairs = -(-(volumes * (volumes + 1) // 2) // LANES) * LANES
        self.sums = np.zeros((2 * edge + 1, 2 * edge + 1, edge + 1, self.pairs + 2 * self.filled), np.float32)

    @property
    def normal(self) -> NDArray[np.float32]:
        """Σ CTF²/σ² ⟨z_a z_b⟩ of the pairs a ≤ b (2K+1, 2K+1, K+1, V (V + 1)/2), row by row."""
        return self.sums[..., : self.volumes * (self.volumes + 1) // 2]

    @property
    def data(self) -> NDArray[np.complex64]:
        """Σ CTF F/σ² ⟨z_a⟩ (2K+1, 2K+1, K+1, V)."""
        real = self.sums[..., self.pairs : self.pairs + self.volumes]
        imaginary = self.sums[..., self.pairs + self.filled :][..., : self.volumes]
        return (real + 1j * imaginary).astype(np.complex64)


class Prior(NamedTuple):
    """What is expected of particles before their images are looked at.

    Attributes
    ----------
    rotation, shift : float
        Standard deviation of each component of a change of pose: of the rotation vector in radians, of the shift in
        px. Infinite where nothing is known.
    amplitude : float
        How strong the reference is in the images.
    """

    rotation: float = math.inf
    shift: float = math.inf
    amplitude: float = 1.0


class _Reference(ctypes.Structure):
    _fields_ = (("transform", ctypes.c_void_p), ("edge", ctypes.c_int32), ("scale", ctypes.c_float))


class _Plan(ctypes.Structure):
    _fields_ = (
        ("box", ctypes.c_int32),
        ("count", ctypes.c_int32),
        ("kx", ctypes.c_void_p),
        ("ky", ctypes.c_void_p),
        ("flat", ctypes.c_void_p),
        ("stages", ctypes.c_int32),
        ("counts", ctypes.c_void_p),
        ("steps", ctypes.c_void_p),
        ("largest_shift", ctypes.c_void_p),
        ("scan_count", ctypes.c_int32),
        ("scan_spacing", ctypes.c_double),
    )


class _Settings(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_double)
        for name in (
            *("rotation_precision", "shift_precision", "weak", "first_damping", "success", "failure"),
            *("small_gain", "largest_rotation", "scan_rotation"),
        )
    )


_PLAN, _REFERENCE, _SETTINGS, _FFT = (ctypes.POINTER(one) for one in (_Plan, _Reference, _Settings, Fft))
_INT, _FLOAT = ctypes.c_int, ctypes.c_float
_INTS, _FLOATS, _DOUBLES = (Array(kind) for kind in (np.int32, np.float32, np.float64))
_LIBRARY = load_library(
    __file__,
    {
        "prepare": [
            *(_PLAN, _FFT, _INT, _FLOATS, _FLOATS, _INTS),
            *([_DOUBLES] * 3),
            *(_INTS, _INTS, _FLOATS, _FLOATS, _DOUBLES, _INTS, _FLOAT, _FLOATS),
        ],
        "refine": [_PLAN, _REFERENCE, _INT, _FLOATS, _SETTINGS, _DOUBLES, _DOUBLES],
        "search": [_PLAN, _REFERENCE, _INT, _FLOATS, _INT, _DOUBLES, _INT, *[_DOUBLES] * 3],
        "products": [_PLAN, _REFERENCE, _INT, _INT, _FLOATS, _DOUBLES, _DOUBLES],
        "matches": [_PLAN, _FLOATS, _INT, _INT, _FLOAT, _INT, _INT, _FLOATS, _DOUBLES, _DOUBLES],
        "insert": [_PLAN, _FLOATS, _INTS, _INT, _FLOAT, _FLOAT, _INT, _FLOATS, _DOUBLES],
        "latent_gram": [_PLAN, _FLOATS, _REFERENCE, _INT, _INT, _FLOATS, _DOUBLES, _DOUBLES],
        "latent_insert": [_PLAN, _FLOATS, _INT, _FLOAT, _INT, _INT, _INT, _FLOATS, _DOUBLES, _FLOATS, _FLOATS],
    },
)


@dataclass(frozen=True)
class Search:
    """Settings of the search for a pose, stage by stage.

    Attributes
    ----------
    counts, steps : (stages,) int32
        Leading coefficients, a multiple of 8, and most steps.
    largest_shifts : (stages,) float64
        Of a step, px.
    scan_count : int
        Leading coefficients of the coarse grid on which a weak match is looked for.
    scan_spacing : float
        Of that grid, px.
    """

    counts: NDArray[np.int32]
    steps: NDArray[np.int32]
    largest_shifts: NDArray[np.float64]
    scan_count: int
    scan_spacing: float


class Kernels:
    """The loops for one layout of coefficients: compiled, for the processor.

    `drgnalign.engine.torch_kernels.TorchKernels` has the same for a GPU; `kernels_for` chooses.

    Parameters
    ----------
    box : int
    kx, ky : (m,) float32
        Fourier pixels along columns (≥ 0) and rows; m is a multiple of 8.
    flat : (m,) int32
        Position in the flattened (N, N//2+1) transform.
    search : Search, optional
        Of a refinement.
    """

    def __init__(
        self,
        box: int,
        kx: NDArray[np.float32],
        ky: NDArray[np.float32],
        flat: NDArray[np.int32],
        search: Search | None = None,
    ) -> None:
        self.box, self.count = box, len(kx)
        self.batch_size = max(1, min(BATCH, BATCH_BYTES // (12 * len(kx))))
        # The same for every batch: to ask for memory anew costs more than to fill it.
        self._memory = np.empty((self.batch_size, 3, self.count), np.float32)
        none = np.zeros(0)
        search = search or Search(none.astype(np.int32), none.astype(np.int32), none, 0, 0.0)
        # C sees addresses only: the arrays have to stay.
        self._arrays = [
            np.ascontiguousarray(array, dtype)
            for array, dtype in (
                (kx, np.float32),
                (ky, np.float32),
                (flat, np.int32),
                (search.counts, np.int32),
                (search.steps, np.int32),
                (search.largest_shifts, np.float64),
            )
        ]
        x, y, places, counts, steps, shifts = (array.ctypes.data for array in self._arrays)
        stages = len(search.counts)
        self._plan = _Plan(
            box, len(kx), x, y, places, stages, counts, steps, shifts, search.scan_count, search.scan_spacing
        )
        self._fft = Fft(box) if radices_of(box) else None

    def prepare(
        self,
        images: NDArray[np.float32],
        weights: NDArray[np.float32],
        groups: NDArray[np.int32],
        terms: CtfTerms,
    ) -> NDArray[np.float32]:
        """Whitened coefficients of images and of their CTF.

        Images that were flipped or multiplied by their CTF become what they were before, and odd aberrations are taken
        off. SciPy transforms images whose size is odd, less than 16 or has prime factors other than 2, 3 and 5.

        Parameters
        ----------
        images : (n, N, N) float32
            At most `batch_size`; they are overwritten.
        weights : (groups, m) float32
            1/σ at each coefficient; 0 at those that fill up the layout.
        groups : (n,) int32
            Row of `weights` of each image.
        terms : CtfTerms
            Of the images, at the layout's coefficients.

        Returns
        -------
        (n, 3, m) float32
            Real and imaginary part of F/σ, and CTF/σ; good until the next call.
        """
        data = images if self._fft else scipy.fft.rfft2(images, overwrite_x=True).view(np.float32)
        coefficients = self._memory[: len(images)]
        _LIBRARY.prepare(
            *(self._plan, self._fft, len(images), data, weights, groups),
            *(terms.defocus, terms.phases, terms.envelopes, terms.kinds, terms.aberrated),
            *(terms.even, terms.odd, terms.magnifications, terms.stored, LEAST_SINE, coefficients),
        )
        return coefficients

    def refine(
        self, reference: Reference, coefficients: NDArray[np.float32], poses: NDArray[np.float64], prior: Prior
    ) -> NDArray[np.float64]:
        """Refine the poses (n, 15) of images in place; each stays as it was where nothing better is found.

        What is maximised is the likelihood times the prior of the change.

        Returns
        -------
        (n, 2) float64
            Log-likelihood gained over 'no signal' at the given and the refined pose, in nats.
        """
        scores = np.empty((len(poses), 2))
        settings = _Settings(
            rotation_precision=prior.rotation**-2,
            shift_precision=prior.shift**-2,
            weak=WEAK * prior.amplitude**2,
            first_damping=FIRST_DAMPING,
            success=SUCCESS,
            failure=FAILURE,
            small_gain=SMALL_GAIN,
            largest_rotation=LARGEST_ROTATION,
            scan_rotation=SCAN_ROTATION,
        )
        _LIBRARY.refine(self._plan, _pointer(reference), len(poses), coefficients, settings, _finite(poses), scores)
        return scores

    def search(
        self,
        reference: Reference,
        coefficients: NDArray[np.float32],
        poses: NDArray[np.float64],
        rotations: NDArray[np.float64],
        kept: int,
    ) -> NDArray[np.float64]:
        """Try many rotations, each with the shifts of the scan's grid around the given ones.

        Parameters
        ----------
        reference, coefficients, poses
            Poses (n, 15); their rotations play no part.
        rotations : (m, 3, 3) float64
        kept : int

        Returns
        -------
        (n, kept, 15) float64
            The poses that match best over the scan's coefficients, best first.
        """
        found, reached = np.empty((len(poses), kept, poses.shape[1])), np.empty((len(poses), kept))
        turns = np.ascontiguousarray(rotations, np.float64)
        given = (self._plan, _pointer(reference), len(poses), coefficients, len(turns), turns, kept)
        _LIBRARY.search(*given, np.ascontiguousarray(_finite(poses)), found, reached)
        return found

    def products(
        self, reference: Reference, coefficients: NDArray[np.float32], poses: NDArray[np.float64], count: int
    ) -> NDArray[np.void]:
        """Inner products of model, data and derivatives over the first `count` coefficients: (n,) of `SUMS`."""
        sums = np.empty(len(poses), SUMS)
        numbers = sums.view(np.float64)
        _LIBRARY.products(self._plan, _pointer(reference), count, len(poses), coefficients, _finite(poses), numbers)
        return sums

    def matches(
        self, references: ReferenceSet, coefficients: NDArray[np.float32], poses: NDArray[np.float64], bulk: int = 0
    ) -> Matches:
        """Inner products of images at their poses with each of K references; those over the first `bulk` coefficients
        (a multiple of 8) also by themselves."""
        packs, first = references.packs, references.members[0]
        result = np.empty((len(poses), len(packs), 2, 2, LANES))
        layout = (len(packs), len(first.transform) // 2, first.scale, bulk)
        _LIBRARY.matches(self._plan, packs, *layout, len(poses), coefficients, _finite(poses), result)
        # (n, K) each: products and powers of the first coefficients, and of the others
        parts = result.transpose(2, 3, 0, 1, 4).reshape(2, 2, len(poses), -1)[..., : len(references.members)]
        return Matches(*parts.sum(axis=0), *parts[0])

    def insert(
        self,
        sums: NDArray[np.float32],
        starts: NDArray[np.int32],
        scale: float,
        reach: float,
        coefficients: NDArray[np.float32],
        poses: NDArray[np.float64],
    ) -> None:
        """Add images to the sums of a reconstruction.

        Parameters
        ----------
        sums : (voxels, 4) float32
            Real and imaginary part of Σ CTF·F/σ², Σ CTF²/σ², and nothing: rows x ≥ 0, one behind the other.
        starts : (2K+1, 2K+1) int32
            Voxel (z, y, x) is ``starts[z + K, y + K] + x``.
        scale : float
            Padded box / box.
        reach : float
            Fourier pixels of an image up to which the rows hold something; what lies beyond is not added.
        coefficients, poses
            (n, 3, m), (n, 15).
        """
        rows = (sums, starts, len(starts) // 2, scale, reach)
        _LIBRARY.insert(self._plan, *rows, len(poses), coefficients, _finite(poses))

    def latent_gram(
        self, volumes: ReferenceSet, coefficients: NDArray[np.float32], poses: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Re⟨a, b⟩ of all pairs of what a linear latent model needs of each image.

        Parameters
        ----------
        volumes : ReferenceSet
            V, at most 16: the mean first.
        coefficients, poses
            (n, 3, m), (n, 15).

        Returns
        -------
        (n, V + 6, V + 6) float64
            Slices m of all volumes; derivatives of the mean's slice by the pose (rotation vector in radians, shift in
            px); the whitened image, brought back to the origin.
        """
        mean, number = volumes.members[0], len(volumes.members)
        if number > MOST_VOLUMES:
            raise ValueError(f"{number} volumes, of at most {MOST_VOLUMES}")
        grams = np.empty((len(poses), number + BESIDES, number + BESIDES))
        _LIBRARY.latent_gram(
            self._plan, volumes.packs, _pointer(mean), number, len(poses), coefficients, _finite(poses), grams
        )
        return grams

    def latent_insert(
        self,
        equations: LatentEquations,
        coefficients: NDArray[np.float32],
        poses: NDArray[np.float64],
        first: NDArray[np.float64],
        second: NDArray[np.float64],
    ) -> None:
        """Add images to the normal equations of all volumes of a linear latent model.

        Parameters
        ----------
        equations : LatentEquations
            Of V volumes.
        coefficients, poses
            (n, 3, m), (n, 15).
        first, second : (n, V), (n, V, V) float64
            Moments of each image's latent variables, that of the mean among them.
        """
        pairs = np.zeros((len(poses), equations.pairs), np.float32)
        a, b = np.triu_indices(equations.volumes)
        pairs[:, : len(a)] = second[:, a, b]
        ones = np.zeros((len(poses), equations.filled), np.float32)
        ones[:, : equations.volumes] = first
        layout = (equations.edge, equations.scale, equations.pairs, equations.filled)
        _LIBRARY.latent_insert(
            self._plan, equations.sums, *layout, len(poses), coefficients, _finite(poses), pairs, ones
        )

    def scaled(self, coefficients: NDArray[np.float32], factors: NDArray[np.float64]) -> NDArray[np.float32]:
        """Coefficients (n, 3, m), each image's times a factor (n,)."""
        return coefficients * factors.astype(np.float32)[:, None, None]

    def finish(self) -> None:
        """What was inserted is in the sums: nothing is left to do (a GPU has to bring it there)."""


def _finite(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The poses: where one is not finite, C would read and write outside of the volume."""
    if not np.isfinite(poses).all():
        raise DrgnalignError(None, "a pose is not a finite number", "report this as a bug in drgnalign")
    return poses


def _pointer(reference: Reference) -> _Reference:
    transform = reference.transform
    assert transform.dtype == np.complex64 and transform.flags.c_contiguous
    if 2 * transform.size >= 2**31:
        problem = f"a reference of {len(transform)} Fourier pixels a side is larger than the kernels can count"
        raise DrgnalignError(None, problem, "use a coarser limit, a smaller box or a smaller --mask_diameter")
    return _Reference(transform.ctypes.data, len(transform) // 2, reference.scale)


def stacked_poses(
    rotations: NDArray[np.float64], displacements: NDArray[np.float64], magnifications: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Poses as the loops have them, (n, 15): rotation matrix (n, 3, 3), row by row, displacement (n, 2) in px, and how
    the images are magnified (n, 4), see `drgnalign.ctf.stretches`."""
    return np.concatenate([rotations.reshape(-1, 9), displacements, magnifications], axis=1)


def kernels_for(plan: CoefficientPlan, device: str, search: Search | None = None) -> Kernels | TorchKernels:
    """The loops for a device: ``cpu`` or ``cuda``."""
    layout = (plan.box, plan.kx, plan.ky, plan.flat, search)
    if device == "cpu":
        return Kernels(*layout)
    try:
        from drgnalign.engine.torch_kernels import TorchKernels
    except ImportError as error:
        raise DrgnalignError(None, "a GPU needs PyTorch, which is not here", "install drgnalign[cryodrgn]") from error
    return TorchKernels(*layout, device=device)
