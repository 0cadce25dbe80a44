"""Fourier transforms of centred images and volumes, shells and soft masks.

Images are (row = y, column = x), volumes (z, y, x), both centred on index N//2. Transforms are taken of the
``ifftshift``-ed array, so that a centred object has no linear phase, for odd boxes too.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

RealArray = NDArray[np.floating]
ComplexArray = NDArray[np.complexfloating]


def rfft_images(images: RealArray) -> ComplexArray:
    """Half-plane transforms of centred images.

    Parameters
    ----------
    images : (n, N, N) float array

    Returns
    -------
    (n, N, N//2+1) complex array
        Element (i, ky, kx), rows in ``fftfreq`` order; complex64 of float32 images.
    """
    return scipy.fft.rfft2(np.fft.ifftshift(images, axes=(-2, -1)))


def irfft_images(transforms: ComplexArray, box: int) -> RealArray:
    """Centred images of half-plane transforms; the inverse of `rfft_images`."""
    return np.fft.fftshift(scipy.fft.irfft2(transforms, s=(box, box)), axes=(-2, -1))


def rfft_volume(volume: RealArray) -> ComplexArray:
    """Half-space transform (N, N, N//2+1) of a centred volume (z, y, x)."""
    return scipy.fft.rfftn(np.fft.ifftshift(volume))


def irfft_volume(transform: ComplexArray, box: int) -> RealArray:
    """Centred volume of a half-space transform; the inverse of `rfft_volume`."""
    return np.fft.fftshift(scipy.fft.irfftn(transform, s=(box, box, box)))


def padded_transform(volume: RealArray, padded: int, edge: int) -> ComplexArray:
    """Low frequencies of a centred volume that is zero-padded first.

    Axis by axis and some planes at a time, so that the padded volume is never whole in memory.

    Parameters
    ----------
    volume : (N, N, N) float array
    padded : int
        Size after padding.
    edge : int
        K: frequencies −K…K are kept, as far as the padded transform holds them on both sides of zero.

    Returns
    -------
    (2K+1, 2K+1, K+1) complex64
        Element [z + K, y + K, x], x ≥ 0; 0 at frequencies that are not held.
    """
    box, held = volume.shape[0], min(edge, (padded - 1) // 2)
    voxels, frequencies = (np.arange(box) - box // 2) % padded, np.arange(-held, held + 1) % padded
    inside = slice(edge - held, edge + held + 1)
    planes = np.empty((box, 2 * held + 1, held + 1), np.complex64)
    for some in _slabs(box, padded * (held + 1)):
        rows = np.zeros((len(some), box, padded), np.float32)
        rows[..., voxels] = volume[some]
        columns = np.zeros((len(some), padded, held + 1), np.complex64)
        columns[:, voxels] = scipy.fft.rfft(rows)[..., : held + 1]
        planes[some] = scipy.fft.fft(columns, axis=1)[:, frequencies]
    result = np.zeros((2 * edge + 1, 2 * edge + 1, edge + 1), np.complex64)
    for some in _slabs(2 * held + 1, padded * (held + 1)):
        columns = np.zeros((padded, len(some), held + 1), np.complex64)
        columns[voxels] = planes[:, some]
        result[inside, edge - held + some, : held + 1] = scipy.fft.fft(columns, axis=0)[frequencies]
    return result


def central_box(transform: ComplexArray, padded: int, box: int) -> NDArray[np.float32]:
    """The central box of a padded volume, of its transform; the inverse of `padded_transform`.

    Parameters
    ----------
    transform : (2K+1, 2K+1, K+1) complex64
        Frequencies −K…K of the padded volume; the others are 0.
    padded, box : int

    Returns
    -------
    (box, box, box) float32
    """
    held = transform.shape[0] // 2
    voxels, frequencies = (np.arange(box) - box // 2) % padded, np.arange(-held, held + 1) % padded
    planes = np.empty((box, 2 * held + 1, held + 1), np.complex64)
    for some in _slabs(2 * held + 1, padded * (held + 1)):
        columns = np.zeros((padded, len(some), held + 1), np.complex64)
        columns[frequencies] = transform[:, some]
        planes[:, some] = scipy.fft.ifft(columns, axis=0)[voxels]
    result = np.empty((box, box, box), np.float32)
    for some in _slabs(box, padded * (held + 1)):
        columns = np.zeros((len(some), padded, held + 1), np.complex64)
        columns[:, frequencies] = planes[some]
        result[some] = scipy.fft.irfft(scipy.fft.ifft(columns, axis=1)[:, voxels], padded)[..., voxels]
    return result


def _slabs(planes: int, size: int) -> list[NDArray[np.int64]]:
    """Numbers of planes, so many at once as fit in a fast cache: one by one where they are large."""
    return np.array_split(np.arange(planes), -(-planes // max(1, 2**15 // size)))


def shell_numbers(box: int, dimensions: int) -> NDArray[np.int64]:
    """Nearest integer radius, in Fourier pixels, of each coefficient of a real transform.

    Parameters
    ----------
    box : int
        Real-space size N.
    dimensions : int
        2 for images, 3 for volumes.

    Returns
    -------
    int array of the transform's shape
    """
    full = np.fft.fftfreq(box, 1.0 / box)
    half = np.arange(box // 2 + 1, dtype=float)
    axes = np.meshgrid(*[full] * (dimensions - 1), half, indexing="ij", sparse=True)
    return np.rint(np.sqrt(sum(axis**2 for axis in axes))).astype(np.int64)


def half_plane_multiplicity(box: int) -> NDArray[np.float64]:
    """How often each column of a real transform stands in the full one: 1 on self-conjugate columns, else 2."""
    weights = np.full(box // 2 + 1, 2.0)
    weights[0] = 1.0
    if box % 2 == 0:
        weights[-1] = 1.0
    return weights


def shell_sums(values: RealArray, box: int) -> NDArray[np.float64]:
    """Sums (N//2 + 1,) over the shells of a half-space transform's values (N, N, N//2 + 1), conjugates counted."""
    shells = shell_numbers(box, 3)
    inside = shells <= box // 2
    weights = np.broadcast_to(half_plane_multiplicity(box), shells.shape)[inside]
    return np.asarray(np.bincount(shells[inside], values[inside] * weights, box // 2 + 1), np.float64)


def crop_images(images: RealArray, box: int) -> RealArray:
    """Down-sample centred images by cutting off their high frequencies; grey values keep their scale.

    Parameters
    ----------
    images : (n, N, N) float array
    box : int
        New size, even or odd, at most N.

    Returns
    -------
    (n, box, box) float array
    """
    old = images.shape[-1]
    if box == old:
        return images
    transforms = rfft_images(images)
    half = box // 2
    rows = np.concatenate([np.arange(0, (box + 1) // 2), np.arange(old - half, old)])
    cropped = transforms[:, rows, : half + 1]
    return irfft_images(cropped, box) * (box / old) ** 2


def resize_volume(volume: RealArray, box: int) -> RealArray:
    """Change a centred volume's sampling by cropping or zero-padding its transform; grey values keep their scale.

    Parameters
    ----------
    volume : (N, N, N) float array
    box : int
        New size over the same field of view.

    Returns
    -------
    (box, box, box) float array
    """
    old = volume.shape[0]
    if box == old:
        return volume
    transform = np.fft.fftshift(rfft_volume(volume), axes=(0, 1))
    # Equal counts on both sides of zero: the unpaired Nyquist plane of even boxes is left out.
    half = (min(old, box) - 1) // 2
    result = np.zeros((box, box, box // 2 + 1), dtype=transform.dtype)
    take = slice(old // 2 - half, old // 2 + half + 1)
    put = slice(box // 2 - half, box // 2 + half + 1)
    result[put, put, : half + 1] = transform[take, take, : half + 1]
    return irfft_volume(np.fft.ifftshift(result, axes=(0, 1)), box) * (box / old) ** 3


def radius_grid(box: int, dimensions: int) -> NDArray[np.float32]:
    """Distance in pixels of every pixel or voxel from the centre N//2."""
    axis = (np.arange(box) - box // 2).astype(np.float32)
    axes = np.meshgrid(*[axis] * dimensions, indexing="ij", sparse=True)
    return np.sqrt(sum(a**2 for a in axes))


def soft_sphere(box: int, radius: float, edge: float, dimensions: int = 3) -> NDArray[np.float32]:
    """Mask that is 1 within `radius` pixels and falls to 0 over `edge` pixels as a raised cosine."""
    return raised_cosine(radius_grid(box, dimensions) - radius, edge)


def raised_cosine(distance: RealArray, edge: float) -> NDArray[np.float32]:
    """1 where `distance` ≤ 0, 0 where it is ≥ `edge`, a raised cosine between."""
    phase = np.clip(distance / edge, 0.0, 1.0)
    return (0.5 + 0.5 * np.cos(np.pi * phase)).astype(np.float32)
