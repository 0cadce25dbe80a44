"""ESTIMATE_DISK: what the run will write."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, OUTPUT, Command, diameter_option
from drgnalign.files import write_json
from drgnalign.formats.star import read_star
from drgnalign.interface import ENGINE_NAMES
from drgnalign.run.disk import Plan, estimate_disk


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--consensus", type=int, required=True, help="Passes over all particles as one cluster.")
@click.option("--anew", type=int, required=True, help="Of these, which reconstruct what they refine against.")
@click.option("--rounds", type=int, required=True)
@click.option("--clusters", type=int, required=True, help="The most that a round has.")
@click.option("--reconstructs", is_flag=True, help="Some rounds begin with reconstructions of their clusters.")
@click.option("--train-box", type=int, required=True)
@click.option("--chunk-size", type=int)
@click.option("--assign-limit", type=float, help="Å; of the images for assignment, where there are any.")
@click.option("--components", type=int, default=0, help="Of the linear model.")
@click.option("--path-points", type=int, default=0, help="Maps along a motion.")
@click.option("--engine", type=click.Choice(ENGINE_NAMES), required=True)
@click.option("--keep", is_flag=True, help="Nothing is removed.")
@diameter_option
@click.option("-o", "--output", type=OUTPUT, required=True, help="Bytes of the work folder and the results, as JSON.")
def main(
    particles: Path, output: Path, engine: str, mask_diameter: float | None, **plan: int | float | bool | None
) -> None:
    """Estimate what a run with PARTICLES will write."""
    table = read_star(particles)
    diameter = table.diameter(mask_diameter)
    needs = estimate_disk(table, Plan(native=engine == "native", **plan), diameter)  # type: ignore[arg-type]
    write_json(output, needs)
