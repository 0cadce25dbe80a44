"""The loop as a whole: what is published, and that it is right."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from runs import Run, last_trace
from sklearn.metrics import adjusted_rand_score

from conftest import IN_HALF_2, Consensus, Further, Masks
from drgnalign.formats.mrc import read_volume
from drgnalign.formats.star import read_star
from drgnalign.fourier import soft_sphere
from drgnalign.geometry import angular_distance
from drgnalign.particles import ANGLES, ORIGINS, Particles
from drgnalign.truth.rounds import score_rounds

NAMES = ["cluster_01", "cluster_02"]
MAPS = [f"{name}{ending}.mrc" for name in NAMES for ending in ("", "_half1", "_half2")]
LATENT = ["images.sha256", "z.pkl", "weights.pkl", "config.yaml", "train.log", "training.json"]
EMBEDDING = ["embedding.csv", "embedding.json", "embedding.npz", "pc1_z.txt"]
VOLUMES = ["mean", *(f"component_{number:02d}" for number in range(1, 4))]
LINEAR = [
    "images.sha256",
    "z.pkl",
    "known.npz",
    "linear.json",
    *(f"{name}_half{half}.mrc" for name in VOLUMES for half in (1, 2)),
]
DECODED = ["cluster_01.mrc", "cluster_02.mrc", *(f"pc1_{i:02d}.mrc" for i in range(1, 7))]
PASS = ["particles.star", "metrics.json", "fsc.csv", "clusters/mask.mrc"]
ROUND = [
    *PASS,
    "clusters.json",
    "posteriors.csv.gz",
    *(f"clusters/{name}" for name in MAPS),
    *(f"latent/{name}" for name in LATENT + EMBEDDING),
    *(f"latent/linear/{name}" for name in LINEAR),
    *(f"decoded/{name}" for name in DECODED),
]
CONSENSUS = [*PASS, *(f"clusters/consensus{ending}.mrc" for ending in ("", "_half1", "_half2"))]
FINAL = [
    "all_particles.star",
    "mask.mrc",
    "index.csv",
    "README.txt",
    "open_all.cxc",
    "open_half_maps.cxc",
    *MAPS,
    *(f"{name}_{file}" for name in NAMES for file in ("particles.star", "fsc.csv")),
]
FIGURES = ["umap_round_01", "umap_round_02", "fsc_round_00", "fsc_round_01", "fsc_round_02"]
RECORDS = [
    "trace_DATE_TIME.txt",
    "report_DATE_TIME.html",
    "timeline_DATE_TIME.html",
    "parameters.json",
    "software_versions.yml",
    "inputs.json",
    "decisions.json",
    "run.json",
    "session.json",
    "made_by.json",
    "training.json",
]


def pass_folders(run: Run) -> list[Path]:
    return [*sorted(run.results.glob("consensus/pass_*")), *sorted(run.results.glob("round_*"))]


def metrics(run: Run, folder: str) -> dict[str, Any]:
    return json.loads((run.results / folder / "metrics.json").read_text())


def particles(run: Run, folder: str) -> Particles:
    return read_star(run.results / folder / "particles.star")


def test_all_is_published(loop_run: Run) -> None:
    folders = {"consensus/pass_01": CONSENSUS, "round_01": ROUND, "round_02": ROUND}
    folders |= {f"consensus/pass_0{number}": [*CONSENSUS, "screening.json"] for number in (2, 3)}
    folders |= {"final": FINAL, "pipeline_info": RECORDS}
    expected = {f"{folder}/{file}" for folder, files in folders.items() for file in files} | {"summary.csv"}
    expected |= {"findings.txt", "report.html", "report.json"} | {
        f"{name}.png" for name in [*FIGURES, "resolution_by_round", "label_flow"]
    }
    files = [str(path.relative_to(loop_run.results)) for path in loop_run.results.rglob("*") if path.is_file()]
    published = {re.sub(r"_[\d-]{10}_[\d-]{8}(?=\.)", "_DATE_TIME", name) for name in files}
    assert expected <= published
    assert {Path(name).suffix for name in published - expected} <= {".log"}
    for figure in loop_run.results.glob("*.png"):
        assert figure.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and figure.stat().st_size > 5000


def test_the_run_is_on_record(loop_run: Run, noisy_set: Any) -> None:
    info = loop_run.results / "pipeline_info"
    assert loop_run.named("COMPLETED") == set(loop_run.tasks.index)
    assert json.loads((info / "parameters.json").read_text())["clustering"] == "kmeans,gmm,hdbscan"
    versions = dict(line.split(": ") for line in (info / "software_versions.yml").read_text().splitlines())
    assert {"nextflow", "drgnalign", "cryodrgn", "torch", "python"} <= set(versions)
    facts = json.loads((info / "inputs.json").read_text())
    assert (facts["particles"], facts["box"], facts["contrast"]) == (300, 32, ["white"])
    assert facts["half_sets"] == np.bincount(noisy_set.given.half_sets())[1:].tolist()


def test_order_names_and_half_sets_never_change(loop_run: Run, noisy_set: Any) -> None:
    given = noisy_set.given.table
    tables = [read_star(folder / "particles.star").table for folder in pass_folders(loop_run)]
    tables.append(read_star(loop_run.results / "final" / "all_particles.star").table)
    assert len(tables) == 6
    for table in tables:
        columns = ["rlnImageName", "rlnRandomSubset", "rlnDefocusU", "rlnDefocusAngle"]
        pd.testing.assert_frame_equal(table[columns], given[columns])


def test_final_clusters_make_the_whole_set(loop_run: Run) -> None:
    final = loop_run.results / "final"
    whole = read_star(final / "all_particles.star").table
    parts = [read_star(final / f"{name}_particles.star").table for name in NAMES]
    together = pd.concat(parts).sort_values("rlnImageName", ignore_index=True)
    pd.testing.assert_frame_equal(together, whole.sort_values("rlnImageName", ignore_index=True))
    last = particles(loop_run, "round_02").table
    pd.testing.assert_frame_equal(whole[[*ANGLES, *ORIGINS]], last[[*ANGLES, *ORIGINS]])
    for name in MAPS:
        volume, pixel_size = read_volume(final / name)
        assert volume.shape == (32, 32, 32) and pixel_size == pytest.approx(8.0)
        np.testing.assert_array_equal(volume, read_volume(loop_run.results / "round_02" / "clusters" / name)[0])


def test_half_sets_stay_apart(loop_run: Run) -> None:
    for folder in pass_folders(loop_run):
        assert set(pd.read_csv(folder / "fsc.csv")["halves"]) == {"independent"}
    assert set(pd.read_csv(loop_run.results / "summary.csv")["halves"]) == {"independent"}
    assert "not independent" not in (loop_run.results / "final" / "index.csv").read_text()


def test_poses_get_better(loop_run: Run, noisy_set: Any) -> None:
    scores = score_rounds(loop_run.results, noisy_set.folder / "truth.star")
    given, refined, *rounds = scores["rotation_median"]
    assert given > 3.5
    # with so few particles, and clusters of next to no training, rounds gain nothing; but they must not get lost
    assert refined < 0.8 * given and max(rounds) < 0.9 * given
    assert scores["shift_median"].iloc[-1] < 0.6 * scores["shift_median"].iloc[0]


def test_each_round_has_its_own_clustering_and_references(loop_run: Run) -> None:
    first, second = metrics(loop_run, "round_01"), metrics(loop_run, "round_02")
    assert [first["clustering"]["method"], second["clustering"]["method"]] == ["kmeans", "gmm"]
    assert [cluster["reference"] for cluster in first["clusters"]] == ["reconstruct", "reconstruct"]
    assert [cluster["reference"] for cluster in second["clusters"]] == NAMES
    assert first["clustering"]["ari_with_last_round"] is None
    assert -1 <= second["clustering"]["ari_with_last_round"] <= 1


def test_the_images_choose_and_say_why(loop_run: Run, noisy_set: Any) -> None:
    truth = read_star(noisy_set.folder / "truth.star").cluster_labels()
    for number in (1, 2):
        after, record = particles(loop_run, f"round_0{number}"), metrics(loop_run, f"round_0{number}")
        clusters = json.loads((loop_run.results / f"round_0{number}" / "clusters.json").read_text())
        chosen, again = clusters["assignment"], clusters["reassignment"]
        assert record["verdict"] == chosen["verdict"] == "2 states"
        assert chosen["at_rest"] and again["at_rest"] and again["changed"] < 0.02
        # 2 × k clusters of a latent space of one epoch were proposed
        assert chosen["passes"][0]["clusters"] > chosen["states"] == 2
        assert all(cluster["separation_nats"] > 5 for cluster in record["clusters"])
        assert after.table["drgnPosterior"].between(0.5, 1).all()
        assert adjusted_rand_score(truth, after.cluster_labels()) > 0.98
    assert set(pd.read_csv(loop_run.results / "summary.csv")["verdict_before_refinement"].dropna()) == {"2 states"}


@pytest.mark.long
def test_the_posteriors_are_those_of_the_particles(loop_run: Run) -> None:
    for number in (1, 2):
        table = pd.read_csv(loop_run.results / f"round_0{number}" / "posteriors.csv.gz")
        after = particles(loop_run, f"round_0{number}")
        assert table["rlnImageName"].tolist() == after.table["rlnImageName"].tolist()
        posteriors, kept = table[NAMES].to_numpy(), ~after.left_out()
        np.testing.assert_allclose(posteriors.sum(axis=1), 1, atol=1e-3)
        np.testing.assert_allclose(posteriors.max(axis=1), after.table["drgnPosterior"], atol=1e-3)
        np.testing.assert_array_equal(posteriors.argmax(axis=1)[kept] + 1, after.cluster_labels()[kept])
        effective = after.table["drgnEffectiveClusters"]
        assert effective.between(0.999, 2.001).all() and effective[posteriors.max(axis=1) > 0.999].max() < 1.02


@pytest.mark.long
def test_where_images_are_compared_coarser_than_asked_it_is_said(loop_run: Run, coarser_run: Run) -> None:
    """Nyquist is 16 Å, the consensus a little coarser; 14 Å are asked for."""
    limits = pd.read_csv(loop_run.results / "summary.csv").set_index("cluster")["assign_limit_angstrom"]
    assert limits["consensus"].isna().all() and (limits[NAMES] >= 16.0).all()
    record = metrics(loop_run, "round_01")["clustering"]["assignment"]
    assert limits[NAMES].iloc[0] == pytest.approx(record["limit_angstrom"], abs=0.005) and record["limit_because"]
    said = f"images are compared up to {record['limit_angstrom']:.1f} Å, not 14 Å: {record['limit_because']}"
    assert f"Round 1: 2 states (of 4 clusters proposed)\n{said}" in loop_run.log
    assert set(pd.read_csv(coarser_run.results / "summary.csv")["assign_limit_angstrom"].dropna()) == {30.0}
    assert "images are compared" not in coarser_run.log


@pytest.mark.long
def test_a_round_begins_with_the_users_own_maps(coarser_run: Run, noisy_set: Any) -> None:
    assert "Round 1: 2 states (of 2 initial maps and 4 clusters proposed)" in coarser_run.log
    found, truth = particles(coarser_run, "round_01").cluster_labels(), noisy_set.truth.cluster_labels()
    assert set(found) <= {0, 1, 2}
    kept = found > 0
    assert kept.mean() > 0.9 and np.mean(found[kept] == 3 - truth[kept]) > 0.9


def test_summary_has_a_row_per_pass_and_cluster(loop_run: Run) -> None:
    summary = pd.read_csv(loop_run.results / "summary.csv")
    assert summary["cluster"].tolist() == [*["consensus"] * 3, *NAMES, *NAMES]
    assert summary["round"].tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert summary.groupby("pass")["particles"].sum().tolist() == [300] * 5
    assert summary["alignment_limit_angstrom"].tolist() == ["none", "20.0", "none", *["16.5"] * 4]
    assert (summary["resolution_angstrom"] >= 16.0).all()


def test_each_pass_is_told_on_the_screen_and_the_findings_at_the_end(loop_run: Run) -> None:
    lines = loop_run.log.splitlines()
    passes = [line for line in lines if line.startswith("Pass ")]
    assert [line.split(":")[0] for line in passes] == [
        *(f"Pass {number} of 5, consensus" for number in (1, 2, 3)),
        "Pass 4 of 5, round 1 of 2",
        "Pass 5 of 5, round 2 of 2",
    ]
    one, other = metrics(loop_run, "round_02")["clusters"]
    finest = [f"{cluster['resolution_angstrom']:.1f}" for cluster in (one, other)]
    sizes = f"{one['particles']} and {other['particles']} particles at {finest[0]} and {finest[1]} Å"
    assert f": 2 states; {sizes}; ARI with the last round" in passes[-1]
    assert "left" not in passes[-1]
    # the second round trains for fewer epochs
    assert re.search(r"; at most \d+ (s|min) left$", passes[3])
    findings = (loop_run.results / "findings.txt").read_text()
    # which names files of its own folder
    there = findings.replace("Files to open first\n", "Files to open first, in results\n")
    assert there != findings and loop_run.log.rstrip().endswith(there.rstrip())
    assert "WARN: " not in loop_run.log


def test_without_rounds_the_consensus_is_handed_over(consensus_runs: Consensus) -> None:
    results = consensus_runs.serial.results
    for name in ("consensus.mrc", "consensus_half1.mrc", "consensus_half2.mrc"):
        made = results / "consensus" / "pass_03" / "clusters" / name
        assert (results / "final" / name).read_bytes() == made.read_bytes()
    assert len(read_star(results / "final" / "consensus_particles.star")) == 300


@pytest.mark.long
def test_joint_reference_is_marked(joint_run: Run) -> None:
    fsc = pd.read_csv(joint_run.results / "round_01" / "fsc.csv").set_index("cluster")["halves"]
    assert set(fsc.drop("consensus")) == {"not independent"}
    summary = pd.read_csv(joint_run.results / "summary.csv").set_index("pass")
    # before anything was aligned the half sets had not met
    assert set(summary.loc[1:1, "halves"]) == {"independent"}
    assert set(summary.loc[2:, "halves"]) == {"not independent"}
    index = pd.read_csv(joint_run.results / "final" / "index.csv")
    assert index["description"].str.contains("halves not independent").all()
    assert metrics(joint_run, "round_01")["halves"] == "not independent"


@pytest.mark.long
def test_a_tiny_cluster_is_skipped_and_the_run_goes_on(joint_run: Run) -> None:
    before, after = particles(joint_run, "consensus/pass_01"), particles(joint_run, "round_01")
    assert (after.half_sets() == 2).sum() == sum(IN_HALF_2.values())
    clusters = metrics(joint_run, "round_01")["clusters"]
    assert sorted(cluster["skipped"] for cluster in clusters) == [False, True]
    assert next(c["reference"] for c in clusters if not c["skipped"]) == "consensus"
    tiny = next(cluster["cluster"] for cluster in clusters if cluster["skipped"])
    members = after.cluster_labels() == int(tiny[-2:])
    poses = [*ANGLES, *ORIGINS]
    pd.testing.assert_frame_equal(after.table.loc[members, poses], before.table.loc[members, poses])
    assert (after.table.loc[~members, ANGLES] != before.table.loc[~members, ANGLES]).any(axis=None)
    assert not (joint_run.results / "final" / f"{tiny}.mrc").exists()
    assert len(read_star(joint_run.results / "final" / f"{tiny}_particles.star")) == members.sum()


@pytest.mark.long
def test_fixed_clusters_keep_the_first_labels(fixed_run: Run) -> None:
    labels = [particles(fixed_run, f"round_0{number}").cluster_labels() for number in (1, 2)]
    np.testing.assert_array_equal(*labels)
    assert metrics(fixed_run, "round_02")["clustering"]["method"] == "fixed"
    # what does not depend on labels was not done again
    assert {"LABEL:TRAIN (5 r2)", "LABEL:EMBED (5 r2)"} <= fixed_run.named("CACHED")


def test_labels_that_were_given_are_the_clusters(labelled_run: Run, noisy_set: Any) -> None:
    """The first five particles were dropped, the next five are in no cluster."""
    given = read_star(noisy_set.folder / "truth.star").cluster_labels()
    given[:10] = 0
    after = particles(labelled_run, "round_01")
    np.testing.assert_array_equal(np.where(after.left_out(), 0, after.cluster_labels()), given)
    np.testing.assert_array_equal(after.excluded(), np.arange(len(given)) < 5)
    assert metrics(labelled_run, "round_01")["unassigned"] == 5
    facts = json.loads((labelled_run.results / "pipeline_info" / "inputs.json").read_text())["labels"]
    assert facts["file"] == "mine, all.csv" and len(facts["sha256"]) == 64
    (decision,) = json.loads((labelled_run.results / "pipeline_info" / "decisions.json").read_text())["decisions"]
    assert (decision["parameter"], decision["file"], decision["sha256"]) == (
        "labels",
        "labelled/mine, all.csv",
        facts["sha256"],
    )
    said = "mine, all.csv: the first round starts from its 2 clusters"
    assert said in labelled_run.log and said in (labelled_run.results / "report.html").read_text()


def test_maps_are_held_against_known_ones(labelled_run: Run) -> None:
    results = labelled_run.results
    table = pd.read_csv(results / "round_01" / "comparison" / "comparison.csv")
    assigned = table[table["assigned"]].set_index("cluster")["reference"]
    assert assigned.to_dict() == {"cluster_01": "state_01", "cluster_02": "state_02"}
    assert {"COMPARE (2 r1)"} == {name for name in labelled_run.tasks.index if name.startswith("COMPARE")}
    assert "Round 1, cluster_02 beside what is known: state_02 (margin" in labelled_run.log
    assert "cluster_02: state_02 (margin" in (results / "findings.txt").read_text()
    assert "Beside what is known</h2>" in (results / "report.html").read_text()


@pytest.mark.long
def test_a_run_goes_on_from_a_published_round(taken_run: Run, loop_run: Run) -> None:
    before, after = particles(loop_run, "round_02"), particles(taken_run, "consensus/pass_01")
    np.testing.assert_array_equal(after.half_sets(), before.half_sets())
    np.testing.assert_allclose(after.rotations(), before.rotations(), atol=1e-6)
    assert not after.cluster_labels().any()
    given, taken = (run.results / f"round_0{number}" / "latent" for run, number in ((loop_run, 2), (taken_run, 1)))
    for name in ("weights.pkl", "z.pkl", "train.log"):
        assert (taken / name).read_bytes() == (given / name).read_bytes()
    decisions = json.loads((taken_run.results / "pipeline_info" / "decisions.json").read_text())["decisions"]
    # a network that came along was nobody's choice
    assert [(one["parameter"], one["file"]) for one in decisions] == [("start_from", "round_02/particles.star")]
    assert decisions[0]["sha256"] == hashlib.sha256((given.parent / "particles.star").read_bytes()).hexdigest()
    record = json.loads((taken / "training.json").read_text())
    assert record["taken_from"] == str(given / "weights.pkl")
    assert (record["epoch"], record["losses"]) == tuple(
        json.loads((given / "training.json").read_text())[key] for key in ("epoch", "losses")
    )
    assert "LABEL:DECODE (2 r1)" in taken_run.tasks and "LABEL:TRAIN (2 r1)" not in taken_run.tasks
    said = f"The first round takes the training of {given}/weights.pkl (epoch {record['epoch']}), and trains none"
    assert said in taken_run.log
    assert f"taken from {given}/weights.pkl" in (taken_run.results / "report.html").read_text()


@pytest.mark.long
def test_decoder_references_end_independence(further_runs: Further) -> None:
    run = further_runs.extended
    third = metrics(run, "round_03")
    references = {cluster["reference"] for cluster in third["clusters"] if not cluster["skipped"]}
    assert references and all(reference.startswith("decoder_cluster_") for reference in references)
    assert metrics(run, "round_02")["halves"] == "independent"
    assert third["halves"] == "not independent"
    # the consensus of the earlier passes remains what it was
    fsc = pd.read_csv(run.results / "round_03" / "fsc.csv").groupby("cluster")["halves"].unique().explode()
    assert fsc.pop("consensus") == "independent"
    assert set(fsc) == {"not independent"}


@pytest.mark.long
def test_unassigned_particles_keep_their_poses(dbscan_run: Run) -> None:
    before, after = particles(dbscan_run, "consensus/pass_03"), particles(dbscan_run, "round_01")
    unassigned = after.cluster_labels() == 0
    assert 0 < unassigned.sum() == metrics(dbscan_run, "round_01")["unassigned"]
    poses = [*ANGLES, *ORIGINS]
    pd.testing.assert_frame_equal(after.table.loc[unassigned, poses], before.table.loc[unassigned, poses])


def test_chunk_size_makes_no_difference_that_matters(consensus_runs: Consensus) -> None:
    one, other = (particles(run, "consensus/pass_02") for run in (consensus_runs.serial, consensus_runs.other_chunks))
    degrees = angular_distance(one.rotations(), other.rotations())
    pixels = np.linalg.norm(one.displacements() - other.displacements(), axis=1)
    # sums in single precision, added up in another order: hundreds of times less than the images' own error
    assert max(np.quantile(degrees, 0.99), np.quantile(pixels, 0.99)) < 5e-3
    # but where a step is only just taken, or not: within that error
    assert degrees.max() < 1 and pixels.max() < 0.1


def most_at_once(run: Run) -> int:
    """How many tasks of a run were under way at one time."""
    trace = last_trace(run.results)
    trace["submit"] = pd.to_datetime(trace["submit"])
    # durations are rounded
    ends = trace["submit"] + trace["duration"].map(pd.Timedelta) - pd.Timedelta("1s")
    return max(((trace["submit"] <= moment) & (moment < ends)).sum() for moment in trace["submit"])


def test_parallel_tasks_make_no_difference_at_all(consensus_runs: Consensus, loop_run: Run) -> None:
    assert most_at_once(consensus_runs.serial) == 1 < most_at_once(loop_run)
    for number in (1, 2):
        star = f"consensus/pass_0{number}/particles.star"
        assert (consensus_runs.serial.results / star).read_bytes() == (loop_run.results / star).read_bytes()


def test_a_round_s_mask_holds_what_the_consensus_s_does(loop_run: Run) -> None:
    assert {"MAP:MASK (4 r1)", "MAP:MASK (5 r2)"} <= set(loop_run.tasks.index)
    consensus, *rounds = (
        read_volume(loop_run.results / folder / "clusters" / "mask.mrc")[0]
        for folder in ("consensus/pass_02", "round_01", "round_02")
    )
    for mask in rounds:
        assert (mask >= consensus).all() and mask.max() == 1 and mask.mean() < 0.5
    fsc = pd.read_csv(loop_run.results / "round_01" / "fsc.csv").groupby("cluster")["mask"].first()
    assert fsc.to_dict() == {"consensus": "consensus_mask.mrc", **dict.fromkeys(NAMES, "mask.mrc")}
    assert all(cluster["density_outside_mask"] < 0.01 for cluster in metrics(loop_run, "round_02")["clusters"])


def test_half_sets_dealt_at_import_are_called_so(mask_runs: Masks) -> None:
    """On the screen, in the records and beside every figure; the consensus was not refined at all."""
    run = mask_runs.given
    summary = pd.read_csv(run.results / "summary.csv")
    assert set(summary["halves"]) == {"dealt at import"}
    claims = summary[summary["resolution_angstrom"].notna()]
    assert claims["warnings"].str.contains("dealt at import").all()
    for folder in ("consensus/pass_01", "round_01"):
        assert metrics(run, folder)["halves"] == "dealt at import"
        assert set(pd.read_csv(run.results / folder / "fsc.csv")["halves"]) == {"dealt at import"}
    index = pd.read_csv(run.results / "final" / "index.csv")
    assert index["description"].str.contains("halves dealt at import").all()
    refined = read_star(run.results / "round_01" / "particles.star")
    assert set(refined.table["drgnRefinedFrom"]) == {16.5} and set(refined.optics["drgnHalves"]) == {"dealt"}


def test_what_is_warned_of_is_said_and_kept_with_the_user_s_names(mask_runs: Masks) -> None:
    run = mask_runs.given
    facts = json.loads((run.results / "pipeline_info" / "inputs.json").read_text())
    (warning,) = facts["warnings"]
    assert "it's [my], {data}; (v2)/my particles, v2.star: has no half sets: they are dealt by chance" in warning
    assert f"WARNING: {warning}" in run.log
    assert facts["halves"] == "dealt at import"


def test_a_user_s_mask_is_the_mask_of_all_passes(mask_runs: Masks) -> None:
    results = mask_runs.given.results
    assert not any("MASK" in name for name in mask_runs.given.tasks.index)
    expected = soft_sphere(32, 110 / 8.0, 2)
    for folder in ("consensus/pass_01/clusters", "round_01/clusters", "final"):
        np.testing.assert_array_equal(read_volume(results / folder / "mask.mrc")[0], expected)
    assert set(pd.read_csv(results / "round_01" / "fsc.csv")["mask"]) == {"mask.mrc"}
    other = read_volume(mask_runs.other_mask.results / "consensus" / "pass_01" / "clusters" / "mask.mrc")[0]
    np.testing.assert_array_equal(other, soft_sphere(32, 100 / 8.0, 2))


@pytest.mark.long
def test_dbscan_clusters_run_through_a_round(dbscan_run: Run, loop_run: Run) -> None:
    record = metrics(dbscan_run, "round_01")
    assert record["clustering"]["method"] == "dbscan" and record["clustering"]["settings"]["eps"] > 0
    labels = particles(dbscan_run, "round_01").cluster_labels()
    assert [cluster["particles"] for cluster in record["clusters"]] == np.bincount(labels)[1:].tolist()
    assert any(not cluster["skipped"] for cluster in record["clusters"])
    assert {"LABEL:TRAIN (4 r1)", "LABEL:EMBED (4 r1)"} <= dbscan_run.named("CACHED")
