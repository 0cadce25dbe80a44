"""The noise spectrum: power of the images per Fourier ring and optics group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.ctf import PlainImages
from drgnalign.errors import InputError
from drgnalign.files import atomic_path
from drgnalign.formats.mrc import ImageSource
from drgnalign.fourier import half_plane_multiplicity, radius_grid, raised_cosine, rfft_images, shell_numbers
from drgnalign.particles import Particles

SAMPLE = 5000
BATCH = 256
# Of the disc around the particle, as a share of the box.
EDGE = 0.05
# A coefficient with less power than this share of what rings near its own have is empty, and a ring is with more than
# this share of such coefficients. Rings of real noise had a third of it at least.
EMPTY, EMPTY_SHARE = 0.02, 0.1
# What falls off towards empty rings faster than this power of the radius, over a fifth of it, is interpolation.
CLIFF, STEP = 4, 0.8


def estimate_noise(particles: Particles, source: ImageSource, diameter: float) -> NDArray[np.float64]:
    """Mean |F|² of each Fourier ring outside the particle, from up to 5,000 evenly spread images per optics group.

    The particle is where the box's central disc is; what is around it shows the noise without the signal. Where that
    holds more power than the whole image (neighbours that were cut), the whole image counts. Images of particles that
    are left out do not count, unless a group has no others. A group of which all images are blank gets the mean noise
    of the others.

    Images that were multiplied by their CTF, and their noise with them, become first what they were before
    (`drgnalign.ctf.PlainImages`).

    Rings in which a group's images have no power are 0, and nothing in them counts (`CoefficientPlan.weights`):
    up-sampled images have none beyond their first Nyquist frequency.

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

    Raises
    ------
    InputError
        A group's images have no noise at all around the particle.
    """
    box = particles.box
    around = 1 - raised_cosine(radius_grid(box, 2) - 0.5 * min(diameter / particles.pixel_size, box), EDGE * box)
    whole = np.ones_like(around)
    found, plain = np.zeros((len(particles.optics), box // 2 + 1)), PlainImages(particles, box)
    for group in range(len(particles.optics)):
        mine = particles.optics_rows() == group
        kept = mine & ~particles.left_out()
        rows = np.flatnonzero(kept if kept.any() else mine)
        rows = rows[:: max(1, len(rows) // SAMPLE)]
        power, shown = np.zeros((2, box, box // 2 + 1)), False
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            images = plain.of(source.read(batch), batch)
            shown |= bool((images != images[:, :1, :1]).any())
            for region, total in zip((around, whole), power, strict=True):
                background = np.average(images, axis=(1, 2), weights=np.broadcast_to(region, images.shape))
                transforms = rfft_images((images - background[:, None, None]) * region)
                total += np.sum(np.abs(transforms) ** 2, axis=0) / ((region**2).mean() * len(rows))
        means = np.stack([_ring_means(region) for region in power])
        # the windowed images' power leaks into rings that have none
        found[group] = np.where(_with_power(power[1]), means.min(axis=0), 0.0)
        if shown and not found[group].any():
            problem = f"images of optics group {particles.optics['rlnOpticsGroup'].iloc[group]} have no noise"
            raise InputError(particles.path, f"{problem} outside of the particle", "give images that were not masked")
    blank = ~found.any(axis=1)
    if blank.any() and not blank.all():
        found[blank] = found[~blank].mean(axis=0)
    # A uniform background is no noise: the mean of an image counts like the first ring.
    found[:, 0] = found[:, 1]
    return found


def _ring_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean (N//2 + 1,) over each Fourier ring of what a half plane (N, N//2 + 1) holds."""
    box = len(values)
    rings = shell_numbers(box, 2)
    inside = rings <= box // 2
    multiplicity = np.broadcast_to(half_plane_multiplicity(box), rings.shape)[inside]
    return np.bincount(rings[inside], values[inside] * multiplicity) / np.bincount(rings[inside], multiplicity)


def _with_power(power: NDArray[np.float64]) -> NDArray[np.bool_]:
    """In which Fourier rings (N//2 + 1,) images have power, by the mean power (N, N//2 + 1) of each coefficient.

    A ring is empty beside the rings from half its radius on, or beside those up to twice it (images without low
    frequencies). A padded transform is a square, so that rings which lie partly outside are empty too. Interpolated
    images have no sharp end, but fall off steeply: the flank towards empty rings belongs to them.
    """
    box, means = len(power), _ring_means(power)
    rings, count = shell_numbers(box, 2), len(means)
    rows = np.arange(box)[:, None]
    # the Nyquist row and column of an even box are used by nobody
    used = (2 * rows != box) & (2 * np.arange(box // 2 + 1) != box)
    full, level = means > 0, means[1]
    for ring in range(2, count):
        near = slice((ring + 1) // 2, ring)
        if full[near].any():
            level = np.median(means[near][full[near]])
        empty = power[used & (rings == ring)] < EMPTY * level
        full[ring] &= empty.sum() <= max(EMPTY_SHARE * len(empty), 1)
    for ring in range(count - 1, 0, -1):
        near = slice(ring + 1, 2 * ring + 1)
        if full[near].any():
            level = np.median(means[near][full[near]])
        full[ring] &= means[ring] >= EMPTY * level
    for edge in np.flatnonzero(full[:-1] & ~full[1:]):
        for ring in range(edge, 0, -1):
            inner = round(STEP * ring)
            if means[ring] >= (inner / ring) ** CLIFF * means[inner]:
                break
            full[ring] = False
    return full


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
        Not a noise spectrum, or one that lacks an optics group, has another number of shells, or no finite powers.
    """
    table = pd.read_csv(path, float_precision="round_trip")
    if not {"optics_group", "shell", "power"} <= set(table.columns):
        raise InputError(path, "it is not a noise spectrum", "give the noise.csv of these particles, or none")
    if not (np.isfinite(table["power"]) & (table["power"] >= 0)).all():
        raise InputError(path, "it holds powers that are negative or no numbers", "estimate the noise again")
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
