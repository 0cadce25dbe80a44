#!/usr/bin/env python3
"""Seconds and peak memory of every step outside training and refinement, at a million particles.

Each step is the process's own script in bin/, started as the workflow starts it. The particles are rows of one small
stack, named again and again; latent variables, refined poses and maps are made up, for their values do not matter here.
EMBED is measured on fewer particles, of which it says so: UMAP takes hours at a million.
"""

from __future__ import annotations

import json
import os
import pickle
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np
import pandas as pd
from arms import REPOSITORY
from formats import processor, random_particles

from drgnalign.formats.star import read_star, write_star
from drgnalign.run.state import USED_LABELS, cluster_name
from drgnalign.simulate import phantom_states, simulate_set

BIN = REPOSITORY / "bin"
IMAGES, BOX, PIXEL_SIZE, TRAIN_BOX = 1000, 32, 8.0, 16
ZDIM, K, CHUNK_SIZE, ROUNDS = 8, 6, 1000, 3
LIMIT_GB, LIMIT_SECONDS = 4.0, 60.0
ENVIRONMENT = dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"], "1")


# ---- what the steps are given -----------------------------------------------------------------------------------


def make_images(folder: Path) -> None:
    """A small simulated set, whose stack all rows share, and its reconstruction for the maps of all clusters."""
    simulate_set(folder / "images", phantom_states(1), [1.0], IMAGES, BOX, PIXEL_SIZE, snr=1.0)
    (folder / "maps").mkdir()
    command: list[str | Path] = [sys.executable, BIN / "reconstruct.py", folder / "images" / "particles.star"]
    subprocess.run([*command, "-o", folder / "maps" / "consensus"], check=True)
    references = folder / "references"
    references.mkdir()
    for ending in ("_half1.mrc", "_half2.mrc", ".mrc"):
        shutil.copy(folder / "maps" / f"consensus{ending}", references)
    for name in ("mask.mrc", "consensus_mask.mrc"):
        shutil.copy(folder / "maps" / "consensus_mask.mrc", references / name)
    fsc = pd.read_csv(folder / "maps" / "consensus_fsc.csv").assign(alignment_limit_angstrom="none")
    fsc.insert(0, "cluster", "consensus")
    fsc.assign(halves="independent").to_csv(references / "fsc.csv", index=False)
    (references / USED_LABELS).write_text("[]\n")
    for label in range(1, K + 1):
        for path in list((folder / "maps").glob("consensus*")):
            shutil.copy(path, folder / "maps" / path.name.replace("consensus", cluster_name(label)))


def make_particles(folder: Path, rows: int) -> None:
    """The usual columns of a RELION refinement."""
    particles = random_particles(rows, seed=1)
    particles.optics = particles.optics.assign(rlnImagePixelSize=PIXEL_SIZE, rlnImageSize=BOX)
    stack = "images/" + next((folder / "images").glob("*.mrcs")).name
    particles.table["rlnImageName"] = [f"{number % IMAGES + 1:06d}@{stack}" for number in range(rows)]
    write_star(particles, folder / "input.star")


def make_latent(folder: Path, rows: int) -> None:
    """Groups in latent space, as after training; a table like EMBED's, and z for EMBED itself."""
    random = np.random.default_rng(1)
    centres = random.normal(scale=3, size=(K, ZDIM))
    z = (centres[random.integers(0, K, rows)] + random.normal(size=(rows, ZDIM))).astype(np.float32)
    columns = {"row": np.arange(rows)} | {f"z{i}": values for i, values in enumerate(z.T)}
    columns |= {f"pc{i}": values for i, values in enumerate(z.T, start=1)}
    for dimension in (2, 3):
        columns |= {f"umap{dimension}_{i}": z[:, i] for i in range(1, dimension + 1)}
    folder.mkdir()
    pd.DataFrame(columns).to_csv(folder / "embedding.csv", index=False)
    with (folder / "z.pkl").open("wb") as file:
        pickle.dump(z, file)
        pickle.dump(np.zeros_like(z), file)


def make_refined(folder: Path) -> None:
    """The chunks of the plan with the columns that refinement adds."""
    (folder / "refined").mkdir()
    random = np.random.default_rng(1)
    for path in sorted((folder / "plan").glob("*.star")):
        chunk = read_star(path)
        for column in ("drgnScoreBefore", "drgnScore", "drgnRotationChange", "drgnShiftChange"):
            chunk.table[column] = random.random(len(chunk))
        chunk.table["drgnAccepted"] = 1
        write_star(chunk, folder / "refined" / path.name)


def make_passes(folder: Path) -> None:
    """What REPORT is given after a consensus pass and some rounds."""
    metrics = json.loads((folder / "metrics.json").read_text())
    for number in range(ROUNDS + 1):
        target = folder / "passes" / f"pass_{number}"
        target.mkdir(parents=True)
        for source in ("merged.star", "merged_references/fsc.csv", "latent/embedding.csv"):
            name = "particles.star" if source == "merged.star" else Path(source).name
            os.link(folder / source, target / name)
        (target / "metrics.json").write_text(json.dumps({**metrics, "pass": number, "round": number}))


# ---- the steps --------------------------------------------------------------------------------------------------


def steps(folder: Path) -> dict[str, tuple[str, Callable[[], None] | None]]:
    """Command line of each step, and what has to be made before it."""
    star, labelled = folder / "particles.star", folder / "labelled.star"
    references = folder / "references"
    return {
        "CHECK_INPUTS": (
            f"check_inputs.py {folder / 'input.star'} --images {folder} --invert no --train-box {TRAIN_BOX} "
            f"-o {star} --report {folder / 'inputs.json'}",
            None,
        ),
        "CHECK_SETTINGS": (f"check_settings.py {star} --limits none,20 --clusters {K}", None),
        "DOWNSAMPLE": (
            f"downsample.py {star} --images {folder} --box {TRAIN_BOX} --stack {folder / 'stack.mrcs'} "
            f"--noise {references / 'noise.csv'}",
            None,
        ),
        "CLUSTER": (
            f"cluster.py {star} --latent {folder / 'latent'} --last-references {references} --method kmeans "
            f"--space umap2 --k {K} -o {labelled} --record {folder / 'clusters.json'}",
            None,
        ),
        "MASK": (
            f"mask.py {labelled} --stack {folder / 'stack.mrcs'} --last-references {references} "
            f"-o {folder / 'mask.mrc'}",
            None,
        ),
        "SPLIT": (
            f"split.py {labelled} --last-references {references} --limit 20 --references previous "
            f"--chunk-size {CHUNK_SIZE} -o {folder / 'plan'}",
            None,
        ),
        "MERGE": (
            f"merge.py {labelled} --refined {folder / 'refined'} --maps {folder / 'maps'} "
            f"--plan {folder / 'plan' / 'plan.csv'} --last-references {references} "
            f"--clustering {folder / 'clusters.json'} --pass-number 1 --round 1 --halves independent "
            f"--references-kind previous --particles {folder / 'merged.star'} "
            f"--references {folder / 'merged_references'} --metrics {folder / 'metrics.json'} "
            f"--last-particles {star} --said {folder / 'said.txt'}",
            lambda: make_refined(folder),
        ),
        "REPORT": (f"report.py {folder / 'passes'} -o {folder / 'report'}", lambda: make_passes(folder)),
        "EXPORT": (
            f"export.py {folder / 'merged.star'} --references {folder / 'merged_references'} -o {folder / 'final'}",
            None,
        ),
    }


def measure(command: str) -> dict[str, float]:
    """Seconds and peak memory of one script; this process must stay small, for a child begins as its copy."""
    script, *arguments = command.split()
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, BIN / script, *arguments], env={**os.environ, **ENVIRONMENT})
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"exit status {child.returncode}: {command}")
    seconds = time.perf_counter() - start
    return {"seconds": round(seconds, 1), "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1)} | {
        "peak_gb": round(usage.ru_maxrss / 2**20, 2)
    }


def apart(make: Callable[..., None], *arguments: object) -> None:
    """Run in a process of its own, so that this one stays small."""
    process = get_context("fork").Process(target=make, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit("the benchmark's own files could not be made")


@click.command()
@click.option("--rows", type=int, default=1_000_000, show_default=True)
@click.option("--embed-rows", default="", help="Comma list: measure EMBED for so many particles.")
@click.option("--keep", is_flag=True, help="Leave the files in benchmarks/out.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=REPOSITORY / "benchmarks" / "results" / "million.json"
)
def main(rows: int, embed_rows: str, keep: bool, output: Path) -> None:
    """Measure, print, write the results; exit status 1 if a step needs more than 4 GB."""
    load = os.getloadavg()
    folder = REPOSITORY / "benchmarks" / "out" / f"million_{os.getpid()}"
    folder.mkdir(parents=True)
    results = {}
    try:
        apart(make_images, folder)
        apart(make_particles, folder, rows)
        apart(make_latent, folder / "latent", rows)
        for name, (command, prepare) in steps(folder).items():
            if prepare is not None:
                apart(prepare)
            results[name] = {"particles": rows, **measure(command)}
            print(name, results[name], flush=True)
        for count in map(int, filter(None, embed_rows.split(","))):
            apart(make_latent, folder / f"latent_{count}", count)
            command = f"embed.py {folder / f'latent_{count}'} -o {folder / f'embedded_{count}'}"
            results[f"EMBED {count}"] = {"particles": count, **measure(command)}
            print(f"EMBED {count}", results[f"EMBED {count}"], flush=True)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    record = {
        "command": " ".join(["benchmarks/million.py", *sys.argv[1:]]),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "load_average": {"before": load, "after": os.getloadavg()},
        },
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("drgnalign", "numpy", "pandas", "scikit-learn", "umap-learn")},
        "settings": {"chunk_size": CHUNK_SIZE, "k": K, "zdim": ZDIM, "box": BOX, "rounds_in_report": ROUNDS},
        "results": results,
    }
    output.write_text(json.dumps(record, indent=1) + "\n")
    missed = [name for name, figures in results.items() if figures["peak_gb"] > LIMIT_GB]
    slow = [name for name, figures in results.items() if figures["seconds"] > LIMIT_SECONDS]
    print(
        f"above {LIMIT_GB:g} GB: {', '.join(missed) or 'none'}; above {LIMIT_SECONDS:g} s: {', '.join(slow) or 'none'}"
    )
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
