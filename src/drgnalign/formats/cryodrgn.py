"""cryoDRGN's files: poses, CTF parameters and latent variables, all of them Python pickles.

cryoDRGN rotates volume coordinates into the image, so its rotation is the transpose of ours; its translation
is the shift that centres the particle, as a fraction of the box, so minus our displacement.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drgnalign.errors import InputError
from drgnalign.files import atomic_path

if TYPE_CHECKING:
    from drgnalign.particles import Particles

# What pickled numpy arrays of numbers refer to, under the module names of numpy 1 and numpy 2.
NUMPY_GLOBALS = {
    (module, name)
    for package in ("numpy.core", "numpy._core")
    for module, name in (
        (f"{package}.multiarray", "_reconstruct"),
        (f"{package}.multiarray", "scalar"),
        (f"{package}.numeric", "_frombuffer"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    )
}


class _ArrayUnpickler(pickle.Unpickler):
    """Makes numpy arrays and plain containers only; an ordinary pickle can run any code when it is loaded."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in NUMPY_GLOBALS:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return super().find_class(module, name)


def write_poses(path: str | Path, rotations: ArrayLike, displacements: ArrayLike, box: int) -> None:
    """Write cryoDRGN's poses file: a tuple of rotations (N, 3, 3) and translations (N, 2), float32.

    Parameters
    ----------
    path : path
        ``.pkl`` file to write.
    rotations : (N, 3, 3) array_like
        ``R`` with ``x_volume = R x_image``.
    displacements : (N, 2) array_like
        Displacement (x, y) of the particle from the box centre, px.
    box : int
        Edge of the image in which the displacements are measured, px. The fractions that are written do not
        change when the images are down-sampled.

    Raises
    ------
    InputError
        Values that are not finite, or a particle displaced by more than a box.
    """
    transposed = np.swapaxes(np.asarray(rotations, dtype=np.float32), -1, -2)
    translations = -np.asarray(displacements, dtype=np.float32) / box
    if not (np.isfinite(transposed).all() and np.isfinite(translations).all()):
        raise InputError(path, "a pose is not a finite number", "correct the angles and origins of the particles")
    if np.abs(translations).max(initial=0.0) > 1.0:
        raise InputError(
            path,
            f"a particle is displaced by more than its box of {box} px",
            "check the units of the origins: Å in RELION 3.1 files, px in older ones",
        )
    _write_pickle(path, (np.ascontiguousarray(transposed), translations))


def write_ctf(path: str | Path, particles: Particles, box: int, pixel_size: float) -> None:
    """Write cryoDRGN's CTF file: an (N, 9) float32 array.

    Its columns are box (px), pixel size (Å), defocus U and V (Å), astigmatism angle (degrees), voltage (kV),
    spherical aberration (mm), amplitude contrast and phase shift (degrees).

    Parameters
    ----------
    path : path
        ``.pkl`` file to write.
    particles : Particles
    box, pixel_size : int, float
        Of the stack that cryoDRGN will read, px and Å.
    """
    table = particles.table
    optics = particles.optics.iloc[particles.optics_rows()]
    columns = [
        np.full(len(table), box),
        np.full(len(table), pixel_size),
        *(table[f"rlnDefocus{name}"].to_numpy() for name in ("U", "V", "Angle")),
        *(optics[f"rln{name}"].to_numpy() for name in ("Voltage", "SphericalAberration", "AmplitudeContrast")),
        table["rlnPhaseShift"].to_numpy(),
    ]
    _write_pickle(path, np.column_stack(columns).astype(np.float32))


def read_latent(path: str | Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read cryoDRGN's latent variables, ``z.pkl`` or ``z.N.pkl``: two pickles one after the other.

    Parameters
    ----------
    path : path

    Returns
    -------
    mu, logvar : (N, zdim) float32
        Mean and log variance of each particle's latent variable.

    Raises
    ------
    InputError
        The file is not that, or holds anything but arrays of numbers.
    """
    try:
        with Path(path).open("rb") as file:
            mu, logvar = _read_array(file), _read_array(file)
    # A damaged pickle raises almost anything; none of it helps the user more than the sentence below.
    except Exception as error:
        raise InputError(
            path,
            f"cannot be read as cryoDRGN's latent variables ({error})",
            "give the z.pkl of a cryoDRGN training",
        ) from error
    if mu.ndim != 2 or mu.shape != logvar.shape:
        raise InputError(
            path,
            f"means of shape {mu.shape} and log variances of shape {logvar.shape} do not belong together",
            "give the z.pkl of a cryoDRGN training",
        )
    return mu.astype(np.float32), logvar.astype(np.float32)


def _read_array(file: BinaryIO) -> NDArray[Any]:
    array = _ArrayUnpickler(file).load()
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise pickle.UnpicklingError("it does not hold an array of numbers")
    return array


def _write_pickle(path: str | Path, content: object) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        pickle.dump(content, file)
