"""The noise spectrum: power of the images per Fourier ring and optics group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.errors import InputError
from drgnalign.files import atomic_path
from drgnalign.formats.mrc import ImageSource
from drgnalign.fourier import half_plane_multiplicity, radius_grid, raised_cosine, rfft_images, shell_numbers
from drgnalign.particles import Particles

SAMPLE = 5000
BATCH = 256
# Of the disc around the particle, as a share of the box.
EDGE = 0.05


def estimate_noise(particles: Particles, source: ImageSource, diameter: float) -> NDArray[np.float64]:
    """Mean |F|² of each Fourier ring outside the particle, from up to 5,000 evenly spread images per optics group.

    The particle is where the box's central disc is; what is around it shows the noise without the signal. Where that
    holds more power than the whole image (neighbours that were cut), the whole image counts. Images of particles that
    are left out do not count, unless a group has no others.

    Parameters
    ----------
    particles : Particles
    source : ImageSource
        Reads the images.
    diameter : float
        Of the particle, Å; the disc is no larger than the box.

    Returns
    -------
    (groups, box//2 + 1) float64
        σ² in squared grey values of the unnormalised transform, rows as in ``particles.optics``.
    """
    box = particles.box
    rings = shell_numbers(box, 2)
    inside = rings <= box // 2
    multiplicity = np.broadcast_to(half_plane_multiplicity(box), rings.shape)[inside]
    weights = np.bincount(rings[inside], weights=multiplicity)
    around = 1 - raised_cosine(radius_grid(box, 2) - 0.5 * min(diameter / particles.pixel_size, box), EDGE * box)
    whole = np.ones_like(around)
    power = np.zeros((2, len(particles.optics), box // 2 + 1))
    for group in range(len(particles.optics)):
        mine = particles.optics_rows() == group
        kept = mine & ~particles.left_out()
        rows = np.flatnonzero(kept if kept.any() else mine)
        rows = rows[:: max(1, len(rows) // SAMPLE)]
        for start in range(0, len(rows), BATCH):
            images = source.read(rows[start : start + BATCH])
            for region, total in zip((around, whole), power[:, group], strict=True):
                background = np.average(images, axis=(1, 2), weights=np.broadcast_to(region, images.shape))
                transforms = rfft_images((images - background[:, None, None]) * region)
                summed = np.sum(np.abs(transforms) ** 2, axis=0)[inside] * multiplicity
                total += np.bincount(rings[inside], weights=summed) / (region**2).mean()
        if len(rows):
            power[:, group] /= weights * len(rows)
    power = power.min(axis=0)
    # A uniform background is no noise: the mean of an image counts like the first ring.
    power[:, 0] = power[:, 1]
    return power


def write_noise(path: Path, particles: Particles, power: NDArray[np.float64]) -> None:
    """Write a noise spectrum as a table: optics_group, shell, resolution_angstrom, power."""
    groups, shells = power.shape
    shell = np.tile(np.arange(shells), groups)
    with np.errstate(divide="ignore"):
        resolution = particles.box * particles.pixel_size / shell
    table = pd.DataFrame(
        {
            "optics_group": np.repeat(particles.optics["rlnOpticsGroup"].to_numpy(), shells),
            "shell": shell,
            "resolution_angstrom": resolution,
            "power": power.ravel(),
        }
    )
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def read_noise(path: Path, particles: Particles) -> NDArray[np.float64]:
    """Read `write_noise`'s table for the optics groups of `particles`, in their order.

    Raises
    ------
    InputError
        Not a noise spectrum, or one that lacks an optics group or has another number of shells.
    """
    table = pd.read_csv(path, float_precision="round_trip")
    if not {"optics_group", "shell", "power"} <= set(table.columns):
        raise InputError(path, "it is not a noise spectrum", "give the noise.csv of these particles, or none")
    by_group = {group: rows.sort_values("shell")["power"].to_numpy() for group, rows in table.groupby("optics_group")}
    wanted = particles.optics["rlnOpticsGroup"].tolist()
    shells = particles.box // 2 + 1
    for group in wanted:
        if group not in by_group or len(by_group[group]) != shells:
            raise InputError(
                path,
                f"it does not hold the {shells} shells of optics group {group}",
                "estimate the noise of these particles again",
            )
    return np.stack([by_group[group] for group in wanted])
