"""INSERT: a chunk's part of a reconstruction at its present poses."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, OUTPUT, Command, diameter_option, images_option, noise_option
from drgnalign.commands.engine_options import with_engine
from drgnalign.inputs import open_particles
from drgnalign.interface import Chunk, Engine


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--part", type=OUTPUT, required=True)
@images_option
@noise_option
@diameter_option
@with_engine
def main(
    particles: Path, part: Path, images: Path | None, noise: Path | None, mask_diameter: float | None, engine: Engine
) -> None:
    """Add PARTICLES up into a part of a reconstruction."""
    table, root, _ = open_particles(particles, images, mask_diameter)
    engine.insert(Chunk(table, root, noise, mask_diameter), part)
