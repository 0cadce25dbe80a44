"""Likelihood assignment: the latent space proposes clusters, the images decide.

Each cluster's half maps are made of its particles and shrunk towards the consensus where the cluster does not differ
from it; every particle is scored at its pose against all of them and goes to the most probable; and so on until few
change. A particle is never scored against a map that contains it: such a map shows the particle its own noise, and no
label would ever change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from drgnalign.engine.images import Batch, coefficient_batches
from drgnalign.engine.kernels import Reference, ReferenceSet, kernels_for, stacked_poses
from drgnalign.engine.mask import particle_mask
from drgnalign.engine.plan import coefficient_plan, oversampling
from drgnalign.engine.reconstruct import HALVES, HalfMapSums
from drgnalign.engine.reference import transform_reference
from drgnalign.engine.refine import check_limit
from drgnalign.engine.shrinkage import difference_fsc, shrunk_references
from drgnalign.errors import InputError
from drgnalign.formats.mrc import ImageSource
from drgnalign.heterogeneity.spread import Spread, fitted_spread, positions
from drgnalign.particles import Particles
from drgnalign.symmetry import point_group

FloatArray = NDArray[np.float64]
FloatVolume = NDArray[np.float32]
IntArray = NDArray[np.int64]
Halves = tuple[FloatVolume, FloatVolume]
# Sums of each label, fold by fold; maps to compare with, by half set and by the fold that they lack.
Sums = Mapping[int, Sequence[HalfMapSums]]
References = Mapping[tuple[int, int], ReferenceSet]
# A figure of each two clusters, by their labels.
Pairs = dict[tuple[int, int], float]

# Assignment is at rest when fewer particles than this share change their label; it is stopped after so many passes.
REST, MOST_PASSES = 0.005, 30
# A cluster with fewer particles in a half set has no map to speak of.
FEWEST_IN_HALF = 10
# Parts that a half set is cut into where its own maps judge it.
FOLDS = 4
AGAINST = ("other_half", "own_half_folds")
# A posterior below this adds nothing to a map worth the time.
LEAST_SHARE = 0.01
# Particles of a cluster that are enough to say how far they spread.
SAMPLE = 4000


@dataclass(frozen=True)
class AssignmentSettings:
    """How particles are assigned.

    Attributes
    ----------
    limit : float
        Å, of the comparison.
    diameter : float
        Of the particle, Å.
    against : {'other_half', 'own_half_folds'}
        Maps of the other half set; or of the particle's own half set without the fold that it is in, which keeps the
        half sets independent.
    soft : bool
        Add particles to all clusters with their posteriors, not to the most probable one alone.
    symmetry : str
        Point group of the particle.
    """

    limit: float
    diameter: float
    against: str = "other_half"
    soft: bool = False
    symmetry: str = "C1"


class Pass(NamedTuple):
    """One pass over the images.

    Attributes
    ----------
    clusters : int
        That particles could go to.
    changed : float
        Share of particles that got another label.
    log_likelihood : float
        Mean over particles of ln Σ π exp(q), nats; see `Assigner.run`.
    """

    clusters: int
    changed: float
    log_likelihood: float


@dataclass(frozen=True)
class Assignment:
    """Labels that the images chose.

    Attributes
    ----------
    labels : (N,) int64
        Each that of one of the clusters left.
    clusters : list of int
        The labels of the K clusters left, ascending.
    posteriors : (N, K) float64
        Probability of each of them.
    difference_fsc : (K, N//2 + 1) float64
        Of each, against the consensus; see `drgnalign.engine.shrinkage.difference_fsc`.
    passes : tuple of Pass
    """

    labels: IntArray
    clusters: list[int]
    posteriors: FloatArray
    difference_fsc: FloatArray
    passes: tuple[Pass, ...]

    @property
    def at_rest(self) -> bool:
        """False where particles still changed their labels when it was stopped."""
        return self.passes[-1].changed < REST

    @property
    def log_likelihood(self) -> float:
        """Of the last pass."""
        return self.passes[-1].log_likelihood


class Model(NamedTuple):
    """What particles are compared with in a pass: clusters, their sizes and maps, and all sums that they rest on."""

    clusters: list[int]
    counts: FloatArray
    references: References
    sums: Sums


class Assigner:
    """Assignment of one set of particles at their poses; its images are read anew in each pass.

    Memory is that of the clusters' sums and maps, up to four times, and of one batch of images, for each run that is
    under way (several may be, in threads): but for the table, the labels and the posteriors it does not grow with the
    particles.

    Parameters
    ----------
    particles : Particles
    source : ImageSource
    noise : (groups, N//2 + 1) float64
        See `drgnalign.engine.noise.estimate_noise`.
    settings : AssignmentSettings

    Raises
    ------
    InputError
        The limit is beyond Nyquist.
    """

    def __init__(
        self, particles: Particles, source: ImageSource, noise: FloatArray, settings: AssignmentSettings
    ) -> None:
        check_limit(settings.limit, particles)
        self.particles, self.settings = particles, settings
        self._source, self._noise = source, noise
        self._plan = coefficient_plan(particles.box, particles.pixel_size, settings.limit).within_limit()
        self._kernels = kernels_for(self._plan, "cpu")
        self._padding = oversampling(particles.box, particles.pixel_size, settings.diameter)
        self._symmetry = point_group(settings.symmetry)
        self._poses = stacked_poses(particles.rotations(), particles.displacements())
        self._folds = _folds(particles.half_sets(), FOLDS if settings.against == "own_half_folds" else 1)
        self._mask = self._common_mask()

    def run(self, labels: IntArray) -> Assignment:
        """Assign particles until they stay where they are.

        With coefficients of a half plane whitened to complex noise of variance 1, q = 2 Re⟨D, m⟩ − ⟨m, m⟩ is the
        log-likelihood itself (`drgnalign.engine.likelihood`), and the probability of cluster c is π_c exp(q_c) over
        the sum of it, π_c the share of particles that it has. Clusters that fall below ten particles in a half set
        are dropped.

        Parameters
        ----------
        labels : (N,) int64
            To start from; 0 = unassigned: such particles belong to the consensus alone until they are assigned.

        Returns
        -------
        Assignment

        Raises
        ------
        InputError
            No cluster is large enough to start from.
        """
        passes: list[Pass] = []
        sums, sizes = self._insert(labels), _sizes(labels)
        while True:
            model = self._model(sums, labels, sizes)
            found, sums, log_likelihood = self._pass(model)
            now = np.array(model.clusters)[found.argmax(axis=1)]
            passes.append(Pass(len(model.clusters), float((now != labels).mean()), log_likelihood))
            labels = now
            sizes = dict(zip(model.clusters, found.sum(axis=0), strict=True)) if self.settings.soft else _sizes(labels)
            rests = passes[-1].changed < REST or len(passes) >= MOST_PASSES
            # what has become too small for a map is dropped in one pass more
            if rests and set(np.unique(labels)) <= set(self._large(labels)):
                return self._ended(model.clusters, sums, labels, found, passes)

    def can_start(self, labels: IntArray) -> bool:
        """Is there a cluster of ten particles in each half set?"""
        return bool(self._large(labels))

    def separations(self, labels: IntArray) -> Pairs:
        """What each pair of clusters gains by not being one, in nats a particle of the two.

        The mean over their particles of ln (n_a exp q_a + n_b exp q_b)/(n_a + n_b) less the q of the two's common
        map. None of these maps contains the particle, so that a division that is not in the images loses: its maps
        are noisier than the common one.

        Parameters
        ----------
        labels : (N,) int64
            Each of at least ten particles in each half set.
        """
        model = self._model(self._insert(labels), labels)
        count, weights = len(model.clusters), np.log(model.counts)
        gains = np.zeros((count, count))
        for first, others in _each_and_others(count):
            names = [(model.clusters[first], model.clusters[second]) for second in others]
            together = self._references(names, model.sums)
            for batch in self._batches(np.flatnonzero(labels == model.clusters[first])):
                apart, one = self._scores(batch, model.references) + weights, self._scores(batch, together)
                for column, second in enumerate(others):
                    gains[first, second] += (np.logaddexp(apart[:, first], apart[:, second]) - one[:, column]).sum()
        separations = {}
        for first, second in combinations(range(count), 2):
            size = model.counts[first] + model.counts[second]
            gain = (gains[first, second] + gains[second, first]) / size - np.log(size)
            separations[model.clusters[first], model.clusters[second]] = float(gain)
        return separations

    def spreads(self, labels: IntArray) -> dict[tuple[int, int], Spread]:
        """How far particles of each pair of clusters spread along the way from one map to the other.

        Of up to `SAMPLE` particles a cluster; no map contains the particle. See `drgnalign.heterogeneity.spread`.

        Parameters
        ----------
        labels : (N,) int64
            Each of at least ten particles in each half set.
        """
        model = self._model(self._insert(labels), labels)
        count = len(model.clusters)
        shown: dict[tuple[int, int], list[FloatArray]] = {pair: [] for pair in combinations(range(count), 2)}
        for first, others in _each_and_others(count):
            differences = {key: _differences(maps, first, others) for key, maps in model.references.items()}
            for batch in self._batches(_sample(np.flatnonzero(labels == model.clusters[first]))):
                empty = _without_data(batch)
                powers, apart = -self._scores(empty, model.references), -self._scores(empty, differences)
                products = 0.5 * (self._scores(batch, model.references) + powers)
                for column, second in enumerate(others):
                    pair = min(first, second), max(first, second)
                    shown[pair].append(positions(products[:, pair], powers[:, pair], apart[:, column]))
        return {
            (model.clusters[first], model.clusters[second]): fitted_spread(np.concatenate(parts, axis=1))
            for (first, second), parts in shown.items()
        }

    def _ended(
        self, clusters: list[int], sums: Sums, labels: IntArray, found: FloatArray, passes: list[Pass]
    ) -> Assignment:
        """Without the clusters that the last pass emptied."""
        left = [number for number, label in enumerate(clusters) if (labels == label).any()]
        kept, names = found[:, left], [clusters[number] for number in left]
        consensus = self._consensus(sums)
        differences = [
            difference_fsc(_half_maps(HalfMapSums.total(sums[label])), consensus, self._mask) for label in names
        ]
        shares = kept / kept.sum(axis=1, keepdims=True)
        return Assignment(labels, names, shares, np.array(differences), tuple(passes))

    def _insert(self, labels: IntArray) -> Sums:
        """Sums of the particles as they are labelled."""
        sums = self._no_sums(np.unique(labels).tolist())
        for batch in self._batches():
            for label, mine in sums.items():
                self._add(batch, (labels[batch.rows] == label).astype(np.float64), mine)
        return sums

    def _pass(self, model: Model) -> tuple[FloatArray, Sums, float]:
        """Posteriors of all particles (N, K), the sums that follow from them, and the mean log-likelihood."""
        found = np.empty((len(self.particles), len(model.clusters)))
        sums, total = self._no_sums(model.clusters), 0.0
        weights = np.log(model.counts / model.counts.sum())
        for batch in self._batches():
            exponents = self._scores(batch, model.references) + weights
            total += float(logsumexp(exponents, axis=1).sum())
            mine = found[batch.rows] = softmax(exponents, axis=1)
            shares = mine if self.settings.soft else np.eye(mine.shape[1])[mine.argmax(axis=1)]
            for number, label in enumerate(model.clusters):
                self._add(batch, shares[:, number], sums[label])
        return found, sums, total / len(self.particles)

    def _scores(self, batch: Batch, references: References) -> FloatArray:
        """Log-likelihoods (n, K) of a batch, each particle's given maps that do not contain it."""
        poses, folds = self._poses[batch.rows], self._folds[batch.rows]
        half = batch.half if self.settings.against == "own_half_folds" else 3 - batch.half
        numbers = np.unique(folds).tolist()
        if len(numbers) == 1:
            return self._kernels.scores(references[half, numbers[0]], batch.coefficients, poses)
        scores = np.empty((len(batch.rows), len(references[half, 0].members)))
        for fold in numbers:
            mine = folds == fold
            scores[mine] = self._kernels.scores(references[half, fold], batch.coefficients[mine], poses[mine])
        return scores

    def _add(self, batch: Batch, shares: FloatArray, sums: Sequence[HalfMapSums]) -> None:
        """Add a batch to the sums of a cluster with the particles' shares of it (n,)."""
        poses, folds = self._poses[batch.rows], self._folds[batch.rows]
        for fold, target in enumerate(sums):
            mine = (folds == fold) & (shares >= LEAST_SHARE)
            if mine.any():
                target.insert(batch.half, self._kernels, batch.coefficients[mine], poses[mine], shares[mine])

    def _no_sums(self, labels: Sequence[int]) -> Sums:
        geometry = (self.particles.box, self.particles.pixel_size, self._padding, self._symmetry)
        return {label: [HalfMapSums(*geometry) for _ in range(self._fold_count)] for label in labels}

    @property
    def _fold_count(self) -> int:
        return int(self._folds.max()) + 1

    def _model(self, sums: Sums, labels: IntArray, sizes: Mapping[int, float] | None = None) -> Model:
        """What particles are compared with next; clusters too small for a map are left out."""
        clusters = self._large(labels)
        if not clusters:
            problem = f"no cluster has {FEWEST_IN_HALF} particles in each half set"
            advice = "use fewer clusters (--k_start), another --clustering, or more particles"
            raise InputError(self.particles.path, problem, advice)
        references = self._references([(label,) for label in clusters], sums)
        sizes = sizes or _sizes(labels)
        return Model(clusters, np.array([sizes[label] for label in clusters], float), references, sums)

    def _consensus(self, sums: Sums) -> Halves:
        return _half_maps(HalfMapSums.total(part for mine in sums.values() for part in mine))

    def _large(self, labels: IntArray) -> list[int]:
        """Clusters that have enough particles in each half set for a map, ascending."""
        halves = self.particles.half_sets()
        return [
            label
            for label in np.unique(labels[labels > 0]).tolist()
            if min(int((labels[halves == half] == label).sum()) for half in HALVES) >= FEWEST_IN_HALF
        ]

    def _references(self, candidates: Sequence[tuple[int, ...]], sums: Sums) -> References:
        """Maps of clusters, or of several in one, each half set's without one of the folds, where there are several."""
        folds, references = range(self._fold_count), {}
        for fold in folds:
            others = [other for other in folds if other != fold] or [fold]
            consensus = _half_maps(HalfMapSums.total(mine[other] for mine in sums.values() for other in others))
            pairs = [
                self._pair(HalfMapSums.total(sums[label][other] for label in labels for other in others), consensus)
                for labels in candidates
            ]
            for half in HALVES:
                references[half, fold] = ReferenceSet(tuple(pair[half - 1] for pair in pairs))
        return references

    def _pair(self, sums: HalfMapSums, consensus: Halves) -> tuple[Reference, Reference]:
        """What half sets 1 and 2 make of a cluster."""
        weights = sums.weights(1), sums.weights(2)
        shrunk = shrunk_references(_half_maps(sums), weights, consensus, self._mask)
        limit, pixel_size = self.settings.limit, self.particles.pixel_size
        every_shell = np.ones(self.particles.box // 2 + 1)
        first, second = (
            transform_reference(volume, self._mask, every_shell, pixel_size, limit, self._padding) for volume in shrunk
        )
        return first, second

    def _common_mask(self) -> FloatVolume:
        """One soft mask for all clusters and passes."""
        (sums,) = self._insert(np.zeros(len(self.particles), np.int64)).values()
        first, second = _half_maps(HalfMapSums.total(sums))
        return particle_mask(0.5 * (first + second), self.particles.pixel_size, self.settings.diameter)

    def _batches(self, rows: IntArray | None = None) -> Iterator[Batch]:
        """Of all particles, or of some."""
        particles, source = self.particles, self._source
        if rows is not None:
            particles = particles.select(rows)
            source = ImageSource(particles, source.root)
        # with kernels of their own, whose memory holds the batch
        kernels = kernels_for(self._plan, "cpu")
        for batch in coefficient_batches(particles, source, self._plan, kernels, self._noise, "assign"):
            yield batch if rows is None else replace(batch, rows=rows[batch.rows])


def _sizes(labels: IntArray) -> dict[int, float]:
    names, counts = np.unique(labels, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _each_and_others(count: int) -> Iterator[tuple[int, list[int]]]:
    """Pairs are worked on cluster by cluster, each with its own particles: no more maps at a time than clusters."""
    if count > 1:
        for number in range(count):
            yield number, [other for other in range(count) if other != number]


def _differences(references: ReferenceSet, first: int, others: Sequence[int]) -> ReferenceSet:
    """What the first of some references has and each of the others has not."""
    mine, members = references.members[first], references.members
    return ReferenceSet(tuple(mine._replace(transform=mine.transform - members[other].transform) for other in others))


def _sample(rows: IntArray) -> IntArray:
    """Some of the rows, evenly."""
    return rows[np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(np.int64)]


def _without_data(batch: Batch) -> Batch:
    """Empty images of the same CTF: their scores are −⟨m, m⟩."""
    coefficients = batch.coefficients.copy()
    coefficients[:, :2] = 0.0
    return replace(batch, coefficients=coefficients)


def _half_maps(sums: HalfMapSums) -> Halves:
    return sums.half_map(1), sums.half_map(2)


def _folds(halves: IntArray, count: int) -> IntArray:
    """Fold of each particle, 0…count − 1: each half set is dealt out evenly."""
    folds = np.empty(len(halves), np.int64)
    for half in HALVES:
        rows = np.flatnonzero(halves == half)
        folds[rows] = np.arange(len(rows)) % count
    return folds
