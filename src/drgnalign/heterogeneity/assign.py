"""Likelihood assignment: the latent space proposes clusters, the images decide.

Each cluster's half maps are made of its particles and shrunk towards the consensus where the cluster does not differ
from it; every particle is scored at its pose against all of them and goes to the most probable; and so on until few
change. A particle is never scored against a map that contains it: such a map shows the particle its own noise, and no
label would ever change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from drgnalign.arrays import FloatArray, FloatVolume, IntArray
from drgnalign.engine.images import Batch, coefficient_batches, poses_of
from drgnalign.engine.kernels import Matches, Reference, ReferenceSet, kernels_for
from drgnalign.engine.plan import coefficient_plan, limit_radius
from drgnalign.engine.reconstruct import HALVES, HalfMapSums
from drgnalign.engine.reference import transform_reference, weighted_halves
from drgnalign.engine.refine import check_limit, refine_particles
from drgnalign.engine.sampling import oversampling
from drgnalign.engine.search import wide_search
from drgnalign.engine.shrinkage import difference_fsc, shrunk_references
from drgnalign.errors import InputError
from drgnalign.formats.mrc import ImageSource
from drgnalign.half_maps import FEWEST_IN_HALF, smaller_half
from drgnalign.half_sets import ties, together
from drgnalign.heterogeneity.contrast import (
    ALIKE,
    HALF,
    Amplitudes,
    Caution,
    Contrast,
    Population,
    evidence,
    fitted_population,
)
from drgnalign.heterogeneity.spread import Spread, fitted_spread, positions
from drgnalign.heterogeneity.turned import Turn, turns_between
from drgnalign.maps.mask import density_outside, particle_mask, shows_density, soft_sphere, union_mask
from drgnalign.particles import Particles
from drgnalign.symmetry import point_group

Halves = tuple[FloatVolume, FloatVolume]
# Sums of each label, fold by fold; maps to compare with, by half set and by the fold that they lack.
Sums = Mapping[int, Sequence[HalfMapSums]]
References = Mapping[tuple[int, int], ReferenceSet]
# A figure of each two clusters, by their labels.
Pairs = dict[tuple[int, int], float]

# Assignment is at rest when fewer particles than this share change their label; it is stopped after so many passes.
REST, MOST_PASSES = 0.005, 30
# Parts that a half set is cut into where its own maps judge it.
FOLDS = 4
AGAINST = ("other_half", "own_half_folds")
# A posterior below this adds nothing to a map worth the time.
LEAST_SHARE = 0.01
# From proposals to labels that are good enough to make masks of.
ROUGHLY = 0.05
# From this probability of being junk on a particle is left out; who was in the last round is taken in again below that.
# Within a round nothing is remembered: what the first maps match badly is not lost to the better ones.
OUT, BACK = 0.5, 0.2
# Passes before anything is left out: maps that are still mixtures match a rare state badly.
PATIENCE = 3
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
    exclude : bool
        Leave out, of maps and statistics, what is more likely junk than not.
    focus : (N, N, N) float32, optional
        Soft mask of the part that clusters are told apart by: outside of it their maps are the consensus.
    """

    limit: float
    diameter: float
    against: str = "other_half"
    soft: bool = False
    symmetry: str = "C1"
    exclude: bool = True
    focus: FloatVolume | None = None


class Pass(NamedTuple):
    """One pass over the images.

    Attributes
    ----------
    clusters : int
        That particles could go to.
    changed : float
        Share of particles that got another label, or were left out or taken in again.
    log_likelihood : float
        Mean over particles of ln Σ π exp(q), nats; see `Assigner.run`.
    left_out : int
        Particles in no cluster.
    """

    clusters: int
    changed: float
    log_likelihood: float
    left_out: int = 0


@dataclass(frozen=True)
class Assignment:
    """Labels that the images chose.

    Attributes
    ----------
    labels : (N,) int64
        Each that of one of the clusters left; 0 of particles that are left out.
    clusters : list of int
        The labels of the K clusters left, ascending.
    posteriors : (N, K) float64
        Probability of each of them.
    difference_fsc : (K, N//2 + 1) float64
        Of each, against the consensus; see `drgnalign.engine.shrinkage.difference_fsc`.
    passes : tuple of Pass
    contrast : Contrast
        Of the images that are in clusters.
    amplitudes : (N,) float64
        Of each image, against the map that it matches best.
    junk : (N,) float64
        Probability of each to be junk; see `drgnalign.heterogeneity.contrast`.
    doubtful, whole : (N,) bool
        Who may be junk, or have another pose; and who matches to the details.
    turned : dict
        Pair of clusters to what of their difference is turning and shifting as a whole.
    """

    labels: IntArray
    clusters: list[int]
    posteriors: FloatArray
    difference_fsc: FloatArray
    passes: tuple[Pass, ...]
    contrast: Contrast
    amplitudes: FloatArray
    junk: FloatArray
    doubtful: NDArray[np.bool_]
    whole: NDArray[np.bool_]
    turned: dict[tuple[int, int], Turn] = field(default_factory=dict)

    @property
    def left_out(self) -> NDArray[np.bool_]:
        """Which particles (N,) are in no cluster."""
        return self.labels == 0

    @property
    def at_rest(self) -> bool:
        """False where particles still changed their labels when it was stopped."""
        return self.passes[-1].changed < REST

    @property
    def log_likelihood(self) -> float:
        """Of the last pass."""
        return self.passes[-1].log_likelihood


class Model(NamedTuple):
    """What particles are compared with in a pass: clusters, their sizes and maps, and all sums that they rest on.

    `standard` says which maps are good enough to call a particle junk by.
    """

    clusters: list[int]
    counts: FloatArray
    references: References
    sums: Sums
    standard: NDArray[np.bool_]


class Searched(NamedTuple):
    """Particles at the poses that match best among all, and what that is worth.

    Attributes
    ----------
    particles : Particles
        n of them.
    clusters : (n,) int64
        Whose maps match.
    gains, given : (n,) float64
        Nats over no signal, by the map of the other half set, there and at the poses given.
    decoys : (n,) float64
        The same of poses that were found in a decoy of the map: of nothing but luck.
    """

    particles: Particles
    clusters: IntArray
    gains: FloatArray
    given: FloatArray
    decoys: FloatArray

    def or_better(self, other: Searched) -> Searched:
        """The better one for each particle, as for each that was given and each decoy."""
        better = np.flatnonzero(other.gains > self.gains)
        clusters = self.clusters.copy()
        clusters[better] = other.clusters[better]
        return Searched(
            self.particles.with_poses_of(better, other.particles.select(better)),
            clusters,
            np.maximum(self.gains, other.gains),
            np.maximum(self.given, other.given),
            np.maximum(self.decoys, other.decoys),
        )


class _Looked(NamedTuple):
    """What a pass over the images found.

    `exponents` (N, K) are what posteriors are made of: where a cluster is dropped that a particle was all of, they
    still say which of the others it is most like.
    """

    exponents: FloatArray
    posteriors: FloatArray
    amplitudes: Amplitudes
    junk: FloatArray
    left_out: NDArray[np.bool_]
    sums: Sums
    log_likelihood: float


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
        self._poses = poses_of(particles)
        self._looked_at = np.flatnonzero(~particles.excluded())
        self._folds = _folds(particles, FOLDS if settings.against == "own_half_folds" else 1)
        # No narrower than the particle may be: what only a rare state has is in no mask made of all particles. Once
        # clusters are known, their own masks keep more noise out, see `narrowed`.
        self._mask = soft_sphere(particles.box, particles.pixel_size, settings.diameter)
        # Of a limit coarser than all stages there is nothing but bulk.
        (_, bulk), *finer = self._plan.stages
        self._bulk = bulk if finer else 0

    def narrowed(self, outcomes: Sequence[IntArray]) -> Assigner:
        """The same with a mask that holds the density of all clusters, and little noise around it.

        Parameters
        ----------
        outcomes : sequence of (N,) int64
            Labels; 0 = left out. The mask is the union of the masks of the consensus and of all clusters of all of
            them, so that it does not depend on which comes first.
        """
        pixel_size, diameter = self.particles.pixel_size, self.settings.diameter
        mask: FloatVolume | None = None
        for labels in outcomes:
            sums = self._insert(labels, labels == 0)
            consensus = self._consensus(sums)
            first = particle_mask(_mean(consensus), pixel_size, diameter)
            maps = (self._filtered(HalfMapSums.total(sums[label]), consensus) for label in self._large(labels))
            union = union_mask(first, maps, pixel_size, diameter)
            mask = union if mask is None else np.maximum(mask, union)
        narrow = copy(self)
        narrow._mask = self._mask if mask is None else mask
        return narrow

    def _filtered(self, sums: HalfMapSums, consensus: Halves) -> FloatVolume:
        """A cluster's map, as far as it is known."""
        return _mean(shrunk_references(_half_maps(sums), (sums.weights(1), sums.weights(2)), consensus, self._mask))

    def searched(self, rows: IntArray, labels: IntArray, among: Sequence[int]) -> Searched:
        """Look for the poses of some particles among all orientations, with their own half set's maps of some clusters;
        and in decoys of these maps, in which there is nothing to be found.

        Parameters
        ----------
        rows : (n,) int64
        labels : (N,) int64
            0 = left out.
        among : sequence of int
            Clusters; 0 = the consensus.
        """
        sums = self._insert(labels, labels == 0)
        consensus, some = self._consensus(sums), self.particles.select(rows)
        none = np.full(len(rows), -np.inf)
        best = Searched(some, np.zeros(len(rows), np.int64), none, none, none)
        for label in among:
            pair = self._pair(HalfMapSums.total(sums[label]), consensus) if label else self._weighted(consensus)
            best = best.or_better(self._searched_in(dict(zip(HALVES, pair, strict=True)), some, label))
        return best

    def _searched_in(self, maps: Mapping[int, Reference], some: Particles, label: int) -> Searched:
        decoys = {half: self._decoy(one) for half, one in maps.items()}
        source, limit = ImageSource(some, self._source.root), self.settings.limit
        found, false = (wide_search(some, source, looked_in, self._noise, limit) for looked_in in (maps, decoys))
        gains, given, luck = self._gains(found, maps), self._gains(some, maps), self._gains(false, decoys)
        return Searched(found, np.full(len(some), label), gains, given, luck)

    def _decoy(self, reference: Reference) -> Reference:
        """The bulk of a map with the details of its mirror image.

        It has the same power everywhere. The mirror image as a whole would not do: each of its views is one of the map.
        """
        in_bulk = self._in_bulk(reference)
        return reference._replace(transform=np.where(in_bulk, reference.transform, reference.transform[::-1]))

    def _gains(self, particles: Particles, maps: Mapping[int, Reference]) -> FloatArray:
        """Log-likelihood (n,) that particles gain over no signal by the map of the other half set, of any amplitude."""
        poses, gains = poses_of(particles), np.empty(len(particles))
        source, kernels = ImageSource(particles, self._source.root), kernels_for(self._plan, "cpu")
        for batch in coefficient_batches(particles, source, self._plan, kernels, self._noise, "look"):
            found = kernels.matches(ReferenceSet((maps[3 - batch.half],)), batch.coefficients, poses[batch.rows])
            product, power = found.products[:, 0], np.maximum(found.powers[:, 0], np.finfo(float).tiny)
            gains[batch.rows] = product * np.abs(product) / power
        return gains

    def at(self, particles: Particles) -> Assigner:
        """The same with the particles at other poses."""
        moved = copy(self)
        moved.particles, moved._poses = particles, poses_of(particles)
        return moved

    def refined(self, rows: IntArray) -> Assigner:
        """The same with some particles at poses refined against the map of them all, each half set against its own."""
        members = np.zeros(len(self.particles), np.int64)
        members[rows] = 1
        maps = self._weighted(self._consensus(self._insert(members, members == 0)))
        some = self.particles.select(rows)
        source, references = ImageSource(some, self._source.root), dict(zip(HALVES, maps, strict=True))
        found = refine_particles(some, source, references, self._noise, self.settings.limit)
        moved = some.with_poses(found.rotations, found.displacements)
        return self.at(self.particles.with_poses_of(rows, moved))

    def run(
        self,
        labels: IntArray,
        left_out: NDArray[np.bool_] | None = None,
        patience: int = PATIENCE,
        rest: float = REST,
        caution: Caution = Caution.NONE,
    ) -> Assignment:
        """Assign particles until they stay where they are.

        With coefficients of a half plane whitened to complex noise of variance 1, the log-likelihood q is that of
        `drgnalign.heterogeneity.contrast.evidence`, and the probability of cluster c is π_c exp(q_c) over the sum of
        it, π_c the share of particles that it has. Clusters that fall below ten particles in a half set are dropped.

        Contrast and junk are learnt from the amplitudes of one pass and used in the next.

        Parameters
        ----------
        labels : (N,) int64
            To start from; 0 = unassigned: such particles belong to the consensus alone until they are assigned.
        left_out : (N,) bool, optional
            Which are left out to begin with, those of the table without it; they are looked at as all others, and may
            be taken in.
        patience : int
            Passes before others are left out.
        rest : float
            Share of particles that may still change.
        caution : Caution
            Which junk is left out.

        Returns
        -------
        Assignment

        Raises
        ------
        InputError
            No cluster is large enough to start from.
        """
        out = self._out_at_first() if left_out is None else self._without(left_out)
        labels, exclude = np.where(out, 0, labels), self.settings.exclude
        passes: list[Pass] = []
        bars = np.where(self.particles.left_out(), BACK, OUT)
        sums, sizes, population = self._insert(labels, out), _sizes(labels), Population()
        while True:
            model = self._model(sums, labels, sizes)
            excluding = exclude and len(passes) >= patience
            looked = self._pass(model, population, out, bars if excluding else None, caution)
            if excluding and not self._large(np.where(looked.left_out, 0, 1)):
                # where nobody would be left, the mixture knows nothing
                exclude = excluding = False
                looked = self._pass(model, population, out)
            sums, out = looked.sums, looked.left_out
            now = np.where(out, 0, np.array(model.clusters)[looked.posteriors.argmax(axis=1)])
            changed = float((now != labels).mean())
            passes.append(Pass(len(model.clusters), changed, looked.log_likelihood, int(out.sum())))
            labels, sizes = now, self._sizes(model.clusters, now, looked.posteriors)
            population = fitted_population(looked.amplitudes.of(self._looked_at), population if excluding else None)
            junk = looked.junk if excluding else population.junk_posteriors(looked.amplitudes)
            rests = (changed < rest and (excluding or not exclude)) or len(passes) >= MOST_PASSES
            # what has become too small for a map is dropped in one pass more
            if rests and set(np.unique(labels[labels > 0])) <= set(self._large(labels)):
                return self._ended(model.clusters, looked._replace(junk=junk), labels, population, passes)

    def cut_off(self, labels: IntArray) -> float:
        """Most of a cluster map's density that lies outside of the particle's sphere, where no image is looked at.

        Where the sphere is too small the particle goes on behind its border: the background is what lies outside of
        that which a particle fills of its box.
        """
        sums, box, pixel_size = self._insert(labels, labels == 0), self.particles.box, self.particles.pixel_size
        sphere = soft_sphere(box, pixel_size, self.settings.diameter)
        beyond = max(self.settings.diameter, self.particles.diameter(None))
        maps = (_mean(_half_maps(HalfMapSums.total(sums[label]))) for label in self._large(labels))
        return max((density_outside(volume, sphere, pixel_size, beyond) for volume in maps), default=0.0)

    @property
    def mask(self) -> FloatVolume:
        """What maps (N, N, N) are compared with images within."""
        return self._mask

    def consensus(self) -> Halves:
        """Half maps of all that is not left out, not filtered."""
        return self._consensus(self._insert(np.ones(len(self.particles), np.int64), self._out_at_first()))

    def focus_shows(self) -> bool | None:
        """Whether the consensus has density inside the focus mask; None without one."""
        if self.settings.focus is None:
            return None
        consensus, pixel_size = _mean(self.consensus()), self.particles.pixel_size
        return shows_density(consensus, self.settings.focus, pixel_size, self.settings.diameter)

    def labels_by(self, maps: Sequence[FloatVolume]) -> IntArray:
        """Which of some maps each particle matches best.

        Parameters
        ----------
        maps : sequence of (N, N, N) float32
            Of the particles' box, on the scale of the consensus, filtered as is wanted.

        Returns
        -------
        (N,) int64
            From 1, in the order of the maps; 0 = left out.
        """
        members = ReferenceSet(tuple(self._transformed(volume) for volume in maps))
        references = {(half, fold): members for half in HALVES for fold in range(self._fold_count)}
        labels = np.zeros(len(self.particles), np.int64)
        for batch in self._batches(np.flatnonzero(~self._out_at_first())):
            labels[batch.rows] = 1 + self._scores(batch, references, ALIKE).argmax(axis=1)
        return labels

    def _out_at_first(self) -> NDArray[np.bool_]:
        """Who (N,) is left out before anything is known of them but what the table says."""
        return self._without(self.particles.left_out())

    def _without(self, left_out: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Who of those left out counts as such, and who is excluded."""
        return left_out & self.settings.exclude | self.particles.excluded()

    def can_start(self, labels: IntArray) -> bool:
        """Is there a cluster of ten particles in each half set?"""
        return bool(self._large(labels))

    def separations(self, labels: IntArray, contrast: Contrast = ALIKE) -> Pairs:
        """What each pair of clusters gains by not being one, in nats a particle of the two.

        The mean over their particles of ln (n_a exp q_a + n_b exp q_b)/(n_a + n_b) less the q of the two's common
        map. None of these maps contains the particle, so that a division that is not in the images loses: its maps
        are noisier than the common one.

        Parameters
        ----------
        labels : (N,) int64
            Each of at least ten particles in each half set; 0 = left out.
        contrast : Contrast
            Of the images.
        """
        model = self._model(self._insert(labels, labels == 0), labels)
        count, weights = len(model.clusters), np.log(model.counts)
        gains = np.zeros((count, count))
        for first, others in _each_and_others(count):
            names = [(model.clusters[first], model.clusters[second]) for second in others]
            together = self._references(names, model.sums)
            for batch in self._batches(np.flatnonzero(labels == model.clusters[first])):
                apart = self._scores(batch, model.references, contrast) + weights
                one = self._scores(batch, together, contrast)
                for column, second in enumerate(others):
                    gains[first, second] += (np.logaddexp(apart[:, first], apart[:, second]) - one[:, column]).sum()
        separations = {}
        for first, second in combinations(range(count), 2):
            size = model.counts[first] + model.counts[second]
            gain = (gains[first, second] + gains[second, first]) / size - np.log(size)
            separations[model.clusters[first], model.clusters[second]] = float(gain)
        return separations

    def spreads(self, labels: IntArray, contrast: Contrast = ALIKE) -> dict[tuple[int, int], Spread]:
        """How far particles of each pair of clusters spread along the way from one map to the other.

        Of up to `SAMPLE` particles a cluster; no map contains the particle. See `drgnalign.heterogeneity.spread`.

        Parameters
        ----------
        labels : (N,) int64
            Each of at least ten particles in each half set; 0 = left out.
        contrast : Contrast
            Of the images.
        """
        model = self._model(self._insert(labels, labels == 0), labels)
        count = len(model.clusters)
        shown: dict[tuple[int, int], list[FloatArray]] = {pair: [] for pair in combinations(range(count), 2)}
        for first, others in _each_and_others(count):
            differences = {key: _differences(maps, first, others) for key, maps in model.references.items()}
            for batch in self._batches(_sample(np.flatnonzero(labels == model.clusters[first]))):
                found = self._matches(batch, model.references)
                apart = self._matches(batch, differences).powers
                for column, second in enumerate(others):
                    pair = min(first, second), max(first, second)
                    products, powers = found.products[:, pair], found.powers[:, pair]
                    shown[pair].append(positions(products, powers, apart[:, column], contrast))
        return {
            (model.clusters[first], model.clusters[second]): fitted_spread(np.concatenate(parts, axis=1))
            for (first, second), parts in shown.items()
        }

    def _ended(
        self, clusters: list[int], looked: _Looked, labels: IntArray, population: Population, passes: list[Pass]
    ) -> Assignment:
        """Without the clusters that the last pass emptied."""
        left = [number for number, label in enumerate(clusters) if (labels == label).any()]
        kept, names = scipy.special.softmax(looked.exponents[:, left], axis=1), [clusters[number] for number in left]
        consensus = self._consensus(looked.sums)
        judged = self._mask if self.settings.focus is None else self._mask * self.settings.focus
        halves = {label: _half_maps(HalfMapSums.total(looked.sums[label])) for label in names}
        differences = [difference_fsc(halves[label], consensus, judged) for label in names]
        return Assignment(
            labels,
            names,
            kept,
            np.array(differences),
            tuple(passes),
            population.contrast,
            looked.amplitudes.whole,
            looked.junk,
            population.doubtful(looked.amplitudes),
            population.whole(looked.amplitudes),
            turns_between(halves, self._mask, self.particles.pixel_size),
        )

    def _insert(self, labels: IntArray, left_out: NDArray[np.bool_] | None = None) -> Sums:
        """Sums of the particles as they are labelled, but for those left out."""
        rows = None if left_out is None else np.flatnonzero(~left_out)
        sums = self._no_sums(np.unique(labels if rows is None else labels[rows]).tolist())
        for batch in self._batches(rows):
            for label, mine in sums.items():
                self._add(batch, (labels[batch.rows] == label).astype(np.float64), mine)
        return sums

    def _pass(
        self,
        model: Model,
        population: Population,
        left_out: NDArray[np.bool_],
        bars: FloatArray | None = None,
        caution: Caution = Caution.NONE,
    ) -> _Looked:
        """Look at all particles, and add them up as they are now; but not at those that are excluded.

        Who is left out stays so, unless it is to be decided, by the population: from which probability of being junk on
        each particle is, say `bars` (N,).
        """
        count, size = len(model.clusters), len(self.particles)
        found, amplitudes = np.full((size, count), 1 / count), Amplitudes(*np.ones((5, size)))
        known = np.zeros((size, count))
        junk, out = np.zeros(size), left_out.copy()
        sums, total = self._no_sums(model.clusters), 0.0
        weights = np.log(model.counts / model.counts.sum())
        for batch in self._batches(self._looked_at if len(self._looked_at) < size else None):
            rows, matches = batch.rows, self._matches(batch, model.references)
            products, powers = matches.products, matches.powers
            exponents = evidence(products, powers, population.contrast) + weights
            fitted = _amplitudes(matches, np.where(model.standard, exponents, -np.inf), batch.coefficients)
            for values, mine in zip(amplitudes, fitted, strict=True):
                values[rows] = mine
            if bars is not None:
                junk[rows] = population.junk_posteriors(fitted, caution)
                out[rows] = junk[rows] > bars[rows]
            total += float(population.log_likelihoods(products, powers, weights).sum())
            known[rows], found[rows] = exponents, scipy.special.softmax(exponents, axis=1)
            shares = self._shares(found[rows]) * ~out[rows, None]
            for number, label in enumerate(model.clusters):
                self._add(batch, shares[:, number], sums[label])
        return _Looked(known, found, amplitudes, junk, out, sums, total / len(self._looked_at))

    def _shares(self, posteriors: FloatArray) -> FloatArray:
        """With which particles count in each cluster."""
        return posteriors if self.settings.soft else np.eye(posteriors.shape[1])[posteriors.argmax(axis=1)]

    def _sizes(self, clusters: list[int], labels: IntArray, posteriors: FloatArray) -> dict[int, float]:
        if not self.settings.soft:
            return _sizes(labels)
        return dict(zip(clusters, posteriors[labels > 0].sum(axis=0).tolist(), strict=True))

    def _scores(self, batch: Batch, references: References, contrast: Contrast) -> FloatArray:
        """Log-likelihoods (n, K) of a batch, each particle's given maps that do not contain it."""
        found = self._matches(batch, references)
        return evidence(found.products, found.powers, contrast)

    def _matches(self, batch: Batch, references: References) -> Matches:
        """Of a batch, each particle with maps that do not contain it."""
        poses, folds = self._poses[batch.rows], self._folds[batch.rows]
        half = batch.half if self.settings.against == "own_half_folds" else 3 - batch.half
        found = Matches(*np.empty((4, len(batch.rows), len(references[half, 0].members))))
        for fold in np.unique(folds).tolist():
            mine = folds == fold
            coefficients = batch.coefficients if mine.all() else batch.coefficients[mine]
            matches = self._kernels.matches(references[half, fold], coefficients, poses[mine], self._bulk)
            for values, of_fold in zip(found, matches, strict=True):
                values[mine] = of_fold
        return found

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
            problem = f"no cluster has {FEWEST_IN_HALF} particles in each half set that match a map"
            start = "start from fewer, larger clusters (--k of `drgnalign cluster`; --k_start of a run), or from others"
            advice = f"{start}; give more particles, or --junk keep"
            raise InputError(self.particles.path, problem, advice)
        references = self._references([(label,) for label in clusters], sums)
        sizes = sizes or _sizes(labels)
        counts = np.array([sizes[label] for label in clusters], float)
        return Model(clusters, counts, references, sums, self._standard(references, sums))

    def _standard(self, references: References, sums: Sums) -> NDArray[np.bool_]:
        """Which maps (K,) show at least half of the amplitude of the details that all particles have in common.

        Others may be made of junk, and junk would match them well. One map at least shows as much as all in common.
        """
        common = self._details(self._weighted(self._consensus(sums))[0])
        powers = np.array([self._details(member) for member in references[HALVES[0], 0].members])
        return (powers >= HALF**2 * common) | (powers == powers.max())

    def _details(self, reference: Reference) -> float:
        """Power of a map beyond its bulk."""
        return float((np.abs(reference.transform[~self._in_bulk(reference)]) ** 2).sum())

    def _in_bulk(self, reference: Reference) -> NDArray[np.bool_]:
        """Which Fourier pixels of a map are within the coarsest stage of comparison."""
        edge = len(reference.transform) // 2
        axis, half = np.arange(-edge, edge + 1), np.arange(edge + 1)
        squares = axis[:, None, None] ** 2 + axis[:, None] ** 2 + half**2
        (resolution, _), *_ = self._plan.stages
        radius = reference.scale * limit_radius(self.particles.box, self.particles.pixel_size, resolution)
        return squares <= radius**2

    def _consensus(self, sums: Sums) -> Halves:
        return _half_maps(HalfMapSums.total(part for mine in sums.values() for part in mine))

    def _large(self, labels: IntArray) -> list[int]:
        """Clusters that have enough particles in each half set for a map, ascending."""
        halves = self.particles.half_sets()
        return [
            label
            for label in np.unique(labels[labels > 0]).tolist()
            if smaller_half(halves[labels == label]) >= FEWEST_IN_HALF
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
        first, second = shrunk_references(_half_maps(sums), weights, consensus, self._mask, self.settings.focus)
        return self._transformed(first), self._transformed(second)

    def _weighted(self, consensus: Halves) -> tuple[Reference, Reference]:
        """What half sets 1 and 2 make of the consensus."""
        first, second, shell_weights = weighted_halves(*consensus, self._mask, joint=False)
        return self._transformed(first, shell_weights), self._transformed(second, shell_weights)

    def _transformed(self, volume: FloatVolume, shell_weights: FloatArray | None = None) -> Reference:
        weights = np.ones(self.particles.box // 2 + 1) if shell_weights is None else shell_weights
        pixel_size, limit = self.particles.pixel_size, self.settings.limit
        return transform_reference(volume, self._mask, weights, pixel_size, limit, self._padding)

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
    names, counts = np.unique(labels[labels > 0], return_counts=True)
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


def _amplitudes(matches: Matches, exponents: FloatArray, coefficients: NDArray[np.float32]) -> Amplitudes:
    """Of images, each against the cluster that `exponents` (n, K) say to be the likeliest."""
    chosen = exponents.argmax(axis=1)[:, None]
    one = Matches(*(np.take_along_axis(values, chosen, axis=1)[:, 0] for values in matches))
    # noise has a power of 1 in each coefficient
    data = coefficients[:, :2]
    signal = np.einsum("ncm,ncm->n", data, data) - data.shape[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        unexplained = signal - one.products**2 / one.powers
        whole, bulk = one.products / one.powers, one.bulk_products / one.bulk_powers
        detail = (one.products - one.bulk_products) / (one.powers - one.bulk_powers)
        return Amplitudes(whole, np.where(one.bulk_powers > 0, bulk, whole), detail, 0.5 / one.powers, unexplained)


def _mean(halves: Halves) -> FloatVolume:
    return 0.5 * (halves[0] + halves[1])


def _half_maps(sums: HalfMapSums) -> Halves:
    return sums.half_map(1), sums.half_map(2)


def _folds(particles: Particles, count: int) -> IntArray:
    """Fold of each particle, 0…count − 1: each half set is dealt out evenly, and what shares noise is in one fold."""
    folds = np.zeros(len(particles), np.int64)
    if count > 1:
        units = together(ties(particles))
        for half in HALVES:
            rows = np.flatnonzero(particles.half_sets() == half)
            folds[rows] = pd.factorize(units[rows])[0] % count
    return folds
