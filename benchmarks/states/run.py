#!/usr/bin/env python3
"""Which method finds the states? Labelled 50S sets and negative controls, several seeds; needs the test data.

All methods get the same consensus poses and the same latent space. RELION is left out, by name, where it is not
installed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import relion
from case import EPOCHS, Case
from cost import cost
from labelled_sets import CONTROLS, SETS, case_of
from methods import RELION_MISSING, numbers_proposed, reference_loop, relion_classes, starts
from numpy.typing import NDArray

from drgnalign.arrays import IntArray
from drgnalign.heterogeneity.cluster import cluster
from drgnalign.heterogeneity.states import evidence, find_states
from drgnalign.run.latent import read_points

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from records import REPOSITORY, Records

RESULT = REPOSITORY / "benchmarks" / "results" / "states.json"
ARMS = ("bounds", "ours", "rounds", "random", "loop", "relion", "fixed", "cost")
# What sets are for; else rounds of ours and of the reference method.
COMPARED = ("bounds", "ours", "rounds", "random", "loop", "relion")
ARMS_OF: dict[str, tuple[str, ...]] = {name: COMPARED for name in ("snr_0.1", "snr_0.05", "other_states")}
ARMS_OF |= {name: ("ours", "random", "relion") for name in CONTROLS}
ARMS_OF |= {"medium": ("bounds", "ours", "rounds"), "faint": ("fixed",), "large": ("cost",)}
SEEDS_OF = {"snr_0.1": (1, 2, 3, 4, 5)}
SEEDS = (1, 2, 3)
OUR_ROUNDS, FIXED_ROUNDS = 3, 10


def run_case(case: Case, arms: tuple[str, ...], control: bool) -> dict[str, Any]:
    """Records of the arms wanted; of a control there is no true number of states, and no true map."""
    record: dict[str, Any] = {"given": case.experiment.score(case.experiment.given)}
    record["consensus"] = case.experiment.score(case.particles)
    latent = case.latent(case.particles, EPOCHS, "latent_1", None)
    points = read_points(latent / "embedding.csv", "umap2")
    alone = cluster(points, "kmeans", case.k, case.seed, kept=case.kept).labels
    if control:
        record["cryodrgn"] = case.judged(alone)
    if "bounds" in arms:
        record["cryodrgn"] = case.judged_with_maps(alone)[1]
        record["true_maps"] = case.judged_with_maps(case.true_maps())[1]
        record["true_labels"] = case.judged_with_maps(case.states)[1]
        record["true_labels"]["area_at_consensus_poses"] = round(case.area(case.particles, case.states), 4)
    if "ours" in arms:
        record |= ours(case, points)
    if "rounds" in arms:
        record["ours_rounds"] = ours_rounds(case, points)
    if "random" in arms:
        record["ours_from_random"] = ours_from_random(case)
    if "loop" in arms:
        record["reference_loop"] = reference_loop(case, alone, latent)
    if "relion" in arms and relion.installed():
        for k in (case.k, case.k + 2):
            labels = relion_classes(case, k)
            record[f"relion_{k}"] = case.judged(labels) if control else case.judged_with_maps(labels)[1]
    if "fixed" in arms:
        random = np.random.default_rng(case.seed).permutation(case.states)
        record["fixed"] = {
            f"{name} labels, {'one map' if joint else 'half maps'}": fixed_rounds(case, labels, joint)
            for name, labels in (("true", case.states), ("cryodrgn", alone), ("random", random))
            for joint in (False, True)
        }
    if "cost" in arms:
        record["cost"] = cost(case, latent)
    return record


def ours(case: Case, points: NDArray[np.float64]) -> dict[str, Any]:
    """Likelihood assignment, as many clusters as the images tell apart, and as many as there are states."""
    begin = time.process_time()
    found = find_states(case.assigner(case.particles), starts(case, points), case.k)
    seconds = time.process_time() - begin
    facts = evidence(found, case.particles.box * case.particles.pixel_size)
    facts["passes"] = len(facts["passes"])
    facts["clusters"] = {label: one.written() for label, one in facts["clusters"].items()}
    return {
        "ours_auto": case.judged(found.told_apart.assignment.labels),
        "ours_k": {**case.judged(found.kept.assignment.labels), "processor_s": round(seconds, 1), **facts},
    }


def ours_from_random(case: Case) -> dict[str, Any]:
    """The same from random labels."""
    random = np.random.default_rng(case.seed)
    labels = [random.integers(1, number + 1, len(case.particles)) for number in numbers_proposed(case)]
    found = find_states(case.assigner(case.particles), labels, None)
    return {**case.judged(found.told_apart.assignment.labels), "verdict": found.verdict, "agreement": found.agreement}


def ours_rounds(case: Case, points: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Clusters refined at their poses, the images choosing again, and so on."""
    labels = find_states(case.assigner(case.particles), starts(case, points), case.k).kept.assignment.labels
    particles, record = case.particles, []
    for _ in range(OUR_ROUNDS):
        refined, judged = case.judged_with_maps(labels, particles)
        record.append(judged)
        particles = refined
        labels = case.assigner(particles).run(labels).labels
        record[-1]["reassigned"] = case.judged(labels)
    return record


def fixed_rounds(case: Case, labels: IntArray, joint: bool) -> list[dict[str, Any]]:
    """Rounds of refinement of the same clusters: what is claimed, what is true, and what we would warn of."""
    particles, record = case.particles, []
    for _ in range(FIXED_ROUNDS):
        particles, area, claims, _ = case.refine(particles, labels, joint)
        record.append(
            {
                "degrees": case.experiment.score(particles)["degrees"],
                "area": round(area, 4),
                "claimed": [claim["claimed"] for claim in claims],
                "true": [claim["true"] for claim in claims],
                "warnings": sorted({warning for claim in claims for warning in claim["warnings"]}),
            }
        )
    return record


@click.command()
@click.option("--set", "names", type=click.Choice(list(SETS)), multiple=True, help="Default: all.")
@click.option("--seed", "seeds", type=int, multiple=True, help="Default: 1 to 3, of snr_0.1 to 5.")
@click.option("--arm", "arms", type=click.Choice(ARMS), multiple=True, help="Default: those that the set is for.")
def main(names: tuple[str, ...], seeds: tuple[int, ...], arms: tuple[str, ...]) -> None:
    """Run sets and seeds; what was recorded of others stays."""
    os.environ["OMP_NUM_THREADS"] = "1"
    if not relion.installed():
        print(RELION_MISSING)
    records = Records(RESULT, "make bench-states")
    for name in names or tuple(SETS):
        for seed in seeds or SEEDS_OF.get(name, SEEDS):
            wanted = arms or ARMS_OF.get(name, ("ours", "rounds", "loop"))
            record = run_case(case_of(name, seed), wanted, name in CONTROLS)
            records.keep(name, seed, record)
            show = {key: value["ari"] for key, value in record.items() if "ari" in value} | {
                f"{key} says": value["verdict"] for key, value in record.items() if "verdict" in value
            }
            print(json.dumps({"set": name, "seed": seed, **show}), flush=True)


if __name__ == "__main__":
    main()
