"""drgnalign merge: particle files put into one."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, FOLDER, Command, output_option, refuse_other_form
from drgnalign.commands.facts_options import with_facts
from drgnalign.formats.cistem import is_cistem
from drgnalign.formats.particle_file import Facts, read_particle_file, target_of, write_particle_file
from drgnalign.stack_names import named_for
from drgnalign.subsets import merge_particles


@click.command(cls=Command)
@click.argument("inputs", type=FILE, nargs=-1, required=True)
@output_option
@click.option("--like", type=FILE, help="File whose order the result has; it holds the images of all INPUTS.")
@click.option("--common-columns", is_flag=True, help="Leave out the columns that not all INPUTS have.")
@click.option("--images", type=FOLDER, help="Folder that all image names are relative to. Default: each file's own.")
@with_facts
def merge(
    inputs: tuple[Path, ...],
    output: Path,
    like: Path | None,
    common_columns: bool,
    images: Path | None,
    facts: Facts,
) -> None:
    """Put the particles of INPUTS, files of one kind, into one file.

    Star files of RELION 3.0 come out in the layout of 3.1: optics table, origins in Å; those of cisTEM as cisTEM's.
    Each stack gets one name, by which OUTPUT finds it: names stay where they do, else they become paths from there.
    """
    parts = [read_particle_file(path, facts=facts) for path in inputs]
    order = None if like is None else read_particle_file(like, facts=facts)
    refuse_other_form(inputs[0], output)
    named = named_for([*parts, *([] if order is None else [order])], output, images, like)
    order = None if order is None else named[-1]
    merged = merge_particles(named[: len(parts)], order, common_columns=common_columns)
    write_particle_file(merged, output, target_of(output, "cistem" if is_cistem(inputs[0]) else None, merged))
    click.echo(f"{output}: {len(merged):,} particles", err=True)
