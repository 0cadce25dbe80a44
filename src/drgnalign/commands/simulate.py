"""drgnalign simulate: a labelled particle set."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
from tqdm import tqdm

from drgnalign.commands import NOT_NEGATIVE, OUTPUT, SHARE, Command, Real, seed_option
from drgnalign.constants import CONSTANTS
from drgnalign.errors import InputError
from drgnalign.simulate import Nuisances, phantom_states, simulate_set, swinging_states

# Of the logarithm: beyond, some images are all and the others nothing.
LOG_SPREAD = Real(0, 3)
# Smaller ones hold no shells to speak of; of larger ones a map takes gigabytes.
BOX = click.IntRange(8, 1024)
PIXEL_SIZE = Real(*CONSTANTS["rlnImagePixelSize"].possible)
# What simulating writes, and would mix with what another set has there.
OF_A_SET = ("particles.star", "truth.star", "particles.mrcs", "state_*.mrc")


@click.command(cls=Command)
@click.argument("out", type=OUTPUT)
@click.option("--particles", type=click.IntRange(2), default=3000, show_default=True)
@click.option("--states", type=click.IntRange(1, 4), help="Default: 3.")
@click.option("--motion", type=click.IntRange(2, 99), help="Places of a lobe that swings, in the stead of states.")
@click.option("--box", type=BOX, default=32, show_default=True, help="Pixels.")
@click.option("--pixel-size", type=PIXEL_SIZE, default=8.0, show_default=True, help="Å.")
@click.option(
    "--snr", type=Real(0, 1e6, min_open=True), default=0.1, show_default=True, help="Signal-to-noise ratio per pixel."
)
@click.option("--rotation-error", type=Real(0, 180), default=4.0, show_default=True, help="Median error, degrees.")
@click.option("--shift-error", type=NOT_NEGATIVE, default=2.0, show_default=True, help="Median error, Å.")
@click.option("--contrast", type=LOG_SPREAD, default=0.0, help="Spread (σ of the logarithm) of images' contrast.")
@click.option("--gain", type=LOG_SPREAD, default=0.0, help="The same of micrographs' grey values.")
@click.option("--ramp", type=Real(0, 1e6), default=0.0, help="Spread of the rise across an image, in σ of the noise.")
@click.option("--empty", type=SHARE, default=0.0, help="Share of images of nothing.")
@click.option("--broken", type=SHARE, default=0.0, help="Share of broken particles.")
@click.option("--random-poses", type=SHARE, default=0.0, help="Share of particles with a random given orientation.")
@click.option("--defocus-error", type=Real(0, 5_000), default=0.0, help="Spread of the given defocus's error, Å.")
@seed_option
def simulate(
    out: Path,
    particles: int,
    states: int | None,
    motion: int | None,
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
    _refuse_mixing(out)
    if states and motion:
        raise InputError(None, "--states and --motion are both given", "give one of them: what moves is in no state")
    specimens = swinging_states(motion) if motion else phantom_states(states or 3)
    if empty + broken + random_poses > 1:
        problem = f"--empty, --broken and --random-poses are {empty:g}, {broken:g} and {random_poses:g}"
        raise InputError(
            None, f"{problem}, more than 1 together", "give shares of all particles; no particle is in two"
        )
    if shift_error > 0.5 * box * pixel_size:
        problem = f"--shift-error is {shift_error:g} Å, and the box is {box * pixel_size:g} Å wide"
        raise InputError(None, problem, "give less than half of the box: particles would lie outside of their images")
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
            specimens,
            [1.0] * len(specimens),
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
    kind = "place" if motion else "state"
    count = f"{len(specimens)} {kind}{'' if len(specimens) == 1 else 's'}"
    truth = "truth.star and state_*.mrc are the truth"
    star = shlex.quote(str(out / "particles.star"))
    following = f"drgnalign reconstruct {star} -o {shlex.quote(str(out / 'map'))}"
    # limits turn and shift the poses that a run begins with, but not where there is junk: it would follow the noise
    off, junk = rotation_error or shift_error, nuisances.empty or nuisances.broken or nuisances.random_poses
    coarse = " --consensus_limits 26,20" if off and not junk else ""
    click.echo(f"A whole run: nextflow run main.nf --input {star} --latent linear --rounds 1{coarse}", err=True)
    click.echo(f"{out}: {particles:,} particles of {count} ({truth}). Next: {following}", err=True)


def _refuse_mixing(out: Path) -> None:
    """Refuse a folder with files of another set: what this one does not write over would seem to be of it."""
    found = sorted(path.name for pattern in OF_A_SET for path in out.glob(pattern))
    if found:
        raise InputError(out, f"holds a set already ({', '.join(found)})", "give another folder, or remove these files")
