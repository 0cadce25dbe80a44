"""A motion is a curve through latent space: found where there is one, and not where there are states."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import spearmanr

from drgnalign.arrays import FloatArray
from drgnalign.heterogeneity.curve import Curve, fit_curves, gain_over_points, is_motion
from drgnalign.heterogeneity.known import Known
from drgnalign.heterogeneity.motions import Search, find_motion, rigid_share
from drgnalign.heterogeneity.points import fit_points, points_found

pytestmark = pytest.mark.slow

COUNT, PRECISION = 1200, 20.0
# Of the blobs of a particle.
BLOBS = np.array([[3.0, 0, 1], [-3, 2, 0], [0, -3, -2], [1, 3, -3]])


def maps_of(components: int, turning: int | None = None) -> dict[int, FloatArray]:
    """A model's mean and components, which change it at random; but one of them (from 0) turns it as a whole."""
    rng, axis = np.random.default_rng(0), np.arange(16) - 8
    off = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")) - BLOBS[..., None, None, None]
    mean = np.exp(-(off**2).sum(axis=1) / 6).sum(axis=0)
    maps = np.concatenate([mean[None], 1e-3 * rng.normal(size=(components, 16, 16, 16))])
    if turning is not None:
        maps[1 + turning] = 1e-2 * (axis * np.gradient(mean, axis=1) - axis[:, None] * np.gradient(mean, axis=2))
    return dict.fromkeys((1, 2), maps.astype(np.float32))


def known_of(places: FloatArray, precision: float = PRECISION, seed: int = 0) -> Known:
    """Of images that show where they are with an error of their own."""
    seen = places + np.random.default_rng(seed).normal(0, precision**-0.5, places.shape)
    quadratic = np.broadcast_to(precision * np.eye(places.shape[1]), (*places.shape, places.shape[1]))
    return Known(precision * seen, quadratic)


def bow(along: FloatArray) -> FloatArray:
    """Half a turn, of which the first variable is a horseshoe's."""
    return np.stack([3 * along - 1.5, 2 * np.sin(np.pi * along) - 1.3, 0 * along], axis=1)


def searched(known: Known, turning: int | None = None) -> Search:
    """Of a model of which errors of poses look like the axis with this number."""
    count, components = known.linear.shape
    points, halves = points_found(fit_points(known, 12), count), np.arange(count) % 2 + 1
    found = find_motion(known, points, halves, maps_of(components, turning), 12)
    assert found is not None
    return found


def believed(known: Known, turning: int | None = None) -> bool:
    """Of all images, or of some."""
    gain = gain_over_points(known, 12)
    of_all = is_motion(fit_curves(known, gain.widths)[-1], gain, known)
    assert of_all == (searched(known, turning).motion is not None)
    return of_all


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


@pytest.mark.parametrize(
    ("precision", "spread"),
    [
        (10.0, 0.3),
        (500.0, 1.0),
        *(
            pytest.param(*values, marks=pytest.mark.long)
            for values in ((10.0, 1.0), (10.0, 2.0), (500.0, 0.3), (500.0, 2.0))
        ),
    ],
)
def test_what_spreads_round_states_is_no_motion(precision: float, spread: float) -> None:
    """Rests of the errors of poses; they may draw images out as far as states are apart."""
    rng = np.random.default_rng(1)
    true = np.array([[2.0, 0.0], [-2.0, 0.0]])[rng.choice(2, 1500)]
    known = known_of(true + np.stack([np.zeros(1500), rng.normal(0, spread, 1500)], axis=1), precision)
    assert not believed(known, turning=1)


@pytest.mark.parametrize("share", [0.08, 0.4, 0.6])
def test_a_state_beside_a_motion_is_none_of_it(share: float) -> None:
    """Though one curve leads through both, and says more of them than points do."""
    rng, count = np.random.default_rng(3), 4000
    along, still = rng.random(count), rng.random(count) < share
    known = known_of(np.where(still[:, None], [0.0, 0.5, 2.5], bow(along)))
    found = searched(known)
    assert found.groups == 2 and found.motion is not None
    assert np.mean(found.motion.moving == ~still) > 0.98
    moving = np.flatnonzero(found.motion.moving & ~still)
    assert abs(spearmanr(found.motion.curve.along(known.of(moving))[0], along[moving])[0]) > 0.97


def test_of_two_motions_that_of_more_images_is_taken() -> None:
    rng = np.random.default_rng(4)
    along, other = rng.random(2400), rng.random(2400) < 0.4
    places = np.where(other[:, None], bow(along)[:, [2, 1, 0]] + [0.0, 0.0, 5.0], bow(along))
    found = searched(known_of(places))
    assert found.groups == 2 and found.motion is not None
    assert np.mean(found.motion.moving == ~other) > 0.98


def test_of_few_images_nothing_is_said() -> None:
    known = known_of(np.zeros((198, 2)))
    assert find_motion(known, fit_points(known, 2)[0], np.arange(198) % 2 + 1, maps_of(2), 2) is None


def test_what_the_whole_particle_does_is_no_motion() -> None:
    """A state is spread out along a component that turns its map, as errors of poses do, or changes it otherwise."""
    nodes = np.linspace(-1e-3, 1e-3, 24)[:, None]
    shares = [rigid_share(Curve(nodes * [1.0, 0.0], np.full(24, 1 / 24)), maps_of(2, turning)) for turning in (0, 1)]
    assert shares[0] == pytest.approx(1.0, abs=1e-3) and shares[1] < 0.05
    known = known_of(np.random.default_rng(0).random((COUNT, 1)) * [4.0, 0.0])
    assert searched(known).motion is not None and searched(known, turning=0).motion is None


def test_what_shows_nothing_is_no_motion() -> None:
    assert not believed(known_of(np.zeros((500, 3)), 4.0))
