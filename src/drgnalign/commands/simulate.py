"""drgnalign simulate: a labelled particle set."""

from __future__ import annotations

from pathlib import Path

import click
from tqdm import tqdm

from drgnalign.commands import NOT_NEGATIVE, OUTPUT, Command, seed_option
from drgnalign.simulate import Nuisances, phantom_states, simulate_set

SHARE = click.FloatRange(0, 1)


@click.command(cls=Command)
@click.argument("out", type=OUTPUT)
@click.option("--particles", type=int, default=3000, show_default=True)
@click.option("--states", type=click.IntRange(1, 4), default=3, show_default=True)
@click.option("--box", type=int, default=32, show_default=True, help="Pixels.")
@click.option("--pixel-size", type=float, default=8.0, show_default=True, help="Å.")
@click.option("--snr", type=float, default=0.1, show_default=True, help="Signal-to-noise ratio per pixel.")
@click.option("--rotation-error", type=NOT_NEGATIVE, default=4.0, show_default=True, help="Median error, degrees.")
@click.option("--shift-error", type=NOT_NEGATIVE, default=2.0, show_default=True, help="Median error, Å.")
@click.option("--contrast", type=NOT_NEGATIVE, default=0.0, help="Spread (σ of the logarithm) of images' contrast.")
@click.option("--gain", type=NOT_NEGATIVE, default=0.0, help="The same of micrographs' grey values.")
@click.option("--ramp", type=NOT_NEGATIVE, default=0.0, help="Spread of the rise across an image, in σ of the noise.")
@click.option("--empty", type=SHARE, default=0.0, help="Share of images of nothing.")
@click.option("--broken", type=SHARE, default=0.0, help="Share of broken particles.")
@click.option("--random-poses", type=SHARE, default=0.0, help="Share of particles with a random given orientation.")
@click.option("--defocus-error", type=NOT_NEGATIVE, default=0.0, help="Spread of the given defocus's error, Å.")
@seed_option
def simulate(
    out: Path,
    particles: int,
    states: int,
    box: int,
    pixel_size: float,
    snr: float,
    rotation_error: float,
    shift_error: float,
    contrast: float,
    gain: float,
    ramp: float,
    empty: float,
    broken: float,
    random_poses: float,
    defocus_error: float,
    seed: int,
) -> None:
    """Simulate a labelled particle set into the folder OUT: stack, particles.star, truth.star, true maps."""
    nuisances = Nuisances(
        contrast=contrast,
        gain=gain,
        ramp=ramp,
        empty=empty,
        broken=broken,
        random_poses=random_poses,
        defocus_error=defocus_error,
    )
    with tqdm(total=particles, desc="simulate", unit="particle", disable=None) as progress:
        simulate_set(
            out,
            phantom_states(states),
            [1.0] * states,
            particles,
            box,
            pixel_size,
            snr=snr,
            rotation_error_deg=rotation_error,
            shift_error_angstrom=shift_error,
            nuisances=None if nuisances == Nuisances() else nuisances,
            seed=seed,
            progress=progress.update,
        )
