"""The interface of refinement engines, and the engines there are.

A chunk of a cluster, its references and settings go in; refined particles and the parts of a reconstruction come
out, in the project's conventions. Parts of all chunks make the two half maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from drgnalign.engine.mask import particle_mask
from drgnalign.engine.noise import estimate_noise, read_noise
from drgnalign.engine.plan import oversampling
from drgnalign.engine.reconstruct import HalfMapSums, insert_particles
from drgnalign.engine.reference import reference_pair
from drgnalign.engine.refine import check_limit, refine_particles
from drgnalign.formats.mrc import ImageSource
from drgnalign.maps import read_map
from drgnalign.particles import Particles

FloatVolume = NDArray[np.float32]
# A particle is taken to fill this much of its box unless a diameter is given.
USUAL_FILL = 0.85


@dataclass(frozen=True)
class Chunk:
    """Some particles of one cluster and what is needed to read them.

    Attributes
    ----------
    particles : Particles
    images : Path
        Folder that image names are relative to.
    noise : Path or None
        Noise spectrum; without it, it is estimated from the chunk's images.
    mask_diameter : float or None
        Å; 85 % of the box without it.
    """

    particles: Particles
    images: Path
    noise: Path | None = None
    mask_diameter: float | None = None

    @property
    def diameter(self) -> float:
        """Diameter of the particle in Å."""
        return self.mask_diameter or USUAL_FILL * self.particles.box * self.particles.pixel_size


@dataclass(frozen=True)
class References:
    """What a cluster is refined against.

    Attributes
    ----------
    half1, half2 : Path
        Unfiltered maps for half sets 1 and 2.
    mask : Path or None
        Soft mask; made from the maps without it.
    joint : bool
        Align both half sets to the mean of the maps.
    """

    half1: Path
    half2: Path
    mask: Path | None = None
    joint: bool = False


class Engine(Protocol):
    """What every engine does with the chunks of a cluster."""

    def refine(self, chunk: Chunk, references: References, limit: float, part: Path | None) -> Particles:
        """Refine poses locally up to `limit` Å; if `part` is given, write there the chunk's part of a
        reconstruction at the refined poses."""

    def insert(self, chunk: Chunk, part: Path) -> None:
        """Write the chunk's part of a reconstruction at the present poses."""

    def reconstruct(self, parts: Sequence[Path]) -> tuple[FloatVolume, FloatVolume, float]:
        """Unfiltered half maps (N, N, N) of all parts of a cluster, and their pixel size in Å."""


class NativeEngine:
    """The project's own engine (`drgnalign.engine`); a part is an ``.npz`` file of Fourier sums."""

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
        pair = reference_pair(half1, half2, mask, particles.pixel_size, limit, padding, references.joint)
        refinement, sums = refine_particles(particles, source, pair, _noise(chunk, source), limit, padding)
        if part is not None:
            sums.save(part)
        return refinement.apply_to(particles)

    def insert(self, chunk: Chunk, part: Path) -> None:
        source = ImageSource(chunk.particles, chunk.images)
        insert_particles(chunk.particles, source, _noise(chunk, source), _padding(chunk)).save(part)

    def reconstruct(self, parts: Sequence[Path]) -> tuple[FloatVolume, FloatVolume, float]:
        sums = HalfMapSums.load_sum(parts)
        return sums.half_map(1), sums.half_map(2), sums.pixel_size


ENGINES: dict[str, Engine] = {"native": NativeEngine()}


def _padding(chunk: Chunk) -> float:
    return oversampling(chunk.particles.box, chunk.particles.pixel_size, chunk.diameter)


def _noise(chunk: Chunk, source: ImageSource) -> NDArray[np.float64]:
    if chunk.noise is None:
        return estimate_noise(chunk.particles, source)
    return read_noise(chunk.noise, chunk.particles)
