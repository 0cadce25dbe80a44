"""What a map of two halves is filtered and sharpened with."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from drgnalign.arrays import FloatVolume
from drgnalign.fourier import irfft_volume, rfft_volume, shell_numbers
from drgnalign.validation.fsc import reliable_part

# Å: amplitudes of proteins follow Guinier's law beyond this; fewer shells than this do not give a slope.
GUINIER_FROM, FEWEST_SHELLS = 10.0, 5


def wiener_filtered(half1: FloatVolume, half2: FloatVolume, correlation: NDArray[np.float64]) -> FloatVolume:
    """Mean of two half maps, each shell weighted with 2F/(1 + F) of their FSC F.

    Rosenthal & Henderson (2003), J. Mol. Biol. 333, 721, without sharpening.
    """
    box = half1.shape[0]
    reliable = reliable_part(correlation)
    weights = (2 * reliable / (1 + reliable)).astype(np.float32)
    shells = np.minimum(shell_numbers(box, 3), box // 2)
    return irfft_volume(rfft_volume(0.5 * (half1 + half2)) * weights[shells], box).astype(np.float32)


def guinier_b_factor(volume: FloatVolume, pixel_size: float, resolution: float | None) -> float | None:
    """B-factor of a map: slope of the logarithm of its amplitude against the squared frequency, from 10 Å on.

    Rosenthal & Henderson (2003), J. Mol. Biol. 333, 721.

    Parameters
    ----------
    volume : (N, N, N) float32
        Filtered by its FSC, under a mask.
    pixel_size : float
    resolution : float or None
        Å; where the fit ends.

    Returns
    -------
    float or None
        Å², negative where amplitudes fall; None where the map does not reach well beyond 10 Å, so that there is no
        slope to be seen.
    """
    if resolution is None:
        return None
    box = volume.shape[0]
    shells = shell_numbers(box, 3)
    first, last = math.ceil(box * pixel_size / GUINIER_FROM), math.floor(box * pixel_size / resolution)
    if last - first + 1 < FEWEST_SHELLS:
        return None
    power = np.bincount(shells.ravel(), (np.abs(rfft_volume(volume)) ** 2).ravel())[first : last + 1]
    count = np.bincount(shells.ravel())[first : last + 1]
    frequency = np.arange(first, last + 1) / (box * pixel_size)
    return float(4 * np.polyfit(frequency**2, 0.5 * np.log(power / count), 1)[0])


def sharpened(volume: FloatVolume, pixel_size: float, b_factor: float) -> FloatVolume:
    """A map whose fall of amplitudes with frequency is undone: times exp(−B s²/4)."""
    box = volume.shape[0]
    frequency = shell_numbers(box, 3) / (box * pixel_size)
    transform = rfft_volume(volume) * np.exp(-b_factor * frequency**2 / 4).astype(np.float32)
    return irfft_volume(transform, box).astype(np.float32)
