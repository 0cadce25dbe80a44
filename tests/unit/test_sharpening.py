"""B-factors: what was put in is found, and undone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from drgnalign.fourier import irfft_volume, rfft_volume, shell_numbers
from drgnalign.maps.filters import guinier_b_factor, sharpened

BOX, PIXEL = 64, 1.5


def blurred(b_factor: float) -> np.ndarray:
    """White noise whose amplitudes fall as exp(−B s²/4)."""
    noise = np.random.default_rng(0).standard_normal((BOX,) * 3)
    frequency = shell_numbers(BOX, 3) / (BOX * PIXEL)
    return irfft_volume(rfft_volume(noise) * np.exp(-b_factor * frequency**2 / 4), BOX).astype(np.float32)


@pytest.mark.parametrize("b_factor", [60.0, 150.0])
def test_the_slope_is_found_and_undone(b_factor: float) -> None:
    volume = blurred(b_factor)
    found = guinier_b_factor(volume, PIXEL, 3.5)
    assert found == pytest.approx(-b_factor, rel=0.05)
    assert_allclose(sharpened(volume, PIXEL, -b_factor), blurred(0.0), atol=1e-3)
    assert guinier_b_factor(sharpened(volume, PIXEL, found), PIXEL, 3.5) == pytest.approx(0, abs=1)


def test_a_coarse_map_has_no_slope() -> None:
    assert guinier_b_factor(blurred(60.0), PIXEL, 9.0) is None
