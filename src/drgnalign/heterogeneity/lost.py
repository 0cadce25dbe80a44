"""Before a particle is left out, its pose is looked for once among all orientations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drgnalign.arrays import FloatArray
from drgnalign.particles import SEARCHED, Particles

if TYPE_CHECKING:
    from drgnalign.heterogeneity.assign import Assigner

# Of the poses that are taken for found.
FALSE = 0.05


class LookedFor(NamedTuple):
    """What became of particles whose poses may be lost.

    Attributes
    ----------
    particles : Particles
        All, with the better poses.
    back : (N,) bool
        Which of them match a map at the pose that was found.
    clusters : (N,) int64
        Whose map that is; 0 of all others.
    """

    particles: Particles
    back: NDArray[np.bool_]
    clusters: NDArray[np.int64]


def looked_for(
    assigner: Assigner, lost: NDArray[np.bool_], labels: NDArray[np.int64], among: Sequence[int]
) -> LookedFor:
    """Look for the poses of some particles among all orientations.

    Parameters
    ----------
    assigner : Assigner
    lost : (N,) bool
        Which of its particles are looked for.
    labels : (N,) int64
        Who the maps are made of; 0 = left out.
    among : sequence of int
        The clusters in whose maps they are looked for; 0 = the consensus.
    """
    rows, back, clusters = np.flatnonzero(lost), np.zeros(len(lost), bool), np.zeros(len(lost), np.int64)
    found = assigner.searched(rows, labels, among)
    margin = margin_beyond_luck(found.gains, found.decoys)
    # nor is a pose given up that does nearly as well
    matching = found.gains - np.maximum(found.decoys, found.given) >= margin
    back[rows[matching]], clusters[rows[matching]] = True, found.clusters[matching]
    particles = assigner.particles.with_poses_of(rows[matching], found.particles.select(matching))
    return LookedFor(particles, back, clusters)


def with_found_poses(particles: Particles, found: Particles, back: NDArray[np.bool_]) -> Particles:
    """Particles of which those that are back (N,) have the poses of `found`, the same with images of another size."""
    rows = np.flatnonzero(back)
    return particles.with_poses_of(rows, found.select(rows))


def with_searched(particles: Particles, searched: NDArray[np.bool_]) -> Particles:
    """Particles with ``drgnSearched``, of those (N,) too that were looked for now."""
    searched = particles.searched() | searched
    return replace(particles, table=particles.table.assign(**{SEARCHED: searched.astype(np.int64)}))


def margin_beyond_luck(gains: FloatArray, decoys: FloatArray) -> float:
    """By how much matches have to be better than their decoys, so that no more than `FALSE` of them are luck.

    Each is held against its own decoy, as an image of more contrast has more of both. Where there is nothing to be
    found either of the two may be the better one; so there are as many false ones above a margin as decoys that win by
    it.

    Parameters
    ----------
    gains, decoys : (n,) float64
        What is looked for, and what is known to be false, of the same images.

    Returns
    -------
    float
        Infinite where no margin does. Barber & Candès (2015), Ann. Stat. 43, 2055, choose variables so.
    """
    margins = gains - decoys
    order = np.argsort(-np.abs(margins))
    false, found = np.cumsum(margins[order] < 0), np.cumsum(margins[order] > 0)
    enough = np.flatnonzero(1 + false <= FALSE * found)
    return float(np.abs(margins[order[enough[-1]]])) if len(enough) else np.inf
