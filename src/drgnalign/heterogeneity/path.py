"""Maps along a motion: which particles show a place of it, and how far they lie apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from drgnalign.arrays import FloatArray, IntArray
from drgnalign.errors import InputError
from drgnalign.half_maps import smaller_half
from drgnalign.particles import OCCUPANCY, PATH, PATH_ERROR, Particles
from drgnalign.run.latent import BETWEEN

# Of the whole path: σ of the neighbourhood that a map is made of. Maps of a hinge are alike from .04 to .1.
WIDTH = 1.5 / 24
# Places of a motion at which poses are refined, if each has so many particles of each half set: poses fit the noise of
# references of fewer.
PLACES, LEAST_AT_PLACE = 8, 250
# A share below this adds nothing to a map worth the time.
LEAST_SHARE = 0.01


def points_along(particles: Particles, number: int) -> FloatArray:
    """Where on the path (0 … 1) maps are made: evenly spaced, from the 5th to the 95th percentile of the particles."""
    if PATH not in particles.table:
        problem = f"it has no {PATH}: the linear model of its round saw no motion, or there was none"
        raise InputError(particles.path, problem, "give the particles of a round that saw one")
    places = particles.table[PATH].to_numpy(np.float64)[~particles.left_out()]
    low, high = np.percentile(places[np.isfinite(places)], BETWEEN)
    return np.linspace(low, high, number)


def move_along(particles: Particles, members: NDArray[np.bool_]) -> bool:
    """Have most of some particles (N,) a place on the motion? In a set without places all have."""
    if PATH not in particles.table:
        return True
    return 2 * int(np.isfinite(particles.table[PATH].to_numpy(np.float64)[members]).sum()) > int(members.sum())


def nearest_places(particles: Particles) -> IntArray | None:
    """The place of the motion that each particle is refined at.

    Parameters
    ----------
    particles : Particles

    Returns
    -------
    (N,) int64
        From 1; 0 of those that are left out, or have no place on the path. None where no motion was seen, or there are
        too few particles for two places.
    """
    kept = ~particles.left_out()
    number = min(smaller_half(particles.half_sets()[kept]) // LEAST_AT_PLACE, PLACES)
    if PATH not in particles.table or number < 2:
        return None
    places, along = points_along(particles, number), particles.table[PATH].to_numpy(np.float64)
    nearest = 1 + np.searchsorted((places[1:] + places[:-1]) / 2, along)
    return np.where(kept & np.isfinite(along), nearest, 0)


def shown_at(particles: Particles, place: float) -> tuple[Particles, float]:
    """The particles that show a place of the path, with their shares in its map as occupancies.

    A share is that of the neighbourhood's kernel in what is known of the particle's place, which is normal: that of a
    place that is known badly is small and falls off slowly.

    Parameters
    ----------
    particles : Particles
        With ``drgnPath`` and ``drgnPathError``.
    place : float
        0 … 1.

    Returns
    -------
    Particles
        Those with a share worth the time.
    float
        Standard deviation of the true places of what is in the map, in parts of the path: of the neighbourhood and of
        what is not known of each particle.
    """
    places, errors = (particles.table[name].to_numpy(np.float64) for name in (PATH, PATH_ERROR))
    variances = WIDTH**2 + errors**2
    shares = WIDTH / np.sqrt(variances) * np.exp(-0.5 * (places - place) ** 2 / variances)
    rows = np.flatnonzero(np.where(particles.left_out(), 0.0, np.nan_to_num(shares)) >= LEAST_SHARE)
    chosen = particles.select(rows)
    squares = (places[rows] - place) ** 2 + errors[rows] ** 2
    spread = float(np.sqrt(np.average(squares, weights=shares[rows]))) if len(rows) else 0.0
    return replace(chosen, table=chosen.table.assign(**{OCCUPANCY: shares[rows]})), spread
