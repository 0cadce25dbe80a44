"""The passes of a run as one table."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from drgnalign.errors import InputError
from drgnalign.half_maps import DEALT_AT_IMPORT, NOT_INDEPENDENT
from drgnalign.run.record import read_record
from drgnalign.run.records import ClusterMetrics, PassMetrics
from drgnalign.run.state import METRICS, pass_folders, published_name, published_passes

# Of `ClusterMetrics`; empty where the cluster was skipped, has no resolution, or its poses were not
# refined.
CLUSTER_COLUMNS = [
    "reference",
    "alignment_limit_angstrom",
    "resolution_angstrom",
    "reaches_nyquist",
    "mean_fsc",
    "difference_fsc_40",
    "difference_fsc_25",
    "amplitude",
    "assign_limit_angstrom",
    "mean_posterior",
    "separation_nats",
    "spread",
]
# Between which numbers its particles lie; empty where no image was asked.
INTERVAL_COLUMNS = ["particles_low", "particles_high"]
# Of a pass: particles that are left out, those of them that were not before, and those that are back.
LEFT_OUT_COLUMNS = ["left_out", "left_out_new", "left_out_back"]
# Decimals that mean something; a tenth of a shell is more than any resolution is known to.
DECIMALS = {
    "alignment_limit_angstrom": 2,
    "resolution_angstrom": 2,
    "mean_fsc": 3,
    "difference_fsc_40": 3,
    "difference_fsc_25": 3,
    "amplitude": 3,
    "assign_limit_angstrom": 2,
    "mean_posterior": 4,
    "separation_nats": 2,
    "spread": 3,
    "ari_with_last_round": 3,
    "accepted_share": 3,
    "median_rotation_change_degrees": 3,
    "median_shift_change_angstrom": 3,
}
CHANGE_COLUMNS = ["accepted_share", "median_rotation_change_degrees", "median_shift_change_angstrom"]


def published_folders(results: Path) -> dict[int, Path]:
    """Folders of the passes in a run's ``--outdir`` by the passes' numbers, in their order.

    Raises
    ------
    InputError
        There are none, or one holds another pass than its name says.
    """
    found: dict[int, Path] = {}
    for folder in published_passes(results):
        if (folder / METRICS).exists():
            metrics = read_record(PassMetrics, folder / METRICS)
            name = published_name(metrics.number, metrics.round)
            if folder != results / name or metrics.number in found:
                raise InputError(folder / METRICS, f"it is of {name}", "give the passes their own folders again")
            found[metrics.number] = folder
    if not found:
        raise InputError(results, "holds no results of a run", "give the folder that --outdir named")
    return dict(sorted(found.items()))


def read_number(file: Path) -> int:
    """Number of the pass that a ``metrics.json`` is of."""
    return read_record(PassMetrics, file).number


def read_passes(folder: Path) -> list[PassMetrics]:
    """Metrics of all passes, in the order in which they were run.

    Parameters
    ----------
    folder : Path
        Holds ``pass_0``, ``pass_1`` …, each with its ``metrics.json``.

    Returns
    -------
    list of PassMetrics

    Raises
    ------
    InputError
        There are no passes, or metrics are missing, broken or in the folder of another pass.
    """
    folders = pass_folders(folder)
    if not folders:
        raise InputError(folder, "there are no folders pass_0, pass_1 … in it", "give the folder of all passes")
    return [read_metrics(path, number) for number, path in folders.items()]


def summary_table(passes: list[PassMetrics]) -> pd.DataFrame:
    """One row a pass and cluster.

    Parameters
    ----------
    passes : list of PassMetrics
        Of `read_passes`.

    Returns
    -------
    DataFrame
        ``round`` (0 = consensus), ``pass``, ``cluster``, ``particles``, ``particles_low`` and ``particles_high`` (95 %
        interval, by posteriors and chance), ``skipped``, ``reference`` that poses were refined against,
        ``alignment_limit_angstrom`` (``none`` where poses were not refined), ``resolution_angstrom``
        (0.143, halves as ``halves`` says), ``reaches_nyquist``, ``mean_fsc``, ``difference_fsc_40`` and ``_25`` (of the
        cluster's difference from the consensus, at 40 and 25 Å), ``amplitude`` of its map in units of the consensus's,
        ``assign_limit_angstrom`` (up to which images were compared), ``mean_posterior``, ``separation_nats`` and
        ``spread`` (of likelihood assignment), ``halves`` (``independent``, ``dealt at import`` or ``not independent``),
        ``left_out``, ``left_out_new`` and ``left_out_back`` (particles that are left out after the pass, those of them
        that were not before, those that are back), ``ari_with_last_round`` (of the whole round), ``accepted_share`` and
        medians of the change of pose in degrees and Å, the round's ``verdict_before_refinement`` on the number of
        states (of its first assignment; other figures are of what was chosen at the refined poses), and ``warnings``
        (`drgnalign.validation.claims`). Particles that are unassigned or left out have no row. A cell is empty where
        there is no such figure: all that comes of maps where a cluster was skipped, for example.
    """
    table = pd.DataFrame([_row(metrics, cluster) for metrics in passes for cluster in metrics.clusters])
    for column, decimals in DECIMALS.items():
        table[column] = table[column].map(partial(_rounded, decimals=decimals)) if column in table else np.nan
    return table.astype(dict.fromkeys(INTERVAL_COLUMNS, "Int64"))


def halves_note(passes: list[PassMetrics]) -> str:
    """``halves not independent`` if that is so in one of the passes, ``halves dealt at import`` if the figures of the
    last one are to be taken so, else empty.

    Poses aligned to a joint reference are inherited by all later passes, so give the pass in question and all
    before it.
    """
    if any(metrics.halves == NOT_INDEPENDENT for metrics in passes):
        return f"halves {NOT_INDEPENDENT}"
    return f"halves {DEALT_AT_IMPORT}" if passes[-1].halves == DEALT_AT_IMPORT else ""


def read_metrics(path: Path, number: int) -> PassMetrics:
    """``metrics.json`` of the folder of a pass, which has to be of this number."""
    file = path / METRICS
    metrics = read_record(PassMetrics, file)
    own_number = metrics.number
    if own_number != number:
        raise InputError(file, f"it is of pass {own_number}", f"name its folder pass_{own_number}")
    return metrics


def _row(metrics: PassMetrics, cluster: ClusterMetrics) -> dict[str, Any]:
    row: dict[str, Any] = {
        "round": metrics.round,
        "pass": metrics.number,
        "cluster": cluster.cluster,
        "particles": cluster.particles,
        **dict(zip(INTERVAL_COLUMNS, cluster.particles_interval or (np.nan, np.nan), strict=True)),
        "skipped": cluster.skipped,
    }
    row |= {column: _known(getattr(cluster, column)) for column in CLUSTER_COLUMNS}
    if not cluster.skipped and cluster.alignment_limit_angstrom is None:
        row["alignment_limit_angstrom"] = "none"
    row["halves"] = cluster.halves or metrics.halves
    row |= {column: getattr(metrics, column) for column in LEFT_OUT_COLUMNS}
    row["ari_with_last_round"] = _known(metrics.ari_with_last_round)
    row |= {column: _known(getattr(cluster, column)) for column in CHANGE_COLUMNS}
    row["verdict_before_refinement"] = metrics.verdict or np.nan
    row["warnings"] = "; ".join(cluster.warnings) or np.nan
    return row


def _rounded(value: Any, decimals: int) -> Any:
    """Figures alone: a limit may be the word ``none``."""
    return round(value, decimals) if isinstance(value, float) else value


def _known(value: Any) -> Any:
    """NaN where there is no such figure: a column of None would be no column of numbers."""
    return np.nan if value is None else value
