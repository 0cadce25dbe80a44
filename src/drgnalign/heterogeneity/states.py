"""How many states do the images support? Assignments from several starts, and the evidence for each cluster."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import scipy.special
from numpy.typing import NDArray

from drgnalign.arrays import IntArray
from drgnalign.downsample import box_for_limit, downsample_stack, is_worth_it, with_stack
from drgnalign.engine.noise import estimate_noise
from drgnalign.engine.shrinkage import difference_figures
from drgnalign.files import atomic_path
from drgnalign.formats.mrc import ImageSource
from drgnalign.heterogeneity.assign import ROUGHLY, Assigner, Assignment, AssignmentSettings, Pairs, Pass
from drgnalign.heterogeneity.limit import assignment_limit
from drgnalign.heterogeneity.lost import looked_for
from drgnalign.heterogeneity.match import adjusted_rand_index
from drgnalign.heterogeneity.spread import Spread
from drgnalign.heterogeneity.turned import RIGID
from drgnalign.heterogeneity.verdicts import AS_ASKED, NEVER_AT_REST, OTHER_CLUSTERS, PERHAPS_RUNNING, RUNNING, SPREAD
from drgnalign.maps.mask import resampled_mask
from drgnalign.particles import LEFT_OUT, OCCUPANCY, START, Particles
from drgnalign.run.records import ClusterEvidence
from drgnalign.run.state import cluster_name

Value = TypeVar("Value")

# Nats an image that two clusters which differ by a turn of the whole particle are told apart by at most, once particles
# of one are turned onto the other's and poses are refined to their common map so many times: 0 to .013 of one state.
# Two states may lie so that their difference looks like a turn, in the frame of a part that they share: .02 to .08 are
# left of parts that hinge by 10 and 15° (signal-to-noise .1 and .2).
LEFT, REFINED = 0.015, 2
# Adjusted Rand index: discrete states are found again from another start, if not from every one (at least .997 was
# measured, at signal-to-noise ratios of .1 and .05).
AGREEMENT = 0.92


class CoarseImages(NamedTuple):
    """Particles whose images are just large enough for a limit, and the folder of their stack."""

    particles: Particles
    folder: Path


class TwoPoses(NamedTuple):
    """Two clusters that were one state at two poses: their particles, and how far they are apart (degrees, Å)."""

    particles: tuple[int, int]
    degrees: float
    angstrom: float


class Clusters(NamedTuple):
    """Clusters that the images chose, and how each two of them differ (`Assigner.separations`, `Assigner.spreads`)."""

    assignment: Assignment
    separations: Pairs
    spreads: dict[tuple[int, int], Spread]

    def separation(self, label: int) -> float | None:
        """From the cluster that is most like one; None where there is no other."""
        return min((value for pair, value in self.separations.items() if label in pair), default=None)

    def spread(self, label: int) -> Spread | None:
        """Towards the cluster that one runs into most; None where there is no other."""
        mine = (value for pair, value in self.spreads.items() if label in pair)
        return max(mine, key=lambda spread: (spread.likeliest, spread.most), default=None)

    def running(self) -> int:
        """Number of clusters that run into another one."""
        return self._number(lambda spread: spread.least > SPREAD)

    def perhaps_running(self) -> int:
        """Number of clusters of which that cannot be ruled out."""
        return self._number(lambda spread: spread.most > SPREAD)

    def _number(self, condition: Callable[[Spread], bool]) -> int:
        return len({label for pair, spread in self.spreads.items() if condition(spread) for label in pair})


@dataclass(frozen=True)
class States:
    """The clusters that are left, and what speaks for them.

    Attributes
    ----------
    kept : Clusters
        Those with the highest likelihood; no more of them than are wanted.
    told_apart : Clusters
        The same before clusters were united that the images do tell apart.
    agreement : list of float
        Adjusted Rand index of their labels with those that come of each of the other starts.
    particles : Particles
        With better poses of those that were left out only for theirs.
    searched : (N,) bool
        Whose poses were looked for.
    at_two_poses : tuple of TwoPoses
        Clusters that were united for no more than a turn of the particle.
    wanted : int or None
        Most clusters to keep.
    """

    kept: Clusters
    told_apart: Clusters
    agreement: list[float]
    particles: Particles
    searched: NDArray[np.bool_]
    at_two_poses: tuple[TwoPoses, ...] = ()
    wanted: int | None = None

    @property
    def brought_back(self) -> NDArray[np.bool_]:
        """Who (N,) of these is in a cluster, and matches its map to the details."""
        return self.searched & ~self.kept.assignment.left_out & self.kept.assignment.whole

    @property
    def verdict(self) -> str:
        """``one state``, ``N states``, or why no number can be given. It does not depend on how many are wanted, but
        whoever wants one alone has not asked."""
        if self.wanted == 1:
            return AS_ASKED
        number, kept = len(self.told_apart.assignment.clusters), len(self.kept.assignment.clusters)
        running, perhaps = self.told_apart.running(), self.told_apart.perhaps_running()
        found = "one state" if number == 1 else f"{number} states"
        if running == number:
            found = RUNNING
        elif perhaps == number:
            found = PERHAPS_RUNNING
        elif not self.told_apart.assignment.at_rest:
            found = NEVER_AT_REST
        elif self.agreement and max(self.agreement) < AGREEMENT:
            found = OTHER_CLUSTERS
        else:
            found += (
                f", of which {perhaps} {'run' if running == perhaps else 'may run'} into each other" if perhaps else ""
            )
            found += "" if self.agreement else " (from one start only)"
        return found if kept == number else f"{found}; {number} clusters united into {kept}, as many as were wanted"


def coarse_images(particles: Particles, stack: Path, limit: float, folder: Path) -> CoarseImages:
    """Particles with the images of a stack of ours, sampled once more where they are finer than is needed.

    Parameters
    ----------
    particles : Particles
    stack : Path
        White protein, in their order.
    limit : float
        Å.
    folder : Path
        For a new stack.
    """
    given = with_stack(particles, stack)
    smaller = box_for_limit(given, limit)
    if not is_worth_it(smaller, given.box):
        return CoarseImages(given, stack.parent)
    made = folder / "coarse.mrcs"
    downsample_stack(given, ImageSource(given, stack.parent), smaller, made)
    return CoarseImages(with_stack(particles, made), folder)


@contextmanager
def assigner_for(
    particles: Particles, stack: Path, references: Path, settings: AssignmentSettings
) -> Iterator[Assigner]:
    """An assigner at the finest limit that there is, `settings.limit` at most.

    Images that it needs besides the stack's lie in the working folder meanwhile.

    Parameters
    ----------
    particles : Particles
    stack : Path
        Images for assignment, white protein, in the order of the particles.
    references : Path
        Folder of the last pass, with ``fsc.csv``.
    settings : AssignmentSettings
        With a focus of any sampling.
    """
    limit = assignment_limit(references, settings.limit, particles, stack).angstrom
    with TemporaryDirectory(dir=Path.cwd()) as folder:
        yield _assigner(coarse_images(particles, stack, limit, Path(folder)), replace(settings, limit=limit))


@contextmanager
def assigner_of(
    particles: Particles, images: Path, settings: AssignmentSettings, folder: Path | None = None
) -> Iterator[Assigner]:
    """An assigner of particles with images of their own, from which smaller ones are made where these will do.

    Parameters
    ----------
    particles : Particles
    images : Path
        Folder that image names are relative to.
    settings : AssignmentSettings
        With a focus of any sampling.
    folder : Path, optional
        Where smaller images lie meanwhile. Default: the system's for temporary files.
    """
    box = box_for_limit(particles, settings.limit)
    with TemporaryDirectory(dir=folder) as made:
        given = CoarseImages(particles, images)
        if is_worth_it(box, particles.box):
            stack = Path(made, "coarse.mrcs")
            downsample_stack(particles, ImageSource(particles, images), box, stack)
            given = CoarseImages(with_stack(particles, stack), stack.parent)
        yield _assigner(given, settings)


def _assigner(images: CoarseImages, settings: AssignmentSettings) -> Assigner:
    """Of images as they are; the focus is of any sampling."""
    source = ImageSource(images.particles, images.folder)
    noise = estimate_noise(images.particles, source, settings.diameter)
    focus = None if settings.focus is None else resampled_mask(settings.focus, images.particles.box)
    return Assigner(images.particles, source, noise, replace(settings, focus=focus))


def labels_to_start_from(proposed: Particles) -> list[IntArray]:
    """The proposed clusters, and what else was proposed."""
    others = [label for label in map(str, proposed.table) if label.startswith(START)]
    return [proposed.cluster_labels(), *(proposed.table[label].to_numpy(np.int64) for label in others)]


def renamed(states: States, labels: IntArray) -> States:
    """The same states under other names: `labels` are those of the particles."""
    found = states.kept.assignment
    names = {label: int(labels[found.labels == label][0]) for label in found.clusters}
    order = np.argsort([names[label] for label in found.clusters])
    assignment = replace(
        found,
        labels=labels,
        clusters=[names[found.clusters[number]] for number in order],
        posteriors=found.posteriors[:, order],
        difference_fsc=found.difference_fsc[order],
        turned=_of_pairs(found.turned, names),
    )
    separations, spreads = _of_pairs(states.kept.separations, names), _of_pairs(states.kept.spreads, names)
    return replace(states, kept=Clusters(assignment, separations, spreads))


def _of_pairs(values: Mapping[tuple[int, int], Value], names: Mapping[int, int]) -> dict[tuple[int, int], Value]:
    """The same by other names of the clusters."""
    return {(names[first], names[second]): value for (first, second), value in values.items()}


def labelled(particles: Particles, found: Assignment, soft: bool) -> Particles:
    """Particles with the labels and posteriors of an assignment, which are their occupancies where it is soft, and
    without labels to start from."""
    kept = [label for label in map(str, particles.table) if not label.startswith((START, OCCUPANCY))]
    chosen = found.posteriors.max(axis=1)
    effective = np.exp(scipy.special.entr(found.posteriors).sum(axis=1))
    table = particles.table[kept].assign(
        rlnClassNumber=found.labels, drgnPosterior=chosen, drgnEffectiveClusters=effective
    )
    table = table.assign(**{OCCUPANCY: chosen}) if soft else table
    return with_amplitudes(replace(particles, table=table), found)


def write_posteriors(particles: Particles, found: Assignment, path: Path) -> None:
    """Write a table, ``.csv.gz``, of a row a particle and a column a cluster: the probability of each to be of each.

    Who is left out has a row too: what it would be, were it one of them.
    """
    names = [cluster_name(label) for label in found.clusters]
    table = pd.DataFrame(found.posteriors, columns=names)
    table.insert(0, "rlnImageName", particles.table["rlnImageName"].to_numpy())
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
        # without name and time, so that the bytes are the same whenever they are written
        gzip.GzipFile("", "wb", mtime=0, fileobj=file) as packed,
    ):
        table.to_csv(packed, index=False, float_format="%.4g")


def with_amplitudes(particles: Particles, found: Assignment) -> Particles:
    """Particles with what an assignment says of each as an image of anything: its amplitude, how likely it is junk, and
    whether it is left out. Nobody has looked at those that are excluded."""
    unknown = particles.excluded()
    columns = {
        "drgnAmplitude": np.where(unknown, np.nan, found.amplitudes),
        "drgnJunkPosterior": np.where(unknown, np.nan, found.junk),
    }
    return replace(particles, table=particles.table.assign(**columns, **{LEFT_OUT: found.left_out.astype(np.int64)}))


def find_states(
    assigner: Assigner, starts: Sequence[IntArray], k: int | None, last: IntArray | None = None, threads: int = 1
) -> States:
    """Assign from several starts, keep the likeliest, and unite what the images do not tell apart.

    Two clusters are united where the images are likelier given their common map (their separation is not above
    zero, see `Assigner.separations`), or where their maps differ by the particle's turning and shifting as a whole
    (`drgnalign.heterogeneity.turned`), which is one state at poses that are off; at the end, while there are more
    than `k`, also the two that lose least.

    Parameters
    ----------
    assigner : Assigner
    starts : sequence of (N,) int64
        Labels to start from, best of different numbers of clusters, so that they do not begin alike. Those of which no
        cluster is large enough are left out.
    k : int or None
        Most clusters to keep; None keeps all that the images tell apart.
    last : (N,) int64, optional
        Labels of the last round, another start. That they lead where ``starts[0]`` does says nothing, as that one may
        have begun at their centres.
    threads : int
        Starts that are worked on at the same time.

    Returns
    -------
    States

    Raises
    ------
    InputError
        There is nothing to start from.
    """
    kin = [starts[0]] if last is None or np.array_equal(last, starts[0]) else [starts[0], last]
    usable = [labels for labels in (*kin, *starts[1:]) if assigner.can_start(labels)] or [starts[0]]
    # what takes longest first, so that threads end together
    usable.sort(key=lambda labels: -len(np.unique(labels)))
    with ThreadPoolExecutor(threads) as pool:
        rough = list(pool.map(lambda labels: assigner.run(labels, rest=ROUGHLY), usable))
        assigner = assigner.narrowed([one.labels for one in rough])
        found = list(pool.map(lambda one: _united(assigner, _assigned(assigner, one.labels, one.passes)), rough))
    related = [any(labels is one for one in kin) for labels in usable]
    likeliest = max(range(len(found)), key=lambda number: found[number].assignment.log_likelihood)
    best = found[likeliest]
    agreement = [
        adjusted_rand_index(best.assignment.labels, one.assignment.labels)
        for number, one in enumerate(found)
        if number != likeliest and not (related[number] and related[likeliest]) and not _collapsed(one, best)
    ]
    assigner, best, searched = _with_lost(assigner, best)
    told_apart = _with_spreads(assigner, best)
    fewer = _united(assigner, best, k)
    kept = told_apart if fewer is best else _with_spreads(assigner, fewer)
    return States(kept, told_apart, agreement, assigner.particles, searched, fewer.at_two_poses, k)


def _collapsed(one: _Found, best: _Found) -> bool:
    """Did a start lose all clusters but one, which it can always do, where a likelier one did not?"""
    return len(one.assignment.clusters) == 1 < len(best.assignment.clusters)


def assigned(assigner: Assigner, labels: IntArray) -> Clusters:
    """What the images make of labels (N,), without dividing or uniting any."""
    assigner = assigner.narrowed([labels])
    return _with_spreads(assigner, _assigned(assigner, labels))


class _Found(NamedTuple):
    assignment: Assignment
    separations: Pairs
    at_two_poses: tuple[TwoPoses, ...] = ()


def _assigned(assigner: Assigner, labels: IntArray, before: tuple[Pass, ...] = ()) -> _Found:
    found = assigner.run(labels, labels == 0, patience=1)
    assignment = replace(found, passes=(*before, *found.passes))
    return _Found(assignment, assigner.separations(assignment.labels, assignment.contrast))


def _with_lost(assigner: Assigner, found: _Found) -> tuple[Assigner, _Found, NDArray[np.bool_]]:
    """Look in the maps of all clusters for the poses of those left out that were never looked for; and who that is."""
    chosen = found.assignment
    particles = assigner.particles
    lost = chosen.left_out & ~particles.searched() & ~particles.excluded() & assigner.settings.exclude
    if not lost.any():
        return assigner, found, lost
    moved, back, clusters = looked_for(assigner, lost, chosen.labels, chosen.clusters)
    if not back.any():
        return assigner, found, lost
    assigner = assigner.at(moved)
    again = _assigned(assigner, np.where(back, clusters, chosen.labels), chosen.passes)
    return assigner, _united(assigner, again._replace(at_two_poses=found.at_two_poses)), lost


def _with_spreads(assigner: Assigner, found: _Found) -> Clusters:
    chosen = found.assignment
    return Clusters(chosen, found.separations, assigner.spreads(chosen.labels, chosen.contrast))


def _united(assigner: Assigner, found: _Found, k: int | None = None) -> _Found:
    """Unite pairs that the images do not tell apart, or by no more than a turn of the particle, and those that lose
    least while there are more than `k`."""
    while True:
        labels = found.assignment.labels
        sizes = dict(zip(*np.unique(labels[labels > 0], return_counts=True), strict=True))
        losses = {pair: gain * (sizes[pair[0]] + sizes[pair[1]]) for pair, gain in found.separations.items()}
        alike = {pair for pair in losses if losses[pair] <= 0}
        at_two_poses = {pair for pair in losses.keys() - alike if _at_two_poses(assigner, found.assignment, pair)}
        pairs = _disjoint(sorted(alike | at_two_poses, key=losses.__getitem__))
        if not pairs and k is not None and len(found.assignment.clusters) > k:
            pairs = [min(losses, key=losses.__getitem__)]
        if not pairs:
            return found
        turned = [
            TwoPoses((int(sizes[pair[0]]), int(sizes[pair[1]])), *found.assignment.turned[pair].size)
            for pair in pairs
            if pair in at_two_poses
        ]
        for first, second in pairs:
            labels = np.where(labels == second, first, labels)
        found = _assigned(assigner, labels)._replace(at_two_poses=(*found.at_two_poses, *turned))


def _at_two_poses(assigner: Assigner, found: Assignment, pair: tuple[int, int]) -> bool:
    """Are two clusters one state at poses that are off?

    Their maps differ by a turn of the whole particle, and where the turn is undone and poses are refined together the
    images tell them apart no more. Of two states that lie so, one part in place and the rest turned, something is left.
    """
    turn = found.turned[pair]
    if turn.share < RIGID:
        return False
    labels = np.where(np.isin(found.labels, pair), found.labels, 0)
    together = assigner.at(turn.of(assigner.particles, labels == pair[1]))
    for _ in range(REFINED):
        together = together.refined(np.flatnonzero(labels))
    return together.separations(labels, found.contrast).get(pair, 0.0) <= LEFT


def _disjoint(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Of some pairs, those that share no member with one before them."""
    chosen: list[tuple[int, int]] = []
    for pair in pairs:
        if not any(member in one for one in chosen for member in pair):
            chosen.append(pair)
    return chosen


def evidence(states: States, angstrom: float, in_focus: bool | None = None) -> dict[str, Any]:
    """What speaks for the number of states and for the clusters, for the record.

    Parameters
    ----------
    states : States
    angstrom : float
        Width of the box.
    in_focus : bool, optional
        Given where images were compared inside a focus mask only, which the verdict says: whether the consensus has
        density there.

    Returns
    -------
    dict
        Of `AssignmentRecord`: ``verdict``, ``states`` (clusters that the images tell apart), ``agreement`` with other
        starts, ``density_in_focus``, ``at_two_poses`` (of `States`), and what `cluster_evidence` says of the clusters
        kept.
    """
    return {
        "verdict": f"{states.verdict}, inside the focus mask" if in_focus is not None else states.verdict,
        "states": len(states.told_apart.assignment.clusters),
        "agreement": states.agreement,
        "density_in_focus": in_focus,
        "at_two_poses": [one._asdict() for one in states.at_two_poses],
        **cluster_evidence(states.kept, angstrom),
    }


def cluster_evidence(found: Clusters, angstrom: float) -> dict[str, Any]:
    """What speaks for each cluster.

    Returns
    -------
    dict
        Of `AssignmentRecord` and `ReassignmentRecord`: ``at_rest``, ``log_likelihood``, the ``passes``, mean and spread
        of the ``contrast``, the number ``left_out``, and in ``clusters``, by label: ``particles``;
        ``difference_fsc_40`` and ``_25``, of the difference from the consensus between half sets (None beyond Nyquist);
        ``mean_posterior`` and ``mean_amplitude`` of its particles; ``separation_nats`` a particle from the cluster that
        is most like it, and ``spread`` with its interval towards the one that it runs into most (None where there is no
        other); ``turned``, from which cluster it differs mostly by a turn of the whole particle, if from one.
    """
    chosen, clusters = found.assignment, {}
    for number, label in enumerate(chosen.clusters):
        mine, spread = chosen.labels == label, found.spread(label)
        clusters[str(label)] = ClusterEvidence(
            particles=int(mine.sum()),
            **difference_figures(chosen.difference_fsc[number], angstrom),
            mean_posterior=float(chosen.posteriors[mine, number].mean()),
            mean_amplitude=float(chosen.amplitudes[mine].mean()),
            separation_nats=found.separation(label),
            spread=spread and spread.likeliest,
            spread_interval=spread and [spread.least, spread.most],
            turned=_turned_from(chosen, label),
        )
    return {
        "at_rest": chosen.at_rest,
        "log_likelihood": chosen.log_likelihood,
        "passes": [one._asdict() for one in chosen.passes],
        "contrast": chosen.contrast._asdict(),
        "left_out": int(chosen.left_out.sum()),
        "clusters": clusters,
    }


def _turned_from(found: Assignment, label: int) -> dict[str, Any] | None:
    """The cluster that one differs from mostly by a turn of the whole particle, and how large that is."""
    alike = {pair: turn for pair, turn in found.turned.items() if label in pair and turn.share >= RIGID}
    if not alike:
        return None
    pair = max(alike, key=lambda one: alike[one].share)
    degrees, angstrom = alike[pair].size
    (other,) = set(pair) - {label}
    return {"from": cluster_name(other), "degrees": degrees, "angstrom": angstrom}
