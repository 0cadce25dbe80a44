"""From two half maps to everything that is kept of a reconstruction."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drgnalign.engine.mask import density_outside, particle_mask, soft_sphere
from drgnalign.engine.reference import reliable_part
from drgnalign.errors import InputError
from drgnalign.files import atomic_path, write_text
from drgnalign.formats.mrc import read_volume, write_volume
from drgnalign.fourier import irfft_volume, rfft_volume, shell_numbers
from drgnalign.run.records import MapFigures
from drgnalign.run.state import CURVE, FIGURES, FILTERED, HALF_MAPS, LOCAL_RESOLUTION, OWN_MASK, SHARP, beside
from drgnalign.validation.fsc import FscResult, half_map_fsc
from drgnalign.validation.local_resolution import local_resolution

FloatVolume = NDArray[np.float32]
# Å: amplitudes of proteins follow Guinier's law beyond this; fewer shells than this do not give a slope.
GUINIER_FROM, FEWEST_SHELLS = 10.0, 5
# Masks that were filtered or stored with few digits leave 0…1 by a little.
MASK_ROUNDING = 0.01
# Voxels: a sphere of four across; shells of the Fourier transform are one under a mask that is smaller.
LEAST_MASK = 33
# What is stored in a mask of bytes that IMOD shows as 0 and 1.
IMOD_BYTES = (-128.0, -127.0)


def read_map(path: Path, box: int, pixel_size: float) -> FloatVolume:
    """Read a map that must have a given sampling.

    Parameters
    ----------
    path : Path
    box : int
    pixel_size : float
        Å.

    Returns
    -------
    (box, box, box) float32

    Raises
    ------
    InputError
        It has another number of voxels or another voxel size (by more than 0.1 %).
    """
    volume, voxel = read_volume(path)
    if volume.shape != (box, box, box) or abs(voxel / pixel_size - 1) > 1e-3:
        sides = " x ".join(map(str, dict.fromkeys(volume.shape[::-1])))
        raise InputError(
            path,
            f"it is {sides} voxels wide at {voxel:g} Å, not {box} at {pixel_size:g} Å",
            "give a cubic map with the images' box and pixel size",
        )
    return np.ascontiguousarray(volume, dtype=np.float32)


def read_mask(path: Path, box: int, pixel_size: float) -> FloatVolume:
    """Read a mask that must have a given sampling.

    Parameters
    ----------
    path : Path
    box : int
    pixel_size : float
        Å.

    Returns
    -------
    (box, box, box) float32
        Values 0…1.

    Raises
    ------
    InputError
        As `read_map`, or values that are not 0…1 (within 0.01), or next to nothing that is inside, or nothing outside.
    """
    mask = read_map(path, box, pixel_size)
    least, most = float(mask.min()), float(mask.max())
    if least < -MASK_ROUNDING or most > 1 + MASK_ROUNDING:
        problem = f"its values are {least:g} … {most:g}, those of a mask 0 … 1"
        remedy = "scale it so that 1 is inside and 0 outside"
        if (least, most) == IMOD_BYTES:
            remedy += ", as newstack -mode 2 does: IMOD shows its bytes with 128 added"
        raise InputError(path, problem, remedy)
    if most < 0.5:
        raise InputError(path, "no voxel of this mask is inside: none is above 0.5", "give another mask")
    if mask.sum() < LEAST_MASK:
        problem = f"only {(mask > 0.5).sum()} voxels of this mask are inside: no correlation can be told from so few"
        raise InputError(path, problem, "give a mask around the particle, or a part of it")
    if least > 0.5:
        raise InputError(path, "no voxel of this mask is outside: none is below 0.5", "give another mask")
    return np.clip(mask, 0, 1)


def check_mask(path: Path, box: int, pixel_size: float, diameter: float) -> None:
    """Refuse a mask as `read_mask` does, and one that holds more outside of the particle's sphere of a diameter (Å)."""
    mask, sphere = read_mask(path, box, pixel_size), soft_sphere(box, pixel_size, diameter)
    if np.average(mask, weights=1 - sphere) > np.average(mask, weights=sphere):
        problem = f"more of it lies outside of the particle's sphere of {diameter:g} Å than inside"
        advice = "centre it like the maps, invert it (1 is inside, 0 outside), or give a larger --mask_diameter"
        raise InputError(path, problem, advice)


def write_maps(
    half1: FloatVolume,
    half2: FloatVolume,
    pixel_size: float,
    prefix: Path,
    *,
    mask: FloatVolume | None,
    mask_name: str,
    diameter: float,
    mass_kda: float | None,
    figures: Mapping[str, float | None] | None = None,
    local: bool = False,
) -> FscResult:
    """Write half maps, filtered map, mask and FSC.

    Parameters
    ----------
    half1, half2 : (N, N, N) float32
        Unfiltered half maps.
    pixel_size : float
        Å.
    prefix : Path
        What the names of the files begin with (`drgnalign.run.state`).
    mask : (N, N, N) float32, optional
        Soft mask of the FSC; without it one is made from the maps.
    mask_name : str
        How the records call the mask.
    diameter : float
        Å, of the particle.
    mass_kda : float, optional
    figures : mapping, optional
        How it compares with the consensus: the last ones of `MapFigures`.
    local : bool
        Also write PREFIX_local_resolution.mrc, in Å; it takes a few seconds at 128 px, minutes at 320.

    Returns
    -------
    FscResult
    """
    if mask is None:
        mask = particle_mask(0.5 * (half1 + half2), pixel_size, diameter, mass_kda)
        mask_name = f"{prefix.name}{OWN_MASK}"
        write_volume(prefix.with_name(mask_name), mask, pixel_size)
    fsc = half_map_fsc(half1, half2, pixel_size, mask)
    for ending, half in zip(HALF_MAPS, (half1, half2), strict=True):
        write_volume(beside(prefix, ending), half, pixel_size)
    filtered = wiener_filtered(half1, half2, fsc.corrected)
    write_volume(beside(prefix, FILTERED), filtered, pixel_size)
    b_factor = guinier_b_factor(filtered * mask, pixel_size, fsc.resolution)
    if b_factor is not None:
        write_volume(beside(prefix, SHARP), sharpened(filtered, pixel_size, b_factor), pixel_size)
    if local:
        write_volume(beside(prefix, LOCAL_RESOLUTION), local_resolution(half1, half2, pixel_size, mask), pixel_size)
    table = fsc.table().assign(resolution_0143_angstrom=fsc.resolution, mask=mask_name)
    with atomic_path(beside(prefix, CURVE)) as temporary:
        table.to_csv(temporary, index=False)
    record = MapFigures(
        resolution_angstrom=fsc.resolution,
        reaches_nyquist=fsc.reaches_nyquist,
        mean_fsc=float(fsc.corrected[1:].mean()),
        mask=mask_name,
        density_outside_mask=density_outside(0.5 * (half1 + half2), mask, pixel_size, diameter),
        b_factor_angstrom2=b_factor,
        compared=bool(figures),
        **(figures or {}),
    )
    # with all digits: the records of the pass are made of it
    write_text(beside(prefix, FIGURES), json.dumps(record.written(), indent=2) + "\n")
    return fsc


def wiener_filtered(half1: FloatVolume, half2: FloatVolume, correlation: NDArray[np.float64]) -> FloatVolume:
    """Mean of two half maps, each shell weighted with 2F/(1 + F) of their FSC F.

    Rosenthal & Henderson (2003), J. Mol. Biol. 333, 721, without sharpening.
    """
    box = half1.shape[0]
    reliable = reliable_part(correlation)
    weights = (2 * reliable / (1 + reliable)).astype(np.float32)
    shells = np.minimum(shell_numbers(box, 3), box // 2)
    return irfft_volume(rfft_volume(0.5 * (half1 + half2)) * weights[shells], box).astype(np.float32)


def guinier_b_factor(volume: FloatVolume, pixel_size: float, resolution: float | None) -> float | None:
    """B-factor of a map: slope of the logarithm of its amplitude against the squared frequency, from 10 Å on.

    Rosenthal & Henderson (2003), J. Mol. Biol. 333, 721.

    Parameters
    ----------
    volume : (N, N, N) float32
        Filtered by its FSC, under a mask.
    pixel_size : float
    resolution : float or None
        Å; where the fit ends.

    Returns
    -------
    float or None
        Å², negative where amplitudes fall; None where the map does not reach well beyond 10 Å, so that there is no
        slope to be seen.
    """
    if resolution is None:
        return None
    box = volume.shape[0]
    shells = shell_numbers(box, 3)
    first, last = math.ceil(box * pixel_size / GUINIER_FROM), math.floor(box * pixel_size / resolution)
    if last - first + 1 < FEWEST_SHELLS:
        return None
    power = np.bincount(shells.ravel(), (np.abs(rfft_volume(volume)) ** 2).ravel())[first : last + 1]
    count = np.bincount(shells.ravel())[first : last + 1]
    frequency = np.arange(first, last + 1) / (box * pixel_size)
    return float(4 * np.polyfit(frequency**2, 0.5 * np.log(power / count), 1)[0])


def sharpened(volume: FloatVolume, pixel_size: float, b_factor: float) -> FloatVolume:
    """A map whose fall of amplitudes with frequency is undone: times exp(−B s²/4)."""
    box = volume.shape[0]
    frequency = shell_numbers(box, 3) / (box * pixel_size)
    transform = rfft_volume(volume) * np.exp(-b_factor * frequency**2 / 4).astype(np.float32)
    return irfft_volume(transform, box).astype(np.float32)
