"""drgnalign cluster: labels of particles from their latent variables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from drgnalign.commands import FILE, FOLDER, Command, output_option, seed_option
from drgnalign.errors import InputError
from drgnalign.files import suffix_of
from drgnalign.formats.star import read_star, write_star
from drgnalign.heterogeneity.cluster import METHODS
from drgnalign.heterogeneity.propose import propose
from drgnalign.inputs import require_star
from drgnalign.labels import refuse_odd_labels, sizes_in_words
from drgnalign.run.latent import EMBEDDING
from drgnalign.stack_names import named_beside


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@output_option
@click.option("--latent", type=FOLDER, required=True, help="Folder of `drgnalign embed`, or a round's latent/.")
@click.option("--method", type=click.Choice(METHODS), default="kmeans", show_default=True)
@click.option(
    "--space",
    type=click.Choice(["z", "umap2", "umap3"]),
    default="umap2",
    show_default=True,
    help="The latent variables themselves, or their UMAP in two or three dimensions.",
)
@click.option("--k", type=click.IntRange(1), default=6, show_default=True, help="Clusters of kmeans and gmm.")
@click.option("--hdbscan-k", type=click.IntRange(1), help="Clusters that hdbscan searches its settings for.")
@seed_option
def cluster(
    particles: Path,
    output: Path,
    latent: Path,
    method: str,
    space: str,
    k: int,
    hdbscan_k: int | None,
    seed: int,
) -> None:
    """Label PARTICLES with clusters of their latent variables (rlnClassNumber), numbered as those that they were in.

    Columns drgnStart… have other numbers of clusters, for `drgnalign assign` to start from too.
    """
    if suffix_of(output) != ".star":
        raise InputError(output, "labels are written into a star file", "name it .star")
    require_star(particles)
    if not (latent / EMBEDDING).is_file():
        near = [one for one in (latent / "latent", latent.parent) if (one / EMBEDDING).is_file()]
        remedy = f"give --latent {near[0]}" if near else f"make one: drgnalign embed {latent}"
        raise InputError(latent, f"has no {EMBEDDING}", remedy)
    given = read_star(particles)
    if hdbscan_k is not None and method != "hdbscan":
        raise InputError(None, f"--hdbscan-k is of hdbscan, and --method is {method}", "give --k, or --method hdbscan")
    refuse_odd_labels(given)
    if "rlnClassNumber" not in given.table:
        given = replace(given, table=given.table.assign(rlnClassNumber=0))
    labelled, facts = propose(given, latent, method, space, k, hdbscan_k, seed, (), starts=True)
    write_star(named_beside(labelled, output, None), output)
    labels = labelled.cluster_labels()
    found = len(np.unique(labels[labels > 0]))
    if hdbscan_k is not None and found != hdbscan_k:
        click.echo(f"WARNING: hdbscan finds {found} clusters, with no setting that was tried {hdbscan_k}", err=True)
    apart = "" if facts.silhouette is None else f"; silhouette {facts.silhouette:.2f}"
    click.echo(f"{output}: {sizes_in_words(labels)}; {(labels == 0).sum():,} in none{apart}", err=True)
