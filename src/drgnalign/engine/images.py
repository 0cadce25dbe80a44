"""Images as the engine sees them: planned Fourier coefficients, read in batches, with each particle's CTF."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from drgnalign.ctf import phase_coefficients
from drgnalign.engine.kernels import ctf_values
from drgnalign.engine.plan import CoefficientPlan
from drgnalign.formats.mrc import ImageSource
from drgnalign.fourier import rfft_images
from drgnalign.particles import Particles

BATCH = 64


@dataclass(frozen=True)
class Batch:
    """Some particles' coefficients.

    Attributes
    ----------
    rows : (n,) int64
        Rows of the particle table.
    data : (n, m) complex64
        F at the planned coefficients.
    ctf : (n, m) float32
    """

    rows: NDArray[np.int64]
    data: NDArray[np.complex64]
    ctf: NDArray[np.float32]


def coefficient_batches(
    particles: Particles, source: ImageSource, plan: CoefficientPlan, label: str
) -> Iterator[Batch]:
    """Read all particles' images once, in order, a batch at a time.

    Parameters
    ----------
    particles : Particles
    source : ImageSource
    plan : CoefficientPlan
    label : str
        Of the progress bar, which is shown on a terminal only.

    Yields
    ------
    Batch
        Of 64 particles or fewer: memory does not grow with their number.
    """
    defocus, terms = _ctf_parameters(particles)
    inverse_extent = 1.0 / (plan.box * plan.pixel_size)
    with tqdm(total=len(particles), desc=label, unit="particle", disable=None) as progress:
        for start in range(0, len(particles), BATCH):
            rows = np.arange(start, min(start + BATCH, len(particles)))
            transforms = rfft_images(source.read(rows)).reshape(len(rows), -1)
            ctf = np.empty((len(rows), len(plan.kx)), dtype=np.float32)
            for i, row in enumerate(rows):
                ctf_values(
                    plan.kx, plan.ky, inverse_extent, defocus[row], terms[row, 0], terms[row, 1], terms[row, 2], ctf[i]
                )
            yield Batch(rows, transforms[:, plan.flat], ctf)
            progress.update(len(rows))


def _ctf_parameters(particles: Particles) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per particle: (mean, half difference, cos 2·angle, sin 2·angle) of the defocus; the three phase terms."""
    table = particles.table
    optics = particles.optics.iloc[particles.optics_rows()]
    u, v = table["rlnDefocusU"].to_numpy(float), table["rlnDefocusV"].to_numpy(float)
    angle = 2.0 * np.radians(table["rlnDefocusAngle"].to_numpy(float))
    defocus = np.stack([0.5 * (u + v), 0.5 * (u - v), np.cos(angle), np.sin(angle)], axis=1)
    terms = phase_coefficients(
        optics["rlnVoltage"].to_numpy(float),
        optics["rlnSphericalAberration"].to_numpy(float),
        optics["rlnAmplitudeContrast"].to_numpy(float),
        table["rlnPhaseShift"].to_numpy(float),
    )
    return defocus, np.stack(terms, axis=1)
