"""Transforms of centred arrays: centre, direction of shifts, grey values; odd and even boxes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from drgnalign.fourier import (
    central_box,
    crop_images,
    half_plane_multiplicity,
    irfft_images,
    irfft_volume,
    padded_transform,
    radius_grid,
    raised_cosine,
    resize_volume,
    rfft_images,
    rfft_volume,
    shell_numbers,
    soft_sphere,
)

boxes = pytest.mark.parametrize("box", [32, 33])


def gaussian(box: int, field: float, centre: tuple[float, ...], sigma: float) -> np.ndarray:
    """A Gaussian of height 1; `centre` in array order, in the units of `field`, from index box//2."""
    axis = (np.arange(box) - box // 2) * field / box
    exponents = np.meshgrid(*[(axis - c) ** 2 for c in centre], indexing="ij")
    return np.exp(-sum(exponents) / (2 * sigma**2))


@boxes
def test_what_stands_at_the_centre_has_no_phase(box: int) -> None:
    image = np.zeros((1, box, box))
    image[0, box // 2, box // 2] = 1
    assert_allclose(rfft_images(image), 1, atol=1e-12)
    volume = np.zeros((box, box, box))
    volume[box // 2, box // 2, box // 2] = 1
    assert_allclose(rfft_volume(volume), 1, atol=1e-12)


@boxes
def test_a_shift_to_higher_columns_and_rows_multiplies_by_minus_i_k(box: int) -> None:
    image = np.random.default_rng(0).standard_normal((1, box, box))
    # +2 columns (x), −1 row (y)
    shifted = np.roll(image, (-1, 2), axis=(1, 2))
    ky, kx = np.fft.fftfreq(box)[:, None], np.fft.rfftfreq(box)[None, :]
    expected = rfft_images(image) * np.exp(-2j * np.pi * (2 * kx - 1 * ky))
    assert_allclose(rfft_images(shifted), expected, atol=1e-9)


@boxes
def test_inverses_and_precision(box: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((3, box, box)).astype(np.float32)
    volume = rng.standard_normal((box, box, box)).astype(np.float32)
    assert rfft_images(images).dtype == rfft_volume(volume).dtype == np.complex64
    assert_allclose(irfft_images(rfft_images(images), box), images, atol=1e-5)
    assert_allclose(irfft_volume(rfft_volume(volume), box), volume, atol=1e-5)


@pytest.mark.parametrize("old", [64, 65])
@pytest.mark.parametrize("new", [32, 33])
def test_cropped_images_are_the_same_picture_in_coarser_pixels(old: int, new: int) -> None:
    field, sigma = 64.0, 5.0
    centres = [(0.0, 0.0), (6.0, -9.0)]
    images = np.stack([gaussian(old, field, centre, sigma) for centre in centres])
    expected = np.stack([gaussian(new, field, centre, sigma) for centre in centres])
    assert_allclose(crop_images(images, new), expected, atol=1e-4)
    assert_allclose(crop_images(images, new).mean((1, 2)), images.mean((1, 2)), rtol=1e-6)


@pytest.mark.parametrize("old", [24, 25])
@pytest.mark.parametrize("new", [16, 17])
def test_every_frequency_below_nyquist_is_kept(old: int, new: int) -> None:
    rng = np.random.default_rng(0)
    below = np.arange(-((new - 1) // 2), (new - 1) // 2 + 1)
    image, volume = rng.standard_normal((1, old, old)), rng.standard_normal((old, old, old))
    columns = below[below >= 0]
    before, after = rfft_images(image)[0], rfft_images(crop_images(image, new))[0] * (old / new) ** 2
    assert_allclose(after[np.ix_(below, columns)], before[np.ix_(below, columns)], atol=1e-9)
    before, after = rfft_volume(volume), rfft_volume(resize_volume(volume, new)) * (old / new) ** 3
    assert_allclose(after[np.ix_(below, below, columns)], before[np.ix_(below, below, columns)], atol=1e-9)


def test_cropping_to_the_same_box_changes_nothing() -> None:
    images = np.random.default_rng(0).standard_normal((2, 16, 16))
    assert_array_equal(crop_images(images, 16), images)


@pytest.mark.parametrize("old", [32, 33])
@pytest.mark.parametrize("new", [24, 25, 40, 41])
def test_resized_volumes_are_the_same_density_in_other_voxels(old: int, new: int) -> None:
    field, sigma, centre = 32.0, 3.0, (2.0, -4.0, 5.0)
    resized = resize_volume(gaussian(old, field, centre, sigma), new)
    assert_allclose(resized, gaussian(new, field, centre, sigma), atol=1e-3)


@boxes
@pytest.mark.parametrize(("padded", "edge"), [(48, 10), (49, 26), (64, 33)])
def test_the_padded_transform_is_that_of_the_padded_volume(box: int, padded: int, edge: int) -> None:
    volume = np.random.default_rng(0).standard_normal((box, box, box)).astype(np.float32)
    before = padded // 2 - box // 2
    expected = rfft_volume(np.pad(volume, (before, padded - box - before)))
    held = min(edge, (padded - 1) // 2)
    frequencies = np.arange(-held, held + 1)
    transform = padded_transform(volume, padded, edge)
    assert transform.shape == (2 * edge + 1, 2 * edge + 1, edge + 1)
    inside = slice(edge - held, edge + held + 1)
    assert_allclose(
        transform[inside, inside, : held + 1],
        expected[np.ix_(frequencies, frequencies, frequencies[held:])],
        atol=1e-4 * np.abs(expected).max(),
    )
    outside = np.ones(transform.shape, bool)
    outside[inside, inside, : held + 1] = False
    assert_array_equal(transform[outside], 0)


@boxes
@pytest.mark.parametrize("padded", [48, 49])
def test_the_central_box_is_that_of_the_padded_volume(box: int, padded: int) -> None:
    smooth = gaussian(box, float(box), (2.0, -4.0, 5.0), 2.0).astype(np.float32)
    transform = padded_transform(smooth, padded, (padded - 1) // 2)
    assert_allclose(central_box(transform, padded, box), smooth, atol=1e-5)


@boxes
@pytest.mark.parametrize("dimensions", [2, 3])
def test_shells_and_multiplicity(box: int, dimensions: int) -> None:
    frequencies = np.meshgrid(*[np.fft.fftfreq(box, 1 / box)] * dimensions, indexing="ij")
    radius = np.rint(np.sqrt(sum(f**2 for f in frequencies)))
    assert_array_equal(shell_numbers(box, dimensions), radius[..., : box // 2 + 1])
    # Parseval over the half transform needs every column as often as it stands in the full one.
    values = np.random.default_rng(0).standard_normal((box,) * dimensions)
    power = np.abs(np.fft.rfftn(values)) ** 2 * half_plane_multiplicity(box)
    assert power.sum() == pytest.approx(box**dimensions * (values**2).sum())


@boxes
def test_soft_sphere(box: int) -> None:
    sphere = soft_sphere(box, radius=8, edge=4)
    radius = radius_grid(box, 3)
    assert radius[box // 2, box // 2, box // 2] == 0
    assert (sphere[radius <= 8] == 1).all()
    assert (sphere[radius >= 12] == 0).all()
    assert sphere[box // 2, box // 2, box // 2 + 10] == pytest.approx(0.5)
    assert soft_sphere(box, 8, 4, dimensions=2).shape == (box, box)


def test_raised_cosine_falls_from_one_to_zero() -> None:
    values = raised_cosine(np.array([-5.0, 0, 1, 2, 3, 4, 9]), 4)
    assert_allclose(values, [1, 1, 0.853553, 0.5, 0.146447, 0, 0], atol=1e-6)
