"""CLUSTER: labels in latent space, matched to the last round's."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command, seed_option
from drgnalign.formats.star import read_star, write_star
from drgnalign.heterogeneity.cluster import METHODS, cluster, cluster_record, label_particles, other_numbers
from drgnalign.particles import PATH, PATH_ERROR, START
from drgnalign.run.latent import EMBEDDING, LINEAR, read_points
from drgnalign.run.linear import RECORD, read_labels, read_motion
from drgnalign.run.record import read_record, write_record
from drgnalign.run.records import LinearRecord
from drgnalign.run.state import read_used_labels


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--latent", type=FOLDER, required=True, help="Folder with embedding.csv.")
@click.option("--last-references", type=FOLDER, required=True)
@click.option("--method", type=click.Choice([*METHODS, "fixed"]), required=True, help="fixed keeps the labels.")
@click.option("--space", type=click.Choice(["z", "umap2", "umap3"]), required=True)
@click.option("--k", type=int, help="Default: as many as there were.")
@click.option("--hdbscan-k", type=click.IntRange(1), help="Clusters that hdbscan searches its settings for.")
@click.option(
    "--starts",
    is_flag=True,
    help="Add labels of k-means with more and fewer clusters, and of a linear model's points: drgnStart….",
)
@seed_option
@click.option("-o", "--output", type=OUTPUT, required=True, help="Star file with the new labels.")
@click.option("--record", type=OUTPUT, required=True, help="Method, agreement and overlap with the last round, JSON.")
def main(
    particles: Path,
    latent: Path,
    last_references: Path,
    method: str,
    space: str,
    k: int | None,
    hdbscan_k: int | None,
    starts: bool,
    seed: int,
    output: Path,
    record: Path,
) -> None:
    """Label PARTICLES with the clusters of their latent variables."""
    table = read_star(particles)
    points = read_points(latent / EMBEDDING, space)
    last, used, kept = table.cluster_labels(), read_used_labels(last_references), ~table.left_out()
    k = k or len(np.unique(last[last > 0]))
    matching, found = label_particles(points, last, method, k, seed, used, hdbscan_k, kept)
    labelled = table.select(np.arange(len(table)))
    # the last round's
    labelled.table = labelled.table.drop(columns=[PATH, PATH_ERROR], errors="ignore")
    labelled.table["rlnClassNumber"] = matching.labels
    if found.membership is not None:
        labelled.table["drgnMembership"] = found.membership
    for number in other_numbers(k, int(kept.sum())) if starts else ():
        labelled.table[f"{START}{number}"] = cluster(points, "kmeans", number, seed + number, kept=kept).labels
    facts = cluster_record(points, matching, method, space, k, found.settings, seed)
    linear = latent / LINEAR
    if linear.is_dir():
        facts.linear = read_record(LinearRecord, linear / RECORD)
        if starts:
            labelled.table[f"{START}Points"] = read_labels(linear, len(table))
        if facts.linear.motion:
            motion = read_motion(linear, len(table))
            labelled.table[PATH], labelled.table[PATH_ERROR] = motion.along, motion.errors
    write_star(labelled, output)
    write_record(facts, record)
