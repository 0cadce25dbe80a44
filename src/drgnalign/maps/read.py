"""Maps and masks that a user or an earlier step gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drgnalign.arrays import FloatVolume
from drgnalign.errors import InputError
from drgnalign.files import identity
from drgnalign.formats.mrc import read_header, read_volume
from drgnalign.maps.mask import soft_sphere

# Masks that were filtered or stored with few digits leave 0…1 by a little.
MASK_ROUNDING = 0.01
# Voxels: a sphere of four across; shells of the Fourier transform are one under a mask that is smaller.
LEAST_MASK = 33
# What is stored in a mask of bytes that IMOD shows as 0 and 1.
IMOD_BYTES = (-128.0, -127.0)
# Indices of the six faces of a box.
FACES = [(*[slice(None)] * axis, end) for axis in range(3) for end in (0, -1)]


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
        It has another number of voxels or another voxel size (by more than 0.1 %), or all its voxels are alike.
    """
    volume = _read_sampled(path, box, pixel_size)
    refuse_one_value(path, float(volume.min()), float(volume.max()))
    return volume


def refuse_one_value(path: Path, least: float, most: float) -> None:
    """Refuse a volume whose voxels all have one value."""
    if least == most:
        raise InputError(path, f"all its voxels are {least:g}: it is neither a map nor a mask", "make the file again")


def _read_sampled(path: Path, box: int, pixel_size: float) -> FloatVolume:
    volume, voxel = read_volume(path)
    if volume.shape != (box, box, box) or abs(voxel / pixel_size - 1) > 1e-3:
        sides = " x ".join(map(str, dict.fromkeys(volume.shape[::-1])))
        raise InputError(
            path,
            f"it is {sides} voxels wide at {voxel:g} Å, not {box} at {pixel_size:g} Å",
            "give a cubic map with the images' box and pixel size",
        )
    return np.ascontiguousarray(volume, dtype=np.float32)


def are_one_map(first: Path, second: Path) -> bool:
    """Is it one file by two names, or a copy?"""
    if identity(first) == identity(second):
        return True
    one, other = (read_header(path).map() for path in (first, second))
    # maps differ in their first sections, and need not be read whole
    return one.shape == other.shape and all(np.array_equal(*pair) for pair in zip(one, other, strict=True))


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
        As `read_map`, or values that are not 0…1 (within 0.01), or next to nothing that is inside, or nothing outside,
        or most of the box's faces inside.
    """
    mask = _read_sampled(path, box, pixel_size)
    refuse_as_mask(path, mask)
    return np.clip(mask, 0, 1)


def refuse_as_mask(path: Path, mask: NDArray) -> None:
    """Refuse values that are not those of a mask; see `read_mask`."""
    least, most = float(mask.min()), float(mask.max())
    if least < -MASK_ROUNDING or most > 1 + MASK_ROUNDING:
        problem = f"its values are {least:g} … {most:g}, those of a mask 0 … 1"
        remedy = "scale it so that 1 is inside and 0 outside"
        if (least, most) == IMOD_BYTES:
            remedy += ", as newstack -mode 2 does, or relion_image_handler --add_constant 128: "
            remedy += "IMOD shows its bytes with 128 added"
        raise InputError(path, problem, remedy)
    if most < 0.5:
        raise InputError(path, "no voxel of this mask is inside: none is above 0.5", "give another mask")
    if mask.sum(dtype=np.float64) < LEAST_MASK:
        problem = f"only {(mask > 0.5).sum()} voxels of this mask are inside: no correlation can be told from so few"
        raise InputError(path, problem, "give a mask around the particle, or a part of it")
    if least > 0.5:
        raise InputError(path, "no voxel of this mask is outside: none is below 0.5", "give another mask")
    if np.mean([mask[face].mean(dtype=np.float64) for face in FACES]) > 0.5:
        problem = "most of the box's faces are inside of this mask, as if it were inverted"
        raise InputError(path, problem, "invert it: 1 is inside, 0 outside")


def check_mask(path: Path, box: int, pixel_size: float, diameter: float) -> FloatVolume:
    """Read a mask as `read_mask` does, and refuse one that holds more outside of the particle's sphere of a diameter
    (Å)."""
    mask, sphere = read_mask(path, box, pixel_size), soft_sphere(box, pixel_size, diameter)
    if np.average(mask, weights=1 - sphere) > np.average(mask, weights=sphere):
        problem = f"more of it lies outside of the particle's sphere of {diameter:g} Å than inside"
        advice = "centre it like the maps, invert it (1 is inside, 0 outside), or give a larger --mask_diameter"
        raise InputError(path, problem, advice)
    return mask
