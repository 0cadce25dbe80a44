"""Rows of a file that are left out before anything is looked at: what is wrong in them does not matter. And the words
for which they are to be left out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drgnalign.arrays import IntArray
from drgnalign.errors import InputError
from drgnalign.particles import dropping

# Share of rows in neither half set that spoil a division; where more are, it is something else than half sets.
MOST_SPOILT = 0.25
# As spreadsheets write numbers for half of the world.
COMMA = re.compile(r"[+-]?[0-9.]*,[0-9.,]*")


def kept_rows(path: Path, count: int, dropped: Sequence[int]) -> NDArray[np.bool_]:
    """Which of the rows of a file are kept.

    Parameters
    ----------
    path : Path
    count : int
        Rows that it has.
    dropped : sequence of int
        Rows, from 0, that are not wanted.

    Returns
    -------
    (count,) bool

    Raises
    ------
    InputError
        A row is beyond the file, or none is left.
    """
    rows = np.asarray(dropped, np.int64)
    beyond = rows[(rows < 0) | (rows >= count)]
    if len(beyond):
        raise InputError(path, f"has {count:,} rows, --drop names row {beyond[0] + 1}", "correct --drop")
    keep = np.ones(count, np.bool_)
    keep[rows] = False
    if not keep.any():
        raise InputError(path, "--drop names every row", "leave some in")
    return keep


def refuse_words(path: Path, label: str, words: Sequence[str], bad: NDArray[np.bool_]) -> None:
    """Refuse words in a column of numbers, all in one message.

    Parameters
    ----------
    path : Path
    label : str
        Of the column.
    words : sequence of str
        One a row.
    bad : (rows,) bool
        Which of them are no numbers.

    Raises
    ------
    InputError
    """
    if not bad.any():
        return
    problem = f"row {bad.argmax() + 1}: {label} is {words[int(bad.argmax())][:80]!r} ({bad.sum():,} such rows)"
    if all(COMMA.fullmatch(words[row]) for row in np.flatnonzero(bad).tolist()):
        raise InputError(path, f"{problem}, with a comma", "write numbers with a decimal point and without commas")
    if bad.all():
        raise InputError(path, problem, "correct the column: none of its rows is a number that can be used")
    command = dropping(path, bad)
    raise InputError(path, problem, "correct or remove the rows" + (f": {command}" if command else ""))


def refuse_odd_halves(path: Path, name: str, numbers: IntArray, halves: tuple[int, int]) -> None:
    """Refuse a few rows of neither half set where all others are of the two: who reads on would deal others.

    Parameters
    ----------
    path : Path
    name : str
        Of the field or column.
    numbers : (rows,) int
    halves : tuple of int
        What the two are called.

    Raises
    ------
    InputError
    """
    odd = ~np.isin(numbers, halves)
    if np.isin(halves, numbers).all() and 0 < odd.mean() < MOST_SPOILT:
        said = f"{name} is {numbers[odd.argmax()]}, neither of the two half sets {halves[0]} and {halves[1]}"
        command = dropping(path, odd)
        remedy = "correct it, or leave the rows out" + (f": {command}" if command else "")
        raise InputError(path, f"row {odd.argmax() + 1}: {said} ({odd.sum():,} such rows)", remedy)
