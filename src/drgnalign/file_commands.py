"""Commands on particle files: convert, inspect, select, merge."""

from __future__ import annotations

import json
from pathlib import Path

import click

from drgnalign.commands import FILE, OUTPUT, POSITIVE, Command
from drgnalign.convert import read_for_conversion, require_for, with_contrast
from drgnalign.errors import InputError
from drgnalign.formats.cryodrgn import read_indices
from drgnalign.formats.particle_file import TARGETS, Facts, read_particle_file, target_of, write_particle_file
from drgnalign.formats.star import copy_star_rows
from drgnalign.inputs import CONTRAST_OF_INVERT
from drgnalign.inspect import inspect_file, report_text
from drgnalign.subsets import chosen_rows, merge_particles

output_option = click.option("-o", "--output", type=OUTPUT, required=True)


@click.command(cls=Command)
@click.argument("particles", type=FILE, required=False)
@output_option
@click.option("--to", type=click.Choice(TARGETS), help="What to write, where the name of the output does not say it.")
@click.option("--poses", type=FILE, help="cryoDRGN's poses, in place of PARTICLES.")
@click.option("--ctf", type=FILE, help="cryoDRGN's CTF parameters, in place of PARTICLES.")
@click.option("--passthrough", type=FILE, help="Passthrough file of a cryoSPARC job.")
@click.option(
    "--images",
    type=click.Path(exists=True, path_type=Path),
    help="Stack of a par file or of pickles, or one with the images of PARTICLES in the order of its rows; "
    "or the folder that image names are relative to.",
)
@click.option("--pixel-size", type=POSITIVE, help="Å/px.")
@click.option("--box", type=click.IntRange(min=1), help="px.")
@click.option("--voltage", type=POSITIVE, help="kV.")
@click.option("--cs", type=click.FloatRange(min=0), help="Spherical aberration, mm.")
@click.option("--amplitude-contrast", type=click.FloatRange(0, 1), help="Fraction.")
@click.option(
    "--invert",
    type=click.Choice(["auto", *CONTRAST_OF_INVERT]),
    default="auto",
    show_default=True,
    help="Is protein dark in the stored images? Only cryoSPARC's files say it.",
)
def convert(
    particles: Path | None,
    output: Path,
    to: str | None,
    poses: Path | None,
    ctf: Path | None,
    passthrough: Path | None,
    images: Path | None,
    pixel_size: float | None,
    box: int | None,
    voltage: float | None,
    cs: float | None,
    amplitude_contrast: float | None,
    invert: str,
) -> None:
    """Write PARTICLES (.star, .par, .parx, .cs, or cryoDRGN's pickles) in another program's form.

    The name of the output decides the form: .star, .cs, .par (in the version it was read in, or --to par8, par9,
    parx); a folder with --to cryodrgn gets poses.pkl and ctf.pkl. Images are never copied.
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
    )
    target = target_of(output, to, table)
    require_for(target, table)
    if target == "cs":
        table = with_contrast(table, images, invert)
    write_particle_file(table, output, target)
    click.echo(f"{output}: {len(table):,} particles", err=True)


@click.command(cls=Command)
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--images",
    type=click.Path(exists=True, path_type=Path),
    help="Folder that image names are relative to (default: each file's own), or the stack of a par file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def inspect(files: tuple[Path, ...], images: Path | None, as_json: bool) -> None:
    """Say what FILES are, what is in them, and what looks wrong: particle files, cryoDRGN's pickles, stacks and maps.

    The exit status is 2 if a file has an error: it cannot be read, or holds or names what no program can use.
    """
    reports = []
    for path in files:
        reports.append(inspect_file(path, images))
        if not as_json:
            click.echo(("\n" if len(reports) > 1 else "") + report_text(reports[-1]))
    if as_json:
        click.echo(json.dumps(reports, indent=2, ensure_ascii=False, allow_nan=False))
    if any(finding["level"] == "error" for report in reports for finding in report["findings"]):
        click.get_current_context().exit(2)


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@output_option
@click.option("--cluster", "clusters", type=int, multiple=True, help="Class number; may be given several times.")
@click.option("--half", type=click.IntRange(1, 2), help="Half set.")
@click.option("--ind", type=FILE, help="cryoDRGN's index pickle: rows from 0.")
@click.option("--passthrough", type=FILE, help="Passthrough file of a cryoSPARC job: its fields are written too.")
@click.option("--rows", metavar="FIRST:LAST", help="Rows from 1, both included; either may be left out.")
def select(
    particles: Path,
    output: Path,
    clusters: tuple[int, ...],
    half: int | None,
    ind: Path | None,
    passthrough: Path | None,
    rows: str | None,
) -> None:
    """Write the PARTICLES that meet all conditions, in their own form, with all their columns and image names.

    Star files keep their layout, their digits and their other blocks.
    """
    table = read_particle_file(particles, passthrough=passthrough)
    first, last = _row_range(rows)
    indices = None if ind is None else read_indices(ind)
    keep = chosen_rows(table, clusters=clusters, half=half, indices=indices, first=first, last=last)
    _refuse_other_form(particles, output)
    if particles.suffix == ".star":
        copy_star_rows(particles, keep, output)
    else:
        chosen = table.select(keep)
        write_particle_file(chosen, output, target_of(output, None, chosen))
    click.echo(f"{output}: {keep.sum():,} particles", err=True)


@click.command(cls=Command)
@click.argument("inputs", type=FILE, nargs=-1, required=True)
@output_option
@click.option("--like", type=FILE, help="File whose order the result has; it holds the images of all INPUTS.")
def merge(inputs: tuple[Path, ...], output: Path, like: Path | None) -> None:
    """Put the particles of INPUTS, files of one kind, into one file.

    Star files of RELION 3.0 come out in the layout of 3.1: optics table, origins in Å.
    """
    parts = [read_particle_file(path) for path in inputs]
    order = None if like is None else read_particle_file(like)
    _refuse_other_form(inputs[0], output)
    merged = merge_particles(parts, order)
    write_particle_file(merged, output, target_of(output, None, merged))
    click.echo(f"{output}: {len(merged):,} particles", err=True)


def _stack_name(images: Path | None, output: Path) -> str | None:
    """How a file names the stack: as given where it lies in the current folder, from which RELION reads relative
    names and drgnalign too; else by its absolute path."""
    if images is None:
        return None
    return str(images) if output.parent.resolve() == Path.cwd() else str(images.resolve())


def _row_range(rows: str | None) -> tuple[int, int | None]:
    if rows is None:
        return 1, None
    first, colon, last = rows.partition(":")
    if not colon or not all(word == "" or word.isdecimal() for word in (first, last)):
        raise InputError(None, f"--rows is {rows!r}", "give FIRST:LAST, such as 1:1000 or 5001:")
    return (int(first) if first else 1), (int(last) if last else None)


def _refuse_other_form(source: Path, output: Path) -> None:
    if output.suffix != source.suffix:
        problem = f"is not named {source.suffix}, as {source.name} is"
        raise InputError(output, problem, "change the form with `drgnalign convert`")
