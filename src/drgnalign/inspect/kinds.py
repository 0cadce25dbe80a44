"""What kind of file it is, and the report on each kind."""

from __future__ import annotations

import codecs
import re
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from drgnalign.errors import InputError, InputWarning
from drgnalign.formats.cistem import is_cistem, read_cistem
from drgnalign.formats.cryodrgn import CTF_COLUMNS, read_cryodrgn, read_indices, read_labels, read_latent, read_poses
from drgnalign.formats.cryosparc import read_cs
from drgnalign.formats.cryosparc.fields import field_names, load_rows
from drgnalign.formats.frealign_statistics import read_statistics
from drgnalign.formats.packed import refuse_packed
from drgnalign.formats.par import LAYOUTS, SHIFTS, layout_of, read_par, read_par_table
from drgnalign.formats.particle_file import CISTEM_BINARY, read_particle_file
from drgnalign.formats.pickles import TORCH, read_pickles
from drgnalign.formats.star import read_star
from drgnalign.geometry import matrix_to_euler
from drgnalign.inputs import images_root
from drgnalign.inspect.particles import POSE_RANGES, inspect_named, inspect_particles, pose_findings, shift_findings
from drgnalign.inspect.report import UNITS, Report, counts, finite, ranges, rows_of, value_range, with_units
from drgnalign.inspect.stacks import inspect_mrc
from drgnalign.particles import ANGLES, ORIGINS, PIXEL_ORIGINS
from drgnalign.validation.fsc import THRESHOLD

LEVELS = ["error", "warning", "note"]
# What tells the versions of star files, and their labels. It begins with a line end, by which it is found fast.
STAR_HEADS = re.compile(rb"\n[ \t]*(# version \d{1,9}|data_\S*|_\S+)")
PICKLES = "poses, CTF parameters, latent variables, an index or labels"


def inspect_file(path: str | Path, images: str | Path | None = None, *, every_image: bool = False) -> dict[str, Any]:
    """What a file is, what is in it, and what looks wrong with it.

    Parameters
    ----------
    path : path
        ``.star``, ``.par``, ``.parx``, ``.cs``, ``.cistem``, ``.pkl``, ``.mrc``, ``.mrcs``, ``.map``, ``.st``,
        ``.stk``, or a table of Frealign's statistics (``.txt``, ``.res``).
    images : path, optional
        Folder that image names are relative to, or the stack of a par file. Default: the file's own folder.
    every_image : bool
        Look at all images, not at some.

    Returns
    -------
    dict
        Ready for JSON. ``file``; ``kind`` in words; ``rows`` (particles, images or shells, or None); ``columns``:
        the file's own, each with its unit or None; ``facts``, among them ``ranges`` (min, median and max of finite
        values, with their unit, in RELION's terms: origins, not shifts); ``findings``: a list of ``level`` (error,
        warning, note) and ``what``, a sentence. A file that cannot be read has a finding of level error.
    """
    path = Path(path)
    report = Report(str(path), every_image=every_image)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            _inspector_of(path)(report, path, None if images is None else Path(images))
        except InputError as error:
            where = "" if error.file in (None, str(path)) else f"{error.file}: "
            report.add("error", f"{where}{error.problem}; {error.remedy}")
        except OSError as error:
            report.add("error", f"cannot be read ({error.strerror})")
    for warning in caught:
        if issubclass(warning.category, InputWarning):
            report.add("warning", str(warning.message).removeprefix(f"{path}: "))
    report.findings = [dict(one) for one in dict.fromkeys(tuple(finding.items()) for finding in report.findings)]
    report.findings.sort(key=lambda finding: LEVELS.index(finding["level"]))
    found = asdict(report)
    del found["every_image"]
    return found


def _inspector_of(path: Path) -> Callable[[Report, Path, Path | None], None]:
    if path.is_dir():
        raise InputError(path, "is a folder", "give the files in it")
    if not path.is_file():
        raise InputError(path, "no such file", "check the path")
    if path.stat().st_size == 0:
        raise InputError(path, "is empty", "write it again")
    suffix = path.suffix.lower()
    if suffix not in INSPECTORS:
        refuse_packed(path)
        known = ", ".join(INSPECTORS)
        raise InputError(path, f"files of type {path.suffix!r} are not known", f"give one of {known}")
    return INSPECTORS[suffix]


def _inspect_star(report: Report, path: Path, images: Path | None) -> None:
    if is_cistem(path):
        _inspect_cistem(report, path, images)
        return
    data = path.read_bytes()
    heads = [head.decode("latin-1") for head in STAR_HEADS.findall(b"\n" + data.removeprefix(codecs.BOM_UTF8))]
    if data.startswith(codecs.BOM_UTF8) or b"\r\n" in data:
        report.add("note", "it was saved by an editor of Windows: RELION stumbles over its line ends or first bytes")
    report.columns = with_units(head[1:] for head in heads if head.startswith("_"))
    version = next((int(head.split()[-1]) for head in heads if head.startswith("#")), 0)
    release = "5" if version >= 50001 else "3.1" if "data_optics" in heads else "3.0"
    has_images = "rlnImageName" in report.columns
    report.kind = f"RELION {release} star file" if has_images else "star file without particles"
    try:
        particles = read_star(path)
    except InputError as error:
        # What is wrong may be no more than that origins in px have no pixel size; anything else fails again.
        try:
            particles = read_star(path, pixel_size=1.0)
        except InputError:
            raise error from None
        particles.table.rename(columns=dict(zip(ORIGINS, PIXEL_ORIGINS, strict=True)), inplace=True)
        particles.optics.drop(columns="rlnImagePixelSize", inplace=True)
    inspect_named(report, particles, images_root(path, images))


def _inspect_cistem(report: Report, path: Path, images: Path | None) -> None:
    report.kind = "cisTEM star file"
    labels = re.findall(rb"\n[ \t]*_(cisTEM\w+)", b"\n" + path.read_bytes())
    report.columns = with_units(label.decode() for label in labels)
    stack = images.name if images is not None and images.is_file() else None
    particles = read_cistem(path, stack)
    inspect_named(report, particles, images_root(path, images))


def _inspect_cistem_binary(report: Report, path: Path, images: Path | None) -> None:
    report.kind = "cisTEM binary file"
    read_particle_file(path)


def _inspect_par(report: Report, path: Path, images: Path | None) -> None:
    report.kind = "Frealign par file"
    stack = images.name if images is not None and images.is_file() else None
    try:
        particles = read_par(path, stack)
    except InputError:
        # Shifts files are refused as particles; what is no table at all fails again.
        table = read_par_table(path)
        if list(table) not in SHIFTS.values() or table["MAG"].any():
            raise
        _inspect_changes(report, table)
        return
    layout = LAYOUTS[str(layout_of(particles))]
    report.kind = f"{layout.title} par file"
    report.columns = with_units(layout.names)
    if layout is LAYOUTS["par8"]:
        report.columns |= {"SHX": "px", "SHY": "px"}
        report.add("note", "its shifts are in px, as in Frealign 8: FrealignX would take the numbers as Å")
    if "PSHIFT" not in report.columns:
        particles.table.drop(columns="rlnPhaseShift", inplace=True)
    if b"Part_SSNR" in path.read_bytes():
        report.facts["statistics_shells"] = len(read_statistics(path))
    inspect_particles(report, particles, images_root(path, images))
    report.extend(pose_findings(particles.table))


def _inspect_changes(report: Report, table: pd.DataFrame) -> None:
    report.kind = f"{'FrealignX' if 'PSHIFT' in table else 'Frealign 9'} shifts file"
    report.rows = len(table)
    report.columns = with_units(table.columns)
    changes = ("PSI", "THETA", "PHI", "SHX", "SHY")
    report.facts["ranges"] = ranges(table, {name: f"change of {name}" for name in changes})


def _inspect_cs(report: Report, path: Path, images: Path | None) -> None:
    report.kind = "cryoSPARC particles"
    rows = load_rows(path)
    report.rows = len(rows)
    report.columns = with_units(field_names(rows))
    if {"blob/path", "blob/idx"} <= set(report.columns):
        inspect_named(report, read_cs(path), images_root(path, images))
    else:
        report.kind = "cryoSPARC table without images"
        what = "it has no blob/path and blob/idx: if it is the passthrough file of a job, give it with --passthrough"
        report.add("note", what)


def _inspect_pickle(report: Report, path: Path, images: Path | None) -> None:
    report.kind = "pickle"
    try:
        content = read_pickles(path, f"give a file of cryoDRGN's with {PICKLES}")[0]
    except InputError as error:
        if TORCH not in error.problem:
            raise
        report.kind = "cryoDRGN weights (never opened)"
        return
    array = np.asarray(None if isinstance(content, (tuple, list)) else content)
    if isinstance(content, tuple) or array.shape[1:] == (3, 3):
        _inspect_poses(report, path)
    elif isinstance(content, list) or (array.ndim == 1 and array.dtype.kind in "iub"):
        _inspect_numbers(report, path)
    elif not _inspect_latent(report, path, array):
        _inspect_array(report, path, array)


def _inspect_poses(report: Report, path: Path) -> None:
    report.kind = "cryoDRGN poses"
    rotations, translations = read_poses(path)
    report.rows = len(rotations)
    report.columns = {"rotation (3 × 3)": None}
    table = pd.DataFrame(np.column_stack(matrix_to_euler(rotations)), columns=ANGLES)
    if translations is None:
        report.add("note", "it holds rotations alone: cryoDRGN takes the particles as centred")
    else:
        report.columns["translation (x, y)"] = "box"
        table[ORIGINS] = translations
        report.extend(shift_findings(translations, np.full(len(table), 0.5), "box"))
    report.facts["ranges"] = ranges(table, POSE_RANGES, UNITS | dict.fromkeys(ORIGINS, "box"))
    report.extend(pose_findings(table))


def _inspect_numbers(report: Report, path: Path) -> None:
    """An index; else labels, unless they are too many: then it is an index with something wrong."""
    try:
        numbers = read_indices(path)
    except InputError as error:
        try:
            numbers = read_labels(path)
        except InputError:
            raise error from None
        labels = counts(pd.Series(numbers))
        if len(labels) > len(numbers) / 2:
            report.kind = "cryoDRGN index"
            raise
        report.kind, report.columns = "cluster labels", {"label": None}
        report.facts["labels"] = labels
    else:
        report.kind, report.columns = "cryoDRGN index", {"number of the image, from 0": None}
        report.facts |= {"smallest": int(numbers.min()), "largest": int(numbers.max())}
    report.rows = len(numbers)


def _inspect_latent(report: Report, path: Path, array: np.ndarray) -> bool:
    """Whether it holds latent variables: two pickles, one after the other."""
    kind = "cryoDRGN latent variables"
    try:
        mu, _ = read_latent(path)
    except InputError:
        # An array's pickle is at most half as large again as the array: what is longer has a second one, damaged.
        if array.ndim == 2 and path.stat().st_size > 1.6 * array.nbytes + 1000:
            report.kind = kind
            raise
        return False
    report.kind = kind
    report.rows = len(mu)
    report.columns = {"mean": None, "log variance": None}
    report.facts["dimensions"] = mu.shape[1]
    report.facts["ranges"] = {f"z{number}": value_range(column, "") for number, column in enumerate(mu.T, start=1)}
    bad = np.asarray(~np.isfinite(mu).all(axis=1))
    if bad.any():
        what = f"{rows_of(bad)} have means that are NaN or infinite, the first is row {bad.argmax() + 1}"
        report.add("error", f"{what}: the training diverged; train again")
    return True


def _inspect_array(report: Report, path: Path, array: np.ndarray) -> None:
    if array.ndim == 2 and array.shape[1] == len(CTF_COLUMNS):
        report.kind = "cryoDRGN CTF parameters"
        report.columns = with_units(CTF_COLUMNS)
        inspect_particles(report, read_cryodrgn(None, path), path.parent)
        return
    shape = " × ".join(map(str, array.shape)) or "one value"
    report.kind = f"pickled array ({shape})"
    report.add("note", f"it is none of the pickles that drgnalign reads: {PICKLES}")


def _inspect_statistics(report: Report, path: Path, images: Path | None) -> None:
    table = read_statistics(path)
    report.kind = f"Frealign statistics ({'Frealign 9' if 'voxels' in table else 'FrealignX'})"
    report.rows = len(table)
    report.columns = with_units(table.columns)
    resolution = table["resolution_angstrom"].to_numpy()
    report.facts["resolutions_angstrom"] = [finite(resolution[0]), finite(resolution[-1])]
    for column in ("fsc", "part_fsc"):
        below = table[column].to_numpy() < THRESHOLD
        if below.any():
            report.facts[f"{column}_0143_angstrom"] = finite(resolution[below.argmax()])
        else:
            report.add("note", f"{column} does not fall below {THRESHOLD} up to {resolution[-1]:g} Å")


INSPECTORS: dict[str, Callable[[Report, Path, Path | None], None]] = {
    ".star": _inspect_star,
    **dict.fromkeys((".par", ".parx"), _inspect_par),
    CISTEM_BINARY: _inspect_cistem_binary,
    ".cs": _inspect_cs,
    ".pkl": _inspect_pickle,
    **dict.fromkeys((".mrc", ".mrcs", ".map", ".st", ".stk"), inspect_mrc),
    **dict.fromkeys((".txt", ".res"), _inspect_statistics),
}
