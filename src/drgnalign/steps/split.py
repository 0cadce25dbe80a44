"""SPLIT: clusters and chunks of a pass, and the plan of what is done with them."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command, diameter_option
from drgnalign.engine.sampling import oversampling
from drgnalign.formats.star import read_star
from drgnalign.interface import ENGINE_NAMES
from drgnalign.run.split import USUAL_CHUNK, PassSettings, split_clusters, usual_chunk_size


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--last-references", type=FOLDER, required=True, help="References of the last pass.")
@click.option("--consensus", is_flag=True, help="All particles are one cluster.")
@click.option("--limit", required=True, help="Å, auto or none.")
@click.option("--references", type=click.Choice(["reconstruct", "previous", "decoder", "consensus"]), required=True)
@click.option("--along", is_flag=True, help="Where particles move: places of the motion, not clusters.")
@click.option("--chunk-size", type=click.IntRange(2), help="Default: by the size of the images.")
@click.option("--engine", type=click.Choice(ENGINE_NAMES), default="native", show_default=True)
@diameter_option
@click.option("-o", "--output", type=OUTPUT, required=True, help="Folder for chunks and plan.csv.")
def main(
    particles: Path,
    last_references: Path,
    consensus: bool,
    limit: str,
    references: str,
    along: bool,
    chunk_size: int | None,
    engine: str,
    mask_diameter: float | None,
    output: Path,
) -> None:
    """Split PARTICLES into the chunks of each cluster, or of each place of a motion."""
    table = read_star(particles)
    if chunk_size is None and engine == "native":
        diameter = table.diameter(mask_diameter)
        chunk_size = usual_chunk_size(table.box, oversampling(table.box, table.pixel_size, diameter))
    settings = PassSettings(consensus, limit, references, chunk_size or USUAL_CHUNK, along)
    split_clusters(table, last_references, settings, output)
