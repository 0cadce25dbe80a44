"""Clusters of particles in latent space or in an embedding of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drgnalign.arrays import FloatArray, IntArray
from drgnalign.errors import InputError
from drgnalign.heterogeneity.match import Matching, match_labels
from drgnalign.run.records import ClusteringRecord

METHODS = ("kmeans", "gmm", "dbscan", "hdbscan")
SILHOUETTE_SAMPLE = 5000
# Cluster sizes that a search of HDBSCAN's settings looks at, and the most neighbours of all points together: it holds
# them at once, 16 bytes each.
SEARCHED_SIZES, MOST_NEIGHBOURS = 12, 2**26


class Clustering(NamedTuple):
    """Groups of points.

    Attributes
    ----------
    labels : (N,) int64
        1…K in the order of falling size, 0 where a point belongs to no cluster.
    membership : (N,) float64 or None
        How surely each point belongs where it is: the posterior of a Gaussian mixture, HDBSCAN's own strength.
    settings : dict of str to number
        Of the method.
    """

    labels: IntArray
    membership: FloatArray | None
    settings: dict[str, float]


def cluster(
    points: ArrayLike,
    method: str,
    k: int,
    seed: int,
    last: ArrayLike | None = None,
    wanted: int | None = None,
    kept: NDArray[np.bool_] | None = None,
) -> Clustering:
    """Group points.

    Parameters
    ----------
    points : (N, d) array_like
    method : {'kmeans', 'gmm', 'dbscan', 'hdbscan'}
        The last two find the number of clusters by themselves and may leave points unassigned.
    k : int
        Number of clusters for the first two.
    seed : int
    last : (N,) array_like of int, optional
        Labels of the last round, 0 = unassigned: the first two start from these clusters' centres.
    wanted : int, optional
        Number of clusters that ``hdbscan`` searches its settings for.
    kept : (N,) bool, optional
        Points that have a part in it; the others belong to no cluster. Default: all.

    Returns
    -------
    Clustering

    Raises
    ------
    InputError
        Unknown method, points that are not finite, or a `k` that is not within 1…N.
    """
    data = np.asarray(points, dtype=np.float64)
    kept = np.ones(len(data), np.bool_) if kept is None else kept
    data, last = data[kept], None if last is None else np.asarray(last)[kept]
    if not np.isfinite(data).all():
        raise InputError(None, "points to cluster are not finite", "check the training and the embedding")
    if method in ("kmeans", "gmm") and not 1 <= k <= len(data):
        raise InputError(
            None, f"{k} clusters cannot be made of {len(data)} particles", f"choose k within 1…{len(data)}"
        )
    settings = cluster_settings(data, method)
    if method == "hdbscan" and wanted is not None:
        settings = _searched(data, wanted)
    raw, membership = _raw_labels(data, method, k, seed, settings, _starting_centres(data, k, seed, last))
    if membership is not None:
        membership = _with_others(membership, kept)
    return Clustering(_with_others(_order_by_size(raw), kept), membership, settings)


def _with_others(values: NDArray[Any], kept: NDArray[np.bool_]) -> NDArray[Any]:
    """Values of the points kept (n,) as those of all (N,): 0 for the others."""
    all_values = np.zeros(len(kept), values.dtype)
    all_values[kept] = values
    return all_values


def other_numbers(k: int, particles: int) -> list[int]:
    """How many clusters to propose besides `k`: half as many again, and a quarter fewer (of fewer than four, twice as
    many), as far as there are particles."""
    return sorted({min(k + math.ceil(k / 2), particles), k - k // 4 if k >= 4 else min(2 * k, particles)} - {k})


def cluster_settings(points: ArrayLike, method: str) -> dict[str, float]:
    """Settings of a method that are fixed or derived from the points; `cluster` uses these.

    For ``dbscan``, ``min_samples`` is 5 d and ``eps`` the knee of the sorted distances to that neighbour; with the
    usual 2 d (Sander et al. 1998) the knee breaks UMAPs of four known groups into dozens of pieces. For
    ``hdbscan``, a cluster has at least 1 % of the particles and at least 50, or 10 % (at least 5) of sets with
    fewer than 500.

    Parameters
    ----------
    points : (N, d) array_like
    method : {'kmeans', 'gmm', 'dbscan', 'hdbscan'}

    Returns
    -------
    dict of str to number

    Raises
    ------
    InputError
        Unknown method.
    """
    data = np.asarray(points, dtype=np.float64)
    if method == "kmeans":
        return {"n_init": 10}
    if method == "gmm":
        return {"n_init": 3}
    if method == "dbscan":
        min_samples = min(5 * data.shape[1], len(data))
        return {"min_samples": min_samples, "eps": _knee_of_neighbour_distances(data, min_samples)}
    if method == "hdbscan":
        return {"min_cluster_size": min(max(50, len(data) // 100), max(5, len(data) // 10))}
    raise InputError(None, f"there is no clustering method '{method}'", f"choose one of {', '.join(METHODS)}")


def silhouette(points: ArrayLike, labels: ArrayLike, seed: int) -> float | None:
    """Mean silhouette of the assigned points, on at most 5,000 of them.

    Parameters
    ----------
    points : (N, d) array_like
    labels : (N,) array_like of int
        0 = unassigned.
    seed : int

    Returns
    -------
    float or None
        -1 (wrong) … 1 (well separated); None where there are fewer than two clusters.
    """
    from sklearn.metrics import silhouette_score

    labels = np.asarray(labels)
    assigned = np.flatnonzero(labels)
    if len(assigned) > SILHOUETTE_SAMPLE:
        assigned = np.random.default_rng(seed).choice(assigned, SILHOUETTE_SAMPLE, replace=False)
    sample = labels[assigned]
    if not 2 <= len(np.unique(sample)) < len(sample):
        return None
    return float(silhouette_score(np.asarray(points)[assigned], sample))


def nearest_to_centroids(points: ArrayLike, labels: ArrayLike) -> dict[int, int]:
    """The particle nearest the mean of each cluster.

    Parameters
    ----------
    points : (N, d) array_like
    labels : (N,) array_like of int
        0 = unassigned.

    Returns
    -------
    dict of int to int
        Row of the particle by cluster label, in the order of the labels.
    """
    points, labels = np.asarray(points, dtype=np.float64), np.asarray(labels)
    nearest = {}
    for label in np.unique(labels[labels > 0]):
        rows = np.flatnonzero(labels == label)
        distances = np.linalg.norm(points[rows] - points[rows].mean(axis=0), axis=1)
        nearest[int(label)] = int(rows[distances.argmin()])
    return nearest


def _raw_labels(
    data: FloatArray, method: str, k: int, seed: int, settings: dict[str, float], centres: FloatArray | None
) -> tuple[IntArray, FloatArray | None]:
    # slow to import, and ASSIGN describes clusters without making them
    from sklearn.cluster import DBSCAN, KMeans
    from sklearn.mixture import GaussianMixture

    if method == "kmeans":
        start = {} if centres is None else {"init": centres, "n_init": 1}
        return KMeans(k, random_state=seed, **(settings | start)).fit_predict(data), None
    if method == "gmm":
        start = {} if centres is None else {"means_init": centres, "n_init": 1}
        mixture = GaussianMixture(k, covariance_type="full", random_state=seed, **(settings | start)).fit(data)
        posteriors = mixture.predict_proba(data)
        return posteriors.argmax(axis=1), posteriors.max(axis=1)
    if method == "dbscan":
        return DBSCAN(**settings).fit_predict(data), None
    found = _hdbscan(settings).fit(data)
    return found.labels_, found.probabilities_


def _hdbscan(settings: dict[str, float]) -> Any:
    # The package: nine times as fast as scikit-learn's at 130,000 particles.
    from hdbscan import HDBSCAN

    return HDBSCAN(core_dist_n_jobs=1, **settings)


def _starting_centres(data: FloatArray, k: int, seed: int, last: ArrayLike | None) -> FloatArray | None:
    """Where the last round's clusters are now, the largest first; places for more are found as k-means++ does, far
    from those that there are (Arthur & Vassilvitskii 2007)."""
    if last is None or not np.any(last):
        return None
    labels = np.asarray(last)
    names, sizes = np.unique(labels[labels > 0], return_counts=True)
    names = names[np.argsort(-sizes, kind="stable")][:k]
    centres = [data[labels == name].mean(axis=0) for name in names]
    rng = np.random.default_rng(seed)
    while len(centres) < k:
        squares = np.min([((data - centre) ** 2).sum(axis=1) for centre in centres], axis=0)
        centres.append(data[rng.choice(len(data), p=squares / squares.sum() if squares.any() else None)])
    return np.array(centres)


def _searched(data: FloatArray, wanted: int) -> dict[str, float]:
    """Settings with which HDBSCAN finds the wanted number of clusters, or the nearest to it; of several, those that
    leave fewest points unassigned."""
    largest = max(5, len(data) // wanted)
    sizes = np.unique(np.geomspace(5, largest, SEARCHED_SIZES).astype(int))
    most, tried = MOST_NEIGHBOURS // len(data), []
    for size in sizes.tolist():
        for samples in (5, max(5, min(size, most))):
            settings: dict[str, float] = {"min_cluster_size": size, "min_samples": samples}
            labels = _hdbscan(settings).fit_predict(data)
            tried.append((abs(labels.max() + 1 - wanted), float((labels < 0).mean()), -size, -samples, settings))
    return min(tried, key=lambda one: one[:4])[4]


def _knee_of_neighbour_distances(data: FloatArray, min_samples: int) -> float:
    """Where the sorted curve of neighbour distances is farthest below the line between its ends."""
    from sklearn.neighbors import NearestNeighbors

    distances, _ = NearestNeighbors(n_neighbors=min_samples).fit(data).kneighbors(data)
    curve = np.sort(distances[:, -1])
    rise = curve[-1] - curve[0]
    if rise == 0.0:
        # Evenly spaced points: any positive distance will do, and it must be positive.
        return float(max(curve[-1], np.finfo(float).tiny))
    chord = np.linspace(0.0, 1.0, len(curve))
    return float(curve[(chord - (curve - curve[0]) / rise).argmax()])


def _order_by_size(raw: IntArray) -> IntArray:
    """Labels 1…K by falling size from labels of any numbers; negative ones become 0."""
    names, sizes = np.unique(raw[raw >= 0], return_counts=True)
    labels = np.zeros(len(raw), dtype=np.int64)
    for new, name in enumerate(names[np.argsort(-sizes, kind="stable")], start=1):
        labels[raw == name] = new
    return labels


def label_particles(
    points: ArrayLike,
    previous: ArrayLike,
    method: str,
    k: int,
    seed: int,
    used: Iterable[int],
    wanted: int | None = None,
    kept: NDArray[np.bool_] | None = None,
) -> tuple[Matching, Clustering]:
    """Cluster particles and name the clusters after the last round's.

    Parameters
    ----------
    points : (N, d) array_like
    previous : (N,) array_like of int
        Labels of the last round, 0 = unassigned.
    method : str
        One of `METHODS`, or ``fixed``: the labels stay as they are.
    k, seed, wanted, kept
        See `cluster`.
    used : iterable of int
        Labels of all rounds so far.

    Returns
    -------
    Matching
    Clustering
        Under its own names.
    """
    if method == "fixed":
        return match_labels(previous, previous, used, kept), Clustering(np.asarray(previous), None, {})
    found = cluster(points, method, k, seed, previous, wanted, kept)
    return match_labels(previous, found.labels, used, kept), found


def cluster_record(
    points: ArrayLike, matching: Matching, method: str, space: str, k: int, settings: dict[str, float], seed: int
) -> ClusteringRecord:
    """What is kept of a clustering: how it was made, how well it separates, how it follows from the last round's.

    Parameters
    ----------
    points : (N, d) array_like
    matching : Matching
    method, space : str
    k : int
        Number of clusters that the latent space was asked for.
    settings : dict
    seed : int
        Of the silhouette's sample.

    Returns
    -------
    ClusteringRecord
        ``nearest`` is, for each label, the row of the particle nearest to the cluster's centre.
    """
    overlap = matching.overlap
    return ClusteringRecord(
        method=method,
        space=space,
        proposed=k,
        settings=settings,
        silhouette=silhouette(points, matching.labels, seed),
        ari_with_last_round=matching.ari,
        counterparts={str(label): old for label, old in matching.counterparts.items()},
        overlap={
            "rows": [int(label) for label in overlap.index],
            "columns": [int(label) for label in overlap.columns],
            "counts": overlap.to_numpy().tolist(),
        },
        nearest={str(label): int(row) for label, row in nearest_to_centroids(points, matching.labels).items()},
    )
