"""EMBED: principal components and UMAP of the latent variables."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from drgnalign.commands import FOLDER, OUTPUT, Command, seed_option
from drgnalign.formats.cryodrgn import read_latent
from drgnalign.heterogeneity.embed import embed
from drgnalign.heterogeneity.train import trained_on
from drgnalign.run.latent import LINEAR, Z
from drgnalign.run.linear import take_latent


@click.command(cls=Command)
@click.option("--training", type=FOLDER, help="Of cryoDRGN. Without it, the latent variables are the linear model's.")
@click.option("--linear", type=FOLDER, help="Of the linear model.")
@click.option("--last-latent", type=FOLDER, help="The last round's folder, whose embedding this one starts from.")
@seed_option
@click.option("-o", "--output", type=OUTPUT, required=True, help="The round's latent folder: models and embedding.")
def main(training: Path | None, linear: Path | None, last_latent: Path | None, seed: int, output: Path) -> None:
    """Embed the latent variables of a training or of a linear model."""
    if linear is not None:
        shutil.copytree(linear, output / LINEAR)
    if training is not None:
        shutil.copytree(training, output, dirs_exist_ok=True)
    elif linear is not None:
        take_latent(linear, output)
    else:
        raise click.UsageError("give --training, --linear, or both")
    z, _ = read_latent(output / Z)
    embed(z, last_latent, seed, output, trained_on(output, len(z)))
