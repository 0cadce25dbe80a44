"""Densities and projections of point scatterers.

Points are spread onto a grid by a cubic B-spline, whose transform (sinc⁴) is divided out again; the grid is
twice as fine as the image, and cutting its transform back to the image's band leaves nothing beyond Nyquist.
What remains of aliasing is, at Nyquist, (1/3)⁴ = 1.2 % of the specimen's transform at three times that
frequency, and falls off with the fourth power of the frequency below it.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from drgnalign.arrays import FloatArray, ImageArray
from drgnalign.compiled import Array, load_library
from drgnalign.fourier import irfft_images, irfft_volume
from drgnalign.simulate.specimens import Specimen

OVERSAMPLING = 2
_INT, _DOUBLES = ctypes.c_int64, Array(np.float64)
# Both add points to a periodic grid with its origin at (0, 0): (y, x), where `axes` (3, 2) rotates and scales points,
# which are then displaced by (x, y); and (z, y, x), in whose units the points are.
_LIBRARY = load_library(
    __file__,
    {
        "splat_2d": [_DOUBLES, _INT, _INT, *[_DOUBLES] * 4],
        "splat_3d": [Array(np.float32), _INT, _INT, *[_DOUBLES] * 2],
    },
)


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
    _LIBRARY.splat_3d(grid, fine, *_points(Specimen(positions, np.asarray(weights, np.float64))))
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
    _LIBRARY.splat_2d(grid, fine, *_points(specimen), axes, OVERSAMPLING * displacement)
    transform = scipy.fft.rfft2(grid.astype(np.float32))[_kept_rows(box), : box // 2 + 1]
    full, half = _axis_filters(box, pixel_size, sigma)
    return transform * (full[:, None] * half[None, :])


# The same for all images of a set.
@lru_cache
def _kept_rows(box: int) -> NDArray[np.int64]:
    """Where the frequencies of a box stand in the transform of the oversampled grid."""
    return np.fft.fftfreq(box, 1.0 / box).astype(np.int64) % (OVERSAMPLING * box)


@lru_cache
def _axis_filters(box: int, pixel_size: float, sigma: float) -> tuple[ImageArray, ImageArray]:
    """Gaussian blur divided by the splat's sinc⁴, along a full and a halved axis.

    Nyquist itself, which an even box cannot hold without aliasing, is set to zero.
    """
    cycles = np.fft.fftfreq(box)
    factor = np.exp(-2.0 * (np.pi * sigma * cycles / pixel_size) ** 2) / np.sinc(cycles / OVERSAMPLING) ** 4
    factor[np.abs(cycles) == 0.5] = 0.0
    factor = factor.astype(np.float32)
    return factor, factor[: box // 2 + 1]


def _points(specimen: Specimen) -> tuple[int, FloatArray, FloatArray]:
    """Their number, positions and weights, as C reads them."""
    points, weights = (np.ascontiguousarray(array, np.float64) for array in specimen)
    assert points.shape == (len(weights), 3)
    return len(points), points, weights
