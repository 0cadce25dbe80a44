"""MASK: one mask for a round, which holds what the consensus shows and what any of the clusters does."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command, diameter_option, symmetry_option
from drgnalign.downsample import with_stack
from drgnalign.engine.noise import estimate_noise
from drgnalign.formats.mrc import ImageSource, write_volume
from drgnalign.formats.star import read_star
from drgnalign.heterogeneity.cluster_maps import cluster_maps
from drgnalign.maps.mask import union_mask
from drgnalign.maps.read import read_mask
from drgnalign.run.state import CONSENSUS, OWN_MASK, beside


@click.command(cls=Command)
@click.argument("labelled", type=FILE)
@click.option("--stack", type=FILE, required=True, help="Down-sampled images, in the order of the particles.")
@click.option("--last-references", type=FOLDER, required=True)
@diameter_option
@symmetry_option
@click.option("-o", "--output", type=OUTPUT, required=True)
def main(
    labelled: Path,
    stack: Path,
    last_references: Path,
    mask_diameter: float | None,
    symmetry: str,
    output: Path,
) -> None:
    """Write the mask of the particles in LABELLED, as they are divided into clusters."""
    table = read_star(labelled)
    diameter = table.diameter(mask_diameter)
    mask = read_mask(beside(last_references / CONSENSUS, OWN_MASK), table.box, table.pixel_size)
    coarse = with_stack(table, stack)
    source = ImageSource(coarse, stack.parent)
    noise = estimate_noise(coarse, source, diameter)
    maps = cluster_maps(coarse, source, noise, diameter, symmetry)
    write_volume(output, union_mask(mask, maps, table.pixel_size, diameter), table.pixel_size)
