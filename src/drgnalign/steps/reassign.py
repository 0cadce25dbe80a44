"""REASSIGN: the images choose again among a round's clusters, at the refined poses."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command
from drgnalign.commands.assignment_options import AssignmentOptions, with_assignment
from drgnalign.formats.star import read_star, write_star
from drgnalign.heterogeneity.states import assigned, cluster_evidence, labelled, write_posteriors
from drgnalign.run.merge import merge_chunks
from drgnalign.run.record import read_record, write_record
from drgnalign.run.records import ClusteringRecord, ReassignmentRecord


@click.command(cls=Command)
@click.argument("given", type=FILE)
@click.option("--refined", type=FOLDER, required=True, help="Folder of refined chunks.")
@click.option("--clusters", type=FILE, required=True, help="Record of the clusters.")
@with_assignment
@click.option("-o", "--output", type=OUTPUT, required=True, help="GIVEN with the labels chosen; poses as given.")
@click.option("--moved", type=OUTPUT, required=True, help="The same with the refined poses.")
@click.option("--posteriors", type=OUTPUT, required=True, help="Table of them, .csv.gz.")
@click.option("--record", type=OUTPUT, required=True, help="The clusters' record with what was found, JSON.")
def main(
    given: Path,
    refined: Path,
    clusters: Path,
    options: AssignmentOptions,
    output: Path,
    moved: Path,
    posteriors: Path,
    record: Path,
) -> None:
    """Assign the labelled particles in GIVEN once more; no cluster is divided or united."""
    before = read_star(given)
    table = merge_chunks(before, sorted(refined.glob("*.star")))
    with options.assigner(table) as assigner:
        found = assigned(assigner, table.cluster_labels())
    facts = read_record(ClusteringRecord, clusters)
    facts.reassignment = ReassignmentRecord(
        **options.reached(table).record,
        changed=float(np.mean(found.assignment.labels != before.cluster_labels())),
        **cluster_evidence(found, table.box * table.pixel_size),
    )
    for particles, path in ((before, output), (table, moved)):
        write_star(labelled(particles, found.assignment, options.soft), path)
    write_posteriors(table, found.assignment, posteriors)
    write_record(facts, record)
