"""The figures of a pass, and the rule by which the loop stops."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.geometry import angular_distance
from drgnalign.half_maps import INDEPENDENT, standing, worst
from drgnalign.heterogeneity.contrast import inverted
from drgnalign.heterogeneity.path import move_along
from drgnalign.particles import Particles
from drgnalign.run.plan import NO_LIMIT, PassReport
from drgnalign.run.record import read_record
from drgnalign.run.records import (
    ClusterEvidence,
    ClusteringRecord,
    ClusterMetrics,
    CompositionRecord,
    MapFigures,
    PassMetrics,
    ScreeningRecord,
)
from drgnalign.run.state import CONSENSUS, FIGURES, beside, by_cluster, cluster_label, cluster_name
from drgnalign.symmetry import point_group
from drgnalign.validation.claims import NOTE, doubts
from drgnalign.validation.composition import Composition
from drgnalign.validation.views import seen_share

# The stop rule: labels, maps and poses all stand still.
STEADY_ARI = 0.95
STEADY_SHELLS = 1.0
STEADY_EDGE_PIXELS = 0.25
# Of the interval in which a cluster's number of particles lies, standard deviations.
INTERVAL = 1.96


def pass_metrics(
    before: Particles,
    after: Particles,
    plan: pd.DataFrame,
    maps: Path,
    report: PassReport,
    clustering: ClusteringRecord | None,
    left_out_before: NDArray[np.bool_],
    screening: ScreeningRecord | None = None,
    symmetry: str = "C1",
) -> PassMetrics:
    """Figures of one pass; particles that are left out count in none but their own number.

    Parameters
    ----------
    before, after : Particles
        The set going in (labelled) and coming out.
    plan : DataFrame
    maps : Path
        Folder with each cluster's ``NAME_resolution.json``.
    report : PassReport
    clustering : ClusteringRecord, optional
    left_out_before : (N,) bool
        Particles that were left out after the last pass.
    screening : ScreeningRecord, optional
    symmetry : str
        Point group.

    Returns
    -------
    PassMetrics
    """
    kept = ~after.left_out()
    labels = np.where(kept, after.cluster_labels(), 0)
    names = [CONSENSUS] if report.round == 0 else [cluster_name(label) for label in sorted(set(labels) - {0})]
    composition, moves = Composition(after), _moves(before, after)
    rotations, operators = after.rotations(), point_group(symmetry)
    clusters = []
    for name in names:
        members = kept if name == CONSENSUS else labels == cluster_label(name)
        entry = ClusterMetrics(cluster=name, particles=int(members.sum()), skipped=True)
        entry.composition = CompositionRecord.of(composition.of(members))
        _tell_of_map(entry, plan[plan["cluster"] == name], maps)
        views = entry.composition.views
        if views is not None and entry.resolution_angstrom is not None:
            shell = after.box * after.pixel_size / entry.resolution_angstrom
            views.seen = seen_share(rotations[members], shell, operators)
        if entry.alignment_limit_angstrom is not None:
            entry.accepted_share = float(after.table["drgnAccepted"][members].mean())
            entry.median_rotation_change_degrees, entry.median_shift_change_angstrom = moves.medians(members)
        evidence = _tell_of_images(entry, clustering)
        entry.particles_interval = None if name == CONSENSUS else _interval(after, members, kept)
        # the images' own, where the engine gives none; what is everything cannot differ from the consensus
        if members.sum() != kept.sum():
            entry.difference_judged = entry.difference_fsc_40 if entry.compared else evidence.difference_fsc_40
        worth = report.halves
        if not entry.skipped:
            if worth == INDEPENDENT:
                worth = standing(after, members, entry.resolution_angstrom)
            entry.halves = worth
        moving = bool(clustering and clustering.moving and move_along(after, members))
        found = doubts(entry, worth, after.pixel_size, moving)
        entry.warnings = [doubt.text for doubt in found]
        entry.notes = [doubt.text for doubt in found if doubt.weight == NOTE]
        clusters.append(entry)
    rotation, shift = moves.medians(kept)
    assignment = None if clustering is None else clustering.assignment
    return PassMetrics(
        number=report.number,
        round=report.round,
        particles=len(after),
        unassigned=int((kept & (labels == 0)).sum()) if report.round else 0,
        **_left_out(left_out_before, after),
        halves=worst([report.halves, *(entry.halves for entry in clusters if entry.halves is not None)]),
        references=report.references,
        median_rotation_change_degrees=rotation,
        median_shift_change_angstrom=shift,
        verdict=None if assignment is None else assignment.verdict,
        clusters=clusters,
        clustering=clustering,
        screening=screening,
    )


class _Moves(NamedTuple):
    """How far a pass moved the particles (N,): degrees and Å."""

    rotation: NDArray[np.float64]
    shift: NDArray[np.float64]

    def medians(self, members: NDArray[np.bool_]) -> tuple[float, float]:
        return float(np.median(self.rotation[members])), float(np.median(self.shift[members]))


def _moves(before: Particles, after: Particles) -> _Moves:
    shift = np.linalg.norm(after.displacements() - before.displacements(), axis=1) * after.pixel_size
    return _Moves(angular_distance(before.rotations(), after.rotations()), shift)


def _tell_of_map(entry: ClusterMetrics, plan: pd.DataFrame, maps: Path) -> None:
    """The figures of a cluster's map and how it came about, where its rows of the plan say that it has one."""
    if plan.empty:
        return
    limit = str(plan["limit"].iloc[0])
    entry.skipped, entry.carried = False, bool(plan["carried"].iloc[0])
    entry.alignment_limit_angstrom = None if limit == NO_LIMIT else float(limit)
    entry.reference = str(plan["reference"].iloc[0])
    for name, value in vars(read_record(MapFigures, beside(maps / entry.cluster, FIGURES))).items():
        setattr(entry, name, value)


def _tell_of_images(entry: ClusterMetrics, clustering: ClusteringRecord | None) -> ClusterEvidence:
    """What the images say of a cluster, if they were asked.

    How far it spreads they say before its poses are refined, as the verdict has it: at poses refined against their own
    maps, cuts through a motion look like states (docs/method.md).
    """
    latest = None if clustering is None or entry.cluster == CONSENSUS else clustering.latest
    if clustering is None or latest is None:
        return ClusterEvidence()
    label = str(cluster_label(entry.cluster))
    evidence = latest.clusters.get(label, ClusterEvidence())
    first = evidence if clustering.assignment is None else clustering.assignment.clusters.get(label, evidence)
    entry.mean_posterior, entry.separation_nats = evidence.mean_posterior, evidence.separation_nats
    entry.spread, entry.spread_interval = first.spread, first.spread_interval
    entry.turned = evidence.turned
    entry.assign_limit_angstrom = latest.limit_angstrom
    return evidence


def _interval(particles: Particles, members: NDArray[np.bool_], kept: NDArray[np.bool_]) -> list[int] | None:
    """Between which numbers a cluster's members are, by their posteriors and by chance; None without posteriors."""
    if "drgnPosterior" not in particles.table or not members.any():
        return None
    posterior = np.nan_to_num(particles.table["drgnPosterior"].to_numpy(np.float64)[members], nan=1.0)
    number = int(members.sum())
    deviation = np.sqrt((posterior * (1 - posterior)).sum() + number * (1 - number / kept.sum()))
    return [max(int(number - INTERVAL * deviation), 0), math.ceil(number + INTERVAL * deviation)]


def _left_out(before: NDArray[np.bool_], after: Particles) -> dict[str, Any]:
    """How many particles are left out, how many of them were not before, how many that were are back, how many match
    the maps upside down; and how many the images take for junk (the sum of the posteriors)."""
    now = after.left_out()
    posterior, amplitude = after.table.get("drgnJunkPosterior"), after.table.get("drgnAmplitude")
    return {
        "left_out": int(now.sum()),
        "left_out_by_input": int(after.excluded().sum()),
        "left_out_new": int((now & ~before).sum()),
        "left_out_back": int((before & ~now).sum()),
        "left_out_inverted": 0 if amplitude is None else inverted(amplitude.to_numpy(np.float64), now),
        "junk_expected": None if posterior is None else float(np.nansum(posterior)),
    }


def steady(metrics: PassMetrics, previous: Path, box: int, pixel_size: float, diameter: float) -> bool:
    """The rule of ``--stop auto``: has the loop come to rest?

    It has when all three hold: labels agree with the last round's (adjusted Rand index ≥ 0.95); no cluster's
    resolution moved by more than one Fourier shell; and the median rotation of the round moves the particle's edge
    by less than a quarter of a pixel. Any one alone is deceptive: labels can stand still while poses still improve,
    and resolutions can while particles still change places.

    Parameters
    ----------
    metrics : PassMetrics
    previous : Path
        ``fsc.csv`` of the last round.
    box : int
    pixel_size, diameter : float
        Å.

    Returns
    -------
    bool
    """
    if (metrics.ari_with_last_round or 0) < STEADY_ARI:
        return False
    edge = math.radians(metrics.median_rotation_change_degrees or 0.0) * diameter / 2
    if edge > STEADY_EDGE_PIXELS * pixel_size:
        return False
    last = by_cluster(previous)["resolution_0143_angstrom"]
    extent = box * pixel_size
    for cluster in metrics.clusters:
        if cluster.skipped:
            continue
        if cluster.cluster not in last:
            return False
        now, before = cluster.resolution_angstrom, last[cluster.cluster]
        if (now is None) != math.isnan(before) or (now and abs(extent / now - extent / before) > STEADY_SHELLS):
            return False
    return True
