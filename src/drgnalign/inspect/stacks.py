"""MRC files, and the stacks that particles name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import NDArray

from drgnalign.background import survey_backgrounds
from drgnalign.errors import InputError
from drgnalign.formats.mrc import (
    LARGEST_PIXEL,
    USUAL_AXES,
    StackHeader,
    find_stack,
    read_header,
    refuse_unlike_voxels,
    tell_doubts,
    within_reason,
)
from drgnalign.inputs import check_images, found_contrast, tell_places
from drgnalign.inspect.report import Findings, Report, numbers, refusal, rows_of, short, spread, value_range
from drgnalign.maps.read import refuse_as_mask, refuse_one_value
from drgnalign.particles import NO_STACK, Particles

MAX_HEADERS = 100
SAMPLE_IMAGES = 16
SAMPLE_PIXELS = 2**20  # of each
SAMPLE_VOXELS = 2**24  # of a volume
PIXEL_SIZE_RANGE = (0.1, 50.0)  # Å; no images of particles are finer or coarser
CANNOT_BE = "cannot be meant: give --pixel-size wherever it would be used"
# Relative difference of two pixel sizes that are meant to be the same.
SAME_PIXEL_SIZE = 1e-3
# Many programs write this into a header where they know none.
UNSET_PIXEL_SIZE = 1.0


def inspect_mrc(report: Report, path: Path, images: Path | None) -> None:
    """Report on a stack or volume."""
    report.kind = "MRC file"
    header = read_header(path)
    both = [np.fromfile(path, HEADER_DTYPE.newbyteorder(order), 1)[0] for order in "<>"]
    raw = both[0] if both[0]["nx"] == header.shape[2] else both[1]
    is_stack = _is_stack(header, raw)
    report.kind = ("MRC image" if header.shape[0] == 1 else "MRC stack") if is_stack else "MRC volume"
    sections, rows, columns = header.shape
    report.rows = sections if is_stack else None
    report.facts["size_px"] = f"{columns} × {rows} × {sections}"
    if header.pixel_size is not None:
        report.facts["pixel_sizes_angstrom"] = [short(header.pixel_size)]
    report.facts["values"] = f"{header.dtype.name}, {'big' if header.dtype.str[0] == '>' else 'little'}-endian"
    report.extend(_header_findings(header, raw, is_stack))
    tell_doubts([header])
    _inspect_sample(report, header)


def _is_stack(header: StackHeader, raw: np.void) -> bool:
    """Names decide, then the shape; a cube is a stack if its header says that each section is one."""
    suffix = header.path.suffix.lower()
    if suffix != ".mrc":
        return suffix != ".map"
    sections, rows, columns = header.shape
    if sections == rows == columns:
        return bool(raw["ispg"] == 0 and raw["mz"] == 1)
    return rows == columns or bool(raw["ispg"] == 0)


def _header_findings(header: StackHeader, raw: np.void, is_stack: bool) -> Findings:
    sections, rows, columns = header.shape
    width = header.pixel_size
    if not raw["machst"].any():
        yield "note", "its machine stamp is zero, as some programs leave it: mrcfile opens it with permissive=True"
    if width is None:
        remedy = "give --pixel-size where it is needed" if is_stack else "write it into the header"
        yield "note" if is_stack else "warning", f"its header has no voxel size: {remedy}"
    elif not PIXEL_SIZE_RANGE[0] <= width <= PIXEL_SIZE_RANGE[1]:
        yield "warning", f"the pixel size in its header, {width:.6g} Å, {CANNOT_BE}"
    elif width == UNSET_PIXEL_SIZE:
        yield "note", "the pixel size in its header is exactly 1 Å, which many programs write where they know none"
    if header.axes != USUAL_AXES:
        order = ", ".join("xyz"[axis - 1] for axis in header.axes)
        yield "note", f"its columns, rows and sections run along {order}: drgnalign turns it round, not all programs do"
    if is_stack and raw["ispg"] == 1 and sections > 1:
        yield "note", f"its header calls it a volume (space group 1); it is taken as {sections} images"
    if is_stack and sections > 1 and rows != columns:
        yield "warning", f"its images are {columns} × {rows} px: images of particles have to be square"
    if not is_stack:
        yield from refusal(lambda: refuse_unlike_voxels(header))
    if not is_stack and header.volumes > 1:
        yield "warning", f"it is a stack of {header.volumes} volumes: where one map is asked for give one volume"
    elif not is_stack and not sections == rows == columns:
        yield "warning", f"the volume is not a cube ({columns} × {rows} × {sections}): pad or cut it to one"


def _inspect_sample(report: Report, header: StackHeader) -> None:
    stored = header.map()
    # a volume is read whole where it is used, and refused for any of its sections
    whole = report.every_image or report.rows is None
    chosen = range(len(stored)) if whole else spread(len(stored), SAMPLE_IMAGES)
    bad = np.array([not np.isfinite(stored[number]).all() for number in chosen])
    blank = np.array([stored[number].min() == stored[number].max() for number in chosen])
    step = -(-stored[0].size // (SAMPLE_PIXELS if report.rows is not None else max(1, SAMPLE_VOXELS // len(stored))))
    values = np.concatenate([stored[number].ravel()[::step] for number in chosen])
    report.facts["sections_looked_at"] = _looked_at(len(chosen), len(stored))
    report.facts["ranges"] = {"grey value": value_range(values, "")}
    if bad.any():
        what = f"{bad.sum()} of {len(chosen)} sections looked at hold NaN or infinite values"
        first = f"the first is number {chosen[bad.argmax()] + 1}"
        report.add("error", f"{what}; {first}: make the file again, or leave such images out")
    huge = np.array([not within_reason(stored[number][None])[0] for number in chosen]) & ~bad
    if report.rows is not None and huge.any():
        first = f"the first is number {chosen[huge.argmax()] + 1}"
        what = f"{huge.sum()} of {len(chosen)} sections looked at hold pixels beyond {LARGEST_PIXEL:g}"
        report.add("error", f"{what}; {first}: make the file again, or leave such images out")
    if report.rows is None and not bad.any():
        report.extend(_volume_findings(header.path, stored))
    if report.rows is not None and blank.any():
        what = f"{blank.sum()} of {len(chosen)} sections looked at are blank, all their pixels alike"
        first = f"the first is number {chosen[blank.argmax()] + 1}"
        report.add("error", f"{what}; {first}: make the file again, or leave such images out")


def _volume_findings(path: Path, stored: NDArray) -> Findings:
    """What a map or a mask would be refused for."""
    least, most = stored.min(), stored.max()
    yield from refusal(lambda: refuse_one_value(path, float(least), float(most)))
    if least < most and _looks_like_mask(stored, least, most):
        for _, what in refusal(lambda: refuse_as_mask(path, stored)):
            yield "warning", f"it looks like a mask, and would be refused as one: {what}"


def _looks_like_mask(stored: NDArray, least: float, most: float) -> bool:
    """Are most voxels wholly inside or outside? Maps, masked ones too, reach their greatest value in one voxel."""
    outside, inside = int((stored == least).sum()), int((stored == most).sum())
    return 2 * (outside + inside) >= stored.size and (inside > 1 or outside + inside == stored.size)


def _looked_at(count: int, total: int) -> str:
    return f"all {total:,}" if count == total else f"{count:,} of {total:,} (--all-images looks at all)"


def _look_at_images(report: Report, table: pd.DataFrame, headers: dict[int, StackHeader], particles: Particles) -> None:
    """Are there NaN, infinite pixels or blank images in rows whose stacks' headers were read?

    `table` has the image and the stack of each row.
    """
    within = table["image"].between(1, table["stack"].map({code: header.shape[0] for code, header in headers.items()}))
    rows = np.flatnonzero(within)
    rows = rows if report.every_image else rows[spread(len(rows), SAMPLE_IMAGES)]
    infinite, huge, blank = np.zeros((3, len(table)), np.bool_)
    maps: tuple[int, np.ndarray | None] = (-1, None)
    # a stack at a time
    for row in rows[np.argsort(table["stack"].to_numpy()[rows], kind="stable")].tolist():
        code = int(table["stack"][row])
        if maps[0] != code:
            maps = code, headers[code].map()
        image = np.asarray(maps[1])[int(table["image"][row]) - 1] if maps[1] is not None else np.empty(0)
        infinite[row] = not np.isfinite(image).all()
        huge[row] = not infinite[row] and not within_reason(image[None])[0]
        blank[row] = image.min() == image.max()
    report.facts["images_looked_at"] = _looked_at(len(rows), len(table))
    for bad, what in (
        (infinite, "hold NaN or infinite pixels"),
        (huge, f"hold pixels beyond {LARGEST_PIXEL:g}"),
        (blank, "are blank, all their pixels alike"),
    ):
        if bad.any():
            found = (
                f"{bad.sum():,} of {len(rows):,} images looked at {what}, the first of them in row {bad.argmax() + 1}"
            )
            command = particles.dropping(bad)
            report.add("error", f"{found}: {f'remove them with {command}' if command else 'make the stacks again'}")


def inspect_stacks(report: Report, particles: Particles, root: Path) -> None:
    """Compare particles with the headers of at most `MAX_HEADERS` of the stacks that are there."""
    images, names = particles.image_locations()
    codes, stacks = pd.factorize(names)
    if NO_STACK in stacks:
        return
    paths = [find_stack(str(name), root) for name in stacks]
    there = [code for code, path in enumerate(paths) if path.is_file()]
    chosen = [there[i] for i in spread(len(there), MAX_HEADERS)]
    try:
        tell_places(particles.path, [str(stacks[code]) for code in there], root)
    except InputError as error:
        report.add("error", f"{error.problem}; {error.remedy}")
    headers: dict[int, StackHeader] = {}
    broken: list[InputError] = []
    for code in chosen:
        try:
            headers[code] = read_header(paths[code])
        except InputError as error:
            broken.append(error)
    chosen = there if report.every_image else chosen
    report.facts["stacks"] = {"named": len(paths), "found": len(there), "headers read": len(chosen)}
    if len(there) < len(paths):
        missing = next(path for path in paths if not path.is_file())
        what = f"{len(paths) - len(there)} of {len(paths)} stacks cannot be found, such as {missing}"
        remedy = f"give the folder that the image names are relative to with --images (now {root.resolve()})"
        report.add("error", f"{what}: {remedy}")
    if broken:
        first = f"{broken[0].file} {broken[0].problem}; {broken[0].remedy}"
        report.add("error", f"{len(broken)} of {len(chosen)} stacks cannot be read: {first}")
    if headers:
        tell_doubts(list(headers.values()))
        table = pd.DataFrame({"image": images, "stack": codes})
        report.extend(_end_findings(table, headers))
        _look_at_images(report, table, headers, particles)
        first_rows = table.drop_duplicates("stack").index[list(headers)]
        optics = particles.optics.iloc[particles.optics_rows()[first_rows]]
        _compare_sizes(report, list(headers.values()), optics)


def _end_findings(table: pd.DataFrame, headers: dict[int, StackHeader]) -> Findings:
    lengths = table["stack"].map({code: header.shape[0] for code, header in headers.items()})
    beyond = (table["image"] > lengths).to_numpy()
    if beyond.any():
        row = beyond.argmax()
        header = headers[table["stack"][row]]
        example = f"row {row + 1} names image {table['image'][row]} of {header.path}, which holds {header.shape[0]}"
        what = f"{rows_of(beyond)} name images beyond the end of their stack: {example}"
        yield "error", f"{what}; is it another stack of that name? Give the one that the particles come from"


def _compare_sizes(report: Report, headers: list[StackHeader], optics: pd.DataFrame) -> None:
    """Box and pixel size of headers beside those of the optics groups (one row a header)."""
    boxes = np.array([header.shape[2] for header in headers])
    sizes = np.array([header.pixel_size or 0.0 for header in headers])
    report.facts["header_boxes_px"] = sorted(set(boxes.tolist()))
    if sizes.any():
        report.facts["header_pixel_sizes_angstrom"] = sorted({short(size) for size in sizes[sizes != 0]})
    box, pixel_size = numbers(optics, "rlnImageSize"), numbers(optics, "rlnImagePixelSize")
    same = np.isclose(sizes, pixel_size, rtol=SAME_PIXEL_SIZE, atol=0)
    unset = ~same & np.isin(sizes, (0, UNSET_PIXEL_SIZE))
    if unset.any():
        what = f"the headers of {unset.sum()} of {len(headers)} stacks have no pixel size (0 or exactly 1 Å)"
        report.add("note", f"{what}: only the particle file's can be used")
    impossible = ~unset & ~((sizes >= PIXEL_SIZE_RANGE[0]) & (sizes <= PIXEL_SIZE_RANGE[1]))
    if impossible.any():
        first = impossible.argmax()
        where = f"the header of {headers[first].path}, {sizes[first]:.6g} Å"
        report.add("warning", f"the pixel size in {where}, {CANNOT_BE}")
    right = "find out which is right before anything is measured in Å"
    for level, name, unit, given, found, differs, remedy in (
        ("warning", "pixel size", "Å", pixel_size, sizes, ~(same | unset | impossible), right),
        ("error", "box", "px", box, boxes, boxes != box, "give the stacks that belong to the file"),
    ):
        differs &= np.isfinite(given)
        if differs.any():
            i = differs.argmax()
            what = f"{given[i]:.6g} {unit} here, {found[i]:.6g} {unit} in the header of {headers[i].path}"
            report.add(level, f"the {name} is {what} ({differs.sum()} of {len(headers)} stacks): {remedy}")


def inspect_backgrounds(report: Report, particles: Particles, root: Path) -> None:
    """Whether images will be normalised, and why; of particles whose images can be read."""
    particles = particles.without_unused_groups()
    if NO_STACK in set(particles.image_locations()[1]) or "rlnImagePixelSize" not in particles.optics:
        return
    try:
        particles.optics = particles.optics.assign(rlnImageSize=check_images(particles, root))
        found = survey_backgrounds(particles, root, particles.diameter(None))
    except InputError:
        # what is wrong with the stacks has been said
        return
    report.facts["backgrounds"] = _shortened(found.record)
    without = list(refusal(lambda: found.refuse_masked(particles.path)))
    report.extend(iter(without))
    if len(found.masked) and not without:
        what = f"{len(found.masked):,} images have a constant background, or constant corners"
        command = particles.dropping(np.isin(np.arange(len(particles)), found.masked))
        report.add("error", f"{what}: {f'remove them with {command}' if command else 'give images without a mask'}")
    if found.done:
        report.add("note", found.done)
    try:
        particles.optics["drgnContrast"] = found_contrast(particles, root, "auto")
    except InputError as error:
        report.add("warning", f"{error.problem}; {error.remedy}")
    else:
        report.facts["protein_in_images"] = sorted(set(particles.optics["drgnContrast"]))


def _shortened(record: dict[str, Any]) -> dict[str, Any]:
    return {name: _shortened(value) if isinstance(value, dict) else short(value) for name, value in record.items()}
