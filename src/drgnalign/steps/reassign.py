"""REASSIGN: the images choose again among a round's clusters, at the refined poses."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command, diameter_option, junk_option, symmetry_option
from drgnalign.formats.star import read_star, write_star
from drgnalign.heterogeneity.assign import AGAINST, AssignmentSettings
from drgnalign.heterogeneity.states import assigned, assigner_for, assignment_limit, cluster_evidence, labelled
from drgnalign.maps.read import read_mask
from drgnalign.run.merge import merge_chunks
from drgnalign.run.record import read_record, write_record
from drgnalign.run.records import ClusteringRecord, ReassignmentRecord


@click.command(cls=Command)
@click.argument("given", type=FILE)
@click.option("--refined", type=FOLDER, required=True, help="Folder of refined chunks.")
@click.option("--last-references", type=FOLDER, required=True)
@click.option("--stack", type=FILE, required=True, help="Images for assignment, in the order of the particles.")
@click.option("--clusters", type=FILE, required=True, help="Record of the clusters.")
@click.option("--limit", type=float, default=14.0, show_default=True, help="Å; coarser where the consensus is.")
@click.option("--against", type=click.Choice(AGAINST), default=AGAINST[0], show_default=True)
@click.option("--assignment", type=click.Choice(["hard", "soft"]), default="hard", show_default=True)
@junk_option
@diameter_option
@symmetry_option
@click.option("--focus-mask", type=FILE, help="Mask of the part that clusters are told apart by, of full size.")
@click.option("-o", "--output", type=OUTPUT, required=True, help="GIVEN with the labels chosen; poses as given.")
@click.option("--moved", type=OUTPUT, required=True, help="The same with the refined poses.")
@click.option("--record", type=OUTPUT, required=True, help="The clusters' record with what was found, JSON.")
def main(
    given: Path,
    refined: Path,
    last_references: Path,
    stack: Path,
    clusters: Path,
    limit: float,
    against: str,
    assignment: str,
    junk: str,
    mask_diameter: float | None,
    symmetry: str,
    focus_mask: Path | None,
    output: Path,
    moved: Path,
    record: Path,
) -> None:
    """Assign the labelled particles in GIVEN once more; no cluster is divided or united."""
    before = read_star(given)
    table = merge_chunks(before, sorted(refined.glob("*.star")))
    diameter = table.diameter(mask_diameter)
    reached = assignment_limit(last_references, limit, table, stack)
    focus = None if focus_mask is None else read_mask(focus_mask, table.box, table.pixel_size)
    settings = AssignmentSettings(limit, diameter, against, assignment == "soft", symmetry, junk == "exclude", focus)
    with assigner_for(table, stack, last_references, settings) as assigner:
        found = assigned(assigner, table.cluster_labels())
    facts = read_record(ClusteringRecord, clusters)
    facts.reassignment = ReassignmentRecord(
        **reached.record,
        changed=float(np.mean(found.assignment.labels != before.cluster_labels())),
        **cluster_evidence(found, table.box * table.pixel_size),
    )
    for particles, path in ((before, output), (table, moved)):
        write_star(labelled(particles, found.assignment, settings.soft), path)
    write_record(facts, record)
