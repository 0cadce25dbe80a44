"""RELION star files: 3.0 without an optics table, 3.1 and later with one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import starfile

from drgnalign.errors import InputError
from drgnalign.files import atomic_path
from drgnalign.particles import ORIGINS, Particles

# What RELION 3.1 keeps once a group, and its predecessor wrote once a particle.
OPTICS_LABELS = [
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnImagePixelSize",
    "rlnBeamTiltX",
    "rlnBeamTiltY",
]
PIXEL_ORIGINS = ["rlnOriginX", "rlnOriginY"]


def read_star(
    path: str | Path,
    *,
    pixel_size: float | None = None,
    voltage: float | None = None,
    cs: float | None = None,
    amplitude_contrast: float | None = None,
) -> Particles:
    """Read a particle star file of RELION 3.0, 3.1, 4 or 5 (single-particle layout).

    Columns that drgnalign does not know are kept. A file without optics table gets one, with a group for
    every combination of voltage, spherical aberration, amplitude contrast, pixel size and beam tilt; its
    pixel size is rlnPixelSize, or rlnDetectorPixelSize (µm) × 10⁴ / rlnMagnification. Origins in px become Å.

    Parameters
    ----------
    path : path
    pixel_size, voltage, cs, amplitude_contrast : float, optional
        Å/px, kV, mm, fraction: used where the file does not have them.

    Returns
    -------
    Particles
        Columns that a later step needs may be missing; see `drgnalign.inputs.import_particles`.

    Raises
    ------
    InputError
        No such file, not a particle star file, a value in the file that contradicts the one given by more
        than 0.1 %, or origins in px without a pixel size.
    """
    path = Path(path)
    blocks = _read_blocks(path)
    table = _particle_block(path, blocks)
    if "optics" in blocks:
        optics = blocks["optics"]
        _complete_optics(path, table, optics)
    else:
        table, optics = _with_optics(table)
    given = {
        "rlnImagePixelSize": ("--pixel_size", pixel_size),
        "rlnVoltage": ("--voltage", voltage),
        "rlnSphericalAberration": ("--cs", cs),
        "rlnAmplitudeContrast": ("--amplitude_contrast", amplitude_contrast),
    }
    particles = Particles(table, optics, path)
    particles.validate()
    for label, (parameter, value) in given.items():
        if value is not None:
            _fill_in(particles, label, parameter, value)
    _origins_to_angstrom(particles)
    return particles


def write_star(particles: Particles, path: str | Path) -> None:
    """Write a RELION 3.1 star file (blocks ``optics`` and ``particles``).

    Numbers are written in the fewest digits that read back as the same number. The file appears under its
    name only when it is complete; the same particles give the same bytes.

    Parameters
    ----------
    particles : Particles
    path : path

    Raises
    ------
    InputError
        The folder does not exist or cannot be written.
    """
    blocks = {"optics": particles.optics, "particles": particles.table}
    text = starfile.to_string(blocks, float_format=None, na_rep="nan")
    # starfile's first line holds the time of writing
    _, _, text = text.partition("\n")
    with atomic_path(path) as temporary:
        temporary.write_text("# version 30001\n" + text, encoding="utf-8")


def _read_blocks(path: Path) -> dict[str, pd.DataFrame]:
    if not path.is_file():
        raise InputError(path, "no such file", "check the path")
    try:
        labels = set(re.findall(r"^\s*_(\S+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE))
        # Everything as text: the parser's own conversion of decimals is off by a last digit now and then.
        blocks = starfile.read(path, always_dict=True, parse_as_string=sorted(labels))
        return {name: _typed(_as_frame(block)) for name, block in blocks.items()}
    except Exception as error:  # starfile's parser fails in as many ways as files are broken
        problem = f"is not a readable star file ({error})"
        raise InputError(path, problem, "write it again from RELION") from error


def _as_frame(block: pd.DataFrame | dict[str, str]) -> pd.DataFrame:
    return block if isinstance(block, pd.DataFrame) else pd.DataFrame([block])


def _typed(block: pd.DataFrame) -> pd.DataFrame:
    """Text to whole numbers or exactly rounded decimals, column by column; names stay text, even '001'."""
    return pd.DataFrame({label: _typed_column(label, block[label]) for label in block.columns})


def _typed_column(label: str, column: pd.Series) -> pd.Series:
    if label.endswith("Name"):
        return column
    try:
        numbers = pd.to_numeric(column)
    except ValueError:
        return column
    return column.astype(np.float64) if numbers.dtype.kind == "f" else numbers


def _particle_block(path: Path, blocks: dict[str, pd.DataFrame]) -> pd.DataFrame:
    if "particles" in blocks:
        return blocks["particles"]
    found = [block for block in blocks.values() if "rlnImageName" in block]
    if len(found) != 1:
        problem = f"{len(found)} of its blocks ({', '.join(map(repr, blocks)) or 'none'}) hold rlnImageName"
        raise InputError(path, problem, "give a star file with one table of particle images")
    return found[0]


def _with_optics(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Move the columns of the optics table there from a RELION 3.0 particle table."""
    table = _with_pixel_size(table)
    labels = [label for label in OPTICS_LABELS if label in table]
    groups = table.groupby(labels, sort=False, dropna=False).ngroup() if labels else pd.Series(0, table.index)
    optics = table.loc[~groups.duplicated(), labels].reset_index(drop=True)
    numbers = np.arange(1, len(optics) + 1)
    optics.insert(0, "rlnOpticsGroup", numbers)
    optics.insert(1, "rlnOpticsGroupName", [f"opticsGroup{number}" for number in numbers])
    optics["rlnImageDimensionality"] = 2
    return table.drop(columns=labels).assign(rlnOpticsGroup=groups + 1), optics


def _with_pixel_size(table: pd.DataFrame) -> pd.DataFrame:
    magnification = ["rlnDetectorPixelSize", "rlnMagnification"]
    if "rlnImagePixelSize" not in table:
        if "rlnPixelSize" in table:
            table = table.rename(columns={"rlnPixelSize": "rlnImagePixelSize"})
        elif set(magnification) <= set(table):
            size = table["rlnDetectorPixelSize"] * 1e4 / table["rlnMagnification"]
            table = table.assign(rlnImagePixelSize=size)
    return table.drop(columns=magnification, errors="ignore")


def _complete_optics(path: Path, table: pd.DataFrame, optics: pd.DataFrame) -> None:
    """Take into the optics table what a mixed file has only once a particle."""
    for frame, where in ((table, "particle"), (optics, "optics")):
        if "rlnOpticsGroup" not in frame:
            raise InputError(path, f"the {where} table has no rlnOpticsGroup", "add the column")
    for label in OPTICS_LABELS:
        if label in optics or label not in table:
            continue
        values = table.groupby("rlnOpticsGroup")[label]
        if (values.nunique() > 1).any():
            problem = f"{label} differs within an optics group"
            raise InputError(path, problem, "split the group, and move the column to the optics table")
        optics[label] = optics["rlnOpticsGroup"].map(values.first())


def _fill_in(particles: Particles, label: str, parameter: str, value: float) -> None:
    optics = particles.optics
    if label not in optics:
        optics[label] = float(value)
    odd = optics.loc[~np.isclose(optics[label], value, rtol=1e-3), label]
    if len(odd):
        raise InputError(
            particles.path,
            f"{label} is {odd.iloc[0]:g} in the file, but {parameter} says {value:g}",
            f"leave {parameter} out, or correct the file",
        )


def _origins_to_angstrom(particles: Particles) -> None:
    table, optics = particles.table, particles.optics
    for pixels, angstrom in zip(PIXEL_ORIGINS, ORIGINS, strict=True):
        if pixels in table and angstrom not in table:
            if "rlnImagePixelSize" not in optics:
                problem = f"{pixels} is in px, and the file has no pixel size"
                raise InputError(particles.path, problem, "give --pixel_size (Å/px)")
            table[angstrom] = table[pixels] * optics["rlnImagePixelSize"].to_numpy()[particles.optics_rows()]
    # Kept beside the new ones they would contradict them after the first change of pose.
    table.drop(columns=PIXEL_ORIGINS, errors="ignore", inplace=True)
