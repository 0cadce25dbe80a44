"""Pictures of latent space: known principal components, reproducible and comparable UMAPs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from drgnalign.errors import DrgnalignError, InputError
from drgnalign.heterogeneity.embed import Embedding, embed
from drgnalign.run.latent import read_points

UMAP2 = ["umap2_1", "umap2_2"]


def two_groups(count: int = 300, zdim: int = 4) -> NDArray[np.float64]:
    z = np.random.default_rng(0).normal(size=(count, zdim)) * 0.5
    z[: count // 2, 0] += 6.0
    return z


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory):
    outdir = tmp_path_factory.mktemp("round_00")
    return outdir, embed(two_groups(), None, 7, outdir)


def test_table_holds_every_coordinate(first) -> None:
    outdir, _ = first
    table = pd.read_csv(outdir / "embedding.csv", float_precision="round_trip")
    assert list(table) == [
        "row", *(f"z{i}" for i in range(4)), *(f"pc{i}" for i in range(1, 5)), *UMAP2, "umap3_1", "umap3_2", "umap3_3",
    ]  # fmt: skip
    np.testing.assert_array_equal(table["row"], np.arange(300))
    np.testing.assert_array_equal(read_points(outdir / "embedding.csv", "z"), two_groups())
    assert read_points(outdir / "embedding.csv", "umap2").shape == (300, 2)
    assert read_points(outdir / "embedding.csv", "umap3").shape == (300, 3)
    with pytest.raises(InputError, match="tsne"):
        read_points(outdir / "embedding.csv", "tsne")
    report = json.loads((outdir / "embedding.json").read_text())
    assert sum(report["explained_variance"]) == pytest.approx(1.0)
    assert report["start"] == "pca"


def test_first_component_is_the_direction_that_was_put_in(first) -> None:
    outdir, embedding = first
    z = two_groups()
    assert embedding.explained_variance[0] == pytest.approx(9.25 / 10, abs=0.02)
    path = np.loadtxt(outdir / "pc1_z.txt")
    np.testing.assert_array_equal(path, embedding.pc1_z)
    assert path.shape == (6, 4)
    steps = np.diff(path, axis=0)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[0], steps.shape), atol=1e-12)
    # Rising along z0, from the 5th to the 95th percentile, and the line holds the mean.
    np.testing.assert_allclose(path[[0, -1], 0], np.percentile(z[:, 0], [5, 95]), atol=0.05)
    np.testing.assert_allclose(path[:, 1:], np.broadcast_to(z[:, 1:].mean(axis=0), (6, 3)), atol=0.15)


def test_umap_separates_the_groups(first) -> None:
    umap2 = first[1].table[UMAP2].to_numpy()
    centres = umap2[:150].mean(axis=0), umap2[150:].mean(axis=0)
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * umap2[:150].std()


def test_same_seed_same_files(first, tmp_path: Path) -> None:
    outdir, _ = first
    embed(two_groups(), None, 7, tmp_path)
    for name in ("embedding.csv", "embedding.json", "pc1_z.txt"):
        assert (tmp_path / name).read_bytes() == (outdir / name).read_bytes()


def group_centres(embedding: Embedding, umap: str) -> NDArray[np.float64]:
    coordinates = embedding.table.filter(regex=rf"^{umap}_").to_numpy()
    return coordinates.reshape(4, 100, -1).mean(axis=1)


def similarity(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Correlation of two layouts, blind to a common shift and scale but not to a rotation."""
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    return float((first * second).sum() / np.linalg.norm(first) / np.linalg.norm(second))


def test_next_round_looks_like_the_previous_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    corners = 6.0 * np.repeat(np.eye(4), 100, axis=0)
    # A rotation of latent space changes the components and so the start that a fresh picture would have.
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    z = corners + rng.normal(scale=0.5, size=(400, 4))
    changed = (corners + rng.normal(scale=0.5, size=(400, 4))) @ turn
    before = embed(z, None, 7, tmp_path / "before")
    after = embed(changed, tmp_path / "before", 7, tmp_path / "after")
    fresh = embed(changed, None, 7, tmp_path / "fresh")
    for umap in ("umap2", "umap3"):
        continued, afresh = (similarity(group_centres(before, umap), group_centres(e, umap)) for e in (after, fresh))
        assert continued > max(0.85, afresh + 0.3)
    assert json.loads((tmp_path / "after" / "embedding.json").read_text())["start"] == "previous"


def test_components_do_not_flip(first, tmp_path: Path) -> None:
    outdir, before = first
    with np.load(outdir / "embedding.npz") as arrays:
        flipped = dict(arrays) | {"components": -arrays["components"]}
    np.savez(tmp_path / "embedding.npz", **flipped)
    after = embed(two_groups(), tmp_path, 7, tmp_path)
    for i in range(1, 5):
        np.testing.assert_allclose(after.table[f"pc{i}"], -before.table[f"pc{i}"], atol=1e-9)


def test_who_is_left_out_has_no_part_in_it_and_lies_amid_the_others(first, tmp_path: Path) -> None:
    z, kept = two_groups(), np.arange(300) % 3 > 0
    z[~kept] += 1000.0
    z[0] = z[1]
    embedding = embed(z, first[0], 7, tmp_path / "all", kept)
    with np.load(first[0] / "embedding.npz") as arrays:
        last = {name: array[kept] if name.startswith("umap") else array for name, array in arrays.items()}
    (tmp_path / "last").mkdir()
    np.savez(tmp_path / "last" / "embedding.npz", **last)
    alone = embed(z[kept], tmp_path / "last", 7, tmp_path / "alone")
    mine, theirs = embedding.table.drop(columns="row")[kept], alone.table.drop(columns="row")
    np.testing.assert_allclose(mine, theirs, rtol=1e-12)
    np.testing.assert_array_equal(embedding.pc1_z, alone.pc1_z)
    np.testing.assert_array_equal(embedding.explained_variance, alone.explained_variance)
    umap2, group = embedding.table[UMAP2].to_numpy(), alone.table[UMAP2].to_numpy()
    assert np.isfinite(umap2).all()
    # a twin of a particle of the first group is seen in the first group
    distances = [np.linalg.norm(umap2[0] - part.mean(axis=0)) for part in (group[:100], group[100:])]
    assert distances[0] < 2 * group[:100].std() < distances[1]
    # and the next round may take all of them back
    assert np.isfinite(embed(two_groups(), tmp_path / "all", 7, tmp_path / "next").table.to_numpy()).all()


@pytest.mark.parametrize(("count", "zdim"), [(3, 2), (16, 8), (50, 1), (50, 2)])
def test_few_particles_and_dimensions(tmp_path: Path, count: int, zdim: int) -> None:
    embedding = embed(two_groups(count, zdim), None, 0, tmp_path)
    assert len(embedding.table) == count
    assert np.isfinite(embedding.table.to_numpy()).all()
    assert np.isfinite(embedding.pc1_z).all()
    again = embed(two_groups(count, zdim), tmp_path, 0, tmp_path / "next")
    assert np.isfinite(again.table.to_numpy()).all()


def test_broken_latent_variables_are_refused(tmp_path: Path) -> None:
    z = two_groups(50)
    z[7, 1] = np.nan
    with pytest.raises(DrgnalignError, match="1 of 50 particles are not finite: row 7"):
        embed(z, None, 0, tmp_path)
    with pytest.raises(DrgnalignError, match="same latent variables"):
        embed(np.ones((50, 4)), None, 0, tmp_path)
    with pytest.raises(InputError, match="3 particles"):
        embed(two_groups(2), None, 0, tmp_path)


def test_previous_round_must_be_of_the_same_particles(first, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="300 particles in 4 dimensions, now there are 50"):
        embed(two_groups(50), first[0], 0, tmp_path)
    with pytest.raises(InputError, match="missing"):
        embed(two_groups(50), tmp_path, 0, tmp_path)
