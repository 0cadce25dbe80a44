#!/usr/bin/env python3
"""SPLIT: clusters and chunks of a pass, and the plan of what is done with them."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command
from drgnalign.formats.star import read_star
from drgnalign.split import PassSettings, split_clusters


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--last-references", type=FOLDER, required=True, help="References of the last pass.")
@click.option("--consensus", is_flag=True, help="All particles are one cluster.")
@click.option("--limit", required=True, help="Å, auto or none.")
@click.option("--references", type=click.Choice(["reconstruct", "previous", "decoder", "consensus"]), required=True)
@click.option("--chunk-size", type=click.IntRange(2), required=True)
@click.option("-o", "--output", type=OUTPUT, required=True, help="Folder for chunks and plan.csv.")
def main(
    particles: Path,
    last_references: Path,
    consensus: bool,
    limit: str,
    references: str,
    chunk_size: int,
    output: Path,
) -> None:
    """Split PARTICLES into the chunks of each cluster."""
    settings = PassSettings(consensus, limit, references, chunk_size)
    split_clusters(read_star(particles), last_references, settings, output)


if __name__ == "__main__":
    main()
