"""Parts of a particle set, and parts put together again."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.lib.recfunctions import repack_fields
from numpy.typing import ArrayLike, NDArray

from drgnalign.arrays import IntArray
from drgnalign.errors import InputError, InputWarning
from drgnalign.exclusion import excluded_by
from drgnalign.formats.cryosparc import cs_split
from drgnalign.geometry import angular_distance
from drgnalign.half_maps import OF_FILE
from drgnalign.half_sets import UID_COLUMN, ties
from drgnalign.particles import (
    ANGLES,
    CRYOSPARC_TERMS,
    EXCLUDED,
    HALVES,
    LEFT_OUT,
    MIRRORED,
    NEUTRAL_CTF,
    NEUTRAL_OPTICS,
    ORIGINS,
    REFINED_FROM,
    Particles,
)

# What stands for "none of it" where some sets say nothing of it.
NEUTRAL: dict[str, float | str] = {
    "rlnPhaseShift": 0.0,
    MIRRORED: 0,
    **NEUTRAL_CTF,
    **NEUTRAL_OPTICS,
    **{label: f"[{','.join(['0'] * count)}]" for label, count in CRYOSPARC_TERMS.items()},
    # left out by nobody; nothing known against half sets: to lose these marks would take junk back, or noise for signal
    LEFT_OUT: 0,
    EXCLUDED: 0,
    "rlnSelected": 1,
    "rlnEnabled": 1,
    HALVES: OF_FILE,
    REFINED_FROM: 0.0,
}

# Degrees, Å: rows of one image whose poses differ by less are one particle, refined twice. Symmetry expansion turns by
# more, or, along a filament of small twist, moves by more.
SAME_TURN, SAME_SHIFT = 1.0, 1.0


def chosen_rows(
    particles: Particles,
    *,
    clusters: Sequence[int] = (),
    half: int | None = None,
    indices: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    left_out: bool | None = None,
    first: int = 1,
    last: int | None = None,
    numbers: IntArray | None = None,
) -> NDArray[np.bool_]:
    """Which particles meet all conditions given.

    Parameters
    ----------
    particles : Particles
    clusters : sequence of int, optional
        Values of ``rlnClassNumber``.
    half : {1, 2}, optional
        Half set.
    indices : (n,) array_like of int, optional
        Rows, from 0, as cryoDRGN's ``--ind`` has them.
    names : sequence of str, optional
        Of images, as in ``rlnImageName``.
    left_out : bool, optional
        Particles that are left out, or (False) those that are not.
    first, last : int, optional
        Rows, from 1, both included.
    numbers : (N,) int64, optional
        Which row of the file each particle is, from 0, where some were dropped as it was read.

    Returns
    -------
    (N,) bool

    Raises
    ------
    InputError
        The column of a condition is missing, a row is beyond the file, an image is not in it, or nothing is left.

    Warns
    -----
    InputWarning
        Some of the clusters have no particle.
    """
    numbers = np.arange(len(particles)) if numbers is None else numbers
    # by what is wrong where nobody meets them
    conditions: dict[str, NDArray[np.bool_]] = {}
    if clusters:
        conditions[f"no particle is in cluster {_or(clusters)}"] = _in_clusters(particles, clusters)
    if half is not None:
        conditions[f"no particle is in half set {half}"] = _in_half(particles, half)
    if left_out is not None:
        what = "no particle is left out" if left_out else "every particle is left out"
        conditions[what] = _out(particles) == left_out
    if indices is not None:
        conditions["the index file names no row"] = _listed(particles, np.asarray(indices, np.int64), numbers)
    if names is not None:
        conditions["no image is named"] = _named(particles, names)
    conditions["no row is asked for"] = _between(particles, first, last, numbers)
    keep = np.all(list(conditions.values()), axis=0)
    if not keep.any():
        unmet = [what for what, met in conditions.items() if not met.any()]
        why = ", and ".join(unmet) or "each is met by some, all together by none"
        remedy = "correct them"
        if "rlnClassNumber" in particles.table:
            remedy += f"; its clusters (rlnClassNumber) are {_clusters(particles)}"
        raise InputError(particles.path, f"none of its particles meets the conditions: {why}", remedy)
    return keep


def _or(clusters: Sequence[int]) -> str:
    return " or ".join(map(str, sorted(set(clusters))))


def _clusters(particles: Particles) -> str:
    return ", ".join(map(str, np.unique(particles.cluster_labels()).tolist()[:20]))


def _of_value(particles: Particles, label: str, wanted: Sequence[int]) -> NDArray[np.bool_]:
    if label not in particles.table:
        raise InputError(particles.path, f"has no {label}", "give a file with that column")
    return particles.table[label].isin(wanted).to_numpy()


def _in_half(particles: Particles, half: int) -> NDArray[np.bool_]:
    """Which particles are in a half set; of a file of cryoSPARC's with one half set alone that one is 1."""
    split = cs_split(particles)
    if "rlnRandomSubset" not in particles.table and split is not None:
        return split == half - 1
    return _of_value(particles, "rlnRandomSubset", [half])


def _in_clusters(particles: Particles, clusters: Sequence[int]) -> NDArray[np.bool_]:
    """Which particles are in one of some clusters; those that have none are told."""
    keep = _of_value(particles, "rlnClassNumber", clusters)
    empty = set(clusters) - set(particles.table["rlnClassNumber"].unique())
    if empty and keep.any():
        problem = f"no particle is in cluster {_or(list(empty))}; its clusters (rlnClassNumber) are"
        warnings.warn(f"{particles.path}: {problem} {_clusters(particles)}", InputWarning, stacklevel=3)
    return keep


def _out(particles: Particles) -> NDArray[np.bool_]:
    """Whom a run or the file's own program left out."""
    by_its_program = excluded_by(particles)
    if not {LEFT_OUT, EXCLUDED} & set(particles.table) and not by_its_program:
        known = f"{LEFT_OUT}, and nothing by which another program leaves particles out"
        raise InputError(particles.path, f"has no {known}", "give a file with that column, or use --drop")
    return np.any([particles.left_out(), *by_its_program.values()], axis=0)


def _between(particles: Particles, first: int, last: int | None, numbers: IntArray) -> NDArray[np.bool_]:
    count = int(numbers[-1]) + 1
    last = max(count, first) if last is None else last
    if not 1 <= first <= last or (last > count and len(numbers) == count) or first > count:
        problem = f"has {count} rows, {first} to {last} were asked for"
        raise InputError(particles.path, problem, "correct --rows")
    return (numbers + 1 >= first) & (numbers + 1 <= last)


def _listed(particles: Particles, indices: NDArray[np.int64], numbers: IntArray) -> NDArray[np.bool_]:
    count = int(numbers[-1]) + 1
    if indices.size and (indices.min() < 0 or (indices.max() >= count and len(numbers) == count)):
        worst = indices.max() if indices.max() >= count else indices.min()
        problem = f"has {count} rows, the index file asks for row {worst} (from 0)"
        raise InputError(particles.path, problem, "give the index file of these particles")
    return np.isin(numbers, indices)


def _named(particles: Particles, names: Sequence[str]) -> NDArray[np.bool_]:
    own = particles.table["rlnImageName"]
    missing = pd.Index(names).difference(own, sort=False)
    if len(missing):
        problem = f"lacks {missing[0]} ({len(missing)} of the {len(names)} images that are named)"
        raise InputError(particles.path, problem, "give the file that the names are of")
    return own.isin(names).to_numpy()


def merge_particles(
    parts: Sequence[Particles], order: Particles | None = None, *, common_columns: bool = False
) -> Particles:
    """Put particle sets together.

    Parameters
    ----------
    parts : sequence of Particles
    order : Particles, optional
        Has the images of all parts: theirs is the order of the result. Otherwise the parts follow each other. Of rows
        that symmetry expansion made of one image each has the place of the one that is turned least from it.
    common_columns : bool
        Leave out columns and fields that not all parts have, instead of refusing them.

    Returns
    -------
    Particles
        Optics groups that are alike are one; others get new numbers and names where these collide. What only some of
        the sets say, and means "none of it" where it is not said, has its neutral value in the others (`NEUTRAL`).

    Raises
    ------
    InputError
        An image stands in two parts or twice in one, and neither uids nor poses tell that symmetry expansion made its
        rows; columns or fields differ between parts, only a part of the sets
        comes from cryoSPARC, or `order` lacks an image.

    Warns
    -----
    InputWarning
        Groups have got new numbers or names, columns have neutral values or are left out.
    """
    parts = _with_splits(parts)
    if common_columns:
        parts = _with_common_columns(parts)
    _refuse_other_kinds(parts)
    _refuse_gaps(parts)
    parts = _with_neutral_columns(parts)
    optics, groups = _joint_optics(parts)
    tables = [part.table.assign(rlnOpticsGroup=group) for part, group in zip(parts, groups, strict=True)]
    for label in parts[0].table:
        # together they would become floating-point numbers: uids of cryoSPARC are too long for that
        if {table[label].dtype.kind for table in tables} == {"i", "u"}:
            tables = [table.astype({label: np.uint64}) for table in tables]
    table = pd.concat(tables)
    rows = [part.cs_rows for part in parts if part.cs_rows is not None]
    cs_rows = np.concatenate([repack_fields(more[list(rows[0].dtype.names or ())]) for more in rows]) if rows else None
    merged = replace(parts[0], table=table.reset_index(drop=True), optics=optics, cs_rows=cs_rows)
    _refuse_twice(merged, parts, order)
    return merged if order is None else _ordered(merged, order)


def _with_splits(parts: Sequence[Particles]) -> list[Particles]:
    """Parts of cryoSPARC's files of which some are half set 1 alone, which looks like a job that knows none."""
    if not any("rlnRandomSubset" in part.table for part in parts):
        return list(parts)
    complete = []
    for part in parts:
        split = None if "rlnRandomSubset" in part.table else cs_split(part)
        if split is not None and not split.any():
            warnings.warn(f"{part.path}: is taken as half set 1 (split 0), as others say", InputWarning, stacklevel=3)
            part = replace(part, table=part.table.assign(rlnRandomSubset=1))
        complete.append(part)
    return complete


def _with_neutral_columns(parts: Sequence[Particles]) -> list[Particles]:
    """Parts that all have those columns of `NEUTRAL` that one of them has."""
    complete = list(parts)
    for label in NEUTRAL:
        lacking = [part.path for part in parts if label not in part.table]
        if 0 < len(lacking) < len(parts):
            _tell_neutral(label, lacking)
            complete = [
                part if label in part.table else replace(part, table=part.table.assign(**{label: NEUTRAL[label]}))
                for part in complete
            ]
    return complete


def _with_common_columns(parts: Sequence[Particles]) -> list[Particles]:
    """Parts without the columns and fields that not all have and that nothing can stand for; which is told."""
    columns = _not_in_all([map(str, part.table) for part in parts])
    facts = _not_in_all([map(str, part.optics.dropna(axis="columns")) for part in parts]) - {"rlnOpticsGroupName"}
    fields = _not_in_all([part.cs_rows.dtype.names or () for part in parts if part.cs_rows is not None])
    if lost := sorted(columns | facts | fields):
        what = f"{', '.join(lost)}: left out, as not all files have it"
        warnings.warn(f"{_paths(parts)}: {what}", InputWarning, stacklevel=3)
    return [
        replace(
            part,
            table=part.table.drop(columns=list(columns), errors="ignore"),
            optics=part.optics.drop(columns=list(facts), errors="ignore"),
            cs_rows=None if part.cs_rows is None else _without(part.cs_rows, fields),
        )
        for part in parts
    ]


def _without(rows: NDArray[np.void], fields: set[str]) -> NDArray[np.void]:
    return rows[[name for name in rows.dtype.names or () if name not in fields]]


def _not_in_all(columns: Iterable[Iterable[str]]) -> set[str]:
    sets: list[set[str]] = [set(names) for names in columns]
    return {name for name in set().union(*sets) - set(NEUTRAL) if not all(name in names for names in sets)}


def _refuse_other_kinds(parts: Sequence[Particles]) -> None:
    first = parts[0]
    for part in parts[1:]:
        differing = sorted((set(map(str, first.table)) ^ set(map(str, part.table))) - set(NEUTRAL))
        if differing:
            problem = f"has other columns than {first.path}: {', '.join(differing)}"
            remedy = "give files of one kind, or leave out with --common-columns what not all have"
            raise InputError(part.path, problem, remedy)
        if (part.cs_rows is None) != (first.cs_rows is None):
            raise InputError(part.path, f"is of another kind than {first.path}", "give files of one kind")
        fields = [set(rows.dtype.names or ()) for rows in (first.cs_rows, part.cs_rows) if rows is not None]
        if fields and fields[0] != fields[1]:
            problem = f"has other fields than {first.path}: {', '.join(sorted(fields[0] ^ fields[1]))}"
            remedy = "give files of one kind, or leave out with --common-columns what not all have"
            raise InputError(part.path, problem, remedy)


def _tell_neutral(label: str, lacking: Sequence[Path]) -> None:
    message = f"{', '.join(map(str, dict.fromkeys(lacking)))}: {label}, which others say, is {NEUTRAL[label]} there"
    warnings.warn(message, InputWarning, stacklevel=3)


def _refuse_gaps(parts: Sequence[Particles]) -> None:
    """Refuse optics tables that lack what another one says and what nothing can stand for."""
    table, paths = _all_optics(parts)
    gaps = table.drop(columns=["rlnOpticsGroupName", *NEUTRAL], errors="ignore").isna()
    for label in gaps.columns[gaps.any()]:
        missing = gaps[label].to_numpy()
        where = paths[missing.argmax()]
        if len(parts) == 1:
            raise InputError(where, f"its optics table does not say {label} of every group", "add it")
        problem = f"its optics table does not say {label}, which that of another file does"
        raise InputError(where, problem, "add it, or leave it out everywhere with --common-columns")


def _all_optics(parts: Sequence[Particles]) -> tuple[pd.DataFrame, NDArray[np.object_]]:
    """The optics tables below each other, and the file of each row."""
    paths = np.repeat(np.array([part.path for part in parts], object), [len(part.optics) for part in parts])
    return pd.concat([part.optics for part in parts], ignore_index=True), paths


def _complete_optics(parts: Sequence[Particles]) -> pd.DataFrame:
    """The optics tables below each other, without gaps."""
    table, paths = _all_optics(parts)
    for label in table.columns[table.isna().any()]:
        if label == "rlnOpticsGroupName":
            table[label] = table[label].fillna("opticsGroup" + table["rlnOpticsGroup"].astype(str))
            continue
        _tell_neutral(label, paths[table[label].isna()].tolist())
        filled = table[label].fillna(NEUTRAL[label])
        table[label] = filled.astype(np.int64) if isinstance(NEUTRAL[label], int) else filled
    return table


def _unique_names(names: pd.Series) -> list[str]:
    """Names of optics groups; those that came before get a number."""
    unique: list[str] = []
    for name in names.astype(str):
        number, candidate = 1, name
        while candidate in unique:
            number += 1
            candidate = f"{name}_{number}"
        unique.append(candidate)
    return unique


def _paths(parts: Sequence[Particles]) -> str:
    return f"{parts[0].path} and {len(parts) - 1:,} more" if len(parts) > 1 else str(parts[0].path)


def _joint_optics(parts: Sequence[Particles]) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """One optics table, and the group of each part's particles in it."""
    tables = _complete_optics(parts)
    facts = [label for label in tables if label not in ("rlnOpticsGroup", "rlnOpticsGroupName")]
    alike = tables.groupby(["rlnOpticsGroupName", *facts] if "rlnOpticsGroupName" in tables else facts, dropna=False)
    first_of = alike["rlnOpticsGroup"].transform(lambda rows: rows.index[0]).to_numpy(np.int64)
    kept = np.unique(first_of)
    numbers = tables["rlnOpticsGroup"].to_numpy().copy()
    if len(np.unique(numbers[kept])) < len(kept):
        numbers[kept] = np.arange(1, len(kept) + 1)
        warnings.warn(
            f"{_paths(parts)}: optics groups of one number differ: all got new numbers", InputWarning, stacklevel=3
        )
    start, groups = 0, []
    for part in parts:
        groups.append(numbers[first_of[start + part.optics_rows()]])
        start += len(part.optics)
    optics = tables.iloc[kept].assign(rlnOpticsGroup=numbers[kept]).reset_index(drop=True)
    if "rlnOpticsGroupName" in optics and optics["rlnOpticsGroupName"].duplicated().any():
        optics["rlnOpticsGroupName"] = _unique_names(optics["rlnOpticsGroupName"])
        warnings.warn(
            f"{_paths(parts)}: optics groups of one name differ: some got new names", InputWarning, stacklevel=3
        )
    return optics, groups


def _rows(particles: Particles) -> pd.Index:
    """What tells each row from others: number and stack of its image, however many zeros its number has; uids, where
    symmetry expansion made several rows of one."""
    if UID_COLUMN in particles.table and ties(particles).keys() >= {"source images"}:
        return pd.Index(particles.table[UID_COLUMN])
    numbers, stacks = particles.image_locations()
    return pd.Index([f"{number}@{stack}" for number, stack in zip(numbers.tolist(), stacks, strict=True)])


def _refuse_twice(merged: Particles, parts: Sequence[Particles], order: Particles | None) -> None:
    """Refuse rows that come twice: of one image, unless symmetry expansion made them, as the same image several times
    in one file shows; rows are then the same where their poses are nearly."""
    rows = _rows(merged)
    twice = rows.duplicated()
    sources = [*parts, *([] if order is None else [order])]
    expanded = _has_poses(sources) and any(_rows(source).has_duplicates for source in sources)
    if expanded:
        twice = _same_pose(merged, rows)
    if not twice.any():
        return
    row = int(twice.argmax())
    part = parts[int(np.searchsorted(np.cumsum([len(part) for part in parts]), row, side="right"))]
    came = f"holds {merged.table['rlnImageName'].iloc[row]}, which came before"
    problem = f"{came} ({twice.sum()} such images)"
    if expanded:
        problem = f"{came} with nearly the same pose ({twice.sum()} such rows)"
    remedy = "give each particle once"
    if not expanded and merged.cs_rows is None:
        remedy = "give each particle once; if symmetry expansion made these rows, give the expanded file with --like"
    raise InputError(part.path, problem, remedy)


def _has_poses(sources: Sequence[Particles]) -> bool:
    return all({*ANGLES, *ORIGINS} <= set(source.table) for source in sources)


def _same_pose(particles: Particles, rows: pd.Index) -> NDArray[np.bool_]:
    """Which particles (N,) have the image (by `_rows`) and nearly the pose of an earlier one."""
    codes = pd.factorize(rows)[0]
    order = np.argsort(codes, kind="stable")
    codes, rotations = codes[order], particles.rotations()[order]
    origins = particles.table[ORIGINS].to_numpy(np.float64)[order]
    same = np.zeros(len(order), np.bool_)
    for lag in range(1, int(np.bincount(codes).max())):
        first = np.flatnonzero(codes[lag:] == codes[:-lag])
        turned = angular_distance(rotations[first], rotations[first + lag])
        moved = np.hypot(*(origins[first] - origins[first + lag]).T)
        same[order[first + lag][(turned < SAME_TURN) & (moved < SAME_SHIFT)]] = True
    return same


def _ordered(merged: Particles, order: Particles) -> Particles:
    rows, all_rows = _rows(merged), _rows(order)
    missing = ~rows.isin(all_rows)
    if missing.any():
        name = merged.table["rlnImageName"].iloc[int(missing.argmax())]
        problem = f"lacks {name} ({missing.sum()} such images)"
        raise InputError(order.path, problem, "give the file that the parts come from")
    if all_rows.has_duplicates and not _has_poses([merged, order]):
        raise InputError(order.path, "holds an image twice", "give the file that the parts come from")
    places = _places(merged, order) if all_rows.has_duplicates else all_rows.get_indexer(rows)
    return replace(merged.select(np.argsort(places, kind="stable")), path=order.path)


def _places(merged: Particles, order: Particles) -> IntArray:
    """Which row of `order` each (N,) is: of those of its image the one that is turned least from it.

    Raises
    ------
    InputError
        Two rows would be the same one.
    """
    codes, images = pd.factorize(_rows(order))
    in_order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes)
    mine = images.get_indexer(_rows(merged))
    begin = (np.cumsum(counts) - counts)[mine]
    own, given = merged.rotations(), order.rotations()
    places, least = np.zeros(len(merged), np.int64), np.full(len(merged), np.inf)
    for lag in range(int(counts.max())):
        rows = np.flatnonzero(lag < counts[mine])
        candidates = in_order[begin[rows] + lag]
        turned = angular_distance(own[rows], given[candidates])
        nearer = turned < least[rows]
        places[rows[nearer]], least[rows[nearer]] = candidates[nearer], turned[nearer]
    again = pd.Series(places).duplicated().to_numpy()
    if again.any():
        name = merged.table["rlnImageName"].iloc[int(again.argmax())]
        problem = f"which of its rows of {name} is which cannot be told by their orientations ({again.sum()} such rows)"
        raise InputError(order.path, problem, "leave --like out: the files then follow each other")
    return places
