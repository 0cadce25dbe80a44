"""Simulated particle sets with known truth, from point scatterers.

A specimen is a set of weighted points blurred by a Gaussian. Images are line integrals of the points
themselves, not slices of a sampled map, so that a set made here shares no interpolation with the engine that
is tested on it.

Points are spread onto a grid by a cubic B-spline, whose transform (sinc⁴) is divided out again; the grid is
twice as fine as the image, and cutting its transform back to the image's band leaves nothing beyond Nyquist.
What remains of aliasing is, at Nyquist, (1/3)⁴ = 1.2 % of the specimen's transform at three times that
frequency, and falls off with the fourth power of the frequency below it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
import pandas as pd
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from drgnalign.ctf import ctf
from drgnalign.errors import InputError
from drgnalign.formats.mrc import StackWriter, write_volume
from drgnalign.formats.star import write_star
from drgnalign.fourier import half_plane_multiplicity, irfft_images, irfft_volume, rfft_images
from drgnalign.geometry import matrix_to_euler
from drgnalign.particles import Particles, image_names

FloatArray = NDArray[np.float64]
ImageArray = NDArray[np.float32]

OVERSAMPLING = 2
BATCH = 256
# The signal's variance over a whole set is taken from this many of its particles: good to about 1 %.
VARIANCE_SAMPLE = 1000
# Medians of the length of a standard normal vector in two and three dimensions.
MEDIAN_NORM_2D = 1.1774100
MEDIAN_NORM_3D = 1.5381723


class Specimen(NamedTuple):
    """Point scatterers: positions (M, 3) as (x, y, z) in Å from the box centre, and weights (M,)."""

    points: FloatArray
    weights: FloatArray


class Spectrum(NamedTuple):
    """Relative noise power (S,) at spatial frequencies (S,) in 1/Å, ascending."""

    frequency: FloatArray
    power: FloatArray


class Microscope(NamedTuple):
    """Voltage in kV, spherical aberration in mm, amplitude contrast as a fraction."""

    voltage: float = 300.0
    cs: float = 2.7
    amplitude_contrast: float = 0.07


def density_map(points: ArrayLike, weights: ArrayLike, box: int, pixel_size: float, sigma: float) -> ImageArray:
    """Band-limited density of a specimen.

    Parameters
    ----------
    points : (M, 3) array_like
        (x, y, z) in Å from the box centre. What lies outside the box wraps around.
    weights : (M,) array_like
    box : int
        Voxels along an edge.
    pixel_size : float
        Å.
    sigma : float
        Standard deviation of the Gaussian blur, Å.

    Returns
    -------
    (box, box, box) float32
        Weight per voxel, axes (z, y, x), centre ``box // 2``; its sum over z is the
        projection at the identity.
    """
    fine = OVERSAMPLING * box
    positions = np.asarray(points, np.float64) * (OVERSAMPLING / pixel_size)
    grid = np.zeros((fine, fine, fine), np.float32)
    _splat_3d(grid, np.ascontiguousarray(positions), np.ascontiguousarray(weights, np.float64))
    rows = _kept_rows(box)
    transform = scipy.fft.rfftn(grid)[:, :, : box // 2 + 1][:, rows][rows]
    full, half = _axis_filters(box, pixel_size, sigma)
    transform *= full[:, None, None] * full[None, :, None] * half[None, None, :]
    return irfft_volume(transform, box).astype(np.float32, copy=False)


def project(
    points: ArrayLike,
    weights: ArrayLike,
    rotation: ArrayLike,
    displacement: ArrayLike,
    box: int,
    pixel_size: float,
    sigma: float,
) -> ImageArray:
    """Projection of a specimen along the image's z axis, without CTF or noise.

    Parameters
    ----------
    points, weights, box, pixel_size, sigma
        As in `density_map`.
    rotation : (3, 3) array_like
        R with ``x_volume = R x_image``.
    displacement : (2,) array_like
        Of the particle from the box centre in px, positive to higher column and row.

    Returns
    -------
    (box, box) float32
        Weight per pixel, (row, column), centre ``box // 2``.
    """
    specimen = Specimen(np.asarray(points, np.float64), np.asarray(weights, np.float64))
    transform = _projection_transform(
        specimen, np.asarray(rotation, float), np.asarray(displacement, float), box, pixel_size, sigma
    )
    return irfft_images(transform[None], box)[0].astype(np.float32, copy=False)


def apply_ctf(
    images: ImageArray,
    pixel_size: float,
    defocus_u: ArrayLike,
    defocus_v: ArrayLike,
    defocus_angle: ArrayLike,
    microscope: Microscope,
) -> ImageArray:
    """Multiply white-protein images by their CTF in Fourier space (periodic box); protein stays white.

    Parameters
    ----------
    images : (n, N, N) float array
    pixel_size : float
        Å.
    defocus_u, defocus_v, defocus_angle : (n,) array_like
        Å, Å, degrees; see `drgnalign.ctf.ctf`.
    microscope : Microscope

    Returns
    -------
    (n, N, N) float32
    """
    box = images.shape[-1]
    factors = _ctf_grid(box, pixel_size, defocus_u, defocus_v, defocus_angle, microscope)
    return irfft_images(rfft_images(images) * factors, box).astype(np.float32, copy=False)


def coloured_noise(
    rng: np.random.Generator, count: int, box: int, pixel_size: float, spectrum: Spectrum | None
) -> ImageArray:
    """Gaussian noise images (count, box, box) of unit variance per pixel and the given radial power spectrum.

    Without a spectrum the noise is white. Beyond the spectrum's ends its first and last values are kept.
    """
    noise = rng.standard_normal((count, box, box), dtype=np.float32)
    if spectrum is None:
        return noise
    kx, ky = _frequencies(box, pixel_size)
    power = np.interp(np.hypot(kx, ky), spectrum.frequency, spectrum.power)
    mean_power = (power * half_plane_multiplicity(box)).sum() / box**2
    amplitude = np.sqrt(power / mean_power).astype(np.float32)
    return irfft_images(rfft_images(noise) * amplitude, box).astype(np.float32, copy=False)


def phantom_states(k: int, seed: int = 0) -> list[Specimen]:
    """Stages of assembly of a made-up particle: each state has one lobe more than the one before.

    The body is a tapering right-handed turn of blobs, 150 Å across; a lobe has 45 % of the body's mass.

    Parameters
    ----------
    k : int
        Number of states, 1 to 7.
    seed : int
        Decides the blobs' places; the same seed gives the same body and lobes for every k.

    Returns
    -------
    list of k Specimen
        The first is the bare body.
    """
    if not 1 <= k <= len(LOBE_DIRECTIONS) + 1:
        raise InputError(None, f"{k} phantom states asked for", f"ask for 1 to {len(LOBE_DIRECTIONS) + 1}")
    rng = np.random.default_rng(seed)
    turn = np.linspace(0.0, 1.0, 60)
    angle = 2.4 * np.pi * turn
    radius = 42.0 - 14.0 * turn
    centres = np.stack([radius * np.cos(angle), radius * np.sin(angle), 90.0 * turn - 42.0], axis=1)
    states = [_blobs(rng, centres + 9.0 * rng.standard_normal(centres.shape), 0.5 + turn[::-1])]
    lobe_mass = LOBE_MASS * states[0].weights.sum()
    for direction in LOBE_DIRECTIONS[: k - 1]:
        states.append(_joined(states[-1], _lobe(rng, direction, lobe_mass)))
    return states


# Well apart on the sphere, in an order that keeps the first four apart too; no symmetry axis through them.
LOBE_DIRECTIONS = np.array(
    [
        [0.80, 0.55, 0.25],
        [-0.85, 0.15, 0.50],
        [0.10, -0.95, 0.30],
        [-0.15, 0.30, -0.94],
        [0.20, 0.10, 0.97],
        [0.65, -0.60, -0.47],
    ]
)
# Of the body's mass.
LOBE_MASS = 0.45
LOBE_DISTANCE = 66.0


def _blobs(rng: np.random.Generator, centres: FloatArray, blob_weights: FloatArray) -> Specimen:
    """Compact Gaussian blobs of 20 points each."""
    points = centres[:, None, :] + 5.0 * rng.standard_normal((len(centres), 20, 3))
    return Specimen(points.reshape(-1, 3), np.repeat(blob_weights, 20))


def _lobe(rng: np.random.Generator, direction: FloatArray, mass: float) -> Specimen:
    centre = LOBE_DISTANCE * direction / np.linalg.norm(direction)
    return _blobs(rng, centre + 9.0 * rng.standard_normal((12, 3)), np.full(12, mass / 240))


def _joined(first: Specimen, second: Specimen) -> Specimen:
    points = np.concatenate([first.points, second.points])
    return Specimen(points, np.concatenate([first.weights, second.weights]))


def random_defoci(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Defocus table of n particles: uniform from 1.0 to 2.4 µm with up to 500 Å of astigmatism."""
    mean = rng.uniform(10_000.0, 24_000.0, n)
    astigmatism = rng.uniform(0.0, 500.0, n)
    return pd.DataFrame(
        {
            "rlnDefocusU": mean + 0.5 * astigmatism,
            "rlnDefocusV": mean - 0.5 * astigmatism,
            "rlnDefocusAngle": rng.uniform(0.0, 180.0, n),
        }
    )


def simulate_set(
    out: str | Path,
    states: Sequence[Specimen],
    populations: Sequence[float],
    n: int,
    box: int,
    pixel_size: float,
    *,
    snr: float = 0.1,
    rotation_error_deg: float = 0.0,
    shift_error_angstrom: float = 0.0,
    sigma: float = 1.5,
    microscope: Microscope | None = None,
    defoci: pd.DataFrame | None = None,
    rotations: FloatArray | None = None,
    displacements: FloatArray | None = None,
    displacement_spread: float = 1.0,
    noise_spectrum: Spectrum | None = None,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Simulate a particle set with known poses and states.

    Writes ``particles.star`` (poses with errors, classes 0), ``particles.mrcs``, ``truth.star`` (true poses,
    class = true state from 1), and the true maps ``state_KK.mrc`` into `out`. White protein; the noise has
    unit variance per pixel and the maps are in the images' scale.

    Parameters
    ----------
    out : path
        Folder, made if need be.
    states : sequence of Specimen
    populations : sequence of float
        Relative numbers of particles of the states; the counts are exact to one particle.
    n : int
        Number of particles.
    box, pixel_size
        px, Å/px.
    snr : float
        Variance of the CTF-multiplied signal, over all pixels of all particles, divided by that of the noise.
    rotation_error_deg : float
        Median angle of the error of orientation, a Gaussian rotation vector, in degrees.
    shift_error_angstrom : float
        Median length of the two-dimensional Gaussian error of position, Å.
    sigma : float
        Gaussian blur of the scatterers, Å.
    microscope : Microscope, optional
        300 kV, 2.7 mm, 0.07 unless given.
    defoci : DataFrame of n rows, optional
        rlnDefocusU, rlnDefocusV (Å), rlnDefocusAngle (degrees); `random_defoci` unless given.
    rotations : (n, 3, 3) array, optional
        True orientations; uniformly random unless given.
    displacements : (n, 2) array, optional
        True displacements in px; Gaussian with standard deviation `displacement_spread` px unless given.
    noise_spectrum : Spectrum, optional
        White unless given.
    seed : int
        The same arguments and seed give the same files.
    progress : callable, optional
        Called with the number of images written since its last call.

    Raises
    ------
    InputError
        Arguments that do not fit each other, or a specimen that does not fit the box.
    """
    _check_arguments(states, populations, n, box * pixel_size, snr)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, "it is a file", "give a folder to write the set into")
    folder.mkdir(parents=True, exist_ok=True)
    # One stream of random numbers a quantity, so that e.g. another noise spectrum keeps poses and states.
    state_rng, half_rng, pose_rng, defocus_rng, error_rng, noise_rng = (
        np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(6)
    )
    labels = state_rng.permutation(np.repeat(np.arange(len(states)), state_counts(populations, n)))
    if rotations is None:
        rotations = Rotation.random(n, pose_rng).as_matrix()
    if displacements is None:
        displacements = displacement_spread * pose_rng.standard_normal((n, 2))
    if defoci is None:
        defoci = random_defoci(defocus_rng, n)
    _check_lengths(n, defoci, rotations, displacements)
    scene = _Scene(states, labels, rotations, displacements, defoci, microscope or Microscope(), box, pixel_size, sigma)

    scale = np.sqrt(snr / scene.signal_variance())
    with StackWriter(folder / "particles.mrcs", n, box, pixel_size) as stack:
        for rows in _batches(np.arange(n)):
            noise = coloured_noise(noise_rng, len(rows), box, pixel_size, noise_spectrum)
            stack.append((scale * scene.images(rows) + noise).astype(np.float32))
            if progress is not None:
                progress(len(rows))

    truth = scene.particles(folder / "truth.star", half_rng.permutation(np.arange(n) % 2 + 1))
    write_star(truth, folder / "truth.star")
    turns, shifts = perturbations(error_rng, n, rotation_error_deg, shift_error_angstrom / pixel_size)
    perturbed = truth.with_poses(rotations @ turns, displacements + shifts)
    perturbed.table["rlnClassNumber"] = 0
    write_star(perturbed, folder / "particles.star")
    for number, state in enumerate(states, start=1):
        volume = density_map(state.points, scale * state.weights, box, pixel_size, sigma)
        write_volume(folder / f"state_{number:02d}.mrc", volume, pixel_size)


def perturbations(
    rng: np.random.Generator, n: int, median_angle: float, median_shift: float
) -> tuple[FloatArray, FloatArray]:
    """Gaussian errors of pose: rotations (n, 3, 3) with the median angle in degrees, shifts (n, 2) in px."""
    vectors = np.radians(median_angle) / MEDIAN_NORM_3D * rng.standard_normal((n, 3))
    shifts = median_shift / MEDIAN_NORM_2D * rng.standard_normal((n, 2))
    return Rotation.from_rotvec(vectors).as_matrix(), shifts


def state_counts(populations: Sequence[float], n: int) -> NDArray[np.int64]:
    """Numbers of particles (K,) that sum to n, in the given proportions to within one particle."""
    edges = np.rint(n * np.cumsum(populations) / np.sum(populations)).astype(np.int64)
    return np.diff(edges, prepend=0)


@dataclass(frozen=True)
class _Scene:
    """All that decides a set's noise-free images: what is seen, from where, through which lens."""

    states: Sequence[Specimen]
    labels: NDArray[np.int64]
    rotations: FloatArray
    displacements: FloatArray
    defoci: pd.DataFrame
    microscope: Microscope
    box: int
    pixel_size: float
    sigma: float

    def images(self, rows: NDArray[np.int64]) -> ImageArray:
        """CTF-multiplied projections (n, box, box) of the particles in `rows`."""
        transforms = np.stack(
            [
                _projection_transform(
                    self.states[self.labels[row]],
                    self.rotations[row],
                    self.displacements[row],
                    self.box,
                    self.pixel_size,
                    self.sigma,
                )
                for row in rows
            ]
        )
        defoci = self.defoci.iloc[rows]
        transforms *= _ctf_grid(
            self.box,
            self.pixel_size,
            defoci["rlnDefocusU"],
            defoci["rlnDefocusV"],
            defoci["rlnDefocusAngle"],
            self.microscope,
        )
        return irfft_images(transforms, self.box)

    def signal_variance(self) -> float:
        """Variance over all pixels of a sample of particles, spread evenly over the set."""
        n = len(self.labels)
        sample = np.linspace(0, n - 1, min(n, VARIANCE_SAMPLE)).astype(np.int64)
        total = squares = 0.0
        for rows in _batches(sample):
            images = self.images(rows).astype(np.float64)
            total += images.sum()
            squares += (images**2).sum()
        pixels = len(sample) * self.box**2
        return squares / pixels - (total / pixels) ** 2

    def particles(self, path: Path, halves: NDArray[np.int64]) -> Particles:
        """The true table: poses, CTF, and the state's number from 1 as the class."""
        rot, tilt, psi = matrix_to_euler(self.rotations)
        table = pd.DataFrame(
            {
                "rlnImageName": image_names(range(1, len(rot) + 1), "particles.mrcs"),
                "rlnOpticsGroup": 1,
                "rlnAngleRot": rot,
                "rlnAngleTilt": tilt,
                "rlnAnglePsi": psi,
                "rlnOriginXAngst": -self.displacements[:, 0] * self.pixel_size,
                "rlnOriginYAngst": -self.displacements[:, 1] * self.pixel_size,
                "rlnDefocusU": self.defoci["rlnDefocusU"].to_numpy(float),
                "rlnDefocusV": self.defoci["rlnDefocusV"].to_numpy(float),
                "rlnDefocusAngle": self.defoci["rlnDefocusAngle"].to_numpy(float),
                "rlnPhaseShift": 0.0,
                "rlnClassNumber": self.labels + 1,
                "rlnRandomSubset": halves,
                "drgnRow": np.arange(len(rot)),
            }
        )
        optics = pd.DataFrame(
            {
                "rlnOpticsGroup": [1],
                "rlnOpticsGroupName": ["opticsGroup1"],
                "rlnVoltage": [self.microscope.voltage],
                "rlnSphericalAberration": [self.microscope.cs],
                "rlnAmplitudeContrast": [self.microscope.amplitude_contrast],
                "rlnImagePixelSize": [self.pixel_size],
                "rlnImageSize": [self.box],
                "rlnImageDimensionality": [2],
                "drgnContrast": ["white"],
            }
        )
        return Particles(table=table, optics=optics, path=path)


def _batches(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]


def _check_arguments(
    states: Sequence[Specimen], populations: Sequence[float], n: int, field: float, snr: float
) -> None:
    if len(states) == 0 or len(populations) != len(states) or min(populations) <= 0:
        raise InputError(
            None,
            f"{len(states)} states, populations {list(populations)}",
            "give one positive population for each of one or more states",
        )
    if n < len(states) or not snr > 0:
        raise InputError(
            None,
            f"{n} particles, signal-to-noise ratio {snr}",
            "ask for one particle or more of each state and a ratio above 0",
        )
    radius = max(float(np.linalg.norm(state.points, axis=1).max()) for state in states)
    if 2.0 * radius > field:
        raise InputError(
            None,
            f"the specimen is {2 * radius:.0f} Å across, the box {field:.0f} Å",
            "enlarge the box or the pixels",
        )


def _check_lengths(n: int, *arrays: pd.DataFrame | FloatArray) -> None:
    lengths = [len(array) for array in arrays]
    if any(length != n for length in lengths):
        raise InputError(
            None,
            f"defoci, rotations, displacements of {lengths} particles for {n}",
            "give one row for each particle, or leave them out",
        )


def _projection_transform(
    specimen: Specimen,
    rotation: FloatArray,
    displacement: FloatArray,
    box: int,
    pixel_size: float,
    sigma: float,
) -> NDArray[np.complex64]:
    """Half-plane transform (box, box//2+1) of a projection whose origin is the box centre."""
    fine = OVERSAMPLING * box
    grid = np.zeros((fine, fine))
    # x_image = Rᵀ x_volume, of which x and y are kept
    axes = np.ascontiguousarray(rotation[:, :2] * (OVERSAMPLING / pixel_size))
    _splat_2d(grid, specimen.points, specimen.weights, axes, OVERSAMPLING * displacement)
    transform = scipy.fft.rfft2(grid.astype(np.float32))[_kept_rows(box), : box // 2 + 1]
    full, half = _axis_filters(box, pixel_size, sigma)
    return transform * (full[:, None] * half[None, :])


def _kept_rows(box: int) -> NDArray[np.int64]:
    """Where the frequencies of a box stand in the transform of the oversampled grid."""
    return np.fft.fftfreq(box, 1.0 / box).astype(np.int64) % (OVERSAMPLING * box)


def _axis_filters(box: int, pixel_size: float, sigma: float) -> tuple[ImageArray, ImageArray]:
    """Gaussian blur divided by the splat's sinc⁴, along a full and a halved axis.

    Nyquist itself, which an even box cannot hold without aliasing, is set to zero.
    """
    cycles = np.fft.fftfreq(box)
    factor = np.exp(-2.0 * (np.pi * sigma * cycles / pixel_size) ** 2) / np.sinc(cycles / OVERSAMPLING) ** 4
    factor[np.abs(cycles) == 0.5] = 0.0
    factor = factor.astype(np.float32)
    return factor, factor[: box // 2 + 1]


def _frequencies(box: int, pixel_size: float) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """kx (1, box//2+1) and ky (box, 1) in 1/Å of a half-plane transform."""
    return np.fft.rfftfreq(box, pixel_size)[None, :], np.fft.fftfreq(box, pixel_size)[:, None]


def _ctf_grid(
    box: int,
    pixel_size: float,
    defocus_u: ArrayLike,
    defocus_v: ArrayLike,
    defocus_angle: ArrayLike,
    microscope: Microscope,
) -> ImageArray:
    """CTF (n, box, box//2+1) of n particles."""
    kx, ky = _frequencies(box, pixel_size)
    u, v, angle = (np.asarray(a, float).reshape(-1, 1, 1) for a in (defocus_u, defocus_v, defocus_angle))
    return ctf(kx, ky, u, v, angle, *microscope).astype(np.float32)


@numba.njit
def _spread(x: float, size: int) -> tuple[tuple[int, int, int, int], tuple[float, float, float, float]]:
    """Nodes of a periodic axis that a point touches, and its cubic B-spline weights there."""
    below = int(np.floor(x))
    t = x - below
    s = 1.0 - t
    taps = (
        s * s * s / 6.0,
        (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0,
        (4.0 - 6.0 * s * s + 3.0 * s * s * s) / 6.0,
        t * t * t / 6.0,
    )
    # One division a point: it would cost more than all else here.
    n0 = (below - 1) % size
    n1 = n0 + 1 if n0 + 1 < size else 0
    n2 = n1 + 1 if n1 + 1 < size else 0
    n3 = n2 + 1 if n2 + 1 < size else 0
    return (n0, n1, n2, n3), taps


@numba.njit(cache=True)
def _splat_2d(
    grid: FloatArray, points: FloatArray, weights: FloatArray, axes: FloatArray, displacement: FloatArray
) -> None:
    """Add points to a periodic grid (y, x) with origin at (0, 0); `axes` (3, 2) rotates and scales."""
    size = grid.shape[0]
    for i in range(points.shape[0]):
        a, b, c = points[i, 0], points[i, 1], points[i, 2]
        x = a * axes[0, 0] + b * axes[1, 0] + c * axes[2, 0] + displacement[0]
        y = a * axes[0, 1] + b * axes[1, 1] + c * axes[2, 1] + displacement[1]
        columns, across = _spread(x, size)
        rows, along = _spread(y, size)
        for j in range(4):
            w = weights[i] * along[j]
            for k in range(4):
                grid[rows[j], columns[k]] += w * across[k]


@numba.njit(cache=True)
def _splat_3d(grid: ImageArray, positions: FloatArray, weights: FloatArray) -> None:
    """Add points (x, y, z) in grid units to a periodic grid (z, y, x) with origin at (0, 0, 0)."""
    size = grid.shape[0]
    for i in range(positions.shape[0]):
        columns, tx = _spread(positions[i, 0], size)
        rows, ty = _spread(positions[i, 1], size)
        sections, tz = _spread(positions[i, 2], size)
        for j in range(4):
            for k in range(4):
                w = weights[i] * tz[j] * ty[k]
                for m in range(4):
                    grid[sections[j], rows[k], columns[m]] += w * tx[m]
