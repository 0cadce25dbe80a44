"""drgnalign train: cryoDRGN at given poses."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from drgnalign.commands import (
    FILE,
    FOLDER,
    OUTPUT,
    POSITIVE,
    Command,
    diameter_option,
    images_option,
    invert_option,
    normalise_option,
    seed_option,
    threads_option,
)
from drgnalign.commands.facts_options import with_facts
from drgnalign.downsample import downsample_stack
from drgnalign.errors import InputError
from drgnalign.files import require_folder
from drgnalign.formats.mrc import ImageSource
from drgnalign.formats.particle_file import Facts
from drgnalign.heterogeneity.train import train as trained
from drgnalign.inputs import open_particles
from drgnalign.run.latent import WEIGHTS, Z


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("-o", "--output", type=OUTPUT, required=True, help="Folder for weights, latent variables and losses.")
@click.option(
    "--last-latent", type=FOLDER, help="Folder of another training of these particles, to go on from its weights."
)
@click.option("--train-box", type=click.IntRange(16), default=128, show_default=True, help="Pixels; even.")
@click.option("--zdim", type=click.IntRange(1), default=8, show_default=True, help="Latent dimensions.")
@click.option("--layers", type=click.IntRange(1), default=3, show_default=True, help="Of encoder and decoder.")
@click.option("--nodes", type=click.IntRange(1), default=256, show_default=True, help="In each layer.")
@click.option("--epochs", type=click.IntRange(1), default=40, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True)
@click.option("--learning-rate", type=POSITIVE, default=1e-4, show_default=True)
@click.option("--beta", type=POSITIVE, help="Weight of the prior. Default: 1/zdim, as cryoDRGN's.")
@images_option
@normalise_option
@with_facts
@invert_option
@diameter_option
@seed_option
@threads_option
def train(
    particles: Path,
    output: Path,
    last_latent: Path | None,
    train_box: int,
    zdim: int,
    layers: int,
    nodes: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    beta: float | None,
    images: Path | None,
    normalise: str,
    facts: Facts,
    invert: str,
    mask_diameter: float | None,
    seed: int,
    threads: int,
) -> None:
    """Train cryoDRGN on PARTICLES at their poses.

    Images are made smaller first; of images of fewer pixels than --train-box the box stays as it is. With --last-latent
    the network has to be that one's: --train-box, --zdim, --layers, --nodes and --learning-rate as they were.
    """
    # as an interruption: what lies about meanwhile goes, and cryoDRGN ends
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    require_folder(output)
    if (output / WEIGHTS).exists():
        raise InputError(output, "has a training already", "choose another folder")
    table, root, _ = open_particles(particles, images, mask_diameter, normalise, facts=facts, invert=invert)
    box = min(train_box, table.box - table.box % 2)
    with TemporaryDirectory(dir=output.absolute().parent, prefix=f".{output.name}_") as folder:
        stack = Path(folder, "images.mrcs")
        pixel_size = downsample_stack(table, ImageSource(table, root), box, stack)
        record = trained(
            stack,
            table,
            box,
            pixel_size,
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
        )
    click.echo(f"{output}: {WEIGHTS} and {Z} after epoch {record.epoch}", err=True)
    click.echo(f"Next: {shlex.join(['drgnalign', 'embed', str(output)])}", err=True)
