"""A linear latent model's folder: what FIT leaves for embedding, clustering, decoding, and the next round's fit.

==============================  =====================================================================================
``mean_half1.mrc``, ``_half2``  V₀ of each half set, on the grid of the images for assignment, unfiltered
``component_KK_half1.mrc``, …   U_KK, in standard deviations of the particles
``z.pkl``                       latent means, one row a particle, as cryoDRGN's
``ind.pkl``                     rows that it was fitted to; none where to all
``known.npz``                   of each particle what its image says of z: ``linear`` (N, q) and the lower triangle of
                                ``quadratic`` (N, q (q + 1)/2), as `drgnalign.heterogeneity.known.Known`; ``labels``
                                (N,) of the points, 0 of particles that were left out, and ``places`` (K, q); where
                                particles move, ``path`` and ``path_error`` (N,), as the columns ``drgnPath…``, NaN of
                                who is left out or takes no part, and ``nodes`` (M, q) of the curve; else none of them
``linear.json``                 how it was fitted, and what it found (`drgnalign.run.records.LinearRecord`)
==============================  =====================================================================================
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drgnalign.arrays import FloatArray, IntArray
from drgnalign.errors import InputError
from drgnalign.files import atomic_path
from drgnalign.formats.mrc import read_volume, write_volume
from drgnalign.heterogeneity.known import Known
from drgnalign.run.latent import IMAGES, TRAINED_ON, Z
from drgnalign.run.state import HALF_MAPS, beside

MEAN, COMPONENT = "mean", "component_"
KNOWN, RECORD = "known.npz", "linear.json"
# Arrays of a motion.
MOTION = ("nodes", "path", "path_error")


class Moving(NamedTuple):
    """A motion's curve through latent space, and where on it particles are.

    Attributes
    ----------
    nodes : (M, q) float64
    along, errors : (N,) float64
        0 … 1, and the standard deviation of that; NaN = left out.
    """

    nodes: FloatArray
    along: FloatArray
    errors: FloatArray


class Found(NamedTuple):
    """What images say of the latent variables, and the points and the motion that describe it.

    Attributes
    ----------
    known : Known
    labels : (N,) int64
        0 = left out.
    places : (K, q) float64
    motion : Moving or None
    """

    known: Known
    labels: IntArray
    places: FloatArray
    motion: Moving | None = None


def write_model(volumes: dict[int, NDArray[np.float32]], pixel_size: float, folder: Path) -> None:
    """Write the maps (1 + q, N, N, N) of each half set."""
    for half, ending in enumerate(HALF_MAPS, start=1):
        for name, volume in zip(_names(len(volumes[half]) - 1), volumes[half], strict=True):
            write_volume(beside(folder / name, ending), volume, pixel_size)


def read_model(folder: Path) -> tuple[dict[int, NDArray[np.float32]], float]:
    """The maps (1 + q, N, N, N) of each half set, and their pixel size in Å.

    Raises
    ------
    InputError
        There is none, or a map is missing.
    """
    number = len(list(folder.glob(f"{COMPONENT}*{HALF_MAPS[0]}")))
    if not number:
        raise InputError(folder, "there is no linear latent model in it", "run again with -resume")
    read = {
        half: [read_volume(beside(folder / name, ending)) for name in _names(number)]
        for half, ending in enumerate(HALF_MAPS, start=1)
    }
    return {half: np.stack([volume for volume, _ in of_half]) for half, of_half in read.items()}, read[1][0][1]


def _names(components: int) -> list[str]:
    return [MEAN, *(f"{COMPONENT}{number:02d}" for number in range(1, components + 1))]


def write_found(found: Found, folder: Path) -> None:
    """Write what images say of the latent variables."""
    rows, columns = np.tril_indices(found.known.linear.shape[1])
    moving: dict[str, Any] = {} if found.motion is None else dict(zip(MOTION, found.motion, strict=True))
    with atomic_path(folder / KNOWN) as temporary:
        np.savez(
            temporary,
            linear=found.known.linear.astype(np.float32),
            quadratic=found.known.quadratic[:, rows, columns].astype(np.float32),
            labels=found.labels,
            places=found.places,
            **moving,
        )


def take_latent(folder: Path, latent: Path) -> None:
    """Copy from a model's folder what a latent folder has of a training: latent variables, and whose they are."""
    for name in (Z, TRAINED_ON, IMAGES):
        if (folder / name).is_file():
            shutil.copy(folder / name, latent)


def read_labels(folder: Path, count: int) -> IntArray:
    """Of the points that `count` particles are at (N,); 0 = left out. What their images say besides is not read.

    Raises
    ------
    InputError
        They are missing, broken, or of another number of particles.
    """
    (labels,) = _read(folder, count, "labels")
    return labels


def read_motion(folder: Path, count: int) -> Moving:
    """Where `count` particles are on the motion's path; errors as of `read_labels`, also where none was found."""
    return Moving(*_read(folder, count, *MOTION))


def _read(folder: Path, count: int, *names: str) -> list[NDArray[Any]]:
    """Some of the arrays of ``known.npz``."""
    path = folder / KNOWN
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found, of = [arrays[name] for name in names], len(arrays["labels"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(path, f"cannot be read ({error})", "run again with -resume") from error
    if of != count:
        raise InputError(path, f"it is of {of} particles, not of {count}", "run again with -resume")
    return found


def read_found(folder: Path, count: int) -> Found:
    """What the images of `count` particles say of the latent variables; errors as of `read_labels`."""
    linear, triangle, labels, places = _read(folder, count, "linear", "quadratic", "labels", "places")
    linear = np.asarray(linear, np.float64)
    number = linear.shape[1]
    quadratic = np.empty((count, number, number))
    rows, columns = np.tril_indices(number)
    quadratic[:, rows, columns] = quadratic[:, columns, rows] = triangle
    return Found(Known(linear, quadratic), labels, places)


def mixed(volumes: dict[int, NDArray[np.float32]], z: ArrayLike) -> NDArray[np.float32]:
    """Maps (M, N, N, N) at points of latent space (M, q), of both half sets."""
    mean = np.mean([of_half for of_half in volumes.values()], axis=0)
    return (mean[0] + np.tensordot(np.asarray(z), mean[1:], 1)).astype(np.float32)
