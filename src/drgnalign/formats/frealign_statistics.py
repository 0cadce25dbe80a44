"""Tables of resolution statistics that the two Frealigns write, and need for the next refinement."""

from __future__ import annotations

from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from drgnalign.errors import InputError

FREALIGNX = ["shell", "resolution_angstrom", "ring_radius", "fsc", "part_fsc", "part_sqrt_ssnr", "rec_sqrt_ssnr"]
FREALIGN9 = [
    *FREALIGNX[:3],
    "fourier_shell_phase_residual",
    *FREALIGNX[3:],
    "cc",
    "expected_cc",
    "sigma_cc",
    "erfc",
    "voxels",
]
# Frealign 9's columns run together where numbers are large: behind the C of a comment I4, F8.2, F10.4 …
WIDTHS9 = (4, 8, 10, 7, 7, 10, 11, 10, 9, 9, 9, 6, 8)
EDGES9 = list(pairwise(accumulate(WIDTHS9, initial=1)))


def read_statistics(path: str | Path) -> pd.DataFrame:
    """Read the statistics of a reconstruction.

    Parameters
    ----------
    path : path
        FrealignX's statistics, or a result or parameter file of Frealign 9 with the table in its comments.

    Returns
    -------
    DataFrame
        One row a shell, from 2 (1 is the origin) to box // 2 + 1: ``shell``, ``resolution_angstrom``,
        ``ring_radius`` (1/px), ``fsc``, ``part_fsc`` (the particle's, in its volume), ``part_sqrt_ssnr``,
        ``rec_sqrt_ssnr``, and from Frealign 9 also ``fourier_shell_phase_residual`` (degrees), ``cc``,
        ``expected_cc``, ``sigma_cc``, ``erfc`` and ``voxels``. Frealign 9 leaves some of the last ones, and some
        rows of ``rec_sqrt_ssnr``, unset. Numbers too large for their column are NaN.

    Raises
    ------
    InputError
        No such file, or no statistics in it, or a table with a shell missing.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "no such file", "check the path")
    lines = path.read_text(encoding="latin-1").splitlines()
    header = next((i for i, line in enumerate(lines) if line.startswith("C") and "Part_SSNR" in line), None)
    if header is None:
        raise InputError(path, "has no table with Part_SSNR", "give the statistics of a reconstruction")
    is_nine = "TOTVOX" in lines[header]
    rows = _rows9(path, lines, header) if is_nine else _rows_x(path, lines)
    if not rows:
        raise InputError(path, "its table of statistics has no rows", "give the statistics of a reconstruction")
    table = pd.DataFrame(np.array(rows), columns=FREALIGN9 if is_nine else FREALIGNX)
    table["shell"] = table["shell"].astype(np.int64)
    if table["shell"].tolist() != list(range(2, len(table) + 2)):
        raise InputError(path, "shells of the table of statistics are missing", "make the reconstruction again")
    return table


def _rows9(path: Path, lines: list[str], header: int) -> list[list[float]]:
    rows = []
    for number in range(header + 1, len(lines)):
        line = lines[number]
        if not line[1:5].strip().isdigit():
            break
        rows.append(_numbers(path, number, [line[start:stop] for start, stop in EDGES9]))
    return rows


def _rows_x(path: Path, lines: list[str]) -> list[list[float]]:
    rows = []
    for number, line in enumerate(lines):
        if line.strip() and not line.startswith("C"):
            fields = line.split()
            if len(fields) != len(FREALIGNX):
                problem = f"line {number + 1} has {len(fields)} columns, not {len(FREALIGNX)}"
                raise InputError(path, problem, "give the statistics of a reconstruction")
            rows.append(_numbers(path, number, fields))
    return rows


def _numbers(path: Path, number: int, fields: list[str]) -> list[float]:
    try:
        # Fortran fills a column with asterisks where a number is too large for it
        values = [np.nan if field.strip().strip("*") == "" and "*" in field else float(field) for field in fields]
    except ValueError as error:
        raise InputError(path, f"line {number + 1}: {error}", "make the reconstruction again") from error
    if not 0 < values[0] < 1e6:
        raise InputError(path, f"line {number + 1}: {values[0]:g} is no shell", "make the reconstruction again")
    return values
