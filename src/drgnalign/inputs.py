"""From a user's particle file to a checked particle set that has every column of the state."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from drgnalign.arrays import FloatArray, IntArray
from drgnalign.background import Backgrounds, survey_backgrounds
from drgnalign.constants import check_constants
from drgnalign.errors import InputError, InputNote, InputWarning
from drgnalign.exclusion import with_excluded
from drgnalign.files import suffix_of
from drgnalign.formats.cistem import is_cistem
from drgnalign.formats.cryodrgn import read_indices
from drgnalign.formats.cryodrgn_set import read_cryodrgn_set, refuse_other_box
from drgnalign.formats.mrc import ImageSource, StackHeader, find_stack, read_header, tell_doubts, without_folders
from drgnalign.formats.particle_file import Facts, read_particle_file
from drgnalign.formats.star import read_star
from drgnalign.half_maps import DEALT, INDEPENDENT, SHARED, marked, standing
from drgnalign.half_sets import deal, repeats, sharing, ties
from drgnalign.particles import (
    ANGLES,
    BACKGROUND,
    BACKGROUND_ODD,
    BACKGROUND_RADIUS,
    BACKGROUND_SIGMA,
    HALVES,
    LEFT_OUT,
    NO_STACK,
    OCCUPANCY,
    OPTICS_OPTIONS,
    ORIGINS,
    PATH,
    PATH_ERROR,
    REFINEMENT,
    SEARCHED,
    Particles,
    image_names,
    no_views,
)
from drgnalign.run.possible import refuse_diameter
from drgnalign.staging import in_task

# What a run saw in the images, at its labels and poses; and whom the one before it left out.
SEEN = (
    *(SEARCHED, OCCUPANCY, PATH, PATH_ERROR),
    *("drgnAmplitude", "drgnJunkPosterior", "drgnPosterior", "drgnEffectiveClusters", "drgnMembership"),
)
INPUT_LEFT_OUT = "drgnInputLeftOut"
NORMALISE = ("auto", "no")
# RELION's, of a particle: what its grey values have to be divided by, up to a factor for all.
NORM = "rlnNormCorrection"
HALF_SETS = ("file", "deal")
CONTRAST_OF_INVERT = {"yes": "dark", "no": "white"}
# Headers are written with few digits, and pixel sizes are refined later; Å in a nm.
SAME_PIXEL_SIZE, NANOMETRE = 0.05, 10.0
# Share of rows whose images may be beyond their stack's end because these rows are broken.
FEW_BEYOND = 0.01
CONTRAST_SAMPLE = 2000
CONTRAST_BATCH_PIXELS = 2**24
# Share of the differences that is left out at each end.
TRIMMED = 0.2


def import_particles(
    path: str | Path,
    images: str | Path | None = None,
    *,
    passthrough: Sequence[str | Path] = (),
    pixel_size: float | None = None,
    voltage: float | None = None,
    cs: float | None = None,
    amplitude_contrast: float | None = None,
    invert: str = "auto",
    normalise: str = "auto",
    mask_diameter: float | None = None,
    seed: int = 0,
    perturb_rotation: float = 0.0,
    perturb_shift: float = 0.0,
    half_sets: str = "file",
    ctf: Path | None = None,
    ind: Path | None = None,
) -> Particles:
    """Read a user's particle file, check it with its stacks, and complete it to the state of round 0.

    Parameters
    ----------
    path : path
        RELION ``.star``, Frealign ``.par`` or ``.parx``, cryoSPARC ``.cs`` with poses in it, cryoDRGN's poses.
    images : path, optional
        See `images_root`; for a par file and for cryoDRGN's poses the stack itself.
    passthrough : sequence of path, optional
        Of a cryoSPARC file.
    pixel_size, voltage, cs, amplitude_contrast : float, optional
        Å/px, kV, mm, fraction, where the file does not have them.
    invert : {'auto', 'yes', 'no'}
        'yes': the protein is dark in the stored images. 'auto': as the file's own ``drgnContrast`` says, else
        found by `detect_contrast`.
    normalise : {'auto', 'no'}
        'auto': images are normalised as they are read; where `drgnalign.background` finds that a set needs none, only
        those that are far from the others.
    mask_diameter : float, optional
        Å; 85 % of the box without it.
    seed : int
        For the half sets, where the file has none, and for the perturbation.
    perturb_rotation, perturb_shift : float
        Degrees and px. Uniform ± errors on each of rot, tilt, psi and on x and y: the reference method's test
        of robustness.
    half_sets : {'file', 'deal'}
        'file': as the file has them, else dealt; 'deal': dealt, whatever the file has.
    ctf, ind : Path, optional
        cryoDRGN's CTF parameters, and its index of the images to take, where `path` is of its poses.

    Returns
    -------
    Particles
        With all columns of the state: half sets (``rlnRandomSubset``), dealt where there were none
        (`drgnalign.half_sets`), which ``drgnHalves`` in the optics table then says,
        ``rlnClassNumber`` 0 (the file's own in ``drgnInputClassNumber``), ``rlnPhaseShift`` 0 unless given,
        ``drgnRow`` the row in the file from 0, ``drgnContrast`` and ``drgnBackgroundRadius`` (0: images are not
        normalised; see `drgnalign.particles.BACKGROUND`) in the optics table.

    Raises
    ------
    InputError
        Anything that would stop or mislead a later step; the message names the file, row or column, and the
        parameter that helps.

    Warns
    -----
    InputWarning
        Images are normalised; half sets were dealt, or share images; particles are left out.
    """
    if half_sets not in HALF_SETS:
        raise InputError(None, f"--half_sets is {half_sets!r}", "give file or deal")
    if invert not in ("auto", *CONTRAST_OF_INVERT):
        raise InputError(None, f"--invert is {invert!r}", "give auto, yes or no")
    if normalise not in NORMALISE:
        raise InputError(None, f"--normalise is {normalise!r}", "give auto or no")
    stack = None if images is None or not Path(images).is_file() else Path(images)
    facts = Facts(pixel_size, voltage, cs, amplitude_contrast)
    name = None if stack is None else stack.name
    if ctf is None:
        particles = _read(Path(path), name, passthrough, facts)
    else:
        particles = _read_pickles(Path(path), ctf, ind, stack, name, facts)
    particles = with_excluded(particles)
    _check_optics(particles)
    _tell_norms(particles, normalise)
    if half_sets == "deal":
        particles.table.drop(columns="rlnRandomSubset", errors="ignore", inplace=True)
    _check_table(particles)
    root = images_root(path, images)
    particles.optics["rlnImageSize"] = check_images(particles, root)
    found = survey_backgrounds(particles, root, particles.diameter(mask_diameter))
    if normalise == "auto":
        particles.optics = _normalised(particles, root, found)
    else:
        particles.optics = particles.optics.drop(columns=list(BACKGROUND), errors="ignore")
        if found.irregular:
            message = f"images are taken as they are (--normalise no), with {', '.join(found.irregular)}"
            warnings.warn(f"{particles.path}: {message}: maps may be worse for it", InputWarning, stacklevel=2)
        particles.optics[BACKGROUND_RADIUS] = 0.0
    particles.optics["drgnContrast"] = found_contrast(particles, root, invert)
    random = np.random.default_rng(seed)
    particles = _with_half_sets(particles, root, random, half_sets)
    _complete_table(particles.table)
    _perturb(particles, random, perturb_rotation, perturb_shift)
    return particles


def _refuse_samplings(particles: Particles) -> None:
    """Refuse optics groups whose images are not all of one size and pixel size."""
    samplings = (("rlnImagePixelSize", "pixel sizes", "Å"), ("rlnImageSize", "box sizes", "px"))
    for label, what, unit in samplings:
        values = particles.optics.get(label, pd.Series(dtype=float)).dropna()
        if len(values) and not np.allclose(values, values.iloc[0], rtol=1e-6):
            sizes = ", ".join(f"{size:g}" for size in values.unique())
            problem = f"{what} differ between optics groups ({sizes} {unit})"
            raise InputError(particles.path, problem, "rescale the images to one pixel size and one box size")


class Opened(NamedTuple):
    """Particles of a file, as they can be worked with.

    Attributes
    ----------
    particles : Particles
    root : Path
        Folder that their image names are relative to.
    dealt : bool
        Their half sets are not the file's: they were dealt now.
    """

    particles: Particles
    root: Path
    dealt: bool


def open_particles(
    path: Path,
    images: Path | None,
    mask_diameter: float | None = None,
    normalise: str = "auto",
    half_sets: str = "file",
    facts: Facts | None = None,
    invert: str = "auto",
) -> Opened:
    """Particles of a star file, checked with their stacks.

    A file of the workflow's own is taken as it is, if it can be worked with; any other is completed first.
    That images are normalised, half sets dealt, or some particles left out, is said as a warning.

    Parameters
    ----------
    path, images, mask_diameter, normalise, half_sets, invert
        As of `import_particles`.
    facts : Facts, optional
        What the file may lack.

    Raises
    ------
    InputError
        As `import_particles`.
    """
    require_star(path)
    given = asdict(facts or Facts())
    particles = None if is_cistem(path) else read_star(path, **given)
    had_halves = particles is not None and "rlnRandomSubset" in particles.table
    own = (
        particles is not None
        and "drgnRow" in particles.table
        and {"drgnContrast", BACKGROUND_RADIUS} <= set(particles.optics)
    )
    root = images_root(path, images)
    if particles is not None and own and half_sets == "file" and invert == "auto":
        particles = _checked_own(particles, root)
    else:
        particles = import_particles(
            path,
            images,
            mask_diameter=mask_diameter,
            normalise=normalise,
            half_sets=half_sets,
            invert=invert,
            **given,
        )
        had_halves = had_halves or DEALT not in set(particles.optics.get(HALVES, []))
        particles = particles.with_unused_groups_alike()
        particles.refuse_unusable()
        _refuse_samplings(particles)
    if "rlnRandomSubset" not in particles.table:
        particles = _with_half_sets(particles, root, np.random.default_rng(0), half_sets)
    refuse_diameter(particles, mask_diameter, "--mask-diameter")
    out = particles.left_out() & ~particles.excluded()
    if out.any():
        message = f"{path}: {out.sum():,} of {len(particles):,} particles are left out, as {LEFT_OUT} says"
        warnings.warn(message, InputNote, stacklevel=2)
    return Opened(particles, root, half_sets == "deal" or not had_halves)


def require_star(path: Path) -> None:
    """Refuse what is no star file, by its name."""
    if suffix_of(path) != ".star":
        made = shlex.join(["drgnalign", "convert", str(path), "-o", str(path.with_suffix(".star"))])
        raise InputError(path, "poses are taken from star files", f"make one: {made}, and give that")


def _checked_own(particles: Particles, root: Path) -> Particles:
    """Particles of a file of the workflow's own, which may have been changed since, or lie beside other stacks."""
    particles = particles.with_unused_groups_alike()
    _check_optics(particles)
    particles.refuse_unusable()
    check_constants(particles)
    particles = with_excluded(particles)
    particles.require_ctf()
    particles.require_poses()
    _refuse_no_views(particles)
    _refuse_other_contrasts(particles)
    # in a run CHECK_INPUTS has looked at all stacks, which every chunk would open twice, and at the half sets
    if not in_task():
        _refuse_too_few(particles)
        check_images(particles, root)
        if "rlnRandomSubset" in particles.table:
            particles = _with_half_sets(particles, root, np.random.default_rng(0), "file")
    if BACKGROUND_RADIUS not in particles.optics:
        _tell_norms(particles, "no")
    return particles


def _tell_norms(particles: Particles, normalise: str) -> None:
    """Say that RELION's factors of grey values are not used: the noise of the images tells how strong they are."""
    norms = particles.table.get(NORM, pd.Series(dtype=float))
    if norms.nunique() > 1:
        why = "the noise of the images is measured, and brought to one strength where it differs"
        if normalise == "no":
            why = "images are taken as they are, however strong (--normalise)"
        warnings.warn(f"{particles.path}: {NORM} is not used: {why}", InputNote, stacklevel=3)


def _normalised(particles: Particles, root: Path, found: Backgrounds) -> pd.DataFrame:
    """The optics table with what images are normalised by, if they have to be."""
    found.refuse_masked(particles.path)
    if found.done:
        warnings.warn(f"{particles.path}: {found.done}", InputNote, stacklevel=3)
    optics = particles.optics.copy()
    optics[BACKGROUND_RADIUS], optics[BACKGROUND_SIGMA] = found.radius, found.levels
    optics[BACKGROUND_ODD] = int(not found.irregular)
    if len(found.masked):
        # which names all of them
        ImageSource(replace(particles, optics=optics), root).read(found.masked)
    return optics


def undecided(particles: Particles) -> Particles:
    """Particles as a run starts with them: it decides by itself who is left out.

    Whom an earlier run left out last stays as ``drgnInputLeftOut``; what it saw in the images is not kept. Whom the
    program of the user's file left out (``drgnExcluded``) stays left out.
    """
    gone = [column for column in SEEN if column in particles.table]
    gone += [INPUT_LEFT_OUT] if {LEFT_OUT, INPUT_LEFT_OUT} <= set(particles.table) else []
    return replace(particles, table=particles.table.drop(columns=gone).rename(columns={LEFT_OUT: INPUT_LEFT_OUT}))


def as_it_came(particles: Particles) -> Particles:
    """Particles that `import_particles` has completed, with the half sets and without what a run alone needs."""
    table = particles.table.drop(columns=["drgnRow", "rlnClassNumber"], errors="ignore")
    optics = particles.optics.drop(columns=list(BACKGROUND), errors="ignore")
    return replace(particles, table=table.rename(columns={"drgnInputClassNumber": "rlnClassNumber"}), optics=optics)


def as_labelled(particles: Particles) -> Particles:
    """Particles of `open_particles` with the labels of their file, which one that is not the workflow's own loses."""
    if "drgnInputClassNumber" not in particles.table or particles.cluster_labels().any():
        return particles
    labels = particles.table["drgnInputClassNumber"]
    return replace(particles, table=particles.table.assign(rlnClassNumber=labels))


def images_root(path: str | Path, images: str | Path | None) -> Path:
    """The folder that relative stack names refer to.

    Parameters
    ----------
    path : path
        The particle file.
    images : path or None
        A folder, which is then the root, or a file in it; without it the root is the particle file's folder.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        `images` does not exist.
    """
    if images is None:
        return Path(path).parent
    images = Path(images)
    if not images.exists():
        raise InputError(images, "no such file or folder", "correct --images")
    return images if images.is_dir() else images.parent


def check_images(particles: Particles, root: Path) -> int:
    """Check from the stacks' headers that every image is there and that all are squares of one size.

    Parameters
    ----------
    particles : Particles
    root : Path
        Folder that relative stack names refer to.

    Returns
    -------
    int
        The box, px.

    Raises
    ------
    InputError
        A stack is missing or truncated, lies elsewhere than its name says (`tell_places`), two are found as one file,
        a row's image is beyond its stack's end, an image is not square, or box sizes differ between stacks or from
        ``rlnImageSize``; the pixel size is a tenth of that in the headers.

    Warns
    -----
    InputWarning
        The headers have another pixel size; see `drgnalign.formats.mrc.tell_doubts`.
    """
    numbers, names = particles.image_locations()
    spelling_of, spellings = pd.factorize(names)
    # a.mrcs and ./a.mrcs are one
    stack_of_spelling, stacks = pd.factorize(np.array([os.path.normpath(name) for name in spellings], object))
    stack_of = stack_of_spelling[spelling_of]
    tell_places(particles.path, list(map(str, stacks)), root)
    paths = [find_stack(name, root) for name in stacks]
    # by a full path, or with its type, one file may be named so too
    if len(set(paths)) < len(paths) and without_folders(stacks, root):
        twice = next(path for path in paths if paths.count(path) > 1)
        problem = "several stacks of different folders would be read from this one file"
        raise InputError(twice, problem, "give the folder that the image names with their folders refer to")
    headers = _read_headers(paths)
    boxes = np.array([_square_box(header) for header in headers])
    if len(np.unique(boxes)) > 1:
        other = headers[int((boxes != boxes[0]).argmax())]
        problem = f"its images are {other.shape[1]} px wide, those of {headers[0].path} {boxes[0]} px"
        raise InputError(other.path, problem, "give images of one box size")
    _check_pixel_sizes(particles, headers, stack_of)
    counts = np.array([header.shape[0] for header in headers])[stack_of]
    beyond = numbers > counts
    first = beyond.argmax()
    _refuse_beyond(particles, beyond, f"{numbers[first]} of {names[first]}, which holds {counts[first]}")
    _check_image_size(particles, int(boxes[0]))
    return int(boxes[0])


def _refuse_beyond(particles: Particles, beyond: NDArray[np.bool_], where: str) -> None:
    """Refuse rows (N,) whose images are beyond their stack's end; `where` is said of the first.

    Few may be broken; where there are more the stack is hardly that of the particles, and to drop them would be wrong.
    """
    if beyond.sum() > max(1, FEW_BEYOND * len(beyond)):
        problem = f"row {beyond.argmax() + 1}: asks for image {where} ({beyond.sum()} such rows)"
        likely = "probably this is another stack of that name, or a part of it"
        remedy = "give the stack that the particles come from, or its folder, with --images"
        raise InputError(particles.path, f"{problem}: {likely}", remedy)
    if beyond.any() and not (particles.image_locations()[0] == 1).any():
        problem = f"row {beyond.argmax() + 1}: asks for image {where}, and no row for the first image of a stack"
        remedy = (
            "the numbers may all be one too large: images count from 1 in star and par files, blob/idx of .cs from 0"
        )
        raise InputError(particles.path, problem, f"{remedy}; if they are right, leave the row out with --drop")
    particles.refuse_rows(beyond, f"asks for image {where}")


def check_found(particles: Particles, root: Path, remedy: str) -> None:
    """Check a particle set against the headers of those of its stacks that are there, as `check_images` does.

    Images of several sizes are none of a run's, but may stand in a file.

    Parameters
    ----------
    particles : Particles
    root : Path
        Folder that relative stack names refer to.
    remedy : str
        What to do about a box that is not the stack's.

    Raises
    ------
    InputError
        An image is beyond its stack's end, its box is another one than ``rlnImageSize`` says, or a stack is broken or
        lies elsewhere than its name says.

    Warns
    -----
    InputWarning
        Pixel sizes differ from those of the headers.
    """
    numbers, names = particles.image_locations()
    stack_of, stacks = pd.factorize(names)
    paths = [find_stack(str(name), root) for name in stacks]
    there = np.array([path.is_file() and name != NO_STACK for name, path in zip(stacks, paths, strict=True)])
    rows = np.flatnonzero(there[stack_of])
    if not len(rows):
        return
    tell_places(particles.path, [str(name) for name, found in zip(stacks, there, strict=True) if found], root)
    headers = [read_header(path) for path, found in zip(paths, there, strict=True) if found]
    tell_doubts(headers)
    header_of = (np.cumsum(there) - 1)[stack_of[rows]]
    part = particles if len(rows) == len(particles) else particles.select(rows)
    counts, boxes = (np.array([header.shape[axis] for header in headers])[header_of] for axis in (0, 2))
    beyond = np.zeros(len(particles), np.bool_)
    beyond[rows] = numbers[rows] > counts
    if beyond.any():
        first = int((numbers[rows] > counts).argmax())
        where = f"{numbers[rows][first]} of {headers[header_of[first]].path}, which holds {counts[first]}"
        _refuse_beyond(particles, beyond, where)
    if "rlnImageSize" in part.optics:
        said = part.optics["rlnImageSize"].to_numpy(np.float64)[part.optics_rows()]
        odd = np.isfinite(said) & (said != boxes)
        if odd.any():
            first = int(odd.argmax())
            problem = f"its box is {said[first]:g} px, that of {headers[header_of[first]].path} {boxes[first]}"
            raise InputError(particles.path, problem, remedy)
    _check_pixel_sizes(part, headers, header_of)


def tell_places(path: Path, names: Sequence[str], root: Path) -> None:
    """Say which stacks are taken from elsewhere than their names say; refuse it where others lie as named.

    Parameters
    ----------
    path : Path
        The particle file.
    names : sequence of str
        Of its stacks.
    root : Path
        Folder that relative names refer to.

    Raises
    ------
    InputError
        Some lie where their names say, so that these are of that folder, and others would be taken from another.

    Warns
    -----
    InputWarning
    """
    lost = without_folders(names, root)
    if not lost:
        return
    problem = f"{lost[0]} is not there, but {find_stack(lost[0], root)} is"
    problem += f" ({len(lost):,} of {len(names):,} stacks)" if len(names) > 1 else ""
    if any(find_stack(name, root).is_file() for name in set(names) - set(lost)):
        problem += ": stacks that lie beside the folder that names say may be others of the same name"
        raise InputError(path, problem, "put them where their names say, or correct the names")
    warnings.warn(f"{path}: {problem}: it is taken, without the folders of its name", InputWarning, stacklevel=3)


def detect_contrast(particles: Particles, root: Path) -> str:
    """Find out whether protein is white or dark in the stored images.

    Per image, the mean of a central disc (radius below 0.2 box) minus that of a ring (0.4 to 0.48 box), and
    over up to 2,000 evenly spread images Student's t of that difference, of its trimmed mean. Amplitude contrast and
    underfocus make the CTF positive at low frequency, so that the sign is the protein's. Means of images as they are
    decide more clearly than CTF-multiplied, whitened or band-limited ones: t/√n was 5.6 against 0.9 to 1.8 on
    ribosomes (EMPIAR-10076), and 2.4 against at most 0.4, with either sign, on ATP synthase.

    Parameters
    ----------
    particles : Particles
        With ``rlnImageSize``, without ``drgnContrast``.
    root : Path
        Folder that relative stack names refer to.

    Returns
    -------
    str
        'white' or 'dark'.

    Raises
    ------
    InputError
        |t| is not above 5, or not above the two-sided 10⁻⁴ quantile, which is larger for few images.
    """
    _, differences = _discs_minus_rings(particles, root)
    t, images = _students_t(differences), len(differences)
    if np.isnan(t):
        problem = f"all {images} images looked at are blank, or alike where a particle and its background would be"
        raise InputError(particles.path, problem, "give the stacks with the images, and make them again if they are so")
    if not abs(t) > _clear(images):
        problem = f"contrast is not clear: t = {t:.1f} of {images} images, {_clear(images):.1f} would decide"
        raise InputError(particles.path, problem, "give --invert yes (dark protein) or no (white protein)")
    return "white" if t > 0 else "dark"


def _discs_minus_rings(particles: Particles, root: Path) -> tuple[IntArray, FloatArray]:
    """Optics rows (n,) of the images that `detect_contrast` looks at, and the differences (n,) that it is of."""
    kept = np.flatnonzero(~particles.left_out())
    rows = kept[np.unique(np.linspace(0, len(kept) - 1, CONTRAST_SAMPLE).astype(np.int64))]
    source = ImageSource(particles, root)
    batches = np.array_split(rows, -(-len(rows) * source.box**2 // CONTRAST_BATCH_PIXELS))
    differences = np.concatenate([_disc_minus_ring(source.read(batch)) for batch in batches])
    return particles.optics_rows()[rows], differences


def _students_t(values: FloatArray) -> float:
    """Of trimmed means (Yuen 1974, Biometrika 61, 165): edges and beads in some of the images decide nothing."""
    ordered, cut = np.sort(values), int(TRIMMED * len(values))
    kept = ordered[cut : len(values) - cut]
    drawn_in = np.clip(ordered, kept[0], kept[-1])
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(kept.mean() / drawn_in.std(ddof=1) * (1 - 2 * TRIMMED) * np.sqrt(len(values)))


def _clear(images: int) -> float:
    """What Student's t of so many images must exceed."""
    return max(5.0, -float(scipy.special.stdtrit(images - 1, 0.5e-4)))


def _clear_signs(groups: IntArray, differences: FloatArray) -> dict[int, int]:
    """1 where protein is clearly white, −1 where it is dark, by row of the optics table."""
    counts = {int(group): differences[groups == group] for group in np.unique(groups)}
    ts = {group: (_students_t(mine), _clear(len(mine))) for group, mine in counts.items() if len(mine) > 1}
    return {group: 1 if t > 0 else -1 for group, (t, clear) in ts.items() if abs(t) > clear}


def found_contrast(particles: Particles, root: Path, invert: str) -> str | pd.Series:
    """Whether protein is white or dark in the images of each optics group, as `import_particles` has it of `invert`."""
    if invert != "auto":
        _tell_other_contrasts(particles, root, invert)
        return CONTRAST_OF_INVERT[invert]
    declared = particles.optics.get("drgnContrast")
    if declared is not None:
        _refuse_other_contrasts(particles)
    groups, differences = _discs_minus_rings(particles, root)
    signs, names = _clear_signs(groups, differences), particles.optics["rlnOpticsGroup"]
    if declared is None:
        if len(set(signs.values())) < 2:
            return detect_contrast(particles, root)
        return _of_both_contrasts(particles, signs, groups)
    # as declared the images come out white; a clear sign of the opposite is a mistake somewhere
    t = _students_t(differences)
    wrong = [group for group, sign in signs.items() if sign < 0]
    if wrong or t < -_clear(len(differences)):
        of = f" (t = {t:.1f} of {len(differences)})" if len(signs) < 2 else ""
        where = f" of optics group {', '.join(str(names.iloc[group]) for group in wrong)}" if len(signs) > 1 else ""
        problem = f"it says protein is {' and '.join(declared.unique())} in its images, which look otherwise"
        remedy = "look at the images, and give --invert yes (dark protein) or no (white protein)"
        remedy = remedy if len(wrong) == len(signs) or not where else "correct drgnContrast in the optics table"
        raise InputError(particles.path, f"{problem}{where}{of}", remedy)
    return declared


def _tell_other_contrasts(particles: Particles, root: Path, invert: str) -> None:
    """Say where images clearly look otherwise than ``--invert`` says."""
    optics, said = particles.optics.drop(columns="drgnContrast", errors="ignore"), CONTRAST_OF_INVERT[invert]
    signs = _clear_signs(*_discs_minus_rings(replace(particles, optics=optics), root))
    other, sign = ("white", 1) if said == "dark" else ("dark", -1)
    contrary = [str(optics["rlnOpticsGroup"].iloc[group]) for group in signs if signs[group] == sign]
    if contrary:
        which = f" of optics group {', '.join(contrary)}" if len(optics) > 1 else ""
        problem = f"protein looks {other} in the images{which}, and --invert {invert} takes it for {said}"
        warnings.warn(f"{particles.path}: {problem}: leave it out, if a map comes out inside out", InputWarning, 4)


def _of_both_contrasts(particles: Particles, signs: dict[int, int], groups: IntArray) -> pd.Series:
    """Groups as their images show them, those that do not as most images."""
    counts = np.bincount(groups, minlength=len(particles.optics))
    most = 1 if sum(sign * counts[group] for group, sign in signs.items()) >= 0 else -1
    found = [signs.get(group, most) for group in range(len(particles.optics))]
    names = {
        word: ", ".join(str(particles.optics["rlnOpticsGroup"].iloc[group]) for group in signs if signs[group] == sign)
        for word, sign in (("dark", -1), ("white", 1))
    }
    shown = f"protein is dark in the images of optics group {names['dark']}, and white in those of {names['white']}"
    warnings.warn(f"{particles.path}: {shown}: each is turned as it needs", InputWarning, stacklevel=4)
    return pd.Series(np.where(np.array(found) > 0, "white", "dark"), particles.optics.index)


def _refuse_other_contrasts(particles: Particles) -> None:
    if not particles.used_optics()["drgnContrast"].isin(["white", "dark"]).all():
        raise InputError(particles.path, "drgnContrast is neither white nor dark", "correct or remove the column")


def stack_names(
    path: Path,
    stack: str | None = None,
    passthrough: Sequence[str | Path] = (),
    facts: Facts | None = None,
    ctf: Path | None = None,
) -> list[str]:
    """The stacks that a particle file names, as it spells them, sorted.

    Parameters
    ----------
    path, stack, passthrough, facts
        As of `drgnalign.formats.particle_file.read_particle_file`.
    ctf
        As of `import_particles`.

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        The file cannot be read, or does not name its stack.
    """
    if ctf is None:
        read = _read(path, stack, passthrough, facts or Facts())
    else:
        # of which images is known where the stack is
        read = _read_pickles(path, ctf, None, None, stack, Facts())
    return sorted(set(read.image_locations()[1]))


def _read(path: Path, stack: str | None, passthrough: Sequence[str | Path], facts: Facts) -> Particles:
    if suffix_of(path) in (".par", ".parx") and stack is None:
        raise InputError(path, "a par file does not name its stack", "give the stack with --images")
    particles = read_particle_file(path, stack, passthrough, facts)
    numbers, stacks = particles.image_locations()
    if NO_STACK not in stacks:
        return particles
    if stack is None or (stacks != NO_STACK).any():
        raise InputError(path, "it does not name its stack", "give the stack with --images")
    return replace(particles, table=particles.table.assign(rlnImageName=image_names(numbers, stack)))


def _read_pickles(
    poses: Path, ctf: Path, ind: Path | None, stack: Path | None, name: str | None, facts: Facts
) -> Particles:
    """Of cryoDRGN; where its pixel size is given, `stack` may be of another sampling. None: it cannot be looked at."""
    if name is None:
        raise InputError(poses, "cryoDRGN's files do not name their stack", "give it with --images")
    box = None
    if stack is not None and facts.pixel_size is not None:
        box = read_header(stack).shape[2]
    elif stack is not None:
        refuse_other_box(ctf, stack)
    indices = None if ind is None else read_indices(ind)
    return read_cryodrgn_set(poses, ctf, stack, name, indices, box=box, **asdict(facts))


def _check_optics(particles: Particles) -> None:
    path, optics = particles.path, particles.optics
    # the box comes from the stacks
    needed = [label for label in OPTICS_OPTIONS if label != "rlnImageSize"]
    missing = [label for label in needed if label not in optics]
    if missing:
        parameters = ", ".join(OPTICS_OPTIONS[label] for label in missing)
        raise InputError(path, f"has no {', '.join(missing)}", f"give {parameters}")
    particles.refuse_not_finite()
    _refuse_samplings(particles)


def _check_table(particles: Particles) -> None:
    particles.require_ctf()
    particles.require_poses()
    _refuse_no_views(particles)
    particles.refuse_unusable()
    _refuse_too_few(particles)


def _refuse_too_few(particles: Particles) -> None:
    """Refuse particles of which no two half maps can be made."""
    table = particles.table[~particles.left_out()]
    if len(table) < 2:
        count = "only one particle" if len(table) else "no particle"
        in_maps = " that is not left out" if len(table) < len(particles) else ""
        raise InputError(particles.path, f"has {count}{in_maps}", "give at least two")
    if "rlnRandomSubset" in table and table["rlnRandomSubset"].nunique() < 2:
        problem = f"rlnRandomSubset is {table['rlnRandomSubset'].iloc[0]} for all particles"
        raise InputError(particles.path, problem, "give both half sets, or --half_sets deal to have them dealt anew")


def _refuse_no_views(particles: Particles) -> None:
    """Refuse poses that are none in 3-D."""
    problem = no_views(particles.table[~particles.left_out()])
    if problem:
        raise InputError(particles.path, problem, f"give {REFINEMENT}")


def _with_half_sets(particles: Particles, root: Path, random: np.random.Generator, half_sets: str) -> Particles:
    """Particles with half sets, and with what is known against them; that rows repeat images is told."""
    path, tied = particles.path, ties(particles, root)
    if "rlnRandomSubset" in particles.table:
        divided = _with_known_halves(particles, tied)
    else:
        halves = deal(tied, random, path)
        why = "its half sets are not used" if half_sets == "deal" else "has no half sets"
        how = f"they are dealt by chance, never parting {', '.join(tied)}"
        told = f"{how}. Poses that one map of all particles made are not independent at once: see docs/usage.md"
        warnings.warn(f"{path}: {why}: {told}", InputWarning, stacklevel=3)
        divided = marked(replace(particles, table=particles.table.assign(rlnRandomSubset=halves)), DEALT)
    repeated = repeats(particles, tied)
    if repeated:
        warnings.warn(f"{path}: {repeated}", InputWarning, stacklevel=3)
    return divided


def _with_known_halves(particles: Particles, tied: dict[str, IntArray]) -> Particles:
    """Particles with what is known against the half sets that they have, which is told."""
    shared = sharing(particles, tied)
    if shared:
        warnings.warn(f"{particles.path}: {shared}", InputWarning, stacklevel=4)
        return marked(particles, SHARED)
    known = standing(particles, ~particles.left_out(), None)
    if known != INDEPENDENT:
        warnings.warn(f"{particles.path}: its half sets are {known}, as {HALVES} says", InputWarning, stacklevel=4)
    return particles


def _complete_table(table: pd.DataFrame) -> None:
    if "rlnClassNumber" in table:
        table["drgnInputClassNumber"] = table["rlnClassNumber"]
    table["rlnClassNumber"] = 0
    if "rlnPhaseShift" not in table:
        table["rlnPhaseShift"] = 0.0
    table["drgnRow"] = np.arange(len(table))


def _read_headers(paths: list[Path]) -> list[StackHeader]:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        problem = f"no such stack ({len(missing)} of {len(paths)} are missing)"
        if missing[0].is_dir():
            raise InputError(missing[0], "is a folder, where a stack is named", "correct the image names")
        if Path(f"{missing[0]}.gz").exists():
            raise InputError(missing[0], f"{problem}, but {missing[0].name}.gz is there", "unpack it")
        raise InputError(missing[0], problem, "give the folder that the image names refer to with --images")
    headers = [read_header(path) for path in paths]
    tell_doubts(headers)
    return headers


def _square_box(header: StackHeader) -> int:
    _, rows, columns = header.shape
    if rows != columns:
        raise InputError(header.path, f"its images are {columns} × {rows} px", "give square images")
    return columns


def _check_image_size(particles: Particles, box: int) -> None:
    if "rlnImageSize" not in particles.optics:
        return
    # one for all: see `_refuse_samplings`
    told = particles.optics["rlnImageSize"].iloc[0]
    if told != box:
        problem = f"rlnImageSize is {told}, but the images are {box} px wide"
        raise InputError(particles.path, problem, "give the stacks that belong to the file, or correct it")


def _check_pixel_sizes(particles: Particles, headers: Sequence[StackHeader], stack_of: NDArray[np.int64]) -> None:
    """Refuse pixel sizes in nm, and tell others that contradict those of the headers, where these say one."""
    if "rlnImagePixelSize" not in particles.optics:
        return
    said = particles.optics["rlnImagePixelSize"].to_numpy(np.float64)[particles.optics_rows()]
    there = np.array([header.trusted_pixel_size or np.nan for header in headers])[stack_of]
    ratio = there / said
    tenth = np.abs(ratio / NANOMETRE - 1) < SAME_PIXEL_SIZE
    if tenth.any():
        row = int(tenth.argmax())
        problem = f"the pixel size is {said[row]:g}, that in the header of its stack {there[row]:g} Å"
        raise InputError(particles.path, problem, "it seems to be in nm: correct it in the file, or the header")
    odd = np.abs(ratio - 1) > SAME_PIXEL_SIZE
    if odd.any():
        row = int(odd.argmax())
        two = f"{said[row]:g} Å, {there[row]:g} Å in the header of {headers[stack_of[row]].path}"
        message = f"{particles.path}: the pixel size is {two} ({odd.sum():,} such rows): the first is used"
        warnings.warn(message, InputWarning, stacklevel=3)


def _disc_minus_ring(images: NDArray[np.float32]) -> NDArray[np.float64]:
    box = images.shape[-1]
    axis = (np.arange(box) - box // 2) / box
    radius = np.hypot(axis[:, None], axis)
    disc, ring = radius < 0.2, (radius > 0.4) & (radius < 0.48)
    return images[:, disc].mean(1, dtype=np.float64) - images[:, ring].mean(1, dtype=np.float64)


def _perturb(particles: Particles, random: np.random.Generator, degrees: float, pixels: float) -> None:
    table = particles.table
    table[ANGLES] += random.uniform(-degrees, degrees, (len(table), 3))
    table[ORIGINS] += random.uniform(-pixels, pixels, (len(table), 2)) * particles.pixel_size
