"""Point scatterers, and made-up particles of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

from drgnalign.arrays import FloatArray
from drgnalign.errors import InputError


class Specimen(NamedTuple):
    """Point scatterers: positions (M, 3) as (x, y, z) in Å from the box centre, and weights (M,)."""

    points: FloatArray
    weights: FloatArray


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


def swinging_states(positions: int, degrees: float = 35.0, seed: int = 0) -> list[Specimen]:
    """A motion: the second phantom state, whose lobe swings about z by so many degrees each way.

    Parameters
    ----------
    positions : int
        Evenly spaced.
    degrees : float
    seed : int
        As of `phantom_states`.

    Returns
    -------
    list of Specimen
        One a position, in their order.
    """
    body, whole = phantom_states(2, seed)
    lobe, made = slice(len(body.points), None), []
    angles = np.linspace(-degrees, degrees, positions)
    for turn in scipy.spatial.transform.Rotation.from_euler("z", angles[:, None], degrees=True):
        points = whole.points.copy()
        points[lobe] = turn.apply(points[lobe])
        made.append(Specimen(points, whole.weights))
    return made


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
