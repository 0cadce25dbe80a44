"""A linear latent model of the maps that images show: V = V₀ + Σ z_k U_k, fitted by expectation maximisation.

Probabilistic principal component analysis of volumes (Tipping and Bishop 1999, J. R. Stat. Soc. B 61, 611) that are
seen in projections: an image is D = (1 + a) m₀ + Σ z_k m_k + Σ w_p ∂m₀/∂p + noise, m the whitened slices at its pose,
with latent variables z ~ N(0, 1), contrast 1 + a and errors w of the pose. All are normal, so that all that is known of
an image is the products of these rows (`drgnalign.engine.kernels.Kernels.latent_gram`). Each half set has a model of
its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drgnalign.arrays import FloatArray, FloatVolume
from drgnalign.engine.images import coefficient_batches, poses_of
from drgnalign.engine.kernels import BESIDES, Kernels, LatentEquations, ReferenceSet
from drgnalign.engine.plan import coefficient_plan
from drgnalign.engine.reconstruct import HALVES
from drgnalign.engine.reference import interpolation_envelope, reference_edge, transform_reference
from drgnalign.engine.sampling import oversampling, padded_box
from drgnalign.formats.mrc import ImageSource
from drgnalign.fourier import central_box
from drgnalign.particles import Particles
from drgnalign.validation.fsc import fourier_shell_correlation

# A voxel of a shell that few views reach keeps this share of its shell's mean weight.
LEAST_WEIGHT = 1e-3
# Correlations of shells are averaged over so many.
SMOOTHED = 3


class Iteration(NamedTuple):
    """Of the fit: to which resolution images are compared (Å); whether latent variables are taken as known where they
    are most probable, which keeps weak components from fading; and the least correlation of half sets that a
    component's shells are credited with."""

    limit: float
    hard: bool
    floor: float


SCHEDULE = (
    *[Iteration(40.0, False, 0.3)] * 5,
    *[Iteration(20.0, False, 0.1)] * 8,
    *[Iteration(14.0, True, 0.05)] * 2,
    *[Iteration(14.0, False, 0.02)] * 3,
)


class Spreads(NamedTuple):
    """Standard deviations of what is no heterogeneity: contrast, rotation vectors (radians) and shifts (px) of given
    poses; 0 where there is none."""

    contrast: float = 0.35
    rotation: float = 0.0
    shift: float = 0.0


USUAL_SPREADS = Spreads()


@dataclass(frozen=True)
class LinearModel:
    """The maps of a model.

    Attributes
    ----------
    volumes : dict of int to (1 + q, N, N, N) float32
        By half set: V₀ and U_k, of which z_k ~ N(0, 1); components of the half sets correspond.
    spreads : Spreads
    limit : float
        To which images were compared, Å.
    """

    volumes: dict[int, NDArray[np.float32]]
    spreads: Spreads
    limit: float


class Known(NamedTuple):
    """What is known of images' latent variables: ln p = r·z − ½ z·A z and a constant, all else integrated out.

    Attributes
    ----------
    linear, quadratic : (N, q), (N, q, q) float64
        r and A.
    """

    linear: FloatArray
    quadratic: FloatArray

    def means(self) -> FloatArray:
        """Of z (N, q), given the image and z ~ N(0, 1)."""
        own = self.quadratic + np.eye(self.linear.shape[1])
        return np.asarray(np.linalg.solve(own, self.linear[..., None])[..., 0], np.float64)


class _Images:
    """Whitened coefficients of all images to one resolution, and the layout of volumes for it."""

    def __init__(
        self,
        particles: Particles,
        source: ImageSource,
        noise: FloatArray,
        mask: FloatVolume,
        diameter: float,
        limit: float,
    ) -> None:
        self.particles, self.limit, self.mask = particles, limit, mask
        self.plan = coefficient_plan(particles.box, particles.pixel_size, limit).within_limit()
        self.kernels = Kernels(particles.box, self.plan.kx, self.plan.ky, self.plan.flat)
        self.padding = oversampling(particles.box, particles.pixel_size, diameter)
        self.poses = poses_of(particles)
        self._read = lambda: coefficient_batches(particles, source, self.plan, self.kernels, noise, "fit")

    def looked_at(
        self, volumes: Mapping[int, NDArray[np.float32]]
    ) -> Iterator[tuple[int, NDArray[np.int64], Any, FloatArray]]:
        """Half set, rows, coefficients and products of a batch with the volumes for its half set."""
        sets = {half: self.references(of_half) for half, of_half in volumes.items()}
        for batch in self._read():
            grams = self.kernels.latent_gram(sets[batch.half], batch.coefficients, self.poses[batch.rows])
            yield batch.half, batch.rows, batch.coefficients, grams

    def references(self, volumes: NDArray[np.float32]) -> ReferenceSet:
        ones = np.ones(self.particles.box // 2 + 1)
        given = (self.mask, ones, self.particles.pixel_size, self.limit, self.padding)
        return ReferenceSet(tuple(transform_reference(volume, *given) for volume in volumes))

    def equations(self, volumes: int) -> LatentEquations:
        box, pixel_size = self.particles.box, self.particles.pixel_size
        edge = reference_edge(box, pixel_size, self.limit, self.padding)
        return LatentEquations(volumes, edge, padded_box(box, self.padding) / box)


def _precisions(number: int, spreads: Spreads) -> FloatArray:
    """1/variance of contrast, latent variables, and errors of the pose."""
    spread = np.array([spreads.contrast, *[1.0] * number, *[spreads.rotation] * 3, *[spreads.shift] * 2])
    # what does not vary is held at its mean
    return np.maximum(spread, 1e-6) ** -2


def _normal_equations(grams: FloatArray, spreads: Spreads) -> tuple[FloatArray, FloatArray]:
    """Precision (n, m, m) and right side (n, m) of contrast less 1, latent variables and errors of the pose."""
    precision = 2 * grams[:, :-1, :-1] + np.diag(_precisions(grams.shape[1] - 1 - BESIDES, spreads))
    return precision, 2 * (grams[:, :-1, -1] - grams[:, :-1, 0])


def _posterior(grams: FloatArray, spreads: Spreads) -> tuple[FloatArray, FloatArray]:
    """Mean (n, m) and covariance (n, m, m) of contrast less 1, latent variables and errors of the pose."""
    precision, residual = _normal_equations(grams, spreads)
    covariance = np.asarray(np.linalg.inv(precision), np.float64)
    return np.einsum("nab,nb->na", covariance, residual), covariance


def _known(grams: FloatArray, spreads: Spreads) -> Known:
    """Of the latent variables, contrast and pose integrated out."""
    precision, residual = _normal_equations(grams, spreads)
    ours = np.arange(1, grams.shape[1] - BESIDES)
    others = np.setdiff1d(np.arange(precision.shape[1]), ours)
    # the prior of the latent variables is not what an image knows
    precision[:, ours, ours] -= 1.0
    across = precision[:, ours[:, None], others]
    gone = np.linalg.solve(precision[:, others[:, None], others], np.swapaxes(across, 1, 2))
    quadratic = precision[:, ours[:, None], ours] - across @ gone
    return Known(residual[:, ours] - np.einsum("noq,no->nq", gone, residual[:, others]), quadratic)


def fit_linear(
    particles: Particles,
    source: ImageSource,
    noise: FloatArray,
    means: Mapping[int, FloatVolume],
    mask: FloatVolume,
    diameter: float,
    components: int = 8,
    spreads: Spreads = USUAL_SPREADS,
    schedule: Sequence[Iteration] = SCHEDULE,
    seed: int = 0,
) -> LinearModel:
    """Fit a model to the images of each half set.

    Parameters
    ----------
    particles : Particles
        At the poses to believe in, junk left out.
    source : ImageSource
    noise : (groups, N//2 + 1) float64
        See `drgnalign.engine.noise.estimate_noise`.
    means : mapping of int to (N, N, N) float32
        Of each half set, unfiltered, in the images' grey values.
    mask : (N, N, N) float32
        Soft, round all that may move.
    diameter : float
        Of the particle, Å.
    components : int
        q.
    spreads : Spreads
        That are allowed for.
    schedule : sequence of Iteration
    seed : int
        Of the first latent variables, which are random.

    Returns
    -------
    LinearModel
    """
    rng = np.random.default_rng(seed)
    volumes = {
        half: np.concatenate([means[half][None], np.zeros((components, *mask.shape), np.float32)]) for half in HALVES
    }
    counts = {half: int((particles.half_sets() == half).sum()) for half in HALVES}
    images: _Images | None = None
    correlations = None
    guessed: FloatArray | None = rng.normal(size=(len(particles), components))
    for iteration in schedule:
        if images is None or images.limit != iteration.limit:
            images = _Images(particles, source, noise, mask, diameter, iteration.limit)
        equations = {half: images.equations(1 + components) for half in HALVES}
        moments = {half: np.zeros((1 + components, 1 + components)) for half in HALVES}
        for half, rows, coefficients, grams in images.looked_at(volumes):
            first, second = _moments(grams, spreads, iteration.hard, None if guessed is None else guessed[rows])
            images.kernels.latent_insert(equations[half], coefficients, images.poses[rows], first, second)
            moments[half] += second.sum(axis=0)
        guessed = None
        volumes = {half: _solved(equations[half], images, correlations, iteration.floor) for half in HALVES}
        volumes = _aligned({half: _standardised(volumes[half], moments[half] / counts[half]) for half in HALVES})
        correlations = _correlations(volumes)
    return LinearModel(volumes, spreads, schedule[-1].limit)


def _moments(
    grams: FloatArray, spreads: Spreads, hard: bool, guessed: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """⟨y⟩ and ⟨y yᵀ⟩ of y = (contrast, z)."""
    volumes = grams.shape[1] - BESIDES
    if guessed is not None:
        first = np.concatenate([np.ones((len(grams), 1)), guessed], axis=1)
        return first, first[:, :, None] * first[:, None, :]
    means, covariances = _posterior(grams, spreads)
    first = means[:, :volumes]
    first[:, 0] += 1.0
    second = first[:, :, None] * first[:, None, :]
    return first, second if hard else second + covariances[:, :volumes, :volumes]


def _solved(
    equations: LatentEquations, images: _Images, correlations: FloatArray | None, floor: float
) -> NDArray[np.float32]:
    """Mean and components (1 + q, N, N, N) of one half set, in the mask."""
    number, edge = equations.volumes, equations.edge
    normal, data = equations.normal.astype(np.float64), equations.data.astype(np.complex128)
    # both members of the Hermitian pairs on x = 0
    normal[:, :, 0] += normal[::-1, ::-1, 0].copy()
    data[:, :, 0] += data[::-1, ::-1, 0].conj().copy()
    reached = normal[..., 0] > 0
    z, y, x = np.ogrid[-edge : edge + 1, -edge : edge + 1, 0 : edge + 1]
    shells = np.rint(np.sqrt(z**2 + y**2 + x**2)).astype(np.int64)[reached]
    rows, columns = np.triu_indices(number)
    matrix = np.zeros((len(shells), number, number))
    matrix[:, rows, columns] = matrix[:, columns, rows] = normal[reached]
    for k in range(number):
        own = matrix[:, k, k]
        means = np.bincount(shells, own) / np.maximum(np.bincount(shells), 1)
        own += (means * _added_weight(k, len(means), equations.scale, correlations, floor))[shells]
    right = np.stack([data[reached].real, data[reached].imag], axis=-1)
    found = np.linalg.solve(matrix, right)
    transforms = np.zeros((number, *reached.shape), np.complex64)
    transforms[:, reached] = (found[..., 0] + 1j * found[..., 1]).T
    return np.stack([_in_mask(one, images) for one in transforms])


def _added_weight(k: int, shells: int, scale: float, correlations: FloatArray | None, floor: float) -> FloatArray:
    """What is added to the weights of a volume, in units of their shell's mean (shells,): next to nothing of the mean
    map, (1 − F)/F of a component whose half sets correlate by F."""
    weight = np.full(shells, LEAST_WEIGHT)
    if k == 0 or correlations is None:
        return weight
    f = np.interp(np.arange(shells) / scale, np.arange(correlations.shape[1]), correlations[k - 1])
    f = np.maximum(f, floor)
    return weight + (1 - f) / f


def _in_mask(transform: NDArray[np.complex64], images: _Images) -> NDArray[np.float32]:
    """The map (N, N, N) of a transform (2K+1, 2K+1, K+1)."""
    box, edge = images.particles.box, transform.shape[0] // 2
    padded = padded_box(box, images.padding)
    held = min(edge, (padded - 1) // 2)
    inner = slice(edge - held, edge + held + 1)
    real = central_box(transform[inner, inner, : held + 1], padded, box)
    return real / interpolation_envelope(box, padded) * images.mask


def _standardised(volumes: NDArray[np.float32], moments: FloatArray) -> NDArray[np.float32]:
    """The same model with latent variables of mean 0 and variance 1, along principal axes."""
    mean = moments[0, 1:]
    covariance = moments[1:, 1:] - np.outer(mean, mean)
    components = volumes[1:].reshape(len(mean), -1)
    root = np.linalg.cholesky(covariance + 1e-9 * np.trace(covariance) * np.eye(len(mean)))
    scaled = root.T @ components
    _, axes = np.linalg.eigh(scaled @ scaled.T)
    principal = (axes[:, ::-1].T @ scaled).reshape(volumes[1:].shape)
    centre = volumes[0] + np.tensordot(mean, volumes[1:], 1)
    return np.concatenate([centre[None], principal]).astype(np.float32)


def _aligned(volumes: dict[int, NDArray[np.float32]]) -> dict[int, NDArray[np.float32]]:
    """Components of half set 2 turned to those of half set 1 (orthogonal Procrustes)."""
    one, two = (volumes[half][1:].reshape(len(volumes[half]) - 1, -1) for half in HALVES)
    left, _, right = np.linalg.svd(one @ two.T)
    turned = ((left @ right) @ two).reshape(volumes[2][1:].shape).astype(np.float32)
    return {1: volumes[1], 2: np.concatenate([volumes[2][:1], turned])}


def _correlations(volumes: Mapping[int, NDArray[np.float32]]) -> FloatArray:
    """FSC of the components between the half sets (q, shells), smoothed."""
    kernel = np.ones(SMOOTHED) / SMOOTHED
    curves = [fourier_shell_correlation(a, b) for a, b in zip(volumes[1][1:], volumes[2][1:], strict=True)]
    return np.stack([np.convolve(np.pad(curve, SMOOTHED // 2, mode="edge"), kernel, "valid") for curve in curves])


def latent_of(
    particles: Particles,
    source: ImageSource,
    noise: FloatArray,
    model: LinearModel,
    mask: FloatVolume,
    diameter: float,
) -> Known:
    """What is known of each particle's latent variables by the model of the half set that it is not in."""
    images = _Images(particles, source, noise, mask, diameter, model.limit)
    number = len(model.volumes[1]) - 1
    linear, quadratic = np.empty((len(particles), number)), np.empty((len(particles), number, number))
    for _, rows, _, grams in images.looked_at({1: model.volumes[2], 2: model.volumes[1]}):
        linear[rows], quadratic[rows] = _known(grams, model.spreads)
    return Known(linear, quadratic)
