"""Start the workflow as a user does, and look at what it leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drgnalign.run.latent import TRAINING

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = REPOSITORY / ".venv" / "bin" / "python"
# The Java compiler that starts fastest: a run of seconds never earns back what the best one costs.
JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
# Seconds; the longest run takes ten minutes on an idle machine.
TIME_LIMIT = 2700

# For `variables`: the parser of a user who does not ask for the strict one.
DEFAULT_PARSER = {"NXF_SYNTAX_PARSER": "v1"}

# A network is half a minute of each run: those that are not about one do without.
WITHOUT_NETWORK = {"latent": "linear"}

# In the names of tasks: of how many passes, of how many rounds.
TOTALS = r"(?<=\d)/\d+(?=[ )])"


def further(*values: object) -> list[pytest.ParameterSet]:
    """Values of a test's parameter that the first one stands for, where there is less time."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.long) for value in values
    ]


@dataclass(frozen=True)
class Run:
    """A run that has ended, well or badly.

    Attributes
    ----------
    results : Path
        Its --outdir.
    status : int
        Of Nextflow; negative where a signal ended it.
    log : str
        What it printed.
    """

    results: Path
    status: int
    log: str

    @property
    def said(self) -> str:
        """What it printed, names of tasks without totals, as `tasks` has them."""
        return re.sub(TOTALS, "", self.log)

    @property
    def tasks(self) -> pd.Series:
        """Status (COMPLETED, CACHED …) by name of the tasks that had ended, from Nextflow's trace.

        Names are without totals, '5 r2' for '5/9 r2/4': runs of other lengths can be compared.
        """
        return self._trace()["status"]

    def work_folder(self, task: str) -> Path:
        """Of a task."""
        (found,) = (self.results.parent / "work").glob(f"{self._trace()['hash'][task]}*")
        return found

    def _trace(self) -> pd.DataFrame:
        trace = last_trace(self.results)
        return trace.set_index(trace["name"].str.replace(TOTALS, "", regex=True))

    def named(self, status: str) -> set[str]:
        """Names of the tasks with a status."""
        return set(self.tasks.index[self.tasks == status])


def last_trace(results: Path) -> pd.DataFrame:
    """Nextflow's rows of tasks, of the last start of a run."""
    return pd.read_csv(max((results / "pipeline_info").glob("trace_*.txt")), sep="\t")


def nextflow(
    folder: Path,
    *arguments: object,
    kill_at: str | None = None,
    meanwhile: Callable[[int], object] | None = None,
    code: Path = REPOSITORY,
    variables: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run Nextflow in `folder`, without a terminal and with the strict parser.

    Parameters
    ----------
    folder : Path
        Where it is started; keeps what -resume needs.
    *arguments
        Of the command line.
    kill_at : str, optional
        As soon as this is printed, Nextflow and its tasks are killed.
    meanwhile : callable, optional
        Called with Nextflow's process id while it runs.
    code : Path
        The tasks import the library of this checkout.
    variables : mapping, optional
        Further environment variables of the tasks.

    Returns
    -------
    int, str
        Exit status (negative: a signal) and what was printed.
    """
    environment = {
        **os.environ,
        "NXF_SYNTAX_PARSER": "v2",
        "NXF_OPTS": JAVA_OPTIONS,
        "NXF_ANSI_LOG": "false",
        "PYTHONPATH": str(code / "src"),
        **(variables or {}),
    }
    command = [str(word) for word in (REPOSITORY / ".tools" / "nextflow", *arguments)]
    log = folder / "nextflow.out"
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        if meanwhile is not None:
            meanwhile(process.pid)
        deadline = time.monotonic() + TIME_LIMIT
        while process.poll() is None:
            late = time.monotonic() > deadline
            if late or (kill_at is not None and kill_at in log.read_text()):
                os.killpg(process.pid, signal.SIGKILL)
            assert not late, f"Nextflow did not end within {TIME_LIMIT} s: {log.read_text()}"
            time.sleep(0.02)
    return process.returncode, log.read_text()


def run_workflow(
    folder: Path,
    particles: Path | None,
    parameters: Mapping[str, object] | None = None,
    *,
    results: str = "results",
    profile: str = "test",
    options: tuple[object, ...] = (),
    kill_at: str | None = None,
    meanwhile: Callable[[int], object] | None = None,
    code: Path = REPOSITORY,
    variables: Mapping[str, str] | None = None,
) -> Run:
    """Run main.nf with the settings of the test profile.

    Parameters
    ----------
    folder : Path
        Made if need be; runs in one folder can be resumed.
    particles : Path or None
        --input, unless the run starts from something else.
    parameters : mapping, optional
        Further parameters by name; one that is True is given as a flag. `latent` is linear unless it is given.
    results : str
        --outdir, relative to `folder`.
    profile : str
        -profile.
    options : tuple
        Of Nextflow, such as ``-resume``.
    kill_at, meanwhile, code, variables
        As of `nextflow`.

    Returns
    -------
    Run
    """
    folder.mkdir(parents=True, exist_ok=True)
    words: list[object] = ["run", code / "main.nf", "-profile", profile, *options]
    given = {} if particles is None else {"input": particles}
    for name, value in (WITHOUT_NETWORK | given | {"outdir": results} | dict(parameters or {})).items():
        words += [f"--{name}"] if value is True else [f"--{name}", value]
    status, log = nextflow(folder, *words, kill_at=kill_at, meanwhile=meanwhile, code=code, variables=variables)
    return Run(folder / results, status, log)


def contents(results: Path) -> dict[str, bytes]:
    """Tables, particles and maps of a run, by name; of an .npz file the arrays: its head depends on Python.

    Without what says when it was made, how long that took, and whether training had the memory for all images at once:
    it ends alike.
    """
    suffixes = (".star", ".csv", ".json", ".mrc", ".txt", ".npz")
    files = [path for path in results.rglob("*") if path.suffix in suffixes and path.parent.name != "pipeline_info"]
    files = [path for path in files if path.name != "report.json"]
    return {str(path.relative_to(results)): _content(path) for path in files}


def _content(path: Path) -> bytes:
    if path.name == TRAINING:
        return json.dumps({**json.loads(path.read_text()), "lazy": None}).encode()
    if path.suffix != ".npz":
        return path.read_bytes()
    with np.load(path) as arrays:
        return b"".join(f"{name} {arrays[name].dtype} ".encode() + arrays[name].tobytes() for name in arrays)
