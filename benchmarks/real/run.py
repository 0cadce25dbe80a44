#!/usr/bin/env python3
"""Do the states survive what real images have? Labelled 50S sets with each nuisance alone and with all together.

What is recorded is not run again, so that an interrupted run goes on where it was. Needs the test data. RELION is left
out, loudly, where it is not installed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "states"))

import click
import numpy as np
import relion
from bars import held_against_bars, show_calibration
from before import cost_beside_before
from case import EPOCHS, Case
from judge import calibration, judged_domain, judged_junk
from methods import RELION_MISSING, reference_loop, relion_classes, starts, starts_from_truth
from numpy.typing import NDArray
from real_sets import OUT, SETS, case_of, case_without_nuisances
from records import REPOSITORY, Records

from drgnalign.arrays import IntArray
from drgnalign.heterogeneity.assign import Assigner, Assignment
from drgnalign.heterogeneity.cluster import cluster
from drgnalign.heterogeneity.lost import with_found_poses
from drgnalign.heterogeneity.states import evidence, find_states
from drgnalign.particles import Particles
from drgnalign.run.latent import read_points

RESULT = REPOSITORY / "benchmarks" / "results" / "real.json"
ARMS = ("poses", "ours", "without", "cryodrgn", "loop", "relion", "cost")
# Sets that are made anew from other seeds: where the index is nearest to its bar, where something could be taken for a
# state, and what is of another kind than the rest.
NEAR_A_BAR = (
    "contrast_0.1",
    "contrast_0.05",
    "broken_0.05",
    "other_0.1",
    "other_0.05",
    "random_poses_0.05",
    "off_poses_0.05",
)
FOOLED = ("contrast_0.1", "random_poses_0.1", "empty_0.05", "broken_0.05", "other_0.05")
OF_ITS_KIND = ("minority_0.1", "minority_0.05", "hinge_0.1", "hinge_0.05", "other_states_0.1")
TWICE = (*(f"four_{one}" for one in NEAR_A_BAR), *(f"one_{one}" for one in FOOLED), *OF_ITS_KIND)
SEEDS_OF = {"together": (1, 2, 3)} | dict.fromkeys(TWICE, (1, 2))
SEEDS = (1,)
# Where other methods are run beside ours, once.
COMPARED = {name: ("cryodrgn", "loop", "relion") for name in ("together", "four_contrast_0.1", "four_empty_0.1")}


def arms_of(name: str, seed: int) -> tuple[str, ...]:
    """What is run on a set unless arms are asked for."""
    kind = SETS[name]
    arms: tuple[str, ...] = ("poses", "ours", "without") if name == "together" else ("poses", "ours")
    if seed == SEEDS[0]:
        arms += ("cryodrgn",) if kind.control else COMPARED.get(name, ())
    return (*arms, "cost") if name == "four_clean_0.1" else arms


class Bench:
    """One set and seed; its consensus and latent space are made when an arm first asks for them."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.seed, self.kind = name, seed, SETS[name]
        self.case = case_of(name, seed)

    def run(self, arm: str) -> dict[str, Any]:
        """The record of an arm."""
        arms: dict[str, Callable[[], dict[str, Any]]] = {
            "poses": self.poses,
            "ours": lambda: self.ours(self.case, self.kind.starts),
            "without": lambda: self.ours(case_without_nuisances(self.name, self.seed), "truth"),
            "cryodrgn": lambda: self.judged(self.case, self.clusters_of_the_latent_space()),
            "loop": lambda: reference_loop(self.case, self.clusters_of_the_latent_space(), self.latent()),
            "relion": lambda: {
                str(k): self.judged(self.case, relion_classes(self.case, k)) for k in (self.kind.k, self.kind.k + 2)
            },
            "cost": lambda: cost_beside_before(self.case),
        }
        return arms[arm]()

    def poses(self) -> dict[str, Any]:
        """Errors of the good particles' poses, as given and of the consensus, and who was left out after that."""
        case, experiment = self.case, self.case.experiment
        return {
            "given": experiment.score(experiment.given),
            "consensus": experiment.score(case.particles),
            "screening": json.loads((case.folder / "screening.json").read_text())
            | judged_junk(case, case.kept.astype(np.int64), case.particles),
        }

    def ours(self, case: Case, begun: str) -> dict[str, Any]:
        """Likelihood assignment: as many clusters as the images tell apart, refined once each."""
        proposed = starts(case, self.points()) if begun == "latent" else starts_from_truth(case)
        assigner, begin = case.assigner(case.particles), time.process_time()
        with counted_passes() as passes:
            found = find_states(assigner, proposed, None)
        seconds = time.process_time() - begin
        labels = found.told_apart.assignment.labels
        facts = evidence(found, case.particles.box * case.particles.pixel_size)
        return {
            "starts": begun,
            **{name: facts[name] for name in ("verdict", "agreement", "at_rest", "log_likelihood")},
            "passes": len(facts["passes"]),
            "processor_s": round(seconds, 1),
            "ms_a_particle_and_pass": round(1e3 * seconds / (len(case.particles) * sum(passes)), 3),
            **self.judged(case, labels, with_found_poses(case.particles, found.particles, found.brought_back)),
            "calibration": calibration(case, found.told_apart.assignment) if self.kind.states else None,
            "evidence": {label: one.written() for label, one in facts["clusters"].items()},
        }

    def judged(self, case: Case, labels: IntArray, particles: Particles | None = None) -> dict[str, Any]:
        """What labels are worth, and poses and maps after one refinement of each cluster from those of particles."""
        if not self.kind.states:
            return case.judged(labels)
        refined, record = case.judged_with_maps(labels, particles)
        record |= judged_junk(case, labels, refined)
        return record | ({"domain": judged_domain(case, labels)} if self.kind.domain else {})

    def latent(self) -> Path:
        return self.case.latent(self.case.particles, EPOCHS, "latent_1", None)

    def points(self) -> NDArray[np.float64]:
        return read_points(self.latent() / "embedding.csv", "umap2")

    def clusters_of_the_latent_space(self) -> IntArray:
        return cluster(self.points(), "kmeans", self.kind.k, self.seed, kept=self.case.kept).labels


@contextmanager
def counted_passes() -> Iterator[list[int]]:
    """Passes over the images that each assignment takes meanwhile."""
    passes, run = [], Assigner.run

    def counting(assigner: Assigner, *arguments: Any, **options: Any) -> Assignment:
        found = run(assigner, *arguments, **options)
        passes.append(len(found.passes))
        return found

    with patch.object(Assigner, "run", counting):
        yield passes


@click.command()
@click.option("--set", "names", type=click.Choice(list(SETS)), multiple=True, help="Default: all.")
@click.option("--seed", "seeds", type=int, multiple=True, help="Default: 1, and where much hangs on it 2 and 3.")
@click.option("--arm", "arms", type=click.Choice(ARMS), multiple=True, help="Default: those that the set is for.")
@click.option("--again", is_flag=True, help="Run what is recorded too.")
@click.option("--keep-sets", is_flag=True, help="Leave the images and all else of a set on the disk.")
@click.option("--only-report", is_flag=True, help="Run nothing: hold what is recorded against the bars.")
def main(
    names: tuple[str, ...],
    seeds: tuple[int, ...],
    arms: tuple[str, ...],
    again: bool,
    keep_sets: bool,
    only_report: bool,
) -> None:
    """Run sets and seeds, and hold them against the bars; exit status 1 where one is missed."""
    os.environ["OMP_NUM_THREADS"] = "1"
    records = Records(RESULT, "make bench-real")
    for name in () if only_report else names or tuple(SETS):
        for seed in seeds or SEEDS_OF.get(name, SEEDS):
            wanted = [arm for arm in arms or arms_of(name, seed) if again or not records.has(name, seed, arm)]
            if "relion" in wanted and not relion.installed():
                click.secho(f"{name}, seed {seed}: {RELION_MISSING}", fg="red", err=True)
                wanted.remove("relion")
            if wanted:
                run_arms(Bench(name, seed), wanted, records)
            if wanted and not keep_sets:
                rmtree(OUT / f"{name}_{seed}")
    missed = held_against_bars(records.sets(), names or tuple(SETS))
    show_calibration(records.sets(), names or tuple(SETS))
    sys.exit(1 if missed else 0)


def run_arms(bench: Bench, arms: list[str], records: Records) -> None:
    """Run some arms of a set, and keep each as it ends."""
    for arm in arms:
        record = bench.run(arm)
        records.keep(bench.name, bench.seed, {arm: record})
        shown = {name: record[name] for name in ("verdict", "clusters", "ari", "junk_found") if name in record}
        print(json.dumps({"set": bench.name, "seed": bench.seed, "arm": arm, **shown}), flush=True)


if __name__ == "__main__":
    main()
