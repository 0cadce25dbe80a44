"""How many states do the images support? Assignments from several starts, and the evidence for each cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from drgnalign.heterogeneity.assign import Assigner, Assignment

IntArray = NDArray[np.int64]

# Adjusted Rand index: discrete states are found again from another start (at least .98 was measured, at a
# signal-to-noise ratio of .05), cuts through a continuum are not (at most .86).
AGREEMENT = 0.92
DIFFERENCE_AT = (40.0, 25.0)


@dataclass(frozen=True)
class States:
    """The clusters that are left, and what speaks for them.

    Attributes
    ----------
    assignment : Assignment
        The one with the highest likelihood.
    agreement : list of float
        Adjusted Rand index of its labels with those from each of the other starts.
    separations : dict
        See `Assigner.separations`.
    """

    assignment: Assignment
    agreement: list[float]
    separations: dict[tuple[int, int], float]

    @property
    def verdict(self) -> str:
        """``one state``, ``N states``, or why no number can be given."""
        number = len(self.assignment.clusters)
        if number == 1:
            return "one state"
        if not self.assignment.at_rest or (self.agreement and np.median(self.agreement) < AGREEMENT):
            return (
                "a continuum that discrete states do not describe, or too little signal: other starts lead to other "
                "clusters"
            )
        return f"{number} states"


def find_states(assigner: Assigner, starts: Sequence[IntArray], k: int | None) -> States:
    """Assign from several starts, keep the likeliest, and unite what the images do not tell apart.

    Two clusters are united where the images are likelier given their common map (`Assigner.separations` not above
    zero), and, while there are more than `k`, the two that lose least.

    Parameters
    ----------
    assigner : Assigner
    starts : sequence of (N,) int64
        Labels to start from, at least one.
    k : int or None
        Most clusters to keep; None keeps all that the images tell apart.

    Returns
    -------
    States
    """
    found = [_united(assigner, assigner.run(start), k) for start in starts]
    best, separations = max(found, key=lambda one: one[0].log_likelihood)
    others = [one for one, _ in found if one is not best]
    agreement = [float(adjusted_rand_score(best.labels, one.labels)) for one in others]
    return States(best, agreement, separations)


def _united(
    assigner: Assigner, assignment: Assignment, k: int | None
) -> tuple[Assignment, dict[tuple[int, int], float]]:
    while True:
        separations = assigner.separations(assignment.labels)
        if not separations:
            return assignment, separations
        sizes = dict(zip(*np.unique(assignment.labels, return_counts=True), strict=True))
        losses = {pair: gain * (sizes[pair[0]] + sizes[pair[1]]) for pair, gain in separations.items()}
        first, second = min(losses, key=losses.__getitem__)
        if losses[first, second] > 0 and (k is None or len(assignment.clusters) <= k):
            return assignment, separations
        assignment = assigner.run(np.where(assignment.labels == second, first, assignment.labels))


def evidence(states: States, angstrom: float) -> dict[str, Any]:
    """What speaks for the clusters, for the record.

    Parameters
    ----------
    states : States
    angstrom : float
        Width of the box.

    Returns
    -------
    dict
        JSON-ready: ``verdict``, ``states``, ``agreement`` with other starts, ``at_rest``, the ``passes``, and in
        ``clusters``, by label: ``particles``; ``difference_fsc_40`` and ``_25``, of the difference from the consensus
        between half sets (None beyond Nyquist); ``mean_posterior`` of its particles; ``separation_nats`` a particle
        from the cluster that is most like it (None where there is no other).
    """
    found = states.assignment
    clusters = {}
    for number, label in enumerate(found.clusters):
        mine = found.labels == label
        gains = [gain for pair, gain in states.separations.items() if label in pair]
        clusters[str(label)] = {
            "particles": int(mine.sum()),
            **_differences(found.difference_fsc[number], angstrom),
            "mean_posterior": float(found.posteriors[mine, number].mean()),
            "separation_nats": min(gains) if gains else None,
        }
    return {
        "verdict": states.verdict,
        "states": len(found.clusters),
        "agreement": states.agreement,
        "at_rest": found.at_rest,
        "log_likelihood": found.log_likelihood,
        "passes": [one._asdict() for one in found.passes],
        "clusters": clusters,
    }


def _differences(correlation: NDArray[np.float64], angstrom: float) -> dict[str, float | None]:
    shells = {resolution: round(angstrom / resolution) for resolution in DIFFERENCE_AT}
    return {
        f"difference_fsc_{resolution:g}": float(correlation[shell]) if shell < len(correlation) else None
        for resolution, shell in shells.items()
    }
