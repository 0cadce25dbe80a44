"""drgnalign convert: particle files in another program's form."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import (
    EXISTING,
    FILE,
    NOT_NEGATIVE,
    OUTPUT,
    POSITIVE,
    SHARE,
    Command,
    output_option,
    passthrough_option,
)
from drgnalign.convert import NUMBERS, linked, read_for_conversion, require_for, warn_of_gaps, with_contrast
from drgnalign.errors import InputError
from drgnalign.formats.cryodrgn import read_indices
from drgnalign.formats.particle_file import TARGETS, Facts, target_of, write_particle_file
from drgnalign.inputs import CONTRAST_OF_INVERT, images_root
from drgnalign.stack_names import names_told, tell


@click.command(cls=Command)
@click.argument("particles", type=FILE, required=False)
@output_option
@click.option("--to", type=click.Choice(TARGETS), help="What to write, where the name of the output does not say it.")
@click.option("--poses", type=FILE, help="cryoDRGN's poses, in place of PARTICLES.")
@click.option("--ctf", type=FILE, help="cryoDRGN's CTF parameters, in place of PARTICLES.")
@passthrough_option
@click.option(
    "--images",
    type=EXISTING,
    help="Stack of a par file or of pickles, or one with the images of PARTICLES in the order of its rows; "
    "or the folder that image names are relative to.",
)
@click.option(
    "--numbers",
    type=click.Choice(NUMBERS),
    default="auto",
    show_default=True,
    help="Of the images in the stack given with --images: as PARTICLES numbers them, or in the order of its rows.",
)
@click.option("--ind", type=FILE, help="cryoDRGN's index pickle, which the pickles were used with: images from 0.")
@click.option("--links", type=OUTPUT, help="Folder for links to the stacks that are named .mrcs, as RELION wants them.")
@click.option("--pixel-size", type=POSITIVE, help="Å/px.")
@click.option("--box", type=click.IntRange(min=1), help="px.")
@click.option("--voltage", type=POSITIVE, help="kV.")
@click.option("--cs", type=NOT_NEGATIVE, help="Spherical aberration, mm.")
@click.option("--amplitude-contrast", type=SHARE, help="Fraction.")
@click.option(
    "--invert",
    type=click.Choice(["auto", *CONTRAST_OF_INVERT]),
    default="auto",
    show_default=True,
    help="Is protein dark in the stored images? Default: as the file says, or the images show.",
)
def convert(
    particles: Path | None,
    output: Path,
    to: str | None,
    poses: Path | None,
    ctf: Path | None,
    passthrough: tuple[Path, ...],
    images: Path | None,
    numbers: str,
    ind: Path | None,
    links: Path | None,
    pixel_size: float | None,
    box: int | None,
    voltage: float | None,
    cs: float | None,
    amplitude_contrast: float | None,
    invert: str,
) -> None:
    """Write PARTICLES (.star, .par, .parx, .cs, or cryoDRGN's pickles) in another program's form.

    The name of the output decides the form: .star (RELION's, or cisTEM 2's with --to cistem), .cs, .par (in the version
    it was read in, or --to par8, par9, parx); a folder with --to cryodrgn gets poses.pkl and ctf.pkl. Images are never
    copied.
    """
    if (particles is None) == (poses is None and ctf is None):
        raise InputError(None, "one input is needed", "give PARTICLES, or --poses and --ctf")
    facts = Facts(pixel_size, voltage, cs, amplitude_contrast)
    table = read_for_conversion(
        particles,
        poses=poses,
        ctf=ctf,
        passthrough=passthrough,
        images=images,
        facts=facts,
        box=box,
        name=_stack_name(images, output),
        indices=None if ind is None else read_indices(ind),
        numbers=numbers,
    )
    target = target_of(output, to, table)
    require_for(target, table)
    if links is not None:
        table = linked(table, images_root(table.path, images), links, _stack_name(links, output) or "")
    given = images is not None and images.is_dir()
    named = target in ("star", "cs", "cistem")
    told = names_told(table, images_root(table.path, images), output, root_given=given) if named else []
    warn_of_gaps(target, table, images_root(table.path, images))
    table = with_contrast(table, images, invert, target)
    write_particle_file(table, output, target)
    tell(output, told)
    click.echo(f"{output}: {len(table):,} particles", err=True)


def _stack_name(images: Path | None, output: Path) -> str | None:
    """How a file names the stack: as given where it lies in the current folder, from which RELION reads relative
    names and drgnalign too; else by its absolute path."""
    if images is None:
        return None
    return str(images) if output.parent.resolve() == Path.cwd() else str(images.resolve())
