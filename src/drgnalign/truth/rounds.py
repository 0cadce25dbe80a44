"""How a run on a labelled set went, round by round, against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from drgnalign.errors import InputError
from drgnalign.formats.star import read_star
from drgnalign.run.record import read_record
from drgnalign.run.records import PassMetrics
from drgnalign.run.state import METRICS, PARTICLES, published_passes
from drgnalign.truth.score import score_particles


def score_rounds(results: Path, truth: Path) -> pd.DataFrame:
    """One row a pass of a finished run: what it did, and how far poses and labels are from the truth.

    Parameters
    ----------
    results : Path
        ``--outdir`` of a run.
    truth : Path
        Star file with true poses and, in ``rlnClassNumber``, true states.

    Returns
    -------
    DataFrame
        Rotation errors in degrees, shift errors and resolutions in Å; ``rarest`` is the true state with fewest
        particles; ``junk_found`` and ``good_left_out`` are shares, empty where the truth does not know of junk.

    Raises
    ------
    InputError
        There are no passes in `results`.
    """
    folders = published_passes(results)
    if not folders:
        raise InputError(results, "it holds no passes of a run", "give the --outdir of a finished run")
    true = read_star(truth)
    return pd.DataFrame([_row(folder, score_particles(true, read_star(folder / PARTICLES))) for folder in folders])


def _row(folder: Path, score: dict[str, Any]) -> dict[str, Any]:
    metrics = read_record(PassMetrics, folder / METRICS)
    maps = [cluster for cluster in metrics.clusters if not cluster.skipped]
    limits = sorted({cluster.alignment_limit_angstrom or 0.0 for cluster in maps})
    rarest = min(score["states"].values(), key=lambda state: state["particles"])
    return {
        "pass": f"round {metrics.round}" if metrics.round else f"consensus {metrics.number}",
        "limit": "/".join(f"{limit:g}" if limit else "none" for limit in limits),
        "clusters": len(metrics.clusters),
        "sizes": "/".join(str(cluster.particles) for cluster in metrics.clusters),
        "resolution": "/".join(_in_words(cluster.resolution_angstrom) for cluster in maps),
        "mean_fsc": sum(cluster.mean_fsc or 0.0 for cluster in maps) / len(maps) if maps else None,
        "ari_last": metrics.ari_with_last_round,
        "rotation_median": score["rotation_degrees"]["median"],
        "rotation_p90": score["rotation_degrees"]["p90"],
        "rarest_rotation_median": rarest["rotation_median_degrees"],
        "shift_median": score["shift_angstrom"]["median"],
        "ari_truth": score["label_ari"],
        "junk_found": (score["junk"] or {}).get("found"),
        "good_left_out": (score["junk"] or {}).get("good_left_out"),
    }


def _in_words(resolution: float | None) -> str:
    return "none" if resolution is None else f"{resolution:.1f}"
