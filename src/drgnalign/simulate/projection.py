"""Densities and projections of point scatterers.

Points are spread onto a grid by a cubic B-spline, whose transform (sinc⁴) is divided out again; the grid is
twice as fine as the image, and cutting its transform back to the image's band leaves nothing beyond Nyquist.
What remains of aliasing is, at Nyquist, (1/3)⁴ = 1.2 % of the specimen's transform at three times that
frequency, and falls off with the fourth power of the frequency below it.
"""

from __future__ import annotations

import numba
import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from drgnalign.arrays import FloatArray, ImageArray
from drgnalign.fourier import irfft_images, irfft_volume
from drgnalign.simulate.specimens import Specimen

OVERSAMPLING = 2


def density_map(points: ArrayLike, weights: ArrayLike, box: int, pixel_size: float, sigma: float) -> ImageArray:
    """Band-limited density of a specimen.

    Parameters
    ----------
    points : (M, 3) array_like
        (x, y, z) in Å from the box centre. What lies outside the box wraps around.
    weights : (M,) array_like
    box : int
        Voxels along an edge.
    pixel_size : float
        Å.
    sigma : float
        Standard deviation of the Gaussian blur, Å.

    Returns
    -------
    (box, box, box) float32
        Weight per voxel, axes (z, y, x), centre ``box // 2``; its sum over z is the
        projection at the identity.
    """
    fine = OVERSAMPLING * box
    positions = np.asarray(points, np.float64) * (OVERSAMPLING / pixel_size)
    grid = np.zeros((fine, fine, fine), np.float32)
    _splat_3d(grid, np.ascontiguousarray(positions), np.ascontiguousarray(weights, np.float64))
    rows = _kept_rows(box)
    transform = scipy.fft.rfftn(grid)[:, :, : box // 2 + 1][:, rows][rows]
    full, half = _axis_filters(box, pixel_size, sigma)
    transform *= full[:, None, None] * full[None, :, None] * half[None, None, :]
    return irfft_volume(transform, box).astype(np.float32, copy=False)


def project(
    points: ArrayLike,
    weights: ArrayLike,
    rotation: ArrayLike,
    displacement: ArrayLike,
    box: int,
    pixel_size: float,
    sigma: float,
) -> ImageArray:
    """Projection of a specimen along the image's z axis, without CTF or noise.

    Parameters
    ----------
    points, weights, box, pixel_size, sigma
        As in `density_map`.
    rotation : (3, 3) array_like
        R with ``x_volume = R x_image``.
    displacement : (2,) array_like
        Of the particle from the box centre in px, positive to higher column and row.

    Returns
    -------
    (box, box) float32
        Weight per pixel, (row, column), centre ``box // 2``.
    """
    specimen = Specimen(np.asarray(points, np.float64), np.asarray(weights, np.float64))
    transform = projection_transform(
        specimen, np.asarray(rotation, float), np.asarray(displacement, float), box, pixel_size, sigma
    )
    return irfft_images(transform[None], box)[0].astype(np.float32, copy=False)


def projection_transform(
    specimen: Specimen,
    rotation: FloatArray,
    displacement: FloatArray,
    box: int,
    pixel_size: float,
    sigma: float,
) -> NDArray[np.complex64]:
    """Half-plane transform (box, box//2+1) of a projection whose origin is the box centre."""
    fine = OVERSAMPLING * box
    grid = np.zeros((fine, fine))
    # x_image = Rᵀ x_volume, of which x and y are kept
    axes = np.ascontiguousarray(rotation[:, :2] * (OVERSAMPLING / pixel_size))
    _splat_2d(grid, specimen.points, specimen.weights, axes, OVERSAMPLING * displacement)
    transform = scipy.fft.rfft2(grid.astype(np.float32))[_kept_rows(box), : box // 2 + 1]
    full, half = _axis_filters(box, pixel_size, sigma)
    return transform * (full[:, None] * half[None, :])


def _kept_rows(box: int) -> NDArray[np.int64]:
    """Where the frequencies of a box stand in the transform of the oversampled grid."""
    return np.fft.fftfreq(box, 1.0 / box).astype(np.int64) % (OVERSAMPLING * box)


def _axis_filters(box: int, pixel_size: float, sigma: float) -> tuple[ImageArray, ImageArray]:
    """Gaussian blur divided by the splat's sinc⁴, along a full and a halved axis.

    Nyquist itself, which an even box cannot hold without aliasing, is set to zero.
    """
    cycles = np.fft.fftfreq(box)
    factor = np.exp(-2.0 * (np.pi * sigma * cycles / pixel_size) ** 2) / np.sinc(cycles / OVERSAMPLING) ** 4
    factor[np.abs(cycles) == 0.5] = 0.0
    factor = factor.astype(np.float32)
    return factor, factor[: box // 2 + 1]


@numba.njit
def _spread(x: float, size: int) -> tuple[tuple[int, int, int, int], tuple[float, float, float, float]]:
    """Nodes of a periodic axis that a point touches, and its cubic B-spline weights there."""
    below = int(np.floor(x))
    t = x - below
    s = 1.0 - t
    taps = (
        s * s * s / 6.0,
        (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0,
        (4.0 - 6.0 * s * s + 3.0 * s * s * s) / 6.0,
        t * t * t / 6.0,
    )
    # One division a point: it would cost more than all else here.
    n0 = (below - 1) % size
    n1 = n0 + 1 if n0 + 1 < size else 0
    n2 = n1 + 1 if n1 + 1 < size else 0
    n3 = n2 + 1 if n2 + 1 < size else 0
    return (n0, n1, n2, n3), taps


@numba.njit(cache=True)
def _splat_2d(
    grid: FloatArray, points: FloatArray, weights: FloatArray, axes: FloatArray, displacement: FloatArray
) -> None:
    """Add points to a periodic grid (y, x) with origin at (0, 0); `axes` (3, 2) rotates and scales."""
    size = grid.shape[0]
    for i in range(points.shape[0]):
        a, b, c = points[i, 0], points[i, 1], points[i, 2]
        x = a * axes[0, 0] + b * axes[1, 0] + c * axes[2, 0] + displacement[0]
        y = a * axes[0, 1] + b * axes[1, 1] + c * axes[2, 1] + displacement[1]
        columns, across = _spread(x, size)
        rows, along = _spread(y, size)
        for j in range(4):
            w = weights[i] * along[j]
            for k in range(4):
                grid[rows[j], columns[k]] += w * across[k]


@numba.njit(cache=True)
def _splat_3d(grid: ImageArray, positions: FloatArray, weights: FloatArray) -> None:
    """Add points (x, y, z) in grid units to a periodic grid (z, y, x) with origin at (0, 0, 0)."""
    size = grid.shape[0]
    for i in range(positions.shape[0]):
        columns, tx = _spread(positions[i, 0], size)
        rows, ty = _spread(positions[i, 1], size)
        sections, tz = _spread(positions[i, 2], size)
        for j in range(4):
            for k in range(4):
                w = weights[i] * tz[j] * ty[k]
                for m in range(4):
                    grid[sections[j], rows[k], columns[m]] += w * tx[m]
