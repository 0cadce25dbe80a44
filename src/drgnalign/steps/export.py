"""EXPORT: maps, FSC and particles of the last state's clusters, for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command
from drgnalign.formats.star import read_star
from drgnalign.run.export import export_final


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--references", type=FOLDER, required=True, help="Maps and fsc.csv of the last pass.")
@click.option("--motion", type=FOLDER, required=True, help="Folders of points, as MOTION leaves them.")
@click.option("-o", "--output", type=OUTPUT, required=True, help="Folder for the files and their index.csv.")
def main(particles: Path, references: Path, motion: Path, output: Path) -> None:
    """Write each cluster of PARTICLES with its maps for RELION, cryoSPARC and viewers."""
    export_final(read_star(particles), references, output, motion.iterdir())
