"""Rows of a file that are left out before anything is looked at: what is wrong in them does not matter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drgnalign.errors import InputError


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
