#!/usr/bin/env python3
"""The loop on a labelled 50S set, and the same rounds without per-cluster refinement beside it.

Training time alone raises label agreement; only the control arm shows what refinement adds.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path

import click
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from arms import REPOSITORY, missed_bars, run_workflow, show
from make_set import DATA
from make_set import main as make_set

from drgnalign.formats.star import read_star
from drgnalign.truth.rounds import score_rounds

# Resolution limits in Å of consensus refinement and of the rounds: within the Nyquist of each size.
LIMITS = {"tiny": ("30,28,27,27", "27"), "small": ("20,16,14,14", "14"), "medium": ("20,14,10,8,7", "7")}
TRAINING = {
    "train_box": 32,
    "zdim": 4,
    "layers": 3,
    "nodes": 64,
    "learning_rate": 0.001,
    "batch_size": 8,
    "beta": 0.25,
    "epochs_first": 24,
    "epochs_round": 6,
}
# What 'small' must reach, at signal-to-noise 0.1 and with the default states.
BARS = {
    "consensus rotation_median": ("<=", 1.0),
    "consensus rotation_p90": ("<=", 2.0),
    "rounds rotation_median": ("<=", 0.90),
    "rounds rotation_p90": ("<=", 1.70),
    "rounds rarest_rotation_median": ("<=", 1.5),
    "rounds ari_truth": (">=", 0.75),
}


@click.command()
@click.option("--size", type=click.Choice(list(LIMITS)), default="small", show_default=True)
@click.option("--rounds", type=int, default=3, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Default: benchmarks/out/rib50s_SIZE_SEED.")
@click.option("--data", type=click.Path(path_type=Path), default=DATA, help="Test data with the 50S model.")
def main(size: str, rounds: int, seed: int, folder: Path | None, data: Path) -> None:
    """Run both arms on a set of the given SIZE and print them side by side."""
    if not data.is_dir():
        sys.exit(f"{data}: the test data are not there; give their folder with --data")
    folder = (folder or REPOSITORY / "benchmarks" / "out" / f"rib50s_{size}_{seed}").resolve()
    set_folder = folder / "set"
    if not (set_folder / "truth.star").exists():
        make_set(
            ["--size", size, "--seed", str(seed), "--data", str(data), "--out", str(set_folder)], standalone_mode=False
        )
    consensus, limit = LIMITS[size]
    k = len(np.unique(read_star(set_folder / "truth.star").cluster_labels()))
    common = {"rounds": rounds, "k": k, "seed": seed, "consensus_limits": consensus, "references": "reconstruct"}
    common |= {"mask_diameter": 300, "chunk_size": 1500, **TRAINING}
    tables = {}
    for arm, limits in (("refined", limit), ("control", "none")):
        start = time.monotonic()
        results = folder / arm
        run_workflow(set_folder, folder, results, "standard", {**common, "resolution_limits": limits})
        tables[arm] = score_rounds(results, set_folder / "truth.star")
        print(f"\n{arm} ({time.monotonic() - start:.0f} s)\n\n{show(tables[arm])}\n", flush=True)
    record = {
        "command": " ".join(["benchmarks/rib50s/run.py", *sys.argv[1:]]),
        "machine": {"processor": platform.processor() or platform.machine(), "python": platform.python_version()},
        "parameters": {**common, "resolution_limits": limit},
        **{arm: json.loads(table.to_json(orient="records")) for arm, table in tables.items()},
    }
    output = REPOSITORY / "benchmarks" / "results" / f"rib50s_{size}_{seed}.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(record, indent=1) + "\n")
    if size == "small" and missed_bars(_figures(tables["refined"]), BARS):
        sys.exit("rib50s small missed its bars")


def _figures(table: pd.DataFrame) -> dict[str, float]:
    consensus = table[table["pass"].str.startswith("consensus")].iloc[-1]
    last = table.iloc[-1]
    names = ["rotation_median", "rotation_p90", "rarest_rotation_median", "ari_truth"]
    return {
        f"{stage} {name}": row[name] for stage, row in (("consensus", consensus), ("rounds", last)) for name in names
    }


if __name__ == "__main__":
    main()
