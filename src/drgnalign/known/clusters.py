"""The maps that are compared: of a run's round, or files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from drgnalign.arrays import FloatVolume
from drgnalign.errors import InputError
from drgnalign.formats.mrc import read_header
from drgnalign.known.read import KnownMap, is_model, known_files, read_known_map, unpacked
from drgnalign.maps.read import read_map
from drgnalign.run.state import CONSENSUS, CURVE, FILTERED, FSC, HALF_MAPS, MAPS, SHARP, beside, cluster_name

NAMES = re.compile(rf"(?:{cluster_name(0)[:-2]}\d+|{CONSENSUS})")


@dataclass(frozen=True)
class ClusterMap:
    """A map that is held against references.

    Attributes
    ----------
    name : str
    volume : (N, N, N) float32
        The mean of its half maps where they are beside it, unfiltered; else as in its file.
    shown : (N, N, N) float32
        As people look at it: sharpened where that map is beside it, else as in its file.
    pixel_size : float
        Å.
    mask : (N, N, N) float32
        Soft, around its own particle.
    halves : tuple of (N, N, N) float32
        Both half maps, or empty.
    resolution : float
        Å; FSC 0.143 of its half maps as its run has it, or Nyquist.
    worth : str or None
        What its half sets are worth (`drgnalign.half_maps`), where its run says so.
    """

    name: str
    volume: FloatVolume
    shown: FloatVolume
    pixel_size: float
    mask: FloatVolume
    halves: tuple[FloatVolume, ...]
    resolution: float
    worth: str | None = None

    @property
    def box(self) -> int:
        """Voxels along an edge."""
        return len(self.volume)


def cluster_files(path: Path) -> list[Path]:
    """The maps in a run's ``round_NN``, ``final`` or a folder of maps; or the file itself.

    Raises
    ------
    InputError
        The folder has no maps of clusters, or the file is none.
    """
    if not path.is_dir():
        if is_model(path):
            raise InputError(path, "is an atomic model, not a map of a cluster", "give it behind the maps")
        return known_files([path])
    found = maps_in(path / MAPS if (path / MAPS).is_dir() else path)
    if not found:
        what = f"holds no maps of clusters ({cluster_name(1)}{FILTERED} …), nor does a folder {MAPS} in it"
        raise InputError(path, what, "give a run's round_NN or final, a folder with maps of such names, or one map")
    return found


def maps_in(folder: Path) -> list[Path]:
    """The maps of a folder's clusters, or of the consensus where it has none of these."""
    found = sorted(one for one in folder.glob(f"*{FILTERED}") if NAMES.fullmatch(one.stem))
    return [one for one in found if one.stem != CONSENSUS] or found


def read_cluster(path: Path) -> ClusterMap:
    """Read a map, and its half maps where they are beside it.

    Raises
    ------
    InputError
        As `drgnalign.known.read.read_known_map`, or half maps of another box.
    """
    shown = read_known_map(path)
    with unpacked(path) as whole:
        cubic = len(set(read_header(whole).shape)) == 1
    if not cubic:
        raise InputError(path, "is no cube", "give the map as it was reconstructed")
    halves = _halves(path, shown)
    volume = np.asarray(0.5 * (halves[0] + halves[1]), np.float32) if halves else shown.volume
    sharp = path.with_name(f"{path.stem}{SHARP}")
    look = read_map(sharp, len(volume), shown.pixel_size) if sharp.is_file() else shown.volume
    resolution, worth = _told(path, shown.pixel_size)
    return ClusterMap(shown.name, volume, look, shown.pixel_size, shown.mask, halves, resolution, worth)


def _halves(path: Path, shown: KnownMap) -> tuple[FloatVolume, ...]:
    files = [path.with_name(f"{path.stem}{ending}") for ending in HALF_MAPS]
    if not all(file.is_file() for file in files):
        return ()
    return tuple(read_map(file, len(shown.volume), shown.pixel_size) for file in files)


def _told(path: Path, pixel_size: float) -> tuple[float, str | None]:
    """Resolution and what half sets are worth, of the run's table beside the map or above it."""
    for table in (beside(path.with_suffix(""), CURVE), path.parent / FSC, path.parent.parent / FSC):
        rows = pd.read_csv(table) if table.is_file() else pd.DataFrame()
        # without names it is of this map alone
        mine = rows[rows["cluster"] == path.stem] if "cluster" in rows else rows
        if len(mine):
            found, halves = (
                float(mine["resolution_0143_angstrom"].iloc[0]),
                mine.get("halves", pd.Series([None])).iloc[0],
            )
            return found if np.isfinite(found) else 2 * pixel_size, halves if isinstance(halves, str) else None
    return 2 * pixel_size, None
