"""drgnalign refine: poses, each half set against its own reference."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, OUTPUT, POSITIVE, Command, diameter_option, images_option, noise_option
from drgnalign.commands.engine_options import with_engine
from drgnalign.formats.star import write_star
from drgnalign.inputs import open_particles
from drgnalign.interface import Chunk, Engine, References


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--half1", type=FILE, required=True, help="Reference of half set 1 (unfiltered half map).")
@click.option("--half2", type=FILE, required=True, help="Reference of half set 2.")
@click.option("--limit", type=POSITIVE, required=True, help="Finest resolution used, Å.")
@click.option("-o", "--output", type=OUTPUT, required=True, help="Star file with the refined poses.")
@click.option("--mask", type=FILE, help="Soft mask around the particle. Default: made from the half maps.")
@click.option("--part", type=OUTPUT, help="Also write a part of a reconstruction at the refined poses.")
@click.option(
    "--pilot", type=FILE, help="Star file of some particles to learn from what to expect. Default: PARTICLES."
)
@images_option
@noise_option
@diameter_option
@with_engine
def refine(
    particles: Path,
    half1: Path,
    half2: Path,
    limit: float,
    output: Path,
    mask: Path | None,
    part: Path | None,
    pilot: Path | None,
    images: Path | None,
    noise: Path | None,
    mask_diameter: float | None,
    engine: Engine,
) -> None:
    """Refine the poses of PARTICLES locally, each half set against its own reference.

    The references must have the grey values that `drgnalign reconstruct` gives to maps of these images.
    """
    table, root = open_particles(particles, images)
    chunk = Chunk(table, root, noise, mask_diameter, pilot)
    refined = engine.refine(chunk, References(half1, half2, mask), limit, part)
    write_star(refined, output)
