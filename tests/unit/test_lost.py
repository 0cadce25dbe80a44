"""Poses that are looked for before a particle is left out, and what is believed of what is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from drgnalign.engine.noise import estimate_noise
from drgnalign.formats.mrc import ImageSource
from drgnalign.geometry import angular_distance
from drgnalign.heterogeneity.assign import Assigner, AssignmentSettings
from drgnalign.heterogeneity.lost import FALSE, margin_beyond_luck, with_found_poses
from drgnalign.heterogeneity.states import find_states
from drgnalign.particles import SEARCHED, Particles
from drgnalign.simulate import Nuisances

pytestmark = pytest.mark.slow

BOX, PIXEL, LIMIT, DIAMETER = 32, 8.0, 18.0, 200.0


@pytest.fixture(scope="module")
def lost(simulate: Callable) -> Any:
    """Of 900 particles in two states, a sixth have random poses."""
    return simulate(900, BOX, PIXEL, states=2, snr=0.3, nuisances=Nuisances(random_poses=0.16))


def states_of(data: Any, given: Particles) -> Any:
    source = ImageSource(given, data.folder)
    noise = estimate_noise(given, source, DIAMETER)
    assigner = Assigner(given, source, noise, AssignmentSettings(LIMIT, DIAMETER))
    return find_states(assigner, [data.truth.cluster_labels()], None)


def test_assignment_looks_for_the_poses_of_those_that_it_would_leave_out(lost: Any) -> None:
    found = states_of(lost, lost.given)
    out, bad = found.kept.assignment.left_out, (lost.truth.table["drgnTrueLost"] != "no").to_numpy()
    moved = with_found_poses(lost.given, found.particles, found.brought_back)
    errors = angular_distance(lost.truth.rotations(), moved.rotations())
    back = found.brought_back
    assert back[bad].mean() > 0.3
    assert (errors[back & bad] < 10).mean() > 0.85
    assert (out | (errors < 10))[bad].mean() > 0.9
    same = ~back
    assert_array_equal(moved.rotations()[same], lost.given.rotations()[same])


def test_no_pose_is_looked_for_twice(lost: Any) -> None:
    given = replace(lost.given, table=lost.given.table.assign(**{SEARCHED: 1}))
    found = states_of(lost, given)
    assert found.kept.assignment.left_out.sum() > 100
    assert not found.searched.any()
    assert_array_equal(found.particles.rotations(), given.rotations())


def believed(gains: np.ndarray, decoys: np.ndarray) -> np.ndarray:
    return gains - decoys >= margin_beyond_luck(gains, decoys)


def test_no_more_matches_are_believed_than_luck_leaves() -> None:
    rng = np.random.default_rng(2)
    luck, decoys = rng.normal(10, 2, (2, 1000))
    assert believed(luck, decoys).mean() < 0.02
    gains = np.concatenate([luck, rng.normal(40, 5, 500)])
    found = believed(gains, np.concatenate([decoys, rng.normal(10, 2, 500)]))
    assert found[1000:].all()
    assert found[:1000].sum() <= 1.5 * FALSE * found.sum()
    assert margin_beyond_luck(np.zeros(0), np.zeros(0)) == np.inf


def test_a_match_is_held_against_the_decoy_of_its_own_image() -> None:
    """Whatever an image's contrast adds to both."""
    rng = np.random.default_rng(3)
    contrast = rng.uniform(0, 100, 300)
    found = believed(contrast + rng.normal(20, 3, 300), contrast + rng.normal(0, 3, 300))
    assert found.mean() > 0.9
