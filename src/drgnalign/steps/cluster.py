"""CLUSTER: labels in latent space, matched to the last round's."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command, seed_option
from drgnalign.formats.star import read_star, write_star
from drgnalign.heterogeneity.cluster import METHODS
from drgnalign.heterogeneity.propose import propose
from drgnalign.run.record import write_record
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
    used = read_used_labels(last_references)
    labelled, facts = propose(read_star(particles), latent, method, space, k, hdbscan_k, seed, used, starts)
    write_star(labelled, output)
    write_record(facts, record)
