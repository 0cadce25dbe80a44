"""drgnalign report: the page of a run, from its results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from drgnalign.commands import FOLDER, OUTPUT, Command
from drgnalign.errors import InputError
from drgnalign.report.facts import run_facts
from drgnalign.report.page import write_report
from drgnalign.report.summary import published_folders

INFO = "pipeline_info"


@click.command(cls=Command)
@click.argument("results", type=FOLDER)
@click.option("-o", "--output", type=OUTPUT, help="Folder for report.html and report.json. Default: RESULTS.")
def report(results: Path, output: Path | None) -> None:
    """Write report.html and report.json of the run whose --outdir is RESULTS, with its times so far."""
    outdir = results if output is None else output
    outdir.mkdir(parents=True, exist_ok=True)
    folders = published_folders(results)
    facts = run_facts(folders, known_of_the_run(results / INFO), results / INFO / "trace.txt")
    write_report(folders, facts, results, outdir)
    click.echo(outdir / "report.html")


def known_of_the_run(folder: Path) -> dict[str, Any]:
    """What the workflow wrote about a run besides its results; whatever of it is there."""
    known = _json(folder / "run.json")
    return known | {"inputs": _json(folder / "inputs.json")}


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(path, f"is no JSON ({error})", "run the workflow again with -resume") from error
    return dict(found)
