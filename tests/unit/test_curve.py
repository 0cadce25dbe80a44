"""A motion is a curve through latent space: found where there is one, and not where there are states."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import spearmanr

from drgnalign.arrays import FloatArray
from drgnalign.heterogeneity.curve import Curve, fit_curves, gain_over_points, is_motion
from drgnalign.heterogeneity.known import Known

pytestmark = pytest.mark.slow

COUNT, PRECISION = 1200, 20.0


def known_of(places: FloatArray, precision: float = PRECISION, seed: int = 0) -> Known:
    """Of images that show where they are with an error of their own."""
    seen = places + np.random.default_rng(seed).normal(0, precision**-0.5, places.shape)
    quadratic = np.broadcast_to(precision * np.eye(places.shape[1]), (*places.shape, places.shape[1]))
    return Known(precision * seen, quadratic)


def bow(along: FloatArray) -> FloatArray:
    """Half a turn, of which the first variable is a horseshoe's."""
    return np.stack([3 * along - 1.5, 2 * np.sin(np.pi * along) - 1.3, 0 * along], axis=1)


def believed(known: Known) -> bool:
    gain = gain_over_points(known, 12)
    return is_motion(fit_curves(known, gain.widths)[-1], gain, known)


def test_a_motion_is_a_curve_and_images_lie_along_it() -> None:
    along = np.random.default_rng(1).random(COUNT)
    known = known_of(bow(along))
    curve = fit_curves(known)[0]
    places, errors = curve.along(known)
    assert abs(spearmanr(places, along)[0]) > 0.97
    assert places.min() >= 0 and places.max() <= 1
    # errors are what they say: of the whole length, which runs from 0 to 1
    true = along if curve.nodes[0, 0] < curve.nodes[-1, 0] else 1 - along
    length = np.linalg.norm(np.diff(bow(np.linspace(0, 1, 200)), axis=0), axis=1).cumsum() / 4.6
    exact = np.interp(true, np.linspace(0, 1, 199), length / length[-1])
    assert np.std(places - exact) == pytest.approx(np.sqrt(np.mean(errors**2)), rel=0.35)
    # no node is far from the true curve
    off = [np.linalg.norm(bow(np.linspace(0, 1, 500)) - node, axis=1).min() for node in curve.nodes]
    assert max(off) < 0.2
    assert curve.nodes[0, 0] < curve.nodes[-1, 0]
    assert believed(known)


def test_the_length_of_a_curve_is_one() -> None:
    nodes = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 9.0]])
    assert_allclose(Curve(nodes, np.full(3, 1 / 3)).places, [0.0, 0.5, 1.0])


def test_a_motion_that_is_seen_sharply_may_bend() -> None:
    """As a lobe that swings by 70°: one and a half turns, on which errors are small beside what nodes lie apart."""
    along = np.random.default_rng(1).random(COUNT)
    turns = 3 * np.pi * along
    known = known_of(np.stack([4 * along - 2, np.cos(turns), np.sin(turns), 0.4 * np.cos(2 * turns)], axis=1), 2000.0)
    gain = gain_over_points(known, 12)
    assert len(gain.widths) > 1
    curve = fit_curves(known, gain.widths)[-1]
    assert is_motion(curve, gain, known)
    assert abs(spearmanr(curve.along(known)[0], along)[0]) > 0.99


@pytest.mark.parametrize("precision", [PRECISION, 2000.0])
@pytest.mark.parametrize("states", [1, 2, 3, 4])
def test_states_are_no_motion(states: int, precision: float) -> None:
    true = np.array([[1.5, 0.0, 0.0], [-1.5, 0.5, 0.0], [0.0, -1.5, 1.0], [0.5, 1.5, -1.0]])
    which = np.random.default_rng(2).choice(4, COUNT, p=np.array([0.4, 0.3, 0.2, 0.1])) % states
    assert not believed(known_of(true[which], precision))


@pytest.mark.parametrize("spread", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("precision", [10.0, 500.0])
def test_what_spreads_round_states_is_no_motion(precision: float, spread: float) -> None:
    """Rests of the errors of poses; they may draw images out as far as states are apart."""
    rng = np.random.default_rng(1)
    true = np.array([[2.0, 0.0], [-2.0, 0.0]])[rng.choice(2, 1500)]
    assert not believed(known_of(true + np.stack([np.zeros(1500), rng.normal(0, spread, 1500)], axis=1), precision))


def test_what_shows_nothing_is_no_motion() -> None:
    assert not believed(known_of(np.zeros((500, 3)), 4.0))
