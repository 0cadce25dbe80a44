"""The mask follows the particle."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from drgnalign.engine.mask import particle_mask, soft_sphere
from drgnalign.errors import DrgnalignError

PIXEL = 4.0


def blob(box: int, centre: tuple[float, float, float], sigma: float, height: float = 1.0) -> np.ndarray:
    """A Gaussian at `centre` (z, y, x), voxels from the box centre."""
    axis = np.arange(box) - box // 2
    z, y, x = ((axis - c) ** 2 for c in centre)
    exponent = z[:, None, None] + y[None, :, None] + x[None, None, :]
    return (height * np.exp(-exponent / (2 * sigma**2))).astype(np.float32)


def with_noise(volume: np.ndarray, amount: float = 0.02) -> np.ndarray:
    return volume + amount * np.random.default_rng(0).standard_normal(volume.shape).astype(np.float32)


def at(mask: np.ndarray, centre: tuple[int, int, int]) -> float:
    return float(mask[tuple(np.array(centre) + mask.shape[0] // 2)])


@pytest.mark.parametrize("box", [48, 49])
def test_a_sphere_holds_the_particle_and_ends_within_the_box(box: int) -> None:
    radius = np.sqrt(sum(axis**2 for axis in np.indices((box, box, box)) - box // 2))
    sphere = soft_sphere(box, PIXEL, 100.0)
    assert sphere.dtype == np.float32
    assert (sphere[radius <= 12.5] == 1).all()
    assert (sphere[radius >= 12.5 + 3] == 0).all()
    assert sphere[np.abs(radius - 14) < 0.1] == pytest.approx(0.5, abs=0.1)
    too_large = soft_sphere(box, PIXEL, 1000.0)
    assert (too_large[0] == 0).all() and (too_large[radius <= 0.5 * box - 5] == 1).all()


@pytest.mark.parametrize("box", [48, 49])
@pytest.mark.parametrize("centre", [(9, 0, 0), (0, 9, 0), (0, 0, 9), (-6, 3, 7)])
def test_mask_follows_a_blob(box: int, centre: tuple[int, int, int]) -> None:
    mask = particle_mask(with_noise(blob(box, centre, 2.5)), PIXEL, diameter=160.0)
    assert mask.dtype == np.float32
    assert ((mask >= 0) & (mask <= 1)).all()
    assert at(mask, centre) == 1
    assert at(mask, (-centre[0], -centre[1], -centre[2])) == 0
    found = np.array(scipy.ndimage.center_of_mass(mask)) - box // 2
    assert np.abs(found - centre).max() < 1


def test_nothing_outside_the_sphere_and_a_soft_edge() -> None:
    mask = particle_mask(with_noise(blob(48, (0, 0, 0), 8.0)), PIXEL, diameter=100.0)
    axis = np.arange(48) - 24
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2)
    assert (mask[radius > 50 / PIXEL] == 0).all()
    assert ((mask > 0.1) & (mask < 0.9)).any()
    assert np.abs(np.diff(mask, axis=0)).max() < 0.6


def test_a_mass_sets_the_level() -> None:
    volume = with_noise(blob(64, (0, 0, 0), 6.0))
    small, large = (particle_mask(volume, PIXEL, 220.0, mass_kda=mass) for mass in (200.0, 1600.0))
    assert large.sum() > 1.8 * small.sum()
    # 1.21 Å³ a dalton, as a ball, grown by 8 Å.
    radius = (3 * 1600e3 * 1.21 / (4 * np.pi)) ** (1 / 3) + 8.0
    assert (large == 1).sum() == pytest.approx((4 / 3) * np.pi * (radius / PIXEL) ** 3, rel=0.25)


def test_specks_are_dropped_and_real_parts_kept() -> None:
    body = blob(64, (0, 0, -12), 4.0)
    second, speck = blob(64, (0, 0, 14), 3.0), blob(64, (0, 20, 0), 0.7, height=2.0)
    mask = particle_mask(with_noise(body + second + speck, 0.005), PIXEL, 240.0)
    assert at(mask, (0, 0, -12)) == at(mask, (0, 0, 14)) == 1
    assert at(mask, (0, 20, 0)) == 0


@pytest.mark.parametrize("volume", [np.zeros((32, 32, 32), np.float32), -blob(32, (0, 0, 0), 4.0)])
def test_nothing_to_mask_is_an_error(volume: np.ndarray) -> None:
    with pytest.raises(DrgnalignError, match="no density above its background"):
        particle_mask(volume, PIXEL, 100.0)
