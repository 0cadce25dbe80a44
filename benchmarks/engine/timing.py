"""Processor time and memory of the workflow's steps, run as programs of their own on the cores given."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
# The fastest of so many runs counts: what a run takes longer, others on the machine took.
REPEATS = 3
# Seconds between looks at a step's memory.
POLL = 0.01


class Used(NamedTuple):
    """What a step took: processor and wall seconds, peak memory in MB."""

    processor: float
    wall: float
    memory: float


class Cost(NamedTuple):
    """Milliseconds a particle, and seconds of start-up, both of processor time; peak memory in MB."""

    ms: float
    start_s: float
    memory_mb: float


def run_step(step: str, arguments: Sequence[str], folder: Path, cores: Sequence[int] = (0,)) -> Used:
    """Run a script of ``bin/`` in a folder, on some cores; leave with its message if it fails."""
    start = time.perf_counter()
    command = [sys.executable, str(REPOSITORY / "bin" / f"{step}.py"), *arguments]
    with TemporaryFile() as message:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=message, cwd=folder)
        os.sched_setaffinity(process.pid, cores)
        memory, ended = 0.0, 0
        while not ended:
            # what the kernel reports at the end has the size of this process, from before the program was loaded
            memory = max(memory, _peak_memory(process.pid))
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            time.sleep(0 if ended else POLL)
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            message.seek(0)
            sys.exit(f"{' '.join(command)}\n{message.read().decode()}")
    return Used(usage.ru_utime + usage.ru_stime, time.perf_counter() - start, memory)


def _peak_memory(process: int) -> float:
    """So far, in MB; 0 of a process that has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def cost_per_particle(step: str, stars: Sequence[Path], counts: Sequence[int], arguments: Sequence[str]) -> Cost:
    """From a small and a large number of particles: what each takes, and the start.

    Output goes to names that are relative to a folder of its own for each run.
    """
    runs: list[list[Used]] = []
    for _ in range(REPEATS):
        runs.append([])
        for star in stars:
            with TemporaryDirectory(dir=star.parent) as folder:
                runs[-1].append(run_step(step, [str(star), *arguments], Path(folder)))
    few, many = (min(run[i].processor for run in runs) for i in (0, 1))
    slope = (many - few) / (counts[1] - counts[0])
    return Cost(round(1000 * slope, 4), round(few - slope * counts[0], 2), round(max(run[1].memory for run in runs), 0))


def processor() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
