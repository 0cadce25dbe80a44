"""Running a program that says little of its faults: everything that can be checked from outside is."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from drgnalign.errors import DrgnalignError, InputError

LINES_SHOWN = 6
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1  # of prctl(2), Linux
# One thread a process, as the workflow plans; and a Fortran program's words come out before it is killed.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "NCPUS": "1", "GFORTRAN_UNBUFFERED_PRECONNECTED": "y"}
# What Fortran prints when it fails, behind the line that says why.
BACKTRACE = re.compile(r"^\s*(#\d+ |at \.|Error termination|Backtrace for|$)")


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Parameters
    ----------
    status : int
        Exit status; negative: the signal that ended it.
    log : Path
        All that it printed.
    text : str
        The same as text.
    """

    status: int
    log: Path
    text: str

    @property
    def ended(self) -> str:
        """How, in words."""
        return f"was ended by signal {-self.status}" if self.status < 0 else f"ended with status {self.status}"


@contextmanager
def working_folder() -> Iterator[Path]:
    """A temporary folder in the working directory, where there is room for stacks and dumps."""
    with TemporaryDirectory(prefix=".frealign_", dir=".") as name:
        yield Path(name).resolve()


def find_program(name: str, folder: Path | None) -> Path:
    """Where a program is.

    Parameters
    ----------
    name : str
    folder : Path or None
        Where to look; the PATH without it.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        It is not there, or cannot be executed.
    """
    remedy = "give the folder of your Frealign programs with --frealign_dir (docs/frealign.md)"
    found = shutil.which(name) if folder is None else folder / name
    if found is None or not Path(found).is_file():
        raise InputError(
            None if folder is None else folder,
            f"has no program {name}" if folder else f"the program {name} is not on the PATH",
            remedy,
        )
    if not os.access(found, os.X_OK):
        raise InputError(found, "cannot be executed", f"make it executable: chmod +x {found}")
    return Path(found).resolve()


def run(program: Path, answers: Sequence[str], log: Path, folder: Path, seconds: float) -> Outcome:
    """Run a program with answers on its standard input, one a line.

    Its output is line-buffered (``stdbuf``), so that what it says before an ``abort()`` is not lost. It dies when this
    process does, however that comes about.

    Parameters
    ----------
    program : Path
    answers : sequence of str
    log : Path
        Gets what it prints, on both channels, as it comes.
    folder : Path
        Where it is started.
    seconds : float
        Time after which it and its children are killed.

    Returns
    -------
    Outcome

    Raises
    ------
    DrgnalignError
        It cannot be started, or took too long.
    """
    stdbuf = shutil.which("stdbuf")
    command = [*([stdbuf, "-oL"] if stdbuf else []), str(program)]
    with log.open("w", encoding="utf-8", errors="replace") as output:
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **ENVIRONMENT},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        except OSError as error:
            raise DrgnalignError(
                program, f"cannot be started ({error.strerror})", "is it built for this machine?"
            ) from error
        try:
            process.communicate("".join(f"{answer}\n" for answer in answers), timeout=seconds)
        except BaseException as error:
            # it is in a session of its own, where an interrupt of ours does not reach it
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            problem = f"{program.name} had not ended after {seconds:g} s, and was killed; it said last:"
            problem += last_words(log)
            remedy = "look at the log; if the machine is slow give --frealign_args time_limit=SECONDS"
            raise DrgnalignError(log, problem, remedy) from None
    return Outcome(process.returncode, log, log.read_text(encoding="utf-8", errors="replace"))


def _end_with_parent() -> None:
    """In a child, before it becomes the program: die when we are killed, who could not tell it then."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def require_success(program: Path, outcome: Outcome, closing: str) -> None:
    """Check exit status and closing line.

    Parameters
    ----------
    program : Path
    outcome : Outcome
    closing : str
        A line that the program prints at the very end of a good run.

    Raises
    ------
    DrgnalignError
        The status is not 0, or the line is missing.
    """
    lines = [line.strip() for line in outcome.text.splitlines() if line.strip()]
    # Fortran's STOP ends a program with status 0
    stopped = any(line.startswith("STOP ") for line in lines)
    if outcome.status == 0 and closing in lines[-3:] and not stopped:
        return
    missing = "" if closing in lines[-3:] else f" without its closing line '{closing}'"
    remedy = "look at the log; it holds all that the program said"
    problem = f"{program.name} {outcome.ended}{missing}; it said last:{last_words(outcome.log)}"
    error = DrgnalignError(outcome.log, problem, remedy)
    if outcome.status == -signal.SIGKILL:
        # as a shell has it, so that the workflow tries again what somebody, or a lack of memory, has killed
        error.exit_code = 128 + signal.SIGKILL
    raise error


def last_words(log: Path) -> str:
    """The end of what a program said, without what Fortran prints behind the line that says why."""
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.replace("\r", "\n").splitlines() if not BACKTRACE.match(line)]
    return "".join(f"\n    {line.strip()}" for line in lines[-LINES_SHOWN:]) or " nothing"
