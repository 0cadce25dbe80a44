"""How well single atoms are resolved: Q-scores (Pintilie et al. 2020, Nat. Methods 17, 328)."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from drgnalign.arrays import FloatArray, FloatVolume

# Å: of the Gaussian that a well resolved atom looks like; radii at which the map is looked at.
SIGMA, RADII = 0.6, np.linspace(0.0, 2.0, 21)
# Points at each radius that are nearer to this atom than to any other; directions that are tried for them.
POINTS, DIRECTIONS = 8, 64
# The root of x³ = x + 1.
PLASTIC = 1.32471795724474602596
# Neighbours of an atom within two of the largest radii; atoms are worked on so many at a time.
NEIGHBOURS, AT_ONCE = 48, 2000


def q_scores(volume: FloatVolume, pixel_size: float, positions: FloatArray) -> FloatArray:
    """Correlation of the map around each atom with a Gaussian of 0.6 Å.

    The map is read at eight points at each of 21 radii up to 2 Å, of those directions in which no other atom is nearer;
    the correlation is about the mean, so that grey values need no scale.

    Parameters
    ----------
    volume : (N, N, N) float32
    pixel_size : float
        Å.
    positions : (n, 3) float64
        (x, y, z) in Å from the box centre, of all atoms there are.

    Returns
    -------
    (n,) float64
        1 of an atom that looks like the Gaussian, about 0 where nothing is seen of it; NaN where other atoms lie all
        around.
    """
    directions = spread_directions(DIRECTIONS)
    tree = scipy.spatial.cKDTree(positions)
    scores = np.empty(len(positions))
    for start in range(0, len(positions), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        blocked = _blocked_from(tree, positions, positions[rows], directions)
        scores[rows] = _scores(volume, pixel_size, positions[rows], directions, blocked)
    return scores


def spread_directions(count: int) -> FloatArray:
    """Unit vectors (count, 3), so ordered that the first few are spread over the sphere too.

    The additive recurrence with the least discrepancy in two dimensions (Roberts 2018), on a cylinder of the sphere's
    area.
    """
    number = np.arange(count)
    height = 1 - 2 * np.mod(0.5 + number / PLASTIC, 1)
    angle, width = 2 * np.pi * np.mod(number / PLASTIC**2, 1), np.sqrt(1 - height**2)
    return np.stack([width * np.cos(angle), width * np.sin(angle), height], axis=1)


def _blocked_from(
    tree: scipy.spatial.cKDTree, everyone: FloatArray, positions: FloatArray, directions: FloatArray
) -> FloatArray:
    """Radius (atoms, directions) from which on another atom is nearer.

    A point r u from an atom is nearer to another one at d where 2 r u·d > |d|².
    """
    distances, index = tree.query(positions, k=min(NEIGHBOURS, len(everyone)), distance_upper_bound=2 * RADII[-1] + 0.1)
    distances, index = np.atleast_2d(distances.T).T, np.atleast_2d(index.T).T
    there = np.isfinite(distances) & (distances > 0)
    to_others = everyone[np.where(there, index, 0)] - positions[:, None]
    along = 2 * np.einsum("anx,ux->aun", to_others, directions)
    steepest = np.where(there[:, None], along / np.maximum(distances**2, 1e-12)[:, None], 0).max(axis=2)
    return np.divide(1.0, steepest, out=np.full_like(steepest, np.inf), where=steepest > 0)


def _scores(
    volume: FloatVolume, pixel_size: float, positions: FloatArray, directions: FloatArray, blocked: FloatArray
) -> FloatArray:
    profile = np.exp(-0.5 * (RADII / SIGMA) ** 2)
    values, taken = [], []
    for radius in RADII:
        free = blocked > radius
        first = np.argsort(~free, axis=1, kind="stable")[:, :POINTS]
        places = positions[:, None] + radius * directions[first]
        values.append(_read(volume, pixel_size, places))
        taken.append(np.take_along_axis(free, first, axis=1))
    return _correlation(np.stack(values, axis=1), np.stack(taken, axis=1), profile[None, :, None])


def _read(volume: FloatVolume, pixel_size: float, places: FloatArray) -> NDArray[np.float32]:
    """The map at places (…, 3), as (x, y, z) in Å from the centre; 0 outside."""
    voxels = places[..., ::-1].reshape(-1, 3).T / pixel_size + len(volume) // 2
    return scipy.ndimage.map_coordinates(volume, voxels, order=1).reshape(places.shape[:-1])


def _correlation(values: FloatArray, taken: NDArray[np.bool_], profile: FloatArray) -> FloatArray:
    """About the mean, of the points that are taken, for each atom."""
    count = np.maximum(taken.sum(axis=(1, 2)), 1)
    expected = np.broadcast_to(profile, values.shape)
    sides = [
        np.where(taken, one - ((one * taken).sum(axis=(1, 2)) / count)[:, None, None], 0) for one in (values, expected)
    ]
    norm = np.sqrt((sides[0] ** 2).sum(axis=(1, 2)) * (sides[1] ** 2).sum(axis=(1, 2)))
    cross = (sides[0] * sides[1]).sum(axis=(1, 2))
    return np.divide(cross, norm, out=np.full(len(cross), np.nan), where=norm > 0)
