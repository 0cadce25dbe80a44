from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from drgnalign.cli import main
from drgnalign.errors import InputError, InputWarning
from drgnalign.formats.star import write_star
from drgnalign.heterogeneity.verdicts import MOVING, PERHAPS_RUNNING, RUNNING, in_words
from drgnalign.known.records import RECORD, ClusterRecord, ComparisonRecord, PairRecord
from drgnalign.report.advice import DOUBTED, GOOD, MASK, NOT_BELIEVED, mark_of, next_steps, open_first
from drgnalign.report.facts import comparison_of, run_facts, run_known
from drgnalign.report.summary import published_folders, read_metrics
from drgnalign.report.trace import cost_by_step, seconds, size
from drgnalign.report.words import findings
from drgnalign.run.inputs import LabelsRecord
from drgnalign.run.record import write_record
from drgnalign.validation.claims import DOUBTFUL, MOVES, NO_STATE, NOTE, Doubt

COUNT = 300


@pytest.fixture(scope="module")
def particles(simulate: Callable[..., Any]) -> Any:
    return simulate(COUNT, 32, 8.0).given


def entry(cluster: str, particles: int, resolution: float | None, **more: Any) -> dict[str, Any]:
    return {
        "cluster": cluster,
        "particles": particles,
        "skipped": False,
        "carried": False,
        "alignment_limit_angstrom": 14.0,
        "resolution_angstrom": resolution,
        "reaches_nyquist": False,
        "mean_fsc": 0.8,
        "difference_fsc_40": 0.95,
        "spread": 0.02,
        "halves": "independent",
        "warnings": [],
        **more,
    }


def write_pass(
    results: Path,
    particles: Any,
    number: int,
    round_: int,
    clusters: list[dict[str, Any]],
    labels: np.ndarray,
    **more: Any,
) -> None:
    folder = results / (f"round_{round_:02d}" if round_ else f"consensus/pass_{number:02d}")
    folder.mkdir(parents=True)
    left_out = (labels < 0).astype(int)
    table = particles.table.assign(rlnClassNumber=np.maximum(labels, 0), drgnLeftOut=left_out, drgnPosterior=0.9)
    write_star(replace(particles, table=table), folder / "particles.star")
    clustering = {"ari_with_last_round": 0.97 if round_ > 1 else None, "proposed": 4, "method": "kmeans"}
    metrics = {
        "pass": number,
        "round": round_,
        "particles": COUNT,
        "unassigned": int((labels == 0).sum()) if round_ else 0,
        "left_out": int(left_out.sum()),
        "left_out_new": 0,
        "left_out_back": 0,
        "halves": "independent",
        "verdict": None,
        "clusters": clusters,
        "clustering": clustering if round_ else None,
        "screening": None,
        "steady": False,
        **more,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    shells = np.arange(1, 17)
    fsc = [
        pd.DataFrame(
            {
                "cluster": one["cluster"],
                "shell": shells,
                "resolution_angstrom": 256.0 / shells,
                **{f"fsc_{kind}": np.linspace(1, 0, 16) for kind in ("unmasked", "masked", "randomised", "corrected")},
                "resolution_0143_angstrom": one["resolution_angstrom"],
                "alignment_limit_angstrom": "14.0",
            }
        )
        for one in clusters
        if not one["skipped"]
    ]
    (pd.concat(fsc) if fsc else pd.DataFrame(columns=["cluster"])).to_csv(folder / "fsc.csv", index=False)


@pytest.fixture
def results(tmp_path: Path, particles: Any) -> Path:
    """A consensus and two rounds: cluster 2 vanishes, 3 comes up, 10 particles are left out in the end."""
    everyone = np.zeros(COUNT, int)
    write_pass(tmp_path, particles, 1, 0, [entry("consensus", COUNT, 12.0)], everyone)
    first = np.repeat([1, 2], [200, 100])
    write_pass(tmp_path, particles, 2, 1, [entry("cluster_01", 200, 11.0), entry("cluster_02", 100, 13.0)], first)
    second = np.repeat([1, 3, -1], [180, 110, 10])
    clusters = [
        entry("cluster_01", 180, 10.0, particles_interval=[161, 199]),
        entry("cluster_03", 110, 12.5, difference_fsc_40=0.1),
    ]
    write_pass(tmp_path, particles, 3, 2, clusters, second, verdict="2 states")
    return tmp_path


@contextmanager
def last_metrics(results: Path, round_: int = 2) -> Iterator[dict[str, Any]]:
    """Those of the last round, to be changed."""
    file = results / f"round_{round_:02d}" / "metrics.json"
    metrics = json.loads(file.read_text())
    yield metrics
    file.write_text(json.dumps(metrics))


def facts_of(results: Path, **run: Any) -> dict[str, Any]:
    return run_facts(published_folders(results), {"passes": 3, "rounds": 2, **run})


def test_facts_are_those_of_the_last_pass(results: Path) -> None:
    facts = facts_of(results)
    assert (facts["pass"], facts["round"], facts["finished"]) == (3, 2, True)
    assert [(one["name"], one["particles"], one["mark"]) for one in facts["clusters"]] == [
        ("cluster_01", 180, GOOD),
        ("cluster_03", 110, NOT_BELIEVED),
    ]
    assert facts["sentence"] == (
        "2 states. 1 of 2 clusters is not to be believed. Resolutions of 10.0 to 12.5 Å, by half sets refined apart."
    )
    assert facts["left_out"]["now"] == 10
    json.dumps(facts, allow_nan=False)


def test_table_has_a_column_a_round_and_the_finest_figure_of_each_cluster(results: Path) -> None:
    table = {row["cluster"]: row for row in facts_of(results)["table"]}
    assert table["cluster_01"] == {"cluster": "cluster_01", "resolutions": {1: 11.0, 2: 10.0}, "best": 2}
    assert table["cluster_02"]["resolutions"] == {1: 13.0}
    assert next(iter(table)) == "consensus"


def test_flow_has_every_particle_once_in_each_round(results: Path) -> None:
    flow = facts_of(results)["flow"]
    for number in flow["rounds"]:
        assert sum(node["particles"] for node in flow["nodes"] if node["round"] == number) == COUNT
    links = {(link["source"], link["target"]): link["particles"] for link in flow["links"]}
    assert links == {(1, 1): 180, (1, 3): 20, (2, 3): 90, (2, -1): 10}


def test_views_and_defoci_are_of_the_clusters_own_particles(results: Path) -> None:
    cluster = facts_of(results)["clusters"][0]
    assert np.sum(cluster["views"]) == 180
    assert sum(cluster["defocus"]["counts"]) == 180
    assert sum(cluster["posteriors"]) == 180
    assert cluster["interval"] == [161, 199]


def test_a_view_along_the_pole_is_in_the_first_row(tmp_path: Path, particles: Any) -> None:
    up = replace(particles, table=particles.table.assign(rlnAngleTilt=0.0))
    write_pass(tmp_path, up, 1, 0, [entry("consensus", COUNT, 12.0)], np.zeros(COUNT, int))
    views = np.array(facts_of(tmp_path)["clusters"][0]["views"])
    assert views[0].sum() == COUNT


def test_run_without_rounds_and_one_without_clusters(tmp_path: Path, particles: Any) -> None:
    write_pass(tmp_path, particles, 1, 0, [entry("consensus", COUNT, 12.0)], np.zeros(COUNT, int))
    facts = facts_of(tmp_path, passes=3)
    assert not facts["finished"]
    assert facts["sentence"].startswith("So far one map")
    assert facts["next"][0]["why"].startswith("The run was under way")
    write_pass(tmp_path, particles, 2, 1, [], np.full(COUNT, -1))
    facts = facts_of(tmp_path)
    assert facts["clusters"] == []
    assert facts["sentence"].startswith("No cluster has a particle")


def test_fifty_clusters(tmp_path: Path, particles: Any) -> None:
    labels = np.arange(COUNT) % 50 + 1
    clusters = [entry(f"cluster_{number:02d}", 6, None) for number in range(1, 51)]
    write_pass(tmp_path, particles, 1, 1, clusters, labels)
    facts = facts_of(tmp_path)
    assert len(facts["clusters"]) == 50
    assert {one["mark"] for one in facts["clusters"]} == {NOT_BELIEVED}


def test_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no results"):
        published_folders(tmp_path)
    (tmp_path / "round_01").mkdir()
    (tmp_path / "round_01" / "metrics.json").write_text("{")
    with pytest.raises(InputError, match="metrics of a pass"):
        published_folders(tmp_path)


def test_particles_of_another_run_are_refused(results: Path, particles: Any) -> None:
    half = replace(particles, table=particles.table.iloc[:150].assign(rlnClassNumber=1))
    write_star(half, results / "round_01" / "particles.star")
    with pytest.raises(InputError, match="has not the particles of round 1"):
        facts_of(results)


def test_mark_is_that_of_the_gravest_doubt() -> None:
    assert mark_of([]) == mark_of([Doubt("ends at Nyquist", NOTE)]) == GOOD
    assert mark_of([Doubt("a", NOTE), Doubt("b", DOUBTFUL)]) == DOUBTED
    assert mark_of([Doubt("b", DOUBTFUL), Doubt("c", NO_STATE)]) == NOT_BELIEVED


@pytest.mark.parametrize(
    ("command", "again"),
    [
        (
            "nextflow run main.nf --input 'a b.star' --rounds 2",
            "nextflow run main.nf --input 'a b.star' -resume --rounds 3",
        ),
        ("nextflow run main.nf --rounds=2 --k 3", "nextflow run main.nf --k 3 -resume --rounds 3"),
        ("nextflow run main.nf -resume happy_darwin --rounds -1 -name one", "nextflow run main.nf -resume --rounds 3"),
        (r"nextflow run main.nf --rounds my\ 2 --input a\ b", "nextflow run main.nf --input 'a b' -resume --rounds 3"),
    ],
)
def test_next_command_is_the_runs_own(results: Path, command: str, again: str) -> None:
    facts = facts_of(results, command=command)
    facts["rounds"][-1]["ari_with_last_round"] = 0.5
    assert [step["command"] for step in next_steps(facts) if step["command"]] == [again]


def test_a_run_whose_clusters_are_at_rest_has_commands_too(results: Path) -> None:
    facts = facts_of(results, command="nextflow run main.nf", parameters={"outdir": "my results"})
    commands = [step["command"] for step in facts["next"]]
    assert commands == ["chimerax 'my results/final/cluster_01.mrc'", "nextflow run main.nf -resume --rounds 3"]
    assert facts["one_more_round"] == commands[1]


def test_nothing_is_recommended_where_no_cluster_is_to_be_believed(results: Path) -> None:
    with last_metrics(results) as metrics:
        for one in metrics["clusters"]:
            one["difference_judged"] = 0.1
    facts = facts_of(results)
    assert facts["sentence"].startswith("2 states. None of the clusters is to be believed.")
    assert [one["file"] for one in facts["open"]] == ["consensus/pass_01/clusters/consensus.mrc"]
    assert facts["next"][0]["why"].startswith("No cluster is good")


def test_advised_limits_make_what_is_claimed_independent(results: Path) -> None:
    facts = facts_of(results, command="nextflow run main.nf")
    for resolution in (5.0, 8.0, 12.0, 20.0):
        clusters = [one | {"resolution_angstrom": resolution} for one in facts["clusters"]]
        steps = next_steps(facts | {"halves": "dealt at import", "clusters": clusters, "pixel_size_angstrom": 2.0})
        limits = [float(limit) for limit in str(steps[0]["command"]).split()[-1].split(",")]
        assert limits == sorted(limits, reverse=True)
        assert limits[0] >= 2 * resolution
        assert limits[-1] >= 4.0


def test_changed_parameters_come_first(results: Path) -> None:
    facts = facts_of(results, parameters={"a": 1, "z": 2, "k": "6"}, defaults={"a": 1, "z": 3, "k": 6})
    assert [(row["name"], row["changed"]) for row in facts["parameters"]] == [("z", True), ("a", False), ("k", False)]


def test_cost_is_summed_by_step(tmp_path: Path) -> None:
    trace = tmp_path / "trace_2026-01-02_03-04-05.txt"
    rows = [
        "name\tstatus\trealtime\t%cpu\tpeak_rss",
        "MAP:REFINE (2/9 all.1)\tCOMPLETED\t1h\t50.0%\t1 GB",
        "MAP:REFINE (2/9 all.2)\tFAILED\t30m\t100.0%\t2 GB",
        "LABEL:TRAIN (r1)\tCACHED\t-\t-\t-",
    ]
    trace.write_text("\n".join(rows) + "\n")
    # refused, and only just begun
    (tmp_path / "trace_2026-01-03_03-04-05.txt").write_text(rows[0] + "\n")
    (tmp_path / "trace_2026-01-04_03-04-05.txt").write_text("\n")
    (tmp_path / "trace_2026-01-01_03-04-05.txt").write_text("\n".join(rows[:2]) + "\n")
    assert cost_by_step(tmp_path) == [
        {"step": "REFINE", "tasks": 1, "failed": 1, "hours": 1.5, "core_hours": 1.0, "peak_gb": 2.0},
        {"step": "TRAIN", "tasks": 1, "failed": 0, "hours": 0.0, "core_hours": 0.0, "peak_gb": 0.0},
    ]
    assert cost_by_step(tmp_path / "none") == []
    assert seconds("1d 2h 3m 4.5s") == 93784.5
    assert (seconds("120ms"), seconds("-")) == (pytest.approx(0.12), 0)
    assert size("257.2 MB") == pytest.approx(257.2 * 2**20)


def test_report_command_needs_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["report", str(tmp_path)])
    assert raised.value.code == 2
    assert "holds no results of a run" in capsys.readouterr().err


def test_it_is_said_how_far_latent_space_and_images_agree(results: Path) -> None:
    def said(**assignment: Any) -> str | None:
        with last_metrics(results) as metrics:
            metrics["clustering"]["assignment"] = assignment
        return facts_of(results)["latent_space"]

    assert "was not asked" in (said() or "")
    agree = said(states=2, ari_with_proposed=0.97) or ""
    assert agree.startswith("Of 4 clusters proposed here the images tell 2 apart") and agree.endswith("the same.")
    differ = said(states=1, ari_with_proposed=0.0) or ""
    assert "Rand index of 0.00" in differ and "the images decide" in differ and "direction of view" in differ
    first = run_facts({1: published_folders(results)[1]}, {"passes": 3, "rounds": 2})
    assert first["latent_space"] is None


def open_run(results: Path, round_: int = 2, **more: Any) -> Path:
    """Three states whose spread the noise leaves open, in the last round."""
    evidence = {str(label): {"spread_interval": [0.0, 0.5 / label]} for label in (1, 3)}
    assignment = {"verdict": PERHAPS_RUNNING, "states": 3, "clusters": evidence, "ari_with_proposed": 0.9}
    with last_metrics(results, round_) as metrics:
        metrics |= {"verdict": PERHAPS_RUNNING, **more}
        metrics["clustering"] |= {"assignment": assignment | {"contrast": {"spread": 0.37}}}
        for one in metrics["clusters"]:
            one |= {"spread_interval": [0.0, 0.5], "difference_fsc_40": 0.95}
    return results


def test_too_little_signal_is_said_with_the_number_of_clusters_and_the_reason(results: Path) -> None:
    facts = facts_of(open_run(results))
    assert facts["sentence"].startswith(
        "3 clusters are told apart. Whether they are states or cuts through a motion cannot be told at this noise "
        "(spread between 0 and 0.5). "
    )
    assert {one["mark"] for one in facts["clusters"]} == {GOOD}
    assert [one["spread_interval"] for one in facts["clusters"]] == [[0.0, 0.5]] * 2
    assert facts["evidence"]["spread_interval"] == [0.0, 0.5]
    (spread,) = (one for one in facts["not_believed"] if "spread lies between 0 and 0.5" in one["text"])
    assert spread["of"] == "every cluster"


def test_verdicts_with_a_number_stay_and_the_rest_of_others_is_kept() -> None:
    assert in_words({"verdict": "3 states, of which 2 may run into each other"}, 3).startswith("3 states, of")
    united = in_words({"verdict": f"{RUNNING}; 4 clusters united into 2, as many as were wanted", "states": 4}, 2)
    assert united.startswith("4 clusters are told apart. All run into each other")
    assert united.endswith("describe; 4 clusters united into 2, as many as were wanted")
    assert "1 cluster is" in in_words({"verdict": PERHAPS_RUNNING}, 1)


def test_where_it_is_open_the_next_steps_say_so_and_a_mask_comes_last(results: Path) -> None:
    steps = facts_of(open_run(results), command="nextflow run main.nf")["next"]
    assert "is open" in steps[0]["why"] and "More signal" in steps[1]["why"]
    assert not any("as cuts through a motion do" in step["why"] for step in steps)
    assert MASK in steps[-1]["command"] and "you have to make first" in steps[-1]["why"]
    folders = {n: f for n, f in published_folders(open_run(results, 1)).items() if n < 3}
    first = run_facts(folders, {"passes": 2, "command": "nextflow run main.nf"})
    assert first["next"][0]["command"].endswith("--rounds 2")


def test_junk_that_cannot_be_told_is_a_doubt(results: Path) -> None:
    assert facts_of(results)["left_out"]["doubt"] is None
    facts = facts_of(open_run(results))
    assert "amplitudes vary by 0.37" in facts["left_out"]["doubt"]
    assert [one["text"] for one in facts["not_believed"] if one["of"] == "particles"] == [facts["left_out"]["doubt"]]


def test_where_junk_may_be_among_those_kept_a_motion_is_doubted_and_a_run_without_limits_offered(results: Path) -> None:
    with last_metrics(results) as metrics:
        metrics["median_rotation_change_degrees"] = 0.5
        metrics["clustering"]["assignment"] = {"contrast": {"mean": 1.0, "spread": 0.4}}
        metrics["clustering"]["linear"] = {"motion": True, "motion_gain": 0.3, "motion_gain_error": 0.01}
    folders = published_folders(results)
    passes = [read_metrics(path, number) for number, path in sorted(folders.items())]
    assert "  the motion: the images' amplitudes vary by 0.40" in findings(passes)
    assert "look like a motion" in findings(passes)
    assert "look like a motion" in facts_of(results)["sentence"]
    command = "nextflow run main.nf --consensus_limits 26,20 --k 3"
    steps = facts_of(results, command=command, parameters={"consensus_limits": "26,20"})["next"]
    (junk,) = (step for step in steps if step["why"].startswith("Images differ by more than"))
    assert junk["command"] == "nextflow run main.nf --k 3 -resume --consensus_limits none"
    (junk,) = (step for step in facts_of(results)["next"] if step["why"].startswith("Images differ by more than"))
    assert junk["command"] is None and "drgnAmplitude" in junk["why"]


def test_two_clusters_that_may_be_one_at_two_poses_may_be_united_by_hand(results: Path) -> None:
    assert not any("turn of the whole" in step["why"] for step in facts_of(results)["next"])
    with last_metrics(results) as metrics:
        for own, other in zip(metrics["clusters"], ("cluster_03", "cluster_01"), strict=True):
            own |= {"assign_limit_angstrom": 14.0, "turned": {"from": other, "degrees": 3.2, "angstrom": 1.1}}
    facts = facts_of(results, parameters={"outdir": "results"})
    (step,) = (step for step in facts["next"] if "turn of the whole" in step["why"])
    assert step["command"] == "drgnalign edit results/round_02/particles.star --unite 1,3 -o labels.star"
    assert any(
        "differs from cluster_03 mostly by a turn" in reason["text"] for reason in facts["clusters"][0]["reasons"]
    )


def test_of_the_input_only_doubts_are_among_what_is_not_to_be_believed(results: Path) -> None:
    inputs = {
        "warnings": ["images are normalised as they are read", "odd voltage"],
        "notes": ["images are normalised as they are read"],
    }
    facts = facts_of(results, inputs=inputs)
    assert [one["text"] for one in facts["not_believed"] if one["of"] == "input"] == ["odd voltage"]
    assert [one["text"] for one in facts["warnings"] if one["of"] == "input"] == inputs["warnings"]


def test_a_caveat_of_all_is_said_once_and_of_some_with_their_marks(results: Path) -> None:
    with last_metrics(results) as metrics:
        for one in metrics["clusters"]:
            one["resolution_angstrom"] = 16.5
    found = {one["of"]: (one["text"][:16], one["mark"]) for one in facts_of(results)["not_believed"]}
    assert found["every cluster"] == ("ends at Nyquist ", GOOD)
    assert found["cluster_03"][1] == NOT_BELIEVED


def test_one_map_is_spoken_of_as_one(tmp_path: Path, particles: Any) -> None:
    everyone, coarse = np.zeros(COUNT, int), entry("consensus", COUNT, 12.0, alignment_limit_angstrom=15.0)
    write_pass(tmp_path, particles, 1, 0, [coarse], everyone)
    at_nyquist = entry("consensus", COUNT, 16.0, reaches_nyquist=True, alignment_limit_angstrom=None)
    write_pass(tmp_path, particles, 2, 0, [at_nyquist], everyone)
    facts = facts_of(tmp_path, passes=2)
    assert facts["sentence"].endswith(
        "The map reaches Nyquist (16.0 Å): its resolution is the pixel's, not the data's."
    )
    assert facts["next"][-1]["why"].startswith("The map ends at Nyquist")
    assert facts["open"][0]["why"] == "all particles"
    # poses are those of the pass before
    assert facts["clusters"][0]["poses_limit_angstrom"] == 15.0
    known = run_facts({1: published_folders(tmp_path)[1]}, {"passes": 1})
    assert known["sentence"].endswith("A resolution of 12.0 Å, by half sets refined apart.")


def test_each_map_to_open_has_its_reason(results: Path) -> None:
    clusters = [
        {"label": label, "particles": size, "resolution_angstrom": angstrom, "difference_fsc_40": real, "share": share}
        | {"name": f"cluster_{label:02d}", "mark": GOOD, "skipped": False}
        for label, size, angstrom, real, share in (
            (1, 180, 11.0, 0.9, 0.6),
            (2, 80, 10.0, None, 0.3),
            (3, 40, 12.0, 0.8, 0.1),
        )
    ]
    opened = open_first(facts_of(results) | {"clusters": clusters})
    assert [one["why"] for one in opened] == [
        "largest, differs most from the consensus",
        "finest",
        "10% of the particles kept",
    ]


def test_a_pass_without_its_fsc_is_one_message(results: Path) -> None:
    (results / "round_01" / "fsc.csv").write_text("")
    with pytest.raises(InputError, match=r"round_01/fsc\.csv: cannot be read"):
        facts_of(results)
    (results / "round_01" / "fsc.csv").unlink()
    with pytest.raises(InputError, match=r"round_01/fsc\.csv: cannot be read"):
        facts_of(results)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("fsc.csv", "\ncluster_03,", "\ncluster_09,", "fsc.csv: has no FSC of cluster_03"),
        ("fsc.csv", "fsc_corrected", "fsc_other", "fsc.csv: has no column fsc_corrected"),
        ("fsc.csv", "\ncluster_03,1,", "\ncluster_03,one,", "fsc.csv: cannot be read"),
        (
            "metrics.json",
            '"particles": 300',
            '"particles": 12345',
            "it has 300 particles, metrics.json of its pass says",
        ),
        ("metrics.json", '"particles": 300', '"particles": NaN', "NaN is no number"),
        ("metrics.json", '"particles": 300', '"particles": "many"', "particles is 'many', and no whole number"),
        ("metrics.json", '"mean_fsc": 0.8', '"mean_fsc": true', "mean_fsc is True, and no number"),
        ("metrics.json", '"cluster_03"', '"cluster_x"', "cannot be read as the metrics of a pass"),
    ],
)
def test_broken_figures_are_refused(results: Path, file: str, old: str, new: str, message: str) -> None:
    path = results / "round_02" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=re.escape(message)):
        facts_of(results)


def test_a_shell_without_a_size_is_refused(results: Path) -> None:
    path = results / "round_02" / "fsc.csv"
    shells = pd.read_csv(path)
    for wrong in (np.nan, 0.0):
        shells.loc[0, "resolution_angstrom"] = wrong
        shells.to_csv(path, index=False)
        with pytest.raises(InputError, match="not a positive number"):
            facts_of(results)


def test_a_pass_that_is_missing_is_told(results: Path) -> None:
    (results / "round_01" / "metrics.json").unlink()
    with pytest.raises(InputError, match="pass 2 is missing"):
        facts_of(results)


def test_a_broken_trace_costs_its_times_alone(tmp_path: Path) -> None:
    head = b"name\tstatus\trealtime\t%cpu\tpeak_rss\n"
    broken = [head + b"REFINE\tCOMPLETED\t1s\t12,5%\t1 MB\n", head + b"REFINE\tCOMPLETED\t1s\t12%\t1.2.3 MB\n"]
    for content in (b"\xff\xfe\x00", b"name\tstatus\nREFINE\tCOMPLETED\n", *broken):
        (tmp_path / "trace_2026-01-02_03-04-05.txt").write_bytes(content)
        with pytest.warns(InputWarning, match="its times are not in the report"):
            assert cost_by_step(tmp_path) == []


def test_one_more_round_is_offered_where_one_is_more(results: Path) -> None:
    run = "nextflow run main.nf --stop auto"
    asked = {"command": run, "parameters": {"stop": "auto"}}
    assert facts_of(results, **asked)["one_more_round"] == f"{run} -resume --rounds 3"
    # under way, and not known
    for passes in (5, None):
        assert facts_of(results, **asked, passes=passes)["one_more_round"] is None
    with last_metrics(results) as metrics:
        metrics["steady"] = True
    rested = facts_of(results, **asked, passes=5)
    assert rested["finished"] and rested["one_more_round"] == "nextflow run main.nf -resume --rounds 3 --stop none"
    # with --stop none a run goes on though nothing changes
    assert facts_of(results, command=run, passes=5)["finished"] is False


def test_a_consensus_alone_is_gone_on_from(results: Path) -> None:
    first = {1: published_folders(results)[1]}
    facts = run_facts(first, {"passes": 1, "rounds": 0, "command": "nextflow run main.nf --rounds 0"})
    assert facts["next"][-1]["command"] == "nextflow run main.nf -resume --rounds 1"


def test_commands_name_the_session_and_where_they_are_typed(results: Path) -> None:
    info = results / "pipeline_info"
    info.mkdir()
    (info / "session.json").write_text('{"session": "12ab", "name": "mad_volta", "folder": "/data/my run"}')
    facts = facts_of(results, **run_known(info), command="nextflow run main.nf --input it's.star")
    assert facts["folder"] == "/data/my run"
    assert facts["one_more_round"].endswith("-resume 12ab --rounds 3")


def test_what_latent_space_proposed_unasked_is_believed_no_more(results: Path) -> None:
    with last_metrics(results) as metrics:
        metrics["verdict"] = None
        metrics["clusters"][0]["difference_judged"] = 0.1
    said = facts_of(results)["sentence"]
    assert said.startswith("2 clusters of the latent space. Whether the images tell them apart was not asked. ")
    assert "None of the clusters is to be believed" in said and "10.0 to 12.5 Å" in said


def test_given_clusters_stay_in_one_more_round_and_the_images_may_be_asked(results: Path) -> None:
    first = {number: path for number, path in published_folders(results).items() if number < 3}
    command = "nextflow run main.nf --labels mine.csv --assign none --outdir out --rounds 1"
    run = {"passes": 2, "rounds": 1, "command": command, "inputs": {"labels": {"left_out": 0}}}
    with last_metrics(results, 1) as metrics:
        metrics["verdict"] = None
    facts = run_facts(first, run | {"parameters": {"outdir": "out", "labels": "mine.csv"}})
    assert facts["clusters_given"] and facts["one_more_round"].endswith("--rounds 2 --fixed_clusters true")
    asked = "nextflow run main.nf --labels mine.csv --rounds 1 -resume --assign likelihood --outdir out_asked"
    assert asked in [step["command"] for step in facts["next"]]


def test_particles_for_other_programs_are_of_the_first_map_to_open(results: Path) -> None:
    assert facts_of(results)["particle_file"] == "final/cluster_01_particles.star"
    with last_metrics(results) as metrics:
        for one in metrics["clusters"]:
            one["difference_judged"] = 0.1
    assert facts_of(results)["particle_file"] == "final/all_particles.star"


def test_clusters_that_refined_poses_left_without_particles_are_told(results: Path) -> None:
    with last_metrics(results) as metrics:
        metrics["verdict"] = "3 states"
        metrics["clustering"]["assignment"] = {
            "verdict": "3 states",
            "states": 3,
            "clusters": {"1": {}, "2": {}, "3": {}},
        }
    said = facts_of(results)["sentence"]
    assert said.startswith("3 states; at the refined poses 1 of them has no particle left. ")


def test_states_that_are_left_of_a_continuum_are_doubted(results: Path) -> None:
    """The images call cuts states once poses were refined against the cuts' own maps."""
    assert facts_of(results)["doubt_of_verdict"] is None
    with last_metrics(results, 1) as metrics:
        metrics["verdict"] = RUNNING
    facts = facts_of(results)
    assert facts["sentence"].startswith("2 states. But round 1 saw a continuum; since then poses were refined against")
    assert facts["not_believed"][0]["of"] == "the verdict"
    # nothing that would be done with states is offered
    assert facts["clusters"][0]["mark"] == DOUBTED
    assert "cuts through a motion, or may be" in facts["next"][0]["why"]
    assert not any("ready for RELION" in step["why"] for step in facts["next"])
    with last_metrics(results) as metrics:
        metrics["verdict"] = PERHAPS_RUNNING
    assert facts_of(results)["doubt_of_verdict"] is None


def test_where_particles_move_a_clusters_map_is_an_average(results: Path) -> None:
    with last_metrics(results) as metrics:
        metrics["verdict"] = f"{MOVING}; the clusters alone say: 2 states"
        metrics["clustering"]["linear"] = {"motion": True, "points": 3, "gains": [1.0, 2.0, 3.0]}
    facts = facts_of(results)
    said = "Particles move, as the linear model sees: a continuum that"
    assert facts["sentence"].startswith(said)
    assert facts["clusters"][0]["mark"] == DOUBTED
    assert all(MOVES in [reason["text"] for reason in cluster["reasons"]] for cluster in facts["clusters"])


@pytest.mark.parametrize(
    ("with_maps", "why"),
    [
        ([1], ["the one place of the motion that has a map"]),
        ([0, 2], ["one end of the motion", "its other end"]),
        ([0, 1, 2], ["one end of the motion", "its middle", "its other end"]),
    ],
)
def test_maps_along_a_motion_are_opened_first(results: Path, with_maps: list[int], why: list[str]) -> None:
    facts = facts_of(results)
    facts["rounds"][-1]["motion"] = [
        {"name": f"point_0{place + 1}", "resolution_angstrom": 12.0 if place in with_maps else None}
        for place in range(3)
    ]
    first = open_first(facts)[: len(with_maps)]
    assert [one["why"] for one in first] == why
    assert [one["file"].rpartition("/")[2] for one in first] == [f"point_0{place + 1}.mrc" for place in with_maps]


def test_another_number_of_the_linear_model_is_a_doubt(results: Path) -> None:
    with last_metrics(results) as metrics:
        metrics["clustering"]["assignment"] = {**(metrics["clustering"].get("assignment") or {}), "states": 2}
        metrics["clustering"]["linear"] = {"motion": False, "points": 3, "gains": [0.0, 1.0, 2.0, 2.0]}
    told = [one["text"] for one in facts_of(results)["not_believed"] if one["of"] == "the verdict"]
    assert told == ["the linear model, which looks on its own, counts 3 states: the number is not settled"]


def test_without_its_command_a_run_is_offered_none(results: Path) -> None:
    facts = run_facts(published_folders(results), {"passes": 9})
    assert facts["finished"] is False and {step["command"] for step in facts["next"]} <= {None}


def test_a_mask_that_cuts_comes_before_a_verdict(results: Path) -> None:
    with last_metrics(results) as metrics:
        metrics["clusters"][0]["density_outside_mask"] = 0.12
    asked = {"mask_diameter": "100"}
    command = "nextflow run main.nf --mask_diameter 100"
    for diameter, advised in (("100", "--mask_diameter 130"), ("5000", None)):
        asked["mask_diameter"] = diameter
        step = facts_of(results, parameters=asked, defaults={"mask_diameter": None}, command=command)["next"][0]
        assert "cuts off 12 % of a cluster's density" in step["why"]
        assert advised in step["command"] if advised else step["command"] is None


def test_a_continuum_without_a_motion_may_be_poses_or_a_mask(results: Path) -> None:
    with last_metrics(results) as metrics:
        metrics["verdict"] = RUNNING
        metrics["clustering"]["linear"] = {"motion": False, "motion_gain": -0.5, "motion_gain_error": 0.1}
        metrics["clustering"]["linear"] |= {"points": 2, "gains": [0.0, 1.0, 1.0]}
    passes = [read_metrics(path, number) for number, path in sorted(published_folders(results).items())]
    said = findings(passes)
    told = "But no motion is made out (a curve gains -0.50 ± 0.10 nats an image over points). Poses that are off"
    assert told in said


def test_findings_say_that_labels_were_given(results: Path) -> None:
    passes = [read_metrics(path, number) for number, path in sorted(published_folders(results).items())]
    mine = LabelsRecord(file="/far/mine.csv", sha256="0", clusters={"1": 180, "2": 100}, unassigned=0, left_out=20)
    said = "Labels were given (mine.csv): the first round starts from its 2 clusters (180 in 1, 100 in 2); 20 are left"
    assert said in findings(passes, mine) and "Labels were given" not in findings(passes)


def compared(reference: str | None) -> ComparisonRecord:
    """Cluster 1 with a map that is in it, and one that is not."""
    record = ComparisonRecord(version="1", thesis=True)
    known = {"cluster": "cluster_01", "kind": "map", "null_mean": 0.1, "null_deviation": 0.01, "hand": "as given"}
    found = {"mean_fsc": 0.91, "resolution_05_angstrom": 12.5, "hand_margin": 9.0, "assigned": reference is not None}
    record.pairs = [
        PairRecord(**known, **found, reference="emd_1", claimed=True, agreement=0.9, z=80.0),
        PairRecord(**known, reference="emd_<2>", claimed=False, agreement=0.1, z=0.4, hand_margin=0.0),
    ]
    record.clusters = [
        ClusterRecord(
            cluster="cluster_01",
            resolution_angstrom=10.0,
            pixel_size_angstrom=8.0,
            box=32,
            half_maps=True,
            reference=reference,
            margin=0.3,
            halves_agree=True,
        )
    ]
    return record


@pytest.mark.parametrize(("reference", "which"), [("emd_1", "emd_1 (margin 0.300"), (None, "no reference of its own")])
def test_what_maps_are_beside_known_ones_is_said(results: Path, reference: str | None, which: str) -> None:
    assert facts_of(results)["comparison"] is None
    folder = results / "round_02" / "comparison"
    folder.mkdir()
    write_record(compared(reference), folder / RECORD)
    facts = facts_of(results)["comparison"]
    assert facts["folder"] == "round_02/comparison" and facts["references"] == ["emd_1", "emd_<2>"]
    assert facts["rows"][0]["which"].startswith(which)
    assert [pair["claimed"] for pair in facts["rows"][0]["pairs"]] == [True, False]
    last = published_folders(results)[3]
    text = findings([read_metrics(last, 3)], comparison=comparison_of(last, {}))
    assert f"  cluster_01: {which}" in text and "Beside maps and models that are known (round_02/comparison/" in text
    near = "; cluster_01 is nearest to it, mean FSC " in text
    assert "  emd_<2>: none of the maps\n" in text and near == (reference is None)
    assert facts_of(results, parameters={"compare": None})["comparison"] is None
    assert facts_of(results, parameters={"compare": "emd_1.map"})["comparison"] is not None
    assert "Beside published figures" in text and "The reference method on EMPIAR-10076" in text
