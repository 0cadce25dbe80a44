"""SCREEN: which particles match the consensus at no pose; better poses for those that match it elsewhere."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command, diameter_option, symmetry_option
from drgnalign.downsample import coarsen
from drgnalign.formats.star import read_star, write_star
from drgnalign.heterogeneity.assign import AssignmentSettings
from drgnalign.heterogeneity.screen import screen
from drgnalign.run.record import write_record


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--references", type=FOLDER, required=True, help="Of the last pass: consensus, mask and fsc.csv.")
@click.option("--stack", type=FILE, required=True, help="Training images, in the order of the particles.")
@click.option("--images", type=FOLDER, required=True, help="Read where the training images do not reach the limit.")
@click.option(
    "--keep-poses", is_flag=True, help="Look for junk alone: poses are not refined yet, the consensus is poor."
)
@click.option("--limit", type=float, default=14.0, show_default=True, help="Å; coarser where the consensus is.")
@diameter_option
@symmetry_option
@click.option("-o", "--output", type=OUTPUT, required=True, help="PARTICLES with what was found, and better poses.")
@click.option("--record", type=OUTPUT, required=True, help="What was found, JSON.")
def main(
    particles: Path,
    references: Path,
    stack: Path,
    images: Path,
    keep_poses: bool,
    limit: float,
    mask_diameter: float | None,
    symmetry: str,
    output: Path,
    record: Path,
) -> None:
    """Look for PARTICLES that are junk, or have lost their pose."""
    table = read_star(particles)
    diameter = table.diameter(mask_diameter)
    with TemporaryDirectory(dir=Path.cwd()) as folder:
        own = Path(folder) / "screen.mrcs"
        coarsen(table, images, stack, limit, own)
        settings = AssignmentSettings(limit, diameter, symmetry=symmetry)
        screened, facts = screen(table, own if own.exists() else stack, references, settings, keep_poses)
    write_star(screened, output)
    write_record(facts, record)
