"""MERGE: refined chunks and maps become the next state; the pass's metrics; does it still change?."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command, symmetry_option
from drgnalign.files import write_text
from drgnalign.formats.star import read_star, write_star
from drgnalign.half_maps import INDEPENDENT, JOINT, NOT_INDEPENDENT, marked
from drgnalign.report.words import left_out_sentence, pass_sentence
from drgnalign.run.merge import merge_chunks, merge_references
from drgnalign.run.metrics import pass_metrics, steady
from drgnalign.run.plan import PassReport, read_plan
from drgnalign.run.record import read_record, write_record
from drgnalign.run.records import ClusteringRecord, ScreeningRecord
from drgnalign.run.state import FSC


@click.command(cls=Command)
@click.argument("labelled", type=FILE)
@click.option("--refined", type=FOLDER, required=True, help="Folder of refined chunks; empty where none were refined.")
@click.option("--maps", type=FOLDER, required=True, help="Folder of the pass's maps.")
@click.option("--plan", type=FILE, required=True)
@click.option("--last-references", type=FOLDER, required=True)
@click.option("--last-particles", type=FILE, required=True, help="The same particles as the last pass left them.")
@click.option("--clustering", type=FILE, help="What the clustering step recorded.")
@click.option("--screening", type=FILE, help="What the screening step recorded.")
@click.option("--mask", type=FILE, help="The mask of the pass, where the consensus made none.")
@click.option("--pass-number", type=int, required=True)
@click.option("--round", "round_", type=int, required=True, help="0 for the consensus.")
@click.option("--halves", type=click.Choice([INDEPENDENT, NOT_INDEPENDENT]), required=True)
@click.option("--references-kind", required=True)
@click.option("--mask-diameter", type=float)
@symmetry_option
@click.option("--particles", type=OUTPUT, required=True)
@click.option("--references", type=OUTPUT, required=True)
@click.option("--metrics", type=OUTPUT, required=True)
@click.option("--said", type=OUTPUT, required=True, help="What is to be said on the screen of the run.")
def main(
    labelled: Path,
    refined: Path,
    maps: Path,
    plan: Path,
    last_references: Path,
    last_particles: Path,
    clustering: Path | None,
    screening: Path | None,
    mask: Path | None,
    pass_number: int,
    round_: int,
    halves: str,
    references_kind: str,
    mask_diameter: float | None,
    symmetry: str,
    particles: Path,
    references: Path,
    metrics: Path,
    said: Path,
) -> None:
    """Merge the clusters of a pass into one particle file again; print `true` where nothing changes any more."""
    left_out_before = read_star(last_particles).left_out()
    before = read_star(labelled)
    after = merge_chunks(before, sorted(refined.glob("*.star")))
    report = PassReport(pass_number, round_, halves, references_kind)
    plan_table = read_plan(plan)
    record = read_record(ClusteringRecord, clustering) if clustering else None
    screened = read_record(ScreeningRecord, screening) if screening else None
    figures = pass_metrics(before, after, plan_table, maps, report, record, left_out_before, screened, symmetry)
    named = map(int, record.counterparts) if record else ()
    worth = {cluster.cluster: cluster.halves for cluster in figures.clusters if cluster.halves is not None}
    merge_references(last_references, maps, plan_table, report, references, named, mask, worth)
    diameter = after.diameter(mask_diameter)
    figures.steady = steady(figures, last_references / FSC, after.box, after.pixel_size, diameter)
    write_star(after if halves == INDEPENDENT else marked(after, JOINT), particles)
    write_record(figures, metrics)
    write_text(said, "\n".join(filter(None, [pass_sentence(figures), left_out_sentence(figures)])) + "\n")
    for cluster in figures.clusters:
        for warning in cluster.warnings:
            click.echo(f"WARNING: {cluster.cluster} {warning}", err=True)
    click.echo("true" if figures.steady else "false")
