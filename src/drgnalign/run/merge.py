"""Bring a pass's clusters together again: one particle table, one folder of references."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.errors import DrgnalignError
from drgnalign.files import atomic_path
from drgnalign.formats.star import read_star
from drgnalign.particles import ANGLES, ORIGINS, REFINED_FROM, Particles
from drgnalign.run.plan import PassReport
from drgnalign.run.state import (
    CONSENSUS,
    CURVE,
    FSC,
    MASK,
    NOISE,
    OWN_MASK,
    beside,
    cluster_label,
    map_files,
    read_used_labels,
    write_used_labels,
)

REFINED_COLUMNS = ["drgnScoreBefore", "drgnScore", "drgnAccepted", "drgnRotationChange", "drgnShiftChange"]
# Scores that the Frealigns weight particles with in the next pass.
FREALIGN_COLUMNS = "drgnFrealign"


def merge_chunks(labelled: Particles, refined: Sequence[Path]) -> Particles:
    """Put refined rows back in the order of the input.

    Parameters
    ----------
    labelled : Particles
        All particles, as they went into the pass.
    refined : sequence of Path
        Star files with refined chunks; rows are found by ``drgnRow``.

    Returns
    -------
    Particles
        Rows that are in no chunk keep their poses; their refinement columns are those of their last refinement, or
        NaN if there never was one.

    Raises
    ------
    DrgnalignError
        A row comes back twice, or is none of the set's.
    """
    table = labelled.table.copy()
    position = pd.Index(table["drgnRow"])
    seen = np.zeros(len(table), dtype=bool)
    found, chunks = [], []
    for path in sorted(refined, key=lambda p: p.name):
        chunk = read_star(path).table
        rows = position.get_indexer(chunk["drgnRow"])
        if (rows < 0).any() or seen[rows].any() or len(np.unique(rows)) < len(rows):
            raise DrgnalignError(
                path, "it holds particles twice, or some that are not of this pass", "run without -resume"
            )
        seen[rows] = True
        kept = (*REFINED_COLUMNS, REFINED_FROM)
        scores = [c for c in map(str, chunk) if c in kept or c.startswith(FREALIGN_COLUMNS)]
        found.append(rows)
        chunks.append(chunk[[*ANGLES, *ORIGINS, *scores]])
    if chunks:
        _fill_in(table, np.concatenate(found), pd.concat(chunks))
    return Particles(table, labelled.optics, labelled.path)


def _fill_in(table: pd.DataFrame, rows: NDArray[np.int64], refined: pd.DataFrame) -> None:
    """Put refined values into some rows of a table; columns that it lacks are NaN elsewhere."""
    for label in map(str, refined):
        values = table[label].to_numpy(np.float64, copy=True) if label in table else np.full(len(table), np.nan)
        values[rows] = refined[label].to_numpy(np.float64)
        table[label] = values


def merge_references(
    previous: Path,
    maps: Path,
    plan: pd.DataFrame,
    report: PassReport,
    outdir: Path,
    named: Iterable[int] = (),
    mask: Path | None = None,
    halves: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Gather the pass's maps beside the consensus and the noise spectrum.

    Parameters
    ----------
    previous : Path
        References folder of the last pass (see `drgnalign.run.state`).
    maps : Path
        Folder with the pass's maps.
    plan : DataFrame
        Of `drgnalign.run.split.split_clusters`.
    report : PassReport
    outdir : Path
        The next references folder.
    named : iterable of int
        Labels of clusters that had a name, but have no map: the images did not choose them a second time.
    mask : Path, optional
        That all maps of the pass share; without it the consensus of the pass made its own.
    halves : mapping of str to str, optional
        What the half sets of each cluster are worth (`drgnalign.half_maps.standing`); as the report says without it.

    Returns
    -------
    DataFrame
        FSC of every cluster and shell, with the limit that its alignment used and whether halves were independent.
    """
    outdir.mkdir()
    names = sorted(set(plan["cluster"]))
    kept = [NOISE] if CONSENSUS in names else [NOISE, *map_files(previous, CONSENSUS)]
    for file in kept:
        _place(previous / file, outdir / file)
    for name in names:
        for file in map_files(maps, name):
            _place(maps / file, outdir / file)
    if mask is None:
        _place(beside(outdir / CONSENSUS, OWN_MASK), outdir / MASK)
    else:
        shutil.copyfile(mask, outdir / MASK)  # no link: the user's own may be changed
    tables = [] if CONSENSUS in names else [_consensus_rows(previous)]
    for name in names:
        table = pd.read_csv(beside(maps / name, CURVE))
        table.insert(0, "cluster", name)
        table["alignment_limit_angstrom"] = plan.loc[plan["cluster"] == name, "limit"].iloc[0]
        table["halves"] = (halves or {}).get(name, report.halves)
        tables.append(table)
    used = read_used_labels(previous) | {cluster_label(name) for name in names if name != CONSENSUS} | {*named}
    write_used_labels(used, outdir)
    fsc = pd.concat(tables, ignore_index=True)
    with atomic_path(outdir / FSC) as temporary:
        fsc.to_csv(temporary, index=False, float_format="%.6g")
    return fsc


def _place(source: Path, target: Path) -> None:
    """A hard link where the file system allows it (maps are never changed in place), else a copy."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _consensus_rows(references: Path) -> pd.DataFrame:
    table = pd.read_csv(references / FSC)
    return table[table["cluster"] == CONSENSUS]
