"""A motion as a curve through latent space: where it runs, and where on it each image is, by each one's likelihood.

A principal curve (Hastie and Stuetzle 1989, J. Am. Stat. Assoc. 84, 502) as a mixture of nodes in a row, of which each
is moved with its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy

from drgnalign.arrays import FloatArray
from drgnalign.heterogeneity.known import Known
from drgnalign.heterogeneity.points import fit_points, points_found
from drgnalign.heterogeneity.verdicts import CERTAIN, LEAST_GAIN

# Nodes of a curve, and how far along it they are moved together: σ in nodes, at first and at last. The more
# images say, the more sharply a curve may bend: of a lobe that swings by 70° the first width gains .13 ± .08 nats over
# points at a signal-to-noise ratio of .3, the last 1.5.
NODES, WIDEST, WIDTHS = 24, 4.0, (1.3, 0.8, 0.5)
# Steps from one width to the next, and then at most; it ends where a step gains less than this, nats of all.
NARROWING, MOST_STEPS, SMALL_GAIN = 30, 150, 0.05
# Latent axes along which the first curves run, and images that a curve is fitted to at most.
STARTS, SAMPLE = 2, 10_000
# Images of the smaller half set, whose model says where the other half's images are: of fewer, that is chance.
FEWEST = 100
# A curve through states is sparse between them, though errors of poses draw images out along it: its density at so many
# places, found in so many steps of which each is smoothed (σ in places); its mean over a stretch of places, and the
# least share of the average that it has anywhere but at the ends, where so many images lie.
PLACES, DENSITY_STEPS, SMOOTHED = 96, 200, 1.5
STRETCH, SPARSEST, ENDS = 5, 0.27, 0.1
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

    def density(self, known: Known) -> FloatArray:
        """Of images along it at even places (96,), 1 on average, freed of what noise does to them.

        Expectation maximisation with a smoothing step (Silverman et al. 1990, J. R. Stat. Soc. B 52, 271).
        """
        at = np.linspace(0, 1, PLACES)
        between = np.stack([np.interp(at, self.places, axis) for axis in self.nodes.T], axis=1)
        known = _some(known)
        joint = known.log_joint(between, np.ones(PLACES))
        likelihood = np.exp(joint - joint.max(axis=1, keepdims=True))
        density = np.ones(PLACES)
        for _ in range(DENSITY_STEPS):
            expected = likelihood * density
            expected /= expected.sum(axis=1, keepdims=True)
            density = scipy.ndimage.gaussian_filter1d(PLACES * expected.mean(axis=0), SMOOTHED)
        return np.asarray(density, np.float64)

    def sparsest(self, known: Known, stretch: int = STRETCH) -> float:
        """Density where images are sparsest, on average over a stretch (of 96 places) of the curve, its ends aside."""
        density = self.density(known)
        below = np.cumsum(density) / density.sum()
        first, last = np.searchsorted(below, [ENDS, 1 - ENDS])
        inner = density[first : max(last + 1, first + stretch)]
        return float(np.convolve(inner, np.full(stretch, 1 / stretch), "valid").min())

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


def fit_curves(known: Known, widths: Sequence[float] = WIDTHS, seed: int = 0) -> list[Curve]:
    """The most likely curves that were found, each from the one before it.

    Parameters
    ----------
    known : Known
        Of N images, of which no more than 10,000 are looked at.
    widths : sequence of float
        How far along each curve nodes are moved together, σ in nodes, falling.
    seed : int

    Returns
    -------
    list of Curve
        Their direction is that of the first latent variable, as far as they have one.
    """
    known = _some(known, seed)
    means, _ = known.posterior()
    axes = range(min(STARTS, means.shape[1]))
    climbs = [_climbs(known, _ranked(means[:, axis]), widths) for axis in axes]
    best = [max(curves, key=lambda curve: float(curve.evidence(known).sum())) for curves in zip(*climbs, strict=True)]
    return [one if one.nodes[0, 0] <= one.nodes[-1, 0] else Curve(one.nodes[::-1], one.shares[::-1]) for one in best]


def _some(known: Known, seed: int = 0) -> Known:
    """No more images than curves are fitted to."""
    count = len(known.linear)
    if count <= SAMPLE:
        return known
    return known.of(np.sort(np.random.default_rng(seed).choice(count, SAMPLE, replace=False)))


def _ranked(values: FloatArray) -> FloatArray:
    """Responsibilities (N, M) of nodes for images: as many for each, in the order of `values`."""
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values)) * NODES // len(values)
    return np.asarray(np.eye(NODES)[ranks], np.float64)


def _climbs(known: Known, responsible: FloatArray, widths: Sequence[float]) -> list[Curve]:
    curves = [_moved(known, responsible, WIDEST)]
    for wider, width in pairwise((WIDEST, *widths)):
        curves.append(_climbed(known, curves[-1], wider, width))
    return curves[1:]


def _climbed(known: Known, curve: Curve, wider: float, width: float) -> Curve:
    """The curve, from one width to a narrower one, and there to its rest."""
    reached = -np.inf
    for step in range(1, NARROWING + MOST_STEPS):
        now = wider * (width / wider) ** min(1.0, step / NARROWING)
        joint = known.log_joint(curve.nodes, curve.shares)
        evidence = scipy.special.logsumexp(joint, axis=1)
        if step > NARROWING and float(evidence.sum()) - reached < SMALL_GAIN:
            break
        reached = float(evidence.sum())
        curve = _moved(known, np.exp(joint - evidence[:, None]), now)
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
    widths : tuple of float
        Through which such a curve goes (`fit_curves`): to the one that gains most for certain, else to the first.
    """

    nats: float
    error: float
    widths: tuple[float, ...] = WIDTHS[:1]

    @property
    def certain(self) -> bool:
        """Is it more than states, errors of poses or chance make?"""
        return self.nats >= max(LEAST_GAIN, CERTAIN * self.error)


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
        points = points_found(fit_points(mine, most, seed), len(mine.linear))
        of_points = evidence(others, points.places, points.shares)
        better.append([curve.evidence(others) - of_points for curve in fit_curves(mine, seed=seed)])
    gains = [_gain(np.concatenate(each), WIDTHS[: number + 1]) for number, each in enumerate(zip(*better, strict=True))]
    return max((gain for gain in gains if gain.certain), key=lambda gain: gain.nats, default=gains[0])


def _gain(each: FloatArray, widths: tuple[float, ...]) -> Gain:
    return Gain(float(each.mean()), float(each.std() / np.sqrt(len(each))), widths)


def is_motion(curve: Curve, gain: Gain, known: Known) -> bool:
    """Is a curve believed that gains so much of these images?

    Not one that leads from state to state, whatever it says of how these spread.
    """
    return gain.certain and curve.sparsest(known) >= SPARSEST
