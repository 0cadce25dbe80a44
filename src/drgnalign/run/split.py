"""Split a labelled particle set into clusters and chunks: the plan of a pass of refinement."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.engine.sampling import COARSEST_LIMIT, coarsest_limit, evenly_spread, part_bytes
from drgnalign.formats.star import write_star
from drgnalign.half_maps import FEWEST_IN_HALF, smaller_half
from drgnalign.heterogeneity.path import nearest_places
from drgnalign.particles import Particles
from drgnalign.run.plan import NO_LIMIT, RECONSTRUCT, chunk_name, pilot_name, write_plan
from drgnalign.run.state import CONSENSUS, DECODER, FSC, HALF_MAPS, POINT, beside, by_cluster, cluster_name

# Particles in a chunk, if their images are not to be compared with the part of a reconstruction that they give.
USUAL_CHUNK = 1000
# The images of a chunk are so many times as large as its part.
IMAGES_PER_PART = 4
# By how much an automatic limit may be finer than the last.
FINEST_STEP = 1.5


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
    along : bool
        Where particles move, refine them by places of their motion, each against what its neighbours there show, and
        not by clusters, which are cuts through it.
    """

    consensus: bool
    limit: str
    references: str
    chunk_size: int
    along: bool = False


def usual_chunk_size(box: int, padding: float) -> int:
    """Particles in a chunk of the native engine.

    1,000, or so many more that the parts of a reconstruction take a quarter of the room of the images: a part is as
    large for few particles as for many. It depends on the data only, so that results do not depend on the computer.

    Parameters
    ----------
    box : int
    padding : float
        See `drgnalign.engine.sampling.oversampling`.

    Returns
    -------
    int
    """
    image_bytes = 4 * box**2
    return max(USUAL_CHUNK, math.ceil(IMAGES_PER_PART * part_bytes(box, padding) / image_bytes))


def split_clusters(particles: Particles, references: Path, settings: PassSettings, outdir: Path) -> pd.DataFrame:
    """Write each cluster's particles in chunks, and the plan that says what to do with them.

    Particles that are left out are in no chunk. Clusters with fewer than 10 particles in one of the half sets are
    reported on standard error and skipped: their particles keep poses and labels. Those whose maps of the last pass had
    no resolution are carried: poses have nothing to be refined against, and a map is made of them as they are.

    Parameters
    ----------
    particles : Particles
        Labelled, with half sets.
    references : Path
        Folder of the last pass's maps and ``fsc.csv``; may lack both before the first reconstruction.
    settings : PassSettings
    outdir : Path
        Gets the star files of chunks and pilots, and ``plan.csv``.

    Returns
    -------
    DataFrame
        The plan (`drgnalign.run.plan`). No rows where no cluster is large enough.
    """
    outdir.mkdir(parents=True, exist_ok=True)
    last, rows = _last_pass(references), []
    places = nearest_places(particles) if settings.along else None
    if places is None:
        groups = _clusters(particles, settings.consensus)
    else:
        # no place has maps of the last pass
        settings = replace(settings, references=RECONSTRUCT)
        groups = {f"{POINT}{place:02d}": np.flatnonzero(places == place) for place in np.unique(places[places > 0])}
        # and the clusters of what does not move
        still = {name: members[places[members] == 0] for name, members in _clusters(particles, False).items()}
        groups |= {name: members for name, members in still.items() if len(members)}
    for name, members in groups.items():
        smallest = smaller_half(particles.half_sets()[members])
        if smallest < FEWEST_IN_HALF:
            print(
                f"{name}: skipped in this pass: {len(members)} particles, {smallest} in the smaller half set "
                f"(at least {FEWEST_IN_HALF} needed); they keep their poses",
                file=sys.stderr,
            )
            continue
        limit = _limit(name, particles, last, settings)
        plan = {
            "cluster": name,
            "limit": limit,
            "reference": RECONSTRUCT if limit == NO_LIMIT else _reference(name, references, settings),
            "carried": limit == NO_LIMIT and settings.limit != NO_LIMIT,
        }
        if plan["carried"]:
            print(f"{name}: its maps of the last pass have no resolution; it keeps its poses", file=sys.stderr)
        pilot = pilot_name(name)
        write_star(particles.select(_pilot(particles, members)), outdir / pilot)
        for number, start in enumerate(range(0, len(members), settings.chunk_size), start=1):
            chunk = chunk_name(name, number)
            write_star(particles.select(members[start : start + settings.chunk_size]), outdir / chunk)
            rows.append({**plan, "chunk": chunk, "pilot": pilot})
    return write_plan(rows, outdir)


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
    """Name of the reference's maps; a cluster without a map of its own is given the consensus."""
    if settings.references == "consensus":
        return CONSENSUS
    if settings.references == "previous":
        return name if beside(references / name, HALF_MAPS[0]).exists() else CONSENSUS
    return RECONSTRUCT if settings.references == RECONSTRUCT else f"{DECODER}{name}"


def _last_pass(references: Path) -> dict[str, tuple[float, float]]:
    """By cluster: resolution (NaN: none) and limit (NaN: poses were not refined) of the last pass, Å; empty before the
    first reconstruction."""
    path = references / FSC
    if not path.exists():
        return {}
    figures = by_cluster(path)[["resolution_0143_angstrom", "alignment_limit_angstrom"]].apply(
        pd.to_numeric, errors="coerce"
    )
    return {str(row[0]): (float(row[1]), float(row[2])) for row in figures.itertuples()}


def _limit(name: str, particles: Particles, last: dict[str, tuple[float, float]], settings: PassSettings) -> str:
    """The limit of a cluster in Å as text, ``none`` where its own maps of the last pass had no resolution.

    ``auto`` is where the cluster's FSC of the last pass fell below 0.143, or the consensus's where it had no maps: not
    coarser than engines take, and not finer than Nyquist or than two thirds of the last limit: shells are let in by
    steps, once the poses found at one limit are good enough for the next; and an FSC that never falls, as where the
    half sets share images, does not say what there is to refine to.
    """
    own = name != CONSENSUS and name in last
    if own and math.isnan(last[name][0]):
        return NO_LIMIT
    if settings.limit != "auto":
        return settings.limit
    resolution, before = last[name if own else CONSENSUS]
    # Down and up to a hundredth, so as never to ask for more than there is.
    coarsest = math.floor(100 * min(coarsest_limit(particles), 0.9 * COARSEST_LIMIT)) / 100
    bounds = [resolution, before / FINEST_STEP, 2 * particles.pixel_size]
    finest = math.ceil(100 * max(bound for bound in bounds if not math.isnan(bound))) / 100
    return f"{coarsest if math.isnan(resolution) else min(finest, coarsest):g}"
