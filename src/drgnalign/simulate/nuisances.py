"""What real particle sets have besides noise: contrast, grey values, junk, lost poses, defocus errors, hot pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from drgnalign.arrays import BoolArray, FloatArray, IntArray
from drgnalign.errors import InputError
from drgnalign.fourier import irfft_images, rfft_images
from drgnalign.particles import Particles
from drgnalign.simulate.specimens import Specimen

NO = "no"
JUNK = ("empty", "broken", "other")
# Kinds of lost poses: random, or off by so many degrees.
LOST = ("random", "off")
OFF_DEGREES = 30.0
# A broken particle lies off its pose by this share of the specimen's radius.
BROKEN_AWAY = 0.5
# Fewest and most particles of a micrograph.
MICROGRAPH = (50, 100)
EMPTY = Specimen(np.zeros((0, 3)), np.zeros(0))


@dataclass(frozen=True)
class Nuisances:
    """What a set has besides noise; nothing unless asked for. Shares are of all particles.

    Attributes
    ----------
    contrast : float
        Standard deviation of the logarithm of the signal's amplitude, image by image; its mean is 1.
    gain : float
        The same of the grey values, signal and noise, micrograph by micrograph.
    gain_range : (float, float)
        Uniform factor of the grey values besides, micrograph by micrograph.
    offset : float
        Standard deviation of a constant added, micrograph by micrograph. Unit: the noise's standard deviation, as of
        `ramp` and `hot_value`; the gain multiplies them too.
    ramp : float
        Standard deviation of the rise of a plane from edge to edge, along rows and columns, image by image.
    empty, broken, other : float
        Shares of junk: noise alone; half of the particle, cut by a random plane, off its place by half of the largest
        state's radius; another particle. Their given orientations are random.
    other_specimen : Specimen, optional
        The other particle.
    random_poses, off_poses : float
        Shares of particles, none of them junk, whose given orientation is random, or off by 30° about a random axis.
    defocus_error : float
        Standard deviation of the error of the given defocus, Å, particle by particle.
    hot_value, hot_images, hot_pixels : float, float, int
        So much is added to so many random pixels of this share of the images.
    coarse_box : int, optional
        Half of the images, those of the later micrographs, were recorded at this smaller box and up-sampled: nothing
        from that box's Nyquist frequency on, noise neither. They are an optics group of their own. Grey values stay,
        so that the noise's variance is less.
    """

    contrast: float = 0.0
    gain: float = 0.0
    gain_range: tuple[float, float] = (1.0, 1.0)
    offset: float = 0.0
    ramp: float = 0.0
    empty: float = 0.0
    broken: float = 0.0
    other: float = 0.0
    other_specimen: Specimen | None = None
    random_poses: float = 0.0
    off_poses: float = 0.0
    defocus_error: float = 0.0
    hot_value: float = 300.0
    hot_images: float = 0.0
    hot_pixels: int = 1
    coarse_box: int | None = None

    def check(self, box: int) -> None:
        """Raise an InputError where values do not fit each other or the box."""
        widths = (self.contrast, self.gain, self.offset, self.ramp, self.defocus_error)
        shares = (self.empty, self.broken, self.other, self.random_poses, self.off_poses)
        if min(widths) < 0 or not 0 < self.gain_range[0] <= self.gain_range[1]:
            raise InputError(
                None,
                f"a nuisance has a negative width, or grey values are multiplied by {self.gain_range}",
                "give widths of 0 or more, and gains above 0, the smaller one first",
            )
        if min(*shares, self.hot_images) < 0 or max(sum(shares), self.hot_images) > 1:
            raise InputError(
                None,
                f"shares of junk, lost poses and hot images are {shares}, {self.hot_images}",
                "give shares from 0 to 1; those of junk and lost poses together are 1 at most",
            )
        if self.other > 0 and self.other_specimen is None:
            raise InputError(None, f"{self.other} of the particles are of another kind", "say of which: other_specimen")
        if not 1 <= self.hot_pixels <= box**2:
            raise InputError(None, f"{self.hot_pixels} hot pixels an image", "ask for 1 or more")
        if self.coarse_box is not None and not 4 <= self.coarse_box < box:
            raise InputError(
                None,
                f"images of {self.coarse_box} px are to be up-sampled to {box} px",
                "give a box of 4 px or more that is smaller",
            )


@dataclass(frozen=True)
class Effects:
    """What nuisances do to each of the N particles of a set.

    Attributes
    ----------
    nuisances : Nuisances
    junk, lost : (N,) of str
        The kind of junk, of lost pose, or ``no``.
    contrast, gain, offset : (N,) float64
    ramp : (N, 2) float64
        Rise along rows and columns.
    micrograph : (N,) int64
        From 0, ascending.
    normals, away : (N, 3), (N, 2) float64
        Of a broken particle: of the plane that cut it, and by how much it is off, as a share of the specimen's radius.
    turns : (N, 3, 3) float64
        That a lost orientation is off by.
    defocus : (N,) float64
        Error of the defocus given, Å.
    hot : (N,) int64
        Place of each image's pixels in `hot_places`; −1 where none is hot.
    hot_places : (M, hot_pixels) int64
        In the flattened image.
    """

    nuisances: Nuisances
    junk: NDArray[np.str_]
    lost: NDArray[np.str_]
    contrast: FloatArray
    gain: FloatArray
    offset: FloatArray
    ramp: FloatArray
    micrograph: IntArray
    normals: FloatArray
    away: FloatArray
    turns: FloatArray
    defocus: FloatArray
    hot: IntArray
    hot_places: IntArray

    @property
    def good(self) -> BoolArray:
        """Who is no junk (N,)."""
        return self.junk == NO

    @property
    def keeps_pose(self) -> BoolArray:
        """Whose given pose is near the true one (N,)."""
        return self.good & (self.lost == NO)

    @property
    def upsampled(self) -> BoolArray:
        """Whose image was up-sampled (N,)."""
        if self.nuisances.coarse_box is None:
            return np.zeros(len(self.micrograph), bool)
        return self.micrograph >= self.micrograph[len(self.micrograph) // 2]

    def specimen(self, row: int, state: Specimen) -> Specimen:
        """What is seen of a particle that would be in `state`."""
        kind = self.junk[row]
        if kind == "empty":
            return EMPTY
        if kind == "broken":
            return half_of(state, self.normals[row])
        if kind == "other" and self.nuisances.other_specimen is not None:
            return self.nuisances.other_specimen
        return state

    def images(self, rows: IntArray, signal: NDArray[Any], noise: NDArray[np.float32]) -> FloatArray:
        """What the camera makes of signals and noise (n, box, box) of the particles in `rows`."""
        images = self.contrast[rows, None, None] * signal + noise
        coarse = self.upsampled[rows]
        if self.nuisances.coarse_box is not None and coarse.any():
            images[coarse] = band_limited(images[coarse], self.nuisances.coarse_box)
        box = images.shape[-1]
        shining = np.flatnonzero(self.hot[rows] >= 0)
        flat = images.reshape(len(rows), box**2)
        flat[shining[:, None], self.hot_places[self.hot[rows[shining]]]] += self.nuisances.hot_value
        along = (np.arange(box) - box // 2) / box
        across, down = self.ramp[rows].T[:, :, None, None]
        images += self.offset[rows, None, None] + across * along + down * along[:, None]
        return images * self.gain[rows, None, None]

    def on_truth(self, truth: Particles) -> Particles:
        """The true table with what nuisances add to it."""
        own = {
            "drgnTrueContrast": self.contrast,
            "drgnTrueGain": self.gain,
            "drgnTrueJunk": self.junk,
            "drgnTrueLost": self.lost,
        }
        return self._by_micrograph(replace(truth, table=truth.table.assign(**own)))

    def on_given(self, given: Particles) -> Particles:
        """The table with the errors that nuisances make."""
        table = given.table.copy()
        for label in ("rlnDefocusU", "rlnDefocusV"):
            table[label] += self.defocus
        return self._by_micrograph(replace(given, table=table))

    def _by_micrograph(self, particles: Particles) -> Particles:
        """With names of micrographs, and the group of the up-sampled images."""
        names = [f"micrographs/{number:05d}.mrc" for number in self.micrograph + 1]
        table, optics = particles.table.assign(rlnMicrographName=names), particles.optics
        if self.nuisances.coarse_box is not None:
            table["rlnOpticsGroup"] += self.upsampled
            optics = pd.concat([optics, optics.assign(rlnOpticsGroup=2, rlnOpticsGroupName="upsampled")])
        return replace(particles, table=table, optics=optics.reset_index(drop=True))


def effects_on(n: int, box: int, nuisances: Nuisances, seed: np.random.SeedSequence) -> Effects:
    """Draw the effects of nuisances on n particles.

    Each nuisance has a stream of random numbers of its own, so that one more of them changes none of the others.
    """
    nuisances.check(box)
    member, contrast, grey, broken, pose, defocus, hot = (np.random.default_rng(child) for child in seed.spawn(7))
    junk, lost = _members(n, nuisances, member)
    sizes = grey.integers(*MICROGRAPH, size=n // MICROGRAPH[0] + 1, endpoint=True)
    micrograph = np.repeat(np.arange(len(sizes)), sizes)[:n]
    gain = lognormal(grey, nuisances.gain, len(sizes)) * grey.uniform(*nuisances.gain_range, len(sizes))
    offset = nuisances.offset * grey.standard_normal(len(sizes))
    shining = np.sort(hot.permutation(n)[: round(nuisances.hot_images * n)])
    hot_rows = np.full(n, -1)
    hot_rows[shining] = np.arange(len(shining))
    angle = broken.uniform(0.0, 2 * np.pi, n)
    away = BROKEN_AWAY * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    away[junk != "broken"] = 0.0
    return Effects(
        nuisances=nuisances,
        junk=junk,
        lost=lost,
        contrast=lognormal(contrast, nuisances.contrast, n),
        gain=gain[micrograph],
        offset=offset[micrograph],
        ramp=nuisances.ramp * grey.standard_normal((n, 2)),
        micrograph=micrograph,
        normals=_directions(broken, n),
        away=away,
        turns=_turns(pose, junk, lost),
        defocus=nuisances.defocus_error * defocus.standard_normal(n),
        hot=hot_rows,
        hot_places=hot.integers(0, box**2, (len(shining), nuisances.hot_pixels)),
    )


def lognormal(rng: np.random.Generator, width: float, n: int) -> FloatArray:
    """Factors (n,) with mean 1 whose logarithm has the given standard deviation."""
    return np.exp(width * rng.standard_normal(n) - 0.5 * width**2)


def band_limited(images: FloatArray, coarse_box: int) -> NDArray[np.floating]:
    """Images (n, box, box) as a smaller box holds them, without what lies at its Nyquist frequency and beyond."""
    box = images.shape[-1]
    transforms = rfft_images(images)
    inside = np.abs(np.fft.fftfreq(box, 1.0 / box)) < coarse_box / 2
    return irfft_images(transforms * (inside[:, None] & inside[: box // 2 + 1]), box)


def _members(n: int, nuisances: Nuisances, rng: np.random.Generator) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """Kinds of junk and of lost poses (n,): each share is exact to one particle, and nobody is in two."""
    junk, lost = np.full(n, NO, "U6"), np.full(n, NO, "U6")
    shares = (nuisances.empty, nuisances.broken, nuisances.other, nuisances.random_poses, nuisances.off_poses)
    parts = np.split(rng.permutation(n), np.rint(n * np.cumsum(shares)).astype(np.int64))
    for kind, rows in zip(JUNK, parts[:3], strict=True):
        junk[rows] = kind
    for kind, rows in zip(LOST, parts[3:5], strict=True):
        lost[rows] = kind
    return junk, lost


def _turns(rng: np.random.Generator, junk: NDArray[np.str_], lost: NDArray[np.str_]) -> FloatArray:
    n = len(junk)
    turns = np.tile(np.eye(3), (n, 1, 1))
    random, off = (junk != NO) | (lost == "random"), lost == "off"
    anywhere, axes = scipy.spatial.transform.Rotation.random(n, rng), _directions(rng, n)
    turns[random] = anywhere.as_matrix()[random]
    turns[off] = scipy.spatial.transform.Rotation.from_rotvec(np.radians(OFF_DEGREES) * axes[off]).as_matrix()
    return turns


def _directions(rng: np.random.Generator, n: int) -> FloatArray:
    """Unit vectors (n, 3), uniform on the sphere."""
    vectors = rng.standard_normal((n, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def half_of(specimen: Specimen, normal: FloatArray) -> Specimen:
    """What lies beyond a plane across its normal (3,) that has half of the mass on either side."""
    order = np.argsort(specimen.points @ normal)
    kept = order[np.cumsum(specimen.weights[order]) > 0.5 * specimen.weights.sum()]
    return Specimen(specimen.points[kept], specimen.weights[kept])
