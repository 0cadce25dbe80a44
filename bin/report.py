#!/usr/bin/env python3
"""REPORT: the table, the figures and the words after a pass."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FOLDER, OUTPUT, Command
from drgnalign.files import atomic_path
from drgnalign.report.figures import write_figures
from drgnalign.report.summary import read_passes, summary_table
from drgnalign.report.words import findings


@click.command(cls=Command)
@click.argument("folder", type=FOLDER)
@click.option("-o", "--output", type=OUTPUT, required=True, help="Folder for summary.csv, findings.txt and figures.")
def main(folder: Path, output: Path) -> None:
    """Summarise the passes in FOLDER (pass_0, pass_1 …)."""
    passes = read_passes(folder)
    output.mkdir(parents=True, exist_ok=True)
    with atomic_path(output / "summary.csv") as temporary:
        summary_table(passes).to_csv(temporary, index=False)
    with atomic_path(output / "findings.txt") as temporary:
        temporary.write_text(findings(passes))
    write_figures(folder, output)


if __name__ == "__main__":
    main()
