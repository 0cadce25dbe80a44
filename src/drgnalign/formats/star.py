"""RELION star files: 3.0 without an optics table, 3.1 and later with one."""

from __future__ import annotations

import codecs
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.errors import InputError, InputWarning
from drgnalign.files import atomic_path
from drgnalign.formats.dropped import kept_rows, refuse_words
from drgnalign.formats.labels import tell_misspelt
from drgnalign.formats.packed import refuse_other_text, refuse_packed
from drgnalign.formats.text_table import BodyError, Syntax, read_table
from drgnalign.particles import (
    CTF_VALUES,
    MIRRORED,
    NEUTRAL_OPTICS,
    NUMERIC,
    NUMERIC_OPTICS,
    ORIGINS,
    PIXEL_ORIGINS,
    Particles,
    dropping,
    fill_optics,
    optics_table,
)

# What RELION 3.1 keeps once a group, and its predecessor wrote once a particle.
OPTICS_LABELS = [
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnImagePixelSize",
    *NEUTRAL_OPTICS,
]
# RELION 3.0's way to give the pixel size: that of the detector in µm.
MAGNIFICATION = ["rlnDetectorPixelSize", "rlnMagnification"]
WHOLE = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|nan|inf)", re.IGNORECASE | re.ASCII)
# Characters of 2⁶⁴ with a sign; longer ones need not become numbers to be known as too large.
LONGEST_WHOLE = 21
LOOP_SYNTAX = Syntax(comment=ord("#"), star=True)
# It begins with a line end, by which it is found fast.
HEAD = re.compile(rb"\n[^\S\n]*data_(\S*)[^\S\n]*(?:#[^\n]*)?(?=\n|\Z)")
LINE = re.compile(rb"[^\n]*\n|[^\n]+")
FIELD = re.compile(rb"\"(.*?)\"(?!\S)|'(.*?)'(?!\S)|(\S+)")
LOOP = re.compile(rb"^[^\S\n]*loop_(?!\S)", re.MULTILINE)
LABEL = re.compile(rb"^[^\S\n]*_\S", re.MULTILINE)
# What tells the table of images in a file that is copied.
IMAGES = re.compile(rb"^[^\S\n]*_(?:rlnImageName|cisTEMPositionInStack)\b", re.MULTILINE)
# Tables of RELION's multi-body refinement, a row for each particle.
BODY = re.compile(r"images_body_\d+")
ROWS_AT_ONCE = 50_000
# Labels of sub-tomograms, and of stacks of a particle's tilts; shifts along z are signs of them where they are not 0.
TOMOGRAPHY = ("rlnTomo", "rlnCtfImage", "rlnTiltIndex")
Z_ORIGINS = ("rlnOriginZAngst", "rlnOriginZ")
# Columns in which words are refused.
RECKONED = [*NUMERIC, *NUMERIC_OPTICS, *PIXEL_ORIGINS, *MAGNIFICATION, "rlnPixelSize"]
# Columns that are used, by which misspelt ones are known, and RELION's labels that are nearly the same.
KNOWN = [
    *(label for label in (*RECKONED, *NEUTRAL_OPTICS) if label.startswith("rln")),
    *("rlnImageName", "rlnMicrographName", "rlnOpticsGroup", "rlnOpticsGroupName", "rlnHelicalTubeID"),
    *("rlnCoordinateX", "rlnCoordinateY", "rlnImageOriginalName", "rlnOriginalParticleName", "rlnSelected"),
]
NEIGHBOURS = ["rlnCoordinateZ", "rlnImageSizeX", "rlnImageSizeY", "rlnImageSizeZ", "rlnIsSelected", *Z_ORIGINS]
# Relative difference of two values that are meant to be the same.
SAME_FACT = 1e-3
# Sizes that mean the same differ by less; nominal magnifications do not.
SAME_SIZE = 0.01
# px: origins that mean the same are rounded.
SAME_SHIFT = 0.02
# What a star file is that has such a block, or such a label, and no particle images.
OTHER_BLOCKS = {
    "model_general": "a model file of RELION's, with classes instead of particles",
    "optimiser_general": "an optimiser file of RELION's, which names the particle file",
    "sampling_general": "a sampling file of RELION's",
    "pipeline_general": "the record of a RELION project",
    "job": "the settings of a RELION job",
    "movies": "a list of movies",
    "micrographs": "a list of micrographs",
}
OTHER_LABELS = {"rlnReferenceImage": "a list of class averages", "rlnCoordinateX": "a list of coordinates"}


def read_star(
    path: str | Path,
    *,
    pixel_size: float | None = None,
    voltage: float | None = None,
    cs: float | None = None,
    amplitude_contrast: float | None = None,
    dropped: Sequence[int] = (),
    keep_pixels: bool = False,
) -> Particles:
    """Read a particle star file of RELION 3.0, 3.1, 4 or 5 (single-particle layout).

    Columns that drgnalign does not know are kept. A file without optics table gets one: with the groups that its
    particles name, or else one for every combination of voltage, spherical aberration, amplitude contrast, pixel size
    and beam tilt. Where there is no rlnImagePixelSize, it is rlnPixelSize, or rlnDetectorPixelSize (µm) × 10⁴ /
    rlnMagnification, of the optics table or of the particles. Origins in px become Å.

    Blocks, tables of one row without a loop, and comments are found as RELION finds them; a byte order mark and line
    ends of Windows, which RELION stumbles over, do not matter.

    Parameters
    ----------
    path : path
    pixel_size, voltage, cs, amplitude_contrast : float, optional
        Å/px, kV, mm, fraction: used where the file does not have them.
    dropped : sequence of int, optional
        Rows, from 0, that are left out before anything is looked at.
    keep_pixels : bool
        Origins stay in px where the pixel size is not known, instead of being refused.

    Returns
    -------
    Particles
        Columns that a later step needs may be missing; see `drgnalign.inputs.import_particles`.

    Raises
    ------
    InputError
        No such file, not a particle star file, or one of tilt series; a value in the file that contradicts another, or
        the one given, by more than 0.1 %; or origins in px without a pixel size.

    Warns
    -----
    InputWarning
        A second table with images, groups without optics table, pixel sizes that contradict each other, or labels that
        are nearly those of columns that would be used.
    """
    path = Path(path)
    blocks = read_blocks(path)
    table = without_rows(path, _particle_block(path, blocks), dropped)
    for block in (table, blocks.get("optics", table)):
        tell_misspelt(path, map(str, block), KNOWN, NEIGHBOURS)
    _refuse_words(path, table)
    if "optics" in blocks:
        optics = _with_numbers(path, blocks["optics"], table)
        optics = _with_pixel_size(path, optics)
        if "rlnImagePixelSize" not in optics:
            table = _with_pixel_size(path, table)
        _complete_optics(path, table, optics)
        # what stands in both would contradict it after a change of one
        table = table.drop(columns=OPTICS_LABELS, errors="ignore")
    else:
        table, optics = _with_optics(path, table)
    particles = Particles(table, optics, path, origin_names=ORIGINS if "optics" in blocks else PIXEL_ORIGINS)
    particles.row_names = None if "optics" in blocks else {}
    particles.validate()
    if "rlnImagePixelSize" in blocks.get("optics", ()):
        _tell_other_sizes(particles)
    _take_from_groups(particles)
    given = {
        "rlnImagePixelSize": pixel_size,
        "rlnVoltage": voltage,
        "rlnSphericalAberration": cs,
        "rlnAmplitudeContrast": amplitude_contrast,
    }
    fill_optics(path, optics, given, np.isin(np.arange(len(optics)), particles.optics_rows()))
    if not keep_pixels or "rlnImagePixelSize" in optics:
        _origins_to_angstrom(particles)
    return particles


def without_rows(path: Path, table: pd.DataFrame, dropped: Sequence[int]) -> pd.DataFrame:
    """A table of `read_blocks` without some rows, from 0; columns that had words in these alone are numbers then."""
    if not len(dropped):
        return table
    return _typed(table[kept_rows(path, len(table), dropped)].reset_index(drop=True))


def _take_from_groups(particles: Particles) -> None:
    """What RELION looks for in a particle's group where the particle itself does not say it."""
    for label in (*CTF_VALUES, MIRRORED):
        if label in particles.optics:
            of_groups = pd.to_numeric(particles.optics.pop(label), errors="coerce").to_numpy(np.float64)
            told = of_groups[particles.optics_rows()]
            if label not in particles.table:
                if not np.isfinite(told).all():
                    problem = f"{label} is not a finite number in its optics table"
                    raise InputError(particles.path, problem, "correct the optics table")
                particles.table[label] = told
                continue
            own = particles.table[label].to_numpy(np.float64)
            odd = np.isfinite(told) & (np.abs(told - own) > SAME_FACT * np.abs(own))
            if odd.any():
                row = int(odd.argmax())
                two = f"{own[row]:g} in its particle table, and {told[row]:g} in its optics table"
                _warn(particles.path, f"{label} is {two}: the particle's is used, as RELION does")


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
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write("# version 30001\n")
        for name, block in (("optics", particles.optics), ("particles", particles.table)):
            file.write(f"\ndata_{name}\n\nloop_\n")
            file.writelines(f"_{label} #{number}\n" for number, label in enumerate(block.columns, start=1))
            for first in range(0, len(block), ROWS_AT_ONCE):
                columns = [_words(block[label].iloc[first : first + ROWS_AT_ONCE]) for label in block]
                file.writelines(" ".join(row) + "\n" for row in zip(*columns, strict=True))


def copy_star_rows(source: str | Path, keep: NDArray[np.bool_], path: str | Path) -> None:
    """Write some rows of a particle star file, and all else in it as it is: layout, columns, digits, other blocks.

    Tables of bodies (RELION's multi-body refinement) have a row for each particle, and keep the same ones.

    Parameters
    ----------
    source : path
        A file that `read_star` reads.
    keep : (N,) bool
        Which of its rows; at least one.
    path : path

    Raises
    ------
    InputError
        The folder does not exist or cannot be written; a table of a body has another number of rows.
    """
    source = Path(source)
    data = source.read_bytes()
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        end = 0
        for start, stop in _tables_of_particles(data):
            file.write(data[end:start])
            end = stop
            rows = _copy_rows(data[start:stop], keep, file)
            if rows != len(keep):
                problem = f"a table of a body has {rows:,} rows, and there are {len(keep):,} particles"
                raise InputError(source, problem, "give the file as RELION's multi-body refinement wrote it")
        file.write(data[end:])


def _copy_rows(data: bytes, keep: NDArray[np.bool_], file: BinaryIO) -> int:
    """Write some rows of a table without its labels; how many it has."""
    row, ended = 0, False
    # ends are \n alone, as in `read_star`: an editor may have left several \r before it
    for line in LINE.findall(data):
        ended = ended or not line.strip()
        if ended or line.lstrip().startswith(b"#"):
            file.write(line)
            continue
        if row < len(keep) and keep[row]:
            file.write(line)
        row += 1
    return row


def _tables_of_particles(data: bytes) -> Iterator[tuple[int, int]]:
    """Where the rows of tables with one row a particle begin, and where their blocks end. A table that is a list of
    labels and values, which is one row, is none."""
    blocks = {name: (start, stop) for name, start, stop in _blocks(data)}
    found = (
        ["particles"]
        if "particles" in blocks
        else [name for name, (start, stop) in blocks.items() if IMAGES.search(data, start, stop)][:1]
    )
    for name, (start, stop) in blocks.items():
        label = (IMAGES if name in found else LABEL).search(data, start, stop)
        if (name in found or BODY.fullmatch(name)) and label and LOOP.search(data, start, label.start()):
            offset = label.start()
            while not (line := data[offset : data.find(b"\n", offset)].strip()) or line.startswith((b"_", b"#", b";")):
                offset = data.index(b"\n", offset) + 1
            yield offset, stop


def _words(column: pd.Series) -> Iterable[str]:
    """Numbers in the fewest digits that read back as the same, text in quotation marks where it needs them."""
    if column.dtype.kind == "f":
        return map(repr, column.to_numpy(np.float64).tolist())
    if column.dtype.kind in "iu":
        return map(str, column.tolist())
    return map(_quoted, column.astype(str))


def _quoted(text: str) -> str:
    # a row that began with _ or ; would be a label, or a comment
    if text and text[0] not in "\"'#_;" and not re.search(r"\s", text):
        return text
    quote = "'" if '"' in text else '"'
    if quote in text or "\n" in text:
        raise InputError(None, f"{text!r} cannot stand in a star file", "rename it, without quotation marks")
    return f"{quote}{text}{quote}"


def read_blocks(path: Path) -> dict[str, pd.DataFrame]:
    """Read the data blocks of any star file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of str to DataFrame
        By name; in each, one loop, or a list of labels and values as one row.

    Raises
    ------
    InputError
        No such file, or not a readable star file.
    """
    if not path.is_file():
        raise InputError(path, "no such file", "check the path")
    data = path.read_bytes()
    refuse_packed(path, data)
    refuse_other_text(path, data)
    try:
        return {name: _read_block(data, start, stop) for name, start, stop in _blocks(data)}
    except _SyntaxError as error:
        line = data.count(b"\n", 0, error.offset) + 1
        problem = f"is not a readable star file: line {line} {error.problem}"
    except UnicodeDecodeError as error:
        problem = f"is not a readable star file ({error.reason})"
    raise InputError(path, problem, "write it again from RELION")


class _SyntaxError(Exception):
    def __init__(self, offset: int, problem: str) -> None:
        super().__init__(problem)
        self.offset = offset
        self.problem = problem


def _blocks(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Name of each data block, and where its content begins and ends."""
    heads = list(_block_heads(data))
    ends = [*(start for _, start, _ in heads[1:]), len(data)]
    names: set[str] = set()
    for (name, start, content), end in zip(heads, ends, strict=False):
        if name in names:
            raise _SyntaxError(start, f"begins a second block data_{name}")
        names.add(name)
        yield name, content, end


def _block_heads(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, beginning and end of each line that begins a block; a row may begin with the same letters."""
    begin = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
    end = data.find(b"\n", begin)
    end = len(data) if end < 0 else end
    first = HEAD.match(b"\n" + data[begin:end])
    if first:
        yield first[1].decode(), begin, end
    for head in HEAD.finditer(data, end):
        yield head[1].decode(), head.start() + 1, head.end()


def _read_block(data: bytes, start: int, stop: int) -> pd.DataFrame:
    pairs: dict[str, str] = {}
    labels: list[str] = []
    offset, loop = start, False
    while offset < stop:
        end = data.find(b"\n", offset, stop)
        end = stop if end < 0 else end
        words = data[offset:end].split()
        if labels and len(words) >= len(labels) and words[0].startswith(b";"):
            raise _SyntaxError(
                offset, "has the fields of a row, and begins with ;, by which RELION takes it for a comment"
            )
        if words and words[0].startswith((b"#", b";")):
            words = []
        if labels and words and not words[0].startswith(b"_"):
            return _read_loop(data, offset, stop, labels)
        if words[:1] == [b"loop_"] and not pairs:
            loop = True
        elif words and words[0].startswith(b"_"):
            label = words[0][1:].decode()
            if label in pairs or label in labels:
                raise _SyntaxError(offset, f"has the label {label} a second time")
            if loop:
                labels.append(label)
            else:
                pairs[label] = _value(data, data.index(words[0], offset) + len(words[0]), end)
        elif words:
            raise _SyntaxError(offset, "is neither a label nor in a loop")
        offset = end + 1
    if labels or not pairs:
        return pd.DataFrame(columns=labels)
    return _typed(pd.DataFrame([pairs]))


def _value(data: bytes, start: int, stop: int) -> str:
    """The value behind a label."""
    field = FIELD.search(data, start, stop)
    if field is None or field[0].startswith(b"#"):
        raise _SyntaxError(start, "has a label without a value, and no loop_ above it")
    return next(text for text in field.groups() if text is not None).decode()


def _read_loop(data: bytes, start: int, stop: int, labels: list[str]) -> pd.DataFrame:
    words = [position for position, label in enumerate(labels) if _is_text(label)]
    try:
        table = read_table(data, start, stop, len(labels), words, LOOP_SYNTAX)
    except BodyError as error:
        more = "more than " if error.fields > len(labels) else ""
        fields = min(error.fields, len(labels))
        raise _SyntaxError(error.offset, f"has {more}{fields} fields, for {len(labels)} labels") from error
    # RELION stops at the empty line without a word: rows behind it would be lost.
    rest = re.compile(rb"^[^\S\n]*[^\s#].*$", re.MULTILINE).search(data, table.end, stop)
    if rest:
        raise _SyntaxError(rest.start(), "goes on with a table that an empty line has ended")
    return _typed(pd.DataFrame(dict(zip(labels, table.columns, strict=True)), copy=False))


def _is_text(label: str) -> bool:
    """Names stay text, even '001'."""
    return label.endswith(("Name", "Filename"))


def _typed(block: pd.DataFrame) -> pd.DataFrame:
    """Text that holds numbers only, as whole numbers too long for double precision do, to numbers; in place."""
    for label in map(str, block.columns):
        if block[label].dtype == object and not _is_text(label):
            block[label] = _typed_column(block[label])
    return block


def _typed_column(column: pd.Series) -> pd.Series:
    """Numbers if all are; whole numbers beyond 64 bits stay words. An exponent of ten digits crashes pandas' parser."""
    words = column.tolist()
    if not all(map(NUMBER.fullmatch, words)):
        return column
    if not all(map(WHOLE.fullmatch, words)):
        return column.astype(np.float64)
    if max(map(len, words)) > LONGEST_WHOLE:
        return column
    numbers = [int(word) for word in words]
    for dtype in (np.int64, np.uint64):
        limits = np.iinfo(dtype)
        if limits.min <= min(numbers) and max(numbers) <= limits.max:
            return pd.Series(np.array(numbers, dtype), column.index)
    return column


def _particle_block(path: Path, blocks: dict[str, pd.DataFrame]) -> pd.DataFrame:
    _refuse_tomography(path, blocks)
    if "particles" in blocks and blocks["particles"].empty:
        raise InputError(
            path, "has no particles: its table data_particles is empty", "give a file with one row an image"
        )
    bodies = [f"data_{name}" for name in blocks if BODY.fullmatch(name)]
    if bodies:
        _warn(path, f"poses of bodies ({', '.join(bodies)}) are not used, but those of the whole particles")
    found = [name for name, block in blocks.items() if "rlnImageName" in block]
    if "particles" in blocks:
        others = [f"data_{name}" for name in found if name != "particles"]
        if others:
            _warn(path, f"of its tables with images only data_particles is read, not {', '.join(others)}")
        return blocks["particles"]
    if len(found) > 1:
        problem = f"{len(found)} of its tables ({', '.join(f'data_{name}' for name in found)}) name images"
        raise InputError(path, problem, "give a star file with one, or call the one that is meant data_particles")
    if not found:
        what = _other_star(blocks)
        problem = what or f"none of its blocks ({', '.join(map(repr, blocks)) or 'none'}) holds rlnImageName"
        remedy = "give the particle file of the same job, such as run_data.star"
        if "cisTEM" in problem:
            remedy = "make a RELION star file of it with `drgnalign convert`"
        raise InputError(path, problem, remedy)
    return blocks[found[0]]


def _other_star(blocks: dict[str, pd.DataFrame]) -> str | None:
    """What a star file without particle images is."""
    if any(str(label).startswith("cisTEM") for block in blocks.values() for label in block):
        return "is a star file of cisTEM's, which is not read here"
    for name, what in OTHER_BLOCKS.items():
        if name in blocks:
            return f"is {what}"
    for label, what in OTHER_LABELS.items():
        if any(label in block for block in blocks.values()):
            return f"is {what}"
    return None


def _refuse_tomography(path: Path, blocks: dict[str, pd.DataFrame]) -> None:
    tables = [block for name, block in blocks.items() if name != "general"]
    signs = [label for block in tables for label in map(str, block) if label.startswith(TOMOGRAPHY)]
    for block in tables:
        signs += [label for label in Z_ORIGINS if label in block and (block[label] != 0).any()]
        if "rlnImageDimensionality" in block and (block["rlnImageDimensionality"] == 3).any():
            signs.append("rlnImageDimensionality 3")
    if signs:
        problem = f"is of electron tomography ({', '.join(dict.fromkeys(signs))})"
        raise InputError(path, problem, "give a single-particle set: drgnalign takes no tilt series or sub-tomograms")


def _warn(path: Path, problem: str) -> None:
    warnings.warn(f"{path}: {problem}", InputWarning, stacklevel=3)


def _refuse_words(path: Path, block: pd.DataFrame, where: str = "") -> None:
    """Refuse words in columns that are reckoned with; `where` names the table, if it is not that of the particles."""
    for label in block.columns.intersection(RECKONED):
        words = block[label].tolist() if block[label].dtype == object else []
        if not words:
            continue
        bad = np.array([not NUMBER.fullmatch(word) for word in words])
        if not bad.any():
            # whole numbers that no type holds
            longest = max(map(len, words))
            bad = np.array([len(word) == longest for word in words])
        if where:
            row = int(bad.argmax())
            raise InputError(path, f"row {row + 1}{where}: {label} is {words[row][:80]!r}", "correct it")
        refuse_words(path, label, words, bad)


def _with_numbers(path: Path, optics: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """An optics table without words where numbers are reckoned with; NaN in groups that no particle is of."""
    used = pd.Series(False, optics.index)
    if {"rlnOpticsGroup"} <= set(optics) & set(table):
        used = optics["rlnOpticsGroup"].isin(table["rlnOpticsGroup"])
    if used.any():
        _refuse_words(path, _typed(optics[used].reset_index(drop=True)), " of its optics table")
    for label in optics.columns.intersection(RECKONED) if not used.all() else []:
        if optics[label].dtype == object:
            optics[label] = pd.to_numeric(optics[label], errors="coerce")
    return optics


def _with_optics(path: Path, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Move the columns of the optics table there from a particle table without one, as RELION 3.0's are."""
    table = _with_pixel_size(path, table).drop(columns=MAGNIFICATION, errors="ignore")
    labels = [label for label in OPTICS_LABELS if label in table]
    if "rlnOpticsGroup" in table:
        return _with_groups(path, table, labels)
    groups = table.groupby(labels, sort=False, dropna=False).ngroup() if labels else pd.Series(0, table.index)
    optics = optics_table(table[labels], groups)
    return table.drop(columns=labels).assign(rlnOpticsGroup=groups + 1), optics


def _with_groups(path: Path, table: pd.DataFrame, labels: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """An optics table for particles that name their groups in a file that has lost it."""
    optics = pd.DataFrame({"rlnOpticsGroup": np.sort(table["rlnOpticsGroup"].unique())})
    optics["rlnOpticsGroupName"] = [f"opticsGroup{number}" for number in optics["rlnOpticsGroup"]]
    _complete_optics(path, table, optics)
    optics["rlnImageDimensionality"] = 2
    count = f"{len(optics)} optics groups are" if len(optics) > 1 else "one optics group is"
    _warn(path, f"has no optics table (data_optics): the {count} kept, with what the particles' rows and options say")
    return table.drop(columns=labels), optics


def _with_pixel_size(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """A table whose rlnImagePixelSize is one of the other pixel sizes that it has, if need be."""
    sizes = _pixel_sizes(frame)
    if not sizes:
        return frame
    used, size = next(iter(sizes.items()))
    for other, contrary in list(sizes.items())[1:]:
        odd = ~np.isclose(size, contrary, rtol=SAME_SIZE, atol=0)
        if odd.any():
            row = int(odd.argmax())
            two = f"{used} says {size.iloc[row]:g} Å/px and {other} {contrary.iloc[row]:g}"
            _warn(path, f"its pixel sizes contradict each other, and the first is used: {two}")
    if used == "rlnPixelSize":
        return frame.rename(columns={"rlnPixelSize": "rlnImagePixelSize"})
    return frame.assign(rlnImagePixelSize=size)


def _pixel_sizes(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """What a table says of the pixel size, by the columns that say it."""
    sizes = {label: frame[label] for label in ("rlnImagePixelSize", "rlnPixelSize") if label in frame}
    if set(MAGNIFICATION) <= set(frame):
        sizes[" and ".join(MAGNIFICATION)] = frame["rlnDetectorPixelSize"] * 1e4 / frame["rlnMagnification"]
    return sizes


def _tell_other_sizes(particles: Particles) -> None:
    """Say which pixel sizes of the particle table are not those of its optics table."""
    used = particles.optics["rlnImagePixelSize"].to_numpy(np.float64)[particles.optics_rows()]
    for label, sizes in _pixel_sizes(particles.table).items():
        odd = ~np.isclose(used, sizes, rtol=SAME_SIZE, atol=0)
        if odd.any():
            row = int(odd.argmax())
            two = f"rlnImagePixelSize in its optics table says {used[row]:g} Å/px, and {label} of its particles"
            _warn(particles.path, f"its pixel sizes contradict each other, and the first is used: {two} {sizes[row]:g}")


def _complete_optics(path: Path, table: pd.DataFrame, optics: pd.DataFrame) -> None:
    """Take into the optics table what a mixed file has only once a particle."""
    for frame, where in ((table, "particle"), (optics, "optics")):
        if "rlnOpticsGroup" not in frame:
            raise InputError(path, f"the {where} table has no rlnOpticsGroup", "add the column")
    for label in table.columns.intersection(OPTICS_LABELS):
        values = table.groupby("rlnOpticsGroup")[label]
        if (values.nunique() > 1).any():
            problem = f"{label} differs within an optics group"
            raise InputError(path, problem, "split the group, and move the column to the optics table")
        # a group's first value would stand for them
        gaps = (table[label].isna() & values.transform("first").notna()).to_numpy()
        if gaps.any():
            problem = f"row {gaps.argmax() + 1}: {label} is not a number ({gaps.sum():,} such rows)"
            raise InputError(path, problem, f"correct or remove the rows: {dropping(path, gaps)}")
        told = optics["rlnOpticsGroup"].map(values.first())
        if label not in optics:
            optics[label] = told
        if "O" in (told.dtype.kind, optics[label].dtype.kind):
            odd = ((optics[label] != told) & told.notna()).to_numpy()
        else:
            odd = (np.abs(optics[label] - told) > SAME_FACT * np.abs(told)).to_numpy()
        if odd.any():
            row = int(odd.argmax())
            problem = f"{label} is {told.iloc[row]} in its particle table, but {optics[label].iloc[row]} in its optics"
            raise InputError(path, problem, "remove the wrong one: RELION goes by the particle table")


def _refuse_two_origins(particles: Particles) -> None:
    """Refuse origins in px that are not those in Å."""
    table, optics = particles.table, particles.optics
    for pixels, angstrom in zip(PIXEL_ORIGINS, ORIGINS, strict=True):
        if pixels in table and angstrom in table and "rlnImagePixelSize" in optics:
            size = optics["rlnImagePixelSize"].to_numpy(np.float64)[particles.optics_rows()]
            mine, other = table[angstrom].to_numpy(np.float64), table[pixels].to_numpy(np.float64) * size
            odd = np.abs(mine - other) > SAME_SHIFT * size + SAME_SIZE * np.abs(mine)
            if odd.any():
                row = int(odd.argmax())
                problem = f"row {row + 1}: {angstrom} is {mine[row]:g}, and {pixels} {table[pixels].iloc[row]:g} px"
                problem += f" of {size[row]:g} Å ({odd.sum():,} such rows)"
                raise InputError(particles.path, problem, "remove the wrong columns: RELION 3.1 goes by those in Å")


def _origins_to_angstrom(particles: Particles) -> None:
    table, optics = particles.table, particles.optics
    _refuse_two_origins(particles)
    for pixels, angstrom in zip(PIXEL_ORIGINS, ORIGINS, strict=True):
        if pixels in table and angstrom not in table:
            if "rlnImagePixelSize" not in optics:
                problem = f"{pixels} is in px, and the file has no pixel size"
                raise InputError(particles.path, problem, "give --pixel_size (Å/px)")
            sizes = optics["rlnImagePixelSize"].to_numpy(np.float64)[particles.optics_rows()]
            odd = ~(np.isfinite(sizes) & (sizes > 0))
            if odd.any():
                problem = f"{pixels} is in px, and the pixel size that the file gives is {sizes[odd][0]:g} Å"
                remedy = f"correct the pixel size, or {' and '.join(MAGNIFICATION)}, of which RELION 3.0 makes it"
                raise InputError(particles.path, problem, remedy)
            table[angstrom] = table[pixels] * sizes
    # Kept beside the new ones they would contradict them after the first change of pose.
    if set(PIXEL_ORIGINS) & set(table):
        table.drop(columns=PIXEL_ORIGINS, errors="ignore", inplace=True)
