"""States as points of a latent space: how many there are, and where, under each image's own likelihood."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from drgnalign.arrays import FloatArray, IntArray
from drgnalign.heterogeneity.known import Known

# Expectation maximisation ends where a step gains less than this, nats of all images, or after so many.
SMALL_GAIN, MOST_STEPS = 0.01, 300
# Starts for each number of points.
STARTS = 4
# A point more has to gain so many nats of the images that points are fitted to, which are no more than these; and so
# many of each image that it takes: below that, labels are guesses, and what is described are rests of the poses' errors
# (.4 nats in two states of 21 nats) or a motion, not a state (6 nats, a tenth of the images at a ratio of .05).
LEAST_GAIN, SAMPLE, LEAST_OF_EACH = 20.0, 40_000, 1.0
# Images whose products with all points are held at once.
BATCH = 2**16


class Points(NamedTuple):
    """Points of latent space.

    Attributes
    ----------
    places : (K, q) float64
    shares : (K,) float64
        Of the images.
    log_likelihood : float
        Mean over the images, over that of the mean map alone, nats.
    """

    places: FloatArray
    shares: FloatArray
    log_likelihood: float

    def labels_of(self, known: Known) -> IntArray:
        """The most probable point of each image (N,), from 1."""
        rows = np.arange(len(known.linear))
        parts = np.array_split(rows, -(-len(rows) // BATCH))
        found = [known.of(part).log_joint(self.places, self.shares).argmax(axis=1) for part in parts]
        labels: NDArray[np.int64] = np.concatenate(found) + 1
        return labels


def fit_points(known: Known, most: int, seed: int = 0) -> list[Points]:
    """One point, two, … until one more gains next to nothing; the best of several starts each.

    Parameters
    ----------
    known : Known
        Of N images, of which no more than 40,000 are looked at.
    most : int
        Points at most.
    seed : int

    Returns
    -------
    list of Points
        With 1, 2, … points; the last is the first that gained too little, unless there are `most`.
    """
    rng, found = np.random.default_rng(seed), list[Points]()
    count = len(known.linear)
    if count > SAMPLE:
        known, count = known.of(np.sort(rng.choice(count, SAMPLE, replace=False))), SAMPLE
    for number in range(1, most + 1):
        starts = [_start(known, found[-1] if found else None, rng) for _ in range(STARTS if number > 1 else 1)]
        found.append(max((_climbed(known, start) for start in starts), key=lambda points: points.log_likelihood))
        if number > 1 and not _gains(found, count):
            break
    return found


def points_found(tried: list[Points], images: int) -> Points:
    """Of what `fit_points` tried on so many images, the most points of which each gained something."""
    return tried[-1] if len(tried) == 1 or _gains(tried, min(images, SAMPLE)) else tried[-2]


def _gains(tried: list[Points], count: int) -> bool:
    """Does the last point gain enough, of all images and of each of its own?"""
    gained = tried[-1].log_likelihood - tried[-2].log_likelihood
    *others, new = tried[-1].places
    nearest = int(np.linalg.norm(np.array(others) - new, axis=1).argmin())
    # of two that were one, either may be the new one
    its_own = min(tried[-1].shares[-1], tried[-1].shares[nearest])
    return count * gained >= LEAST_GAIN and gained >= LEAST_OF_EACH * its_own


def _start(known: Known, last: Points | None, rng: np.random.Generator) -> FloatArray:
    """The last points and one image's place, of images that the points suit badly more often."""
    means, _ = known.posterior()
    if last is None:
        return np.zeros((1, means.shape[1]))
    own = np.einsum("nq,nq->n", known.linear, means) - 0.5 * np.einsum("nq,nqp,np->n", means, known.quadratic, means)
    # all alike where the points suit everybody
    lost = np.maximum(own - known.log_joint(last.places, last.shares).max(axis=1), 1e-9)
    chosen = rng.choice(len(lost), p=lost / lost.sum())
    return np.concatenate([last.places, means[[chosen]]])


def _climbed(known: Known, places: FloatArray) -> Points:
    shares, reached = np.full(len(places), 1 / len(places)), -np.inf
    for _ in range(MOST_STEPS):
        joint = known.log_joint(places, shares)
        evidence = scipy.special.logsumexp(joint, axis=1)
        posteriors = np.exp(joint - evidence[:, None])
        gained = float(evidence.sum()) - reached
        reached = float(evidence.sum())
        if gained < SMALL_GAIN:
            break
        shares = posteriors.mean(axis=0)
        precision = np.einsum("nk,nqp->kqp", posteriors, known.quadratic) + 1e-6 * np.eye(places.shape[1])
        places = np.linalg.solve(precision, (posteriors.T @ known.linear)[..., None])[..., 0]
    return Points(places, shares, reached / len(known.linear))
