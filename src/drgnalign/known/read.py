"""What a user gives to compare with: maps and atomic models, checked."""

from __future__ import annotations

import gzip
import re
import shutil
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from drgnalign.arrays import FloatVolume
from drgnalign.errors import DrgnalignError, InputError, InputNote, InputWarning
from drgnalign.files import suffix_of
from drgnalign.formats.mrc import read_header, read_volume
from drgnalign.fourier import resize_volume
from drgnalign.maps.contour import contour_of
from drgnalign.maps.mask import particle_mask
from drgnalign.maps.read import FACES, refuse_one_value
from drgnalign.particles import USUAL_FILL

MAPS, MODELS, PACKED = (".mrc", ".map", ".ccp4"), (".cif", ".mmcif", ".pdb", ".ent"), ".gz"
# As half maps are called by programs and by the EMDB, and masks: half1, half_map_2, emd_1234_half_map_1, unfil_half1,
# map1_half, mask_refine.
HALF_NAME = re.compile(
    r"(?:^|[_-])(?:half(?:[_-]?map)?[_-]?[12ab]|(?:map|vol|volume)[_-]?[12ab][_-]?half)(?:[_-]|$)", re.IGNORECASE
)
MASK_NAME = re.compile(r"(?:^|[_-])(?:mask|msk)\d*(?:[_-]|$)", re.IGNORECASE)
# Voxels: a smaller map has no orientation.
FEWEST_ACROSS = 16
# Share of the voxels of a box's faces that are density, from which on a particle goes through them; looked at in voxels
# of so many Å, which are even in a noisy map.
CUT, COARSE_VOXEL, FEWEST_VOXELS = 0.02, 10.0, 16


@dataclass(frozen=True)
class KnownMap:
    """A reference map.

    Attributes
    ----------
    name : str
        Of its file, without endings.
    path : Path
    volume : (N, N, N) float32
        Padded to a cube; 0 around its particle, whatever its file has there.
    pixel_size : float
        Å.
    mask : (N, N, N) float32
        Soft, around its particle.
    """

    name: str
    path: Path
    volume: FloatVolume
    pixel_size: float
    mask: FloatVolume


def known_files(paths: Iterable[Path]) -> list[Path]:
    """The maps and models among files and folders, in the order given, those of a folder by name.

    Raises
    ------
    InputError
        A file is neither by its name, or named as half maps are; a folder has none.

    Warns
    -----
    InputNote
        Half maps and masks of a folder are left out.
    """
    found: list[Path] = []
    for path in paths:
        found += _of_folder(path) if path.is_dir() else [_usable(path)]
    return list(dict.fromkeys(found))


def is_model(path: Path) -> bool:
    """Is it an atomic model, by its name?"""
    return _ending(path) in MODELS


def stem(path: Path) -> str:
    """Name of a file without its endings."""
    name = Path(path.name.removesuffix(path.suffix)) if suffix_of(path) == PACKED else Path(path.name)
    return name.stem


def _ending(path: Path) -> str:
    return suffix_of(path.with_suffix("")) if suffix_of(path) == PACKED else suffix_of(path)


def _usable(path: Path) -> Path:
    if _ending(path) not in (*MAPS, *MODELS):
        names = ", ".join((*MAPS, *MODELS))
        raise InputError(path, "is neither a map nor an atomic model by its name", f"give {names}, also with .gz")
    if _ending(path) in MAPS and HALF_NAME.search(stem(path)):
        raise InputError(path, "is a half map by its name", "give the map of both halves, as it was deposited")
    return path


def _of_folder(folder: Path) -> list[Path]:
    inside = sorted(path for path in folder.iterdir() if path.is_file() and _ending(path) in (*MAPS, *MODELS))
    aside = [
        path
        for path in inside
        if _ending(path) in MAPS and (HALF_NAME.search(stem(path)) or MASK_NAME.search(stem(path)))
    ]
    used = [path for path in inside if path not in aside]
    if aside:
        names = ", ".join(path.name for path in aside)
        warnings.warn(f"{folder}: half maps and masks, by their names, are left out: {names}", InputNote, stacklevel=2)
    if not used:
        names = ", ".join((*MAPS, *MODELS))
        raise InputError(
            folder, "holds no map and no atomic model to compare with", f"put {names} there, also with .gz"
        )
    return used


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The file itself, or what gzip made of it, under its own name in a folder that is gone afterwards; errors name the
    file that was given."""
    if suffix_of(path) != PACKED:
        yield path
        return
    with TemporaryDirectory() as folder:
        whole = Path(folder) / path.name.removesuffix(path.suffix)
        try:
            with gzip.open(path, "rb") as packed, whole.open("wb") as file:
                shutil.copyfileobj(packed, file)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(path, f"cannot be unpacked ({error})", "copy or download it again") from error
        try:
            yield whole
        except InputError as error:
            raise InputError(path, error.problem, error.remedy) from error


def read_known_map(path: Path) -> KnownMap:
    """Read a reference map.

    Parameters
    ----------
    path : Path
        MRC, also packed by gzip; of any number of voxels along each axis.

    Returns
    -------
    KnownMap

    Raises
    ------
    InputError
        As `drgnalign.formats.mrc.read_volume`; it is of a crystal's cell, all its voxels are alike, or nothing stands
        out of its background.

    Warns
    -----
    InputWarning
        Density goes through the faces of its box.
    """
    with unpacked(path) as whole:
        group = read_header(whole).space_group
        if group > 1:
            problem = f"is the unit cell of a crystal (space group {group}), not a map of one particle"
            raise InputError(whole, problem, "give the atomic model in its place")
        volume, pixel_size = read_volume(whole)
        if min(volume.shape) < FEWEST_ACROSS:
            problem = f"is {min(volume.shape)} voxels across: too small to be compared"
            raise InputError(whole, problem, f"give a map of {FEWEST_ACROSS} voxels or more")
        refuse_one_value(whole, float(volume.min()), float(volume.max()))
    cube = _cube(volume)
    _tell_cut(path, volume, pixel_size)
    mask = mask_around(path, cube, pixel_size)
    return KnownMap(stem(path), path, cube - np.float32(level_around(cube, mask)), pixel_size, mask)


def level_around(volume: FloatVolume, mask: FloatVolume) -> float:
    """Mean of a map in the soft edge of its mask: without it the masked map has no step there, nor the map's box one
    wherever it is laid."""
    edge = (mask > 0) & (mask < 0.5)
    return float(volume[edge].mean(dtype=np.float64)) if edge.any() else 0.0


def mask_around(path: Path, volume: FloatVolume, pixel_size: float) -> FloatVolume:
    """The particle's mask in a map whose box it fills as usual.

    Raises
    ------
    InputError
        Nothing stands out of the background.
    """
    try:
        return particle_mask(volume, pixel_size, USUAL_FILL * len(volume) * pixel_size)
    except DrgnalignError as error:
        problem = "nothing in this map stands out of its background"
        raise InputError(
            path, problem, "give a map of one particle with white density and some solvent around"
        ) from error


def _cube(volume: FloatVolume) -> FloatVolume:
    """Padded with what is at its borders to a cube, centred where it was."""
    if len(set(volume.shape)) == 1:
        return volume
    side = max(volume.shape) + max(volume.shape) % 2
    around = np.median([float(np.median(volume[face])) for face in FACES])
    cube = np.full((side,) * 3, around, np.float32)
    starts = [side // 2 - n // 2 for n in volume.shape]
    cube[tuple(slice(s, s + n) for s, n in zip(starts, volume.shape, strict=True))] = volume
    return cube


def _tell_cut(path: Path, volume: FloatVolume, pixel_size: float) -> None:
    """Warn of density that goes through the faces of a box: its particle is not whole."""
    if len(set(volume.shape)) > 1:
        return
    coarse = max(2 * round(0.5 * len(volume) * pixel_size / COARSE_VOXEL), FEWEST_VOXELS)
    smooth = resize_volume(volume, min(coarse, len(volume)))
    contour = contour_of(smooth, np.ones(smooth.shape, np.bool_))
    # as much of noise is as far below the background
    opposite = 2 * float(np.median(smooth)) - contour
    share = float(np.mean([(smooth[face] > contour).mean() - (smooth[face] < opposite).mean() for face in FACES]))
    if share > CUT:
        what = f"density goes through the faces of its box ({100 * share:.0f} % of them): the box is smaller than what"
        remedy = "is in it, or a part of something larger; what lies outside counts as missing"
        warnings.warn(f"{path}: {what} {remedy}", InputWarning, stacklevel=3)
