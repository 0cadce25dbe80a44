"""The results of a run, as `drgnalign export` reads them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from drgnalign.errors import InputError
from drgnalign.formats.star import read_star
from drgnalign.particles import Particles
from drgnalign.report.reading import INFO, RUN, SESSION, WHOLE, RunRecord, SessionRecord, read_there
from drgnalign.report.summary import published_folders
from drgnalign.run.record import read_record
from drgnalign.run.records import PassMetrics
from drgnalign.run.state import FILTERED, FSC, HALF_MAPS, MAPS, MASK, METRICS, PARTICLES, beside, members
from drgnalign.stack_names import missing_stacks


@dataclass(frozen=True)
class State:
    """A cluster of a pass, or the consensus.

    Attributes
    ----------
    name : str
        ``cluster_KK`` or ``consensus``.
    particles : Particles
        Who is in its map.
    prefix : Path
        Of the files of its map, of which half maps and the filtered map are there (`drgnalign.run.state.beside`).
    curve : DataFrame
        Rows of ``fsc.csv``.
    """

    name: str
    particles: Particles
    prefix: Path
    curve: pd.DataFrame


@dataclass(frozen=True)
class Results:
    """A pass of a run.

    Attributes
    ----------
    folder : Path
        Where it was published.
    metrics : PassMetrics
    particles : Particles
        Everybody, in the input's order.
    states : list of State
        That have a map.
    mask : Path
        Of the FSCs.
    """

    folder: Path
    metrics: PassMetrics
    particles: Particles
    states: list[State]
    mask: Path


def read_results(outdir: Path, folder: str | None) -> Results:
    """A pass of the run whose ``--outdir`` is given.

    Parameters
    ----------
    outdir : Path
    folder : str, optional
        Of the pass in it, such as ``round_02``. Default: the last one.

    Raises
    ------
    InputError
        There is no such pass, a file of it is missing or broken, or it has no map.
    """
    passes = published_folders(outdir)
    names = {str(path.relative_to(outdir)): path for path in passes.values()}
    if folder is not None and folder.strip("/") not in names:
        raise InputError(outdir / folder, "is no pass of this run", f"choose one of {', '.join(names)}")
    chosen = list(passes.values())[-1] if folder is None else names[folder.strip("/")]
    particles = read_star(chosen / PARTICLES)
    curves = _read_curves(chosen / FSC)
    kept, mapped = ~particles.left_out(), set(curves["cluster"])
    states = [
        State(name, particles.select(mine), _prefix(chosen, name), curves[curves["cluster"] == name])
        for name, mine in members(particles.cluster_labels(), kept, mapped).items()
        if name in mapped
    ]
    if not states:
        raise InputError(chosen, "has no map", "choose another pass with --pass")
    metrics = read_record(PassMetrics, chosen / METRICS)
    return Results(chosen, metrics, particles, states, _there(chosen / MAPS / MASK))


def parameters_of(outdir: Path) -> dict[str, Any]:
    """Of the run, by their names; none where it has left no record."""
    return read_there(RunRecord, outdir / INFO / RUN).get("parameters") or {}


def root_of_images(outdir: Path) -> Path:
    """The folder that image names are relative to: of the run's ``--images``, or else of its ``--input``.

    Raises
    ------
    InputError
        The run's records do not say, or it is gone.
    """
    parameters = parameters_of(outdir)
    started = read_there(SessionRecord, outdir / INFO / SESSION).get("folder")
    named = parameters.get("images") or parameters.get("input")
    if not named or not started:
        remedy = "give the folder that image names are relative to with --images"
        raise InputError(outdir / INFO, "does not say where the images of the run are", remedy)
    given = Path(started, str(named))
    folder = given if given.is_dir() else given.parent
    if not folder.is_dir():
        raise InputError(folder, "the folder of the run's images is gone", "say where it is now with --images")
    return folder


def refuse_missing_stacks(results: Results, root: Path) -> None:
    """Refuse results whose image names lead nowhere.

    Raises
    ------
    InputError
    """
    missing = missing_stacks(results.particles, root)
    if missing:
        problem = f"{len(missing):,} stacks cannot be found, such as {missing[0]}"
        raise InputError(results.folder, problem, "say with --images which folder image names are relative to")


def absolute(path: Path) -> Path:
    """Without ``.`` and ``..``, links as they are named; but ``..`` after a link is the folder above its target."""
    parts = path.absolute().parts
    up = len(parts) - parts[::-1].index("..") if ".." in parts else 0
    return Path(os.path.realpath(Path(*parts[:up])) if up else "/", *parts[up:])


def _read_curves(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(_there(path), float_precision="round_trip").astype({"cluster": str})
    except (ValueError, KeyError) as error:
        raise InputError(path, f"cannot be read ({error})", WHOLE) from error


def _prefix(folder: Path, name: str) -> Path:
    prefix = folder / MAPS / name
    for ending in (*HALF_MAPS, FILTERED):
        _there(beside(prefix, ending))
    return prefix


def _there(path: Path) -> Path:
    if not path.is_file():
        raise InputError(path, "no such file", WHOLE)
    return path
