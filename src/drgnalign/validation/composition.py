"""Where a cluster's particles come from: how many micrographs, which views, what defocus.

A state of a molecule has particles in all micrographs, views and defoci, as a random choice of as many particles would.
What is found in few of them is rather ice, a carbon edge, a wrong pixel of the camera, or poses that ran together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import scipy

from drgnalign.arrays import BoolArray, FloatArray, IntArray
from drgnalign.particles import Particles

# Bins of views, all of one size: 10° wide, views from opposite sides in one, as they show the same Fourier plane.
BINS = 200
# Directions nearer to a view's plane than about this (sine of the angle) are sampled by it.
PLANE_WIDTH = 0.1
# Of the mean: a direction that no view samples counts so much.
LEAST_SAMPLING = 0.01
# Random choices that views are compared with.
DRAWS = 100
QUANTILES = (0.05, 0.5, 0.95)


class Composition:
    """Micrographs, views and defoci of a set of particles, and how those of a cluster differ from a random choice.

    Parameters
    ----------
    particles : Particles
        All that clusters are chosen from; who is left out counts nowhere.
    """

    def __init__(self, particles: Particles) -> None:
        self._kept = ~particles.left_out()
        micrographs = micrograph_numbers(particles)
        self._micrographs = None if micrographs is None else micrographs[self._kept]
        self._views = view_bins(particles.rotations()[self._kept])
        self._of_all = np.bincount(self._views, minlength=BINS)
        self._defocus = particles.table[["rlnDefocusU", "rlnDefocusV"]].to_numpy(np.float64)[self._kept].mean(axis=1)
        self._ranks = pd.Series(self._defocus).rank().to_numpy()

    def of(self, members: BoolArray) -> dict[str, Any]:
        """Figures of a cluster.

        Parameters
        ----------
        members : (N,) bool
            Which of all particles are of it.

        Returns
        -------
        dict
            JSON-ready: ``micrographs`` (None where they are not known, see `micrograph_concentration`), ``views``
            (`view_coverage`), ``defocus`` (`defocus_shift`). All are None of a cluster that is the whole set.
        """
        mine = members[self._kept]
        if mine.all() or not mine.any():
            return {"micrographs": None, "views": None, "defocus": None}
        return {
            "micrographs": None
            if self._micrographs is None
            else micrograph_concentration(self._micrographs, self._micrographs[mine]),
            "views": view_coverage(self._of_all, np.bincount(self._views[mine], minlength=BINS)),
            "defocus": defocus_shift(self._defocus, self._ranks, mine),
        }


def micrograph_numbers(particles: Particles) -> IntArray | None:
    """Number (N,) of each particle's micrograph; None where the file does not tell micrographs apart.

    ``rlnMicrographName`` says it, or the names of the stacks, where there are several.
    """
    table = particles.table
    names = table["rlnMicrographName"] if "rlnMicrographName" in table else particles.image_locations()[1]
    numbers, different = pd.factorize(names)
    return numbers.astype(np.int64) if len(different) > 1 else None


def micrograph_concentration(of_all: IntArray, mine: IntArray) -> dict[str, float]:
    """From how many micrographs particles come, and how many it would be by chance.

    Parameters
    ----------
    of_all, mine : (N,) and (n,) int64
        Micrographs of all particles, and of a cluster's.

    Returns
    -------
    dict
        ``effective`` number of micrographs, n²/Σ n_m² with n_m particles of the cluster in micrograph m: those that
        would give the cluster if all gave the same number. ``expected`` of a random choice of n particles: of the
        mean of Σ n_m². ``p``: the chance that so many pairs of particles, or more, come from one micrograph each, of a
        gamma distribution with the number's exact mean and variance in a choice without replacement.
    """
    sizes = np.bincount(of_all).astype(np.float64)
    count, everyone = float(len(mine)), float(len(of_all))
    pairs = float((_falling(np.bincount(mine).astype(np.float64), 2)).sum())
    mean, variance = _pairs_by_chance(sizes, count, everyone)
    # A continuity correction of half a pair; Σ n_m (n_m − 1) counts each twice.
    chance = (
        float(scipy.special.gammaincc(mean**2 / variance, max(pairs - 1.0, 0.0) * mean / variance))
        if variance > 0
        else 1.0
    )
    return {
        "effective": count**2 / (pairs + count),
        "expected": count**2 / (mean + count),
        "p": chance,
    }


def _pairs_by_chance(sizes: FloatArray, count: float, everyone: float) -> tuple[float, float]:
    """Mean and variance of Σ n_m (n_m − 1) when `count` of all particles are chosen, of micrographs of some sizes."""
    two, three, four = (float(_falling(sizes, order).sum()) for order in (2, 3, 4))
    apart = two**2 - float((_falling(sizes, 2) ** 2).sum()) + four
    by_order = {2: two, 3: three, 4: apart}
    # Probability that so many particles chosen one after the other are of one micrograph (4: two and two).
    alike = {order: value / max(_falling(everyone, order), 1.0) for order, value in by_order.items()}
    chosen = {order: float(_falling(count, order)) for order in (2, 3, 4)}
    mean = chosen[2] * alike[2]
    # Pairs of pairs that are the same, share one particle, or none.
    square = 2 * chosen[2] * alike[2] + 4 * chosen[3] * alike[3] + chosen[4] * alike[4]
    return mean, max(square - mean**2, 0.0)


def _falling(value: Any, order: int) -> Any:
    """value (value − 1) … of so many factors."""
    product = value
    for step in range(1, order):
        product = product * (value - step)
    return product


def view_bins(rotations: FloatArray) -> IntArray:
    """Bin (N,) of each particle's direction of view, 0…BINS − 1; opposite directions share one.

    Parameters
    ----------
    rotations : (N, 3, 3) float64
        ``R`` with ``x_volume = R x_image``: the view's direction is the third column.
    """
    return nearest_bins(rotations[:, :, 2])


def nearest_bins(directions: FloatArray) -> IntArray:
    """Bin (N,) of unit vectors (N, 3) or their opposites, 0…BINS − 1."""
    centres = bin_centres()
    _, nearest = scipy.spatial.cKDTree(np.concatenate([centres, -centres])).query(directions)
    return (nearest % BINS).astype(np.int64)


def bin_centres(count: int = BINS) -> FloatArray:
    """Directions (count, 3), evenly spread over half of the sphere along a spiral."""
    number = np.arange(count) + 0.5
    z = number / count
    angle = np.pi * (1 + np.sqrt(5)) * number
    ring = np.sqrt(1 - z**2)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1)


def sampling_efficiency(counts: FloatArray | IntArray) -> FloatArray:
    """How evenly views sample Fourier space: 1/(⟨s⟩⟨1/s⟩), s the sampling of a direction, means over directions.

    The sampling compensation factor of Baldwin & Lyumkis (2020), Prog. Biophys. Mol. Biol. 150, 160: 1 for views from
    everywhere, 0.81 for those from all sides of one axis, next to nothing for views along one.

    Parameters
    ----------
    counts : (…, BINS) array
        Particles in each bin of views.

    Returns
    -------
    (…) float64
    """
    centres = bin_centres()
    planes = np.exp(-0.5 * ((centres @ centres.T) / PLANE_WIDTH) ** 2)
    sampling = counts @ planes
    mean = sampling.mean(axis=-1, keepdims=True)
    return 1 / (mean[..., 0] * (1 / np.maximum(sampling, LEAST_SAMPLING * mean)).mean(axis=-1))


def view_coverage(of_all: IntArray, mine: IntArray) -> dict[str, float]:
    """How a cluster's views compare with a random choice of as many particles.

    Parameters
    ----------
    of_all, mine : (BINS,) int64
        Particles in each bin of views.

    Returns
    -------
    dict
        ``efficiency`` of the sampling of Fourier space (`sampling_efficiency`), its ``expected`` value and in ``z`` by
        how many standard deviations it differs from that; ``distance`` of the distribution of views from that of all
        particles (half the sum of absolute differences, 0…1), and ``expected_distance``. What is expected is of
        `DRAWS` random choices.
    """
    draws = np.random.default_rng(0).multivariate_hypergeometric(of_all, int(mine.sum()), DRAWS, method="marginals")
    efficiency, by_chance = float(sampling_efficiency(mine)), sampling_efficiency(np.asarray(draws, np.int64))
    distances = 0.5 * np.abs(draws / mine.sum() - of_all / of_all.sum()).sum(axis=1)
    return {
        "efficiency": efficiency,
        "expected": float(np.mean(by_chance)),
        "z": float((efficiency - np.mean(by_chance)) / max(float(np.std(by_chance)), 1e-6)),
        "distance": float(0.5 * np.abs(mine / mine.sum() - of_all / of_all.sum()).sum()),
        "expected_distance": float(distances.mean()),
    }


def defocus_shift(of_all: FloatArray, ranks: FloatArray, members: BoolArray) -> dict[str, Any]:
    """How a cluster's defoci compare with those of all particles.

    Parameters
    ----------
    of_all, ranks : (N,) float64
        Defocus, Å, the mean of both axes; and its rank among all, from 1, ties shared.
    members : (N,) bool

    Returns
    -------
    dict
        ``quantiles`` (5, 50, 95 %; Å) of the cluster and ``quantiles_of_all``; ``higher``: the chance that a particle
        of the cluster has a higher defocus than any particle, ½ where they do not differ, and in ``z`` by how many
        standard deviations that is from ½ (Wilcoxon's rank sum test).
    """
    count, everyone = float(members.sum()), float(len(ranks))
    mean = float(ranks[members].mean())
    # Of the mean rank of a choice without replacement; ties make the variance of ranks smaller.
    spread = float(np.sqrt(ranks.var(ddof=1) * (1 / count - 1 / everyone)))
    return {
        "quantiles": np.quantile(of_all[members], QUANTILES).tolist(),
        "quantiles_of_all": np.quantile(of_all, QUANTILES).tolist(),
        "higher": (mean - 0.5) / everyone,
        "z": (mean - (everyone + 1) / 2) / spread if spread > 0 else 0.0,
    }
