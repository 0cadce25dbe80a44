"""Local resolution of a pair of half maps."""

from __future__ import annotations

import numpy as np
import scipy

from drgnalign.arrays import FloatVolume
from drgnalign.fourier import irfft_volume, rfft_volume, shell_numbers
from drgnalign.validation.fsc import THRESHOLD

# Standard deviation of the neighbourhood in wavelengths of the shell, and the narrowest, px: a neighbourhood that holds
# few waves tells nothing.
WAVELENGTHS, NARROWEST = 1.5, 3.0
# Shells looked at, evenly spaced in frequency, and how far the coarsest is from the origin, Fourier pixels.
SHELLS, FIRST = 20, 3.0


def local_resolution(half1: FloatVolume, half2: FloatVolume, pixel_size: float, mask: FloatVolume) -> FloatVolume:
    """Where in a map which resolution is reached.

    Both half maps are filtered to a shell of Fourier space; their correlation in a Gaussian neighbourhood of each
    voxel, three wavelengths wide, is the local Fourier shell correlation (as Cardone, Heymann & Steven (2013),
    J. Struct. Biol. 184, 226, with windows that follow the resolution). A voxel's resolution is that of the first shell
    where it falls below 0.143, interpolated between shells.

    Parameters
    ----------
    half1, half2 : (N, N, N) float32
        Unfiltered half maps.
    pixel_size : float
        Å.
    mask : (N, N, N) float32
        Soft mask; voxels where it is below one half get 0.

    Returns
    -------
    (N, N, N) float32
        Å, from the coarsest shell to Nyquist.
    """
    box = half1.shape[0]
    first, second = rfft_volume(half1), rfft_volume(half2)
    shells = shell_numbers(box, 3)
    centres = np.linspace(FIRST, box / 2, SHELLS)
    width = centres[1] - centres[0]
    inside = mask >= 0.5
    reached = np.full(int(inside.sum()), centres[0])
    going = np.ones(len(reached), bool)
    last = np.ones(len(reached))
    for number, centre in enumerate(centres):
        band = np.exp(-0.5 * ((shells - centre) / (0.5 * width)) ** 2).astype(np.float32)
        a, b = irfft_volume(first * band, box), irfft_volume(second * band, box)
        sigma = max(WAVELENGTHS * box / centre, NARROWEST)
        cross, power1, power2 = (
            scipy.ndimage.gaussian_filter(values, sigma)[inside] for values in (a * b, a * a, b * b)
        )
        correlation = cross / np.sqrt(np.maximum(power1 * power2, np.finfo(np.float32).tiny))
        falls = going & (correlation < THRESHOLD)
        if number:
            share = (last[falls] - THRESHOLD) / np.maximum(last[falls] - correlation[falls], 1e-6)
            reached[falls] = centre - width * (1 - np.clip(share, 0, 1))
        going &= ~falls
        last = correlation
    reached[going] = centres[-1]
    result = np.zeros(half1.shape, np.float32)
    result[inside] = box * pixel_size / reached
    return result
