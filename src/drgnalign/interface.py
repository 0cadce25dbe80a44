"""The interface of refinement engines.

A chunk of a cluster, its references and settings go in; refined particles and the parts of a reconstruction come
out, in the project's conventions. Parts of all chunks make the two half maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from drgnalign.arrays import FloatVolume
from drgnalign.particles import Particles
from drgnalign.run.state import HALF_MAPS

ENGINE_NAMES = ("native", "frealignx", "frealign9")


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
    pilot : Path or None
        Star file of some particles of the whole cluster, from which the native engine learns what to expect of all;
        without it, from the chunk's own.
    """

    particles: Particles
    images: Path
    noise: Path | None = None
    mask_diameter: float | None = None
    pilot: Path | None = None

    @property
    def diameter(self) -> float:
        """Diameter of the particle in Å."""
        return self.particles.diameter(self.mask_diameter)


@dataclass(frozen=True)
class References:
    """What a cluster is refined against.

    Attributes
    ----------
    half1, half2 : Path
        Maps for half sets 1 and 2, unfiltered unless `weighted`.
    mask : Path or None
        Soft mask; made from the maps without it.
    weighted : bool
        They are what images are compared with; otherwise each is weighted first with what its FSC says it is worth.
    """

    half1: Path
    half2: Path
    mask: Path | None = None
    weighted: bool = False

    @property
    def prefix(self) -> Path:
        """What the names of the half maps and of what an engine wrote beside them begin with."""
        return self.half1.with_name(self.half1.name.removesuffix(HALF_MAPS[0]))


@dataclass(frozen=True)
class EngineSettings:
    """What an engine is told once.

    Attributes
    ----------
    joint_reference : bool
        Align both half sets to one map.
    mass_kda : float or None
        Mass of the particle; Frealign needs it.
    frealign_dir : Path or None
        Folder of the user's Frealign programs; without it they are on the PATH.
    frealign_args : str
        Further settings of these, ``key=value,…``.
    logs : Path or None
        Folder that gets what they print; ``frealign_logs`` without it.
    symmetry : str
        Point group of the particle.
    device : str
        Of the native engine: ``cpu`` or ``cuda``.
    """

    joint_reference: bool = False
    mass_kda: float | None = None
    frealign_dir: Path | None = None
    frealign_args: str = ""
    logs: Path | None = None
    symmetry: str = "C1"
    device: str = "cpu"


class Reconstruction(NamedTuple):
    """What an engine makes of the parts of a cluster.

    Attributes
    ----------
    half1, half2 : (N, N, N) float32
        Unfiltered half maps.
    pixel_size : float
        Å.
    weights : pair of (N, N, N//2 + 1) float32, or None
        Σ CTF²/σ² of each Fourier pixel and half set, where the engine tells.
    """

    half1: FloatVolume
    half2: FloatVolume
    pixel_size: float
    weights: tuple[FloatVolume, FloatVolume] | None = None


class Engine(Protocol):
    """What every engine does with the chunks of a cluster."""

    settings: EngineSettings

    def check(self, chunk: Chunk, limits: Sequence[float]) -> None:
        """Refuse what the engine cannot do with all particles, or at a limit (Å), before anything is begun."""

    def refine(self, chunk: Chunk, references: References, limit: float, part: Path | None) -> Particles:
        """Refine poses locally up to `limit` Å; if `part` is given, write there the chunk's part of a
        reconstruction at the refined poses. Particles that are left out stay as they are, and are in no part."""

    def insert(self, chunk: Chunk, part: Path) -> None:
        """Write the chunk's part of a reconstruction at the present poses, without particles that are left out."""

    def reconstruct(self, parts: Sequence[Path], prefix: Path) -> Reconstruction:
        """Half maps of all parts of a cluster.

        What the engine needs besides the half maps ``PREFIX_half1.mrc`` and ``PREFIX_half2.mrc`` to refine against
        them later goes into files ``PREFIX_statistics…`` beside them.
        """
