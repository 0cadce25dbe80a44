"""The stack for cryoDRGN: the same picture in coarser pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from drgnalign import downsample
from drgnalign.downsample import box_for_limit, coarsen, downsample_stack
from drgnalign.errors import InputError
from drgnalign.formats.mrc import ImageSource, read_header
from drgnalign.fourier import crop_images
from drgnalign.particles import Particles


def small_stack(particles: Particles, box: int, path: Path) -> tuple[np.ndarray, float]:
    pixel_size = downsample_stack(particles, ImageSource(particles, particles.path.parent), box, path)
    return np.array(read_header(path).map()), pixel_size


def blobs(box: int, centres: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussians of height 1 at `centres` (x, y) as fractions of the box from its centre."""
    axis = (np.arange(box) - box // 2) / box
    return np.stack(
        [np.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * sigma**2)) for x, y in centres]
    ).astype(np.float32)


@pytest.mark.parametrize("box", [48, 49])
@pytest.mark.parametrize("new", [24, 32])
def test_grey_values_and_relative_positions_stay(
    box: int, new: int, particles_of: Callable[..., Particles], tmp_path: Path
) -> None:
    centres = np.array([[0, 0], [0.1, -0.05], [-0.15, 0.2]])
    particles = particles_of(blobs(box, centres, 0.08), pixel_size=3.0)
    stack, pixel_size = small_stack(particles, new, tmp_path / "small.mrcs")
    assert_allclose(stack, blobs(new, centres, 0.08), atol=1e-3)
    assert stack.dtype == np.float32
    assert pixel_size == pytest.approx(3.0 * box / new)
    header = read_header(tmp_path / "small.mrcs")
    assert header.shape == (3, new, new)
    assert header.pixel_size == pytest.approx(pixel_size, rel=1e-5)


def test_batches_follow_the_table(
    particles_of: Callable[..., Particles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).standard_normal((10, 24, 24)).astype(np.float32)
    rows = [7, 2, 9, 0, 4]
    particles = particles_of(images).select(rows)
    monkeypatch.setattr(downsample, "BATCH_PIXELS", 2 * 24 * 24)
    stack, _ = small_stack(particles, 16, tmp_path / "small.mrcs")
    assert_allclose(stack, crop_images(images[rows], 16), atol=1e-6)


def test_protein_is_white_in_the_new_stack(particles_of: Callable[..., Particles], tmp_path: Path) -> None:
    particles = particles_of(-blobs(32, np.zeros((2, 2)), 0.1))
    particles.optics["drgnContrast"] = "dark"
    stack, _ = small_stack(particles, 24, tmp_path / "small.mrcs")
    assert (stack[:, 12, 12] > 0.9).all()


def test_the_whole_box_may_be_kept(particles_of: Callable[..., Particles], tmp_path: Path) -> None:
    images = np.random.default_rng(0).standard_normal((3, 24, 24)).astype(np.float32)
    stack, pixel_size = small_stack(particles_of(images), 24, tmp_path / "small.mrcs")
    np.testing.assert_array_equal(stack, images)
    assert pixel_size == 4.0


@pytest.mark.parametrize("box", [15, 26, 25])
def test_impossible_boxes_are_refused(box: int, particles_of: Callable[..., Particles], tmp_path: Path) -> None:
    particles = particles_of(np.zeros((2, 24, 24), np.float32))
    with pytest.raises(InputError, match=f"cannot be down-sampled to {box} px"):
        small_stack(particles, box, tmp_path / "small.mrcs")
    assert not (tmp_path / "small.mrcs").exists()


def test_nan_pixels_leave_no_stack(particles_of: Callable[..., Particles], tmp_path: Path) -> None:
    images = np.zeros((3, 24, 24), np.float32)
    images[1, 3, 4] = np.nan
    with pytest.raises(InputError, match="image 2 holds NaN"):
        small_stack(particles_of(images), 16, tmp_path / "small.mrcs")
    assert not [path for path in tmp_path.iterdir() if "small" in path.name]


def test_blank_images_are_refused(
    particles_of: Callable[..., Particles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All in one message: each run reads all images."""
    monkeypatch.setattr(downsample, "BATCH_PIXELS", 24**2)
    images = np.random.default_rng(0).standard_normal((5, 24, 24)).astype(np.float32)
    images[[1, 4]] = 5.0
    with pytest.raises(InputError, match=r"row 2.*the image is blank.*\(2 such rows\)"):
        small_stack(particles_of(images), 16, tmp_path / "small.mrcs")
    assert not [path for path in tmp_path.iterdir() if "small" in path.name]


@pytest.mark.parametrize(("limit", "box"), [(24.0, 20), (16.0, 30), (12.0, 36), (9.0, 48), (8.0, 48)])
def test_the_smallest_box_that_reaches_a_limit(limit: float, box: int, particles_of: Callable[..., Particles]) -> None:
    """Of 48 px at 4 Å: two Fourier pixels more than the limit needs, and a size that is transformed fast."""
    assert box_for_limit(particles_of(np.zeros((2, 48, 48), np.float32)), limit) == box


def test_a_box_that_is_not_transformed_fast_is_kept_even(particles_of: Callable[..., Particles]) -> None:
    assert box_for_limit(particles_of(np.zeros((2, 47, 47), np.float32)), 8.0) == 46


@pytest.mark.parametrize(
    ("trained", "limit", "box"),
    [
        (24, 12.0, 36),  # too coarse: made of the images themselves
        (48, 16.0, 30),  # much finer than is needed: made of the training stack
        (32, 16.0, None),  # just right
        (24, 16.0, None),  # reaches the limit, without room
        (48, 8.0, None),  # the images are no finer
    ],
)
def test_assignment_has_a_stack_as_fine_as_its_limit(
    trained: int, limit: float, box: int | None, particles_of: Callable[..., Particles], tmp_path: Path
) -> None:
    images = np.random.default_rng(0).standard_normal((6, 48, 48)).astype(np.float32)
    particles = particles_of(-images)
    particles.optics["drgnContrast"] = "dark"
    stack, made = tmp_path / "down_sampled.mrcs", tmp_path / "assign.mrcs"
    small_stack(particles, trained, stack)
    coarsen(particles, tmp_path, stack, limit, made)
    assert made.exists() == (box is not None)
    if box is not None:
        assert_allclose(np.array(read_header(made).map()), crop_images(images, box), atol=1e-5)
