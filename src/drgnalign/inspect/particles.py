"""What a particle set holds, and what looks wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from drgnalign.arrays import FloatArray
from drgnalign.constants import constant_findings
from drgnalign.errors import InputError
from drgnalign.exclusion import RULES, excluded_by, marked_excluded, occupancy_warning
from drgnalign.half_maps import DEALT, JOINT, SHARED
from drgnalign.half_sets import repeats, sharing, ties
from drgnalign.inspect.report import Findings, Report, counts, numbers, ranges, refusal, rows_of, short, value_range
from drgnalign.inspect.stacks import inspect_backgrounds, inspect_stacks
from drgnalign.optics import optics_terms
from drgnalign.particles import (
    ANGLES,
    DEFOCUS,
    HALVES,
    LEFT_OUT,
    NUMERIC,
    NUMERIC_OPTICS,
    OPTICS_OPTIONS,
    ORIGINS,
    PIXEL_ORIGINS,
    REFINEMENT,
    Particles,
    no_views,
)

# Half sets are unbalanced where the smaller has less than this share, by more than chance: three standard deviations.
SMALLER_HALF = 0.45
# Up to this share of rows with another row's pose is nothing special: searches on a grid find some poses twice.
FEW_IDENTICAL = 0.01
DEFOCUS_RANGE = (1_000.0, 100_000.0)  # Å
ASTIGMATISM_LIMIT = 0.2  # |U - V| over their mean
# By what the file says of its half sets.
MARKS = {
    JOINT: ("warning", "the half sets are not independent: both were aligned to one map, and an FSC of them flatters"),
    SHARED: ("warning", "the half sets are not independent: both hold rows of the same images"),
    DEALT: ("note", "the half sets were dealt by chance: they are independent only once poses were refined anew"),
}
OPTICS_FACTS = {
    "rlnImageSize": "boxes_px",
    "rlnImagePixelSize": "pixel_sizes_angstrom",
    "rlnVoltage": "voltages_kv",
    "rlnSphericalAberration": "cs_mm",
    "rlnAmplitudeContrast": "amplitude_contrasts",
    "drgnContrast": "protein_in_images",
}
POSE_RANGES = {
    **dict(zip(ANGLES, ("rot", "tilt", "psi"), strict=True)),
    **dict(zip((*ORIGINS, *PIXEL_ORIGINS), ("origin x", "origin y") * 2, strict=True)),
}
CTF_RANGES = {"rlnDefocusU": "defocus U", "rlnDefocusV": "defocus V", "rlnPhaseShift": "phase shift"}


def inspect_named(report: Report, particles: Particles, root: Path) -> None:
    """Report on particles of a file that names its stacks."""
    inspect_particles(report, particles, root)
    report.extend(pose_findings(particles.table))
    if set(ANGLES) <= set(particles.table):
        report.extend(refusal(particles.require_poses))
    report.extend(_tie_findings(marked_excluded(particles), root))
    report.extend(_gap_findings(particles, has_split=any(name.endswith("/split") for name in report.columns)))
    if report.every_image:
        inspect_backgrounds(report, marked_excluded(particles), root)


def inspect_particles(report: Report, particles: Particles, root: Path) -> None:
    """Report on particles, whether or not the file has orientations and names its stacks."""
    unused = len(particles.optics) - len(particles.used_optics())
    if unused:
        verb = "is" if unused == 1 else "are"
        report.add("note", f"{unused} of {len(particles.optics)} optics groups {verb} used by no particle")
    particles = particles.without_unused_groups()
    table, optics, facts = particles.table, particles.optics, report.facts
    report.rows = len(particles)
    facts["optics_groups"] = len(optics)
    for label, fact in OPTICS_FACTS.items():
        if label in optics:
            facts[fact] = [short(value) for value in sorted(optics[label].dropna().unique())]
    inspect_stacks(report, particles, root)
    if "rlnMicrographName" in table:
        facts["micrographs"] = int(table["rlnMicrographName"].nunique())
    for label, fact in (("rlnRandomSubset", "half_sets"), ("rlnClassNumber", "classes"), (LEFT_OUT, "left_out")):
        if label in table:
            facts[fact] = counts(table[label])
    for label, out in excluded_by(particles).items():
        report.add("note", f"{out.sum():,} particles are left out by {RULES[label].what}: they are in no map")
    shares = occupancy_warning(particles)
    if shares:
        report.add("warning", shares)
    report.extend(_number_findings(particles))
    report.extend(refusal(particles.refuse_absurd))
    none = ~(particles.ctf_factors("rlnCtfScalefactor") > 0)
    if none.any() and np.isfinite(particles.ctf_factors("rlnCtfScalefactor")).all():
        report.extend(refusal(lambda: particles.refuse_rows(none, "rlnCtfScalefactor is not above 0")))
    _inspect_lens(report, particles)
    report.extend(_optics_findings(optics))
    report.extend((one.level, f"{one.problem}: {one.remedy}") for one in constant_findings(particles))
    facts["ranges"] = ranges(table, POSE_RANGES)
    _inspect_shifts(report, particles)
    facts["ranges"] |= ranges(table, CTF_RANGES)
    if set(DEFOCUS) <= set(table):
        u, v = numbers(table, "rlnDefocusU"), numbers(table, "rlnDefocusV")
        facts["ranges"]["astigmatism"] = value_range(np.abs(u - v), "Å")
        known = np.isfinite(u) & np.isfinite(v)
        report.extend(_defocus_findings(u[known], v[known]))
    elif "rlnDefocusU" in table:
        report.extend(refusal(particles.require_ctf))
    else:
        report.add("note", "it has no CTF values")
    if "rlnRandomSubset" in table:
        report.extend(_half_set_findings(table["rlnRandomSubset"]))
        report.extend(_mark_findings(optics))


def _inspect_lens(report: Report, particles: Particles) -> None:
    """What the file says of the lens besides the usual values of the CTF, and what was done to the images."""
    report.extend(refusal(particles.refuse_treated))
    try:
        terms = optics_terms(particles)
    except InputError as error:
        report.add("error", f"{error.problem}; {error.remedy}")
        return
    if terms:
        report.facts["optics"] = [str(term) for term in terms]
    told = [term.columns for term in terms if term.used and not term.taken_off and term.matters_at()]
    if told:
        what = f"{', '.join(told)}: the native engine uses it"
        report.add("note", f"{what}; Frealign and cryoDRGN cannot be told, and images for them still have it")


def _number_findings(particles: Particles) -> Findings:
    optics, what_of_optics = particles.optics, "optics groups"
    if particles.row_names is not None:
        # the file says it of each row, and has no such groups
        optics, what_of_optics = optics.iloc[particles.optics_rows()], "rows"
    for frame, labels, what in (
        (particles.table, [*NUMERIC, *PIXEL_ORIGINS], "rows"),
        (optics, NUMERIC_OPTICS, what_of_optics),
    ):
        present = [label for label in labels if label in frame]
        bad = ~np.isfinite(np.reshape([numbers(frame, label) for label in present], (len(present), len(frame))))
        if bad.any():
            rows, odd = bad.any(axis=0), [label for label, column in zip(present, bad, strict=True) if column.any()]
            odd = particles.names_in_file(odd)
            verb = "is" if len(odd) == 1 else "are"
            first = f"the first is number {rows.argmax() + 1}"
            said = f"{', '.join(odd)} {verb} NaN or infinite in {rows.sum():,} {what}"
            yield "error", f"{said}; {first}: correct or remove them"


def _optics_findings(optics: pd.DataFrame) -> Findings:
    for label, name, unit in (("rlnImageSize", "box", "px"), ("rlnImagePixelSize", "pixel size", "Å")):
        least, most = (extreme(numbers(optics, label)) for extreme in (np.min, np.max))
        if not np.isclose(least, most, rtol=1e-6, equal_nan=True):
            what = f"the {name} differs between optics groups ({least:g} to {most:g} {unit})"
            yield "error", f"{what}: drgnalign needs one, so rescale the images"


def _defocus_findings(u: FloatArray, v: FloatArray) -> Findings:
    low, high = np.minimum(u, v), np.maximum(u, v)
    negative = low < 0
    if negative.any():
        what = f"{rows_of(negative)} have a negative defocus (down to {low.min():.6g} Å)"
        yield "warning", f"{what}: overfocus, or the wrong sign; underfocus is positive"
    outside = (high > DEFOCUS_RANGE[1]) | (low < DEFOCUS_RANGE[0]) & ~negative
    # where most are, the unit is wrong, or nothing was estimated: `drgnalign.constants` says so
    if outside.any() and 2 * outside.sum() < len(outside):
        what = f"{rows_of(outside)} have a defocus outside 1,000 to 100,000 Å ({low.min():,.0f} to {high.max():,.0f})"
        yield "warning", f"{what}: check the unit, or remove the particles"
    difference, mean = high - low, np.abs(high + low) / 2
    astigmatic = difference > ASTIGMATISM_LIMIT * mean
    if astigmatic.any():
        worst = np.where(astigmatic, difference, 0).argmax()
        what = f"{rows_of(astigmatic)} have an astigmatism of more than {100 * ASTIGMATISM_LIMIT:g} % of the defocus"
        example = f"the largest is {difference[worst]:,.0f} Å at {mean[worst]:,.0f} Å"
        yield "warning", f"{what}; {example}: such CTF fits have often failed"


def pose_findings(table: pd.DataFrame) -> Findings:
    """What looks wrong with orientations, and poses that rows share."""
    if not set(ANGLES) <= set(table):
        yield "note", "it has no orientations: refine the particles in 3-D before heterogeneous refinement"
        return
    flat = no_views(table)
    if flat:
        yield "error", f"{flat}; give {REFINEMENT}"
        return
    if not table[ANGLES].to_numpy(np.float64).any():
        yield "warning", f"all {len(table):,} orientations are zero: the particles were not aligned; refine them first"
        return
    pose = table[[label for label in POSE_RANGES if label in table]]
    pose = pose[np.isfinite(pose.to_numpy(np.float64)).all(axis=1)]
    same = pose.duplicated(keep=False).to_numpy()
    if same.any():
        most = pose[same].value_counts()
        rot, tilt, psi = most.index[0][:3]
        what = f"{rows_of(same)} have exactly the pose of another row"
        example = f"the most frequent, rot {rot:g}°, tilt {tilt:g}°, psi {psi:g}°, is that of {most.iloc[0]:,} rows"
        remedy = "expected of a coarse search on a grid; otherwise look for copied or unaligned particles"
        yield "note" if same.mean() <= FEW_IDENTICAL else "warning", f"{what}; {example}: {remedy}"


def _inspect_shifts(report: Report, particles: Particles) -> None:
    """Compare shifts with the box, in Å, or in px where the file has them so and no pixel size."""
    table, optics = particles.table, particles.optics
    labels = next((labels for labels in (ORIGINS, PIXEL_ORIGINS) if set(labels) <= set(table)), None)
    if labels is None:
        return
    in_pixels = labels == PIXEL_ORIGINS
    origins = np.column_stack([numbers(table, label) for label in labels])
    groups = particles.optics_rows()
    box = numbers(optics, "rlnImageSize")[groups]
    header_boxes = report.facts.get("header_boxes_px", [])
    if "rlnImageSize" not in optics and len(header_boxes) == 1:
        box[:] = header_boxes[0]
    pixel_size = np.ones(len(table)) if in_pixels else numbers(optics, "rlnImagePixelSize")[groups]
    if not in_pixels and (pixel_size > 0).all():
        report.facts["ranges"]["shift length"] = value_range(np.hypot(*origins.T) / pixel_size, "px")
    half_box = np.where(pixel_size > 0, box * pixel_size / 2, np.nan)
    report.extend(shift_findings(origins, half_box, "px" if in_pixels else "Å"))


def shift_findings(origins: FloatArray, half_box: FloatArray, unit: str) -> Findings:
    """Origins (N, 2) beyond half boxes (N,; NaN where not known), both in one unit."""
    largest = np.abs(origins).max(axis=1)
    beyond = largest > half_box
    if beyond.any():
        row = np.where(beyond, largest, 0).argmax()
        worst = f"the largest is {largest[row]:.6g} {unit}, half the box is {half_box[row]:.6g} {unit}"
        what = f"{rows_of(beyond)} are shifted by more than half the box ({worst})"
        yield "warning", f"{what}: check the unit of the shifts, Å or px, or remove the particles"


def _tie_findings(particles: Particles, root: Path) -> Findings:
    """Rows of one image, and half sets that hold rows of the same, as they are told where the file is used."""
    tied = ties(particles, root)
    repeated = repeats(particles, tied)
    if repeated:
        yield "warning", repeated
    if "rlnRandomSubset" in particles.table and particles.table["rlnRandomSubset"].isin([1, 2]).all():
        shared = sharing(particles, tied)
        if shared:
            yield "warning", shared


def _half_set_findings(subset: pd.Series) -> Findings:
    sizes = subset.value_counts()
    odd = [value for value in sizes.index if value not in (1, 2)]
    if odd:
        what = f"rlnRandomSubset is {odd[0]:g} in {sizes[odd[0]]:,} rows"
        yield "error", f"{what}: half sets are 1 and 2; correct the column or remove it"
    if len(sizes) == 1:
        what = f"all particles are in half set {sizes.index[0]:g}"
        yield "warning", f"{what}: no FSC can be made; give both half sets, or --half_sets deal to have them dealt anew"
        return
    one, two = (int(sizes.get(half, 0)) for half in (1, 2))
    total = one + two
    if min(one, two) < SMALLER_HALF * total and abs(one - two) > 3 * np.sqrt(total):
        what = f"the half sets are unbalanced: {one:,} and {two:,} particles"
        yield "warning", f"{what}; was one of them filtered?"


def _mark_findings(optics: pd.DataFrame) -> Findings:
    """What the file itself says against its half sets."""
    marks = set(optics.get(HALVES, []))
    for mark, (level, what) in MARKS.items():
        if mark in marks:
            yield level, f"{what} ({HALVES} is {mark})"


def _gap_findings(particles: Particles, has_split: bool) -> Findings:
    """What the file does not hold; of a split that is none cryoSPARC's reader tells more."""
    if "rlnRandomSubset" not in particles.table and set(ANGLES) <= set(particles.table) and not has_split:
        what = "it has no half sets: drgnalign deals them by chance, and if the poses were refined together"
        yield "note", f"{what}, the first FSC is not one of independent halves"
    # the box comes from the stacks
    needed = [label for label in OPTICS_OPTIONS if label != "rlnImageSize"]
    missing = [label for label in needed if label not in particles.optics]
    if missing:
        options = ", ".join(OPTICS_OPTIONS[label] for label in missing)
        yield "note", f"it has no {', '.join(missing)}: give {options} where needed"
