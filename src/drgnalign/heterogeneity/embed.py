"""Pictures of latent space: principal components and UMAP in two and three dimensions."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from drgnalign.arrays import FloatArray
from drgnalign.errors import DrgnalignError, InputError
from drgnalign.files import atomic_path
from drgnalign.run.latent import (
    ALONG_PC1,
    EMBEDDING,
    EMBEDDING_RECORD,
    EMBEDDING_START,
    EmbeddingRecord,
    places_along,
)
from drgnalign.run.record import write_record

# As cryoDRGN's own analysis.
N_NEIGHBORS = 15
MIN_DIST = 0.1


@dataclass
class Embedding:
    """Coordinates of N particles.

    Attributes
    ----------
    table : DataFrame
        One row a particle: ``row``, ``z0`` …, ``pc1`` …, ``umap2_1``, ``umap2_2``, ``umap3_1`` … ``umap3_3``.
    explained_variance : (C,) float64
        Fraction of the variance along each principal component.
    pc1_z : (6, zdim) float64
        Points of latent space on the first principal component through the mean, evenly spaced from the 5th
        to the 95th percentile of the particles.
    """

    table: pd.DataFrame
    explained_variance: FloatArray
    pc1_z: FloatArray


def embed(
    z: ArrayLike, previous: Path | None, seed: int, outdir: Path, fitted: NDArray[np.bool_] | None = None
) -> Embedding:
    """Principal components and UMAP of latent variables, comparable with the previous round's.

    Writes ``embedding.csv`` (the table), ``embedding.json`` (explained variance, settings), ``pc1_z.txt`` and
    ``embedding.npz`` (what the next round starts from).

    UMAP starts from the previous round's embedding, or from the first principal components: unlike the
    spectral start they exist for any number of particles and for graphs in pieces, and need no iterative
    eigensolver. The exact nearest neighbours are found once for both maps, without random trees.

    Particles that are left out have no part in any of this. To be seen, each is put amid the nearest of the others.

    Parameters
    ----------
    z : (N, zdim) array_like
        Latent means, in the particles' order.
    previous : path or None
        `outdir` of the previous round.
    seed : int
    outdir : path
    fitted : (N,) bool, optional
        Particles that are not left out. Default: all.

    Returns
    -------
    Embedding

    Raises
    ------
    DrgnalignError
        Latent variables that are not finite or all the same.
    InputError
        Fewer than three particles, or a previous embedding of another number of particles.
    """
    latent = np.asarray(z, dtype=np.float64)
    fitted = np.ones(len(latent), np.bool_) if fitted is None else fitted
    _check_latent(latent, fitted)
    start = None if previous is None else _read_start(previous / EMBEDDING_START, latent.shape)
    pca = PCA(svd_solver="full").fit(latent[fitted])
    components = pca.components_ * _component_signs(pca.components_, start)[:, None]
    pcs = (latent - pca.mean_) @ components.T
    if start is None:
        begin = [_pca_start(pcs[fitted], 2, seed), _pca_start(pcs[fitted], 3, seed)]
    else:
        begin = [start["umap2"][fitted], start["umap3"][fitted]]
    umap2, umap3 = _with_others(latent, fitted, _umap(latent[fitted], begin, seed))
    along = places_along(pcs[fitted, 0])
    pc1_z = pca.mean_ + along[:, None] * components[0]
    embedding = Embedding(_table(latent, pcs, umap2, umap3), pca.explained_variance_ratio_, pc1_z)
    outdir.mkdir(parents=True, exist_ok=True)
    _write(embedding, outdir, seed, int(fitted.sum()), started_from_previous=start is not None)
    with atomic_path(outdir / EMBEDDING_START) as temporary:
        np.savez(temporary, components=components, umap2=umap2, umap3=umap3)
    return embedding


def _check_latent(latent: FloatArray, fitted: NDArray[np.bool_]) -> None:
    if latent.ndim != 2 or fitted.sum() < 3:
        raise InputError(
            None,
            f"latent variables of shape {latent[fitted].shape} cannot be embedded",
            "give 3 particles or more that are not left out",
        )
    broken = np.flatnonzero(~np.isfinite(latent).all(axis=1))
    if broken.size:
        raise DrgnalignError(
            None,
            f"the latent vectors of {broken.size} of {len(latent)} particles are not finite: row {broken[0]}",
            "the training diverged: lower the learning rate, and check the images for infinite pixels",
        )
    if not (latent[fitted].std(axis=0) > 0).any():
        raise DrgnalignError(
            None,
            "all particles have the same latent variables",
            "the training learnt nothing: train for more epochs or with a lower beta",
        )


def _read_start(path: Path, shape: tuple[int, ...]) -> dict[str, FloatArray]:
    if not path.is_file():
        raise InputError(path, "the previous round's embedding is missing", "give the folder of a finished embedding")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            start = {name: np.asarray(arrays[name], dtype=np.float64) for name in ("components", "umap2", "umap3")}
    except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
        problem = f"is no embedding to start from ({error})"
        raise InputError(path, problem, "make it again, or start afresh without the previous embedding") from error
    if len(start["umap2"]) != shape[0] or start["components"].shape[1] != shape[1]:
        raise InputError(
            path,
            f"it is of {len(start['umap2'])} particles in {start['components'].shape[1]} dimensions, "
            f"now there are {shape[0]} in {shape[1]}",
            "start afresh without the previous embedding",
        )
    return start


def _component_signs(components: FloatArray, start: dict[str, FloatArray] | None) -> FloatArray:
    """Signs that make components point where the previous ones did, or their largest entry positive."""
    if start is None:
        largest = np.abs(components).argmax(axis=1)
        return np.sign(components[np.arange(len(components)), largest])
    # copysign rather than sign: a component at right angles to its predecessor must not vanish.
    return np.copysign(1.0, (components * start["components"]).sum(axis=1))


def _pca_start(pcs: FloatArray, dimension: int, seed: int) -> FloatArray:
    """First principal components; noise stands in for those that latent space has not got."""
    noise = np.random.default_rng(seed).normal(size=(len(pcs), dimension))
    usable = pcs[:, pcs.std(axis=0) > 0][:, :dimension]
    noise[:, : usable.shape[1]] = usable
    return noise


def _umap(latent: FloatArray, starts: list[FloatArray], seed: int) -> list[NDArray[np.float32]]:
    """One embedding for each start. UMAP itself scales a start to 0…10 along each axis."""
    # Importing UMAP takes seconds (it compiles), which users of the rest should not pay.
    from umap import UMAP

    neighbors = min(N_NEIGHBORS, len(latent) - 1)
    distances, indices = NearestNeighbors(n_neighbors=neighbors).fit(latent).kneighbors(latent)
    embeddings = []
    for start in starts:
        with warnings.catch_warnings():
            # It warns that new points cannot be placed without its own neighbour search.
            warnings.filterwarnings("ignore", message=".*knn_search_index.*")
            reducer = UMAP(
                n_components=start.shape[1],
                n_neighbors=neighbors,
                min_dist=MIN_DIST,
                init=start,
                precomputed_knn=(indices, distances),
                random_state=seed,
                n_jobs=1,
            )
            embeddings.append(reducer.fit_transform(latent))
    return embeddings


def _with_others(
    latent: FloatArray, fitted: NDArray[np.bool_], embeddings: list[NDArray[np.float32]]
) -> list[NDArray[np.float32]]:
    """Embeddings of all particles from those of the fitted: the others are at the mean of their nearest neighbours."""
    if fitted.all():
        return embeddings
    neighbors = NearestNeighbors(n_neighbors=min(N_NEIGHBORS, int(fitted.sum()))).fit(latent[fitted])
    nearest = neighbors.kneighbors(latent[~fitted], return_distance=False)
    complete = []
    for embedding in embeddings:
        points = np.empty((len(latent), embedding.shape[1]), embedding.dtype)
        points[fitted], points[~fitted] = embedding, embedding[nearest].mean(axis=1)
        complete.append(points)
    return complete


def _table(latent: FloatArray, pcs: FloatArray, umap2: NDArray[np.float32], umap3: NDArray[np.float32]) -> pd.DataFrame:
    columns: dict[str, NDArray[np.generic]] = {"row": np.arange(len(latent))}
    columns |= {f"z{i}": values for i, values in enumerate(latent.T)}
    for prefix, coordinates in (("pc", pcs), ("umap2_", umap2), ("umap3_", umap3)):
        columns |= {f"{prefix}{i}": values for i, values in enumerate(coordinates.T, start=1)}
    return pd.DataFrame(columns)


def _write(embedding: Embedding, outdir: Path, seed: int, fitted: int, started_from_previous: bool) -> None:
    record = EmbeddingRecord(
        explained_variance=embedding.explained_variance.tolist(),
        n_neighbors=min(N_NEIGHBORS, fitted - 1),
        min_dist=MIN_DIST,
        seed=seed,
        start="previous" if started_from_previous else "pca",
    )
    with atomic_path(outdir / EMBEDDING) as temporary:
        embedding.table.to_csv(temporary, index=False)
    write_record(record, outdir / EMBEDDING_RECORD)
    with atomic_path(outdir / ALONG_PC1) as temporary:
        np.savetxt(temporary, embedding.pc1_z)
