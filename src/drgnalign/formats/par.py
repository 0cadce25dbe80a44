"""Frealign parameter files: version 8, version 9 and FrealignX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.errors import InputError
from drgnalign.particles import Particles

# Columns by their number, which decides the version. Shifts are in px in version 8 and in Å in the others,
# PSHIFT is in radians.
V8 = ["N", "PSI", "THETA", "PHI", "SHX", "SHY", "MAG", "FILM", "DF1", "DF2", "ANGAST", "PRESA"]
V9 = [*V8[:-1], "OCC", "LOGP", "SIGMA", "SCORE", "CHANGE"]
X = [*V8[:7], "INCLUDE", "DF1", "DF2", "ANGAST", "PSHIFT", *V9[-5:]]
LAYOUTS = {len(columns): columns for columns in (V8, V9, X)}


def read_par(
    path: str | Path,
    stack: str,
    *,
    pixel_size: float | None,
    voltage: float | None,
    cs: float | None,
    amplitude_contrast: float | None,
) -> Particles:
    """Read a Frealign parameter file; the number of columns (12, 16, 17) decides which version's.

    Lines that begin with ``C`` are comments, wherever they stand. PHI, THETA, PSI are RELION's rot, tilt,
    psi; SHX, SHY are the particle's displacement from the box centre, so that its origin is minus that.

    Parameters
    ----------
    path : path
    stack : str
        Name of the one stack that the file's image numbers refer to.
    pixel_size, voltage, cs, amplitude_contrast : float
        Å/px, kV, mm, fraction: a par file does not hold them.

    Returns
    -------
    Particles

    Raises
    ------
    InputError
        A parameter is missing, or the file is missing, empty, ragged, of an unknown number of columns, or
        holds something that is no number.
    """
    path = Path(path)
    if pixel_size is None or voltage is None or cs is None or amplitude_contrast is None:
        problem = "a par file holds neither pixel size, voltage, Cs nor amplitude contrast"
        raise InputError(path, problem, "give --pixel_size, --voltage, --cs and --amplitude_contrast")
    rows = _read_rows(path)
    par = pd.DataFrame(rows, columns=LAYOUTS[rows.shape[1]])
    to_angstrom = pixel_size if rows.shape[1] == len(V8) else 1.0
    table = pd.DataFrame(
        {
            "rlnImageName": [f"{_image_number(path, number):06d}@{stack}" for number in par["N"]],
            "rlnOpticsGroup": 1,
            "rlnAngleRot": par["PHI"],
            "rlnAngleTilt": par["THETA"],
            "rlnAnglePsi": par["PSI"],
            "rlnOriginXAngst": -par["SHX"] * to_angstrom,
            "rlnOriginYAngst": -par["SHY"] * to_angstrom,
            "rlnDefocusU": par["DF1"],
            "rlnDefocusV": par["DF2"],
            "rlnDefocusAngle": par["ANGAST"],
            "rlnPhaseShift": np.degrees(par["PSHIFT"]) if "PSHIFT" in par else 0.0,
        }
    )
    optics = pd.DataFrame(
        {
            "rlnOpticsGroup": [1],
            "rlnOpticsGroupName": ["opticsGroup1"],
            "rlnVoltage": [float(voltage)],
            "rlnSphericalAberration": [float(cs)],
            "rlnAmplitudeContrast": [float(amplitude_contrast)],
            "rlnImagePixelSize": [float(pixel_size)],
            "rlnImageDimensionality": [2],
        }
    )
    particles = Particles(table, optics, path)
    particles.validate()
    return particles


def _image_number(path: Path, number: float) -> int:
    # written so that NaN is refused as well
    if not (number >= 1 and number.is_integer()):
        raise InputError(path, f"{number:g} is no image number", "the first column counts images from 1")
    return int(number)


def _read_rows(path: Path) -> NDArray[np.float64]:
    if not path.is_file():
        raise InputError(path, "no such file", "check the path")
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text(encoding="latin-1").splitlines(), start=1):
        fields = line.split()
        if line.startswith("C") or not fields:
            continue
        if len(fields) != len(rows[0] if rows else fields) or len(fields) not in LAYOUTS:
            problem = f"line {number} has {len(fields)} columns"
            raise InputError(path, problem, "give 12 (Frealign 8), 16 (9) or 17 (FrealignX) in every row")
        try:
            rows.append([float(field) for field in fields])
        except ValueError as error:
            raise InputError(path, f"line {number}: {error}", "correct or remove the line") from error
    if not rows:
        raise InputError(path, "has no rows", "give a par file with one row a particle")
    return np.array(rows)
