#!/usr/bin/env python3
"""What a round of the native engine leaves on disk, by the arithmetic, and what its tasks need in memory, measured.

The arithmetic is for data of EMPIAR-10076's size. Memory is measured on a few images of noise: it does not depend on
their number, which two sizes of chunk show.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from pathlib import Path

import click
import numpy as np
import pandas as pd
from arms import REPOSITORY
from formats import processor, random_particles
from million import apart, measure

from drgnalign.engine.sampling import oversampling, part_bytes
from drgnalign.formats.mrc import StackWriter, write_volume
from drgnalign.formats.star import write_star
from drgnalign.fourier import soft_sphere
from drgnalign.run.split import usual_chunk_size

PARTICLES, BOX, PIXEL_SIZE = 131_899, 320, 1.31
# Å: of the ribosome, and of whatever fills 85 % of the box, which is what is taken without --mask_diameter.
DIAMETERS = {"300 Å": 300.0, "default": 0.85 * BOX * PIXEL_SIZE}
MAPS_A_CLUSTER = 3
STAR_BYTES_A_ROW = 500


def round_bytes(clusters: int, diameter: float, chunk_size: int | None) -> dict[str, float]:
    """What a round in clusters of one size writes, in GB."""
    padding = oversampling(BOX, PIXEL_SIZE, diameter)
    chunk = chunk_size or usual_chunk_size(BOX, padding)
    chunks = clusters * math.ceil(PARTICLES / clusters / chunk)
    maps = 4 * BOX**3 * MAPS_A_CLUSTER * clusters
    gigabytes = {"parts": chunks * part_bytes(BOX, padding), "maps": maps}
    # Labelled, in chunks, refined, merged.
    gigabytes["star files"] = 4 * PARTICLES * STAR_BYTES_A_ROW
    return {"padding": padding, "chunk_size": chunk, "chunks": chunks} | {
        f"{name} GB": round(size / 1e9, 1) for name, size in gigabytes.items()
    }


def make_set(folder: Path, box: int, count: int) -> None:
    """Images of noise, and a ball with noise for the references."""
    random = np.random.default_rng(1)
    with StackWriter(folder / "images.mrcs", count, box, PIXEL_SIZE) as stack:
        for _ in range(count):
            stack.append(random.standard_normal((1, box, box), dtype=np.float32))
    particles = random_particles(count, seed=1)
    particles.optics = particles.optics.assign(rlnImagePixelSize=PIXEL_SIZE, rlnImageSize=box)
    particles.table["rlnImageName"] = [f"{number + 1:06d}@images.mrcs" for number in range(count)]
    particles.table["drgnRow"] = np.arange(count)
    write_star(particles, folder / "particles.star")
    ball = soft_sphere(box, box / 4, 5.0).astype(np.float32)
    write_volume(folder / "mask.mrc", ball, PIXEL_SIZE)
    for half in (1, 2):
        noise = random.standard_normal(ball.shape, dtype=np.float32)
        write_volume(folder / f"half{half}.mrc", ball + 0.01 * noise, PIXEL_SIZE)


def measure_tasks(box: int, diameter: float, count: int) -> dict[str, dict[str, float]]:
    """INSERT, REFINE up to Nyquist and RECONSTRUCT of two parts."""
    folder = REPOSITORY / "benchmarks" / "out" / f"storage_{os.getpid()}"
    folder.mkdir(parents=True)
    star, maps = folder / "particles.star", f"--half1 {folder / 'half1.mrc'} --half2 {folder / 'half2.mrc'}"
    common = f"--images {folder} --mask-diameter {diameter:g}"
    commands = {
        "INSERT": f"insert.py {star} {common} --part {folder / '1.part'}",
        "REFINE": f"refine.py {star} {maps} --mask {folder / 'mask.mrc'} --limit {2 * PIXEL_SIZE} {common} "
        f"--part {folder / '2.part'} -o {folder / 'refined.star'}",
        "RECONSTRUCT": f"reconstruct.py {folder / '1.part'} {folder / '2.part'} --mask {folder / 'mask.mrc'} "
        f"-o {folder / 'map'}",
    }
    try:
        apart(make_set, folder, box, count)
        figures = {name: measure(command) for name, command in commands.items()}
        figures["part"] = {"bytes": (folder / "2.part").stat().st_size}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return figures


@click.command()
@click.option("--count", type=int, default=64, show_default=True, help="Images; the second measurement takes thrice.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=REPOSITORY / "benchmarks" / "results" / "storage.json"
)
def main(count: int, output: Path) -> None:
    """Reckon, measure, print, write the results."""
    load = os.getloadavg()
    sizes = {
        f"{box} px, padding {padding}": part_bytes(box, padding)
        for box in (64, 128, 320)
        for padding in (1.0, 1.5, 2.0)
    }
    rounds = [
        {"diameter": name, "clusters": clusters, **round_bytes(clusters, diameter, chunk_size)}
        for name, diameter in DIAMETERS.items()
        for clusters in (6, 15)
        for chunk_size in (1000, None)
    ]
    print(pd.DataFrame(rounds).to_string(index=False))
    tasks = {
        f"{BOX} px, diameter {name}, {images} images": measure_tasks(BOX, diameter, images)
        for name, diameter in DIAMETERS.items()
        for images in (count, 3 * count)
    }
    print(json.dumps(tasks, indent=1))
    record = {
        "command": " ".join(["benchmarks/storage.py", *sys.argv[1:]]),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "load_average": {"before": load, "after": os.getloadavg()},
        },
        "part_bytes": sizes,
        "rounds": rounds,
        "tasks": tasks,
    }
    output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
