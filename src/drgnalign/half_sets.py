"""Half sets: what must not be divided between them, and how they are dealt.

Rows that show the same noise belong in one half set, else noise alone makes their maps agree. What half sets that
were dealt are worth is another matter (`drgnalign.half_maps`).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from drgnalign.arrays import IntArray
from drgnalign.errors import InputError
from drgnalign.files import identity
from drgnalign.formats.mrc import find_stack
from drgnalign.particles import ANGLES, DEFOCUS, ORIGINS, PIXEL_ORIGINS, Particles

# Columns with the name of the image that a row's own was made of: by subtraction, in a new stack, or of a movie.
ORIGINALS = ["rlnImageOriginalName", "rlnOriginalParticleName"]
# The folder of a job of RELION or cryoSPARC in a path.
JOB = re.compile(r"(?<![^/])(?:job|J)\d+/")
POSE = [*ANGLES, *ORIGINS]
# Pairs of rows with one pose that are too few to be expected.
CHANCE = 0.01
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
        (micrograph and coordinates), ``filaments`` (micrograph and tube), ``poses`` (with the CTF, to the last digit,
        of several images, where that cannot be chance: as of a copied stack).
    """
    table = particles.table
    _, stacks = particles.image_locations()
    named_so = "rlnMicrographName" in table
    micrographs = _without_jobs(table["rlnMicrographName"]) if named_so else stacks
    named = [label for label in ORIGINALS if label in table]
    images, *originals = _image_numbers([table[label] for label in ("rlnImageName", *named)], root)
    found = {"images": images}
    uids = _uid_numbers(particles)
    if uids or any((numbers >= 0).any() for numbers in originals):
        found["source images"] = _joined([images, *originals], uids)
    if {"rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"} <= set(table):
        x, y = (pd.to_numeric(table[label], errors="coerce") for label in ("rlnCoordinateX", "rlnCoordinateY"))
        # what is filled with one value, or with zeros, says nothing
        known = (x.notna() & y.notna() & ((x != 0) | (y != 0))).to_numpy()
        if x[known].nunique() > 1 or y[known].nunique() > 1:
            found["places"] = np.where(known, _numbers(micrographs, x.to_numpy(), y.to_numpy()), -1)
    tubes = _tubes(particles)
    if tubes is not None:
        # they count from 1
        known = ~pd.isna(tubes) & (tubes != 0)
        # one for all is that of one filament in each micrograph, if these are named
        if len(pd.unique(tubes[known])) > (0 if named_so and "rlnHelicalTubeID" in table else 1):
            found["filaments"] = np.where(known, _numbers(micrographs, tubes), -1)
    poses = _pose_numbers(table, images)
    if poses is not None:
        found["poses"] = poses
    return found


def _without_jobs(column: pd.Series) -> NDArray[np.object_]:
    """Names of micrographs without the folder of the job that aligned them: there may be several of one movie."""
    codes, names = pd.factorize(column.astype(str))
    return np.array([JOB.sub("", name) for name in names], object)[codes]


def _pose_numbers(table: pd.DataFrame, images: IntArray) -> IntArray | None:
    """By number (N,), poses and CTF that several images have to the last digit; −1 for the others.

    None where that may be chance: more than `CHANCE` such pairs are to be expected of values that are as often alike as
    these, where directions, turns, shifts and CTF have nothing to do with each other.
    """
    if not set(POSE) <= set(table):
        return None
    ctf = [label for label in DEFOCUS if label in table]
    columns = {label: table[label].to_numpy(np.float64) for label in [*POSE, *ctf]}
    hashes = np.zeros(len(table), np.uint64)
    for column in columns.values():
        # a zero has no sign
        hashes = hashes * np.uint64(31) + pd.util.hash_array(column + 0.0)
    # who was never aligned has a pose of zeros
    known = np.any([columns[label] != 0 for label in POSE], axis=0) & np.isfinite(sum(columns.values()))
    rows = np.flatnonzero(pd.Series(hashes).duplicated(keep=False).to_numpy() & known)
    keys = _numbers(hashes[rows])
    several = pd.Series(images[rows]).groupby(keys).transform("nunique").to_numpy() > 1
    if not several.any():
        return None
    known_rows = np.flatnonzero(known)
    pairs = len(known_rows) * (len(known_rows) - 1) / 2
    kinds = [ANGLES[:2], ANGLES[2:], *([label] for label in ORIGINS), *([ctf] if ctf else [])]
    expected = pairs
    for labels in kinds:
        counts = np.bincount(_numbers(*(columns[label][known_rows] for label in labels))).astype(np.float64)
        expected *= (counts * (counts - 1)).sum() / (2 * pairs)
    if expected > CHANCE:
        return None
    numbers = np.full(len(table), -1)
    numbers[rows[several]] = keys[several]
    return numbers


def together(tied: dict[str, IntArray]) -> IntArray:
    """Number (N,) of what rows belong together by, whatever the kind; from 0 in the order of the first row of each."""
    return _joined(*([numbers] for numbers in tied.values()))


def deal(tied: dict[str, IntArray], random: np.random.Generator, path: Path | None = None) -> IntArray:
    """Deal half sets (N,), 1 or 2, at random and as evenly as what belongs together allows.

    Parameters
    ----------
    tied : dict of (N,) int64
        Of `ties`.
    random : Generator
    path : Path, optional
        The particle file, which a refusal names.

    Raises
    ------
    InputError
        All rows belong together.
    """
    units = together(tied)
    sizes = np.bincount(units)
    if len(sizes) < 2:
        problem = f"half sets cannot be dealt: all {len(units):,} particles are of one image, place or filament"
        raise InputError(path, problem, "give particles of several")
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


def sharing(particles: Particles, tied: dict[str, IntArray]) -> str:
    """What is said of half sets that hold rows of the same, of particles that are in maps; empty where none do."""
    kept = ~particles.left_out()
    shared = in_both({kind: numbers[kept] for kind, numbers in tied.items()}, particles.half_sets()[kept])
    counts = ", ".join(f"{count:,} {kind}" for kind, count in shared.items())
    remedy = "give --half_sets deal to have them dealt anew, or remove the copies"
    return f"both half sets hold rows of the same {counts}: they are not independent; {remedy}" if shared else ""


def repeats(particles: Particles, tied: dict[str, IntArray]) -> str:
    """What is said of rows that have the image of another one, of particles that are in maps; empty where none do."""
    kept = np.flatnonzero(~particles.left_out())
    images = tied["images"][kept]
    same = pd.Series(images).duplicated(keep=False).to_numpy()
    if not same.any():
        return ""
    poses = [particles.table[label].to_numpy()[kept] for label in (*POSE, *PIXEL_ORIGINS) if label in particles.table]
    copies = np.zeros(len(particles), np.bool_)
    copies[kept] = pd.Series(_numbers(images, *poses)).duplicated().to_numpy()
    what = f"{same.sum():,} of {len(particles):,} rows have the image of another row"
    what += f" ({len(np.unique(images[same])):,} images)"
    if not copies.any():
        return f"{what}, at another pose: meant after symmetry expansion; otherwise remove the copies"
    what += f", {copies.sum():,} of them the pose of an earlier one too: such particles count several times"
    command = particles.dropping(copies)
    return f"{what}; remove the copies{f': {command}' if command else ''}"


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
    graph = scipy.sparse.coo_array((np.ones(len(first), np.int8), (first, second)), shape=(size, size))
    return pd.factorize(scipy.sparse.csgraph.connected_components(graph, directed=False)[1][:count])[0]
