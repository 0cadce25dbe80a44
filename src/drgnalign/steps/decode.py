"""DECODE: cryoDRGN's maps along the first principal component and at the clusters' centres."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command, threads_option
from drgnalign.formats.cryodrgn import read_latent
from drgnalign.formats.mrc import read_header
from drgnalign.formats.star import read_star
from drgnalign.heterogeneity.decode import decode_volumes, write_decoder_references
from drgnalign.run.latent import ALONG_PC1, Z
from drgnalign.run.record import read_record
from drgnalign.run.records import ClusteringRecord
from drgnalign.run.state import FILM, FILTERED, beside, cluster_name


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
    traversal = np.loadtxt(latent / ALONG_PC1, ndmin=2)
    nearest = {cluster_name(int(k)): row for k, row in read_record(ClusteringRecord, clusters).nearest.items()}
    centres = read_latent(latent / Z)[0][list(nearest.values())]
    names = [f"{FILM}{i:02d}" for i in range(1, len(traversal) + 1)] + list(nearest)
    decoded = decode_volumes(latent, np.vstack([traversal, centres]), output, pixel_size, threads)
    maps = {name: path.rename(beside(output / name, FILTERED)) for name, path in zip(names, decoded, strict=True)}
    if consensus is not None:
        write_decoder_references({name: maps[name] for name in nearest}, consensus, output)
