"""Angles and rotations: worked examples, round trips, and which side a rotation acts on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from drgnalign.geometry import angular_distance, euler_to_matrix, global_rotation, matrix_to_euler

turns = st.floats(-180.0, 180.0)
tilts = st.one_of(st.sampled_from([0.0, 1e-12, 1e-7, 1e-4, 180.0 - 1e-4, 180.0 - 1e-7, 180.0]), st.floats(0.0, 180.0))


def test_worked_example() -> None:
    # The transpose of the matrix that cryoDRGN has for these angles.
    expected = [
        [-0.229983, 0.371333, 0.899566],
        [0.912753, 0.402980, 0.067007],
        [-0.337625, 0.836492, -0.431613],
    ]
    np.testing.assert_allclose(euler_to_matrix([4.26], [115.57], [68.02]), [expected], atol=1e-6)


@pytest.mark.parametrize(
    ("angles", "x_axis", "y_axis", "view"),
    [
        ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)),
        ((90, 0, 0), (0, 1, 0), (-1, 0, 0), (0, 0, 1)),
        ((0, 90, 0), (0, 0, -1), (0, 1, 0), (1, 0, 0)),
        ((0, 0, 90), (0, 1, 0), (-1, 0, 0), (0, 0, 1)),
        ((90, 90, 0), (0, 0, -1), (-1, 0, 0), (0, 1, 0)),
        ((0, 90, 90), (0, 1, 0), (0, 0, 1), (1, 0, 0)),
    ],
)
def test_where_the_image_axes_lie_in_the_volume(angles: tuple, x_axis: tuple, y_axis: tuple, view: tuple) -> None:
    matrix = euler_to_matrix(*([angle] for angle in angles))[0]
    np.testing.assert_allclose(matrix.T, [x_axis, y_axis, view], atol=1e-12)


@given(rot=turns, tilt=tilts, psi=turns)
@example(rot=30.0, tilt=0.0, psi=50.0)
@example(rot=30.0, tilt=180.0, psi=50.0)
def test_euler_round_trip(rot: float, tilt: float, psi: float) -> None:
    matrix = euler_to_matrix([rot], [tilt], [psi])
    angles = matrix_to_euler(matrix)
    np.testing.assert_allclose(euler_to_matrix(*angles), matrix, atol=3e-9)
    assert 0 <= angles[1][0] <= 180
    assert angles[1][0] == pytest.approx(tilt, abs=1e-6)


@given(rot=turns, tilt=st.floats(0.01, 179.99), psi=turns)
def test_all_three_angles_come_back_where_they_are_determined(rot: float, tilt: float, psi: float) -> None:
    found = np.array(matrix_to_euler(euler_to_matrix([rot], [tilt], [psi])))[:, 0]
    difference = (found - [rot, tilt, psi] + 180) % 360 - 180
    np.testing.assert_allclose(difference, 0, atol=1e-6)


def test_at_the_poles_psi_is_zero_and_rot_takes_all() -> None:
    rot, tilt, psi = matrix_to_euler(euler_to_matrix([30.0, 30.0], [0.0, 180.0], [50.0, 50.0]))
    np.testing.assert_allclose(rot, [80.0, -20.0], atol=1e-9)
    np.testing.assert_allclose(tilt, [0.0, 180.0], atol=1e-9)
    np.testing.assert_array_equal(psi, [0.0, 0.0])


@pytest.mark.parametrize("degrees", [0.0, 1e-5, 3.0, 90.0, 179.0, 180.0])
def test_angular_distance_is_the_angle_between(degrees: float) -> None:
    rng = np.random.default_rng(0)
    first = Rotation.random(20, rng)
    axes = rng.standard_normal((20, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    second = first * Rotation.from_rotvec(np.radians(degrees) * axes)
    distance = angular_distance(first.as_matrix(), second.as_matrix())
    np.testing.assert_allclose(distance, degrees, atol=1e-6)
    np.testing.assert_allclose(angular_distance(second.as_matrix(), first.as_matrix()), distance, atol=1e-9)


def test_global_rotation_is_found_among_outliers() -> None:
    rng = np.random.default_rng(1)
    truth = Rotation.random(500, rng)
    turn = Rotation.from_rotvec(np.radians([20.0, -35.0, 10.0]))
    errors = Rotation.from_rotvec(np.radians(0.5) * rng.standard_normal((500, 3)))
    estimate = (turn.inv() * truth * errors).as_matrix()
    estimate[:150] = Rotation.random(150, rng).as_matrix()
    found = global_rotation(truth.as_matrix(), estimate)
    assert angular_distance(found[None], turn.as_matrix()[None])[0] < 0.2
    assert np.median(angular_distance(truth.as_matrix(), found @ estimate)) < 1.5
