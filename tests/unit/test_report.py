from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from drgnalign.colours import LEFT_OUT_COLOUR, LEFT_OUT_LABEL, PALETTE, UNASSIGNED_COLOUR, cluster_colour, map_colour
from drgnalign.errors import InputError
from drgnalign.formats.star import read_star, write_star
from drgnalign.particles import Particles
from drgnalign.report.figures import (
    DPI,
    fsc_figure,
    label_flow_figure,
    resolution_figure,
    umap_figure,
    write_figures,
)
from drgnalign.report.summary import halves_note, read_passes, summary_table
from drgnalign.report.words import findings, pass_sentence
from drgnalign.run.records import PassMetrics

BOX, PIXEL_SIZE = 64, 3.2


def fsc_rows(cluster: str, resolution: float, limit: str, halves: str = "independent") -> pd.DataFrame:
    shell = np.arange(1, BOX // 2 + 1)
    angstrom = BOX * PIXEL_SIZE / shell
    # A smooth fall through 0.143 at the resolution.
    correlation = 1 / (1 + 5.993 * (resolution / angstrom) ** 8)
    return pd.DataFrame(
        {
            "cluster": cluster,
            "shell": shell,
            "resolution_angstrom": angstrom,
            "fsc_unmasked": correlation,
            "fsc_masked": correlation,
            "fsc_randomised": 0.0,
            "fsc_corrected": correlation,
            "resolution_0143_angstrom": resolution,
            "mask": "mask.mrc",
            "alignment_limit_angstrom": limit,
            "halves": halves,
        }
    )


def cluster_entry(cluster: str, particles: int, resolution: float, limit: float | None) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "warnings": [],
        "cluster": cluster,
        "particles": particles,
        "skipped": False,
        "alignment_limit_angstrom": limit,
        "reference": "reconstruct" if limit is None else cluster,
        "resolution_angstrom": resolution,
        "reaches_nyquist": False,
        "mean_fsc": 0.5,
        "mask": "mask.mrc",
    }
    if limit is not None:
        entry |= {"accepted_share": 0.9, "median_rotation_change_degrees": 1.5, "median_shift_change_angstrom": 0.4}
    return entry


def pass_metrics(number: int, round_: int, clusters: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    clustering = {"method": "kmeans", "ari_with_last_round": None if round_ == 1 else 0.9} if round_ else None
    return {
        "pass": number,
        "round": round_,
        "particles": 200,
        "unassigned": 0,
        "left_out": 0,
        "left_out_new": 0,
        "left_out_back": 0,
        "halves": "independent",
        "references": "reconstruct",
        "median_rotation_change_degrees": 1.5,
        "median_shift_change_angstrom": 0.4,
        "verdict": None,
        "clusters": clusters,
        "clustering": clustering,
        "steady": False,
        **more,
    }


def read(passes: list[dict[str, Any]]) -> list[PassMetrics]:
    return [PassMetrics.of(one) for one in passes]


@pytest.fixture
def run_passes() -> list[dict[str, Any]]:
    """Two consensus passes and two rounds; in the second, cluster 2 is skipped and a cluster 3 comes up."""
    skipped = {"cluster": "cluster_02", "particles": 5, "skipped": True, "warnings": ["has no map"]}
    return [
        pass_metrics(0, 0, [cluster_entry("consensus", 200, 20.0, None)]),
        pass_metrics(1, 0, [cluster_entry("consensus", 200, 12.0, 16.0)]),
        pass_metrics(2, 1, [cluster_entry("cluster_01", 120, 11.0, 14.0), cluster_entry("cluster_02", 60, 13.0, 14.0)]),
        pass_metrics(
            3, 2, [cluster_entry("cluster_01", 125, 10.0, 11.5), skipped, cluster_entry("cluster_03", 50, 15.0, 11.5)]
        ),
    ]


LABELS = {
    1: np.repeat([1, 2, 0], [120, 60, 20]),
    2: np.repeat([1, 3, 2, 1, 0, 3], [120, 10, 5, 5, 20, 40]),
}


def write_passes(folder: Path, passes: list[dict[str, Any]]) -> None:
    points = np.random.default_rng(0).normal(size=(200, 2))
    for metrics in passes:
        files = folder / f"pass_{metrics['pass']}"
        files.mkdir(parents=True)
        write_star(labelled(LABELS.get(metrics["round"], np.zeros(200, int))), files / "particles.star")
        (files / "metrics.json").write_text(json.dumps(metrics))
        tables = [
            fsc_rows(entry["cluster"], entry["resolution_angstrom"], str(entry["alignment_limit_angstrom"] or "none"))
            for entry in metrics["clusters"]
            if not entry["skipped"]
        ]
        if metrics["round"]:
            tables.insert(0, fsc_rows("consensus", 12.0, "16.0"))
            embedding = pd.DataFrame({"row": np.arange(200), "umap2_1": points[:, 0], "umap2_2": points[:, 1]})
            (files / "latent").mkdir()
            embedding.to_csv(files / "latent" / "embedding.csv", index=False)
        pd.concat(tables).to_csv(files / "fsc.csv", index=False)


def labelled(labels: np.ndarray) -> Particles:
    table = pd.DataFrame(
        {
            "rlnImageName": [f"{number:06d}@stack.mrcs" for number in range(1, len(labels) + 1)],
            "rlnOpticsGroup": 1,
            "rlnClassNumber": labels,
        }
    )
    optics = pd.DataFrame({"rlnOpticsGroup": [1], "rlnOpticsGroupName": ["a"], "rlnImagePixelSize": [PIXEL_SIZE]})
    return Particles(table, optics, Path("p.star"))


def words(figure: Figure) -> str:
    """All text of a figure, legend included."""
    legend = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    axes = figure.axes[0]
    labels = [axes.get_title(), axes.get_xlabel(), axes.get_ylabel()]
    return "\n".join([*labels, *legend, *(text.get_text() for text in axes.texts)])


def test_summary_has_a_row_a_pass_and_cluster(run_passes: list[dict[str, Any]]) -> None:
    table = summary_table(read(run_passes))
    assert table["round"].tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert table["cluster"].tolist()[2:] == ["cluster_01", "cluster_02", "cluster_01", "cluster_02", "cluster_03"]
    assert table["alignment_limit_angstrom"].tolist()[:3] == ["none", 16.0, 14.0]
    skipped = table.iloc[5]
    assert skipped["skipped"]
    assert skipped["particles"] == 5
    assert skipped[["reference", "alignment_limit_angstrom", "resolution_angstrom", "accepted_share"]].isna().all()
    assert table["ari_with_last_round"].tolist()[-1] == 0.9
    assert table["ari_with_last_round"].isna().tolist() == [True] * 4 + [False] * 3
    assert np.isnan(table["median_rotation_change_degrees"][0])
    assert table["median_rotation_change_degrees"][1] == 1.5


def test_summary_csv_survives_being_read(run_passes: list[dict[str, Any]], tmp_path: Path) -> None:
    run_passes[2]["clusters"][0]["particles_interval"] = [180, 220]
    table = summary_table(read(run_passes))
    table.to_csv(tmp_path / "summary.csv", index=False)
    assert ",180,220,False," in (tmp_path / "summary.csv").read_text()
    again = pd.read_csv(tmp_path / "summary.csv")
    assert again.columns.tolist() == table.columns.tolist()
    assert again["resolution_angstrom"].equals(table["resolution_angstrom"])


def test_passes_are_read_in_order(run_passes: list[dict[str, Any]], tmp_path: Path) -> None:
    write_passes(tmp_path, run_passes[::-1])
    assert read_passes(tmp_path) == read(run_passes)


def test_the_tenth_pass_comes_after_the_second(run_passes: list[dict[str, Any]], tmp_path: Path) -> None:
    write_passes(tmp_path, [{**run_passes[0], "pass": number} for number in (10, 2)])
    assert [metrics.number for metrics in read_passes(tmp_path)] == [2, 10]


def test_broken_passes_are_refused(run_passes: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folders"):
        read_passes(tmp_path)
    write_passes(tmp_path, run_passes[:2])
    (tmp_path / "pass_1").rename(tmp_path / "pass_7")
    with pytest.raises(InputError, match="of pass 1"):
        read_passes(tmp_path)
    (tmp_path / "pass_7" / "metrics.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        read_passes(tmp_path)
    (tmp_path / "pass_7" / "metrics.json").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_passes(tmp_path)


def test_joint_references_are_remembered(run_passes: list[dict[str, Any]]) -> None:
    assert halves_note(read(run_passes)) == ""
    run_passes[1]["halves"] = "not independent"
    assert halves_note(read(run_passes[:1])) == ""
    assert halves_note(read(run_passes)) == "halves not independent"


def test_all_figures_are_written(run_passes: list[dict[str, Any]], tmp_path: Path) -> None:
    write_passes(tmp_path, run_passes)
    outdir = tmp_path / "out"
    outdir.mkdir()
    files = write_figures(tmp_path, outdir)
    # of earlier rounds there are those that were drawn after these
    expected = ["fsc_round_02.png", "label_flow.png", "resolution_by_round.png", "umap_round_02.png"]
    assert sorted(path.name for path in outdir.iterdir()) == sorted(path.name for path in files) == expected
    for file in files:
        assert min(imread(file).shape[:2]) >= 5 * DPI


def test_every_figure_of_joint_references_says_so(
    run_passes: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From the second consensus pass on: its FSC, and all that is built on its poses.
    run_passes[1]["halves"] = "not independent"
    write_passes(tmp_path, run_passes)
    drawn: dict[str, Figure] = {}
    monkeypatch.setattr(
        "drgnalign.report.figures.save_figure", lambda figure, path: drawn.setdefault(path.name, figure)
    )
    write_figures(tmp_path, tmp_path)
    assert len(drawn) == 4
    assert all("halves not independent" in words(figure) for figure in drawn.values())


def test_consensus_alone(run_passes: list[dict[str, Any]], tmp_path: Path) -> None:
    write_passes(tmp_path, run_passes[:1])
    assert [path.name for path in write_figures(tmp_path, tmp_path)] == [
        "resolution_by_round.png",
        "fsc_round_00.png",
    ]


def test_missing_and_foreign_files_are_refused(run_passes: list[dict[str, Any]], tmp_path: Path) -> None:
    write_passes(tmp_path, run_passes)
    embedding = tmp_path / "pass_3" / "latent" / "embedding.csv"
    pd.read_csv(embedding).head(150).to_csv(embedding, index=False)
    with pytest.raises(InputError, match="150 particles"):
        write_figures(tmp_path, tmp_path)
    embedding.unlink()
    with pytest.raises(InputError, match="no such file"):
        write_figures(tmp_path, tmp_path)


def test_colours_are_fixed_by_the_number() -> None:
    assert [cluster_colour(label) for label in range(1, 13)] == list(PALETTE)
    assert cluster_colour(13) == PALETTE[0]
    assert (cluster_colour(0), cluster_colour(LEFT_OUT_LABEL)) == (UNASSIGNED_COLOUR, LEFT_OUT_COLOUR)
    assert (map_colour(0), map_colour(1)) == ("#000000", PALETTE[0])
    assert len({*PALETTE, UNASSIGNED_COLOUR, LEFT_OUT_COLOUR}) == 14


def test_umap_tells_sizes() -> None:
    points = np.random.default_rng(0).normal(size=(200, 2))
    figure = umap_figure(points, LABELS[1], "t")
    assert "cluster 1: 120 (60.0%)" in words(figure)
    assert words(figure).index("cluster 2: 60") < words(figure).index("unassigned: 20")


def test_a_umap_fills_its_panel() -> None:
    points = np.random.default_rng(0).uniform(size=(200, 2)) * (2.0, 1.0)
    figure = umap_figure(points, LABELS[1], "t")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert np.ptp(axes.get_xlim()) < 1.3 * 2 and np.ptp(axes.get_ylim()) < 1.3 * 1


def test_who_is_left_out_is_a_class_of_its_own(
    run_passes: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_passes[1]["clusters"][0]["particles"] = 185
    write_passes(tmp_path, run_passes)
    for number in (2, 3):
        star = tmp_path / f"pass_{number}" / "particles.star"
        particles = read_star(star)
        # of the 20 without a label in rows 180 and on, 15 in the first round, 20 in the second
        particles.table["drgnLeftOut"] = (np.arange(200) >= (185 if number == 2 else 180)).astype(int)
        particles.table.loc[185:, "rlnClassNumber"] = 0
        write_star(particles, star)
    drawn: dict[str, Figure] = {}
    monkeypatch.setattr("drgnalign.report.figures.save_figure", lambda figure, path: drawn.update({path.stem: figure}))
    write_figures(tmp_path, tmp_path)
    assert "consensus (185)" in words(drawn["fsc_round_02"])
    flow = words(drawn["label_flow"])
    assert "×" in flow.split("\n") and " 15" in flow.split("\n") and " 20" in flow.split("\n")
    assert "×: left out" in flow
    shutil.rmtree(tmp_path / "pass_3")
    write_figures(tmp_path, tmp_path)
    assert "unassigned: 5 (2.7%)" in words(drawn["umap_round_01"])
    assert "left out: 15\n" in words(drawn["umap_round_01"]) + "\n"
    assert "200 particles; shares are of the 185 kept" in words(drawn["umap_round_01"])
    assert words(drawn["umap_round_01"]).index("unassigned") < words(drawn["umap_round_01"]).index("left out")


def test_the_summary_says_how_many_are_left_out(run_passes: list[dict[str, Any]]) -> None:
    run_passes[2] |= {"left_out": 12, "left_out_new": 5, "left_out_back": 3}
    table = summary_table(read(run_passes))
    assert table.loc[table["round"] == 1, "left_out"].tolist() == [12, 12]
    assert (table["left_out"].max(), table["left_out_new"].max(), table["left_out_back"].max()) == (12, 5, 3)


def test_fsc_limit_stands_at_its_frequency_on_the_curve() -> None:
    fsc = pd.concat([fsc_rows("cluster_03", 10.0, "8.0"), fsc_rows("consensus", 12.0, "none")])
    figure = fsc_figure(fsc, {"cluster_03": 1000, "consensus": 2000}, PIXEL_SIZE, "t")
    ticks = [line for line in figure.axes[0].lines if line.get_marker() == "|"]
    assert len(ticks) == 1
    assert np.ravel(ticks[0].get_xdata()) == pytest.approx([1 / 8])
    assert np.ravel(ticks[0].get_ydata()) == pytest.approx([1 / (1 + 5.993 * 1.25**8)], abs=0.01)
    assert ticks[0].get_color() == cluster_colour(3)
    assert "cluster 3 (1,000): 10.00 Å" in words(figure)
    assert figure.axes[0].get_xticklabels()[0].get_text() == "7"


def test_a_curve_above_the_threshold_bounds_the_resolution() -> None:
    fsc = fsc_rows("cluster_01", 6.4, "none").assign(fsc_corrected=0.5)
    assert "cluster 1 (9): ≤ 6.40 Å" in words(fsc_figure(fsc, {"cluster_01": 9}, PIXEL_SIZE, "t"))


def test_resolution_has_a_gap_where_a_cluster_was_skipped(run_passes: list[dict[str, Any]]) -> None:
    figure = resolution_figure(read(run_passes), PIXEL_SIZE, "t")
    lines = {line.get_color(): line for line in figure.axes[0].lines if line.get_marker() == "o"}
    second = np.asarray(lines[cluster_colour(2)].get_ydata(), float)
    assert second[2] == pytest.approx(1 / 13)
    assert np.isnan(second[[0, 1, 3]]).all()
    labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert labels == ["consensus\n1", "consensus\n2", "round 1", "round 2"]
    assert "Nyquist, 6.4 Å" in words(figure)


def test_figures_of_clusters_without_resolution(run_passes: list[dict[str, Any]]) -> None:
    fsc = fsc_rows("cluster_01", np.nan, "none").assign(fsc_corrected=-0.01)
    assert "cluster 1 (9): no resolution" in words(fsc_figure(fsc, {"cluster_01": 9}, PIXEL_SIZE, "t"))
    for entry in (entry for metrics in run_passes for entry in metrics["clusters"] if not entry["skipped"]):
        entry |= {"resolution_angstrom": None, "alignment_limit_angstrom": None}
    table = summary_table(read(run_passes))
    assert table["resolution_angstrom"].isna().all()
    assert set(table.loc[~table["skipped"], "alignment_limit_angstrom"]) == {"none"}
    resolution_figure(read(run_passes), PIXEL_SIZE, "t")


def test_flow_conserves_particles() -> None:
    figure = label_flow_figure(LABELS, "t")
    bars = [patch for patch in figure.axes[0].patches if hasattr(patch, "get_height")]
    bands = [patch for patch in figure.axes[0].patches if not hasattr(patch, "get_height")]
    assert sum(bar.get_height() for bar in bars) == 400
    # At a column, the side of a band goes from the last corner to the first.
    widths = [band.get_path().vertices[-1, 1] - band.get_path().vertices[0, 1] for band in bands]
    assert sum(widths) == 200
    # 1→1; 2→3, 2→2, 2→1, 2→0, 2→3 again; 0→3
    assert sorted(width for width in widths if width) == [5, 5, 20, 20, 30, 120]
    assert {text for text in words(figure).split("\n") if text.startswith(" ")} >= {" 125", " 120", " 50", " 60"}


def test_figures_of_the_summary_have_digits_that_mean_something(run_passes: list[dict[str, Any]]) -> None:
    run_passes[2]["clusters"][0] |= {"resolution_angstrom": 11.1234567, "mean_posterior": 2 / 3, "amplitude": 1 / 3}
    row = summary_table(read(run_passes)).iloc[2]
    assert row[["resolution_angstrom", "mean_posterior", "amplitude"]].tolist() == [11.12, 0.6667, 0.333]


def test_a_pass_in_a_line(run_passes: list[dict[str, Any]]) -> None:
    assert pass_sentence(PassMetrics.of(run_passes[0])) == "200 particles at 20 Å"
    assert (
        pass_sentence(PassMetrics.of(run_passes[2] | {"verdict": "2 states"}))
        == "2 states; 120 and 60 particles at 11 and 13 Å"
    )
    run_passes[3]["clusters"][2]["resolution_angstrom"] = None
    expected = "125, 5 and 50 particles at 10 Å, no map and no resolution; ARI with the last round 0.90"
    assert pass_sentence(PassMetrics.of(run_passes[3])) == expected
    many = [cluster_entry(f"cluster_{n:02d}", 1000 * n, 10.0 - n, 12.0) for n in range(1, 9)]
    sentence = pass_sentence(PassMetrics.of(pass_metrics(4, 1, many)))
    assert sentence == "8 clusters of 1,000–8,000 particles at 2–9 Å"
    assert pass_sentence(PassMetrics.of(pass_metrics(4, 1, []))) == "no cluster"


def test_findings_name_what_was_found_what_to_doubt_and_which_files(run_passes: list[dict[str, Any]]) -> None:
    for cluster in run_passes[2]["clusters"]:
        cluster["warnings"] = ["ends at Nyquist"]
        cluster["notes"] = ["ends at Nyquist"]
    run_passes[2]["clusters"][0]["warnings"].append("has few views")
    text = findings(read([*run_passes[:2], run_passes[2] | {"verdict": "2 states", "left_out": 12}]))
    believed, notes = text.split("What not to believe as it stands\n")[1].split("What to bear in mind\n")
    assert "few views" in believed and "Nyquist" not in believed and "Nyquist" in notes
    for line in (
        "What was found (round 1)",
        "  The images support: 2 states",
        "  cluster_01: 120 particles, 11 Å, aligned up to 14 Å",
        "  12 of 200 particles are left out: in no map, but in final/left_out_particles.star",
        "  every cluster: ends at Nyquist",
        "  cluster_01: has few views",
    ):
        assert line in text.splitlines()
    verdict = (
        "a continuum that discrete states do not describe, or too little signal: all clusters may run into each other"
    )
    assignment = {
        "states": 3,
        "clusters": {"1": {"spread_interval": [0.0, 0.5]}},
        "contrast": {"spread": 0.37},
    }
    unclear = run_passes[2] | {"verdict": verdict, "clustering": {"assignment": assignment}}
    line = pass_sentence(PassMetrics.of(unclear))
    assert line.startswith("3 clusters are told apart. Whether they are states") and line.endswith("at 11 and 13 Å")
    unsure = findings(read([unclear])).splitlines()
    assert unsure[1].startswith("  3 clusters are told apart. Whether they are states or cuts through a motion cannot")
    assert any(line.startswith("  particles: the images' amplitudes vary by 0.37") for line in unsure)
    linear = {"gains": [0.0, 1.0, 2.0, 2.0], "points": 3}
    unasked = findings(read([run_passes[2] | {"clustering": {"linear": linear}}]))
    assert "  the clusters: the images were not asked whether they are so many; the linear model counts 3 states" in (
        unasked.splitlines()
    )
    assert "umap_round_01.png" in text and "final/" in text
    assert "  the input: 3 images are masked" in findings(read(run_passes[:1]), None, ["3 images are masked"])
    assert "umap" not in findings(read(run_passes[:1])) and "believe" not in findings(read(run_passes[:1]))
