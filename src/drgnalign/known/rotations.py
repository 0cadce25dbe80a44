"""Rotations that are spread evenly over all there are."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from drgnalign.arrays import FloatArray

# Of the super-Fibonacci spiral: √2, and the positive root of x⁴ = x + 4.
PHI, PSI = np.sqrt(2.0), 1.533751168755204288118041


def even_rotations(count: int) -> FloatArray:
    """So many rotations, about equally far from their neighbours.

    Parameters
    ----------
    count : int

    Returns
    -------
    (count, 3, 3) float64
        A super-Fibonacci spiral of quaternions (Alexa 2022, Proc. CVPR, 8291).
    """
    step = np.arange(count) + 0.5
    inner, outer = np.sqrt(step / count), np.sqrt(1 - step / count)
    alpha, beta = 2 * np.pi * step / PHI, 2 * np.pi * step / PSI
    turns = np.stack([inner * np.sin(alpha), inner * np.cos(alpha), outer * np.sin(beta), outer * np.cos(beta)], axis=1)
    return np.asarray(Rotation.from_quat(turns).as_matrix())
