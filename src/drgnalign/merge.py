"""Bring a pass's clusters together again: one particle table, one folder of references, one set of metrics."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.errors import DrgnalignError
from drgnalign.files import atomic_path
from drgnalign.formats.star import read_star
from drgnalign.geometry import angular_distance
from drgnalign.half_sets import standing, worst
from drgnalign.particles import ANGLES, INDEPENDENT, ORIGINS, REFINED_FROM, Particles
from drgnalign.split import CONSENSUS, cluster_name
from drgnalign.validation.claims import claim_warnings
from drgnalign.validation.composition import Composition

REFINED_COLUMNS = ["drgnScoreBefore", "drgnScore", "drgnAccepted", "drgnRotationChange", "drgnShiftChange"]
# Scores that the Frealigns weight particles with in the next pass.
FREALIGN_COLUMNS = "drgnFrealign"
USED_LABELS = "labels_used.json"
# Spread of the images' amplitudes beyond what noise makes of them: ice of varied thickness makes .1 to .3.
MOST_CONTRAST = 0.35
# The stop rule: labels, maps and poses all stand still.
STEADY_ARI = 0.95
STEADY_SHELLS = 1.0
STEADY_EDGE_PIXELS = 0.25


@dataclass(frozen=True)
class PassReport:
    """What a pass was asked to do, for the record.

    Attributes
    ----------
    number, round : int
        Pass of the loop, and round (0 = consensus).
    halves : str
        ``independent``, or ``not independent`` where this pass or one before aligned both half sets to one map.
    references : str
        Kind of reference that clusters started from.
    """

    number: int
    round: int
    halves: str
    references: str


def merge_particles(labelled: Particles, refined: Sequence[Path]) -> Particles:
    """Put refined rows back in the order of the input.

    Parameters
    ----------
    labelled : Particles
        All particles, as they went into the pass.
    refined : sequence of Path
        Star files with refined chunks; rows are found by ``drgnRow``.

    Returns
    -------
    Particles
        Rows that are in no chunk keep their poses; their refinement columns are those of their last refinement, or
        NaN if there never was one.

    Raises
    ------
    DrgnalignError
        A row comes back twice, or is none of the set's.
    """
    table = labelled.table.copy()
    position = pd.Index(table["drgnRow"])
    seen = np.zeros(len(table), dtype=bool)
    found, chunks = [], []
    for path in sorted(refined, key=lambda p: p.name):
        chunk = read_star(path).table
        rows = position.get_indexer(chunk["drgnRow"])
        if (rows < 0).any() or seen[rows].any() or len(np.unique(rows)) < len(rows):
            raise DrgnalignError(
                path, "it holds particles twice, or some that are not of this pass", "run without -resume"
            )
        seen[rows] = True
        kept = (*REFINED_COLUMNS, REFINED_FROM)
        scores = [c for c in map(str, chunk) if c in kept or c.startswith(FREALIGN_COLUMNS)]
        found.append(rows)
        chunks.append(chunk[[*ANGLES, *ORIGINS, *scores]])
    if chunks:
        _fill_in(table, np.concatenate(found), pd.concat(chunks))
    return Particles(table, labelled.optics, labelled.path)


def _fill_in(table: pd.DataFrame, rows: NDArray[np.int64], refined: pd.DataFrame) -> None:
    """Put refined values into some rows of a table; columns that it lacks are NaN elsewhere."""
    for label in map(str, refined):
        values = table[label].to_numpy(np.float64, copy=True) if label in table else np.full(len(table), np.nan)
        values[rows] = refined[label].to_numpy(np.float64)
        table[label] = values


def merge_references(
    previous: Path,
    maps: Path,
    plan: pd.DataFrame,
    report: PassReport,
    outdir: Path,
    named: Iterable[int] = (),
    mask: Path | None = None,
    halves: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Gather the pass's maps beside the consensus and the noise spectrum.

    Parameters
    ----------
    previous : Path
        References folder of the last pass (noise.csv, and after the first pass the consensus).
    maps : Path
        Folder with the pass's ``NAME_half1.mrc``, ``NAME_half2.mrc``, ``NAME.mrc``, ``NAME_fsc.csv``.
    plan : DataFrame
        Of `drgnalign.split.split_clusters`.
    report : PassReport
    outdir : Path
        Gets the maps, ``mask.mrc``, the consensus's own ``consensus_mask.mrc`` where it made one, ``noise.csv``,
        ``fsc.csv`` and the list of all labels ever used.
    named : iterable of int
        Labels of clusters that had a name, but have no map: the images did not choose them a second time.
    mask : Path, optional
        That all maps of the pass share; without it the consensus of the pass made its own.
    halves : mapping of str to str, optional
        What the half sets of each cluster are worth (`drgnalign.half_sets.standing`); as the report says without it.

    Returns
    -------
    DataFrame
        FSC of every cluster and shell, with the limit that its alignment used and whether halves were independent.
    """
    outdir.mkdir()
    names = sorted(set(plan["cluster"]))
    kept = ["noise.csv"] if CONSENSUS in names else ["noise.csv", *_map_files(previous, CONSENSUS)]
    for file in kept:
        _place(previous / file, outdir / file)
    for name in names:
        for file in _map_files(maps, name):
            _place(maps / file, outdir / file)
    if mask is None:
        _place(outdir / f"{CONSENSUS}_mask.mrc", outdir / "mask.mrc")
    else:
        shutil.copyfile(mask, outdir / "mask.mrc")  # no link: the user's own may be changed
    tables = [] if CONSENSUS in names else [_consensus_rows(previous)]
    for name in names:
        table = pd.read_csv(maps / f"{name}_fsc.csv")
        table.insert(0, "cluster", name)
        table["alignment_limit_angstrom"] = plan.loc[plan["cluster"] == name, "limit"].iloc[0]
        table["halves"] = (halves or {}).get(name, report.halves)
        tables.append(table)
    used = read_used_labels(previous) | {int(n.removeprefix("cluster_")) for n in names if n != CONSENSUS} | {*named}
    with atomic_path(outdir / USED_LABELS) as temporary:
        temporary.write_text(json.dumps(sorted(used)) + "\n")
    fsc = pd.concat(tables, ignore_index=True)
    with atomic_path(outdir / "fsc.csv") as temporary:
        fsc.to_csv(temporary, index=False, float_format="%.6g")
    return fsc


def read_used_labels(references: Path) -> set[int]:
    """Labels that clusters of any pass so far have had, from a references folder."""
    path = references / USED_LABELS
    return set(json.loads(path.read_text())) if path.exists() else set()


def _map_files(folder: Path, name: str) -> list[str]:
    """The maps of a cluster, its own mask if it made one, and what some engines keep beside them: references ready to
    use, or statistics."""
    beside = sorted(
        path.name
        for kind in ("reference_half", "statistics", "sharp", "local_resolution", "mask")
        for path in folder.glob(f"{name}_{kind}*")
    )
    return [f"{name}_half1.mrc", f"{name}_half2.mrc", f"{name}.mrc", *beside]


def _place(source: Path, target: Path) -> None:
    """A hard link where the file system allows it (maps are never changed in place), else a copy."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _consensus_rows(references: Path) -> pd.DataFrame:
    table = pd.read_csv(references / "fsc.csv")
    return table[table["cluster"] == CONSENSUS]


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
        members = kept if name == CONSENSUS else labels == int(name.removeprefix("cluster_"))
        mine = plan[plan["cluster"] == name]
        entry: dict[str, Any] = {"cluster": name, "particles": int(members.sum()), "skipped": mine.empty}
        if not mine.empty:
            limit = str(mine["limit"].iloc[0])
            entry |= {
                "carried": bool(mine["carried"].iloc[0]),
                "alignment_limit_angstrom": None if limit == "none" else float(limit),
                "reference": str(mine["reference"].iloc[0]),
                **json.loads((maps / f"{name}_resolution.json").read_text()),
            }
            if limit != "none":
                entry |= {
                    "accepted_share": float(after.table["drgnAccepted"][members].mean()),
                    "median_rotation_change_degrees": float(np.median(rotation_change[members])),
                    "median_shift_change_angstrom": float(np.median(shift_change[members])),
                }
        entry["composition"] = composition.of(members)
        facts = {}
        if latest and name != CONSENSUS:
            facts = latest["clusters"].get(str(int(name.removeprefix("cluster_"))), {})
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


def left_out_sentence(metrics: dict[str, Any]) -> str:
    """Who is left out after a pass, in a line for the screen; empty where nobody has looked for junk yet.

    Parameters
    ----------
    metrics : dict
        Of `pass_metrics`.
    """
    name = f"Round {metrics['round']}" if metrics["round"] else f"Consensus, pass {metrics['pass']}"
    of_all, out = f"of {metrics['particles']:,} particles", metrics["left_out"]
    looked = _looked(metrics)
    doubt = junk_doubt(metrics)
    if out or metrics["left_out_back"]:
        changes = f"{metrics['left_out_new']:,} new, {metrics['left_out_back']:,} back"
        sentence = f"{name}: {out:,} {of_all} are left out ({changes}): in no map, training or statistic"
        mine = metrics["left_out_by_input"]
        sentence += f"; {mine:,} of them the file's own program had left out" if mine else ""
        sentence += "; --junk keep keeps them" if out > mine or not mine else ""
        if looked.get("searched"):
            sentence += f"; of {looked['searched']:,} poses looked for, {looked['brought_back']:,} were found"
        return f"{sentence}; {doubt}" if doubt else sentence
    if metrics["junk_expected"] is None:
        return ""
    expected = f"{metrics['junk_expected']:.0f}"
    # none that is told is not none that is there
    found = f"the images take about {expected} {of_all} for junk"
    if doubt:
        found = doubt if expected == "0" else f"{found}, and {doubt}"
    return f"{name}: no particle is left out; {found}"


def junk_doubt(metrics: dict[str, Any]) -> str:
    """Where images differ by more than the ice makes of them, junk may be among them that no peak of its own tells.

    Parameters
    ----------
    metrics : dict
        Of `pass_metrics`.

    Returns
    -------
    str
        Empty where there is no such doubt.
    """
    looked = _looked(metrics)
    spread = looked.get("contrast_spread") or (looked.get("contrast") or {}).get("spread") or 0.0
    if spread <= MOST_CONTRAST:
        return ""
    said = f"the images' amplitudes vary by {spread:.2f}, more than ice makes them"
    return f"{said}: junk, lost poses or states that cannot be told yet may be among the particles kept"


def _looked(metrics: dict[str, Any]) -> dict[str, Any]:
    """What was recorded when junk was last looked for."""
    return metrics.get("screening") or (metrics["clustering"] or {}).get("assignment") or {}


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
    last = pd.read_csv(previous).drop_duplicates("cluster").set_index("cluster")["resolution_0143_angstrom"]
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
