"""Fields of cryoSPARC's files, and how they are told and checked."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from drgnalign.arrays import FloatArray
from drgnalign.errors import InputError, InputWarning
from drgnalign.formats.packed import refuse_packed
from drgnalign.geometry import matrix_to_euler
from drgnalign.particles import CRYOSPARC_TERMS, DEFOCUS, dropping

Rows = NDArray[np.void]
Fields = dict[str, NDArray]

# A real file has about 100 fields of 40 characters; numpy's own limit of 10,000 is meant for parsing safely.
MAX_HEADER = 100_000
# Whole numbers up to here are exact in float64.
LARGEST_WHOLE = 2**53
# Values of one group may differ by a few last digits of a float32.
FLOAT32_NOISE = 1e-6
# Angles (degrees) that agree so closely are those that were read: float32 resolves 1e-5.
SAME_ANGLE = 1e-9
CONTRAST_OF_SIGN = {-1.0: "dark", 1.0: "white"}
EXPOSURE_GROUP = "drgnCryosparcExpGroup"
UID = "drgnCryosparcUid"

OPTICS_FIELDS = {
    "rlnVoltage": "ctf/accel_kv",
    "rlnSphericalAberration": "ctf/cs_mm",
    "rlnAmplitudeContrast": "ctf/amp_contrast",
    "rlnImagePixelSize": "blob/psize_A",
}
DEFOCUS_FIELDS = dict(zip(DEFOCUS, ("ctf/df1_A", "ctf/df2_A", "ctf/df_angle_rad"), strict=True))
# M − 1, row by row, where M takes spatial frequencies of an image to those of the volume.
STRETCH_FIELD = "ctf/anisomag"
# Lengths in Å whose signs nobody has documented.
KEPT_FIELDS = dict(zip(CRYOSPARC_TERMS, ("ctf/tilt_A", "ctf/trefoil_A", "ctf/tetra_A", "ctf/shift_A"), strict=True))
# Of a particle.
ENVELOPE_FIELDS = {"rlnCtfBfactor": "ctf/bfactor", "rlnCtfScalefactor": "ctf/scale"}

# Of a particle, and of no use here: star files keep them, in columns that begin so, and new .cs files have them again.
KEPT_OF_ROWS = {
    "drgnCryosparcScaleConst": "ctf/scale_const",
    "drgnCryosparcAlpha": "alignments3D/alpha",
    "drgnCryosparcWeight": "alignments3D/weight",
    "drgnCryosparcSymIndex": "sym_expand/idx",
    "drgnCryosparcSourceUid": "sym_expand/src_uid",
}

_ALIGNMENT: dict[str, tuple[str, float]] = {
    "split": ("<u4", 0),
    "shift": ("(2,)<f4", 0),
    "pose": ("(3,)<f4", 0),
    "psize_A": ("<f4", 0),
    "error": ("<f4", 0),
    "error_min": ("<f4", 0),
    "resid_pow": ("<f4", 0),
    "slice_pow": ("<f4", 0),
    "image_pow": ("<f4", 0),
    "cross_cor": ("<f4", 0),
    "alpha": ("<f4", 1),
    "alpha_min": ("<f4", 0),
    "weight": ("<f4", 1),
    "pose_ess": ("<f4", 0),
    "shift_ess": ("<f4", 0),
    "class_posterior": ("<f4", 1),
    "class": ("<u4", 0),
    "class_ess": ("<f4", 1),
}
# What columns are made of, besides alignments.
MADE_OF = {
    *("uid", "blob/path", "blob/idx", "blob/shape", "blob/sign", "ctf/exp_group_id", "ctf/phase_shift_rad"),
    *("location/micrograph_path", "location/center_x_frac", "location/center_y_frac", "location/micrograph_shape"),
    *(*OPTICS_FIELDS.values(), *DEFOCUS_FIELDS.values(), *KEPT_FIELDS.values(), *ENVELOPE_FIELDS.values()),
    *(STRETCH_FIELD, *KEPT_OF_ROWS.values()),
}
# Type and default of the fields of a new file, as in files of cryoSPARC 2 to 4.
TEMPLATE: dict[str, tuple[str, float | str]] = {
    "uid": ("<u8", 0),
    "blob/path": ("S1", ""),
    "blob/idx": ("<u4", 0),
    "blob/shape": ("(2,)<u4", 0),
    "blob/psize_A": ("<f4", 0),
    "blob/sign": ("<f4", 0),
    "blob/import_sig": ("<u8", 0),
    "ctf/type": ("S9", "imported"),
    "ctf/exp_group_id": ("<u4", 0),
    "ctf/accel_kv": ("<f4", 0),
    "ctf/cs_mm": ("<f4", 0),
    "ctf/amp_contrast": ("<f4", 0),
    "ctf/df1_A": ("<f4", 0),
    "ctf/df2_A": ("<f4", 0),
    "ctf/df_angle_rad": ("<f4", 0),
    "ctf/phase_shift_rad": ("<f4", 0),
    "ctf/scale": ("<f4", 1),
    "ctf/scale_const": ("<f4", 0),
    "ctf/shift_A": ("(2,)<f4", 0),
    "ctf/tilt_A": ("(2,)<f4", 0),
    "ctf/trefoil_A": ("(2,)<f4", 0),
    "ctf/tetra_A": ("(4,)<f4", 0),
    "ctf/anisomag": ("(4,)<f4", 0),
    "ctf/bfactor": ("<f4", 0),
    "location/micrograph_path": ("S1", ""),
    "sym_expand/idx": ("<u4", 0),
    "sym_expand/src_uid": ("<u8", 0),
    **{f"alignments3D/{field}": kind for field, kind in _ALIGNMENT.items()},
    **{f"alignments2D/{field}": kind for field, kind in _ALIGNMENT.items()},
    "alignments2D/pose": ("<f4", 0),
}


def load_rows(path: Path) -> Rows:
    if not path.is_file():
        raise InputError(path, "no such file", "check the path")
    refuse_packed(path)
    try:
        # Mapped first: a header that announces more than the file holds is refused before anything is allocated.
        with np.errstate(over="ignore"):
            mapped = np.lib.format.open_memmap(path, mode="r", max_header_size=MAX_HEADER)
        if mapped.dtype.names is None or mapped.ndim != 1 or mapped.dtype.itemsize == 0:
            raise ValueError("not a table of named fields")
        rows = np.array(mapped)
    except Exception as error:  # numpy's header parser fails in as many ways as headers are broken
        remedy = "give a particle file as cryoSPARC exports it (a numpy array without pickled objects)"
        raise InputError(path, f"is not a readable .cs file ({error})", remedy) from error
    if not len(rows):
        raise InputError(path, "has no particles", "give a file with one row an image")
    return rows


def field_names(rows: Rows) -> tuple[str, ...]:
    return rows.dtype.names or ()


def extended_dtype(dtype: np.dtype, fields: Mapping[str, np.dtype]) -> np.dtype:
    """A row's type with fields appended, or changed where it has them."""
    kinds = {name: dtype[name] for name in dtype.names or ()} | dict(fields)
    return np.dtype(list(kinds.items()))


def number_field(path: Path, name: str, values: NDArray, shape: tuple[int, ...] = (), kinds: str = "fiu") -> NDArray:
    """The values of a field, if they are numbers of the shape (N, *shape); whole numbers of type float count as whole,
    but for uids, whose digits such a type does not hold."""
    if kinds == "iu" and values.dtype.kind == "f" and values.shape[1:] == shape and name != "uid":
        odd = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if odd.any():
            refuse_rows(path, odd, f"{name} is {values[odd.argmax()].tolist()}, not a whole number")
        whole = ((np.abs(values) < LARGEST_WHOLE) & (values == np.round(values))).all()
        values = values.astype(np.int64) if whole else values
    if values.dtype.kind not in kinds or values.shape[1:] != shape:
        problem = f"the field {name} is {values.dtype.str} of shape {values.shape[1:]}, where {shape} is usual"
        raise InputError(path, problem, "export the particles from cryoSPARC again")
    return values


def refuse_rows(
    path: Path, bad: NDArray[np.bool_], problem: str, remedy: str = "export the particles from cryoSPARC again"
) -> NoReturn:
    """Raise an InputError that names the first of some bad rows (N,), counted from 1, and how to leave them out."""
    command = dropping(path, bad)
    told = f"row {bad.argmax() + 1}: {problem} ({bad.sum():,} such rows)"
    raise InputError(path, told, f"{remedy}, or leave the rows out: {command}" if command else remedy)


def text_field(path: Path, rows: Rows, name: str) -> NDArray[np.object_]:
    """A field of paths, without cryoSPARC's own mark; few are different, so only those are decoded."""
    if rows[name].dtype.kind not in "SU" or rows[name].ndim != 1:
        raise InputError(path, f"the field {name} is not text", "export the particles from cryoSPARC again")
    codes, raw = pd.factorize(np.array(rows[name].tolist(), object))
    try:
        texts = [text.decode("utf-8") if isinstance(text, bytes) else text for text in raw]
        decoded = [text.removeprefix(">") for text in texts]
    except UnicodeDecodeError as error:
        raise InputError(path, f"the field {name} is not UTF-8 text", "rename the files") from error
    return np.array(decoded, object)[codes]


def shortest_decimals(stored: NDArray, degrees: bool = False) -> FloatArray:
    """The decimals with the fewest places that are stored as the given values, in degrees instead of radians.

    float32 has seven digits: widened to float64, 15301.1 would read 15301.099609375.
    """
    wide = stored.astype(np.float64)
    values = np.degrees(wide) if degrees else wide
    left = np.flatnonzero(np.isfinite(values))
    for places in range(12):
        decimal = np.round(values[left] * 10.0**places) / 10.0**places
        fits = (np.radians(decimal) if degrees else decimal).astype(stored.dtype) == stored[left]
        values[left[fits]] = decimal[fits]
        left = left[~fits]
        if not len(left):
            break
    return values


def euler_angles(pose: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """RELION's angles of rotation vectors; NaN where a vector is not finite."""
    bad = ~np.isfinite(pose.sum(axis=1))
    rot, tilt, psi = matrix_to_euler(
        scipy.spatial.transform.Rotation.from_rotvec(np.where(bad[:, None], 0.0, pose)).as_matrix()
    )
    for angle in (rot, tilt, psi):
        angle[bad] = np.nan
    return rot, tilt, psi


def warn(path: Path, problem: str) -> None:
    warnings.warn(f"{path}: {problem}", InputWarning, stacklevel=2)


def fields_lost(rows: Rows) -> list[str]:
    """What of some rows no column is made of, by slot, unless it is one value for all of them."""
    poses = ("pose", "shift", "psize_A", "class", "split", "class_posterior")
    slots: dict[str, int] = {}
    for name in field_names(rows):
        slot, _, field = name.partition("/")
        if name in MADE_OF or (slot.startswith("alignments") and field in poses):
            continue
        column = rows[name]
        if bool((column != column[0]).any()):
            slots[slot] = slots.get(slot, 0) + 1
    return [f"{slot} ({count} fields)" if count > 1 else f"{slot} (1 field)" for slot, count in slots.items()]
