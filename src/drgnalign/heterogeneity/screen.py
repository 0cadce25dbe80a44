"""Before the first round: what is junk, and which particles have lost their poses?

Junk takes clusters of the latent space for itself, and an image with a wrong pose is as good as none. Both show in the
amplitude with which an image holds the consensus (`drgnalign.heterogeneity.contrast`). Before such particles are left
out, their poses are looked for once among all orientations.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drgnalign.heterogeneity.assign import Assigner, Assignment, AssignmentSettings
from drgnalign.heterogeneity.states import assigner_for, with_amplitudes
from drgnalign.particles import ANGLES, ORIGINS, Particles

FloatArray = NDArray[np.float64]
# Of the poses that are taken for found.
FALSE = 0.05


class Screening(NamedTuple):
    """What was found.

    Attributes
    ----------
    particles : Particles
        The assigner's, with better poses of those that were brought back.
    searched : int
        Particles whose poses were looked for.
    brought_back : (N,) bool
        Of these, which match the consensus at the pose that was found.
    outcome : Assignment
        To the one consensus.
    """

    particles: Particles
    searched: int
    brought_back: NDArray[np.bool_]
    outcome: Assignment

    @property
    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        contrast = self.outcome.contrast
        return {
            "contrast_mean": contrast.mean,
            "contrast_spread": contrast.spread,
            "searched": self.searched,
            "brought_back": int(self.brought_back.sum()),
            "left_out": int(self.outcome.left_out.sum()),
        }


def screened(assigner: Assigner) -> Screening:
    """Look for junk and lost poses among an assigner's particles."""
    everyone = np.ones(len(assigner.particles), np.int64)
    first = assigner.run(everyone, patience=1)
    assigner = assigner.narrowed([first.labels])
    last = assigner.run(everyone, first.left_out, patience=1)
    lost, particles = last.left_out, assigner.particles
    back = np.zeros(len(particles), bool)
    if lost.any():
        rows = np.flatnonzero(lost)
        found = assigner.searched(rows, last.labels)
        matching = beyond_luck(found.gains, found.decoys) & (found.gains > found.given)
        back[rows[matching]] = True
        particles = _moved(particles, rows[matching], found.particles.select(matching))
        last = assigner.at(particles).run(everyone, lost & ~back, patience=1)
        back &= ~last.left_out
    return Screening(particles, int(lost.sum()), back, last)


def beyond_luck(gains: FloatArray, decoys: FloatArray) -> NDArray[np.bool_]:
    """Which of some matches are better than luck makes them: of all that are as good, no more than `FALSE` are false.

    Each is held against its own decoy, as an image of more contrast has more of both. Where there is nothing to be
    found either of the two may be the better one; so there are as many false ones above a margin as decoys that win by
    it.

    Parameters
    ----------
    gains, decoys : (n,) float64
        What is looked for, and what is known to be false, of the same images.

    Returns
    -------
    (n,) bool
        Barber & Candès (2015), Ann. Stat. 43, 2055, choose variables so.
    """
    margins = gains - decoys
    order = np.argsort(-np.abs(margins))
    false, found = np.cumsum(margins[order] < 0), np.cumsum(margins[order] > 0)
    enough = np.flatnonzero(1 + false <= FALSE * found)
    return margins >= np.abs(margins[order[enough[-1]]]) if len(enough) else np.zeros(len(margins), bool)


def screen(
    particles: Particles, stack: Path, references: Path, settings: AssignmentSettings
) -> tuple[Particles, dict[str, Any]]:
    """Particles with what was found about each, and the record of it.

    Parameters
    ----------
    particles : Particles
        At consensus poses.
    stack : Path
        Images for assignment, white protein, in their order.
    references : Path
        Folder of the last pass.
    settings : AssignmentSettings

    Returns
    -------
    particles : Particles
        With ``drgnAmplitude``, ``drgnJunkPosterior``, ``drgnLeftOut``, and better poses of those brought back.
    record : dict
    """
    with assigner_for(particles, stack, references, settings) as assigner:
        found = screened(assigner)
    back = np.flatnonzero(found.brought_back)
    return with_amplitudes(_moved(particles, back, found.particles.select(back)), found.outcome), found.record


def _moved(particles: Particles, rows: NDArray[np.int64], others: Particles) -> Particles:
    """Particles of which those in some rows have the poses of others, whose images may be of another size."""
    table, poses = particles.table.copy(), [*ANGLES, *ORIGINS]
    table[poses] = table[poses].astype(np.float64)
    table.loc[table.index[rows], poses] = others.table[poses].to_numpy(np.float64)
    return replace(particles, table=table)
