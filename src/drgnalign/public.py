"""What a notebook needs, as ``import drgnalign``: particles, half maps, poses, FSC, and what the images choose.

The workflow does the same in chunks on many machines; here a set is worked on as a whole, in this process, by the
native engine. Images are read batch by batch, whatever their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import ArrayLike

from drgnalign import inputs
from drgnalign.arrays import FloatVolume, IntArray
from drgnalign.engine.native import NativeEngine
from drgnalign.errors import InputError
from drgnalign.files import require_folder, suffix_of
from drgnalign.formats.mrc import write_volume
from drgnalign.formats.star import write_star
from drgnalign.half_maps import smaller_half
from drgnalign.heterogeneity.assign import AssignmentSettings
from drgnalign.heterogeneity.states import States, assigner_of, find_states
from drgnalign.interface import Chunk, EngineSettings, Reconstruction, References
from drgnalign.maps.mask import particle_mask
from drgnalign.particles import Particles
from drgnalign.stack_names import named_for
from drgnalign.symmetry import point_group
from drgnalign.validation.fsc import FscResult, half_map_fsc


@dataclass(frozen=True)
class Dataset:
    """Particles, and what is needed to read their images.

    Attributes
    ----------
    particles : Particles
        ``particles.table`` has a row a particle, columns as RELION's.
    images : Path
        Folder that image names are relative to.
    diameter : float
        Of the particle, Å.
    symmetry : str
        Its point group.
    """

    particles: Particles
    images: Path
    diameter: float
    symmetry: str = "C1"

    def __len__(self) -> int:
        return len(self.particles)

    def select(self, rows: ArrayLike) -> Dataset:
        """Some of the particles: rows from 0, or a mask (N,) of them."""
        return replace(self, particles=self.particles.select(np.asarray(rows)))


def open_particles(
    path: str | Path, images: str | Path | None = None, diameter: float | None = None, symmetry: str = "C1"
) -> Dataset:
    """Open a star file and look at its images.

    Parameters
    ----------
    path : path
        Of RELION or of drgnalign; other forms become one by `drgnalign convert`.
    images : path, optional
        Folder that image names are relative to. Default: the file's.
    diameter : float, optional
        Of the particle, Å. Default: 85 % of the box.
    symmetry : str
        Point group of the particle.

    Returns
    -------
    Dataset
        With half sets, dealt where the file has none, and the file's labels; images are read as white protein,
        normalised if need be.

    Raises
    ------
    drgnalign.errors.InputError
        Something is wrong with the file or its stacks.
    """
    point_group(symmetry)
    opened = inputs.open_particles(Path(path), None if images is None else Path(images), diameter)
    particles = inputs.as_labelled(opened.particles)
    return Dataset(particles, Path(opened.root).absolute(), particles.diameter(diameter), symmetry)


def write_particles(data: Dataset, path: str | Path) -> None:
    """Write a star file, with names by which the stacks are found from where it lies.

    Parameters
    ----------
    data : Dataset
    path : path
        ``.star``.

    Raises
    ------
    drgnalign.errors.InputError
        The folder is not there, or the name is not that of a star file.
    """
    path = Path(path)
    if suffix_of(path) != ".star":
        raise InputError(path, "particles are written as a star file", "name it .star")
    require_folder(path)
    write_star(named_for([data.particles], path, data.images, None)[0], path)


def reconstruct(data: Dataset, device: str = "cpu") -> Reconstruction:
    """Half maps of all particles that are not left out, at their poses.

    Parameters
    ----------
    data : Dataset
    device : {'cpu', 'cuda'}

    Returns
    -------
    Reconstruction
        ``half1``, ``half2`` (N, N, N), not filtered, white protein; ``pixel_size``, Å.

    Raises
    ------
    drgnalign.errors.InputError
        There are too few particles for maps.
    """
    _require_maps(data)
    with _engine(data, device) as (engine, folder):
        part = folder / "all.part"
        engine.insert(_chunk(data), part)
        return engine.reconstruct([part], folder / "map")


def refine(
    data: Dataset, maps: Reconstruction, limit: float, mask: FloatVolume | None = None, device: str = "cpu"
) -> Dataset:
    """Refine poses locally, each half set against its own map.

    Parameters
    ----------
    data : Dataset
    maps : Reconstruction
        Of `reconstruct`.
    limit : float
        Finest resolution that images are compared at, Å.
    mask : (N, N, N) float32, optional
        Soft mask. Default: made of the maps.
    device : {'cpu', 'cuda'}

    Returns
    -------
    Dataset
        At the refined poses, in the same order.
    """
    _require_maps(data)
    if mask is not None:
        _require_box(mask, maps)
    with _engine(data, device) as (engine, folder):
        volumes = {"half1": maps.half1, "half2": maps.half2} | ({} if mask is None else {"mask": mask})
        paths = {name: folder / f"{name}.mrc" for name in volumes}
        for name, volume in volumes.items():
            write_volume(paths[name], volume, maps.pixel_size)
        references = References(paths["half1"], paths["half2"], paths.get("mask"))
        refined = engine.refine(_chunk(data), references, limit, None)
    return replace(data, particles=refined)


def mask_of(maps: Reconstruction, diameter: float) -> FloatVolume:
    """A soft mask (N, N, N) around the particle, of a diameter in Å; see `drgnalign.maps.mask.particle_mask`."""
    return particle_mask(0.5 * (maps.half1 + maps.half2), maps.pixel_size, diameter)


def fsc(maps: Reconstruction, mask: FloatVolume | None = None) -> FscResult:
    """FSC of two half maps; see `drgnalign.validation.fsc.half_map_fsc`."""
    if mask is not None:
        _require_box(mask, maps)
    return half_map_fsc(maps.half1, maps.half2, maps.pixel_size, mask)


def assign(
    data: Dataset,
    starts: Sequence[ArrayLike],
    limit: float = 14.0,
    k: int | None = None,
    junk: bool = True,
    threads: int = 1,
) -> States:
    """Let the images choose among clusters, and say how many of these are states.

    Parameters
    ----------
    data : Dataset
    starts : sequence of (N,) array_like of int
        Labels to start from, from 1; 0 = in none. Best several, of different numbers of clusters.
    limit : float
        Finest resolution that images are compared at, Å.
    k : int, optional
        Most clusters to keep. Default: all that the images tell apart.
    junk : bool
        Leave out what matches no map.
    threads : int
        Starts that are worked on at the same time.

    Returns
    -------
    States
        ``verdict``; ``kept.assignment`` with ``labels`` (N,), ``clusters`` and ``posteriors`` (N, K).

    Raises
    ------
    drgnalign.errors.InputError
        Labels, limit or numbers cannot be.
    """
    labels = [_labels(start, len(data)) for start in starts]
    if not any(start.any() for start in labels):
        raise InputError(None, "no start has a particle in a cluster", "give labels from 1, in a list: [labels]")
    for name, number in (("k", k), ("threads", threads), ("limit", limit)):
        if number is not None and not number > 0:
            raise InputError(None, f"{name} is {number}", "give a positive number")
    settings = AssignmentSettings(limit, data.diameter, symmetry=data.symmetry, exclude=junk)
    with assigner_of(data.particles, data.images, settings) as assigner:
        return find_states(assigner, labels, k, threads=threads)


def _labels(start: ArrayLike, count: int) -> IntArray:
    """A start as whole numbers, one a particle."""
    try:
        numbers = np.asarray(start, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(None, f"labels to start from are no numbers ({error})", "give numbers from 1") from error
    if numbers.shape != (count,):
        problem = f"labels to start from are of shape {numbers.shape}, where there are {count:,} particles"
        raise InputError(None, problem, "give a list of starts, each with a label a particle: [labels]")
    if not ((numbers >= 0) & (numbers % 1 == 0)).all():
        raise InputError(None, "labels to start from are not all whole numbers from 0", "give 0 to who is in none")
    return numbers.astype(np.int64)


def _require_maps(data: Dataset) -> None:
    if len(data) == 0 or smaller_half(data.particles.select(~data.particles.left_out()).half_sets()) < 1:
        problem = f"{len(data):,} particles have no two half maps: a half set is empty"
        raise InputError(None, problem, "choose others: clusters have the numbers in `clusters`")


def _require_box(mask: FloatVolume, maps: Reconstruction) -> None:
    if np.shape(mask) != maps.half1.shape:
        problem = f"the mask is of shape {np.shape(mask)}, the maps are of {maps.half1.shape}"
        raise InputError(None, problem, "give a mask of the maps' box, such as `mask_of` makes")


@contextmanager
def _engine(data: Dataset, device: str) -> Iterator[tuple[NativeEngine, Path]]:
    """The native engine, and a folder for what it writes meanwhile."""
    with TemporaryDirectory() as folder:
        yield NativeEngine(EngineSettings(symmetry=data.symmetry, device=device)), Path(folder)


def _chunk(data: Dataset) -> Chunk:
    return Chunk(data.particles, data.images, mask_diameter=data.diameter)
