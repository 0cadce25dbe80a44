"""What some images teach about all: the spread of the changes of pose, and the reference's strength."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from drgnalign.engine.kernels import Prior, Reference
from drgnalign.engine.prior import estimate_prior
from drgnalign.engine.reference import transform_reference
from drgnalign.engine.refine import NO_PRIOR, Refinement, refine_particles
from drgnalign.engine.sampling import evenly_spread
from drgnalign.formats.mrc import ImageSource
from drgnalign.geometry import angular_distance
from drgnalign.maps.mask import particle_mask
from drgnalign.particles import Particles
from drgnalign.simulate import MEDIAN_NORM_2D, MEDIAN_NORM_3D

LIMIT = 9.0


@pytest.fixture(scope="module")
def noisy(simulate: Callable):
    """300 particles whose own error is smaller than that of the poses given: 4° and 4 Å (medians)."""
    return simulate(300, 64, 4.0, snr=0.3, rotation_error_deg=4.0, shift_error_angstrom=4.0)


def references(data, scale: float = 1.0) -> dict[int, Reference]:
    pixel_size = data.truth.pixel_size
    mask = particle_mask(data.volume, pixel_size, 220.0)
    reference = transform_reference(scale * data.volume, mask, np.ones(33), pixel_size, LIMIT, 1.5)
    return {1: reference, 2: reference}


def learnt(data, start: Particles, scale: float = 1.0) -> Prior:
    return estimate_prior(start, ImageSource(start, data.folder), references(data, scale), data.white_noise, LIMIT)


def refined(data, prior: Prior, scale: float = 1.0) -> Refinement:
    source = ImageSource(data.given, data.folder)
    return refine_particles(data.given, source, references(data, scale), data.white_noise, LIMIT, prior=prior)


def test_the_spread_of_the_errors_is_learnt(noisy) -> None:
    prior = learnt(noisy, noisy.given)
    assert_allclose(np.degrees(prior.rotation), 4.0 / MEDIAN_NORM_3D, rtol=0.15)
    assert_allclose(prior.shift, 1.0 / MEDIAN_NORM_2D, rtol=0.15)
    assert_allclose(prior.amplitude, 1.0, atol=0.05)


def test_good_poses_are_not_frozen(noisy) -> None:
    """From the true poses the changes are the images' own error: the prior stays four times as wide."""
    changes = refined(noisy, NO_PRIOR)
    own = np.median(angular_distance(noisy.truth.rotations(), changes.rotations)) / MEDIAN_NORM_3D
    prior = learnt(noisy, noisy.truth)
    assert 3 * own < np.degrees(prior.rotation) < 6 * own


def test_a_reference_of_another_scale_is_recognised(noisy) -> None:
    """Grey values of a user's map need not be those of the images."""
    right = learnt(noisy, noisy.given)
    for scale in (0.02, 50.0):
        other = learnt(noisy, noisy.given, scale)
        assert_allclose(other.amplitude * scale, right.amplitude, rtol=0.05)
        turned = angular_distance(refined(noisy, other, scale).rotations, refined(noisy, right).rotations)
        assert np.percentile(turned, 95) < 0.05


def test_a_prior_takes_the_tail_off(simulate: Callable) -> None:
    data = simulate(300, 32, 8.0, snr=0.05, rotation_error_deg=3.0, shift_error_angstrom=3.0)
    mask = particle_mask(data.volume, 8.0, 220.0)
    reference = transform_reference(data.volume, mask, np.ones(17), 8.0, 18.0, 2.0)
    source, both = ImageSource(data.given, data.folder), {1: reference, 2: reference}
    prior = estimate_prior(data.given, source, both, data.white_noise, 18.0)
    errors = [
        angular_distance(
            data.truth.rotations(),
            refine_particles(data.given, source, both, data.white_noise, 18.0, prior=known).rotations,
        )
        for known in (NO_PRIOR, prior)
    ]
    assert errors[1].mean() < 0.9 * errors[0].mean()
    assert np.percentile(errors[1], 90) < 0.9 * np.percentile(errors[0], 90)


def test_a_certain_prior_holds_the_poses(noisy) -> None:
    held = refined(noisy, Prior(1e-6, 1e-6))
    assert angular_distance(held.rotations, noisy.given.rotations()).max() < 0.01
    assert (held.score_after >= held.score_before).all()


def test_few_particles_and_garbage_teach_nothing(noisy) -> None:
    assert learnt(noisy, noisy.given.select(np.arange(15))) == NO_PRIOR
    assert learnt(noisy, noisy.given, 0.0) == NO_PRIOR


def test_the_pilot_is_evenly_spread() -> None:
    assert_array_equal(evenly_spread(5), np.arange(5))
    rows = evenly_spread(10_000)
    assert len(rows) == 256
    assert rows[[0, -1]].tolist() == [0, 9_999]
    assert np.ptp(np.diff(rows)) <= 1
