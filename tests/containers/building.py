"""Building images as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BASE = Path(os.environ.get("DRGNALIGN_BASE", REPOSITORY / ".tools" / "bookworm"))
ALL = os.environ.get("DRGNALIGN_HPC") == "1"


def build(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run containers/build.py as a user does."""
    command = [sys.executable, REPOSITORY / "containers" / "build.py", *arguments]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True)
