"""DECODE: cryoDRGN's maps along the first principal component and at the clusters' centres."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command, threads_option
from drgnalign.formats.mrc import read_header
from drgnalign.formats.star import read_star
from drgnalign.heterogeneity.decode import decode_volumes, points_to_map, under_their_names
from drgnalign.run.record import read_record
from drgnalign.run.records import ClusteringRecord


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--latent", type=FOLDER, required=True)
@click.option("--clusters", type=FILE, required=True, help="Record of the clustering: the particles nearest centres.")
@click.option("--stack", type=FILE, required=True, help="The stack that was trained on.")
@click.option("--consensus", type=FOLDER, help="References folder: also make full-size references on its scale.")
@threads_option
@click.option("-o", "--output", type=OUTPUT, required=True)
def main(
    particles: Path, latent: Path, clusters: Path, stack: Path, consensus: Path | None, threads: int, output: Path
) -> None:
    """Decode maps of PARTICLES' latent space."""
    table = read_star(particles)
    pixel_size = table.pixel_size * table.box / read_header(stack).shape[1]
    points = points_to_map(latent, read_record(ClusteringRecord, clusters).nearest)
    made = decode_volumes(latent, list(points.values()), output, pixel_size, threads)
    under_their_names(list(points), made, consensus, output)
