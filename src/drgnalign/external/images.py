"""The one stack that a Frealign program reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from drgnalign.ctf import PlainImages
from drgnalign.formats.mrc import ImageSource, StackWriter, find_stack, read_header
from drgnalign.interface import Chunk
from drgnalign.particles import Particles, image_names

# 16-bit integers and floats are read alike by all versions; Frealign 9 takes bytes to have no sign.
MODES = ("i2", "f4")
# Frealign 9 dies of longer ones.
LONGEST_HEADER = 2048
STACK = "stack.mrcs"
BATCH_PIXELS = 2**24


def stack_for(chunk: Chunk, folder: Path) -> tuple[Particles, bool]:
    """Put the stack of a chunk's images into a folder, as `STACK`.

    A link, where the images are in one stack that the programs can read, are not normalised, and are stored as they
    were taken; else their images, white, in the order of the rows, as `drgnalign.ctf.PlainImages` makes them. The
    caller removes the folder.

    Parameters
    ----------
    chunk : Chunk
    folder : Path

    Returns
    -------
    particles : Particles
        Named after their place in `STACK`.
    dark : bool
        Whether protein is dark in it, as the programs want it.
    """
    particles = chunk.particles
    numbers, names = particles.image_locations()
    contrasts = set(particles.optics["drgnContrast"].to_numpy()[particles.optics_rows()])
    target, plain = folder / STACK, PlainImages(particles, particles.box)
    source, images = find_stack(names[0], chunk.images), ImageSource(particles, chunk.images)
    is_one = len(set(names)) == 1 and len(contrasts) == 1 and len(set(numbers)) == len(numbers)
    if is_one and _readable(source) and not images.normalises and plain.are_stored:
        target.symlink_to(source.resolve())
        return _named(particles, numbers), contrasts == {"dark"}
    with StackWriter(target, len(particles), particles.box, particles.pixel_size) as stack:
        batches = -(-len(particles) * particles.box**2 // BATCH_PIXELS)
        for rows in np.array_split(np.arange(len(particles)), batches):
            stack.append(plain.of(images.read(rows), rows))
    return _named(particles, np.arange(1, len(particles) + 1)), False


def _readable(path: Path) -> bool:
    header = read_header(path)
    dtype = header.dtype
    plain = dtype.str[1:] in MODES and dtype.newbyteorder("=") == dtype and not header.is_transposed
    return plain and header.offset <= LONGEST_HEADER


def _named(particles: Particles, numbers: np.ndarray) -> Particles:
    return replace(particles, table=particles.table.assign(rlnImageName=image_names(numbers, STACK)))
