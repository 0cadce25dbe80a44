"""CHECK_SETTINGS: what the run will ask of the particles, held against what they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from drgnalign.commands import EXISTING, FILE, OUTPUT, Command, diameter_option, noted_warnings
from drgnalign.commands.engine_options import with_engine
from drgnalign.engine.sampling import coarsest_limit
from drgnalign.errors import InputError
from drgnalign.files import write_text
from drgnalign.formats.star import read_star
from drgnalign.heterogeneity.initial_maps import check_initial_maps
from drgnalign.interface import Chunk, Engine
from drgnalign.known.comparison import check_known
from drgnalign.known.read import known_files
from drgnalign.maps.read import check_mask
from drgnalign.run.inputs import InputsRecord
from drgnalign.run.possible import refuse_impossible_sizes, refuse_more_labels, refuse_too_few
from drgnalign.run.record import read_record, write_record


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--limits", required=True, help="All resolution limits of the run, comma list in Å.")
@click.option("--assign-limit", type=float, help="Å, of the comparison of images; finer than Nyquist is Nyquist.")
@click.option("--clusters", type=int, default=1, show_default=True, help="Most clusters that there are to be.")
@click.option("--wanted", type=int, help="Most clusters that assignment keeps; as many as there are without it.")
@click.option("--proposed", type=int, default=1, show_default=True, help="Most that the latent space is asked for.")
@click.option("--perturb-shift", type=float, default=0.0, show_default=True, help="Å.")
@click.option("--mask", type=FILE, help="The user's own mask.")
@click.option("--focus-mask", type=FILE, help="Mask of the part that assignment judges by.")
@click.option("--initial-map", "initial_maps", type=FILE, multiple=True, help="A map that assignment starts from.")
@click.option("--known", type=EXISTING, multiple=True, help="Of what maps are compared with, a file or folder.")
@click.option("--inputs", type=FILE, help="What was found of the particles, JSON.")
@click.option("--report", type=OUTPUT, help="The same with what is warned of here, if anything is.")
@click.option("--said", type=OUTPUT, help="What is to be said on the screen of the run.")
@diameter_option
@with_engine
def main(
    particles: Path,
    limits: str,
    assign_limit: float | None,
    clusters: int,
    wanted: int | None,
    proposed: int,
    perturb_shift: float,
    mask: Path | None,
    focus_mask: Path | None,
    initial_maps: tuple[Path, ...],
    known: tuple[Path, ...],
    inputs: Path | None,
    report: Path | None,
    said: Path | None,
    mask_diameter: float | None,
    engine: Engine,
) -> None:
    """Refuse limits, a number of clusters, masks and maps that PARTICLES do not allow; an engine that cannot work."""
    table = read_star(particles)
    facts = None if inputs is None else read_record(InputsRecord, inputs)
    if facts is not None:
        # messages then name the user's file
        table = replace(table, path=Path(facts.input))
    refuse_too_few(table, clusters, proposed)
    if facts is not None and facts.labels is not None:
        refuse_more_labels(facts.labels, wanted)
    width = table.box * table.pixel_size
    refuse_impossible_sizes(table, mask_diameter, engine.settings.mass_kda, perturb_shift)
    if assign_limit is not None and assign_limit > coarsest_limit(table):
        problem = f"--assign_limit {assign_limit:g} Å leaves nothing to compare in a box of {width:g} Å"
        raise InputError(table.path, problem, f"give {coarsest_limit(table):g} Å or less; 14 is usual")
    diameter = table.diameter(mask_diameter)
    listed = [float(limit) for limit in limits.split(",") if limit not in ("none", "auto")]
    with noted_warnings() as noted:
        for path in filter(None, (mask, focus_mask)):
            check_mask(path, table.box, table.pixel_size, diameter)
        check_initial_maps(initial_maps, table.box, table.pixel_size)
        check_known(known_files(known))
        engine.check(Chunk(table, particles.parent, mask_diameter=mask_diameter), listed)
    if noted and facts is not None and report is not None:
        facts.warnings += list(noted)
        write_record(facts, report)
    if said is not None:
        write_text(said, "".join(f"WARNING: {warning}\n" for warning in noted))
