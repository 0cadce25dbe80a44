"""Constants of the microscope and the images: what cannot be, with the unit that it is probably in, and what is odd.

Each is asked of the groups that particles use, wherever the file had it. Of defoci and phase shifts the median decides,
as single fits fail.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from drgnalign.arrays import FloatArray
from drgnalign.ctf import lenses, listed_numbers
from drgnalign.errors import InputError, InputWarning
from drgnalign.optics import CRYOSPARC_ORDERS
from drgnalign.particles import (
    ANGLES,
    BEAM_TILT,
    CRYOSPARC_TERMS,
    DEFOCUS,
    DIVIDED,
    MIRRORED,
    NEUTRAL_CTF,
    ORIGINS,
    PHASE_FLIPPED,
    PREMULTIPLIED,
    Particles,
)

ERROR, WARNING = "error", "warning"


class Finding(NamedTuple):
    """What is wrong, how badly (`ERROR` or `WARNING`), and what to do."""

    level: str
    problem: str
    remedy: str


class Constant(NamedTuple):
    """A constant, within what it can be, and what it usually is (both included).

    `units` are those that it is written in by mistake, with how many of them make the right one.
    """

    name: str
    unit: str
    possible: tuple[float, float]
    usual: tuple[float, float]
    units: Mapping[str, float]


_LENGTHS = {"nm": 0.1, "pm": 100.0, "µm": 1e-4, "m": 1e-10}
CONSTANTS = {
    # microscopes have been built for 3 MV; below 20 kV nothing passes through ice
    "rlnVoltage": Constant("voltage", " kV", (20.0, 3500.0), (80.0, 400.0), {"V": 1e3, "MV": 1e-3}),
    # corrected ones may have any small one, of either sign
    "rlnSphericalAberration": Constant(
        "spherical aberration", " mm", (-1.0, 20.0), (0.01, 6.5), {"µm": 1e3, "nm": 1e6, "Å": 1e7, "m": 1e-3}
    ),
    "rlnAmplitudeContrast": Constant("amplitude contrast", "", (0.0, 1.0), (0.0, 0.2), {"per cent": 100.0}),
    "rlnImagePixelSize": Constant("pixel size", " Å", (0.2, 50.0), (0.4, 20.0), _LENGTHS),
    BEAM_TILT[0]: Constant("beam tilt", " mrad", (-30.0, 30.0), (-5.0, 5.0), {"µrad": 1e3}),
    BEAM_TILT[1]: Constant("beam tilt", " mrad", (-30.0, 30.0), (-5.0, 5.0), {"µrad": 1e3}),
    "rlnCtfBfactor": Constant("B-factor of the CTF", " Å²", (-5000.0, 20000.0), (-500.0, 1000.0), {}),
    "rlnCtfScalefactor": Constant("scale of the CTF", "", (0.0, 1000.0), (0.01, 50.0), {}),
}
FLAGS = (PHASE_FLIPPED, PREMULTIPLIED, DIVIDED, MIRRORED)
# Å: no particle fits into smaller images.
LEAST_BOX = 30.0
# Å: medians. Without a phase plate nothing is seen nearer to focus; most defoci are below the first if they are in nm.
LEAST_DEFOCUS, USUAL_DEFOCUS, MOST_DEFOCUS = 3_000.0, (5_000.0, 100_000.0), 500_000.0
LEAST_WITH_PLATE = 10.0
DEFOCUS_UNITS = {"nm": 0.1, "µm": 1e-4, "mm": 1e-7, "m": 1e-10}
# Share of the rows that a few failed fits make up. So many angles, spread by so much, reach beyond π in degrees.
MOST_ODD, FEWEST_ODD, FEWEST_ANGLES, SPREAD_OVER = 0.01, 4, 20, 0.4
# °: programs write angles of one turn, or of two where they add up.
MOST_ANGLE = 720.0
# °: what lies beyond has been converted from radians twice.
MOST_PHASE_SHIFT = 360.0


def check_constants(particles: Particles) -> None:
    """Refuse constants that cannot be, and tell those that are odd.

    Parameters
    ----------
    particles : Particles
        As read; columns that it lacks are not asked for, nor are values that are not finite.

    Raises
    ------
    InputError
        Names the constant, its value, and the unit that it is probably in.

    Warns
    -----
    InputWarning
    """
    for finding in constant_findings(particles):
        if finding.level == ERROR:
            raise InputError(particles.path, finding.problem, finding.remedy)
        warnings.warn(f"{particles.path}: {finding.problem}: {finding.remedy}", InputWarning, stacklevel=3)


def constant_findings(particles: Particles) -> Iterator[Finding]:
    """What `check_constants` refuses and tells; what cannot be comes first."""
    found = list(_findings(particles))
    yield from sorted(found, key=lambda finding: finding.level != ERROR)


def _findings(particles: Particles) -> Iterator[Finding]:
    optics = particles.used_optics()
    for frame, labels in ((optics, set(CONSTANTS) - set(NEUTRAL_CTF)), (particles.table, NEUTRAL_CTF)):
        for label in (label for label in CONSTANTS if label in labels and label in frame):
            name, *_ = particles.names_in_file([label])
            found = _constant_findings(name, CONSTANTS[label], _finite(frame[label]))
            yield from (_with_row(one, particles, label) for one in found)
    yield from _box_findings(optics)
    for label in FLAGS:
        for frame in (particles.table, optics):
            yield from _flag_findings(label, frame)
    try:
        lenses(particles)
    except InputError as error:
        yield Finding(ERROR, error.problem, error.remedy)
    yield from _kept_findings(optics)
    if set(DEFOCUS[:2]) <= set(particles.table):
        yield from _defocus_findings(particles)
    yield from _radians_findings(particles)
    yield from _turns_findings(particles)
    yield from _origin_findings(particles)
    if "rlnPhaseShift" in particles.table:
        yield from _phase_findings(_finite(particles.table["rlnPhaseShift"]))


def _finite(column: pd.Series) -> FloatArray:
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    return values[np.isfinite(values)]


def _constant_findings(label: str, constant: Constant, values: FloatArray) -> Iterator[Finding]:
    for level, (low, high) in ((ERROR, constant.possible), (WARNING, constant.usual)):
        odd = values[(values < low) | (values > high)]
        if len(odd):
            problem = f"the {constant.name} ({label}) is {odd[0]:g}{constant.unit}"
            problem += f", outside {low:g} to {high:g}{constant.unit}"
            yield Finding(level, problem, _remedy(odd[0], constant.usual, constant.unit, constant.units))
            return


def _with_row(finding: Finding, particles: Particles, label: str) -> Finding:
    """What cannot be, with the rows that say so, where a file without an optics table has it in some of its rows."""
    if particles.row_names is None or finding.level != ERROR or label not in particles.optics:
        return finding
    low, high = CONSTANTS[label].possible
    values = pd.to_numeric(particles.used_optics()[label], errors="coerce").to_numpy(np.float64)
    odd = particles.rows_of(np.isfinite(values) & ~((values >= low) & (values <= high)))
    command = particles.dropping(odd)
    if odd.all():
        return finding
    problem = f"row {odd.argmax() + 1}: {finding.problem} ({odd.sum():,} such rows)"
    return Finding(ERROR, problem, finding.remedy + (f", or leave the rows out: {command}" if command else ""))


def _remedy(value: float, usual: tuple[float, float], unit: str, units: Mapping[str, float]) -> str:
    """What to do, with the unit in which a value would be usual."""
    for other, factor in units.items():
        if usual[0] <= value / factor <= usual[1] and factor != 1:
            right = f"{value / factor:.6g}{unit or ', a fraction'}"
            return f"it seems to be in {other}, which is {right}: correct it in the file"
    return "check value and unit, and correct it in the file"


def _box_findings(optics: pd.DataFrame) -> Iterator[Finding]:
    if not {"rlnImageSize", "rlnImagePixelSize"} <= set(optics):
        return
    pixels = optics["rlnImagePixelSize"].to_numpy(np.float64)
    sizes = optics["rlnImageSize"].to_numpy(np.float64) * pixels
    small = (sizes > 0) & (sizes < LEAST_BOX)
    if small.any():
        pixel = pixels[small][0]
        problem = f"the images are only {sizes[small][0]:.4g} Å wide, with a pixel size of {pixel:g} Å"
        yield Finding(ERROR, problem, f"if that is in nm, it is {10 * pixel:g} Å: correct it in the file")


def _flag_findings(label: str, frame: pd.DataFrame) -> Iterator[Finding]:
    if label in frame:
        values = _finite(frame[label])
        odd = values[(values != 0) & (values != 1)]
        if len(odd):
            yield Finding(ERROR, f"{label} is {odd[0]:g}", "it says 1 for yes or 0 for no: correct it")


def _kept_findings(optics: pd.DataFrame) -> Iterator[Finding]:
    """Terms of the lens that nothing uses are given back to cryoSPARC, which does."""
    for label in optics.columns.intersection(list(CRYOSPARC_TERMS)):
        odd = [text for text in optics[label] if not np.isfinite(listed_numbers(text)).all()]
        if odd:
            problem = f"{CRYOSPARC_ORDERS[label][1]} ({label}) is {odd[0]}, which are not finite numbers"
            yield Finding(ERROR, problem, "estimate the aberrations again, or correct them in the file")


def _defocus_findings(particles: Particles) -> Iterator[Finding]:
    columns = {label: _finite(particles.table[label]) for label in DEFOCUS[:2]}
    if not all(len(values) for values in columns.values()):
        return
    if not any(values.any() for values in columns.values()):
        yield Finding(WARNING, "all defoci are 0: the CTF was not estimated", "estimate it")
        return
    plate = bool(particles.phase_shifts().any())
    findings = (_column_of_defoci(label, values, plate) for label, values in columns.items())
    # what one column has, the other one often has too
    yield from next((found for one in findings if (found := list(one))), [])


def _column_of_defoci(label: str, values: FloatArray, plate: bool) -> Iterator[Finding]:
    least, median = LEAST_WITH_PLATE if plate else LEAST_DEFOCUS, float(np.median(values))
    what = f"the median defocus ({label}) is {median:.6g} Å"
    if median < 0:
        yield Finding(ERROR, f"{what}: overfocus, or the wrong sign", "underfocus is positive: change the signs")
    elif median > MOST_DEFOCUS or median < least:
        yield Finding(ERROR, what, _defocus_remedy(median))
    elif not USUAL_DEFOCUS[0] <= median <= USUAL_DEFOCUS[1] and not (plate and median < USUAL_DEFOCUS[0]):
        yield Finding(WARNING, what, _defocus_remedy(median))
    else:
        yield from _some_defoci(label, values, least)


def _some_defoci(label: str, values: FloatArray, least: float) -> Iterator[Finding]:
    """Of a column that is as it should be on the whole: rows that are not, as of two files put together."""
    odd = values[(values < least) | (values > MOST_DEFOCUS)]
    if _are_many(len(odd), len(values)):
        problem = f"{len(odd):,} of {len(values):,} defoci ({label}) cannot be, such as {odd[0]:.4g} Å"
        yield Finding(WARNING, problem, _defocus_remedy(float(np.median(odd))))


def _are_many(odd: int, rows: int) -> bool:
    """More than a few failed fits?"""
    return odd >= max(FEWEST_ODD, MOST_ODD * rows)


def _radians_findings(particles: Particles) -> Iterator[Finding]:
    """Angles that are spread over a turn, if they are radians."""
    table = particles.table
    for what, labels, turn in (("poses", ANGLES, 2 * np.pi), ("astigmatism", [DEFOCUS[2]], np.pi)):
        if len(table) < FEWEST_ANGLES or not set(labels) <= set(table):
            continue
        columns = [_finite(table[label]) for label in labels]
        if all(len(angles) and np.abs(angles).max() <= turn and np.std(angles) > SPREAD_OVER for angles in columns):
            most = max(np.abs(angles).max() for angles in columns)
            problem = f"no angle of the {what} ({', '.join(labels)}) is beyond {most:.3g}°"
            yield Finding(WARNING, problem, "they seem to be radians: convert them to degrees")


def _turns_findings(particles: Particles) -> Iterator[Finding]:
    """Angles of several turns, as of degrees that were converted from radians once more."""
    for label in [*ANGLES, DEFOCUS[2]]:
        if label in particles.table:
            angles = np.abs(_finite(particles.table[label]))
            beyond = int((angles > MOST_ANGLE).sum())
            if _are_many(beyond, len(angles)):
                problem = f"{beyond:,} of {len(angles):,} angles ({label}) are beyond {MOST_ANGLE:g}°, up to"
                problem += f" {angles.max():,.0f}°"
                yield Finding(WARNING, problem, "degrees seem to have been written where radians belong: correct them")


def _origin_findings(particles: Particles) -> Iterator[Finding]:
    """Shifts that put particles outside of their images."""
    if not {*ORIGINS} <= set(particles.table) or not {"rlnImageSize", "rlnImagePixelSize"} <= set(particles.optics):
        return
    widths = (particles.optics["rlnImageSize"] * particles.optics["rlnImagePixelSize"]).to_numpy(np.float64)
    origins = particles.table[ORIGINS].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    with np.errstate(invalid="ignore"):
        outside = (np.abs(origins) > 0.5 * widths[particles.optics_rows()][:, None]).any(axis=1)
    if _are_many(int(outside.sum()), len(outside)):
        problem = f"{outside.sum():,} of {len(outside):,} particles are displaced by more than half of the box"
        yield Finding(WARNING, problem, f"check the unit of {' and '.join(ORIGINS)}, which are in Å")


def _defocus_remedy(median: float) -> str:
    return _remedy(median, (LEAST_DEFOCUS, USUAL_DEFOCUS[1]), " Å", DEFOCUS_UNITS)


def _phase_findings(degrees: FloatArray) -> Iterator[Finding]:
    if not len(degrees):
        return
    shifted = degrees[degrees != 0]
    if len(shifted) >= FEWEST_ODD and (shifted > 0).all() and (shifted < np.pi).all():
        problem = f"all phase shifts but 0 are between {shifted.min():.3g} and {shifted.max():.3g}°"
        yield Finding(WARNING, problem, "they seem to be radians; a phase plate gives tens of degrees")
    beyond = np.abs(degrees) > MOST_PHASE_SHIFT
    if beyond.any():
        level = ERROR if np.median(np.abs(degrees)) > MOST_PHASE_SHIFT else WARNING
        problem = f"{beyond.sum():,} of {len(degrees):,} phase shifts are beyond {MOST_PHASE_SHIFT:g}°"
        problem += f" (up to {np.abs(degrees).max():,.0f}°)"
        remedy = "degrees were written where radians belong (PSHIFT of FrealignX, cryoSPARC): correct them"
        yield Finding(level, problem, remedy)
