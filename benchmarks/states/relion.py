"""RELION's 3-D classification without alignment, run as a program."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drgnalign.formats.mrc import write_volume
from drgnalign.formats.star import read_star, write_star
from drgnalign.particles import Particles

ITERATIONS, TAU, INITIAL = 25, 4, 60


def installed() -> bool:
    return shutil.which("relion_refine") is not None


def class3d(
    particles: Particles, folder: Path, reference: NDArray[np.float32], k: int, diameter: float, seed: int, out: Path
) -> NDArray[np.int64]:
    """Labels (N,) of K classes at the particles' poses; images are in `folder`."""
    out.mkdir(parents=True, exist_ok=True)
    own = [label for label in map(str, particles.table) if label.startswith("drgn")]
    given = particles.select(np.arange(len(particles)))
    given.table = given.table.drop(columns=own)
    given.table["rlnImageName"] = [name.replace("@", f"@{folder}/") for name in given.table["rlnImageName"]]
    given.table["rlnClassNumber"] = 1
    write_star(given, out / "particles.star")
    write_volume(out / "reference.mrc", reference, particles.pixel_size)
    command: list[object] = ["relion_refine", "--i", "particles.star", "--ref", "reference.mrc", "--o", "./run"]
    command += ["--ini_high", INITIAL, "--K", k, "--iter", ITERATIONS, "--tau2_fudge", TAU, "--skip_align"]
    command += ["--ctf", "--pad", 2, "--particle_diameter", diameter, "--flatten_solvent", "--zero_mask"]
    command += ["--norm", "--scale", "--random_seed", seed, "--j", os.cpu_count()]
    command += ["--dont_combine_weights_via_disc", "--preread_images"]
    last = out / f"run_it{ITERATIONS:03d}_data.star"
    if not last.exists():
        with (out / "run.log").open("w") as log:
            subprocess.run([str(word) for word in command], cwd=out, check=True, stdout=log, stderr=log)
    found = read_star(last)
    order = {name: row for row, name in enumerate(given.table["rlnImageName"])}
    labels = np.empty(len(particles), np.int64)
    labels[[order[name] for name in found.table["rlnImageName"]]] = found.cluster_labels()
    return labels
