"""Soft masks: a sphere, one that follows a particle, and one that holds what several maps show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from drgnalign.arrays import FloatVolume
from drgnalign.errors import DrgnalignError
from drgnalign.fourier import (
    irfft_volume,
    radius_grid,
    raised_cosine,
    resize_volume,
    rfft_volume,
    shell_numbers,
)

# Å: the map is smoothed to this before it is cut, the cut is grown, and its edge falls off. At least so many
# voxels each, for coarse boxes.
LOWPASS, GROW, EDGE = 15.0, 8.0, 12.0
FEWEST_VOXELS = 2.0
FEWEST_LOWPASS = 3.0
# Voxels of a coarse map, per LOWPASS.
FINENESS = 4
RIPPLE = 0.01
# Protein has about 1.21 Å³ a dalton (partial specific volume 0.73 cm³/g).
ANGSTROM3_PER_DALTON = 1.21
# What stands out of the background by so many standard deviations is density. The background is a shell around the
# particle's sphere, up to so many radii: farther out the noise of a map is larger, as what interpolation between
# Fourier pixels took away is divided out again.
SIGMAS, AROUND = 4.0, 1.25
# Of half of a normal distribution.
MAD_TO_SIGMA = 1.4826


def soft_sphere(box: int, pixel_size: float, diameter: float) -> FloatVolume:
    """Mask that is 1 in the particle's sphere, with a raised-cosine edge of 12 Å around it, within the box.

    Parameters
    ----------
    box : int
    pixel_size, diameter : float
        Å.

    Returns
    -------
    (box, box, box) float32
        Values 0…1; 0 in the box's outermost voxels, so that a sphere that leaves no room for its edge is smaller.
    """
    edge = max(EDGE / pixel_size, FEWEST_VOXELS)
    return raised_cosine(radius_grid(box, 3) - min(0.5 * diameter / pixel_size, 0.5 * box - 1 - edge), edge)


def particle_mask(
    volume: FloatVolume, pixel_size: float, diameter: float, mass_kda: float | None = None
) -> FloatVolume:
    """Soft mask around the particle in a map of white protein.

    The map is low-pass filtered. Density is what stands four standard deviations above the background, in connected
    parts larger than a ball of the filter's resolution (noise makes none). With a mass the level is lowered, if need
    be, to the one that encloses the mass, and the same parts are followed to there: a level that is chosen by the
    mass alone would cut off the domains of a few per cent of the particles. The parts are grown by 8 Å, with a
    raised-cosine edge of 12 Å, inside the sphere of `diameter`. All this is done at the coarse sampling that the filter
    allows.

    Parameters
    ----------
    volume : (N, N, N) float32
        Map, protein positive.
    pixel_size, diameter : float
        Å.
    mass_kda : float, optional
        Mass of the particle.

    Returns
    -------
    (N, N, N) float32
        Values 0…1.

    Raises
    ------
    DrgnalignError
        Nothing in the map rises above its background.
    """
    view = _coarse_view(volume, pixel_size, diameter)
    found = _particle(view, mass_kda)
    if not found.any():
        raise DrgnalignError(
            None,
            "the map has no density above its background, so no mask can be made around the particle",
            "check that the images show particles, their poses and CTF; that protein is white in them, or said to be "
            "dark (--invert); that none have grey values far from the others', and that few are junk; or give another "
            "--mask_diameter: the particle has to fit into it, and some background around it into the box",
        )
    return resampled_mask(_softened(found, view), len(volume))


def union_mask(mask: FloatVolume, maps: Iterable[FloatVolume], pixel_size: float, diameter: float) -> FloatVolume:
    """A mask, and what any of several maps shows outside of it.

    Parameters
    ----------
    mask : (N, N, N) float32
        Values 0…1.
    maps : iterable of (n, n, n) float32
        Of the same field of view, n ≤ N; taken one after the other. One without density adds nothing.
    pixel_size : float
        Å, of the mask.
    diameter : float
        Å, of the sphere that bounds what is added.

    Returns
    -------
    (N, N, N) float32
    """
    union: FloatVolume | None = None
    for volume in maps:
        view = _view(volume, pixel_size * len(mask) / len(volume), diameter)
        found = _particle(view)
        if found.any():
            soft = _softened(found, view)
            union = soft if union is None else np.maximum(union, soft)
    return mask if union is None else np.maximum(mask, resampled_mask(union, len(mask)))


def resampled_mask(mask: FloatVolume, box: int) -> FloatVolume:
    """A mask over the same field of view at another sampling (box, box, box), by its Fourier transform.

    The ripples that this leaves are flattened: what comes within `RIPPLE` of 0 or 1, or beyond, is 0 or 1.
    """
    if len(mask) == box:
        return mask
    resized = resize_volume(mask, box).astype(np.float32)
    resized[resized < RIPPLE] = 0
    resized[resized > 1 - RIPPLE] = 1
    return resized


def density_outside(volume: FloatVolume, mask: FloatVolume, pixel_size: float, diameter: float) -> float:
    """How much of a map's density its mask leaves out.

    Density is what `particle_mask` takes for it; looked for are parts that lie more than 8 Å outside of the mask's
    half height, up to 1.25 radii of the particle's sphere from the centre.

    Parameters
    ----------
    volume, mask : (N, N, N) float32
    pixel_size, diameter : float
        Å.

    Returns
    -------
    float
        Share of the density, integrated above the background; 0 where none is outside.
    """
    view = _coarse_view(volume, pixel_size, diameter)
    box = len(view.smooth)
    seen = (view.smooth > view.level) & (view.radius <= min(AROUND * view.sphere, 0.5 * box - 1))
    distance = scipy.ndimage.distance_transform_edt(resampled_mask(mask, box) < 0.5)
    outside = _parts(seen & (distance > max(GROW / view.pixel_size, FEWEST_VOXELS)), view.speck)
    density = view.smooth - view.background
    return float(density[outside].sum() / density[seen].sum()) if outside.any() else 0.0


def shows_density(volume: FloatVolume, mask: FloatVolume, pixel_size: float, diameter: float) -> bool:
    """Whether a map has any density inside a mask's half height; density is what `particle_mask` takes for it.

    Parameters
    ----------
    volume, mask : (N, N, N) float32
    pixel_size, diameter : float
        Å.

    Returns
    -------
    bool
    """
    view = _coarse_view(volume, pixel_size, diameter)
    inside = resampled_mask(mask, len(view.smooth)) >= 0.5
    return bool((_parts(view.smooth > view.level, view.speck) & inside).any())


def coarse_box(box: int, pixel_size: float, resolution: float = LOWPASS) -> int:
    """Even number of voxels that a map needs up to a resolution (Å), that of its mask: four per wave, or as many as it
    has."""
    needed = FINENESS * box * pixel_size / resolution
    return min(2 * scipy.fft.next_fast_len(int(np.ceil(needed / 2)), real=True), box - box % 2)


class _View(NamedTuple):
    """A map as it is cut.

    Attributes
    ----------
    smooth, radius : (N, N, N) float32
        The filtered map, and the distance from the centre in voxels.
    pixel_size : float
        Å.
    sphere : float
        Radius of the particle's sphere, voxels.
    background, level : float
        Median outside of it, and what density is above of.
    """

    smooth: NDArray[np.floating]
    radius: FloatVolume
    pixel_size: float
    sphere: float
    background: float
    level: float

    @property
    def speck(self) -> float:
        """Voxels of a ball of the filter's resolution."""
        return np.pi / 6 * max(LOWPASS / self.pixel_size, FEWEST_LOWPASS) ** 3


def _coarse_view(volume: FloatVolume, pixel_size: float, diameter: float) -> _View:
    box = coarse_box(len(volume), pixel_size)
    return _view(resize_volume(volume, box), pixel_size * len(volume) / box, diameter)


def _view(volume: FloatVolume, pixel_size: float, diameter: float) -> _View:
    box = len(volume)
    radius = radius_grid(box, 3)
    sphere = min(0.5 * diameter / pixel_size, 0.5 * box - 1)
    smooth = _lowpass(volume, pixel_size)
    around = smooth[(radius > sphere) & (radius <= AROUND * sphere)]
    background = float(np.median(around))
    sigma = MAD_TO_SIGMA * float(np.median(np.abs(around - background)))
    return _View(smooth, radius, pixel_size, sphere, background, background + SIGMAS * sigma)


def _particle(view: _View, mass_kda: float | None = None) -> NDArray[np.bool_]:
    """Voxels of the particle: parts above the level, followed to where they enclose the mass."""
    inside = view.radius <= view.sphere
    found = _parts((view.smooth > view.level) & inside, view.speck)
    if mass_kda is None or not found.any():
        return found
    voxels = min(int(mass_kda * 1e3 * ANGSTROM3_PER_DALTON / view.pixel_size**3), int(inside.sum()) - 1)
    enclosing = float(np.partition(view.smooth[inside], -voxels)[-voxels])
    parts, _ = scipy.ndimage.label((view.smooth > min(enclosing, view.level)) & inside)
    return np.isin(parts, np.unique(parts[found]))


def _parts(above: NDArray[np.bool_], smallest: float) -> NDArray[np.bool_]:
    """The connected parts of at least so many voxels."""
    parts, _ = scipy.ndimage.label(above)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return (sizes >= smallest)[parts]


def _softened(found: NDArray[np.bool_], view: _View) -> FloatVolume:
    """The found voxels grown, with a soft edge, within the sphere."""
    edge = max(EDGE / view.pixel_size, FEWEST_VOXELS)
    grown = scipy.ndimage.distance_transform_edt(~found) - max(GROW / view.pixel_size, FEWEST_VOXELS)
    return raised_cosine(grown, edge) * raised_cosine(view.radius - view.sphere + edge, edge)


def _lowpass(volume: FloatVolume, pixel_size: float) -> NDArray[np.floating]:
    """Gaussian low-pass with half height at LOWPASS Å, or at 3 voxels where those are coarser."""
    box = volume.shape[0]
    cutoff = box * pixel_size / max(LOWPASS, FEWEST_LOWPASS * pixel_size)
    weights = np.exp(-np.log(2) * (shell_numbers(box, 3) / cutoff) ** 2).astype(np.float32)
    return irfft_volume(rfft_volume(volume) * weights, box)
