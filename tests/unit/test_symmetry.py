"""Point groups: their elements, their settings, and what a reconstruction makes of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from drgnalign.engine.reconstruct import insert_particles
from drgnalign.errors import InputError
from drgnalign.fourier import soft_sphere
from drgnalign.simulate import Specimen, density_map, phantom_states, simulate_set
from drgnalign.symmetry import point_group
from drgnalign.validation.fsc import fourier_shell_correlation

ORDERS = {"C1": 1, "C5": 5, "c12": 12, "D1": 2, "D2": 4, "d7": 14, "T": 12, "O": 24, "I": 60, "I1": 60, "I2": 60}


def has(group: np.ndarray, degrees: float, axis: list[float]) -> bool:
    vector = np.radians(degrees) * np.array(axis) / np.linalg.norm(axis)
    return bool((np.abs(group - Rotation.from_rotvec(vector).as_matrix()).max(axis=(1, 2)) < 1e-9).any())


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_a_group_is_one(name: str, order: int) -> None:
    group = point_group(name)
    assert len(group) == order
    assert_allclose(group[0], np.eye(3))
    assert_allclose(np.linalg.det(group), 1)
    products = np.einsum("aij,bjk->abik", group, group).reshape(-1, 3, 3)
    distances = np.abs(products[:, None] - group[None]).max(axis=(2, 3)).min(axis=1)
    assert distances.max() < 1e-9


@pytest.mark.parametrize(
    ("name", "library"), [("T", "T"), ("O", "O"), ("I1", "I"), ("I2", "I"), ("D7", "D7"), ("C5", "C5")]
)
def test_the_turns_are_those_of_the_group_in_any_setting(name: str, library: str) -> None:
    ours, theirs = Rotation.from_matrix(point_group(name)), Rotation.create_group(library)
    assert_allclose(np.sort(ours.magnitude()), np.sort(theirs.magnitude()), atol=1e-9)


def test_the_settings_are_relions() -> None:
    assert has(point_group("D3"), 180, [1, 0, 0])
    assert has(point_group("T"), 120, [0, 0, 1])
    assert has(point_group("T"), 180, [0, 0.816496580928, 0.577350269190])
    assert has(point_group("O"), 90, [0, 0, 1])
    assert has(point_group("O"), 120, [0.5773502, 0.5773502, 0.5773502])
    for name in ("I1", "I2"):
        assert all(has(point_group(name), 180, axis) for axis in np.eye(3).tolist())
    assert has(point_group("I2"), 72, [0.525731112119, 0, 0.850650808352])
    assert has(point_group("I2"), 120, [0, 0.356822089773, 0.934172358963])
    assert has(point_group("I1"), 72, [0.850650808352, 0, -0.525731112119])
    assert has(point_group("I1"), 120, [0.934172358963, 0.356822089773, 0])


@pytest.mark.parametrize("name", ["", "C0", "X3", "C100", "I3", "C1 "])
def test_there_are_no_other_groups(name: str) -> None:
    with pytest.raises(InputError, match="no point group"):
        point_group(name)


def symmetric(name: str) -> Specimen:
    """The phantom's body, moved aside, and its copies."""
    body = phantom_states(1)[0]
    points = 0.4 * body.points + np.array([45.0, 10.0, 20.0])
    group = point_group(name)
    return Specimen(np.concatenate([points @ g.T for g in group]), np.tile(body.weights, len(group)))


@pytest.mark.parametrize("name", ["C3", "D2", "T", "O", "I2"])
def test_few_particles_make_a_symmetric_map(
    name: str, simulate: Callable, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A reconstruction with the symmetry is nearer to the truth than one without, and is symmetric."""
    from drgnalign.formats.mrc import ImageSource, read_volume
    from drgnalign.formats.star import read_star

    folder = tmp_path_factory.mktemp("symmetric")
    simulate_set(folder, [symmetric(name)], [1.0], 40, 32, 8.0, snr=1.0, seed=1)
    truth, (volume, _) = read_star(folder / "truth.star"), read_volume(folder / "state_01.mrc")
    source, noise = ImageSource(truth, folder), np.full((1, 17), 32.0**2)
    ball = soft_sphere(32, 11, 3)
    near = {}
    for group in ("C1", name):
        sums = insert_particles(truth, source, noise, 2.0, point_group(group))
        made = (sums.half_map(1) + sums.half_map(2)) * ball
        near[group] = fourier_shell_correlation(made, volume * ball)[1:12].mean()
    assert near[name] > near["C1"] + 0.02
    element = point_group(name)[-1]
    turned = rotated_about_centre(made, element)
    assert np.corrcoef(turned.ravel(), made.ravel())[0, 1] > 0.97


def rotated_about_centre(volume: np.ndarray, element: np.ndarray) -> np.ndarray:
    """V(g⁻¹ x)."""
    from scipy.ndimage import affine_transform

    centre = np.full(3, volume.shape[0] // 2)
    flipped = element.T[::-1, ::-1]  # axes are z, y, x
    return affine_transform(volume, flipped, centre - flipped @ centre, order=3)


def test_the_specimen_of_these_tests_is_symmetric() -> None:
    specimen = symmetric("D2")
    volume = density_map(specimen.points, specimen.weights, 32, 8.0, 1.5)
    assert np.corrcoef(rotated_about_centre(volume, point_group("D2")[-1]).ravel(), volume.ravel())[0, 1] > 0.97
