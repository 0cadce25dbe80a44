"""Scripts that open the maps of ``final/`` in UCSF ChimeraX.

Each makes a scene of its own in an empty session: maps at their contours, in the colours of the report. They are text,
to be read and changed; ChimeraX runs a script in the script's folder, so that files are named relative to that.
Commands are those of ChimeraX's user guide (``open``, ``volume``, ``color sample``, ``vseries``, ``tile``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drgnalign.colours import map_colour
from drgnalign.errors import InputError
from drgnalign.files import write_text
from drgnalign.formats.mrc import read_volume
from drgnalign.maps.contour import contour_of
from drgnalign.run.state import FILTERED, HALF_MAPS, LOCAL_RESOLUTION, MASK, MOTION, cluster_label

MAPS_SCENE, HALVES_SCENE, RESOLUTION_SCENE, MOTION_SCENE = (
    "open_all.cxc",
    "open_half_maps.cxc",
    "open_local_resolution.cxc",
    "open_motion.cxc",
)
# From the finest local resolution to the coarsest, as in the report; percentiles between which it is drawn.
RAMP, PERCENTILES = ("#FDE725", "#5EC962", "#21918C", "#3B528B", "#440154"), (1.0, 99.0)
UNKNOWN = "#9A9A9A"
# Of a film: which cluster's it is, nobody can say.
FILM_COLOUR = "#9A9A9A"
HEAD = "# Written by drgnalign, for an empty session of UCSF ChimeraX: chimerax {name}, or File > Open.\n# {what}\n"
TILED = "tile\n# one upon the other: ~tile\n"


class Model(NamedTuple):
    """A map as ChimeraX shows it."""

    file: str
    title: str
    colour: str
    contour: float


def write_scenes(folder: Path, names: Sequence[str], points: Sequence[str] = ()) -> dict[str, str]:
    """Write what opens the maps of a folder, as `drgnalign.run.export.export_final` leaves it.

    Parameters
    ----------
    folder : Path
        Holds ``NAME.mrc`` and half maps of each name, ``mask.mrc`` perhaps, local resolutions perhaps, and of points
        ``motion/POINT.mrc``.
    names : sequence of str
        Of the maps: ``cluster_KK``, or ``consensus``.
    points : sequence of str
        Of the maps along a motion, in its order.

    Returns
    -------
    dict of str to str
        What each script shows, by its name. A scene without maps is not written.

    Raises
    ------
    InputError
        The mask has another box than a map.
    """
    mask = read_volume(folder / MASK)[0] > 0.5 if (folder / MASK).is_file() else None
    shown = {name: _model(folder, name, FILTERED, "", mask) for name in names}
    scenes = {
        MAPS_SCENE: (
            "maps in the report's colours, at their contours, side by side",
            _tiled(list(shown.values())),
        ),
        HALVES_SCENE: (
            "both unfiltered half maps of each cluster, side by side",
            _tiled(
                [
                    _model(folder, name, ending, f", half map {half}", mask)
                    for name in names
                    for half, ending in enumerate(HALF_MAPS, 1)
                ],
            ),
        ),
        RESOLUTION_SCENE: ("maps coloured by local resolution", _coloured(folder, shown, mask)),
        MOTION_SCENE: ("maps along the motion as a film", _film(folder / MOTION, points, mask)),
    }
    for name, (what, commands) in scenes.items():
        if commands:
            write_text(folder / name, HEAD.format(name=name, what=f"{what[0].upper()}{what[1:]}.") + commands)
    return {name: what for name, (what, commands) in scenes.items() if commands}


def _model(folder: Path, name: str, ending: str, kind: str, mask: NDArray[np.bool_] | None) -> Model:
    label = cluster_label(name)
    title = (f"cluster {label}" if label else name) + kind
    return Model(f"{name}{ending}", title, map_colour(label), _contour(folder / f"{name}{ending}", mask))


def _contour(path: Path, mask: NDArray[np.bool_] | None) -> float:
    volume = read_volume(path)[0]
    if mask is not None and volume.shape != mask.shape:
        raise InputError(path, f"has another box than the {MASK} beside it", "give the folder of one pass, whole")
    return contour_of(volume, np.ones(volume.shape, np.bool_) if mask is None else mask)


def _opened(model: Model, number: int | str) -> str:
    return (
        f'open {model.file} id {number} name "{model.title}"\n'
        f"volume #{number} style surface step 1 level {model.contour:.4g} color {model.colour}\n"
    )


def _tiled(models: Sequence[Model]) -> str:
    return "".join(_opened(model, number) for number, model in enumerate(models, 1)) + (
        TILED if len(models) > 1 else "view\n" if models else ""
    )


def _coloured(folder: Path, shown: Mapping[str, Model], mask: NDArray[np.bool_] | None) -> str:
    """Of those maps of which there is a local resolution, on one scale."""
    known = [name for name in shown if (folder / f"{name}{LOCAL_RESOLUTION}").is_file()]
    if not known:
        return ""
    inside = [_inside(folder / f"{name}{LOCAL_RESOLUTION}", mask) for name in known]
    values = np.concatenate(inside)
    low, high = np.percentile(values, PERCENTILES) if len(values) else (0.01, 0.01)
    steps = np.linspace(low, max(high, low + 0.1), len(RAMP))
    # 0 stands where the resolution is not known
    stops = [(0.0, UNKNOWN), (max(low - 0.01, 0.005), UNKNOWN), *zip(steps.tolist(), RAMP, strict=True)]
    palette = ":".join(f"{step:.3f},{colour}" for step, colour in stops)
    text = ""
    for number, name in enumerate(known, 1):
        # in one group, which is moved as a whole: the colours are looked up anew at every contour
        text += _opened(shown[name], f"{number}.1")
        text += f'open {name}{LOCAL_RESOLUTION} id {number}.2 name "its local resolution, Å"\n'
        text += f"hide #{number}.2 models\ncolor sample #{number}.1 map #{number}.2 palette {palette}\n"
    return text + (TILED if len(known) > 1 else "view\n")


def _inside(path: Path, mask: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    volume = read_volume(path)[0]
    return volume[volume > 0] if mask is None else volume[mask & (volume > 0)]


def _film(folder: Path, points: Sequence[str], mask: NDArray[np.bool_] | None) -> str:
    """One contour for all: another in each would look like motion."""
    if len(points) < 2:
        return ""
    files = [f"{name}{FILTERED}" for name in points]
    contour = float(np.mean([_contour(folder / file, mask) for file in files]))
    named = " ".join(f"{MOTION}/{file}" for file in files)
    return (
        f"open {named} vseries true\n"
        f"volume #1 style surface step 1 level {contour:.4g} color {FILM_COLOUR}\n"
        "vseries play #1 loop true direction oscillate\n"
    )
