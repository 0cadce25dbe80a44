"""Latent space for the page: a sample of the particles, the same in all rounds, and the density of all of them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.arrays import IntArray
from drgnalign.colours import LEFT_OUT_COLOUR, LEFT_OUT_LABEL, PALETTE, UNASSIGNED_COLOUR
from drgnalign.errors import InputError
from drgnalign.formats.star import read_star
from drgnalign.report.figures import labels_by_round
from drgnalign.report.packed import in_steps, packed, packed_names, packed_words
from drgnalign.report.reading import WHOLE
from drgnalign.run.latent import EMBEDDING, EMBEDDING_RECORD, EmbeddingRecord, places_along
from drgnalign.run.record import read_record
from drgnalign.run.state import LATENT, PARTICLES, round_name

# Particles that are shown, and in all rounds together: many rounds have fewer, for the page must stay small.
SAMPLE, SHOWN = 50_000, 300_000
# Steps that the extent of a UMAP is divided into: one is turned, not looked at closely, in three dimensions.
STEPS = {"umap2": 65_535, "umap3": 1_023}
# Hexagons along the first principal component, and percentiles of the particles that they cover.
HEXAGONS, COVERED = 36, (0.1, 99.9)
SELECTION = "selection.csv"
COLOURS = {"clusters": list(PALETTE), "unassigned": UNASSIGNED_COLOUR, "left_out": LEFT_OUT_COLOUR}
# What a label has more than its byte, in which −1, left out, is the first.
LABEL_OFFSET = 1


def embedded_points(folders: Mapping[int, Path], facts: Mapping[str, Any]) -> dict[str, Any]:
    """UMAPs of a sample of the particles in every round, and the density along the principal components of all.

    Parameters
    ----------
    folders : mapping of int to Path
        Folders of the passes by their numbers: ``particles.star``, and of rounds ``latent/`` with ``embedding.csv`` and
        ``embedding.json``.
    facts : mapping
        ``rounds`` of `drgnalign.report.facts.run_facts`: ``number`` and ``pass`` of each.

    Returns
    -------
    dict
        JSON-ready. ``particles``, of all; ``sample``, of those shown; ``palette``, the clusters' colours; ``names``,
        the images of those shown, one a line; ``select``, the command for a selection; ``rounds``: of each ``number``,
        ``labels`` (a byte each: 0 left out, 1 unassigned, else cluster + 1), ``umap2`` and ``umap3`` (16 bits a
        coordinate, one axis after the other; `drgnalign.report.packed`), ``steps`` (what the widest axis of each is
        divided into), and ``pca`` (`density`).
        Without rounds ``rounds`` is empty.

    Raises
    ------
    InputError
        A file is missing, or two are not of the same particles.
    """
    rounds = {entry["number"]: folders[entry["pass"]] for entry in facts["rounds"] if entry["number"]}
    if not rounds:
        return {"particles": 0, "sample": 0, "palette": COLOURS, "names": packed_names([]), "select": "", "rounds": []}
    last = read_star(rounds[max(rounds)] / PARTICLES)
    by_round = labels_by_round(rounds, last)
    labels = by_round[max(rounds)]
    rows = stratified(labels, min(SAMPLE, SHOWN // len(rounds)))
    names = last.table["rlnImageName"].iloc[rows]
    return {
        "particles": len(labels),
        "sample": len(rows),
        "palette": COLOURS,
        "names": packed_names(names),
        "select": _select(facts.get("results"), max(rounds)),
        "rounds": [_round(number, folder, rows, by_round[number], len(labels)) for number, folder in rounds.items()],
    }


def _select(results: str | None, number: int) -> str:
    """The command that takes the selected particles out of a round's, in the folder of the results or elsewhere."""
    particles = Path(results or "") / round_name(number) / PARTICLES
    return shlex.join(["drgnalign", "select", str(particles), "--names", SELECTION, "-o", "selection.star"])


def stratified(labels: IntArray, sample: int, seed: int = 0) -> IntArray:
    """Rows of a sample: small clusters are in it whole, of the others as large a share of each.

    Parameters
    ----------
    labels : (N,) int
    sample : int
        Rows that are wanted; all, where there are no more.
    seed : int

    Returns
    -------
    (n,) int64
        In rising order.
    """
    if len(labels) <= sample:
        return np.arange(len(labels))
    random = np.random.default_rng(seed)
    names, sizes = np.unique(labels, return_counts=True)
    # together at most half of the sample
    whole = sizes <= sample // (2 * len(names))
    share = (sample - sizes[whole].sum()) / sizes[~whole].sum()
    taken = np.where(whole, sizes, np.floor(sizes * share).astype(np.int64))
    members = [
        random.choice(np.flatnonzero(labels == name), size, False) for name, size in zip(names, taken, strict=True)
    ]
    return np.sort(np.concatenate(members))


def density(pcs: NDArray[np.floating], pc1: NDArray[np.floating], explained: list[float]) -> dict[str, Any]:
    """Particles in hexagons over the first two principal components.

    Parameters
    ----------
    pcs : (N, 2) float array
    pc1 : (6, 2) float array
        The points that are decoded.
    explained : list of float
        Share of the variance that each component explains.

    Returns
    -------
    dict
        ``width`` of a hexagon, ``cells``: [x and y of its centre, particles]; ``points``: the decoded ones;
        ``explained``. Particles beyond 99.8 % of the others count in no cell: ``outside`` are so many.
    """
    low, high = np.percentile(pcs, COVERED, axis=0)
    width = float(max(high[0] - low[0], 1e-6)) / HEXAGONS
    inside = ((pcs >= low) & (pcs <= high)).all(axis=1)
    centres, counts = np.unique(_nearest_centres(pcs[inside] / width), axis=0, return_counts=True)
    return {
        "width": width,
        "cells": [
            [round(float(x), 4), round(float(y), 4), int(count)]
            for (x, y), count in zip(centres * _LATTICE * width, counts, strict=True)
        ],
        "points": pc1.round(4).tolist(),
        "explained": [round(value, 4) for value in explained],
        "outside": int((~inside).sum()),
    }


# Half the distance of hexagons along x and along y: a row is shifted by half a hexagon against the next.
_LATTICE = np.array([0.5, np.sqrt(0.75)])


def _nearest_centres(points: NDArray[np.floating]) -> IntArray:
    """Of hexagons of width 1, in halves of columns and in rows: the nearer one of two rectangular lattices' points."""
    places = points / _LATTICE
    even = np.stack([2 * np.rint(places[:, 0] / 2), 2 * np.rint(places[:, 1] / 2)], axis=1)
    odd = np.stack([2 * np.rint((places[:, 0] - 1) / 2) + 1, 2 * np.rint((places[:, 1] - 1) / 2) + 1], axis=1)
    away = [np.square((places - lattice) * _LATTICE).sum(axis=1) for lattice in (even, odd)]
    return np.where((away[0] <= away[1])[:, None], even, odd).astype(np.int64)


def _round(number: int, folder: Path, rows: IntArray, labels: IntArray, particles: int) -> dict[str, Any]:
    path = folder / LATENT / EMBEDDING
    table = _coordinates(path)
    for of, count in ((path, len(table)), (folder / PARTICLES, len(labels))):
        if count != particles:
            raise InputError(of, f"it is of {count} particles, the last round of {particles}", "run again")
    explained = read_record(EmbeddingRecord, folder / LATENT / EMBEDDING_RECORD).explained_variance
    shown = table.iloc[rows]
    umaps = {kind: shown.filter(regex=f"^{kind}_").to_numpy() for kind in STEPS}
    return {
        "number": number,
        "labels": packed((labels[rows] + LABEL_OFFSET).astype(np.uint8).tobytes()),
        **{kind: packed_words(_steps(points, STEPS[kind])) for kind, points in umaps.items()},
        "steps": STEPS,
        "pca": _pca(table, labels != LEFT_OUT_LABEL, explained),
    }


def _coordinates(path: Path) -> pd.DataFrame:
    """Of ``embedding.csv``, what is shown."""
    try:
        table = pd.read_csv(path, usecols=_is_shown, dtype=np.float32)
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read ({error})", WHOLE) from error
    missing = [f"{kind}_{axis}" for kind in STEPS for axis in range(1, int(kind[-1]) + 1)]
    missing = [column for column in ["pc1", *missing] if column not in table]
    if missing:
        raise InputError(path, f"has no column {missing[0]}", WHOLE)
    broken = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(broken):
        raise InputError(path, f"row {broken[0] + 1} has coordinates that are no numbers", WHOLE)
    return table


def _is_shown(column: str) -> bool:
    return column in ("pc1", "pc2") or column.startswith("umap")


def _steps(points: NDArray[np.float32], steps: int) -> NDArray[np.uint16]:
    """Coordinates, one axis after the other, in steps of the widest axis, in the middle of their range."""
    low, high = points.min(axis=0), points.max(axis=0)
    middle, reach = (low + high) / 2, max(float((high - low).max()) / 2, 1e-6)
    return in_steps(points - middle, -reach, reach, steps).astype(np.uint16).T


def _pca(table: pd.DataFrame, fitted: NDArray[np.bool_], explained: list[float]) -> dict[str, Any] | None:
    """None where latent space has one dimension."""
    if "pc2" not in table:
        return None
    pcs = table[["pc1", "pc2"]].to_numpy()
    fitted = fitted if fitted.any() else np.ones_like(fitted)
    along = places_along(pcs[fitted, 0])
    return density(pcs, np.column_stack([along, np.zeros_like(along)]), explained)
