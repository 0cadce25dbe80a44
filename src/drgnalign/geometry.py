"""Rotations and poses: the one place where the project's angle conventions are written down.

A pose is a rotation matrix ``R`` that takes image coordinates to volume coordinates, ``x_volume = R x_image``, and
a displacement of the particle from the box centre in pixels. ``R = Rz(rot) Ry(tilt) Rz(psi)`` in RELION's angles,
which are Frealign's PHI, THETA, PSI. cryoDRGN stores the transpose.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import ArrayLike

from drgnalign.arrays import FloatArray

# Of super-Fibonacci spirals: the two irrational turns.
SPIRALS = np.sqrt(2.0), 1.533751168755204288118041


def euler_to_matrix(rot: ArrayLike, tilt: ArrayLike, psi: ArrayLike) -> FloatArray:
    """Rotation matrices of RELION's Euler angles.

    Parameters
    ----------
    rot, tilt, psi : (N,) array_like
        ZYZ angles in degrees (``rlnAngleRot``, ``rlnAngleTilt``, ``rlnAnglePsi``).

    Returns
    -------
    (N, 3, 3) float64
        ``R`` with ``x_volume = R x_image``.
    """
    angles = np.stack(np.broadcast_arrays(rot, tilt, psi), axis=-1).astype(np.float64)
    return scipy.spatial.transform.Rotation.from_euler("ZYZ", angles.reshape(-1, 3), degrees=True).as_matrix()


def matrix_to_euler(rotations: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """RELION's Euler angles of rotation matrices; the inverse of `euler_to_matrix`.

    Parameters
    ----------
    rotations : (N, 3, 3) array_like
        ``R`` with ``x_volume = R x_image``.

    Returns
    -------
    rot, tilt, psi : (N,) float64
        Degrees; tilt within 0…180. Where tilt is 0 or 180 only a sum of rot and psi is determined: psi is then 0.
    """
    matrices = np.asarray(rotations, dtype=np.float64).reshape(-1, 3, 3)
    # Written out rather than left to scipy, which loses half the digits of tilt near 0 and 180 degrees.
    sin_tilt = np.hypot(matrices[:, 0, 2], matrices[:, 1, 2])
    tilt = np.arctan2(sin_tilt, matrices[:, 2, 2])
    polar = sin_tilt < 1e-9
    rot = np.where(
        polar,
        np.arctan2(-matrices[:, 0, 1], matrices[:, 1, 1]),
        np.arctan2(matrices[:, 1, 2], matrices[:, 0, 2]),
    )
    psi = np.where(polar, 0.0, np.arctan2(matrices[:, 2, 1], -matrices[:, 2, 0]))
    return np.degrees(rot), np.degrees(tilt), np.degrees(psi)


def angular_distance(first: ArrayLike, second: ArrayLike) -> FloatArray:
    """Angle of the rotation that leads from one orientation to another.

    Parameters
    ----------
    first, second : (N, 3, 3) array_like
        Rotation matrices.

    Returns
    -------
    (N,) float64
        Degrees, 0…180.
    """
    relative = np.swapaxes(np.asarray(first, float), -1, -2) @ np.asarray(second, float)
    return np.degrees(scipy.spatial.transform.Rotation.from_matrix(relative.reshape(-1, 3, 3)).magnitude())


def global_rotation(truth: ArrayLike, estimate: ArrayLike) -> FloatArray:
    """The one rotation of the volume that brings estimated orientations closest to the true ones.

    Two maps of one molecule may differ by a rigid rotation that no particle can know of; it has to be removed
    before orientations are compared. The estimate is refined on the better-fitting half of the particles, so
    that outliers do not pull it.

    Parameters
    ----------
    truth, estimate : (N, 3, 3) array_like
        Rotation matrices, row by row of the same particles.

    Returns
    -------
    (3, 3) float64
        ``G`` such that ``G @ estimate[i]`` is closest to ``truth[i]``.
    """
    truth, estimate = np.asarray(truth, float), np.asarray(estimate, float)
    relative = truth @ np.swapaxes(estimate, -1, -2)
    best = scipy.spatial.transform.Rotation.from_matrix(relative).mean()
    for _ in range(3):
        error = angular_distance(truth, best.as_matrix() @ estimate)
        best = scipy.spatial.transform.Rotation.from_matrix(relative[error <= np.median(error)]).mean()
    return best.as_matrix()


def evenly_spread_rotations(number: int) -> FloatArray:
    """Rotation matrices (number, 3, 3), evenly spread over all.

    Super-Fibonacci spirals: Alexa (2022), CVPR, 8291.
    """
    place = np.arange(number) + 0.5
    inner, outer = np.sqrt(place / number), np.sqrt(1 - place / number)
    first, second = (2 * np.pi * place / turn for turn in SPIRALS)
    quaternions = [inner * np.sin(first), inner * np.cos(first), outer * np.sin(second), outer * np.cos(second)]
    return scipy.spatial.transform.Rotation.from_quat(np.stack(quaternions, axis=1)).as_matrix()
