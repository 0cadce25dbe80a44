"""Half sets: what must not be divided between them, how they are dealt, and what they are worth after a pass.

Rows that show the same noise belong in one half set, else noise alone makes their maps agree. Half sets that are
dealt at import are not independent at once either: the poses may come from one map of all particles, to which noise
was aligned too. They become so as far as that is forgotten. 2,000 images (64 px at 4 Å) were
aligned to one map four or eight times, down to 10 Å, and dealt into half sets (``benchmarks/half_sets.py``, three
seeds). Noise alone claimed 9.7 Å then, where it claimed anything; images with a particle at signal-to-noise .005 9.7
to 9.8 Å for 18 to 19 Å. To refine each half set against its own map to what was claimed changed little: 10.0 to 10.4 Å
after four passes. A pass at a coarser limit L moves poses by so much that the finer shells no longer fit. The finest
claim then, in that pass and two or three more at finer limits, was

====  =====  ===  ======  ===  ========
L, Å  noise       .005         true, Å
====  =====  ===  ======  ===  ========
14    10.1   1.4  10.2    1.4  18 to 19
18    13.6   1.3  13.4    1.3  18 to 20
24    20.1   1.2  14.2    1.7  18 to 20
30    22.3   1.3  19.2    1.6  21
40    23.1   1.7  21.7    1.8  24 to 26
====  =====  ===  ======  ===  ========

with L over it beside. At signal-to-noise .02, where claims were finer than half of L, 66 times, they were the truth
within 8 %, but for one of 15.5 Å for 17.2 Å right after a pass at 40 Å. So a figure counts as one of independent
halves where it is finer by a factor of two than the coarsest limit to which the poses were refined, each half set
against its own map. It is the rule of the gold standard: halves are independent beyond the resolution that their first
reference had.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from drgnalign.errors import InputError
from drgnalign.formats.mrc import find_stack
from drgnalign.particles import (
    DEALT_AT_IMPORT,
    HALVES,
    INDEPENDENT,
    NOT_INDEPENDENT,
    REFINED_FROM,
    IntArray,
    Particles,
)
from drgnalign.stack_names import identity
from drgnalign.validation.claims import FORGETS

# In the optics table: dealt at import; one image in both; both aligned to one map. Nothing else is known of the others.
DEALT, SHARED, JOINT = "dealt", "shared", "joint"
# Share of a cluster's particles that may have been refined to a finer limit only.
NOT_REFINED = 0.1
# Columns with the name of the image that a row's own was made of: by subtraction, in a new stack, or of a movie.
ORIGINALS = ["rlnImageOriginalName", "rlnOriginalParticleName"]
# Of cryoSPARC's files.
UID_COLUMN, SOURCE_UID_COLUMN = "drgnCryosparcUid", "drgnCryosparcSourceUid"
UID, SOURCE_UID, FILAMENT_UID = "uid", "sym_expand/src_uid", "filament/filament_uid"


def ties(particles: Particles, root: Path | None = None) -> dict[str, IntArray]:
    """What rows have in common that must not be divided between half sets.

    Parameters
    ----------
    particles : Particles
    root : Path, optional
        Folder that relative stack names refer to: stacks are then told apart by the files that they are.

    Returns
    -------
    dict of (N,) int64
        By kind, the number of what a row belongs to; −1 where the table does not say. ``images`` (stack and number),
        ``source images`` (what symmetry expansion, subtraction or a copy of the stack made several of), ``places``
        (micrograph and coordinates), ``filaments`` (micrograph and tube).
    """
    table = particles.table
    _, stacks = particles.image_locations()
    # by their own names: the folder is that of the job that aligned the movies, and there may be several of one movie
    names = table["rlnMicrographName"].astype(str).str.rpartition("/")[2] if "rlnMicrographName" in table else None
    micrographs = stacks if names is None else names.to_numpy(object)
    named = [label for label in ORIGINALS if label in table]
    images, *originals = _image_numbers([table[label] for label in ("rlnImageName", *named)], root)
    found = {"images": images}
    uids = _uid_numbers(particles)
    if uids or any((numbers >= 0).any() for numbers in originals):
        found["source images"] = _joined([images, *originals], uids)
    if {"rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"} <= set(table):
        x, y = (table[label].to_numpy() for label in ("rlnCoordinateX", "rlnCoordinateY"))
        # a column that is filled with one value says nothing
        if len(pd.unique(x)) > 1 or len(pd.unique(y)) > 1:
            found["places"] = _numbers(micrographs, x, y)
    tubes = _tubes(particles)
    if tubes is not None:
        found["filaments"] = _numbers(micrographs, tubes)
    return found


def together(tied: dict[str, IntArray]) -> IntArray:
    """Number (N,) of what rows belong together by, whatever the kind; from 0 in the order of the first row of each."""
    return _joined(*([numbers] for numbers in tied.values()))


def deal(tied: dict[str, IntArray], random: np.random.Generator) -> IntArray:
    """Deal half sets (N,), 1 or 2, at random and as evenly as what belongs together allows.

    Parameters
    ----------
    tied : dict of (N,) int64
        Of `ties`.
    random : Generator

    Raises
    ------
    InputError
        All rows belong together.
    """
    units = together(tied)
    sizes = np.bincount(units)
    if len(sizes) < 2:
        problem = f"half sets cannot be dealt: all {len(units):,} particles are of one image, place or filament"
        raise InputError(None, problem, "give particles of several")
    halves, dealt = np.zeros(len(sizes), np.int64), np.zeros(3, np.int64)
    for size in np.unique(sizes)[::-1]:
        alike = np.flatnonzero(sizes == size)
        smaller = int(dealt[2] < dealt[1])
        halves[alike] = random.permutation((np.arange(len(alike)) + smaller) % 2 + 1)
        dealt += size * np.bincount(halves[alike], minlength=3)
    return halves[units]


def in_both(tied: dict[str, IntArray], halves: IntArray) -> dict[str, int]:
    """How many of each kind stand in both half sets; kinds of which none does are left out."""
    counts = {}
    for kind, numbers in tied.items():
        seen = np.zeros((3, numbers.max(initial=-1) + 2), np.bool_)
        seen[halves, numbers] = True
        counts[kind] = int((seen[1] & seen[2])[:-1].sum())
    return {kind: count for kind, count in counts.items() if count}


def marked(particles: Particles, mark: str) -> Particles:
    """Particles whose optics table says what their half sets are worth; those dealt are refined to no limit yet."""
    table = particles.table.assign(**{REFINED_FROM: 0.0}) if mark == DEALT else particles.table
    return replace(particles, table=table, optics=particles.optics.assign(**{HALVES: mark}))


def refined_at(particles: Particles, limit: float) -> Particles:
    """Particles after a pass of each half set against its own map, up to `limit` Å; those left out were not in it."""
    if REFINED_FROM not in particles.table:
        return particles
    coarsest = np.fmax(particles.table[REFINED_FROM].to_numpy(np.float64), np.where(particles.left_out(), 0.0, limit))
    return replace(particles, table=particles.table.assign(**{REFINED_FROM: coarsest}))


def standing(particles: Particles, members: NDArray[np.bool_], resolution: float | None) -> str:
    """What the resolution of some particles' half maps is worth, by what is known of their half sets.

    Parameters
    ----------
    particles : Particles
    members : (N,) bool
    resolution : float or None
        Å; None where the half maps do not agree.

    Returns
    -------
    str
        ``independent``, ``dealt at import`` or ``not independent``.
    """
    marks = set(particles.optics[HALVES]) if HALVES in particles.optics else set()
    if marks & {SHARED, JOINT}:
        return NOT_INDEPENDENT
    if DEALT not in marks:
        return INDEPENDENT
    if resolution is None or REFINED_FROM not in particles.table or not members.any():
        return DEALT_AT_IMPORT
    coarsest = np.nan_to_num(particles.table[REFINED_FROM].to_numpy(np.float64)[members])
    forgotten = FORGETS * resolution <= np.quantile(coarsest, NOT_REFINED)
    return INDEPENDENT if forgotten else DEALT_AT_IMPORT


def worst(standings: list[str]) -> str:
    """Of several half maps together."""
    return next((word for word in (NOT_INDEPENDENT, DEALT_AT_IMPORT) if word in standings), INDEPENDENT)


def _image_numbers(columns: list[pd.Series], root: Path | None) -> list[IntArray]:
    """Images by number, the same in all columns of names; −1 for what is no image's name."""
    parts = [column.astype(str).str.partition("@") for column in columns]
    files: dict[str, str] = {}
    for part in parts:
        files |= {name: _file(name, root) for name in pd.unique(part[2]) if name not in files}
    known = [(part[0].str.isdecimal() & (part[2] != "")).to_numpy(bool) for part in parts]
    numbers = np.concatenate(
        [np.where(good, part[0], "0").astype(np.int64) for part, good in zip(parts, known, strict=True)]
    )
    stacks = np.concatenate([part[2].map(files).to_numpy(object) for part in parts])
    codes = np.where(np.concatenate(known), _numbers(stacks, numbers), -1)
    return np.split(codes, len(columns))


def _file(name: str, root: Path | None) -> str:
    return os.path.normpath(name) if root is None else str(identity(find_stack(name, root)))


def _uid_numbers(particles: Particles) -> list[IntArray]:
    """Particles of cryoSPARC by number: a row's own, and the one that symmetry expansion made it of."""
    rows, table = particles.cs_rows, particles.table
    names = () if rows is None else rows.dtype.names or ()
    if rows is not None and {UID, SOURCE_UID} <= set(names):
        own, source = (rows[name].astype(np.uint64) for name in (UID, SOURCE_UID))
    elif {UID_COLUMN, SOURCE_UID_COLUMN} <= set(table):
        own, source = (table[label].to_numpy().astype(np.uint64) for label in (UID_COLUMN, SOURCE_UID_COLUMN))
    else:
        return []
    return np.split(_numbers(np.concatenate([own, np.where(source == 0, own, source)])), 2)


def _tubes(particles: Particles) -> NDArray | None:
    if "rlnHelicalTubeID" in particles.table:
        return particles.table["rlnHelicalTubeID"].to_numpy()
    rows = particles.cs_rows
    return rows[FILAMENT_UID] if rows is not None and FILAMENT_UID in (rows.dtype.names or ()) else None


def _numbers(*columns: NDArray) -> IntArray:
    """Rows of alike values by number."""
    codes = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        own, values = pd.factorize(column, use_na_sentinel=False)
        codes = pd.factorize(codes * len(values) + own)[0]
    return codes


def _joined(*kinds: list[IntArray]) -> IntArray:
    """Which rows belong together by any kind, from 0 in the order of the first of each; the columns of a kind have
    numbers of the same things, −1 for none."""
    count = len(kinds[0][0])
    # rows are joined to the things, which come after them
    size, rows, things = count, [], []
    for columns in kinds:
        for numbers in columns:
            mine = np.flatnonzero(numbers >= 0)
            rows.append(mine)
            things.append(size + numbers[mine])
        size += max((int(numbers.max(initial=-1)) + 1 for numbers in columns), default=0)
    first, second = np.concatenate(rows), np.concatenate(things)
    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(size, size))
    return pd.factorize(connected_components(graph, directed=False)[1][:count])[0]
