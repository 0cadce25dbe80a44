"""TAKE_TRAINING: a training of cryoDRGN's that was done before, in place of the first round's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from drgnalign.commands import FILE, OUTPUT, Command
from drgnalign.files import write_text
from drgnalign.formats.star import read_star
from drgnalign.heterogeneity.take import doubt_of_sign, take_training
from drgnalign.run.inputs import InputsRecord
from drgnalign.run.record import read_record


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--weights", type=FILE, required=True, help="weights.N.pkl.")
@click.option("--z", type=FILE, required=True, help="z.N.pkl of the same epoch.")
@click.option("--config", type=FILE, required=True, help="config.yaml of the same training.")
@click.option("--inputs", type=FILE, required=True, help="What was found of the particles, JSON.")
@click.option("--zdim", type=int, required=True)
@click.option("--layers", type=int, required=True)
@click.option("--nodes", type=int, required=True)
@click.option("--learning-rate", type=float, required=True)
@click.option("-o", "--output", type=OUTPUT, required=True)
@click.option("--said", type=OUTPUT, required=True, help="What is to be said on the screen of the run.")
def main(
    particles: Path,
    weights: Path,
    z: Path,
    config: Path,
    inputs: Path,
    zdim: int,
    layers: int,
    nodes: int,
    learning_rate: float,
    output: Path,
    said: Path,
) -> None:
    """Check a training against PARTICLES and write it as TRAIN leaves its own."""
    facts = read_record(InputsRecord, inputs)
    # messages then name the user's file
    table = replace(read_star(particles), path=Path(facts.input))
    settings = {"box": facts.train_box, "zdim": zdim, "layers": layers, "nodes": nodes, "learning_rate": learning_rate}
    record = take_training(weights, z, config, table, settings, output)
    doubt = doubt_of_sign(config, facts.contrast)
    lines = [f"WARNING: {doubt}"] if doubt else []
    lines.append(f"The first round takes the training of {record.taken_from} (epoch {record.epoch}), and trains none")
    write_text(said, "".join(f"{line}\n" for line in lines))
