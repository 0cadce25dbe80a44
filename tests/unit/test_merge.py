"""One particle table again, one folder of references, and the rule by which the loop stops."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from drgnalign.errors import DrgnalignError
from drgnalign.formats.star import read_star, write_star
from drgnalign.particles import ANGLES, ORIGINS, Particles
from drgnalign.report.summary import summary_table
from drgnalign.report.words import findings, left_out_sentence
from drgnalign.run.merge import REFINED_COLUMNS, merge_chunks, merge_references
from drgnalign.run.metrics import pass_metrics, steady
from drgnalign.run.plan import PLAN, PassReport
from drgnalign.run.records import ClusteringRecord, PassMetrics, ScreeningRecord
from drgnalign.run.state import read_used_labels

POSE = [*ANGLES, *ORIGINS]
REPORT = PassReport(number=3, round=2, halves="independent", references="previous")
NOBODY = np.zeros(60, bool)


@pytest.fixture
def labelled(noisy_set) -> Particles:
    """60 particles: 20 unassigned, 25 in cluster 1, 15 in cluster 2; written and read once, as in the loop."""
    particles = noisy_set.given.select(np.arange(60))
    particles.table["rlnClassNumber"] = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [20, 25, 15]))
    return particles


def refined_chunk(labelled: Particles, rows: np.ndarray, path: Path) -> Path:
    """The given rows with other poses, as a refinement leaves them."""
    chunk = labelled.select(rows)
    chunk.table[POSE] += np.arange(1, 6) + labelled.table["drgnRow"].to_numpy()[rows, None] / 1000
    for value, column in enumerate(REFINED_COLUMNS, start=1):
        chunk.table[column] = value
    write_star(chunk, path)
    return path


@pytest.fixture
def chunks(labelled: Particles, tmp_path: Path) -> list[Path]:
    """Clusters 1 and 2, refined in two and one chunks, the first with its rows backwards."""
    one, two = (np.flatnonzero(labelled.cluster_labels() == label) for label in (1, 2))
    return [
        refined_chunk(labelled, one[10::-1], tmp_path / "cluster_01_chunk_0001.star"),
        refined_chunk(labelled, one[11:], tmp_path / "cluster_01_chunk_0002.star"),
        refined_chunk(labelled, two, tmp_path / "cluster_02_chunk_0001.star"),
    ]


def test_order_is_restored_whatever_the_order_of_chunks(labelled: Particles, chunks: list[Path]) -> None:
    merged = merge_chunks(labelled, chunks)
    assert merged.table["drgnRow"].tolist() == list(range(60))
    assigned = labelled.cluster_labels() > 0
    expected = labelled.table[POSE].to_numpy() + np.arange(1, 6) + np.arange(60)[:, None] / 1000
    assert_allclose(merged.table.loc[assigned, POSE], expected[assigned], rtol=0, atol=1e-12)
    assert merged.table.loc[assigned, REFINED_COLUMNS].to_numpy().tolist() == [[1, 2, 3, 4, 5]] * 40
    backwards = merge_chunks(labelled, chunks[::-1])
    pd.testing.assert_frame_equal(backwards.table, merged.table, check_exact=True)


def test_unassigned_particles_keep_their_poses_bit_by_bit(
    labelled: Particles, chunks: list[Path], tmp_path: Path
) -> None:
    merged = merge_chunks(labelled, chunks)
    write_star(merged, tmp_path / "merged.star")
    unassigned = labelled.cluster_labels() == 0
    for particles in (merged, read_star(tmp_path / "merged.star")):
        assert_array_equal(particles.table.loc[unassigned, POSE], labelled.table.loc[unassigned, POSE])
        assert particles.table.loc[unassigned, REFINED_COLUMNS].isna().all(axis=None)
        others = [column for column in labelled.table if column not in POSE]
        pd.testing.assert_frame_equal(particles.table[others], labelled.table[others], check_exact=True)


def test_what_the_last_refinement_said_stays(labelled: Particles, chunks: list[Path]) -> None:
    labelled.table["drgnScore"] = 77.0
    merged = merge_chunks(labelled, chunks[2:])
    assert (merged.table.loc[labelled.cluster_labels() == 2, "drgnScore"] == 2).all()
    assert (merged.table.loc[labelled.cluster_labels() != 2, "drgnScore"] == 77).all()


def test_nothing_refined_changes_nothing(labelled: Particles) -> None:
    merged = merge_chunks(labelled, [])
    pd.testing.assert_frame_equal(merged.table[labelled.table.columns], labelled.table, check_exact=True)


def test_a_particle_that_comes_back_twice_is_refused(labelled: Particles, chunks: list[Path], tmp_path: Path) -> None:
    again = refined_chunk(labelled, np.flatnonzero(labelled.cluster_labels() == 2)[:1], tmp_path / "z.star")
    with pytest.raises(DrgnalignError, match="not of this pass"):
        merge_chunks(labelled, [*chunks, again])


def test_a_particle_twice_in_one_chunk_is_refused(labelled: Particles, tmp_path: Path) -> None:
    chunk = refined_chunk(labelled, np.array([3, 4, 3]), tmp_path / "cluster_01_chunk_0001.star")
    with pytest.raises(DrgnalignError):
        merge_chunks(labelled, [chunk])


def test_a_particle_of_another_set_is_refused(labelled: Particles, chunks: list[Path]) -> None:
    with pytest.raises(DrgnalignError, match="not of this pass"):
        merge_chunks(labelled.select(np.arange(50)), chunks)


# --- references


def write_maps_of(folder: Path, name: str, resolution: float | None) -> None:
    for suffix in ("_half1", "_half2", ""):
        (folder / f"{name}{suffix}.mrc").write_text(f"{name}{suffix} of {folder.name}")
    (folder / f"{name}_mask.mrc").write_text(f"mask of {name}")
    table = pd.DataFrame(
        {"shell": [1, 2], "fsc_corrected": [1.0, 0.5], "resolution_0143_angstrom": resolution, "mask": "mask.mrc"}
    )
    table.to_csv(folder / f"{name}_fsc.csv", index=False)
    record = {"resolution_angstrom": resolution, "reaches_nyquist": False, "mean_fsc": 0.75, "mask": "mask.mrc"}
    (folder / f"{name}_resolution.json").write_text(json.dumps(record))


def plan_of(*names: str, limit: str = "20", reference: str = "consensus", carried: bool = False) -> pd.DataFrame:
    shared = {"limit": limit, "reference": reference, "carried": carried}
    rows = [{"cluster": name, "chunk": f"{name}_chunk_0001.star", **shared} for name in names]
    return pd.DataFrame(rows, columns=PLAN)


@pytest.fixture
def after_consensus(tmp_path: Path) -> Path:
    """The references folder that a consensus pass leaves."""
    first, maps = tmp_path / "start", tmp_path / "maps0"
    first.mkdir()
    maps.mkdir()
    (first / "noise.csv").write_text("noise")
    write_maps_of(maps, "consensus", 18.0)
    report = PassReport(0, 0, "independent", "reconstruct")
    merge_references(first, maps, plan_of("consensus", limit="none"), report, tmp_path / "refs0")
    return tmp_path / "refs0"


def test_the_consensus_pass_leaves_its_maps_noise_and_mask(after_consensus: Path) -> None:
    files = {path.name for path in after_consensus.iterdir()}
    maps = {"consensus.mrc", "consensus_half1.mrc", "consensus_half2.mrc", "consensus_mask.mrc"}
    assert files == maps | {"noise.csv", "mask.mrc", "fsc.csv", "labels_used.json"}
    assert (after_consensus / "mask.mrc").read_text() == "mask of consensus"
    assert read_used_labels(after_consensus) == set()
    fsc = pd.read_csv(after_consensus / "fsc.csv")
    assert set(fsc["cluster"]) == {"consensus"}
    assert set(fsc["halves"]) == {"independent"}


def test_a_round_keeps_the_consensus_and_drops_old_clusters(after_consensus: Path, tmp_path: Path) -> None:
    previous = after_consensus
    for number, names in ((1, ["cluster_01", "cluster_05"]), (2, ["cluster_02", "cluster_05"])):
        maps = tmp_path / f"maps{number}"
        maps.mkdir()
        for name in names:
            write_maps_of(maps, name, 20.0 + number)
        report = PassReport(number, number, "not independent", "previous")
        fsc = merge_references(previous, maps, plan_of(*names), report, tmp_path / f"refs{number}")
        previous = tmp_path / f"refs{number}"
    assert (previous / "consensus_half1.mrc").read_text() == "consensus_half1 of maps0"
    assert (previous / "cluster_05_half2.mrc").read_text() == "cluster_05_half2 of maps2"
    assert not (previous / "cluster_01_half1.mrc").exists()
    assert (previous / "mask.mrc").read_text() == "mask of consensus"
    assert (previous / "noise.csv").read_text() == "noise"
    # Labels of all rounds are remembered, those that are gone too.
    assert read_used_labels(previous) == {1, 2, 5}
    halves = fsc.groupby("cluster")["halves"].first().to_dict()
    assert halves == dict.fromkeys(["cluster_02", "cluster_05"], "not independent") | {"consensus": "independent"}
    limits = fsc.groupby("cluster")["alignment_limit_angstrom"].first().astype(str)
    assert limits[["cluster_02", "cluster_05"]].tolist() == ["20", "20"]
    # figures are written with six digits, 18 for 18.0
    written = pd.read_csv(previous / "fsc.csv")
    figures = fsc.select_dtypes("number").columns
    pd.testing.assert_frame_equal(written[figures], fsc[figures], rtol=1e-5, check_dtype=False)
    others = fsc.columns.difference(figures)
    pd.testing.assert_frame_equal(written[others].astype(str), fsc[others].astype(str))


def test_a_round_has_its_own_mask_and_keeps_the_consensus_s(after_consensus: Path, tmp_path: Path) -> None:
    maps, mine = tmp_path / "maps", tmp_path / "mine.mrc"
    maps.mkdir()
    write_maps_of(maps, "cluster_01", 20.0)
    mine.write_text("mask of all clusters")
    report = PassReport(1, 1, "independent", "previous")
    merge_references(after_consensus, maps, plan_of("cluster_01"), report, tmp_path / "refs", mask=mine)
    # the user's own may be changed
    mine.write_text("changed")
    assert (tmp_path / "refs" / "mask.mrc").read_text() == "mask of all clusters"
    assert (tmp_path / "refs" / "consensus_mask.mrc").read_text() == "mask of consensus"


def test_no_labels_are_used_before_the_first_round(tmp_path: Path) -> None:
    assert read_used_labels(tmp_path) == set()


# --- metrics and the stop rule


def test_metrics_of_a_pass(labelled: Particles, chunks: list[Path], tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    write_maps_of(maps, "cluster_01", 21.0)
    merged = merge_chunks(labelled, chunks[:2])
    clustering = ClusteringRecord(ari_with_last_round=0.9)
    metrics = pass_metrics(labelled, merged, plan_of("cluster_01"), maps, REPORT, clustering, NOBODY)
    assert (metrics.number, metrics.round, metrics.particles, metrics.unassigned) == (3, 2, 60, 20)
    one, two = metrics.clusters
    assert (one.particles, one.skipped, one.resolution_angstrom) == (25, False, 21.0)
    assert one.alignment_limit_angstrom == 20.0
    assert one.accepted_share == 3.0  # what the chunks have in that column
    moved = np.hypot(4, 5) + 0.03
    assert one.median_shift_change_angstrom == pytest.approx(moved, abs=0.1)
    too_few = ["has no map: too few particles in a half set"]
    written = two.written()
    assert written.pop("composition").keys() == {"micrographs", "views", "defocus"}
    assert written.pop("difference_judged") is None
    assert written == {"cluster": "cluster_02", "particles": 15, "skipped": True, "warnings": too_few, "notes": []}
    assert metrics.median_shift_change_angstrom == 0
    assert PassMetrics.of(json.loads(json.dumps(metrics.written()))) == metrics


def test_who_is_left_out_keeps_its_row_and_counts_in_no_figure(
    labelled: Particles, chunks: list[Path], tmp_path: Path
) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    write_maps_of(maps, "cluster_01", 21.0)
    # before the pass rows 0…4 were left out, now 3…7 and 50 are: two stay, four are new, three are back
    before = np.arange(60) < 5
    labelled.table["drgnLeftOut"] = 0
    labelled.table.loc[[3, 4, 5, 6, 7, 50], "drgnLeftOut"] = 1
    labelled.table["drgnJunkPosterior"] = np.where(labelled.left_out(), 0.75, 0.0)
    labelled.table["drgnAmplitude"] = np.where(labelled.left_out(), 0.1, 2.0)
    # the last one is not more inverted than noise makes junk, as the others hold twice what the maps show
    labelled.table.loc[[3, 4, 5], "drgnAmplitude"] = [-1.9, -2.1, -0.9]
    kept = [path for path in chunks if not labelled.left_out()[read_star(path).table["drgnRow"]].any()]
    merged = merge_chunks(labelled, kept)
    write_star(merged, tmp_path / "merged.star")
    written, left = read_star(tmp_path / "merged.star").table, labelled.left_out()
    pd.testing.assert_frame_equal(written.loc[left, list(labelled.table)], labelled.table[left], check_exact=True)
    metrics = pass_metrics(labelled, merged, plan_of("cluster_01"), maps, REPORT, None, before)
    assert [getattr(metrics, key) for key in ("left_out", "left_out_new", "left_out_back")] == [6, 4, 3]
    assert metrics.junk_expected == pytest.approx(4.5)
    assert metrics.left_out_inverted == 2
    labels = labelled.cluster_labels()
    assert metrics.unassigned == ((labels == 0) & ~left).sum()
    assert [one.particles for one in metrics.clusters] == [(~left & (labels == k)).sum() for k in (1, 2)]
    sentence = left_out_sentence(metrics)
    assert sentence.startswith("Round 2: 6 of 60 particles are left out (4 new, 3 back):")
    screening = ScreeningRecord(searched=9, brought_back=2)
    screened = left_out_sentence(replace(metrics, round=0, screening=screening))
    assert screened.startswith("Consensus, pass 3: 6 of 60 particles are left out (4 new, 3 back):")
    assert screened.endswith("of 9 poses looked for, 2 were found")
    consensus = PassReport(number=1, round=0, halves="independent", references="consensus")
    (one,) = pass_metrics(labelled, labelled, plan_of("cluster_01"), maps, consensus, None, left).clusters
    assert one.particles == 54


@pytest.mark.parametrize(("inverted", "left_out", "told"), [(9, 9, False), (10, 101, False), (10, 100, True)])
def test_many_with_inverted_contrast_are_told(inverted: int, left_out: int, told: bool) -> None:
    counts = {"pass": 2, "round": 1, "clusters": [], "particles": 600, "left_out": left_out}
    metrics = PassMetrics.of(counts | {"left_out_inverted": inverted})
    assert ("match the maps with inverted contrast" in left_out_sentence(metrics)) == told
    assert ("inverted contrast" in findings([metrics])) == told


@pytest.mark.parametrize(("density", "told"), [(None, False), (True, False), (False, True)])
def test_a_focus_without_density_is_told(density: bool | None, told: bool) -> None:
    counts = {"pass": 2, "round": 1, "clusters": [], "particles": 600, "left_out": 0}
    metrics = PassMetrics.of(counts | {"clustering": {"assignment": {"density_in_focus": density}}})
    assert ("the verdict: the consensus shows no density inside the focus mask" in findings([metrics])) == told


def test_clusters_that_were_one_state_at_two_poses_are_told() -> None:
    counts = {"pass": 2, "round": 1, "clusters": [], "particles": 600}
    united = [{"particles": [1420, 300], "degrees": 5.31, "angstrom": 1.26}]
    text = findings([PassMetrics.of(counts | {"clustering": {"assignment": {"at_two_poses": united}}})])
    said = "  In assignment, two clusters, of 1,420 and 300 particles, that differed by a turn of the whole particle"
    assert f"{said} (about 5° and 1 Å), and by nothing else" in text and "united as one state at two poses\n" in text
    assert "two poses" not in findings([PassMetrics.of(counts)])


def moving_pass(number: int, motion: bool, turned: float = 0.5, **linear: object) -> PassMetrics:
    counts = {"pass": number, "round": number, "clusters": [], "particles": 60}
    found = {"linear": {"motion": motion, "motion_gain": 0.3, "motion_gain_error": 0.01, **linear}}
    return PassMetrics.of(counts | {"median_rotation_change_degrees": turned, "clustering": found})


def test_a_motion_at_poses_that_still_change_is_doubted_and_one_that_is_gone_is_told() -> None:
    assert "errors of poses" not in findings([moving_pass(1, True)])
    assert "poses changed by 3.5° in this pass" in findings([moving_pass(1, True, turned=3.5)])
    gone = findings([moving_pass(1, True), moving_pass(2, True), moving_pass(3, False, turned=3.5)])
    assert "the motion: rounds 1 and 2 saw one, which is gone at the poses refined since" in gone
    assert "see whether one more round" not in gone
    partly = findings([moving_pass(1, True, groups=2, moving_share=0.6)])
    assert "There is a motion of 60 % of the particles, and 1 state beside it (a curve gains" in partly


def test_lost_poses_are_told_of_all_passes() -> None:
    counts = {"round": 0, "clusters": [], "particles": 900, "left_out": 30}
    screened = PassMetrics.of(counts | {"pass": 1, "screening": {"searched": 80, "brought_back": 20}})
    last = PassMetrics.of(counts | {"pass": 2, "round": 1, "clustering": {"assignment": {"searched": 6}}})
    assert "20 poses were found, of 86 looked for among all orientations in all passes" in findings([screened, last])


def test_only_who_looked_for_junk_speaks_of_it(labelled: Particles, tmp_path: Path) -> None:
    write_maps_of(tmp_path, "cluster_01", 21.0)
    facts = [labelled, labelled, plan_of("cluster_01", limit="none"), tmp_path, REPORT, None, NOBODY]
    assert pass_metrics(*facts).junk_expected is None
    assert left_out_sentence(pass_metrics(*facts)) == ""
    labelled.table["drgnJunkPosterior"] = 0.05
    sentence = left_out_sentence(pass_metrics(*facts))
    assert sentence == "Round 2: no particle is left out; the images take about 3 of 60 particles for junk"


@pytest.mark.parametrize(("spread", "told"), [(0.3, False), (0.5, True)])
def test_where_amplitudes_vary_more_than_ice_makes_them_junk_may_be_among_them(spread: float, told: bool) -> None:
    counts = {
        "pass": 2,
        "round": 1,
        "clusters": [],
        "particles": 60,
        "left_out": 0,
        "left_out_back": 0,
        "junk_expected": 0.0,
    }
    for looked in (
        {"screening": {"contrast_spread": spread}},
        {"screening": None, "clustering": {"assignment": {"contrast": {"spread": spread}}}},
    ):
        sentence = left_out_sentence(PassMetrics.of(counts | looked))
        assert ("about 0" in sentence) != told  # nobody is said to be none and yet to be among them
        assert ("vary by 0.50, more than ice makes them" in sentence) == told


def test_assignment_says_what_differs_from_the_consensus_where_the_engine_does_not(
    labelled: Particles, tmp_path: Path
) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    write_maps_of(maps, "cluster_01", 21.0)
    plan = plan_of("cluster_01", limit="none")
    assignment = {"verdict": "2 states", "limit_angstrom": 16.0, "clusters": {"1": {"difference_fsc_40": 0.2}}}
    clustering = ClusteringRecord.of({"assignment": assignment})
    one, _ = pass_metrics(labelled, labelled, plan, maps, REPORT, clustering, NOBODY).clusters
    assert any("does not differ from the consensus" in warning for warning in one.warnings)
    assert one.assign_limit_angstrom == 16.0
    # all particles are the consensus
    labelled.table["rlnClassNumber"] = 1
    (one,) = pass_metrics(labelled, labelled, plan, maps, REPORT, clustering, NOBODY).clusters
    assert not any("does not differ" in warning for warning in one.warnings)


def test_how_many_a_cluster_has_is_known_as_far_as_posteriors_and_chance_let_it(
    labelled: Particles, tmp_path: Path
) -> None:
    labelled.table["drgnPosterior"] = 0.9
    one, _ = pass_metrics(labelled, labelled, plan_of(), tmp_path, REPORT, None, NOBODY).clusters
    number = one.particles
    half_width = 1.96 * np.sqrt(number * 0.9 * 0.1 + number * (1 - number / len(labelled)))
    assert one.particles_interval == pytest.approx([number - half_width, number + half_width], abs=1)
    # chance alone, where all posteriors are 1
    labelled.table["drgnPosterior"] = 1.0
    sure, _ = pass_metrics(labelled, labelled, plan_of(), tmp_path, REPORT, None, NOBODY).clusters
    assert sure.particles_interval[0] > one.particles_interval[0]
    labelled.table.drop(columns="drgnPosterior", inplace=True)
    unknown, _ = pass_metrics(labelled, labelled, plan_of(), tmp_path, REPORT, None, NOBODY).clusters
    assert unknown.particles_interval is None


def test_the_spread_is_that_of_the_poses_before(labelled: Particles, tmp_path: Path) -> None:
    """At poses refined against its own map, every cut through a motion looks like a state."""
    maps = tmp_path / "maps"
    maps.mkdir()
    write_maps_of(maps, "cluster_01", 21.0)
    plan = plan_of("cluster_01", limit="none")
    found = {
        "assignment": {"clusters": {"1": {"spread": 0.28, "spread_interval": [0.26, 0.3], "mean_posterior": 0.9}}},
        "reassignment": {"clusters": {"1": {"spread": 0.04, "spread_interval": [0.02, 0.06], "mean_posterior": 1.0}}},
    }
    one, _ = pass_metrics(labelled, labelled, plan, maps, REPORT, ClusteringRecord.of(found), NOBODY).clusters
    assert (one.spread, one.spread_interval, one.mean_posterior) == (0.28, [0.26, 0.3], 1.0)
    assert one.warnings == ["runs into another cluster: it is no state of its own, or not only"]


def test_a_cluster_without_resolution_is_on_record(labelled: Particles, chunks: list[Path], tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    write_maps_of(maps, "cluster_01", 21.0)
    write_maps_of(maps, "cluster_02", None)
    plan = pd.concat([plan_of("cluster_01"), plan_of("cluster_02", limit="none", carried=True)])
    merged = merge_chunks(labelled, chunks[:2])
    metrics = pass_metrics(labelled, merged, plan, maps, REPORT, None, NOBODY)
    one, two = metrics.clusters
    assert not one.carried and one.warnings == []
    assert two.carried and two.resolution_angstrom is None and two.alignment_limit_angstrom is None
    assert [warning.split(":")[0] for warning in two.warnings] == ["was not refined", "has no resolution"]
    assert "NaN" not in json.dumps(metrics.written())
    row = summary_table([metrics]).set_index("cluster").loc["cluster_02"]
    assert np.isnan(row["resolution_angstrom"]) and row["alignment_limit_angstrom"] == "none"
    assert "has no resolution" in row["warnings"]


def test_a_pass_without_any_map(labelled: Particles, after_consensus: Path, tmp_path: Path) -> None:
    maps = tmp_path / "none"
    maps.mkdir()
    merged = merge_chunks(labelled, [])
    metrics = pass_metrics(labelled, merged, plan_of(), maps, REPORT, None, NOBODY)
    assert [cluster.skipped for cluster in metrics.clusters] == [True, True]
    fsc = merge_references(after_consensus, maps, plan_of(), REPORT, tmp_path / "refs")
    assert set(fsc["cluster"]) == {"consensus"}


BOX, PIXEL, DIAMETER = 32, 8.0, 200.0
# A quarter of a pixel at the particle's edge, in degrees: 2 Å of 100 Å.
STILL = 1.14


def cluster(name: str, resolution: float | None = 20.0, skipped: bool = False) -> dict:
    return {"cluster": name, "particles": 9, "skipped": skipped, "resolution_angstrom": resolution}


def rested(**changes: object) -> PassMetrics:
    clusters = [cluster("cluster_01"), cluster("cluster_02")]
    metrics = {
        "pass": 3,
        "particles": 60,
        "round": 2,
        "clustering": {"ari_with_last_round": 0.96},
        "median_rotation_change_degrees": STILL,
        "clusters": clusters,
    }
    return PassMetrics.of({**metrics, **changes})


@pytest.fixture
def last_fsc(tmp_path: Path) -> Path:
    """The last round's resolutions: shells 12.8 (20 Å) and 12 (21.33 Å) of the box of 256 Å."""
    table = pd.DataFrame(
        {
            "cluster": ["cluster_01", "cluster_01", "cluster_02", "cluster_04"],
            "shell": [1, 2, 1, 1],
            "resolution_0143_angstrom": [20.0, 20.0, 256 / 12, np.nan],
        }
    )
    table.to_csv(tmp_path / "fsc.csv", index=False)
    return tmp_path / "fsc.csv"


def test_a_loop_at_rest_is_steady(last_fsc: Path) -> None:
    assert steady(rested(), last_fsc, BOX, PIXEL, DIAMETER)


@pytest.mark.parametrize(
    "change",
    [
        {"round": 1},
        {"clustering": None},
        {"clustering": {"ari_with_last_round": 0.94}},
        {"clustering": {"ari_with_last_round": None}},
        {"median_rotation_change_degrees": 1.16},
        # Shells 14 and 11.5 instead of 12.8; a cluster without a past.
        {"clusters": [cluster("cluster_01", 256 / 14)]},
        {"clusters": [cluster("cluster_01", 256 / 11.5)]},
        {"clusters": [cluster("cluster_01"), cluster("cluster_03")]},
        # One that had no resolution, or has none now.
        {"clusters": [cluster("cluster_04")]},
        {"clusters": [cluster("cluster_01", None)]},
    ],
)
def test_a_loop_that_still_moves_is_not(last_fsc: Path, change: dict) -> None:
    assert not steady(rested(**change), last_fsc, BOX, PIXEL, DIAMETER)


def test_within_a_shell_and_skipped_clusters_are_steady(last_fsc: Path) -> None:
    clusters = [cluster("cluster_01", 256 / 13.7), cluster("cluster_02", 256 / 11.1), cluster("cluster_09", 0, True)]
    clusters.append(cluster("cluster_04", None))
    assert steady(rested(clusters=clusters), last_fsc, BOX, PIXEL, DIAMETER)
