"""Images as the engine sees them: planned Fourier coefficients, read in batches, with each particle's CTF."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from tqdm import tqdm

from drgnalign.ctf import phase_coefficients
from drgnalign.engine.kernels import Kernels
from drgnalign.engine.plan import CoefficientPlan
from drgnalign.formats.mrc import ImageSource
from drgnalign.particles import Particles

# A batch's coefficients stay in the processor's cache.
BATCH, BATCH_BYTES = 64, 2**21


@dataclass(frozen=True)
class Batch:
    """Coefficients of some particles of one half set.

    Attributes
    ----------
    half : int
        1 or 2.
    rows : (n,) int64
        Rows of the particle table.
    coefficients : (n, 3, m) float32
        Real and imaginary part of F/σ, and CTF/σ, at the planned coefficients.
    """

    half: int
    rows: NDArray[np.int64]
    coefficients: NDArray[np.float32]


def coefficient_batches(
    particles: Particles,
    source: ImageSource,
    plan: CoefficientPlan,
    kernels: Kernels,
    noise: NDArray[np.float64],
    label: str,
) -> Iterator[Batch]:
    """Read all particles' images once, in order, a batch at a time.

    Parameters
    ----------
    particles : Particles
    source : ImageSource
    plan : CoefficientPlan
    kernels : Kernels
        Of the plan.
    noise : (groups, N//2 + 1) float64
        See `drgnalign.engine.noise.estimate_noise`.
    label : str
        Of the progress bar, which is shown on a terminal only.

    Yields
    ------
    Batch
        Of 64 particles or fewer: memory does not grow with their number. A batch is good until the next one is
        asked for.
    """
    defocus, phases = _ctf_parameters(particles)
    weights, groups = plan.weights(noise), particles.optics_rows().astype(np.int32)
    half_sets = particles.half_sets()
    size = max(1, min(BATCH, BATCH_BYTES // (12 * len(plan.kx))))
    # The same memory for every batch: to ask for it anew costs more than to fill it.
    images = np.empty((size, particles.box, particles.box), np.float32)
    memory = np.empty((size, 3, len(plan.kx)), np.float32)
    with tqdm(total=len(particles), desc=label, unit="particle", disable=None) as progress:
        for start in range(0, len(particles), size):
            rows = np.arange(start, min(start + size, len(particles)))
            transforms = scipy.fft.rfft2(source.read(rows, images), overwrite_x=True)
            coefficients = kernels.prepare(transforms, weights, groups[rows], defocus[rows], phases[rows], memory)
            for half in np.unique(half_sets[rows]):
                mine = half_sets[rows] == half
                yield Batch(int(half), rows[mine], coefficients if mine.all() else coefficients[mine])
            progress.update(len(rows))


def _ctf_parameters(particles: Particles) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What `Kernels.prepare` is told of each particle's CTF."""
    table = particles.table
    optics = particles.optics.iloc[particles.optics_rows()]
    u, v = table["rlnDefocusU"].to_numpy(float), table["rlnDefocusV"].to_numpy(float)
    angle = 2.0 * np.radians(table["rlnDefocusAngle"].to_numpy(float))
    defocus = np.stack([0.5 * (u + v), 0.5 * (u - v), np.cos(angle), np.sin(angle)], axis=1)
    second, fourth, offset = phase_coefficients(
        optics["rlnVoltage"].to_numpy(float),
        optics["rlnSphericalAberration"].to_numpy(float),
        optics["rlnAmplitudeContrast"].to_numpy(float),
        table["rlnPhaseShift"].to_numpy(float),
    )
    per_pixel = 1.0 / (particles.box * particles.pixel_size)
    phases = np.stack([second * per_pixel**2, fourth * per_pixel**4, offset], axis=1) / (2 * np.pi)
    return defocus, phases
