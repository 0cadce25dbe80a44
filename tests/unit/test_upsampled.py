"""Images that were up-sampled: what they have no power in counts neither in data nor in CTF."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import zoom

from drgnalign.engine.likelihood import log_likelihoods
from drgnalign.engine.noise import estimate_noise
from drgnalign.engine.plan import coefficient_plan
from drgnalign.engine.reconstruct import HALVES, insert_particles
from drgnalign.engine.reference import transform_reference, weighted_halves
from drgnalign.engine.refine import refine_particles
from drgnalign.formats.mrc import ImageSource
from drgnalign.fourier import irfft_images, rfft_images
from drgnalign.geometry import angular_distance
from drgnalign.maps.mask import particle_mask
from drgnalign.particles import Particles
from drgnalign.simulate import Spectrum, coloured_noise
from drgnalign.simulate.nuisances import Nuisances, band_limited
from drgnalign.validation.fsc import fourier_shell_correlation

BOX, COARSE, PIXEL, DIAMETER = 48, 24, 5.5, 200.0
# Å: Nyquist of the up-sampled half, and what the other half reaches.
COARSE_LIMIT, LIMIT = 22.0, 12.0


def noise_of(particles: Particles, diameter: float = DIAMETER) -> np.ndarray:
    return estimate_noise(particles, ImageSource(particles, particles.path.parent), diameter)


def rings_without_power(images: np.ndarray, particles_of: Callable[..., Particles]) -> list[int]:
    """Of images (n, N, N), without a particle."""
    particles = particles_of(images.astype(np.float32))
    return np.flatnonzero(noise_of(particles, 0.1 * particles.box * particles.pixel_size)[0] == 0).tolist()


def white(n: int, box: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, box, box), dtype=np.float32)


@pytest.mark.parametrize(("coarse", "box", "first"), [(32, 64, 16), (60, 64, 30), (33, 65, 17)])
def test_padded_images_have_no_power_from_their_first_nyquist_ring_on(
    coarse: int, box: int, first: int, particles_of: Callable[..., Particles]
) -> None:
    """The corners of their square transform reach further, but do not fill a ring."""
    expected = list(range(first, box // 2 + 1))
    assert rings_without_power(band_limited(white(50, box), coarse), particles_of) == expected
    fading = coloured_noise(
        np.random.default_rng(0), 50, box, 1.0, Spectrum(np.array([0.05, 0.5]), np.array([9.0, 1.0]))
    )
    assert rings_without_power(band_limited(fading, coarse), particles_of) == expected
    # stored as whole numbers, which leaves the noise of rounding everywhere
    assert rings_without_power(np.round(20 * band_limited(white(50, box), coarse)), particles_of) == expected


@pytest.mark.parametrize("order", [1, 3])
def test_interpolated_images_have_none_from_near_there_on(order: int, particles_of: Callable[..., Particles]) -> None:
    images = np.stack([zoom(image, 2, order=order, mode="grid-wrap", grid_mode=True) for image in white(50, 32)])
    empty = rings_without_power(images, particles_of)
    assert empty == list(range(empty[0], 33)) and 14 <= empty[0] <= 18


@pytest.mark.parametrize("n", [2, 50])
@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0, 3.0])
def test_noise_that_fades_has_power_everywhere(n: int, slope: float, particles_of: Callable[..., Particles]) -> None:
    frequency = np.linspace(0.01, 0.5, 50)
    images = coloured_noise(np.random.default_rng(1), n, 64, 1.0, Spectrum(frequency, frequency**-slope))
    assert rings_without_power(images, particles_of) == []


def test_filtered_rings_have_none(particles_of: Callable[..., Particles]) -> None:
    transforms = rfft_images(white(50, 64))
    radius = np.hypot(np.fft.fftfreq(64, 1 / 64)[:, None], np.arange(33))
    for low, high, expected in ((0, 3.5, [0, 1, 2, 3]), (11.5, 15.5, [12, 13, 14, 15])):
        kept = transforms * ((radius < low) | (radius > high))
        assert rings_without_power(irfft_images(kept, 64), particles_of) == expected


def test_a_group_without_power_has_no_weight() -> None:
    plan = coefficient_plan(32, 4.0)
    noise = np.full((2, 17), 4.0)
    noise[1, 9:] = 0.0
    weights = plan.weights(noise)
    assert np.isfinite(weights).all()
    np.testing.assert_array_equal(weights[1], np.where((plan.shell >= 0) & (plan.shell < 9), 0.5, 0.0))
    np.testing.assert_array_equal(weights[0], np.where(plan.shell >= 0, 0.5, 0.0))


@pytest.fixture(scope="module")
def half_upsampled(simulate: Callable[..., Any]) -> Any:
    """600 particles with 4° and 4 Å of error; the later half, an optics group, had pixels twice as wide."""
    return simulate(
        600,
        BOX,
        PIXEL,
        snr=0.2,
        rotation_error_deg=4.0,
        shift_error_angstrom=4.0,
        nuisances=Nuisances(coarse_box=COARSE),
    )


def half_maps(particles: Particles) -> tuple[np.ndarray, np.ndarray]:
    source = ImageSource(particles, particles.path.parent)
    sums = insert_particles(particles, source, noise_of(particles), 1.5)
    return sums.half_map(1), sums.half_map(2)


def test_the_joint_map_is_no_worse_than_that_of_the_other_half(half_upsampled: Any) -> None:
    truth, volume = half_upsampled.truth, half_upsampled.volume
    mask = particle_mask(volume, PIXEL, DIAMETER)
    joint, alone = (
        fourier_shell_correlation(sum(half_maps(some)) * mask, volume * mask)
        for some in (truth, truth.select(truth.optics_rows() == 0))
    )
    coarse = COARSE // 2 - 1
    assert joint[: coarse + 1].sum() > alone[: coarse + 1].sum()
    np.testing.assert_allclose(joint[coarse + 3 :], alone[coarse + 3 :], atol=0.01)


def test_poses_are_refined_as_well_as_each_group_allows(half_upsampled: Any) -> None:
    """At the limit of the others, up-sampled images are refined as they are at their own."""
    given, source = half_upsampled.given, half_upsampled.source
    group, noise = given.optics_rows(), noise_of(given)
    halves = half_maps(given)
    mask = particle_mask(half_upsampled.volume, PIXEL, DIAMETER)
    first, second, weights = weighted_halves(*halves, mask, joint=False)
    errors, scores = {}, {}
    for limit in (COARSE_LIMIT, LIMIT):
        references = {
            half: transform_reference(volume, mask, weights, PIXEL, limit, 1.5)
            for half, volume in zip(HALVES, (first, second), strict=True)
        }
        refined = refine_particles(given, source, references, noise, limit)
        degrees = angular_distance(half_upsampled.truth.rotations(), refined.rotations)
        errors[limit] = [np.median(degrees[group == number]) for number in (0, 1)]
        scores[limit] = refined.score_after
        likelihoods = log_likelihoods(given, source, [references], noise, limit)
        assert np.isfinite(likelihoods).all() and np.isfinite(refined.score_after).all()
    assert errors[LIMIT][0] < 2.0 and errors[LIMIT][1] < 2.0
    assert errors[LIMIT][1] == pytest.approx(errors[COARSE_LIMIT][1], abs=0.1)
    # nothing beyond its Nyquist speaks for or against a pose of the up-sampled group
    np.testing.assert_allclose(scores[LIMIT][group == 1], scores[COARSE_LIMIT][group == 1], rtol=0.1, atol=3.0)
    assert (scores[LIMIT] - scores[COARSE_LIMIT])[group == 0].mean() > 0
