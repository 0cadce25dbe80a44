"""CHECK_TRAINING: a GPU, or how long training takes without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from drgnalign.commands import FILE, OUTPUT, Command, threads_option
from drgnalign.errors import InputError
from drgnalign.files import write_json, write_text
from drgnalign.formats.mrc import read_header
from drgnalign.formats.star import read_star
from drgnalign.heterogeneity.rehearse import fits_in_memory, gpu_name, in_words, seconds_per_particle


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--stack", type=FILE, required=True, help="Down-sampled images in the particles' order.")
@click.option("--zdim", type=int, required=True)
@click.option("--layers", type=int, required=True)
@click.option("--nodes", type=int, required=True)
@click.option("--batch-size", type=int, required=True)
@click.option("--epochs", type=int, required=True, help="Of all rounds together.")
@click.option("--require-gpu", is_flag=True)
@threads_option
@click.option("--report", type=OUTPUT, required=True, help="What was found, as JSON.")
@click.option("--said", type=OUTPUT, required=True, help="What is to be said on the screen of the run.")
def main(
    particles: Path,
    stack: Path,
    zdim: int,
    layers: int,
    nodes: int,
    batch_size: int,
    epochs: int,
    require_gpu: bool,
    threads: int,
    report: Path,
    said: Path,
) -> None:
    """Say what training on PARTICLES will run on."""
    gpu = gpu_name()
    if gpu is None and require_gpu:
        remedy = "look at --gpu_options, --gpu_queue and CUDA_VISIBLE_DEVICES; --require_gpu false trains without one"
        raise InputError(None, "no GPU was found for training, and --require_gpu asks for one", remedy)
    facts: dict[str, Any] = {"device": "cpu" if gpu is None else "cuda", "gpu": gpu}
    facts["images_in_memory"] = fits_in_memory(stack)
    lines = [f"Training runs on a GPU ({gpu})"]
    if gpu is None:
        table = read_star(particles)
        network = {"zdim": zdim, "layers": layers, "nodes": nodes, "batch_size": batch_size, "threads": threads}
        each = seconds_per_particle(stack, table, read_header(stack).shape[1], **network)
        total = each * len(table) * epochs
        facts |= {"seconds_per_particle": float(f"{each:.3g}"), "estimated_hours": float(f"{total / 3600:.3g}")}
        lines = [
            f"WARNING: no GPU was found: training runs on the CPU, and takes about {in_words(total)} for "
            f"{epochs} epoch{'' if epochs == 1 else 's'} of {len(table):,} particles "
            f"({1000 * each:.3g} ms each, as timed)"
        ]
    if not facts["images_in_memory"]:
        lines.append("The images do not fit into memory: training reads them batch by batch")
    write_json(report, facts)
    write_text(said, "".join(f"{line}\n" for line in lines))
