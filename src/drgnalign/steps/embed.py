"""EMBED: principal components and UMAP of the latent variables."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from drgnalign.commands import FOLDER, OUTPUT, Command, seed_option
from drgnalign.formats.cryodrgn import read_latent
from drgnalign.heterogeneity.embed import embed
from drgnalign.heterogeneity.train import trained_on
from drgnalign.run.latent import Z


@click.command(cls=Command)
@click.argument("training", type=FOLDER)
@click.option("--last-latent", type=FOLDER, help="The last round's folder, whose embedding this one starts from.")
@seed_option
@click.option("-o", "--output", type=OUTPUT, required=True, help="The round's latent folder: training and embedding.")
def main(training: Path, last_latent: Path | None, seed: int, output: Path) -> None:
    """Embed the latent variables of TRAINING."""
    shutil.copytree(training, output)
    z, _ = read_latent(training / Z)
    embed(z, last_latent, seed, output, trained_on(training, len(z)))
