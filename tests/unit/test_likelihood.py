"""Log-likelihoods against brute force: other projections, other transforms, explicit sums."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose

from drgnalign.ctf import ctf
from drgnalign.engine.likelihood import log_likelihoods
from drgnalign.engine.reference import transform_reference
from drgnalign.errors import InputError
from drgnalign.fourier import rfft_images
from drgnalign.simulate import Microscope, phantom_states, project

LIMIT, BLUR = 18.0, 6.0


@pytest.fixture(scope="module")
def noisy(simulate: Callable):
    return simulate(24, 32, 8.0, snr=0.3, sigma=BLUR)


def reference_of(data, scale: float = 1.0):
    ones = np.ones_like(data.volume)
    reference = transform_reference(scale * data.volume, ones, np.ones(17), 8.0, LIMIT, 2.0)
    return {1: reference, 2: reference}


def brute_force(data, row: int, scale: float) -> float:
    """Σ of |D|² − |D − m|² over one of each pair of Fourier coefficients, the noise's variance per pixel being 1."""
    truth, table = data.truth, data.truth.table
    specimen = phantom_states(1)[0]
    amplitude = scale * data.volume.sum() / specimen.weights.sum()
    image = project(*specimen, truth.rotations()[row], truth.displacements()[row], 32, 8.0, BLUR)
    kx, ky = np.fft.rfftfreq(32, 8.0)[None, :], np.fft.fftfreq(32, 8.0)[:, None]
    defocus = [table[f"rlnDefocus{name}"].iloc[row] for name in ("U", "V", "Angle")]
    model = amplitude * rfft_images(image[None])[0] * ctf(kx, ky, *defocus, *Microscope())
    data_transform = rfft_images(data.source.read([row]))[0]
    used = (np.hypot(kx, ky) <= 1 / LIMIT) & ((kx > 0) | (ky > 0))
    return float((np.abs(data_transform) ** 2 - np.abs(data_transform - model) ** 2)[used].sum() / 32**2)


def test_they_are_those_of_brute_force(noisy) -> None:
    scales = (1.0, 0.5, 0.0)
    references = [reference_of(noisy, scale) for scale in scales]
    found = log_likelihoods(noisy.truth, noisy.source, references, noisy.white_noise, LIMIT)
    expected = [[brute_force(noisy, row, scale) for scale in scales] for row in range(len(noisy.truth))]
    assert_allclose(found, expected, rtol=0.03, atol=0.5)
    assert_allclose(found[:, 2], 0, atol=1e-9)
    assert (found[:, 0] > found[:, 1]).mean() > 0.9


def test_each_half_set_has_its_own_maps(noisy) -> None:
    right, wrong = reference_of(noisy)[1], reference_of(noisy, -1.0)[1]
    found = log_likelihoods(noisy.truth, noisy.source, [{1: right, 2: wrong}], noisy.white_noise, LIMIT)[:, 0]
    first = noisy.truth.half_sets() == 1
    assert (found[first] > 0).mean() > 0.9
    assert (found[~first] < 0).all()


def test_a_limit_beyond_nyquist_is_refused(noisy) -> None:
    with pytest.raises(InputError, match="Nyquist"):
        log_likelihoods(noisy.truth, noisy.source, [reference_of(noisy)], noisy.white_noise, 10.0)
