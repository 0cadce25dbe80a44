"""Local resolution of maps whose halves agree to a known frequency, here and there."""

from __future__ import annotations

import numpy as np
import pytest

from drgnalign.fourier import irfft_volume, rfft_volume, shell_numbers, soft_sphere
from drgnalign.validation.local_resolution import local_resolution

BOX, PIXEL = 64, 2.0


@pytest.fixture(scope="module")
def halves() -> tuple[np.ndarray, np.ndarray]:
    """They agree to 16 Å on the left, to 6.4 Å on the right."""
    rng = np.random.default_rng(0)

    def signal(last: int) -> np.ndarray:
        transform = rfft_volume(rng.standard_normal((BOX,) * 3))
        return irfft_volume(transform * (shell_numbers(BOX, 3) <= last), BOX)

    coarse, fine = signal(8), signal(20)
    right = np.clip((np.arange(BOX) - 29) / 6, 0, 1)
    truth = coarse / coarse.std() * (1 - right) + fine / fine.std() * right
    first, second = (truth + 3.0 * rng.standard_normal(truth.shape) for _ in range(2))
    return first.astype(np.float32), second.astype(np.float32)


def test_each_place_has_its_own(halves: tuple[np.ndarray, np.ndarray]) -> None:
    found = local_resolution(*halves, PIXEL, np.ones((BOX,) * 3, np.float32)).volume
    left, right = np.median(found[:, :, 4:16]), np.median(found[:, :, 48:60])
    assert BOX * PIXEL / left == pytest.approx(8, abs=3)
    assert BOX * PIXEL / right == pytest.approx(20, abs=3)
    assert left > 1.6 * right


def test_outside_the_mask_there_is_none(halves: tuple[np.ndarray, np.ndarray]) -> None:
    mask = soft_sphere(BOX, 20, 5)
    found = local_resolution(*halves, PIXEL, mask).volume
    assert (found[mask < 0.5] == 0).all()
    assert (found[mask >= 0.5] > 0).all()


def test_equal_halves_reach_nyquist_and_noise_nothing() -> None:
    rng = np.random.default_rng(1)
    one, two = rng.standard_normal((2, 32, 32, 32)).astype(np.float32)
    everywhere = np.ones((32,) * 3, np.float32)
    assert (local_resolution(one, one, PIXEL, everywhere).volume == 2 * PIXEL).all()
    assert (local_resolution(one, two, PIXEL, everywhere).volume == 0).mean() > 0.95


def test_chance_is_what_halves_of_noise_correlate() -> None:
    """One voxel in twenty of noise, whose halves have nothing in common, is above the null of each shell."""
    rng = np.random.default_rng(2)
    one, two = rng.standard_normal((2, 48, 48, 48)).astype(np.float32)
    found = local_resolution(one, two, PIXEL, soft_sphere(48, 18, 4))
    table = found.table()
    assert (table["null_95"] > 0.02).all() and (table["null_95"] < 0.4).all()
    assert (table["threshold"] >= 0.143).all()
    assert found.reached.max() < 0.2


def test_a_neighbourhood_of_few_waves_has_a_higher_null() -> None:
    """Of signal in one shell alone chance is the same as without, and the table says which windows were taken."""
    rng = np.random.default_rng(3)
    one, two = rng.standard_normal((2, 32, 32, 32)).astype(np.float32)
    table = local_resolution(one, two, PIXEL, np.ones((32,) * 3, np.float32)).table()
    assert table["window_sigma_angstrom"].iloc[0] == pytest.approx(1.5 * table["resolution_angstrom"].iloc[0])
    assert table["window_sigma_angstrom"].iloc[-1] == pytest.approx(3 * PIXEL)


def test_an_empty_mask_has_no_resolution() -> None:
    one = np.random.default_rng(4).standard_normal((32,) * 3).astype(np.float32)
    assert not local_resolution(one, one, PIXEL, np.zeros((32,) * 3, np.float32)).volume.any()
