"""Before the first round: what is junk, and which particles have lost their poses?

Junk takes clusters of the latent space for itself, and an image with a wrong pose is as good as none. Both show in the
amplitude with which an image holds the consensus (`drgnalign.heterogeneity.contrast`). Before such particles are left
out, their poses are looked for once among all orientations.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drgnalign.heterogeneity.assign import Assigner, Assignment, AssignmentSettings
from drgnalign.heterogeneity.lost import looked_for, with_found_poses
from drgnalign.heterogeneity.states import assigner_for, with_amplitudes
from drgnalign.particles import Particles


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
    lost = last.left_out | last.aside
    if not lost.any():
        return Screening(assigner.particles, 0, lost, last)
    particles, back, _ = looked_for(assigner, lost, last.labels, [0])
    last = assigner.at(particles).run(everyone, last.left_out & ~back, patience=1)
    return Screening(particles, int(lost.sum()), back & ~last.left_out, last)


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
        With ``drgnAmplitude``, ``drgnJunkPosterior``, ``drgnLeftOut``, ``drgnSearched``, and better poses of those
        brought back.
    record : dict
    """
    with assigner_for(particles, stack, references, settings) as assigner:
        found = screened(assigner)
    moved = with_found_poses(particles, found.particles, found.outcome.left_out)
    return with_amplitudes(moved, found.outcome), found.record
