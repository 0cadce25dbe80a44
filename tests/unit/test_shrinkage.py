"""References shrunk towards the consensus: what is real of a cluster's difference stays, the rest goes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from drgnalign.engine.reconstruct import insert_particles
from drgnalign.engine.shrinkage import difference_fsc, relative_amplitudes, shrunk_references
from drgnalign.fourier import irfft_volume, rfft_volume, shell_numbers, soft_sphere
from drgnalign.validation.fsc import fourier_shell_correlation

BOX = 32


def smooth(rng: np.random.Generator, last: int = 8) -> np.ndarray:
    """A random map without Fourier shells beyond `last`."""
    transform = rfft_volume(rng.standard_normal((BOX,) * 3).astype(np.float32))
    return irfft_volume(transform * (shell_numbers(BOX, 3) <= last), BOX).astype(np.float32)


@pytest.fixture
def scene():
    """Consensus halves, a state that differs from the consensus in the low shells, mask and noise."""
    rng = np.random.default_rng(0)
    common, difference = smooth(rng), smooth(rng, 4)

    def noisy(volume: np.ndarray, level: float) -> np.ndarray:
        return (volume + level * rng.standard_normal(volume.shape)).astype(np.float32)

    return common, difference, soft_sphere(BOX, 9.0, 4.0), noisy


def evenly(weight: float) -> np.ndarray:
    return np.full((BOX, BOX, BOX // 2 + 1), weight, np.float32)


def test_a_difference_that_is_real_is_told_from_noise(scene) -> None:
    common, difference, mask, noisy = scene
    consensus = (noisy(common, 0.05), noisy(common, 0.05))
    state = common + difference
    real = difference_fsc((noisy(state, 0.1), noisy(state, 0.1)), consensus, mask)
    none = difference_fsc((noisy(common, 0.1), noisy(common, 0.1)), consensus, mask)
    assert real[1:4].min() > 0.8
    assert np.abs(none[4:12]).max() < 0.25
    assert real[7:].mean() < 0.2


@pytest.mark.parametrize("amplitude", [0.0, 0.4, 1.0, 1.7])
def test_amplitudes_are_those_of_the_maps(scene, amplitude: float) -> None:
    common, _, mask, noisy = scene
    halves = noisy(amplitude * common, 0.3), noisy(amplitude * common, 0.3)
    found = relative_amplitudes(halves, (noisy(common, 0.1), noisy(common, 0.1)), mask, 8.0)
    assert found == pytest.approx((amplitude, amplitude), abs=0.04)


def test_noise_that_a_cluster_shares_with_the_consensus_is_no_amplitude(scene) -> None:
    # the cluster's own images are in the consensus of its half set
    common, _, mask, noisy = scene
    halves = noisy(0 * common, 3.0), noisy(0 * common, 3.0)
    consensus = tuple(noisy(common, 0.05) + 0.5 * half for half in halves)
    assert relative_amplitudes(halves, consensus, mask, 8.0) == pytest.approx((0, 0), abs=0.4)
    assert relative_amplitudes(halves, consensus[::-1], mask, 8.0)[0] > 1


def test_an_empty_consensus_gives_no_amplitude(scene) -> None:
    common, _, mask, _ = scene
    assert relative_amplitudes((common, common), (0 * common, 0 * common), mask, 8.0) is None


def test_a_cluster_without_a_difference_gets_the_consensus(scene) -> None:
    common, _, mask, noisy = scene
    consensus = (noisy(common, 0.05), noisy(common, 0.05))
    halves = (noisy(common, 1.0), noisy(common, 1.0))
    references = shrunk_references(halves, (evenly(1), evenly(1)), consensus, mask)
    for reference, own in zip(references, halves, strict=True):
        near = fourier_shell_correlation(reference * mask, common * mask)[1:7]
        noisy_own = fourier_shell_correlation(own * mask, common * mask)[1:7]
        assert near.mean() > 0.97
        assert near.mean() > noisy_own.mean() + 0.02


def test_a_cluster_that_differs_keeps_its_own(scene) -> None:
    common, difference, mask, noisy = scene
    consensus = (noisy(common, 0.05), noisy(common, 0.05))
    state = common + 3 * difference
    halves = (noisy(state, 0.05), noisy(state, 0.05))
    references = shrunk_references(halves, (evenly(1), evenly(1)), consensus, mask)
    for reference in references:
        assert fourier_shell_correlation(reference * mask, state * mask)[1:4].min() > 0.98


def test_the_formula(scene) -> None:
    """(A + τM₀)/(W + τ), τ = mean W of the shell (1 − d)/d, written out for one Fourier pixel."""
    common, difference, mask, noisy = scene
    consensus = (noisy(common, 0.3), noisy(common, 0.3))
    halves = (noisy(common + difference, 0.3), noisy(common + difference, 0.3))
    weight = np.random.default_rng(1).uniform(0.5, 2.0, (BOX, BOX, BOX // 2 + 1)).astype(np.float32)
    first, _ = shrunk_references(halves, (weight, weight), consensus, mask)
    z, y, x = 3, 2, 4
    shell = round(np.sqrt(z**2 + y**2 + x**2))
    d = np.clip(difference_fsc(halves, consensus, mask)[shell], 0.001, 0.999)
    f = fourier_shell_correlation(consensus[0] * mask, consensus[1] * mask)[shell]
    kz, ky, kx = np.meshgrid(*[np.fft.fftfreq(BOX, 1 / BOX)] * 3, indexing="ij")
    in_shell = np.rint(np.sqrt(kx**2 + ky**2 + kz**2)) == shell
    whole = np.concatenate([weight, np.roll(weight[::-1, ::-1, 1:-1][..., ::-1], (1, 1), (0, 1))], axis=2)
    tau = whole[in_shell].mean() * (1 - d) / d
    own, shared = rfft_volume(halves[0])[z, y, x], rfft_volume(consensus[0])[z, y, x]
    expected = (own * weight[z, y, x] + tau * f * shared) / (weight[z, y, x] + tau)
    assert_allclose(rfft_volume(first)[z, y, x], expected, rtol=2e-3)


def test_outside_of_a_focus_there_is_the_consensus(scene) -> None:
    common, difference, mask, noisy = scene
    consensus = (noisy(common, 0.05), noisy(common, 0.05))
    state = common + 3 * difference
    halves, weights = (noisy(state, 0.05), noisy(state, 0.05)), (evenly(1), evenly(1))
    focus = np.roll(soft_sphere(BOX, 4.0, 2.0), 4, axis=2)
    plain = shrunk_references(halves, weights, consensus, mask)
    nothing = shrunk_references(halves, weights, consensus, mask, np.zeros_like(mask))
    focused = shrunk_references(halves, weights, consensus, mask, focus)
    for whole, none, part in zip(plain, nothing, focused, strict=True):
        assert fourier_shell_correlation(none * mask, common * mask)[1:7].min() > 0.98
        assert_allclose(part[focus == 0], none[focus == 0], atol=1e-5)
        # within it the difference is told from noise by what is there
        inside = focus == 1
        assert np.corrcoef(part[inside], state[inside])[0, 1] > 0.98
        assert np.abs(part[inside] - whole[inside]).mean() < 0.1 * np.abs(whole[inside] - none[inside]).mean()


def test_halves_stay_apart(scene) -> None:
    """What is in the other half's maps changes only how strongly all are shrunk."""
    common, difference, mask, noisy = scene
    consensus = (noisy(common, 0.1), noisy(common, 0.1))
    one, two = noisy(common + difference, 0.1), noisy(common + difference, 0.1)
    weights = (evenly(1), evenly(1))
    plain, _ = shrunk_references((one, two), weights, consensus, mask)
    mirrored, _ = shrunk_references((one, 2 * two - consensus[1]), weights, consensus, mask)
    assert_allclose(mirrored, plain, atol=1e-4 * np.abs(plain).max())


@pytest.mark.parametrize("padding", [1.0, 1.5, 2.0])
def test_weights_are_those_of_the_sums(noisy_set, padding: float) -> None:
    """Σ CTF²/σ² of a shell is the same on the images' grid as on the padded one, up to the padding's finer pixels."""
    sums = insert_particles(noisy_set.given, noisy_set.source, noisy_set.white_noise, padding)
    weights = sums.weights(1)
    shells = shell_numbers(BOX, 3)
    means = [weights[shells == shell].mean() for shell in (4, 8, 12)]
    finer = [sums._shell_means(1)[round(padding * shell)] for shell in (4, 8, 12)]
    assert_allclose(means, finer, rtol=0.2)
    assert (weights[shells > BOX // 2 + 1] == 0).all()
    # mates are alike
    assert_allclose(weights[3, 5, 0], weights[-3, -5, 0], rtol=1e-5)
