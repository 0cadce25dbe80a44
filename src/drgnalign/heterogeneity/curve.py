"""A motion as a curve through latent space: where it runs, and where on it each image is, by each one's likelihood.

A principal curve (Hastie and Stuetzle 1989, J. Am. Stat. Assoc. 84, 502) as a mixture of nodes in a row, of which each
is moved with its neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

from drgnalign.arrays import FloatArray
from drgnalign.heterogeneity.known import Known
from drgnalign.heterogeneity.points import fit_points, points_found

# Nodes of a curve, and how far along it they are moved together: σ in nodes, from the first step to the last.
NODES, WIDEST, NARROWEST = 24, 4.0, 1.3
# Steps from the widest to the narrowest, and then at most; it ends where a step gains less than this, nats of all.
NARROWING, MOST_STEPS, SMALL_GAIN = 30, 150, 0.05
# Latent axes along which the first curves run, and images that a curve is fitted to at most.
STARTS, SAMPLE = 2, 10_000
# A curve is believed where it gains so many nats an image over points, and so many standard errors: on hinges at
# signal-to-noise ratios of .1 and .05 these are .17 and .13 nats, and where there are four states -.06.
LEAST_GAIN, CERTAIN = 0.05, 3.5
# Images of the smaller half set, whose model says where the other half's images are: of fewer, that is chance.
FEWEST = 100
# And where no more than this of its length is empty, which is where images are so much sparser than on average.
MOST_EMPTY, SPARSE = 0.3, 0.1
# Images whose products with all nodes are held at once.
BATCH = 2**15


class Curve(NamedTuple):
    """A curve through latent space.

    Attributes
    ----------
    nodes : (M, q) float64
        In their order along it.
    shares : (M,) float64
        Of the images.
    """

    nodes: FloatArray
    shares: FloatArray

    @property
    def places(self) -> FloatArray:
        """Of the nodes (M,) along the curve, by its length: 0 … 1."""
        steps = np.linalg.norm(np.diff(self.nodes, axis=0), axis=1)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        return np.asarray(along / max(along[-1], np.finfo(np.float64).tiny), np.float64)

    @property
    def empty(self) -> float:
        """Share of its length, between nodes, where images are less than a tenth as dense as on average."""
        steps, between = np.diff(self.places), 0.5 * (self.shares[1:] + self.shares[:-1])
        return float(steps[between < SPARSE * steps].sum())

    def evidence(self, known: Known) -> FloatArray:
        """ln of the likelihood of each image (N,), over that of the mean map alone, nats."""
        return evidence(known, self.nodes, self.shares)

    def along(self, known: Known) -> tuple[FloatArray, FloatArray]:
        """Where on the curve (0 … 1) each image is, (N,), and the standard deviation of that, given the image."""
        parts = np.array_split(np.arange(len(known.linear)), -(-len(known.linear) // BATCH))
        means, squares = np.concatenate([self._moments(known.of(part)) for part in parts]).T
        return means, np.sqrt(np.maximum(squares - means**2, 0.0))

    def _moments(self, known: Known) -> FloatArray:
        """First and second of the place on the curve (N, 2)."""
        posteriors = scipy.special.softmax(known.log_joint(self.nodes, self.shares), axis=1)
        return np.asarray(posteriors @ np.stack([self.places, self.places**2], axis=1), np.float64)


def evidence(known: Known, places: FloatArray, shares: FloatArray) -> FloatArray:
    """ln of the likelihood of each image (N,), over that of the mean map alone, in a mixture of places."""
    return np.asarray(scipy.special.logsumexp(known.log_joint(places, shares), axis=1), np.float64)


def fit_curve(known: Known, seed: int = 0) -> Curve:
    """The most likely curve that was found.

    Parameters
    ----------
    known : Known
        Of N images, of which no more than 10,000 are looked at.
    seed : int

    Returns
    -------
    Curve
        Its direction is that of the first latent variable, as far as it has one.
    """
    count = len(known.linear)
    if count > SAMPLE:
        known = known.of(np.sort(np.random.default_rng(seed).choice(count, SAMPLE, replace=False)))
    means, _ = known.posterior()
    axes = range(min(STARTS, means.shape[1]))
    curves = [_climbed(known, _ranked(means[:, axis])) for axis in axes]
    best = max(curves, key=lambda curve: float(curve.evidence(known).sum()))
    return best if best.nodes[0, 0] <= best.nodes[-1, 0] else Curve(best.nodes[::-1], best.shares[::-1])


def _ranked(values: FloatArray) -> FloatArray:
    """Responsibilities (N, M) of nodes for images: as many for each, in the order of `values`."""
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values)) * NODES // len(values)
    return np.asarray(np.eye(NODES)[ranks], np.float64)


def _climbed(known: Known, responsible: FloatArray) -> Curve:
    reached, curve = -np.inf, _moved(known, responsible, WIDEST)
    for step in range(1, NARROWING + MOST_STEPS):
        width = WIDEST * (NARROWEST / WIDEST) ** min(1.0, step / NARROWING)
        joint = known.log_joint(curve.nodes, curve.shares)
        evidence = scipy.special.logsumexp(joint, axis=1)
        if step > NARROWING and float(evidence.sum()) - reached < SMALL_GAIN:
            break
        reached = float(evidence.sum())
        curve = _moved(known, np.exp(joint - evidence[:, None]), width)
    return curve


def _moved(known: Known, responsible: FloatArray, width: float) -> Curve:
    """Each node where the images of its neighbourhood put it."""
    numbers = np.arange(NODES)
    kernel = np.exp(-0.5 * ((numbers[:, None] - numbers) / width) ** 2)
    linear = kernel @ (responsible.T @ known.linear)
    quadratic = np.einsum("nk,nqp->kqp", responsible, known.quadratic)
    precision = np.einsum("jk,kqp->jqp", kernel, quadratic) + 1e-6 * np.eye(linear.shape[1])
    smooth = (kernel / kernel.sum(axis=1, keepdims=True)).T @ responsible.mean(axis=0)
    return Curve(np.linalg.solve(precision, linear[..., None])[..., 0], smooth / smooth.sum())


class Gain(NamedTuple):
    """What a curve says of images better than points do, of images that neither was fitted to.

    Attributes
    ----------
    nats, error : float
        Mean over the images, and its standard error.
    """

    nats: float
    error: float


def gain_over_points(known: Known, most: int, seed: int = 0) -> Gain:
    """Hold a curve against points.

    Parameters
    ----------
    known : Known
        Of N images, of which chance makes two parts of 10,000 at most. (Not half sets: where there is nothing to be
        seen, their models have no axes in common.)
    most : int
        Points at most.
    seed : int
    """
    order = np.random.default_rng(seed).permutation(len(known.linear))[: 2 * SAMPLE]
    parts, better = (np.sort(order[::2]), np.sort(order[1::2])), []
    for mine, others in ((known.of(one), known.of(other)) for one, other in (parts, parts[::-1])):
        points, curve = points_found(fit_points(mine, most, seed), len(mine.linear)), fit_curve(mine, seed)
        better.append(curve.evidence(others) - evidence(others, points.places, points.shares))
    each = np.concatenate(better)
    return Gain(float(each.mean()), float(each.std() / np.sqrt(len(each))))


def is_motion(curve: Curve, gain: Gain) -> bool:
    """Is a curve believed that gains so much?

    Not one that leaps from state to state, whatever it says of how they spread.
    """
    return gain.nats >= max(LEAST_GAIN, CERTAIN * gain.error) and curve.empty < MOST_EMPTY
