"""Inner loops in C: a module that has some has a C file of its name beside it, which setup.py compiles."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drgnalign.errors import DrgnalignError


class Array:
    """The type of an argument that is an array without gaps; C gets its address.

    As `numpy.ctypeslib.ndpointer`, which takes three times as long: more than what is done for a small image.

    Parameters
    ----------
    dtype : type
        Of the array.
    """

    def __init__(self, dtype: type[np.generic]) -> None:
        self.dtype = np.dtype(dtype)

    def from_param(self, array: NDArray[Any]) -> ctypes.c_void_p:
        """What ctypes asks for every argument."""
        if array.dtype != self.dtype or not array.flags.c_contiguous:
            raise TypeError(f"not an array of {self.dtype} without gaps")
        return ctypes.c_void_p(array.ctypes.data)


def load_library(module: str, arguments: Mapping[str, Sequence[Any]]) -> ctypes.CDLL:
    """The functions of the C file beside a module.

    Parameters
    ----------
    module : str
        Its ``__file__``.
    arguments : mapping
        By name of a function the types of its arguments. What it finds it writes into arrays.

    Raises
    ------
    DrgnalignError
        The C file has not been compiled.
    """
    source = Path(module).with_suffix(".c")
    found = sorted(source.parent.glob(f"_{source.stem}.*so"))
    if not found:
        raise DrgnalignError(source, "it has not been compiled", "run `make setup`")
    library = ctypes.CDLL(str(found[0]))
    for name, types in arguments.items():
        function = getattr(library, name)
        function.argtypes, function.restype = types, None
    return library
