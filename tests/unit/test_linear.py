"""A linear latent model finds the states of simulated images, and none where there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from drgnalign.engine.noise import estimate_noise
from drgnalign.engine.reconstruct import HALVES, insert_particles
from drgnalign.engine.sampling import oversampling
from drgnalign.fourier import soft_sphere
from drgnalign.heterogeneity.known import Known
from drgnalign.heterogeneity.linear import Iteration, LinearModel, fit_linear, latent_of
from drgnalign.heterogeneity.points import Points, fit_points

BOX, PIXEL, DIAMETER = 32, 8.0, 200.0
SCHEDULE = (*[Iteration(40.0, False, 0.3)] * 5, *[Iteration(24.0, False, 0.1)] * 4)


def fitted(
    simulate: Callable[..., Any], states: int, particles: int, threads: int = 1
) -> tuple[Any, LinearModel, Known]:
    errors = {"rotation_error_deg": 1.0, "shift_error_angstrom": 1.0}
    simulated = simulate(particles, BOX, PIXEL, states=states, snr=0.3, **errors)
    given, source = simulated.given, simulated.source
    noise, padding = estimate_noise(given, source, DIAMETER), oversampling(BOX, PIXEL, DIAMETER)
    sums = insert_particles(given, source, noise, padding)
    means = {half: sums.half_map(half)[None] for half in HALVES}
    mask = soft_sphere(BOX, 14, 2).astype(np.float32)
    how = {"components": 3, "schedule": SCHEDULE, "threads": threads}
    model = fit_linear(given, source, noise, means, mask, DIAMETER, **how)
    return simulated, model, latent_of(given, source, noise, model, mask, DIAMETER, threads)


@pytest.mark.parametrize("states", [1, 2, 3])
def test_states_are_points(simulate: Callable[..., Any], states: int) -> None:
    simulated, model, known = fitted(simulate, states, 400)
    found = fit_points(known, 6)
    # one more gains next to nothing
    assert len(found) == states + 1
    labels = found[-2].labels_of(known)
    assert adjusted_rand_score(simulated.truth.cluster_labels(), labels) > 0.95
    assert found[-2].shares == pytest.approx(np.full(states, 1 / states), abs=0.05)
    assert model.volumes[1].shape == (4, BOX, BOX, BOX)


def test_threads_change_no_bit(simulate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A run goes on from its cache on a node of another size."""
    monkeypatch.setattr("drgnalign.heterogeneity.linear.LEAST_OF_PART", 40)
    (_, one, known), (_, other, also_known) = (fitted(simulate, 2, 200, threads) for threads in (1, 3))
    for half in HALVES:
        assert np.array_equal(one.volumes[half], other.volumes[half])
    assert np.array_equal(known.linear, also_known.linear) and np.array_equal(known.quadratic, also_known.quadratic)
    assert one.spreads == other.spreads


def test_half_sets_share_the_component_between_two_states(simulate: Callable[..., Any]) -> None:
    _, model, _ = fitted(simulate, 2, 400)
    first, second = (model.volumes[half][1].ravel() for half in HALVES)
    assert np.corrcoef(first, second)[0, 1] > 0.9


@pytest.mark.parametrize("few", [1, 4, 20])
def test_a_half_set_of_few_particles_is_fitted(simulate: Callable[..., Any], few: int) -> None:
    """Fewer than components: latent variables of so few lie in a plane, and some components are nothing at all."""
    simulated = simulate(100, BOX, PIXEL, states=2, snr=0.1)
    given, source = simulated.given, simulated.source
    given.table["rlnRandomSubset"] = np.where(np.arange(len(given)) < few, 2, 1)
    noise = estimate_noise(given, source, DIAMETER)
    sums = insert_particles(given, source, noise, oversampling(BOX, PIXEL, DIAMETER))
    means = {half: sums.half_map(half)[None] for half in HALVES}
    mask = soft_sphere(BOX, 14, 2).astype(np.float32)
    schedule = [Iteration(40.0, hard, 0.1) for hard in (False, True, True, False)]
    model = fit_linear(given, source, noise, means, mask, DIAMETER, components=8, schedule=schedule)
    assert all(np.isfinite(model.volumes[half]).all() for half in HALVES)
    known = latent_of(given, source, noise, model, mask, DIAMETER)
    assert np.isfinite(known.linear).all() and np.isfinite(known.quadratic).all()


def known_of(places: np.ndarray, precision: float, seed: int = 0) -> Known:
    """Of images that show where they are with an error of their own."""
    rng = np.random.default_rng(seed)
    seen = places + rng.normal(0, precision**-0.5, places.shape)
    quadratic = np.broadcast_to(precision * np.eye(places.shape[1]), (*places.shape, places.shape[1]))
    return Known(precision * seen, quadratic)


def test_points_are_found_where_they_are() -> None:
    true = np.array([[1.0, 0.0], [-1.0, 0.5], [0.0, -1.5]])
    which = np.random.default_rng(1).choice(3, 600, p=[0.6, 0.3, 0.1])
    known = known_of(true[which], 10.0)
    found: list[Points] = fit_points(known, 6)
    assert len(found) == 4
    three = found[2]
    order = [int(np.linalg.norm(three.places - place, axis=1).argmin()) for place in true]
    np.testing.assert_allclose(three.places[order], true, atol=0.15)
    np.testing.assert_allclose(three.shares[order], [0.6, 0.3, 0.1], atol=0.05)
    assert adjusted_rand_score(which, three.labels_of(known)) > 0.9


def test_few_images_that_one_point_suits_have_points() -> None:
    assert len(fit_points(known_of(np.zeros((1, 2)), 100.0), 5)) == 2


def test_what_cannot_be_told_apart_is_one_point() -> None:
    found = fit_points(known_of(np.zeros((500, 3)), 4.0), 5)
    assert len(found) == 2
    np.testing.assert_allclose(found[0].places, 0.0, atol=0.1)


def test_what_spreads_round_a_state_is_no_state() -> None:
    """Rests of the errors of poses: a third point gains 20 nats of all images, but not one of each that it takes."""
    rng = np.random.default_rng(1)
    which = rng.choice(2, 1500)
    true = np.array([[2.0, 0.0], [-2.0, 0.0]])[which] + np.stack([np.zeros(1500), rng.normal(0, 0.3, 1500)], axis=1)
    found = fit_points(known_of(true, 10.0), 6)
    assert 1500 * (found[2].log_likelihood - found[1].log_likelihood) > 20
    assert len(found) == 3
