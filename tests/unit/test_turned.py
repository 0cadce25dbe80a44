"""What two clusters differ by: the pose of one and the same particle, or its density."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from drgnalign.heterogeneity.turned import RIGID, turns_between
from drgnalign.maps.mask import soft_sphere
from drgnalign.simulate import Specimen, density_map, phantom_states

BOX, PIXEL = 48, 6.0
BODY, WITH_LOBE = phantom_states(2)
MASK = soft_sphere(BOX, PIXEL, 230.0)


def maps_of(specimen: Specimen, noise: float, seed: int, degrees: float = 0.0, shift: float = 0.0):
    """Half maps of it turned about an axis that is none of the box's, and moved; noise is in units of its own σ."""
    turn = Rotation.from_rotvec(np.radians(degrees) * np.array([0.48, 0.6, 0.64]))
    places = turn.apply(specimen.points) + np.array([shift, 0.0, 0.0])
    density = density_map(places, specimen.weights, BOX, PIXEL, PIXEL)
    rng = np.random.default_rng(seed)
    made = [density + noise * density.std() * rng.standard_normal(density.shape) for _ in range(2)]
    return tuple(one.astype(np.float32) for one in made)


@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize(("degrees", "shift"), [(3.0, 0.0), (-6.0, 0.0), (0.0, 4.0), (4.0, 3.0)])
def test_one_particle_at_two_poses(noise: float, degrees: float, shift: float) -> None:
    halves = {1: maps_of(BODY, noise, 0), 4: maps_of(BODY, noise, 1, degrees, shift)}
    assert turns_between(halves, MASK, PIXEL)[1, 4].share > 0.8


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_two_particles_also_where_their_poses_differ_besides(noise: float) -> None:
    halves = {7: maps_of(WITH_LOBE, noise, 0), 2: maps_of(BODY, noise, 1), 3: maps_of(BODY, noise, 2, 2.0)}
    shares = {pair: turn.share for pair, turn in turns_between(halves, MASK, PIXEL).items()}
    assert list(shares) == [(2, 3), (2, 7), (3, 7)]
    assert shares[2, 7] < 0.1 and shares[3, 7] < RIGID < shares[2, 3]


def test_where_there_is_no_difference_none_is_a_turn() -> None:
    first, second = maps_of(BODY, 0.0, 0)
    assert turns_between({1: (first, second), 2: (first, second)}, MASK, PIXEL)[1, 2].share == 0
