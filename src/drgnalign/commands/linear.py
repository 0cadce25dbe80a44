"""drgnalign linear: a linear latent model at given poses, without training."""

from __future__ import annotations

import shlex
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from drgnalign.commands import (
    FILE,
    OUTPUT,
    POSITIVE,
    Command,
    diameter_option,
    images_option,
    invert_option,
    normalise_option,
    seed_option,
    symmetry_option,
    threads_option,
)
from drgnalign.commands.facts_options import with_facts
from drgnalign.downsample import box_for_limit, downsample_stack, with_stack
from drgnalign.errors import InputError
from drgnalign.files import require_folder
from drgnalign.formats.mrc import ImageSource
from drgnalign.formats.particle_file import Facts
from drgnalign.heterogeneity.fit import LinearSettings, write_linear
from drgnalign.inputs import open_particles
from drgnalign.maps.read import check_mask
from drgnalign.run.latent import LINEAR, Z, write_images
from drgnalign.run.linear import take_latent


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("-o", "--output", type=OUTPUT, required=True, help="Folder for the model and latent variables.")
@click.option("--components", type=click.IntRange(1, 15), default=8, show_default=True, help="Of the model.")
@click.option(
    "--most-points",
    type=click.IntRange(1),
    default=12,
    show_default=True,
    help="Points that are looked for at most; where particles move, their curve is held against so many.",
)
@click.option("--limit", type=POSITIVE, default=14.0, show_default=True, help="Å; coarser where the pixels are.")
@click.option("--focus-mask", type=FILE, help="Mask of the part that may differ.")
@images_option
@normalise_option
@with_facts
@invert_option
@diameter_option
@symmetry_option
@seed_option
@threads_option
def linear(
    particles: Path,
    output: Path,
    components: int,
    most_points: int,
    limit: float,
    focus_mask: Path | None,
    images: Path | None,
    normalise: str,
    facts: Facts,
    invert: str,
    mask_diameter: float | None,
    symmetry: str,
    seed: int,
    threads: int,
) -> None:
    """Fit a linear latent model to PARTICLES at their poses, in place of a training, and say what it sees.

    Minutes on a few cores, without a GPU. Who is left out (drgnLeftOut) has no part in it.
    """
    require_folder(output)
    if output.exists():
        raise InputError(output, "is there already", "choose another folder")
    table, root, _ = open_particles(particles, images, mask_diameter, normalise, facts=facts, invert=invert)
    limit, diameter = max(limit, 2 * table.pixel_size), table.diameter(mask_diameter)
    focus = None if focus_mask is None else check_mask(focus_mask, table.box, table.pixel_size, diameter)
    settings = LinearSettings(components, most_points, limit, diameter, symmetry, seed, threads)
    with TemporaryDirectory(dir=output.absolute().parent, prefix=f".{output.name}_") as folder:
        stack, made = Path(folder, "images.mrcs"), Path(folder, "latent")
        downsample_stack(table, ImageSource(table, root), box_for_limit(table, limit), stack)
        made.mkdir()
        record = write_linear(with_stack(table, stack), Path(folder), settings, made / LINEAR, focus=focus)
        write_images(table, made / LINEAR)
        take_latent(made / LINEAR, made)
        made.rename(output)
    sees = record.motion_in_words if record.motion else record.number
    told = "`drgnalign assign` asks the images, without junk, which may look like states or a motion here"
    click.echo(f"The linear model sees {sees}; {told}")
    said = f"{record.particles:,} particles, compared up to {record.limit_angstrom:.3g} Å"
    click.echo(f"{output}: {Z} of {said}", err=True)
    click.echo(f"Next: {shlex.join(['drgnalign', 'embed', str(output)])}", err=True)
