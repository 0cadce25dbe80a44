"""Frealign parameter files: version 8, version 9, FrealignX and its extended ``.parx``; and their shifts files.

The layouts are those that the programs write. PHI, THETA, PSI are RELION's rot, tilt, psi; SHX, SHY are the particle's
displacement from the box centre, so that its origin is minus that: in px in version 8, in Å in the others. PSHIFT is
in radians. N is the number of the image in its stack, from 1. Lines that begin with ``C`` are comments.
"""

from __future__ import annotations

import codecs
import ctypes
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.arrays import IntArray
from drgnalign.compiled import Array, load_library
from drgnalign.errors import InputError, InputWarning
from drgnalign.files import atomic_path
from drgnalign.formats.dropped import kept_rows, refuse_words
from drgnalign.formats.packed import refuse_other_text, refuse_packed
from drgnalign.formats.text_table import BodyError, Syntax, read_table
from drgnalign.particles import (
    NO_STACK,
    OCCUPANCY,
    OPTICS_OPTIONS,
    ORIGINS,
    PIXEL_ORIGINS,
    Particles,
    dropping,
    image_names,
)

SYNTAX = Syntax(comment=ord("C"), star=False)
ROWS_AT_ONCE = 100_000
_INT, _INTS = ctypes.c_int64, Array(np.int64)
_LIBRARY = load_library(
    __file__,
    {
        "row_lengths": [ctypes.c_char_p, _INT, _INTS],
        "format_rows": [Array(np.float64), _INT, ctypes.c_int, _INTS, _INTS, Array(np.uint8)],
    },
)


class Column(NamedTuple):
    """Name, and Fortran's format: I width (decimals 0) or F width.decimals."""

    name: str
    width: int
    decimals: int


@dataclass(frozen=True)
class Layout:
    """Columns of a version, and what people call it."""

    title: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def width(self) -> int:
        """Characters of a row, without the newline."""
        return sum(column.width for column in self.columns)


def _columns(text: str) -> tuple[Column, ...]:
    """Columns from words such as ``PSI:8.2``."""
    parts = [word.replace(":", ".").split(".") for word in text.split()]
    return tuple(Column(name, int(width), int(decimals[0]) if decimals else 0) for name, width, *decimals in parts)


_ANGLES = "N:7 PSI:8.2 THETA:8.2 PHI:8.2 "
_DEFOCUS = "DF1:9.1 DF2:9.1 ANGAST:8.2 "
_SCORES = "OCC:8.2 LOGP:10 SIGMA:11.4 SCORE:8.2 CHANGE:8.2 "
_X = _ANGLES + "SHX:10.2 SHY:10.2 MAG:8 INCLUDE:6 " + _DEFOCUS + "PSHIFT:8.2 " + _SCORES
# What the 29 further columns hold is not documented; they are kept as they are.
_EXTENSION = "EXT01:9 EXT02:9.2 EXT03:9.2 EXT04:9 EXT05:9.2 EXT06:9.2 " + " ".join(
    f"EXT{number:02d}:10.4" for number in range(7, 30)
)
LAYOUTS = {
    "par8": Layout("Frealign 8", _columns(_ANGLES + "SHX:8.2 SHY:8.2 MAG:8 FILM:6 " + _DEFOCUS + "PRESA:7.2")),
    "par9": Layout("Frealign 9", _columns(_ANGLES + "SHX:10.2 SHY:10.2 MAG:8 FILM:6 " + _DEFOCUS + _SCORES)),
    "parx": Layout("FrealignX", _columns(_X)),
    "parx_extended": Layout("FrealignX, extended", _columns(_X + _EXTENSION)),
}
BY_COUNT = {len(layout.columns): name for name, layout in LAYOUTS.items()}
# Files of changes of poses have no CHANGE; FrealignX's are as wide as Frealign 9's parameter files.
SHIFT_LAYOUTS = [
    Layout(f"{layout.title}, shifts", tuple(column for column in layout.columns if column.name != "CHANGE"))
    for layout in (LAYOUTS["par9"], LAYOUTS["parx"])
]
SHIFTS = {len(layout.columns): layout.names for layout in SHIFT_LAYOUTS}
WHOLE_NUMBERS = ("N", "MAG", "INCLUDE")
# What no pose, image or CTF depends on: a number that was too large for its column, so that Fortran wrote asterisks, is
# missing there.
MAY_BE_MISSING = ("FILM", "PRESA", "LOGP", "SIGMA", "SCORE", "CHANGE", "EXT")
# FrealignX decides from the length of the first row, newline included, whether there is a PSHIFT.
PSHIFT_LENGTH = 142

EXTRA = "drgnFrealign"
# The columns with a counterpart in RELION.
RELIONS = ("N", "PSI", "THETA", "PHI", "SHX", "SHY", "DF1", "DF2", "ANGAST", "PSHIFT")
# What a row says where the particles have nothing to say it with: values that both Frealigns were seen to work with.
DEFAULTS = {"MAG": 10000, "FILM": 1, "INCLUDE": 1, "PRESA": 80, "OCC": 100, "LOGP": -500, "SIGMA": 1, "SCORE": 20}
DEFAULTS["CHANGE"] = 0


def extra_label(name: str) -> str:
    """Label in the particle table of a par column that RELION has no counterpart of."""
    return EXTRA + name.capitalize()


def layout_of(particles: Particles) -> str | None:
    """The version whose columns particles have from the par file that they come from; None for all others."""
    for name, layout in LAYOUTS.items():
        own = {extra_label(column) for column in layout.names if column not in RELIONS}
        if own == {label for label in particles.table if str(label).startswith(EXTRA)}:
            return name
    return None


def read_par(
    path: str | Path,
    stack: str | None = None,
    *,
    pixel_size: float | None = None,
    voltage: float | None = None,
    cs: float | None = None,
    amplitude_contrast: float | None = None,
    dropped: Sequence[int] = (),
) -> Particles:
    """Read a Frealign parameter file; the width of its rows decides which version's, else the number of columns (12,
    16, 17, 46).

    What the real programs would read otherwise, or not at all, is read and told by an InputWarning; so are scores and
    film numbers that were too large for their columns (asterisks) and are missing.

    Parameters
    ----------
    path : path
    stack : str, optional
        Name of the one stack that the file's image numbers refer to.
    pixel_size, voltage, cs, amplitude_contrast : float, optional
        Å/px, kV, mm, fraction: a par file does not hold them.
    dropped : sequence of int, optional
        Rows, from 0, that are left out before anything is looked at.

    Returns
    -------
    Particles
        Columns without a counterpart in RELION are named by `extra_label`. Origins of version 8 are in px
        (rlnOriginX, rlnOriginY) where there is no pixel size.

    Raises
    ------
    InputError
        The file is missing, empty, ragged, of an unknown number of columns, a shifts file, or holds something that
        is no number, such as asterisks in a pose or defocus.
    """
    path = Path(path)
    par = read_par_table(path, dropped)
    # 16 columns are those of version 9 or of a shifts file; 15 are a shifts file's, whatever they hold
    if len(par.columns) not in BY_COUNT or (len(par.columns) in SHIFTS and (par["MAG"] == 0).all()):
        problem = "is a shifts file: it holds changes of poses, not poses"
        raise InputError(path, problem, "give the par file that the refinement wrote beside it")
    layout = BY_COUNT[len(par.columns)]
    origins, unit = ORIGINS, 1.0
    if layout == "par8":
        origins, unit = (PIXEL_ORIGINS, 1.0) if pixel_size is None else (ORIGINS, pixel_size)
    _refuse_nameless(path, par["N"])
    _tell_magnifications(path, par["MAG"])
    columns = {
        "rlnImageName": image_names(par["N"], stack or NO_STACK),
        "rlnOpticsGroup": 1,
        "rlnAngleRot": par["PHI"],
        "rlnAngleTilt": par["THETA"],
        "rlnAnglePsi": par["PSI"],
        origins[0]: -par["SHX"] * unit,
        origins[1]: -par["SHY"] * unit,
        "rlnDefocusU": par["DF1"],
        "rlnDefocusV": par["DF2"],
        "rlnDefocusAngle": par["ANGAST"],
        "rlnPhaseShift": np.degrees(par["PSHIFT"]) if "PSHIFT" in par else 0.0,
        **{extra_label(str(name)): par[name] for name in par if name not in RELIONS},
    }
    table = pd.DataFrame(columns, copy=False)
    given = {
        "rlnVoltage": voltage,
        "rlnSphericalAberration": cs,
        "rlnAmplitudeContrast": amplitude_contrast,
        "rlnImagePixelSize": pixel_size,
    }
    optics = pd.DataFrame(
        {"rlnOpticsGroup": [1], "rlnOpticsGroupName": ["opticsGroup1"]}
        | {label: [float(value)] for label, value in given.items() if value is not None}
        | {"rlnImageDimensionality": [2]}
    )
    particles = Particles(table, optics, path)
    particles.validate()
    return particles


def _tell_magnifications(path: Path, magnifications: pd.Series) -> None:
    least, most = magnifications.min(), magnifications.max()
    if least < most:
        problem = f"MAG differs between its rows ({least:g} to {most:g}), and with it Frealign's pixel size"
        remedy = "all images are taken as of one; if they are not, rescale them to one, or give each part by itself"
        warnings.warn(f"{path}: {problem}: {remedy}", InputWarning, stacklevel=3)


def read_par_table(path: str | Path, dropped: Sequence[int] = ()) -> pd.DataFrame:
    """Read the rows of a parameter or shifts file as they are.

    Parameters
    ----------
    path : path

    Returns
    -------
    DataFrame
        Columns named as in `LAYOUTS`, in the file's units: degrees, px (version 8) or Å, radians (PSHIFT).

    Raises
    ------
    InputError
        See `read_par`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "no such file", "check the path")
    data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    refuse_packed(path, data)
    refuse_other_text(path, data)
    first, shortest, longest = _row_lengths(data)
    if longest == 0:
        # FrealignX would wait for one for ever.
        raise InputError(path, "has no rows", "give a par file with one row a particle")
    line = _first_row(data).rstrip()
    count = len(line.split())
    layout = _layout_by_width(line)
    if layout is not None and count != len(layout.columns):
        return _read_fixed_widths(path, data, layout, dropped)
    if count not in (*BY_COUNT, *SHIFTS):
        raise InputError(path, f"its rows have {count} columns", COUNTS)
    try:
        columns = read_table(data, 0, len(data), count, [], SYNTAX).columns
    except BodyError as error:
        if layout is not None and shortest == longest:
            return _read_fixed_widths(path, data, layout, dropped)
        number = data.count(b"\n", 0, error.offset) + 1
        more = "more than " if error.fields > count else ""
        problem = f"line {number} has {more}{min(error.fields, count)} columns, the first row has {count}"
        raise InputError(path, problem, COUNTS) from error
    except UnicodeDecodeError as error:
        raise InputError(path, f"is not text ({error.reason})", "write it again") from error
    names = SHIFTS.get(count, [])
    if count in BY_COUNT and not (count in SHIFTS and all(mag in (0, "0") for mag in columns[6])):
        names = LAYOUTS[BY_COUNT[count]].names
        _warn_of_widths(path, count, first, shortest, longest)
    for name, column in zip(names, columns, strict=True):
        if isinstance(column, list) and all(map(str.isdecimal, (word.lstrip("+-") for word in column))):
            raise InputError(path, f"{name} holds numbers of more than 15 digits", "correct the column")
    return _table(path, dict(zip(names, columns, strict=True)), dropped)


# What is missing, and is told.
OVERFLOWN, NO_NUMBER = "asterisks stand for numbers too large for their column", "NaN stands for scores"
COUNTS = "give 12 (Frealign 8), 16 (9), 17 (FrealignX) or 46 (extended) columns in every row"


def _first_row(data: bytes) -> str:
    """The first line that is neither empty nor a comment; there is one."""
    start = 0
    while True:
        end = data.find(b"\n", start)
        line = data[start : end if end >= 0 else len(data)]
        if line.strip() and not line.startswith(b"C"):
            return line.decode("latin-1")
        start = end + 1


def _layout_by_width(line: str) -> Layout | None:
    """The layout that a row has to the character; between two of one width MAG decides, which is 0 in shifts files."""
    layouts = [layout for layout in (*LAYOUTS.values(), *SHIFT_LAYOUTS) if _fits(line, layout)]
    if len(layouts) < 2:
        return layouts[0] if layouts else None
    parameters, shifts = layouts
    return shifts if _cut(line, parameters)[parameters.names.index("MAG")] == "0" else parameters


def _fits(line: str, layout: Layout) -> bool:
    """Does a row have one word to each column's end?"""
    return len(line) == layout.width and all(
        len(line[start:stop].split()) == 1 and line[stop - 1] != " " for start, stop in _edges(layout)
    )


def _edges(layout: Layout) -> list[tuple[int, int]]:
    return list(pairwise(accumulate((column.width for column in layout.columns), initial=0)))


def _cut(line: str, layout: Layout) -> list[str]:
    return [line[start:stop].strip() for start, stop in _edges(layout)]


def _table(path: Path, columns: dict[str, Any], dropped: Sequence[int]) -> pd.DataFrame:
    """Columns as numbers, without some rows; asterisks and NaN are missing values where they may be, and told."""
    if len(dropped):
        kept = np.flatnonzero(kept_rows(path, len(next(iter(columns.values()))), dropped))
        for name, column in columns.items():
            columns[name] = [column[row] for row in kept] if isinstance(column, list) else column[kept]
    missing: dict[str, dict[str, int]] = {OVERFLOWN: {}, NO_NUMBER: {}}
    for name, column in columns.items():
        if isinstance(column, list):
            overflown = np.array([word != "" and not word.strip("*") for word in column])
            if overflown.any():
                missing[OVERFLOWN][name] = int(overflown.sum())
            columns[name] = _numbers(path, name, column, overflown)
        elif column.dtype.kind == "f" and name.startswith(MAY_BE_MISSING) and np.isnan(column).any():
            missing[NO_NUMBER][name] = int(np.isnan(column).sum())
    for what, found in missing.items():
        if found:
            counts = ", ".join(f"{name} in {count} rows" for name, count in found.items())
            message = f"{path}: {what} ({counts}): they count as missing"
            warnings.warn(message, InputWarning, stacklevel=3)
    return pd.DataFrame(columns, copy=False)


def _numbers(path: Path, name: str, words: list[str], overflown: NDArray[np.bool_]) -> NDArray:
    if overflown.any() and not name.startswith(MAY_BE_MISSING):
        problem = f"row {overflown.argmax() + 1}: {name} is asterisks: it was too large for its column"
        raise InputError(
            path,
            problem,
            "correct it, write the file again with wider columns, or remove the row (`drgnalign select --drop`)",
        )
    values = np.full(len(words), np.nan)
    bad = np.zeros(len(words), np.bool_)
    for row in np.flatnonzero(~overflown).tolist():
        try:
            values[row] = float(words[row])
        except ValueError:
            bad[row] = True
    refuse_words(path, name, words, bad)
    whole = name in WHOLE_NUMBERS and bool((values % 1 == 0).all())
    return values.astype(np.int64) if whole else values


def _read_fixed_widths(path: Path, data: bytes, layout: Layout, dropped: Sequence[int]) -> pd.DataFrame:
    """Rows whose columns run together, as they do where a number fills its column."""
    lines = data.decode("latin-1").splitlines()
    rows = [(number, line) for number, line in enumerate(lines, start=1) if line.strip() and not line.startswith("C")]
    for number, line in rows:
        if len(line.rstrip()) != layout.width:
            problem = f"line {number} has {len(line.rstrip())} characters, those of {layout.title} have {layout.width}"
            raise InputError(path, problem, "correct or remove the line")
    columns = {
        column.name: [line[start:stop].strip() for _, line in rows]
        for column, (start, stop) in zip(layout.columns, _edges(layout), strict=True)
    }
    # asterisks, which fill their column, are told of by themselves
    if any(len(line.split()) != len(layout.columns) and "*" not in line for _, line in rows):
        message = f"columns run together; it was read by the widths of {layout.title}; FrealignX reads words"
        warnings.warn(f"{path}: {message}", InputWarning, stacklevel=2)
    par = _table(path, columns, dropped)
    whole = [column.name for column in layout.columns if column.decimals == 0 and (par[column.name] % 1 == 0).all()]
    return par.astype(dict.fromkeys(whole, np.int64))


def _warn_of_widths(path: Path, count: int, first: int, shortest: int, longest: int) -> None:
    """Say what the programs, which look at lengths of lines, would make of the file."""
    layout = LAYOUTS[BY_COUNT[count]]
    said = []
    if shortest != longest:
        said.append(f"its rows are {shortest} to {longest} characters long: FrealignX needs them of one length")
    if count == len(LAYOUTS["parx"].columns) and first + 1 < PSHIFT_LENGTH:
        said.append(f"its first row is only {first} characters long: FrealignX would read it without PSHIFT")
    if count == len(LAYOUTS["par9"].columns) and first + 1 >= PSHIFT_LENGTH:
        said.append(f"its first row is {first} characters long: FrealignX would take OCC for PSHIFT")
    if count == len(LAYOUTS["par9"].columns) and first <= 128:
        said.append(f"its first row is only {first} characters long: Frealign 9 would not read it")
    for problem in said:
        message = f"{path}: {problem}; write it again with `drgnalign convert` as {layout.title} has it"
        warnings.warn(message, InputWarning, stacklevel=2)


def _refuse_nameless(path: Path, numbers: pd.Series) -> None:
    """Refuse rows that name no image. The programs leave them out; here all others would be counted anew, and who
    drops a row by its number would drop another one."""
    if numbers.dtype.kind != "i":
        bad = int((numbers % 1 != 0).to_numpy().argmax())
        problem = f"row {bad + 1}: {numbers.iloc[bad]:g} is no image number"
        raise InputError(path, problem, "the first column counts images from 1")
    if (numbers == 0).any():
        row = int((numbers == 0).to_numpy().argmax()) + 1
        problem = f"the file counts from 0, and Frealign counts images from 1 (row {row}: N is 0)"
        raise InputError(path, problem, "add 1 to the first column")
    nameless = (numbers < 1).to_numpy()
    if nameless.all():
        raise InputError(path, "has no particles: N is below 1 in all rows", "the first column counts images from 1")
    if nameless.any():
        problem = f"row {nameless.argmax() + 1}: N is below 1, which names no image ({nameless.sum():,} such rows)"
        raise InputError(path, problem, f"leave them out, as Frealign does: {dropping(path, nameless)}")
    twice = numbers.duplicated()
    if twice.any():
        message = f"{path}: {twice.sum()} rows name an image of an earlier row; Frealign 9 leaves out such a neighbour"
        warnings.warn(message, InputWarning, stacklevel=3)


def write_par(particles: Particles, path: str | Path, layout: str) -> None:
    """Write a Frealign parameter file, in the exact widths of the program's own.

    Frealign takes one stack: N is the number of the image in it, so that all particles must be in one. Columns that
    the particles have nothing for are filled from `DEFAULTS`: MAG 10000 makes DSTEP, in µm, the pixel size in Å; FILM
    counts the micrographs of ``rlnMicrographName``.

    Parameters
    ----------
    particles : Particles
    path : path
    layout : str
        Of `LAYOUTS`.

    Raises
    ------
    InputError
        Particles of several stacks; columns missing, or numbers that are not finite or too large for their column;
        a phase shift in a layout that has none; version 8 without a pixel size.
    """
    columns = LAYOUTS[layout].columns
    par = _par_table(particles, layout)
    for column in columns:
        _check_fits(particles, par[column.name].to_numpy(np.float64), column)
    values = par[[column.name for column in columns]].to_numpy(np.float64)
    widths = np.array([column.width for column in columns])
    decimals = np.array([column.decimals for column in columns])
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(_heading(columns).encode())
        for first in range(0, len(values), ROWS_AT_ONCE):
            file.write(_format_rows(values[first : first + ROWS_AT_ONCE], widths, decimals).data)


def _par_table(particles: Particles, layout: str) -> pd.DataFrame:
    table = particles.table
    particles.require_poses()
    particles.require_ctf()
    numbers, stacks = particles.image_locations()
    if len(set(stacks)) > 1:
        problem = f"its particles are in {len(set(stacks))} stacks, Frealign takes one"
        remedy = "write the images into one stack in the order of the rows, and give that with --images"
        raise InputError(particles.path, problem, remedy)
    phase_shifts = particles.phase_shifts()
    if layout in ("par8", "par9"):
        remedy = "write --to parx, or --to cistem, which have them"
        particles.refuse_rows(phase_shifts != 0, f"{LAYOUTS[layout].title} knows no phase shift", remedy)
        _tell_neighbours(particles.path, numbers)
    _check_optics(particles, layout)
    origins = origins_of(particles, in_pixels=layout == "par8")
    known = {
        "N": numbers,
        "PSI": table["rlnAnglePsi"],
        "THETA": table["rlnAngleTilt"],
        "PHI": table["rlnAngleRot"],
        "SHX": -origins[0],
        "SHY": -origins[1],
        "DF1": table["rlnDefocusU"],
        "DF2": table["rlnDefocusV"],
        "ANGAST": table["rlnDefocusAngle"],
        "PSHIFT": np.radians(phase_shifts),
    }
    names = LAYOUTS[layout].names
    return pd.DataFrame(
        {name: known[name] if name in known else _extra(particles, name) for name in names}, index=table.index
    )


def _tell_neighbours(path: Path, numbers: IntArray) -> None:
    """Say that of rows of one image that follow each other, as after symmetry expansion, Frealign 9 takes the first."""
    same = int((np.diff(numbers) == 0).sum())
    if same:
        message = f"{path}: {same:,} rows name the image of the row before them: Frealign 9 leaves them out"
        advice = "give it a stack that has the image of each row (--images), or write --to parx for FrealignX"
        warnings.warn(f"{message}; {advice}", InputWarning, stacklevel=4)


def _check_optics(particles: Particles, layout: str) -> None:
    """Say that Frealign knows one microscope; refuse shifts in px of different sizes."""
    used = particles.optics.iloc[np.unique(particles.optics_rows())]
    labels = [label for label in OPTICS_OPTIONS if label in used and used[label].nunique() > 1]
    if not labels:
        return
    problem = f"{', '.join(labels)} differ between its optics groups, and Frealign knows one for all"
    if layout == "par8" and "rlnImagePixelSize" in labels:
        raise InputError(particles.path, problem, "write --to par9 or parx, whose shifts are in Å, or each group apart")
    warnings.warn(f"{particles.path}: {problem}", InputWarning, stacklevel=4)


def origins_of(particles: Particles, *, in_pixels: bool) -> tuple[pd.Series, pd.Series]:
    """Origins x, y of particles, in px or Å, whichever they have.

    Raises
    ------
    InputError
        They have the other, and no pixel size.
    """
    table, optics = particles.table, particles.optics
    have, want = (ORIGINS, PIXEL_ORIGINS) if in_pixels else (PIXEL_ORIGINS, ORIGINS)
    if set(want) <= set(table):
        return table[want[0]], table[want[1]]
    if "rlnImagePixelSize" not in optics:
        raise InputError(
            particles.path, "shifts are in px in Frealign 8 and in Å elsewhere", "give --pixel_size (Å/px)"
        )
    pixel_size = optics["rlnImagePixelSize"].to_numpy(np.float64)[particles.optics_rows()]
    factor = 1 / pixel_size if in_pixels else pixel_size
    return table[have[0]] * factor, table[have[1]] * factor


def _extra(particles: Particles, name: str) -> pd.Series | float:
    label = extra_label(name)
    if name == "OCC" and OCCUPANCY in particles.table:
        return 100 * particles.table[OCCUPANCY]
    if label in particles.table and name in DEFAULTS:
        # not known of all: particles that are not refined have no scores
        return particles.table[label].fillna(DEFAULTS[name])
    if label in particles.table:
        return particles.table[label]
    if name == "FILM" and "rlnMicrographName" in particles.table:
        return pd.Series(pd.factorize(particles.table["rlnMicrographName"])[0] + 1, particles.table.index)
    if name not in DEFAULTS:
        problem = f"lacks the extended columns, such as {label}"
        raise InputError(particles.path, problem, "write the 17 columns of FrealignX: --to parx")
    return DEFAULTS[name]


def _check_fits(particles: Particles, values: NDArray[np.float64], column: Column) -> None:
    """Refuse what would make a row longer, or leave no blank before the number."""
    particles.refuse_rows(~np.isfinite(values), f"{column.name} is not a finite number")
    characters = column.width - (column.name != "N") - (column.decimals > 0) - column.decimals
    rounded = np.round(values, column.decimals)
    too_large = (rounded >= 10.0**characters) | (rounded <= -(10.0 ** (characters - 1)))
    largest = np.abs(values[too_large]).max(initial=0.0)
    particles.refuse_rows(too_large, f"{column.name} of {largest:g} does not fit into its column of a par file")


def _heading(columns: tuple[Column, ...]) -> str:
    """The line that both programs write above the rows; it begins with the C of a comment."""
    captions = "".join(column.name[: column.width - 1].rjust(column.width) for column in columns[1:])
    return "C" + " " * (columns[0].width - 1) + captions + "\n"


def _row_lengths(data: bytes) -> tuple[int, int, int]:
    """Length of the first row, of the shortest and of the longest, without line ends; comments do not count."""
    lengths = np.empty(3, np.int64)
    _LIBRARY.row_lengths(data, len(data), lengths)
    first, shortest, longest = lengths.tolist()
    return first, shortest, longest


def _format_rows(
    values: NDArray[np.float64], widths: NDArray[np.int64], decimals: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Text (rows, width + 1) of numbers that fit; each is rounded to its column's last digit."""
    rows = np.full((len(values), widths.sum() + 1), ord(" "), np.uint8)
    rows[:, -1] = ord("\n")
    _LIBRARY.format_rows(np.ascontiguousarray(values), len(values), len(widths), widths, decimals, rows)
    return rows
