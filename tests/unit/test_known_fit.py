"""A map that was turned, shifted, mirrored, scaled and sampled otherwise is found where it was put."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from drgnalign.fourier import rfft_volume
from drgnalign.geometry import angular_distance, evenly_spread_rotations
from drgnalign.known.body import Body, body_of, window
from drgnalign.known.fit import Fit, fit_body, placed
from drgnalign.known.search import Placement, match_of, refined_placement
from drgnalign.known.spectrum import spectrum_of
from drgnalign.maps.mask import particle_mask
from drgnalign.simulate import density_map, phantom_states
from drgnalign.symmetry import point_group

pytestmark = pytest.mark.slow

BOX, PIXEL, DIAMETER, SIGMA = 48, 5.0, 200.0, 4.0
FLIP = np.diag([1.0, 1.0, -1.0])


def map_of(points: np.ndarray, weights: np.ndarray, box: int = BOX, pixel: float = PIXEL) -> np.ndarray:
    return density_map(points, weights, box, pixel, SIGMA)


def body(volume: np.ndarray, pixel: float = PIXEL) -> Body:
    return body_of(volume, pixel, particle_mask(volume, pixel, DIAMETER))


@pytest.fixture(scope="module")
def target() -> Body:
    """The third phantom state with noise."""
    state = phantom_states(3)[2]
    volume = map_of(*state)
    noise = 0.2 * volume.std() * np.random.default_rng(0).standard_normal(volume.shape)
    return body((volume + noise).astype(np.float32))


def fitted(
    target: Body, state: int, seed: int, mirrored: bool, scale: float = 1.0
) -> tuple[Fit, np.ndarray, np.ndarray]:
    """The fit of a state at finer voxels, its true linear map and shift."""
    points, weights = phantom_states(state)[state - 1]
    turn = Rotation.random(random_state=seed).as_matrix() @ (FLIP if mirrored else np.eye(3))
    shift = np.random.default_rng(seed).uniform(-12, 12, 3)
    volume = map_of(points @ turn.T + shift, weights, 64, 4.0)
    reference = body(volume, 4.0 * scale)
    linear = np.linalg.inv(turn) / scale
    return fit_body(target, reference, 2.2 * PIXEL), linear, -linear @ (scale * shift)


@pytest.mark.parametrize(("seed", "mirrored"), [(1, False), (2, True)])
def test_it_is_found_where_it_was_put_with_its_hand(target: Body, seed: int, mirrored: bool) -> None:
    fit, linear, shift = fitted(target, 3, seed, mirrored)
    assert fit.claimed and fit.hand_decided and fit.mirrored == mirrored
    sign = -1 if mirrored else 1
    assert angular_distance(fit.rotation[None], sign * linear[None])[0] < 0.5
    assert_allclose(fit.shift, shift, atol=0.1 * PIXEL)
    assert fit.scale == pytest.approx(1, abs=0.005)


def test_voxels_that_are_not_what_the_header_says_are_told(target: Body) -> None:
    fit, linear, shift = fitted(target, 3, 5, False, scale=1.04)
    assert fit.scale == pytest.approx(1 / 1.04, abs=0.003)
    assert_allclose(fit.linear, linear, atol=0.01)
    assert_allclose(fit.shift, shift, atol=0.1 * PIXEL)


def test_another_state_is_found_too(target: Body) -> None:
    fit, linear, _ = fitted(target, 1, 6, False)
    assert fit.claimed and not fit.mirrored
    assert angular_distance(fit.rotation[None], linear[None])[0] < 2


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_something_else_is_not_claimed(target: Body, seed: int) -> None:
    """Blobs in a ball of the same size."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((80, 3))
    points *= (75 * rng.uniform(size=(80, 1)) ** (1 / 3)) / np.linalg.norm(points, axis=1, keepdims=True)
    fit = fit_body(target, body(map_of(points, rng.uniform(0.5, 1.5, 80))), 2.2 * PIXEL)
    assert not fit.claimed and not fit.hand_decided


def test_a_body_without_hand_has_none() -> None:
    """A flat ring of blobs is its own mirror image."""
    angles = np.array([0, 40, 95, 160, 250, 300])
    points = 60 * np.stack([np.cos(np.radians(angles)), np.sin(np.radians(angles)), 0 * angles], axis=1)
    volume = map_of(points, np.linspace(1, 2, len(points)))
    turned = map_of(points @ Rotation.random(random_state=0).as_matrix().T, np.linspace(1, 2, len(points)))
    fit = fit_body(body(volume), body(turned), 2.2 * PIXEL)
    assert fit.claimed and not fit.hand_decided


def test_a_symmetric_body_is_found_in_one_of_its_places() -> None:
    """Four turned copies of crooked blobs: equivalent places agree as well, and are no reason to doubt."""
    rng = np.random.default_rng(3)
    blobs = rng.uniform([15, 0, -60], [80, 60, 60], (12, 3))
    points = np.concatenate([blobs @ turn.T for turn in point_group("C4")])
    weights = np.tile(rng.uniform(0.5, 1.5, len(blobs)), 4)
    turn = Rotation.random(random_state=8).as_matrix() @ FLIP
    fit = fit_body(body(map_of(points, weights)), body(map_of(points @ turn.T, weights)), 2.2 * PIXEL)
    assert fit.claimed and fit.hand_decided and fit.mirrored
    equivalent = point_group("C4") @ np.linalg.inv(turn)
    assert angular_distance(np.broadcast_to(-fit.rotation, equivalent.shape), equivalent).min() < 1


def test_what_is_placed_is_the_map(target: Body) -> None:
    """Turned, mirrored, scaled and shifted by its transform as the points of it are."""
    points, weights = phantom_states(2)[1]
    turn = Rotation.random(random_state=7).as_matrix()
    fit = Fit(turn, np.array([6.0, -4.0, 3.0]), True, 1.05, 10.0, 1.0, 0.0, 0.01, 0.0)
    found = placed(map_of(points, weights, 60, 4.0), 4.0, fit, BOX, PIXEL)
    # both are of weight a volume; a wider blur goes with the scale
    wanted = (
        density_map(points @ fit.linear.T + fit.shift, weights, BOX, PIXEL, SIGMA * 1.05) / PIXEL**3 * 4.0**3 * 1.05**3
    )
    # what is linearly interpolated is right to a few per cent
    assert np.abs(found - wanted).max() < 0.05 * wanted.max()
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.998


@settings(deadline=None, max_examples=20)
@given(
    rotation=st.tuples(*[st.floats(-0.05, 0.05)] * 3),
    shift=st.tuples(*[st.floats(-4, 4)] * 3),
    mirrored=st.booleans(),
)
def test_refinement_ends_where_both_agree(
    rotation: tuple[float, ...], shift: tuple[float, ...], mirrored: bool
) -> None:
    volume = map_of(*phantom_states(1)[0])
    known = body(volume)
    data, spectrum = known.coefficients(0.05), known.spectrum(0.06)
    if mirrored:
        data = data[0], data[1].conj()
    start = Placement(Rotation.from_rotvec(rotation).as_matrix(), np.array(shift), mirrored)
    found = refined_placement(start, data, spectrum)
    assert found.match > 0.99 > match_of(Placement(np.eye(3), np.full(3, 15.0), mirrored), data, spectrum)
    assert_allclose(found.rotation, np.eye(3), atol=0.01)
    assert_allclose(found.shift, 0, atol=0.5)


def test_a_spectrum_is_the_transform_at_every_frequency() -> None:
    volume = map_of(*phantom_states(1)[0])
    spectrum = spectrum_of(volume, PIXEL, 0.08, 2.0)
    # linear interpolation is right to a few per cent where the particle fills its box as here
    exact = rfft_volume(volume) * PIXEL**3
    axis = np.fft.fftfreq(BOX, PIXEL)
    rng = np.random.default_rng(0)
    index = rng.integers(0, 10, (50, 3)) * rng.choice([-1, 1], (50, 3))
    index[:, 0] = np.abs(index[:, 0])
    wanted = exact[index[:, 2], index[:, 1], index[:, 0]]
    frequencies = axis[index]
    assert_allclose(spectrum.at(frequencies), wanted, atol=0.04 * np.abs(exact).max())
    assert_allclose(spectrum.at(-frequencies), wanted.conj(), atol=0.04 * np.abs(exact).max())
    between = frequencies + rng.uniform(-0.002, 0.002, (50, 3))
    slopes = spectrum.with_gradients(between)[1]
    step = 1e-5
    for direction in range(3):
        ahead, behind = between.copy(), between.copy()
        ahead[:, direction] += step
        behind[:, direction] -= step
        numeric = (spectrum.at(ahead) - spectrum.at(behind)) / (2 * step)
        # within one Fourier voxel, where interpolation has one slope along its own axis
        same = (np.floor(ahead * spectrum.field) == np.floor(behind * spectrum.field)).all(axis=1)
        assert_allclose(slopes[same, direction], numeric[same], atol=0.02 * np.abs(slopes).max())


def test_rotations_are_spread_evenly() -> None:
    """No rotation is farther from the nearest than the mean distance of as many random ones is near."""
    known = Rotation.from_matrix(evenly_spread_rotations(2000)).as_quat()
    asked = Rotation.random(500, random_state=0).as_quat()
    nearest = 2 * np.degrees(np.arccos(np.clip(np.abs(asked @ known.T).max(axis=1), 0, 1)))
    assert nearest.max() < 18


def test_a_window_may_leave_the_volume() -> None:
    volume = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    found = window(volume, np.array([0, 1, 2]), 4)
    assert found.shape == (4, 4, 4)
    assert found[2, 2, 2] == volume[0, 1, 2]
    assert found[:2].max() == 0 and found[:, :, 3].max() == 0
