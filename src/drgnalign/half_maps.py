"""What half maps are worth: of how many particles they have to be, and whether their half sets are independent.

Half sets that are dealt at import are not independent at once: the poses may come from one map of all particles, to
which noise was aligned too. They become so as far as that is forgotten. 2,000 images (64 px at 4 Å) were aligned to one
map four or eight times, down to 10 Å, and dealt into half sets (``benchmarks/half_sets.py``, three seeds). Noise alone
claimed 9.7 Å then, where it claimed anything; images with a particle at signal-to-noise .005 9.7 to 9.8 Å for 18 to 19
Å. To refine each half set against its own map to what was claimed changed little: 10.0 to 10.4 Å after four passes. A
pass at a coarser limit L moves poses by so much that the finer shells no longer fit. The finest claim then, in that
pass and two or three more at finer limits, was

====  =====  ===  ======  ===  ========
L, Å  noise       .005         true, Å
====  =====  ===  ======  ===  ========
14    10.1   1.4  10.2    1.4  18 to 19
18    13.6   1.3  13.4    1.3  18 to 20
24    20.1   1.2  14.2    1.7  18 to 20
30    22.3   1.3  19.2    1.6  21
40    23.1   1.7  21.7    1.8  24 to 26
====  =====  ===  ======  ===  ========

with L over it beside. At signal-to-noise .02, where claims were finer than half of L, 66 times, they were the truth
within 8 %, but for one of 15.5 Å for 17.2 Å right after a pass at 40 Å. So a figure counts as one of independent
halves where it is finer by a factor of two than the coarsest limit to which the poses were refined, each half set
against its own map. It is the rule of the gold standard: halves are independent beyond the resolution that their first
reference had.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from drgnalign.arrays import IntArray
from drgnalign.particles import HALVES, REFINED_FROM, Particles

# Ending, after their prefix, of the star file beside half maps whose half sets were dealt: the particles with these.
DIVIDED = "_particles.star"
# A half map of fewer particles than this says nothing, and its FSC less.
FEWEST_IN_HALF = 10
# What half maps are worth.
INDEPENDENT, DEALT_AT_IMPORT, NOT_INDEPENDENT = "independent", "dealt at import", "not independent"
# In the optics table: dealt at import; one image in both; both aligned to one map. Nothing is known against the others:
# they have no mark, or beside groups that have one OF_FILE.
DEALT, SHARED, JOINT, OF_FILE = "dealt", "shared", "joint", "file"
# Half sets that were dealt at import are independent where a claim is finer by this factor than the coarsest limit to
# which poses were refined since.
FORGETS = 2.0
# Share of a cluster's particles that may have been refined to a finer limit only.
NOT_REFINED = 0.1


def smaller_half(halves: IntArray) -> int:
    """How many particles the smaller one of two half sets has, of whose numbers these are."""
    return min(int((halves == half).sum()) for half in (1, 2))


def marked(particles: Particles, mark: str) -> Particles:
    """Particles whose optics table says what their half sets are worth; those dealt are refined to no limit yet."""
    table = particles.table.assign(**{REFINED_FROM: 0.0}) if mark == DEALT else particles.table
    return replace(particles, table=table, optics=particles.optics.assign(**{HALVES: mark}))


def refined_at(particles: Particles, limit: float) -> Particles:
    """Particles after a pass of each half set against its own map, up to `limit` Å; those left out were not in it."""
    if REFINED_FROM not in particles.table:
        return particles
    coarsest = np.fmax(particles.table[REFINED_FROM].to_numpy(np.float64), np.where(particles.left_out(), 0.0, limit))
    return replace(particles, table=particles.table.assign(**{REFINED_FROM: coarsest}))


def standing(particles: Particles, members: NDArray[np.bool_], resolution: float | None) -> str:
    """What the resolution of some particles' half maps is worth, by what is known of their half sets.

    Parameters
    ----------
    particles : Particles
    members : (N,) bool
    resolution : float or None
        Å; None where the half maps do not agree.

    Returns
    -------
    str
        ``independent``, ``dealt at import`` or ``not independent``.
    """
    marks = set(particles.optics[HALVES]) if HALVES in particles.optics else set()
    if marks & {SHARED, JOINT}:
        return NOT_INDEPENDENT
    if DEALT not in marks:
        return INDEPENDENT
    if resolution is None or REFINED_FROM not in particles.table or not members.any():
        return DEALT_AT_IMPORT
    coarsest = np.nan_to_num(particles.table[REFINED_FROM].to_numpy(np.float64)[members])
    forgotten = FORGETS * resolution <= np.quantile(coarsest, NOT_REFINED)
    return INDEPENDENT if forgotten else DEALT_AT_IMPORT


def worst(standings: list[str]) -> str:
    """Of several half maps together."""
    return next((word for word in (NOT_INDEPENDENT, DEALT_AT_IMPORT) if word in standings), INDEPENDENT)
