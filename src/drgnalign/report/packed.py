"""Numbers and names as the page holds them: deflated and in base64, which every browser inflates by itself."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

# zlib's best; and no header around the deflated bytes.
LEVEL, RAW = 9, -15


def packed(data: bytes) -> str:
    """Raw deflate in base64."""
    squeezer = zlib.compressobj(LEVEL, zlib.DEFLATED, RAW)
    return base64.b64encode(squeezer.compress(data) + squeezer.flush()).decode("ascii")


def unpacked(text: str) -> bytes:
    """The inverse of `packed`."""
    return zlib.decompress(base64.b64decode(text), RAW)


def packed_words(values: NDArray[np.uint16]) -> str:
    """Numbers of 16 bits: all their low bytes, then all their high ones, which deflate better by themselves."""
    return packed(values.astype("<u2").ravel().view(np.uint8).reshape(-1, 2).T.tobytes())


def packed_names(names: Iterable[str]) -> str:
    """Names in UTF-8, one a line."""
    return packed("\n".join(names).encode())


def in_steps(values: ArrayLike, low: float, high: float, steps: int) -> NDArray[np.int64]:
    """Whole numbers 0…`steps` that values from `low` to `high` are nearest to; those beyond are cut off."""
    scaled = (np.asarray(values, np.float64) - low) * (steps / (high - low))
    return np.rint(np.clip(scaled, 0, steps)).astype(np.int64)
