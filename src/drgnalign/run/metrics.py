"""The figures of a pass, and the rule by which the loop stops."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.geometry import angular_distance
from drgnalign.half_maps import INDEPENDENT, standing, worst
from drgnalign.particles import Particles
from drgnalign.run.plan import NO_LIMIT, PassReport
from drgnalign.run.state import CONSENSUS, FIGURES, beside, by_cluster, cluster_label, cluster_name
from drgnalign.validation.claims import claim_warnings
from drgnalign.validation.composition import Composition

# The stop rule: labels, maps and poses all stand still.
STEADY_ARI = 0.95
STEADY_SHELLS = 1.0
STEADY_EDGE_PIXELS = 0.25


def pass_metrics(
    before: Particles,
    after: Particles,
    plan: pd.DataFrame,
    maps: Path,
    report: PassReport,
    clustering: dict[str, Any] | None,
    left_out_before: NDArray[np.bool_],
    screening: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Figures of one pass; particles that are left out count in none but their own number.

    Parameters
    ----------
    before, after : Particles
        The set going in (labelled) and coming out.
    plan : DataFrame
    maps : Path
        Folder with each cluster's ``NAME_resolution.json``.
    report : PassReport
    clustering : dict, optional
        What the clustering step recorded (method, agreement with the last round, overlap table).
    left_out_before : (N,) bool
        Particles that were left out after the last pass.
    screening : dict, optional
        What the screening step recorded.

    Returns
    -------
    dict
        JSON-ready.
    """
    kept = ~after.left_out()
    labels = np.where(kept, after.cluster_labels(), 0)
    assignment = (clustering or {}).get("assignment")
    latest = (clustering or {}).get("reassignment", assignment)
    clusters = []
    names = [CONSENSUS] if report.round == 0 else [cluster_name(label) for label in sorted(set(labels) - {0})]
    composition = Composition(after)
    rotation_change = angular_distance(before.rotations(), after.rotations())
    shift_change = np.linalg.norm(after.displacements() - before.displacements(), axis=1) * after.pixel_size
    for name in names:
        members = kept if name == CONSENSUS else labels == cluster_label(name)
        mine = plan[plan["cluster"] == name]
        entry: dict[str, Any] = {"cluster": name, "particles": int(members.sum()), "skipped": mine.empty}
        if not mine.empty:
            limit = str(mine["limit"].iloc[0])
            entry |= {
                "carried": bool(mine["carried"].iloc[0]),
                "alignment_limit_angstrom": None if limit == NO_LIMIT else float(limit),
                "reference": str(mine["reference"].iloc[0]),
                **json.loads(beside(maps / name, FIGURES).read_text()),
            }
            if limit != NO_LIMIT:
                entry |= {
                    "accepted_share": float(after.table["drgnAccepted"][members].mean()),
                    "median_rotation_change_degrees": float(np.median(rotation_change[members])),
                    "median_shift_change_angstrom": float(np.median(shift_change[members])),
                }
        entry["composition"] = composition.of(members)
        facts = {}
        if latest and name != CONSENSUS:
            facts = latest["clusters"].get(str(cluster_label(name)), {})
            entry |= {key: facts.get(key) for key in ("mean_posterior", "separation_nats", "spread", "spread_interval")}
            entry["assign_limit_angstrom"] = latest["limit_angstrom"]
        # the images' own, where the engine gives none; what is everything cannot differ from the consensus
        difference = (
            None if members.sum() == kept.sum() else entry.get("difference_fsc_40", facts.get("difference_fsc_40"))
        )
        worth = report.halves
        if not mine.empty:
            if worth == INDEPENDENT:
                worth = standing(after, members, entry["resolution_angstrom"])
            entry["halves"] = worth
        entry["difference_judged"] = difference
        entry["warnings"] = claim_warnings(entry, worth, after.pixel_size)
        clusters.append(entry)
    return {
        "pass": report.number,
        "round": report.round,
        "particles": len(after),
        "unassigned": int((kept & (labels == 0)).sum()) if report.round else 0,
        **_left_out(left_out_before, after),
        "halves": worst([report.halves, *(entry["halves"] for entry in clusters if "halves" in entry)]),
        "references": report.references,
        "median_rotation_change_degrees": float(np.median(rotation_change[kept])),
        "median_shift_change_angstrom": float(np.median(shift_change[kept])),
        "verdict": assignment["verdict"] if assignment else None,
        "clusters": clusters,
        "clustering": clustering,
        "screening": screening,
    }


def _left_out(before: NDArray[np.bool_], after: Particles) -> dict[str, Any]:
    """How many particles are left out, how many of them were not before, how many that were are back; and how many
    the images take for junk (the sum of the posteriors)."""
    now = after.left_out()
    posterior = after.table.get("drgnJunkPosterior")
    return {
        "left_out": int(now.sum()),
        "left_out_by_input": int(after.excluded().sum()),
        "left_out_new": int((now & ~before).sum()),
        "left_out_back": int((before & ~now).sum()),
        "junk_expected": None if posterior is None else float(np.nansum(posterior)),
    }


def steady(metrics: dict[str, Any], previous: Path, box: int, pixel_size: float, diameter: float) -> bool:
    """The rule of ``--stop auto``: has the loop come to rest?

    It has when all three hold: labels agree with the last round's (adjusted Rand index ≥ 0.95); no cluster's
    resolution moved by more than one Fourier shell; and the median rotation of the round moves the particle's edge
    by less than a quarter of a pixel. Any one alone is deceptive: labels can stand still while poses still improve,
    and resolutions can while particles still change places.

    Parameters
    ----------
    metrics : dict
        Of `pass_metrics`.
    previous : Path
        ``fsc.csv`` of the last round.
    box : int
    pixel_size, diameter : float
        Å.

    Returns
    -------
    bool
    """
    clustering = metrics["clustering"]
    if metrics["round"] < 2 or clustering is None or (clustering["ari_with_last_round"] or 0) < STEADY_ARI:
        return False
    edge = math.radians(metrics["median_rotation_change_degrees"]) * diameter / 2
    if edge > STEADY_EDGE_PIXELS * pixel_size:
        return False
    last = by_cluster(previous)["resolution_0143_angstrom"]
    extent = box * pixel_size
    for cluster in metrics["clusters"]:
        if cluster["skipped"]:
            continue
        if cluster["cluster"] not in last:
            return False
        now, before = cluster["resolution_angstrom"], last[cluster["cluster"]]
        if (now is None) != math.isnan(before) or (now and abs(extent / now - extent / before) > STEADY_SHELLS):
            return False
    return True
