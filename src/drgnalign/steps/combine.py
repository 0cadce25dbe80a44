"""COMBINE: a linear model's maps along the first principal component and at the clusters' centres."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command
from drgnalign.heterogeneity.decode import combine_volumes, points_to_map, under_their_names
from drgnalign.run.latent import LINEAR
from drgnalign.run.record import read_record
from drgnalign.run.records import ClusteringRecord


@click.command(cls=Command)
@click.option("--latent", type=FOLDER, required=True)
@click.option("--clusters", type=FILE, required=True, help="Record of the clustering: the particles nearest centres.")
@click.option("--consensus", type=FOLDER, help="References folder: also make full-size references on its scale.")
@click.option("-o", "--output", type=OUTPUT, required=True)
def main(latent: Path, clusters: Path, consensus: Path | None, output: Path) -> None:
    """Combine the volumes of the linear model in LATENT."""
    points = points_to_map(latent, read_record(ClusteringRecord, clusters).nearest)
    made = combine_volumes(latent / LINEAR, list(points.values()), output)
    under_their_names(list(points), made, consensus, output)
