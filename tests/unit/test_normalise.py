"""Grey values of one image: whatever scale, background and hot pixels it has, it reads the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from drgnalign.downsample import downsample_stack, with_stack
from drgnalign.errors import InputError
from drgnalign.formats.mrc import ImageSource, read_header
from drgnalign.normalise import LARGEST_RADIUS, background_pixels, background_radius, normalise
from drgnalign.particles import BACKGROUND_RADIUS, BACKGROUND_SIGMA, Particles

boxes = pytest.mark.parametrize("box", [32, 33, 64])


def particle_images(n: int, box: int, seed: int = 0, strength: float = 3.0) -> np.ndarray:
    """White noise of variance 1 and, within a quarter of the box, a blob as strong."""
    noise = np.random.default_rng(seed).standard_normal((n, box, box))
    return (noise + strength * np.exp(-((distance(box) / (0.12 * box)) ** 2))).astype(np.float32)


def distance(box: int) -> np.ndarray:
    axis = np.arange(box) - box // 2
    return np.hypot(axis[:, None], axis)


def normalised(images: np.ndarray, radius: float) -> np.ndarray:
    copy = images.copy()
    normalise(copy, radius)
    return copy


@boxes
def test_the_background_has_no_plane_and_noise_of_variance_1(box: int) -> None:
    radius, (y, x) = 0.4 * box, np.mgrid[:box, :box] / box
    images = normalised(7 * (particle_images(20, box) + 5 * y - 3 * x + 100), radius)
    outside = distance(box) > radius
    background = images[:, outside]
    assert_allclose(background.mean(axis=1), 0, atol=1e-4)
    for slope in (y[outside], x[outside]):
        assert_allclose(background @ (slope - slope.mean()) / outside.sum(), 0, atol=1e-4)
    assert_allclose((background**2).sum(axis=1) / (outside.sum() - 3), 1, rtol=1e-4)


@boxes
@pytest.mark.parametrize("sign", [1, -1])
def test_gain_offset_and_ramp_make_no_difference(box: int, sign: int) -> None:
    y, x = np.mgrid[:box, :box] / box
    images = particle_images(10, box)
    changed = sign * 13 * (images - 40 + 4 * y + 2 * x)
    radius = 0.4 * box
    assert_allclose(sign * normalised(changed, radius), normalised(images, radius), atol=2e-4)


@pytest.mark.parametrize("value", [30.0, -300.0, 1e5])
@pytest.mark.parametrize("count", [1, 5, 30])
def test_hot_pixels_make_no_difference_elsewhere(value: float, count: int) -> None:
    box, radius, random = 64, 26.0, np.random.default_rng(1)
    images = particle_images(12, box)
    places = random.integers(0, box, (12, count, 2))
    hot = images.copy()
    for image, where in zip(hot, places, strict=True):
        image[where[:, 0], where[:, 1]] += value
    found = normalise(hot, radius)
    is_hot = np.zeros(images.shape, bool)
    for number, where in enumerate(places):
        is_hot[number, where[:, 0], where[:, 1]] = True
    assert_array_equal(found.outlying, is_hot.sum(axis=(1, 2)))
    expected = normalised(images, radius)
    assert_allclose(hot[~is_hot], expected[~is_hot], atol=0.02 * count**0.5)
    # they are on the plane
    assert np.abs(hot[is_hot]).max() < 0.2


@pytest.mark.parametrize("place", [(2, 2), (28, 30)], ids=["outside", "inside"])
@pytest.mark.parametrize(("size", "value"), [(4, 22.0), (9, 30.0), (10, 100.0)])
def test_blocks_and_beads_make_no_difference_elsewhere(place: tuple[int, int], size: int, value: float) -> None:
    """Of up to a twentieth of the circle."""
    box, radius, images = 64, 26.0, particle_images(12, 64, strength=0.5)
    block = np.zeros((box, box), bool)
    block[place[0] : place[0] + size, place[1] : place[1] + size] = True
    dirty = (images + np.where(block, value + 8, 0)).astype(np.float32)
    found = normalise(dirty, radius)
    assert found.outlying.tolist() == [size**2] * 12
    assert_allclose(dirty[:, ~block], normalised(images, radius)[:, ~block], atol=0.1)
    assert np.abs(dirty[:, block]).max() < 0.3


@pytest.mark.parametrize("value", [10.0, 30.0])
def test_a_bright_edge_of_a_detector_makes_no_difference_elsewhere(value: float) -> None:
    radius, images = 26.0, particle_images(12, 64)
    dirty = images.copy()
    dirty[:, :, :6] += value
    found = normalise(dirty, radius)
    assert_allclose(dirty[:, :, 6:], normalised(images, radius)[:, :, 6:], atol=0.15)
    assert_allclose(found.sigma, 1, atol=0.06)
    assert (found.outlying > 200).all() and found.far_from(np.ones(12)).all()


@pytest.mark.parametrize("fill", ["one value", "the last row"])
def test_what_was_filled_up_beyond_the_edge_of_a_micrograph_tells_nothing(fill: str) -> None:
    radius, images = 26.0, 5 * particle_images(20, 64) + 40
    edge = images.copy()
    edge[:10, :18] = 0 if fill == "one value" else images[:10, 18:19]
    edge[10:, :, -11:] = 7 if fill == "one value" else images[10:, :, -12:-11]
    found = normalise(edge, radius)
    assert_array_equal(found.filled, [18 + (fill != "one value")] * 10 + [11 + (fill != "one value")] * 10)
    assert_allclose(found.sigma, 5, rtol=0.12)
    expected = normalised(images, radius)
    for got, wanted in ((edge[:10, 19:], expected[:10, 19:]), (edge[10:, :, :-12], expected[10:, :, :-12])):
        assert np.abs(got - wanted).max() < 0.5 and np.corrcoef(got.ravel(), wanted.ravel())[0, 1] > 0.998
    assert not edge[:10, :18].any() and not edge[10:, :, -11:].any()


@pytest.mark.parametrize("inner", [0.3, 0.36, 0.44])
def test_images_with_a_soft_mask_are_told(inner: float) -> None:
    """Though the background of the widest has noise in a ring."""
    box, images = 64, particle_images(10, 64)
    mask = np.clip((inner + 0.05) - distance(box) / box, 0, 0.05) / 0.05
    assert not normalise((images * mask).astype(np.float32), 0.4 * box).sigma.any()
    # few grey values are no mask
    assert normalise(np.rint(1.5 * images).astype(np.float32), 0.4 * box).sigma.all()


@pytest.mark.parametrize("share", [0.06, 0.25])
@pytest.mark.parametrize("snr", [1.0, 10.0, 100.0])
def test_a_strong_particle_is_kept(snr: float, share: float, simulate: Callable[..., Any]) -> None:
    """Of peaked density, with pixels of a hundred times the noise."""
    box, pixel = 64, 150 / (2 * 64 * (share / np.pi) ** 0.5)
    some = simulate(60, box, pixel, snr=snr)
    images = some.source.read(np.arange(60))
    raw = images.copy()
    found = normalise(images, 75 / pixel + 2)
    assert not found.outlying.any()
    assert np.corrcoef(images.ravel(), raw.ravel())[0, 1] > 0.99


def test_what_was_found_is_told() -> None:
    box, radius, y = 64, 26.0, np.mgrid[:64, :64][0] / 64
    images = particle_images(200, box)
    found = normalise(5 * (images + 10 + 3 * y), radius)
    assert_allclose(found.sigma, 5, rtol=0.06)
    assert_allclose(found.offset / found.sigma, 11.5, rtol=0.06)
    outside = distance(box) > radius
    assert_allclose(found.ramp / found.sigma, 3 * y[outside].std(), rtol=0.15)
    assert not found.outlying.any()


def test_an_image_does_not_depend_on_those_read_with_it() -> None:
    images = 7 * particle_images(30, 48) + 20
    images[::4, 3, 5] = 9000
    together = normalised(images, 20.0)
    for number in (0, 1, 4, 29):
        assert_allclose(normalised(images[number : number + 1], 20.0)[0], together[number], atol=1e-5)


def test_blank_images_stay_blank_and_constant_backgrounds_are_told() -> None:
    images = particle_images(4, 32)
    images[1] = 12345.678
    images[2] = 0
    images[3, distance(32) > 12] = 7
    found = normalise(images, 12.5)
    assert (found.sigma > 0).tolist() == [True, False, False, False]
    assert not images[1:3].any() and images[3].any()


def test_the_circle_is_the_particle_but_leaves_pixels_outside() -> None:
    assert background_radius(64, 2.0, 80.0) == 20.0
    assert background_radius(64, 2.0, 500.0) == LARGEST_RADIUS * 64
    assert background_pixels(64, LARGEST_RADIUS * 64) > 0.3 * 64**2
    assert background_pixels(64, 20.0) == (distance(64) > 20).sum()


# --- where images are read


@pytest.fixture
def mixed(particles_of: Callable[..., Particles]) -> Particles:
    """Three groups: as it is; dark, and normalised; normalised to noise of ½."""
    images = particle_images(30, 32)
    groups = np.arange(30) % 3 + 1
    images[groups > 1] = 9 * images[groups > 1] + 50
    images[groups == 2] *= -1
    particles = particles_of(images, groups=groups)
    particles.optics["drgnContrast"] = ["white", "dark", "white"]
    particles.optics[BACKGROUND_RADIUS] = [np.nan, 13.0, 13.0]
    particles.optics[BACKGROUND_SIGMA] = [np.nan, 1.0, 0.5]
    return particles


def test_groups_are_read_as_the_optics_table_says(mixed: Particles, tmp_path: Path) -> None:
    images, rows = particle_images(30, 32), np.random.default_rng(0).permutation(30)
    memory = np.empty((40, 32, 32), np.float32)
    source = ImageSource(mixed, tmp_path)
    read = source.read(rows, memory)
    assert source.normalises and np.shares_memory(read, memory)
    group = rows % 3
    assert_array_equal(read[group == 0], images[rows[group == 0]])
    for number, level in ((1, 1.0), (2, 0.5)):
        assert_allclose(read[group == number], level * normalised(images[rows[group == number]], 13.0), atol=1e-3)


def test_a_derived_stack_is_not_normalised_again(mixed: Particles, tmp_path: Path) -> None:
    source = ImageSource(mixed, tmp_path)
    downsample_stack(mixed, source, 32, tmp_path / "small.mrcs")
    derived = with_stack(mixed, tmp_path / "small.mrcs")
    assert not {BACKGROUND_RADIUS, BACKGROUND_SIGMA} & set(derived.optics)
    assert_array_equal(ImageSource(derived, tmp_path).read(np.arange(30)), source.read(np.arange(30)))


def test_gains_of_micrographs_are_gone_from_the_training_stack(
    particles_of: Callable[..., Particles], tmp_path: Path
) -> None:
    gains = np.repeat([1.0, 2.0, 5.0], 40)[:, None, None]
    particles = particles_of((gains * (particle_images(120, 48) + 3)).astype(np.float32))
    particles.optics[BACKGROUND_RADIUS] = 20.0
    downsample_stack(particles, ImageSource(particles, tmp_path), 24, tmp_path / "small.mrcs")
    stack = np.array(read_header(tmp_path / "small.mrcs").map()).reshape(3, 40, 24, 24)
    assert_allclose(stack.std(axis=(1, 2, 3)), stack.std(), rtol=0.02)
    assert_allclose(stack.mean(axis=(1, 2, 3)), stack.mean(), atol=0.02)


def test_blank_and_masked_images_have_their_messages(particles_of: Callable[..., Particles], tmp_path: Path) -> None:
    images = particle_images(4, 32)
    images[2] = 5
    particles = particles_of(images)
    particles.optics[BACKGROUND_RADIUS] = 13.0
    with pytest.raises(InputError, match=r"row 3.*the image is blank"):
        downsample_stack(particles, ImageSource(particles, tmp_path), 32, tmp_path / "small.mrcs")
    images[2] = np.where(distance(32) > 12, 7, particle_images(1, 32)[0])
    particles = particles_of(images)
    particles.optics[BACKGROUND_RADIUS] = 13.0
    with pytest.raises(
        InputError, match=r"images\.mrcs: image 3 has a constant background outside of a circle of 13 px"
    ):
        ImageSource(particles, tmp_path).read([3, 2])
