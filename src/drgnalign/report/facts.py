"""What a run found, in numbers: ``report.json``, which the page shows and machines read.

Nothing is computed anew here that a pass's files say already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign import __version__
from drgnalign.colours import map_colour
from drgnalign.errors import InputError
from drgnalign.formats.star import read_star
from drgnalign.geometry import euler_to_matrix
from drgnalign.heterogeneity.path import move_along
from drgnalign.heterogeneity.verdicts import at_two_poses_in_words, widest_interval
from drgnalign.known.records import RECORD, ComparisonRecord
from drgnalign.known.text import chains_text, which_reference
from drgnalign.known.thesis import thesis_text
from drgnalign.particles import ANGLES, Particles
from drgnalign.report.advice import (
    GOOD,
    mark_of,
    next_steps,
    of_latent_space,
    one_more_round,
    open_first,
    particle_file,
    sentence,
)
from drgnalign.report.figures import labels_by_round
from drgnalign.report.reading import RUN, SESSION, WHOLE, RunRecord, SessionRecord, read_there
from drgnalign.report.summary import read_metrics
from drgnalign.report.trace import cost_by_step
from drgnalign.report.words import (
    doubt_of_motion,
    doubt_of_verdict,
    junk_doubt,
    not_believed,
    poses_looked_for,
    verdict_of,
)
from drgnalign.run.decisions import DECISIONS, DecisionsRecord
from drgnalign.run.inputs import InputsRecord, doubts_of_input
from drgnalign.run.latent import EMBEDDING_RECORD, TRAINING, EmbeddingRecord, TrainingRecord
from drgnalign.run.record import read_record
from drgnalign.run.records import ClusterMetrics, PassMetrics, PathPoint
from drgnalign.run.state import (
    COMPARISON,
    CONSENSUS,
    FSC,
    LATENT,
    MAPS,
    METRICS,
    MOTION,
    PARTICLES,
    cluster_label,
    point_names,
    published_name,
)
from drgnalign.validation.claims import DOUBTFUL, Doubt, doubts

# Of report.json; changes when a key changes its meaning.
FORMAT = 1
# Curves of a map.
CORRELATIONS = ("unmasked", "masked", "randomised", "corrected")
# Of the views: azimuth × height, all of one size.
VIEWS = (36, 18)
# Of posteriors and defoci.
POSTERIORS, DEFOCI = 20, 24


def run_facts(folders: Mapping[int, Path], run: Mapping[str, Any], info: Path | None = None) -> dict[str, Any]:
    """Everything that the report says in numbers.

    Parameters
    ----------
    folders : mapping of int to Path
        Folders of the passes by their numbers, each with ``metrics.json``, ``fsc.csv`` and ``particles.star``; of
        rounds also ``latent/training.json`` and ``latent/embedding.json``, where there was a training, and ``motion/``,
        where one was seen.
    run : mapping
        What the workflow knows: ``parameters``, ``defaults``, ``command``, ``inputs`` (``inputs.json``), ``decisions``,
        ``versions``, ``passes`` and ``rounds`` that are planned; ``folder`` in which it was started; its ``session``;
        ``results``, its ``--outdir``, where the page does not stand in it; ``moved_to``, where that is now, if it is
        not where ``parameters`` say; ``set_aside``, where a run went on with other settings and moved these results.
        Any may be missing.
    info : Path, optional
        ``pipeline_info``, for what the run cost (`cost_by_step`).

    Returns
    -------
    dict
        JSON-ready, see docs/outputs.md.

    Raises
    ------
    InputError
        A pass's file is missing or broken.
    """
    passes = [read_metrics(path, number) for number, path in sorted(folders.items())]
    last = passes[-1]
    particles = read_star(folders[last.number] / PARTICLES)
    particles.refuse_unusable()
    _check_whole(folders, last, particles)
    doubt = doubt_of_verdict(passes)
    clusters = [
        _cluster(entry, last, particles, doubt) | {"poses_limit_angstrom": _poses_limit(passes, entry.cluster)}
        for entry in last.clusters
    ]
    rounds = [_round(metrics, folders[metrics.number]) for metrics in _last_of_each_round(passes)]
    set_aside = bool(run.get("set_aside"))
    facts: dict[str, Any] = {
        "format": FORMAT,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "version": __version__,
        "pass": last.number,
        "passes": run.get("passes"),
        "round": last.round,
        "rounds_planned": run.get("rounds"),
        "set_aside": set_aside,
        "finished": None if set_aside else _is_finished(run, last),
        "steady": last.steady,
        "results": run.get("results"),
        "moved_to": run.get("moved_to"),
        "folder": run.get("folder"),
        "session": run.get("session"),
        "particles": last.particles,
        "box": particles.box,
        "pixel_size_angstrom": particles.pixel_size,
        "halves": last.halves,
        # labels of a person's, which the images were not asked about
        "clusters_given": last.verdict is None and _are_given(run, last.round),
        "verdict": last.verdict,
        "verdict_in_words": verdict_of(last) if last.verdict else None,
        "doubt_of_verdict": doubt or None,
        "doubt_of_motion": (last.moving and doubt_of_motion(passes)) or None,
        "left_out": _left_out(passes),
        "clusters": clusters,
        "rounds": rounds,
        "table": _table(rounds),
        "fsc": [curve for metrics in passes for curve in _curves(folders[metrics.number], metrics, particles.box)],
        "flow": _flow({one.round: folders[one.number] for one in passes if one.round}, particles),
        "poses": [_change(metrics, entry) for metrics in passes for entry in metrics.clusters],
        "evidence": _evidence(last),
        "comparison": _comparison(comparison_of(folders[last.number], run), last),
        "training": [found for metrics in passes for found in _training(folders[metrics.number], metrics.round)],
        "cost": cost_by_step(info),
        "parameters": _parameters(run),
        "command": run.get("command"),
        "versions": run.get("versions") or {},
        "inputs": run.get("inputs") or {},
        "decisions": run.get("decisions") or [],
        "warnings": _warnings(run, clusters),
        "not_believed": _not_believed(run, passes, clusters),
    }
    facts["sentence"] = sentence(facts)
    facts["latent_space"] = of_latent_space(facts)
    facts["open"] = open_first(facts)
    facts["particle_file"] = particle_file(facts)
    facts["next"] = next_steps(facts)
    facts["one_more_round"] = one_more_round(facts) if facts["finished"] else None
    return facts


def _are_given(run: Mapping[str, Any], round_: int) -> bool:
    """Are clusters those of ``--labels``, in a round that found none of its own?"""
    fixed = round_ > 1 and (run.get("parameters") or {}).get("fixed_clusters") in (True, "true")
    return bool((run.get("inputs") or {}).get("labels")) and (round_ == 1 or fixed)


def _check_whole(folders: Mapping[int, Path], last: PassMetrics, particles: Particles) -> None:
    """Refuse a run of which a pass is missing, and a last pass whose files are not of the same particles."""
    missing = sorted(set(range(1, max(folders))) - set(folders))
    if missing:
        problem = f"pass {missing[0]} is missing, though there are later ones"
        raise InputError(folders[max(folders)].parent, problem, WHOLE)
    if len(particles) != last.particles:
        problem = f"it has {len(particles)} particles, {METRICS} of its pass says {last.particles}"
        raise InputError(folders[last.number] / PARTICLES, problem, WHOLE)
    if "drgnPosterior" in particles.table:
        given = particles.table["drgnPosterior"]
        wrong = np.flatnonzero(given.notna() & ~pd.to_numeric(given, errors="coerce").between(0, 1))
        if len(wrong):
            problem = f"row {wrong[0] + 1}: drgnPosterior is no probability"
            raise InputError(folders[last.number] / PARTICLES, problem, WHOLE)


def _is_finished(run: Mapping[str, Any], last: PassMetrics) -> bool | None:
    """None where nobody knows how many passes were planned."""
    if last.steady and (run.get("parameters") or {}).get("stop") == "auto":
        return True
    return None if run.get("passes") is None else bool(last.number >= run["passes"])


def run_known(info: Path | None) -> dict[str, Any]:
    """What the workflow wrote about a run in ``pipeline_info``, for `run_facts`: whatever of it is there.

    Raises
    ------
    InputError
        A file is broken.
    """
    known: dict[str, Any] = {}
    if info is not None:
        known |= read_there(SessionRecord, info / SESSION) | read_there(RunRecord, info / RUN)
        known |= read_there(DecisionsRecord, info / DECISIONS)
        inputs = read_there(InputsRecord, info / "inputs.json")
        known |= {"inputs": inputs, "versions": _versions(info / "software_versions.yml")}
    return known


def _versions(path: Path) -> dict[str, str]:
    """Lines as ``numpy: 2.4.6``; written when a run has ended."""
    try:
        lines = path.read_text().splitlines() if path.is_file() else []
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read ({error})", WHOLE) from error
    return {name.strip(): version.strip() for name, _, version in (line.partition(":") for line in lines) if version}


def comparison_of(folder: Path, run: Mapping[str, Any]) -> ComparisonRecord | None:
    """With what the user knows, of a pass's maps; None where there was none, or the run asks for none any more."""
    path, parameters = folder / COMPARISON / RECORD, run.get("parameters")
    wanted = parameters is None or bool(parameters.get("compare"))
    return read_record(ComparisonRecord, path) if wanted and path.is_file() else None


def _comparison(record: ComparisonRecord | None, metrics: PassMetrics) -> dict[str, Any] | None:
    """Rows of the maps, with a cell for each reference."""
    if record is None:
        return None
    rows = [
        {
            "cluster": cluster.cluster,
            "which": which_reference(cluster, record.of_cluster(cluster.cluster)),
            "pairs": [
                pair.written() | {"chains": "".join(chains_text(record.chains_of(pair)))}
                for pair in record.of_cluster(cluster.cluster)
            ],
        }
        for cluster in record.clusters
    ]
    return {
        "folder": f"{published_name(metrics.number, metrics.round)}/{COMPARISON}",
        "references": list(dict.fromkeys(pair.reference for pair in record.pairs)),
        "rows": rows,
        "thesis": thesis_text(record.clusters) if record.thesis else None,
    }


def _last_of_each_round(passes: list[PassMetrics]) -> list[PassMetrics]:
    return list({metrics.round: metrics for metrics in passes}.values())


def _cluster(entry: ClusterMetrics, metrics: PassMetrics, particles: Particles, doubt: str) -> dict[str, Any]:
    """A cluster of the last pass: its figures, its mark, and what its particles look like; `doubt` is of them all."""
    name = entry.cluster
    label = cluster_label(name)
    kept = ~particles.left_out()
    members = kept if not label else kept & (particles.cluster_labels() == label)
    moving = metrics.moving and move_along(particles, members)
    found = doubts(entry, entry.halves or metrics.halves or "", particles.pixel_size, moving)
    found += [Doubt(f"is perhaps no state: {doubt}", DOUBTFUL)] if doubt else []
    weight, defocus = mark_of(found), _defocus(particles)
    return {
        "label": label,
        "name": name,
        "colour": map_colour(label),
        "particles": entry.particles,
        "share": entry.particles / max(int(kept.sum()), 1),
        "interval": entry.particles_interval,
        "mark": weight,
        "reasons": [doubt._asdict() for doubt in found],
        **{
            key: getattr(entry, key)
            for key in (
                "resolution_angstrom", "reaches_nyquist", "alignment_limit_angstrom", "mean_fsc", "difference_fsc_40",
                "difference_fsc_25", "amplitude", "mean_posterior", "separation_nats", "spread", "spread_interval",
                "turned", "b_factor_angstrom2",
                "accepted_share", "halves", "reference", "skipped", "density_outside_mask",
            )
        },
        "by_direction": entry.by_direction and entry.by_direction.written(),
        "composition": entry.composition.written(),
        "views": _views(particles, members),
        "defocus": _histogram(defocus[members], defocus[kept], DEFOCI),
        "posteriors": _posteriors(particles, members),
        "folder": f"{published_name(metrics.number, metrics.round)}/{MAPS}",
    }  # fmt: skip


def _poses_limit(passes: list[PassMetrics], name: str) -> float | None:
    """Up to what poses were refined last, of the cluster or, where that was never, of the consensus; else None."""
    limits = [
        (entry.cluster == name, metrics.number, entry.alignment_limit_angstrom)
        for metrics in passes
        for entry in metrics.clusters
        if entry.cluster in (name, CONSENSUS) and entry.alignment_limit_angstrom is not None
    ]
    return max(limits)[2] if limits else None


def _views(particles: Particles, members: NDArray[np.bool_]) -> list[list[int]]:
    """Particles by direction of view: rows by height (its cosine from 1 to −1), columns by azimuth from −180°."""
    # the third column of a rotation is the direction of view in the map's frame
    directions = euler_to_matrix(*particles.table.loc[members, ANGLES].to_numpy(np.float64).T)[:, :, 2]
    azimuths = np.arctan2(directions[:, 1], directions[:, 0])
    heights = np.clip(directions[:, 2], -1, 1)
    counts, _, _ = np.histogram2d(-heights, azimuths, bins=(VIEWS[1], VIEWS[0]), range=((-1, 1), (-np.pi, np.pi)))
    return counts.astype(int).tolist()


def _defocus(particles: Particles) -> NDArray[np.float64]:
    return particles.table[["rlnDefocusU", "rlnDefocusV"]].to_numpy(np.float64).mean(axis=1)


def _histogram(values: NDArray[np.float64], of_all: NDArray[np.float64], bins: int) -> dict[str, Any]:
    low, high = np.quantile(of_all, (0.005, 0.995)) if len(of_all) else (0.0, 1.0)
    edges = np.linspace(low, max(high, low + 1), bins + 1)
    mine, everyone = (np.histogram(np.clip(some, low, edges[-1]), edges)[0] for some in (values, of_all))
    return {"edges": edges.round(1).tolist(), "counts": mine.tolist(), "of_all": everyone.tolist()}


def _posteriors(particles: Particles, members: NDArray[np.bool_]) -> list[int] | None:
    """Particles by posterior, from 0 to 1; None where there are no posteriors."""
    if "drgnPosterior" not in particles.table:
        return None
    values = particles.table["drgnPosterior"].to_numpy(np.float64)[members]
    counts, _ = np.histogram(values[np.isfinite(values)], POSTERIORS, (0, 1))
    return list(map(int, counts))


def _left_out(passes: list[PassMetrics]) -> dict[str, Any]:
    metrics, (searched, found) = passes[-1], poses_looked_for(passes)
    return {
        "now": metrics.left_out,
        "new": metrics.left_out_new,
        "back": metrics.left_out_back,
        "junk_expected": metrics.junk_expected,
        "unassigned": metrics.unassigned,
        "searched": searched,
        "brought_back": found,
        "doubt": junk_doubt(metrics) or None,
    }


def _round(metrics: PassMetrics, folder: Path) -> dict[str, Any]:
    keys = ("cluster", "particles", "resolution_angstrom", "skipped", "mean_fsc", "difference_fsc_40")
    return {
        "number": metrics.round,
        "pass": metrics.number,
        "verdict": metrics.verdict,
        "left_out": metrics.left_out,
        "ari_with_last_round": metrics.ari_with_last_round,
        "clusters": [{key: getattr(entry, key) for key in keys} for entry in metrics.clusters],
        "motion": motion_points(folder),
    }


def motion_points(folder: Path) -> list[dict[str, Any]]:
    """Of a pass's folder, the points along the motion in their order: ``name`` of the maps, and their record."""
    motion = folder / MOTION
    return [{"name": name, **read_record(PathPoint, motion / f"{name}.json").written()} for name in point_names(motion)]


def _table(rounds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Resolution (Å) of each cluster in each round, and the round in which it was finest."""
    rows: dict[str, dict[int, float | None]] = {}
    for one in rounds:
        for entry in one["clusters"]:
            rows.setdefault(entry["cluster"], {})[one["number"]] = entry["resolution_angstrom"]
    table = []
    for name, by_round in sorted(rows.items(), key=lambda row: (row[0] != CONSENSUS, row[0])):
        known = {number: value for number, value in by_round.items() if value is not None}
        best = min(known, key=lambda number: (known[number], number)) if known else None
        table.append({"cluster": name, "resolutions": by_round, "best": best})
    return table


def _curves(folder: Path, metrics: PassMetrics, box: int) -> list[dict[str, Any]]:
    made = [entry.cluster for entry in metrics.clusters if not entry.skipped]
    if not made:
        return []
    shells = _shells(folder / FSC, made, box)
    curves = []
    for name in made:
        mine = shells[shells["cluster"] == name].sort_values("shell")
        limit, resolution = mine["alignment_limit_angstrom"].iloc[0], mine["resolution_0143_angstrom"].iloc[0]
        curves.append(
            {
                "pass": metrics.number,
                "round": metrics.round,
                "cluster": name,
                "frequency": (1 / mine["resolution_angstrom"]).round(6).tolist(),
                **{kind: _numbers(mine[f"fsc_{kind}"]) for kind in CORRELATIONS},
                "alignment_limit": None if np.isnan(limit) else float(limit),
                "resolution": None if np.isnan(resolution) else float(resolution),
                "nyquist": float(mine["resolution_angstrom"].min()),
            }
        )
    return curves


def _shells(file: Path, made: list[str], box: int) -> pd.DataFrame:
    """``fsc.csv`` with numbers where there have to be some; it has to have all shells of all of these maps."""
    numbers = ["shell", "resolution_angstrom", "resolution_0143_angstrom", *(f"fsc_{kind}" for kind in CORRELATIONS)]
    try:
        shells = pd.read_csv(file)
        lacking = [column for column in ("cluster", "alignment_limit_angstrom", *numbers) if column not in shells]
        if lacking:
            raise InputError(file, f"has no column {lacking[0]}", WHOLE)
        # no limit is "none"
        limits = pd.to_numeric(shells["alignment_limit_angstrom"], errors="coerce")
        shells = shells.assign(alignment_limit_angstrom=limits).astype(dict.fromkeys(numbers, np.float64))
    except (OSError, ValueError) as error:
        raise InputError(file, f"cannot be read ({error})", WHOLE) from error
    missing = sorted(set(made) - set(shells["cluster"]))
    if missing:
        raise InputError(file, f"has no FSC of {', '.join(missing)}", WHOLE)
    for name, mine in shells.groupby("cluster"):
        if sorted(mine["shell"]) != [*range(1, box // 2 + 1)]:
            raise InputError(file, f"has {len(mine)} of the {box // 2} shells of {name}", WHOLE)
    with np.errstate(divide="ignore"):
        positive = np.isfinite(1 / shells["resolution_angstrom"]) & (shells["resolution_angstrom"] > 0)
    if not positive.all():
        raise InputError(file, "resolution_angstrom of a shell is not a positive number", WHOLE)
    if np.isinf(shells.select_dtypes(np.number)).any(axis=None):
        raise InputError(file, "some of its figures are infinite", WHOLE)
    return shells


def _numbers(values: pd.Series) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 4) for value in values]


def _flow(folders: Mapping[int, Path], last: Particles) -> dict[str, Any]:
    """Who was where in each round, and who went where; 0 = unassigned, −1 = left out. `last`: of the last round."""
    labels = labels_by_round(folders, last)
    nodes = [
        {"round": number, "label": int(label), "particles": int(count)}
        for number, mine in labels.items()
        for label, count in zip(*np.unique(mine, return_counts=True), strict=True)
    ]
    rounds = sorted(labels)
    links: list[dict[str, int]] = []
    for before, after in pairwise(rounds):
        if len(labels[before]) != len(labels[after]):
            raise InputError(folders[after], f"has not the particles of round {before}", "give the passes of one run")
        pairs, counts = np.unique(np.stack([labels[before], labels[after]]), axis=1, return_counts=True)
        links += [
            {"round": before, "source": int(source), "target": int(target), "particles": int(count)}
            for source, target, count in zip(*pairs, counts, strict=True)
        ]
    return {"rounds": rounds, "nodes": nodes, "links": links}


def _change(metrics: PassMetrics, entry: ClusterMetrics) -> dict[str, Any]:
    keys = (
        "accepted_share",
        "median_rotation_change_degrees",
        "median_shift_change_angstrom",
        "alignment_limit_angstrom",
    )
    own = {key: getattr(entry, key) for key in keys}
    return {"pass": metrics.number, "round": metrics.round, "cluster": entry.cluster, **own}


def _evidence(metrics: PassMetrics) -> dict[str, Any]:
    """Of the last round's assignment."""
    clustering = metrics.clustering
    linear = None if clustering is None else clustering.linear
    assignment = {} if metrics.assignment is None else metrics.assignment.written()
    keys = ("states", "clusters", "agreement", "ari_with_proposed", "at_rest", "limit_angstrom", "limit_because")
    return {key: assignment.get(key) for key in (*keys, "contrast", "log_likelihood")} | {
        "spread_interval": widest_interval(assignment.get("clusters") or {}),
        "at_two_poses": at_two_poses_in_words(assignment.get("at_two_poses") or []),
        "proposed": clustering and clustering.proposed,
        "method": clustering and clustering.method,
        "linear": linear and {**linear.written(), "number": linear.number, "motion_in_words": linear.motion_in_words},
    }


def _training(folder: Path, number: int) -> list[dict[str, Any]]:
    record = read_there(TrainingRecord, folder / LATENT / TRAINING)
    if not record:
        return []
    explained = read_there(EmbeddingRecord, folder / LATENT / EMBEDDING_RECORD).get("explained_variance")
    keys = ("first_epoch", "epoch", "losses", "device", "settings", "cryodrgn_version", "taken_from")
    return [{"round": number, **{key: record.get(key) for key in keys}, "explained_variance": explained}]


def _parameters(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those that differ from the defaults first."""
    defaults = run.get("defaults") or {}
    rows = [
        {"name": name, "value": value, "default": defaults.get(name), "changed": str(value) != str(defaults.get(name))}
        for name, value in (run.get("parameters") or {}).items()
    ]
    return sorted(rows, key=lambda row: (not row["changed"], row["name"]))


def _warnings(run: Mapping[str, Any], clusters: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Everything that was warned of, and of what."""
    of_files = [{"of": "input", "text": text} for text in (run.get("inputs") or {}).get("warnings", [])]
    of_clusters = [
        {"of": cluster["name"], "text": reason["text"]}
        for cluster in clusters
        if cluster["mark"] != GOOD or cluster["reasons"]
        for reason in cluster["reasons"]
    ]
    return of_files + of_clusters


def _not_believed(
    run: Mapping[str, Any], passes: list[PassMetrics], clusters: list[dict[str, Any]]
) -> list[dict[str, str | None]]:
    """What `drgnalign.report.words.not_believed` says, its mark, and what of the input is in doubt."""
    marks = {reason["text"]: mark_of([Doubt(**reason)]) for cluster in clusters for reason in cluster["reasons"]}
    named = [
        replace(entry, warnings=[one["text"] for one in cluster["reasons"]])
        for entry, cluster in zip(passes[-1].clusters, clusters, strict=True)
    ]
    told = not_believed([*passes[:-1], replace(passes[-1], clusters=named)])
    found = [{**doubt, "mark": marks.get(doubt["text"])} for doubt in told]
    of_input = doubts_of_input(run.get("inputs") or {})
    return [*found, *({"of": "input", "text": text, "mark": None} for text in of_input)]
