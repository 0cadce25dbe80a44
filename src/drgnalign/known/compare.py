"""How far maps agree with references that lie in them, what differs, and which is which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from drgnalign.arrays import BoolArray, FloatArray, FloatVolume
from drgnalign.fourier import irfft_volume, rfft_volume, shell_numbers, shell_sums
from drgnalign.known.clusters import ClusterMap
from drgnalign.validation.fsc import FscResult, fourier_shell_correlation, half_map_fsc, resolution_at

# Of a map without noise and the mean of two half maps whose own FSC is 0.143 (Rosenthal & Henderson 2003).
MODEL_THRESHOLD = 0.5


@dataclass(frozen=True)
class Agreement:
    """Of a map and a reference as it lies in it.

    Attributes
    ----------
    fsc : FscResult
        Under the common mask, corrected by phase randomisation.
    mean_fsc : float
        Of the shells up to the map's resolution.
    halves : tuple of float
        The same of each half map, without the correction; empty where there are none.
    grey_scale : float
        By which the reference is multiplied to be as strong as the map.
    """

    fsc: FscResult
    mean_fsc: float
    halves: tuple[float, ...]
    grey_scale: float

    @property
    def resolution(self) -> float:
        """Å at which the FSC falls below 0.5."""
        return resolution_at(self.fsc.corrected, self.fsc.box_angstrom, MODEL_THRESHOLD)


def agreement(cluster: ClusterMap, reference: FloatVolume, mask: FloatVolume) -> Agreement:
    """Hold a map against a reference in its frame.

    Parameters
    ----------
    cluster : ClusterMap
    reference, mask : (N, N, N) float32
        In the frame of the map.

    Returns
    -------
    Agreement
    """
    last = _last_shell(cluster)
    fsc = half_map_fsc(cluster.volume, reference, cluster.pixel_size, mask)
    masked = reference * mask
    halves = tuple(
        float(fourier_shell_correlation(half * mask, masked)[1 : last + 1].mean()) for half in cluster.halves
    )
    cross, power = _sums(cluster.volume, reference, mask)
    grey = float(cross[1 : last + 1].sum() / max(power[1 : last + 1].sum(), 1e-30))
    return Agreement(fsc, float(fsc.corrected[1 : last + 1].mean()), halves, grey)


def _last_shell(cluster: ClusterMap) -> int:
    """Of the map's resolution."""
    return min(int(cluster.box * cluster.pixel_size / cluster.resolution), cluster.box // 2)


def _sums(volume: FloatVolume, scaled: FloatVolume, mask: FloatVolume) -> tuple[FloatArray, FloatArray]:
    """By shell: product of two maps under the mask, and power of the second."""
    one, other = rfft_volume(volume * mask), rfft_volume(scaled * mask)
    return shell_sums((one * other.conj()).real, len(mask)), shell_sums(np.abs(other) ** 2, len(mask))


def shell_scale(volume: FloatVolume, scaled: FloatVolume, mask: FloatVolume) -> FloatArray:
    """What each shell of the second map is multiplied with to be as strong as in the first, (N//2 + 1,).

    The least-squares factor under the mask, which noise in the first does not raise; 0 where both disagree.
    """
    cross, power = _sums(volume, scaled, mask)
    return np.divide(np.maximum(cross, 0), power, out=np.zeros_like(cross), where=power > 0)


def difference(cluster: ClusterMap, reference: FloatVolume, mask: FloatVolume, resolution: float) -> FloatVolume:
    """Map minus reference, as strong as in the map shell by shell, up to a resolution (Å) and under the mask.

    Positive is what the map has and the reference has not.
    """
    box = cluster.box
    scale, shells = shell_scale(cluster.volume, reference, mask), shell_numbers(box, 3)
    last = min(int(box * cluster.pixel_size / resolution), box // 2)
    weights = np.where(shells <= last, scale[np.minimum(shells, box // 2)], 0).astype(np.float32)
    rest = rfft_volume(cluster.volume) * (shells <= last) - rfft_volume(reference) * weights
    return (irfft_volume(rest, box) * mask).astype(np.float32)


@dataclass(frozen=True)
class Assignment:
    """Which map is which reference.

    Attributes
    ----------
    reference : list of int or None
        Of each map, the index of its reference.
    margins : list of float or None
        By how much the sum of the scores falls where that pair is forbidden.
    """

    reference: list[int | None]
    margins: list[float | None]


def assign(scores: FloatArray, claimed: BoolArray) -> Assignment:
    """The one-to-one assignment with the highest sum of scores (Hungarian method), of pairs that may be claimed.

    Parameters
    ----------
    scores : (maps, references) float64
    claimed : (maps, references) bool

    Returns
    -------
    Assignment
    """
    usable = np.where(claimed, scores, 0.0)
    best, pairs = _best(usable)
    reference: list[int | None] = [None] * len(scores)
    margins: list[float | None] = [None] * len(scores)
    for row, column in pairs:
        if claimed[row, column]:
            forbidden = usable.copy()
            forbidden[row, column] = 0.0
            reference[row], margins[row] = column, best - _best(forbidden)[0]
    return Assignment(reference, margins)


def _best(scores: FloatArray) -> tuple[float, list[tuple[int, int]]]:
    rows, columns = scipy.optimize.linear_sum_assignment(scores, maximize=True)
    return float(scores[rows, columns].sum()), list(zip(rows.tolist(), columns.tolist(), strict=True))
