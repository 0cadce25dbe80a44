"""COMPARE: a round's maps against maps and models that the user knows."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import EXISTING, FOLDER, OUTPUT, Command, noted_warnings
from drgnalign.files import write_text
from drgnalign.known.clusters import maps_in
from drgnalign.known.comparison import compare_all
from drgnalign.known.read import known_files
from drgnalign.known.text import which_reference
from drgnalign.report.known import write_known_figures


@click.command(cls=Command)
@click.argument("references", type=FOLDER)
@click.option("--known", type=EXISTING, multiple=True, help="File or folder of them.")
@click.option("--thesis", is_flag=True, help="The report is to show the reference method's published figures beside.")
@click.option("--round", "round_", type=int, required=True, help="That the maps are of.")
@click.option("--said", type=OUTPUT, required=True, help="What is to be said on the screen of the run.")
@click.option("-o", "--output", type=OUTPUT, required=True, help="Folder for what it writes.")
def main(references: Path, known: tuple[Path, ...], thesis: bool, round_: int, said: Path, output: Path) -> None:
    """Compare the maps of clusters in REFERENCES with known ones."""
    with noted_warnings() as noted:
        record = compare_all(maps_in(references), known_files(known), output, lambda _text: None, thesis)
    if record.pairs:
        write_known_figures(record, output)
    lines = [f"WARNING: {warning}" for warning in noted]
    for cluster in record.clusters if record.pairs else []:
        which = which_reference(cluster, record.of_cluster(cluster.cluster))
        lines.append(f"Round {round_}, {cluster.cluster} beside what is known: {which}")
    write_text(said, "".join(f"{line}\n" for line in lines))
