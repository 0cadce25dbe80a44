"""How much disk a run will take: estimated before it begins."""

from __future__ import annotations

import math
from dataclasses import dataclass

from drgnalign.downsample import box_for_limit, is_worth_it
from drgnalign.engine.sampling import oversampling, part_bytes
from drgnalign.particles import Particles
from drgnalign.run.split import USUAL_CHUNK, usual_chunk_size

# A row of a star file of the state, and how many files of a pass have one for each particle.
ROW_BYTES, TABLES_OF_A_PASS, TABLES_OF_ITS_RESULTS = 400, 6, 2
# Half maps, filtered map, and the two references that are shrunk towards the consensus.
MAPS_OF_A_CLUSTER, MAPS_OF_ITS_RESULTS = 5, 3
# A linear model stands in the folders of FIT and EMBED, and in the results.
LINEAR_IN_WORK = 2


@dataclass(frozen=True)
class Plan:
    """What the passes of a run are.

    Attributes
    ----------
    consensus, anew, rounds : int
        Passes over all particles as one cluster; those of them that reconstruct what they refine against; rounds.
    clusters : int
        The most that a round has.
    reconstructs : bool
        Do rounds begin with reconstructions of their clusters?
    train_box : int
        px.
    assign_limit : float or None
        Å; None where nothing needs images for it.
    components : int
        Of the linear model; 0 where there is none.
    path_points : int
        Maps along a motion, which each round may turn out to see.
    chunk_size : int or None
    native : bool
        Is it the project's own engine?
    keep : bool
        Is everything kept that a pass no longer needs?
    """

    consensus: int
    anew: int
    rounds: int
    clusters: int
    reconstructs: bool
    train_box: int
    assign_limit: float | None
    chunk_size: int | None
    native: bool
    keep: bool
    components: int = 0
    path_points: int = 0


def estimate_disk(particles: Particles, plan: Plan, diameter: float) -> dict[str, int]:
    """Bytes that a run writes into its work folder and into its results.

    Parameters
    ----------
    particles : Particles
    plan : Plan
    diameter : float
        Of the particle, Å.

    Returns
    -------
    dict
        ``work``, ``results``; ``stacks``, the part of ``work`` that is written once, before the first pass.
    """
    count, volume = len(particles), 4 * particles.box**3
    passes = plan.consensus + plan.rounds
    maps = plan.consensus + plan.rounds * plan.clusters
    first_references = plan.anew + (plan.rounds * plan.clusters if plan.reconstructs else 0)
    stacks = _stacks(particles, plan)
    work = stacks + _sums(particles, plan, diameter)
    work += volume * (maps * MAPS_OF_A_CLUSTER + first_references * MAPS_OF_A_CLUSTER)
    work += passes * count * ROW_BYTES * TABLES_OF_A_PASS
    # those of the last round once more, in final/
    results = volume * MAPS_OF_ITS_RESULTS * (maps + plan.clusters)
    results += (passes + 1) * count * ROW_BYTES * TABLES_OF_ITS_RESULTS
    models = plan.rounds * _model(particles, plan)
    along = volume * MAPS_OF_ITS_RESULTS * plan.rounds * plan.path_points
    return {"work": work + LINEAR_IN_WORK * models + along, "stacks": stacks, "results": results + models + along}


def _model(particles: Particles, plan: Plan) -> int:
    """A linear model: volumes of both half sets, and what each image says of the latent variables."""
    q = plan.components
    if not q or plan.assign_limit is None:
        return 0
    said = q + q * (q + 1) // 2
    return 4 * (2 * (1 + q) * box_for_limit(particles, plan.assign_limit) ** 3 + len(particles) * said)


def _stacks(particles: Particles, plan: Plan) -> int:
    """The images that training and assignment use."""
    train_box = min(plan.train_box, particles.box)
    boxes = [train_box]
    if plan.assign_limit is not None and plan.rounds:
        box = box_for_limit(particles, plan.assign_limit)
        boxes += [box] if box > train_box or is_worth_it(box, train_box) else []
    return sum(4 * len(particles) * box**2 for box in boxes)


def _sums(particles: Particles, plan: Plan, diameter: float) -> int:
    """The parts of reconstructions: those of one pass, or of all."""
    padding = oversampling(particles.box, particles.pixel_size, diameter)
    usual = usual_chunk_size(particles.box, padding) if plan.native else USUAL_CHUNK
    chunks = math.ceil(len(particles) / (plan.chunk_size or usual))
    in_consensus, in_round = chunks, (chunks + plan.clusters) * (2 if plan.reconstructs else 1)
    if plan.keep:
        parts = (plan.consensus + plan.anew) * in_consensus + plan.rounds * in_round
    else:
        parts = max(in_consensus * (2 if plan.anew else 1), in_round if plan.rounds else 0)
    return parts * part_bytes(particles.box, padding)
