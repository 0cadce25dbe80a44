"""What -resume does again, and that it makes no difference to the results."""

from __future__ import annotations

import json
import re
import signal

import pandas as pd
import pytest
from runs import Run, contents

from conftest import Further, Interrupted, Masks, OwnFolder


def test_nothing_that_had_finished_runs_again(interrupted_runs: Interrupted) -> None:
    killed, resumed, *_ = interrupted_runs
    assert killed.status == -signal.SIGKILL
    done = killed.named("COMPLETED")
    assert {"LABEL:TRAIN (5 r2)", "LABEL:DECODE (5 r2)", "MAP:SPLIT (5 r2)"} <= done
    assert not any("RECONSTRUCT (5" in name or "MERGE (5" in name for name in done)
    # in a new folder reports are made anew: they show where results are
    reports = {name for name in done if name.startswith("REPORT")}
    assert resumed.named("CACHED") == done - reports
    # what outlives an attempt at training goes with the training
    assert list((resumed.results.parent / "work" / "checkpoints").iterdir()) == []
    again = set(resumed.tasks.index) - done
    assert resumed.named("COMPLETED") == again | reports
    assert {name.split(" c")[0].removeprefix("MAP:") for name in again} == {
        "REFINE (5 r2",
        "REASSIGN (5 r2)",
        "RESPLIT (5 r2)",
        "REINSERT (5 r2",
        "RECONSTRUCT (5 r2",
        "MERGE (5 r2)",
        "REPORT (5 r2)",
        "EXPORT (5 r2)",
    }


def test_a_killed_run_leaves_what_its_passes_gave(interrupted_runs: Interrupted, loop_run: Run) -> None:
    """Tables, pictures and final/ are those of the first round, all of them whole."""
    killed = interrupted_runs.killed.results
    summary = pd.read_csv(killed / "summary.csv")
    assert summary["pass"].tolist() == [1, 2, 3, 4, 4]
    assert "What was found (round 1)" in (killed / "findings.txt").read_text()
    for picture in ("umap_round_01.png", "fsc_round_01.png"):
        assert (killed / picture).read_bytes() == (loop_run.results / picture).read_bytes()
    for name in ("cluster_01", "cluster_02"):
        for ending in ("_half1.mrc", "_half2.mrc", ".mrc"):
            made = killed / "round_01" / "clusters" / f"{name}{ending}"
            assert (killed / "final" / f"{name}{ending}").read_bytes() == made.read_bytes()
    assert not [path for path in killed.iterdir() if path.name.startswith(".")]


def test_the_same_seed_gives_the_same_results_interrupted_or_not(loop_run: Run, interrupted_runs: Interrupted) -> None:
    expected, resumed = contents(loop_run.results), contents(interrupted_runs.resumed.results)
    assert len(expected) > 60
    assert expected.keys() == resumed.keys()
    assert [name for name in expected if expected[name] != resumed[name]] == []


def test_sums_of_passes_that_have_ended_take_no_room(interrupted_runs: Interrupted) -> None:
    """Those of a run that was killed were emptied before it went on."""
    work = interrupted_runs.resumed.results.parent / "work"
    parts = [path for path in work.rglob("*.part") if path.is_file() and not path.is_symlink()]
    assert len(parts) > 10
    assert {path.stat().st_blocks for path in parts} == {0}
    assert min(path.stat().st_size for path in parts) > 100_000


@pytest.mark.long
def test_more_rounds_repeat_none(interrupted_runs: Interrupted, further_runs: Further) -> None:
    resumed, extended = interrupted_runs.resumed, further_runs.extended
    # what the run will take is another matter, and reports show all parameters
    anew = {"CHECK_SETTINGS", "ESTIMATE_DISK", "CHECK_TRAINING (1)"}
    anew |= {name for name in resumed.tasks.index if name.startswith("REPORT")}
    assert extended.named("CACHED") == set(resumed.tasks.index) - anew
    last = {"LABEL:TRAIN (6 r3)", "MAP:MERGE (6 r3)", "REPORT (6 r3)", "EXPORT (6 r3)"}
    assert last <= extended.named("COMPLETED")
    assert not any("(5 r2" in name for name in extended.named("COMPLETED") - anew)
    for number in (1, 2):
        star = f"round_0{number}/particles.star"
        assert (extended.results / star).read_bytes() == (resumed.results / star).read_bytes()


@pytest.mark.long
def test_passes_from_the_cache_take_the_place_of_no_later_ones(further_runs: Further) -> None:
    """What stood in --outdir stands there until a pass has ended that is not older."""
    again = further_runs.begun_anew
    assert again.status == -signal.SIGKILL and "MAP:MERGE (4 r1)" in again.named("CACHED")
    assert "What was found (round 2)" in (again.results / "findings.txt").read_text()
    assert json.loads((again.results / "report.json").read_text())["pass"] == 5
    for name in ("cluster_01.mrc", "cluster_02.mrc"):
        made = again.results / "round_02" / "clusters" / name
        assert (again.results / "final" / name).read_bytes() == made.read_bytes()


@pytest.mark.long
def test_another_limit_of_assignment_does_not_train_anew(coarser_run: Run) -> None:
    again = coarser_run.named("COMPLETED")
    assert {"COARSEN", "LABEL:ASSIGN (4 r1)", "MAP:MERGE (4 r1)"} <= {name.removesuffix(" (1)") for name in again}
    steps = {name.split(" (")[0].split(":")[-1] for name in again}
    # the linear model is of the images for assignment
    assert "FIT" in steps and not steps & {"CHECK_INPUTS", "DOWNSAMPLE", "TRAIN"}


def test_what_depends_on_a_mask_runs_again_when_its_file_changes(mask_runs: Masks) -> None:
    given, mask = mask_runs
    assert given.named("COMPLETED") == set(given.tasks.index)
    again = {
        "CHECK_SETTINGS",
        *(f"MAP:{name}" for name in ("RECONSTRUCT (1 all)", "MERGE (1)")),
    }
    assert again <= mask.named("COMPLETED")
    assert "DOWNSAMPLE (1)" in mask.named("CACHED")


def test_what_comes_new_into_the_images_folder_makes_no_difference(own_folder_runs: OwnFolder) -> None:
    """Nextflow's own files, results and notes do."""
    first, resumed, _ = own_folder_runs
    assert first.named("COMPLETED") == set(first.tasks.index) == resumed.named("CACHED")
    assert resumed.named("COMPLETED") == set()


def test_what_uses_a_stack_runs_again_when_it_changes(own_folder_runs: OwnFolder) -> None:
    first, _, changed = own_folder_runs
    before_images = {"DIGEST", "LIST_STACKS"}
    assert changed.named("CACHED") == before_images
    assert changed.named("COMPLETED") == first.named("COMPLETED") - before_images
    now, before = contents(changed.results), contents(first.results)
    earlier = {name.split("/", 2)[2] for name in now if name.startswith("earlier/")}
    assert {name: now[name] for name in now if not name.startswith("earlier/")} == before
    assert earlier == set(before) | {"decisions.json"}


def test_what_another_run_found_is_set_aside_and_never_lies_beside_the_new(own_folder_runs: OwnFolder) -> None:
    _first, resumed, changed = own_folder_runs
    assert not (resumed.results / "earlier").exists()
    (aside,) = (changed.results / "earlier").iterdir()
    assert re.search(rf"Stacks have changed: the results .* are now in .*/earlier/{aside.name}", changed.log)
