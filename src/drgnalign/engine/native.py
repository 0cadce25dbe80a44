"""The project's own engine behind the interface of all engines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.arrays import FloatVolume
from drgnalign.engine.likelihood import log_likelihoods
from drgnalign.engine.noise import estimate_noise, read_noise
from drgnalign.engine.prior import estimate_prior
from drgnalign.engine.reconstruct import HALVES, HalfMapSums, insert_particles, part_file
from drgnalign.engine.reference import transform_reference, weighted_halves
from drgnalign.engine.refine import check_limit, refine_particles
from drgnalign.engine.sampling import oversampling, reference_oversampling
from drgnalign.formats.mrc import ImageSource
from drgnalign.formats.star import read_star
from drgnalign.interface import Chunk, EngineSettings, Reconstruction, References
from drgnalign.maps.mask import particle_mask
from drgnalign.maps.read import read_map, read_mask
from drgnalign.particles import Particles
from drgnalign.symmetry import point_group


class NativeEngine:
    """The project's own engine (`drgnalign.engine`); a part is an ``.npz`` file of Fourier sums."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self._symmetry = point_group(settings.symmetry)

    def check(self, chunk: Chunk, limits: Sequence[float]) -> None:
        for limit in limits:
            check_limit(limit, chunk.particles)

    def refine(self, chunk: Chunk, references: References, limit: float, part: Path | None) -> Particles:
        particles = chunk.particles
        check_limit(limit, particles)
        volumes, mask, weights = self._volumes(chunk, references)
        noise, padding, device = _noise(chunk), _padding(chunk), self.settings.device
        finer, tables = _reference_padding(chunk), []
        with nullcontext() if part is None else part_file(part) as add:
            for half, rows in _half_sets(particles):
                mine = particles.select(rows)
                reference = transform_reference(volumes[half - 1], mask, weights, particles.pixel_size, limit, finer)
                source, references_of = ImageSource(mine, chunk.images), {half: reference}
                few = _pilot(chunk, half)
                prior = estimate_prior(few, ImageSource(few, chunk.images), references_of, noise, limit, device)
                sums = None if add is None else HalfMapSums(mine.box, mine.pixel_size, padding, self._symmetry)
                refinement = refine_particles(
                    mine, source, references_of, noise, limit, prior=prior, sums=sums, device=device
                )
                tables.append(refinement.apply_to(mine).table.set_index(rows))
                if add is not None and sums is not None:
                    add(sums)
                # Before the next half's are made: at large boxes there is no room for both.
                del reference, sums
        if particles.left_out().any():
            tables.append(particles.table[particles.left_out()])
        return replace(particles, table=pd.concat(tables).sort_index())

    def score(self, chunk: Chunk, references: Sequence[References], limit: float) -> NDArray[np.float64]:
        """Log-likelihoods (n, K) of particles at their poses given K maps, each of the particle's half set; see
        `drgnalign.engine.likelihood.log_likelihoods`."""
        particles = chunk.particles
        check_limit(limit, particles)
        noise, padding, pixel_size = _noise(chunk), _reference_padding(chunk), particles.pixel_size
        by_half = []
        for pair in references:
            volumes, mask, weights = self._volumes(chunk, pair)
            by_half.append(
                {
                    half: transform_reference(volume, mask, weights, pixel_size, limit, padding)
                    for half, volume in zip(HALVES, volumes, strict=True)
                }
            )
        return log_likelihoods(
            particles, ImageSource(particles, chunk.images), by_half, noise, limit, self.settings.device
        )

    def _volumes(
        self, chunk: Chunk, references: References
    ) -> tuple[list[FloatVolume], FloatVolume, NDArray[np.float64]]:
        """Maps of the half sets, the mask, and the factor of each Fourier shell."""
        box, pixel_size, joint = chunk.particles.box, chunk.particles.pixel_size, self.settings.joint_reference
        volumes = [read_map(path, box, pixel_size) for path in (references.half1, references.half2)]
        if references.mask is None:
            mask = particle_mask(0.5 * (volumes[0] + volumes[1]), pixel_size, chunk.diameter)
        else:
            mask = read_mask(references.mask, box, pixel_size)
        if not references.weighted:
            *volumes, weights = weighted_halves(volumes[0], volumes[1], mask, joint)
            return volumes, mask, weights
        return [0.5 * (volumes[0] + volumes[1])] * 2 if joint else volumes, mask, np.ones(box // 2 + 1)

    def insert(self, chunk: Chunk, part: Path) -> None:
        noise, padding, device = _noise(chunk), _padding(chunk), self.settings.device
        with part_file(part) as add:
            for _, rows in _half_sets(chunk.particles):
                mine = chunk.particles.select(rows)
                add(insert_particles(mine, ImageSource(mine, chunk.images), noise, padding, self._symmetry, device))

    def reconstruct(self, parts: Sequence[Path], prefix: Path) -> Reconstruction:
        half1, weights1, pixel_size = _half_map(parts, 1)
        half2, weights2, _ = _half_map(parts, 2)
        return Reconstruction(half1, half2, pixel_size, (weights1, weights2))


def _half_sets(particles: Particles) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Number and rows of the half sets that have particles; those that are left out are in none.

    They are worked on one after the other, because the reference and the sums of one fill the memory at large boxes.
    """
    for half in HALVES:
        rows = np.flatnonzero((particles.half_sets() == half) & ~particles.left_out())
        if len(rows):
            yield half, rows


def _half_map(parts: Sequence[Path], half: int) -> tuple[FloatVolume, FloatVolume, float]:
    sums = HalfMapSums.load_sum(parts, [half])
    return sums.half_map(half), sums.weights(half), sums.pixel_size


def _pilot(chunk: Chunk, half: int) -> Particles:
    """Particles of a half set to learn from."""
    particles = chunk.particles if chunk.pilot is None else read_star(chunk.pilot)
    particles.refuse_unusable()
    return particles.select((particles.half_sets() == half) & ~particles.left_out())


def _padding(chunk: Chunk) -> float:
    return oversampling(chunk.particles.box, chunk.particles.pixel_size, chunk.diameter)


def _reference_padding(chunk: Chunk) -> float:
    return reference_oversampling(chunk.particles.box, chunk.particles.pixel_size, chunk.diameter)


def _noise(chunk: Chunk) -> NDArray[np.float64]:
    if chunk.noise is None:
        return estimate_noise(chunk.particles, ImageSource(chunk.particles, chunk.images), chunk.diameter)
    return read_noise(chunk.noise, chunk.particles)
