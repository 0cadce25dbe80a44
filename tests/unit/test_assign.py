"""Likelihood assignment on simulated sets whose states are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.transform import Rotation
from scipy.special import softmax
from sklearn.metrics import adjusted_rand_score

from drgnalign.engine.noise import estimate_noise
from drgnalign.errors import InputError
from drgnalign.formats.mrc import ImageSource
from drgnalign.formats.star import read_star
from drgnalign.heterogeneity import states as states_module
from drgnalign.heterogeneity.assign import AGAINST, Assigner, Assignment, AssignmentSettings, Pass
from drgnalign.heterogeneity.contrast import Contrast, Population
from drgnalign.heterogeneity.limit import assignment_limit
from drgnalign.heterogeneity.spread import Spread
from drgnalign.heterogeneity.states import (
    Clusters,
    States,
    cluster_evidence,
    coarse_images,
    evidence,
    find_states,
    labels_to_start_from,
    renamed,
)
from drgnalign.heterogeneity.turned import RIGID
from drgnalign.heterogeneity.verdicts import CONTINUUM, NO_NUMBER, SPREAD
from drgnalign.particles import START, Particles
from drgnalign.simulate import Specimen, density_map, phantom_states, simulate_set

pytestmark = pytest.mark.slow

BOX, PIXEL, LIMIT, DIAMETER = 32, 8.0, 18.0, 200.0
POSITIONS = 24
PAIRS, NONE = [(1, 2), (1, 3), (2, 3)], Spread(0.0, 0.0, 0.02)


@pytest.fixture(scope="module")
def two(simulate: Callable) -> Any:
    return simulate(800, BOX, PIXEL, states=2, snr=0.3)


@pytest.fixture(scope="module")
def one(simulate: Callable) -> Any:
    return simulate(800, BOX, PIXEL, snr=0.3)


def assigner(data: Any, **changes: Any) -> Assigner:
    source = ImageSource(data.truth, data.folder)
    settings = AssignmentSettings(**({"limit": LIMIT, "diameter": DIAMETER} | changes))
    return Assigner(data.truth, source, estimate_noise(data.truth, source, DIAMETER), settings)


def proposed(count: int, number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, number + 1, count)


@pytest.mark.parametrize("against", AGAINST)
@pytest.mark.parametrize("soft", [False, True])
def test_states_are_told_apart_from_a_poor_proposal(two: Any, against: str, soft: bool) -> None:
    truth = two.truth.cluster_labels()
    start = np.where(np.random.default_rng(0).random(len(truth)) < 0.3, truth, proposed(len(truth), 2))
    found = assigner(two, against=against, soft=soft).run(start)
    assert adjusted_rand_score(truth, start) < 0.15
    assert adjusted_rand_score(truth, found.labels) > 0.95
    assert found.at_rest
    assert found.posteriors.shape == (len(truth), 2)
    assert_allclose(found.posteriors.sum(axis=1), 1)


def test_posteriors_are_those_of_the_likelihood_and_the_sizes(two: Any) -> None:
    """Against scores that the engine's own function gives for the same maps."""
    mine = assigner(two)
    labels = np.where(two.truth.cluster_labels() == 1, 3, 7)
    labels[:100] = 3
    model = mine._model(mine._insert(labels), labels)
    found = mine._pass(model, Population(), np.zeros(len(mine.particles), bool)).posteriors
    batch = next(mine._batches())
    # the last one is the consensus
    members, everything = model.references[3 - batch.half, 0].members[:2], mine._plan.kx.size
    products = [mine._kernels.products(one, batch.coefficients, mine._poses[batch.rows], everything) for one in members]
    scores = np.stack([2 * sums["match"] - sums["power"] for sums in products], axis=1)
    assert model.clusters == [3, 7]
    sizes = np.array([(labels == 3).sum(), (labels == 7).sum()])
    assert_allclose(found[batch.rows], softmax(scores + np.log(sizes), axis=1), atol=1e-4)


@pytest.mark.parametrize("against", AGAINST)
def test_no_particle_is_held_against_a_map_that_contains_it(one: Any, against: str) -> None:
    """With maps of the particles themselves, a random division would be kept as it is."""
    mine = assigner(one, against=against)
    start = proposed(len(one.truth), 2)
    model = mine._model(mine._insert(start), start)
    found = mine._pass(model, Population(), np.zeros(len(mine.particles), bool)).posteriors
    kept = (np.array(model.clusters)[found.argmax(axis=1)] == start).mean()
    assert kept < 0.6


def test_a_focus_tells_apart_by_what_is_inside_it(tmp_path: Path) -> None:
    """Two lobes, each there or not, independently: by either one alone there are two clusters."""
    body, one, both = phantom_states(3)
    lobes = [
        Specimen(*(array[start:end] for array in both))
        for start, end in ((len(body.points), len(one.points)), (len(one.points), None))
    ]
    other = Specimen(*(np.concatenate(arrays) for arrays in zip(body, lobes[1], strict=True)))
    simulate_set(tmp_path, [body, one, other, both], [1.0] * 4, 800, BOX, PIXEL, snr=0.3, sigma=0.75 * PIXEL, seed=1)
    particles = read_star(tmp_path / "truth.star")
    present = [np.isin(particles.cluster_labels(), states) for states in ((2, 4), (3, 4))]
    for lobe, mine, others in zip(lobes, present, present[::-1], strict=True):
        density = density_map(*lobe, BOX, PIXEL, 2 * PIXEL)
        focus = np.clip(4 * density / density.max() - 0.2, 0, 1).astype(np.float32)
        looking = assigner(SimpleNamespace(truth=particles, folder=tmp_path), focus=focus)
        states = find_states(looking, [proposed(800, 5, seed) for seed in range(2)], None)
        assert len(states.kept.assignment.clusters) == 2
        assert adjusted_rand_score(mine, states.kept.assignment.labels) > 0.95
        assert adjusted_rand_score(others, states.kept.assignment.labels) < 0.05
        assert looking.focus_shows() is True
    beside = np.roll(focus, BOX // 2, axis=(0, 1, 2))
    looking = assigner(SimpleNamespace(truth=particles, folder=tmp_path), focus=beside)
    assert looking.focus_shows() is False
    assert evidence(states, BOX * PIXEL, False)["verdict"].endswith(", inside the focus mask")


@pytest.mark.parametrize("count", [1, 2])
def test_poses_that_are_off_make_no_state(one: Any, two: Any, count: int) -> None:
    """Half of the particles lean to one side, half to the other."""
    data = (one, two)[count - 1]
    turns = [Rotation.from_rotvec(np.radians(angle) * np.eye(3)[0]).as_matrix() for angle in (3.5, -3.5)]
    side = np.random.default_rng(0).permutation(len(data.truth)) % 2
    leaning = data.truth.with_poses(np.array(turns)[side] @ data.truth.rotations(), data.truth.displacements())
    states = data.truth.cluster_labels()
    start = 2 * (states - 1) + side + 1
    mine = assigner(SimpleNamespace(truth=leaning, folder=data.folder))
    apart = mine.run(start)
    assert len(apart.clusters) == 2 * count and adjusted_rand_score(start, apart.labels) > 0.9
    found = find_states(mine, [start], None)
    assert found.verdict.startswith(("one state", "2 states")[count - 1])
    assert adjusted_rand_score(states, found.kept.assignment.labels) > 0.95
    united = json.loads(json.dumps(evidence(found, BOX * PIXEL)["at_two_poses"]))
    assert len(united) == count and sum(sum(one["particles"]) for one in united) == len(states)
    for one in united:
        # derivatives of the mean of the two, which is blurred, make it a little more than it is
        assert one["degrees"] == pytest.approx(7, rel=0.25) and one["angstrom"] < 2


@pytest.mark.parametrize(("degrees", "snr", "count"), [(20, 0.3, 800), (10, 0.1, 3000)])
def test_states_in_the_frame_of_a_part_are_no_turn(tmp_path: Path, degrees: float, snr: float, count: int) -> None:
    """Of two equal halves one hinges about an axis between them, the other is where all poses put it."""
    rng = np.random.default_rng(3)
    blobs = rng.uniform(-35, 35, (40, 3))
    away = np.array([0.0, 40.0, 0.0])
    still, moving = blobs + away, rng.permutation(blobs) * [1, -1, 1] - away
    hinged = moving @ Rotation.from_euler("z", degrees, degrees=True).as_matrix().T
    states = [Specimen(np.concatenate([still, half]), np.ones(80)) for half in (moving, hinged)]
    simulate_set(tmp_path, states, [1.0, 1.0], count, BOX, PIXEL, snr=snr, sigma=0.75 * PIXEL, seed=1)
    truth = read_star(tmp_path / "truth.star")
    mine = assigner(SimpleNamespace(truth=truth, folder=tmp_path))
    assert mine.run(truth.cluster_labels()).turned[1, 2].share > RIGID
    found = find_states(mine, [truth.cluster_labels()], None)
    assert found.verdict.startswith("2 states") and not found.at_two_poses
    told = cluster_evidence(found.kept, BOX * PIXEL)["clusters"]
    assert [told[label].turned["from"] for label in ("1", "2")] == ["cluster_02", "cluster_01"]
    assert adjusted_rand_score(truth.cluster_labels(), found.kept.assignment.labels) > 0.8


def test_one_state_is_said_to_be_one(one: Any) -> None:
    count = len(one.truth)
    states = find_states(assigner(one), [proposed(count, 4, seed) for seed in range(2)], None)
    assert states.verdict == "one state"
    facts = evidence(states, BOX * PIXEL)
    ((_, cluster),) = facts["clusters"].items()
    assert cluster.particles == count
    assert cluster.separation_nats is None
    assert cluster.spread is None
    # it is the consensus
    assert cluster.difference_fsc_40 == 0
    assert facts["states"] == 1
    assert facts["density_in_focus"] is None and assigner(one).focus_shows() is None


def test_two_states_are_found_among_four_clusters(two: Any) -> None:
    truth = two.truth.cluster_labels()
    split = 2 * truth - np.arange(len(truth)) // 2 % 2
    starts = [split, np.where(np.random.default_rng(1).random(len(truth)) < 0.3, split, proposed(len(truth), 4))]
    # a start without a cluster to begin with is left out
    starts.append(np.zeros(len(truth), np.int64))
    states = find_states(assigner(two), starts, None)
    assert len(states.agreement) == 1
    assert states.verdict == "2 states"
    assert adjusted_rand_score(truth, states.kept.assignment.labels) > 0.95
    assert min(states.agreement) > 0.95
    assert min(states.kept.separations.values()) > 0
    assert all(cluster.difference_fsc_40 > 0.5 for cluster in evidence(states, BOX * PIXEL)["clusters"].values())


def test_no_more_clusters_than_wanted_are_kept_and_it_is_said(two: Any) -> None:
    truth = two.truth.cluster_labels()
    starts = [truth, np.where(np.random.default_rng(0).random(len(truth)) < 0.5, truth, proposed(len(truth), 2))]
    states = find_states(assigner(two), starts, 1)
    assert len(states.kept.assignment.clusters) == 1
    assert states.verdict == "one cluster, as asked"


def test_pairs_are_united_side_by_side_where_they_share_no_cluster() -> None:
    assert states_module._disjoint([(1, 2), (2, 3), (3, 4), (1, 4), (5, 6)]) == [(1, 2), (3, 4), (5, 6)]


def test_threads_make_no_difference(two: Any) -> None:
    starts = [proposed(len(two.truth), number, number) for number in (3, 4, 5)]
    one, three = (find_states(assigner(two), starts, None, starts[0], threads) for threads in (1, 3))
    assert_array_equal(one.kept.assignment.posteriors, three.kept.assignment.posteriors)
    assert one.kept[1:] == three.kept[1:]


def test_starts_of_one_kind_do_not_confirm_each_other(two: Any) -> None:
    truth = two.truth.cluster_labels()
    states = find_states(assigner(two), [truth], None, last=truth)
    assert (states.verdict, states.agreement) == ("2 states (from one start only)", [])


def test_a_start_that_loses_all_clusters_but_one_says_nothing(two: Any) -> None:
    states = find_states(assigner(two), [two.truth.cluster_labels(), np.ones(800, np.int64)], None)
    assert (states.verdict, states.agreement) == ("2 states (from one start only)", [])


@pytest.fixture(scope="module")
def swinging(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A lobe that swings; labels 1 to 24 are its positions."""
    folder = tmp_path_factory.mktemp("swinging")
    body, lobe = (state.points for state in phantom_states(2, seed=0)[:2])
    swings = Rotation.from_euler("z", np.linspace(-45, 45, POSITIONS)[:, None], degrees=True)
    specimens = [
        Specimen(np.concatenate([body, swing.apply(lobe * 0.3 + [70.0, 0, 0])]), np.ones(len(body) + len(lobe)))
        for swing in swings
    ]
    simulate_set(folder, specimens, [1.0] * POSITIONS, 900, BOX, PIXEL, snr=0.3, seed=1)
    return SimpleNamespace(truth=read_star(folder / "truth.star"), folder=folder)


@pytest.mark.parametrize("numbers", [[4, 6, 3], [2]])
def test_a_continuum_is_no_number_of_states(swinging: Any, numbers: list[int]) -> None:
    """Cut along its true angle; two such cuts stay where they are."""
    position = swinging.truth.cluster_labels() - 1
    states = find_states(assigner(swinging), [1 + position * number // POSITIONS for number in numbers], None)
    assert states.verdict == f"{CONTINUUM}: all clusters run into each other"
    assert all(cluster.spread_interval[0] > SPREAD for cluster in evidence(states, BOX * PIXEL)["clusters"].values())


@pytest.mark.parametrize("against", AGAINST)
def test_particles_of_a_state_do_not_spread_towards_another(two: Any, swinging: Any, against: str) -> None:
    (spread,) = assigner(two, against=against).spreads(two.truth.cluster_labels()).values()
    assert spread.most < SPREAD
    halves = 1 + (swinging.truth.cluster_labels() - 1) // (POSITIONS // 2)
    (spread,) = assigner(swinging, against=against).spreads(halves).values()
    assert spread.least > SPREAD


def test_clusters_that_become_too_small_are_dropped_at_the_end_too(two: Any) -> None:
    """They have no map of their own, so that no cluster could be united with them."""
    mine = assigner(two)
    truth = two.truth.cluster_labels()
    start = np.where(truth == 1, 1, 2)
    start[np.flatnonzero(truth == 1)[:24]] = 3
    for start_of in (start, truth):
        found = mine.run(start_of)
        halves = two.truth.half_sets()
        for label in found.clusters:
            assert min((found.labels[halves == half] == label).sum() for half in (1, 2)) >= 10
        assert set(np.unique(found.labels)) == set(found.clusters)


def test_unassigned_particles_are_assigned_and_small_clusters_dropped(two: Any) -> None:
    truth = two.truth.cluster_labels()
    start = truth.copy()
    start[:200], start[200:204] = 0, 9
    found = assigner(two).run(start)
    assert found.clusters == [1, 2]
    assert adjusted_rand_score(truth, found.labels) > 0.95


def test_maps_have_the_symmetry_of_the_particle(two: Any) -> None:
    """Turned by half a turn about z, the pixel grid falls on itself."""

    def likeness(symmetry: str) -> float:
        mine, labels = assigner(two, symmetry=symmetry), two.truth.cluster_labels()
        volume = mine._consensus(mine._insert(labels))[0][1:, 1:, 1:]
        return float(np.corrcoef(volume.ravel(), volume[:, ::-1, ::-1].ravel())[0, 1])

    assert likeness("C1") < 0.9
    assert likeness("C2") > 0.999


def test_without_a_cluster_large_enough_nothing_can_start(one: Any) -> None:
    # what the command's user can do, and the workflow's
    with pytest.raises(InputError, match=r"(?s)no cluster has 10 particles.*`drgnalign cluster`.*of a run"):
        assigner(one).run(np.zeros(len(one.truth), np.int64))


def test_a_particle_that_was_all_of_a_dropped_cluster_is_of_those_left(two: Any) -> None:
    """As an image of a hundred times the contrast was: nothing of its posterior is left for the others."""
    mine, truth = assigner(two), two.truth.cluster_labels()
    model = mine._model(mine._insert(truth), truth)
    looked = mine._pass(model, Population(), np.zeros(len(truth), bool))
    exponents = np.column_stack([looked.exponents, np.full(len(truth), -1e6)])
    exponents[7] = 1.0, 3.0, 1e5
    looked = looked._replace(exponents=exponents, posteriors=softmax(exponents, axis=1))
    labels = np.where(np.arange(len(truth)) == 7, 0, truth)
    with np.errstate(all="raise", under="ignore"):
        found = mine._ended([1, 2, 3], looked, labels, Population(), [Pass(3, 0.0, 0.0)])
    assert found.clusters == [1, 2]
    assert_allclose(found.posteriors[7], softmax([1.0, 3.0]))


@pytest.mark.parametrize(("diameter", "least", "most"), [(80.0, 0.02, 0.9), (DIAMETER, 0.0, 0.0)])
def test_density_that_a_small_sphere_cuts_off_is_measured(one: Any, diameter: float, least: float, most: float) -> None:
    """Also where all that is just outside of the sphere is particle."""
    assert least <= assigner(one, diameter=diameter).cut_off(np.ones(len(one.truth), np.int64)) <= most


def test_a_limit_beyond_nyquist_is_refused(one: Any) -> None:
    with pytest.raises(InputError, match="Nyquist"):
        assigner(one, limit=10.0)


def clusters(labels: list[int], changed: float = 0.0, **spreads: Spread) -> Clusters:
    """Of labels 1 to 3; `spreads` are those of pairs, such as of_12."""
    names = sorted(set(labels))
    shares = (np.array(labels)[:, None] == names).astype(float)
    passes, ones, curves = (Pass(3, changed, -1.0),), np.ones(len(labels)), np.zeros((len(names), 9))
    facts = {"amplitudes": ones, "junk": 0 * ones, "doubtful": ones < 0, "whole": ones > 0}
    found = Assignment(np.array(labels), names, shares, curves, passes, Contrast(), **facts)
    pairs = [pair for pair in PAIRS if set(pair) <= set(names)]
    return Clusters(found, dict.fromkeys(pairs, 3.0), {(a, b): spreads.get(f"of_{a}{b}", NONE) for a, b in pairs})


def states_of(found: Clusters, agreement: list[float]) -> States:
    nobody = found.assignment.left_out
    return States(found, found, agreement, Particles(pd.DataFrame(), pd.DataFrame(), Path("set.star")), nobody)


def test_a_number_of_states_is_said_where_all_speaks_for_it() -> None:
    labels = [1, 1, 2, 2]
    found, restless = clusters(labels), clusters(labels, changed=0.05)
    assert states_of(found, [0.99, 0.95]).verdict == "2 states"
    # one bad start says nothing
    assert states_of(found, [1.0, 0.0]).verdict == "2 states"
    assert states_of(found, [0.7, 0.8]).verdict.endswith("other starts lead to other clusters")
    assert states_of(restless, [1.0]).verdict.endswith("labels never come to rest")


def test_clusters_that_run_into_each_other_are_named_a_continuum() -> None:
    labels = [1, 1, 2, 2, 3, 3]
    much, perhaps = Spread(0.2, 0.22, 0.24), Spread(0.04, 0.1, 0.2)

    def verdict(**spreads: Spread) -> str:
        found = clusters(labels, **spreads)
        return states_of(found, [1.0]).verdict

    assert verdict() == "3 states"
    assert verdict(of_12=much) == "3 states, of which 2 run into each other"
    assert verdict(of_12=perhaps) == "3 states, of which 2 may run into each other"
    assert verdict(of_12=much, of_23=much) == f"{CONTINUUM}: all clusters run into each other"
    assert verdict(of_12=much, of_23=perhaps) == f"{NO_NUMBER}: all clusters may run into each other"


def test_names_change_in_all_that_is_said() -> None:
    found = clusters([1, 1, 2])
    states = renamed(states_of(found, []), np.array([8, 8, 4]))
    assert states.kept.assignment.clusters == [4, 8]
    assert_array_equal(states.kept.assignment.posteriors, [[0, 1], [0, 1], [1, 0]])
    assert (states.kept.separations, states.kept.spreads) == ({(8, 4): 3.0}, {(8, 4): NONE})


def test_what_else_was_proposed_are_further_starts(two: Any) -> None:
    table = two.truth.select(np.arange(4))
    for number in (6, 12):
        table.table[f"{START}{number}"] = number
    first, *others = labels_to_start_from(table)
    assert_array_equal(first, table.cluster_labels())
    assert [start.tolist() for start in others] == [[6] * 4, [12] * 4]


def test_images_are_made_smaller_where_that_pays(two: Any, tmp_path: Path) -> None:
    stack = two.folder / "particles.mrcs"
    same = coarse_images(two.truth, stack, 18.0, tmp_path)
    assert (same.particles.box, same.folder) == (BOX, two.folder)
    small = coarse_images(two.truth, stack, 32.0, tmp_path)
    assert (small.particles.box, small.folder) == (20, tmp_path)
    assert small.particles.pixel_size == pytest.approx(PIXEL * BOX / 20)
    assert ImageSource(small.particles, tmp_path).read([3]).shape == (1, 20, 20)
    assert_allclose(small.particles.displacements() * small.particles.pixel_size, two.truth.displacements() * PIXEL)


@pytest.mark.parametrize(
    ("consensus", "wanted", "expected", "because"),
    [
        (17.0, 14.0, 17.0, "the consensus has a resolution of 17.0 Å"),
        (12.0, 14.0, 16.0, "Nyquist of the images is 16.0 Å"),
        (17.0, 18.0, 18.0, ""),
        # a consensus without resolution
        (np.nan, 18.0, 18.0, ""),
        (np.nan, 14.0, 16.0, "Nyquist of the images is 16.0 Å"),
    ],
)
def test_the_limit_is_what_the_consensus_and_the_pixels_allow(
    two: Any, consensus: float, wanted: float, expected: float, because: str, tmp_path: Path
) -> None:
    pd.DataFrame({"cluster": ["consensus"], "resolution_0143_angstrom": [consensus]}).to_csv(tmp_path / "fsc.csv")
    limit = assignment_limit(tmp_path, wanted, two.truth, two.folder / "particles.mrcs")
    assert (limit.angstrom, limit.because) == (expected, because)
    assert limit.record == {"limit_angstrom": expected, "limit_because": because or None}
    assert limit.note == (f"images are compared up to {expected} Å, not 14 Å: {because}" if because else "")
