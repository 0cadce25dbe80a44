"""What a pass took before assignment knew of contrast and junk: that version, on the same images in the same run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from case import LIMIT, Case
from cost import CLUSTERS, cost_of_a_pass
from records import REPOSITORY

from drgnalign.formats.star import write_star

# The last version that took the amplitude of every image for 1.
COMMIT = "4ba0261"
# How often the two are timed in turn; the fastest counts.
TURNS = 3
# That version's own names: one pass over the images of a star file, with random labels.
PASS = """
import sys, time
from pathlib import Path
import numpy as np
from drgnalign.engine.noise import estimate_noise
from drgnalign.formats.mrc import ImageSource
from drgnalign.formats.star import read_star
from drgnalign.heterogeneity.assign import Assigner, AssignmentSettings

star, limit, diameter, seed, clusters = Path(sys.argv[1]), *map(float, sys.argv[2:4]), *map(int, sys.argv[4:])
particles = read_star(star)
source = ImageSource(particles, star.parent)
noise = estimate_noise(particles, source, diameter)
assigner = Assigner(particles, source, noise, AssignmentSettings(limit, diameter))
labels = np.random.default_rng(seed).integers(1, clusters + 1, len(particles))
model = assigner._model(assigner._insert(labels), labels)
assigner._pass(model)
begin = time.process_time()
assigner._pass(model)
print(1e3 * (time.process_time() - begin) / len(labels))
"""


def cost_beside_before(case: Case) -> dict[str, Any]:
    """Of a pass now and then, ms a particle on one core, measured in turn on the same images, clusters and labels."""
    checkout = _built(case.folder / "before")
    star = case.folder / "timed.star"
    write_star(case.with_assigned_images(case.particles), star)
    now, then = [], []
    for _ in range(TURNS):
        now.append(cost_of_a_pass(case))
        then.append(_timed(checkout, star, case))
    fastest = min(now, key=lambda record: record["ms_a_particle_and_pass"])
    return fastest | {"before": {"commit": COMMIT, "ms_a_particle_and_pass": round(min(then), 4)}}


def _built(folder: Path) -> Path:
    """That version with its kernels, in a folder of its own."""
    for command in (
        ["git", "clone", "--quiet", "--shared", str(REPOSITORY), str(folder)],
        ["git", "-C", str(folder), "checkout", "--quiet", COMMIT],
    ):
        subprocess.run(command, check=True)
    build = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run(build, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    return folder


def _timed(checkout: Path, star: Path, case: Case) -> float:
    words = [str(star), str(LIMIT), str(case.diameter), str(case.seed), str(CLUSTERS)]
    # an environment of its own: the present version's is on the path otherwise
    found = subprocess.run(
        [sys.executable, "-c", PASS, *words],
        env={"PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    return float(json.loads(found.stdout))
