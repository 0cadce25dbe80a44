"""Particle files of any kind, told by their names."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd

from drgnalign.constants import check_constants
from drgnalign.errors import InputError, InputWarning
from drgnalign.exclusion import ACTIVITY_COLUMN, OCCUPANCY_COLUMN, RULES, excluded_by, partly_occupied
from drgnalign.files import suffix_of
from drgnalign.formats.cistem import is_cistem, read_cistem, write_cistem
from drgnalign.formats.cryodrgn import write_cryodrgn
from drgnalign.formats.cryosparc import read_cs, write_cs
from drgnalign.formats.cryosparc.fields import fields_lost
from drgnalign.formats.labels import first_of
from drgnalign.formats.packed import refuse_packed
from drgnalign.formats.par import LAYOUTS, layout_of, read_par, write_par
from drgnalign.formats.star import read_star, write_star
from drgnalign.half_sets import SOURCE_UID_COLUMN, ties
from drgnalign.optics import optics_terms
from drgnalign.particles import (
    ANGLES,
    BEAM_TILT,
    DEFOCUS,
    HALVES,
    LEFT_OUT,
    ORIGINS,
    PARTICLE_FILES,
    PHASE_FLIPPED,
    PREMULTIPLIED,
    Particles,
)

# What can be written; a par file's version does not follow from its name.
TARGETS = ["star", "cistem", "par8", "par9", "parx", "cryodrgn", "cs"]
CISTEM_BINARY = ".cistem"
# Whose files say of each particle whether it is active.
WITH_ACTIVITY = ("parx", "parx_extended", "cistem")
# What a target's program takes protein for in the images, and what to do where it is not.
EXPECTED_CONTRAST = {
    "star": ("white", "RELION", "invert the images: relion_image_handler --multiply_constant -1"),
    "cistem": ("dark", "cisTEM", "invert the images"),
    "par": ("dark", "Frealign", "invert the images"),
    "cryodrgn": ("dark", "cryoDRGN", "train with --uninvert-data"),
}
# As what a file of such a name is written; a .star file may be cisTEM's.
FORM_OF_NAME = {".star": "star", ".par": "par", ".parx": "par", ".cs": "cs"}
# Whose image names say the stack.
NAMES_STACKS = (".star", ".cs")
# Columns by which Frealign and cisTEM leave particles out: their star file's readers take no notice.
FOREIGN_TO_RELION = (ACTIVITY_COLUMN, OCCUPANCY_COLUMN)
# What every form holds of a particle, or what is told of it apart.
EVERYWHERE = [*("rlnImageName", "rlnMicrographName", "rlnOpticsGroup", "rlnPhaseShift"), *ANGLES, *ORIGINS, *DEFOCUS]
EVERYWHERE += ["rlnCoordinateY"]
# What no form but RELION's can say.
DONE_TO_IMAGES = (PHASE_FLIPPED, PREMULTIPLIED)


@dataclass(frozen=True)
class Facts:
    """What a file may lack and the user knows.

    Parameters
    ----------
    pixel_size, voltage, cs, amplitude_contrast : float, optional
        Å/px, kV, mm, fraction.
    """

    pixel_size: float | None = None
    voltage: float | None = None
    cs: float | None = None
    amplitude_contrast: float | None = None


def read_particle_file(
    path: str | Path,
    stack: str | None = None,
    passthrough: Sequence[str | Path] = (),
    facts: Facts | None = None,
    *,
    dropped: Sequence[int] = (),
    keep_pixels: bool = False,
) -> Particles:
    """Read a ``.star`` (RELION's or cisTEM's), ``.par``, ``.parx`` or ``.cs`` file.

    Parameters
    ----------
    path : path
    stack : str, optional
        Name of the stack whose images a par file numbers, or one of cisTEM's without it. The others name their stacks
        themselves.
    passthrough : sequence of path, optional
        Of a cryoSPARC file; see `drgnalign.formats.cryosparc.read_cs`.
    facts : Facts, optional
    dropped : sequence of int, optional
        Rows, from 0, that are left out before anything is looked at: what is wrong in them does not matter.
    keep_pixels : bool
        Shifts in px stay so where their pixel size is not known, instead of being refused.

    Returns
    -------
    Particles

    Raises
    ------
    InputError
        See the reader of each format; or constants that cannot be (`drgnalign.constants`).
    """
    path = Path(path)
    given = asdict(facts or Facts())
    suffix = suffix_of(path)
    if passthrough and suffix != ".cs":
        raise InputError(path, "only cryoSPARC's files have passthrough files", "leave out --passthrough")
    particles = _read(path, suffix, stack, passthrough, given, dropped, keep_pixels).without_unused_groups()
    check_constants(particles)
    return particles


def _read(
    path: Path,
    suffix: str,
    stack: str | None,
    passthrough: Sequence[str | Path],
    given: dict[str, float | None],
    dropped: Sequence[int],
    keep_pixels: bool,
) -> Particles:
    if suffix not in PARTICLE_FILES:
        _refuse_name(path, suffix)
    if suffix == ".star" and is_cistem(path):
        return read_cistem(path, stack, **given, dropped=dropped)
    if suffix == ".star":
        return read_star(path, **given, dropped=dropped, keep_pixels=keep_pixels)
    if suffix in (".par", ".parx"):
        return read_par(path, stack, **given, dropped=dropped)
    return read_cs(path, passthrough, **given, dropped=dropped, keep_pixels=keep_pixels)


def _refuse_name(path: Path, suffix: str) -> NoReturn:
    if path.is_file():
        refuse_packed(path)
    problem = f"files of type {path.suffix!r} cannot be read as particles"
    remedy = "give a .star, .par, .parx or .cs file; cryoDRGN's pickles with --poses and --ctf"
    if suffix == CISTEM_BINARY:
        problem, remedy = "is a binary file of cisTEM's", "make a star file of it with cisTEM's convert_binary_to_star"
    raise InputError(path, problem, remedy)


def target_of(path: str | Path, to: str | None, particles: Particles) -> str:
    """What a file is to be written as: as told, else as its name says, a par file in the version it was read in.

    Parameters
    ----------
    path : path
    to : str or None
        One of `TARGETS`.
    particles : Particles

    Returns
    -------
    str
        One of `TARGETS`, or ``parx_extended`` for particles of such a file.

    Raises
    ------
    InputError
        The name does not say it, or says something else.
    """
    suffix = suffix_of(path)
    kind = None
    if suffix == ".star":
        kind = to if to == "cistem" else "star"
    elif suffix == ".cs":
        kind = "cs"
    elif suffix in (".par", ".parx"):
        kind = to if to in LAYOUTS else layout_of(particles)
    else:
        kind = to
    if kind is None or to not in (None, kind):
        wish = "" if to is None else f" as {to}"
        if suffix in (".par", ".parx") and to is None:
            raise InputError(path, "there are several kinds of par files", "say which: --to par8, par9 or parx")
        remedy = "name it .star (RELION's, or with --to cistem cisTEM's), .cs or .par (with --to par8, par9 or parx), "
        remedy += "or a folder with --to cryodrgn"
        raise InputError(path, f"its name does not tell how to write it{wish}", remedy)
    return kind


def write_particle_file(particles: Particles, path: str | Path, target: str) -> None:
    """Write particles.

    Parameters
    ----------
    particles : Particles
    path : path
        Of ``cryodrgn`` a folder.
    target : str
        See `target_of`.

    Raises
    ------
    InputError
        See the writer of each format.
    """
    if target != "star":
        # no other form can say that the images are so
        particles.refuse_treated()
    _warn_of_loss(particles, target)
    if target in WITH_ACTIVITY:
        particles = _with_activity(particles)
    if target == "star":
        write_star(particles, path)
    elif target == "cs":
        write_cs(particles, path)
    elif target == "cistem":
        write_cistem(particles, path)
    elif target == "cryodrgn":
        write_cryodrgn(particles, path)
    else:
        write_par(particles, path, target)


def _with_activity(particles: Particles) -> Particles:
    """Particles whose activity is below 0 where they are left out, unless the file says it by an occupancy of 0."""
    found = excluded_by(particles)
    by_occupancy = found.pop(OCCUPANCY_COLUMN, np.zeros(len(particles), np.bool_))
    out = np.any([particles.left_out() & ~by_occupancy, *found.values()], axis=0)
    if not out.any():
        return particles
    activity = np.ones(len(particles))
    if ACTIVITY_COLUMN in particles.table:
        activity = particles.table[ACTIVITY_COLUMN].fillna(1).to_numpy(np.float64)
    activity = np.where(out & (activity >= 0), -1, activity)
    return replace(particles, table=particles.table.assign(**{ACTIVITY_COLUMN: activity.astype(np.int64)}))


def _says(column: pd.Series) -> bool:
    """Does a column tell particles apart? A half set does so alone, too: the other one is in another file; and a
    filament, which is numbered within its micrograph."""
    alone = {"rlnRandomSubset": column.isin([1, 2]).any(), "rlnHelicalTubeID": True}
    return column.nunique() > 1 or bool(alone.get(str(column.name), False))


def _shared_sources(particles: Particles) -> list[str]:
    """What is said of rows that were made of one image, as by symmetry expansion: who does not know parts them."""
    tied = ties(particles)
    sources = len(np.unique(tied.get("source images", tied["images"])))
    if sources == len(np.unique(tied["images"])):
        return []
    return [f"that its rows are of {sources:,} source images, which half sets must not part"]


def _has_occupancies(target: str) -> bool:
    return target == "cistem" or (target in LAYOUTS and "OCC" in LAYOUTS[target].names)


def _warn_of_loss(particles: Particles, target: str) -> None:
    """Say what the target has no place for."""
    table = particles.table
    lost = []
    if target != "cs" and particles.cs_rows is not None:
        lost += [f"cryoSPARC's {slot}" for slot in fields_lost(particles.cs_rows)]
    if target not in ("star", "cs"):
        names = {"rlnRandomSubset": "half sets", "rlnClassNumber": "classes", "rlnHelicalTubeID": "filaments"}
        names |= {"rlnCoordinateX": "places in micrographs"}
        if target == "cryodrgn":
            names["rlnMicrographName"] = "micrographs"
        # what was done to the images is a message of its own
        terms = [term for term in optics_terms(particles) if term.matters_at() and term.columns not in DONE_TO_IMAGES]
        if target == "cistem":
            del names["rlnRandomSubset"]
            terms = [term for term in terms if BEAM_TILT[0] not in term.columns]
        lost += [what for label, what in names.items() if label in table and _says(table[label])]
        lost += [str(term) for term in terms]
        told = [label for term in optics_terms(particles) for label in term.columns.split("/")]
        known = {*EVERYWHERE, *names, *told, "rlnRandomSubset"}
        others = [label for label in map(str, table) if label.startswith("rln") and label not in known]
        lost += first_of([label for label in others if _says(table[label])])
    if target != "star" and not (target == "cs" and SOURCE_UID_COLUMN in table):
        lost += _shared_sources(particles)
    if target != "star" and HALVES in particles.optics and "rlnRandomSubset" in table:
        lost.append(f"that its half sets are not independent, or not known to be ({HALVES})")
    if target not in ("star", *WITH_ACTIVITY):
        kept = (OCCUPANCY_COLUMN,) if _has_occupancies(target) else ()
        out = {label: mine for label, mine in excluded_by(particles).items() if label not in kept}
        lost += [f"that {mine.sum()} particles are left out by {RULES[label].what}" for label, mine in out.items()]
        left_out = int(particles.left_out().sum())
        if left_out:
            how = "`drgnalign select --kept` writes the others"
            lost.append(f"that {left_out} particles are left out ({LEFT_OUT}; {how})")
    partly = int((partly_occupied(particles) | (particles.occupancies() < 1)).sum())
    if partly and not _has_occupancies(target) and target != "star":
        lost.append(f"the occupancies between 0 and 100 % of {partly:,} particles")
    messages = [f"what is written has no place for {', '.join(lost)}"] if lost else []
    done = [f"{term.what} ({term.columns})" for term in optics_terms(particles) if term.columns in DONE_TO_IMAGES]
    if target != "star" and done:
        messages.append(
            f"what is written cannot say that it is of {' and '.join(done)}: who reads it takes them for images as "
            "recorded, and its maps will be wrong, unless that program is told in another way"
        )
    if target == "star" and partly:
        messages.append(f"RELION does not read the occupancies of {partly:,} particles, which are between 0 and 100 %")
    foreign = {label: mine for label, mine in excluded_by(particles).items() if label in FOREIGN_TO_RELION}
    if target == "star" and foreign:
        reasons = ", ".join(f"{mine.sum():,} by {RULES[label].what}" for label, mine in foreign.items())
        messages.append(
            f"particles were left out by their own program ({reasons}), which RELION does not read: it will use them; "
            "`drgnalign select --kept` writes the others"
        )
    messages += _contrast_messages(particles, target)
    for message in messages:
        warnings.warn(f"{particles.path}: {message}", InputWarning, stacklevel=3)


def expected_contrast(target: str) -> str | None:
    """What a target's program takes protein for in the images; cryoSPARC is told, and takes nothing for granted."""
    return None if target == "cs" else EXPECTED_CONTRAST["par" if target.startswith("par") else target][0]


def usual_contrast(particles: Particles) -> str | None:
    """The same of the program whose file the particles come from."""
    form = FORM_OF_NAME.get(suffix_of(particles.path), "cryodrgn")
    return expected_contrast("cistem" if form == "star" and is_cistem(particles.path) else form)


def _contrast_messages(particles: Particles, target: str) -> list[str]:
    """What is said of the contrast, which only cryoSPARC's files and our column tell, where the program that reads what
    is written takes images for the other one."""
    if target == "cs" or "drgnContrast" not in particles.optics:
        return []
    expected, program, remedy = EXPECTED_CONTRAST["par" if target.startswith("par") else target]
    said = sorted(set(particles.used_optics()["drgnContrast"].astype(str)))
    if said == [expected] or (target == "star" and suffix_of(particles.path) == ".star"):
        return []
    place = f"{program} does not read" if target == "star" else "what is written has no place for"
    found = f"protein is {' and '.join(said)} in the images; {program} takes it for {expected}"
    return [f"{place} the contrast: {found}: {remedy}"]
