#!/usr/bin/env python3
"""Mutated files for every parser: each must end in a result or in our own error.

A parser's cases run in a child process whose address space may grow by 1 GB. A traceback, a MemoryError, a crash or
more than 5 s is a failure; its file is kept in benchmarks/out/fuzz beside the traceback. A case follows from its
parser, its number and the seed alone.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import pickle
import pickletools
import platform
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import click
import numpy as np
import pandas as pd

from drgnalign.errors import DrgnalignError
from drgnalign.formats import cryodrgn
from drgnalign.formats.cistem import read_cistem, write_cistem
from drgnalign.formats.cryosparc import read_cs, write_cs
from drgnalign.formats.frealign_statistics import read_statistics
from drgnalign.formats.mrc import StackWriter, read_header, read_volume, write_volume
from drgnalign.formats.par import LAYOUTS, SHIFTS, read_par, read_par_table, write_par
from drgnalign.formats.star import read_star, write_star
from drgnalign.geometry import euler_to_matrix
from drgnalign.particles import Particles

BENCHMARKS = Path(__file__).resolve().parent
KEPT = BENCHMARKS / "out" / "fuzz"
RESULTS = BENCHMARKS / "results" / "fuzz.json"
MEMORY = 10**9
SECONDS = 5.0
# A parser with so many failures is not fuzzed further.
MOST_FAILURES = 100
ROWS = 6
FORK = multiprocessing.get_context("fork")

FACTS: dict[str, Any] = {"pixel_size": 1.5, "voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.1}
NUMBERS = [0, 1, 2, 3, 4, 6, 12, 101, 255, 1024, 2**15, 2**16 - 1, 2**16, 2**31 - 1, 2**32, 2**53 + 1, 2**63, 2**64]
NUMBERS += [-number for number in NUMBERS[1:]] + [10**30]
NUMBER_WORDS = (
    b"nan NaN -inf inf 1e308 1e400 1e-400 1e99999999999 1e 1. .5 . - + -0 0x10 1_000 1,5 1.2.3 1e5e5 infinity"
)
TEXT_WORDS = [
    *NUMBER_WORDS.split(),
    *(str(number).encode() for number in NUMBERS),
    *b'\' " \'\' "" "a \'b "a"b # #1 C C1 ; _ @ 0@ @a 0@a 1@ 1@? -1@a 1@a 99999999999999999999@a None'.split(),
    *(text.encode() for text in ("٣", "²", "é", "\u00a0", "\u0085", "\u2028", "\ufeff", "\U0001f600")),
    *(b"\xff\xfe", b"\xc3", b"\x00", b"\x0b", b"\x0c", b"\x1c", b"\r", b"\r\n", b"\n\n", b" ", b"\t", b""),
    *(b"9" * 400, b"1." + b"3" * 400, b"a" * 5000, b"0" * 5000 + b"1", b"-" * 200),
]
STAR_LABELS = (
    "ImageName OpticsGroup OpticsGroupName Voltage SphericalAberration AmplitudeContrast ImagePixelSize ImageSize "
    "PixelSize DetectorPixelSize Magnification OriginX OriginY OriginXAngst AngleRot AngleTilt DefocusU BeamTiltX "
    "PhaseShift ClassNumber RandomSubset MicrographName"
)
STAR_WORDS = [
    *(f"_rln{label}".encode() for label in STAR_LABELS.split()),
    *b"loop_ data_ data_optics data_particles data_images _ _rln".split(),
]
CISTEM_LABELS = (
    "PositionInStack AnglePsi AngleTheta AnglePhi XShift YShift Defocus1 PhaseShift ImageActivity Occupancy PixelSize "
    "MicroscopeVoltagekV BeamTiltX ImageShiftX Best2DClass StackFilename OriginalImageFilename AssignedSubset"
)
CISTEM_WORDS = [
    *(f"_cisTEM{label}".encode() for label in CISTEM_LABELS.split()),
    *b"loop_ data_ data_particles _ _cisTEM _rlnImageName".split(),
]
STATISTICS_WORDS = b"C Part_SSNR TOTVOX 2 3".split()
NUMPY_WORDS = (
    b"'<f4' '>f4' '<f2' '<f8' '<f16' '<i1' '<i8' '<u4' '>u8' '|b1' '|O' 'O' '<c8' '<c16' '<M8[s]' '<m8' '|V8' '|V0' "
    b"'|S0' '|S1' '|S20' '|S1000000' '<U5' '|S99999999999' '(2,)<f4' '' '\\x00' 'uid' 'blob/path' 'blob/idx' "
    b"'blob/shape' 'blob/psize_A' 'blob/sign' 'ctf/accel_kv' 'ctf/exp_group_id' 'ctf/df_angle_rad' 'alignments3D/pose' "
    b"'alignments3D/shift' 'alignments3D/split' 'alignments2D/pose' 'alignments2D/class' 'alignments3D_multi/pose' "
    b"'alignments3D_multi/class_posterior' 'alignments_class_0/pose' 'alignments_class_1/pose' "
    b"'location/center_x_frac' 'location/center_y_frac' 'location/micrograph_shape' 'location/micrograph_path' "
    b"True False None (2,) (3,) (0,) (2,3) (99999999999,) () (-1,) [] {} 1e5 1j"
).split()
# Names, lengths beyond the file, jumps in the memo, marks out of place.
PICKLE_WORDS = [
    *(b"cos\nsystem\n", b"cbuiltins\neval\n", b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"c_codecs\nencode\n"),
    *(b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy.core.multiarray\nscalar\n"),
    *(b"cnumpy._core.numeric\n_frombuffer\n", b"\x8c\x02os\x8c\x06system\x93", b"ctorch._utils\n_rebuild_tensor_v2\n"),
    *(b"\x8e" + b"\xff" * 8, b"\x8d" + b"\xff" * 7 + b"\x7f", b"\x96" + b"\xff" * 6 + b"\0\0", b"\x8b\xff\xff\xff\x7f"),
    *(b"B\xff\xff\xff\x7f", b"T\xff\xff\xff\x7f", b"X\xff\xff\xff\xff", b"\x95" + b"\xff" * 8, b"r\xff\xff\xff\xffj"),
    *(
        b"I" + b"9" * 5000 + b"\n",
        b"L" + b"9" * 5000 + b"L\n",
        b"I01\n",
        b"Inan\n",
        b"Fnan\n",
        b"F1e999\n",
        b"V\\ud800\n",
    ),
    *(b"S'a'\n", b"p0\n", b"g0\n", b"p-1\n", b"g99\n", b"\x8a\xff" + b"\xff" * 255, b"P0\n", b"Q"),
    *(b"]" * 300, b"\x85" * 3000, b"(" * 300, b"h\x00h\x00\x86q\x00" * 40, b"]q\x00h\x00a" * 20, b"h\x00e" * 20),
    *(bytes([code]) for code in b"(0a)]}btlRsuN.2\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98eiod"),
    *(b"K\x00", b"K\xff", b"M\xff\xff", b"J\xff\xff\xff\xff", b"G\x7f\xf0\0\0\0\0\0\0", b"\x8c\x01O", b"\x8c\x02f4"),
]

Mutation = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class Parser:
    """What a parser is fuzzed with.

    Parameters
    ----------
    examples : function
        Writes valid files of random content into a folder.
    readers : functions
        Readers of such a file; case k takes the k-th of them, and then the first again.
    mutations : functions
        Those of the format, beside those of bytes.
    """

    examples: Callable[[Path, np.random.Generator], list[Path]]
    readers: Sequence[Callable[[Path], object]]
    mutations: Sequence[Mutation]


# ---- mutations --------------------------------------------------------------------------------------------------


def _slice(length: int, random: Random) -> tuple[int, int]:
    """A piece that is mostly short."""
    start = random.randrange(length + 1)
    return start, min(length, start + int(random.expovariate(1 / random.choice((1, 4, 30, 200)))) + 1)


def flip_bytes(data: bytes, random: Random) -> bytes:
    """Other bytes in up to eight places."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        if changed:
            changed[random.randrange(len(changed))] = random.choice((0, 10, 32, 127, 255, random.randrange(256)))
    return bytes(changed)


def delete_slice(data: bytes, random: Random) -> bytes:
    """A piece is gone."""
    start, stop = _slice(len(data), random)
    return data[:start] + data[stop:]


def insert_bytes(data: bytes, random: Random) -> bytes:
    """A few bytes too many, also NUL and such as are no UTF-8."""
    place = random.randrange(len(data) + 1)
    inserted = random.choice((b"\0", b"\xff", b"\xc3\x28", b"\0" * 100, random.randbytes(random.randrange(1, 20))))
    return data[:place] + inserted + data[place:]


def repeat_slice(data: bytes, random: Random) -> bytes:
    """A piece comes a second time, somewhere."""
    start, stop = _slice(len(data), random)
    place = random.randrange(len(data) + 1)
    return data[:place] + data[start:stop] + data[place:]


def truncate(data: bytes, random: Random) -> bytes:
    """The tail is missing."""
    return data[: random.randrange(len(data) + 1)]


BYTES: list[Mutation] = [flip_bytes, delete_slice, insert_bytes, repeat_slice, truncate]


def move_lines(data: bytes, random: Random) -> bytes:
    """A line is exchanged with another, repeated or gone."""
    lines = data.splitlines(keepends=True) or [b""]
    first, second = random.randrange(len(lines)), random.randrange(len(lines))
    kind = random.randrange(3)
    if kind == 0:
        lines[first], lines[second] = lines[second], lines[first]
    elif kind == 1:
        lines.insert(second, lines[first])
    else:
        del lines[first]
    return b"".join(lines)


def swap_words(data: bytes, random: Random) -> bytes:
    """A word stands where another did."""
    spans = [match.span() for match in re.finditer(rb"\S+", data)]
    if not spans:
        return data
    (start, stop), (first, last) = random.choice(spans), random.choice(spans)
    return data[:start] + data[first:last] + data[stop:]


def other_words(words: Sequence[bytes], pattern: bytes = rb"\S+") -> Mutation:
    """One of the given words in place of what matches, or beside it; rarely everywhere in its column."""
    search = re.compile(pattern)

    def mutate(data: bytes, random: Random) -> bytes:
        spans = [match.span() for match in search.finditer(data)]
        if not spans:
            return data + random.choice(words)
        start, stop = random.choice(spans)
        word = random.choice(words)
        if random.random() < 0.2:
            return data[:stop] + random.choice((b"", b" ")) + word + data[stop:]
        if random.random() < 0.2:
            return data.replace(data[start:stop], word)
        return data[:start] + word + data[stop:]

    return mutate


def other_column(words: Sequence[bytes]) -> Mutation:
    """A word in the same column of all rows, so that the whole column is another."""

    def mutate(data: bytes, random: Random) -> bytes:
        lines = data.split(b"\n")
        widths = [len(line.split()) for line in lines]
        width = max(widths)
        if not width:
            return data
        column, word = random.randrange(width), random.choice(words)
        for number, line in enumerate(lines):
            if widths[number] == width:
                fields = line.split()
                fields[column] = word
                lines[number] = b" ".join(fields)
        return b"\n".join(lines)

    return mutate


TEXT: list[Mutation] = [move_lines, swap_words, other_words(TEXT_WORDS), other_column(TEXT_WORDS)]


def mutate_opcodes(data: bytes, random: Random) -> bytes:
    """Opcodes of a pickle deleted, repeated, exchanged, replaced or added; no opcode is cut."""
    parts = _opcodes(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        place, other = random.randrange(len(parts)), random.randrange(len(parts))
        kind = random.randrange(5)
        if kind == 0 and len(parts) > 1:
            del parts[place]
        elif kind == 1:
            parts.insert(other, parts[place])
        elif kind == 2:
            parts[place], parts[other] = parts[other], parts[place]
        elif kind == 3:
            parts[place] = random.choice(PICKLE_WORDS)
        else:
            parts.insert(place, random.choice(PICKLE_WORDS))
    return b"".join(parts)


def _opcodes(data: bytes) -> list[bytes]:
    """The pickles of a file cut before each opcode, as far as they can be read."""
    starts, first = [0], 0
    try:
        while first < len(data):
            for _, _, position in pickletools.genops(data[first:]):
                starts.append(first + (position or 0))
            first = starts[-1] + 1
    # what is damaged already stays in one piece
    except Exception:
        starts.append(first)
    starts = sorted({*starts, len(data)})
    return [data[start:stop] for start, stop in pairwise(starts)] or [data]


def mutate_numpy_header(data: bytes, random: Random) -> bytes:
    """Another text in the header of a npy file, of the length that it announces; bytes for larger rows behind it."""
    stop = 10 + int.from_bytes(data[8:10], "little")
    header = data[10:stop].rstrip()
    for _ in range(random.choice((1, 1, 2))):
        header = random.choice(NUMPY_HEADER)(header, random)
    header += b"\n"
    padding = random.choice((b"", bytes(4000), random.randbytes(4000)))
    return data[:8] + min(len(header), 65535).to_bytes(2, "little") + header + data[stop:] + padding


NUMPY_ITEMS = rb"'[^']*'|\d+|True|False|\([^()]*\)"
NUMPY_HEADER: list[Mutation] = [
    other_words(NUMPY_WORDS, NUMPY_ITEMS),
    other_words([*TEXT_WORDS, *NUMPY_WORDS], NUMPY_ITEMS),
    other_words(NUMPY_WORDS, rb"'[<|][a-zA-Z]\d+'"),
    swap_words,
    delete_slice,
    repeat_slice,
]


def _binary_number(random: Random) -> bytes:
    number = random.choice(NUMBERS)
    short = (number + 2**31) % 2**32 - 2**31
    real = random.choice((np.nan, np.inf, -np.inf, -1.0, 0.0, 3e38, 1e-40))
    code, value = random.choice((("<q", number % 2**63), ("<i", short), (">i", short), ("<f", real)))
    return struct.pack(code, value)


def mutate_numbers(data: bytes, random: Random) -> bytes:
    """Numbers of a binary file, four or eight bytes at a multiple of four, become others."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        place, word = 4 * random.randrange(len(data) // 4 + 1), _binary_number(random)
        changed[place : place + len(word)] = word
    return bytes(changed)


def mutate_mrc_header(data: bytes, random: Random) -> bytes:
    """Sizes, mode, sampling, cell or the length of the extended header become others; rarely all bytes are swapped."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 3))):
        place = 4 * random.choice(MRC_FIELDS)
        changed[place : place + 4] = _binary_number(random)[:4]
    if random.random() < 0.1:
        return np.frombuffer(changed[: len(changed) // 4 * 4], "<u4").byteswap().tobytes()
    return bytes(changed)


# Columns, rows, sections, mode, intervals, cell, axes, extremes, extended header, IMOD's stamp and flags.
MRC_FIELDS = (0, 1, 2, 3, 7, 8, 9, 10, 11, 12, 16, 17, 18, 19, 20, 23, 38, 39)


# ---- examples ---------------------------------------------------------------------------------------------------


def example_particles(random: np.random.Generator, rows: int = ROWS) -> Particles:
    """Random particles in two optics groups, with all that a writer needs."""
    angles, origins = random.uniform(-180, 180, (3, rows)), random.uniform(-9, 9, (2, rows))
    table = pd.DataFrame(
        {
            "rlnImageName": [f"{number:06d}@stack.mrcs" for number in range(1, rows + 1)],
            "rlnMicrographName": [f"mic {number % 3}.mrc" for number in range(rows)],
            "rlnOpticsGroup": np.arange(rows) % 2 + 1,
            "rlnAngleRot": angles[0],
            "rlnAngleTilt": np.abs(angles[1]),
            "rlnAnglePsi": angles[2],
            "rlnOriginXAngst": origins[0],
            "rlnOriginYAngst": origins[1],
            "rlnDefocusU": random.uniform(8000, 30000, rows),
            "rlnDefocusV": random.uniform(8000, 30000, rows),
            "rlnDefocusAngle": random.uniform(-90, 90, rows),
            "rlnPhaseShift": 0.0,
            "rlnClassNumber": random.integers(1, 4, rows),
            "rlnRandomSubset": np.arange(rows) % 2 + 1,
        }
    )
    optics = pd.DataFrame(
        {
            "rlnOpticsGroup": [1, 2],
            "rlnOpticsGroupName": ["one", "two"],
            "rlnVoltage": 300.0,
            "rlnSphericalAberration": 2.7,
            "rlnAmplitudeContrast": 0.1,
            "rlnImagePixelSize": 1.5,
            "rlnImageSize": 64,
            "rlnImageDimensionality": 2,
            "drgnContrast": "white",
        }
    )
    return Particles(table, optics, Path("example"))


def star_examples(folder: Path, random: np.random.Generator) -> list[Path]:
    """Our own file, and one of RELION 3.0, without optics table and with origins in px."""
    particles = example_particles(random)
    write_star(particles, folder / "new.star")
    table = particles.table.drop(columns="rlnOpticsGroup").rename(
        columns={"rlnOriginXAngst": "rlnOriginX", "rlnOriginYAngst": "rlnOriginY"}
    )
    table["rlnMicrographName"] = table["rlnMicrographName"].str.replace(" ", "")
    table = table.assign(rlnVoltage=300, rlnDetectorPixelSize=7.5, rlnMagnification=50000)
    labels = "".join(f"_{label} #{number}\n" for number, label in enumerate(table, start=1))
    rows = table.to_string(header=False, index=False)
    (folder / "old.star").write_text(f"\ndata_images\n\nloop_\n{labels}{rows}\n\n")
    return [folder / "new.star", folder / "old.star"]


def cistem_examples(folder: Path, random: np.random.Generator) -> list[Path]:
    """Our own file with a beam tilt in one group, and one with fewer columns."""
    particles = example_particles(random)
    particles.table["rlnMicrographName"] = particles.table["rlnMicrographName"].str.replace(" ", "")
    particles.optics["rlnBeamTiltX"] = [0.0, 0.5]
    write_cistem(particles, folder / "full.star")
    rows = "".join(f"{n} {x:.2f} {y:.2f} 'a.mrc' {n % 2 + 1}\n" for n, (x, y) in enumerate(random.random((ROWS, 2)), 1))
    labels = ["PositionInStack", "AnglePsi", "XShift", "StackFilename", "AssignedSubset"]
    heads = "".join(f"_cisTEM{label} #{number}\n" for number, label in enumerate(labels, start=1))
    (folder / "few.star").write_text(f"# Written by cisTEM\n \ndata_\n \nloop_\n{heads}#  POS  PSI\n{rows}")
    return [folder / "full.star", folder / "few.star"]


def par_examples(folder: Path, random: np.random.Generator) -> list[Path]:
    """One file of each layout."""
    paths = []
    for name, layout in LAYOUTS.items():
        particles = example_particles(random)
        extra = {f"drgnFrealign{column.capitalize()}": 1.0 for column in layout.names if column.startswith("EXT")}
        particles.table = particles.table.assign(**extra)
        path = folder / f"{name}.par"
        write_par(particles, path, name)
        paths.append(path)
    return paths


def shifts_examples(folder: Path, random: np.random.Generator) -> list[Path]:
    """Changes of poses as the two Frealigns write them: zero where there is no change."""
    paths = []
    for layout, count in (("par9", 15), ("parx", 16)):
        columns = {column.name: column for column in LAYOUTS[layout].columns}
        rows = []
        for number in range(1, ROWS + 1):
            values = dict(zip(SHIFTS[count][1:6], random.uniform(-9, 9, 5), strict=True)) | {"N": number}
            words = [(columns[name], values.get(name, 0)) for name in SHIFTS[count]]
            rows.append("".join(f"{value:{column.width}.{column.decimals}f}" for column, value in words))
        path = folder / f"shifts{count}.par"
        path.write_text("C shifts\n" + "\n".join(rows) + "\n")
        paths.append(path)
    return paths


def statistics_examples(folder: Path, random: np.random.Generator) -> list[Path]:
    """FrealignX's statistics, and Frealign 9's in comments of a parameter file."""
    values = [(n, 192 / (n - 1), (n - 1) / 64, *random.random(4)) for n in range(2, ROWS + 2)]
    rows = "".join("%14.5f" * 7 % row + "\n" for row in values)
    (folder / "x.txt").write_text("C SHELL RESOLUTION RING_RADIUS FSC Part_FSC Part_SSNR^0.5 Rec_SSNR^0.5\n" + rows)
    row9 = "C%4d%8.2f%10.4f%7.2f%7.3f%10.3f%11.4f%10.2f%9.4f%9.4f%9.4f%6.2f%8d\n"
    rows = "".join(row9 % (*row[:3], 1.2, *row[3:], 0, 0, 0, 0, 17) for row in values)
    heading = "C  NO.  RESOL  RING RAD   FSPR    FSC  Part_FSC  Part_SSNR  Rec_SSNR  CC  EXP. C  SIG C  ERFC  TOTVOX\n"
    (folder / "nine.txt").write_text(f"C settings\n{heading}{rows}C  Average   56.28  0.385\nC\n")
    return [folder / "x.txt", folder / "nine.txt"]


def cs_examples(folder: Path, random: np.random.Generator) -> list[Path]:
    """A file with poses, one with 2-D alignments, and one with locations, poses of two classes and nothing else."""
    particles = example_particles(random)
    write_cs(particles, folder / "poses.cs")
    flat = example_particles(random)
    flat.table = flat.table.drop(columns=["rlnAngleRot", "rlnAngleTilt"])
    write_cs(flat, folder / "flat.cs")
    kinds = [("uid", "<u8"), ("blob/path", "S12"), ("blob/idx", "<u4")]
    kinds += [(f"alignments_class_{k}/{name}", kind) for k in range(2) for name, kind in CLASS_FIELDS]
    kinds += [(f"location/{name}", kind) for name, kind in LOCATION_FIELDS]
    rows = np.zeros(ROWS, kinds)
    rows["uid"], rows["blob/idx"], rows["blob/path"] = np.arange(ROWS), np.arange(ROWS), b">stack.mrcs"
    rows["alignments_class_1/class_posterior"] = random.random(ROWS)
    np.save(folder / "classes.npy", rows)
    return [folder / "poses.cs", folder / "flat.cs", folder / "classes.npy"]


CLASS_FIELDS = [("pose", "(3,)<f4"), ("shift", "(2,)<f4"), ("psize_A", "<f4"), ("class_posterior", "<f4")]
LOCATION_FIELDS = [("micrograph_path", "S9"), ("center_x_frac", "<f4"), ("center_y_frac", "<f4")]
LOCATION_FIELDS += [("micrograph_shape", "(2,)<u4")]


def pickles_of(make: Callable[[np.random.Generator], list[list[object]]]) -> Callable[..., list[Path]]:
    """Files of pickles one after the other, in every protocol."""

    def examples(folder: Path, random: np.random.Generator) -> list[Path]:
        paths = []
        for number, objects in enumerate(make(random)):
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                paths.append(folder / f"{number}_{protocol}.pkl")
                paths[-1].write_bytes(b"".join(pickle.dumps(item, protocol) for item in objects))
        return paths

    return examples


def poses_objects(random: np.random.Generator) -> list[list[object]]:
    """Rotations with and without translations; our own writer's file is the first's last protocol."""
    rotations = euler_to_matrix(*random.uniform(-180, 180, (3, ROWS))).astype(np.float32)
    translations = random.uniform(-0.2, 0.2, (ROWS, 2)).astype(np.float32)
    return [[(rotations, translations)], [rotations], [(np.asfortranarray(rotations.astype(np.float64)), translations)]]


def ctf_objects(random: np.random.Generator) -> list[list[object]]:
    """The nine columns."""
    columns = [np.full(ROWS, value) for value in (64, 1.31, 15000, 14000, 30, 300, 2.7, 0.1, 0)]
    table = np.column_stack(columns) + random.random((ROWS, 9)) * [0, 0, 900, 900, 9, 0, 0, 0, 90]
    return [[table.astype(np.float32)], [table]]


def latent_objects(random: np.random.Generator) -> list[list[object]]:
    """Means, then log variances."""
    return [[random.random((ROWS, 4), np.float32), random.random((ROWS, 4), np.float32)]]


def integer_objects(random: np.random.Generator) -> list[list[object]]:
    """Whole numbers as array, list and list of numpy's."""
    numbers = random.permutation(100)[:ROWS]
    return [[numbers], [numbers.astype(np.int32)], [numbers.tolist()], [list(numbers)]]


def mrc_examples(folder: Path, random: np.random.Generator) -> list[Path]:
    """A map, a stack, a map of 2-byte integers in the other byte order, and bytes of IMOD's with other axes."""
    volume = random.random((4, 4, 4), np.float32)
    write_volume(folder / "map.mrc", volume, 1.5)
    with StackWriter(folder / "stack.mrcs", ROWS, 4, 1.5) as writer:
        writer.append(random.random((ROWS, 4, 4), np.float32))
    header = np.frombuffer((folder / "map.mrc").read_bytes()[:1024], "<i4").copy()
    header[3] = 1
    (folder / "swapped.mrc").write_bytes(header.astype(">i4").tobytes() + (volume * 99).astype(">i2").tobytes())
    header[3], header[16:19], header[38:40] = 0, (3, 2, 1), (1146047817, 1)
    (folder / "imod.mrc").write_bytes(header.tobytes() + (volume * 99).astype("i1").tobytes())
    return [folder / "map.mrc", folder / "stack.mrcs", folder / "swapped.mrc", folder / "imod.mrc"]


PICKLE: list[Mutation] = [mutate_opcodes, mutate_opcodes, mutate_opcodes, mutate_numbers]
PARSERS = {
    "star": Parser(
        star_examples,
        [read_star, lambda path: read_star(path, **FACTS)],
        [*TEXT, other_words(STAR_WORDS), other_words(STAR_WORDS, rb"_\S+")],
    ),
    "cistem": Parser(
        cistem_examples,
        [lambda path: read_cistem(path, "stack.mrc", **FACTS), read_cistem],
        [*TEXT, other_words(CISTEM_WORDS), other_words(CISTEM_WORDS, rb"_\S+")],
    ),
    "par": Parser(par_examples, [lambda path: read_par(path, "stack.mrc", **FACTS), read_par], TEXT),
    "shifts": Parser(shifts_examples, [read_par_table], TEXT),
    "statistics": Parser(statistics_examples, [read_statistics], [*TEXT, other_words(STATISTICS_WORDS)]),
    "cs": Parser(
        cs_examples,
        [read_cs, lambda path: read_cs(path, path)],
        [mutate_numpy_header, mutate_numpy_header, mutate_numbers],
    ),
    "poses": Parser(pickles_of(poses_objects), [cryodrgn.read_poses], PICKLE),
    "ctf": Parser(pickles_of(ctf_objects), [cryodrgn.read_ctf], PICKLE),
    "latent": Parser(pickles_of(latent_objects), [cryodrgn.read_latent], PICKLE),
    "indices": Parser(pickles_of(integer_objects), [cryodrgn.read_indices], PICKLE),
    "labels": Parser(pickles_of(integer_objects), [cryodrgn.read_labels], PICKLE),
    "mrc": Parser(mrc_examples, [read_header], [mutate_mrc_header, mutate_numbers]),
    "volume": Parser(mrc_examples, [read_volume], [mutate_mrc_header, mutate_numbers]),
}


# ---- cases ------------------------------------------------------------------------------------------------------


def make_examples(name: str, folder: Path, seed: int) -> list[bytes]:
    """Valid files for a parser, each read without complaint.

    Parameters
    ----------
    name : str
        Of `PARSERS`.
    folder : path
        To write them into.
    seed : int

    Returns
    -------
    list of bytes
    """
    parser = PARSERS[name]
    paths = parser.examples(folder, np.random.default_rng(seed))
    for path in paths:
        parser.readers[0](path)
    return [path.read_bytes() for path in paths]


def mutated(name: str, examples: list[bytes], seed: int, case: int) -> bytes:
    """The file of a case: an example with one to four mutations.

    Parameters
    ----------
    name : str
        Of `PARSERS`.
    examples : list of bytes
        From `make_examples` with the same seed.
    seed, case : int

    Returns
    -------
    bytes
    """
    random = Random(f"{name} {seed} {case}")
    data = random.choice(examples)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        own = random.random() < 0.6
        data = random.choice(PARSERS[name].mutations if own else BYTES)(data, random)
    return data


def run_case(name: str, case: int, path: Path) -> bool:
    """Read a file as the case does.

    Parameters
    ----------
    name : str
        Of `PARSERS`.
    case : int
    path : path
        The mutated file.

    Returns
    -------
    bool
        Whether it was read; otherwise it was refused with our own error.

    Raises
    ------
    MemoryError
        Also where a parser turned it into an error of ours.
    """
    readers = PARSERS[name].readers
    try:
        readers[case % len(readers)](path)
    except DrgnalignError as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, MemoryError):
            raise cause from None
        return False
    return True


class Progress(ctypes.Structure):
    """What a child says, in memory that outlives it."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("case", "read", "refused", "failures", "before_kb", "peak_kb"))


def fuzz(name: str, cases: int, seed: int) -> dict[str, object]:
    """Run the cases of a parser.

    Parameters
    ----------
    name : str
        Of `PARSERS`.
    cases : int
    seed : int

    Returns
    -------
    dict
        Numbers of cases, of those read, refused and failed, seconds, and the largest resident memory in MB with what
        it was before the first case.
    """
    start = time.monotonic()
    progress = FORK.RawValue(Progress)
    for old in KEPT.glob(f"{name}_*"):
        old.unlink()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        examples = make_examples(name, Path(folder), seed)
        while progress.case < cases and progress.failures < MOST_FAILURES:
            child = FORK.Process(target=_run_cases, args=(name, examples, cases, seed, Path(folder) / "case", progress))
            child.start()
            child.join()
            if child.exitcode:
                died = signal.Signals(-child.exitcode).name if child.exitcode < 0 else f"exit status {child.exitcode}"
                _keep(name, progress, mutated(name, examples, seed, progress.case), died)
                progress.case += 1
    return {
        "cases": progress.case,
        "read": progress.read,
        "refused": progress.refused,
        "failures": progress.failures,
        "seconds": round(time.monotonic() - start, 1),
        "peak_rss_mb": progress.peak_kb // 1024,
        "rss_before_mb": progress.before_kb // 1024,
    }


def _run_cases(name: str, examples: list[bytes], cases: int, seed: int, path: Path, progress: Progress) -> None:
    _warm_up(name, examples, path)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    progress.before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while progress.case < cases and progress.failures < MOST_FAILURES:
        path.write_bytes(mutated(name, examples, seed, progress.case))
        # Without a handler the signal ends the process, also where it hangs in compiled code.
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            if run_case(name, progress.case, path):
                progress.read += 1
            else:
                progress.refused += 1
        except Exception:
            signal.setitimer(signal.ITIMER_REAL, 0)
            _keep(name, progress, path.read_bytes(), traceback.format_exc())
        progress.case += 1
        progress.peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_REAL, 0)


def _warm_up(name: str, examples: list[bytes], path: Path) -> None:
    """Load what is loaded when it is needed, before time and memory count."""
    for example in examples:
        path.write_bytes(example)
        for case in range(len(PARSERS[name].readers)):
            run_case(name, case, path)


def _keep(name: str, progress: Progress, data: bytes, report: str) -> None:
    progress.failures += 1
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{name}_{progress.case}.bin").write_bytes(data)
    (KEPT / f"{name}_{progress.case}.txt").write_text(report)
    print(f"{name} case {progress.case}: {report.strip().splitlines()[-1][:200]}", flush=True)


@click.command()
@click.option("--parser", type=click.Choice([*PARSERS, "all"]), default="all", show_default=True)
@click.option("--cases", type=click.IntRange(min=1), default=100_000, show_default=True, help="For each parser.")
@click.option("--seed", type=int, default=1, show_default=True)
def main(parser: str, cases: int, seed: int) -> None:
    """Fuzz and print; record the results if it was all parsers. Exit status 1 if a case failed."""
    warnings.simplefilter("ignore")
    results: dict[str, dict[str, object]] = {}
    for name in PARSERS if parser == "all" else [parser]:
        results[name] = fuzz(name, cases, seed)
        print(name, *(f"{key} {value}" for key, value in results[name].items()), sep=", ", flush=True)
    record = {
        "command": " ".join(["benchmarks/fuzz.py", *sys.argv[1:]]),
        "seed": seed,
        "machine": {"processor": platform.processor() or platform.machine(), "python": platform.python_version()},
        "parsers": results,
    }
    if parser == "all":
        RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    failed = [name for name, result in results.items() if result["failures"]]
    if failed:
        sys.exit(f"failures of {', '.join(failed)}; their files are in {KEPT}")


if __name__ == "__main__":
    main()
