"""LIST_STACKS: the stacks that a particle file names."""

from __future__ import annotations

import warnings
from pathlib import Path

import click

from drgnalign.commands import FILE, OUTPUT, Command, passthrough_option
from drgnalign.errors import InputWarning
from drgnalign.files import write_text
from drgnalign.formats.particle_file import Facts
from drgnalign.inputs import stack_names


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--stack", help="Name of the one stack of a file that does not name its images.")
@passthrough_option
@click.option("--ctf", type=FILE, help="cryoDRGN's CTF parameters, where PARTICLES are its poses.")
@click.option("--ind", type=FILE, expose_value=False, help="cryoDRGN's index; all images are of one stack.")
@click.option("--pixel-size", type=float)
@click.option("--voltage", type=float)
@click.option("--cs", type=float)
@click.option("--amplitude-contrast", type=float)
@click.option("-o", "--output", type=OUTPUT, required=True)
def main(
    particles: Path,
    stack: str | None,
    passthrough: tuple[Path, ...],
    ctf: Path | None,
    pixel_size: float | None,
    voltage: float | None,
    cs: float | None,
    amplitude_contrast: float | None,
    output: Path,
) -> None:
    """List the stacks of PARTICLES, one a line."""
    # CHECK_INPUTS tells what the reader warns of
    warnings.simplefilter("ignore", InputWarning)
    facts = Facts(pixel_size, voltage, cs, amplitude_contrast)
    names = stack_names(particles, stack, passthrough, facts, ctf)
    write_text(output, "".join(f"{name}\n" for name in names))
