"""Particle files from one program's form into another's: what the target needs is found or asked for, never guessed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from drgnalign.arrays import IntArray
from drgnalign.errors import InputError, InputWarning
from drgnalign.files import suffix_of
from drgnalign.formats.cryodrgn_set import read_cryodrgn_set
from drgnalign.formats.mrc import StackHeader, find_stack, read_header
from drgnalign.formats.particle_file import NAMES_STACKS, Facts, expected_contrast, read_particle_file, usual_contrast
from drgnalign.inputs import CONTRAST_OF_INVERT, check_found, detect_contrast, images_root
from drgnalign.particles import ANGLES, DEFOCUS, NO_STACK, OPTICS_OPTIONS, Particles, image_names, no_views
from drgnalign.stack_names import missing_stacks, tell_missing

# Images that are compared where a stack may hold them in one order or another.
COMPARED = 16
NUMBERS = ("auto", "file", "rows")


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
    indices: IntArray | None = None,
    numbers: str = "auto",
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
    indices : (n,) int64, optional
        cryoDRGN's index of the images, from 0, that pickles are of.
    numbers : {'auto', 'file', 'rows'}
        See `in_stack`.

    Returns
    -------
    Particles
        With rlnImageSize and rlnImagePixelSize where they are known.

    Raises
    ------
    InputError
        See the readers; what is said contradicts the stacks that are there, or pickles do not fit stack and index.

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
        particles = read_cryodrgn_set(poses, ctf, stack, name, indices, box=box, **vars(facts))
    elif indices is not None:
        raise InputError(path, "--ind is of pickles only", "choose its rows with `drgnalign select --ind` first")
    else:
        particles = read_particle_file(path, name, passthrough, facts)
        names_stack = suffix_of(path) in NAMES_STACKS
        if stack is not None and names_stack:
            particles = in_stack(particles, stack, name, numbers)
        elif numbers != "auto":
            what = "no stack is given with --images" if names_stack else "a par file numbers its images itself"
            raise InputError(path, f"--numbers is {numbers}, but {what}", "leave --numbers out")
    root = images_root(particles.path, images)
    _complete_sizes(particles, root, box)
    seen = particles
    if stack is not None:
        # by the name that it gets it may not be found from here
        names = image_names(particles.image_locations()[0], str(stack.resolve()))
        seen = replace(particles, table=particles.table.assign(rlnImageName=names))
    tell_missing(seen, root)
    check_found(seen, root, _sampling_remedy(path))
    return particles


def _sampling_remedy(path: Path | None) -> str:
    """What to do about images of another box than is said."""
    if path is None:
        return (
            "give the stack that the pickles are of, or --box and --pixel-size of this one: only their product counts"
        )
    return "give the stacks that the file describes, or correct it"


def in_stack(particles: Particles, stack: Path, name: str | None = None, numbers: str = "auto") -> Particles:
    """The same particles with their images in another stack.

    Parameters
    ----------
    particles : Particles
    stack : Path
        Either the one stack that the image names mean, from another place, or one that holds just these images in
        the order of the rows.
    name : str, optional
        How to call it.
    numbers : {'auto', 'file', 'rows'}
        Whose numbers images have there: those of their names, or of their rows. 'auto': whichever fits; where both do
        and differ, that of the images, if those that the particles name are there to be compared. Else the order of
        the rows is taken, and told; under the name of the old stack neither is.

    Returns
    -------
    Particles

    Raises
    ------
    InputError
        The stack cannot be read, does not hold the images, or both could be meant.

    Warns
    -----
    InputWarning
        The order of the rows was taken where the old numbers fit too.
    """
    own, names = particles.image_locations()
    header = read_header(stack)
    held, rows = header.shape[0], np.arange(1, len(particles) + 1)
    one_stack = not (names != names[0]).any()
    fits = {"file": one_stack and own.max() <= held, "rows": held == len(particles)}
    if names[0] == NO_STACK:
        fits["rows"] = False
    elif numbers == "auto" and fits["file"] and not fits["rows"]:
        # more images than rows: of another stack than the one named, the numbers may mean anything
        fits["file"] = _same_name(str(names[0]), stack) or _whose_numbers(particles, stack, own, rows) == "file"
    if numbers == "auto":
        numbers = _numbers_meant(particles, stack, fits, own, rows)
    if not fits[numbers]:
        problem = f"holds {held} images, {particles.path} has {len(particles)} rows"
        if numbers == "file":
            problem = f"holds {held} images, {particles.path} names others, or those of several stacks"
        raise InputError(stack, problem, "give a stack of these images in the order of the rows")
    _require_sampling(particles, header)
    meant = own if numbers == "file" else rows
    return replace(particles, table=particles.table.assign(rlnImageName=image_names(meant, name or str(stack))))


def _numbers_meant(particles: Particles, stack: Path, fits: dict[str, bool], own: IntArray, rows: IntArray) -> str:
    """Whose numbers images have in a stack, of those that fit."""
    if not fits["file"] or (own == rows).all():
        return "rows"
    if not fits["rows"]:
        return "file"
    meant = _whose_numbers(particles, stack, own, rows)
    if meant is not None:
        return meant
    both = f"may hold the images of {particles.path} by their numbers there, or in the order of its rows"
    if _same_name(str(particles.image_locations()[1][0]), stack):
        raise InputError(stack, both, "give --numbers file (the old stack, or a copy) or rows (one newly written)")
    warnings.warn(f"{stack}: {both}: the order of the rows is taken (--numbers rows)", InputWarning, stacklevel=4)
    return "rows"


def _same_name(name: str, stack: Path) -> bool:
    return Path(name).name == stack.name


def _whose_numbers(particles: Particles, stack: Path, own: IntArray, rows: IntArray) -> str | None:
    """Whose numbers the images of a stack have, as the ones show that the particles name; None where these are not
    there, or do not tell."""
    path = find_stack(str(particles.image_locations()[1][0]), particles.path.parent)
    if not path.is_file():
        return None
    old, new = read_header(path), read_header(stack)
    if own.max() > old.shape[0] or old.shape[1:] != new.shape[1:]:
        return None
    unlike = np.flatnonzero((own != rows) & (own <= new.shape[0]))
    there, here = old.map(), new.map()
    told = {"file": True, "rows": True}
    for row in unlike[np.unique(np.linspace(0, len(unlike) - 1, min(COMPARED, len(unlike))).astype(np.int64))]:
        image = there[own[row] - 1]
        told["file"] &= np.array_equal(image, here[own[row] - 1])
        told["rows"] &= row < len(here) and np.array_equal(image, here[row])
    found = [kind for kind, alike in told.items() if alike]
    return found[0] if len(unlike) and len(found) == 1 else None


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
    if suffix_of(particles.path) == ".pkl" and target != "cryodrgn" and NO_STACK in particles.image_locations()[1]:
        problem = "images are numbered as the rows of the pickles, which may be those of a part of a stack"
        warnings.warn(f"{particles.path}: {problem}: give it with --images", InputWarning, stacklevel=2)
    if not set(ANGLES) <= set(particles.table) and target in ("star", "cs", "cistem"):
        problem = "has no orientations, and what is written has none"
        remedy = "if others of the job's files have them, give these with --passthrough"
        warnings.warn(
            f"{particles.path}: {problem}" + (f": {remedy}" if suffix_of(particles.path) == ".cs" else ""),
            InputWarning,
            stacklevel=2,
        )
    flat = no_views(particles.table)
    if flat:
        warnings.warn(f"{particles.path}: {flat}, and neither will be what is written", InputWarning, stacklevel=2)
    stacks = pd.unique(particles.image_locations()[1])
    others = [name for name in stacks if not name.lower().endswith((".mrcs", ":mrcs"))]
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
    if suffix_of(particles.path) in NAMES_STACKS:
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


def with_contrast(particles: Particles, images: Path | None, invert: str, target: str) -> Particles:
    """Particles that say whether protein is white or dark in the stored images, where the target has to know.

    cryoSPARC's files say it. Of the others each program takes its own for granted: where the target's is another one
    than that of the program whose file it is, the images are looked at.

    Parameters
    ----------
    particles : Particles
    images : Path or None
        See `read_for_conversion`.
    invert : {'auto', 'yes', 'no'}
        'yes': dark. 'auto': as the particles say, else found in the images.
    target : str
        See `drgnalign.formats.particle_file.target_of`.

    Returns
    -------
    Particles

    Raises
    ------
    InputError
        The target is cryoSPARC's, and the images are not there, or leave it open.

    Warns
    -----
    InputWarning
        They are, and the target is another one.
    """
    contrast = CONTRAST_OF_INVERT.get(invert)
    usual, wanted = usual_contrast(particles), expected_contrast(target)
    if contrast is None and ("drgnContrast" in particles.optics or (target != "cs" and usual == wanted)):
        return particles
    if contrast is None:
        try:
            contrast = _contrast_of_images(particles, images)
        except InputError as error:
            if target == "cs":
                raise
            problem = f"whether protein is dark or white in the images is not known ({error.problem})"
            remedy = f"who reads what is written takes it for {wanted}: look at the images, and say it with --invert"
            warnings.warn(f"{particles.path}: {problem}; {remedy}", InputWarning, stacklevel=2)
            return particles
    return replace(particles, optics=particles.optics.assign(drgnContrast=contrast))


def _contrast_of_images(particles: Particles, images: Path | None) -> str:
    root = images_root(particles.path, images)
    remedy = "give --invert yes (dark protein) or no (white protein), or the images with --images"
    missing = missing_stacks(particles, root)
    if missing or NO_STACK in particles.image_locations()[1]:
        what = f"the stack {missing[0]} is not there" if missing else "it names no stack"
        raise InputError(particles.path, f"{what}, whose images would show the contrast", remedy)
    if "rlnImageSize" not in particles.optics:
        raise InputError(particles.path, "does not say its box, to look at the contrast of its images", remedy)
    try:
        return detect_contrast(particles, root)
    except InputError as error:
        raise InputError(error.file, error.problem, remedy) from error


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
