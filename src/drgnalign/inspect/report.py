"""A report on a file, and what all parts of it are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.arrays import FloatArray
from drgnalign.errors import InputError
from drgnalign.particles import ANGLES, DEFOCUS, ORIGINS, PIXEL_ORIGINS

# level, what
Findings = Iterator[tuple[str, str]]

NAMES_BY_UNIT = {
    "°": (
        *(*ANGLES, "rlnDefocusAngle", "rlnPhaseShift", "PSI", "THETA", "PHI", "ANGAST", "fourier_shell_phase_residual"),
        *("cisTEMAnglePsi", "cisTEMAngleTheta", "cisTEMAnglePhi", "cisTEMDefocusAngle"),
    ),
    "Å": (
        *(*ORIGINS, *DEFOCUS[:2], "rlnCtfMaxResolution", "SHX", "SHY", "DF1", "DF2", "resolution_angstrom"),
        *("cisTEMXShift", "cisTEMYShift", "cisTEMDefocus1", "cisTEMDefocus2", "cisTEMImageShiftX", "cisTEMImageShiftY"),
    ),
    "px": (*PIXEL_ORIGINS, "rlnCoordinateX", "rlnCoordinateY", "rlnImageSize"),
    "1/px": ("ring_radius",),
    "Å/px": (
        "rlnImagePixelSize",
        "rlnPixelSize",
        "rlnMicrographPixelSize",
        "rlnMicrographOriginalPixelSize",
        "cisTEMPixelSize",
    ),
    "mrad": ("rlnBeamTiltX", "rlnBeamTiltY", "cisTEMBeamTiltX", "cisTEMBeamTiltY"),
    "kV": ("rlnVoltage", "cisTEMMicroscopeVoltagekV"),
    "mm": ("rlnSphericalAberration", "cisTEMMicroscopeCsMM"),
    "µm": ("rlnDetectorPixelSize",),
    "Å²": ("rlnCtfBfactor",),
    "rad": ("PSHIFT", "cisTEMPhaseShift"),
    "%": ("OCC", "cisTEMOccupancy"),
}
UNITS = {name: unit for unit, names in NAMES_BY_UNIT.items() for name in names}
# Of cryoSPARC's fields by their ends.
FIELD_UNITS = {"_A": "Å", "_rad": "rad", "_kv": "kV", "_mm": "mm", "/pose": "rad", "/shift": "px", "/shape": "px"}


@dataclass
class Report:
    """What is found out about a file; `drgnalign.inspect.inspect_file` says what the fields hold."""

    file: str
    kind: str = "unknown"
    rows: int | None = None
    columns: dict[str, str | None] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    findings: list[dict[str, str]] = field(default_factory=list)
    every_image: bool = False

    def add(self, level: str, what: str) -> None:
        """Note a finding, once."""
        finding = {"level": level, "what": what}
        if finding not in self.findings:
            self.findings.append(finding)

    def extend(self, findings: Findings) -> None:
        """Note all of them."""
        for level, what in findings:
            self.add(level, what)


def refusal(check: Callable[[], None]) -> Findings:
    """What a check refuses."""
    try:
        check()
    except InputError as error:
        yield "error", f"{error.problem}; {error.remedy}"


def with_units(names: Iterable[str]) -> dict[str, str | None]:
    """Columns, each with its unit where that is known."""
    ends = FIELD_UNITS.items()
    return {name: UNITS.get(name) or next((unit for end, unit in ends if name.endswith(end)), None) for name in names}


def numbers(frame: pd.DataFrame, label: str) -> FloatArray:
    """A column as numbers; NaN where it is missing."""
    if label not in frame:
        return np.full(len(frame), np.nan)
    return pd.to_numeric(frame[label], errors="coerce").to_numpy(np.float64)


def rows_of(chosen: NDArray[np.bool_]) -> str:
    """``3 of 8 rows``."""
    return f"{chosen.sum():,} of {len(chosen):,} rows"


def spread(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of the numbers 0…count−1, evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def short(value: Any) -> Any:
    """A number as a person writes it; text as it is."""
    if isinstance(value, str):
        return value
    number = float(f"{float(value):.6g}")
    if not np.isfinite(number):
        return str(number)
    return int(number) if number.is_integer() else number


def counts(values: pd.Series) -> dict[str, int]:
    """How many rows have each value."""
    return {f"{short(value)}": int(count) for value, count in values.value_counts().sort_index().items()}


def finite(value: float) -> float | None:
    """The number, where JSON has one for it."""
    return float(value) if np.isfinite(value) else None


def value_range(values: NDArray, unit: str) -> dict[str, Any]:
    """Least, median and greatest of the values that are finite."""
    values = values[np.isfinite(values)].astype(np.float64)
    with np.errstate(over="ignore"):
        three = (values.min(), np.median(values), values.max()) if len(values) else [np.nan] * 3
    return {"unit": unit} | dict(zip(("min", "median", "max"), map(finite, three), strict=True))


def ranges(table: pd.DataFrame, names: dict[str, str], units: dict[str, str] = UNITS) -> dict[str, Any]:
    """Ranges of those of the columns that the table has, by their names in the report."""
    return {name: value_range(numbers(table, label), units[label]) for label, name in names.items() if label in table}
