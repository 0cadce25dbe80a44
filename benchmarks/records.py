"""A benchmark's results, kept record by record, so that a run that is interrupted keeps what it has."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "engine"))

from timing import processor

from drgnalign.files import atomic_path
from drgnalign.version import __version__

REPOSITORY = Path(__file__).resolve().parents[1]
LOCK = REPOSITORY / "benchmarks" / "out" / "records.lock"
# What a result depends on; the results themselves are no change of it.
CODE = ["src", "benchmarks", ":!benchmarks/results"]


def commit() -> str:
    """What the code was at, with ``+`` where it had changed since."""
    head = _output("git", "rev-parse", "--short", "HEAD")
    return head + ("+" if _output("git", "status", "--porcelain", "--", *CODE) else "")


def card() -> str:
    """The GPU's name, or ``none``."""
    try:
        return _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader") or "none"
    except FileNotFoundError:
        return "none"


def _output(*command: str) -> str:
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True).stdout.strip()


class Records:
    """By set, seed and arm in a JSON file, which other processes may add to in the meantime.

    Parameters
    ----------
    path : Path
    command : str
        That makes it.
    """

    def __init__(self, path: Path, command: str) -> None:
        self._path, self._command = path, command
        self._made_with = {"commit": commit(), "machine": f"{processor()}, {os.cpu_count()} cores", "card": card()}

    def sets(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Records by name of the set, seed and arm."""
        return self._read()["sets"]

    def has(self, name: str, seed: int, arm: str) -> bool:
        return arm in self.sets().get(name, {}).get(str(seed), {})

    def keep(self, name: str, seed: int, arms: dict[str, Any]) -> None:
        """Add the records of some arms; each says what it was made with."""
        arms = {arm: record | self._made_with if isinstance(record, dict) else record for arm, record in arms.items()}
        LOCK.parent.mkdir(parents=True, exist_ok=True)
        with LOCK.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            result = self._read() | {
                "command": self._command,
                "python": platform.python_version(),
                "version": __version__,
            }
            result["sets"].setdefault(name, {}).setdefault(str(seed), {}).update(arms)
            with atomic_path(self._path) as temporary:
                temporary.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")

    def _read(self) -> dict[str, Any]:
        return json.loads(self._path.read_text()) if self._path.exists() else {"sets": {}}
