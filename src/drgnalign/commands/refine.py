"""drgnalign refine: poses, each half set against its own reference."""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path

import click
import pandas as pd

from drgnalign.commands import (
    FILE,
    OUTPUT,
    POSITIVE,
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
from drgnalign.engine.native import NativeEngine
from drgnalign.errors import InputError, InputWarning
from drgnalign.files import atomic_path, suffix_of
from drgnalign.formats.particle_file import Facts
from drgnalign.formats.star import write_star
from drgnalign.half_maps import DIVIDED, JOINT, marked, refined_at
from drgnalign.inputs import open_particles
from drgnalign.interface import Chunk, Engine, References
from drgnalign.maps.read import are_one_map, check_mask
from drgnalign.particles import HALVES
from drgnalign.run.state import beside
from drgnalign.stack_names import named_beside
from drgnalign.staging import in_task

# Of which half set a half map is by its name, as RELION, cryoSPARC and drgnalign write them.
HALF_MAP_NAME = re.compile(r"half[-_]?(?:map[-_]?)?(?P<half>[12ab])(?![a-z0-9])")


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option(
    "--half1",
    type=FILE,
    required=True,
    multiple=True,
    help="Reference of half set 1 (unfiltered half map, unless --weighted).",
)
@click.option("--half2", type=FILE, required=True, multiple=True, help="Reference of half set 2.")
@click.option(
    "--score-only",
    is_flag=True,
    help="Refine nothing: write log-likelihoods at the given poses as a table, a column for each pair of references.",
)
@click.option("--weighted", is_flag=True, help="The references are filtered already: use them as they are.")
@click.option("--limit", type=POSITIVE, required=True, help="Finest resolution used, Å.")
@click.option(
    "-o", "--output", type=OUTPUT, required=True, help="Star file with the refined poses, or the table of --score-only."
)
@click.option("--mask", type=FILE, help="Soft mask around the particle. Default: made from the half maps.")
@click.option("--part", type=OUTPUT, help="Also write a part of a reconstruction at the refined poses.")
@click.option(
    "--pilot", type=FILE, help="Star file of some particles to learn from what to expect. Default: PARTICLES."
)
@images_option
@noise_option
@normalise_option
@half_sets_option
@with_facts
@invert_option
@diameter_option
@with_engine
def refine(
    particles: Path,
    half1: tuple[Path, ...],
    half2: tuple[Path, ...],
    score_only: bool,
    weighted: bool,
    limit: float,
    output: Path,
    mask: Path | None,
    part: Path | None,
    pilot: Path | None,
    images: Path | None,
    noise: Path | None,
    normalise: str,
    half_sets: str,
    facts: Facts,
    invert: str,
    mask_diameter: float | None,
    engine: Engine,
) -> None:
    """Refine the poses of PARTICLES locally, each half set against its own reference.

    The references must have the grey values that `drgnalign reconstruct` gives to maps of these images.
    """
    if len(half1) != len(half2):
        raise InputError(None, f"{len(half1)} --half1 and {len(half2)} --half2", "give both of every reference")
    if not score_only and suffix_of(output) != ".star":
        raise InputError(output, "poses are written as a star file", "name it .star, then `drgnalign convert` it")
    for pair in zip(half1, half2, strict=True):
        _refuse_exchanged(*pair)
    table, root, dealt = open_particles(particles, images, mask_diameter, normalise, half_sets, facts, invert)
    if mask is not None:
        check_mask(mask, table.box, table.pixel_size, table.diameter(mask_diameter))
    references = [References(first, second, mask, weighted) for first, second in zip(half1, half2, strict=True)]
    one_map = all(map(are_one_map, half1, half2))
    joint = engine.settings.joint_reference or one_map
    if one_map and not score_only:
        problem = "and --half2 are one map: both half sets are aligned to it, and are not independent from here on"
        warnings.warn(f"--half1 {problem} ({HALVES} says so in {output})", InputWarning, stacklevel=2)
    if dealt and not joint:
        _refuse_dealt(particles, references[0], half_sets)
    table = table if score_only else named_beside(table, output, images)
    chunk = Chunk(table, root, noise, mask_diameter, pilot)
    if score_only:
        _write_scores(engine, chunk, references, limit, output)
    elif len(references) > 1:
        raise InputError(None, f"{len(references)} pairs of references", "give one pair, or --score-only")
    else:
        refined = engine.refine(chunk, references[0], limit, part)
        write_star(marked(refined, JOINT) if joint else refined_at(refined, limit), output)
        click.echo(
            f"{output}: {len(refined):,} particles, refined up to {limit:g} Å{_following(output, images)}", err=True
        )


def _refuse_exchanged(half1: Path, half2: Path) -> None:
    """Refuse half maps that by their names are each the other's, which would align half sets to each other."""
    named = [HALF_MAP_NAME.search(path.name.lower()) for path in (half1, half2)]
    if [found and found["half"] for found in named] in (["2", "1"], ["b", "a"]):
        problem = "is given as --half1, and by its name is the map of half set 2"
        raise InputError(half1, problem, f"exchange it with --half2, {half2}, or rename the maps if they are right")


def _following(output: Path, images: Path | None) -> str:
    """What to type next; nothing in a run, which goes on by itself."""
    if in_task():
        return ""
    words = ["drgnalign", "reconstruct", str(output), "-o", str(output.with_suffix(""))]
    return f". Next: {shlex.join(words + ([] if images is None else ['--images', str(images)]))}"


def _refuse_dealt(particles: Path, references: References, half_sets: str) -> None:
    """Refuse half sets that were dealt now: the references are of others, and hold the noise of both."""
    made = beside(references.prefix, DIVIDED)
    remedy = f"give {made}, which has them" if made.is_file() else "give the file with the half sets of these maps"
    remedy += f"; `drgnalign reconstruct` writes it where it deals them (PREFIX{DIVIDED})"
    problem = "its half sets are not used" if half_sets == "deal" else "has no half sets"
    problem += ": dealt anew, they would not be those of the references, which hold the noise of both then"
    raise InputError(particles, problem, remedy)


def _write_scores(engine: Engine, chunk: Chunk, references: Sequence[References], limit: float, output: Path) -> None:
    if not isinstance(engine, NativeEngine):
        raise InputError(None, "--score-only is not for this engine", "give --engine native")
    scores = engine.score(chunk, references, limit)
    names = [pair.prefix.name.removesuffix("_reference") for pair in references]
    table = pd.DataFrame(scores, columns=names)
    table.insert(0, "image", chunk.particles.table["rlnImageName"])
    with atomic_path(output) as temporary:
        table.to_csv(temporary, index=False, float_format="%.4f")
    pairs = "1 pair" if len(names) == 1 else f"{len(names)} pairs"
    click.echo(f"{output}: log-likelihoods of {len(table):,} particles for {pairs} of references", err=True)
