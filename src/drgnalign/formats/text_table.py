"""Rows of numbers and words separated by blanks: the body of star and par files, read from memory in one pass."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drgnalign.compiled import Array, load_library

# How the reading of a body ends, as in text_table.c.
COMPLETE, WRONG_COUNT, NOT_A_NUMBER = 0, 1, 2

_INT, _BYTES = ctypes.c_int64, ctypes.c_char_p
_FLAGS, _INTS, _DOUBLES, _TEXT = (Array(kind) for kind in (np.bool_, np.int64, np.float64, np.uint8))
_LIBRARY = load_library(
    __file__,
    {
        "parse": [
            *(_BYTES, _INT, _INT, ctypes.c_int, ctypes.c_bool),
            *(ctypes.c_int, _FLAGS, _INTS, _INT, _DOUBLES, _INTS, _FLAGS, _INTS),
        ],
        "copy_lines": [_BYTES, _INTS, _INT, _TEXT],
    },
)


class Syntax(NamedTuple):
    """How a body is written.

    Parameters
    ----------
    comment : int
        Byte that makes a comment of a line that begins with it.
    star : bool
        As in star files: an empty line ends the table, and a comment may begin wherever a field may. Otherwise empty
        lines are skipped.
    """

    comment: int
    star: bool


@dataclass(frozen=True)
class TextTable:
    """Columns of a body.

    Parameters
    ----------
    columns : list of array or list of str
        (rows,) int64 where all are whole numbers, float64 where all are numbers, else the words.
    end : int
        Offset of the first byte that was not read.
    """

    columns: list[NDArray[np.int64] | NDArray[np.float64] | list[str]]
    end: int


class BodyError(ValueError):
    """A line has another number of fields than columns.

    Parameters
    ----------
    offset : int
        Of the line's last byte.
    fields : int
        Those of the line, as far as they were read: at most one more than columns.
    """

    def __init__(self, offset: int, fields: int) -> None:
        super().__init__(offset, fields)
        self.offset = offset
        self.fields = fields


def read_table(data: bytes, start: int, stop: int, width: int, words: Iterable[int], syntax: Syntax) -> TextTable:
    """Read lines of `width` fields.

    Fields are separated by blanks; one that begins with a quotation mark ends with the same mark before a blank.
    Decimal numbers become the nearest double; where the short way there is not exact, libc's strtod finds it.

    Parameters
    ----------
    data : bytes
    start, stop : int
        Of the body; `start` is the beginning of a line.
    width : int
        Fields a line.
    words : iterable of int
        Columns that hold words, whatever they look like. The others hold numbers, or words too if one of their
        fields is no number.
    syntax : Syntax

    Returns
    -------
    TextTable

    Raises
    ------
    BodyError
        A line has more or fewer fields.
    UnicodeDecodeError
        A word is not UTF-8.
    """
    is_word = np.zeros(width, np.bool_)
    is_word[list(words)] = True
    capacity = data.count(b"\n", start, stop) + 1
    while True:
        place = np.where(is_word, np.cumsum(is_word), np.cumsum(~is_word)) - 1
        numbers = np.empty((np.count_nonzero(~is_word), capacity))
        spans = np.empty((np.count_nonzero(is_word), capacity, 2), np.int64)
        whole = np.ones(len(numbers), np.bool_)
        found = np.empty(4, np.int64)
        body, layout = (data, start, stop, *syntax), (width, is_word, place, capacity)
        _LIBRARY.parse(*body, *layout, numbers, spans, whole, found)
        status, rows, end, column = found.tolist()
        if status != NOT_A_NUMBER:
            break
        is_word[column] = True
    if status == WRONG_COUNT:
        raise BodyError(end, column)
    columns: list[NDArray[np.int64] | NDArray[np.float64] | list[str]] = []
    for position, word in zip(place, is_word, strict=True):
        if word:
            columns.append(_words(data, spans[position, :rows]))
        elif whole[position]:
            columns.append(numbers[position, :rows].astype(np.int64))
        else:
            columns.append(numbers[position, :rows])
    return TextTable(columns, end)


def _words(data: bytes, spans: NDArray[np.int64]) -> list[str]:
    lines = np.empty(int((spans[:, 1] - spans[:, 0]).sum()) + len(spans), np.uint8)
    _LIBRARY.copy_lines(data, spans, len(spans), lines)
    # one decoding and one split for a column: a loop over its words takes five times as long
    return lines.tobytes().decode().split("\n")[:-1]
