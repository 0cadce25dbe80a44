"""Particle sets with known poses and states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from drgnalign.arrays import FloatArray, ImageArray
from drgnalign.errors import InputError
from drgnalign.formats.mrc import StackWriter, write_volume
from drgnalign.formats.star import write_star
from drgnalign.fourier import irfft_images
from drgnalign.geometry import matrix_to_euler
from drgnalign.particles import Particles, image_names
from drgnalign.simulate.imaging import Microscope, Spectrum, coloured_noise, ctf_grid
from drgnalign.simulate.nuisances import Nuisances, effects_on
from drgnalign.simulate.projection import density_map, projection_transform
from drgnalign.simulate.specimens import Specimen

BATCH = 256
# The signal's variance over a whole set is taken from this many of its particles: good to about 1 %.
VARIANCE_SAMPLE = 1000
# Medians of the length of a standard normal vector in two and three dimensions.
MEDIAN_NORM_2D = 1.1774100
MEDIAN_NORM_3D = 1.5381723


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
    nuisances: Nuisances | None = None,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Simulate a particle set with known poses and states.

    Writes ``particles.star`` (poses with errors, classes 0), ``particles.mrcs``, ``truth.star`` (true poses,
    class = true state from 1), and the true maps ``state_KK.mrc`` into `out`. White protein; the noise has
    unit variance per pixel and the maps are in the images' scale.

    With nuisances both star files name micrographs, of 50 to 100 particles each. ``truth.star`` then has class 0 for
    junk, with the pose that it was drawn at, ``drgnTrueJunk`` (no, empty, broken, other), ``drgnTrueLost`` (no, random
    or off: its given pose), ``drgnTrueContrast`` and ``drgnTrueGain``. Whatever is not touched by a nuisance is what it
    would be without: states, poses, noise.

    Parameters
    ----------
    out : path
        Folder, made if need be.
    states : sequence of Specimen
    populations : sequence of float
        Relative numbers of particles of the states; the counts are exact to one particle, before junk takes the place
        of some.
    n : int
        Number of particles.
    box, pixel_size
        px, Å/px.
    snr : float
        Variance of the CTF-multiplied signal, over all pixels of all particles, divided by that of the noise; without
        nuisances.
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
    nuisances : Nuisances, optional
        None unless given.
    seed : int
        The same arguments and seed give the same files.
    progress : callable, optional
        Called with the number of images written since its last call.

    Raises
    ------
    InputError
        Arguments that do not fit each other, or a specimen that does not fit the box.
    """
    others = [nuisances.other_specimen] if nuisances and nuisances.other_specimen else []
    _check_arguments(states, populations, n, snr)
    _check_size([*states, *others], box * pixel_size)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, "it is a file", "give a folder to write the set into")
    folder.mkdir(parents=True, exist_ok=True)
    # One stream of random numbers a quantity, so that e.g. another noise spectrum keeps poses and states.
    *streams, nuisance_seed = np.random.SeedSequence(seed).spawn(7)
    state_rng, half_rng, pose_rng, defocus_rng, error_rng, noise_rng = map(np.random.default_rng, streams)
    labels = state_rng.permutation(np.repeat(np.arange(len(states)), state_counts(populations, n)))
    if rotations is None:
        rotations = scipy.spatial.transform.Rotation.random(n, pose_rng).as_matrix()
    if displacements is None:
        displacements = displacement_spread * pose_rng.standard_normal((n, 2))
    if defoci is None:
        defoci = random_defoci(defocus_rng, n)
    _check_lengths(n, defoci, rotations, displacements)
    effects = effects_on(n, box, nuisances or Nuisances(), nuisance_seed)
    clean = _Scene(
        lambda row: states[labels[row]], rotations, displacements, defoci, microscope or Microscope(), box, pixel_size,
        sigma,
    )  # fmt: skip
    scale = np.sqrt(snr / clean.signal_variance())
    scene = replace(
        clean,
        specimen=lambda row: effects.specimen(row, states[labels[row]]),
        displacements=displacements + effects.away * _radius(states) / pixel_size,
    )
    with StackWriter(folder / "particles.mrcs", n, box, pixel_size) as stack:
        for rows in _batches(np.arange(n)):
            noise = coloured_noise(noise_rng, len(rows), box, pixel_size, noise_spectrum)
            stack.append(effects.images(rows, scale * scene.images(rows), noise).astype(np.float32))
            if progress is not None:
                progress(len(rows))

    halves = half_rng.permutation(np.arange(n) % 2 + 1)
    truth = scene.particles(folder / "truth.star", np.where(effects.good, labels + 1, 0), halves)
    turns, shifts = perturbations(error_rng, n, rotation_error_deg, shift_error_angstrom / pixel_size)
    turns = np.where(effects.keeps_pose[:, None, None], turns, effects.turns)
    given = truth.with_poses(rotations @ turns, displacements + shifts)
    given.table["rlnClassNumber"] = 0
    if nuisances is not None:
        truth, given = effects.on_truth(truth), effects.on_given(given)
    write_star(truth, folder / "truth.star")
    write_star(given, folder / "particles.star")
    for number, state in enumerate(states, start=1):
        volume = density_map(state.points, scale * state.weights, box, pixel_size, sigma)
        write_volume(folder / f"state_{number:02d}.mrc", volume, pixel_size)


def perturbations(
    rng: np.random.Generator, n: int, median_angle: float, median_shift: float
) -> tuple[FloatArray, FloatArray]:
    """Gaussian errors of pose: rotations (n, 3, 3) with the median angle in degrees, shifts (n, 2) in px."""
    vectors = np.radians(median_angle) / MEDIAN_NORM_3D * rng.standard_normal((n, 3))
    shifts = median_shift / MEDIAN_NORM_2D * rng.standard_normal((n, 2))
    return scipy.spatial.transform.Rotation.from_rotvec(vectors).as_matrix(), shifts


def state_counts(populations: Sequence[float], n: int) -> NDArray[np.int64]:
    """Numbers of particles (K,) that sum to n, in the given proportions to within one particle."""
    edges = np.rint(n * np.cumsum(populations) / np.sum(populations)).astype(np.int64)
    return np.diff(edges, prepend=0)


@dataclass(frozen=True)
class _Scene:
    """All that decides a set's noise-free images: what is seen, from where, through which lens."""

    specimen: Callable[[int], Specimen]
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
                projection_transform(
                    self.specimen(row),
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
        transforms *= ctf_grid(
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
        n = len(self.rotations)
        sample = np.linspace(0, n - 1, min(n, VARIANCE_SAMPLE)).astype(np.int64)
        total = squares = 0.0
        for rows in _batches(sample):
            images = self.images(rows).astype(np.float64)
            total += images.sum()
            squares += (images**2).sum()
        pixels = len(sample) * self.box**2
        return squares / pixels - (total / pixels) ** 2

    def particles(self, path: Path, labels: NDArray[np.int64], halves: NDArray[np.int64]) -> Particles:
        """The true table: poses, CTF, and the labels as classes."""
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
                "rlnClassNumber": labels,
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


def _check_arguments(states: Sequence[Specimen], populations: Sequence[float], n: int, snr: float) -> None:
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


def _check_size(specimens: Sequence[Specimen], field: float) -> None:
    radius = _radius(specimens)
    if 2.0 * radius > field:
        raise InputError(
            None,
            f"the specimen is {2 * radius:.0f} Å across, the box {field:.0f} Å",
            "enlarge the box or the pixels",
        )


def _radius(specimens: Sequence[Specimen]) -> float:
    """Of the largest, Å."""
    return max(float(np.linalg.norm(specimen.points, axis=1).max()) for specimen in specimens)


def _check_lengths(n: int, *arrays: pd.DataFrame | FloatArray) -> None:
    lengths = [len(array) for array in arrays]
    if any(length != n for length in lengths):
        raise InputError(
            None,
            f"defoci, rotations, displacements of {lengths} particles for {n}",
            "give one row for each particle, or leave them out",
        )
