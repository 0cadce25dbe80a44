"""Local refinement of particle poses, each half set against its own reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drgnalign.engine.images import coefficient_batches, poses_of
from drgnalign.engine.kernels import Prior, Reference, Search, kernels_for
from drgnalign.engine.plan import CoefficientPlan, coefficient_plan, limit_radius
from drgnalign.engine.reconstruct import HalfMapSums
from drgnalign.engine.sampling import FEWEST_STAGE_RADIUS, coarsest_limit
from drgnalign.errors import InputError
from drgnalign.formats.mrc import ImageSource
from drgnalign.geometry import angular_distance
from drgnalign.particles import Particles

# Most steps in the first stage, in those between, and at the limit. A reference that fits badly, such as the
# consensus to a rare state, needs many at the limit; others stop early.
FIRST_STEPS, STEPS, LAST_STEPS = 3, 2, 8
# Å: particles that match badly are scanned at this resolution.
SCAN_RESOLUTION = 20.0
# A particle that ends up further from the box centre than this share of the box is taken back.
FARTHEST = 0.5
NO_PRIOR = Prior()


@dataclass(frozen=True)
class Refinement:
    """What became of each particle's pose.

    Attributes
    ----------
    rotations : (N, 3, 3) float64
    displacements : (N, 2) float64
        Pixels.
    score_before, score_after : (N,) float64
        Log-likelihood gained over 'no signal' at the given and the refined pose, in nats.
    accepted : (N,) bool
        False where no better pose was found and the given one stands.
    """

    rotations: NDArray[np.float64]
    displacements: NDArray[np.float64]
    score_before: NDArray[np.float64]
    score_after: NDArray[np.float64]
    accepted: NDArray[np.bool_]

    def apply_to(self, particles: Particles) -> Particles:
        """The particles with refined poses and the columns drgnScoreBefore, drgnScore, drgnAccepted (0/1),
        drgnRotationChange (degrees) and drgnShiftChange (Å)."""
        refined = particles.with_poses(self.rotations, self.displacements)
        moved = np.linalg.norm(self.displacements - particles.displacements(), axis=1) * particles.pixel_size
        refined.table["drgnScoreBefore"] = self.score_before
        refined.table["drgnScore"] = self.score_after
        refined.table["drgnAccepted"] = self.accepted.astype(np.int64)
        refined.table["drgnRotationChange"] = angular_distance(particles.rotations(), self.rotations)
        refined.table["drgnShiftChange"] = moved
        return refined


def check_limit(limit: float, particles: Particles) -> None:
    """Refuse a resolution limit that the images do not carry.

    Raises
    ------
    InputError
        The limit (Å) is finer than Nyquist, leaves too few Fourier pixels, or is no number.
    """
    nyquist = 2 * particles.pixel_size
    coarsest = coarsest_limit(particles)
    if not limit <= coarsest:
        raise InputError(
            particles.path,
            f"the resolution limit {limit:g} Å leaves fewer than {FEWEST_STAGE_RADIUS:g} Fourier pixels",
            f"use a limit from {nyquist:g} to {coarsest:g} Å",
        )
    if limit < nyquist:
        raise InputError(
            particles.path,
            f"the resolution limit {limit:g} Å is beyond Nyquist ({nyquist:g} Å at {particles.pixel_size:g} Å/px)",
            f"use a limit of {nyquist:g} Å or coarser, or images with smaller pixels",
        )


def refine_particles(
    particles: Particles,
    source: ImageSource,
    references: Mapping[int, Reference],
    noise: NDArray[np.float64],
    limit: float,
    *,
    prior: Prior = NO_PRIOR,
    sums: HalfMapSums | None = None,
    device: str = "cpu",
) -> Refinement:
    """Refine every particle against its half set's reference.

    Each image is read once; memory is one batch and the references, whatever the number of particles.

    Parameters
    ----------
    particles : Particles
    source : ImageSource
    references : mapping of int to Reference
        For each half set that has particles, made for the same limit.
    noise : (groups, N//2 + 1) float64
        See `drgnalign.engine.noise.estimate_noise`.
    limit : float
        Å.
    prior : Prior, optional
        See `drgnalign.engine.prior.estimate_prior`.
    sums : HalfMapSums, optional
        Gets the particles added at their new poses.
    device : str
        ``cpu`` or ``cuda``.

    Returns
    -------
    Refinement

    Raises
    ------
    InputError
        The limit is beyond Nyquist.
    """
    check_limit(limit, particles)
    plan = coefficient_plan(particles.box, particles.pixel_size, limit)
    plan = plan.within_limit() if sums is None else plan
    kernels = kernels_for(plan, device, search_settings(plan))
    given = poses_of(particles)
    poses, scores, shares = given.copy(), np.zeros((len(particles), 2)), particles.occupancies()
    for batch in coefficient_batches(particles, source, plan, kernels, noise, "refine"):
        found = poses[batch.rows]
        reached = kernels.refine(references[batch.half], batch.coefficients, found, prior)
        lost = (np.abs(found[:, 9:11]) > FARTHEST * particles.box).any(axis=1) | ~np.isfinite(found).all(axis=1)
        found[lost], reached[lost, 1] = given[batch.rows[lost]], reached[lost, 0]
        poses[batch.rows], scores[batch.rows] = found, reached
        if sums is not None:
            sums.insert(batch.half, kernels, batch.coefficients, found, shares[batch.rows])
    kernels.finish()
    before, after = scores.T
    rotations, displacements = poses[:, :9].reshape(-1, 3, 3), poses[:, 9:11]
    return Refinement(rotations, displacements, before, after, after > before)


def search_settings(plan: CoefficientPlan) -> Search:
    """How a pose is searched for with a plan of coefficients."""
    box, pixel_size = plan.box, plan.pixel_size
    steps = np.array([FIRST_STEPS, *[STEPS] * len(plan.stages)][: len(plan.stages)], np.int32)
    steps[-1] = LAST_STEPS
    scan_resolution, scan_count = plan.stage_near(SCAN_RESOLUTION)
    return Search(
        counts=np.array([count for _, count in plan.stages], np.int32),
        steps=steps,
        # A step longer than a quarter of a stage's wavelength would leave the maximum's basin.
        largest_shifts=np.array([box / (4 * limit_radius(box, pixel_size, r)) for r, _ in plan.stages]),
        scan_count=scan_count,
        scan_spacing=box / (4 * limit_radius(box, pixel_size, scan_resolution)),
    )
