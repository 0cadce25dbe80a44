"""References that cannot hurt: a cluster's half maps, shrunk towards the consensus where they are no better.

A small cluster's own map is noisier than the consensus. Where the two do not differ by more than noise, refinement
against the cluster's map costs poses; where they do, refinement against the consensus does. The Fourier shell
correlation of the two halves of the difference says how much of it is real.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from drgnalign.arrays import FloatVolume
from drgnalign.fourier import half_plane_multiplicity, irfft_volume, rfft_volume, shell_numbers
from drgnalign.validation.fsc import fourier_shell_correlation, reliable_part

# The difference's correlation is averaged over so many shells, and never quite trusted.
SMOOTHED, LEAST, MOST = 3, 0.001, 0.999
# Å: amplitudes are compared between these. Below, what the particle has in common with any other blob rules; beyond,
# many a cluster has nothing to compare.
COMPARED = (60.0, 25.0)
# Å: the difference from the consensus is told at these resolutions.
DIFFERENCE_AT = (40, 25)


def difference_fsc(
    halves: tuple[FloatVolume, FloatVolume], consensus: tuple[FloatVolume, FloatVolume], mask: FloatVolume
) -> NDArray[np.float64]:
    """How much of the difference between a cluster and the consensus is real: its FSC between half sets, averaged
    over three shells.

    Near 0 for a random part of the particles, near 1 where a state differs; no truth is needed to know it.

    Parameters
    ----------
    halves, consensus : pair of (N, N, N) float32
        Unfiltered half maps 1 and 2, in the same grey values.
    mask : (N, N, N) float32
        Soft mask common to all clusters.

    Returns
    -------
    (N//2 + 1,) float64
    """
    first, second = ((mine - common) * mask for mine, common in zip(halves, consensus, strict=True))
    correlation = fourier_shell_correlation(first, second)
    correlation[0] = correlation[1]  # one Fourier pixel, whose value is the maps' mean, tells nothing
    return scipy.ndimage.uniform_filter1d(correlation, SMOOTHED, mode="nearest")


def difference_figures(correlation: NDArray[np.float64], width: float) -> dict[str, float | None]:
    """A `difference_fsc` at 40 and 25 Å, for the record.

    Parameters
    ----------
    correlation : (N//2 + 1,) float64
    width : float
        Of the box, Å.

    Returns
    -------
    dict
        ``difference_fsc_40`` and ``_25``; None beyond Nyquist.
    """
    shells = {angstrom: round(width / angstrom) for angstrom in DIFFERENCE_AT}
    return {
        f"difference_fsc_{angstrom}": float(correlation[shell]) if shell < len(correlation) else None
        for angstrom, shell in shells.items()
    }


def relative_amplitudes(
    halves: tuple[FloatVolume, FloatVolume],
    consensus: tuple[FloatVolume, FloatVolume],
    mask: FloatVolume,
    pixel_size: float,
) -> tuple[float, float] | None:
    """How strong a cluster's map is, in units of the consensus's: the factor of the consensus that fits it best from 60
    to 25 Å, under the mask.

    Each half map is fitted with the other half set's consensus, as the two share no noise: Re⟨X₁, C₂⟩/Re⟨C₁, C₂⟩ and
    Re⟨X₂, C₁⟩/Re⟨C₁, C₂⟩. States have something like 1, with more mass more; images without the particle have 0.

    Parameters
    ----------
    halves, consensus : pair of (N, N, N) float32
        Unfiltered half maps 1 and 2, in the same grey values.
    mask : (N, N, N) float32
    pixel_size : float
        Å.

    Returns
    -------
    pair of float, or None
        Of half sets 1 and 2; None where the consensus has nothing there.
    """
    box = mask.shape[0]
    shells = shell_numbers(box, 3)
    first, last = (round(box * pixel_size / angstrom) for angstrom in COMPARED)
    compared = (shells >= max(first, 1)) & (shells <= min(last, box // 2))
    weights = compared * half_plane_multiplicity(box)
    own, common = ([rfft_volume(volume * mask) for volume in pair] for pair in (halves, consensus))

    def product(a: NDArray[np.complexfloating], b: NDArray[np.complexfloating]) -> float:
        return float((weights * (a * b.conj()).real).sum())

    power = product(common[0], common[1])
    return (product(own[0], common[1]) / power, product(own[1], common[0]) / power) if power > 0 else None


def shrunk_references(
    halves: tuple[FloatVolume, FloatVolume],
    weights: tuple[FloatVolume, FloatVolume],
    consensus: tuple[FloatVolume, FloatVolume],
    mask: FloatVolume,
    focus: FloatVolume | None = None,
) -> tuple[FloatVolume, FloatVolume]:
    """References for half sets 1 and 2: (A + τM₀)/(W + τ) in Fourier space, each of its own half set alone.

    A and W are numerator and denominator of the cluster's half map, M₀ is the same half set's consensus with its
    Wiener weight, and τ is the mean W of the shell times (1 − d)/d, d the `difference_fsc`. So a Fourier pixel that
    many of the cluster's views reached keeps its own value, and others get the consensus's.

    Parameters
    ----------
    halves, consensus : pair of (N, N, N) float32
        Unfiltered half maps.
    weights : pair of (N, N, N//2 + 1) float32
        W at each Fourier pixel, see `drgnalign.engine.reconstruct.HalfMapSums.weights`.
    mask : (N, N, N) float32
    focus : (N, N, N) float32, optional
        Soft mask of the part that is looked at: d is that of the difference within it, and outside of it the references
        are the consensus with its Wiener weight.

    Returns
    -------
    pair of (N, N, N) float32
        They are weighted already: nothing is left to be filtered.
    """
    box = mask.shape[0]
    shells = shell_numbers(box, 3)
    inside = shells <= box // 2
    index = np.minimum(shells, box // 2)
    real = np.clip(difference_fsc(halves, consensus, mask if focus is None else mask * focus), LEAST, MOST)
    wiener = reliable_part(fourier_shell_correlation(consensus[0] * mask, consensus[1] * mask)).astype(np.float32)
    multiplicity = np.broadcast_to(half_plane_multiplicity(box), shells.shape)
    pixels = np.bincount(index[inside], multiplicity[inside], box // 2 + 1)

    def shrunk(half: FloatVolume, weight: FloatVolume, common: FloatVolume) -> FloatVolume:
        means = np.bincount(index[inside], (weight * multiplicity)[inside], box // 2 + 1) / pixels
        pull = (means * (1 - real) / real).astype(np.float32)[index]
        weighted = wiener[index] * rfft_volume(common)
        numerator = rfft_volume(half) * weight + pull * weighted
        denominator = weight + pull
        transform = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=inside & (denominator > 0))
        own = irfft_volume(transform, box).astype(np.float32)
        if focus is None:
            return own
        around = irfft_volume(weighted, box).astype(np.float32)
        return around + focus * (own - around)

    first, second = (shrunk(*one) for one in zip(halves, weights, consensus, strict=True))
    return first, second
