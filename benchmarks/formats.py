#!/usr/bin/env python3
"""Seconds and memory to read and write a million particles in every format, beside what others need for the same.

Each measurement has a process of its own: the wall time of one call, after the imports and a call on ten rows (so
that what others compile first does not count), and by how much that call raised the resident memory. Programs are timed
from start to end. Those compared are run in turn, three times; the medians count.
"""

from __future__ import annotations

import json
import os
import pickle
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from arms import REPOSITORY, missed_bars

from drgnalign.formats.cryodrgn import read_cryodrgn, write_cryodrgn
from drgnalign.formats.cryosparc import read_cs, write_cs
from drgnalign.formats.par import read_par, write_par
from drgnalign.formats.star import read_star, write_star
from drgnalign.particles import Particles

REPETITIONS = 3
FEW = 10
FACTS: dict[str, Any] = {"pixel_size": 1.31, "voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.07}
# Programs and functions that are measured in turn; what is not named otherwise is drgnalign.
GROUPS = [
    ["star read", "star read starfile", "star read cryodrgn parse_pose_star"],
    ["star write", "star write starfile"],
    *([f"{layout} read", f"{layout} write", f"{layout} read pandas.read_csv"] for layout in ("par8", "par9", "parx")),
    ["cs read", "cs write", "cs read numpy.load"],
    ["pickles read", "pickles write", "pickles read pickle.load"],
]
# Seconds of the first over those of the second.
GOALS = {
    **{
        f"{layout} {call} / pandas.read_csv": (f"{layout} {call}", f"{layout} read pandas.read_csv", "<=", 2.0)
        for layout in ("par8", "par9", "parx")
        for call in ("read", "write")
    },
    "starfile.read / star read": ("star read starfile", "star read", ">=", 3.0),
}
STAR_OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
_rlnImagePixelSize #7
_rlnImageSize #8
_rlnImageDimensionality #9
opticsGroup1            1     1.310000   300.000000     2.700000     0.070000     1.310000          256            2


# version 30001

data_particles

loop_
"""


# ---- the files --------------------------------------------------------------------------------------------------


def random_particles(rows: int, seed: int) -> Particles:
    """Particles with the columns of a RELION 3.1 refinement."""
    random = np.random.default_rng(seed)
    numbers = np.arange(rows)
    micrographs = [f"MotionCorr/job002/Micrographs/FoilHole_{number // 200:06d}.mrc" for number in numbers]
    columns = {
        "rlnCoordinateX": random.uniform(0, 4000, rows),
        "rlnCoordinateY": random.uniform(0, 4000, rows),
        "rlnAutopickFigureOfMerit": random.normal(size=rows),
        "rlnClassNumber": random.integers(1, 5, rows),
        "rlnAnglePsi": random.uniform(-180, 180, rows),
        "rlnImageName": [f"{n % 200 + 1:06d}@Extract/job010/FoilHole_{n // 200:06d}.mrcs" for n in numbers],
        "rlnMicrographName": micrographs,
        "rlnOpticsGroup": np.ones(rows, np.int64),
        "rlnCtfMaxResolution": random.uniform(2, 8, rows),
        "rlnCtfFigureOfMerit": random.random(rows),
        "rlnDefocusU": random.uniform(8000, 30000, rows),
        "rlnDefocusV": random.uniform(8000, 30000, rows),
        "rlnDefocusAngle": random.uniform(-90, 90, rows),
        "rlnCtfBfactor": np.zeros(rows),
        "rlnCtfScalefactor": np.ones(rows),
        "rlnPhaseShift": np.zeros(rows),
        "rlnAngleRot": random.uniform(-180, 180, rows),
        "rlnAngleTilt": random.uniform(0, 180, rows),
        "rlnOriginXAngst": random.uniform(-20, 20, rows),
        "rlnOriginYAngst": random.uniform(-20, 20, rows),
        "rlnNormCorrection": random.uniform(0.5, 1.5, rows),
        "rlnLogLikeliContribution": random.uniform(1e5, 2e5, rows),
        "rlnMaxValueProbDistribution": random.random(rows),
        "rlnNrOfSignificantSamples": random.integers(1, 200, rows),
        "rlnRandomSubset": numbers % 2 + 1,
    }
    optics = {"rlnOpticsGroup": 1, "rlnOpticsGroupName": "opticsGroup1", "rlnVoltage": 300.0}
    optics |= {"rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.07, "rlnImagePixelSize": 1.31}
    optics |= {"rlnImageSize": 256, "rlnImageDimensionality": 2, "drgnContrast": "dark"}
    return Particles(pd.DataFrame(columns), pd.DataFrame([optics]), Path("random"))


def write_files(folder: Path, rows: int) -> None:
    """One file of each format; par files number one stack."""
    folder.mkdir(parents=True)
    particles = random_particles(rows, seed=rows)
    write_as_relion(particles.table, folder / "particles.star")
    write_cs(particles, folder / "particles.cs")
    write_cryodrgn(particles, folder / "pickles")
    names = [f"{number:06d}@stack.mrcs" for number in range(1, rows + 1)]
    particles.table = particles.table.assign(rlnImageName=names)
    for layout in ("par8", "par9", "parx"):
        write_par(particles, folder / f"{layout}.par", layout)


def write_as_relion(table: pd.DataFrame, path: Path) -> None:
    """A star file in RELION's own widths."""
    codes = {"f": "%12.6f", "i": "%12d", "O": "%s"}
    row = " ".join(codes[dtype.kind] for dtype in table.dtypes) + " \n"
    with path.open("w") as file:
        file.write(STAR_OPTICS)
        file.writelines(f"_{label} #{number}\n" for number, label in enumerate(table, start=1))
        file.writelines(row % values for values in table.itertuples(index=False, name=None))
        file.write("\n")


# ---- what is measured -------------------------------------------------------------------------------------------


def read(kind: str, folder: Path) -> Particles:
    """Read the folder's file of a format."""
    if kind == "star":
        return read_star(folder / "particles.star")
    if kind == "cs":
        return read_cs(folder / "particles.cs")
    if kind == "pickles":
        return read_cryodrgn(folder / "pickles" / "poses.pkl", folder / "pickles" / "ctf.pkl", "stack.mrcs")
    return read_par(folder / f"{kind}.par", "stack.mrcs", **FACTS)


def write(kind: str, particles: Particles, folder: Path) -> None:
    """Write particles beside the folder's file of the format that they come from."""
    if kind == "star":
        write_star(particles, folder / "written.star")
    elif kind == "cs":
        write_cs(particles, folder / "written.cs")
    elif kind == "pickles":
        write_cryodrgn(particles, folder / "written")
    else:
        write_par(particles, folder / f"written_{kind}.par", kind)


def prepared(name: str, folder: Path) -> Callable[[], object]:
    """The call to measure, with what it needs in memory."""
    kind, call, other = [*name.split(" ", 2), ""][:3]
    if other == "starfile":
        import starfile  # the benchmark's alone

        if call == "read":
            return lambda: starfile.read(folder / "particles.star")
        blocks = starfile.read(folder / "particles.star")
        return lambda: starfile.write(blocks, folder / "written.star", overwrite=True)
    if other == "pandas.read_csv":
        return lambda: pd.read_csv(folder / f"{kind}.par", sep=r"\s+", comment="C", header=None)
    if other == "numpy.load":
        return lambda: np.load(folder / "particles.cs")
    if other == "pickle.load":
        return lambda: [load_pickle(folder / "pickles" / file) for file in ("poses.pkl", "ctf.pkl")]
    if call == "read":
        return lambda: read(kind, folder)
    particles = read(kind, folder)
    return lambda: write(kind, particles, folder)


def load_pickle(path: Path) -> object:
    """Python's own way."""
    with path.open("rb") as file:
        return pickle.load(file)


def peak_mb() -> float:
    """Largest resident memory in MB since `forget_peak`, on Linux; getrusage would count what the parent had, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def forget_peak() -> None:
    """The peak starts again from what is resident now, not from what the imports took."""
    Path("/proc/self/clear_refs").write_text("5")


def measure_call(name: str, few: Path, many: Path) -> tuple[float, float]:
    """Seconds and MB of one call in this process."""
    prepared(name, few)()
    call = prepared(name, many)
    forget_peak()
    before = peak_mb()
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    del result
    return seconds, peak_mb() - before


def measure_cryodrgn(folder: Path) -> tuple[float, float]:
    """Seconds and MB of the program, its start and imports among them."""
    command: list[str | Path] = [
        Path(sys.executable).with_name("cryodrgn"),
        "parse_pose_star",
        folder / "particles.star",
    ]
    start = time.perf_counter()
    subprocess.run([*command, "-o", folder / "parsed.pkl"], check=True, capture_output=True)
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def measure(name: str, folder: Path) -> tuple[float, float]:
    """Seconds and MB, measured in a process of its own."""
    done = subprocess.run(
        [sys.executable, Path(__file__), "--child", name, "--folder", folder],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    seconds, memory = json.loads(done.stdout)
    return seconds, memory


@click.command()
@click.option("--rows", type=click.IntRange(min=FEW), default=1_000_000, show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path), default=REPOSITORY / "benchmarks" / "results" / "formats.json"
)
@click.option("--child", hidden=True)
@click.option("--folder", type=click.Path(path_type=Path), hidden=True)
def main(rows: int, output: Path, child: str | None, folder: Path | None) -> None:
    """Measure, print the table and the goals, write the results."""
    if child is not None and folder is not None:
        few, many = folder / "few", folder / "many"
        done = measure_cryodrgn(many) if "cryodrgn" in child else measure_call(child, few, many)
        print(json.dumps(done))
        return
    load = os.getloadavg()
    folder = REPOSITORY / "benchmarks" / "out" / f"formats_{os.getpid()}"
    try:
        write_files(folder / "few", FEW)
        write_files(folder / "many", rows)
        results = measure_all(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(pd.DataFrame(results).T.round(2).to_string())
    ratios = {goal: results[one]["seconds"] / results[two]["seconds"] for goal, (one, two, *_) in GOALS.items()}
    missed = missed_bars(ratios, {goal: (direction, bar) for goal, (_, _, direction, bar) in GOALS.items()})
    record = {
        "command": " ".join(["benchmarks/formats.py", *sys.argv[1:]]),
        "rows": rows,
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "load_average": {"before": load, "after": os.getloadavg()},
        },
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("numpy", "pandas", "starfile", "cryodrgn")},
        "results": results,
        "goals": {goal: {"ratio": ratio, "met": goal not in missed} for goal, ratio in ratios.items()},
    }
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(record, indent=1) + "\n")


def measure_all(folder: Path) -> dict[str, dict[str, float]]:
    """Medians by name."""
    results = {}
    for group in GROUPS:
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in group}
        for _ in range(REPETITIONS):
            for name in group:
                taken[name].append(measure(name, folder))
        for name, pairs in taken.items():
            seconds, memory = (statistics.median(column) for column in zip(*pairs, strict=True))
            results[name] = {"seconds": round(seconds, 4), "peak_mb": round(memory, 1)}
            print(f"{name}: {seconds:.2f} s, {memory:.0f} MB", flush=True)
    return results


def processor() -> str:
    """Its name, where Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
