"""ASSIGN: the images choose among the clusters that the latent space proposes, and say how many there are."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command, threads_option
from drgnalign.commands.assignment_options import AssignmentOptions, with_assignment
from drgnalign.formats.star import read_star, write_star
from drgnalign.heterogeneity.cluster import cluster_record
from drgnalign.heterogeneity.initial_maps import labels_by_maps
from drgnalign.heterogeneity.lost import with_found_poses, with_searched
from drgnalign.heterogeneity.match import adjusted_rand_index, match_labels
from drgnalign.heterogeneity.states import (
    evidence,
    find_states,
    labelled,
    labels_to_start_from,
    renamed,
    write_posteriors,
)
from drgnalign.heterogeneity.verdicts import in_words, with_linear
from drgnalign.run.latent import EMBEDDING, read_points
from drgnalign.run.record import read_record, write_record
from drgnalign.run.records import AssignmentRecord, ClusteringRecord
from drgnalign.run.state import read_used_labels


@click.command(cls=Command)
@click.argument("proposed", type=FILE)
@click.option("--last-particles", type=FILE, required=True, help="The same particles with the last round's labels.")
@click.option("--latent", type=FOLDER, required=True, help="Folder with embedding.csv.")
@click.option("--clusters", type=FILE, required=True, help="Record of the proposed clusters.")
@click.option("--initial-map", "initial_maps", type=FILE, multiple=True, help="A map of the user's own to start from.")
@click.option("--k", required=True, help="Most clusters to keep, or auto: as many as the images tell apart.")
@with_assignment
@threads_option
@click.option("-o", "--output", type=OUTPUT, required=True, help="Star file with the labels that the images chose.")
@click.option("--posteriors", type=OUTPUT, required=True, help="Table of them, .csv.gz.")
@click.option("--record", type=OUTPUT, required=True, help="The clusters' record with the evidence for them, JSON.")
def main(
    proposed: Path,
    last_particles: Path,
    latent: Path,
    clusters: Path,
    initial_maps: tuple[Path, ...],
    k: str,
    options: AssignmentOptions,
    threads: int,
    output: Path,
    posteriors: Path,
    record: Path,
) -> None:
    """Assign the particles in PROPOSED, which are labelled with proposed clusters."""
    table, last = read_star(proposed), read_star(last_particles)
    reached, wanted = options.reached(table), None if k == "auto" else int(k)
    starts, before = labels_to_start_from(table), last.cluster_labels()
    with options.assigner(table) as assigner:
        by_maps = [labels_by_maps(assigner, initial_maps, table)] if initial_maps else []
        last_labels = before if before.any() else None
        states = find_states(assigner, [*by_maps, *starts], wanted, last_labels, threads)
        in_focus = assigner.focus_shows()
    # clusters have the numbers of the maps, where no round before had any
    before = by_maps[0] if by_maps and last_labels is None else before
    found = states.kept.assignment
    matching = match_labels(before, found.labels, read_used_labels(options.last_references), ~found.left_out)
    states = renamed(states, matching.labels)
    moved = with_searched(with_found_poses(table, states.particles, states.brought_back), states.searched)
    write_star(labelled(moved, states.kept.assignment, options.soft), output)
    write_posteriors(moved, states.kept.assignment, posteriors)
    given = read_record(ClusteringRecord, clusters)
    points = read_points(latent / EMBEDDING, given.space)
    facts = cluster_record(points, matching, given.method, given.space, given.proposed, given.settings, 0)
    facts.linear = given.linear
    facts.assignment = AssignmentRecord(
        **reached.record,
        k="auto" if wanted is None else wanted,
        against=options.against,
        assignment=options.assignment,
        ari_with_proposed=adjusted_rand_index(starts[0][~found.left_out], found.labels[~found.left_out]),
        searched=int(states.searched.sum()),
        brought_back=int(states.brought_back.sum()),
        **evidence(states, table.box * table.pixel_size, in_focus),
    )
    judged = facts.assignment
    judged.verdict = with_linear(judged.verdict or "", judged.states or 0, given.linear)
    write_record(facts, record)
    said = in_words(facts.assignment.written(), len(facts.assignment.clusters))
    maps = f"{len(initial_maps)} initial maps and " if initial_maps else ""
    count = len(set(starts[0].tolist()) - {0})
    click.echo(f"{said} (of {maps}{count} cluster{'' if count == 1 else 's'} proposed)")
    if reached.note:
        click.echo(reached.note)
