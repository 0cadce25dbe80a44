"""Writing cryoSPARC's particle files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from drgnalign.arrays import FloatArray, IntArray
from drgnalign.ctf import lenses, listed_numbers
from drgnalign.errors import InputError
from drgnalign.files import atomic_path
from drgnalign.formats.cryosparc.fields import (
    CONTRAST_OF_SIGN,
    DEFOCUS_FIELDS,
    ENVELOPE_FIELDS,
    EXPOSURE_GROUP,
    FLOAT32_NOISE,
    KEPT_FIELDS,
    KEPT_OF_ROWS,
    OPTICS_FIELDS,
    SAME_ANGLE,
    STRETCH_FIELD,
    TEMPLATE,
    UID,
    Fields,
    Rows,
    euler_angles,
    extended_dtype,
    field_names,
    number_field,
    shortest_decimals,
    text_field,
    warn,
)
from drgnalign.formats.cryosparc.read import unchanged_poses
from drgnalign.formats.labels import first_of
from drgnalign.geometry import euler_to_matrix
from drgnalign.optics import STRETCH, optics_terms
from drgnalign.particles import ANGLES, CRYOSPARC_TERMS, MAGNIFICATION, NO_STACK, ORIGINS, Particles

# Fields of text.
MICROGRAPH = "location/micrograph_path"
PATHS = ("blob/path", MICROGRAPH)
# Columns that a new file has fields for.
HELD = [
    *("rlnImageName", "rlnMicrographName", "rlnOpticsGroup", "rlnPhaseShift", "rlnClassNumber", "rlnRandomSubset"),
    *(*ANGLES, *ORIGINS, *DEFOCUS_FIELDS, *ENVELOPE_FIELDS),
]
# Of `optics_terms`: those that a .cs file has fields for, with signs that are known or that it had before.
WRITTEN = [STRETCH, *ENVELOPE_FIELDS, *KEPT_FIELDS]


def write_cs(particles: Particles, path: str | Path) -> None:
    """Write a cryoSPARC particle file (``.cs``).

    Particles that carry ``cs_rows`` keep all fields of those rows; what their table and optics know replaces
    what is there, and what it does not change keeps its bytes. Others get the fields that cryoSPARC needs:
    ``uid`` (drgnCryosparcUid, else made from row and image name), ``blob``, ``ctf``, and ``alignments3D``
    (``alignments2D`` for particles with rlnAnglePsi alone) if they have poses. The format's precision is float32.

    The file appears under its name only when it is complete; the same particles give the same bytes. As
    cryoSPARC has no class for unassigned particles, rlnClassNumber 0 throughout leaves the class as it is.

    Parameters
    ----------
    particles : Particles
    path : path

    Raises
    ------
    InputError
        A column that is needed is missing, or a value is NaN or does not fit; the images' stack is not known; a
        part of the particles is unassigned; the folder does not exist or cannot be written.

    Warns
    -----
    InputWarning
        Half sets or classes that a new file has no place for; aberrations, and what was done to the images.
    """
    particles.validate()
    values = _values(particles)
    rows = _with_fields(particles, values)
    for field, column in values.items():
        _assign(particles.path, rows, field, column)
    write_rows(rows, path)


def write_rows(rows: Rows, path: str | Path) -> None:
    """Write rows of a ``.cs`` file as they are."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, rows, allow_pickle=False)


def _values(particles: Particles) -> Fields:
    """What the particles know, by field."""
    _refuse_missing(particles)
    values: Fields = {}
    numbers, stacks = particles.image_locations()
    if (stacks == NO_STACK).any():
        raise InputError(particles.path, "does not name the stack of its images", "give --images STACK")
    if UID in particles.table:
        values["uid"] = _table_uids(particles)
    elif particles.cs_rows is None or "uid" not in field_names(particles.cs_rows):
        values["uid"] = _new_uids(particles)
    values["blob/path"] = _path_bytes(particles, stacks)
    values["blob/idx"] = numbers - 1
    values |= _optics_values(particles)
    for label, field in (DEFOCUS_FIELDS | {"rlnPhaseShift": "ctf/phase_shift_rad"}).items():
        if label in particles.table:
            column = _column(particles, label)
            values[field] = np.radians(column) if field.endswith("_rad") else column
    values |= _lens_values(particles) | _alignment_values(particles)
    return values | _kept_values(particles, values)


def _kept_values(particles: Particles, values: Fields) -> Fields:
    """Micrographs, and what was kept of a .cs file, unless the rows have them."""
    table, kept = particles.table, {}
    have = () if particles.cs_rows is None else field_names(particles.cs_rows)
    if "rlnMicrographName" in table and MICROGRAPH not in have:
        kept[MICROGRAPH] = _encoded(table["rlnMicrographName"].astype(str))
    for label, field in KEPT_OF_ROWS.items():
        has_slot = not field.startswith("alignments") or f"{field.partition('/')[0]}/pose" in values
        if label in table and field not in have and has_slot:
            kept[field] = table[label].to_numpy()
    return kept


def _encoded(names: pd.Series) -> NDArray[np.bytes_]:
    codes, unique = pd.factorize(names)
    return np.array([name.encode("utf-8") for name in unique], object)[codes].astype(bytes)


def _lens_values(particles: Particles) -> Fields:
    """Magnification, what was kept of cryoSPARC's own, and B-factors and scales."""
    optics, groups = particles.optics, particles.optics_rows()
    values: Fields = {}
    if set(MAGNIFICATION) & set(optics):
        stretch = np.array([lens.magnification.ravel() for lens in lenses(particles)])
        values[STRETCH_FIELD] = (stretch - np.eye(2).ravel())[groups]
    for label, field in KEPT_FIELDS.items():
        if label in optics:
            listed, count = [listed_numbers(stored) for stored in optics[label]], CRYOSPARC_TERMS[label]
            if not all(len(lengths) == count and np.isfinite(lengths).all() for lengths in listed):
                problem = f"{label} is not a list of {count} numbers, as [a,b], in every optics group"
                raise InputError(particles.path, problem, "correct it, or remove the column")
            values[field] = np.array(listed)[groups]
    for label, field in ENVELOPE_FIELDS.items():
        if label in particles.table or label in optics:
            values[field] = particles.ctf_factors(label)
    return values


def _refuse_missing(particles: Particles) -> None:
    """Refuse particles that lack what a new file needs, or have a part of a pose."""
    table, optics = particles.table, particles.optics
    missing: list[str] = []
    if particles.cs_rows is None:
        particles.require_ctf()
        missing += [label for label in (*OPTICS_FIELDS, "rlnImageSize", "drgnContrast") if label not in optics]
    elif len(particles.cs_rows) != len(table):
        raise InputError(particles.path, "its cs_rows are not one a particle", "read the particles again")
    if _in_plane(table):
        missing += [label for label in ORIGINS if label not in table]
    elif set(ANGLES) & set(table):
        particles.require_poses()
    if missing:
        remedy = "add the columns (drgnContrast: white or dark, as the protein is in the images; in the optics table)"
        raise InputError(particles.path, f"has no {', '.join(missing)}", remedy)


def _in_plane(table: pd.DataFrame) -> bool:
    """Whether the particles are aligned in the plane only."""
    return set(ANGLES) & set(table) == {"rlnAnglePsi"}


def _column(particles: Particles, label: str) -> FloatArray:
    values = pd.to_numeric(particles.table[label], errors="coerce").to_numpy(np.float64)
    particles.refuse_rows(~np.isfinite(values), f"{label} is not a finite number")
    return values


def _whole(particles: Particles, label: str) -> IntArray:
    values = _column(particles, label)
    particles.refuse_rows(values != np.round(values), f"{label} is not a whole number")
    return values.astype(np.int64)


def _table_uids(particles: Particles) -> NDArray[np.uint64]:
    column = particles.table[UID]
    # float64 holds 53 of the 64 bits: such uids would be others
    if column.dtype.kind not in "iu" or column.duplicated().any():
        own = particles.cs_rows is not None
        problem = f"{'its field uid' if own else UID} is not a unique whole number for every particle"
        remedy = "remove the copies in cryoSPARC" if own else "drop the column: the particles get new uids"
        raise InputError(particles.path, problem, remedy)
    return column.to_numpy().astype(np.uint64)


def _new_uids(particles: Particles) -> NDArray[np.uint64]:
    """Unique numbers that row and image name decide."""
    names = particles.table["rlnImageName"].astype(str).to_numpy(object)
    uids = pd.util.hash_array(names) ^ pd.util.hash_array(np.arange(len(names)))
    while (repeated := pd.Series(uids).duplicated().to_numpy()).any():
        uids[repeated] += np.uint64(1)
    return uids


def _path_bytes(particles: Particles, stacks: NDArray[np.object_]) -> NDArray[np.bytes_]:
    """The stacks' names; those that are still the file's own keep their bytes, cryoSPARC's mark with them."""
    codes, names = pd.factorize(stacks)
    encoded = np.array([name.encode("utf-8") for name in names], object)[codes]
    rows = particles.cs_rows
    if rows is not None and "blob/path" in field_names(rows):
        stored = np.array(rows["blob/path"].tolist(), object)
        if rows["blob/path"].dtype.kind == "U":
            stored = np.array([path.encode("utf-8") for path in stored], object)
        encoded = np.where(text_field(particles.path, rows, "blob/path") == stacks, stored, encoded)
    return encoded.astype(bytes)


def _optics_values(particles: Particles) -> Fields:
    """Fields that RELION keeps once an optics group. What differs by noise only stays as it was."""
    optics, groups = particles.optics, particles.optics_rows()
    used = np.unique(groups)
    values: Fields = {}
    fields = OPTICS_FIELDS | {"rlnImageSize": "blob/shape", EXPOSURE_GROUP: "ctf/exp_group_id"}
    if particles.cs_rows is None and EXPOSURE_GROUP not in optics:
        fields["rlnOpticsGroup"] = fields.pop(EXPOSURE_GROUP)
    for label, field in fields.items():
        if label in optics:
            column = pd.to_numeric(optics[label], errors="coerce").to_numpy(np.float64)
            if not np.isfinite(column[used]).all():
                where = "the optics table" if particles.row_names is None else "the file, or leave the rows out"
                name = particles.names_in_file([label])[0]
                raise InputError(particles.path, f"{name} is not a finite number", f"correct {where}")
            values[field] = _unless_noise(particles, field, column[groups])
    if "blob/shape" in values:
        values["blob/shape"] = np.stack([values["blob/shape"]] * 2, axis=1)
    if "drgnContrast" in optics:
        sign = optics["drgnContrast"].map({name: sign for sign, name in CONTRAST_OF_SIGN.items()}).to_numpy(np.float64)
        if np.isnan(sign[used]).any():
            raise InputError(particles.path, "drgnContrast is neither white nor dark", "correct the optics table")
        values["blob/sign"] = sign[groups]
    return values


def _unless_noise(particles: Particles, field: str, values: FloatArray) -> FloatArray:
    if particles.cs_rows is None or field not in field_names(particles.cs_rows) or field not in OPTICS_FIELDS.values():
        return values
    stored = number_field(particles.path, field, particles.cs_rows[field]).astype(np.float64)
    return np.where(np.isclose(stored, values, rtol=FLOAT32_NOISE, atol=0), stored, values)


def _alignment_values(particles: Particles) -> Fields:
    table = particles.table
    labels = {"split": "rlnRandomSubset", "class": "rlnClassNumber"}
    if unchanged_poses(particles):
        return {}
    if not set(ANGLES) & set(table):
        _warn_of_loss(particles, [*ORIGINS, *labels.values()])
        return {}
    _warn_of_loss(particles, [])
    in_plane = _in_plane(table)
    slot = "alignments2D" if in_plane else "alignments3D"
    pixel = _written_pixel_size(particles, slot)
    origins = np.stack([_column(particles, label) for label in ORIGINS], axis=1)
    values: Fields = {
        f"{slot}/psize_A": pixel,
        f"{slot}/shift": origins / pixel[:, None],
        f"{slot}/pose": np.radians(_column(particles, "rlnAnglePsi")) if in_plane else _rotation_vectors(particles),
    }
    if labels["split"] in table:
        halves = _whole(particles, labels["split"])
        particles.refuse_rows(~np.isin(halves, (1, 2)), f"{labels['split']} is neither 1 nor 2")
        values[f"{slot}/split"] = halves - 1
    if labels["class"] in table and (classes := _whole(particles, labels["class"])).any():
        if (classes < 1).any():
            problem = f"{labels['class']} is below 1 for {(classes < 1).sum()} particles, which cryoSPARC cannot say"
            raise InputError(particles.path, problem, "select the particles of one cluster, or those assigned")
        values[f"{slot}/class"] = classes - 1
    return values


def _warn_of_loss(particles: Particles, columns: list[str]) -> None:
    lost: list[str] = []
    if particles.cs_rows is None:
        lost = [label for label in columns if label in particles.table]
        others = [label for label in map(str, particles.table) if label.startswith("rln") and label not in HELD]
        lost += first_of(others)
    lost += [str(term) for term in optics_terms(particles) if term.columns not in WRITTEN and term.matters_at()]
    if lost:
        warn(particles.path, f"{', '.join(lost)} cannot be written to a .cs file: what they say is lost")


def _written_pixel_size(particles: Particles, slot: str) -> FloatArray:
    """Å per px of the shifts (N,): the slot's own where it has one, else the images'; exact in float32."""
    rows = particles.cs_rows
    if rows is not None and f"{slot}/psize_A" in field_names(rows):
        size = shortest_decimals(number_field(particles.path, f"{slot}/psize_A", rows[f"{slot}/psize_A"]))
        if (np.isfinite(size) & (size > 0)).all():
            return size
    if "rlnImagePixelSize" not in particles.optics:
        raise InputError(particles.path, "has no rlnImagePixelSize", "give --pixel_size (Å/px)")
    images = particles.optics["rlnImagePixelSize"].to_numpy(np.float64)
    size = shortest_decimals(images.astype(np.float32))[particles.optics_rows()]
    particles.refuse_rows(~(np.isfinite(size) & (size > 0)), "rlnImagePixelSize is not above 0")
    return size


def _rotation_vectors(particles: Particles) -> NDArray:
    """Poses (N, 3) in radians; those that are still the file's own keep its vectors, which may be longer than π."""
    angles = np.stack([_column(particles, label) for label in ANGLES])
    rows = particles.cs_rows
    vectors = np.zeros((len(particles), 3), np.float32)
    changed: NDArray[np.bool_] = np.ones(len(particles), bool)
    if rows is not None and "alignments3D/pose" in field_names(rows):
        stored = number_field(particles.path, "alignments3D/pose", rows["alignments3D/pose"], (3,))
        read = np.stack(euler_angles(stored.astype(np.float64)))
        changed = np.asarray(~(np.abs(read - angles) < SAME_ANGLE).all(axis=0))  # so that NaN counts as changed
        vectors[~changed] = stored[~changed]
    if changed.any():
        vectors[changed] = scipy.spatial.transform.Rotation.from_matrix(
            euler_to_matrix(*angles[:, changed])
        ).as_rotvec()
    return vectors


def _with_fields(particles: Particles, values: Fields) -> Rows:
    """Rows to fill: the particles' own with the fields that they lack, or new ones with cryoSPARC's defaults."""
    old = np.zeros(len(particles), np.dtype([])) if particles.cs_rows is None else particles.cs_rows
    slots = {field.partition("/")[0] for field in values}
    present = {name.partition("/")[0] for name in field_names(old)}
    new = [
        field
        for field in TEMPLATE
        if field not in field_names(old)
        and (field in values or (field.partition("/")[0] in slots and field.partition("/")[0] not in present))
    ]
    kinds = {field: np.dtype(TEMPLATE[field][0]) for field in new}
    for name in PATHS:
        if name in values:
            width = values[name].dtype
            if name in new or old.dtype[name].kind != "S" or old.dtype[name].itemsize < width.itemsize:
                kinds[name] = width
    if "uid" in field_names(old) and old.dtype["uid"].kind != "u":
        kinds["uid"] = np.dtype(TEMPLATE["uid"][0])
    if not kinds:
        return old.copy()
    rows = np.zeros(len(old), extended_dtype(old.dtype, kinds))
    for name in field_names(old):
        if name not in values or name not in PATHS:
            rows[name] = old[name]
    for field in new:
        rows[field] = TEMPLATE[field][1]
    return rows


def _assign(path: Path, rows: Rows, field: str, values: NDArray) -> None:
    column = rows[field]
    if column.shape != values.shape or column.dtype.kind not in "fiuS":
        problem = f"its field {field} is {column.dtype.str} of shape {column.shape[1:]}, which is not cryoSPARC's"
        raise InputError(path, problem, "export the particles from cryoSPARC again")
    with np.errstate(all="ignore"):
        rows[field] = values
    fits = np.isfinite(column) if column.dtype.kind == "f" else column == values
    if not fits.all():
        raise InputError(path, f"a value does not fit into the field {field} ({column.dtype.str})", "correct the value")
