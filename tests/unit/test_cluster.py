"""Clusterings of well separated groups, whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from drgnalign.errors import InputError
from drgnalign.heterogeneity import cluster as cluster_module
from drgnalign.heterogeneity.cluster import (
    METHODS,
    cluster,
    cluster_record,
    cluster_settings,
    label_particles,
    nearest_to_centroids,
    silhouette,
)

SIZES = (300, 200, 100)


def groups(sizes: tuple[int, ...] = SIZES, dimension: int = 2) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Unit Gaussians 15 apart, shuffled, numbered by falling size from 1."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    points = rng.normal(size=(len(labels), dimension))
    points[:, 0] += 15.0 * labels
    order = rng.permutation(len(labels))
    return points[order], labels[order] + 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dimension", [2, 8])
def test_separate_groups_are_found_in_the_order_of_their_sizes(method: str, dimension: int) -> None:
    points, truth = groups(dimension=dimension)
    labels = cluster(points, method, 3, seed=0).labels
    assigned = labels > 0
    assert assigned.mean() > 0.9
    np.testing.assert_array_equal(labels[assigned], truth[assigned])
    assert labels.dtype == np.int64


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_labels(method: str) -> None:
    points = np.random.default_rng(1).normal(size=(400, 3))
    np.testing.assert_array_equal(cluster(points, method, 5, seed=3).labels, cluster(points, method, 5, seed=3).labels)


@pytest.mark.parametrize("method", ["dbscan", "hdbscan"])
def test_a_point_far_from_all_is_unassigned(method: str) -> None:
    points, _ = groups()
    labels = cluster(np.vstack([points, [500.0, 500.0]]), method, 3, seed=0).labels
    assert labels[-1] == 0
    assert set(labels[:-1]) >= {1, 2, 3}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [3, 7, 50])
def test_few_points(method: str, count: int) -> None:
    labels = cluster(np.random.default_rng(0).normal(size=(count, 2)), method, 2, seed=0).labels
    assert labels.shape == (count,)
    assert set(labels) <= set(range(count + 1))


def test_sizes_are_ordered_and_numbers_are_contiguous() -> None:
    labels = cluster(np.random.default_rng(0).normal(size=(500, 2)), "kmeans", 6, seed=0).labels
    sizes = np.bincount(labels)
    assert sizes[0] == 0
    assert len(sizes) == 7
    assert (np.diff(sizes[1:]) <= 0).all()


def test_evenly_spaced_points_do_not_break_dbscan() -> None:
    ring = np.exp(2j * np.pi * np.arange(64) / 64)
    assert cluster_settings(np.column_stack([ring.real, ring.imag]), "dbscan")["eps"] > 0
    assert cluster_settings(np.zeros((10, 2)), "dbscan")["eps"] > 0


@pytest.mark.parametrize(("count", "size"), [(50, 5), (300, 30), (1000, 50), (20000, 200)])
def test_hdbscan_minimum_size(count: int, size: int) -> None:
    assert cluster_settings(np.zeros((count, 2)), "hdbscan") == {"min_cluster_size": size}


@pytest.mark.parametrize("k", [0, 11])
@pytest.mark.parametrize("method", ["kmeans", "gmm"])
def test_impossible_numbers_of_clusters_are_refused(method: str, k: int) -> None:
    with pytest.raises(InputError, match=f"{k} clusters cannot be made of 10 particles"):
        cluster(np.random.default_rng(0).normal(size=(10, 2)), method, k, seed=0)


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="no clustering method 'ward'"):
        cluster(np.zeros((10, 2)), "ward", 2, seed=0)
    with pytest.raises(InputError, match="not finite"):
        cluster(np.full((10, 2), np.nan), "dbscan", 2, seed=0)


def test_silhouette() -> None:
    points, truth = groups()
    assert silhouette(points, truth, seed=0) > 0.8
    shuffled = np.random.default_rng(0).permutation(truth)
    assert abs(silhouette(points, shuffled, seed=0)) < 0.2
    assert silhouette(points, np.ones_like(truth), seed=0) is None
    assert silhouette(points, np.zeros_like(truth), seed=0) is None
    many, labels = groups((4000, 4000))
    assert silhouette(many, labels, seed=1) == silhouette(many, labels, seed=1) > 0.8


def test_nearest_to_centroids() -> None:
    points = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [9.0, 9.0], [9.0, 8.0], [50.0, 50.0]])
    assert nearest_to_centroids(points, [2, 2, 2, 5, 5, 0]) == {2: 1, 5: 3}
    found = cluster(points[:5], "gmm", 2, seed=0).labels
    assert adjusted_rand_score(found, [1, 1, 1, 2, 2]) == 1.0


@pytest.mark.parametrize("method", ["kmeans", "gmm"])
@pytest.mark.parametrize("axis", [0, 1])
def test_clusters_start_from_the_last_rounds_centres(method: str, axis: int) -> None:
    """Four groups at the corners of a square make two clusters in two ways that are as good: the last one is kept."""
    corners = np.array([[-5, -5], [-5, 5], [5, -5], [5, 5]])
    points = np.repeat(corners, 100, axis=0) + np.random.default_rng(2).normal(size=(400, 2))
    last = 1 + (points[:, axis] > 0)
    for seed in range(3):
        assert adjusted_rand_score(last, cluster(points, method, 2, seed=seed, last=last).labels) == 1.0


def test_more_clusters_than_last_round_find_places_of_their_own() -> None:
    points, truth = groups((300, 200, 100, 100))
    last = np.where(truth <= 2, truth, 0)
    assert adjusted_rand_score(truth, cluster(points, "kmeans", 4, seed=0, last=last).labels) == 1.0


@pytest.mark.parametrize("wanted", [2, 3, 6])
def test_hdbscan_searches_its_settings_for_a_number_of_clusters(wanted: int) -> None:
    rng = np.random.default_rng(0)
    # six groups in three pairs, of which one lies apart: 6, 3 or 2, as one looks
    centres = np.array([[0, 0], [6, 0], [20, 0], [26, 0], [100, 0], [106, 0]])
    points = np.repeat(centres, 150, axis=0) + rng.normal(size=(900, 2))
    found = cluster(points, "hdbscan", 1, seed=0, wanted=wanted)
    assert found.labels.max() == wanted
    assert found.settings["min_cluster_size"] >= 5


def test_hdbscans_search_holds_no_more_neighbours_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    points, _ = groups((300, 300))
    monkeypatch.setattr(cluster_module, "MOST_NEIGHBOURS", 600 * 20)
    settings: list[dict[str, float]] = []
    made = cluster_module._hdbscan
    monkeypatch.setattr(cluster_module, "_hdbscan", lambda given: settings.append(given) or made(given))
    assert cluster(points, "hdbscan", 1, seed=0, wanted=2).labels.max() == 2
    assert max(given["min_samples"] for given in settings) == 20


def test_membership_of_a_mixture_is_the_posterior() -> None:
    points, _ = groups()
    between = points[0] * 0 + np.array([7.5, 0.0])
    found = cluster(np.vstack([points, between]), "gmm", 3, seed=0)
    assert found.membership is not None
    assert found.membership[:-1].min() > 0.99
    assert found.membership[-1] < found.membership[:-1].min()


@pytest.mark.parametrize("method", METHODS)
def test_who_is_left_out_changes_nothing_and_is_in_no_cluster(method: str) -> None:
    points, truth = groups()
    kept = np.arange(len(points)) % 4 > 0
    points[~kept] = 1e6
    found = cluster(points, method, 3, 0, truth, kept=kept)
    alone = cluster(points[kept], method, 3, 0, truth[kept])
    np.testing.assert_array_equal(found.labels[kept], alone.labels)
    assert not found.labels[~kept].any() and found.settings == alone.settings
    if found.membership is not None:
        np.testing.assert_array_equal(found.membership[kept], alone.membership)
        assert not found.membership[~kept].any()


def test_records_do_not_count_who_is_left_out() -> None:
    points, truth = groups()
    last = truth.copy()
    last[:50] = 0
    kept = np.arange(len(points)) >= 100
    matching, found = label_particles(points, last, "kmeans", 3, 0, set(), kept=kept)
    record = cluster_record(points, matching, "kmeans", "z", 3, found.settings, 0)
    assert np.sum(record.overlap["counts"]) == kept.sum()
    assert (record.overlap["rows"], record.overlap["columns"]) == ([1, 2, 3], [1, 2, 3])
    assert record.ari_with_last_round == 1
    # rows of the whole table, of particles that are there
    for label, row in record.nearest.items():
        assert kept[row] and truth[row] == int(label)
    fixed, _ = label_particles(points, np.where(kept, truth, 0), "fixed", 3, 0, set(), kept=kept)
    assert fixed.overlap.to_numpy().sum() == kept.sum() and fixed.ari == 1
