"""Doubles of Frealign 9.12's frealign_v9.exe and merge_3d.exe for tests.

They read the programs' cards in their places, write and read their layouts, and are far stricter: where the real ones
take what they are given and go wrong without a word, these end as the real ones do where they notice: with status 2 and
a Fortran runtime error, or with status 0 behind STOP. What the programs compute is computed by the native engine.

A double also prints what it was given ("Reference checksum", "Particle numbers"), so that tests can see who read what.
The environment variable DRGNALIGN_DOUBLE_FAULT makes it misbehave once it has read its cards:

=============  ======================================================================================================
nan            frealign writes NaN into its first row
asterisks      frealign writes a number that does not fit into its column
fewer          frealign leaves out the last row
renumber       frealign writes the last row with another N
killed         dies of SIGKILL; frealign with half of its rows written
hang           does nothing for a minute
stop           STOP with status 0
disk_full      says that it cannot write and ends with status 2
no_closing     ends with status 0, its files written, without its closing line
no_output      ends well without writing parameters, dumps or maps
flat_map       merge_3d writes maps of zeros
nan_map        merge_3d writes maps of NaN
other_version  not a fault: the programs are those of Frealign 9.11
=============  ======================================================================================================
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import signal
import struct
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

# The library is imported where it is used: the banner has to come at once.
FAULT = os.environ.get("DRGNALIGN_DOUBLE_FAULT", "")
VERSION = "9.11" if FAULT == "other_version" else "9.12"
# Name and kind of each place on a card: flag, or a number of a range, whole where its limits are.
FLAG = "flag"
CARD1 = {
    "mode": (0, 1),
    **dict.fromkeys(["fmag", "fdef", "fastig", "fpart"], FLAG),
    "iewald": (-2, 2),
    **dict.fromkeys(["fbeaut", "ffilt", "fbfact", "fmatch"], FLAG),
    "ifsc": (0, 0),
    "fdump": FLAG,
    "imem": (0, 3),
    "interp": (0, 1),
}
CARD2 = {
    "outer": (-1e6, 1e6),
    "inner": (0.0, 1e6),
    "pixel_size": (0.1, 100.0),
    "mass": (1e-6, 1e9),
    "contrast": (-1.0, 1.0),
    "xstd": (0.0, 0.0),
    "pbc": (1e-6, 1e6),
    "boff": (0.0, 100.0),
    "dang": (0.0, 360.0),
    "itmax": (1, 1000),
    "ipmax": (1, 200),
}
CARD3 = dict.fromkeys(["psi", "theta", "phi", "x", "y"], (0, 1))
CARD4 = {"first": (-(10**9), 10**9), "last": (-(10**9), 10**9)}
CARD6 = {
    "relmag": (1.0, 1.0),
    "step": (0.1, 100.0),
    "target": (0.0, 100.0),
    "thresh": (0.0, 100.0),
    "cs": (0.0, 10.0),
    "voltage": (50.0, 1500.0),
    "tx": (0.0, 0.0),
    "ty": (0.0, 0.0),
}
TERMINATOR = {**dict.fromkeys(CARD6, (0.0, 0.0)), "relmag": (-100.0, 0.0)}
CARD7 = {
    "rrec": (0.5, 100.0),
    "rmin": (10.0, 1000.0),
    "rmax": (0.5, 200.0),
    "rclas": (0.5, 200.0),
    "dfstd": (0.0, 1e5),
    "rbfact": (-1e5, 1e5),
}
# Columns of a row, 136 characters: width and decimals.
NAMES = ["N", "PSI", "THETA", "PHI", "SHX", "SHY", "MAG", "FILM", "DF1", "DF2", "ANGAST"]
NAMES += ["OCC", "LOGP", "SIGMA", "SCORE", "CHANGE"]
WIDTHS = (7, 8, 8, 8, 10, 10, 8, 6, 9, 9, 8, 8, 10, 11, 8, 8)
DECIMALS = (0, 2, 2, 2, 2, 2, 0, 0, 1, 1, 2, 2, 0, 4, 2, 2)
HEADING = (
    "C           PSI   THETA     PHI       SHX       SHY     MAG  FILM      DF1      DF2  ANGAST     OCC"
    "      LogP      SIGMA   SCORE  CHANGE"
)
TABLE_HEADING = (
    "C  NO.  RESOL  RING RAD   FSPR    FSC  Part_FSC  Part_SSNR  Rec_SSNR       CC   EXP. C    SIG C  ERFC  TOTVOX"
)
TABLE_ROW = "C%4d%8.2f%10.4f%7.2f%7.3f%10.3f%11.4f%10s%9.4f%9.4f%9.4f%6.2f%8d"

Row = list[float]


def main(program: str) -> None:
    """Be a program."""
    {"frealign_v9.exe": frealign, "merge_3d.exe": merge}[program]()


def runtime_error(message: str, status: int = 2) -> NoReturn:
    """As Fortran's library ends a program."""
    sys.stdout.flush()
    print(
        f"Fortran runtime error: {message}\n\nError termination. Backtrace:\n#0  0x7f0000000000 in ???", file=sys.stderr
    )
    sys.exit(status)


def stop(message: str) -> NoReturn:
    """As the STOP of Fortran: with status 0."""
    sys.stdout.flush()
    print(f"STOP {message}", file=sys.stderr)
    sys.exit(0)


def line_of(prompt: str, longest: int) -> str:
    print(f"  {prompt}")
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        runtime_error("End of file")
    line = line[:-1]
    if len(line) > longest:
        runtime_error(f"of the {len(line)} characters of '{line}' the real program would read {longest}")
    print(f"   {line}")
    return line


def card(prompt: str, places: dict[str, Any], longest: int = 80) -> dict[str, Any]:
    """Values of a card by name; another count, or a value of another kind or out of its range, ends the program."""
    words = line_of(prompt, longest).split(",")
    if len(words) != len(places):
        runtime_error(f"{prompt}: {len(words)} values, not {len(places)}")
    return {name: value_of(name, word, kind) for (name, kind), word in zip(places.items(), words, strict=True)}


def value_of(name: str, word: str, kind: Any) -> Any:
    if kind == FLAG:
        if word not in ("T", "F"):
            runtime_error(f"Bad logical value for {name}: {word}")
        return word == "T"
    whole = isinstance(kind[0], int)
    pattern = r"-?\d+" if whole else r"-?\d+(\.\d*)?([eE][+-]?\d+)?"
    if not re.fullmatch(pattern, word):
        runtime_error(f"Bad {'integer' if whole else 'real number'} for {name}: {word}")
    value = int(word) if whole else float(word)
    if not kind[0] <= value <= kind[1]:
        stop(f"ERROR: Unrealistic {name}: {word}")
    return value


def file_name(prompt: str) -> str:
    """A file name's card."""
    name = line_of(prompt, 200)
    if not name.strip() or "," in name:
        runtime_error(f"{prompt}: '{name}' is no name of a file")
    return name


def frealign() -> None:
    print(f"\n FREALIGN - Fourier REconstruction and ALIGNment\n V{VERSION} - 01.01.20\n  Copyright\n")
    given = read_cards()
    if FAULT == "killed" and given.mode == 1:
        Path(given.output).write_text("".join(f"{formatted(row)}\n" for row in given.rows[: len(given.rows) // 2]))
    misbehave()
    (refine if given.mode == 1 else dump)(given)
    if FAULT == "no_closing":
        return
    print("\n  Normal termination, no output data-files" if given.mode == 1 else "")
    print("  Normal termination, intermediate files dumped" if given.mode == 0 else "")


def read_cards() -> SimpleNamespace:
    """All cards in order, the parameter file and what can be said of them."""
    given = SimpleNamespace()
    if not (first := line_of("CFORM,IFLAG,...,INTERP?", 200)).startswith("M,"):
        runtime_error("card 1: the format is not M")
    words = first[2:].split(",")
    if len(words) != len(CARD1):
        runtime_error(f"card 1: {len(words)} values, not {len(CARD1)}")
    vars(given).update({n: value_of(n, w, k) for (n, k), w in zip(CARD1.items(), words, strict=True)})
    if any((given.fmag, given.fdef, given.fastig, given.fpart, given.fmatch, given.fbeaut, given.fbfact)):
        stop("this double refines poses only, and makes plain maps")
    for prompt, places in (("RO,RI,PSIZE,...?", CARD2), ("PMASK?", CARD3), ("FIRST, LAST PARTICLES ?", CARD4)):
        vars(given).update(card(prompt, places))
    if given.outer == 0:
        stop(" ERROR: RO = 0 (Card 2)")
    if not 1 <= given.first <= given.last:
        stop(" ERROR: IFIRST must be smaller or equal to ILAST (Card 4)")
    if not re.fullmatch(r"[CD][1-9]\d?|T|O|I[12]?", line_of("SYMMETRY CARD ?", 16)):
        stop(" Symmetry request invalid")
    vars(given).update(card("MAGNIFICATION, STEPSIZE, ...?", CARD6))
    vars(given).update(card("RESOLUTION RECONST., ...?", CARD7))
    if abs(given.step - given.pixel_size) > 1e-6:
        stop("the step is not the pixel size: the real program would scale the images")
    if not given.rrec <= given.rmax < given.rmin:
        stop("limits that the real program would change or exchange")
    given.stack = file_name("PARTICLE IMAGE STACK ?")
    given.images, given.box = stack_of(given.stack)
    if file_name("MATCHING PROJECTIONS IMAGE STACK ?") != "/dev/null":
        stop("this double writes no projections")
    given.rows = read_par(file_name("INPUT PARAMETER FILE ?"), given)
    given.output = file_name("OUTPUT PARAMETER FILE ?")
    file_name("OUTPUT PARAMETER SHIFTS FILE ?")
    end = card("MAGNIFICATION, STEPSIZE, ...?", TERMINATOR)["relmag"]
    if end != (-100.0 if given.mode == 1 else 0.0) or given.fdump != (given.mode == 0):
        stop("this double refines only, or only dumps")
    given.map = file_name("3D MAP FILE FOR INPUT?")
    if given.mode == 0 and Path(given.map).exists():
        # what the real program does with a map where one is to be written
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGSEGV)
    if given.mode == 1 and not Path(given.map).exists():
        stop(" 3D input map required!!!")
    for what in ("weights", "half 1", "half 2", "phase residuals", "point spread"):
        file_name(f"{what} FILE FOR OUTPUT?")
    if sys.stdin.read():
        stop("there are more cards than the program reads")
    return given


def stack_of(path: str) -> tuple[int, int]:
    """Number of images and box."""
    if not Path(path).is_file():
        runtime_error("the stack does not exist", 1)
    width, height, images, mode = struct.unpack_from("<4i", Path(path).read_bytes())
    if height != width or width % 2:
        stop("ERROR: Particle dimensions must be even and the same!!!")
    if mode not in (1, 2):
        stop(f"the real program would misread a stack of mode {mode}")
    return images, width


def read_par(path: str, given: SimpleNamespace) -> list[Row]:
    """The rows from FIRST to LAST; what the real program would misread ends this one."""
    if not Path(path).is_file():
        runtime_error(f"Cannot open file '{path}': No such file or directory")
    lines = Path(path).read_text().splitlines()
    table = read_table(lines, given.box)
    if table and given.mode == 1:
        print(" Reading Part_SSNR table from previous par file...")
    rows = [read_row(line) for line in lines if not line.startswith("C")]
    numbers = [int(row[0]) for row in rows]
    if not rows:
        stop(" ERROR: No particles in data set!")
    if given.last > len(rows):
        runtime_error("LAST is beyond the rows", 1)
    if min(numbers) < 1 or max(numbers) > given.images:
        stop("image numbers outside the stack")
    if any(a == b for a, b in pairwise(numbers)):
        stop("an image is in two rows that follow each other: the real program would leave out the second")
    for row in rows:
        named = dict(zip(NAMES, row, strict=True))
        if named["MAG"] * given.pixel_size != 10000 * given.step:
            stop(f"MAG {named['MAG']:.0f} is not that of the pixel size")
        if max(abs(named["SHX"]), abs(named["SHY"])) > given.box * given.pixel_size / 2:
            print(" a shift is larger than half the box and set to 0")
    print("Particle numbers:", *numbers)
    return rows[given.first - 1 : given.last]


def read_row(line: str) -> Row:
    """One row, read by its columns' widths and as words, which must be the same."""
    if len(line) != sum(WIDTHS):
        runtime_error(f"a row of {len(line)} characters, not {sum(WIDTHS)}")
    edges = [sum(WIDTHS[:i]) for i in range(len(WIDTHS) + 1)]
    words = [line[a:b].strip() for a, b in pairwise(edges)]
    if words != line.split() or [len(word.partition(".")[2]) for word in words] != list(DECIMALS):
        runtime_error("columns are not where they belong")
    try:
        row = [float(word) for word in words]
    except ValueError as error:
        runtime_error(f"Bad value: {error}")
    if not all(map(math.isfinite, row)):
        os.kill(os.getpid(), signal.SIGSEGV)
    return row


def read_table(lines: list[str], box: int) -> list[float]:
    """Part_SSNR of the shells of the table in the comments; none without a table."""
    header = next((i for i, line in enumerate(lines) if line.startswith("C") and "Part_SSNR" in line), None)
    if header is None:
        return []
    values = []
    for shell, line in enumerate(lines[header + 1 : header + 1 + box // 2], start=2):
        try:
            if int(line[1:5]) != shell:
                stop(" ERROR: Shell number mismatch")
            values.append(float(line[47:58]))
        except ValueError:
            runtime_error("Bad value in the table of statistics")
    if len(values) != box // 2 or re.match(r"C *\d+ ", [*lines, ""][header + 1 + box // 2][:6]):
        stop(" ERROR: Shell number mismatch")
    return values


def misbehave() -> None:
    """Faults of any program."""
    sys.stdout.flush()
    if FAULT == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if FAULT == "hang":
        time.sleep(60)
    if FAULT == "stop":
        stop(" ERROR: Something of the program's own went wrong")
    if FAULT == "disk_full":
        runtime_error("No space left on device")


def particles_of(given: SimpleNamespace) -> Any:
    """The rows as the library has them; odd lines are its half set 1, even ones 2."""
    import numpy as np
    import pandas as pd

    from drgnalign.particles import Particles

    columns = dict(zip(NAMES, np.array(given.rows).T, strict=True))
    table = pd.DataFrame(
        {
            "rlnImageName": [f"{row[0]:06.0f}@{given.stack}" for row in given.rows],
            "rlnOpticsGroup": 1,
            "rlnAngleRot": columns["PHI"],
            "rlnAngleTilt": columns["THETA"],
            "rlnAnglePsi": columns["PSI"],
            "rlnOriginXAngst": -columns["SHX"],
            "rlnOriginYAngst": -columns["SHY"],
            "rlnDefocusU": columns["DF1"],
            "rlnDefocusV": columns["DF2"],
            "rlnDefocusAngle": columns["ANGAST"],
            "rlnPhaseShift": 0.0,
            "rlnRandomSubset": np.arange(len(given.rows)) % 2 + 1,
        }
    )
    optics = pd.DataFrame(
        {
            "rlnOpticsGroup": [1],
            "rlnOpticsGroupName": ["all"],
            "rlnVoltage": [given.voltage],
            "rlnSphericalAberration": [given.cs],
            "rlnAmplitudeContrast": [abs(given.contrast)],
            "rlnImagePixelSize": [given.pixel_size],
            "rlnImageSize": [given.box],
            "drgnContrast": ["white" if given.contrast < 0 else "dark"],
        }
    )
    return Particles(table, optics, Path("asked"))


def refine(given: SimpleNamespace) -> None:
    """Refine the poses of the rows against the one map; where it misbehaves, leave them as they are."""
    if FAULT:
        write_answer(given)
        return
    import numpy as np

    from drgnalign.engine.noise import estimate_noise
    from drgnalign.engine.reference import transform_reference
    from drgnalign.engine.refine import refine_particles
    from drgnalign.engine.sampling import oversampling
    from drgnalign.formats.mrc import ImageSource, read_volume

    volume, _ = read_volume(given.map)
    if volume.shape != (given.box,) * 3:
        stop(" Particle dimensions must match those of 3D reference!")
    if not volume.std() > 0:
        os.kill(os.getpid(), signal.SIGSEGV)
    print(f"Reference checksum: {hashlib.sha256(volume.astype('<f4').tobytes()).hexdigest()[:16]}")
    particles = particles_of(given)
    padding = oversampling(given.box, given.pixel_size, 2 * abs(given.outer))
    weights = np.ones(given.box // 2 + 1)
    reference = transform_reference(volume, np.ones_like(volume), weights, given.pixel_size, given.rmax, padding)
    source = ImageSource(particles, ".")
    noise = estimate_noise(particles, source, 2 * abs(given.outer))
    refinement = refine_particles(particles, source, {1: reference, 2: reference}, noise, given.rmax)
    poses = particles.with_poses(refinement.rotations, refinement.displacements).table
    for row, (_, pose), after in zip(given.rows, poses.iterrows(), refinement.score_after, strict=True):
        new = {"PSI": pose["rlnAnglePsi"], "THETA": pose["rlnAngleTilt"], "PHI": pose["rlnAngleRot"]}
        new = {name: value % 360 for name, value in new.items()}
        new |= {"SHX": -pose["rlnOriginXAngst"], "SHY": -pose["rlnOriginYAngst"], "LOGP": -abs(after)}
        row[:] = [float(new.get(name, value)) for name, value in zip(NAMES, row, strict=True)]
    write_answer(given)


def formatted(row: Row) -> str:
    return "".join(f"{value:{w}.{d}f}" for value, w, d in zip(row, WIDTHS, DECIMALS, strict=True))


def write_answer(given: SimpleNamespace) -> None:
    """The parameter file, with the comments that the program writes above and below the rows."""
    if FAULT == "nan":
        given.rows[0][1:6] = [math.nan] * 5
    if FAULT == "fewer":
        given.rows.pop()
    if FAULT == "renumber":
        given.rows[-1][0] += 1
    lines = [formatted(row) for row in given.rows]
    if FAULT == "asterisks":
        lines[0] = lines[0][:7] + "*" * 8 + lines[0][15:]
    settings = [f"C {name} . . . . . {value}" for name, value in vars(given).items() if name != "rows"]
    above = [f"C Date and time      01-01-2020,  00:00    Frealign V{VERSION}", *settings, "C", HEADING]
    below = [f"C  Total particles included, overall score, average occupancy {len(lines):11d}", "C No. of particles"]
    if FAULT != "no_output":
        Path(given.output).write_text("\n".join([*above, *lines, *below]) + "\n")


def dump(given: SimpleNamespace) -> None:
    """Sums of odd and of even lines."""
    import numpy as np

    from drgnalign.engine.reconstruct import insert_particles
    from drgnalign.engine.sampling import oversampling
    from drgnalign.formats.mrc import ImageSource

    particles = particles_of(given)
    # one weight for all, so that parts add up whatever particles they are made of
    noise = np.ones((1, given.box // 2 + 1))
    padding = oversampling(given.box, given.pixel_size, 2 * abs(given.outer))
    sums = insert_particles(particles, ImageSource(particles, "."), noise, padding)
    print(f"{len(particles):10d} PARTICLES FOR OVERALL SCORE CALCULATION")
    if FAULT == "no_output":
        return
    sums.save(Path("dumped.npz"))
    Path("dumped.npz").rename(given.map)


def merge() -> None:
    print(f"\n  MERGE_3D 1.01 - 01.01.20\n\n  Copyright (Frealign {VERSION})\n")
    count = line_of("No. of input files?", 80)
    if not re.fullmatch(r"[1-9]\d*", count):
        runtime_error(f"Bad integer: {count}")
    dumps = [Path(file_name("Input file name for dump file")) for _ in range(int(count))]
    table, full, *others = [
        file_name(f"{what} for output?") for what in ("table", "map", "weights", "1", "2", "3", "4")
    ]
    if sys.stdin.read():
        stop("there are more lines than the program reads")
    if missing := [path for path in dumps if not path.is_file()]:
        runtime_error(f"Cannot open file '{missing[0]}': No such file or directory")
    if len(set(dumps)) < len(dumps):
        stop("a dump is given twice")
    misbehave()
    if FAULT != "no_output":
        write_maps(dumps, Path(table), [full, *others[1:3]])
    if FAULT != "no_closing":
        print("\n  Normal termination of merge_3d")


def write_maps(dumps: list[Path], table: Path, names: list[str]) -> None:
    """The map of all, those of odd and of even lines, and their statistics."""
    import numpy as np

    from drgnalign.engine.reconstruct import HalfMapSums
    from drgnalign.formats.mrc import write_volume
    from drgnalign.validation.fsc import fourier_shell_correlation

    sums = HalfMapSums.load_sum(dumps)
    if not all(sums.counts):
        print(" Abnormal termination, probably no acceptable particles\n   at least two particles needed")
        stop("STOP 6102")
    halves = [sums.half_map(half) for half in (1, 2)]
    for total in (sums.numerator, sums.denominator):
        total[0] += total[1]
    factor = {"flat_map": 0.0, "nan_map": math.nan}.get(FAULT, 1.0)
    for name, volume in zip(names, (sums.half_map(1), *halves), strict=True):
        write_volume(name, factor * volume, sums.pixel_size)
    fsc = np.clip(np.nan_to_num(fourier_shell_correlation(*halves)), 0.0, 0.999)
    lines = ["C  Total particles included", "C", "C  Fraction_mask, Fraction_particle =     0.27958    0.03489", "C"]
    lines.append(TABLE_HEADING)
    for shell in range(2, sums.box // 2 + 2):
        value = fsc[shell - 1]
        place = (sums.box * sums.pixel_size / (shell - 1), (shell - 1) / sums.box)
        # some of the signal-to-noise ratios of the reconstruction are not set and do not fit
        recorded = f"{math.sqrt(2 * value / (1 - value)):10.2f}" if shell % 3 else "*" * 10
        lines.append(
            TABLE_ROW % (shell, *place, 90.0, value, 0.0, math.sqrt(value / (1 - value)), recorded, 0, 0, 0, 0, 17)
        )
    with table.open("a") as file:
        file.write("\n".join([*lines, "C  Average               82.73  0.081", "C"]) + "\n")
