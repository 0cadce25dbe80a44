#!/usr/bin/env python3
"""Which method finds the states? Labelled 50S sets and negative controls, several seeds; needs the test data.

All methods get the same consensus poses and the same latent space. RELION is left out, by name, where it is not
installed.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))

import relion
import states as experiments
from sets import CONTROLS, SETS, make

from drgnalign.downsample import downsample_stack
from drgnalign.engine.likelihood import log_likelihoods
from drgnalign.engine.noise import estimate_noise
from drgnalign.engine.reconstruct import HALVES
from drgnalign.engine.reference import transform_reference
from drgnalign.engine.shrinkage import shrunk_references
from drgnalign.formats.cryodrgn import read_latent
from drgnalign.formats.mrc import ImageSource
from drgnalign.formats.star import read_star, write_star
from drgnalign.heterogeneity.assign import Assigner, AssignmentSettings
from drgnalign.heterogeneity.cluster import cluster
from drgnalign.heterogeneity.embed import embed, read_points
from drgnalign.heterogeneity.states import coarse_images, evidence, find_states
from drgnalign.heterogeneity.train import train
from drgnalign.particles import Particles
from drgnalign.version import __version__

REPOSITORY = Path(__file__).resolve().parents[2]
OUT, RESULT = REPOSITORY / "benchmarks" / "out" / "states", REPOSITORY / "benchmarks" / "results" / "states.json"
LIMIT, DIAMETER = 14.0, experiments.DIAMETER
TRAIN_BOX, EPOCHS, MORE_EPOCHS = 32, 24, 6
TRAINING: dict[str, Any] = {"zdim": 4, "layers": 3, "nodes": 64, "batch_size": 8, "learning_rate": 1e-3, "beta": 0.25}
REFERENCE_ROUNDS = 2
IntArray = NDArray[np.int64]


class Case:
    """A set, its consensus poses and its latent space; made once, kept on disk."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.seed = name, seed
        self.folder = OUT / f"{name}_{seed}"
        make(name, seed, self.folder)
        self.experiment = experiments.Experiment(self.folder)
        self.truth = self.experiment.truth
        self.states = self.truth.cluster_labels()
        self.k = 4 if name in CONTROLS else len(np.unique(self.states))
        self.limits = experiments.CONSENSUS["medium" if name == "medium" else "small"]
        self.particles = self._consensus()
        sums = self.experiment.reconstruct(self.particles)
        self.common = [sums.half_map(half) for half in HALVES]
        self.mask = experiments.particle_mask(
            0.5 * (self.common[0] + self.common[1]), self.particles.pixel_size, DIAMETER
        )

    def _consensus(self) -> Particles:
        path = self.folder / "consensus.star"
        if not path.exists():
            write_star(self.experiment.consensus(self.limits)[0], path)
        return read_star(path)

    def latent(self, particles: Particles, epochs: int, name: str, last: Path | None) -> Path:
        """Folder with the latent space of particles at their poses."""
        out = self.folder / name
        if not (out / "embedding.csv").exists():
            stack = self.folder / "down_sampled.mrcs"
            if not stack.exists():
                downsample_stack(particles, ImageSource(particles, self.folder), TRAIN_BOX, stack)
            width = particles.box * particles.pixel_size
            settings = TRAINING | {"epochs": epochs, "seed": self.seed, "threads": 1}
            train(stack, particles, TRAIN_BOX, width / TRAIN_BOX, last, out, **settings)
            embed(read_latent(out / "z.pkl")[0], last, self.seed, out)
        return out

    def assigner(self, particles: Particles) -> Assigner:
        images = coarse_images(particles, self.folder / "particles.mrcs", LIMIT, self.folder)
        source = ImageSource(images.particles, images.folder)
        noise = estimate_noise(images.particles, source, DIAMETER)
        return Assigner(images.particles, source, noise, AssignmentSettings(LIMIT, DIAMETER))

    def refine(self, particles: Particles, labels: IntArray) -> tuple[Particles, float]:
        """Each cluster refined once against its own references; the mean area under the FSC against the truth of its
        commonest state."""
        rotations, displacements = particles.rotations(), particles.displacements()
        areas = []
        for label in np.unique(labels[labels > 0]):
            rows = np.flatnonzero(labels == label)
            mine = particles.select(rows)
            sums = self.experiment.reconstruct(mine)
            halves = sums.half_map(1), sums.half_map(2)
            weights = sums.weights(1), sums.weights(2)
            references = shrunk_references(halves, weights, (self.common[0], self.common[1]), self.mask)
            refined, sums = self.experiment.refine(mine, references, self.mask, self.limits[-1], weighted=True)
            rotations[rows], displacements[rows] = refined.rotations(), refined.displacements()
            state = np.bincount(self.states[rows]).argmax()
            areas.append(self.experiment._area([sums.half_map(half) for half in HALVES], int(state), self.mask))
        return particles.with_poses(rotations, displacements), float(np.mean(areas))

    def judged(self, labels: IntArray) -> dict[str, Any]:
        """Labels against the truth."""
        rarest = int(np.bincount(self.states)[1:].argmin()) + 1
        mine = self.states == rarest
        best = np.bincount(labels[mine]).argmax()
        shared = int((mine & (labels == best)).sum())
        return {
            "clusters": len(np.unique(labels[labels > 0])),
            "ari": round(float(adjusted_rand_score(self.states, labels)), 4),
            "rarest_recall": round(shared / int(mine.sum()), 4),
            "rarest_purity": round(shared / int((labels == best).sum()), 4),
        }

    def true_maps(self) -> IntArray:
        """The likeliest state of each particle given the true maps."""
        particles, padding = self.particles, self.experiment.padding
        ones, every = np.ones_like(self.mask), np.ones(particles.box // 2 + 1)
        maps = [
            transform_reference(volume, ones, every, particles.pixel_size, LIMIT, padding)
            for volume in self.experiment.true_maps.values()
        ]
        source = ImageSource(particles, self.folder)
        scores = log_likelihoods(
            particles, source, [dict.fromkeys(HALVES, one) for one in maps], self.experiment.noise, LIMIT
        )
        return 1 + (scores + np.log(np.bincount(self.states)[1:])).argmax(axis=1)


def run_case(case: Case, arms: tuple[str, ...]) -> dict[str, Any]:
    """Records of the arms wanted."""
    record: dict[str, Any] = {"consensus": case.experiment.score(case.particles)}
    latent = case.latent(case.particles, EPOCHS, "latent_1", None)
    points = read_points(latent / "embedding.csv", "umap2")
    alone = cluster(points, "kmeans", case.k, case.seed).labels
    record["cryodrgn"] = case.judged(alone)
    if "ours" in arms:
        record |= ours(case, points)
    if "loop" in arms:
        record["reference_loop"] = reference_loop(case, alone, latent)
    if "relion" in arms and relion.installed():
        mean = 0.5 * (case.common[0] + case.common[1])
        for k in (case.k, case.k + 2):
            out = case.folder / f"relion_{k}"
            labels = relion.class3d(case.particles, case.folder, mean, k, DIAMETER, case.seed, out)
            record[f"relion_{k}"] = case.judged(labels)
    if case.name not in CONTROLS:
        record["true_maps"] = case.judged(case.true_maps())
    return record


def ours(case: Case, points: NDArray[np.float64]) -> dict[str, Any]:
    starts = [cluster(points, "kmeans", 2 * case.k, seed).labels for seed in range(case.seed, case.seed + 3)]
    assigner, width = case.assigner(case.particles), case.particles.box * case.particles.pixel_size
    record = {}
    for name, k in (("ours_auto", None), ("ours_k", case.k)):
        begin = time.process_time()
        found = find_states(assigner, starts, k)
        seconds = time.process_time() - begin
        facts = evidence(found, width)
        facts["passes"] = len(facts["passes"])
        record[name] = {**case.judged(found.assignment.labels), "processor_s": round(seconds, 1), **facts}
    if case.name not in CONTROLS:
        refined, area = case.refine(case.particles, found.assignment.labels)
        again = case.assigner(refined).run(found.assignment.labels)
        _, true_area = case.refine(case.particles, case.states)
        record["ours_refined"] = {
            **case.experiment.score(refined),
            **case.judged(again.labels),
            "mean_area": area,
            "mean_area_true_labels": true_area,
        }
    return record


def reference_loop(case: Case, labels: IntArray, latent: Path) -> dict[str, Any]:
    """Clusters of the latent space refined as they are, trained on, clustered again."""
    particles = case.particles
    for number in range(2, REFERENCE_ROUNDS + 1):
        particles, _ = case.refine(particles, labels)
        latent = case.latent(particles, MORE_EPOCHS, f"loop_{number}", latent)
        points = read_points(latent / "embedding.csv", "umap2")
        labels = cluster(points, "kmeans", case.k, case.seed, labels).labels
    particles, area = case.refine(particles, labels)
    return {**case.experiment.score(particles), **case.judged(labels), "mean_area": area}


@click.command()
@click.option("--set", "names", type=click.Choice(list(SETS)), multiple=True, help="Default: all.")
@click.option("--seed", "seeds", type=int, multiple=True, default=(1, 2, 3), show_default=True)
@click.option("--arm", "arms", type=click.Choice(["ours", "loop", "relion"]), multiple=True, help="Default: all.")
def main(names: tuple[str, ...], seeds: tuple[int, ...], arms: tuple[str, ...]) -> None:
    """Run sets and seeds; what was recorded of others stays."""
    os.environ["OMP_NUM_THREADS"] = "1"
    if not relion.installed():
        print("RELION is left out: relion_refine is not on the PATH")
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"sets": {}}
    result |= {
        "command": "make bench-states",
        "machine": {"processor": platform.processor() or platform.machine(), "python": platform.python_version()},
        "version": __version__,
    }
    for name in names or tuple(SETS):
        for seed in seeds:
            record = run_case(Case(name, seed), arms or ("ours", "loop", "relion"))
            result["sets"].setdefault(name, {}).setdefault(str(seed), {}).update(record)
            RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
            show = {key: value.get("ari") for key, value in record.items()} | {
                key: value["verdict"] for key, value in record.items() if "verdict" in value
            }
            print(json.dumps({"set": name, "seed": seed, **show}), flush=True)


if __name__ == "__main__":
    main()
