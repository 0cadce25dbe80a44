"""The plan of a pass: which particles, at which limit, against which reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drgnalign.engine.refine import check_limit
from drgnalign.engine.sampling import part_bytes
from drgnalign.formats.star import read_star
from drgnalign.particles import Particles
from drgnalign.run.plan import PLAN
from drgnalign.run.split import PassSettings, split_clusters, usual_chunk_size
from drgnalign.run.state import cluster_name

# Clusters 1 (100 particles), 2 (60) and 7 (12, of which 6 in each half); 8 particles without a label.
COUNTS = {1: 100, 2: 60, 7: 12, 0: 8}


@pytest.fixture
def labelled(noisy_set) -> Particles:
    particles = noisy_set.given.select(np.arange(sum(COUNTS.values())))
    labels = np.repeat(list(COUNTS), list(COUNTS.values()))
    order = np.random.default_rng(0).permutation(len(labels))
    particles.table["rlnClassNumber"] = labels[order]
    particles.table["rlnRandomSubset"] = (np.arange(len(labels)) % 2 + 1)[order]
    return particles


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """References of a last pass in which cluster 1 and the consensus had maps; 16 shells of 16 Å … 256 Å."""
    folder = tmp_path / "references"
    folder.mkdir()
    (folder / "cluster_01_half1.mrc").touch()
    write_fsc(folder, {"consensus": (25.9721, "none"), "cluster_01": (21.5903, "none")})
    return folder


def write_fsc(folder: Path, found: Mapping[str, tuple[float, str]]) -> None:
    """Of clusters by name: resolution and limit of the last pass."""
    tables = [
        pd.DataFrame(
            {
                "cluster": name,
                "shell": np.arange(1, 17),
                "resolution_0143_angstrom": resolution,
                "alignment_limit_angstrom": limit,
            }
        )
        for name, (resolution, limit) in found.items()
    ]
    # The order of rows must not matter.
    pd.concat(tables).sample(frac=1, random_state=0).to_csv(folder / "fsc.csv", index=False)


def test_a_chunk_is_large_enough_for_its_part_of_the_reconstruction() -> None:
    for box, padding in ((64, 2.0), (320, 1.0), (320, 1.5), (320, 2.0)):
        images = usual_chunk_size(box, padding) * 4 * box**2
        assert 4 * part_bytes(box, padding) <= images < 4.01 * part_bytes(box, padding)
    assert usual_chunk_size(32, 1.0) == 1000


def settings(**changes: object) -> PassSettings:
    return PassSettings(**{"consensus": False, "limit": "20", "references": "previous", "chunk_size": 40, **changes})


def split(labelled: Particles, last_references: Path, outdir: Path, **changes: object) -> pd.DataFrame:
    outdir.mkdir()
    return split_clusters(labelled, last_references, settings(**changes), outdir)


def test_chunks_of_fixed_size_in_input_order(labelled: Particles, references: Path, tmp_path: Path) -> None:
    plan = split(labelled, references, tmp_path / "out")
    assert plan["chunk"].tolist() == [
        *(f"cluster_01_chunk_{number:04d}.star" for number in (1, 2, 3)),
        *(f"cluster_02_chunk_{number:04d}.star" for number in (1, 2)),
    ]
    for label, sizes in ((1, [40, 40, 20]), (2, [40, 20])):
        mine = plan[plan["cluster"] == cluster_name(label)]
        chunks = [read_star(tmp_path / "out" / name) for name in mine["chunk"]]
        assert [len(chunk) for chunk in chunks] == sizes
        rows = np.concatenate([chunk.table["drgnRow"] for chunk in chunks])
        assert rows.tolist() == np.flatnonzero(labelled.cluster_labels() == label).tolist()
    written = pd.read_csv(tmp_path / "out" / "plan.csv", dtype={"limit": str})
    pd.testing.assert_frame_equal(written, plan)


def test_chunks_keep_every_column_bit_by_bit(labelled: Particles, references: Path, tmp_path: Path) -> None:
    plan = split(labelled, references, tmp_path / "out")
    chunks = pd.concat([read_star(tmp_path / "out" / name).table for name in plan["chunk"]])
    chunks = chunks.sort_values("drgnRow").reset_index(drop=True)
    given = labelled.table[labelled.table["rlnClassNumber"].isin([1, 2])].reset_index(drop=True)
    pd.testing.assert_frame_equal(chunks, given, check_exact=True, check_like=True)


def test_unassigned_particles_and_tiny_clusters_are_in_no_chunk(
    labelled: Particles, references: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    plan = split(labelled, references, tmp_path / "out")
    assert set(plan["cluster"]) == {"cluster_01", "cluster_02"}
    rows = np.concatenate([read_star(tmp_path / "out" / name).table["drgnRow"] for name in plan["chunk"]])
    assert len(set(rows)) == len(rows) == 160
    message = capsys.readouterr().err
    assert "cluster_07: skipped in this pass: 12 particles, 6 in the smaller half set" in message
    assert "cluster_01" not in message
    assert len(list((tmp_path / "out").iterdir())) == len(plan) + len(set(plan["pilot"])) + 1


def test_one_half_set_alone_is_too_small(labelled: Particles, references: Path, tmp_path: Path) -> None:
    labelled.table.loc[labelled.table["rlnClassNumber"] == 2, "rlnRandomSubset"] = 1
    assert set(split(labelled, references, tmp_path / "out")["cluster"]) == {"cluster_01"}


def test_a_pass_may_have_nothing_to_do(labelled: Particles, references: Path, tmp_path: Path) -> None:
    labelled.table["rlnClassNumber"] = 0
    assert split(labelled, references, tmp_path / "out").empty
    written = pd.read_csv(tmp_path / "out" / "plan.csv")
    assert written.empty and written.columns.tolist() == PLAN
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["plan.csv"]


def test_consensus_takes_all_particles(labelled: Particles, references: Path, tmp_path: Path) -> None:
    plan = split(labelled, references, tmp_path / "out", consensus=True, chunk_size=100)
    assert plan["cluster"].tolist() == plan["reference"].tolist() == ["consensus"] * 2
    anew = split(labelled, references, tmp_path / "anew", consensus=True, references="reconstruct")
    assert set(anew["cluster"]) == {"consensus"} and set(anew["reference"]) == {"reconstruct"}
    rows = np.concatenate([read_star(tmp_path / "out" / name).table["drgnRow"] for name in plan["chunk"]])
    assert rows.tolist() == list(range(180))


@pytest.mark.parametrize("consensus", [True, False])
def test_who_is_left_out_is_in_no_chunk_and_no_pilot(
    labelled: Particles, references: Path, tmp_path: Path, consensus: bool
) -> None:
    # whatever their labels say
    out = np.flatnonzero(labelled.cluster_labels() == 1)[::3]
    labelled.table["drgnLeftOut"] = 0
    labelled.table.loc[out, "drgnLeftOut"] = 1
    plan = split(labelled, references, tmp_path / "out", consensus=consensus)
    for column in ("chunk", "pilot"):
        rows = np.concatenate([read_star(tmp_path / "out" / name).table["drgnRow"] for name in set(plan[column])])
        assert len(rows) and not set(rows) & set(out)
    in_chunks = sum(len(read_star(tmp_path / "out" / name)) for name in plan["chunk"])
    assert in_chunks == (180 if consensus else 160) - len(out)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("reconstruct", {"cluster_01": "reconstruct", "cluster_02": "reconstruct"}),
        # Cluster 2 had no map in the last pass.
        ("previous", {"cluster_01": "cluster_01", "cluster_02": "consensus"}),
        ("consensus", {"cluster_01": "consensus", "cluster_02": "consensus"}),
        ("decoder", {"cluster_01": "decoder_cluster_01", "cluster_02": "decoder_cluster_02"}),
    ],
)
def test_references(labelled: Particles, references: Path, tmp_path: Path, kind: str, expected: dict) -> None:
    plan = split(labelled, references, tmp_path / "out", references=kind)
    assert dict(zip(plan["cluster"], plan["reference"], strict=True)) == expected


def test_without_refinement_maps_are_only_reconstructed(labelled: Particles, references: Path, tmp_path: Path) -> None:
    plan = split(labelled, references, tmp_path / "out", limit="none")
    assert set(plan["limit"]) == {"none"}
    assert set(plan["reference"]) == {"reconstruct"}


def test_automatic_limits_are_each_clusters_own(labelled: Particles, references: Path, tmp_path: Path) -> None:
    plan = split(labelled, references, tmp_path / "out", limit="auto")
    limits = {cluster: float(limit) for cluster, limit in zip(plan["cluster"], plan["limit"], strict=True)}
    # Cluster 2 is new and takes the consensus's. Rounded up to 0.01 Å.
    assert limits == {"cluster_01": 21.6, "cluster_02": 25.98}


@pytest.mark.parametrize("pixel_size", [8.0, 1.0666666666666667, 0.8233333333])
def test_an_automatic_limit_is_never_beyond_nyquist(
    labelled: Particles, references: Path, tmp_path: Path, pixel_size: float
) -> None:
    labelled.optics["rlnImagePixelSize"] = pixel_size
    table = pd.read_csv(references / "fsc.csv").assign(resolution_0143_angstrom=2 * pixel_size)
    table.to_csv(references / "fsc.csv", index=False)
    plan = split(labelled, references, tmp_path / "out", limit="auto")
    assert (plan["limit"].astype(float) >= 2 * pixel_size).all()
    assert (plan["limit"].astype(float) < 2 * pixel_size + 0.02).all()


@pytest.mark.parametrize(("limit", "references_kind"), [("auto", "previous"), ("20", "reconstruct")])
def test_a_cluster_without_resolution_is_carried(
    labelled: Particles,
    references: Path,
    tmp_path: Path,
    limit: str,
    references_kind: str,
    capsys: pytest.CaptureFixture,
) -> None:
    write_fsc(references, {"consensus": (25.97, "none"), "cluster_01": (np.nan, "20.0"), "cluster_02": (21.0, "20.0")})
    plan = split(labelled, references, tmp_path / "out", limit=limit, references=references_kind)
    one = plan[plan["cluster"] == "cluster_01"]
    assert len(one) == 3 and one["carried"].all()
    assert set(one["limit"]) == {"none"} and set(one["reference"]) == {"reconstruct"}
    two = plan[plan["cluster"] == "cluster_02"]
    assert not two["carried"].any() and (two["limit"].astype(float) <= 21).all()
    message = capsys.readouterr().err
    assert "cluster_01: its maps of the last pass have no resolution" in message and "cluster_02" not in message


def test_all_clusters_may_be_carried(labelled: Particles, references: Path, tmp_path: Path) -> None:
    write_fsc(references, {name: (np.nan, "none") for name in ("consensus", "cluster_01", "cluster_02")})
    plan = split(labelled, references, tmp_path / "out", limit="auto")
    assert set(plan["cluster"]) == {"cluster_01", "cluster_02"} and plan["carried"].all()


def test_where_nothing_is_refined_nothing_is_carried(labelled: Particles, references: Path, tmp_path: Path) -> None:
    write_fsc(references, {"consensus": (25.97, "none"), "cluster_01": (np.nan, "20.0")})
    assert not split(labelled, references, tmp_path / "out", limit="none")["carried"].any()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # The box is 256 Å; an engine takes limits from four Fourier pixels on.
        ((63.995, "none"), 64.0),
        ((64.0, "none"), 64.0),
        # FSC that never falls: two thirds of the last limit, or Nyquist.
        ((16.0, "30.0"), 20.0),
        ((16.0, "22.0"), 16.0),
        ((16.0, "none"), 16.0),
    ],
)
def test_automatic_limits_are_sensible(
    labelled: Particles, references: Path, tmp_path: Path, found: tuple[float, str], expected: float
) -> None:
    write_fsc(references, {"consensus": found, "cluster_01": found})
    plan = split(labelled, references, tmp_path / "out", limit="auto")
    assert set(plan["limit"].astype(float)) == {expected}
    for limit in plan["limit"].astype(float):
        check_limit(limit, labelled)


@pytest.mark.parametrize(("pixel_size", "coarsest"), [(3.13373, 25.06), (40.0, 180.0)])
def test_a_new_cluster_is_refined_as_coarsely_as_engines_can_where_the_consensus_has_no_resolution(
    labelled: Particles, references: Path, tmp_path: Path, pixel_size: float, coarsest: float
) -> None:
    labelled.optics["rlnImagePixelSize"] = pixel_size
    write_fsc(references, {"consensus": (np.nan, "none")})
    plan = split(labelled, references, tmp_path / "out", limit="auto")
    assert set(plan["limit"].astype(float)) == {coarsest}
    check_limit(coarsest, labelled)


def test_all_chunks_of_a_cluster_learn_from_the_same_particles(
    labelled: Particles, references: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drgnalign.engine.sampling.PILOT", 5)
    plan = split(labelled, references, tmp_path / "out")
    for cluster, rows in plan.groupby("cluster"):
        pilot = read_star(tmp_path / "out" / f"{cluster}_pilot.star")
        assert set(rows["pilot"]) == {f"{cluster}_pilot.star"}
        members = [read_star(tmp_path / "out" / name).table["drgnRow"] for name in rows["chunk"]]
        in_order = np.concatenate(members).tolist()
        places = [in_order.index(row) for row in pilot.table["drgnRow"]]
        assert places == sorted(places)
        assert max(places) - min(places) > 0.9 * (len(in_order) - 1)
        assert np.bincount(pilot.half_sets()).tolist() == [0, 5, 5]


def test_where_particles_move_they_are_split_by_their_places(
    labelled: Particles, references: Path, tmp_path: Path
) -> None:
    """Of two places, to each side of the middle; who is in no cluster and has none is in no chunk."""
    many = labelled.select(np.tile(np.arange(len(labelled)), 6))
    many.table["drgnRow"] = np.arange(len(many))
    along = np.linspace(0.0, 1.0, len(many))
    along[5] = np.nan
    many.table["drgnPath"] = along
    many.table.loc[5, "rlnClassNumber"] = 0
    settings = PassSettings(False, "16", "previous", 1000, along=True)
    plan = split_clusters(many, references, settings, tmp_path / "plan")
    assert plan[["cluster", "limit", "reference"]].to_numpy().tolist() == [
        ["point_01", "16", "reconstruct"],
        ["point_02", "16", "reconstruct"],
    ]
    first, second = (read_star(tmp_path / "plan" / chunk).table["drgnPath"] for chunk in plan["chunk"])
    assert first.max() < second.min() and len(first) + len(second) == len(many) - 1
    assert abs(len(first) - len(second)) <= 2
    # the next ones are by cluster: the pass's second plan, a set without motion, one of too few particles
    by_cluster = PassSettings(False, "16", "previous", 1000)
    still = replace(many, table=many.table.drop(columns="drgnPath"))
    few = many.select(np.arange(len(labelled)))
    for number, (particles, asked) in enumerate([(many, by_cluster), (still, settings), (few, settings)]):
        plan = split_clusters(particles, references, asked, tmp_path / f"clusters_{number}")
        assert "cluster_01" in set(plan["cluster"]) and not plan["cluster"].str.startswith("point").any()
    # beside a motion, what does not move is refined by cluster
    halves, stay = many.half_sets(), np.flatnonzero(many.cluster_labels() == 1)
    stay = np.concatenate([stay[halves[stay] == half][:20] for half in (1, 2)])
    many.table.loc[stay, "drgnPath"] = np.nan
    plan = split_clusters(many, references, settings, tmp_path / "beside").set_index("cluster")
    assert list(plan.index) == ["point_01", "point_02", "cluster_01"]
    assert plan.loc["cluster_01", "reference"] == "reconstruct"
    chunk = read_star(tmp_path / "beside" / plan.loc["cluster_01", "chunk"]).table["drgnRow"]
    assert sorted(chunk) == sorted(stay)
