"""drgnalign reconstruct: half maps, a filtered map and their FSC."""

from __future__ import annotations

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from drgnalign.arrays import FloatVolume
from drgnalign.commands import (
    EXISTING,
    FILE,
    OUTPUT,
    Command,
    diameter_option,
    half_sets_option,
    images_option,
    invert_option,
    noise_option,
    normalise_option,
)
from drgnalign.commands.engine_options import with_engine
from drgnalign.commands.facts_options import with_facts
from drgnalign.engine.shrinkage import difference_figures, difference_fsc, relative_amplitudes, shrunk_references
from drgnalign.errors import InputError, InputWarning
from drgnalign.files import require_folder, suffix_of
from drgnalign.formats.mrc import write_volume
from drgnalign.formats.particle_file import Facts
from drgnalign.formats.star import write_star
from drgnalign.half_maps import DIVIDED, INDEPENDENT, standing
from drgnalign.inputs import as_it_came, open_particles
from drgnalign.interface import Chunk, Engine, Reconstruction
from drgnalign.maps.read import check_mask, read_map
from drgnalign.maps.write import write_maps
from drgnalign.particles import PARTICLE_FILES, USUAL_FILL, Particles
from drgnalign.run.state import HALF_MAPS, REFERENCES, beside
from drgnalign.stack_names import named_beside


@click.command(cls=Command)
@click.argument("inputs", type=EXISTING, nargs=-1, required=True)
@click.option("-o", "--output", "prefix", type=OUTPUT, required=True, help="Prefix of the files written.")
@click.option("--mask", type=FILE, help="Soft mask of the FSC. Default: made from the maps.")
@click.option(
    "--consensus",
    type=click.Path(path_type=Path),
    help="Prefix of the consensus's half maps: how much differs from it is told (native engine). Needs --mask.",
)
@click.option(
    "--reference-prior",
    type=click.Choice(["consensus", "none"]),
    default="none",
    show_default=True,
    help="Also write references for refinement, shrunk towards the consensus where they do not differ from it.",
)
@click.option("--focus-mask", type=FILE, help="Mask of the part that is looked at for what differs.")
@click.option("--local-resolution", is_flag=True, help="Also write a map of the local resolution.")
@images_option
@noise_option
@normalise_option
@half_sets_option
@with_facts
@invert_option
@diameter_option
@with_engine
def reconstruct(
    inputs: tuple[Path, ...],
    prefix: Path,
    mask: Path | None,
    consensus: Path | None,
    reference_prior: str,
    focus_mask: Path | None,
    local_resolution: bool,
    images: Path | None,
    noise: Path | None,
    normalise: str,
    half_sets: str,
    facts: Facts,
    invert: str,
    mask_diameter: float | None,
    engine: Engine,
) -> None:
    """Reconstruct half maps, a filtered map and their FSC.

    INPUTS is one star file, whose particles are reconstructed at their poses, or the parts of a reconstruction
    that refinement wrote. Where half sets had to be dealt, the particles are written too, with their half sets:
    refine these.
    """
    if reference_prior == "consensus" and consensus is None:
        raise InputError(None, "--reference-prior consensus lacks the consensus", "give --consensus")
    if consensus is not None and mask is None:
        raise InputError(None, "--consensus lacks the mask that all clusters share", "give --mask")
    star = [path for path in inputs if suffix_of(path) in PARTICLE_FILES]
    if star and len(inputs) > 1:
        raise InputError(star[0], "it is given together with other inputs", "give one star file, or parts only")
    if star:
        table, root, dealt = open_particles(star[0], images, mask_diameter, normalise, half_sets, facts, invert)
        divided = named_beside(as_it_came(table), beside(prefix, DIVIDED), images) if dealt else None
        for path in filter(None, (mask, focus_mask)):
            # images take long: it is refused before they are read
            check_mask(path, table.box, table.pixel_size, table.diameter(mask_diameter))
        require_folder(prefix)
        with TemporaryDirectory(prefix=f".{prefix.name}_", dir=prefix.parent) as folder:
            part = Path(folder, "all.part")
            engine.insert(Chunk(table, root, noise, mask_diameter), part)
            made = engine.reconstruct([part], prefix)
    else:
        made = engine.reconstruct(inputs, prefix)
    box, pixel_size = made.half1.shape[0], made.pixel_size
    diameter = mask_diameter or USUAL_FILL * box * pixel_size
    soft = None if mask is None else check_mask(mask, box, pixel_size, diameter)
    figures: dict[str, float | None] = {}
    if consensus is not None and soft is not None:
        focus = soft if focus_mask is None else soft * check_mask(focus_mask, box, pixel_size, diameter)
        figures = _compare(made, _half_maps(consensus, box, pixel_size), soft, focus, prefix, reference_prior)
    fsc = write_maps(
        made.half1,
        made.half2,
        pixel_size,
        prefix,
        mask=soft,
        mask_name="" if mask is None else mask.name,
        diameter=diameter,
        mass_kda=engine.settings.mass_kda,
        figures=figures,
        local=local_resolution,
    )
    click.echo(f"{prefix.name}: {fsc.claim}")
    if star and divided is not None:
        write_star(divided, beside(prefix, DIVIDED))
        click.echo(f"{beside(prefix, DIVIDED).name}: the particles with the half sets of these maps", err=True)
    if star:
        _warn_of_halves(table, fsc.resolution)


def _warn_of_halves(particles: Particles, resolution: float | None) -> None:
    """Say if the half maps are not known to be independent."""
    if resolution is None:
        return
    worth = standing(particles, ~particles.left_out(), resolution)
    if worth != INDEPENDENT:
        message = f"{particles.path}: the half sets are {worth}: the resolution may flatter"
        warnings.warn(message, InputWarning, stacklevel=2)


def _half_maps(prefix: Path, box: int, pixel_size: float) -> tuple[FloatVolume, FloatVolume]:
    first, second = (read_map(beside(prefix, ending), box, pixel_size) for ending in HALF_MAPS)
    return first, second


def _compare(
    made: Reconstruction,
    consensus: tuple[FloatVolume, FloatVolume],
    mask: FloatVolume,
    focus: FloatVolume,
    prefix: Path,
    reference_prior: str,
) -> dict[str, float | None]:
    """Write references shrunk towards the consensus, if they are wanted; how much is real of what differs from it in
    the focus."""
    if made.weights is None:
        raise InputError(None, "this engine does not tell what its maps rest on", "leave out --consensus")
    halves = (made.half1, made.half2)
    if reference_prior == "consensus":
        shrunk = shrunk_references(halves, made.weights, consensus, mask)
        for ending, volume in zip(REFERENCES, shrunk, strict=True):
            write_volume(beside(prefix, ending), volume, made.pixel_size)
    amplitudes = relative_amplitudes(halves, consensus, mask, made.pixel_size)
    differences = difference_figures(difference_fsc(halves, consensus, focus), len(mask) * made.pixel_size)
    return differences | {
        "amplitude": None if amplitudes is None else 0.5 * (amplitudes[0] + amplitudes[1]),
        "amplitude_error": None if amplitudes is None else 0.5 * abs(amplitudes[0] - amplitudes[1]),
    }
