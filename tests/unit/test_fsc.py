"""Fourier shell correlation of maps whose correlation is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from drgnalign.fourier import irfft_volume, rfft_volume, shell_numbers, soft_sphere
from drgnalign.validation.fsc import FscResult, fourier_shell_correlation, half_map_fsc, resolution_at

boxes = pytest.mark.parametrize("box", [32, 33])


def noise(box: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((box, box, box))


@boxes
def test_a_map_with_itself_and_with_its_negative(box: int) -> None:
    volume = noise(box, 0)
    assert_allclose(fourier_shell_correlation(volume, 3 * volume), 1, atol=1e-9)
    assert_allclose(fourier_shell_correlation(volume, -volume), -1, atol=1e-9)
    assert len(fourier_shell_correlation(volume, volume)) == box // 2 + 1


@boxes
def test_independent_noise_does_not_correlate(box: int) -> None:
    correlation = fourier_shell_correlation(noise(box, 0), noise(box, 1))
    # A shell of radius s has 2πs² independent coefficients.
    shell = np.arange(4, box // 2 + 1)
    assert (np.abs(correlation[4:]) < 4 / np.sqrt(2 * np.pi * shell**2)).all()
    assert abs(correlation[4:].mean()) < 0.02


@boxes
@pytest.mark.parametrize("snr", [0.25, 1.0, 4.0])
def test_signal_in_noise(box: int, snr: float) -> None:
    signal = np.sqrt(snr) * noise(box, 0)
    correlation = fourier_shell_correlation(signal + noise(box, 1), signal + noise(box, 2))
    assert_allclose(correlation[8:], snr / (1 + snr), atol=0.12)
    assert correlation[8:].mean() == pytest.approx(snr / (1 + snr), abs=0.02)


def test_every_shell_stands_for_itself() -> None:
    first, second = noise(32, 0), noise(32, 1)
    shared = shell_numbers(32, 3) == 9
    mixed = irfft_volume(np.where(shared, rfft_volume(first), rfft_volume(second)), 32)
    correlation = fourier_shell_correlation(first, mixed)
    assert correlation[9] == pytest.approx(1)
    assert np.abs(np.delete(correlation, 9)[3:]).max() < 0.3


def test_a_shell_without_signal_correlates_by_zero() -> None:
    low = irfft_volume(rfft_volume(noise(16, 0)) * (shell_numbers(16, 3) < 4), 16).astype(np.float64)
    zero = np.zeros((16, 16, 16))
    assert_array_equal(fourier_shell_correlation(low, zero), 0)


def test_edges_of_a_tight_mask_feign_resolution_that_the_correction_sees_through() -> None:
    # Two maps that share their low frequencies only: a tight mask smears these into all shells.
    box, low = 48, shell_numbers(48, 3) < 6
    shared = 40 * rfft_volume(noise(box, 0)) * low
    halves = [irfft_volume(shared + rfft_volume(noise(box, seed)) * ~low, box) for seed in (1, 2)]
    mask = soft_sphere(box, radius=8, edge=1)
    result = half_map_fsc(*halves, 4.0, mask)
    assert np.abs(result.unmasked[8:]).max() < 0.2
    assert result.masked[8:].mean() > 0.5
    assert abs(result.corrected[9:].mean()) < 0.2
    assert result.resolution > box * 4.0 / 10
    assert (result.corrected <= result.masked).all()


def test_the_correction_leaves_real_signal_standing() -> None:
    signal = 2 * noise(32, 0)
    mask = soft_sphere(32, radius=8, edge=4)
    result = half_map_fsc(signal + noise(32, 1), signal + noise(32, 2), 4.0, mask)
    assert result.corrected[6:].mean() == pytest.approx(0.8, abs=0.06)


def test_the_seed_decides_the_random_phases() -> None:
    halves, mask = (noise(16, 0), noise(16, 1)), soft_sphere(16, 4, 2)
    first, again, other = (half_map_fsc(*halves, 4.0, mask, seed).randomised for seed in (0, 0, 1))
    assert_array_equal(first, again)
    assert (first != other).any()


def test_without_a_mask_there_is_one_curve() -> None:
    result = half_map_fsc(noise(16, 0), noise(16, 1), 4.0)
    for curve in (result.masked, result.randomised, result.corrected):
        assert_array_equal(curve, result.unmasked)


def test_resolution_is_interpolated_between_shells() -> None:
    # 0.2 lies halfway from 0.4 at shell 3 to 0 at shell 4.
    assert resolution_at(np.array([1, 1, 0.8, 0.4, 0.0, 0.0]), 100.0, 0.2) == pytest.approx(100 / 3.5)
    # The first crossing counts.
    assert resolution_at(np.array([1, 1, 0.4, 0.0, 0.9, 0.9]), 100.0, 0.2) == pytest.approx(100 / 2.5)
    assert resolution_at(np.array([1, 1, 0.9, 0.8]), 100.0, 0.2) == pytest.approx(100 / 3)
    assert resolution_at(np.array([1, 0.1, 0.9, 0.8]), 100.0, 0.2) == 100.0


def test_a_claim_of_nyquist_is_marked() -> None:
    same = half_map_fsc(noise(16, 0), noise(16, 0), 4.0)
    assert same.reaches_nyquist
    assert same.resolution == pytest.approx(8.0)
    different = half_map_fsc(noise(16, 0), noise(16, 1), 4.0)
    assert not different.reaches_nyquist
    assert different.resolution is None


@pytest.mark.parametrize(("last", "angstrom"), [(0, None), (3, None), (4, 128 / 4.857), (9, 128 / 9.857)])
def test_maps_that_agree_in_three_shells_at_most_have_no_resolution(last: int, angstrom: float | None) -> None:
    correlation = np.where(np.arange(17) <= last, 1.0, 0.0)
    found = FscResult(correlation, correlation, correlation, correlation, 128.0)
    assert found.resolution == (None if angstrom is None else pytest.approx(angstrom))
    assert ("no resolution" in found.claim) == (angstrom is None)
    assert not found.reaches_nyquist


@pytest.mark.parametrize("empty", [0.0, np.nan])
def test_an_empty_map_has_no_resolution(empty: float) -> None:
    mask = soft_sphere(16, 4, 2)
    for first in (noise(16, 0), np.full((16, 16, 16), empty)):
        result = half_map_fsc(first, np.full((16, 16, 16), empty), 4.0, mask)
        assert result.resolution is None and not result.reaches_nyquist
        assert np.isfinite(result.table()).all(axis=None)


def test_table_has_a_row_a_shell() -> None:
    table = half_map_fsc(noise(16, 0), noise(16, 1), 4.0).table()
    assert table["shell"].tolist() == list(range(1, 9))
    assert table["resolution_angstrom"].tolist() == [64 / shell for shell in range(1, 9)]
    assert {"fsc_unmasked", "fsc_masked", "fsc_randomised", "fsc_corrected"} < set(table.columns)
