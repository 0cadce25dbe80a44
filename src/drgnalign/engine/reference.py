"""From a pair of half maps to what refinement compares images with."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from drgnalign.engine.kernels import Reference
from drgnalign.engine.plan import limit_radius, padded_box
from drgnalign.fourier import irfft_volume, rfft_volume, shell_numbers
from drgnalign.validation.fsc import fourier_shell_correlation

FloatVolume = NDArray[np.float32]


def reference_pair(
    half1: FloatVolume,
    half2: FloatVolume,
    mask: FloatVolume,
    pixel_size: float,
    limit: float,
    padding: float,
    joint: bool,
) -> tuple[Reference, Reference]:
    """References of the two half sets.

    Each half map is weighted per shell with what it is worth: its Wiener weight, which is the FSC F between the
    halves under the mask (2F/(1+F) for their mean), cut where F first falls to zero.

    Parameters
    ----------
    half1, half2, mask : (N, N, N) float32
        Unfiltered half maps and soft mask.
    pixel_size, limit : float
        Å.
    padding : float
        See `drgnalign.engine.plan.oversampling`.
    joint : bool
        Give both half sets the mean of the maps (the halves are then no longer independent).

    Returns
    -------
    tuple of Reference
        For half sets 1 and 2.
    """
    correlation = reliable_part(fourier_shell_correlation(half1 * mask, half2 * mask))
    if joint:
        both = transform_reference(
            0.5 * (half1 + half2), mask, 2 * correlation / (1 + correlation), pixel_size, limit, padding
        )
        return both, both
    first, second = (transform_reference(h, mask, correlation, pixel_size, limit, padding) for h in (half1, half2))
    return first, second


def reliable_part(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """An FSC clipped to 0…1 and set to zero from its first non-positive shell on."""
    clipped = np.clip(correlation, 0.0, 1.0)
    clipped[0] = 1.0
    dead = np.flatnonzero(clipped <= 0.0)
    if len(dead):
        clipped[dead[0] :] = 0.0
    return clipped


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
    before = padded // 2 - box // 2
    canvas = np.pad(masked.astype(np.float32), (before, padded - box - before))
    scale = padded / box
    edge = math.ceil(scale * limit_radius(box, pixel_size, limit)) + 1
    return Reference(crop_half_volume(rfft_volume(canvas), edge), scale)


def crop_half_volume(transform: NDArray[np.complexfloating], edge: int) -> NDArray[np.complex64]:
    """Cut the frequencies −edge…edge out of a real transform and order them around zero.

    Parameters
    ----------
    transform : (M, M, M//2+1) complex
        As of `rfft_volume`.
    edge : int
        K; frequencies that the transform does not hold on both sides of zero become 0.

    Returns
    -------
    (2K+1, 2K+1, K+1) complex64
    """
    size = transform.shape[0]
    held = min(edge, (size - 1) // 2)
    result = np.zeros((2 * edge + 1, 2 * edge + 1, edge + 1), dtype=np.complex64)
    signed = np.arange(-held, held + 1)
    target = slice(edge - held, edge + held + 1)
    result[target, target, : held + 1] = transform[np.ix_(signed % size, signed % size, np.arange(held + 1))]
    return result


def interpolation_envelope(box: int, padded: int) -> NDArray[np.float32]:
    """What linear interpolation between Fourier pixels multiplies the (padded) real space with: sinc² per axis.

    Returns
    -------
    (box, box, box) float32
        The envelope over the central box.
    """
    axis = np.sinc((np.arange(box) - box // 2) / padded) ** 2
    return (axis[:, None, None] * axis[None, :, None] * axis[None, None, :]).astype(np.float32)
