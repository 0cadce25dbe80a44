"""What moves: all particles, or those of some points, beside states that do not.

A curve through a state and a motion is sparse between them, or hides them in the whole: points between which images lie
are told from others first, and a curve is sought among the images of those that belong together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from drgnalign.arrays import FloatArray, IntArray
from drgnalign.half_maps import smaller_half
from drgnalign.heterogeneity.curve import (
    FEWEST,
    PLACES,
    SAMPLE,
    STRETCH,
    WIDTHS,
    Curve,
    Gain,
    fit_curves,
    gain_over_points,
    is_motion,
)
from drgnalign.heterogeneity.known import Known
from drgnalign.heterogeneity.points import Points
from drgnalign.heterogeneity.turned import RIGID, rigid_fields

# Images lie between two points where a curve through those of both is at least as dense at its sparsest, on average
# over its first two widths: between states it was 0 to .12 of the mean, along motions .18 to .69.
CONNECTED = 0.14
# Images that a stretch of the way between two points would have, were they evenly spread: gaps in fewer are chance.
IN_STRETCH, LONGEST = 25, 32
# Standard errors that the gain of a part of the images has to be: of four states at poses 4° off one reached 6.6.
CERTAIN_OF_PART = 8


class Motion(NamedTuple):
    """A motion, and who takes part in it.

    Attributes
    ----------
    curve : Curve
    moving : (N,) bool
    """

    curve: Curve
    moving: NDArray[np.bool_]


class Search(NamedTuple):
    """What was found of motions.

    Attributes
    ----------
    gain : Gain
        Of the curve that was looked at: the motion's, else that of all images.
    groups : int
        Points, but those between which images lie as one.
    motion : Motion or None
    """

    gain: Gain
    groups: int
    motion: Motion | None


def find_motion(
    known: Known,
    points: Points,
    halves: IntArray,
    volumes: Mapping[int, NDArray[np.float32]],
    most: int,
    seed: int = 0,
) -> Search | None:
    """Look for a motion of all images, or of those of some points.

    Parameters
    ----------
    known : Known
        Of N images.
    points : Points
        Those that describe them.
    halves : (N,) int64
        Half sets.
    volumes : mapping of (1 + q, n, n, n) float32
        The model's mean and components, of each half set.
    most : int
        Points at most that a curve is held against.
    seed : int

    Returns
    -------
    Search or None
        None where there are too few images to tell. Of several motions that of the most images.
    """
    if smaller_half(halves) < FEWEST:
        return None
    labels = points.labels_of(known)
    groups = groups_of(known, points, labels, seed)
    if groups.max() == 0:
        return _searched(known, np.ones(len(labels), np.bool_), volumes, most, seed, 1)
    number, found = int(groups.max()) + 1, list[Search]()
    for group in range(number):
        its = np.isin(labels, 1 + np.flatnonzero(groups == group))
        if (groups == group).sum() > 1 and smaller_half(halves[its]) >= FEWEST:
            found.append(_searched(known, its, volumes, most, seed, number))
    # the first of the most images
    largest = max(found, key=_moving, default=None)
    if largest is not None and largest.motion is not None:
        return largest
    return Search(gain_over_points(known, most, seed), number, None)


def _moving(search: Search) -> int:
    """How many images move."""
    return 0 if search.motion is None else int(search.motion.moving.sum())


def _searched(
    known: Known,
    its: NDArray[np.bool_],
    volumes: Mapping[int, NDArray[np.float32]],
    most: int,
    seed: int,
    groups: int,
) -> Search:
    """Of some of the images (N,), or of all."""
    mine = known if its.all() else _some(known, its, seed)
    gain = gain_over_points(mine, most, seed)
    curve = fit_curves(mine, gain.widths, seed)[-1]
    certain = its.all() or gain.nats >= CERTAIN_OF_PART * gain.error
    moves = certain and is_motion(curve, gain, mine) and rigid_share(curve, volumes) < RIGID
    return Search(gain, groups, Motion(curve, its) if moves else None)


def rigid_share(curve: Curve, volumes: Mapping[int, NDArray[np.float32]]) -> float:
    """How much of a curve's change of the map (0…1) the particle's turning and shifting as a whole explains.

    Poses that are off blur a map to first order along its derivatives by the six parameters of a pose. Of the change
    along the curve's first principal axis this is the share of power in them, the mean over the half sets' maps.
    """
    middle = curve.shares @ curve.nodes
    off = (curve.nodes - middle) * np.sqrt(curve.shares)[:, None]
    along = np.linalg.svd(off, full_matrices=False)[2][0]
    shares = []
    for maps in volumes.values():
        change = np.tensordot(along, maps[1:], axes=1).ravel()
        fields = rigid_fields(maps[0] + np.tensordot(middle, maps[1:], axes=1))
        rest = change - fields.T @ np.linalg.lstsq(fields.T, change)[0]
        shares.append(1 - float(rest @ rest) / max(float(change @ change), np.finfo(np.float64).tiny))
    return float(np.mean(shares))


def groups_of(known: Known, points: Points, labels: IntArray, seed: int = 0) -> IntArray:
    """The group of each point (K,), from 0: of those between which images lie; `labels` (N,) say whose each image is.

    Looked at are the pairs of a spanning tree of the points, which is the shortest in the images' own measure.
    """
    count = len(points.shares)
    joined = np.zeros((count, count), np.bool_)
    tree = scipy.sparse.csgraph.minimum_spanning_tree(_distances(known, points)).tocoo()
    for one, other in zip(tree.row.tolist(), tree.col.tolist(), strict=True):
        both = _some(known, (labels == one + 1) | (labels == other + 1), seed)
        joined[one, other] = len(both.linear) > 0 and between(both, seed) >= CONNECTED
    _, groups = scipy.sparse.csgraph.connected_components(joined, directed=False)
    return np.asarray(groups, np.int64)


def _some(known: Known, its: NDArray[np.bool_], seed: int) -> Known:
    """Of those images (N,) no more than curves look at in both their parts."""
    rows = np.flatnonzero(its)
    if len(rows) > 2 * SAMPLE:
        rows = np.sort(np.random.default_rng(seed).choice(rows, 2 * SAMPLE, replace=False))
    return known.of(rows)


def between(known: Known, seed: int = 0) -> float:
    """How dense images of two points are where they are sparsest on the way from one to the other."""
    stretch = int(np.clip(np.ceil(IN_STRETCH * PLACES / len(known.linear)), STRETCH, LONGEST))
    return float(np.mean([curve.sparsest(known, stretch) for curve in fit_curves(known, WIDTHS[:2], seed)]))


def _distances(known: Known, points: Points) -> FloatArray:
    """Between points (K, K): nats by which an image of one tells them apart on average. None is 0 but the diagonal."""
    apart = points.places[:, None] - points.places
    nats = np.einsum("ijq,qp,ijp->ij", apart, known.quadratic.mean(axis=0), apart)
    return np.asarray(nats + 1e-9 * (1 - np.eye(len(nats))), np.float64)
