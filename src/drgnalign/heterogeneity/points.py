"""States as points of a latent space: how many there are, and where, under each image's own likelihood."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from drgnalign.arrays import FloatArray, IntArray
from drgnalign.heterogeneity.linear import Known

# Expectation maximisation ends where a step gains less than this, nats of all images, or after so many.
SMALL_GAIN, MOST_STEPS = 0.01, 300
# Starts for each number of points.
STARTS = 4
# A point more has to gain so many nats of all images.
LEAST_GAIN = 20.0


class Points(NamedTuple):
    """Points of latent space.

    Attributes
    ----------
    places : (K, q) float64
    shares : (K,) float64
        Of all images.
    posteriors : (N, K) float64
    log_likelihood : float
        Of all images over that of the mean map alone, nats.
    """

    places: FloatArray
    shares: FloatArray
    posteriors: FloatArray
    log_likelihood: float

    @property
    def labels(self) -> IntArray:
        """The most probable point of each image (N,), from 1."""
        labels: NDArray[np.int64] = self.posteriors.argmax(axis=1) + 1
        return labels


def fit_points(known: Known, most: int, seed: int = 0) -> list[Points]:
    """One point, two, … until one more gains next to nothing; the best of several starts each.

    Parameters
    ----------
    known : Known
        Of N images.
    most : int
        Points at most.
    seed : int

    Returns
    -------
    list of Points
        With 1, 2, … points; the last is the first that gained less than 20 nats, unless there are `most`.
    """
    rng, found = np.random.default_rng(seed), list[Points]()
    for number in range(1, most + 1):
        starts = [_start(known, found[-1] if found else None, rng) for _ in range(STARTS if number > 1 else 1)]
        found.append(max((_climbed(known, start) for start in starts), key=lambda points: points.log_likelihood))
        if number > 1 and found[-1].log_likelihood - found[-2].log_likelihood < LEAST_GAIN:
            break
    return found


def _start(known: Known, last: Points | None, rng: np.random.Generator) -> FloatArray:
    """The last points and one image's place, of images that the points suit badly more often."""
    means = known.means()
    if last is None:
        return np.zeros((1, means.shape[1]))
    own = np.einsum("nq,nq->n", known.linear, means) - 0.5 * np.einsum("nq,nqp,np->n", means, known.quadratic, means)
    lost = np.maximum(own - _log_joint(known, last.places, last.shares).max(axis=1), 0.0)
    chosen = rng.choice(len(lost), p=lost / lost.sum())
    return np.concatenate([last.places, means[[chosen]]])


def _log_joint(known: Known, places: FloatArray, shares: FloatArray) -> FloatArray:
    quadratic = np.einsum("kq,nqp,kp->nk", places, known.quadratic, places, optimize=True)
    return known.linear @ places.T - 0.5 * quadratic + np.log(np.maximum(shares, 1e-12))


def _climbed(known: Known, places: FloatArray) -> Points:
    shares, reached = np.full(len(places), 1 / len(places)), -np.inf
    for _ in range(MOST_STEPS):
        joint = _log_joint(known, places, shares)
        evidence = scipy.special.logsumexp(joint, axis=1)
        posteriors = np.exp(joint - evidence[:, None])
        gained = float(evidence.sum()) - reached
        reached = float(evidence.sum())
        if gained < SMALL_GAIN:
            break
        shares = posteriors.mean(axis=0)
        precision = np.einsum("nk,nqp->kqp", posteriors, known.quadratic) + 1e-6 * np.eye(places.shape[1])
        places = np.linalg.solve(precision, (posteriors.T @ known.linear)[..., None])[..., 0]
    return Points(places, shares, posteriors, reached)
