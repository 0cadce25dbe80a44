"""The likelihood of images given maps and poses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from drgnalign.engine.images import coefficient_batches, poses_of
from drgnalign.engine.kernels import Reference, ReferenceSet, kernels_for
from drgnalign.engine.plan import coefficient_plan
from drgnalign.engine.refine import check_limit
from drgnalign.formats.mrc import ImageSource
from drgnalign.particles import Particles


def log_likelihoods(
    particles: Particles,
    source: ImageSource,
    references: Sequence[Mapping[int, Reference]],
    noise: NDArray[np.float64],
    limit: float,
    device: str = "cpu",
) -> NDArray[np.float64]:
    """Log-likelihood of every particle at its pose given each of K maps, over that of 'no signal', in nats.

    The amplitude is 1: maps are in the images' grey values. With D = F/σ and m = CTF/σ times a slice, the noise of
    each Fourier coefficient of a half plane is complex normal of variance 1, so that ln p = −|D − m|² + constant and
    the figure is 2 Re⟨D, m⟩ − ⟨m, m⟩. Differences of it are logarithms of likelihood ratios, without further factors.

    Parameters
    ----------
    particles : Particles
    source : ImageSource
    references : sequence of K mappings of int to Reference
        One for each half set that has particles, for the same limit.
    noise : (groups, N//2 + 1) float64
        See `drgnalign.engine.noise.estimate_noise`.
    limit : float
        Å.
    device : str
        ``cpu`` or ``cuda``.

    Returns
    -------
    (n, K) float64

    Raises
    ------
    InputError
        The limit is beyond Nyquist.
    """
    check_limit(limit, particles)
    plan = coefficient_plan(particles.box, particles.pixel_size, limit).within_limit()
    kernels = kernels_for(plan, device)
    poses = poses_of(particles)
    result = np.empty((len(particles), len(references)))
    sets: dict[int, ReferenceSet] = {}
    for batch in coefficient_batches(particles, source, plan, kernels, noise, "score"):
        if batch.half not in sets:
            sets[batch.half] = ReferenceSet(tuple(by_half[batch.half] for by_half in references))
        found = kernels.matches(sets[batch.half], batch.coefficients, poses[batch.rows])
        result[batch.rows] = 2 * found.products - found.powers
    return result
