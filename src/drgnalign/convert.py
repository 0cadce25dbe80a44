"""Particle files from one program's form into another's: what the target needs is found or asked for, never guessed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from drgnalign.constants import check_constants
from drgnalign.errors import InputError, InputWarning
from drgnalign.files import suffix_of
from drgnalign.formats.cryodrgn import read_cryodrgn
from drgnalign.formats.mrc import StackHeader, find_stack, read_header
from drgnalign.formats.particle_file import Facts, read_particle_file
from drgnalign.inputs import CONTRAST_OF_INVERT, detect_contrast, images_root
from drgnalign.particles import ANGLES, DEFOCUS, NO_STACK, OPTICS_OPTIONS, Particles, image_names


def read_for_conversion(
    path: Path | None,
    *,
    poses: Path | None = None,
    ctf: Path | None = None,
    passthrough: Sequence[Path] = (),
    images: Path | None = None,
    facts: Facts | None = None,
    box: int | None = None,
    name: str | None = None,
) -> Particles:
    """Read particles in any form; what their file lacks is taken from options, else from the stacks' headers.

    Parameters
    ----------
    path : Path or None
        Particle file; None for cryoDRGN's pickles.
    poses, ctf : Path, optional
        cryoDRGN's pickles.
    passthrough : sequence of Path, optional
        Of a cryoSPARC file.
    images : Path, optional
        The stack of a par file or of pickles; the folder that other files' image names are relative to; or for
        these a stack that holds the images in the order of the rows, which is then named instead.
    facts : Facts, optional
    box : int, optional
        px.
    name : str, optional
        How the particles are to call the stack `images`; as it is given unless told.

    Returns
    -------
    Particles
        With rlnImageSize and rlnImagePixelSize where they are known.

    Raises
    ------
    InputError
        See the readers.

    Warns
    -----
    InputWarning
        Pixel size or box are those of a stack's header.
    """
    facts = facts or Facts()
    stack = images if images is not None and images.is_file() else None
    if stack is not None and facts.pixel_size is None and (path is None or suffix_of(path) in (".par", ".parx")):
        # needed while reading: shifts of version 8 are in px
        facts = replace(facts, pixel_size=None if ctf is not None else _told(read_header(stack)))
    name = None if stack is None else name or str(stack)
    if path is None:
        if stack is not None and box is None and ctf is None:
            box = read_header(stack).shape[2]
        particles = read_cryodrgn(poses, ctf, name, box=box, **vars(facts))
        check_constants(particles)
    else:
        particles = read_particle_file(path, name, passthrough, facts)
        if stack is not None and suffix_of(path) in (".star", ".cs"):
            particles = in_stack(particles, stack, name)
    if stack is not None:
        held = read_header(stack).shape[0]
        problem = f"asks for an image beyond the end of {stack}, which holds {held}"
        particles.refuse_rows(particles.image_locations()[0] > held, problem)
    _complete_sizes(particles, images_root(particles.path, images), box)
    return particles


def in_stack(particles: Particles, stack: Path, name: str | None = None) -> Particles:
    """The same particles with their images in another stack.

    Parameters
    ----------
    particles : Particles
    stack : Path
        Either the stack that the image names mean, from another place, or one that holds just these images in the
        order of the rows.
    name : str, optional
        How to call it.

    Returns
    -------
    Particles

    Raises
    ------
    InputError
        The stack cannot be read, or has another number of images than there are rows.
    """
    numbers, names = particles.image_locations()
    header = read_header(stack)
    images = header.shape[0]
    if set(map(str, names)) - {names[0]} or Path(names[0]).name != stack.name:
        numbers = np.arange(1, len(particles) + 1)
        if images != len(particles):
            problem = f"holds {images} images, {particles.path} has {len(particles)} rows"
            raise InputError(stack, problem, "give a stack of these images in the order of the rows")
    _require_sampling(particles, header)
    table = particles.table.assign(rlnImageName=image_names(numbers, name or str(stack)))
    return replace(particles, table=table)


def _require_sampling(particles: Particles, header: StackHeader) -> None:
    """Refuse a stack of another box or pixel size than the particles say."""
    trusted = header.trusted_pixel_size
    for label, there, tolerance in (("rlnImageSize", header.shape[2], 0), ("rlnImagePixelSize", trusted, 1e-3)):
        if there is None or label not in particles.optics:
            continue
        said = particles.optics[label].to_numpy(np.float64)[particles.optics_rows()]
        odd = said[~np.isclose(said, there, rtol=tolerance, atol=0)]
        if len(odd):
            problem = f"its header says {label} {there:g}, {particles.path} says {odd[0]:g}"
            raise InputError(header.path, problem, "give the images that the file describes, or correct it")


def require_for(target: str, particles: Particles) -> None:
    """Refuse particles that lack what the target's program needs.

    Parameters
    ----------
    target : str
        See `drgnalign.formats.particle_file.target_of`.
    particles : Particles

    Raises
    ------
    InputError
        Names all that is missing and the options that give it.
    """
    _require_whole(particles)
    particles.refuse_not_finite()
    particles.refuse_absurd()
    if target.startswith("par"):
        return
    if target == "cistem":
        _require_facts(particles, [label for label in OPTICS_OPTIONS if label != "rlnImageSize"])
        return
    # without CTF values there is nothing that voltage and aberration would be needed for
    _require_facts(
        particles, list(OPTICS_OPTIONS) if set(DEFOCUS) <= set(particles.table) else list(OPTICS_OPTIONS)[3:]
    )
    if target in ("star", "cs") and NO_STACK in set(particles.image_locations()[1]):
        raise InputError(particles.path, "does not name the stack of its images", "give --images STACK")


def _require_facts(particles: Particles, labels: list[str]) -> None:
    missing = [label for label in labels if _is_missing(particles.optics, label)]
    if missing:
        options = ", ".join(OPTICS_OPTIONS[label] for label in missing)
        raise InputError(particles.path, f"does not say {', '.join(missing)}", f"give {options}")


def _require_whole(particles: Particles) -> None:
    """Refuse orientations without origins, and half a defocus: one program takes such particles as centred and without
    astigmatism, another fails."""
    if set(ANGLES) <= set(particles.table):
        particles.require_poses()
    if DEFOCUS[0] in particles.table:
        particles.require_ctf()


def warn_of_gaps(target: str, particles: Particles, root: Path) -> None:
    """Say what the target's program will miss in a file that can be written all the same.

    Parameters
    ----------
    target, particles
        As of `require_for`.
    root : Path
        Folder that relative stack names refer to.

    Warns
    -----
    InputWarning
        There are no CTF values, RELION does not know the stacks by their names, or the rows, by which alone cryoDRGN
        knows images, are not those of one stack.
    """
    if target == "cryodrgn":
        _tell_order(particles, root)
    if target in ("star", "cs") and not set(DEFOCUS) <= set(particles.table):
        problem = "has no CTF values, and what is written has none"
        remedy = "if others of the job's files have them, give these with --passthrough"
        warnings.warn(f"{particles.path}: {problem}: {remedy}", InputWarning, stacklevel=2)
    stacks = pd.unique(particles.image_locations()[1])
    others = [name for name in stacks if suffix_of(name) != ".mrcs"]
    if target == "star" and others:
        problem = (
            f"RELION wants stacks that are named .mrcs: {len(others):,} of {len(stacks):,} are not, as {others[0]}"
        )
        message = f"{particles.path}: {problem}; --links FOLDER makes links so named"
        warnings.warn(message, InputWarning, stacklevel=2)


def _tell_order(particles: Particles, root: Path) -> None:
    """Say if the rows are not all images of one stack in its order."""
    numbers, stacks = particles.image_locations()
    path = find_stack(str(stacks[0]), root)
    held = read_header(path).shape[0] if path.is_file() else len(numbers)
    if (stacks != stacks[0]).any():
        problem = f"its images are in {len(pd.unique(stacks)):,} stacks"
    elif held != len(numbers) or (numbers != np.arange(1, len(numbers) + 1)).any():
        problem = f"its {len(numbers):,} rows are not all images of {stacks[0]} in their order"
    else:
        return
    what = "cryoDRGN takes row by row what is written, and image by image the stack that it is given"
    remedy = "give it a stack of these images in the order of the rows"
    if suffix_of(particles.path) in (".star", ".cs"):
        remedy += f", or {particles.path} in its place"
    warnings.warn(f"{particles.path}: {problem}: {what}: {remedy}", InputWarning, stacklevel=3)


def linked(particles: Particles, root: Path, folder: Path, name: str) -> Particles:
    """Particles whose images are read through links that are named .mrcs.

    Parameters
    ----------
    particles : Particles
    root : Path
        Folder that relative stack names refer to.
    folder : Path
        Made if need be; gets a link to every stack, in folders as the stacks are.
    name : str
        How image names are to call the folder.

    Returns
    -------
    Particles

    Raises
    ------
    InputError
        A stack is not there, or something else stands where its link belongs.
    """
    numbers, stacks = particles.image_locations()
    codes, names = pd.factorize(stacks)
    inside = [[part for part in Path(stack).parts if part not in ("/", "..")] for stack in names]
    places = [Path(*parts).with_suffix(".mrcs") for parts in inside]
    for stack, place in zip(names, places, strict=True):
        target, link = find_stack(stack, root).resolve(), folder / place
        if not target.is_file():
            raise InputError(target, "no such stack", "give the folder that the image names refer to with --images")
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink() and not link.exists():
            link.symlink_to(target)
        elif link.resolve() != target:
            raise InputError(link, f"it is no link to {target}", "give another folder with --links")
    table = particles.table.copy()
    ends = np.array([f"@{name}/{place}" for place in places], object)[codes]
    table["rlnImageName"] = [f"{number:06d}{end}" for number, end in zip(numbers.tolist(), ends, strict=True)]
    return replace(particles, table=table)


def with_contrast(particles: Particles, images: Path | None, invert: str) -> Particles:
    """Particles that say whether protein is white or dark in the stored images, which cryoSPARC wants to know.

    Parameters
    ----------
    particles : Particles
    images : Path or None
        See `read_for_conversion`.
    invert : {'auto', 'yes', 'no'}
        'yes': dark. 'auto': as the particles say, else found in the images.

    Returns
    -------
    Particles

    Raises
    ------
    InputError
        The images are not there, or leave it open.
    """
    if invert == "auto" and "drgnContrast" in particles.optics:
        return particles
    contrast = CONTRAST_OF_INVERT.get(invert)
    if contrast is None:
        try:
            contrast = detect_contrast(particles, images_root(particles.path, images))
        except InputError as error:
            remedy = "give --invert yes (dark protein) or no (white protein), or the images with --images"
            raise InputError(error.file, f"contrast was not found: {error.problem}", remedy) from error
    return replace(particles, optics=particles.optics.assign(drgnContrast=contrast))


def _is_missing(optics: pd.DataFrame, label: str) -> bool:
    return label not in optics or bool(optics[label].isna().any())


def _complete_sizes(particles: Particles, root: Path, box: int | None) -> None:
    """Fill in box and pixel size of each optics group from the headers of its first stack, where they are there."""
    optics = particles.optics
    if box is not None:
        _fill_box(particles, box)
    wanted = [label for label in ("rlnImageSize", "rlnImagePixelSize") if label not in optics]
    if not wanted:
        return
    headers = _first_headers(particles, root)
    if len(headers) < len(optics):
        return
    if "rlnImageSize" in wanted:
        optics["rlnImageSize"] = [header.shape[2] for header in headers]
    if "rlnImagePixelSize" in wanted and all(header.trusted_pixel_size for header in headers):
        optics["rlnImagePixelSize"] = [_told(header) for header in headers]


def _fill_box(particles: Particles, box: int) -> None:
    if "rlnImageSize" in particles.optics and (particles.optics["rlnImageSize"] != box).any():
        sizes = ", ".join(map(str, particles.optics["rlnImageSize"].unique()))
        raise InputError(particles.path, f"its box is {sizes} px, --box says {box}", "leave --box out")
    particles.optics["rlnImageSize"] = box


def _first_headers(particles: Particles, root: Path) -> list[StackHeader]:
    """Header of the first stack of each optics group; shorter where a stack is not there."""
    _, names = particles.image_locations()
    rows = particles.optics_rows()
    first = [find_stack(names[(rows == group).argmax()], root) for group in range(len(particles.optics))]
    return [read_header(path) for path in first if path.is_file()]


def _told(header: StackHeader) -> float | None:
    """The pixel size of a stack's header if it can be trusted; that it is used is told."""
    size = header.trusted_pixel_size
    if size is None:
        return None
    message = f"{header.path}: the pixel size in its header, {size:.6g} Å, is used"
    warnings.warn(message, InputWarning, stacklevel=2)
    return float(f"{size:.6g}")
