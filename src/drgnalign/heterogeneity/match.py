"""The same name for the same cluster from round to round."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

import numpy as np
import pandas as pd
import scipy
from numpy.typing import ArrayLike, NDArray

from drgnalign.arrays import IntArray


@dataclass
class Matching:
    """How the clusters of a round follow from the previous round's.

    Attributes
    ----------
    labels : (N,) int64
        The current clusters under matched names, 0 = unassigned.
    counterparts : dict
        For each label in `labels` but 0, the previous cluster that it continues (the same number), or None.
    ari : float or None
        Adjusted Rand index over the particles assigned in both rounds; None where there are none.
    overlap : DataFrame
        Particles by previous label (rows) and label in `labels` (columns), 0 among both; of those counted.
    """

    labels: IntArray
    counterparts: dict[int, int | None]
    ari: float | None
    overlap: pd.DataFrame


def match_labels(
    previous: ArrayLike, current: ArrayLike, used: Iterable[int] = (), counted: NDArray[np.bool_] | None = None
) -> Matching:
    """Rename clusters after those of the previous round with which they share most particles.

    The one-to-one assignment maximises the number of shared particles (Hungarian method). A cluster that has
    no counterpart gets the lowest number that no cluster ever had.

    Parameters
    ----------
    previous, current : (N,) array_like of int
        Labels of the same particles, 0 = unassigned.
    used : iterable of int
        Labels of all rounds so far; those in `previous` count by themselves.
    counted : (N,) bool, optional
        Particles that agreement and overlap are of: those that are not left out. Default: all.

    Returns
    -------
    Matching

    Raises
    ------
    ValueError
        Different numbers of particles.
    """
    before, now = np.asarray(previous, dtype=np.int64), np.asarray(current, dtype=np.int64)
    if before.shape != now.shape:
        raise ValueError(f"labels of {before.size} and of {now.size} particles cannot be matched")
    successors = _assign(before, now)
    taken = {*used, *before.tolist(), 0}
    unused = (label for label in count(1) if label not in taken)
    labels = np.zeros_like(now)
    counterparts: dict[int, int | None] = {}
    for old_name in np.unique(now[now > 0]).tolist():
        counterpart = successors.get(old_name)
        label = next(unused) if counterpart is None else counterpart
        labels[now == old_name] = label
        counterparts[label] = counterpart
    counted = np.ones(len(now), np.bool_) if counted is None else counted
    both = (before > 0) & (now > 0) & counted
    overlap = pd.crosstab(pd.Series(before[counted], name="previous"), pd.Series(labels[counted], name="current"))
    ari = adjusted_rand_index(before[both], now[both]) if both.any() else None
    return Matching(labels, dict(sorted(counterparts.items())), ari, overlap)


def adjusted_rand_index(labels: ArrayLike, others: ArrayLike) -> float:
    """How far two labellings (N,) agree whatever the names: 1 = the same groups, 0 = as by chance."""
    from sklearn.metrics import adjusted_rand_score  # slow to import, and many steps only read what others found

    return float(adjusted_rand_score(labels, others))


def _assign(before: IntArray, now: IntArray) -> dict[int, int]:
    """Previous label by current label, of pairs that share at least one particle."""
    both = (before > 0) & (now > 0)
    old, rows = np.unique(before[both], return_inverse=True)
    new, columns = np.unique(now[both], return_inverse=True)
    shared = np.zeros((len(old), len(new)), dtype=np.int64)
    np.add.at(shared, (rows, columns), 1)
    pairs = zip(*scipy.optimize.linear_sum_assignment(shared, maximize=True), strict=True)
    return {int(new[column]): int(old[row]) for row, column in pairs if shared[row, column] > 0}
