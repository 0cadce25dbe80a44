"""Grey values that can be compared: images without background, with noise of variance 1, without outlying pixels.

Cameras and programs leave grey values of any scale, which differ between micrographs, and fade over them. What is done
here depends on one image alone, so that whoever reads an image, whenever, sees the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drgnalign.arrays import ImageArray

# A pixel is outlying that is further from the background's plane than so many times what a hundredth of the image's
# own pixels exceed: 20 standard deviations of normal noise. Pixels of a particle, however strong, were at most 7 times
# that far where it filled 6 % of the box, and 4 times where it filled a quarter.
OUTLYING, QUANTILE = 8.0, 0.99
# Outlying pixels tilt the plane, and may hide others.
MOST_LOOKS = 5
# Below this share of the largest grey value the background has no noise that single precision could tell.
NO_NOISE = 1e-6
# The circle leaves at least three tenths of the pixels outside.
LARGEST_RADIUS = 0.47
# Pixels worked on at a time, which stay in the processor's cache.
BLOCK_PIXELS = 2**17


class Background(NamedTuple):
    """What was found in n images.

    Attributes
    ----------
    offset : (n,) float32
        Mean of the background.
    ramp : (n,) float32
        Root mean square, over the background, of what the plane differs from its mean.
    sigma : (n,) float32
        Standard deviation of the background about its plane; 0 where it is constant.
    outlying : (n,) int64
        Number of outlying pixels.
    """

    offset: ImageArray
    ramp: ImageArray
    sigma: ImageArray
    outlying: NDArray[np.int64]

    def select(self, rows: NDArray[np.bool_]) -> Background:
        """Of some of the images."""
        return Background(self.offset[rows], self.ramp[rows], self.sigma[rows], self.outlying[rows])


def joined_backgrounds(parts: Sequence[Background]) -> Background:
    """Of the images of all parts, at least one, one behind the other."""
    return Background(
        offset=np.concatenate([part.offset for part in parts]),
        ramp=np.concatenate([part.ramp for part in parts]),
        sigma=np.concatenate([part.sigma for part in parts]),
        outlying=np.concatenate([part.outlying for part in parts]),
    )


class _Grid(NamedTuple):
    """Pixels of a box. Planes are a + b y + c x; y and x are in boxes, and 0 in the mean over the background.

    Attributes
    ----------
    axis : (N,) float32
        y of the rows, and x of the columns.
    fit : (3, N²) float32
        What takes an image to a, b and c.
    outside : (N²,) float32
        1 in the background, else 0.
    pixels : int
        Of the background.
    variance : float
        Mean of y², and of x², over it.
    """

    axis: ImageArray
    fit: ImageArray
    outside: ImageArray
    pixels: int
    variance: float


def background_radius(box: int, pixel_size: float, diameter: float) -> float:
    """Radius, px, of the circle outside of which is background, for a particle of a diameter in Å."""
    return min(0.5 * diameter / pixel_size, LARGEST_RADIUS * box)


def background_pixels(box: int, radius: float) -> int:
    """Number of pixels outside of the circle."""
    return _grid(box, radius).pixels


def normalise(images: ImageArray, radius: float) -> Background:
    """Normalise images (n, N, N) in place.

    A plane is fitted to the pixels outside of a circle, and taken off. Outlying pixels, if they are less than a
    hundredth of all, are put on it (which does less harm than to cut them at a bound), and it is fitted again. Then the
    image is divided by the standard deviation of the background; not where this is constant. A blank image becomes 0.

    Parameters
    ----------
    images : (n, N, N) float32
        At least one; finite.
    radius : float
        Of the circle around the box centre, px.

    Returns
    -------
    Background
        Of the images as they were.
    """
    grid = _grid(images.shape[-1], radius)
    step = max(1, BLOCK_PIXELS // images.shape[-1] ** 2)
    blocks = [images[start : start + step] for start in range(0, len(images), step)]
    return joined_backgrounds([_normalise_block(block, grid) for block in blocks])


def _normalise_block(images: ImageArray, grid: _Grid) -> Background:
    flat = images.reshape(len(images), -1)
    # large offsets cost digits; a corner is background
    corner = images[:, 0, 0].copy()
    images -= corner[:, None, None]
    largest = _largest(flat)
    plane, outlying = _take_off_plane(images, grid), np.zeros(len(images), np.int64)
    # a bound that is quick to look at, and that no image with outlying pixels keeps
    suspicious = np.flatnonzero(_largest(flat) > OUTLYING * np.sqrt(_power(flat)))
    if len(suspicious):
        tamed = images[suspicious]
        change, outlying[suspicious] = _tame(tamed, grid)
        images[suspicious], plane[suspicious] = tamed, plane[suspicious] + change
    sigma = np.sqrt(np.einsum("ij,j->i", np.square(flat), grid.outside) / (grid.pixels - 3))
    images[_largest(flat) <= NO_NOISE * largest] = 0.0
    sigma[sigma <= NO_NOISE * largest] = 0.0
    images *= np.divide(1.0, sigma, out=np.ones_like(sigma), where=sigma > 0)[:, None, None]
    ramp = np.hypot(plane[:, 1], plane[:, 2]) * np.float32(grid.variance**0.5)
    return Background(corner + plane[:, 0], ramp, sigma, outlying)


def _take_off_plane(images: ImageArray, grid: _Grid) -> ImageArray:
    """Take the background's plane off images in place; its coefficients (n, 3)."""
    # a product of matrices would use as many threads as there are processors
    plane = np.einsum("ij,kj->ik", images.reshape(len(images), -1), grid.fit)
    images -= (plane[:, :1] + plane[:, 1:2] * grid.axis)[:, :, None]
    images -= (plane[:, 2:] * grid.axis)[:, None, :]
    return plane


def _tame(images: ImageArray, grid: _Grid) -> tuple[ImageArray, NDArray[np.int64]]:
    """Put outlying pixels of images (n, N, N) on the plane, in place; how it changes (n, 3), and how many (n,)."""
    flat, plane = images.reshape(len(images), -1), np.zeros((len(images), 3), np.float32)
    outlying, rank = np.zeros(flat.shape, np.bool_), int(QUANTILE * flat.shape[1])
    for _ in range(MOST_LOOKS):
        size = np.abs(flat)
        beyond = size > OUTLYING * np.partition(size, rank, axis=1)[:, rank : rank + 1]
        outlying |= beyond
        # where the last plane, which they tilted, was: once more when all are found
        flat[outlying] = 0.0
        plane += _take_off_plane(images, grid)
        if not beyond.any():
            break
    return plane, outlying.sum(axis=1)


def _largest(flat: ImageArray) -> ImageArray:
    return np.maximum(flat.max(axis=1), -flat.min(axis=1))


def _power(flat: ImageArray) -> ImageArray:
    return np.einsum("ij,ij->i", flat, flat) / flat.shape[1]


@lru_cache(maxsize=4)
def _grid(box: int, radius: float) -> _Grid:
    centred = np.arange(box) - box // 2
    outside = np.hypot(centred[:, None], centred).ravel() > radius
    axis = centred / box - np.repeat(centred / box, box)[outside].mean()
    planes = np.stack([np.ones(box**2), np.repeat(axis, box), np.tile(axis, box)]) * outside
    gram = planes @ planes.T
    return _Grid(
        axis=axis.astype(np.float32),
        fit=np.linalg.solve(gram, planes).astype(np.float32),
        outside=outside.astype(np.float32),
        pixels=int(outside.sum()),
        variance=float(gram[1, 1] / gram[0, 0]),
    )
