"""Grey values that can be compared: images without background, with noise of variance 1, without outlying pixels.

Cameras and programs leave grey values of any scale, which differ between micrographs, and fade over them. What is done
here depends on one image alone, so that whoever reads an image, whenever, sees the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drgnalign.arrays import ImageArray

# A pixel is outlying that is further from the background's plane than so many times what a hundredth of the image's
# own pixels exceed: 20 standard deviations of normal noise. Pixels of a particle, however strong, were at most 7 times
# that far where it filled 6 % of the box, and 4 times where it filled a quarter.
OUTLYING, QUANTILE = 8.0, 0.99
# Where outlying pixels are a hundredth themselves, it is one beyond so many standard deviations of the noise, as the
# median of the background tells them; unless the particle is stronger than the noise: then the median of what is inside
# the circle exceeds that of the background by this factor. No image of a particle that had pixels of 20 standard
# deviations did so by less than 1.23.
OUTLYING_IN_NOISE, STRONG = 25.0, 1.2
# Pixels of the background beyond so many standard deviations tell neither plane nor σ, and are put on the plane.
ODD, OFF = 5.0, 6.0
# Such pixels are looked for in images that a few pixels show to have some: with values beyond so many standard
# deviations, or a background that is so much wider than its median tells, or of which a side lies so far off (in σ).
QUICK, WIDE, ASIDE = 6.0, 1.2, 1.0
# Pixels for what is quick, and for what is looked at more closely.
FEW, MANY = 800, 2000
# Of more of the background than this share being left out, the rest is fitted by itself.
MUCH = 0.005
NORMAL_MEDIAN = 0.6745
# Outlying pixels tilt the plane, and may hide others.
LEAST_LOOKS, MOST_LOOKS = 2, 5
# Share of the pixels that a first plane is fitted to, and how often.
KEPT, TRIMMED_STEPS = 0.6, 8
# An image was masked whose corners have one value each, in squares of so many px: a circle never reaches them.
CORNER = 3
# An image at the edge of a micrograph was filled up at one side of it, or two.
MOST_SIDES = 2
# Below this share of the largest grey value the background has no noise that single precision could tell.
NO_NOISE = 1e-6
# The circle leaves at least three tenths of the pixels outside.
LARGEST_RADIUS = 0.47
# In a set that needs no normalisation an image does whose noise differs from the others' by this factor, or whose
# background is off by so many standard deviations, or has a ramp of so many: five times what such a set may have.
FAR_GAIN, FAR_OFF = 1.3, 1.0
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
    filled : (n,) int64
        Number of rows and columns at the edges that are all alike, as beyond the edge of a micrograph.
    """

    offset: ImageArray
    ramp: ImageArray
    sigma: ImageArray
    outlying: NDArray[np.int64]
    filled: NDArray[np.int64]

    def select(self, rows: NDArray[np.bool_]) -> Background:
        """Of some of the images."""
        return Background._make(values[rows] for values in self)

    def far_from(self, levels: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Images (n,) that need normalisation where others, with noise of these standard deviations (n,), do not."""
        gains = self.sigma / levels
        off = np.maximum(np.abs(self.offset), self.ramp) > FAR_OFF * self.sigma
        gain = (gains > FAR_GAIN) | (gains * FAR_GAIN < 1)
        return np.asarray((self.sigma > 0) & (gain | off | (self.outlying > 0) | (self.filled > 0)), np.bool_)


def joined_backgrounds(parts: Sequence[Background]) -> Background:
    """Of the images of all parts, at least one, one behind the other."""
    return Background._make(np.concatenate(values) for values in zip(*parts, strict=True))


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
    few, outer, inner : (≤ 800,), (≤ 2000,), (≤ 2000,) int64
        Evenly spread pixels of the background, and of what is inside the circle.
    pixels : int
        Of the background.
    variance : float
        Mean of y², and of x², over it.
    """

    axis: ImageArray
    fit: ImageArray
    outside: ImageArray
    few: NDArray[np.int64]
    outer: NDArray[np.int64]
    inner: NDArray[np.int64]
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

    A plane is fitted to the pixels outside of a circle, and taken off. Outlying pixels, and rows and columns that were
    filled up, are put on it (which does less harm than to cut them at a bound), and it is fitted again to what is left.
    Then the image is divided by the standard deviation of the background; not where this is constant, or most of it is.
    A blank image becomes 0.

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
    largest, at_edge = _largest(flat), _at_edge(images)
    masked = ~at_edge & _constant_corners(images)
    plane = _take_off_plane(images, grid)
    sigma = np.sqrt(np.einsum("ij,j->i", np.square(flat), grid.outside) / (grid.pixels - 3))
    outlying, lines = np.zeros((2, len(images)), np.int64)
    odd = np.flatnonzero(_odd(images, sigma, grid) | at_edge)
    if len(odd):
        tamed = images[odd]
        filled, lines[odd] = _filled(tamed, at_edge[odd], plane[odd], grid)
        change, sigma[odd], outlying[odd] = _tame(tamed, filled, grid)
        images[odd], plane[odd] = tamed, plane[odd] + change
    images[_largest(flat) <= NO_NOISE * largest] = 0.0
    sigma[(sigma <= NO_NOISE * largest) | masked] = 0.0
    images *= np.divide(1.0, sigma, out=np.ones_like(sigma), where=sigma > 0)[:, None, None]
    ramp = np.hypot(plane[:, 1], plane[:, 2]) * np.float32(grid.variance**0.5)
    return Background(corner + plane[:, 0], ramp, sigma, outlying, lines)


def _odd(images: ImageArray, sigma: ImageArray, grid: _Grid) -> NDArray[np.bool_]:
    """Images (n,) that are to be looked at more closely."""
    flat = images.reshape(len(images), -1)
    noise = np.median(np.abs(flat[:, grid.few]), axis=1) / NORMAL_MEDIAN
    aside = np.abs([side[:, 0].mean(axis=1) for side in _sides(images)]).max(axis=0)
    return np.asarray((_largest(flat) > QUICK * noise) | (sigma > WIDE * noise) | (aside > ASIDE * noise), np.bool_)


def _sides(images: ImageArray) -> list[ImageArray]:
    """Images with each of their sides as their first rows."""
    return [turned for lines in (images, images.swapaxes(1, 2)) for turned in (lines, lines[:, ::-1])]


def _at_edge(images: ImageArray) -> NDArray[np.bool_]:
    """Images (n,) whose first two rows are alike at one side or two; at three they are blank or masked."""
    alike = np.stack([(side[:, 0] == side[:, 1]).all(axis=1) for side in _sides(images)], axis=1)
    return alike.any(axis=1) & (alike.sum(axis=1) <= MOST_SIDES)


def _constant_corners(images: ImageArray) -> NDArray[np.bool_]:
    """Images (n,) whose four corners have one value each."""
    ends, constant = (slice(CORNER), slice(-CORNER, None)), np.ones(len(images), np.bool_)
    for rows, columns in product(ends, ends):
        corner = images[:, rows, columns].reshape(len(images), -1)
        constant &= (corner == corner[:, :1]).all(axis=1)
    return constant


def _filled(
    images: ImageArray, at_edge: NDArray[np.bool_], plane: ImageArray, grid: _Grid
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Pixels (n, N²) of rows and columns at the edges that were filled up, and the number of these lines (n,).

    They repeat each other in the image as it came, which the plane is put back for.
    """
    filled, lines = np.zeros(images.shape, np.bool_), np.zeros(len(images), np.int64)
    for number in np.flatnonzero(at_edge):
        image = images[number] + (plane[number] @ _basis(grid)).reshape(images.shape[1:])
        close = NO_NOISE * np.abs(image).max()
        for side, place in zip(_sides(image[None]), _sides(filled[number][None]), strict=True):
            repeats = (np.abs(np.diff(side[0], axis=0)) <= close).all(axis=1)
            count = len(repeats) if repeats.all() else int(np.argmin(repeats))
            if count:
                # the last one is real where lines were repeated, and filled where they have one value
                place[0, : count + 1] = True
                lines[number] += count + 1
    return filled.reshape(len(images), -1), lines


def _take_off_plane(images: ImageArray, grid: _Grid) -> ImageArray:
    """Take the background's plane off images in place; its coefficients (n, 3)."""
    # a product of matrices would use as many threads as there are processors
    plane = np.einsum("ij,kj->ik", images.reshape(len(images), -1), grid.fit)
    images -= (plane[:, :1] + plane[:, 1:2] * grid.axis)[:, :, None]
    images -= (plane[:, 2:] * grid.axis)[:, None, :]
    return plane


def _tame(
    images: ImageArray, filled: NDArray[np.bool_], grid: _Grid
) -> tuple[ImageArray, ImageArray, NDArray[np.int64]]:
    """Put outlying and filled pixels (n, N²) of images on the plane of the rest, in place.

    Returns
    -------
    (n, 3) float32, (n,) float32, (n,) int64
        How the plane changes, the standard deviation of the background, and the number of outlying pixels.
    """
    flat, outside = images.reshape(len(images), -1), grid.outside > 0
    plane = _robust_plane(flat[:, grid.few], filled[:, grid.few], grid)
    images -= (plane @ _basis(grid)).reshape(images.shape)
    outlying, rank = np.zeros(filled.shape, np.bool_), int(QUANTILE * flat.shape[1])
    for look in range(1, MOST_LOOKS + 1):
        size = np.abs(flat)
        noise, inside = (_median(size, filled, some) / NORMAL_MEDIAN for some in (grid.outer, grid.inner))
        strong, reach = inside > STRONG * noise, OUTLYING * np.partition(size, rank, axis=1)[:, rank]
        reach = np.where(strong, reach, np.minimum(reach, OUTLYING_IN_NOISE * noise))
        beyond = (size > reach[:, None]) & ~filled & ~outlying
        outlying |= beyond
        flat[outlying | filled] = 0.0
        used = outside & ~filled & ~outlying & (strong[:, None] | (size <= ODD * noise[:, None]))
        change = _plane_of_used(flat, used, grid)
        images -= (change @ _basis(grid)).reshape(images.shape)
        plane += change
        if look >= LEAST_LOOKS and not beyond.any():
            break
    # a detector's edge, too, says nothing of the particle
    off = outside & ~strong[:, None] & (np.abs(flat) > OFF * noise[:, None])
    outlying |= off & (off.sum(axis=1) > MUCH * grid.pixels)[:, None]
    flat[outlying | filled | off] = 0.0
    count = np.maximum(used.sum(axis=1) - 3, 1)
    sigma = np.sqrt(np.einsum("ij,ij->i", np.square(flat), used.astype(np.float32)) / count)
    return plane, sigma.astype(np.float32), outlying.sum(axis=1)


def _median(size: ImageArray, filled: NDArray[np.bool_], some: NDArray[np.int64]) -> ImageArray:
    """Of some pixels of each image that were not filled up; 0 where all were."""
    values = np.where(filled[:, some], np.nan, size[:, some])
    values[filled[:, some].all(axis=1)] = 0.0
    return np.asarray(np.nanmedian(values, axis=1), np.float32)


def _robust_plane(values: ImageArray, filled: NDArray[np.bool_], grid: _Grid) -> ImageArray:
    """Plane (n, 3) of the few pixels of the background, whatever covers up to four tenths of them.

    Least trimmed squares (Rousseeuw 1984, J. Am. Stat. Assoc. 79, 871), from the present plane and from the median: the
    plane of those pixels that are nearest to the last one, a few times.
    """
    basis, found, widths = _basis(grid)[:, grid.few], [], []
    for start in (np.zeros(len(values)), _median(values, filled, np.arange(values.shape[1]))):
        plane = np.zeros((len(values), 3), np.float32)
        plane[:, 0] = start
        for _ in range(TRIMMED_STEPS):
            off = np.where(filled, np.inf, np.abs(values - plane @ basis))
            width = np.partition(off, int(KEPT * off.shape[1]), axis=1)[:, int(KEPT * off.shape[1])]
            plane = _plane_of(values, (off <= width[:, None]).astype(np.float32), basis)
        found.append(plane)
        widths.append(width)
    return np.where((widths[0] <= widths[1])[:, None], *found)


def _plane_of_used(flat: ImageArray, used: NDArray[np.bool_], grid: _Grid) -> ImageArray:
    """Plane (n, 3) of the used pixels (n, N²); few that are not may be where the last plane is."""
    plane = np.einsum("ij,kj->ik", np.where(used, flat, np.float32(0)), grid.fit)
    much = used.sum(axis=1) < (1 - MUCH) * grid.pixels
    if much.any():
        plane[much] = _plane_of(flat[much], used[much].astype(np.float32), _basis(grid))
    return plane


def _basis(grid: _Grid) -> ImageArray:
    """1, y and x of the pixels (3, N²)."""
    box = len(grid.axis)
    return np.stack([np.ones(box**2, np.float32), np.repeat(grid.axis, box), np.tile(grid.axis, box)])


def _plane_of(values: ImageArray, weights: ImageArray, basis: ImageArray) -> ImageArray:
    """Coefficients (n, 3) of least squares of values (n, P), of which each has a weight of its own."""
    products = (basis[:, None] * basis).reshape(9, -1)
    gram = np.einsum("ip,kp->ik", weights, products).reshape(-1, 3, 3).astype(np.float64)
    right = np.einsum("ip,kp->ik", weights * values, basis).astype(np.float64)
    # next to nothing, for images of which nothing is left
    return np.linalg.solve(gram + 1e-9 * np.eye(3), right[..., None])[..., 0].astype(np.float32)


def _largest(flat: ImageArray) -> ImageArray:
    return np.maximum(flat.max(axis=1), -flat.min(axis=1))


def _some(where: NDArray[np.bool_], most: int) -> NDArray[np.int64]:
    """Some of these pixels, evenly spread."""
    found = np.flatnonzero(where)
    return found[:: -(-len(found) // most)]


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
        few=_some(outside, FEW),
        outer=_some(outside, MANY),
        inner=_some(~outside, MANY),
        pixels=int(outside.sum()),
        variance=float(gram[1, 1] / gram[0, 0]),
    )
