"""Fourier shell correlation and the resolution it stands for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from drgnalign.fourier import irfft_volume, rfft_volume, shell_numbers, shell_sums, soft_sphere

THRESHOLD = 0.143
# Beyond what rounding takes off, no two half maps are alike in all shells.
COPIES = 1 - 1e-6
# Phases are randomised from the shell on where the FSC first falls below this (Chen et al. 2013), averaged over so many
# shells and under a soft sphere: its radius and the width of its edge, in parts of the box. It hardly has an edge.
RANDOMISE_BELOW, SMOOTHED = 0.8, 3
SPHERE_RADIUS = SPHERE_EDGE = 0.25
# An FSC that falls below the threshold before this shell stands for no resolution: poses cannot be refined on fewer.
FEWEST_SHELLS = 4


@dataclass(frozen=True)
class FscResult:
    """FSC of two half maps, shell by shell (index = radius in Fourier pixels, 0…N//2).

    Attributes
    ----------
    unmasked, masked, randomised, corrected : (N//2 + 1,) float64
        Of the maps in their whole box, all noise around the particle included; under the mask; under the mask with
        phases randomised at high resolution; masked with the mask's own correlation taken away. The last three equal
        `unmasked` when there is no mask.
    box_angstrom : float
        Side of the box: shell s has resolution box_angstrom / s.
    """

    unmasked: NDArray[np.float64]
    masked: NDArray[np.float64]
    randomised: NDArray[np.float64]
    corrected: NDArray[np.float64]
    box_angstrom: float

    @property
    def resolution(self) -> float | None:
        """Å at which the corrected FSC falls below 0.143; Nyquist where it never does, None where it does so before
        the fourth shell: such half maps agree in nothing."""
        found = resolution_at(self.corrected, self.box_angstrom, THRESHOLD)
        return None if found > self.box_angstrom / FEWEST_SHELLS else found

    @property
    def claim(self) -> str:
        """The resolution in words."""
        if self.resolution is None:
            return f"no resolution: FSC below {THRESHOLD} before shell {FEWEST_SHELLS}"
        return f"{self.resolution:.2f} Å at FSC {THRESHOLD}{' (Nyquist)' if self.reaches_nyquist else ''}"

    @property
    def reaches_nyquist(self) -> bool:
        """True where the FSC never falls below 0.143: the claim is then the pixel's, not the data's."""
        return bool(np.all(self.corrected[1:] >= THRESHOLD))

    @property
    def is_of_copies(self) -> bool:
        """True where the maps are one, but for a factor: they share their noise too, and the FSC says nothing."""
        return bool(np.all(self.unmasked[1:] > COPIES))

    def table(self) -> pd.DataFrame:
        """One row a shell from 1 on, with its resolution in Å."""
        shell = np.arange(1, len(self.unmasked))
        return pd.DataFrame(
            {
                "shell": shell,
                "resolution_angstrom": self.box_angstrom / shell,
                "fsc_unmasked": self.unmasked[1:],
                "fsc_masked": self.masked[1:],
                "fsc_randomised": self.randomised[1:],
                "fsc_corrected": self.corrected[1:],
            }
        )


def fourier_shell_correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Correlation of two maps' transforms in each shell.

    Parameters
    ----------
    first, second : (N, N, N) float array

    Returns
    -------
    (N//2 + 1,) float64
        Index is the shell's radius in Fourier pixels; 0 where a shell is empty of signal.
        Harauz & van Heel (1986), Optik 73, 146.
    """
    return _correlate(rfft_volume(first), rfft_volume(second), first.shape[0])


def _correlate(a: NDArray[np.complexfloating], b: NDArray[np.complexfloating], box: int) -> NDArray[np.float64]:
    cross = shell_sums((a * b.conj()).real, box)
    norm = np.sqrt(shell_sums(np.abs(a) ** 2, box) * shell_sums(np.abs(b) ** 2, box))
    return np.divide(cross, norm, out=np.zeros_like(cross), where=norm > 0)


def reliable_part(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """An FSC clipped to 0…1 and set to zero from its first non-positive shell on."""
    clipped = np.clip(correlation, 0.0, 1.0)
    clipped[0] = 1.0
    dead = np.flatnonzero(clipped <= 0.0)
    if len(dead):
        clipped[dead[0] :] = 0.0
    return clipped


def half_map_fsc(
    half1: NDArray[np.floating],
    half2: NDArray[np.floating],
    pixel_size: float,
    mask: NDArray[np.floating] | None = None,
    seed: int = 0,
) -> FscResult:
    """FSC of two half maps, under a mask, corrected for what the mask itself correlates.

    Phases of both maps are randomised from the shell on where the maps begin to differ; what correlation remains there
    under the mask is the mask's: corrected = (masked − randomised) / (1 − randomised), two shells past that shell
    (before it the masked FSC stands).

    Noise in the corners of maps that are not padded is amplified up to 15-fold by the correction for interpolation, and
    must not decide. So maps begin to differ where their FSC falls below 0.8 under a soft sphere in the middle of the
    box, at shell 4 at the earliest. And as random phases spread noise evenly over the box, what was in the corners
    would drown what a mask that cuts density smears over shells: what has random phases is scaled to the noise that is
    under the mask. The maps' difference, which has no signal, tells how much that is.

    Parameters
    ----------
    half1, half2 : (N, N, N) float array
    pixel_size : float
        Å.
    mask : (N, N, N) float array, optional
        Soft mask, 0…1.
    seed : int
        Of the random phases.

    Returns
    -------
    FscResult
        Chen et al. (2013), Ultramicroscopy 135, 24.
    """
    box = half1.shape[0]
    transforms = rfft_volume(half1), rfft_volume(half2)
    unmasked = _correlate(transforms[0], transforms[1], box)
    if mask is None:
        return FscResult(unmasked, unmasked, unmasked, unmasked, box * pixel_size)
    masked = fourier_shell_correlation(half1 * mask, half2 * mask)
    start = randomised_from(half1, half2)
    level = _noise_under(transforms[0] - transforms[1], mask, start)
    rng = np.random.default_rng(seed)
    noisy = [_randomise_phases(t, start, level, box, rng) * mask for t in transforms]
    randomised = fourier_shell_correlation(noisy[0], noisy[1])
    corrected = masked.copy()
    beyond = slice(start + 2, None)
    corrected[beyond] = (masked[beyond] - randomised[beyond]) / np.maximum(1 - randomised[beyond], 1e-6)
    # A shell cannot gain from the correction.
    corrected = np.minimum(corrected, masked)
    return FscResult(unmasked, masked, randomised, corrected, box * pixel_size)


def randomised_from(half1: NDArray[np.floating], half2: NDArray[np.floating]) -> int:
    """The shell from which `half_map_fsc` randomises phases; half the box where the maps do not differ."""
    box = half1.shape[0]
    sphere = soft_sphere(box, SPHERE_RADIUS * box, SPHERE_EDGE * box)
    correlation = scipy.ndimage.uniform_filter1d(
        fourier_shell_correlation(half1 * sphere, half2 * sphere), SMOOTHED, mode="nearest"
    )
    low = np.flatnonzero(correlation < RANDOMISE_BELOW)
    return max(int(low[0]), FEWEST_SHELLS) if len(low) else box // 2


def _noise_under(difference: NDArray[np.complexfloating], mask: NDArray[np.floating], start: int) -> float:
    """Root mean square, under a mask, of the part of a difference map (by its transform) from shell `start` on, in
    units of that in the whole box; 1 where it has none."""
    box = mask.shape[0]
    squares = irfft_volume(np.where(shell_numbers(box, 3) >= start, difference, 0), box) ** 2
    mean, weights = float(squares.mean()), mask**2
    return float(np.sqrt((weights * squares).sum() / weights.sum() / mean)) if mean > 0 and weights.any() else 1.0


def _randomise_phases(
    transform: NDArray[np.complexfloating], start: int, level: float, box: int, rng: np.random.Generator
) -> NDArray[np.floating]:
    """Real-space map whose coefficients from shell `start` on keep their amplitudes, times `level`, but have the phases
    of noise."""
    # Phases of a real noise map are Hermitian by construction.
    noise = rfft_volume(rng.standard_normal((box, box, box)))
    beyond = shell_numbers(box, 3) >= start
    randomised = np.where(beyond, level * np.abs(transform) * noise / np.abs(noise), transform)
    return irfft_volume(randomised, box)


def resolution_at(correlation: NDArray[np.float64], box_angstrom: float, threshold: float) -> float:
    """Å at which a shell correlation first falls below a threshold, interpolated between shells.

    Parameters
    ----------
    correlation : (N//2 + 1,) float64
        Index is the shell's radius.
    box_angstrom : float
        Side of the box.
    threshold : float

    Returns
    -------
    float
        Nyquist where it never falls below; the box itself where it does so at once.
    """
    below = np.flatnonzero(correlation[1:] < threshold)
    if not len(below):
        return box_angstrom / (len(correlation) - 1)
    shell = int(below[0]) + 1
    if shell == 1:
        return box_angstrom
    high, low = correlation[shell - 1], correlation[shell]
    return box_angstrom / (shell - 1 + (high - threshold) / (high - low))
