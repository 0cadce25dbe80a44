"""Micrographs, views and defoci of clusters, against what chance would give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import mannwhitneyu, norm

from drgnalign.geometry import matrix_to_euler
from drgnalign.particles import Particles, image_names
from drgnalign.run.records import ClusterMetrics
from drgnalign.validation.claims import doubts
from drgnalign.validation.composition import (
    BINS,
    Composition,
    bin_centres,
    micrograph_concentration,
    micrograph_numbers,
    sampling_efficiency,
    view_bins,
)

MICROGRAPHS, EACH = 100, 200
GOOD: dict[str, Any] = {"cluster": "cluster_01", "particles": 100, "skipped": False}
GOOD |= {"resolution_angstrom": 9.0, "alignment_limit_angstrom": 10.0}


def particle_set(micrographs: np.ndarray, seed: int = 0, **columns: Any) -> Particles:
    """Particles of some micrographs, each with one defocus, seen from everywhere."""
    rng = np.random.default_rng(seed)
    count = len(micrographs)
    rot, tilt, psi = matrix_to_euler(Rotation.random(count, rng).as_matrix())
    defocus = rng.uniform(10_000, 24_000, micrographs.max() + 1)[micrographs]
    table = pd.DataFrame(
        {
            "rlnImageName": image_names(np.arange(1, count + 1), "all.mrcs"),
            "rlnMicrographName": [f"{number}.mrc" for number in micrographs],
            "rlnAngleRot": rot,
            "rlnAngleTilt": tilt,
            "rlnAnglePsi": psi,
            "rlnDefocusU": defocus + 200,
            "rlnDefocusV": defocus - 200,
        }
    )
    return Particles(table.assign(**columns), pd.DataFrame(), Path("set.star"))


@pytest.fixture(scope="module")
def everyone() -> Particles:
    return particle_set(np.repeat(np.arange(MICROGRAPHS), EACH))


@pytest.fixture(scope="module")
def composition(everyone: Particles) -> Composition:
    return Composition(everyone)


def warnings_of(found: dict[str, Any]) -> list[str]:
    return [doubt.text for doubt in doubts(ClusterMetrics.of(GOOD | {"composition": found}), "independent", 1.5)]


def chosen(rows: np.ndarray, count: int = MICROGRAPHS * EACH) -> np.ndarray:
    members = np.zeros(count, bool)
    members[rows] = True
    return members


@pytest.mark.parametrize("size", [50, 200, 1000, 5000])
def test_random_choices_are_not_warned_of(composition: Composition, size: int) -> None:
    rng = np.random.default_rng(size)
    warned = 0
    for _ in range(50):
        found = composition.of(chosen(rng.choice(MICROGRAPHS * EACH, size, replace=False)))
        warned += bool(warnings_of(found))
        assert 0.6 < found["micrographs"]["effective"] / found["micrographs"]["expected"] < 1.6
        assert 0.3 < found["defocus"]["higher"] < 0.7
    assert warned == 0


@pytest.mark.parametrize("size", [20, 100, 600])
def test_a_cluster_of_three_micrographs_is_warned_of(everyone: Particles, composition: Composition, size: int) -> None:
    rows = np.flatnonzero(everyone.table["rlnMicrographName"].isin(["3.mrc", "14.mrc", "15.mrc"]))
    found = composition.of(chosen(np.random.default_rng(0).choice(rows, size, replace=False)))
    assert found["micrographs"]["effective"] == pytest.approx(3, rel=0.1)
    (warning,) = (text for text in warnings_of(found) if "micrographs" in text)
    assert f"as if from {found['micrographs']['effective']:.1f}; by chance it would be" in warning


def test_effective_and_expected_micrographs_are_exact() -> None:
    # 5 particles from each of 4 of the 10 micrographs of 20 particles
    of_all, mine = np.repeat(np.arange(10), 20), np.repeat(np.arange(4), 5)
    found = micrograph_concentration(of_all, mine)
    assert found["effective"] == pytest.approx(4)
    # Mean of sum n_m^2: n + n (n - 1) (chance that two are of one micrograph)
    assert found["expected"] == pytest.approx(400 / (20 + 20 * 19 * 19 / 199))


@pytest.mark.parametrize(("micrographs", "each", "size"), [(100, 50, 40), (100, 50, 1000), (5, 200, 300)])
def test_chances_are_chances(micrographs: int, each: int, size: int) -> None:
    rng = np.random.default_rng(1)
    of_all = np.repeat(np.arange(micrographs), each)
    of_all = np.concatenate([of_all, rng.integers(0, 2, 2 * each)])
    chances = np.array(
        [micrograph_concentration(of_all, rng.choice(of_all, size, replace=False))["p"] for _ in range(1000)]
    )
    for level in (0.5, 0.1, 0.01):
        assert (chances < level).mean() == pytest.approx(level, abs=4 * np.sqrt(level / 1000))


def test_where_micrographs_are_not_named_stacks_tell_them_apart() -> None:
    particles = particle_set(np.repeat(np.arange(3), 4))
    assert micrograph_numbers(particles).tolist() == [0] * 4 + [1] * 4 + [2] * 4
    del particles.table["rlnMicrographName"]
    assert micrograph_numbers(particles) is None
    particles.table["rlnImageName"] = [*image_names(range(1, 9), "a.mrcs"), *image_names(range(1, 5), "b.mrcs")]
    assert micrograph_numbers(particles).tolist() == [0] * 8 + [1] * 4
    particles.table["rlnMicrographName"] = "all.mrc"
    assert micrograph_numbers(particles) is None
    assert Composition(particles).of(chosen(np.arange(5), 12))["micrographs"] is None


def test_bins_of_views_are_of_one_size_and_have_no_side() -> None:
    rotations = Rotation.random(40_000, np.random.default_rng(0)).as_matrix()
    counts = np.bincount(view_bins(rotations), minlength=BINS)
    assert counts.min() > 0.6 * 200 and counts.max() < 1.4 * 200
    turned = rotations.copy()
    turned[:, :, 1:] *= -1
    assert (view_bins(turned) == view_bins(rotations)).all()


def test_efficiencies_are_those_of_the_literature() -> None:
    everywhere = np.ones(BINS)
    assert sampling_efficiency(everywhere) == pytest.approx(1, abs=0.01)
    # from all sides of the z axis: 8/pi^2
    sides = np.exp(-0.5 * (bin_centres()[:, 2] / 0.05) ** 2)
    assert sampling_efficiency(sides) == pytest.approx(8 / np.pi**2, abs=0.06)
    top = (np.arange(BINS) == BINS - 1).astype(float)
    assert sampling_efficiency(top) < 0.1
    assert sampling_efficiency(np.stack([everywhere, top])).shape == (2,)


@pytest.mark.parametrize("degrees", [0.0, 15.0, 30.0])
def test_a_cluster_of_few_views_is_warned_of(everyone: Particles, composition: Composition, degrees: float) -> None:
    tilted = np.abs(everyone.rotations()[:, 2, 2])
    rows = np.argsort(-tilted)[:30] if degrees == 0 else np.flatnonzero(tilted > np.cos(np.radians(degrees)))
    found = composition.of(chosen(rows))
    assert found["views"]["efficiency"] < 0.5 * found["views"]["expected"]
    assert found["views"]["distance"] > found["views"]["expected_distance"]
    assert any("few views" in warning for warning in warnings_of(found))


def test_views_that_all_particles_have_are_no_reason_to_warn() -> None:
    particles = particle_set(np.repeat(np.arange(MICROGRAPHS), EACH))
    # nine of ten from the top
    particles.table.loc[np.arange(len(particles)) % 10 > 0, "rlnAngleTilt"] = 5.0
    found = Composition(particles).of(chosen(np.arange(0, len(particles), 7)))
    assert abs(found["views"]["z"]) < 4 and warnings_of(found) == []


def test_odd_defoci_are_warned_of(everyone: Particles, composition: Composition) -> None:
    defocus = everyone.table["rlnDefocusU"].to_numpy()
    high = np.flatnonzero(defocus > np.quantile(defocus, 0.7))
    found = composition.of(chosen(high))["defocus"]
    assert found["higher"] == pytest.approx(0.85, abs=0.01)
    assert found["quantiles"] == pytest.approx(np.quantile(defocus[high] - 200, [0.05, 0.5, 0.95]))
    assert found["quantiles_of_all"] == pytest.approx(np.quantile(defocus - 200, [0.05, 0.5, 0.95]))
    assert any("odd defoci" in warning for warning in warnings_of(composition.of(chosen(high))))
    # beyond chance, but not much
    half = np.flatnonzero(defocus > np.quantile(defocus, 0.1))
    assert composition.of(chosen(half))["defocus"]["z"] > 5
    assert not any("odd" in warning for warning in warnings_of(composition.of(chosen(half))))


def test_ranks_are_those_of_mann_and_whitney(everyone: Particles, composition: Composition) -> None:
    members = chosen(np.random.default_rng(3).choice(MICROGRAPHS * EACH, 300, replace=False))
    defocus = everyone.table["rlnDefocusU"].to_numpy()
    found = composition.of(members)["defocus"]
    expected = mannwhitneyu(defocus[members], defocus[~members], use_continuity=False, method="asymptotic")
    assert 2 * norm.sf(abs(found["z"])) == pytest.approx(expected.pvalue, rel=1e-3)
    among_all = (defocus[members][:, None] > defocus).mean() + 0.5 * (defocus[members][:, None] == defocus).mean()
    assert found["higher"] == pytest.approx(among_all)


def test_who_is_left_out_counts_nowhere() -> None:
    particles = particle_set(np.repeat(np.arange(10), 20))
    without = particles.select(np.arange(150))
    particles.table["drgnLeftOut"] = (np.arange(200) >= 150).astype(int)
    found = Composition(particles).of(chosen(np.arange(100, 180), 200))
    assert found == Composition(without).of(chosen(np.arange(100, 150), 150))


def test_the_whole_set_is_compared_with_nothing(composition: Composition) -> None:
    nothing = {"micrographs": None, "views": None, "defocus": None}
    assert composition.of(chosen(np.arange(MICROGRAPHS * EACH))) == nothing
    assert composition.of(chosen(np.array([], int))) == nothing
    assert warnings_of(nothing) == []


@pytest.mark.parametrize("size", [1, 2, 10, MICROGRAPHS * EACH - 1])
def test_small_and_large_clusters_have_finite_figures(composition: Composition, size: int) -> None:
    found = composition.of(chosen(np.arange(size)))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
