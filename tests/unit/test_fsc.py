"""Fourier shell correlation of maps whose correlation is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import succeed
from numpy.testing import assert_allclose, assert_array_equal

from drgnalign.engine.reference import interpolation_envelope
from drgnalign.formats.mrc import write_volume
from drgnalign.fourier import irfft_volume, raised_cosine, rfft_volume, shell_numbers, soft_sphere
from drgnalign.maps.mask import particle_mask
from drgnalign.simulate import density_map, phantom_states
from drgnalign.validation.fsc import (
    FscResult,
    fourier_shell_correlation,
    half_map_fsc,
    randomised_from,
    resolution_at,
)

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


PIXEL, PARTICLE = 4.15, 64


def half_maps(volume: np.ndarray, noise_level: float, padding: int, seed: int) -> list[np.ndarray]:
    """Signal and noise as direct inversion leaves it: its power rises with frequency, and without padding it is divided
    by what interpolation multiplied the map with."""
    rng, box = np.random.default_rng(seed), len(volume)
    rising = np.sqrt(np.maximum(shell_numbers(box, 3), 1))
    halves = []
    for _ in range(2):
        map_of_noise = irfft_volume(rfft_volume(rng.standard_normal(volume.shape)) * rising, box)
        map_of_noise *= noise_level * volume.std() / map_of_noise.std()
        halves.append(volume + map_of_noise / interpolation_envelope(box, padding * box))
    return halves


@pytest.fixture(scope="module")
def particle() -> np.ndarray:
    """A phantom that fills half of its box, whose power falls by a factor of a thousand within 15 shells."""
    return density_map(*phantom_states(1)[0], PARTICLE, PIXEL, 1.3 * PIXEL).astype(np.float64)


def masks(volume: np.ndarray) -> dict[str, np.ndarray]:
    """Close to the particle's surface and farther out, and one with hard edges that cuts off a third of its density."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(volume, 1.0)

    def above(share: float, edge: float) -> np.ndarray:
        return raised_cosine(ndimage.distance_transform_edt(smooth <= share * smooth.max()), edge)

    return {
        "tight": above(0.05, 1.5),
        "normal": particle_mask(volume.astype(np.float32), PIXEL, 170.0),
        "loose": soft_sphere(PARTICLE, 20.5, 4.0),
        "cutting": (smooth > 0.2 * smooth.max()).astype(np.float64),
    }


@pytest.mark.parametrize("padding", [1, 2])
@pytest.mark.parametrize("noise_level", [3.0, 10.0])
@pytest.mark.parametrize(("mask", "share"), [("cutting", 0.68), ("tight", 0.96), ("normal", 0.99), ("loose", 1.0)])
def test_claims_are_true(particle: np.ndarray, mask: str, share: float, noise_level: float, padding: int) -> None:
    inside = masks(particle)[mask]
    assert (inside * particle).sum() == pytest.approx(share * particle.sum(), rel=0.01)
    ratios = []
    for seed in range(3):
        halves = half_maps(particle, noise_level, padding, seed)
        # with the whole particle: with what the mask leaves of it, its edges would agree in both
        truth = fourier_shell_correlation((halves[0] + halves[1]) * inside, particle)
        claimed = half_map_fsc(*halves, PIXEL, inside).resolution
        ratios.append(claimed / resolution_at(truth, PARTICLE * PIXEL, 0.5))
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)


def test_noise_in_the_corners_does_not_decide_where_phases_are_randomised(particle: np.ndarray) -> None:
    flat, amplified = (half_maps(particle, 3.0, padding, 0) for padding in (100, 1))
    assert np.flatnonzero(fourier_shell_correlation(*amplified) < 0.8)[0] <= 7
    assert 10 <= randomised_from(*amplified) <= randomised_from(*flat) <= 12
    # and shell 0, which is the mean of the maps, says nothing
    assert randomised_from(flat[0], flat[1] - 2 * flat[1].mean()) >= 10
    assert randomised_from(noise(32, 0), noise(32, 1)) == 4


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


def test_a_map_and_its_copy_claim_nothing(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.mrc", noise(32, 0).astype(np.float32), 2.0)
    write_volume(tmp_path / "b.mrc", 3 * noise(32, 0).astype(np.float32), 2.0)
    write_volume(tmp_path / "c.mrc", (noise(32, 0) + 0.1 * noise(32, 1)).astype(np.float32), 2.0)
    assert "the two maps are copies of one" in succeed("fsc", tmp_path / "a.mrc", tmp_path / "b.mrc").output
    assert "4.00 Å at FSC 0.143 (Nyquist)" in succeed("fsc", tmp_path / "a.mrc", tmp_path / "c.mrc").output
