"""Rows of numbers and words separated by blanks: the body of star and par files, read from memory in one pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numba.core.typing import signature
from numpy.typing import NDArray

NEWLINE, ZERO, NINE = 10, 48, 57
# Whole numbers up to here, and powers of ten up to 22, are exact in double precision, so that one division or
# multiplication of them is correctly rounded (Clinger 1990, PLDI 25, 92).
EXACT = 2**53
POWERS = 10.0 ** np.arange(23)
# Whole numbers of more digits are left to Python, which does not round them.
WHOLE_DIGITS = 15

COMPLETE, WRONG_COUNT, NOT_A_NUMBER = 0, 1, 2

# Numba calls it by its name in the C library; 0 in place of a pointer: nobody asks where the number ended.
_strtod: Any = types.ExternalFunction("strtod", signature(types.float64, types.intp, types.intp))


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
    buffer = np.frombuffer(data, np.uint8)
    is_word = np.zeros(width, np.bool_)
    is_word[list(words)] = True
    capacity = data.count(b"\n", start, stop) + 1
    while True:
        place = np.where(is_word, np.cumsum(is_word), np.cumsum(~is_word)) - 1
        numbers = np.empty((np.count_nonzero(~is_word), capacity))
        spans = np.empty((np.count_nonzero(is_word), capacity, 2), np.int64)
        whole = np.ones(len(numbers), np.bool_)
        status, rows, end, column = _parse(buffer, start, stop, *syntax, is_word, place, numbers, spans, whole)
        if status != NOT_A_NUMBER:
            break
        is_word[column] = True
    if status == WRONG_COUNT:
        raise BodyError(end, column)
    columns: list[NDArray[np.int64] | NDArray[np.float64] | list[str]] = []
    for position, word in zip(place, is_word, strict=True):
        if word:
            columns.append(_words(buffer, spans[position, :rows]))
        elif whole[position]:
            columns.append(numbers[position, :rows].astype(np.int64))
        else:
            columns.append(numbers[position, :rows])
    return TextTable(columns, end)


def _words(buffer: NDArray[np.uint8], spans: NDArray[np.int64]) -> list[str]:
    lines = np.empty(int((spans[:, 1] - spans[:, 0]).sum()) + len(spans), np.uint8)
    _copy_lines(buffer, spans, lines)
    # one decoding and one split for a column: a loop over its words takes five times as long
    return lines.tobytes().decode().split("\n")[:-1]


@numba.njit(cache=True)
def _copy_lines(buffer: NDArray[np.uint8], spans: NDArray[np.int64], lines: NDArray[np.uint8]) -> None:
    k = 0
    for row in range(len(spans)):
        for i in range(spans[row, 0], spans[row, 1]):
            lines[k] = buffer[i]
            k += 1
        lines[k] = NEWLINE
        k += 1


@numba.njit(cache=True)
def _is_blank(byte: int) -> bool:
    return byte == 32 or 9 <= byte <= 13


@numba.njit(cache=True)
def _field_end(buffer: NDArray[np.uint8], i: int, stop: int) -> int:
    """Offset after the field that begins at `i`."""
    quote = buffer[i]
    if quote == 34 or quote == 39:
        for j in range(i + 1, stop):
            if buffer[j] == NEWLINE:
                break
            if buffer[j] == quote and (j + 1 == stop or _is_blank(buffer[j + 1])):
                return j + 1
    while i < stop and not _is_blank(buffer[i]):
        i += 1
    return i


@numba.njit(cache=True)
def _is_not_finite(buffer: NDArray[np.uint8], i: int, stop: int) -> bool:
    """Is it nan or inf, in any case, from `i`, behind the sign?"""
    if stop - i != 3:
        return False
    a, b, c = buffer[i] | 32, buffer[i + 1] | 32, buffer[i + 2] | 32
    return (a == 110 and b == 97 and c == 110) or (a == 105 and b == 110 and c == 102)


@numba.njit(cache=True)
def _number(buffer: NDArray[np.uint8], start: int, stop: int) -> tuple[float, bool, bool]:
    """Value, whether it is written as a whole number, and whether it is a number that can be kept as double."""
    i = start
    negative = buffer[i] == 45
    if negative or buffer[i] == 43:
        i += 1
    if _is_not_finite(buffer, i, stop):
        return _strtod(buffer.ctypes.data + start, 0), False, True
    mantissa, digits, power, whole = 0, 0, 0, True
    while i < stop and ZERO <= buffer[i] <= NINE:
        mantissa = mantissa * 10 + np.int64(buffer[i] - ZERO)
        digits += 1
        i += 1
    if i < stop and buffer[i] == 46:
        whole = False
        i += 1
        while i < stop and ZERO <= buffer[i] <= NINE:
            mantissa = mantissa * 10 + np.int64(buffer[i] - ZERO)
            digits += 1
            power -= 1
            i += 1
    if digits == 0:
        return 0.0, False, False
    if i < stop and buffer[i] | 32 == 101:
        whole = False
        i += 1
        down = i < stop and buffer[i] == 45
        if i < stop and (down or buffer[i] == 43):
            i += 1
        exponent, exponent_digits = 0, 0
        while i < stop and ZERO <= buffer[i] <= NINE:
            exponent = min(exponent * 10 + np.int64(buffer[i] - ZERO), 9999)
            exponent_digits += 1
            i += 1
        if exponent_digits == 0:
            return 0.0, False, False
        power += -exponent if down else exponent
    if i != stop or (whole and digits > WHOLE_DIGITS):
        return 0.0, False, False
    if digits > 18 or mantissa > EXACT or power < -22 or power > 22:
        return _strtod(buffer.ctypes.data + start, 0), False, True
    value = mantissa / POWERS[-power] if power < 0 else mantissa * POWERS[power]
    return -value if negative else value, whole, True


@numba.njit(cache=True)
def _parse(
    buffer: NDArray[np.uint8],
    start: int,
    stop: int,
    comment: int,
    star: bool,
    is_word: NDArray[np.bool_],
    place: NDArray[np.int64],
    numbers: NDArray[np.float64],
    spans: NDArray[np.int64],
    whole: NDArray[np.bool_],
) -> tuple[int, int, int, int]:
    """Status, complete rows, offset, and the column (or count of fields) that the status is about."""
    width = len(is_word)
    row, i = 0, start
    while i < stop:
        line = i
        if buffer[i] == comment:
            while i < stop and buffer[i] != NEWLINE:
                i += 1
            i += 1
            continue
        column, commented = 0, False
        while True:
            while i < stop and buffer[i] != NEWLINE and _is_blank(buffer[i]):
                i += 1
            if star and i < stop and buffer[i] == comment:
                commented = True
                while i < stop and buffer[i] != NEWLINE:
                    i += 1
            if i == stop or buffer[i] == NEWLINE:
                break
            if column == width:
                return WRONG_COUNT, row, i, column + 1
            end = _field_end(buffer, i, stop)
            if is_word[column]:
                quoted = (buffer[i] == 34 or buffer[i] == 39) and end - i > 1 and buffer[end - 1] == buffer[i]
                spans[place[column], row, 0] = i + quoted
                spans[place[column], row, 1] = end - quoted
            else:
                value, is_whole, ok = _number(buffer, i, end)
                if not ok:
                    return NOT_A_NUMBER, row, i, column
                numbers[place[column], row] = value
                whole[place[column]] &= is_whole
            column += 1
            i = end
        if column == width:
            row += 1
        elif column > 0:
            return WRONG_COUNT, row, i, column
        elif star and not commented:
            return COMPLETE, row, line, 0
        i += 1
    return COMPLETE, row, min(i, stop), 0
