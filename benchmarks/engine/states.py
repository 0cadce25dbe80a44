#!/usr/bin/env python3
"""Refinement of the states of a labelled 50S set: does a cluster's own reference help, and can it hurt?

Consensus refinement, then one refinement of each cluster, its labels true or random, its references shrunk towards the
consensus or not. Needs the test data.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "rib50s"))

from make_set import DATA
from make_set import main as make_set

from drgnalign.arrays import FloatVolume
from drgnalign.engine.noise import estimate_noise
from drgnalign.engine.prior import estimate_prior
from drgnalign.engine.reconstruct import HalfMapSums, insert_particles
from drgnalign.engine.reference import transform_reference, weighted_halves
from drgnalign.engine.refine import refine_particles
from drgnalign.engine.sampling import oversampling
from drgnalign.engine.shrinkage import difference_fsc, shrunk_references
from drgnalign.formats.mrc import ImageSource, read_volume
from drgnalign.formats.star import read_star
from drgnalign.inputs import import_particles
from drgnalign.maps.mask import particle_mask
from drgnalign.particles import Particles
from drgnalign.truth.score import score_particles
from drgnalign.validation.fsc import fourier_shell_correlation

REPOSITORY = Path(__file__).resolve().parents[2]
DIAMETER, HALVES = 300.0, (1, 2)
CONSENSUS = {"small": (20.0, 16.0, 14.0, 13.2), "medium": (20.0, 14.0, 10.0, 8.0, 7.0)}
HalfMaps = tuple[FloatVolume, FloatVolume]


def half_maps(sums: HalfMapSums) -> HalfMaps:
    """Both, unfiltered."""
    return sums.half_map(1), sums.half_map(2)


def mean_of(halves: HalfMaps) -> FloatVolume:
    """The map of both half sets."""
    mean: FloatVolume = np.mean(halves, axis=0, dtype=np.float32)
    return mean


class Experiment:
    """A set and what all refinements of it share.

    Attributes
    ----------
    truth, given : Particles
        The latter as the workflow takes them in: images are normalised where they need it.
    states : (N,) int64
        True labels; 0 = junk.
    good : (N,) bool
        Who is no junk and was given a pose that is near the true one.
    true_maps : dict of int to (N, N, N) float32
        By state.
    """

    def __init__(self, folder: Path, diameter: float = DIAMETER) -> None:
        self.folder, self.diameter = folder, diameter
        self.truth = read_star(folder / "truth.star")
        self.given = import_particles(folder / "particles.star", None, mask_diameter=diameter)
        self.noise = estimate_noise(self.given, ImageSource(self.given, folder), diameter)
        self.padding = oversampling(self.given.box, self.given.pixel_size, diameter)
        self.states = self.truth.cluster_labels()
        lost = self.truth.table.get("drgnTrueLost")
        self.good = (self.states > 0) & (True if lost is None else (lost == "no").to_numpy())
        self.true_maps = {
            int(state): read_volume(folder / f"state_{state:02d}.mrc")[0] for state in np.unique(self.states[self.good])
        }

    def reconstruct(self, particles: Particles) -> HalfMapSums:
        """Of those that are not left out."""
        kept = particles.select(~particles.left_out())
        return insert_particles(kept, ImageSource(kept, self.folder), self.noise, self.padding)

    def refine(
        self,
        particles: Particles,
        volumes: HalfMaps,
        mask: NDArray[np.float32],
        limit: float,
        weighted: bool,
        joint: bool = False,
    ) -> tuple[Particles, HalfMapSums]:
        weights = np.ones(particles.box // 2 + 1)
        if not weighted:
            one, two, weights = weighted_halves(volumes[0], volumes[1], mask, joint=joint)
            volumes = one, two
        references = {
            half: transform_reference(volume, mask, weights, particles.pixel_size, limit, self.padding)
            for half, volume in zip(HALVES, volumes, strict=True)
        }
        source = ImageSource(particles, self.folder)
        sums = HalfMapSums(particles.box, particles.pixel_size, self.padding)
        prior = estimate_prior(particles, source, references, self.noise, limit)
        refinement = refine_particles(particles, source, references, self.noise, limit, prior=prior, sums=sums)
        return refinement.apply_to(particles), sums

    def consensus(
        self, limits: Sequence[float], start: Particles | None = None
    ) -> tuple[Particles, HalfMaps, NDArray[np.float32]]:
        """Poses, unfiltered half maps and mask, of the given particles or of these; who is left out stays as it is."""
        particles = self.given if start is None else start
        rows = np.flatnonzero(~particles.left_out())
        kept, sums = particles.select(rows), self.reconstruct(particles)
        for limit in limits:
            volumes = half_maps(sums)
            mask = self._mask(volumes)
            kept, sums = self.refine(kept, volumes, mask, limit, weighted=False)
        volumes = half_maps(sums)
        return particles.with_poses_of(rows, kept), volumes, self._mask(volumes)

    def clusters(
        self, start: Particles, labels: NDArray[np.int64], common: HalfMaps, mask: NDArray[np.float32], limit: float,
        prior: bool,
    ) -> dict[str, Any]:  # fmt: skip
        """Refine each cluster once; poses against the truth, and maps before and after against their states'."""
        rotations, displacements = start.rotations(), start.displacements()
        area: dict[str, list[float]] = {"before": [], "after": []}
        differences = []
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            mine = start.select(rows)
            sums = self.reconstruct(mine)
            volumes = half_maps(sums)
            differences.append(self._at(difference_fsc(volumes, common, mask), (40.0, 25.0)))
            area["before"].append(self._area(volumes, label, mask))
            if prior:
                weights = sums.weights(1), sums.weights(2)
                volumes = shrunk_references(volumes, weights, common, mask)
            refined, sums = self.refine(mine, volumes, mask, limit, weighted=prior)
            area["after"].append(self._area(half_maps(sums), label, mask))
            rotations[rows], displacements[rows] = refined.rotations(), refined.displacements()
        return {
            **self.score(start.with_poses(rotations, displacements)),
            "mean_area_before": float(np.mean(area["before"])),
            "mean_area_after": float(np.mean(area["after"])),
            "difference_fsc_40_25": differences,
        }

    def score(self, particles: Particles) -> dict[str, Any]:
        """Errors of the poses of those that are no junk and were not given a lost pose."""
        scores = score_particles(self.truth.select(self.good), particles.select(self.good))
        rarest = int(np.bincount(self.states)[1:].argmin()) + 1
        return {
            "degrees": {name: round(value, 4) for name, value in scores["rotation_degrees"].items()},
            "rarest": round(scores["states"][rarest]["rotation_median_degrees"], 4),
            "states": {
                state: round(values["rotation_median_degrees"], 4) for state, values in scores["states"].items()
            },
            "angstrom": {name: round(value, 4) for name, value in scores["shift_angstrom"].items()},
        }

    def _mask(self, volumes: HalfMaps) -> NDArray[np.float32]:
        return particle_mask(mean_of(volumes), self.given.pixel_size, self.diameter)

    def _at(self, correlation: NDArray[np.float64], resolutions: Sequence[float]) -> list[float]:
        width = self.given.box * self.given.pixel_size
        return [round(float(correlation[round(width / resolution)]), 3) for resolution in resolutions]

    def _area(self, volumes: HalfMaps, label: int, mask: NDArray[np.float32]) -> float:
        """Mean FSC of a cluster's map against the true map of its label."""
        truth = self.true_maps[int(label)]
        return float(fourier_shell_correlation((volumes[0] + volumes[1]) * mask, truth * mask)[1:].mean())


@click.command()
@click.option("--size", type=click.Choice(list(CONSENSUS)), default="small", show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), default=DATA)
def main(size: str, seed: int, data: Path) -> None:
    """Run all arms and print them."""
    os.environ["OMP_NUM_THREADS"] = "1"
    folder = REPOSITORY / "benchmarks" / "out" / f"rib50s_{size}_{seed}" / "set"
    if not (folder / "truth.star").exists():
        make_set(
            ["--size", size, "--seed", str(seed), "--data", str(data), "--out", str(folder)], standalone_mode=False
        )
    experiment = Experiment(folder)
    limits = CONSENSUS[size]
    particles, common, mask = experiment.consensus(limits)
    record: dict[str, Any] = {"command": f"benchmarks/engine/states.py --size {size} --seed {seed}", "limits": limits}
    record["consensus"] = experiment.score(particles)
    print(json.dumps({"consensus": record["consensus"]}), flush=True)
    random = np.random.default_rng(seed).permutation(experiment.states)
    for name, labels in (("true", experiment.states), ("random", random)):
        for prior in (True, False):
            arm = f"{name} labels, reference prior {'consensus' if prior else 'none'}"
            record[arm] = experiment.clusters(particles, labels, common, mask, limits[-1], prior)
            print(json.dumps({arm: record[arm]}), flush=True)
    output = REPOSITORY / "benchmarks" / "results" / f"states_{size}_{seed}.json"
    output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
