"""Images as the engine sees them: planned Fourier coefficients, read in batches, with each particle's CTF."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from drgnalign.ctf import phase_coefficients
from drgnalign.engine.kernels import Kernels
from drgnalign.engine.plan import CoefficientPlan
from drgnalign.formats.mrc import ImageSource
from drgnalign.particles import Particles

if TYPE_CHECKING:
    from drgnalign.engine.torch_kernels import TorchKernels


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
        Real and imaginary part of F/σ, and CTF/σ, at the planned coefficients: an array, or a tensor on the GPU.
    """

    half: int
    rows: NDArray[np.int64]
    coefficients: Any


def coefficient_batches(
    particles: Particles,
    source: ImageSource,
    plan: CoefficientPlan,
    kernels: Kernels | TorchKernels,
    noise: NDArray[np.float64],
    label: str,
) -> Iterator[Batch]:
    """Read all particles' images once, in order, a batch at a time.

    Parameters
    ----------
    particles : Particles
    source : ImageSource
    plan : CoefficientPlan
    kernels : Kernels or TorchKernels
        Of the plan.
    noise : (groups, N//2 + 1) float64
        See `drgnalign.engine.noise.estimate_noise`.
    label : str
        Of the progress bar, which is shown on a terminal only.

    Yields
    ------
    Batch
        Of `kernels.batch_size` particles or fewer: memory does not grow with their number. A batch is good until
        the next one is asked for.

    Raises
    ------
    InputError
        A pose or CTF value is not a finite number.
    """
    particles.refuse_unusable()
    defocus, phases = _ctf_parameters(particles)
    weights, groups = plan.weights(noise), particles.optics_rows().astype(np.int32)
    half_sets = particles.half_sets()
    # One batch is read while the one before it is worked on; each goes where the last but one was.
    size = kernels.batch_size
    memory = np.empty((2, size, particles.box, particles.box), np.float32)
    batches = np.split(np.arange(len(particles)), np.arange(size, len(particles), size))
    with (
        ThreadPoolExecutor(1) as reader,
        tqdm(total=len(particles), desc=label, unit="particle", disable=None) as progress,
    ):
        coming = reader.submit(source.read, batches[0], memory[0])
        for number, rows in enumerate(batches):
            images = coming.result()
            if number + 1 < len(batches):
                coming = reader.submit(source.read, batches[number + 1], memory[(number + 1) % 2])
            coefficients = kernels.prepare(images, weights, groups[rows], defocus[rows], phases[rows])
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
