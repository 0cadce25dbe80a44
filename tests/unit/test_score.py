"""Scores of estimates whose errors are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from drgnalign.errors import InputError
from drgnalign.particles import Particles
from drgnalign.simulate import perturbations
from drgnalign.truth.score import score_particles, shift_errors

PIXEL = 8.0


@pytest.fixture(scope="module")
def truth(noisy_set) -> Particles:
    return noisy_set.truth


def moved(truth: Particles, turn: Rotation, translation: np.ndarray) -> Particles:
    """The same poses against a volume that is turned by `turn⁻¹` and moved by `translation` px before that."""
    rotations = truth.rotations()
    displacements = truth.displacements() + (np.swapaxes(rotations, 1, 2) @ translation)[:, :2]
    return truth.with_poses(turn.as_matrix() @ rotations, displacements)


def test_the_truth_has_no_errors(truth: Particles) -> None:
    result = score_particles(truth, truth)
    for errors in (result["rotation_degrees"], result["shift_angstrom"]):
        assert_allclose(list(errors.values()), 0, atol=1e-5)
    assert result["global_rotation_degrees"] == pytest.approx(0, abs=1e-5)
    assert result["label_ari"] == 1
    assert result["unassigned"] == 0


def test_injected_errors_are_found_again(truth: Particles) -> None:
    turns, shifts = perturbations(np.random.default_rng(0), len(truth), 3.0, 0.5)
    estimate = truth.with_poses(truth.rotations() @ turns, truth.displacements() + shifts)
    result = score_particles(truth, estimate)
    angles = np.degrees(Rotation.from_matrix(turns).magnitude())
    lengths = np.linalg.norm(shifts, axis=1) * PIXEL
    for found, injected in ((result["rotation_degrees"], angles), (result["shift_angstrom"], lengths)):
        assert found["median"] == pytest.approx(np.median(injected), rel=0.06)
        assert found["p90"] == pytest.approx(np.percentile(injected, 90), rel=0.06)
        assert found["mean"] == pytest.approx(np.mean(injected), rel=0.06)
    assert result["rotation_degrees"]["median"] == pytest.approx(3.0, rel=0.15)
    assert result["shift_angstrom"]["median"] == pytest.approx(4.0, rel=0.15)


def test_one_rotation_and_one_translation_of_the_volume_are_no_errors(truth: Particles) -> None:
    turn = Rotation.from_rotvec(np.radians([10.0, -20.0, 15.0]))
    result = score_particles(truth, moved(truth, turn, np.array([1.5, -2.0, 0.7])))
    assert result["rotation_degrees"]["mean"] == pytest.approx(0, abs=1e-4)
    assert result["shift_angstrom"]["mean"] == pytest.approx(0, abs=1e-6)
    assert result["global_rotation_degrees"] == pytest.approx(np.degrees(turn.magnitude()), abs=1e-4)


def test_a_common_shift_of_all_images_is_an_error(truth: Particles) -> None:
    """It is no translation of the volume, which moves particles of different views to different sides."""
    estimate = truth.with_poses(truth.rotations(), truth.displacements() + np.array([1.0, 0.0]))
    assert np.median(shift_errors(truth, estimate)) > 0.7


def test_a_rotation_of_all_images_in_their_planes_is_an_error(truth: Particles) -> None:
    turn = Rotation.from_euler("Z", 10, degrees=True).as_matrix()
    result = score_particles(truth, truth.with_poses(truth.rotations() @ turn, truth.displacements()))
    assert result["rotation_degrees"]["median"] > 5


def test_errors_of_each_state(truth: Particles) -> None:
    second = truth.cluster_labels() == 2
    turns = np.tile(np.eye(3), (len(truth), 1, 1))
    axes = np.random.default_rng(0).standard_normal((int(second.sum()), 3))
    axes *= np.radians(5) / np.linalg.norm(axes, axis=1, keepdims=True)
    turns[second] = Rotation.from_rotvec(axes).as_matrix()
    states = score_particles(truth, truth.with_poses(truth.rotations() @ turns, truth.displacements()))["states"]
    assert {state: values["particles"] for state, values in states.items()} == {1: 150, 2: 150}
    assert states[1]["rotation_median_degrees"] < 0.3
    assert states[2]["rotation_median_degrees"] == pytest.approx(5, abs=0.3)


def test_labels_are_compared_by_groups_not_by_names(truth: Particles) -> None:
    estimate = truth.select(np.arange(len(truth)))
    estimate.table["rlnClassNumber"] = np.where(truth.cluster_labels() == 1, 9, 4)
    assert score_particles(truth, estimate)["label_ari"] == 1
    estimate.table["rlnClassNumber"] = np.random.default_rng(0).integers(1, 3, len(truth))
    assert abs(score_particles(truth, estimate)["label_ari"]) < 0.05


def test_particles_without_a_label_are_counted_and_left_out(truth: Particles) -> None:
    estimate = truth.select(np.arange(len(truth)))
    estimate.table.loc[:39, "rlnClassNumber"] = 0
    result = score_particles(truth, estimate)
    assert (result["label_ari"], result["unassigned"]) == (1, 40)
    estimate.table["rlnClassNumber"] = 0
    result = score_particles(truth, estimate)
    assert (result["label_ari"], result["unassigned"]) == (None, 300)


def test_some_of_the_images_in_any_order_are_scored(truth: Particles) -> None:
    some = truth.select(np.arange(300)[::-3])
    result = score_particles(truth, some)
    assert (result["particles"], result["true_particles"], result["label_ari"]) == (100, 300, 1)
    assert result["rotation_degrees"]["p90"] < 1e-4 and result["shift_angstrom"]["p90"] < 1e-4


def test_files_of_other_images_are_refused(truth: Particles) -> None:
    with pytest.raises(InputError, match=r"row 300 names an image that .* does not have"):
        score_particles(truth.select(np.arange(299)), truth)
    twice = truth.select(np.r_[0, np.arange(300)])
    with pytest.raises(InputError, match="holds an image twice"):
        score_particles(twice, truth)
    assert score_particles(twice, twice)["particles"] == 301


def test_junk_has_no_pose_and_is_found_or_not(truth: Particles) -> None:
    truth = truth.select(np.arange(8))
    kind = ["no", "empty", "no", "broken", "no", "no", "no", "no"]
    truth.table["drgnTrueJunk"] = kind
    estimate = truth.with_poses(truth.rotations(), truth.displacements())
    turned = estimate.table.loc[[1, 3], "rlnAngleRot"] + 90.0
    estimate.table.loc[[1, 3], "rlnAngleRot"] = turned
    estimate.table["drgnLeftOut"] = [0, 1, 1, 0, 0, 0, 0, 0]
    result = score_particles(truth, estimate)
    assert result["rotation_degrees"]["mean"] < 1e-3 and result["particles"] == 8
    assert result["junk"] == {"particles": 2, "found": 0.5, "good_left_out": 1 / 6}
    assert sum(state["particles"] for state in result["states"].values()) == 6
    truth.table["drgnTrueJunk"] = "empty"
    with pytest.raises(InputError, match="all its images are junk"):
        score_particles(truth, estimate)


def test_what_an_estimate_lacks(truth: Particles) -> None:
    """Without classes there are no labels; without poses there is nothing to score."""
    bare = replace(truth, table=truth.table.drop(columns="rlnClassNumber"))
    result = score_particles(truth, bare)
    assert result["label_ari"] is None and result["unassigned"] == len(truth)
    with pytest.raises(InputError, match="has no true states"):
        score_particles(bare, truth)
    for column, message in (("rlnAngleRot", "pose columns rlnAngleRot"), ("rlnOriginXAngst", "rlnOriginXAngst")):
        with pytest.raises(InputError, match=message):
            score_particles(truth, replace(truth, table=truth.table.drop(columns=column)))
    nan = replace(truth, table=truth.table.assign(rlnAngleRot=np.nan))
    with pytest.raises(InputError, match="row 1: rlnAngleRot is not a finite number"):
        score_particles(truth, nan)
