"""How far poses are likely to move, and how strong the reference is: learnt from some of the images themselves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy
from numpy.typing import NDArray

from drgnalign.ctf import stretches
from drgnalign.engine.images import coefficient_batches
from drgnalign.engine.kernels import Prior, Reference, kernels_for, stacked_poses
from drgnalign.engine.plan import coefficient_plan
from drgnalign.engine.refine import NO_PRIOR, Refinement, refine_particles
from drgnalign.engine.sampling import evenly_spread
from drgnalign.formats.mrc import ImageSource
from drgnalign.particles import Particles

# Fewer particles than this teach nothing.
FEWEST = 16
# The prior is at least this much wider than the images' own error. Poses that were refined before hardly move, and
# would be held where they are by a prior as narrow as that.
LEAST_WIDTH = 4.0
# Standard deviation of a normal distribution by its median absolute value.
PER_MEDIAN = 1.4826


def estimate_prior(
    particles: Particles,
    source: ImageSource,
    references: Mapping[int, Reference],
    noise: NDArray[np.float64],
    limit: float,
    device: str = "cpu",
) -> Prior:
    """Refine a few evenly spread particles without a prior, and see how far they go.

    The spread of their changes is that of the errors of the given poses and of the images' own error together, by
    medians, which the few that jump do not rule.

    Parameters
    ----------
    particles, source, references, noise, limit, device
        As of `drgnalign.engine.refine.refine_particles`.

    Returns
    -------
    Prior
        Without knowledge where there are fewer than 16 particles, or none that matches.
    """
    rows = evenly_spread(len(particles))
    if len(rows) < FEWEST:
        return NO_PRIOR
    pilot = particles.select(rows)
    images = ImageSource(pilot, source.root)
    refinement = refine_particles(pilot, images, references, noise, limit, device=device)
    amplitudes, variances = _precision(pilot, images, references, noise, limit, refinement, device)
    good = amplitudes > 0
    if good.sum() < FEWEST:
        return NO_PRIOR
    turns = scipy.spatial.transform.Rotation.from_matrix(
        np.swapaxes(pilot.rotations(), 1, 2) @ refinement.rotations
    ).as_rotvec()[good]
    shifts = (refinement.displacements - pilot.displacements())[good]
    rotation, shift = (
        float(max(PER_MEDIAN * np.median(np.abs(changes)), LEAST_WIDTH * np.sqrt(np.median(own))))
        for changes, own in zip((turns, shifts), variances[good].T, strict=True)
    )
    return Prior(rotation, shift, float(np.median(amplitudes[good])))


def _precision(
    particles: Particles,
    source: ImageSource,
    references: Mapping[int, Reference],
    noise: NDArray[np.float64],
    limit: float,
    refinement: Refinement,
    device: str,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Amplitudes (n,), and mean variances (n, 2) of the components of rotation (radians²) and shift (px²), by the
    curvature of the likelihood at the refined poses."""
    plan = coefficient_plan(particles.box, particles.pixel_size, limit).within_limit()
    kernels = kernels_for(plan, device)
    poses = stacked_poses(refinement.rotations, refinement.displacements, stretches(particles))
    amplitudes, variances = np.zeros(len(particles)), np.full((len(particles), 2), np.inf)
    upper = np.triu_indices(5)
    for batch in coefficient_batches(particles, source, plan, kernels, noise, "look"):
        sums = kernels.products(references[batch.half], batch.coefficients, poses[batch.rows], len(plan.kx))
        for row, values in zip(batch.rows, sums, strict=True):
            hessian = np.zeros((5, 5))
            hessian[upper] = values["curvature"]
            hessian += np.triu(hessian, 1).T
            with_model, power, match = values["with_model"], values["power"], values["match"]
            hessian = 2 * (hessian - np.outer(with_model, with_model) / power) if power > 0 else hessian
            if match <= 0 or np.linalg.cond(hessian) > 1 / np.finfo(np.float32).eps:
                continue
            amplitudes[row] = match / power
            own = np.diag(np.linalg.inv(hessian)) / amplitudes[row] ** 2
            variances[row] = own[:3].mean(), own[3:].mean()
    return amplitudes, variances
