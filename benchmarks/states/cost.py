"""What assignment takes: time and memory of the workflow's own step, and extrapolated to EMPIAR-10076."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from case import Case
from timing import REPEATS, run_step

from drgnalign.formats.star import write_star
from drgnalign.heterogeneity.assign import OUT
from drgnalign.heterogeneity.contrast import Population, fitted_population
from drgnalign.run.state import CONSENSUS

# Of EMPIAR-10076.
PARTICLES = 131_899
# Clusters of the step that is timed on one core.
CLUSTERS = 8


def cost(case: Case, latent: Path) -> dict[str, Any]:
    """Of one pass on one core, and of the whole of ASSIGN on two, for a quarter of the particles and for all."""
    n = len(case.particles)
    tasks = {str(count): task(case, latent, count) for count in (n // 4, n)}
    # too much, as what maps and start-up take does not grow
    minutes = tasks[str(n)]["wall_s"] * PARTICLES / n / 60
    return cost_of_a_pass(case) | {"assign_on_two_cores": tasks, f"minutes_for_{PARTICLES}": round(minutes, 1)}


def cost_of_a_pass(case: Case) -> dict[str, Any]:
    """On one core, with random labels; the fastest of some passes."""
    assigner = case.assigner(case.particles)
    labels = np.random.default_rng(case.seed).integers(1, CLUSTERS + 1, len(case.particles))
    sums, population = assigner._insert(labels), Population()
    maps, passes, nobody, bars = [], [], np.zeros(len(labels), bool), np.full(len(labels), OUT)
    # the first pass knows nothing of contrast and junk, and is quicker for it
    for _ in range(1 + REPEATS):
        begin = time.process_time()
        model = assigner._model(sums, labels)
        made = time.process_time()
        population = fitted_population(assigner._pass(model, population, nobody, bars).amplitudes)
        maps.append(made - begin)
        passes.append(time.process_time() - made)
    return {
        "ms_a_particle_and_pass": round(1e3 * min(passes[1:]) / len(labels), 4),
        "s_for_maps_a_pass": round(min(maps), 2),
        "clusters": CLUSTERS,
    }


def task(case: Case, latent: Path, count: int) -> dict[str, Any]:
    """CLUSTER and ASSIGN of the first particles, in a folder of their own."""
    folder = case.folder / f"task_{count}"
    (folder / "references").mkdir(parents=True, exist_ok=True)
    (folder / "latent").mkdir(exist_ok=True)
    mine = case.particles.select(np.arange(count))
    mine.table["rlnClassNumber"] = 0
    write_star(mine, folder / "particles.star")
    pd.read_csv(latent / "embedding.csv").iloc[:count].to_csv(folder / "latent" / "embedding.csv", index=False)
    consensus = {"cluster": [CONSENSUS], "resolution_0143_angstrom": [2 * case.particles.pixel_size]}
    pd.DataFrame(consensus).to_csv(folder / "references" / "fsc.csv", index=False)
    words = ["particles.star", "--latent", "latent", "--last-references", "references", "--method", "kmeans"]
    words += ["--space", "umap2", "--k", str(CLUSTERS), "--starts", "--seed", str(case.seed)]
    run_step("cluster", [*words, "--output", "proposed.star", "--record", "proposal.json"], folder)
    words = ["proposed.star", "--last-particles", "particles.star", "--last-references", "references"]
    words += ["--stack", str(case.folder / "particles.mrcs"), "--latent", "latent", "--clusters", "proposal.json"]
    words += ["--k", "auto", "--threads", "2", "--output", "labelled.star", "--record", "clusters.json"]
    used = run_step("assign", words, folder, cores=(0, 1))
    found = json.loads((folder / "clusters.json").read_text())["assignment"]
    return {
        "wall_s": round(used.wall, 1),
        "processor_s": round(used.processor, 1),
        "memory_mb": round(used.memory),
        "verdict": found["verdict"],
        "passes_of_the_likeliest": len(found["passes"]),
    }
