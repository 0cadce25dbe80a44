"""Local resolution of a pair of half maps, and where it means something."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from drgnalign.arrays import BoolArray, FloatArray, FloatVolume, IntArray
from drgnalign.fourier import rfft_volume
from drgnalign.validation.fsc import THRESHOLD

# Standard deviation of the neighbourhood in wavelengths of the shell, and the narrowest, px: a neighbourhood that holds
# few waves tells nothing.
WAVELENGTHS, NARROWEST = 1.5, 3.0
# Shells looked at, evenly spaced in frequency, and how far the coarsest is from the origin, Fourier pixels. A shell's
# Gaussian is followed to so many of its widths.
SHELLS, FIRST, REACH = 20, 3.0, 1.5
# The second half map's axes in the order in which it is no counterpart of the first; of the absolute values that that
# leaves in a shell, this quantile is what chance reaches at one voxel in twenty.
PERMUTED, QUANTILE = ((1, 2, 0), (2, 0, 1)), 0.9
# Voxels from which to which the resolution is sampled: it varies over a neighbourhood, not from voxel to voxel.
STEP = 2
# A Gaussian neighbourhood's own transform has fallen to a thousandth at this frequency, in parts of 1/σ.
PASSED = 0.59


@dataclass(frozen=True)
class LocalResolution:
    """Where in a map which resolution is reached.

    Attributes
    ----------
    volume : (N, N, N) float32
        Å; 0 outside of the mask, and where not even the coarsest shell is above what chance makes of it.
    centres : (SHELLS,) float64
        Of the shells, Å.
    windows : (SHELLS,) float64
        Standard deviation of the neighbourhoods, Å.
    null : (SHELLS,) float64
        What the local correlation reaches at one voxel in twenty where halves have nothing to do with each other.
    reached : (SHELLS,) float64
        Share of the mask where the correlation stays above 0.143 and above the null up to this shell.
    """

    volume: FloatVolume
    centres: FloatArray
    windows: FloatArray
    null: FloatArray
    reached: FloatArray

    def table(self) -> pd.DataFrame:
        """One row a shell."""
        return pd.DataFrame(
            {
                "resolution_angstrom": self.centres,
                "window_sigma_angstrom": self.windows,
                "null_95": self.null,
                "threshold": np.maximum(self.null, THRESHOLD),
                "share_of_mask": self.reached,
            }
        )


def local_resolution(
    half1: FloatVolume, half2: FloatVolume, pixel_size: float, mask: FloatVolume, threads: int = 1
) -> LocalResolution:
    """Where in a map which resolution is reached.

    Both half maps are filtered to a shell of Fourier space; their correlation in a Gaussian neighbourhood of each
    voxel, three wavelengths wide, is the local Fourier shell correlation (as Cardone, Heymann & Steven (2013),
    J. Struct. Biol. 184, 226, with windows that follow the resolution). A neighbourhood holds few independent
    coefficients, so that chance correlates: how much, the same correlation tells of the first half map and the second
    with its axes permuted, shell by shell. A voxel's resolution is that of the first shell where its correlation falls
    below 0.143, or below what chance reaches at one voxel in twenty, interpolated between shells.

    Parameters
    ----------
    half1, half2 : (N, N, N) float32
        Unfiltered half maps, not masked.
    pixel_size : float
        Å.
    mask : (N, N, N) float32
        Soft mask; voxels where it is below one half get 0.
    threads : int
        Of the Fourier transforms.

    Returns
    -------
    LocalResolution
        From the coarsest shell to Nyquist.
    """
    box = half1.shape[0]
    transforms = [np.fft.fftshift(rfft_volume(one.astype(np.float32)), axes=(0, 1)) for one in (half1, half2)]
    centres = np.linspace(FIRST, box / 2, SHELLS)
    width = centres[1] - centres[0]
    shown = mask[::STEP, ::STEP, ::STEP] >= 0.5
    inside = np.argwhere(shown).T * STEP
    state = _Crossing(inside.shape[1], centres[0])
    nulls, reached = [], []
    for centre in centres:
        shell = _Shell(box, float(centre), float(width), threads)
        first, second = (shell.filtered(one) for one in transforms)
        powers = shell.smoothed(first**2), shell.smoothed(second**2)
        found = _correlation(shell.smoothed(first * second), *powers)
        null = _chance(shell, (first, second), powers, inside)
        state.take(shell.at(found, inside), float(centre), max(THRESHOLD, null))
        nulls.append(null)
        reached.append(float(state.going.mean()) if inside.size else 0.0)
    volume = _on_all_voxels(state.angstrom(box * pixel_size), shown, mask)
    windows = np.maximum(WAVELENGTHS * box / centres, NARROWEST) * pixel_size
    return LocalResolution(volume, box * pixel_size / centres, windows, np.array(nulls), np.array(reached))


def _chance(
    shell: _Shell, both: tuple[FloatVolume, FloatVolume], powers: tuple[FloatVolume, FloatVolume], voxels: IntArray
) -> float:
    """What the correlation of the first map with the second, its axes permuted, reaches at one of twenty voxels."""
    if not voxels.size:
        return 0.0
    # a neighbourhood is a ball: the power of what is permuted is the permuted power
    found = []
    for order in PERMUTED:
        cross = shell.smoothed(both[0] * both[1].transpose(order))
        found.append(shell.at(_correlation(cross, powers[0], powers[1].transpose(order)), voxels))
    return float(np.quantile(np.abs(found), QUANTILE))


def _correlation(cross: FloatVolume, power1: FloatVolume, power2: FloatVolume) -> FloatVolume:
    """Of smoothed products; next to 0 where there is no power."""
    least = 1e-12 * float(power1.mean()) * float(power2.mean())
    return cross / np.sqrt(np.maximum(power1 * power2, max(least, 1e-30)))


class _Shell:
    """A shell of Fourier space, at no more voxels than it needs."""

    def __init__(self, box: int, centre: float, width: float, threads: int) -> None:
        self._box, self._centre, self._width, self._threads = box, centre, width, threads
        self._edge = min(math.ceil(centre + REACH * width), (box - 1) // 2)
        sigma = max(WAVELENGTHS * box / centre, NARROWEST)
        self._passed = math.ceil(PASSED * box / sigma)
        # products have twice the frequencies: what comes back by aliasing has to miss what the neighbourhood passes
        self._size = min(scipy.fft.next_fast_len(2 * self._edge + self._passed + 1, real=True), box)
        self._small = min(scipy.fft.next_fast_len(2 * self._passed + 2, real=True), self._size)
        axis = np.arange(-self._passed, self._passed + 1)
        fall = np.exp(-2 * (np.pi * sigma * axis / box) ** 2)
        self._window = (fall[:, None, None] * fall[:, None] * fall[self._passed :]).astype(np.float32)

    def filtered(self, transform: NDArray[np.complexfloating]) -> FloatVolume:
        """The map of a shell, (size, size, size), its centre at the first voxel.

        The transform's rows and planes are in ascending order.
        """
        middle, edge = self._box // 2, self._edge
        kept = slice(middle - edge, middle + edge + 1)
        axis = np.arange(-edge, edge + 1, dtype=np.float32)
        radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis[edge:] ** 2)
        band = np.exp(-0.5 * ((radius - self._centre) / (0.5 * self._width)) ** 2)
        return self._back(transform[kept, kept, : edge + 1] * band, self._size)

    def at(self, values: FloatVolume, voxels: IntArray) -> NDArray[np.float32]:
        """Values of a small volume at voxels (3, n) of the box."""
        small = len(values)
        places = (voxels - self._box // 2) * (small / self._box) + small // 2
        return scipy.ndimage.map_coordinates(values, places, order=1, mode="grid-wrap")

    def smoothed(self, values: FloatVolume) -> FloatVolume:
        """The mean in the neighbourhood of each voxel, (small, small, small), of what `filtered` gave; centred."""
        transform = scipy.fft.rfftn(values, workers=self._threads)
        rows = np.arange(-self._passed, self._passed + 1) % self._size
        kept = transform[rows][:, rows][:, :, : self._passed + 1]
        small = self._back(kept * self._window, self._small) * np.float32((self._small / self._size) ** 3)
        return np.fft.fftshift(small)

    def _back(self, kept: NDArray[np.complexfloating], size: int) -> FloatVolume:
        """A volume of frequencies −K…K in ascending order, its centre at the first voxel."""
        edge = len(kept) // 2
        whole = np.zeros((size, size, size // 2 + 1), np.complex64)
        rows = np.arange(-edge, edge + 1) % size
        whole[np.ix_(rows, rows, np.arange(edge + 1))] = kept
        return scipy.fft.irfftn(whole, (size,) * 3, workers=self._threads).astype(np.float32, copy=False)


class _Crossing:
    """Where a correlation first falls below its threshold, place by place, as shell after shell comes."""

    def __init__(self, places: int, first: float) -> None:
        self.going: BoolArray = np.ones(places, np.bool_)
        self._reached = np.full(places, np.inf)
        self._above = np.ones(places)
        self._last = first

    def take(self, correlation: NDArray[np.float32], centre: float, threshold: float) -> None:
        """The next shell."""
        over = correlation - threshold
        falls = self.going & (over < 0)
        share = self._above[falls] / np.maximum(self._above[falls] - over[falls], 1e-6)
        # of the first shell nothing is known on the coarse side
        self._reached[falls] = self._last + (centre - self._last) * share if centre > self._last else 0.0
        self.going &= ~falls
        self._reached[self.going] = centre
        self._above, self._last = over.astype(np.float64), centre

    def angstrom(self, width: float) -> FloatArray:
        """Resolutions in a box of a width, Å; 0 where the first shell was below already."""
        return np.divide(width, self._reached, out=np.zeros_like(self._reached), where=self._reached > 0)


def _on_all_voxels(values: FloatArray, shown: BoolArray, mask: FloatVolume) -> FloatVolume:
    """From every second voxel to all within the mask, each as the sampled one next to it."""
    coarse = np.zeros(shown.shape, np.float32)
    coarse[shown] = values
    if not shown.any():
        return np.zeros(mask.shape, np.float32)
    # a voxel at the mask's border may have its sampled one outside
    nearest = scipy.ndimage.distance_transform_edt(~shown, return_distances=False, return_indices=True)
    coarse = coarse[tuple(nearest)]
    index = [np.minimum(np.rint(np.arange(n) / STEP).astype(np.int64), shown.shape[0] - 1) for n in mask.shape]
    return np.where(mask >= 0.5, coarse[np.ix_(*index)], 0).astype(np.float32)
