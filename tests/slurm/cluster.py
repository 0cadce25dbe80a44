"""A real Slurm of four nodes on this machine, and faults to do to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = REPOSITORY.parent / "shared" / "tools"
# The name that slurm_up.sh gives its cluster: nobody else's nodes are taken down.
NAME = "mini"
# The partition that goes before all others.
URGENT = "urgent"
SIZE = {"NODE_CPUS": "1", "NODE_MEM": "4000"}
HOW_TO_GET_ONE = (
    "The tests on Slurm take nodes down, so they run on a cluster of their own: install slurmctld, slurmd, "
    f"slurm-client and munge, and start slurmctld with ClusterName={NAME} and four slurmd n1 to n4 on this machine; "
    f"as root, make test-hpc has {TOOLS.name}/slurm_up.sh do both where it is beside the checkout."
)


def is_up() -> bool:
    """Does our own cluster answer?"""
    if shutil.which("scontrol") is None:
        return False
    shown = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False).stdout
    return f"ClusterName             = {NAME}\n" in shown


def can_start() -> bool:
    return (TOOLS / "slurm_up.sh").exists() and os.geteuid() == 0


def start() -> None:
    """Four nodes, and besides the usual partition one whose jobs pre-empt those of others."""
    subprocess.run([TOOLS / "slurm_up.sh", "4"], env={**os.environ, **SIZE}, check=True)
    with Path("/etc/slurm/slurm.conf").open("a") as file:
        file.write("PreemptType=preempt/partition_prio\nPreemptMode=CANCEL\n")
        file.write(f"PartitionName={URGENT} Nodes=ALL PriorityTier=10 State=UP\n")
    subprocess.run(["scontrol", "shutdown", "slurmctld"], check=True)
    wait_for(lambda: subprocess.run(["pgrep", "-x", "slurmctld"], stdout=subprocess.DEVNULL).returncode)
    subprocess.run(["slurmctld"], check=True)
    wait_for(lambda: set(slurm("sinfo", "-h", "-o", "%T").split()) == {"idle"})


def stop() -> None:
    subprocess.run([TOOLS / "slurm_down.sh"], check=True)


@contextmanager
def running() -> Iterator[None]:
    """A cluster that is up; one that was started for this is stopped again."""
    already = is_up()
    if not already:
        start()
    yield
    if not already:
        stop()


def slurm(*words: str) -> str:
    """What a command of Slurm prints."""
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def bring_back(node: str) -> None:
    """End a node's being down, unless Slurm did so by itself when the node answered again."""
    command = ["scontrol", "update", f"nodename={node}", "state=resume"]
    subprocess.run(command, capture_output=True, check=False)
    wait_for(
        lambda: slurm("sinfo", "-h", "-n", node, "-o", "%T").strip() in ("idle", "mixed", "allocated", "completing")
    )


def wait_for(what: Callable[[], object], seconds: float = 300) -> object:
    """The first answer of `what` that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := what():
            return answer
        time.sleep(0.2)
    raise TimeoutError(f"waited {seconds:.0f} s in vain")


def nodes_that_run(process: str) -> list[str]:
    """Nodes with a running job of a Nextflow process."""
    return _jobs(process, "R")


def unfinished(process: str) -> int:
    """How many jobs of a Nextflow process run, or wait to."""
    return len(_jobs(process, "PD,R,CF"))


def _jobs(process: str, states: str) -> list[str]:
    """The node of each, empty while it waits."""
    rows = [line.split("|") for line in slurm("squeue", "-h", "-t", states, "-o", "%j|%N").splitlines()]
    return [node for job, node in rows if f"_{process}_" in job]


def processes(script: str, folder: Path) -> list[int]:
    """Process ids of Python programs that run a script somewhere below a folder."""
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _runs(entry, script, folder.resolve())]


def _runs(process: Path, script: str, folder: Path) -> bool:
    try:
        words = (process / "cmdline").read_text().split("\0")
        inside = (process / "cwd").resolve().is_relative_to(folder)
    except OSError:
        return False
    return inside and "python" in words[0] and any(word.endswith(script) for word in words)


if __name__ == "__main__":
    if not (is_up() or can_start()):
        sys.exit(HOW_TO_GET_ONE)
