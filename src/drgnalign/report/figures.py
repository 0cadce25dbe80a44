"""Figures of a run: latent space and FSC of each round, resolution and labels over the rounds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline
from matplotlib.patheffects import withStroke

from drgnalign.arrays import FloatArray, IntArray
from drgnalign.colours import LEFT_OUT_LABEL, PALETTE, cluster_colour
from drgnalign.errors import InputError
from drgnalign.files import atomic_path
from drgnalign.formats.star import read_star
from drgnalign.particles import Particles
from drgnalign.report.summary import halves_note, read_passes, summary_table
from drgnalign.run.latent import EMBEDDING, read_points
from drgnalign.run.records import PassMetrics
from drgnalign.run.state import CONSENSUS, FSC, LATENT, PARTICLES, pass_folders, round_name
from drgnalign.validation.fsc import THRESHOLD

DPI = 150
# Clusters beyond the palette's end share a colour with an earlier one, but neither line nor marker.
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D")
SIGNS = {0: "–", LEFT_OUT_LABEL: "×"}
NAMES = {0: "unassigned", LEFT_OUT_LABEL: "left out"}
CONSENSUS_COLOUR = "black"
# Å, of the labels on frequency axes.
ROUND_RESOLUTIONS = (1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 60, 100, 200)
# Inches, of the UMAP's panel.
UMAP_HEIGHTS = (3.0, 6.0)
# In columns of the label flow, in units of their distance and of all particles.
BAR_WIDTH = 0.12
BAR_GAP = 0.025


def write_figures(folder: Path, outdir: Path) -> list[Path]:
    """Draw the figures of a run after its last pass as PNG; those of earlier rounds were drawn after these.

    ``umap_round_NN.png`` and ``fsc_round_NN.png`` of the last pass's round (00 is the consensus, which has no UMAP),
    ``resolution_by_round.png``, and ``label_flow.png`` if there were rounds. What comes of joint references, now or
    in an earlier pass, says "halves not independent".

    Parameters
    ----------
    folder : Path
        Holds the passes, see `drgnalign.report.summary.read_passes`; each with ``particles.star`` and
        ``fsc.csv``, those of rounds also with ``latent/embedding.csv``.
    outdir : Path
        An existing folder.

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        A file is missing or two do not belong together.
    """
    passes, folders = read_passes(folder), pass_folders(folder)
    last, note = passes[-1], halves_note(passes)
    number, files = last.round, folders[last.number]
    particles = read_star(files / PARTICLES)
    title = _title("Resolution by round", note)
    figures = {"resolution_by_round": resolution_figure(passes, particles.pixel_size, title)}
    name = f"Round {number}" if number else "Consensus"
    title = _title(f"{name}: FSC of half maps, corrected for the mask", note)
    fsc = _read_fsc(files / FSC)
    figures[f"fsc_{round_name(number)}"] = fsc_figure(fsc, _sizes(passes), particles.pixel_size, title)
    if number:
        labels = labels_by_round({one.round: folders[one.number] for one in passes if one.round}, particles)
        points = _read_umap(files / LATENT / EMBEDDING, len(particles))
        kept = int((labels[number] != LEFT_OUT_LABEL).sum())
        of_them = "" if kept == len(points) else f"; shares are of the {kept:,} kept"
        title = _title(f"{name}: UMAP of latent space, {len(points):,} particles{of_them}", note)
        figures[f"umap_{round_name(number)}"] = umap_figure(points, labels[number], title)
        figures["label_flow"] = label_flow_figure(labels, _title("Clusters from round to round", note))
    return [save_figure(figure, outdir / f"{name}.png") for name, figure in figures.items()]


def shown_labels(particles: Particles) -> IntArray:
    """Clusters, and −1 of who is left out."""
    return np.where(particles.left_out(), LEFT_OUT_LABEL, particles.cluster_labels())


def labels_by_round(folders: Mapping[int, Path], last: Particles) -> dict[int, IntArray]:
    """What `shown_labels` says of each round, by its number.

    Parameters
    ----------
    folders : mapping of int to path
        Of the rounds, by their numbers.
    last : Particles
        Of the last of them, which is not read again.
    """
    return {
        number: shown_labels(last if number == max(folders) else read_star(folder / PARTICLES))
        for number, folder in folders.items()
    }


def umap_figure(points: FloatArray, labels: IntArray, title: str) -> Figure:
    """Particles on the two-dimensional UMAP in the colours of their clusters.

    Parameters
    ----------
    points : (N, 2) float64
    labels : (N,) int64
        0 = unassigned, −1 = left out (seen amid those that are nearest in latent space).
    title : str

    Returns
    -------
    Figure
    """
    across, up = np.ptp(points, axis=0)
    # of the points' own shape: a panel of another one would be empty in part
    figure, axes = canvas(8.5, float(np.clip(6.0 * up / max(across, 1e-6), *UMAP_HEIGHTS)) + 0.5, title)
    names, index = np.unique(labels, return_inverse=True)
    colours = np.array([cluster_colour(name) for name in names])[index]
    # Those in no cluster lie behind; the others in random order, lest the last cluster hide the rest.
    order = np.random.default_rng(0).permutation(len(points))
    order = np.concatenate([order[labels[order] <= 0], order[labels[order] > 0]])
    area = min(300 / np.sqrt(len(points)), 20)
    axes.scatter(points[order, 0], points[order, 1], c=colours[order], s=area, linewidths=0, rasterized=True)
    for label in names[names > 0]:
        middle = np.median(points[labels == label], axis=0)
        axes.annotate(str(label), middle, ha="center", va="center", weight="bold", path_effects=_halo())
    # Distances mean the same along both axes.
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xlabel="UMAP 1", ylabel="UMAP 2", xticks=[], yticks=[])
    sizes = {name: int((labels == name).sum()) for name in sorted(names.tolist(), key=_place)}
    # as in the report: who is left out is in no state
    kept = sum(size for name, size in sizes.items() if name != LEFT_OUT_LABEL)
    shares = {name: "" if name == LEFT_OUT_LABEL else f" ({size / kept:.1%})" for name, size in sizes.items()}
    _legend(figure, [_dot(name, f"{size:,}{shares[name]}") for name, size in sizes.items()])
    return figure


def fsc_figure(fsc: pd.DataFrame, sizes: Mapping[str, int], pixel_size: float, title: str) -> Figure:
    """Corrected FSC of each cluster over spatial frequency, with the limits that alignment used as ticks.

    Parameters
    ----------
    fsc : DataFrame
        ``fsc.csv`` of `drgnalign.run.merge.merge_references`.
    sizes : mapping of str to int
        Particles by ``cluster`` of `fsc`.
    pixel_size : float
        Å/px.
    title : str

    Returns
    -------
    Figure
    """
    figure, axes = canvas(9, 5.5, title)
    nyquist = 0.5 / pixel_size
    axes.axhline(0, color="0.8", linewidth=0.8)
    threshold_line(axes, THRESHOLD, f"{THRESHOLD}")
    curves = {str(name): shells.sort_values("shell") for name, shells in fsc.groupby("cluster")}
    handles = []
    for name in sorted(curves, key=_number):
        frequency = 1 / curves[name]["resolution_angstrom"]
        correlation = curves[name]["fsc_corrected"]
        axes.plot(frequency, correlation, **_style(name))
        limit = pd.to_numeric(curves[name]["alignment_limit_angstrom"], errors="coerce").iloc[0]
        if limit > 0:
            height = np.interp(1 / limit, frequency, correlation)
            axes.plot(1 / limit, height, "|", markersize=12, markeredgewidth=2, color=_style(name)["color"])
        # A curve that never falls below the threshold bounds the resolution only.
        bound = "≤ " if correlation.min() >= THRESHOLD else ""
        resolution = curves[name]["resolution_0143_angstrom"].iloc[0]
        claim = f"{bound}{resolution:.2f} Å" if np.isfinite(resolution) else "no resolution"
        text = f"{_words(name)} ({sizes[name]:,}): {claim}"
        handles.append(Line2D([], [], label=text, **_style(name)))
    axes.set(xlim=(0, nyquist), ylim=(min(-0.05, fsc["fsc_corrected"].min()), 1.05), ylabel="FSC")
    axes.set_xlabel("Resolution (Å), up to Nyquist")
    resolution_ticks(axes.xaxis, 0, nyquist)
    _legend(figure, [*handles, _sign("|", "limit of alignment")])
    return figure


def resolution_figure(passes: list[PassMetrics], pixel_size: float, title: str) -> Figure:
    """Resolution of each cluster, and the limit that its alignment used, in every pass.

    Parameters
    ----------
    passes : list of dict
        Of `drgnalign.report.summary.read_passes`.
    pixel_size : float
        Å/px.
    title : str

    Returns
    -------
    Figure
    """
    figure, axes = canvas(max(7.0, 4 + 0.9 * len(passes)), 5.5, title)
    table = summary_table(passes).set_index("pass")
    places = pd.Index([metrics.number for metrics in passes])
    names = sorted(table["cluster"].unique(), key=_number)
    clusters = [name for name in names if name != CONSENSUS]
    for name in names:
        # Side by side, for many clusters have the same limit.
        shift = 0.0 if name == CONSENSUS else 0.6 * ((clusters.index(name) + 0.5) / len(clusters) - 0.5)
        # Empty, and so a gap in the line, where there was no such cluster or it was skipped.
        own = table[table["cluster"] == name].reindex(places)
        x = np.arange(len(places)) + shift
        limits = pd.to_numeric(own["alignment_limit_angstrom"], errors="coerce")
        axes.plot(x, 1 / own["resolution_angstrom"], marker=_marker(name), markersize=5, **_style(name))
        axes.plot(x, 1 / limits, "_", markersize=12, markeredgewidth=2, color=_style(name)["color"])
    nyquist = 0.5 / pixel_size
    threshold_line(axes, nyquist, f"Nyquist, {2 * pixel_size:.3g} Å")
    axes.set(xlim=(-0.5, len(places) - 0.5), ylabel="Resolution at FSC 0.143 (Å)")
    axes.set_xticks(range(len(places)), _pass_words(passes))
    # Room for a few labels even where all values are the same, and for the word above the line.
    bottom = min(axes.get_ylim()[0], 0.7 * nyquist)
    axes.set_ylim(bottom, nyquist + 0.08 * (nyquist - bottom))
    resolution_ticks(axes.yaxis, bottom, nyquist)
    handles = [Line2D([], [], marker=_marker(name), label=_words(name), **_style(name)) for name in names]
    _legend(figure, [*handles, _sign("_", "limit of alignment")])
    return figure


def label_flow_figure(labels: Mapping[int, IntArray], title: str) -> Figure:
    """Sankey diagram of the particles' clusters: a column a round, bands as wide as the particles they carry.

    Parameters
    ----------
    labels : mapping of int to (N,) int64
        Labels by round, of the same particles, 0 = unassigned, −1 = left out.
    title : str

    Returns
    -------
    Figure
    """
    rounds = sorted(labels)
    figure, axes = canvas(max(5.0, 2 + 1.8 * len(rounds)), 6.5, title)
    columns = [_column(labels[number]) for number in rounds]
    for place in range(len(rounds) - 1):
        before, after = labels[rounds[place]], labels[rounds[place + 1]]
        _draw_bands(axes, place, pd.crosstab(before, after), columns[place], columns[place + 1])
    for place, column in enumerate(columns):
        for label, (top, size) in column.items():
            left = place - BAR_WIDTH / 2
            axes.add_patch(Rectangle((left, top), BAR_WIDTH, size, color=cluster_colour(label)))
            middle = top + size / 2
            text = SIGNS.get(label, str(label))
            axes.text(place, middle, text, ha="center", va="center", weight="bold", path_effects=_halo())
            axes.text(left + BAR_WIDTH, middle, f" {size:,}", va="center", size="small", path_effects=_halo())
    axes.set_xticks(range(len(rounds)), [f"round {number}" for number in rounds])
    axes.set(xlim=(-0.2, len(rounds) - 0.5), yticks=[])
    axes.autoscale(axis="y")
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    signs = "; ".join(f"{sign}: {NAMES[label]}" for label, sign in SIGNS.items())
    axes.set_xlabel(f"Clusters with their particles; {signs}")
    return figure


def _column(labels: IntArray) -> dict[int, tuple[int, int]]:
    """Top and height, in particles, of each cluster's bar; those in no cluster at the bottom."""
    names, sizes = np.unique(labels, return_counts=True)
    sizes_by_name = dict(zip(names.tolist(), sizes.tolist(), strict=True))
    column, top = {}, 0
    for name in sorted(sizes_by_name, key=_place):
        column[name] = top, sizes_by_name[name]
        top += sizes_by_name[name] + round(BAR_GAP * len(labels))
    return column


def _place(label: int) -> tuple[bool, int]:
    """In the order of the clusters; then who is unassigned, then who is left out."""
    return label <= 0, abs(label)


def _draw_bands(
    axes: Axes,
    place: int,
    shared: pd.DataFrame,
    before: dict[int, tuple[int, int]],
    after: dict[int, tuple[int, int]],
) -> None:
    """Bands between the columns at `place` and the next, of the particles that two clusters share."""
    left, right = place + BAR_WIDTH / 2, place + 1 - BAR_WIDTH / 2
    middle = place + 0.5
    arrivals = {label: top for label, (top, _) in after.items()}
    rows, columns = ({label: i for i, label in enumerate(axis)} for axis in shared.axes)
    curve = [Outline.CURVE4] * 3
    for source, (start, _) in before.items():
        for target in after:
            width = int(shared.to_numpy()[rows[source], columns[target]])
            end = arrivals[target]
            corners = [(left, start), (middle, start), (middle, end), (right, end)]
            corners += [(right, end + width), (middle, end + width), (middle, start + width), (left, start + width)]
            outline = Outline(corners, [Outline.MOVETO, *curve, Outline.LINETO, *curve])
            axes.add_patch(PathPatch(outline, color=cluster_colour(source), alpha=0.45, linewidth=0))
            start += width
            arrivals[target] += width


def canvas(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """A figure, in inches, that does not pass through pyplot: no global state, no screen needed."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    return figure, axes


def _title(text: str, note: str) -> str:
    return f"{text}\n{note}" if note else text


def _legend(figure: Figure, handles: list[Line2D]) -> None:
    figure.legend(handles=handles, loc="outside right upper", frameon=False)


def threshold_line(axes: Axes, height: float, text: str) -> None:
    axes.axhline(height, color="0.4", linewidth=0.8, linestyle="--")
    # Across the axes in their own fraction, along them in data; lifted above markers that stand on the line.
    place: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "xytext": (-4, 5), "textcoords": "offset points"}
    axes.annotate(text, (1, height), ha="right", va="bottom", color="0.4", **place)


def resolution_ticks(axis: Axis, lowest: float, highest: float) -> None:
    """Label an axis in 1/Å with round values in Å that are far enough apart to read."""
    ticks: list[float] = []
    for angstrom in ROUND_RESOLUTIONS:
        inside = lowest <= 1 / angstrom <= highest * (1 + 1e-9)
        if inside and (not ticks or 1 / ticks[-1] - 1 / angstrom > 0.06 * (highest - lowest)):
            ticks.append(angstrom)
    axis.set_ticks([1 / angstrom for angstrom in ticks], labels=[f"{angstrom:g}" for angstrom in ticks])


def _number(name: str) -> int:
    """Label of a cluster from its name; 0 for the consensus."""
    return 0 if name == CONSENSUS else int(name.rpartition("_")[2])


def _words(name: str) -> str:
    return name if name == CONSENSUS else f"cluster {_number(name)}"


def _style(name: str) -> dict[str, Any]:
    label = _number(name)
    if label == 0:
        return {"color": CONSENSUS_COLOUR, "linestyle": "-", "linewidth": 1.0}
    return {"color": cluster_colour(label), "linestyle": _of_lap(LINES, label), "linewidth": 1.8}


def _marker(name: str) -> str:
    return _of_lap(MARKERS, max(_number(name), 1))


def _of_lap(choices: tuple[str, ...], label: int) -> str:
    """The one for the how-manieth time that the palette is gone through."""
    return choices[(label - 1) // len(PALETTE) % len(choices)]


def _dot(label: int, text: str) -> Line2D:
    name = NAMES.get(label, f"cluster {label}")
    return Line2D([], [], marker="o", linestyle="", color=cluster_colour(label), label=f"{name}: {text}")


def _sign(marker: str, text: str) -> Line2D:
    return Line2D([], [], marker=marker, linestyle="", markersize=12, markeredgewidth=2, color="0.4", label=text)


def _halo() -> list[withStroke]:
    return [withStroke(linewidth=2.5, foreground="white")]


def _pass_words(passes: list[PassMetrics]) -> list[str]:
    consensus = sum(metrics.round == 0 for metrics in passes)
    first = ["consensus"] if consensus == 1 else [f"consensus\n{number}" for number in range(1, consensus + 1)]
    return first + [f"round {metrics.round}" for metrics in passes[consensus:]]


def _sizes(passes: list[PassMetrics]) -> dict[str, int]:
    """Particles by cluster of the last pass; of the consensus, whose FSC is carried along, as it was made."""
    consensus = {CONSENSUS: passes[-1].particles}
    made = [*(metrics for metrics in passes if not metrics.round), passes[-1]]
    return consensus | {entry.cluster: entry.particles for metrics in made for entry in metrics.clusters}


def _read_fsc(path: Path) -> pd.DataFrame:
    _require(path)
    return pd.read_csv(path)


def _read_umap(path: Path, particles: int) -> FloatArray:
    _require(path)
    points = read_points(path, "umap2")
    if len(points) != particles:
        raise InputError(path, f"it is of {len(points)} particles, {PARTICLES} of {particles}", "run again")
    return points


def _require(path: Path) -> None:
    if not path.is_file():
        raise InputError(path, "no such file", "give the folder of all passes")


def save_figure(figure: Figure, path: Path) -> Path:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI)
    return path
