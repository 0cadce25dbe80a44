"""Particles that the program which wrote a file had left out: they stay in the file, and are in nothing else.

FrealignX and cisTEM 2 leave a particle out of maps where its activity (INCLUDE) is below 0 or its occupancy is 0, as
cisTEM's source has it (``reconstruct3d.cpp``); Frealign 9 counts particles by their occupancy, and takes no notice of
FILM, which stands where INCLUDE does. RELION's viewer writes rlnSelected 0 for what was not selected, XMIPP rlnEnabled
below 1 for what was switched off.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.arrays import FloatArray
from drgnalign.errors import InputError, InputWarning
from drgnalign.particles import EXCLUDED, Particles

# Percent.
WHOLE_OCCUPANCY = 100.0


class Rule(NamedTuple):
    """How files call what decides, and which values leave a particle out."""

    what: str
    leaves_out: Callable[[FloatArray], NDArray[np.bool_]]


OCCUPANCY_COLUMN, ACTIVITY_COLUMN = "drgnFrealignOcc", "drgnFrealignInclude"
RULES = {
    ACTIVITY_COLUMN: Rule("INCLUDE < 0 (the activity)", lambda values: values < 0),
    OCCUPANCY_COLUMN: Rule("an occupancy of 0", lambda values: values == 0),
    "rlnSelected": Rule("rlnSelected 0", lambda values: values == 0),
    "rlnEnabled": Rule("rlnEnabled below 1", lambda values: values < 1),
}


def excluded_by(particles: Particles) -> dict[str, NDArray[np.bool_]]:
    """Whom (N,) the program of a file left out, by the column that says so; without columns that leave out nobody."""
    found = {}
    for label, rule in RULES.items():
        if label in particles.table:
            values = pd.to_numeric(particles.table[label], errors="coerce").to_numpy(np.float64)
            found[label] = rule.leaves_out(values)
    return {label: mine for label, mine in found.items() if mine.any()}


def with_excluded(particles: Particles) -> Particles:
    """Particles with ``drgnExcluded``, where some are left out by the program that their file comes from.

    Parameters
    ----------
    particles : Particles

    Raises
    ------
    InputError
        Nobody is left.

    Warns
    -----
    InputWarning
        How many are left out, and by what; or that occupancies between 0 and 100 % are not used.
    """
    found = excluded_by(particles)
    _tell_occupancies(particles)
    out = np.any([particles.excluded(), *found.values()], axis=0)
    if not out.any():
        return particles
    reasons = ", ".join(f"{mine.sum():,} by {RULES[label].what}" for label, mine in found.items())
    reasons = reasons or f"as {EXCLUDED} says"
    told = f"{out.sum():,} of {len(particles):,} particles are left out by the file's own program ({reasons})"
    if out.all():
        raise InputError(particles.path, told, "correct the column, or remove it")
    warnings.warn(f"{particles.path}: {told}: they are in no map, training or statistic", InputWarning, stacklevel=3)
    return marked_excluded(particles)


def marked_excluded(particles: Particles) -> Particles:
    """Particles with ``drgnExcluded`` where their file's program left some out; of which nothing is told."""
    out = np.any([particles.excluded(), *excluded_by(particles).values()], axis=0)
    if not out.any():
        return particles
    return replace(particles, table=particles.table.assign(**{EXCLUDED: out.astype(np.int64)}))


def partly_occupied(particles: Particles) -> NDArray[np.bool_]:
    """Which particles (N,) have an occupancy between 0 and 100 %, as of one class of several."""
    if OCCUPANCY_COLUMN not in particles.table:
        return np.zeros(len(particles), np.bool_)
    shares = particles.table[OCCUPANCY_COLUMN].to_numpy(np.float64)
    return (shares > 0) & (shares < WHOLE_OCCUPANCY)


def occupancy_warning(particles: Particles) -> str:
    """What is to be said of occupancies; empty where there is nothing."""
    partly = int(partly_occupied(particles).sum())
    told = f"{partly:,} particles have occupancies between 0 and 100 %, as of one class of several"
    return f"{told}: they are not used, every particle counts as a whole one" if partly else ""


def _tell_occupancies(particles: Particles) -> None:
    told = occupancy_warning(particles)
    if told:
        warnings.warn(f"{particles.path}: {told}", InputWarning, stacklevel=4)
