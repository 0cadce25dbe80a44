"""The compiled Fourier transform of images against SciPy's in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
from lenses import plain_terms

from drgnalign.engine.fft import radices_of
from drgnalign.engine.kernels import LANES, Kernels


def transforms_of(images: np.ndarray) -> np.ndarray:
    """What `Kernels.prepare` makes of images without weights, every coefficient once."""
    count, box = len(images), images.shape[-1]
    size = box * (box // 2 + 1)
    flat = np.pad(np.arange(size, dtype=np.int32), (0, -size % LANES))
    none = np.zeros(len(flat), np.float32)
    kernels = Kernels(box, none, none, flat)
    assert count <= kernels.batch_size
    weights, groups = np.ones((1, len(flat)), np.float32), np.zeros(count, np.int32)
    terms = plain_terms(np.zeros((count, 4)), np.zeros((count, 3)), len(flat))
    found = kernels.prepare(images.copy(), weights, groups, terms)[:, :, :size]
    return (found[:, 0] + 1j * found[:, 1]).reshape(count, box, box // 2 + 1)


def error(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


@pytest.mark.parametrize("box", [16, 18, 20, 30, 32, 48, 50, 54, 60, 64, 72, 90, 96, 100, 128, 250, 256, 320])
def test_transforms_are_as_good_as_those_of_scipy(box: int) -> None:
    assert np.prod(radices_of(box)) == box
    images = np.random.default_rng(box).standard_normal((2, box, box)).astype(np.float32)
    exact = scipy.fft.rfft2(images.astype(float))
    found = transforms_of(images)
    assert error(found, exact) < min(3e-7, 2 * error(scipy.fft.rfft2(images), exact))
    # Rows and columns 0 and N/2 are treated apart: they are right too.
    for edge in (0, box // 2):
        assert error(found[:, edge], exact[:, edge]) < 1e-6
        assert error(found[:, :, edge], exact[:, :, edge]) < 1e-6


@pytest.mark.parametrize("box", [8, 14, 15, 33, 34])
def test_other_sizes_are_left_to_scipy(box: int) -> None:
    assert radices_of(box) == []
    images = np.random.default_rng(box).standard_normal((3, box, box)).astype(np.float32)
    assert error(transforms_of(images), scipy.fft.rfft2(images.astype(float))) < 3e-7


@pytest.mark.parametrize("count", [1, 3, 17])
@pytest.mark.parametrize("box", [33, 60, 64])
def test_images_of_a_batch_are_transformed_each_for_itself(box: int, count: int) -> None:
    images = np.random.default_rng(count).standard_normal((count, box, box)).astype(np.float32)
    found = transforms_of(images)
    for image, transform in zip(images, found, strict=True):
        np.testing.assert_array_equal(transforms_of(image[None])[0], transform)
        assert error(transform, scipy.fft.rfft2(image.astype(float))) < 3e-7


def test_a_transform_has_its_origin_in_the_corner() -> None:
    image = np.zeros((1, 30, 30), np.float32)
    image[0, 2, 1] = 1.0
    ky, kx = np.mgrid[:30, :16]
    np.testing.assert_allclose(transforms_of(image)[0], np.exp(-2j * np.pi * (kx + 2 * ky) / 30), atol=1e-6)
