"""Coarse maps of clusters, of down-sampled images: what a mask has to hold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from drgnalign.arrays import FloatVolume
from drgnalign.engine.images import coefficient_batches, poses_of
from drgnalign.engine.kernels import kernels_for
from drgnalign.engine.plan import coefficient_plan
from drgnalign.engine.reconstruct import HalfMapSums
from drgnalign.engine.sampling import oversampling
from drgnalign.formats.mrc import ImageSource
from drgnalign.half_maps import FEWEST_IN_HALF, smaller_half
from drgnalign.maps.mask import coarse_box
from drgnalign.particles import Particles
from drgnalign.symmetry import point_group


def cluster_maps(
    particles: Particles, source: ImageSource, noise: NDArray[np.float64], diameter: float, symmetry: str = "C1"
) -> Iterator[FloatVolume]:
    """A map of each cluster, one after the other: memory is that of one map and of one batch of images.

    Both half sets are in it, as one mask serves both.

    Parameters
    ----------
    particles : Particles
        Labelled. Clusters with fewer than ten in a half set have no map; who is unassigned or left out is in none.
    source : ImageSource
        Their images.
    noise : (groups, N//2 + 1) float64
        See `drgnalign.engine.noise.estimate_noise`.
    diameter : float
        Of the particle, Å.
    symmetry : str
        Point group of the particle.

    Yields
    ------
    (n, n, n) float32
        Over the images' field of view, n voxels a side as of `drgnalign.maps.mask.coarse_box`. Its grey values are
        in a unit of its own.
    """
    box = coarse_box(particles.box, particles.pixel_size)
    pixel_size = particles.pixel_size * particles.box / box
    plan = coefficient_plan(particles.box, particles.pixel_size, 2 * pixel_size).within_limit()
    padding, group = oversampling(box, pixel_size, diameter), point_group(symmetry)
    for rows in _clusters(particles):
        mine = particles.select(rows)
        kernels = kernels_for(plan, "cpu")
        # Fourier pixels of a coarser map are as wide: only fewer of them are held
        sums = HalfMapSums(box, pixel_size, padding, group)
        poses, shares = poses_of(mine), mine.occupancies()
        for batch in coefficient_batches(mine, ImageSource(mine, source.root), plan, kernels, noise, "mask"):
            sums.insert(1, kernels, batch.coefficients, poses[batch.rows], shares[batch.rows])
        yield sums.half_map(1)


def _clusters(particles: Particles) -> Iterator[NDArray[np.int64]]:
    """Rows of each cluster that is large enough."""
    halves, labels = particles.half_sets(), np.where(particles.left_out(), 0, particles.cluster_labels())
    for label in np.unique(labels[labels > 0]):
        rows = np.flatnonzero(labels == label)
        if smaller_half(halves[rows]) >= FEWEST_IN_HALF:
            yield rows
