"""cryoDRGN, which is run as a program and never imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from drgnalign.errors import DrgnalignError


def run_cryodrgn(arguments: Sequence[object], log: Path, threads: int) -> None:
    """Run ``cryodrgn`` and keep what it prints.

    Parameters
    ----------
    arguments : sequence
        Command and options; each is turned into a string.
    log : path
        File that standard output and standard error are added to.
    threads : int
        CPU threads it may use.

    Raises
    ------
    DrgnalignError
        The program is missing or fails; the last lines of its log are quoted.
    """
    command = [str(find_cryodrgn()), *(str(argument) for argument in arguments)]
    pinned = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    with (
        log.open("a") as file,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **pinned, "PYTHONUNBUFFERED": "1"},
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                file.flush()
                if "Use cuda False" in line:
                    print(
                        f"WARNING: no GPU found: cryodrgn {arguments[0]} runs on the CPU, which is much slower",
                        file=sys.stderr,
                    )
        except BaseException:
            # whoever ends this ends the program too
            process.kill()
            raise
    if process.returncode != 0:
        tail = "\n".join(f"    {line}" for line in log.read_text().splitlines()[-12:])
        raise DrgnalignError(
            log,
            f"cryodrgn {arguments[0]} failed with status {process.returncode}:\n{tail}",
            "see the full log",
        )


def find_cryodrgn() -> Path:
    """The ``cryodrgn`` program: beside the running Python, else on the PATH.

    Raises
    ------
    DrgnalignError
        There is none.
    """
    beside = shutil.which("cryodrgn", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("cryodrgn")
    if found is None:
        raise DrgnalignError(
            None,
            "the program cryodrgn is not installed",
            "install it with: pip install 'drgnalign[cryodrgn]' (or cryodrgn 4.3.1 anywhere on the PATH)",
        )
    return Path(found)
