"""Poses and labels against the truth of a simulated set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.errors import InputError
from drgnalign.geometry import angular_distance, global_rotation
from drgnalign.heterogeneity.match import adjusted_rand_index
from drgnalign.particles import Particles


def score_particles(truth: Particles, estimate: Particles) -> dict[str, Any]:
    """Errors of poses and agreement of labels.

    Maps of one molecule may differ by one rotation and one translation that no particle knows of; both are fitted
    and removed first.

    Parameters
    ----------
    truth, estimate : Particles
        True states in ``rlnClassNumber`` of `truth`; the images of `estimate` are some of these, in any order.

    Returns
    -------
    dict
        ``particles`` and ``true_particles``: how many the estimate and the truth have; of those that are no junk
        (``drgnTrueJunk`` of `truth`, if it says so) ``rotation_degrees`` and ``shift_angstrom``: median, p90, mean;
        ``global_rotation_degrees``; ``label_ari`` over particles that have a label (None if none has);
        ``unassigned``; ``states``: per true state its number of particles and its median errors. ``junk``:
        ``particles`` that are, the share of them that `estimate` leaves out (``found``), and that of the others
        (``good_left_out``); None where the truth does not know.

    Raises
    ------
    InputError
        Poses are missing or no numbers, `truth` has no states, an image of `estimate` is none of `truth`, `truth` has
        images twice and the rows are not the same, or all images of `estimate` are junk.
    """
    for particles in (truth, estimate):
        particles.require_poses()
        particles.refuse_not_finite()
    if "rlnClassNumber" not in truth.table:
        problem = "has no true states (rlnClassNumber)"
        raise InputError(truth.path, problem, "give the truth first, such as truth.star of `drgnalign simulate`")
    true_particles = len(truth)
    truth, everyone = _rows_of(truth, estimate), len(estimate)
    good = (truth.table.get("drgnTrueJunk", pd.Series("no", truth.table.index)) == "no").to_numpy()
    if not good.any():
        raise InputError(estimate.path, "all its images are junk, which has no pose", "give some that are none")
    junk = _junk(good, estimate.left_out()) if "drgnTrueJunk" in truth.table else None
    truth, estimate = truth.select(good), estimate.select(good)
    turn = global_rotation(truth.rotations(), estimate.rotations())
    rotation = angular_distance(truth.rotations(), turn @ estimate.rotations())
    shift = shift_errors(truth, estimate) * truth.pixel_size
    states = truth.cluster_labels()
    labels = estimate.cluster_labels() if "rlnClassNumber" in estimate.table else np.zeros(len(states), np.int64)
    labelled = labels > 0
    return {
        "particles": everyone,
        "true_particles": true_particles,
        "rotation_degrees": _summary(rotation),
        "shift_angstrom": _summary(shift),
        "global_rotation_degrees": float(angular_distance(turn[None], np.eye(3)[None])[0]),
        "label_ari": adjusted_rand_index(states[labelled], labels[labelled]) if labelled.any() else None,
        "unassigned": int((~labelled).sum()),
        "states": {
            int(state): {
                "particles": int((states == state).sum()),
                "rotation_median_degrees": float(np.median(rotation[states == state])),
                "shift_median_angstrom": float(np.median(shift[states == state])),
            }
            for state in np.unique(states)
        },
        "junk": junk,
    }


def _junk(good: NDArray[np.bool_], left_out: NDArray[np.bool_]) -> dict[str, float | None]:
    """Of all that are not good."""
    return {
        "particles": int((~good).sum()),
        "found": float(left_out[~good].mean()) if not good.all() else None,
        "good_left_out": float(left_out[good].mean()),
    }


def shift_errors(truth: Particles, estimate: Particles) -> NDArray[np.float64]:
    """Length (N,), in px, of each displacement's error after removing a common translation of the volume.

    A translation T of the volume displaces image i by the first two components of Rᵢᵀ T; T is the least-squares fit.
    """
    difference = estimate.displacements() - truth.displacements()
    # (Rᵀ T)₀₁: the first two columns of R, transposed
    design = np.swapaxes(truth.rotations()[:, :, :2], 1, 2).reshape(-1, 3)
    translation = np.linalg.lstsq(design, difference.ravel(), rcond=None)[0]
    return np.linalg.norm(difference - (design @ translation).reshape(-1, 2), axis=1)


def _summary(errors: NDArray[np.float64]) -> dict[str, float]:
    return {
        "median": float(np.median(errors)),
        "p90": float(np.percentile(errors, 90)),
        "mean": float(np.mean(errors)),
    }


def _rows_of(truth: Particles, estimate: Particles) -> Particles:
    """The rows of the truth that the estimate's images have."""
    both = [pd.MultiIndex.from_arrays(particles.image_locations()) for particles in (truth, estimate)]
    if both[0].equals(both[1]):
        return truth
    if not both[0].is_unique:
        problem = "it holds an image twice, so that rows cannot be found by their images"
        raise InputError(truth.path, problem, "score a file that lists the same images in the same order")
    rows = both[0].get_indexer(both[1])
    if (rows < 0).any():
        row = int((rows < 0).argmax())
        problem = f"row {row + 1} names an image that {truth.path} does not have ({(rows < 0).sum()} such rows)"
        raise InputError(estimate.path, problem, "score particles of that file, or some of them")
    return truth.select(rows)
