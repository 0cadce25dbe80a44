"""Figures of a comparison with known maps and models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from drgnalign.colours import PALETTE
from drgnalign.known.compare import MODEL_THRESHOLD
from drgnalign.known.comparison import CURVES, RESIDUES
from drgnalign.known.records import ChainRecord, ComparisonRecord, PairRecord
from drgnalign.report.figures import DPI, resolution_ticks, save_figure, threshold_line

MATRIX, FSC = "comparison.png", "fsc_{cluster}.png"
ALONG = "chains_{cluster}__{reference}.png"
# Present, absent, and what cannot be told; the null's width in its standard deviations.
VERDICTS, NULL_WIDTH = {True: ("#117733", "o"), False: ("#882255", "x"), None: ("#8A8A8A", "s")}, 3.0
# More names of chains than this stand on their heads.
UPRIGHT = 12


def write_known_figures(record: ComparisonRecord, folder: Path) -> list[Path]:
    """Draw a comparison beside its tables.

    Parameters
    ----------
    record : ComparisonRecord
    folder : Path
        As `drgnalign.known.comparison.compare_all` leaves it.

    Returns
    -------
    list of Path
        A table of mean FSC, curves for each map, and for each model in a map what of it is there, along its chains.
    """
    figures = {MATRIX: matrix_figure(record)}
    curves = pd.read_csv(folder / CURVES)
    for cluster in record.clusters:
        mine = curves[curves["cluster"] == cluster.cluster]
        if len(mine):
            figures[FSC.format(cluster=cluster.cluster)] = curves_figure(mine, record.of_cluster(cluster.cluster))
    if record.chains:
        residues = pd.read_csv(
            folder / RESIDUES, dtype={"chain": str}, keep_default_na=False, na_values={"q_score": ""}
        )
        for (name, reference), table in residues.groupby(["cluster", "reference"], sort=False):
            chains = [one for one in record.chains if (one.cluster, one.reference) == (name, reference)]
            figures[ALONG.format(cluster=name, reference=reference)] = chains_figure(chains, table)
    return [save_figure(figure, folder / name) for name, figure in figures.items()]


def matrix_figure(record: ComparisonRecord) -> Figure:
    """Mean FSC of each map with each reference; what was assigned is framed, what was not found is empty."""
    references = list(dict.fromkeys(one.reference for one in record.pairs))
    clusters = [one.cluster for one in record.clusters]
    figure = Figure(figsize=(2.5 + 1.1 * len(references), 1.8 + 0.5 * len(clusters)), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    values = np.full((len(clusters), len(references)), np.nan)
    for pair in record.pairs:
        row, column = clusters.index(pair.cluster), references.index(pair.reference)
        values[row, column] = np.nan if pair.mean_fsc is None else pair.mean_fsc
        if pair.assigned:
            axes.plot(column, row, "s", markersize=26, markerfacecolor="none", markeredgecolor="black")
        text = "not found" if pair.mean_fsc is None else f"{pair.mean_fsc:.3f}"
        dark = (pair.mean_fsc or 0) > 0.6
        axes.annotate(text, (column, row), ha="center", va="center", color="white" if dark else "black", fontsize=8)
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(references)), references, rotation=30, ha="right")
    axes.set_yticks(range(len(clusters)), clusters)
    axes.set_title("Mean FSC with each reference, up to the map's resolution")
    return figure


def curves_figure(curves: pd.DataFrame, pairs: Sequence[PairRecord]) -> Figure:
    """Corrected FSC of one map with each reference that was found in it."""
    figure = Figure(figsize=(9, 5), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for number, (reference, table) in enumerate(curves.groupby("reference", sort=False)):
        pair = next(one for one in pairs if one.reference == reference)
        label = f"{reference}{' (assigned)' if pair.assigned else ''}: {pair.mean_fsc:.3f}"
        width = 2.2 if pair.assigned else 1.2
        colour = PALETTE[number % len(PALETTE)]
        axes.plot(1 / table["resolution_angstrom"], table["fsc_corrected"], color=colour, linewidth=width, label=label)
    highest = float(1 / curves["resolution_angstrom"].min())
    threshold_line(axes, MODEL_THRESHOLD, f"{MODEL_THRESHOLD}")
    axes.set(
        xlim=(0, highest), ylim=(min(-0.05, curves["fsc_corrected"].min()), 1.05), ylabel="FSC, map with reference"
    )
    axes.set_xlabel("Resolution (Å), up to Nyquist")
    resolution_ticks(axes.xaxis, 0, highest)
    axes.set_title(f"{pairs[0].cluster} with known maps and models, under one mask, corrected for it")
    figure.legend(loc="outside right upper", frameon=False, title="mean FSC")
    return figure


def chains_figure(chains: Sequence[ChainRecord], residues: pd.DataFrame) -> Figure:
    """Occupancy of each chain beside its null, and of segments, and Q-scores, along the chains."""
    figure = Figure(figsize=(max(8.0, min(0.16 * len(chains) + 3, 24)), 9), dpi=DPI, layout="constrained")
    whole, along, scores = figure.subplots(3, 1)
    _occupancies(whole, chains)
    names = [one.chain for one in chains]
    _along(along, names, residues, "occupancy", "Occupancy by segment")
    threshold_line(along, 1.0, "whole")
    _along(scores, names, residues, "q_score", "Q-score")
    scores.set_xlabel("Residues, chain after chain")
    figure.suptitle(f"{chains[0].reference} in {chains[0].cluster}")
    return figure


def _occupancies(axes: Axes, chains: Sequence[ChainRecord]) -> None:
    places = np.arange(len(chains))
    middle = np.array([one.null_mean for one in chains])
    width = NULL_WIDTH * np.array([one.null_deviation for one in chains])
    axes.bar(places, 2 * width, bottom=middle - width, color="0.85", label=f"shuffled places, ± {NULL_WIDTH:g} σ")
    for verdict, (colour, marker) in VERDICTS.items():
        mine = [number for number, one in enumerate(chains) if one.present is verdict]
        words = {True: "present", False: "absent", None: "cannot be told"}[verdict]
        heights = [chains[number].occupancy for number in mine]
        axes.plot(mine, heights, marker, color=colour, markersize=4, label=f"{words}: {len(mine)}")
    axes.set_xticks(places, [one.chain for one in chains], rotation=90 if len(chains) > UPRIGHT else 0, fontsize=6)
    axes.set(ylabel="Occupancy by density", xlim=(-1, len(chains)))
    threshold_line(axes, 1.0, "whole")
    axes.legend(frameon=False, ncols=4, fontsize=7, loc="lower left")


def _along(axes: Axes, chains: Sequence[str], residues: pd.DataFrame, column: str, words: str) -> None:
    start = 0
    for number, chain in enumerate(chains):
        values = residues.loc[residues["chain"] == chain, column].to_numpy(float)
        axes.plot(start + np.arange(len(values)), values, color=PALETTE[number % 2], linewidth=0.8)
        start += len(values)
    axes.axhline(0, color="0.8", linewidth=0.8)
    axes.set(ylabel=words, xlim=(0, max(start, 1)))
