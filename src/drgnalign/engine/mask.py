"""Soft masks: a sphere, and one that follows the particle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drgnalign.errors import DrgnalignError
from drgnalign.fourier import irfft_volume, radius_grid, raised_cosine, rfft_volume, shell_numbers

# Å: the map is smoothed to this before it is cut, the cut is grown, and its edge falls off. At least so many
# voxels each, for coarse boxes.
LOWPASS, GROW, EDGE = 15.0, 8.0, 12.0
FEWEST_VOXELS = 2.0
# Protein has about 1.21 Å³ a dalton (partial specific volume 0.73 cm³/g).
ANGSTROM3_PER_DALTON = 1.21
# Without a mass the cut lies at so many standard deviations of the density outside the particle's sphere.
SIGMAS = 4.0


def soft_sphere(box: int, pixel_size: float, diameter: float) -> NDArray[np.float32]:
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
    volume: NDArray[np.float32], pixel_size: float, diameter: float, mass_kda: float | None = None
) -> NDArray[np.float32]:
    """Soft mask around the particle in a map of white protein.

    The map is low-pass filtered and cut at a level: the one that encloses the volume of the given mass, else four
    standard deviations of the density outside the sphere of `diameter`. The largest connected part (and any part
    of at least a tenth of its size) is grown by 8 Å, with a raised-cosine edge of 12 Å, inside the sphere.

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
        Nothing in the map rises above the level.
    """
    from scipy import ndimage  # slow to import, and refinement, which gets its mask, imports this module

    box = volume.shape[0]
    radius = radius_grid(box, 3)
    sphere_radius = min(0.5 * diameter / pixel_size, 0.5 * box - 1)
    edge = max(EDGE / pixel_size, FEWEST_VOXELS)
    smooth = _lowpass(volume, pixel_size)
    inside = radius <= sphere_radius
    if mass_kda is None:
        outside = smooth[~inside]
        level = float(np.median(outside) + SIGMAS * 1.4826 * np.median(np.abs(outside - np.median(outside))))
    else:
        voxels = min(int(mass_kda * 1e3 * ANGSTROM3_PER_DALTON / pixel_size**3), int(inside.sum()) - 1)
        level = float(np.sort(smooth[inside])[-voxels])
    parts, count = ndimage.label((smooth > level) & inside)
    if count == 0:
        raise DrgnalignError(
            None,
            "the map has no density above its background, so no mask can be made around the particle",
            "check the poses, the CTF and the contrast of the images, or give a smaller --mask_diameter",
        )
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    particle = np.isin(parts, np.flatnonzero(sizes >= 0.1 * sizes.max()))
    distance = ndimage.distance_transform_edt(~particle)
    grown = raised_cosine(distance - max(GROW / pixel_size, FEWEST_VOXELS), edge)
    return grown * raised_cosine(radius - sphere_radius + edge, edge)


def _lowpass(volume: NDArray[np.float32], pixel_size: float) -> NDArray[np.floating]:
    """Gaussian low-pass with half height at LOWPASS Å, or at 3 voxels where those are coarser."""
    box = volume.shape[0]
    cutoff = box * pixel_size / max(LOWPASS, 3 * pixel_size)
    weights = np.exp(-np.log(2) * (shell_numbers(box, 3) / cutoff) ** 2).astype(np.float32)
    return irfft_volume(rfft_volume(volume) * weights, box)
