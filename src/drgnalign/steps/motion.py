"""MOTION: half maps of the particles that show one place of a motion."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from drgnalign.commands import FILE, OUTPUT, Command, diameter_option, images_option, noise_option
from drgnalign.commands.engine_options import with_engine
from drgnalign.half_maps import FEWEST_IN_HALF, smaller_half
from drgnalign.heterogeneity.path import LEAST_SHARE, points_along, shown_at
from drgnalign.inputs import open_particles
from drgnalign.interface import Chunk, Engine
from drgnalign.maps.read import read_mask
from drgnalign.maps.write import write_maps
from drgnalign.run.record import write_record
from drgnalign.run.records import PathPoint
from drgnalign.run.state import beside


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--point", type=click.IntRange(1), required=True, help="Of these points, the one to make.")
@click.option("--points", type=click.IntRange(2), required=True, help="Maps along the motion.")
@click.option("--mask", type=FILE, required=True, help="Soft mask of the FSC.")
@images_option
@noise_option
@diameter_option
@with_engine
@click.option("-o", "--output", "prefix", type=OUTPUT, required=True, help="What names of files begin with.")
def main(
    particles: Path,
    point: int,
    points: int,
    mask: Path,
    images: Path | None,
    noise: Path | None,
    mask_diameter: float | None,
    engine: Engine,
    prefix: Path,
) -> None:
    """Reconstruct what PARTICLES show at a point of their motion."""
    table, root, _ = open_particles(particles, images, mask_diameter)
    place = float(points_along(table, points)[point - 1])
    shown, spread = shown_at(table, place)
    shares, half = shown.occupancies(), smaller_half(shown.half_sets())
    worth = shares.sum() ** 2 / max(float(np.square(shares).sum()), LEAST_SHARE**2)
    record = PathPoint(place=place, spread=spread, particles=len(shown), worth_particles=float(worth))
    prefix.parent.mkdir(parents=True, exist_ok=True)
    if half < FEWEST_IN_HALF:
        click.echo(f"{prefix.name}: no map: {half} particles of the smaller half set show this place", err=True)
        write_record(record, beside(prefix, ".json"))
        return
    with TemporaryDirectory(dir=Path.cwd()) as folder:
        part = Path(folder, f"{prefix.name}.part")
        engine.insert(Chunk(shown, root, noise, mask_diameter), part)
        made = engine.reconstruct([part], prefix)
    fsc = write_maps(
        made.half1,
        made.half2,
        made.pixel_size,
        prefix,
        mask=read_mask(mask, table.box, table.pixel_size),
        mask_name=mask.name,
        diameter=table.diameter(mask_diameter),
        mass_kda=engine.settings.mass_kda,
    )
    record.resolution_angstrom = fsc.resolution
    write_record(record, beside(prefix, ".json"))
