"""Q-scores of atoms whose densities are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from drgnalign.known.q_score import DIRECTIONS, POINTS, RADII, SIGMA, q_scores, spread_directions

BOX, PIXEL = 80, 0.25


def gaussians(centres: np.ndarray, sigma: float) -> np.ndarray:
    axis = (np.arange(BOX) - BOX // 2) * PIXEL
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    places = np.stack([x, y, z], axis=-1)
    return sum(np.exp(-0.5 * ((places - one) ** 2).sum(axis=-1) / sigma**2) for one in centres).astype(np.float32)


def expected(sigma: float, weights: np.ndarray | None = None) -> float:
    """Of one atom whose density is a Gaussian: the correlation of two Gaussians over the radii."""
    mine, reference = (np.exp(-0.5 * (RADII / width) ** 2) for width in (sigma, SIGMA))
    return float(np.corrcoef(mine, reference)[0, 1])


@pytest.mark.parametrize("sigma", [0.6, 0.9, 1.5, 3.0])
def test_a_lone_atom_has_the_score_of_its_width(sigma: float) -> None:
    centre = np.array([[0.31, -0.12, 0.4]])
    found = q_scores(gaussians(centre, sigma), PIXEL, centre)[0]
    assert found == pytest.approx(expected(sigma), abs=0.01)


def test_the_score_does_not_know_grey_values() -> None:
    centre = np.zeros((1, 3))
    volume = gaussians(centre, 1.0)
    assert_allclose(q_scores(volume * 7 - 2, PIXEL, centre), q_scores(volume, PIXEL, centre), atol=1e-5)
    assert_allclose(q_scores(-volume, PIXEL, centre), -q_scores(volume, PIXEL, centre), atol=1e-6)


def test_two_atoms_at_a_bond_are_each_seen_alone() -> None:
    """Points nearer to the other atom are not asked: the other's density raises the score little."""
    centres = np.array([[-0.75, 0, 0], [0.75, 0, 0]])
    found = q_scores(gaussians(centres, SIGMA), PIXEL, centres)
    assert (found > 0.95).all()
    assert_allclose(found[0], found[1], atol=0.03)


def test_no_point_is_nearer_to_another_atom() -> None:
    """Density that is only where another atom is nearer leaves the score of the first as it was."""
    centres = np.array([[-1.0, 0, 0], [1.0, 0, 0]])
    volume = gaussians(centres[:1], SIGMA)
    axis = (np.arange(BOX) - BOX // 2) * PIXEL
    disturbed = volume.copy()
    # interpolation reaches one voxel across the border
    disturbed[:, :, axis > PIXEL] = 5
    assert q_scores(disturbed, PIXEL, centres)[0] == q_scores(volume, PIXEL, centres)[0]
    assert q_scores(disturbed, PIXEL, centres[:1])[0] < 0.5


def test_an_atom_in_noise_has_none() -> None:
    rng = np.random.default_rng(0)
    volume = rng.standard_normal((BOX,) * 3).astype(np.float32)
    found = q_scores(volume, PIXEL, rng.uniform(-6, 6, (200, 3)))
    assert abs(float(np.nanmean(found))) < 0.05


def test_a_misplaced_atom_scores_less() -> None:
    centre = np.zeros((1, 3))
    volume = gaussians(centre, SIGMA)
    scores = [q_scores(volume, PIXEL, centre + np.array([shift, 0, 0]))[0] for shift in (0, 0.4, 0.8, 1.6)]
    assert (np.diff(scores) < -0.03).all()


def test_directions_are_spread_however_many_are_taken() -> None:
    directions = spread_directions(DIRECTIONS)
    assert_allclose(np.linalg.norm(directions, axis=1), 1)
    for count in (POINTS, DIRECTIONS):
        assert np.linalg.norm(directions[:count].mean(axis=0)) < 0.3
        cosines = directions[:count] @ directions[:count].T - 2 * np.eye(count)
        # farther apart than a third of what evenly spread ones would be
        assert np.degrees(np.arccos(cosines.max())) > 0.3 * np.degrees(np.sqrt(4 * np.pi / count))
