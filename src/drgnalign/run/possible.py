"""What a run asks for, held against the particles: what cannot be is refused before anything is begun."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from drgnalign.errors import InputError
from drgnalign.half_maps import FEWEST_IN_HALF, smaller_half
from drgnalign.particles import Particles
from drgnalign.run.inputs import LabelsRecord

# Some particles match no map, and are left out, or are of a cluster of their own: in each half set of each cluster so
# many are needed at the start that its half maps can be made.
FEWEST_AT_START = 2 * FEWEST_IN_HALF
# px; a sphere of less has no shape that a pose could be told by.
SMALLEST_DIAMETER = 4.0
# Å³ a dalton, of protein.
PROTEIN_VOLUME = 1.21


def refuse_too_few(particles: Particles, clusters: int, proposed: int) -> None:
    """Refuse more clusters than there are particles for.

    Parameters
    ----------
    particles : Particles
    clusters : int
        Most that there are to be.
    proposed : int
        Most that the latent space is asked for.

    Raises
    ------
    InputError
        A half set has fewer than 20 particles, or than 10 for each cluster, or there are fewer particles than clusters
        proposed.
    """
    smaller = smaller_half(particles.half_sets())
    needed = max(FEWEST_AT_START, FEWEST_IN_HALF * clusters)
    has = f"it has {len(particles):,} particles, {smaller:,} of them in the smaller half set"
    if smaller < FEWEST_AT_START:
        remedy = f"give {needed:,} particles or more in each half set, best some thousands"
        raise InputError(particles.path, f"{has}: too few for any map", remedy)
    if smaller < needed:
        problem = f"{has}; {clusters:,} clusters need {needed:,} there, {FEWEST_IN_HALF} each"
        remedy = f"give --k {smaller // FEWEST_IN_HALF} or less, or more particles"
        raise InputError(particles.path, problem, remedy)
    if proposed > len(particles):
        problem = f"it has {len(particles):,} particles, fewer than {proposed:,} clusters to start from"
        raise InputError(particles.path, problem, "give a smaller --k or --k_start")


def refuse_more_labels(labels: LabelsRecord, wanted: int | None) -> None:
    """Refuse labels of more clusters than the images would keep.

    Raises
    ------
    InputError
    """
    number = len(labels.clusters)
    if wanted is not None and number > wanted:
        problem = f"has {number} clusters, and --k {wanted} keeps no more than {wanted}"
        raise InputError(Path(labels.file), problem, f"give --k {number}, or auto")


def refuse_impossible_sizes(
    particles: Particles, mask_diameter: float | None, mass_kda: float | None, perturb_shift: float
) -> None:
    """Refuse a particle that the box cannot hold, or that is no larger than its pixels.

    Parameters
    ----------
    particles : Particles
    mask_diameter : float, optional
        Å.
    mass_kda : float, optional
    perturb_shift : float
        Å.

    Raises
    ------
    InputError
    """
    width = particles.box * particles.pixel_size
    refuse_diameter(particles, mask_diameter, "--mask_diameter")
    room = min(mask_diameter or math.inf, width)
    if mass_kda is not None and ball_of(mass_kda) > room:
        problem = f"--mass_kda {mass_kda:g} is a ball of {ball_of(mass_kda):.0f} Å at least, larger than {room:g} Å"
        where = "--mask_diameter" if mask_diameter is not None else "the box"
        raise InputError(particles.path, problem, f"give the mass of one particle in kDa, or correct {where}")
    if perturb_shift > width / 2:
        problem = f"--perturb_shift {perturb_shift:g} Å moves particles out of their box of {width:g} Å"
        raise InputError(particles.path, problem, f"give less than {width / 2:g} Å")


def refuse_diameter(particles: Particles, diameter: float | None, option: str) -> None:
    """Refuse a diameter (Å) that the box cannot hold, or that is no larger than its pixels; `option` gave it.

    Raises
    ------
    InputError
    """
    pixel, width = particles.pixel_size, particles.box * particles.pixel_size
    if diameter is not None and not SMALLEST_DIAMETER * pixel <= diameter <= width:
        problem = f"{option} {diameter:g} Å is larger than the box ({width:g} Å)"
        if diameter < width:
            problem = f"{option} {diameter:g} Å is less than {SMALLEST_DIAMETER:g} pixels of {pixel:g} Å"
        raise InputError(particles.path, problem, "give the particle's diameter in Å")


def ball_of(mass_kda: float) -> float:
    """Diameter in Å of a ball of protein, 1.21 Å³ a dalton (Harpaz, Gerstein & Chothia 1994)."""
    return float(np.cbrt(6 / math.pi * PROTEIN_VOLUME * 1000 * mass_kda))
