"""drgnalign select: some rows of a particle file."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pandas as pd

from drgnalign.commands import FILE, Command, output_option, passthrough_option, refuse_other_form
from drgnalign.errors import InputError
from drgnalign.files import suffix_of
from drgnalign.formats.cryodrgn import read_indices
from drgnalign.formats.cryosparc import write_rows
from drgnalign.formats.particle_file import read_particle_file, target_of, write_particle_file
from drgnalign.formats.star import copy_star_rows
from drgnalign.stack_names import names_told, tell, tell_names_of_run
from drgnalign.subsets import chosen_rows


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@output_option
@click.option("--cluster", "clusters", multiple=True, help="Class numbers, with commas; may be given several times.")
@click.option("--half", type=click.IntRange(1, 2), help="Half set.")
@click.option("--ind", type=FILE, help="cryoDRGN's index pickle: rows from 0.")
@click.option("--names", type=FILE, help="CSV with image names in rlnImageName, as the report's selection.")
@click.option(
    "--left-out/--kept",
    default=None,
    help="Particles that a run left out (drgnLeftOut is 1), or those that it kept. Default: both.",
)
@passthrough_option
@click.option("--rows", metavar="FIRST:LAST", help="Rows from 1, both included; either may be left out.")
@click.option("--drop", metavar="ROWS", help="Rows from 1 that are left out, such as 8,42,77-80.")
def select(
    particles: Path,
    output: Path,
    clusters: tuple[str, ...],
    half: int | None,
    ind: Path | None,
    names: Path | None,
    left_out: bool | None,
    passthrough: tuple[Path, ...],
    rows: str | None,
    drop: str | None,
) -> None:
    """Write the PARTICLES that meet all conditions, in their own form, with all their columns and image names.

    Star files keep their layout, their digits and their other blocks.
    """
    out = np.unique(np.array(_numbers(drop), np.int64)) - 1
    table = read_particle_file(particles, passthrough=passthrough, dropped=out.tolist(), keep_pixels=True)
    numbers = np.delete(np.arange(len(table) + len(out)), out)
    first, last = _row_range(rows)
    indices = None if ind is None else read_indices(ind)
    keep = chosen_rows(
        table,
        clusters=[label for words in clusters for label in _labels(words)],
        half=half,
        indices=indices,
        names=None if names is None else _read_names(names),
        left_out=left_out,
        first=first,
        last=last,
        numbers=numbers,
    )
    refuse_other_form(particles, output)
    told = names_told(table, particles.parent, output)
    chosen = table.select(keep)
    if suffix_of(particles) == ".star":
        whole = np.zeros(len(table) + len(out), np.bool_)
        whole[numbers[keep]] = True
        copy_star_rows(particles, whole, output)
    elif chosen.cs_rows is not None:
        write_rows(chosen.cs_rows, output)
    else:
        write_particle_file(chosen, output, target_of(output, None, chosen))
    tell_names_of_run(table, particles.parent, output)
    tell(output, told)
    click.echo(f"{output}: {keep.sum():,} particles", err=True)


def _read_names(path: Path) -> list[str]:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        return table["rlnImageName"].tolist()
    except (KeyError, ValueError) as error:
        remedy = "give a CSV whose first line is rlnImageName, as the report writes it"
        raise InputError(path, "has no column rlnImageName", remedy) from error


def _row_range(rows: str | None) -> tuple[int, int | None]:
    if rows is None:
        return 1, None
    first, colon, last = rows.partition(":")
    if not colon or not all(word == "" or word.isdecimal() for word in (first, last)):
        raise InputError(None, f"--rows is {rows!r}", "give FIRST:LAST, such as 1:1000 or 5001:")
    return (int(first) if first else 1), (int(last) if last else None)


def _labels(words: str) -> list[int]:
    """[2, 5] of ``2,5``."""
    pieces = [piece.strip() for piece in words.split(",")]
    if not all(piece.isdecimal() for piece in pieces):
        raise InputError(None, f"--cluster has {words!r}", "give class numbers, such as 2,5")
    return [int(piece) for piece in pieces]


def _numbers(drop: str | None) -> list[int]:
    """[8, 77, 78] of ``8,77-78``."""
    numbers: list[int] = []
    for piece in (drop or "").split(",") if drop else ():
        first, _, last = piece.strip().partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            raise InputError(None, f"--drop has {piece!r}", "give rows and ranges of rows, such as 8,42,77-80")
        if int(last or first) < int(first):
            raise InputError(None, f"--drop has {piece!r}, which ends before it begins", f"give {last}-{first}")
        numbers += range(int(first), int(last or first) + 1)
    return numbers
