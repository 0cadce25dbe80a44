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
    found = local_resolution(*halves, PIXEL, np.ones((BOX,) * 3, np.float32))
    left, right = np.median(found[:, :, 4:16]), np.median(found[:, :, 48:60])
    assert BOX * PIXEL / left == pytest.approx(8, abs=3)
    assert BOX * PIXEL / right == pytest.approx(20, abs=3)
    assert left > 1.6 * right


def test_outside_the_mask_there_is_none(halves: tuple[np.ndarray, np.ndarray]) -> None:
    mask = soft_sphere(BOX, 20, 5)
    found = local_resolution(*halves, PIXEL, mask)
    assert (found[mask < 0.5] == 0).all()
    assert (found[mask >= 0.5] > 0).all()


def test_equal_halves_reach_nyquist_and_noise_nothing() -> None:
    rng = np.random.default_rng(1)
    one, two = rng.standard_normal((2, 32, 32, 32)).astype(np.float32)
    everywhere = np.ones((32,) * 3, np.float32)
    assert (local_resolution(one, one, PIXEL, everywhere) == 2 * PIXEL).all()
    assert np.median(local_resolution(one, two, PIXEL, everywhere)) > 0.7 * 32 * PIXEL / 3
