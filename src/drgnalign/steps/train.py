"""TRAIN: cryoDRGN on the present poses."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command, seed_option, threads_option
from drgnalign.formats.mrc import read_header
from drgnalign.formats.star import read_star
from drgnalign.heterogeneity.train import Checkpoints, train


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--stack", type=FILE, required=True, help="Down-sampled images in the particles' order.")
@click.option("--last-latent", type=FOLDER, help="Folder of the last training, to go on from its weights.")
@click.option("--zdim", type=int, required=True)
@click.option("--layers", type=int, required=True)
@click.option("--nodes", type=int, required=True)
@click.option("--epochs", type=int, required=True)
@click.option("--batch-size", type=int, required=True)
@click.option("--learning-rate", type=float, required=True)
@click.option("--beta", type=float, help="Default: 1/zdim, as cryoDRGN's.")
@click.option("--checkpoints", type=OUTPUT, required=True, help="Folder that outlives this attempt.")
@click.option("--checkpoints-note", type=OUTPUT, help="File for the name of this training's folder among them.")
@click.option("--checkpoint-epochs", type=click.IntRange(1), required=True, help="So many are trained at a time.")
@seed_option
@threads_option
@click.option("-o", "--output", type=OUTPUT, required=True)
def main(
    particles: Path,
    stack: Path,
    last_latent: Path | None,
    zdim: int,
    layers: int,
    nodes: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    beta: float | None,
    checkpoints: Path,
    checkpoints_note: Path | None,
    checkpoint_epochs: int,
    seed: int,
    threads: int,
    output: Path,
) -> None:
    """Train on PARTICLES and write weights, latent variables and the record of the training."""
    table = read_star(particles)
    box = read_header(stack).shape[1]
    train(
        stack,
        table,
        box,
        table.pixel_size * table.box / box,
        last_latent,
        output,
        zdim=zdim,
        layers=layers,
        nodes=nodes,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        beta=1.0 / zdim if beta is None else beta,
        seed=seed,
        threads=threads,
        checkpoints=Checkpoints(checkpoints, checkpoint_epochs, checkpoints_note),
    )
