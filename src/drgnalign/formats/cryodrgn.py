"""cryoDRGN's files: poses, CTF parameters, latent variables, indices and labels, all of them Python pickles.

cryoDRGN rotates volume coordinates into the image, so its rotation is the transpose of ours; its translation
is the shift that centres the particle, as a fraction of the box, so minus our displacement. Both are facts of
cryoDRGN 4.3.1 (``parse_pose_star``, ``parse_ctf_star`` and what its loaders accept).
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from drgnalign.arrays import FloatArray, IntArray
from drgnalign.errors import InputError
from drgnalign.files import atomic_path
from drgnalign.formats.pickles import read_pickles
from drgnalign.geometry import matrix_to_euler
from drgnalign.particles import (
    ANGLES,
    DEFOCUS,
    NO_STACK,
    OPTICS_OPTIONS,
    ORIGINS,
    Particles,
    image_names,
    optics_table,
)

# The columns of ctf.pkl: px, Å/px, Å, Å, degrees, kV, mm, fraction, degrees.
CTF_COLUMNS = [
    "rlnImageSize",
    "rlnImagePixelSize",
    *DEFOCUS,
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnPhaseShift",
]
# Largest deviation of R Rᵀ from the unit matrix; single precision gives 1e-6.
ORTHOGONALITY = 1e-3

POSES_REMEDY = "give the poses.pkl of cryodrgn parse_pose_star or parse_pose_csparc (version 4)"
CTF_REMEDY = "give the ctf.pkl of cryodrgn parse_ctf_star or parse_ctf_csparc"
LATENT_REMEDY = "give the z.pkl of a cryoDRGN training"
INDICES_REMEDY = "give the file of cryoDRGN's --ind: a one-dimensional numpy array of the numbers of images, from 0"
LABELS_REMEDY = "give the labels.pkl of cryodrgn analyze: a one-dimensional numpy array of whole numbers"


def read_poses(path: str | Path) -> tuple[FloatArray, FloatArray | None]:
    """Read cryoDRGN's poses file: a tuple of rotations and translations, or rotations alone.

    Parameters
    ----------
    path : path

    Returns
    -------
    rotations : (N, 3, 3) float64
        ``R`` with ``x_volume = R x_image``: the transpose of what is stored.
    translations : (N, 2) float64 or None
        The shift (x, y) that centres the particle, as a fraction of the box, as stored; None where the file has
        none, which cryoDRGN accepts.

    Raises
    ------
    InputError
        The file is not that, a number is not finite, a rotation is none, or a translation exceeds the box, as in
        cryoDRGN's old format, which had px.
    """
    content = read_pickles(path, POSES_REMEDY)[0]
    parts = content if isinstance(content, tuple) else (content,)
    if len(parts) not in (1, 2):
        raise InputError(path, f"holds {len(parts)} objects, not rotations and translations", POSES_REMEDY)
    stored = _real_numbers(path, parts[0], (3, 3), "rotations", POSES_REMEDY)
    _refuse_no_rotations(path, stored)
    rotations = np.ascontiguousarray(np.swapaxes(stored, 1, 2))
    if len(parts) == 1:
        return rotations, None
    translations = _real_numbers(path, parts[1], (2,), "translations", POSES_REMEDY)
    if len(translations) != len(rotations):
        problem = f"holds {len(rotations)} rotations, but {len(translations)} translations"
        raise InputError(path, problem, POSES_REMEDY)
    problem = "the translation is more than a box: it seems to be in px, as in old cryoDRGN, not a fraction of the box"
    remedy = "divide the translations by the box (px), or write the file again with cryodrgn parse_pose_star"
    _refuse_rows(path, np.abs(translations).max(axis=1) > 1.0, problem, remedy)
    return rotations, translations


def read_ctf(path: str | Path) -> pd.DataFrame:
    """Read cryoDRGN's CTF file, an (N, 9) array.

    Parameters
    ----------
    path : path

    Returns
    -------
    DataFrame
        One row a particle, `CTF_COLUMNS`, float64. Single precision comes as the decimal with at most seven digits
        that was stored (1.31, not 1.309999942779541), where there is one.

    Raises
    ------
    InputError
        The file is not that, or a number is not finite or not possible; the first such row is named.
    """
    content = read_pickles(path, CTF_REMEDY)[0]
    numbers = _real_numbers(path, content, (len(CTF_COLUMNS),), "CTF parameters", CTF_REMEDY)
    if content.dtype.itemsize == 4 and content.dtype.kind == "f":
        numbers = _decimals(numbers)
    table = pd.DataFrame(numbers, columns=CTF_COLUMNS)
    box, pixel_size, *_, voltage, _, amplitude_contrast, _ = numbers.T
    for bad, problem in (
        ((box < 1) | (box > 1e6) | (box % 1 != 0), "column 1 is not a box in px"),
        (pixel_size <= 0, "column 2, the pixel size, is not positive"),
        (voltage <= 0, "column 6, the voltage, is not positive"),
        (np.abs(amplitude_contrast) > 1, "column 8, the amplitude contrast, is not a fraction"),
    ):
        _refuse_rows(path, bad, problem, CTF_REMEDY)
    return table


def read_indices(path: str | Path) -> IntArray:
    """Read the numbers of images that cryoDRGN's ``--ind`` selects.

    An array or a list of whole numbers, as cryoDRGN accepts. It takes no sets, and would take a mask of True and
    False for the images 1 and 0.

    Parameters
    ----------
    path : path

    Returns
    -------
    (n,) int64
        From 0, in the order of the file.

    Raises
    ------
    InputError
        The file is not that, or a number is negative or repeated.
    """
    indices = _whole_numbers(path, INDICES_REMEDY)
    _refuse_rows(path, indices < 0, "the number of an image is negative", INDICES_REMEDY)
    repeated = pd.Series(indices).duplicated().to_numpy()
    _refuse_rows(path, repeated, "an image is selected a second time", "remove the repetitions with numpy.unique")
    return indices


def read_labels(path: str | Path) -> IntArray:
    """Read cluster labels, such as the ``labels.pkl`` of ``cryodrgn analyze``.

    Parameters
    ----------
    path : path

    Returns
    -------
    (N,) int64
        As stored: k-means counts from 0; -1 is a particle without a cluster.

    Raises
    ------
    InputError
        The file is not that, or a label is below -1.
    """
    labels = _whole_numbers(path, LABELS_REMEDY)
    _refuse_rows(path, labels < -1, "the label is below -1", LABELS_REMEDY)
    return labels


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
    mu, logvar = read_pickles(path, LATENT_REMEDY, count=2)
    for array in (mu, logvar):
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            raise InputError(path, "does not hold two arrays of numbers", LATENT_REMEDY)
    if mu.ndim != 2 or mu.shape != logvar.shape:
        problem = f"means of shape {mu.shape} and log variances of shape {logvar.shape} do not belong together"
        raise InputError(path, problem, LATENT_REMEDY)
    with np.errstate(over="ignore", invalid="ignore"):
        return mu.astype(np.float32), logvar.astype(np.float32)


def read_cryodrgn(
    poses: str | Path | None,
    ctf: str | Path | None,
    stack: str | None = None,
    *,
    box: float | None = None,
    pixel_size: float | None = None,
    voltage: float | None = None,
    cs: float | None = None,
    amplitude_contrast: float | None = None,
) -> Particles:
    """Particles from cryoDRGN's poses file, its CTF file, or both.

    There is an optics group for every combination of pixel size, box, voltage, spherical aberration and amplitude
    contrast. Origins in Å are the translations times box and pixel size.

    Parameters
    ----------
    poses, ctf : path or None
        One of them at least.
    stack : str, optional
        Name of the one stack whose images the rows describe, in order.
    box, pixel_size, voltage, cs, amplitude_contrast : float, optional
        px, Å/px, kV, mm, fraction: for what no CTF file says. A CTF file's box and pixel size may be those of
        the images at another sampling: where `box` times `pixel_size` is the same edge in Å, the two given count.

    Returns
    -------
    Particles
        Columns that the files do not hold are missing.

    Raises
    ------
    InputError
        A file cannot be read, the two have different numbers of rows, box or pixel size are not known, or a
        value given differs from the CTF file's by more than 0.1 %.
    """
    source = poses if poses is not None else ctf
    if source is None:
        raise InputError(None, "neither poses nor CTF parameters are given", "give --poses, --ctf or both")
    values = (voltage, cs, amplitude_contrast, pixel_size, box)
    given = {label: float(value) for label, value in zip(OPTICS_OPTIONS, values, strict=True) if value is not None}
    rotations, translations = (None, None) if poses is None else read_poses(poses)
    parameters = None if ctf is None else _with_given(ctf, read_ctf(ctf), given)
    if rotations is not None and parameters is not None and len(rotations) != len(parameters):
        problem = f"has {len(rotations)} rows, but {ctf} has {len(parameters)}"
        raise InputError(poses, problem, "give the two files of the same particles")
    if parameters is None:
        _refuse_missing(source, ["rlnImageSize", "rlnImagePixelSize"], given)
        parameters = pd.DataFrame(given, index=pd.RangeIndex(0 if rotations is None else len(rotations)))
    table, optics = _with_optics(parameters)
    name = NO_STACK if stack is None else stack
    table.insert(0, "rlnImageName", image_names(range(1, len(table) + 1), name))
    if rotations is not None:
        table[ANGLES] = np.column_stack(matrix_to_euler(rotations))
        edge = (parameters["rlnImageSize"] * parameters["rlnImagePixelSize"]).to_numpy()
        # cryoDRGN takes particles without translations as centred
        table[ORIGINS] = 0.0 if translations is None else translations * edge[:, None]
    particles = Particles(table, optics, Path(source))
    particles.validate()
    return particles


def write_cryodrgn(particles: Particles, folder: str | Path) -> None:
    """Write ``poses.pkl`` and ``ctf.pkl`` for the images as they are; both appear or none.

    Without a phase shift there is none, as RELION has it.

    Parameters
    ----------
    particles : Particles
    folder : path
        Made if it does not exist; the folder above must.

    Raises
    ------
    InputError
        A column is missing, a value is not finite, a particle is displaced by more than its box, or the folder
        cannot be written.
    """
    folder = Path(folder)
    particles.require_poses()
    particles.require_ctf()
    _refuse_missing(particles.path, list(OPTICS_OPTIONS), particles.optics)
    optics = particles.optics.iloc[particles.optics_rows()]
    box, pixel_size = (optics[label].to_numpy(np.float64) for label in ("rlnImageSize", "rlnImagePixelSize"))
    origins = particles.table[ORIGINS].to_numpy(np.float64)
    particles.refuse_rows(~((box >= 1) & (pixel_size > 0)), "rlnImageSize or rlnImagePixelSize is not positive")
    displacements = -origins / pixel_size[:, None]
    poses = _stored_poses(particles.path, particles.rotations(), displacements, box)
    ctf = _stored_ctf(particles, box, pixel_size)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(folder, f"cannot be made a folder ({error.strerror})", "choose another folder") from error
    if (folder / "poses.pkl").is_dir():
        raise InputError(folder / "poses.pkl", "is a folder", "choose another folder")
    with atomic_path(folder / "poses.pkl") as poses_path, atomic_path(folder / "ctf.pkl") as ctf_path:
        _dump(poses, poses_path)
        _dump(ctf, ctf_path)


def write_poses(path: str | Path, rotations: ArrayLike, displacements: ArrayLike, box: ArrayLike) -> None:
    """Write cryoDRGN's poses file: a tuple of rotations (N, 3, 3) and translations (N, 2), float32.

    Parameters
    ----------
    path : path
        ``.pkl`` file to write.
    rotations : (N, 3, 3) array_like
        ``R`` with ``x_volume = R x_image``.
    displacements : (N, 2) array_like
        Displacement (x, y) of the particle from the box centre, px.
    box : int or (N,) array_like
        Edge of the image in which the displacements are measured, px. The fractions that are written do not
        change when the images are down-sampled.

    Raises
    ------
    InputError
        Values that are not finite, or a particle displaced by more than a box.
    """
    poses = _stored_poses(path, rotations, displacements, box)
    with atomic_path(path) as temporary:
        _dump(poses, temporary)


def write_ctf(path: str | Path, particles: Particles, box: ArrayLike, pixel_size: ArrayLike) -> None:
    """Write cryoDRGN's CTF file: an (N, 9) float32 array.

    Its columns are box (px), pixel size (Å), defocus U and V (Å), astigmatism angle (degrees), voltage (kV),
    spherical aberration (mm), amplitude contrast and phase shift (degrees; 0 where the particles have none).

    Parameters
    ----------
    path : path
        ``.pkl`` file to write.
    particles : Particles
    box, pixel_size : float or (N,) array_like
        Of the stack that cryoDRGN will read, px and Å.

    Raises
    ------
    InputError
        A column is missing or a value is not finite.
    """
    ctf = _stored_ctf(particles, box, pixel_size)
    with atomic_path(path) as temporary:
        _dump(ctf, temporary)


def write_indices(path: str | Path, indices: ArrayLike) -> None:
    """Write the numbers of images (n,), from 0, that cryoDRGN's ``--ind`` selects."""
    with atomic_path(path) as temporary:
        _dump(np.asarray(indices, np.int64), temporary)


def write_latent(path: str | Path, mu: ArrayLike, logvar: ArrayLike) -> None:
    """Write latent variables, means and log variances (N, zdim), as cryoDRGN does (`read_latent`)."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for array in (mu, logvar):
            pickle.dump(np.asarray(array, np.float32), file)


def _stored_poses(
    path: str | Path, rotations: ArrayLike, displacements: ArrayLike, box: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        transposed = np.swapaxes(np.asarray(rotations, dtype=np.float32), -1, -2)
        boxes = np.broadcast_to(np.asarray(box, dtype=np.float32), len(transposed))
        translations = -np.asarray(displacements, dtype=np.float32) / boxes[:, None]
    if not (np.isfinite(transposed).all() and np.isfinite(translations).all()):
        raise InputError(path, "a pose is not a finite number", "correct the angles and origins of the particles")
    outside = np.abs(translations).max(axis=1) > 1.0
    if outside.any():
        raise InputError(
            path,
            f"a particle is displaced by more than its box of {boxes[outside.argmax()]:g} px",
            "check the units of the origins: Å in RELION 3.1 files, px in older ones",
        )
    return np.ascontiguousarray(transposed), translations


def _stored_ctf(particles: Particles, box: ArrayLike, pixel_size: ArrayLike) -> NDArray[np.float32]:
    labels = ["rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"]
    particles.require_ctf()
    _refuse_missing(particles.path, labels, particles.optics)
    table = particles.table.reindex(columns=[*DEFOCUS, "rlnPhaseShift"], fill_value=0.0)
    optics = particles.optics.iloc[particles.optics_rows()]
    columns = {
        "rlnImageSize": np.broadcast_to(box, len(table)),
        "rlnImagePixelSize": np.broadcast_to(pixel_size, len(table)),
        **{label: table[label] for label in table},
        **{label: optics[label] for label in labels},
    }
    with np.errstate(over="ignore"):
        stored = np.column_stack([np.asarray(columns[label], np.float32) for label in CTF_COLUMNS])
    infinite = np.asarray(~np.isfinite(stored).all(axis=1))
    particles.refuse_rows(infinite, "a CTF parameter is not a finite number")
    return stored


def _dump(content: object, path: Path) -> None:
    with path.open("wb") as file:
        pickle.dump(content, file)


def _refuse_rows(path: str | Path, bad: NDArray[np.bool_], problem: str, remedy: str) -> None:
    if bad.any():
        raise InputError(path, f"row {bad.argmax() + 1}: {problem} ({bad.sum()} such rows)", remedy)


def _refuse_missing(path: str | Path, labels: list[str], holder: Any) -> None:
    missing = [label for label in labels if label not in holder]
    options = [OPTICS_OPTIONS[label] for label in missing if label in OPTICS_OPTIONS]
    if missing:
        remedy = f"give {' and '.join(options)}" if options else "give a file with orientations and defocus"
        raise InputError(path, f"does not hold {', '.join(missing)}", remedy)


def _real_numbers(path: str | Path, array: Any, shape: tuple[int, ...], what: str, remedy: str) -> FloatArray:
    """Finite float64 numbers (N, *shape) with N > 0, or an InputError."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise InputError(path, f"holds no array of numbers for the {what}", remedy)
    if array.shape[1:] != shape or array.ndim != len(shape) + 1 or not len(array):
        wanted = ", ".join(("N", *map(str, shape)))
        raise InputError(path, f"the {what} have shape {array.shape}, not ({wanted})", remedy)
    with np.errstate(invalid="ignore"):  # NaN is refused below
        numbers = array.astype(np.float64)
    finite = np.isfinite(numbers).reshape(len(numbers), -1).all(axis=1)
    _refuse_rows(path, np.asarray(~finite), f"the {what} are not finite numbers", remedy)
    return numbers


def _whole_numbers(path: str | Path, remedy: str) -> IntArray:
    content = read_pickles(path, remedy)[0]
    if isinstance(content, list) and all(type(item) is int and abs(item) < 2**63 for item in content):
        content = np.array(content, dtype=np.int64)
    if not isinstance(content, np.ndarray) or content.dtype.kind not in "iu":
        kind = f"numbers of type {content.dtype}" if isinstance(content, np.ndarray) else "something else"
        raise InputError(path, f"holds {kind}, not whole numbers", remedy)
    if content.ndim != 1 or not len(content):
        raise InputError(path, f"holds an array of shape {content.shape}, not (N,)", remedy)
    _refuse_rows(path, content > np.iinfo(np.int64).max, "the number is too large", remedy)
    return content.astype(np.int64)


def _refuse_no_rotations(path: str | Path, matrices: FloatArray) -> None:
    bounded = np.clip(matrices, -2.0, 2.0)  # no square of a huge number overflows; 2 is none of a rotation's
    deviation = np.abs(bounded @ np.swapaxes(bounded, 1, 2) - np.eye(3))
    remedy = "correct the rotations, or write the file again with cryodrgn parse_pose_star"
    oblique = np.asarray((deviation > ORTHOGONALITY).any(axis=(1, 2)))
    _refuse_rows(path, oblique, "the rotation matrix is not orthogonal", remedy)
    mirrored = np.einsum("ni,ni->n", np.cross(bounded[:, 0], bounded[:, 1]), bounded[:, 2]) < 0
    _refuse_rows(path, mirrored, "the matrix is a reflection (determinant -1), not a rotation", remedy)


def _decimals(values: FloatArray) -> FloatArray:
    """The decimals of at most seven digits that single precision stands for; other values stay."""
    magnitude = np.floor(np.log10(np.maximum(np.abs(values), 1e-30)))
    scale = np.array([float(f"1e{digits}") for digits in range(23)])[np.clip(6 - magnitude, 0, 22).astype(int)]
    decimals = np.rint(values * scale) / scale
    return np.where(decimals.astype(np.float32) == values, decimals, values)


def _with_given(path: str | Path, parameters: pd.DataFrame, given: dict[str, float]) -> pd.DataFrame:
    """Compare the CTF file with what the user says; box and pixel size may be of another sampling."""
    sampling = ["rlnImageSize", "rlnImagePixelSize"]
    differs = {label: _differ(parameters[label], value) for label, value in given.items()}
    if set(sampling) <= set(given) and any(differs[label].any() for label in sampling):
        edge = parameters[sampling].prod(axis=1)
        if not _differ(edge, given[sampling[0]] * given[sampling[1]]).any():
            return _with_given(path, parameters.assign(**{label: given[label] for label in sampling}), given)
    for label, bad in differs.items():
        option = OPTICS_OPTIONS[label].split()[0]
        problem = f"{label} is {parameters[label].iloc[bad.argmax()]:g} in the file, but {option} says {given[label]:g}"
        remedy = f"leave {option} out, or correct the file; images of another sampling need --box and --pixel_size"
        _refuse_rows(path, bad, problem, remedy)
    return parameters


def _differ(values: pd.Series, value: float) -> NDArray[np.bool_]:
    return ~np.isclose(values, value, rtol=1e-3)


def _with_optics(parameters: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Particle table and optics table, a group for each combination of what belongs there."""
    labels = [label for label in OPTICS_OPTIONS if label in parameters]
    groups = parameters.groupby(labels, sort=False).ngroup()
    optics = optics_table(parameters[labels], groups)
    optics["rlnImageSize"] = optics["rlnImageSize"].astype(np.int64)
    return parameters.drop(columns=labels).assign(rlnOpticsGroup=groups + 1), optics
