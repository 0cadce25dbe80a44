"""In which directions a map is resolved how far, and how much of Fourier space its views show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from drgnalign.arrays import FloatArray, FloatVolume
from drgnalign.fourier import half_plane_multiplicity, rfft_volume
from drgnalign.run.records import DirectionFigures
from drgnalign.validation.composition import BINS, bin_centres, nearest_bins
from drgnalign.validation.fsc import FEWEST_SHELLS, THRESHOLD, half_map_fsc, resolution_at

# Half of the opening of a cone, degrees, as in 3DFSC; shells that are averaged, as a cone holds few coefficients.
CONE, SMOOTHED = 20.0, 3
# Draws of an isotropic map, and the factor by which the worst direction of one that is called anisotropic is beyond all
# of these, under a sphere: 1.26 to 1.52 of views within 30 to 60° of an axis, up to 1.06 of 20 sets with views from
# everywhere. (Under tight masks these are 1.18 to 1.45 and up to 1.5.)
DRAWS, ANISOTROPIC = 20, 1.15
# Views that are all looked at.
FEW = 5000


@dataclass(frozen=True)
class ConicalFsc:
    """FSC of two half maps in cones around directions.

    Attributes
    ----------
    directions : (BINS, 3) float64
        Unit vectors (x, y, z), over half of the sphere.
    resolutions : (BINS,) float64
        Å at FSC 0.143 of each.
    curves : (BINS, N//2 + 1) float64
        Corrected for the mask as the map's own FSC.
    null_worst : float
        Å: the worst direction of maps that have the same coefficients in each shell, in directions chosen at random;
        the worst of `DRAWS`.
    """

    directions: FloatArray
    resolutions: FloatArray
    curves: FloatArray
    null_worst: float

    @property
    def worst(self) -> float:
        """Å."""
        return float(self.resolutions.max())

    @property
    def best(self) -> float:
        """Å."""
        return float(self.resolutions.min())

    @property
    def mean(self) -> float:
        """Å, of the mean frequency."""
        return float(1 / np.mean(1 / self.resolutions))

    @property
    def is_anisotropic(self) -> bool:
        """Is the worst direction by much beyond what chance makes of an isotropic map?"""
        return self.worst > ANISOTROPIC * self.null_worst

    def figures(self) -> DirectionFigures:
        """For the record."""
        return DirectionFigures(
            best_angstrom=self.best,
            mean_angstrom=self.mean,
            worst_angstrom=self.worst,
            worst_by_chance_angstrom=self.null_worst,
            worst_direction=[float(value) for value in self.directions[int(self.resolutions.argmax())]],
            anisotropic=self.is_anisotropic,
        )

    def table(self) -> pd.DataFrame:
        """One row a direction."""
        x, y, z = self.directions.T
        return pd.DataFrame({"x": x, "y": y, "z": z, "resolution_0143_angstrom": self.resolutions})

    def claim(self) -> str:
        """In words."""
        axis = ", ".join(f"{value:.2f}" for value in self.directions[int(self.resolutions.argmax())])
        text = (
            f"{self.best:.2f} Å in the best direction, {self.mean:.2f} Å in the mean, {self.worst:.2f} Å in the worst"
        )
        chance = f"chance alone: {self.null_worst:.2f} Å"
        if self.is_anisotropic:
            return f"{text} (x, y, z = {axis}; {chance}): the map is anisotropic, what is fine along it is smeared"
        return f"{text} ({chance})"


def conical_fsc(
    half1: FloatVolume,
    half2: FloatVolume,
    pixel_size: float,
    mask: FloatVolume | None = None,
    seed: int = 0,
) -> ConicalFsc:
    """FSC in cones of 20° around each of 200 directions.

    As Tan et al. (2017), Nat. Methods 14, 793. The correction for the mask is that of the whole map. How far cones of
    an isotropic map differ by chance is measured: coefficients of each shell are dealt to directions anew.

    Parameters
    ----------
    half1, half2 : (N, N, N) float32
        Unfiltered half maps.
    pixel_size : float
        Å.
    mask : (N, N, N) float32, optional
        A wide one, such as a sphere round the particle: a tight one carries what is seen into directions that no image
        shows, which then look as good.
    seed : int

    Returns
    -------
    ConicalFsc
    """
    box = half1.shape[0]
    whole = half_map_fsc(half1, half2, pixel_size, mask, seed)
    masked = [half if mask is None else half * mask for half in (half1, half2)]
    sums = _binned(rfft_volume(masked[0]), rfft_volume(masked[1]))
    near = (np.abs(bin_centres() @ bin_centres().T) >= np.cos(np.radians(CONE))).astype(np.float64)
    lost = whole.masked - whole.corrected
    curves, width = _curves(sums, near) - lost, box * pixel_size
    rng = np.random.default_rng(seed)
    nulls = [_resolutions(_curves(_dealt(sums, rng), near) - lost, width).max() for _ in range(DRAWS)]
    return ConicalFsc(bin_centres(), _resolutions(curves, width), curves, float(max(nulls)))


def _binned(first: NDArray[np.complexfloating], second: NDArray[np.complexfloating]) -> FloatArray:
    """Sums (3, BINS, N//2 + 1) over direction and shell: cross product, and the power of both transforms."""
    box = first.shape[0]
    full, half = np.fft.fftfreq(box, 1 / box), np.arange(box // 2 + 1, dtype=float)
    z, y, x = np.meshgrid(full, full, half, indexing="ij", sparse=True)
    radius = np.sqrt(x**2 + y**2 + z**2)
    inside = (radius >= 0.5) & (np.rint(radius) <= box // 2)
    places = np.stack([np.broadcast_to(axis, inside.shape)[inside] for axis in (x, y, z)], axis=1)
    cells = nearest_bins(places / radius[inside][:, None]) * (box // 2 + 1) + np.rint(radius[inside]).astype(np.int64)
    weights = np.broadcast_to(half_plane_multiplicity(box), inside.shape)[inside]
    one, other = first[inside], second[inside]
    values = ((one * other.conj()).real, np.abs(one) ** 2, np.abs(other) ** 2)
    size = BINS * (box // 2 + 1)
    return np.stack([np.bincount(cells, value * weights, size).reshape(BINS, -1) for value in values])


def _curves(sums: FloatArray, near: FloatArray) -> FloatArray:
    """FSC (BINS, shells) of the cones, smoothed over shells."""
    cones = scipy.ndimage.uniform_filter1d(near @ sums, SMOOTHED, axis=2, mode="nearest")
    norm = np.sqrt(cones[1] * cones[2])
    return np.divide(cones[0], norm, out=np.zeros_like(norm), where=norm > 0)


def _dealt(sums: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The same with the directions of each shell in another order."""
    order = rng.permuted(np.tile(np.arange(BINS), (sums.shape[2], 1)), axis=1).T
    return np.take_along_axis(sums, order[None], axis=1)


def _resolutions(curves: FloatArray, width: float) -> FloatArray:
    """Å (BINS,); the first shells, of a handful of coefficients, are not asked."""
    asked = curves.copy()
    asked[:, :FEWEST_SHELLS] = 1.0
    return np.array([resolution_at(curve, width, THRESHOLD) for curve in asked])


def seen_share(rotations: FloatArray, radius: float, symmetry: FloatArray | None = None) -> float:
    """Share of a shell of Fourier space that at least one image shows.

    Parameters
    ----------
    rotations : (N, 3, 3) float64
        ``R`` with ``x_volume = R x_image``: an image shows the plane across the third column.
    radius : float
        Of the shell, Fourier pixels: a plane is one of these thick.
    symmetry : (M, 3, 3) float64, optional
        Operators of the particle's point group.

    Returns
    -------
    float
        0…1.
    """
    views = _distinct(rotations[:, :, 2], radius)
    if symmetry is not None and len(symmetry) > 1:
        views = _distinct((symmetry[:, None] @ views[None, :, :, None])[..., 0].reshape(-1, 3), radius)
    directions = bin_centres(max(BINS, int(4 * radius**2)))
    seen = np.zeros(len(directions), np.bool_)
    for some in np.array_split(views, max(1, len(views) // 500)):
        left = np.flatnonzero(~seen)
        seen[left] = (np.abs(directions[left] @ some.T) <= 0.5 / radius).any(axis=1)
    return float(seen.mean())


def _distinct(views: FloatArray, radius: float) -> FloatArray:
    """One view of those in each cell of a grid finer than a plane is thick: a million views along one axis show no more
    than some thousands of them."""
    if len(views) <= FEW:
        return views
    cells = int(16 * radius**2)
    centres = bin_centres(cells)
    _, nearest = scipy.spatial.cKDTree(np.concatenate([centres, -centres])).query(views)
    return views[np.unique(nearest % cells, return_index=True)[1]]
