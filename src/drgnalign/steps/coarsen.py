"""COARSEN: the images that assignment compares, as fine as its limit asks, whatever the training's are."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command
from drgnalign.downsample import coarsen
from drgnalign.formats.star import read_star


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--images", type=FOLDER, required=True)
@click.option("--stack", type=FILE, required=True, help="The training stack.")
@click.option("--limit", type=float, required=True, help="Å.")
@click.option("-o", "--output", type=OUTPUT, required=True)
def main(particles: Path, images: Path, stack: Path, limit: float, output: Path) -> None:
    """Write a stack of PARTICLES for their assignment, unless the training stack will do."""
    coarsen(read_star(particles), images, stack, limit, output)
