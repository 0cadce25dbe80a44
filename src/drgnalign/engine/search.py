"""A search of all orientations, for the few particles whose poses may be lost."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from drgnalign.engine.images import coefficient_batches, poses_of
from drgnalign.engine.kernels import Kernels, Reference, Search
from drgnalign.engine.plan import coefficient_plan, limit_radius
from drgnalign.engine.refine import NO_PRIOR, check_limit, search_settings
from drgnalign.formats.mrc import ImageSource
from drgnalign.geometry import evenly_spread_rotations
from drgnalign.particles import Particles

# Å: orientations are compared at the stage of refinement next to this resolution. At 40 Å, those of a particle 300 Å
# across have to be within some 15°.
RESOLUTION = 30.0
# So many rotations are no further than 12° from any other; and the best of them are refined.
ROTATIONS, KEPT = 4608, 8


def wide_search(
    particles: Particles,
    source: ImageSource,
    references: Mapping[int, Reference],
    noise: NDArray[np.float64],
    limit: float,
) -> Particles:
    """Look for the pose of every particle among all orientations, each half set with its own reference.

    Orientations 12° apart are compared at 40 Å with shifts of up to 20 Å from the given one; the best eight of each
    particle are refined up to the limit, and the likeliest is taken.

    Parameters
    ----------
    particles : Particles
    source : ImageSource
    references : mapping of int to Reference
        For each half set that has particles, made for `limit`.
    noise : (groups, N//2 + 1) float64
    limit : float
        Å.

    Returns
    -------
    Particles
        With the poses found: always the likeliest, right or wrong.

    Raises
    ------
    InputError
        The limit is beyond Nyquist.
    """
    check_limit(limit, particles)
    box, pixel_size = particles.box, particles.pixel_size
    plan = coefficient_plan(box, pixel_size, limit).within_limit()
    resolution, coarse = plan.stage_near(RESOLUTION)
    spacing = box / (4 * limit_radius(box, pixel_size, resolution))
    settings = search_settings(plan)
    layout = (plan.box, plan.kx, plan.ky, plan.flat)
    looking = Kernels(*layout, Search(settings.counts, settings.steps, settings.largest_shifts, coarse, spacing))
    refining = Kernels(*layout, settings)
    rotations = evenly_spread_rotations(ROTATIONS)
    given = poses_of(particles)
    poses = given.copy()
    with tqdm(total=len(particles), desc="search", unit="particle", disable=None) as progress:
        for batch in coefficient_batches(particles, source, plan, looking, noise, "read"):
            reference = references[batch.half]
            candidates = looking.search(reference, batch.coefficients, given[batch.rows], rotations, KEPT)
            likeliest = np.full(len(batch.rows), -np.inf)
            for candidate in np.ascontiguousarray(candidates.transpose(1, 0, 2)):
                reached = refining.refine(reference, batch.coefficients, candidate, NO_PRIOR)[:, 1]
                better = (reached > likeliest) & np.isfinite(candidate).all(axis=1)
                poses[batch.rows[better]], likeliest[better] = candidate[better], reached[better]
            progress.update(len(batch.rows))
    return particles.with_poses(poses[:, :9].reshape(-1, 3, 3), poses[:, 9:11])
