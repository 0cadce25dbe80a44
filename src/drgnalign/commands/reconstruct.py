"""drgnalign reconstruct: half maps, a filtered map and their FSC."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from drgnalign.commands import FILE, OUTPUT, Command, diameter_option, images_option, noise_option
from drgnalign.commands.engine_options import with_engine
from drgnalign.errors import InputError
from drgnalign.files import require_folder
from drgnalign.inputs import open_particles
from drgnalign.interface import USUAL_FILL, Chunk, Engine
from drgnalign.maps import read_map, write_maps


@click.command(cls=Command)
@click.argument("inputs", type=click.Path(exists=True, path_type=Path), nargs=-1, required=True)
@click.option("-o", "--output", "prefix", type=OUTPUT, required=True, help="Prefix of the files written.")
@click.option("--mask", type=FILE, help="Soft mask of the FSC. Default: made from the maps.")
@images_option
@noise_option
@diameter_option
@with_engine
def reconstruct(
    inputs: tuple[Path, ...],
    prefix: Path,
    mask: Path | None,
    images: Path | None,
    noise: Path | None,
    mask_diameter: float | None,
    engine: Engine,
) -> None:
    """Reconstruct half maps, a filtered map and their FSC.

    INPUTS is one star file, whose particles are reconstructed at their poses, or the parts of a reconstruction
    that refinement wrote.
    """
    star = [path for path in inputs if path.suffix == ".star"]
    if star and len(inputs) > 1:
        raise InputError(star[0], "it is given together with other inputs", "give one star file, or parts only")
    if star:
        table, root = open_particles(star[0], images)
        require_folder(prefix)
        with TemporaryDirectory(prefix=f".{prefix.name}_", dir=prefix.parent) as folder:
            part = Path(folder, "all.part")
            engine.insert(Chunk(table, root, noise, mask_diameter), part)
            half1, half2, pixel_size = engine.reconstruct([part], prefix)
    else:
        half1, half2, pixel_size = engine.reconstruct(inputs, prefix)
    fsc = write_maps(
        half1,
        half2,
        pixel_size,
        prefix,
        mask=None if mask is None else read_map(mask, half1.shape[0], pixel_size),
        mask_name="" if mask is None else mask.name,
        diameter=mask_diameter or USUAL_FILL * half1.shape[0] * pixel_size,
        mass_kda=engine.settings.mass_kda,
    )
    click.echo(f"{prefix.name}: {fsc.resolution:.2f} Å at FSC 0.143{' (Nyquist)' if fsc.reaches_nyquist else ''}")
