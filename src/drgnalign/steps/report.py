"""REPORT: the page, the table, the figures and the words after a pass."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command
from drgnalign.files import atomic_path, write_text
from drgnalign.report.facts import comparison_of, run_facts, run_known
from drgnalign.report.figures import write_figures
from drgnalign.report.page import write_report
from drgnalign.report.summary import read_passes, summary_table
from drgnalign.report.words import findings
from drgnalign.run.decisions import DecisionsRecord
from drgnalign.run.inputs import InputsRecord, doubts_of_input
from drgnalign.run.record import read_record
from drgnalign.run.state import COMPARISON, MOTION, pass_folders


@click.command(cls=Command)
@click.argument("folder", type=FOLDER)
@click.option("--motion", type=FOLDER, required=True, help="Folders pass_N_point_NN, as MOTION leaves them.")
@click.option("--comparison", type=FOLDER, help="Of the last pass, as COMPARE leaves it.")
@click.option("--inputs", type=FILE, required=True, help="inputs.json.")
@click.option("--decisions", type=FILE, required=True, help="decisions.json.")
@click.option("--info", type=OUTPUT, help="Folder in which the run keeps run.json and Nextflow its trace.")
@click.option("-o", "--output", type=OUTPUT, required=True, help="Folder for what it writes.")
def main(
    folder: Path,
    motion: Path,
    comparison: Path | None,
    inputs: Path,
    decisions: Path,
    info: Path | None,
    output: Path,
) -> None:
    """Summarise the passes in FOLDER (pass_0, pass_1 …)."""
    passes = read_passes(folder)
    output.mkdir(parents=True, exist_ok=True)
    with atomic_path(output / "summary.csv") as temporary:
        summary_table(passes).to_csv(temporary, index=False)
    given = read_record(InputsRecord, inputs)
    write_figures(folder, output)
    known = run_known(info) | {"inputs": given.written()} | read_record(DecisionsRecord, decisions).written()
    with TemporaryDirectory(dir=Path.cwd()) as linked:
        folders = _as_published(folder, motion, comparison, Path(linked))
        compared = comparison_of(folders[passes[-1].number], known)
        text = findings(passes, given.labels, doubts_of_input(given.written()), compared)
        write_text(output / "findings.txt", text)
        write_report(folders, run_facts(folders, known, info), output, output)


def _as_published(passes: Path, motion: Path, comparison: Path | None, outdir: Path) -> dict[int, Path]:
    """Folders of the passes, in which ``motion/`` and the last one's ``comparison/`` stand where people find them: all
    that is in them are links."""
    folders = pass_folders(passes)
    for number, folder in folders.items():
        made = outdir / folder.name
        made.mkdir()
        for path in folder.iterdir():
            (made / path.name).symlink_to(path.resolve())
        points = [path for point in motion.glob(f"pass_{number}_point_*") for path in point.iterdir()]
        if points:
            (made / MOTION).mkdir()
        for path in points:
            (made / MOTION / path.name).symlink_to(path.resolve())
    if comparison is not None:
        (outdir / folders[max(folders)].name / COMPARISON).symlink_to(comparison.resolve())
    return {number: outdir / folder.name for number, folder in folders.items()}
