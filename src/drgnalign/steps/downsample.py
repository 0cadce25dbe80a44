"""DOWNSAMPLE: every image is read, checked, and written smaller; the noise spectrum is measured."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command, diameter_option
from drgnalign.downsample import downsample_stack
from drgnalign.engine.noise import estimate_noise, write_noise
from drgnalign.formats.mrc import ImageSource
from drgnalign.formats.star import read_star


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--images", type=FOLDER, required=True)
@click.option("--box", type=int, required=True, help="Pixels; at most the images' own.")
@click.option("--stack", type=OUTPUT, required=True)
@click.option("--noise", type=OUTPUT, required=True)
@diameter_option
def main(particles: Path, images: Path, box: int, stack: Path, noise: Path, mask_diameter: float | None) -> None:
    """Write a down-sampled stack of PARTICLES for training, and the noise spectrum of the full-size images."""
    table = read_star(particles)
    source = ImageSource(table, images)
    downsample_stack(table, source, min(box, table.box - table.box % 2), stack)
    diameter = table.diameter(mask_diameter)
    write_noise(noise, table, estimate_noise(table, source, diameter))
