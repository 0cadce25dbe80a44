"""What became of junk, of lost poses, and of a minority's own domain, against the truth."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from case import PART, Case
from numpy.typing import NDArray

from drgnalign.heterogeneity.assign import Assignment
from drgnalign.particles import Particles
from drgnalign.simulate.nuisances import JUNK, LOST

# Edges of the posteriors that calibration is told by.
POSTERIORS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
# A pose that is this close to the true one is back where it belongs, degrees: few good ones are further off.
BACK = 6.0


def judged_junk(case: Case, labels: NDArray[np.int64], particles: Particles) -> dict[str, Any]:
    """Shares that were left out (label 0) of junk by kind, of lost poses and of the good; lost poses brought back."""
    left_out = labels == 0
    record: dict[str, Any] = {"left_out": int(left_out.sum()), "good_lost": share(left_out[case.good])}
    junk, lost = (case.truth.table.get(f"drgnTrue{kind}") for kind in ("Junk", "Lost"))
    if junk is None or lost is None:
        return record
    record["junk_found"] = {kind: share(left_out[junk == kind]) for kind in JUNK}
    record["junk_found"]["all"] = share(left_out[case.states == 0])
    back = ~left_out & (case.rotation_errors(particles) < BACK)
    record["lost_found"] = {kind: share(left_out[lost == kind]) for kind in LOST}
    record["lost_back"] = {kind: share(back[lost == kind]) for kind in LOST}
    record["lost_found_or_back"] = share((left_out | back)[lost != "no"])
    return record


def share(which: NDArray[np.bool_]) -> float | None:
    """None of nobody."""
    return round(float(which.mean()), 4) if which.size else None


def calibration(case: Case, found: Assignment) -> list[dict[str, float]]:
    """Of good particles by the posterior of their label: how many, the posteriors' mean, and the share that is right.

    Right are those of the state that most of their cluster are of.
    """
    kept = case.good & ~found.left_out
    posteriors, right = found.posteriors.max(axis=1), np.zeros(len(kept), np.bool_)
    for label in found.clusters:
        mine = kept & (found.labels == label)
        right[mine] = case.states[mine] == np.bincount(case.states[mine], minlength=1).argmax()
    told = []
    for low, high in pairwise(POSTERIORS):
        some = kept & (posteriors > low) & (posteriors <= high)
        if some.any():
            means = round(float(posteriors[some].mean()), 4), round(float(right[some].mean()), 4)
            told.append({"up_to": high, "particles": int(some.sum()), "posterior": means[0], "right": means[1]})
    return told


def judged_domain(case: Case, labels: NDArray[np.int64]) -> dict[str, float]:
    """How strong the second state's domain is in the map of its cluster, beside the rest of that map.

    And what part of it the consensus's mask covers.
    """
    rest = case.experiment.true_maps[1]
    domain = case.experiment.true_maps[2] - rest
    cluster = np.bincount(labels[case.good & (case.states == 2)]).argmax()
    sums = case.experiment.reconstruct(case.particles.select(np.flatnonzero(labels == cluster)))
    found = 0.5 * (sums.half_map(1) + sums.half_map(2))
    inside, outside = domain > PART * domain.max(), rest > PART * rest.max()
    return {
        "density": round(_slope(found[inside], domain[inside]) / _slope(found[outside], rest[outside]), 3),
        "in_mask": round(float(case.mask[inside].mean()), 3),
    }


def _slope(found: NDArray[np.float32], true: NDArray[np.float32]) -> float:
    return float((found * true).sum() / (true**2).sum())
