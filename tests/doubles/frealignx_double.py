"""Doubles of FrealignX's refine3d 1.02, reconstruct3d_stats 1.03 and merge3d 1.01 for tests.

They ask the programs' questions in the programs' words, write and read their layouts, and are far stricter: where the
real ones take what they are given and go wrong without a word, these end with status 255. What the programs compute is
computed by the native engine; the inner mask, the low-resolution limit and settings of searches change nothing.

A double also prints what it was given ("Reference checksum", "Particle numbers"), so that tests can see who read what.
The environment variable DRGNALIGN_DOUBLE_FAULT makes it misbehave once it has read its par file or its dumps:

=============  ========================================================================================================
nan            refine3d writes the rows as they were, and NaN into the first
fewer          refine3d writes the rows as they were, without the last
renumber       refine3d writes the rows as they were, the last with another N
killed         dies of SIGKILL; refine3d with half of its rows written
hang           does nothing for a minute
abort          says why and aborts; what it says is lost unless its output is line-buffered
disk_full      ends well, half of what it was to write written
no_closing     ends early, with status 0 and without its closing line
no_output      ends well without writing parameters, dumps or maps
flat_map       merge3d writes maps of zeros
newer          not a fault: reconstruct3d_stats and merge3d ask the questions of a newer version
=============  ========================================================================================================
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

# The library is imported where it is used: the questions need to be asked at once.
FAULT = os.environ.get("DRGNALIGN_DOUBLE_FAULT", "")
PROMPT_WIDTH = 51
WRITTEN = {"refine3d": ["output"], "reconstruct3d_stats": ["dump_odd", "dump_even"], "merge3d": ["statistics"]}

# A question's name here, its text, and what answers it: see `refusal`.
REFINE3D = [
    ("stack", "Input particle images", "input"),
    ("par", "Input Frealign parameter filename", "input"),
    ("reference", "Input reconstruction", "input"),
    ("statistics", "Input data statistics", "output"),
    ("use_statistics", "Use statistics", "yes"),
    ("projections", "Output matching projections", "output"),
    ("output", "Output parameter file", "output"),
    ("changes", "Output parameter changes", "output"),
    ("symmetry", "Particle symmetry", "symmetry"),
    ("first", "First particle to refine (0 = first in stack)", "whole"),
    ("last", "Last particle to refine (0 = last in stack)", "whole"),
    ("fraction", "Percent of particles to use (1 = all)", "share"),
    ("pixel_size", "Pixel size of images (A)", "pixel"),
    ("voltage", "Beam energy (keV)", "voltage"),
    ("cs", "Spherical aberration (mm)", "cs"),
    ("amplitude_contrast", "Amplitude contrast", "contrast"),
    ("mass", "Molecular mass of particle (kDa)", "mass"),
    ("inner", "Inner mask radius (A)", "real"),
    ("outer", "Outer mask radius (A)", "larger"),
    ("low", "Low resolution limit (A)", "real"),
    ("limit", "High resolution limit (A)", "smaller"),
    ("signed_limit", "Resolution limit for signed CC (A) (0.0 = max)", "real"),
    ("class_limit", "Res limit for classification (A) (0.0 = max)", "real"),
    ("search_mask", "Mask radius for global search (A) (0.0 = max)", "real"),
    ("search_limit", "Approx. resolution limit for search (A)", "real"),
    ("step", "Angular step (0.0 = set automatically)", "real"),
    ("hits", "Number of top hits to refine", "count"),
    ("range_x", "Search range in X (A) (0.0 = 0.5 * mask radius)", "real"),
    ("range_y", "Search range in Y (A) (0.0 = 0.5 * mask radius)", "real"),
    ("mask_x", "2D mask X coordinate (A)", "real"),
    ("mask_y", "2D mask Y coordinate (A)", "real"),
    ("mask_z", "2D mask Z coordinate (A)", "real"),
    ("mask_radius", "2D mask radius (A)", "real"),
    ("defocus_range", "Defocus search range (A)", "real"),
    ("defocus_step", "Defocus step (A)", "real"),
    ("padding", "Tuning parameters: padding factor", "factor"),
    ("global_search", "Global search", "yes"),
    ("local", "Local refinement", "yes"),
    ("psi", "Refine Psi", "yes"),
    ("theta", "Refine Theta", "yes"),
    ("phi", "Refine Phi", "yes"),
    ("x", "Refine ShiftX", "yes"),
    ("y", "Refine ShiftY", "yes"),
    ("matching", "Calculate matching projections", "yes"),
    ("masking", "Apply 2D masking", "yes"),
    ("defocus", "Refine defocus", "yes"),
    ("normalize", "Normalize particles", "yes"),
    ("invert", "Invert particle contrast", "yes"),
    ("blank_edges", "Exclude images with blank edges", "yes"),
    ("normalize_reference", "Normalize input reconstruction", "yes"),
    ("threshold_reference", "Threshold input reconstruction", "yes"),
]
RECONSTRUCT3D = [
    ("stack", "Input particle images", "input"),
    ("par", "Input Frealign parameter filename", "input"),
    ("input_map", "Input reconstruction", "no_map"),
    ("half1", "Output reconstruction 1", "output"),
    ("half2", "Output reconstruction 2", "output"),
    ("filtered", "Output filtered reconstruction", "output"),
    ("statistics", "Output resolution statistics", "output"),
    ("symmetry", "Particle symmetry", "symmetry"),
    ("first", "First particle to include (0 = first in stack)", "whole"),
    ("last", "Last particle to include (0 = last in stack)", "whole"),
    ("pixel_size", "Pixel size of images (A)", "pixel"),
    ("voltage", "Beam energy (keV)", "voltage"),
    ("cs", "Spherical aberration (mm)", "cs"),
    ("amplitude_contrast", "Amplitude contrast", "contrast"),
    ("mass", "Molecular mass of particle (kDa)", "mass"),
    ("inner", "Inner mask radius (A)", "real"),
    ("outer", "Outer mask radius (A)", "larger"),
    ("limit", "Rec. resolution limit (A) (0.0 = max)", "real"),
    ("reference_limit", "Ref. resolution limit (A) (0.0 = max)", "real"),
    ("weighting", "Particle weighting factor (A^2)", "real"),
    ("threshold", "Score threshold (<= 1 = percentage)", "real"),
    ("smoothing", "Tuning parameter: smoothing factor", "share"),
    ("padding", "Tuning parameters: padding factor", "factor"),
    ("normalize", "Normalize particles", "yes"),
    ("adjust", "Adjust scores for defocus dependence", "yes"),
    ("invert", "Invert particle contrast", "yes"),
    ("blank_edges", "Exclude images with blank edges", "yes"),
    ("crop", "Crop particle images", "yes"),
    ("even_odd", "FSC calculation with even/odd particles", "yes"),
    ("center", "Center mass", "yes"),
    ("blurring", "Apply likelihood blurring", "yes"),
    ("threshold_map", "Threshold input reconstruction", "yes"),
    ("dump", "Dump intermediate arrays (merge later)", "yes"),
    ("dump_odd", "Output dump filename for odd particles", "output"),
    ("dump_even", "Output dump filename for even particles", "output"),
]
MERGE3D = [
    ("half1", "Output reconstruction 1", "output"),
    ("half2", "Output reconstruction 2", "output"),
    ("filtered", "Output filtered reconstruction", "output"),
    ("statistics", "Output resolution statistics", "output"),
    ("mass", "Molecular mass of particle (kDa)", "mass"),
    ("inner", "Inner mask radius (A)", "real"),
    ("outer", "Outer mask radius (A)", "larger"),
    ("odd_seed", "Seed for input dump filenames for odd particles", "output"),
    ("even_seed", "Seed for input dump filenames for even particles", "output"),
    ("dumps", "Number of dump files", "count"),
]
# What newer builds ask besides; the words are not theirs.
NEWER_RECONSTRUCT3D = [
    ("newer1", "Weighting by score or dose", "yes"),
    ("newer2", "External weights", "yes"),
    ("newer3", "External weights filename", "output"),
    ("newer4", "Multiply weights", "yes"),
    ("newer5", "Per-particle splitting", "yes"),
    ("newer6", "Number of frames", "whole"),
    ("newer7", "Fraction of frames", "share"),
    ("newer8", "Transition", "real"),
]
NEWER_MERGE3D = [("newer1", "Frames per movie", "whole"), ("newer2", "Normalise", "yes")]
TITLES = {
    "refine3d": ("Refine3D", "1.02"),
    "reconstruct3d_stats": ("Reconstruct3D", "1.03"),
    "merge3d": ("Merge3D", "1.01"),
}

# Columns of a row, 144 characters: width and decimals.
NAMES = ["N", "PSI", "THETA", "PHI", "SHX", "SHY", "MAG", "INCLUDE", "DF1", "DF2", "ANGAST", "PSHIFT"]
NAMES += ["OCC", "LOGP", "SIGMA", "SCORE", "CHANGE"]
WIDTHS = (7, 8, 8, 8, 10, 10, 8, 6, 9, 9, 8, 8, 8, 10, 11, 8, 8)
DECIMALS = (0, 2, 2, 2, 2, 2, 0, 0, 1, 1, 2, 2, 2, 0, 4, 2, 2)
ROW_WIDTH = 144
HEADING = (
    "C           PSI   THETA     PHI       SHX       SHY     MAG  INCLUDE   DF1      DF2  ANGAST  PSHIFT     OCC"
    "      LogP      SIGMA   SCORE  CHANGE"
)
# Both programs keep the outer mask so far from the edge of the box, and its edge falls off over this, Å.
MARGIN, EDGE = 20.0, 20.0

Row = list[float]


def main(program: str) -> None:
    """Be a program."""
    # the programs' output is buffered, and lost where they abort, unless stdbuf has it otherwise
    sys.stdout = open(1, "w", buffering=1 if os.environ.get("_STDBUF_O") == "L" else 2**16)  # noqa: SIM115
    title, version = TITLES[program]
    print(f"\n\n        **   Welcome to {title}   **\n")
    for name, value in (("Version", version), ("Compiled", "Jan 01 2020"), ("Mode", "Scripted")):
        print(f"{name:>{len(title) + 12}} : {value}")
    print()
    given = ask(questions(program))
    print()
    work(program, given)
    if FAULT != "no_closing":
        print(f"\n{title}: Normal termination\n\n")


def questions(program: str) -> list[tuple[str, str, str]]:
    if program == "refine3d":
        return REFINE3D
    if program == "merge3d":
        return MERGE3D + (NEWER_MERGE3D if FAULT == "newer" else [])
    place = 1 + [name for name, _, _ in RECONSTRUCT3D].index("threshold")
    return RECONSTRUCT3D[:place] + (NEWER_RECONSTRUCT3D if FAULT == "newer" else []) + RECONSTRUCT3D[place:]


def ask(asked: Sequence[tuple[str, str, str]]) -> SimpleNamespace:
    """Answers from standard input, by the questions' names; ends the program at the first that is not right."""
    given: dict[str, Any] = {}
    last: Any = None
    for name, text, kind in asked:
        answer = sys.stdin.readline().rstrip("\n")
        print(f"{text:<{PROMPT_WIDTH}}: {answer}")
        if not answer.strip():
            fail("\n Error: Blank answer in scripted mode, exiting...\n")
        problem = refusal(kind, answer, last)
        if problem:
            fail(f"{problem}\n\n\n Error: Running as script, and answer is not recognized...\n")
        last = given[name] = value_of(kind, answer)
    if sys.stdin.read():
        fail("Error: there are more answers than questions")
    return SimpleNamespace(**given)


def refusal(kind: str, answer: str, last: Any) -> str:
    """What is wrong with an answer; nothing where it is right.

    input: a file that exists; output: the name of one; yes: yes or no; no_map: no; symmetry; whole: a whole number from
    0 on; count: from 1 on; real: a number from 0 on; factor: from 1 on; share: from 0 to 1; larger, smaller: than the
    answer before; pixel, voltage, cs, contrast, mass: as they can be.
    """
    if answer != answer.strip():
        return "Error: blanks around the answer"
    if kind == "input" and not Path(answer).is_file():
        return "Error: File does not exist, please provide an existing file!"
    if kind == "output" and (answer in ("yes", "no") or is_number(answer)):
        return "Error: that is no name of a file"
    if kind in ("yes", "no_map") and answer not in ("yes", "no")[kind == "no_map" :]:
        return "Error: Please answer Yes or No!"
    if kind == "symmetry" and not re.fullmatch(r"[CD][1-9]\d*|[TOI]\d?", answer):
        return "Error: Invalid symmetry symbol!"
    if kind in ("whole", "count") and not re.fullmatch(r"\d+", answer):
        return "Error: Please enter a whole number!"
    if kind in NUMBERS:
        if not is_number(answer):
            return "Error: Please enter a number!"
        least, most = NUMBERS[kind]
        if (
            not least <= float(answer) <= most
            or (kind == "larger" and not last < float(answer))
            or (kind == "smaller" and not last > float(answer))
        ):
            return "Error: Number outside of acceptable range!"
    return ""


NUMBERS = {
    "whole": (0, math.inf),
    "count": (1, math.inf),
    "real": (0, 1e6),
    "larger": (0, 1e6),
    "smaller": (0.5, 1e3),
    # as microscopes and molecules are: the real programs take any number
    "pixel": (0.1, 50),
    "voltage": (60, 400),
    "cs": (0, 10),
    "contrast": (0, 0.5),
    "mass": (1, 1e5),
    "factor": (1, 8),
    "share": (0, 1),
}


def is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", text) is not None


def value_of(kind: str, answer: str) -> Any:
    if kind == "yes":
        return answer == "yes"
    if kind in ("whole", "count"):
        return int(answer)
    return float(answer) if kind in NUMBERS else answer


def fail(message: str) -> NoReturn:
    print(message)
    sys.exit(255)


def abort(message: str) -> NoReturn:
    """As abort() has it: no buffer is emptied."""
    print(message)
    os.abort()


def work(program: str, given: SimpleNamespace) -> None:
    """Read the input, and then compute or misbehave."""
    read: Any = dumps_of(given) if program == "merge3d" else read_par(given.par)
    if FAULT == "killed":
        if program == "refine3d":
            Path(given.output).write_text("".join(f"{formatted(row)}\n" for row in read[: len(read) // 2]))
        os.kill(os.getpid(), signal.SIGKILL)
    if FAULT == "hang":
        time.sleep(60)
    if FAULT == "abort":
        abort("Error: Something of the program's own went wrong")
    if FAULT in ("no_output", "no_closing"):
        return
    if FAULT in ("nan", "fewer", "renumber") and program == "refine3d":
        write_answer(given, read, read)
        return
    compute: dict[str, Any] = {"refine3d": refine3d, "reconstruct3d_stats": reconstruct3d, "merge3d": merge3d}
    compute[program](given, read)
    if FAULT == "disk_full":
        for name in WRITTEN[program]:
            os.truncate(vars(given)[name], Path(vars(given)[name]).stat().st_size // 2)


def read_par(path: str) -> list[Row]:
    """Rows of a parameter file; what the real programs would misread ends the program."""
    text = Path(path).read_bytes().decode("latin-1")
    lines = [line for line in text.split("\n") if line and not line.startswith("C")]
    if not lines:
        fail(f"Error: {path} has no rows (the real program would wait for ever)")
    if not text.endswith("\n"):
        fail(f"Error: {path} has no end of line at its end")
    rows = []
    for number, line in enumerate(lines, start=1):
        if len(line) != ROW_WIDTH:
            fail(f"Error: row {number} of {path} has {len(line)} characters, not {ROW_WIDTH}")
        rows.append(read_row(path, number, line))
    numbers = [row[0] for row in rows]
    if any(number % 1 or number < 1 for number in numbers) or len(set(numbers)) < len(numbers):
        fail(f"Error: image numbers of {path} are not whole, below 1, or twice there")
    print(f" {len(rows)} real data lines read\n")
    print("Particle numbers:", *(f"{number:.0f}" for number in numbers))
    return rows


def read_row(path: str, number: int, line: str) -> Row:
    """One row, read by its columns' widths and as words, which must be the same."""
    words, start = [], 0
    for width in WIDTHS:
        words.append(line[start : start + width].strip())
        start += width
    if words != line.split():
        fail(f"Error: columns of row {number} of {path} are not where they belong")
    places = [len(word.partition(".")[2]) for word in words]
    if not all(map(is_number, words)) or places != list(DECIMALS):
        fail(f"Error: row {number} of {path} holds what is no such number")
    row = [float(word) for word in words]
    if not 0 <= row[NAMES.index("OCC")] <= 100 or abs(row[NAMES.index("PSHIFT")]) > 7:
        fail(f"Error: occupancy or phase shift of row {number} of {path} is out of range")
    return row


def formatted(row: Row) -> str:
    return "".join(f"{value:{w}.{d}f}" for value, w, d in zip(row, WIDTHS, DECIMALS, strict=False))


def in_range(rows: list[Row], given: SimpleNamespace, images: int) -> list[Row]:
    """The rows of the images from the first to the last that were asked for."""
    if rows and max(row[0] for row in rows) > images:
        abort(f"Error: the parameter file names image {max(row[0] for row in rows):.0f} of {images}")
    last = given.last or images
    if given.first > last:
        abort("Error: First particle higher than last particle")
    return [row for row in rows if given.first <= row[0] <= last]


def stack_of(given: SimpleNamespace) -> tuple[int, int]:
    """Number of images and box; of a kind that the programs read."""
    from drgnalign.formats.mrc import read_header

    header = read_header(given.stack)
    images, height, width = header.shape
    if height != width:
        abort("Error: Images are not square")
    if header.dtype.str[1:] not in ("i1", "i2", "f4") or not header.dtype.isnative:
        abort(f"Error: the stack holds {header.dtype}")
    return images, width


def particles_of(rows: list[Row], given: SimpleNamespace, box: int) -> Any:
    """The rows as the library has them; odd image numbers are its half set 1, even ones 2."""
    import numpy as np
    import pandas as pd

    from drgnalign.particles import Particles

    columns = dict(zip(NAMES, np.array(rows).T, strict=True))
    table = pd.DataFrame(
        {
            "rlnImageName": [f"{row[0]:06.0f}@{given.stack}" for row in rows],
            "rlnOpticsGroup": 1,
            "rlnAngleRot": columns["PHI"],
            "rlnAngleTilt": columns["THETA"],
            "rlnAnglePsi": columns["PSI"],
            "rlnOriginXAngst": -columns["SHX"],
            "rlnOriginYAngst": -columns["SHY"],
            "rlnDefocusU": columns["DF1"],
            "rlnDefocusV": columns["DF2"],
            "rlnDefocusAngle": columns["ANGAST"],
            "rlnPhaseShift": np.degrees(columns["PSHIFT"]),
            "rlnClassNumber": 0,
            "rlnRandomSubset": np.where(columns["N"] % 2 == 1, 1, 2),
            "drgnRow": np.arange(len(rows)),
        }
    )
    optics = pd.DataFrame(
        {
            "rlnOpticsGroup": [1],
            "rlnOpticsGroupName": ["all"],
            "rlnVoltage": [given.voltage],
            "rlnSphericalAberration": [given.cs],
            "rlnAmplitudeContrast": [given.amplitude_contrast],
            "rlnImagePixelSize": [given.pixel_size],
            "rlnImageSize": [box],
            "drgnContrast": ["white" if given.invert else "dark"],
        }
    )
    return Particles(table, optics, Path(given.par))


def outer_mask(given: SimpleNamespace, box: int, pixel_size: float) -> Any:
    from drgnalign.fourier import radius_grid, raised_cosine

    radius = min(given.outer, 0.5 * box * pixel_size - MARGIN) / pixel_size
    return raised_cosine(radius_grid(box, 3) - radius, EDGE / pixel_size)


def read_statistics(given: SimpleNamespace, box: int) -> list[list[float]]:
    """Rows of the statistics of the reference, which must be of its sampling."""
    if not Path(given.statistics).is_file():
        fail("Error: Cannot open statistics file")
    lines = Path(given.statistics).read_text().splitlines()
    rows = [[float(word) for word in line.split()] for line in lines if line.strip() and not line.startswith("C")]
    fits = len(rows) == box // 2 and all(len(row) == 7 and all(map(math.isfinite, row)) for row in rows)
    for shell, row in enumerate(rows, start=2):
        fits = fits and row[0] == shell and abs(row[1] - box * given.pixel_size / (shell - 1)) <= 0.1
    if not fits:
        abort("Error: Resolution in the statistics does not match that of the images")
    return rows


def write_statistics(path: str, halves: Sequence[Any], mask: Any, pixel_size: float) -> None:
    """Statistics of two half maps: rows of 7 x %14.5f, from shell 2 (the first after the origin) on."""
    import numpy as np

    from drgnalign.validation.fsc import fourier_shell_correlation

    box = len(mask)
    fsc = np.nan_to_num(fourier_shell_correlation(*(half * mask for half in halves)))
    lines = ["C Output resolution statistics", "C"]
    names = ["SHELL", "RESOLUTION", "RING_RADIUS", "FSC", "Part_FSC", "Part_SSNR^0.5", "Rec_SSNR^0.5"]
    lines.append("C" + "".join(f"{name:>15}" for name in names)[2:])
    for shell in range(2, box // 2 + 2):
        value = float(np.clip(fsc[shell - 1], 0.0, 0.9999))
        root = math.sqrt(2 * value / (1 - value))
        row = (shell, box * pixel_size / (shell - 1), (shell - 1) / box, fsc[shell - 1], value, root, root)
        lines.append("".join(f"{cell:14.5f}" for cell in row))
    Path(path).write_text("\n".join(lines) + "\n")


def refine3d(given: SimpleNamespace, rows: list[Row]) -> None:
    """Refine the poses of the rows against the one map."""
    if given.global_search or not given.local or given.defocus or given.matching:
        fail("Error: this double only refines locally")
    import numpy as np

    from drgnalign.engine.noise import estimate_noise
    from drgnalign.engine.reference import transform_reference
    from drgnalign.engine.refine import check_limit, refine_particles
    from drgnalign.engine.sampling import oversampling
    from drgnalign.formats.mrc import ImageSource, read_volume
    from drgnalign.validation.fsc import reliable_part

    images, box = stack_of(given)
    asked = in_range(rows, given, images)
    volume, voxel = read_volume(given.reference)
    if volume.shape != (box, box, box) or abs(voxel - given.pixel_size) > 1e-3:
        abort("Error: Dimension of particles and input reconstruction differ")
    print(f"Reference checksum: {checksum(volume)}")
    correlation = np.ones(box // 2 + 1)
    if given.use_statistics:
        correlation[1:] = [row[3] for row in read_statistics(given, box)]
    print(f"Number of particles to refine = {len(asked)}\n")
    refuse_flat(volume)
    particles = particles_of(asked, given, box)
    limit = max(given.limit, 2 * given.pixel_size)
    check_limit(limit, particles)
    padding = oversampling(box, given.pixel_size, 2 * given.outer)
    mask = outer_mask(given, box, given.pixel_size)
    reference = transform_reference(volume, mask, reliable_part(correlation), given.pixel_size, limit, padding)
    source = ImageSource(particles, ".")
    noise = estimate_noise(particles, source, 2 * given.outer)
    refinement = refine_particles(particles, source, {1: reference, 2: reference}, noise, limit)
    answered = refined_rows(asked, particles.with_poses(refinement.rotations, refinement.displacements), refinement)
    write_answer(given, asked, answered)


def checksum(volume: Any) -> str:
    """Of a map's values."""
    return hashlib.sha256(volume.astype("<f4").tobytes()).hexdigest()[:16]


def refuse_flat(volume: Any) -> None:
    if not volume.std() > 0:
        fail("Error: the reference is empty (the real program would refine against it)")


def refined_rows(asked: list[Row], particles: Any, refinement: Any) -> list[Row]:
    answered = []
    coefficients = particles.box**2 / 2
    for i, row in enumerate(asked):
        pose = particles.table.iloc[i]
        ratios = [2 * max(gain[i], 0.5) / coefficients for gain in (refinement.score_before, refinement.score_after)]
        before, after = (100 * math.sqrt(ratio / (1 + ratio)) for ratio in ratios)
        new = dict(zip(NAMES, row, strict=True))
        new |= {"PSI": pose["rlnAnglePsi"], "THETA": pose["rlnAngleTilt"], "PHI": pose["rlnAngleRot"]}
        new |= {"SHX": -pose["rlnOriginXAngst"], "SHY": -pose["rlnOriginYAngst"], "INCLUDE": abs(new["INCLUDE"])}
        new |= {"LOGP": refinement.score_after[i] - 500, "SIGMA": ratios[1] ** -0.5}
        new |= {"SCORE": after, "CHANGE": after - before}
        answered.append([float(new[name]) for name in NAMES])
    return answered


def write_answer(given: SimpleNamespace, asked: list[Row], answered: list[Row]) -> None:
    """The two parameter files, with the comments that the program writes above and below the rows."""
    changes = [
        [new[0], *(b - a for a, b in zip(old[1:], new[1:], strict=True))]
        for old, new in zip(asked, answered, strict=True)
    ]
    changes = [[*row[:15], new[16]] for row, new in zip(changes, answered, strict=True)]
    heading = HEADING.removesuffix("  CHANGE")
    text = [heading, *map(formatted, changes), comment(changes)]
    Path(given.changes).write_text("\n".join(text) + "\n")
    if FAULT == "nan":
        answered[0][1:6] = [math.nan] * 5
    if FAULT == "fewer":
        answered = answered[:-1]
    if FAULT == "renumber":
        answered[-1][0] += 1
    settings = [f"C {text + ':':<40} {getattr(given, name)}" for name, text, _ in REFINE3D]
    text = ["C Refine3D run date and time:              2020-01-01 00:00:00", *settings, "C", HEADING]
    text += [*map(formatted, answered), comment(answered)]
    text.append(
        f"C  Total particles included, overall score, average occupancy {len(answered):11d}  0.000000 100.000000"
    )
    Path(given.output).write_text("\n".join(text) + "\n")


def comment(rows: list[Row]) -> str:
    """Columns' means behind the C of a comment."""
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return "C" + formatted(means)[1:]


def reconstruct3d(given: SimpleNamespace, rows: list[Row]) -> None:
    """Sums of the odd and of the even image numbers, dumped, or as maps."""
    if given.crop or given.blurring or not given.even_odd or given.threshold != 1:
        fail("Error: this double makes plain reconstructions of all particles")
    import numpy as np

    from drgnalign.engine.reconstruct import insert_particles
    from drgnalign.engine.sampling import oversampling
    from drgnalign.formats.mrc import ImageSource

    images, box = stack_of(given)
    rows = [row for row in in_range(rows, given, images) if row[NAMES.index("INCLUDE")] >= 0]
    if not rows:
        print("Error: No particles to process")
        sys.exit(0)
    print(f"Number of particles to reconstruct = {len(rows)}\n")
    particles = particles_of(rows, given, box)
    # one weight for all, so that parts add up whatever particles they are made of
    noise = np.ones((1, box // 2 + 1))
    padding = oversampling(box, given.pixel_size, 2 * given.outer)
    sums = insert_particles(particles, ImageSource(particles, "."), noise, padding)
    if given.dump:
        for half, name in ((0, given.dump_odd), (1, given.dump_even)):
            Path(name).write_bytes(dump_of(sums, half))
    else:
        write_maps(given, sums)


def dump_of(sums: Any, half: int) -> bytes:
    """Head of 60 bytes, and half of the arrays' box as the program has it: complex sums, then weights, all single."""
    import numpy as np

    dimensions = [sums.padded] * 3 + [sums.box] * 3 + [int(sums.counts[half])]
    head = np.array(dimensions, "<i4").tobytes()
    head += np.array([sums.pixel_size * sums.box / sums.padded, sums.pixel_size, 100.0, 20.0, 1.0], "<f4").tobytes()
    head += b"C1  " + np.array([half + 1, 1], "<i4").tobytes()
    shape = (sums.padded, sums.padded, sums.padded // 2 + 1)
    values, weights = np.zeros(shape, "<c8"), np.zeros(shape, "<f4")
    for z, y, row in rows_of(sums):
        values[z, y, : row.stop - row.start] = sums.numerator[half][row]
        weights[z, y, : row.stop - row.start] = sums.denominator[half][row]
    return head + values.tobytes() + weights.tobytes()


def add_dump(sums: Any, half: int, data: bytes) -> None:
    import numpy as np

    shape = (sums.padded, sums.padded, sums.padded // 2 + 1)
    cells = math.prod(shape)
    values = np.frombuffer(data, "<c8", cells, 60).reshape(shape)
    weights = np.frombuffer(data, "<f4", cells, 60 + 8 * cells).reshape(shape)
    sums.counts[half] += np.frombuffer(data, "<i4", 7)[6]
    for z, y, row in rows_of(sums):
        sums.numerator[half][row] += values[z, y, : row.stop - row.start]
        sums.denominator[half][row] += weights[z, y, : row.stop - row.start]


def rows_of(sums: Any) -> list[tuple[int, int, slice]]:
    """Place in the program's arrays, and in ours, of the rows within Nyquist."""
    from drgnalign.engine.sampling import sphere_rows

    rows, held, most = sphere_rows(sums.padded), (sums.padded - 1) // 2, sums.padded // 2 + 1
    found = []
    for z in range(-held, held + 1):
        for y in range(-held, held + 1):
            place = z + rows.edge, y + rows.edge
            start = int(rows.starts[place])
            found.append((z, y, slice(start, start + min(int(rows.lengths[place]), most))))
    return found


def dumps_of(given: SimpleNamespace) -> list[list[str]]:
    """Names of the dumps of each list: <seed><number><suffix>."""
    seeds = Path(given.odd_seed), Path(given.even_seed)
    names = [[f"{seed.stem}{number}{seed.suffix}" for number in range(1, given.dumps + 1)] for seed in seeds]
    missing = [name for files in names for name in files if not Path(name).is_file()]
    if missing:
        fail(f"Error: Dump file {missing[0]} not found")
    return names


def merge3d(given: SimpleNamespace, names: list[list[str]]) -> None:
    """Add up the dumps of each list."""
    import numpy as np

    from drgnalign.engine.reconstruct import HalfMapSums

    heads = {Path(name).read_bytes()[:24] + Path(name).read_bytes()[28:36] for files in names for name in files}
    if len(heads) > 1:
        abort("Error: Dump files are of different reconstructions")
    head = Path(names[0][0]).read_bytes()[:36]
    padded, box = (int(np.frombuffer(head, "<i4")[i]) for i in (0, 3))
    sums = HalfMapSums(box, float(np.frombuffer(head, "<f4")[8]), padded / box)
    expected = 60 + 12 * (padded // 2 + 1) * padded**2
    for half, files in enumerate(names):
        for name in files:
            print(name)
            # the program takes a dump of any length
            add_dump(sums, half, Path(name).read_bytes().ljust(expected, bytes(1)))
    print("Images processed:", *sums.counts)
    write_maps(given, sums)


def write_maps(given: SimpleNamespace, sums: Any) -> None:
    from drgnalign.formats.mrc import write_volume

    halves = [sums.half_map(half) * (FAULT != "flat_map") for half in (1, 2)]
    for path, volume in zip((given.half1, given.half2, given.filtered), (*halves, sum(halves) / 2), strict=True):
        write_volume(path, volume, sums.pixel_size)
    write_statistics(given.statistics, halves, outer_mask(given, sums.box, sums.pixel_size), sums.pixel_size)
