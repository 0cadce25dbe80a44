"""Split a labelled particle set into clusters and chunks: the plan of a pass of refinement."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.engine.prior import evenly_spread
from drgnalign.engine.reconstruct import part_bytes
from drgnalign.errors import DrgnalignError
from drgnalign.files import atomic_path
from drgnalign.formats.star import write_star
from drgnalign.particles import Particles
from drgnalign.validation.fsc import THRESHOLD, resolution_at

CONSENSUS = "consensus"
# Particles in a chunk, if their images are not to be compared with the part of a reconstruction that they give.
USUAL_CHUNK = 1000
# The images of a chunk are so many times as large as its part.
IMAGES_PER_PART = 4
# A half map of fewer particles than this says nothing, and its FSC less.
FEWEST_IN_HALF = 10


@dataclass(frozen=True)
class PassSettings:
    """What a pass does with every cluster.

    Attributes
    ----------
    consensus : bool
        Treat all particles that are not left out as one cluster, whatever their labels.
    limit : str
        Resolution limit of refinement in Å; ``auto`` for each cluster's own, ``none`` for no refinement.
    references : str
        ``reconstruct`` (from the particles as labelled now), ``previous``, ``decoder`` or ``consensus``.
    chunk_size : int
        Particles in a chunk.
    """

    consensus: bool
    limit: str
    references: str
    chunk_size: int


def cluster_name(label: int) -> str:
    """File name stem of a cluster's maps."""
    return f"cluster_{label:02d}"


def usual_chunk_size(box: int, padding: float) -> int:
    """Particles in a chunk of the native engine.

    1,000, or so many more that the parts of a reconstruction take a quarter of the room of the images: a part is as
    large for few particles as for many. It depends on the data only, so that results do not depend on the computer.

    Parameters
    ----------
    box : int
    padding : float
        See `drgnalign.engine.plan.oversampling`.

    Returns
    -------
    int
    """
    image_bytes = 4 * box**2
    return max(USUAL_CHUNK, math.ceil(IMAGES_PER_PART * part_bytes(box, padding) / image_bytes))


def split_clusters(particles: Particles, references: Path, settings: PassSettings, outdir: Path) -> pd.DataFrame:
    """Write each cluster's particles in chunks, and the plan that says what to do with them.

    Particles that are left out are in no chunk. Clusters with fewer than 10 particles in one of the half sets are
    reported on standard error and skipped: their particles keep poses and labels.

    Parameters
    ----------
    particles : Particles
        Labelled, with half sets.
    references : Path
        Folder of the last pass's maps and ``fsc.csv``; may lack both before the first reconstruction.
    settings : PassSettings
    outdir : Path
        Gets ``NAME_chunk_NNNN.star`` and ``NAME_pilot.star`` files and ``plan.csv``.

    Returns
    -------
    DataFrame
        One row a chunk: cluster, chunk and pilot (file names), limit (Å or ``none``), reference (file name stem, or
        ``reconstruct``).

    Raises
    ------
    DrgnalignError
        No cluster is large enough.
    """
    outdir.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, members in _clusters(particles, settings.consensus).items():
        smallest = min(int((particles.half_sets()[members] == half).sum()) for half in (1, 2))
        if smallest < FEWEST_IN_HALF:
            print(
                f"{name}: skipped in this pass: {len(members)} particles, {smallest} in the smaller half set "
                f"(at least {FEWEST_IN_HALF} needed); they keep their poses",
                file=sys.stderr,
            )
            continue
        plan = {"cluster": name, "limit": _limit(name, particles, references, settings.limit)}
        plan["reference"] = "reconstruct" if plan["limit"] == "none" else _reference(name, references, settings)
        pilot = f"{name}_pilot.star"
        write_star(particles.select(_pilot(particles, members)), outdir / pilot)
        for number, start in enumerate(range(0, len(members), settings.chunk_size), start=1):
            chunk = f"{name}_chunk_{number:04d}.star"
            write_star(particles.select(members[start : start + settings.chunk_size]), outdir / chunk)
            rows.append({**plan, "chunk": chunk, "pilot": pilot})
    if not rows:
        raise DrgnalignError(
            particles.path,
            f"no cluster has {FEWEST_IN_HALF} particles in each half set",
            "use fewer clusters (--k), another clustering, or more particles",
        )
    plan_table = pd.DataFrame(rows)
    with atomic_path(outdir / "plan.csv") as temporary:
        plan_table.to_csv(temporary, index=False)
    return plan_table


def _clusters(particles: Particles, consensus: bool) -> dict[str, NDArray[np.int64]]:
    """Rows of each cluster in input order; particles that are unassigned or left out are in none."""
    kept = ~particles.left_out()
    if consensus:
        return {CONSENSUS: np.flatnonzero(kept)}
    labels = np.where(kept, particles.cluster_labels(), 0)
    return {cluster_name(label): np.flatnonzero(labels == label) for label in sorted(set(labels) - {0})}


def _pilot(particles: Particles, members: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of a cluster, evenly spread in each half set, from which all its chunks learn the same."""
    halves = particles.half_sets()[members]
    mine = [members[halves == half] for half in (1, 2)]
    return np.sort(np.concatenate([rows[evenly_spread(len(rows))] for rows in mine]))


def _reference(name: str, references: Path, settings: PassSettings) -> str:
    """Stem of the reference's files; a cluster without a map of its own is given the consensus."""
    if settings.consensus or settings.references == "consensus":
        return CONSENSUS
    if settings.references == "previous":
        return name if (references / f"{name}_half1.mrc").exists() else CONSENSUS
    return "reconstruct" if settings.references == "reconstruct" else f"decoder_{name}"


def _limit(name: str, particles: Particles, references: Path, limit: str) -> str:
    """The limit in Å as text; ``auto``: where the cluster's FSC of the last pass, else the consensus's, falls
    below 0.143."""
    if limit != "auto":
        return limit
    table = pd.read_csv(references / "fsc.csv")
    known = table[table["cluster"] == name]
    own = known if len(known) else table[table["cluster"] == CONSENSUS]
    correlation = np.concatenate([[1.0], own.sort_values("shell")["fsc_corrected"].to_numpy()])
    resolution = resolution_at(correlation, particles.box * particles.pixel_size, THRESHOLD)
    # Rounded up to a hundredth, so as never to ask for more than there is.
    return f"{max(math.ceil(resolution * 100) / 100, 2 * particles.pixel_size):g}"
