"""ASSIGN: the images choose among the clusters that the latent space proposes, and say how many there are."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from sklearn.metrics import adjusted_rand_score

from drgnalign.commands import (
    FILE,
    FOLDER,
    OUTPUT,
    Command,
    diameter_option,
    junk_option,
    symmetry_option,
    threads_option,
)
from drgnalign.formats.star import read_star, write_star
from drgnalign.heterogeneity.assign import AGAINST, AssignmentSettings
from drgnalign.heterogeneity.cluster import cluster_record
from drgnalign.heterogeneity.lost import with_found_poses, with_searched
from drgnalign.heterogeneity.match import match_labels
from drgnalign.heterogeneity.states import (
    assigner_for,
    assignment_limit,
    evidence,
    find_states,
    labelled,
    labels_to_start_from,
    renamed,
)
from drgnalign.maps.read import read_mask
from drgnalign.run.latent import EMBEDDING, read_points
from drgnalign.run.record import read_record, write_record
from drgnalign.run.records import AssignmentRecord, ClusteringRecord
from drgnalign.run.state import read_used_labels


@click.command(cls=Command)
@click.argument("proposed", type=FILE)
@click.option("--last-particles", type=FILE, required=True, help="The same particles with the last round's labels.")
@click.option("--last-references", type=FOLDER, required=True)
@click.option("--stack", type=FILE, required=True, help="Images for assignment, in the order of the particles.")
@click.option("--latent", type=FOLDER, required=True, help="Folder with embedding.csv.")
@click.option("--clusters", type=FILE, required=True, help="Record of the proposed clusters.")
@click.option("--k", required=True, help="Most clusters to keep, or auto: as many as the images tell apart.")
@click.option("--limit", type=float, default=14.0, show_default=True, help="Å; coarser where the consensus is.")
@click.option("--against", type=click.Choice(AGAINST), default=AGAINST[0], show_default=True)
@click.option("--assignment", type=click.Choice(["hard", "soft"]), default="hard", show_default=True)
@junk_option
@diameter_option
@symmetry_option
@click.option("--focus-mask", type=FILE, help="Mask of the part that clusters are told apart by, of full size.")
@threads_option
@click.option("-o", "--output", type=OUTPUT, required=True, help="Star file with the labels that the images chose.")
@click.option("--record", type=OUTPUT, required=True, help="The clusters' record with the evidence for them, JSON.")
def main(
    proposed: Path,
    last_particles: Path,
    last_references: Path,
    stack: Path,
    latent: Path,
    clusters: Path,
    k: str,
    limit: float,
    against: str,
    assignment: str,
    junk: str,
    mask_diameter: float | None,
    symmetry: str,
    focus_mask: Path | None,
    threads: int,
    output: Path,
    record: Path,
) -> None:
    """Assign the particles in PROPOSED, which are labelled with proposed clusters."""
    table, last = read_star(proposed), read_star(last_particles)
    diameter = table.diameter(mask_diameter)
    reached = assignment_limit(last_references, limit, table, stack)
    focus = None if focus_mask is None else read_mask(focus_mask, table.box, table.pixel_size)
    settings = AssignmentSettings(limit, diameter, against, assignment == "soft", symmetry, junk == "exclude", focus)
    starts, before = labels_to_start_from(table), last.cluster_labels()
    with assigner_for(table, stack, last_references, settings) as assigner:
        wanted = None if k == "auto" else int(k)
        states = find_states(assigner, starts, wanted, before if before.any() else None, threads)
    found = states.kept.assignment
    matching = match_labels(before, found.labels, read_used_labels(last_references), ~found.left_out)
    states = renamed(states, matching.labels)
    moved = with_searched(with_found_poses(table, states.particles, states.brought_back), states.searched)
    write_star(labelled(moved, states.kept.assignment, settings.soft), output)
    given = read_record(ClusteringRecord, clusters)
    points = read_points(latent / EMBEDDING, given.space)
    facts = cluster_record(points, matching, given.method, given.space, given.proposed, given.settings, 0)
    facts.assignment = AssignmentRecord(
        **reached.record,
        k="auto" if wanted is None else wanted,
        against=against,
        assignment=assignment,
        ari_with_proposed=float(adjusted_rand_score(starts[0][~found.left_out], found.labels[~found.left_out])),
        searched=int(states.searched.sum()),
        brought_back=int(states.brought_back.sum()),
        **evidence(states, table.box * table.pixel_size, focus is not None),
    )
    write_record(facts, record)
    click.echo(f"{facts.assignment.verdict} (of {len(np.unique(starts[0]))} clusters proposed)")
    if reached.note:
        click.echo(reached.note)
