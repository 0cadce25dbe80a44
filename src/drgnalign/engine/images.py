"""Images as the engine sees them: planned Fourier coefficients, read in batches, with each particle's CTF."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from drgnalign.ctf import ctf_terms, stretches
from drgnalign.engine.kernels import Kernels, stacked_poses
from drgnalign.engine.plan import CoefficientPlan
from drgnalign.formats.mrc import ImageSource
from drgnalign.particles import Particles

if TYPE_CHECKING:
    from drgnalign.engine.torch_kernels import TorchKernels


def poses_of(particles: Particles) -> NDArray[np.float64]:
    """Poses (n, 15) of particles as the loops have them, see `drgnalign.engine.kernels.stacked_poses`."""
    return stacked_poses(particles.rotations(), particles.displacements(), stretches(particles))


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
        Real and imaginary part of F/σ, and CTF/σ, at the planned coefficients: an array, or a tensor on the GPU. F is
        that of the image as it was taken, without odd aberrations.
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
        A pose or CTF value is not a finite number, or images were treated in a way that cannot be reckoned with.
    """
    particles.refuse_unusable()
    terms = ctf_terms(particles, plan.kx, plan.ky)
    weights, groups = plan.weights(noise), particles.optics_rows().astype(np.int32)
    half_sets = particles.half_sets()
    # One batch is read while the one before it is worked on; each goes where the last but one was.
    size, blank = kernels.batch_size, list[int]()
    memory = np.empty((2, size, particles.box, particles.box), np.float32)
    batches = np.split(np.arange(len(particles)), np.arange(size, len(particles), size))
    with (
        ThreadPoolExecutor(1) as reader,
        tqdm(total=len(particles), desc=label, unit="particle", disable=None) as progress,
    ):
        coming = reader.submit(source.read, batches[0], memory[0])
        for number, rows in enumerate(batches):
            images = coming.result()
            blank += rows[_are_blank(images)].tolist()
            if number + 1 < len(batches):
                coming = reader.submit(source.read, batches[number + 1], memory[(number + 1) % 2])
            coefficients = kernels.prepare(images, weights, groups[rows], terms.of(rows))
            for half in np.unique(half_sets[rows]):
                mine = half_sets[rows] == half
                yield Batch(int(half), rows[mine], coefficients if mine.all() else coefficients[mine])
            progress.update(len(rows))
    source.tell_blank(blank)


def _are_blank(images: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of some images (n, y, x) have all pixels alike."""
    blank = (images[:, 0] == images[:, 0, :1]).all(axis=1)
    # few are so in their first line
    blank[blank] = [bool(image.min() == image.max()) for image in images[blank]]
    return blank
