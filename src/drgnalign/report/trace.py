"""What a run cost, by step, from Nextflow's trace."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from drgnalign.errors import InputWarning

# Nextflow's words for durations and sizes.
SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
COLUMNS = ("name", "status", "realtime", "%cpu", "peak_rss")
DONE = ("COMPLETED", "CACHED")


def cost_by_step(info: Path | None) -> list[dict[str, Any]]:
    """Tasks, hours and the largest memory of each step of a run.

    Parameters
    ----------
    info : Path or None
        ``pipeline_info``. Every start of the run leaves a ``trace_DATE_TIME.txt`` there, with the columns ``name``,
        ``status``, ``realtime``, ``%cpu`` and ``peak_rss`` and the tasks that have ended, those that ``-resume`` found
        done among them: the last start that came to a task counts. Where there is none there is nothing to say.

    Returns
    -------
    list of dict
        ``step``, ``tasks``, ``failed``, ``hours`` (all tasks one after the other), ``core_hours``, ``peak_gb``; steps
        in the order in which they were first run. Of a task that ``-resume`` found done, what it took then counts.
    """
    traces = [] if info is None else sorted(info.glob("trace_*.txt"), reverse=True)
    table = next((table for table in map(_read, traces) if len(table)), None)
    if table is None:
        return []
    steps = []
    for step, tasks in table.groupby("step", sort=False):
        done = tasks["status"].isin(DONE)
        steps.append(
            {
                "step": str(step),
                "tasks": int(done.sum()),
                "failed": int((~done).sum()),
                "hours": round(float(tasks["seconds"].sum()) / 3600, 4),
                "core_hours": round(float((tasks["seconds"] * tasks["cores"]).sum()) / 3600, 4),
                "peak_gb": round(float(tasks["bytes"].max()) / 2**30, 2),
            }
        )
    return steps


def _read(trace: Path) -> pd.DataFrame:
    """Without rows where a start has not come to its first task, or its trace is broken, which costs only this."""
    try:
        table = pd.read_csv(trace, sep="\t", dtype=str)[[*COLUMNS]].fillna("-")
        return table.assign(
            # SUBWORKFLOW:STEP (tag)
            step=table["name"].str.partition(" ")[0].str.rpartition(":")[2],
            seconds=[seconds(text) for text in table["realtime"]],
            cores=[float(text.rstrip("%")) / 100 if text[:1].isdigit() else 0.0 for text in table["%cpu"]],
            bytes=[size(text) for text in table["peak_rss"]],
        )
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except (OSError, ValueError, KeyError) as error:
        warnings.warn(f"{trace}: its times are not in the report: {error}", InputWarning, stacklevel=2)
        return pd.DataFrame()


def seconds(text: str) -> float:
    """Of a duration as ``1h 2m 3s``; 0 where there is none."""
    return sum(float(value) * SECONDS[unit] for value, unit in re.findall(r"([\d.]+)\s*(ms|s|m|h|d)\b", text))


def size(text: str) -> float:
    """Bytes of a size as ``257.2 MB``; 0 where there is none."""
    return sum(float(value) * BYTES[unit] for value, unit in re.findall(r"([\d.]+)\s*(B|KB|MB|GB|TB)\b", text))
