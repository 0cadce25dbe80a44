"""Junk and lost poses among particles whose truth is known, and the search of all orientations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from sklearn.metrics import adjusted_rand_score

from drgnalign.engine.noise import estimate_noise
from drgnalign.engine.reference import transform_reference
from drgnalign.engine.search import ROTATIONS, evenly_spread_rotations, wide_search
from drgnalign.formats.mrc import ImageSource
from drgnalign.geometry import angular_distance
from drgnalign.heterogeneity.assign import Assigner, AssignmentSettings
from drgnalign.heterogeneity.screen import Screening, screened
from drgnalign.heterogeneity.states import find_states
from drgnalign.simulate import Nuisances, Specimen, phantom_states

pytestmark = pytest.mark.slow

BOX, PIXEL, LIMIT, DIAMETER = 32, 8.0, 18.0, 200.0


@pytest.fixture(scope="module")
def dirty(simulate: Callable) -> Any:
    """Of 900 particles, a fifth are empty and a tenth of the others have random poses."""
    return simulate(900, BOX, PIXEL, snr=0.3, nuisances=Nuisances(empty=0.2, random_poses=0.1))


@pytest.fixture(scope="module")
def clean(simulate: Callable) -> Any:
    return simulate(400, BOX, PIXEL, snr=0.3, nuisances=Nuisances(contrast=0.2))


def assigner_of(data: Any) -> Assigner:
    source = ImageSource(data.given, data.folder)
    noise = estimate_noise(data.given, source, DIAMETER)
    return Assigner(data.given, source, noise, AssignmentSettings(LIMIT, DIAMETER))


def screening_of(data: Any) -> Screening:
    return screened(assigner_of(data))


def test_no_orientation_is_far_from_those_tried() -> None:
    grid = Rotation.from_matrix(evenly_spread_rotations(ROTATIONS))
    anywhere = Rotation.random(200, np.random.default_rng(0))
    cosines = np.abs(anywhere.as_quat() @ grid.as_quat().T).max(axis=1)
    assert np.degrees(2 * np.arccos(np.minimum(cosines, 1))).max() < 13


def test_lost_poses_are_found_again(clean: Any) -> None:
    """From random ones, with the true map."""
    some = clean.truth.select(np.arange(60))
    ones, every = np.ones_like(clean.volume), np.ones(BOX // 2 + 1)
    reference = transform_reference(clean.volume, ones, every, PIXEL, LIMIT, 1.5)
    lost = some.with_poses(Rotation.random(60, np.random.default_rng(1)).as_matrix(), some.displacements())
    source = ImageSource(lost, clean.folder)
    found = wide_search(lost, source, {1: reference, 2: reference}, clean.white_noise, LIMIT)
    errors = angular_distance(some.rotations(), found.rotations())
    assert (errors < 10).mean() > 0.9
    assert np.median(np.linalg.norm(found.displacements() - some.displacements(), axis=1)) < 0.5


def test_empty_images_are_left_out_and_lost_poses_brought_back(dirty: Any) -> None:
    found, truth = screening_of(dirty), dirty.truth.table
    empty = (truth["drgnTrueJunk"] == "empty").to_numpy()
    lost = ~empty & (truth["drgnTrueLost"] != "no").to_numpy()
    good, out = ~empty & ~lost, found.outcome.left_out
    errors = angular_distance(dirty.truth.rotations(), found.particles.rotations())
    assert out[empty].mean() > 0.95
    assert out[good].mean() < 0.01
    assert (out | (errors < 10))[lost].mean() > 0.85
    assert (errors[found.brought_back & lost] < 10).mean() > 0.8
    # images of 32 px have few details, by which alone a found pose is told from luck
    assert found.brought_back[lost].mean() > 0.3
    assert found.record.left_out == out.sum()
    # who was not looked for keeps the pose given
    kept = ~found.brought_back
    np.testing.assert_array_equal(found.particles.rotations()[kept], dirty.given.rotations()[kept])


def test_before_poses_are_refined_junk_alone_is_looked_for(dirty: Any) -> None:
    found = screened(assigner_of(dirty), keep_poses=True)
    empty = (dirty.truth.table["drgnTrueJunk"] == "empty").to_numpy()
    good = ~empty & (dirty.truth.table["drgnTrueLost"] == "no").to_numpy()
    assert found.outcome.left_out[empty].mean() > 0.95 and found.outcome.left_out[good].mean() < 0.01
    assert (found.record.searched, found.record.brought_back) == (0, 0)
    np.testing.assert_array_equal(found.particles.rotations(), dirty.given.rotations())


def test_junk_is_found_where_poses_are_off_and_no_dip_tells_it(simulate: Callable) -> None:
    """Six degrees and contrast fill the amplitudes between junk and others."""
    nuisances = Nuisances(empty=0.15, random_poses=0.05, contrast=0.3)
    data = simulate(1500, BOX, PIXEL, snr=0.15, rotation_error_deg=6.5, states=phantom_states(3), nuisances=nuisances)
    truth, found = data.truth.table, screened(assigner_of(data), keep_poses=True)
    empty = (truth["drgnTrueJunk"] == "empty").to_numpy()
    good = ~empty & (truth["drgnTrueLost"] == "no").to_numpy()
    assert found.outcome.left_out[empty].mean() > 0.85 and found.outcome.left_out[good].mean() < 0.08


def test_a_rare_state_with_little_of_the_consensus_stays(simulate: Callable) -> None:
    """The body without its lobes among particles that are mostly lobes, before poses are refined."""
    body, _, two, four = phantom_states(4)
    options: dict[str, Any] = {"states": [body, two, four], "populations": [0.07, 0.23, 0.7], "snr": 0.1}
    for empty in (0.0, 0.25):
        data = simulate(1200, BOX, PIXEL, rotation_error_deg=3.0, nuisances=Nuisances(empty=empty), **options)
        out = screened(assigner_of(data), keep_poses=True).outcome.left_out
        junk = (data.truth.table["drgnTrueJunk"] == "empty").to_numpy()
        rare = ~junk & (data.truth.cluster_labels() == 1)
        # an amplitude of .22 and junk overlap: many of the few wait for the maps of rounds, but not all
        assert out[~junk & ~rare].sum() < 5 and out[rare].mean() < (0.7 if empty else 0.01)
        assert not empty or out[junk].mean() > 0.9


def test_contrast_is_no_reason_to_leave_anybody_out(clean: Any) -> None:
    found = screening_of(clean)
    assert not found.outcome.left_out.any() and not found.searched.any()
    assert found.outcome.contrast.spread == pytest.approx(0.2, abs=0.06)


FOUR, LIGHT_AND_HEAVY, FOUR_LOBES = phantom_states(4), phantom_states(3)[::2], phantom_states(5)[::4]


@pytest.mark.parametrize(
    ("states", "populations"),
    [(FOUR, [1, 1, 1, 1]), (LIGHT_AND_HEAVY, [0.45, 0.55]), (FOUR_LOBES, [0.96, 0.04])],
    ids=["a body without its lobes among four", "a body without its lobes", "four lobes more"],
)
def test_a_state_unlike_the_others_is_no_junk(
    simulate: Callable, states: Sequence[Specimen], populations: list[float]
) -> None:
    """However little it has of the consensus, or how much besides: none is left out, and each becomes a cluster."""
    data = simulate(1200, BOX, PIXEL, states=states, populations=populations, snr=0.2)
    found = screening_of(data)
    assert not found.outcome.left_out.any() and not found.brought_back.any()
    true, random = data.truth.cluster_labels(), np.random.default_rng(1).integers(1, len(states) + 1, 1200)
    states_found = find_states(assigner_of(data), [np.where(np.arange(1200) % 5 > 0, true, random)], None)
    labels = states_found.kept.assignment.labels
    assert states_found.verdict.startswith(f"{len(states)} states")
    assert (labels == 0).mean() < 0.01
    assert adjusted_rand_score(true, labels) > 0.9


@pytest.mark.parametrize(("broken", "contrast"), [(0.3, 0.15), (0.6, 0.15), (0.0, 0.5)])
def test_good_particles_stay_whatever_else_there_is(simulate: Callable, broken: float, contrast: float) -> None:
    """Most may be broken, and the ice of any thickness."""
    data = simulate(1000, BOX, PIXEL, snr=0.2, nuisances=Nuisances(broken=broken, contrast=contrast))
    out, junk = screening_of(data).outcome.left_out, (data.truth.table["drgnTrueJunk"] == "broken").to_numpy()
    assert out[~junk].mean() < 0.01
    assert not junk.any() or out[junk].mean() > 0.8
