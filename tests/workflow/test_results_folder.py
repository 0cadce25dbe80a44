"""The folder of the results is one run's, and programs that are missing are named before anything is begun."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from runs import Run, further, run_workflow

SESSION = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a run is started, with a particle file that is not looked into."""
    (tmp_path / "particles.star").touch()
    (tmp_path / "results" / "pipeline_info").mkdir(parents=True)
    return tmp_path


def stopped(run: Run) -> str:
    assert run.status > 0
    assert "Submitted" not in run.log and "Traceback" not in run.log
    return run.log


def lock(folder: Path, pid: int, host: str, start: str = "?") -> Path:
    path = folder / "results" / "pipeline_info" / "run.lock"
    path.write_text(f"{pid}\n{host}\n{start}\nold_name\n")
    return path


def test_a_folder_in_use_elsewhere_is_refused(folder: Path) -> None:
    path = lock(folder, 123, "far.away")
    cost = folder / "results" / "pipeline_info" / "trace_2026-01-02_03-04-05.txt"
    cost.write_text("name\tstatus\n")
    message = stopped(run_workflow(folder, folder / "particles.star"))
    assert "is in use by the run old_name, process 123 on far.away" in message and f"remove {path}" in message
    assert path.exists() and cost.read_text() == "name\tstatus\n"


def test_the_lock_of_a_process_that_has_died_is_taken(folder: Path) -> None:
    """Its id is another's by now: of this test."""
    path = lock(folder, os.getpid(), socket.gethostname())
    run = run_workflow(folder, folder / "particles.star")
    assert "is in use" not in run.log and "LIST_STACKS" in run.log
    assert not path.exists()


@pytest.mark.parametrize("text", ["", *further("x\n", "12\nhere\n", "x\nhere\n?\nold_name\n")])
def test_a_lock_that_is_broken_is_said(folder: Path, text: str) -> None:
    path = folder / "results" / "pipeline_info" / "run.lock"
    path.write_text(text)
    message = stopped(run_workflow(folder, folder / "particles.star"))
    assert f"may be in use: {path} is broken" in message and f"remove {path}" in message


def test_results_of_another_run_are_not_mixed_with(folder: Path) -> None:
    (folder / "results" / "round_01").mkdir()
    record = {"session": SESSION, "name": "old_name", "folder": str(folder)}
    (folder / "results" / "pipeline_info" / "session.json").write_text(json.dumps(record))
    message = stopped(run_workflow(folder, folder / "particles.star"))
    assert "holds the results of another run (old_name)" in message and SESSION not in message
    # it can be gone on with where Nextflow still knows its tasks, and the run that they are of
    (folder / ".nextflow" / "cache" / SESSION).mkdir(parents=True)
    message = stopped(run_workflow(folder, folder / "particles.star"))
    assert SESSION not in message
    with (folder / ".nextflow" / "history").open("a") as history:
        history.write(f"2026-01-01 00:00:00\t1s\told_name\tOK\ta\t{SESSION}\tnextflow run main.nf\n")
    message = stopped(run_workflow(folder, folder / "particles.star"))
    assert "holds the results of another run (old_name)" in message and f"-resume {SESSION}" in message


def test_what_the_run_would_move_away_is_no_input_of_it(folder: Path) -> None:
    """Not even to go on with: other settings put what was found aside."""
    mine = folder / "results" / "round_01" / "mine.csv"
    mine.parent.mkdir()
    mine.touch()
    message = stopped(run_workflow(folder, folder / "particles.star", {"labels": "results/round_01/mine.csv"}))
    assert f"{mine}: is among the results that this run would replace" in message and "copy it elsewhere" in message
    assert mine.exists() and not (folder / "results" / "earlier").exists()


@pytest.mark.long
def test_results_without_a_record_of_whose_they_are(folder: Path) -> None:
    (folder / "results" / "round_01").mkdir()
    # without a start that Nextflow knows of it passes -resume over
    stopped(run_workflow(folder, folder / "particles.star"))
    message = stopped(run_workflow(folder, folder / "particles.star", options=("-resume",)))
    assert "no record of whose they are" in message and "move it away, and start again with -resume" in message


def test_dots_after_a_link_lead_to_where_the_system_says(folder: Path) -> None:
    (folder / "target" / "deep").mkdir(parents=True)
    (folder / "link").symlink_to("target/deep")
    message = stopped(run_workflow(folder, Path("link/../particles.star")))
    assert f"{folder / 'target' / 'particles.star'}: no such file" in message


def path_without(folder: Path, *names: str) -> str:
    """All that is on the path but these programs, which may stand beside the shell."""
    programs = folder / "programs"
    programs.mkdir()
    for part in filter(Path.is_dir, map(Path, os.environ["PATH"].split(":"))):
        for file in part.iterdir():
            if file.name not in names and not (programs / file.name).is_symlink():
                (programs / file.name).symlink_to(file)
    return str(programs)


@pytest.mark.skipif(any(Path("/dev").glob("nvidia[0-9]*")), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_said_before_anything_runs(folder: Path) -> None:
    """Where no scheduler could have nodes that have one."""
    variables = {"PATH": path_without(folder, "sbatch", "qsub", "bsub")}
    message = stopped(run_workflow(folder, folder / "particles.star", {"device": "cuda"}, variables=variables))
    assert "--device cuda: this machine has no GPU" in message and "Submitted" not in message


@pytest.mark.parametrize(("profile", "program"), [("test,slurm", "sbatch"), ("test,apptainer", "apptainer")])
def test_a_program_that_is_missing(folder: Path, profile: str, program: str) -> None:
    programs = path_without(folder, program)
    run = run_workflow(
        folder, folder / "particles.star", {"container_dir": folder}, profile=profile, variables={"PATH": programs}
    )
    assert f"{program}: no such program on this machine, so that -profile {profile}" in stopped(run)
