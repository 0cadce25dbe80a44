"""States and cuts through a continuum, by the positions that images show."""

from __future__ import annotations

import numpy as np
import pytest

from drgnalign.heterogeneity.contrast import Contrast
from drgnalign.heterogeneity.spread import Spread, fitted_spread, positions
from drgnalign.heterogeneity.verdicts import SPREAD

COUNT = 6000


def spread_between(places: np.ndarray, cuts: int, power: float) -> Spread:
    """Of the first two of evenly spaced clusters, to which particles are assigned by what their images show."""
    rng = np.random.default_rng(0)
    noise = 1 / (2 * power * rng.uniform(0.5, 1.5, COUNT))
    shown = places + np.sqrt(noise) * rng.standard_normal(COUNT)
    labels = np.clip(np.round(shown), 0, cuts - 1)
    return fitted_spread(np.stack([shown, noise])[:, labels < 2])


@pytest.mark.parametrize("power", [6.0, 12.0, 40.0])
@pytest.mark.parametrize("cuts", [2, 4])
def test_states_and_a_continuum_are_told_apart_though_labels_follow_the_noise(cuts: int, power: float) -> None:
    rng = np.random.default_rng(1)
    states, filled = rng.integers(0, cuts, COUNT), rng.uniform(-0.5, cuts - 0.5, COUNT)
    assert spread_between(states, cuts, power).most < SPREAD
    assert spread_between(filled, cuts, power).least > SPREAD


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 3.0])
def test_too_little_signal_leaves_it_open(power: float) -> None:
    rng = np.random.default_rng(1)
    for places in (rng.integers(0, 4, COUNT), rng.uniform(-0.5, 3.5, COUNT)):
        found = spread_between(places, 4, power)
        assert found.least <= SPREAD < found.most


def test_images_that_show_nothing_leave_it_open() -> None:
    assert fitted_spread(np.empty((2, 0))) == (0.0, 0.0, 0.5)


def test_a_place_that_no_particle_is_near_to_is_no_division_by_zero() -> None:
    """Images of much contrast know their position so well that the other place has none of them at all."""
    rng = np.random.default_rng(0)
    with np.errstate(all="raise", under="ignore"):
        found = fitted_spread(np.stack([1 + 1e-3 * rng.standard_normal(200), np.full(200, 1e-6)]))
    assert found.likeliest == 0 and found.most < SPREAD


def images(contrast: float, way: np.ndarray) -> np.ndarray:
    """Positions from images of unequal contrast: what the two maps have in common has ten times their difference."""
    rng = np.random.default_rng(2)
    common, first, second = 15 * rng.standard_normal((3, 40)) / np.sqrt(40) * [[1.0], [0.3], [0.3]]
    maps = common + first, common + second
    scale = 1 + contrast * rng.standard_normal(len(way))
    data = scale[:, None] * (way[:, None] * maps[0] + (1 - way[:, None]) * maps[1])
    data += np.sqrt(0.5) * rng.standard_normal(data.shape)
    powers = np.tile([one @ one for one in maps], (len(way), 1))
    apart = np.full(len(way), ((maps[0] - maps[1]) ** 2).sum())
    known = Contrast(1.0, contrast)
    return positions(np.stack([data @ one for one in maps], axis=1), powers, apart, known)


def test_positions_are_those_of_the_particles_with_the_variance_of_noise() -> None:
    way = np.tile([0.0, 0.3, 1.0], COUNT)
    position, noise = images(0.0, way)
    for place in (0.0, 0.3, 1.0):
        mine = position[way == place]
        assert mine.mean() == pytest.approx(place, abs=0.01)
        # how well a position is known depends on where it is, as contrast is fitted too
        assert mine.var() == pytest.approx(noise[way == place].mean(), rel=0.05)


def test_contrast_does_not_look_like_a_change_of_state() -> None:
    found = fitted_spread(images(0.15, np.repeat([0.0, 1.0], COUNT)))
    assert found.most < SPREAD
