#!/usr/bin/env python3
"""The three engines side by side on rib50s *tiny*: pose errors, FSC and CPU time.

Needs the test data and the user's own Frealign programs; an engine whose folder is not given is left out, by name.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent / "rib50s"))

from arms import REPOSITORY, run_workflow, show
from make_set import DATA
from make_set import main as make_set

from drgnalign.formats.star import read_star, write_star
from drgnalign.truth.rounds import score_rounds

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
# CPU time is measured with so many particles.
COUNTS = (500, 2500)
ROUNDS, CONSENSUS, LIMIT = 3, "30,28,27", "27"
# The reference method's hole and low-resolution limit are for finer pixels than 13 Å.
FREALIGNX = "inner_radius=0,low_limit=200"
COMMON = {
    "rounds": ROUNDS,
    "k": 4,
    "consensus_limits": CONSENSUS,
    "resolution_limits": LIMIT,
    "references": "reconstruct",
    "mask_diameter": 300,
    "mass_kda": 1500,
    "chunk_size": 1500,
    "train_box": 32,
    "zdim": 4,
    "layers": 3,
    "nodes": 64,
    "learning_rate": 0.001,
    "beta": 0.25,
    "epochs_first": 24,
    "epochs_round": 6,
}


@click.command()
@click.option("--frealignx-dir", type=FOLDER, help="Folder of FrealignX.")
@click.option("--frealign9-dir", type=FOLDER, help="Folder of Frealign 9.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--data", type=FOLDER, default=DATA, help="Test data with the 50S model.")
def main(frealignx_dir: Path | None, frealign9_dir: Path | None, seed: int, data: Path) -> None:
    """Run all engines and print their rounds."""
    folder = REPOSITORY / "benchmarks" / "out" / f"engines_{seed}"
    if not (folder / "set" / "truth.star").exists():
        options = ["--size", "tiny", "--seed", str(seed), "--data", str(data), "--out", str(folder / "set")]
        make_set(options, standalone_mode=False)
    arms: dict[str, dict[str, object]] = {"native": {}}
    for name, programs, arguments in (("frealignx", frealignx_dir, FREALIGNX), ("frealign9", frealign9_dir, None)):
        if programs is None:
            print(f"{name} is left out: give the folder of its programs with --{name}-dir")
            continue
        arms[name] = {"frealign_dir": programs.resolve()} | ({"frealign_args": arguments} if arguments else {})
    record: dict[str, Any] = {
        "command": " ".join(["benchmarks/engines.py", f"--seed {seed}"]),
        "machine": platform.machine(),
    }
    for name, own in arms.items():
        results = folder / name
        run_workflow(folder / "set", folder, results, "standard", {**COMMON, "seed": seed, "engine": name, **own})
        table = score_rounds(results, folder / "set" / "truth.star")
        cost = cost_of(name, own, results, folder / "set" / "particles.star")
        print(f"\n{name}\n\n{show(table)}\n\n{show(pd.DataFrame([cost]))}\n")
        record[name] = {"cpu": cost, "passes": json.loads(table.to_json(orient="records"))}
    output = REPOSITORY / "benchmarks" / "results" / f"engines_{seed}.json"
    output.write_text(json.dumps(record, indent=1) + "\n")


def cost_of(name: str, options: Mapping[str, object], results: Path, particles: Path) -> dict[str, float]:
    """CPU time of refining and of summing up, from two numbers of particles: what each takes, and the start.

    Against the refined consensus, as the first round has it.
    """
    consensus = max((results / "consensus").iterdir())
    maps = consensus / "clusters"
    own = {"engine": name, "images": particles.parent, **options}
    own |= {key: COMMON[key] for key in ("mask_diameter", "mass_kda")}
    engine = [word for key, value in own.items() for word in (f"--{key}", value)]
    references = ["--half1", maps / "consensus_half1.mrc", "--half2", maps / "consensus_half2.mrc"]
    references += ["--mask", maps / "mask.mrc", "--limit", LIMIT]
    state = read_star(consensus / "particles.star")
    cost = {}
    with TemporaryDirectory(dir=results) as folder:
        for step, words in (("refine", [*references, "--output", "refined.star"]), ("insert", ["--part", "a.part"])):
            seconds = []
            for count in COUNTS:
                write_star(state.select(np.arange(count)), Path(folder, "some.star"))
                command = [REPOSITORY / "bin" / f"{step}.py", "some.star", *engine, *words]
                seconds.append(cpu_seconds([str(word) for word in command], Path(folder)))
            slope = (seconds[1] - seconds[0]) / (COUNTS[1] - COUNTS[0])
            cost[f"{step}_ms_per_particle"] = 1000 * slope
            cost[f"{step}_start_s"] = seconds[0] - slope * COUNTS[0]
    return cost


def cpu_seconds(command: list[str], folder: Path) -> float:
    """Of a command and its children, on one thread."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], cwd=folder, env={**os.environ, **one_thread}, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
