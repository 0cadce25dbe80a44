"""The project's own engine behind the interface of all engines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drgnalign.engine.mask import particle_mask
from drgnalign.engine.noise import estimate_noise, read_noise
from drgnalign.engine.plan import oversampling
from drgnalign.engine.reconstruct import HalfMapSums, insert_particles
from drgnalign.engine.reference import reference_pair
from drgnalign.engine.refine import check_limit, refine_particles
from drgnalign.formats.mrc import ImageSource
from drgnalign.interface import Chunk, EngineSettings, FloatVolume, References
from drgnalign.maps import read_map
from drgnalign.particles import Particles


class NativeEngine:
    """The project's own engine (`drgnalign.engine`); a part is an ``.npz`` file of Fourier sums."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings

    def check(self, chunk: Chunk, limits: Sequence[float]) -> None:
        for limit in limits:
            check_limit(limit, chunk.particles)

    def refine(self, chunk: Chunk, references: References, limit: float, part: Path | None) -> Particles:
        particles = chunk.particles
        check_limit(limit, particles)
        half1, half2 = (
            read_map(path, particles.box, particles.pixel_size) for path in (references.half1, references.half2)
        )
        if references.mask is None:
            mask = particle_mask(0.5 * (half1 + half2), particles.pixel_size, chunk.diameter)
        else:
            mask = read_map(references.mask, particles.box, particles.pixel_size)
        source, padding = ImageSource(particles, chunk.images), _padding(chunk)
        pair = reference_pair(half1, half2, mask, particles.pixel_size, limit, padding, self.settings.joint_reference)
        refinement, sums = refine_particles(particles, source, pair, _noise(chunk, source), limit, padding)
        if part is not None:
            sums.save(part)
        return refinement.apply_to(particles)

    def insert(self, chunk: Chunk, part: Path) -> None:
        source = ImageSource(chunk.particles, chunk.images)
        insert_particles(chunk.particles, source, _noise(chunk, source), _padding(chunk)).save(part)

    def reconstruct(self, parts: Sequence[Path], prefix: Path) -> tuple[FloatVolume, FloatVolume, float]:
        sums = HalfMapSums.load_sum(parts)
        return sums.half_map(1), sums.half_map(2), sums.pixel_size


def _padding(chunk: Chunk) -> float:
    return oversampling(chunk.particles.box, chunk.particles.pixel_size, chunk.diameter)


def _noise(chunk: Chunk, source: ImageSource) -> NDArray[np.float64]:
    if chunk.noise is None:
        return estimate_noise(chunk.particles, source)
    return read_noise(chunk.noise, chunk.particles)
