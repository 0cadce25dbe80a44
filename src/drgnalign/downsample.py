"""The one derived image stack: Fourier-cropped particles for cryoDRGN."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from drgnalign.errors import InputError
from drgnalign.formats.mrc import ImageSource, StackWriter, read_header
from drgnalign.fourier import crop_images
from drgnalign.particles import Particles, image_names

BATCH_PIXELS = 2**23


def downsample_stack(particles: Particles, source: ImageSource, box: int, path: Path) -> float:
    """Write all particles' images, white protein, cropped in Fourier space.

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
    is_blank = np.zeros(len(particles), bool)
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
            if is_blank[rows].any():
                particles.refuse_rows(is_blank, "the image is blank: all its pixels are alike")
            stack.append(crop_images(images, box))
            progress.update(len(rows))
    return pixel_size


def with_stack(particles: Particles, stack: Path) -> Particles:
    """The same particles with the images of a stack of ours: down-sampled, white protein, in their order."""
    box = read_header(stack).shape[1]
    pixel_size = particles.pixel_size * particles.box / box
    optics = particles.optics.assign(rlnImageSize=box, rlnImagePixelSize=pixel_size)
    optics = optics.drop(columns=["drgnContrast"], errors="ignore")
    names = image_names(np.arange(1, len(particles) + 1), stack.name)
    return replace(particles, table=particles.table.assign(rlnImageName=names), optics=optics)
