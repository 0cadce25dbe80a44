"""Derived image stacks: Fourier-cropped particles for cryoDRGN, and for assignment."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from drgnalign.ctf import PlainImages, plain_optics
from drgnalign.engine.fft import radices_of
from drgnalign.errors import InputError
from drgnalign.formats.mrc import ImageSource, StackWriter, read_header
from drgnalign.fourier import crop_images
from drgnalign.particles import BACKGROUND, Particles, image_names

BATCH_PIXELS = 2**23
# Fourier pixels beyond a limit that images for it keep; they are made anew where that saves this share of their pixels.
ROOM, WORTH_IT = 2, 0.2


def downsample_stack(particles: Particles, source: ImageSource, box: int, path: Path) -> float:
    """Write all particles' images, white protein, cropped in Fourier space.

    They become what a lens without odd aberrations gives, neither flipped nor multiplied by their CTF
    (`drgnalign.ctf.PlainImages`); `with_stack` says so of them.

    Every pixel of the input passes through here, so this is also where NaN and infinite pixels are refused
    (by the reader), and blank images.

    Parameters
    ----------
    particles : Particles
    source : ImageSource
    box : int
        New size in px, even, at most the images' own.
    path : Path
        Stack to write, float32.

    Returns
    -------
    float
        Pixel size of the new stack, Å.

    Raises
    ------
    InputError
        The box is odd or larger than the images, or an image is blank.
    """
    if box % 2 or box > particles.box:
        raise InputError(
            particles.path,
            f"images of {particles.box} px cannot be down-sampled to {box} px",
            f"give an even --train_box of at most {particles.box}",
        )
    pixel_size = particles.pixel_size * particles.box / box
    is_blank, plain = np.zeros(len(particles), bool), PlainImages(particles, box)
    step = max(1, BATCH_PIXELS // particles.box**2)
    with (
        StackWriter(path, len(particles), box, pixel_size) as stack,
        tqdm(total=len(particles), desc="downsample", unit="particle", disable=None) as progress,
    ):
        for start in range(0, len(particles), step):
            rows = np.arange(start, min(start + step, len(particles)))
            images = source.read(rows)
            # Frealign makes NaN of such an image, and of all that it adds it to.
            is_blank[rows] = images.min(axis=(1, 2)) == images.max(axis=(1, 2))
            # after the first such image the others are looked for, which one message names: each run reads all
            if not is_blank.any():
                stack.append(plain.of(crop_images(images, box), rows))
            progress.update(len(rows))
        particles.refuse_rows(is_blank, "the image is blank: all its pixels are alike")
    return pixel_size


def with_stack(particles: Particles, stack: Path) -> Particles:
    """The same particles with the images of a stack of ours, as they are read: down-sampled, white, normalised, without
    odd aberrations, neither flipped nor multiplied by their CTF. Magnification and even aberrations are in them still.
    """
    box = read_header(stack).shape[1]
    pixel_size = particles.pixel_size * particles.box / box
    optics = plain_optics(particles.optics).assign(rlnImageSize=box, rlnImagePixelSize=pixel_size)
    optics = optics.drop(columns=["drgnContrast", *BACKGROUND], errors="ignore")
    names = image_names(np.arange(1, len(particles) + 1), stack.name)
    return replace(particles, table=particles.table.assign(rlnImageName=names), optics=optics)


def box_for_limit(particles: Particles, limit: float) -> int:
    """The smallest box, px, in which images reach a limit in Å and are transformed fast; at most their own."""
    reach = math.ceil(particles.box * particles.pixel_size / limit) + ROOM
    fast = (size for size in range(2 * reach, particles.box + 1) if radices_of(size))
    return next(fast, particles.box - particles.box % 2)


def is_worth_it(new: int, box: int) -> bool:
    """Is a stack of another box enough smaller?"""
    return new**2 <= (1 - WORTH_IT) * box**2


def coarsen(particles: Particles, images: Path, stack: Path, limit: float, path: Path) -> None:
    """Write the stack for assignment: just fine enough for its limit. Nothing where the training stack will do.

    Parameters
    ----------
    particles : Particles
    images : Path
        Folder that their image names are relative to; read where the training stack does not reach the limit.
    stack : Path
        The training stack.
    limit : float
        Å.
    path : Path
        Stack to write.
    """
    given, box = with_stack(particles, stack), box_for_limit(particles, limit)
    if given.box < box and 2 * given.pixel_size > limit:
        downsample_stack(particles, ImageSource(particles, images), box, path)
    elif is_worth_it(box, given.box):
        downsample_stack(given, ImageSource(given, stack.parent), box, path)
