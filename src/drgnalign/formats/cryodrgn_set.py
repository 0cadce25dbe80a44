"""cryoDRGN's poses, CTF parameters and index, together with the stack that they are of and do not name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from drgnalign.arrays import IntArray
from drgnalign.constants import check_constants
from drgnalign.errors import InputError
from drgnalign.formats.cryodrgn import read_cryodrgn, read_ctf
from drgnalign.formats.mrc import read_header
from drgnalign.particles import Particles, image_names


def read_cryodrgn_set(
    poses: Path | None,
    ctf: Path | None,
    stack: Path | None,
    name: str | None,
    indices: IntArray | None = None,
    *,
    box: int | None = None,
    pixel_size: float | None = None,
    voltage: float | None = None,
    cs: float | None = None,
    amplitude_contrast: float | None = None,
) -> Particles:
    """Particles of cryoDRGN's pickles, with the numbers that their images have in the stack.

    Parameters
    ----------
    poses, ctf : Path or None
        One of them at least.
    stack : Path or None
        Of their images, if it is there to be looked at.
    name : str or None
        How the particles are to call it.
    indices : (n,) int64, optional
        The images to take, from 0.
    box, pixel_size, voltage, cs, amplitude_contrast : float, optional
        See `drgnalign.formats.cryodrgn.read_cryodrgn`.

    Returns
    -------
    Particles

    Raises
    ------
    InputError
        A file cannot be read, or files, index and stack do not fit one another.
    """
    values = {"pixel_size": pixel_size, "voltage": voltage, "cs": cs, "amplitude_contrast": amplitude_contrast}
    particles = read_cryodrgn(poses, ctf, name, box=box, **values)
    # what is odd may be of either
    both = " and ".join(str(file) for file in (poses, ctf) if file is not None)
    check_constants(replace(particles, path=Path(both)))
    return _of_images(particles, stack, indices)


def refuse_other_box(ctf: Path, stack: Path) -> None:
    """Refuse a CTF file of images of another box than a stack's: cryoDRGN takes these for the same at another sampling,
    which cropped ones are not.

    Parameters
    ----------
    ctf, stack : Path
    """
    box, said = read_header(stack).shape[2], read_ctf(ctf)[["rlnImageSize", "rlnImagePixelSize"]]
    other = said["rlnImageSize"] != box
    if other.any():
        first = said[other].iloc[0]
        problem = f"its box is {first['rlnImageSize']:g} px, that of {stack} {box}"
        scaled = first["rlnImageSize"] * first["rlnImagePixelSize"] / box
        remedy = f"give the stack that it is of, or --pixel_size {scaled:.6g} if this one is the same, finer or coarser"
        raise InputError(ctf, problem, remedy)


def _of_images(particles: Particles, stack: Path | None, indices: IntArray | None) -> Particles:
    """Particles with the numbers of their images, which pickles know by their order alone.

    With an index cryoDRGN takes the rows and the images that it names; poses may also be those of its images alone.
    """
    rows = len(particles)
    held = None if stack is None else read_header(stack).shape[0]
    if indices is None:
        if held is not None and held != rows:
            problem = f"has {rows:,} rows, and {stack} holds {held:,} images: pickles know images by their order alone"
            raise InputError(particles.path, problem, "give the stack of these images, or cryoDRGN's index with --ind")
        return particles
    last = int(indices.max(initial=-1))
    whole = last < rows and held in (None, rows)
    chosen = len(indices) == rows and (held is None or last < held)
    if not (whole or chosen):
        problem = f"has {rows:,} rows, the index file {len(indices):,}, up to {last} (from 0)"
        problem += "" if held is None else f", and {stack} holds {held:,} images"
        raise InputError(particles.path, problem, "give index, pickles and stack of one set")
    if whole and chosen and (indices != np.arange(rows)).any():
        problem = f"its {rows:,} rows may be in the order of the index file, or of the images: both fit"
        raise InputError(particles.path, problem, "leave --ind out if rows are those of the images, in their order")
    if not chosen:
        return particles.select(indices)
    _, stacks = particles.image_locations()
    return replace(particles, table=particles.table.assign(rlnImageName=image_names(indices + 1, str(stacks[0]))))
