#!/usr/bin/env python3
"""REPORT: the table and the figures at the end of a run."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FOLDER, OUTPUT, Command
from drgnalign.files import atomic_path
from drgnalign.report.figures import write_figures
from drgnalign.report.summary import read_passes, summary_table


@click.command(cls=Command)
@click.argument("folder", type=FOLDER)
@click.option("-o", "--output", type=OUTPUT, required=True, help="Folder for summary.csv and the figures.")
def main(folder: Path, output: Path) -> None:
    """Summarise the passes in FOLDER (pass_0, pass_1 …)."""
    table = summary_table(read_passes(folder))
    output.mkdir(parents=True, exist_ok=True)
    with atomic_path(output / "summary.csv") as temporary:
        table.to_csv(temporary, index=False)
    write_figures(folder, output)


if __name__ == "__main__":
    main()
