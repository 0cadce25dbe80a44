"""From a pair of half maps to what refinement compares images with."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from drgnalign.arrays import FloatVolume
from drgnalign.engine.kernels import Reference
from drgnalign.engine.plan import limit_radius
from drgnalign.engine.sampling import padded_box
from drgnalign.fourier import irfft_volume, padded_transform, rfft_volume, shell_numbers
from drgnalign.validation.fsc import fourier_shell_correlation, reliable_part


def weighted_halves(
    half1: FloatVolume, half2: FloatVolume, mask: FloatVolume, joint: bool
) -> tuple[FloatVolume, FloatVolume, NDArray[np.float64]]:
    """What the half sets are refined against.

    Each half map is weighted per shell with what it is worth: its Wiener weight, which is the FSC F between the
    halves under the mask (2F/(1+F) for their mean), cut where F first falls to zero.

    Parameters
    ----------
    half1, half2, mask : (N, N, N) float32
        Unfiltered half maps and soft mask.
    joint : bool
        Give both half sets the mean of the maps (the halves are then no longer independent).

    Returns
    -------
    volumes : (N, N, N) float32, twice
        For half sets 1 and 2.
    shell_weights : (N//2 + 1,) float64
        See `transform_reference`.
    """
    correlation = reliable_part(fourier_shell_correlation(half1 * mask, half2 * mask))
    if joint:
        mean = 0.5 * (half1 + half2)
        return mean, mean, 2 * correlation / (1 + correlation)
    return half1, half2, correlation


def transform_reference(
    volume: FloatVolume,
    mask: FloatVolume,
    shell_weights: NDArray[np.float64],
    pixel_size: float,
    limit: float,
    padding: float,
) -> Reference:
    """Filter, mask, pre-compensate the interpolation, pad, transform and crop one map.

    Parameters
    ----------
    volume, mask : (N, N, N) float32
    shell_weights : (N//2 + 1,) float64
        Factor of each Fourier shell.
    pixel_size, limit : float
        Å.
    padding : float

    Returns
    -------
    Reference
    """
    box = volume.shape[0]
    shells = np.minimum(shell_numbers(box, 3), box // 2)
    filtered = irfft_volume(rfft_volume(volume) * shell_weights[shells].astype(np.float32), box)
    padded = padded_box(box, padding)
    masked = filtered * mask / interpolation_envelope(box, padded)
    edge = reference_edge(box, pixel_size, limit, padding)
    return Reference(padded_transform(masked, padded, edge), padded / box)


def reference_edge(box: int, pixel_size: float, limit: float, padding: float) -> int:
    """K of a reference that reaches a limit (Å), and so of what images are inserted into up to there."""
    return math.ceil(padded_box(box, padding) / box * limit_radius(box, pixel_size, limit)) + 1


def interpolation_envelope(box: int, padded: int) -> NDArray[np.float32]:
    """What linear interpolation between Fourier pixels multiplies the (padded) real space with: sinc² per axis.

    Returns
    -------
    (box, box, box) float32
        The envelope over the central box.
    """
    axis = np.sinc((np.arange(box) - box // 2) / padded) ** 2
    return (axis[:, None, None] * axis[None, :, None] * axis[None, None, :]).astype(np.float32)
