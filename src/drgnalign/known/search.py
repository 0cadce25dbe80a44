"""Where a body lies in a map, looked for everywhere and then more and more finely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from drgnalign.arrays import FloatArray
from drgnalign.geometry import angular_distance, evenly_spread_rotations
from drgnalign.known.body import SEARCH_PADDING, Body
from drgnalign.known.spectrum import ComplexArray, Spectrum

# Waves across the body of the finest frequency of the search; side of its box, in diameters; rotations of each hand.
WAVES, FIELD, ROTATIONS = 8.0, 1.5, 6000
# What is left beyond that, at least, to tell whether the place is right: a factor of frequency.
HELD_OUT = 1.3
# Placements of each hand that are followed, and by how many degrees they differ at least.
FOLLOWED, APART = 12, 15.0
# Damping of a first step, and its factors after a step up and a step down; steps of a stage; the least gain of one.
FIRST_DAMPING, SUCCESS, FAILURE, STEPS, LEAST_GAIN = 1e-3, 0.2, 20.0, 12, 1e-6


@dataclass(frozen=True)
class Placement:
    """How a body is put into a map: x_map = scale · R · h · x_body + shift, from centre to centre.

    Attributes
    ----------
    rotation : (3, 3) float64
        R, acting on (x, y, z).
    shift : (3,) float64
        (x, y, z), Å.
    mirrored : bool
        h is −1, the inversion through the centre, in place of 1.
    scale : float
    match : float
        Correlation with the map's coefficients as far as they were looked at, amplitudes taken off.
    """

    rotation: FloatArray
    shift: FloatArray
    mirrored: bool
    scale: float = 1.0
    match: float = 0.0

    @property
    def to_body(self) -> FloatArray:
        """(3, 3), by which rows of frequencies in the map are multiplied to be those in the body."""
        return self.rotation * (self.scale * (-1 if self.mirrored else 1))


def search_limit(target: Body, finest: float) -> float:
    """Frequency (1/Å) up to which places are looked for: `WAVES` across the body, or less where little is left beyond
    that."""
    return min(WAVES / target.diameter, finest / HELD_OUT)


def best_placements(target: Body, reference: Body, finest: float) -> list[Placement]:
    """The most promising placements of either hand, of all rotations and shifts.

    Parameters
    ----------
    target, reference : Body
    finest : float
        1/Å.

    Returns
    -------
    list of Placement
        Each a local optimum, best first.
    """
    found = _scan(target, reference, finest)
    data, spectrum = target.coefficients(finest), reference.spectrum(1.1 * finest)
    refined = [refined_placement(one, data, spectrum) for one in found]
    return _distinct(refined)


def _scan(target: Body, reference: Body, finest: float) -> list[Placement]:
    """The best of evenly spread rotations, each at its best shift."""
    side = FIELD * target.diameter
    places, size = _lattice(math.floor(finest * side))
    frequencies = places[:, ::-1] / side
    data = target.spectrum(1.1 * finest, SEARCH_PADDING).at(frequencies).conj()
    # of the plane x = 0 half is there
    doubled = data * np.where(places[:, 2] == 0, 2, 1).astype(np.float32)
    spectrum = reference.spectrum(1.1 * finest, SEARCH_PADDING)
    grid = np.zeros((size, size, size // 2 + 1), np.complex64)
    index = tuple(places.T % [[size], [size], [size]])
    norm = 2 * len(places)
    found = []
    for rotation in evenly_spread_rotations(ROTATIONS):
        values = spectrum.nearest(frequencies @ rotation)
        for mirrored in (False, True):
            grid[index] = (doubled * (values.conj() if mirrored else values)).conj()
            correlation = scipy.fft.irfftn(grid, (size,) * 3)
            peak = int(correlation.argmax())
            shift = np.array(np.unravel_index(peak, correlation.shape)[::-1])
            shift = (shift - size * (shift > size // 2)) * side / size
            match = float(correlation.flat[peak]) * size**3 / norm
            found.append(Placement(rotation, shift, mirrored, match=match))
    return _distinct(found)


def _lattice(radius: int) -> tuple[NDArray[np.int64], int]:
    """Points (z, y, x) of a half space within a radius, without the origin, and the size of a grid that holds them."""
    axis = np.arange(-radius, radius + 1)
    z, y, x = np.meshgrid(axis, axis, np.arange(radius + 1), indexing="ij")
    half = (x > 0) | (y > 0) | ((y == 0) & (z > 0))
    inside = half & (z**2 + y**2 + x**2 <= radius**2)
    return np.stack([z[inside], y[inside], x[inside]], axis=1), scipy.fft.next_fast_len(2 * radius + 2, real=True)


def _distinct(placements: Sequence[Placement]) -> list[Placement]:
    """The best of each hand that are not the same."""
    kept: list[Placement] = []
    for one in sorted(placements, key=lambda one: -one.match):
        mine = [other for other in kept if other.mirrored == one.mirrored]
        if len(mine) < FOLLOWED and not _near(one, mine):
            kept.append(one)
        elif len(kept) == 2 * FOLLOWED:
            break
    return kept


def _near(one: Placement, others: Sequence[Placement]) -> bool:
    if not others:
        return False
    rotations = np.stack([other.rotation for other in others])
    return bool((angular_distance(np.broadcast_to(one.rotation, rotations.shape), rotations) < APART).any())


def refined_placement(
    start: Placement, data: tuple[FloatArray, ComplexArray], spectrum: Spectrum, *, scaled: bool = False
) -> Placement:
    """The local optimum of a placement: Levenberg and Marquardt's method on rotation, shift and scale.

    Parameters
    ----------
    start : Placement
    data : (m, 3) float64 and (m,) complex64
        Frequencies (1/Å) and coefficients of the map, amplitudes taken off.
    spectrum : Spectrum
        Of the body, amplitudes taken off.
    scaled : bool
        The scale is free too.

    Returns
    -------
    Placement
    """
    best, damping = replace(start, match=match_of(start, data, spectrum)), FIRST_DAMPING
    free = 7 if scaled else 6
    normal, slope = _normal_equations(best, data, spectrum)
    for _ in range(STEPS):
        step = np.zeros(7)
        damped = normal[:free, :free] + damping * np.diag(np.diag(normal)[:free])
        step[:free] = np.linalg.solve(damped, slope[:free])
        tried = _moved(best, step)
        match = match_of(tried, data, spectrum)
        if match <= best.match:
            damping *= FAILURE
            if damping > 1e6:
                break
            continue
        gain, best, damping = match - best.match, replace(tried, match=match), damping * SUCCESS
        if gain < LEAST_GAIN:
            break
        normal, slope = _normal_equations(best, data, spectrum)
    return best


def match_of(placement: Placement, data: tuple[FloatArray, ComplexArray], spectrum: Spectrum) -> float:
    """Correlation of a placed body with a map's coefficients."""
    frequencies, values = data
    model = spectrum.at(frequencies @ placement.to_body) * _phases(frequencies, placement.shift)
    power = float((np.abs(model) ** 2).sum()) * float((np.abs(values) ** 2).sum())
    return float((values.conj() * model).real.sum()) / math.sqrt(max(power, 1e-30))


def _phases(frequencies: FloatArray, shift: FloatArray) -> ComplexArray:
    return np.exp(-2j * np.pi * (frequencies @ shift)).astype(np.complex64)


def _normal_equations(
    placement: Placement, data: tuple[FloatArray, ComplexArray], spectrum: Spectrum
) -> tuple[FloatArray, FloatArray]:
    """Of the amplitude's best fit, by rotation vector (about the map's axes), shift and logarithm of the scale."""
    frequencies, values = data
    places = frequencies @ placement.to_body
    model, slopes = spectrum.with_gradients(places)
    phases = _phases(frequencies, placement.shift)
    # R ← exp(ω) R takes frequencies k to k + k × ω
    turned = slopes @ placement.to_body.T
    model = model * phases
    columns = [
        *(phases[:, None] * np.cross(turned, frequencies)).T,
        *(-2j * np.pi * frequencies * model[:, None]).T,
        phases * (slopes * places).sum(axis=1),
    ]
    jacobian = np.stack(columns, axis=1)
    power = float((np.abs(model) ** 2).sum())
    amplitude = float((model.conj() * values).real.sum()) / max(power, 1e-30)
    along = (jacobian.conj() * model[:, None]).real.sum(axis=0)
    normal = (jacobian.conj().T @ jacobian).real - np.outer(along, along) / power
    slope = (jacobian.conj() * (values - amplitude * model)[:, None]).real.sum(axis=0)
    return normal.astype(np.float64), slope.astype(np.float64) / max(amplitude, 1e-6)


def _moved(placement: Placement, step: FloatArray) -> Placement:
    rotation = Rotation.from_rotvec(step[:3]).as_matrix() @ placement.rotation
    return replace(
        placement,
        rotation=rotation,
        shift=placement.shift + step[3:6],
        scale=placement.scale * float(np.exp(step[6])),
    )
