#!/usr/bin/env python3
"""The three engines side by side on rib50s *tiny*: pose errors, FSC and CPU time of the same rounds.

Needs the test data and the user's own Frealign programs; an engine whose folder is not given is left out, by name.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import click
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent / "rib50s"))

from arms import REPOSITORY, run_workflow, show
from make_set import DATA
from make_set import main as make_set

from drgnalign.validation.rounds import score_rounds

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
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
    record = {"command": " ".join(["benchmarks/engines.py", f"--seed {seed}"]), "machine": platform.machine()}
    for name, own in arms.items():
        results = folder / name
        run_workflow(folder / "set", folder, results, "standard", {**COMMON, "seed": seed, "engine": name, **own})
        table = score_rounds(results, folder / "set" / "truth.star")
        seconds = cpu_seconds_per_particle(results, table)
        print(f"\n{name}: refinement and reconstruction {1000 * seconds:.1f} ms a particle and pass\n\n{show(table)}\n")
        record[name] = {"cpu_ms_per_particle": 1000 * seconds, "passes": json.loads(table.to_json(orient="records"))}
    output = REPOSITORY / "benchmarks" / "results" / f"engines_{seed}.json"
    output.write_text(json.dumps(record, indent=1) + "\n")


def cpu_seconds_per_particle(results: Path, table: pd.DataFrame) -> float:
    """CPU time of REFINE tasks, start-up included, by particle and pass that refined."""
    trace = pd.read_csv(results / "pipeline_info" / "trace.txt", sep="\t")
    tasks = trace[trace["name"].str.contains(":REFINE \\(", regex=True)]
    wall = pd.to_timedelta(tasks["realtime"].str.replace("m ", "min ").str.replace(r"(\d)m$", r"\1min", regex=True))
    share = tasks["%cpu"].str.rstrip("%").astype(float) / 100
    passes = (table["limit"] != "none").sum()
    particles = table["sizes"].iloc[0]
    return float((wall.dt.total_seconds() * share).sum() / (passes * int(str(particles))))


if __name__ == "__main__":
    main()
