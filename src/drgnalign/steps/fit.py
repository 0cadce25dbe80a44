"""FIT: a linear latent model of the present poses, what each image says of it, and points that describe that."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import (
    FILE,
    FOLDER,
    OUTPUT,
    Command,
    diameter_option,
    seed_option,
    symmetry_option,
    threads_option,
)
from drgnalign.downsample import with_stack
from drgnalign.formats.star import read_star
from drgnalign.heterogeneity.fit import LinearSettings, write_linear
from drgnalign.heterogeneity.limit import assignment_limit
from drgnalign.maps.read import read_mask
from drgnalign.run.latent import LINEAR, write_images


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--stack", type=FILE, required=True, help="Images for assignment, in the order of the particles.")
@click.option("--last-references", type=FOLDER, required=True)
@click.option("--last-latent", type=FOLDER, help="The last round's folder, whose model this one starts from.")
@click.option("--components", type=click.IntRange(1, 15), required=True)
@click.option("--most-points", type=click.IntRange(1), required=True, help="Points that are looked for at most.")
@click.option("--limit", type=float, required=True, help="Å; coarser where the consensus is.")
@click.option("--focus-mask", type=FILE, help="Mask of the part that may differ, of full size.")
@diameter_option
@symmetry_option
@seed_option
@threads_option
@click.option("-o", "--output", type=OUTPUT, required=True, help="Folder of the model.")
def main(
    particles: Path,
    stack: Path,
    last_references: Path,
    last_latent: Path | None,
    components: int,
    most_points: int,
    limit: float,
    focus_mask: Path | None,
    mask_diameter: float | None,
    symmetry: str,
    seed: int,
    threads: int,
    output: Path,
) -> None:
    """Fit the volumes that PARTICLES vary along, each half set on its own."""
    table = read_star(particles)
    reached = assignment_limit(last_references, limit, table, stack)
    diameter = table.diameter(mask_diameter)
    settings = LinearSettings(components, most_points, reached.angstrom, diameter, symmetry, seed, threads)
    write_linear(
        with_stack(table, stack),
        stack.parent,
        settings,
        output,
        last=None if last_latent is None else last_latent / LINEAR,
        focus=None if focus_mask is None else read_mask(focus_mask, table.box, table.pixel_size),
    )
    write_images(table, output)
