"""One map put into the frame of another: rotation, shift, hand and scale, and whether that is to be believed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from drgnalign.arrays import FloatArray, FloatVolume, IntArray
from drgnalign.fourier import irfft_volume
from drgnalign.geometry import evenly_spread_rotations
from drgnalign.known.body import PADDING, Body
from drgnalign.known.search import Placement, best_placements, match_of, refined_placement, search_limit
from drgnalign.known.spectrum import ComplexArray, spectrum_of

# From stage to stage the limit is finer by this; coefficients of a stage that are looked at; a stage that agrees less
# in what it adds is not taken.
FINER, COEFFICIENTS, LEAST_AGREEMENT = 1.5, 20_000, 0.2
# Random placements that say what the frequencies that no placement was fitted to make of something else; standard
# deviations by which one that is believed stands out of them.
RANDOM_PLACEMENTS, CLAIMED_FROM = 60, 6.0
# Frequencies of a volume that are worked on at a time.
AT_ONCE = 2**20


@dataclass(frozen=True)
class Fit:
    """How one map lies in another: x_map = scale · R · h · x_reference + shift, from box centre to box centre.

    Attributes
    ----------
    rotation : (3, 3) float64
        R, acting on (x, y, z).
    shift : (3,) float64
        (x, y, z), Å.
    mirrored : bool
        h is −1, the inversion through the centre, in place of 1.
    scale : float
        Of lengths: above 1 where voxels of the reference are larger than its header says, beside those of the map.
    limit : float
        Å; what was fitted to.
    agreement : float
        Correlation, amplitudes taken off, in the frequencies just beyond those that places were looked for in, of the
        placement found there.
    null_mean, null_deviation : float
        The same of random placements.
    other_hand : float
        The same of the best placement of the other hand.
    """

    rotation: FloatArray
    shift: FloatArray
    mirrored: bool
    scale: float
    limit: float
    agreement: float
    null_mean: float
    null_deviation: float
    other_hand: float

    @property
    def z(self) -> float:
        """Standard deviations by which the agreement stands out of that of random placements."""
        return (self.agreement - self.null_mean) / self.null_deviation

    @property
    def claimed(self) -> bool:
        """Is it to be believed that the reference is in the map?"""
        return self.z >= CLAIMED_FROM

    @property
    def hand_margin(self) -> float:
        """Standard deviations by which this hand agrees better than the other."""
        return (self.agreement - self.other_hand) / self.null_deviation

    @property
    def hand_decided(self) -> bool:
        """Is the hand told? It is where this one agrees better than the other by more than chance does, at whatever
        limit."""
        return self.claimed and self.hand_margin >= CLAIMED_FROM

    @property
    def linear(self) -> FloatArray:
        """(3, 3): scale · R · h."""
        return self.rotation * (self.scale * (-1 if self.mirrored else 1))


def fit_body(target: Body, reference: Body, resolution: float) -> Fit:
    """Find a map in another, wherever it is.

    All rotations, shifts and both hands are tried at eight waves across the particle, the best are refined there.
    The next frequencies, up to half as much again, have not been fitted to: what is right agrees in them, and what is
    wrong does not, however well its outline fits. Then the limit is made finer, stage by stage, as long as what a
    stage adds agrees.

    Parameters
    ----------
    target, reference : Body
    resolution : float
        Å; nothing finer is looked at.

    Returns
    -------
    Fit
    """
    finest = min(1 / resolution, 0.9 * target.nyquist, 0.9 * reference.nyquist)
    first = search_limit(target, finest)
    found = best_placements(target, reference, first)
    beyond = _annulus(target, first, min(FINER * first, finest))
    spectrum = reference.spectrum(1.1 * FINER * first)
    best = max(found, key=lambda one: one.match)
    others = [one for one in found if one.mirrored != best.mirrored]
    null = [match_of(one, beyond, spectrum) for one in _random_placements()]
    placed, limit = _followed(best, target, reference, first, finest)
    return Fit(
        rotation=placed.rotation,
        shift=target.centre + placed.shift - placed.to_body @ reference.centre,
        mirrored=placed.mirrored,
        scale=placed.scale,
        limit=1 / limit,
        agreement=match_of(best, beyond, spectrum),
        null_mean=float(np.mean(null)),
        null_deviation=float(np.std(null)),
        other_hand=max((match_of(one, beyond, spectrum) for one in others), default=-1.0),
    )


def _annulus(target: Body, coarse: float, fine: float) -> tuple[FloatArray, ComplexArray]:
    frequencies, values = target.coefficients(fine)
    inside = np.linalg.norm(frequencies, axis=1) > coarse
    return frequencies[inside], values[inside]


def _random_placements() -> list[Placement]:
    rotations = evenly_spread_rotations(RANDOM_PLACEMENTS)
    return [Placement(one, np.zeros(3), bool(number % 2)) for number, one in enumerate(rotations)]


def _followed(best: Placement, target: Body, reference: Body, limit: float, finest: float) -> tuple[Placement, float]:
    """The placement at the finest limit (1/Å) to which both agree, and the limit."""
    placed, rng = best, np.random.default_rng(0)
    for finer in _stages(limit, finest):
        data, spectrum = target.coefficients(finer), reference.spectrum(1.1 * finer)
        added = np.linalg.norm(data[0], axis=1) > limit
        tried = refined_placement(placed, _some(data, rng), spectrum)
        if match_of(tried, (data[0][added], data[1][added]), spectrum) < LEAST_AGREEMENT:
            break
        placed, limit = refined_placement(tried, _some(data, rng), spectrum, scaled=True), finer
    return placed, limit


def _stages(limit: float, finest: float) -> Iterator[float]:
    """Evenly spaced by factors of up to `FINER`, to the finest."""
    count = math.ceil(math.log(finest / limit) / math.log(FINER) - 1e-6)
    yield from (limit * (finest / limit) ** (stage / count) for stage in range(1, count + 1))


def _some(data: tuple[FloatArray, ComplexArray], rng: np.random.Generator) -> tuple[FloatArray, ComplexArray]:
    frequencies, values = data
    if len(values) <= COEFFICIENTS:
        return data
    rows: IntArray = rng.choice(len(values), COEFFICIENTS, replace=False)
    return frequencies[rows], values[rows]


def placed(volume: FloatVolume, pixel_size: float, fit: Fit, box: int, map_pixel_size: float) -> FloatVolume:
    """A reference as it lies in a map.

    Parameters
    ----------
    volume : (N, N, N) float32
        The reference.
    pixel_size : float
        Of the reference as its header says, Å.
    fit : Fit
    box : int
        Of the map.
    map_pixel_size : float
        Å.

    Returns
    -------
    (box, box, box) float32
        Band-limited to what both hold; grey values are the reference's.
    """
    nyquist = min(0.5 / map_pixel_size, 0.5 / (pixel_size * fit.scale))
    spectrum = spectrum_of(volume, pixel_size, 1.01 * nyquist * fit.scale, PADDING)
    axis, half = np.fft.fftfreq(box, map_pixel_size), np.fft.rfftfreq(box, map_pixel_size)
    transform = np.zeros((box, box, box // 2 + 1), np.complex64)
    step = max(1, AT_ONCE // (box * len(half)))
    for start in range(0, box, step):
        planes = slice(start, start + step)
        z, y, x = np.meshgrid(axis[planes], axis, half, indexing="ij")
        held = x**2 + y**2 + z**2 < nyquist**2
        frequencies = np.stack([x[held], y[held], z[held]], axis=1)
        phases = np.exp(-2j * np.pi * (frequencies @ fit.shift)).astype(np.complex64)
        transform[planes][held] = spectrum.at(frequencies @ fit.linear) * phases
    return irfft_volume(transform, box).astype(np.float32) * np.float32(fit.scale**3 / map_pixel_size**3)
