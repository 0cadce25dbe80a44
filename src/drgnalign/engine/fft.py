"""Tables and work memory of the Fourier transform of images, which fft.c does."""

from __future__ import annotations

import ctypes

import numpy as np

# Columns taken at a time, which is also the floats of a pair of vectors: real and imaginary parts of eight numbers.
PAIR = 16


class Fft(ctypes.Structure):
    """The structure of the same name in fft.c.

    Parameters
    ----------
    size : int
        N of images of N × N pixels, with `radices_of` its own.
    """

    _fields_ = (
        ("size", ctypes.c_int32),
        ("passes", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("radices", "places", "roots", "columns", "rows", "out")),
    )

    def __init__(self, size: int) -> None:
        radices = radices_of(size)
        # A pass joins neighbours: the digits of a number's position are in the opposite order.
        places = np.argsort(np.arange(size).reshape(radices).T.ravel())
        roots = np.exp(-2j * np.pi / size * np.arange(size))
        # C sees addresses only: the arrays have to stay.
        self._arrays = [
            np.array(radices, np.int32),
            places.astype(np.int32),
            roots.astype(np.complex64),
            aligned(PAIR * size),
            aligned(PAIR * size * -(-size // PAIR)),
            aligned(size * (size + 2)),
        ]
        super().__init__(size, len(radices), *(array.ctypes.data for array in self._arrays))


def radices_of(size: int) -> list[int]:
    """Radices of the passes of a transform, [] where fft.c has none: an odd, small or awkward size."""
    radices, rest = [], size
    for radix in (4, 2, 3, 5):
        while rest % radix == 0:
            radices.append(radix)
            rest //= radix
    # The first pass is the cheapest, and 4 the cheapest radix.
    return radices[::-1] if rest == 1 and size % 2 == 0 and size >= PAIR else []


def aligned(count: int) -> np.ndarray:
    """Floats that begin with a line of the processor's cache."""
    line = 64
    memory = np.empty(4 * count + line, np.uint8)
    start = -memory.ctypes.data % line
    return memory[start : start + 4 * count].view(np.float32)
