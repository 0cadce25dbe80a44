"""RELION star files: 3.0 without an optics table, 3.1 and later with one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.errors import InputError
from drgnalign.files import atomic_path
from drgnalign.formats.text_table import BodyError, Syntax, read_table
from drgnalign.particles import NUMERIC, NUMERIC_OPTICS, ORIGINS, PIXEL_ORIGINS, Particles, fill_optics

# What RELION 3.1 keeps once a group, and its predecessor wrote once a particle.
OPTICS_LABELS = [
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnImagePixelSize",
    "rlnBeamTiltX",
    "rlnBeamTiltY",
]
# RELION 3.0's way to give the pixel size: that of the detector in µm.
MAGNIFICATION = ["rlnDetectorPixelSize", "rlnMagnification"]
WHOLE = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|nan|inf)", re.IGNORECASE | re.ASCII)
# Characters of 2⁶⁴ with a sign; longer ones need not become numbers to be known as too large.
LONGEST_WHOLE = 21
LOOP_SYNTAX = Syntax(comment=ord("#"), blank_ends=True)
ROWS_AT_ONCE = 50_000


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
    for block in (table, blocks.get("optics", table)):
        _refuse_words(path, block)
    if "optics" in blocks:
        optics = blocks["optics"]
        _complete_optics(path, table, optics)
    else:
        table, optics = _with_optics(table)
    particles = Particles(table, optics, path)
    particles.validate()
    given = {
        "rlnImagePixelSize": pixel_size,
        "rlnVoltage": voltage,
        "rlnSphericalAberration": cs,
        "rlnAmplitudeContrast": amplitude_contrast,
    }
    fill_optics(path, optics, given)
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

    Parameters
    ----------
    source : path
        A file that `read_star` reads.
    keep : (N,) bool
        Which of its rows.
    path : path

    Raises
    ------
    InputError
        The folder does not exist or cannot be written.
    """
    data = Path(source).read_bytes()
    blocks = {name: (start, stop) for name, start, stop in _blocks(data)}
    holding = re.compile(rb"^[^\S\n]*_rlnImageName\b", re.MULTILINE)
    spans = [blocks["particles"]] if "particles" in blocks else list(blocks.values())
    offset = next(filter(None, (holding.search(data, start, stop) for start, stop in spans))).start()
    # to the first row, behind the labels
    while not (line := data[offset : data.find(b"\n", offset)].strip()) or line.startswith((b"_", b"#")):
        offset = data.index(b"\n", offset) + 1
    row, ended = 0, False
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(data[:offset])
        for line in data[offset:].splitlines(keepends=True):
            ended = ended or not line.strip()
            if ended or line.startswith(b"#"):
                file.write(line)
                continue
            if keep[row]:
                file.write(line)
            row += 1


def _words(column: pd.Series) -> Iterable[str]:
    """Numbers in the fewest digits that read back as the same, text in quotation marks where it needs them."""
    if column.dtype.kind == "f":
        return map(repr, column.to_numpy(np.float64).tolist())
    if column.dtype.kind in "iu":
        return map(str, column.tolist())
    return map(_quoted, column.astype(str))


def _quoted(text: str) -> str:
    if text and text[0] not in "\"'#" and not re.search(r"\s", text):
        return text
    quote = "'" if '"' in text else '"'
    if quote in text or "\n" in text:
        raise InputError(None, f"{text!r} cannot stand in a star file", "rename it, without quotation marks")
    return f"{quote}{text}{quote}"


def _read_blocks(path: Path) -> dict[str, pd.DataFrame]:
    """The data blocks by name; in each, one loop or a list of labels and values."""
    if not path.is_file():
        raise InputError(path, "no such file", "check the path")
    data = path.read_bytes()
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
    start = 0
    while start >= 0:
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        words = data[start:end].split()
        if len(words) == 1 and data.startswith(b"data_", start):
            yield words[0][5:].decode(), start, end
        before = data.find(b"\ndata_", start)
        start = before + 1 if before >= 0 else -1


def _read_block(data: bytes, start: int, stop: int) -> pd.DataFrame:
    pairs: dict[str, str] = {}
    labels: list[str] = []
    offset, loop = start, False
    while offset < stop:
        end = data.find(b"\n", offset, stop)
        end = stop if end < 0 else end
        words = data[offset:end].split()
        if words and words[0].startswith(b"#"):
            words = []
        if labels and words and not words[0].startswith(b"_"):
            return _read_loop(data, offset, stop, labels)
        if words == [b"loop_"] and not pairs:
            loop = True
        elif words and words[0].startswith(b"_"):
            label = words[0][1:].decode()
            if label in pairs or label in labels:
                raise _SyntaxError(offset, f"has the label {label} a second time")
            if loop:
                labels.append(label)
            else:
                pairs[label] = b" ".join(words[1:]).decode().strip("'\"")
        elif words:
            raise _SyntaxError(offset, "is neither a label nor in a loop")
        offset = end + 1
    if labels or not pairs:
        return pd.DataFrame(columns=labels)
    return _typed(pd.DataFrame([pairs]))


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
    return label.endswith("Name")


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
    if "particles" in blocks:
        return blocks["particles"]
    found = [block for block in blocks.values() if "rlnImageName" in block]
    if len(found) != 1:
        problem = f"{len(found)} of its blocks ({', '.join(map(repr, blocks)) or 'none'}) hold rlnImageName"
        raise InputError(path, problem, "give a star file with one table of particle images")
    return found[0]


def _refuse_words(path: Path, block: pd.DataFrame) -> None:
    """Refuse words in columns that are reckoned with."""
    labels = [*NUMERIC, *NUMERIC_OPTICS, *PIXEL_ORIGINS, *MAGNIFICATION, "rlnPixelSize"]
    for label in block.columns.intersection(labels):
        words = block[label].tolist() if block[label].dtype == object else []
        if words:
            word = next((word for word in words if not NUMBER.fullmatch(word)), max(words, key=len))
            problem = f"row {words.index(word) + 1}: {label} is {word[:80]!r}"
            raise InputError(path, problem, "correct or remove the row")


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
    if "rlnImagePixelSize" not in table:
        if "rlnPixelSize" in table:
            table = table.rename(columns={"rlnPixelSize": "rlnImagePixelSize"})
        elif set(MAGNIFICATION) <= set(table):
            size = table["rlnDetectorPixelSize"] * 1e4 / table["rlnMagnification"]
            table = table.assign(rlnImagePixelSize=size)
    return table.drop(columns=MAGNIFICATION, errors="ignore")


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


def _origins_to_angstrom(particles: Particles) -> None:
    table, optics = particles.table, particles.optics
    for pixels, angstrom in zip(PIXEL_ORIGINS, ORIGINS, strict=True):
        if pixels in table and angstrom not in table:
            if "rlnImagePixelSize" not in optics:
                problem = f"{pixels} is in px, and the file has no pixel size"
                raise InputError(particles.path, problem, "give --pixel_size (Å/px)")
            table[angstrom] = table[pixels] * optics["rlnImagePixelSize"].to_numpy()[particles.optics_rows()]
    # Kept beside the new ones they would contradict them after the first change of pose.
    if set(PIXEL_ORIGINS) & set(table):
        table.drop(columns=PIXEL_ORIGINS, errors="ignore", inplace=True)
