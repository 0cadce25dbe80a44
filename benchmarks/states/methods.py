"""Methods that find states, as they are run on labelled sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import relion
from case import MORE_EPOCHS, Case
from numpy.typing import NDArray

from drgnalign.arrays import IntArray
from drgnalign.fourier import resize_volume
from drgnalign.heterogeneity.cluster import cluster, other_numbers
from drgnalign.run.latent import read_points

REFERENCE_ROUNDS = 2
# Share of the labels that are random where starts come from the truth.
WRONG = 0.5
RELION_MISSING = "RELION IS LEFT OUT: relion_refine is not on the PATH, so that its Class3D is not compared"


def numbers_proposed(case: Case) -> list[int]:
    return [2 * case.k, *other_numbers(2 * case.k, int(case.kept.sum()))]


def starts(case: Case, points: NDArray[np.float64]) -> list[IntArray]:
    """As CLUSTER proposes them."""
    numbers = numbers_proposed(case)
    return [cluster(points, "kmeans", number, case.seed + number, kept=case.kept).labels for number in numbers]


def starts_from_truth(case: Case) -> list[IntArray]:
    """As many labels as `starts`, from true ones, and random labels; it takes no latent space.

    Half of the particles, and junk, get a state at random, and each state is divided at random.
    """
    rng, states = np.random.default_rng(case.seed), int(case.states.max())
    proposed = []
    for number in numbers_proposed(case):
        wrong = (rng.random(len(case.states)) < WRONG) | (case.states == 0)
        labels = np.where(wrong, rng.integers(1, states + 1, len(wrong)), case.states)
        parts = number // states + (labels <= number % states)
        proposed.append(labels + states * (rng.random(len(labels)) * parts).astype(np.int64))
    return [*proposed, rng.integers(1, 2 * case.k + 1, len(case.states))]


def reference_loop(case: Case, labels: IntArray, latent: Path) -> dict[str, Any]:
    """Clusters of the latent space refined as they are, trained on, clustered again."""
    particles = case.particles
    for number in range(2, REFERENCE_ROUNDS + 1):
        particles = case.refine(particles, labels).particles
        latent = case.latent(particles, MORE_EPOCHS, f"loop_{number}", latent)
        points = read_points(latent / "embedding.csv", "umap2")
        labels = cluster(points, "kmeans", case.k, case.seed, labels, kept=case.kept).labels
    return case.judged_with_maps(labels, particles)[1]


def relion_classes(case: Case, k: int) -> IntArray:
    """RELION's Class3D at the consensus poses, of those that are not left out."""
    images, out = case.with_assigned_images(case.particles).select(case.kept), case.folder / f"relion_{k}"
    mean = resize_volume(0.5 * (case.common[0] + case.common[1]), images.box)
    labels = np.zeros(len(case.particles), np.int64)
    labels[case.kept] = relion.class3d(images, case.folder, mean, k, case.diameter, case.seed, out)
    return labels
