"""Small pictures of a cluster for the page: slices of its map, its views, defoci and posteriors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

from drgnalign.formats.mrc import read_volume

# Pixels that a slice is shown at most, and dots per inch of the other pictures; of small ones less.
WIDTH, SMALL_WIDTH = 192, 96
DPI, SMALL_DPI = 110, 64
# Grey values of a slice: black and white at these percentiles of the map.
DARK, BRIGHT = 1.0, 99.7


def slice_images(path: Path, small: bool = False) -> list[bytes]:
    """Central slices of a map across z, y and x, PNG: white is density, one scale for the three."""
    volume, _ = read_volume(path)
    middle = len(volume) // 2
    # a large map in steps: it is looked at, not measured
    step = -(-len(volume) // (SMALL_WIDTH if small else WIDTH))
    low, high = np.percentile(volume[::step, ::step, ::step], (DARK, BRIGHT))
    slices = (volume[middle], volume[:, middle], volume[:, :, middle])
    return [_grey(one[::step, ::step], low, max(high, low + 1e-9)) for one in slices]


def _grey(image: NDArray[np.float32], low: float, high: float) -> bytes:
    with BytesIO() as file:
        imsave(file, image, vmin=low, vmax=high, cmap="gray", origin="lower", format="png")
        return file.getvalue()


def views_image(counts: Sequence[Sequence[int]], small: bool = False) -> bytes:
    """Particles by direction of view: azimuth across, height up."""
    figure, axes = _plot()
    extent = (-180, 180, -1, 1)
    # the first row is the upper pole
    axes.imshow(np.array(counts), cmap="cividis", extent=extent, aspect="auto", vmin=0, interpolation="nearest")
    axes.set(xticks=(-180, 0, 180), yticks=(-1, 0, 1))
    axes.set_xlabel("azimuth (°)", fontsize=7)
    axes.set_ylabel("height", fontsize=7)
    return _png(figure, axes, small)


def defocus_image(histogram: Mapping[str, Any], colour: str, small: bool = False) -> bytes:
    """Defoci of a cluster's particles, and in grey those of all, each as a share of its own."""
    figure, axes = _plot()
    edges = np.array(histogram["edges"]) / 1e4
    mine, everyone = (np.array(counts) / max(sum(counts), 1) for counts in (histogram["counts"], histogram["of_all"]))
    axes.stairs(everyone, edges, color="0.75", fill=True)
    axes.stairs(mine, edges, color=colour, linewidth=1.5)
    axes.set(yticks=[])
    axes.set_xlabel("defocus (µm); grey: all particles", fontsize=7)
    return _png(figure, axes, small)


def posterior_image(counts: Sequence[int], colour: str, small: bool = False) -> bytes:
    """Particles by the probability of their cluster."""
    figure, axes = _plot()
    axes.stairs(np.array(counts), np.linspace(0, 1, len(counts) + 1), color=colour, fill=True)
    axes.set(yticks=[], xlim=(0, 1))
    axes.set_xlabel("posterior", fontsize=7)
    return _png(figure, axes, small)


def _plot() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(2.6, 1.5), layout="constrained")
    return figure, figure.subplots()


def _png(figure: Figure, axes: Axes, small: bool) -> bytes:
    axes.tick_params(labelsize=6)
    with BytesIO() as file:
        figure.savefig(file, format="png", dpi=SMALL_DPI if small else DPI)
        return file.getvalue()
