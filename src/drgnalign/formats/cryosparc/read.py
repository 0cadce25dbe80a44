"""Reading cryoSPARC's particle files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.arrays import FloatArray, IntArray
from drgnalign.errors import InputError
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
    UID,
    Fields,
    Rows,
    euler_angles,
    extended_dtype,
    field_names,
    load_rows,
    number_field,
    refuse_rows,
    shortest_decimals,
    text_field,
    warn,
)
from drgnalign.formats.dropped import kept_rows, refuse_odd_halves
from drgnalign.optics import STRETCH, optics_terms
from drgnalign.particles import (
    ANGLES,
    CRYOSPARC_TERMS,
    MAGNIFICATION,
    NEUTRAL_CTF,
    ORIGINS,
    PIXEL_ORIGINS,
    Particles,
    fill_optics,
    optics_table,
)

# How slots are named that hold the poses of one class each, before its number.
CLASS_SLOTS = ("alignments_class_", "alignments_class_3D_", "alignments_class3D_")
# Two of one value that programs have written with float32.
SAME_FIELD = 1e-5
# rad: single precision leaves a thousandth of a degree beside so many whole turns.
LARGEST_TURN = 100.0


def read_cs(
    path: str | Path,
    passthrough: str | Path | Sequence[str | Path] = (),
    *,
    pixel_size: float | None = None,
    voltage: float | None = None,
    cs: float | None = None,
    amplitude_contrast: float | None = None,
    dropped: Sequence[int] = (),
    keep_pixels: bool = False,
) -> Particles:
    """Read a cryoSPARC particle file (``.cs``), with its passthrough files where the fields are split over several.

    Poses come from ``alignments3D``, else from the most probable class of ``alignments3D_multi`` or
    ``alignments_class_K`` (`CLASS_SLOTS`); the main file's go before a passthrough's, and slots with poses that are not
    known are told. A file with nothing but ``alignments2D``
    has no orientations: its particles get rlnAnglePsi and the origins, no rlnAngleRot and rlnAngleTilt, and an
    InputWarning says so. rlnClassNumber is the class of the slot used, from 1; rlnRandomSubset is split + 1, and
    missing, with a warning, where split is 0 throughout, as in jobs that know no half sets.

    CTF values and pixel sizes are the shortest decimals that are the file's float32 values, so 1.31 and not
    1.309999942779541. Optics groups are cryoSPARC's exposure groups, split further where voltage, Cs, amplitude
    contrast, pixel size, sign or box differ by more than float32 noise, or aberrations differ. ``anisomag`` is RELION's
    magnification matrix less 1; what is kept in a way whose signs are not documented is in the optics table too, as
    drgnCryosparcTilt, Trefoil, Tetra and Shift, which nothing uses.

    Parameters
    ----------
    path : path
    passthrough : path or sequence of path, optional
        Files with further fields, joined by uid; their order may differ, and they may hold more particles. A field
        that several files have is taken from the first of them: the main file, then as they are given. If the main
        file is among them, and a passthrough file in its place, it is found by its name, or by its poses.
    pixel_size, voltage, cs, amplitude_contrast : float, optional
        Å/px, kV, mm, fraction: used where the file does not have them.
    dropped : sequence of int, optional
        Rows, from 0, that are left out before anything is looked at.
    keep_pixels : bool
        Shifts stay in px where their pixel size is not known, instead of being refused.

    Returns
    -------
    Particles
        ``cs_rows`` holds all fields of all files; uid is the column drgnCryosparcUid (uint64).

    Raises
    ------
    InputError
        No such file, not a numpy structured array, or one with pickled objects; a field that is missing or of
        the wrong type; particles that the passthrough file does not have; a value in the file that contradicts
        the one given by more than 0.1 %.

    Warns
    -----
    InputWarning
        Files that contradict each other, or were given in another order; poses in slots that are not known; only 2-D
        alignments; aberrations that are not used; no half sets; shifts without their pixel size; uids that repeat.
    """
    others = [passthrough] if isinstance(passthrough, str | Path) else passthrough
    files = _main_first([(Path(one), load_rows(Path(one))) for one in (path, *others)])
    path, main = files[0]
    rows = main
    for other in files[1:]:
        rows = _joined(path, rows, *other)
    rows = rows[kept_rows(path, len(rows), dropped)] if len(dropped) else rows
    _tell_other_poses(files)
    for field in ("blob/path", "blob/idx"):
        if field not in field_names(rows):
            remedy = "join it with the passthrough file of the same job, which has them: "
            remedy += f"drgnalign select {shlex.quote(str(path))} --passthrough FILE -o joined.cs"
            raise InputError(path, f"has no field {field}", remedy)
    given = {
        "rlnVoltage": voltage,
        "rlnSphericalAberration": cs,
        "rlnAmplitudeContrast": amplitude_contrast,
        "rlnImagePixelSize": pixel_size,
    }
    groups, optics = _optics(path, rows, given)
    columns: Fields = {"rlnImageName": _image_names(path, rows), "rlnOpticsGroup": groups}
    if "uid" in field_names(rows):
        columns[UID] = _uids(path, rows)
        twice = pd.Series(columns[UID]).duplicated().sum()
        if twice:
            warn(path, f"{twice:,} rows have the uid of an earlier row: cryoSPARC takes them for one particle")
    with np.errstate(all="ignore"):  # what is not finite stays in the table, for the checks of the import
        columns |= _ctf_columns(path, rows) | _location_columns(path, rows)
        columns |= _alignment_columns(path, rows, field_names(main), groups, optics, keep_pixels) | _kept_columns(
            path, rows
        )
    particles = Particles(
        pd.DataFrame(columns), optics, path, rows, ["alignments3D/shift"], _names_in_file(path, rows, main)
    )
    particles.validate()
    _warn_of_lens(particles)
    return particles


def _names_in_file(path: Path, rows: Rows, main: Rows) -> dict[str, str]:
    """Fields by the columns that are made of them."""
    slot, _ = _alignment(path, rows, field_names(main))
    poses = dict.fromkeys(ANGLES, f"{slot}/pose") | dict.fromkeys([*ORIGINS, *PIXEL_ORIGINS], f"{slot}/shift")
    return OPTICS_FIELDS | DEFOCUS_FIELDS | ENVELOPE_FIELDS | {"rlnPhaseShift": "ctf/phase_shift_rad"} | poses


def _warn_of_lens(particles: Particles) -> None:
    """Say what of the lens is not used, and what is used without a word of cryoSPARC's makers."""
    if set(MAGNIFICATION) & set(particles.optics):
        problem = f"{STRETCH_FIELD} is used as RELION's {STRETCH}"
        warn(particles.path, f"{problem}, of the CTF too, which cryoSPARC's makers have not documented")
    unused = [term for term in optics_terms(particles) if not term.used and term.matters_at()]
    if unused:
        told = "; ".join(f"{KEPT_FIELDS[term.columns]}, {term}" for term in unused)
        warn(particles.path, f"is kept and not used, as its signs are not documented: {told}")


def _main_first(files: list[tuple[Path, Rows]]) -> list[tuple[Path, Rows]]:
    """Files of a job with its main file first, if another is given first; that is told.

    A passthrough file is one that calls itself so, or has no poses where another has some of its particles' poses and
    contradicts it, or holds some of them only.
    """
    first, rows = files[0]
    for number, (path, mine) in enumerate(files[1:], start=1):
        named = "passthrough" in first.name.lower() and "passthrough" not in path.name.lower()
        if named or (_pose_slots(mine) and not _pose_slots(rows) and _is_of(mine, rows)):
            warn(path, f"is taken as the job's main file, and {first}, which was given first, as a passthrough file")
            return [files[number], *files[:number], *files[number + 1 :]]
    return files


def _is_of(main: Rows, passthrough: Rows) -> bool:
    """Is it a part of the passthrough's particles, or does it contradict it?"""
    if not {"uid"} <= set(field_names(main)) & set(field_names(passthrough)):
        return False
    places = pd.Index(passthrough["uid"]).get_indexer_for(main["uid"])
    if len(places) != len(main) or (places < 0).any():
        return False
    return len(main) < len(passthrough) or bool(_contradictions(main, passthrough, places))


def _pose_slots(rows: Rows) -> list[str]:
    """Slots with orientations."""
    names = (name.partition("/") for name in field_names(rows))
    return [slot for slot, _, field in names if field == "pose" and slot.startswith("alignments") and "2D" not in slot]


def _tell_other_poses(files: list[tuple[Path, Rows]]) -> None:
    """Say whose poses are used where several files have some, in slots of different names."""
    having = [(path, slots) for path, rows in files if (slots := _pose_slots(rows))]
    for path, slots in having[1:]:
        unlike = [slot for slot in slots if slot not in having[0][1]]
        if unlike:
            problem = f"its poses ({', '.join(unlike)}) are not used, but those of {having[0][0]}"
            warn(path, f"{problem} ({', '.join(having[0][1])}); if these are meant, give this file first")


def _contradictions(main: Rows, other: Rows, places: IntArray) -> dict[str, int]:
    """In how many rows of the main file, which are at some places of the other, fields of both have other values."""
    counts = {}
    for name in field_names(main):
        if name == "uid" or name not in field_names(other):
            continue
        mine, theirs = main[name], other[name][places]
        if mine.shape != theirs.shape:
            counts[name] = len(main)
        elif mine.dtype.kind == theirs.dtype.kind == "f":
            unlike = ~np.isclose(mine, theirs, rtol=SAME_FIELD, atol=0, equal_nan=True)
            counts[name] = int(unlike.reshape(len(main), -1).any(axis=1).sum())
        else:
            counts[name] = int((mine != theirs).reshape(len(main), -1).any(axis=1).sum())
    return {name: count for name, count in counts.items() if count}


def _joined(path: Path, main: Rows, passthrough: Path, other: Rows) -> Rows:
    """The main file's rows with the fields that only the passthrough file has; what contradicts it is told."""
    for file, rows in ((path, main), (passthrough, other)):
        if "uid" not in field_names(rows):
            raise InputError(file, "has no field uid, by which the files of a job are joined", "export them again")
    index = pd.Index(_uids(passthrough, other))
    if index.has_duplicates:
        raise InputError(passthrough, "a uid occurs more than once", "export the file from cryoSPARC again")
    found = index.get_indexer(pd.Index(_uids(path, main))).astype(np.int64)
    if (found < 0).any():
        problem = f"has no row for {(found < 0).sum()} of the {len(main)} particles of {path}"
        remedy = "give the passthrough file of the same job; if this one is the main file, give it first"
        raise InputError(passthrough, problem, remedy)
    odd = _contradictions(main, other, found)
    if odd:
        fields = ", ".join(f"{name} in {count:,} rows" for name, count in odd.items())
        problem = f"contradicts {path} in {fields}: the values of {path} are used"
        warn(passthrough, f"{problem}; if those of {passthrough.name} are meant, give that file first")
    # a slot is of one job: fields that only another's has go with other poses
    kept = _pose_slots(main)
    new = [name for name in field_names(other) if name not in field_names(main) and name.split("/")[0] not in kept]
    joined = np.zeros(len(main), extended_dtype(main.dtype, {name: other.dtype[name] for name in new}))
    for name in field_names(main):
        joined[name] = main[name]
    for name in new:
        joined[name] = other[name][found]
    return joined


def _uids(path: Path, rows: Rows) -> NDArray[np.uint64]:
    return number_field(path, "uid", rows["uid"], kinds="iu").astype(np.uint64)


def _image_names(path: Path, rows: Rows) -> NDArray[np.object_]:
    numbers = number_field(path, "blob/idx", rows["blob/idx"], kinds="iu").astype(np.int64) + 1
    stacks = text_field(path, rows, "blob/path")
    return np.array([f"{number:06d}@{stack}" for number, stack in zip(numbers.tolist(), stacks, strict=True)], object)


def _without_noise(values: NDArray) -> FloatArray:
    """Values that differ by no more than float32 noise become the most frequent of them."""
    levels, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    wide = levels.astype(np.float64)
    starts = np.ones(len(levels), bool)
    # written so that NaN is a level of its own, as what is infinite is
    starts[1:] = ~(np.diff(wide) <= FLOAT32_NOISE * np.abs(wide[1:])) | np.isinf(wide[1:])
    frequent = pd.Series(counts).groupby(np.cumsum(starts)).transform("idxmax").to_numpy()
    return shortest_decimals(levels)[frequent][inverse.reshape(-1)]


def _optics(path: Path, rows: Rows, given: dict[str, float | None]) -> tuple[IntArray, pd.DataFrame]:
    """Optics group of each row (N,), from 1, and the optics table."""
    names = field_names(rows)
    columns: Fields = {EXPOSURE_GROUP: np.zeros(len(rows), np.int64)}
    if "ctf/exp_group_id" in names:
        groups = number_field(path, "ctf/exp_group_id", rows["ctf/exp_group_id"], kinds="iu")
        columns[EXPOSURE_GROUP] = groups.astype(np.int64)
    with np.errstate(all="ignore"):
        for label, field in OPTICS_FIELDS.items():
            if field in names:
                columns[label] = _without_noise(number_field(path, field, rows[field]))
    if "blob/shape" in names:
        columns["rlnImageSize"] = _boxes(path, rows)
    if "blob/sign" in names:
        columns["drgnContrast"] = _contrasts(path, rows)
    columns |= _lens_columns(path, rows)
    frame = pd.DataFrame(columns)
    numbers = frame.groupby(list(columns), dropna=False).ngroup().to_numpy(np.int64)
    optics = optics_table(frame, numbers)
    fill_optics(path, optics, given)
    return numbers + 1, optics


def _lens_columns(path: Path, rows: Rows) -> Fields:
    """Magnification, and what is kept of the rest, where it is not neutral."""
    columns: Fields = {}
    if STRETCH_FIELD in field_names(rows):
        away = number_field(path, STRETCH_FIELD, rows[STRETCH_FIELD], (4,))
        _refuse_not_finite(path, STRETCH_FIELD, away)
        if away.any():
            stretch = [shortest_decimals(column) for column in away.T]
            columns |= dict(zip(MAGNIFICATION, (stretch[0] + 1, stretch[1], stretch[2], stretch[3] + 1), strict=True))
    for label, field in KEPT_FIELDS.items():
        if field in field_names(rows):
            lengths = number_field(path, field, rows[field], (CRYOSPARC_TERMS[label],))
            _refuse_not_finite(path, field, lengths)
            if lengths.any():
                unlike, inverse = np.unique(lengths, axis=0, return_inverse=True)
                texts = ["[" + ",".join(map(repr, shortest_decimals(row).tolist())) + "]" for row in unlike]
                columns[label] = np.array(texts, object)[inverse.reshape(-1)]
    return columns


def _refuse_not_finite(path: Path, field: str, values: NDArray) -> None:
    """Refuse rows of a field (N, n) that no option can stand for."""
    odd = ~np.isfinite(values).all(axis=1)
    if odd.any():
        refuse_rows(path, odd, f"{field} is {values[odd.argmax()].tolist()}, which are not finite numbers")


def _boxes(path: Path, rows: Rows) -> IntArray:
    shape = number_field(path, "blob/shape", rows["blob/shape"], (2,), kinds="iu")
    odd = shape[:, 0] != shape[:, 1]
    if odd.any():
        sides = " × ".join(map(str, shape[odd.argmax()]))
        refuse_rows(path, odd, f"the image is {sides} px (blob/shape)", "give square images")
    return shape[:, 0].astype(np.int64)


def _contrasts(path: Path, rows: Rows) -> NDArray[np.object_]:
    sign = number_field(path, "blob/sign", rows["blob/sign"]).astype(np.float64)
    odd = (sign != 1) & (sign != -1)
    if odd.any():
        again = "it has to be 1 or -1: import the particles into cryoSPARC again"
        refuse_rows(path, odd, f"blob/sign is {sign[odd.argmax()]:g}", again)
    return np.where(sign < 0, CONTRAST_OF_SIGN[-1.0], CONTRAST_OF_SIGN[1.0]).astype(object)


def _ctf_columns(path: Path, rows: Rows) -> Fields:
    fields = DEFOCUS_FIELDS | {"rlnPhaseShift": "ctf/phase_shift_rad"}
    # a scale of 0 throughout is none
    fields |= {
        label: field
        for label, field in ENVELOPE_FIELDS.items()
        if field in field_names(rows) and rows[field].any() and (rows[field] != NEUTRAL_CTF[label]).any()
    }
    return {
        label: shortest_decimals(number_field(path, field, rows[field]), degrees=field.endswith("_rad"))
        for label, field in fields.items()
        if field in field_names(rows)
    }


def _kept_columns(path: Path, rows: Rows) -> Fields:
    """What is kept of each particle, where it is not the same 0 or 1 for all."""
    columns: Fields = {}
    for label, field in KEPT_OF_ROWS.items():
        if field in field_names(rows):
            values = number_field(path, field, rows[field])
            if not ((values == 0).all() or (values == 1).all()):
                columns[label] = shortest_decimals(values) if values.dtype.kind == "f" else values
    return columns


def _location_columns(path: Path, rows: Rows) -> Fields:
    columns: Fields = {}
    if "location/micrograph_path" in field_names(rows):
        columns["rlnMicrographName"] = text_field(path, rows, "location/micrograph_path")
    x, y, shape = "location/center_x_frac", "location/center_y_frac", "location/micrograph_shape"
    if {x, y, shape} <= set(field_names(rows)):
        height, width = number_field(path, shape, rows[shape], (2,)).astype(np.float64).T
        columns["rlnCoordinateX"] = number_field(path, x, rows[x]).astype(np.float64) * width
        columns["rlnCoordinateY"] = (1 - number_field(path, y, rows[y]).astype(np.float64)) * height
    return columns


def _alignment_columns(
    path: Path, rows: Rows, main_names: tuple[str, ...], groups: IntArray, optics: pd.DataFrame, keep_pixels: bool
) -> Fields:
    slot, alignment = _alignment(path, rows, main_names)
    if not alignment:
        return {}
    columns: Fields = {}
    if slot == "alignments2D":
        columns["rlnAnglePsi"] = shortest_decimals(number_field(path, f"{slot}/pose", alignment["pose"]), degrees=True)
        warn(path, "has 2-D alignments only: the particles have no rlnAngleRot and rlnAngleTilt, and are no 3-D poses")
    else:
        pose = number_field(path, f"{slot}/pose", alignment["pose"], (3,)).astype(np.float64)
        _refuse_turns(path, f"{slot}/pose", pose)
        columns |= dict(zip(ANGLES, euler_angles(pose), strict=True))
    if "shift" in alignment:
        shift = number_field(path, f"{slot}/shift", alignment["shift"], (2,)).astype(np.float64)
        if keep_pixels and "psize_A" not in alignment and "rlnImagePixelSize" not in optics:
            return columns | dict(zip(PIXEL_ORIGINS, shift.T, strict=True)) | _class_columns(path, slot, alignment)
        pixel = _alignment_pixel_size(path, slot, alignment, shift, optics, groups)
        columns |= dict(zip(ORIGINS, (shift * pixel[:, None]).T, strict=True))
    return columns | _class_columns(path, slot, alignment)


def _refuse_turns(path: Path, field: str, pose: FloatArray) -> None:
    """Refuse rotation vectors (N, 3) of so many turns that what is left of them beside whole ones means nothing."""
    turns = np.abs(pose).max(axis=1, initial=0)
    bad = (turns > LARGEST_TURN) & np.isfinite(turns)
    if bad.any():
        refuse_rows(path, bad, f"{field} turns by {turns[bad][0]:g} rad, beyond {LARGEST_TURN:g}")


def _class_columns(path: Path, slot: str, alignment: Fields) -> Fields:
    """Classes and half sets."""
    columns: Fields = {}
    if "class" in alignment:
        columns["rlnClassNumber"] = (
            number_field(path, f"{slot}/class", alignment["class"], kinds="iu").astype(np.int64) + 1
        )
    if "split" in alignment:
        split = number_field(path, f"{slot}/split", alignment["split"], kinds="iu").astype(np.int64)
        refuse_odd_halves(path, f"{slot}/split", split, (0, 1))
        if np.isin(split, (0, 1)).all() and split.any():
            columns["rlnRandomSubset"] = split + 1
        else:
            warn(path, f"{slot}/split is not a division into two half sets: the particles have no rlnRandomSubset")
    return columns


def read_classes(path: Path) -> tuple[NDArray[np.uint64], IntArray]:
    """Uids (N,) and classes (N,), from 1, of a file of cryoSPARC's, which may hold nothing else.

    Raises
    ------
    InputError
        The file is broken, or has no uids or no classes.
    """
    rows = load_rows(path)
    slot, alignment = _alignment(path, rows, field_names(rows))
    if "class" not in alignment:
        remedy = "give the particles of a job of several classes (heterogeneous refinement, 3D classification)"
        raise InputError(path, "has no alignments with a class", remedy)
    classes: IntArray = _class_columns(path, slot, {"class": alignment["class"]})["rlnClassNumber"]
    return _uids(path, rows), classes


def cs_split(particles: Particles) -> IntArray | None:
    """``split`` (N,) of the slot with the poses, as particles of a .cs file have it; None where they have none."""
    rows = particles.cs_rows
    slots = [] if rows is None else [slot for slot in _pose_slots(rows) if f"{slot}/split" in field_names(rows)]
    split = rows[f"{slots[0]}/split"] if rows is not None and slots else None
    return split.astype(np.int64) if split is not None and split.ndim == 1 and split.dtype.kind in "iu" else None


def unchanged_poses(particles: Particles) -> bool:
    """Are the particles' poses those of their ``cs_rows``, in slots of other names than a new file has?"""
    rows = particles.cs_rows
    names = () if rows is None else field_names(rows)
    if rows is None or "alignments3D/pose" in names or not _pose_slots(rows) or not set(ANGLES) <= set(particles.table):
        return False
    _, alignment = _alignment(particles.path, rows, names)
    if "pose" not in alignment:
        return False
    read = np.stack(euler_angles(alignment["pose"].astype(np.float64)), axis=1)
    return bool((np.abs(read - particles.table[ANGLES].to_numpy(np.float64)) < SAME_ANGLE).all())


def _alignment_pixel_size(
    path: Path, slot: str, alignment: Fields, shift: FloatArray, optics: pd.DataFrame, groups: IntArray
) -> FloatArray:
    """Å per px (N,) of the shifts (N, 2)."""
    if "psize_A" in alignment:
        sizes = shortest_decimals(number_field(path, f"{slot}/psize_A", alignment["psize_A"]))
        known = np.isfinite(sizes) & (sizes > 0)
        bad = ~known & shift.any(axis=1)
        if bad.any():
            refuse_rows(path, bad, f"{slot}/psize_A is {sizes[bad][0]:g}, and its shifts are in these pixels")
        # no shift is none in any pixels
        return np.where(known, sizes, 0.0)
    if "rlnImagePixelSize" not in optics:
        raise InputError(path, "its shifts are in px, and it has no pixel size", "give --pixel_size (Å/px)")
    warn(path, f"has no {slot}/psize_A: its shifts are taken as px of the images, wrongly if the job down-sampled")
    return optics["rlnImagePixelSize"].to_numpy(np.float64)[groups - 1]


def _alignment(path: Path, rows: Rows, main_names: tuple[str, ...]) -> tuple[str, Fields]:
    """Name and fields of the slot that holds the poses: pose, shift, psize_A, class, split, one value a row."""
    for names in (main_names, field_names(rows)):
        if "alignments3D/pose" in names:
            return "alignments3D", _slot(rows, "alignments3D")
        if "alignments3D_multi/pose" in names:
            return "alignments3D_multi", _best_of_multi(path, rows)
        for begin in CLASS_SLOTS:
            slots = sorted(
                {name.partition("/")[0] for name in names if re.fullmatch(rf"{begin}[0-9]{{1,6}}/pose", name)},
                key=_class_of,
            )
            if slots:
                return slots[0], _best_of_slots(path, rows, slots)
    unknown = _pose_slots(rows)
    if unknown:
        problem = f"its poses in {', '.join(unknown)} are not read: slots of that name are not known"
        warn(path, f"{problem}; refine the particles (homogeneous refinement), and give the file of that job")
    if "alignments2D/pose" in field_names(rows):
        return "alignments2D", _slot(rows, "alignments2D")
    return "", {}


def _slot(rows: Rows, slot: str) -> Fields:
    fields = ("pose", "shift", "psize_A", "class", "split")
    return {field: rows[f"{slot}/{field}"] for field in fields if f"{slot}/{field}" in field_names(rows)}


def _class_of(slot: str) -> int:
    return int(slot.rpartition("_")[2])


def _most_probable(path: Path, slot: str, posterior: NDArray) -> IntArray:
    """Of each row's classes (N, K); refused where posteriors are missing or all alike, so that they tell none."""
    known = np.where(np.isnan(posterior), -np.inf, posterior)
    silent = (known == known[:, :1]).all(axis=1) & (posterior.shape[1] > 1)
    if silent.any():
        problem = f"{slot}/class_posterior says of no class that it is the most probable one"
        refuse_rows(path, silent, problem, "refine the particles (homogeneous refinement)")
    return np.argmax(known, axis=1)


def _no_posterior(path: Path, slot: str) -> InputError:
    remedy = "export the particles of one class from cryoSPARC, or refine them (homogeneous refinement)"
    return InputError(path, f"has poses for several classes, and no {slot}/class_posterior to choose by", remedy)


def _best_of_multi(path: Path, rows: Rows) -> Fields:
    """Fields of the most probable class, of a slot with one entry a class (N, K, …)."""
    slot = "alignments3D_multi"
    alignment = _slot(rows, slot)
    classes = alignment["pose"].shape[1:2]
    if f"{slot}/class_posterior" not in field_names(rows) or 0 in classes:
        raise _no_posterior(path, slot)
    posterior = number_field(path, f"{slot}/class_posterior", rows[f"{slot}/class_posterior"], classes)
    if posterior.ndim != 2:
        raise _no_posterior(path, slot)
    best, every = _most_probable(path, slot, posterior), np.arange(len(rows))
    ends = {"pose": (3,), "shift": (2,)}
    for field, values in alignment.items():
        # pixel size and split are one for all classes
        if values.shape[1:] == classes + ends.get(field, ()):
            alignment[field] = values[every, best]
    return alignment


def _best_of_slots(path: Path, rows: Rows, slots: list[str]) -> Fields:
    """Fields of the most probable class, of one slot for each class."""
    columns = [_slot(rows, slot) for slot in slots]
    best = np.zeros(len(rows), np.int64)
    if len(slots) > 1:
        names = [f"{slot}/class_posterior" for slot in slots]
        if not set(names) <= set(field_names(rows)):
            raise _no_posterior(path, slots[0])
        posteriors = np.stack([number_field(path, name, rows[name]) for name in names], axis=1)
        best = _most_probable(path, slots[0], posteriors)
    alignment = {}
    for field, first in columns[0].items():
        alignment[field] = first.copy()
        for number, column in enumerate(columns[1:], start=1):
            if field not in column or column[field].dtype != first.dtype or column[field].shape != first.shape:
                problem = f"{slots[number]}/{field} is missing or unlike that of {slots[0]}"
                raise InputError(path, problem, "export the particles of one class from cryoSPARC")
            alignment[field][best == number] = column[field][best == number]
    # each slot's own class field does not say which slot it is
    return alignment | {"class": np.array([_class_of(slot) for slot in slots])[best]}
