"""drgnalign fsc: Fourier shell correlation of two maps."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, OUTPUT, Command, seed_option, symmetry_option
from drgnalign.errors import InputError
from drgnalign.files import atomic_path
from drgnalign.formats.mrc import read_volume
from drgnalign.formats.star import read_star
from drgnalign.maps.read import read_map, read_mask
from drgnalign.symmetry import point_group
from drgnalign.validation.fsc import half_map_fsc
from drgnalign.validation.views import conical_fsc, seen_share


@click.command(cls=Command)
@click.argument("first", type=FILE)
@click.argument("second", type=FILE)
@click.option("--mask", type=FILE, help="Soft mask; its own correlation is corrected by phase randomisation.")
@click.option("--cones", type=OUTPUT, help="Also the resolution in each direction, as CSV.")
@click.option("--particles", type=FILE, help="The images of both maps: how much of Fourier space they show.")
@symmetry_option
@seed_option
def fsc(
    first: Path,
    second: Path,
    mask: Path | None,
    cones: Path | None,
    particles: Path | None,
    symmetry: str,
    seed: int,
) -> None:
    """Fourier shell correlation of the maps FIRST and SECOND, as a table on standard output."""
    operators, (volume, pixel_size) = point_group(symmetry), read_volume(first)
    box = volume.shape[0]
    volumes = [read_map(path, box, pixel_size) for path in (first, second)]
    soft = read_mask(mask, box, pixel_size) if mask else None
    result = half_map_fsc(volumes[0], volumes[1], pixel_size, soft, seed)
    click.echo(result.table().to_csv(index=False, float_format="%.5f"), nl=False)
    claim = "no resolution: the two maps are copies of one" if result.is_of_copies else result.claim
    click.echo(f"{claim} ({mask.name if mask else 'no mask'})", err=True)
    if cones is not None:
        if result.resolution is None or result.is_of_copies:
            problem = "agrees with the other map in no way that directions could differ in"
            raise InputError(first, problem, "leave out --cones")
        # a mask carries what is seen into directions that are not
        found = conical_fsc(volumes[0], volumes[1], pixel_size, seed=seed)
        with atomic_path(cones) as temporary:
            found.table().to_csv(temporary, index=False, float_format="%.4f")
        click.echo(f"{found.claim()}, without a mask", err=True)
    if particles is not None:
        table = read_star(particles)
        kept = ~table.left_out()
        if not kept.any():
            raise InputError(particles, "has no particle that is in a map: all are left out", "give those of the maps")
        shell = box * pixel_size / (result.resolution or 2 * pixel_size)
        share = seen_share(table.rotations()[kept], shell, operators)
        click.echo(
            f"{100 * share:.1f} % of the shell at {box * pixel_size / shell:.2f} Å are in an image's plane", err=True
        )
