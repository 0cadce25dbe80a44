"""How arrays are called in signatures; their shapes stand with each function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
# Single precision, as images and maps are.
ImageArray = NDArray[np.float32]
FloatVolume = NDArray[np.float32]
