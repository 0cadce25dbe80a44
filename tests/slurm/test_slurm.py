"""The workflow on a real Slurm, and what goes wrong on a cluster done to it while it runs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import DEFAULT_PARSER, REPOSITORY, Run, contents, run_workflow

import cluster

# They install Slurm for `make test-hpc` alone.
WANTED = shutil.which("slurmctld") is not None or os.environ.get("DRGNALIGN_HPC") == "1"
pytestmark = pytest.mark.skipif(
    not (cluster.is_up() or (WANTED and cluster.can_start())), reason=cluster.HOW_TO_GET_ONE
)

CLUSTER = {"gpu_options": "none", "max_cpus": 1, "max_memory": "3.GB", "max_jobs": 8}
# Two passes of refinement without training: four chunks each, for as many nodes.
TWO_PASSES = {"rounds": 0, "consensus_limits": "20,16.5", "chunk_size": 75, "junk": "keep"}
REFINES = [f"MAP:REFINE ({n} all.{m})" for n in (2, 3) for m in (1, 2, 3, 4)]


@pytest.fixture(scope="module")
def on_slurm() -> Iterator[None]:
    with cluster.running():
        yield


@pytest.fixture(scope="module")
def expected(noisy_set: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the two passes give on this machine without Slurm."""
    run = run_workflow(tmp_path_factory.mktemp("local"), noisy_set.folder / "particles.star", TWO_PASSES)
    assert run.status == 0, run.log
    files = contents(run.results)
    assert "consensus/pass_03/particles.star" in files and len(files) > 20
    return files


@pytest.fixture
def run(on_slurm: None, noisy_set: Any, tmp_path: Path) -> Callable[..., Run]:
    """Runs of the two passes on Slurm in one folder."""

    def start(parameters: dict[str, object] | None = None, **options: Any) -> Run:
        given = {**TWO_PASSES, **CLUSTER, **(parameters or {})}
        options = {"profile": "test,slurm", "variables": DEFAULT_PARSER, **options}
        return run_workflow(tmp_path, noisy_set.folder / "particles.star", given, **options)

    return start


def site_config(folder: Path, settings: str) -> tuple[str, Path]:
    """A site's own settings, as docs/hpc.md says to write them."""
    file = folder / "site.config"
    file.write_text(f"profiles {{\n    test {{ }}\n    slurm {{\n{settings}\n    }}\n}}\n")
    return "-c", file


def assert_unharmed(run: Run, expected: dict[str, bytes]) -> None:
    """The results are those of the undisturbed run, and no task was completed twice."""
    assert run.status == 0, run.log
    found = contents(run.results)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    done = run.tasks[run.tasks.isin(["COMPLETED", "CACHED"])]
    assert done.index.is_unique


def assert_retried(run: Run, cause: str) -> str:
    """One REFINE task failed and was run once more, alone; the log says why. Returns the task's name."""
    (name,) = run.named("FAILED")
    assert name in REFINES
    assert run.tasks[name].tolist() == ["FAILED", "COMPLETED"]
    assert f"{name} {cause} (attempt 1, 3 GB, 4h)" in run.said
    return name


def test_a_killed_task_is_run_again(run: Callable[..., Run], tmp_path: Path, expected: dict[str, bytes]) -> None:
    def kill(_nextflow: int) -> None:
        pids = cluster.wait_for(lambda: cluster.processes("refine.py", tmp_path / "work"))
        os.kill(pids[0], signal.SIGKILL)

    killed = run(meanwhile=kill)
    assert_unharmed(killed, expected)
    assert_retried(killed, "was killed")


def test_a_node_that_goes_down(run: Callable[..., Run], expected: dict[str, bytes]) -> None:
    lost = []

    def take_down(_nextflow: int) -> None:
        nodes = cluster.wait_for(lambda: cluster.nodes_that_run("REFINE"))
        lost.append(nodes[-1])
        cluster.slurm("scontrol", "update", f"nodename={lost[0]}", "state=down", "reason=test")

    try:
        disturbed = run(meanwhile=take_down)
    finally:
        for node in lost:
            cluster.bring_back(node)
    assert_unharmed(disturbed, expected)
    assert_retried(disturbed, "lost its node")


def test_nextflow_killed_and_resumed(run: Callable[..., Run], expected: dict[str, bytes]) -> None:
    def kill(nextflow: int) -> None:
        cluster.wait_for(lambda: len(cluster.nodes_that_run("REFINE")) > 1)
        os.kill(nextflow, signal.SIGKILL)

    killed = run(meanwhile=kill, results="killed")
    assert killed.status == -signal.SIGKILL
    done = killed.named("COMPLETED")
    assert "MAP:MERGE (1)" in done and "EXPORT (3)" not in done
    resumed = run(options=("-resume",))
    assert_unharmed(resumed, expected)
    # the report shows where the results are
    assert resumed.named("CACHED") == {name for name in done if not name.startswith("REPORT")}
    assert not resumed.named("FAILED")


def test_too_little_memory_is_doubled(run: Callable[..., Run], tmp_path: Path, expected: dict[str, bytes]) -> None:
    memory = "process {\nwithLabel: cpu_refine {\next.memory = 100.MB\next.time = 4.h\n}\n}"
    config = site_config(tmp_path, memory)
    assert_unharmed(limited := run(options=config), expected)
    assert {name.split(" (")[0] for name in limited.named("FAILED")} <= {
        "MAP:INSERT",
        "MAP:REFINE",
    }
    name = next(iter(limited.named("FAILED") & set(REFINES)))
    assert f"{name} ran out of memory (attempt 1, 100 MB, 4h)" in limited.said
    assert set(limited.tasks[name].iloc[:-1]) == {"FAILED"} and limited.tasks[name].iloc[-1] == "COMPLETED"


def test_half_a_file_does_no_harm(run: Callable[..., Run], tmp_path: Path, expected: dict[str, bytes]) -> None:
    python_path = f"{Path(__file__).parent / 'half_file'}:{REPOSITORY / 'src'}"
    marker = tmp_path / "half"
    config = site_config(tmp_path, f"env.PYTHONPATH = '{python_path}'\nenv.HALF_FILE_MARKER = '{marker}'")
    killed = run(options=config)
    half = Path(marker.read_text())
    chunk = half.name.split(".")[1]
    assert 0 < half.stat().st_size < 0.9 * max(path.stat().st_size for path in half.parents[2].rglob(f"{chunk}.star"))
    assert not (half.parent / f"{chunk}.star").exists()
    assert_unharmed(killed, expected)
    assert_retried(killed, "was killed")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk(run: Callable[..., Run], small_disk: Path, expected: dict[str, bytes]) -> None:
    def fill(_nextflow: int) -> None:
        # all of the pass: later it is Nextflow itself that cannot write
        cluster.wait_for(lambda: cluster.unfinished("REFINE") == 4)
        # until nothing more fits: tasks write as well
        with pytest.raises(OSError, match="No space left"), (small_disk / "other").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**16))

    full = run(options=("-work-dir", small_disk / "work"), meanwhile=fill, results="full")
    assert full.status > 0
    assert "found the disk of its work folder full: make room, then go on with -resume" in full.log
    done = full.named("COMPLETED")
    subprocess.run(["mount", "-o", "remount,size=400m", small_disk], check=True)
    resumed = run(options=("-work-dir", small_disk / "work", "-resume"))
    assert_unharmed(resumed, expected)
    # the report shows where the results are
    assert resumed.named("CACHED") == {name for name in done if not name.startswith("REPORT")}


def test_a_round_on_slurm_is_a_round_here(on_slurm: None, noisy_set: Any, tmp_path: Path) -> None:
    particles, parameters = (
        noisy_set.folder / "particles.star",
        {"latent": "both", "rounds": 1, "consensus_limits": "none"},
    )
    here = run_workflow(tmp_path / "here", particles, parameters)
    assert here.status == 0, here.log
    parameters |= CLUSTER
    there = run_workflow(tmp_path / "there", particles, parameters, profile="test,slurm", variables=DEFAULT_PARSER)
    assert there.status == 0, there.log
    assert contents(there.results) == contents(here.results)


def test_training_that_is_killed_twice_goes_on(on_slurm: None, noisy_set: Any, tmp_path: Path) -> None:
    """After its last whole stretch, and ends as if nothing had happened."""
    particles, folder = noisy_set.folder / "particles.star", tmp_path / "there"
    parameters = {
        "latent": "both",
        "rounds": 1,
        "consensus_limits": "none",
        "junk": "keep",
        "epochs_first": 4,
        "checkpoint_epochs": 1,
    }
    here = run_workflow(tmp_path / "here", particles, parameters)
    assert here.status == 0, here.log

    def kill(_nextflow: int) -> None:
        for epoch in (1, 2):
            whole = f"work/checkpoints/*/epoch_{epoch:05d}"
            cluster.wait_for(lambda whole=whole: list(folder.glob(whole)))
            # cryoDRGN last: its end alone would be an error of the step's own
            for script in ("train.py", "cryodrgn"):
                for pid in cluster.processes(script, folder / "work"):
                    os.kill(pid, signal.SIGKILL)

    options = {"profile": "test,slurm", "variables": DEFAULT_PARSER, "meanwhile": kill}
    there = run_workflow(folder, particles, parameters | CLUSTER, **options)
    assert there.status == 0, there.log
    (name,) = {name for name in there.tasks.index if "TRAIN (" in name and "CHECK" not in name}
    assert there.tasks[name].tolist() == ["FAILED", "FAILED", "COMPLETED"]
    said = [path.read_text() for path in (folder / "work").glob("*/*/.command.out")]
    for epoch in (1, 2):
        assert sum(f"going on after epoch {epoch} of 4" in text for text in said) == 1
    assert contents(there.results) == contents(here.results)


@pytest.mark.long
def test_a_task_that_is_preempted(run: Callable[..., Run], expected: dict[str, bytes]) -> None:
    if cluster.URGENT not in cluster.slurm("sinfo", "-h", "-o", "%P").split():
        pytest.skip(f"the cluster that is up has no partition {cluster.URGENT}, which pre-empts jobs of others")

    def preempt(_nextflow: int) -> None:
        nodes = cluster.wait_for(lambda: cluster.nodes_that_run("REFINE"))
        urgent = ["-p", cluster.URGENT, "-w", nodes[-1], "--mem", "2000", "-o", "/dev/null", "--wrap", "sleep 3"]
        cluster.slurm("sbatch", *urgent)

    preempted = run(meanwhile=preempt)
    assert_unharmed(preempted, expected)
    assert_retried(preempted, "was pre-empted")


@pytest.mark.long
def test_too_little_time_is_doubled(run: Callable[..., Run], tmp_path: Path, expected: dict[str, bytes]) -> None:
    (first,) = re.findall(r"all\.\d", REFINES[0])
    slow = f"task.attempt == 1 && task.name.contains('(2/') && task.name.contains('{first}') ? 'sleep 600' : ''"
    site = f"process {{\nwithName: REFINE {{\next.memory = 3.GB\next.time = 1.m\nbeforeScript = {{ {slow} }}\n}}\n}}"
    late = run(options=site_config(tmp_path, site))
    assert_unharmed(late, expected)
    assert late.tasks[REFINES[0]].tolist() == ["FAILED", "COMPLETED"]
    assert f"{REFINES[0]} ran out of time (attempt 1, 3 GB, 1m)" in late.said
    assert "#SBATCH -t 00:02:00" in "".join(path.read_text() for path in (tmp_path / "work").rglob(".command.run"))


@pytest.mark.long
def test_scratch_folders_of_the_nodes(run: Callable[..., Run], tmp_path: Path, expected: dict[str, bytes]) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    used = []

    def watch(_nextflow: int) -> None:
        used.append(cluster.wait_for(lambda: cluster.processes("refine.py", scratch)))

    assert_unharmed(run(parameters={"scratch": scratch}, meanwhile=watch), expected)
    assert used and not list(scratch.iterdir())
