"""Before the first round: what is junk, and which particles have lost their poses?

Junk takes clusters of the latent space for itself, and an image with a wrong pose is as good as none. Both show in the
amplitude with which an image holds the consensus (`drgnalign.heterogeneity.contrast`). Before such particles are left
out, their poses are looked for once among all orientations.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drgnalign.heterogeneity.assign import Assigner, Assignment, AssignmentSettings
from drgnalign.heterogeneity.contrast import Caution
from drgnalign.heterogeneity.lost import looked_for, with_found_poses, with_searched
from drgnalign.heterogeneity.states import assigner_for, with_amplitudes
from drgnalign.particles import Particles
from drgnalign.run.records import ScreeningRecord


class Screening(NamedTuple):
    """What was found.

    Attributes
    ----------
    particles : Particles
        The assigner's, with better poses of those that were brought back.
    searched, brought_back : (N,) bool
        Whose poses were looked for, and who of these is as good a match as others at the pose found.
    outcome : Assignment
        To the one consensus.
    """

    particles: Particles
    searched: NDArray[np.bool_]
    brought_back: NDArray[np.bool_]
    outcome: Assignment

    @property
    def record(self) -> ScreeningRecord:
        contrast = self.outcome.contrast
        return ScreeningRecord(
            contrast_mean=contrast.mean,
            contrast_spread=contrast.spread,
            searched=int(self.searched.sum()),
            brought_back=int(self.brought_back.sum()),
            left_out=int(self.outcome.left_out.sum()),
        )


def screened(assigner: Assigner, keep_poses: bool = False) -> Screening:
    """Look for junk and lost poses among an assigner's particles.

    States have no maps yet, and one that has less than others may match the consensus badly, as does a particle that
    has moved: who does is looked for, but left out only where nothing of the consensus shows. And a pose is believed
    only if the particle matches as well as others there: what has moved matches well in parts at best.

    Parameters
    ----------
    assigner : Assigner
    keep_poses : bool
        Look for junk alone.
    """
    everyone, caution = np.ones(len(assigner.particles), np.int64), Caution.POSES if keep_poses else Caution.STATES
    first = assigner.run(everyone, patience=1, caution=caution)
    assigner = assigner.narrowed([first.labels])
    last = assigner.run(everyone, first.left_out, patience=1, caution=caution)
    searched = (last.left_out | last.doubtful) & ~assigner.particles.excluded()
    if keep_poses or not searched.any():
        nobody = np.zeros_like(searched)
        return Screening(assigner.particles, searched=nobody, brought_back=nobody, outcome=last)
    given = assigner.particles
    moved, back, _ = looked_for(assigner, searched, last.labels, [0])
    there = assigner.at(moved).run(everyone, last.left_out & ~back, patience=1, caution=caution)
    back &= ~there.left_out & there.whole
    particles = with_found_poses(given, moved, back)
    last = assigner.at(particles).run(everyone, last.left_out & ~back, patience=1, caution=caution)
    return Screening(particles, searched, back & ~last.left_out, last)


def screen(
    particles: Particles, stack: Path, references: Path, settings: AssignmentSettings, keep_poses: bool = False
) -> tuple[Particles, ScreeningRecord]:
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
    keep_poses : bool
        Look for junk alone: the consensus is poor until poses are refined.

    Returns
    -------
    particles : Particles
        With ``drgnAmplitude``, ``drgnJunkPosterior``, ``drgnLeftOut``, ``drgnSearched``, and better poses of those
        brought back.
    record : ScreeningRecord
    """
    with assigner_for(particles, stack, references, settings) as assigner:
        found = screened(assigner, keep_poses)
    moved = with_found_poses(particles, found.particles, found.brought_back)
    return with_amplitudes(with_searched(moved, found.searched), found.outcome), found.record
