"""The ``drgnalign`` command: the library's steps, usable without Nextflow."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from tqdm import tqdm

from drgnalign import __version__
from drgnalign.commands import (
    FILE,
    NOT_NEGATIVE,
    OUTPUT,
    POSITIVE,
    Command,
    Group,
    diameter_option,
    images_option,
    noise_option,
    open_particles,
    seed_option,
    with_engine,
)
from drgnalign.errors import InputError
from drgnalign.file_commands import convert, inspect, merge, select
from drgnalign.files import require_folder
from drgnalign.formats.mrc import read_volume
from drgnalign.formats.star import read_star, write_star
from drgnalign.interface import USUAL_FILL, Chunk, Engine, References
from drgnalign.maps import read_map, write_maps
from drgnalign.simulate import phantom_states, simulate_set
from drgnalign.validation.fsc import half_map_fsc
from drgnalign.validation.score import score_particles


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Heterogeneous cryo-EM refinement, step by step."""


for command in (convert, inspect, select, merge):
    main.add_command(command)


@main.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--half1", type=FILE, required=True, help="Reference of half set 1 (unfiltered half map).")
@click.option("--half2", type=FILE, required=True, help="Reference of half set 2.")
@click.option("--limit", type=POSITIVE, required=True, help="Finest resolution used, Å.")
@click.option("-o", "--output", type=OUTPUT, required=True, help="Star file with the refined poses.")
@click.option("--mask", type=FILE, help="Soft mask around the particle. Default: made from the half maps.")
@click.option("--part", type=OUTPUT, help="Also write a part of a reconstruction at the refined poses.")
@images_option
@noise_option
@diameter_option
@with_engine
def refine(
    particles: Path,
    half1: Path,
    half2: Path,
    limit: float,
    output: Path,
    mask: Path | None,
    part: Path | None,
    images: Path | None,
    noise: Path | None,
    mask_diameter: float | None,
    engine: Engine,
) -> None:
    """Refine the poses of PARTICLES locally, each half set against its own reference.

    The references must have the grey values that `drgnalign reconstruct` gives to maps of these images.
    """
    table, root = open_particles(particles, images)
    chunk = Chunk(table, root, noise, mask_diameter)
    refined = engine.refine(chunk, References(half1, half2, mask), limit, part)
    write_star(refined, output)


@main.command(cls=Command)
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


@main.command(cls=Command)
@click.argument("first", type=FILE)
@click.argument("second", type=FILE)
@click.option("--mask", type=FILE, help="Soft mask; its own correlation is corrected by phase randomisation.")
@seed_option
def fsc(first: Path, second: Path, mask: Path | None, seed: int) -> None:
    """Fourier shell correlation of the maps FIRST and SECOND, as a table on standard output."""
    volume, pixel_size = read_volume(first)
    box = volume.shape[0]
    volumes = [read_map(path, box, pixel_size) for path in (first, second, *([mask] if mask else []))]
    result = half_map_fsc(volumes[0], volumes[1], pixel_size, volumes[2] if mask else None, seed)
    click.echo(result.table().to_csv(index=False, float_format="%.5f"), nl=False)
    click.echo(f"{result.resolution:.2f} Å at FSC 0.143 ({mask.name if mask else 'no mask'})", err=True)


@main.command(cls=Command)
@click.argument("truth", type=FILE)
@click.argument("estimate", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def score(truth: Path, estimate: Path, as_json: bool) -> None:
    """Errors of the poses and agreement of the labels in ESTIMATE against TRUTH."""
    result = score_particles(read_star(truth), read_star(estimate))
    click.echo(json.dumps(result, indent=2) if as_json else _score_text(result))


def _score_text(result: dict[str, Any]) -> str:
    lines = [
        f"{name:<18} median {errors['median']:.3f}  p90 {errors['p90']:.3f}  mean {errors['mean']:.3f}"
        for name, errors in (
            ("rotation (degrees)", result["rotation_degrees"]),
            ("shift (Å)", result["shift_angstrom"]),
        )
    ]
    lines.append(f"global rotation removed: {result['global_rotation_degrees']:.3f} degrees")
    ari = result["label_ari"]
    lines.append("no labels" if ari is None else f"label ARI {ari:.3f} ({result['unassigned']} unassigned)")
    lines += [
        f"state {state}: {values['particles']} particles, rotation median {values['rotation_median_degrees']:.3f} "
        f"degrees, shift median {values['shift_median_angstrom']:.3f} Å"
        for state, values in result["states"].items()
    ]
    return "\n".join(lines)


@main.command(cls=Command)
@click.argument("out", type=OUTPUT)
@click.option("--particles", type=int, default=3000, show_default=True)
@click.option("--states", type=click.IntRange(1, 4), default=3, show_default=True)
@click.option("--box", type=int, default=32, show_default=True, help="Pixels.")
@click.option("--pixel-size", type=float, default=8.0, show_default=True, help="Å.")
@click.option("--snr", type=float, default=0.1, show_default=True, help="Signal-to-noise ratio per pixel.")
@click.option("--rotation-error", type=NOT_NEGATIVE, default=4.0, show_default=True, help="Median error, degrees.")
@click.option("--shift-error", type=NOT_NEGATIVE, default=2.0, show_default=True, help="Median error, Å.")
@seed_option
def simulate(
    out: Path,
    particles: int,
    states: int,
    box: int,
    pixel_size: float,
    snr: float,
    rotation_error: float,
    shift_error: float,
    seed: int,
) -> None:
    """Simulate a labelled particle set into the folder OUT: stack, particles.star, truth.star, true maps."""
    with tqdm(total=particles, desc="simulate", unit="particle", disable=None) as progress:
        simulate_set(
            out,
            phantom_states(states),
            [1.0] * states,
            particles,
            box,
            pixel_size,
            snr=snr,
            rotation_error_deg=rotation_error,
            shift_error_angstrom=shift_error,
            seed=seed,
            progress=progress.update,
        )
