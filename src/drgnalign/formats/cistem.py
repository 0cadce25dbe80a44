"""cisTEM 2's star files (``_cisTEM…``).

Angles are Frealign's: PHI, THETA, PSI are RELION's rot, tilt, psi. Shifts are displacements from the box centre in Å,
so that origins are minus them; phase shifts are in radians; images are counted from 1 in one stack. The beam tilt
(mrad) has the sign of RELION's: cisTEM's source multiplies a projection with exp(−2πi Cs λ² s² t·s), as RELION's does.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.errors import InputError, InputWarning
from drgnalign.files import atomic_path
from drgnalign.formats.dropped import refuse_odd_halves, refuse_words
from drgnalign.formats.labels import tell_misspelt
from drgnalign.formats.par import DEFAULTS, extra_label, origins_of
from drgnalign.formats.star import read_blocks, without_rows
from drgnalign.particles import (
    BEAM_TILT,
    NO_STACK,
    OCCUPANCY,
    OPTICS_OPTIONS,
    ORIGINS,
    Particles,
    fill_optics,
    image_names,
    optics_table,
)

PREFIX, KEPT = "cisTEM", "drgnCistem"
# What tells such a file, and how far from its beginning that is looked for.
LABELS = re.compile(rb"^[^\S\n]*_cisTEM", re.MULTILINE)
HEAD_BYTES = 2**16
ROWS_AT_ONCE = 50_000


class Column(NamedTuple):
    """Name without ``cisTEM``, caption in the comment above the rows, and format, as cisTEM writes them."""

    name: str
    caption: str
    form: str


COLUMNS = [
    Column("PositionInStack", "POS", "%8d"),
    Column("AnglePsi", "PSI", "%7.2f"),
    Column("AngleTheta", "THETA", "%7.2f"),
    Column("AnglePhi", "PHI", "%7.2f"),
    Column("XShift", "SHX", "%9.2f"),
    Column("YShift", "SHY", "%9.2f"),
    Column("Defocus1", "DF1", "%8.1f"),
    Column("Defocus2", "DF2", "%8.1f"),
    Column("DefocusAngle", "ANGAST", "%7.2f"),
    Column("PhaseShift", "PSHIFT", "%7.2f"),
    Column("ImageActivity", "STAT", "%5d"),
    Column("Occupancy", "OCC", "%7.2f"),
    Column("LogP", "LogP", "%9.0f"),
    Column("Sigma", "SIGMA", "%10.4f"),
    Column("Score", "SCORE", "%7.2f"),
    Column("ScoreChange", "CHANGE", "%7.2f"),
    Column("PixelSize", "PSIZE", "%8.5f"),
    Column("MicroscopeVoltagekV", "VOLT", "%7.2f"),
    Column("MicroscopeCsMM", "Cs", "%7.2f"),
    Column("AmplitudeContrast", "AmpC", "%7.4f"),
    Column("BeamTiltX", "BTILTX", "%7.3f"),
    Column("BeamTiltY", "BTILTY", "%7.3f"),
    Column("ImageShiftX", "ISHFTX", "%7.3f"),
    Column("ImageShiftY", "ISHFTY", "%7.3f"),
    Column("Best2DClass", "2DCLS", "%5d"),
    Column("BeamTiltGroup", "TGRP", "%5d"),
    Column("StackFilename", "STACK_FILENAME", "%50s"),
    Column("OriginalImageFilename", "ORIGINAL_IMAGE_FILENAME", "%50s"),
    Column("Reference3DFilename", "REFERENCE_3D_FILENAME", "%50s"),
    Column("ParticleGroup", "PaGRP", "%8d"),
    Column("AssignedSubset", "SUBSET", "%8d"),
    Column("PreExposure", "PREEXP", "%7.2f"),
    Column("TotalExposure", "TOTEXP", "%7.2f"),
    Column("OriginalXPosition", "ORIGX", "%8.2f"),
    Column("OriginalYPosition", "ORIGY", "%8.2f"),
]
# Written only if the file that the particles come from has them, as files of cisTEM's first alphas do not.
OPTIONAL = ("OriginalXPosition", "OriginalYPosition")
FILE_NAMES = ("StackFilename", "OriginalImageFilename", "Reference3DFilename")
SAME = {
    "AnglePsi": "rlnAnglePsi",
    "AngleTheta": "rlnAngleTilt",
    "AnglePhi": "rlnAngleRot",
    "Defocus1": "rlnDefocusU",
    "Defocus2": "rlnDefocusV",
    "DefocusAngle": "rlnDefocusAngle",
}
# What Frealign's par files have as well.
FREALIGNS = {
    "ImageActivity": "INCLUDE",
    "Occupancy": "OCC",
    "LogP": "LOGP",
    "Sigma": "SIGMA",
    "Score": "SCORE",
    "ScoreChange": "CHANGE",
}
OPTICS = {
    "PixelSize": "rlnImagePixelSize",
    "MicroscopeVoltagekV": "rlnVoltage",
    "MicroscopeCsMM": "rlnSphericalAberration",
    "AmplitudeContrast": "rlnAmplitudeContrast",
    "BeamTiltX": BEAM_TILT[0],
    "BeamTiltY": BEAM_TILT[1],
}
# 0 is what cisTEM writes where it does not know them.
NEVER_ZERO = ("rlnImagePixelSize", "rlnVoltage")


def is_cistem(path: str | Path) -> bool:
    """Is a star file one of cisTEM's? Only its beginning is read."""
    path = Path(path)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return LABELS.search(file.read(HEAD_BYTES)) is not None


def read_cistem(
    path: str | Path,
    stack: str | None = None,
    *,
    pixel_size: float | None = None,
    voltage: float | None = None,
    cs: float | None = None,
    amplitude_contrast: float | None = None,
    dropped: Sequence[int] = (),
) -> Particles:
    """Read a star file of cisTEM 2.

    Parameters
    ----------
    path : path
    stack : str, optional
        Name of the stack, where the file does not say it.
    pixel_size, voltage, cs, amplitude_contrast : float, optional
        Å/px, kV, mm, fraction: used where the file does not have them.
    dropped : sequence of int, optional
        Rows, from 0, that are left out before anything is looked at.

    Returns
    -------
    Particles
        Scores, occupancies and activities are named as those of par files (`drgnalign.formats.par.extra_label`); what
        else RELION has no counterpart of begins with ``drgnCistem``. Half sets are the assigned subsets, where these
        are 1 and 2. An optics group for each combination of pixel size, voltage, Cs, amplitude contrast and beam tilt.

    Raises
    ------
    InputError
        No such file, not one of cisTEM's, text in place of a number, image numbers that are no whole numbers, or a
        value that contradicts the one given by more than 0.1 %.

    Warns
    -----
    InputWarning
        Columns that are none of cisTEM's, or nearly are; image shifts, which cisTEM takes into account beside the
        particles' shifts, that are not 0.
    """
    path = Path(path)
    found = [block for block in read_blocks(path).values() if any(str(label).startswith(PREFIX) for label in block)]
    if len(found) != 1 or not len(found[0]):
        raise InputError(path, "holds no table of cisTEM's", "give a star file that cisTEM 2 has written")
    own = [label for label in map(str, found[0]) if label.startswith(PREFIX) and label != PREFIX]
    if len(own) < len(found[0].columns):
        others = ", ".join(map(repr, found[0].columns.difference(own)))
        warnings.warn(f"{path}: columns that are none of cisTEM's are left out: {others}", InputWarning, stacklevel=2)
    tell_misspelt(path, own, [PREFIX + column.name for column in COLUMNS])
    rows = without_rows(path, found[0][own], dropped).rename(columns=lambda label: str(label).removeprefix(PREFIX))
    _check(path, rows)
    columns: dict[str, object] = {"rlnImageName": _image_names(rows, stack)}
    groups, optics = _optics(rows)
    columns["rlnOpticsGroup"] = groups
    columns |= {label: rows[name] for name, label in SAME.items() if name in rows}
    if {"XShift", "YShift"} <= set(rows):
        columns |= {label: -rows[name] for name, label in zip(("XShift", "YShift"), ORIGINS, strict=True)}
    columns["rlnPhaseShift"] = np.degrees(rows["PhaseShift"]) if "PhaseShift" in rows else 0.0
    if "OriginalImageFilename" in rows and (rows["OriginalImageFilename"] != "").any():
        columns["rlnMicrographName"] = rows["OriginalImageFilename"]
    columns |= {extra_label(frealigns): rows[name] for name, frealigns in FREALIGNS.items() if name in rows}
    columns |= _half_sets(path, rows)
    known = {"PositionInStack", "XShift", "YShift", "PhaseShift", *SAME, *FREALIGNS, *OPTICS}
    known |= {"StackFilename", "OriginalImageFilename"}
    columns |= {KEPT + name: rows[name] for name in map(str, rows) if name not in known}
    names = {label: PREFIX + name for name, label in (SAME | OPTICS | {"PhaseShift": "rlnPhaseShift"}).items()}
    shifts = [PREFIX + "XShift", PREFIX + "YShift"]
    names |= dict(zip(ORIGINS, shifts, strict=True))
    particles = Particles(pd.DataFrame(columns), optics, path, origin_names=shifts, row_names=names)
    particles.validate()
    given = {
        "rlnImagePixelSize": pixel_size,
        "rlnVoltage": voltage,
        "rlnSphericalAberration": cs,
        "rlnAmplitudeContrast": amplitude_contrast,
    }
    fill_optics(path, optics, given)
    return particles


def _check(path: Path, rows: pd.DataFrame) -> None:
    """Refuse what is no number, and numbers that count no image; tell what is not used."""
    if "PositionInStack" not in rows:
        raise InputError(path, f"has no {PREFIX}PositionInStack", "write it again from cisTEM")
    for name in (column.name for column in COLUMNS if column.name in rows and column.name not in FILE_NAMES):
        if rows[name].dtype.kind not in "iuf":
            words = rows[name].astype(str)
            bad = pd.to_numeric(rows[name], errors="coerce").isna().to_numpy()
            # whole numbers that no type holds
            bad = bad if bad.any() else (words.str.len() == words.str.len().max()).to_numpy()
            refuse_words(path, f"{PREFIX}{name}", words.tolist(), bad)
    numbers = rows["PositionInStack"].to_numpy(np.float64)
    odd = ~((numbers >= 0) & (numbers == np.round(numbers)) & (numbers < 1e15))
    if odd.any():
        problem = f"row {odd.argmax() + 1}: {PREFIX}PositionInStack is {numbers[odd.argmax()]:g}"
        raise InputError(path, problem, "it counts the images of the stack from 1: correct or remove the row")
    shifts = [name for name in ("ImageShiftX", "ImageShiftY") if name in rows and rows[name].any()]
    if shifts:
        largest = np.abs(rows[shifts].to_numpy(np.float64)).max()
        message = f"{path}: {' and '.join(PREFIX + name for name in shifts)}, up to {largest:g} Å, are not used"
        warnings.warn(message, InputWarning, stacklevel=3)


def _image_names(rows: pd.DataFrame, stack: str | None) -> list[str]:
    numbers = rows["PositionInStack"].to_numpy(np.int64)
    said = rows["StackFilename"].astype(str) if "StackFilename" in rows else pd.Series("", rows.index)
    stacks = said.where(said != "", stack or NO_STACK)
    if stacks.nunique() == 1 and "\0" not in stacks.iloc[0]:
        return image_names(numbers, str(stacks.iloc[0]))
    return [f"{number:06d}@{name}" for number, name in zip(numbers.tolist(), stacks, strict=True)]


def _optics(rows: pd.DataFrame) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Optics group of each row (N,), from 1, and the optics table."""
    present = {name: label for name, label in OPTICS.items() if name in rows}
    facts = rows[list(present)].rename(columns=present).astype(np.float64)
    # what is not said, and a tilt that is none
    silent = [label for label in (*NEVER_ZERO, *BEAM_TILT) if label in facts and not facts[label].any()]
    facts = facts.drop(columns=silent)
    numbers = np.zeros(len(rows), np.int64)
    if len(facts.columns):
        numbers = facts.groupby(list(facts), sort=False, dropna=False).ngroup().to_numpy(np.int64)
    return numbers + 1, optics_table(facts, numbers)


def _half_sets(path: Path, rows: pd.DataFrame) -> dict[str, object]:
    """The assigned subsets, if they are half sets: cisTEM writes one number for all where there are none."""
    subsets = rows.get("AssignedSubset")
    if subsets is None or subsets.nunique() < 2:
        return {}
    numbers = sorted(subsets.unique().tolist())
    if numbers == [1, 2]:
        return {"rlnRandomSubset": subsets}
    refuse_odd_halves(path, PREFIX + "AssignedSubset", subsets.to_numpy(), (1, 2))
    listed = ", ".join(f"{number:g}" for number in numbers[:8])
    message = f"{path}: {PREFIX}AssignedSubset holds {listed}, which are not the two half sets 1 and 2: it is not used"
    warnings.warn(message, InputWarning, stacklevel=3)
    return {}


def write_cistem(particles: Particles, path: str | Path) -> None:
    """Write a star file of cisTEM 2, with all its columns in the order and with the digits of its own.

    What the particles have nothing for is what cisTEM takes where a column is missing, or `DEFAULTS` of par files.

    Parameters
    ----------
    particles : Particles
    path : path

    Raises
    ------
    InputError
        Particles of several stacks, of which cisTEM takes one; columns missing, or numbers that are not finite; names
        with quotation marks.

    Warns
    -----
    InputWarning
        Names with blanks, which cisTEM writes but does not read.
    """
    particles.require_poses()
    particles.require_ctf()
    particles.refuse_not_finite()
    table = _table(particles)
    names = [column.name for column in COLUMNS if column.name in table]
    columns = [column for column in COLUMNS if column.name in table]
    row = " ".join(column.form for column in columns) + " \n"
    # an absent caption would shift all others against their columns
    captions = [column.caption.rjust(len(column.form % _blank(column))) for column in columns]
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write("# Written by drgnalign in the form of cisTEM 2\n \ndata_\n \nloop_\n")
        file.writelines(f"_{PREFIX}{name} #{number}\n" for number, name in enumerate(names, start=1))
        file.write("#" + " ".join(captions)[1:] + " \n")
        for first in range(0, len(table), ROWS_AT_ONCE):
            block = table[names].iloc[first : first + ROWS_AT_ONCE]
            file.writelines(row % values for values in _rows(block))


def _blank(column: Column) -> object:
    return "" if column.form.endswith("s") else 0


def _rows(block: pd.DataFrame) -> Iterable[tuple[object, ...]]:
    return zip(*(block[name].tolist() for name in block), strict=True)


def _table(particles: Particles) -> pd.DataFrame:
    """Columns by cisTEM's names, without its prefix."""
    table, optics = particles.table, particles.optics.iloc[particles.optics_rows()]
    numbers, stacks = particles.image_locations()
    if len(set(stacks)) > 1:
        problem = f"its particles are in {len(set(stacks))} stacks, cisTEM takes one"
        remedy = "write the images into one stack in the order of the rows, and give that with --images"
        raise InputError(particles.path, problem, remedy)
    missing = [OPTICS_OPTIONS[label] for label in OPTICS.values() if label in OPTICS_OPTIONS and label not in optics]
    if missing:
        raise InputError(particles.path, "does not say all that cisTEM wants to know", f"give {', '.join(missing)}")
    columns: dict[str, object] = {"PositionInStack": numbers}
    columns |= {name: table[label].to_numpy(np.float64) for name, label in SAME.items()}
    origins = origins_of(particles, in_pixels=False)
    columns |= {"XShift": -origins[0].to_numpy(np.float64), "YShift": -origins[1].to_numpy(np.float64)}
    columns["PhaseShift"] = np.radians(particles.phase_shifts())
    for name, frealigns in FREALIGNS.items():
        known = table.get(extra_label(frealigns), pd.Series(np.nan, table.index))
        columns[name] = known.fillna(DEFAULTS[frealigns]).to_numpy()
    if OCCUPANCY in table:
        columns["Occupancy"] = 100 * table[OCCUPANCY].to_numpy(np.float64)
    for name, label in OPTICS.items():
        columns[name] = optics[label].to_numpy(np.float64) if label in optics else 0.0
    columns["StackFilename"] = _quoted(particles, pd.Series(stacks).replace(NO_STACK, ""))
    micrographs = table.get("rlnMicrographName", pd.Series("", table.index))
    columns["OriginalImageFilename"] = _quoted(particles, micrographs)
    for name in (column.name for column in COLUMNS if column.name not in columns):
        kept = table.get(KEPT + name)
        if name == "Reference3DFilename":
            columns[name] = _quoted(particles, pd.Series("", table.index) if kept is None else kept)
        elif kept is not None or name not in OPTIONAL:
            columns[name] = 0 if kept is None else kept.fillna(0).to_numpy()
    if "rlnRandomSubset" in table:
        columns["AssignedSubset"] = table["rlnRandomSubset"].to_numpy()
    return pd.DataFrame(columns, index=table.index)


def _quoted(particles: Particles, names: pd.Series) -> NDArray[np.object_]:
    codes, unique = pd.factorize(names.astype(str))
    for name in unique:
        if re.search(r"['\n]", name):
            raise InputError(
                particles.path, f"{name!r} cannot stand in a file of cisTEM's", "rename it, without quotes"
            )
    blank = next((name for name in unique if re.search(r"\s", name)), None)
    if blank is not None:
        message = f"{particles.path}: cisTEM reads no names with blanks, such as {blank!r}: rename the files"
        warnings.warn(message, InputWarning, stacklevel=5)
    return np.array([f"'{name}'" for name in unique], object)[codes]
