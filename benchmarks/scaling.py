#!/usr/bin/env python3
"""How the refine stage scales with cores, one chunk a core: wall time of all REFINE tasks of a pass.

Real refinement on as many cores as this machine has, which nothing else should use meanwhile (the load is recorded);
beyond that, tasks that sleep show what Nextflow itself adds.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import click
import pandas as pd
from arms import REPOSITORY, run_workflow
from formats import processor
from overhead import SETTINGS, copy_checkout, read_trace, run_stub, stage_seconds

from drgnalign.formats.star import read_star, write_star
from drgnalign.simulate import phantom_states, simulate_set

IMAGES, BOX, PIXEL_SIZE, REPEATS, CHUNKS = 1000, 128, 3.2, 24, 8


def make_set(folder: Path) -> None:
    """Simulated particles, every image of which stands for many."""
    folder.mkdir(parents=True)
    simulate_set(folder, phantom_states(1), [1.0], IMAGES, BOX, PIXEL_SIZE, snr=0.1, rotation_error_deg=4.0)
    particles = read_star(folder / "particles.star")
    particles.table = pd.concat([particles.table] * REPEATS, ignore_index=True)
    write_star(particles, folder / "particles.star")


def refine_seconds(data: Path, folder: Path, cores: int) -> dict[str, float]:
    """Wall time of the stage, and the sum of its tasks' times."""
    folder.mkdir()
    copy_checkout(folder, REPOSITORY / "bin", SETTINGS.format(slots=cores))
    parameters = {"rounds": 0, "consensus_limits": 10, "train_box": 32, "junk": "keep"}
    parameters["chunk_size"] = IMAGES * REPEATS // CHUNKS
    load = os.getloadavg()[0]
    run_workflow(data, folder, folder / "results", "standard", parameters, folder)
    trace = read_trace(folder / "results")
    tasks = float(trace.loc[trace["step"] == "REFINE", "realtime"].sum())
    wall = stage_seconds(trace, "REFINE")
    return {"wall": round(wall, 1), "sum_of_tasks": round(tasks, 1), "load_average_before": load}


@click.command()
@click.option("--seconds", type=float, default=10.0, show_default=True, help="Length of a sleeping task.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=REPOSITORY / "benchmarks" / "results" / "scaling.json"
)
def main(seconds: float, output: Path) -> None:
    """Measure, print, write the results."""
    folder = REPOSITORY / "benchmarks" / "out" / f"scaling_{os.getpid()}"
    asleep: dict[object, Any] = {}
    for cores in (1, 2, 4):
        wall = stage_seconds(run_stub(seconds, 1, 4 * CHUNKS, 1, cores), "REFINE")
        asleep[cores] = {"wall": round(wall, 1), "ideal": 4 * CHUNKS * seconds / cores}
        print(f"{cores} cores, asleep: {asleep[cores]}", flush=True)
    real: dict[int, Any] = {}
    try:
        make_set(folder / "data")
        for cores in (1, 2):
            real[cores] = refine_seconds(folder / "data", folder / f"cores_{cores}", cores)
            print(f"{cores} cores: {real[cores]}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    record = {
        "command": " ".join(["benchmarks/scaling.py", *sys.argv[1:]]),
        "machine": {"processor": processor(), "cores": os.cpu_count()},
        "settings": {"particles": IMAGES * REPEATS, "box": BOX, "chunks": CHUNKS, "sleeping_chunks": 4 * CHUNKS},
        "refinement": real,
        "sleeping": {"seconds_a_task": seconds, **asleep},
    }
    output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
