#!/usr/bin/env python3
"""What Nextflow adds to a round: wall time beyond the critical path's tasks, and the cost of a thousand tasks.

The workflow is this checkout's, in a copy whose bin/ holds scripts that only sleep (benchmarks/sleeper.sh). A round's
overhead is the time from the end of the last round's MERGE to the end of this one's, less the longest task of every
step in between; tasks of a step run side by side, so that this is the critical path.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import click
import pandas as pd
from arms import REPOSITORY, run_workflow
from formats import processor

COPIED = (
    "main.nf",
    "nextflow.config",
    "nextflow_schema.json",
    "requirements.lock",
    "modules",
    "subworkflows",
    "conf",
    "src",
)
SLOTS = 32
# Nextflow's own figures, unrounded, and a machine that has so many cores as far as Nextflow is concerned.
SETTINGS = """
trace.raw = true
trace.fields = 'name,status,submit,start,complete,realtime'
executor.cpus = {slots}
executor.queueSize = {slots}
poolSize = {slots}
executor.memory = '1 TB'
"""
STUB = """
env.STUB_SECONDS = '{seconds:g}'
env.STUB_CLUSTERS = '{clusters}'
env.STUB_CHUNKS = '{chunks}'
"""


def copy_checkout(folder: Path, bin_folder: Path, settings: str) -> None:
    """This checkout's workflow with other scripts and additional settings."""
    for name in COPIED:
        source = REPOSITORY / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    (folder / ".venv").symlink_to(REPOSITORY / ".venv")
    (folder / "bin").symlink_to(bin_folder)
    with (folder / "nextflow.config").open("a") as file:
        file.write(settings)


def read_trace(results: Path) -> pd.DataFrame:
    """One row a task; times in seconds."""
    (path,) = (results / "pipeline_info").glob("trace_*.txt")
    trace = pd.read_csv(path, sep="\t")
    trace[["submit", "start", "complete", "realtime"]] /= 1000
    return trace.assign(step=[re.sub(r".*:| \(.*", "", name) for name in trace["name"]])


def run_stub(
    seconds: float, clusters: int, chunks: int, rounds: int, slots: int, profile: str = "standard"
) -> pd.DataFrame:
    """The trace of a run whose tasks only sleep."""
    folder = REPOSITORY / "benchmarks" / "out" / f"overhead_{os.getpid()}"
    data, scripts = folder / "data", folder / "sleepers"
    scripts.mkdir(parents=True)
    try:
        for script in (REPOSITORY / "bin").glob("*.py"):
            shutil.copy(REPOSITORY / "benchmarks" / "sleeper.sh", scripts / script.name)
        stub = STUB.format(seconds=seconds, clusters=clusters, chunks=chunks)
        copy_checkout(folder, scripts, SETTINGS.format(slots=slots) + stub)
        data.mkdir()
        (data / "particles.star").touch()
        parameters = {"rounds": rounds, "references": "previous", "resolution_limits": 10}
        parameters |= {"max_jobs": slots, "gpu_options": "none"}
        run_workflow(data, folder, folder / "results", profile, parameters, folder)
        return read_trace(folder / "results")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stage_seconds(trace: pd.DataFrame, step: str) -> float:
    """From the submission of a step's first task to the end of its last one."""
    tasks = trace[trace["step"] == step]
    return float(tasks["complete"].max() - tasks["submit"].min())


def by_round(trace: pd.DataFrame) -> list[dict[str, float]]:
    """Wall time, critical path and overhead of each round."""
    ends = trace.loc[trace["step"] == "MERGE", "complete"].sort_values().tolist()
    rows = []
    for begin, end in pairwise(ends):
        tasks = trace[(trace["submit"] >= begin) & (trace["complete"] <= end)]
        path = float(tasks.groupby("step")["realtime"].max().sum())
        share = (end - begin - path) / (end - begin)
        rows.append(
            {"tasks": len(tasks), "wall": round(end - begin, 2), "critical_path": round(path, 2), "share": share}
        )
    return rows


def crowd(clusters: int, chunks: int, profile: str) -> dict[str, float]:
    """Seconds from the submission of the first to the end of the last of very many REFINE tasks without work."""
    seconds = stage_seconds(run_stub(0, clusters, chunks, 1, SLOTS, profile), "REFINE")
    tasks = clusters * chunks
    return {"tasks": tasks, "seconds": round(seconds, 1), "milliseconds_each": round(1000 * seconds / tasks, 1)}


@click.command()
@click.option("--seconds", default="1,3,10,30", show_default=True, help="Lengths of a task, comma list.")
@click.option("--clusters", type=int, default=4, show_default=True)
@click.option("--chunks", type=int, default=4, show_default=True, help="Of each cluster.")
@click.option("--crowd-chunks", type=int, default=250, show_default=True, help="Of each cluster, for the many tasks.")
@click.option("--slurm", is_flag=True, help="Tasks are jobs; the cluster needs room for 32.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=REPOSITORY / "benchmarks" / "results" / "overhead.json"
)
def main(seconds: str, clusters: int, chunks: int, crowd_chunks: int, slurm: bool, output: Path) -> None:
    """Measure, print, write the results."""
    load = os.getloadavg()
    profile = "slurm" if slurm else "standard"
    curve = {}
    for length in seconds.split(","):
        rounds = by_round(run_stub(float(length), clusters, chunks, 2, SLOTS, profile))
        share = sum(row["share"] for row in rounds) / len(rounds)
        curve[length] = {"overhead_share": round(share, 4), "rounds": rounds}
        print(f"{length} s a task: {share:.1%} of a round", rounds, flush=True)
    many = crowd(clusters, crowd_chunks, profile)
    print(many)
    record = {
        "command": " ".join(["benchmarks/overhead.py", *sys.argv[1:]]),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "load_average": {"before": load, "after": os.getloadavg()},
        },
        "versions": {"nextflow": nextflow_version()},
        "executor": "slurm" if slurm else "local",
        "slots": SLOTS,
        "seconds_a_task": curve,
        "many_tasks": many,
    }
    output.write_text(json.dumps(record, indent=1) + "\n")


def nextflow_version() -> str:
    """As the launcher says it."""
    launcher = REPOSITORY / ".tools" / "nextflow"
    done = subprocess.run([launcher, "-version"], check=True, capture_output=True, text=True)
    return re.findall(r"version (\S+)", done.stdout)[0]


if __name__ == "__main__":
    main()
