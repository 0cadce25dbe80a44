"""drgnalign report: the page of a run, from its results."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from jinja2 import UndefinedError

from drgnalign.commands import FOLDER, OUTPUT, Command
from drgnalign.errors import InputError, InputWarning
from drgnalign.files import write_text
from drgnalign.report.facts import comparison_of, run_facts, run_known
from drgnalign.report.page import write_report
from drgnalign.report.reading import INFO, WHOLE, read_there
from drgnalign.report.summary import published_folders, read_metrics
from drgnalign.report.words import findings
from drgnalign.run.decisions import DECISIONS, DecisionsRecord
from drgnalign.run.inputs import LabelsRecord, doubts_of_input

FINAL = "final"


@click.command(cls=Command)
@click.argument("results", type=FOLDER)
@click.option(
    "-o", "--output", type=OUTPUT, help="Folder for the two. Default: RESULTS, where findings.txt is written anew, too."
)
def report(results: Path, output: Path | None) -> None:
    """Write report.html and report.json of the run whose --outdir is RESULTS, with its times so far."""
    outdir = results if output is None else output
    folders = published_folders(results)
    known = run_known(results / INFO) | {"set_aside": _is_set_aside(results)}
    if known["set_aside"]:
        known |= read_there(DecisionsRecord, results / DECISIONS)
    if outdir.resolve() != results.resolve():
        known["results"] = str(results.resolve())
    known["moved_to"] = _moved_to(results, known)
    try:
        facts = run_facts(folders, known, results / INFO)
        _write(folders, facts, results, outdir)
    except (UndefinedError, LookupError, TypeError, ValueError, OverflowError) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__} at {Path(place.filename).name}, line {place.lineno}: {error}"
        problem = f"no page can be made of it ({what}): a file is not as its run left it, or drgnalign has a fault"
        raise InputError(results, problem, f"{WHOLE}; if that does not help, tell us") from error
    # which names files beside it
    if output is None:
        passes = [read_metrics(path, number) for number, path in sorted(folders.items())]
        inputs = known["inputs"] or {}
        labels = inputs.get("labels")
        compared = comparison_of(folders[passes[-1].number], known)
        text = findings(passes, labels and LabelsRecord.of(labels), doubts_of_input(inputs), compared)
        write_text(results / "findings.txt", text)
    click.echo(outdir / "report.html")


def _write(folders: Mapping[int, Path], facts: Mapping[str, Any], results: Path, outdir: Path) -> None:
    if facts["finished"] and not (results / FINAL).is_dir():
        what = "it is missing, and the report names files in it: start the run again with -resume"
        warnings.warn(f"{results / FINAL}: {what}", InputWarning, stacklevel=2)
    outdir.mkdir(parents=True, exist_ok=True)
    write_report(folders, facts, results, outdir)


def _moved_to(results: Path, known: Mapping[str, Any]) -> str | None:
    """Where results are that were moved or copied since their run; None where they are where it put them."""
    folder, outdir = known.get("folder"), (known.get("parameters") or {}).get("outdir")
    if not folder or not outdir or (Path(folder) / str(outdir)).resolve() == results.resolve():
        return None
    return str(results.resolve())


def _is_set_aside(results: Path) -> bool:
    """Did a run that went on with other settings move these results, to ``earlier/NAME``? The run's own facts stay."""
    return results.resolve().parent.name == "earlier" and not (results / INFO).exists()
