"""Running the workflow on a labelled set and holding the outcome against bars."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

REPOSITORY = Path(__file__).resolve().parents[1]


def run_workflow(
    data: Path,
    folder: Path,
    results: Path,
    profile: str,
    parameters: Mapping[str, object],
    checkout: Path = REPOSITORY,
    show_line: Callable[[str], object] | None = None,
) -> None:
    """Run main.nf on ``data/particles.star`` in `folder`; runs in one folder share what they have in common.

    What it prints is given to `show_line` as it comes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [REPOSITORY / ".tools" / "nextflow", "run", checkout / "main.nf", "-ansi-log", "false"]
    # Nextflow warns where there is nothing to resume
    command += ["-resume"] if (folder / ".nextflow" / "history").exists() else []
    command += ["-profile", profile, "-work-dir", folder / "work", "--input", data / "particles.star"]
    command += ["--outdir", results]
    command += [word for name, value in parameters.items() for word in (f"--{name}", value)]
    output = None if show_line is None else subprocess.PIPE
    with subprocess.Popen([str(word) for word in command], cwd=folder, stdout=output, text=True) as process:
        if process.stdout is not None and show_line is not None:
            for line in process.stdout:
                show_line(line.rstrip("\n"))
    if process.returncode:
        sys.exit(f"the workflow failed with exit status {process.returncode}; its log is {folder / '.nextflow.log'}")


def show(table: pd.DataFrame) -> str:
    """The table of `drgnalign.truth.rounds.score_rounds` as text."""
    return table.to_string(index=False, float_format=lambda value: f"{value:.2f}", na_rep="-")


def missed_bars(values: Mapping[str, float], bars: Mapping[str, tuple[str, float]]) -> list[str]:
    """What misses its bar: bars are name -> ('<=' or '>=', number)."""
    missed = []
    for name, (direction, bar) in bars.items():
        good = values[name] <= bar if direction == "<=" else values[name] >= bar
        print(f"{'ok    ' if good else 'MISSED'} {name}: {values[name]:.3f} (bar {direction} {bar:g})")
        if not good:
            missed.append(name)
    return missed
