"""How finely the engine samples, and how much that takes: what is known of a set before any of its images is read.

Apart from what does it, so that a pass is planned without the kernels.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drgnalign.errors import DrgnalignError
from drgnalign.particles import Particles

# A stage of fewer coefficients does not determine five pose parameters of a noisy image.
FEWEST_STAGE_RADIUS = 4.0
# Å: what Frealign 9 takes for the coarsest limit of a refinement; nobody needs a coarser one.
COARSEST_LIMIT = 200.0
# Particles from which the engine learns what to expect.
PILOT = 256
# A coefficient at Nyquist is spread over Fourier pixels less than this further out.
REACH = math.sqrt(3)


def coarsest_limit(particles: Particles) -> float:
    """Å; a coarser limit leaves too few Fourier pixels for a pose."""
    return particles.box * particles.pixel_size / FEWEST_STAGE_RADIUS


def evenly_spread(count: int) -> NDArray[np.int64]:
    """Which of so many particles are looked at."""
    return np.unique(np.linspace(0, count - 1, min(PILOT, count)).astype(np.int64))


def oversampling(box: int, pixel_size: float, diameter: float) -> float:
    """Padding factor of the Fourier volumes that images are inserted into.

    Linear interpolation between Fourier pixels is good while the particle fills up to half of the (padded) box.

    Parameters
    ----------
    box : int
    pixel_size, diameter : float
        Å.

    Returns
    -------
    float
        1, 1.5 or 2.
    """
    fill = diameter / (box * pixel_size)
    return next((factor for factor in (1.0, 1.5) if fill <= 0.5 * factor), 2.0)


def reference_oversampling(box: int, pixel_size: float, diameter: float) -> float:
    """Padding factor of the references that poses are refined against.

    As `oversampling`, but 1.25 where the particle fills two fifths to half of the box: errors of poses that are within
    some per cent of the Cramér-Rao bound show what interpolation costs.
    """
    fill = diameter / (box * pixel_size)
    return 1.25 if 0.4 < fill <= 0.5 else oversampling(box, pixel_size, diameter)


def padded_box(box: int, factor: float) -> int:
    """Size of the padded volume: the box itself without padding, else an even number of voxels."""
    return box if factor == 1.0 else 2 * math.ceil(factor * box / 2)


class Rows(NamedTuple):
    """The rows x ≥ 0 of a half volume that lie within Nyquist's sphere, as `HalfMapSums` holds them.

    Attributes
    ----------
    starts : (2K+1, 2K+1) int32
        Where the row (z + K, y + K) begins.
    lengths : (2K+1, 2K+1) int64
        Number of its voxels; 0 outside the sphere.
    """

    starts: NDArray[np.int32]
    lengths: NDArray[np.int64]

    @property
    def edge(self) -> int:
        """K."""
        return len(self.starts) // 2

    @property
    def voxels(self) -> int:
        """Of all rows."""
        return int(self.lengths.sum())


@lru_cache(maxsize=2)
def sphere_rows(padded: int) -> Rows:
    """Rows of the padded half volume that insertion reaches."""
    edge = math.ceil(padded / 2) + 1
    axis = np.arange(-edge, edge + 1)
    room = (padded / 2 + REACH) ** 2 - axis[:, None] ** 2 - axis**2
    lengths = np.where(room >= 0, np.minimum(np.floor(np.sqrt(np.maximum(room, 0))), edge) + 1, 0).astype(np.int64)
    starts = np.cumsum(lengths).reshape(lengths.shape) - lengths
    if lengths.sum() >= 2**31:
        problem = f"a map of {padded} Fourier pixels a side is larger than the kernels can count"
        raise DrgnalignError(None, problem, "use a smaller box or a smaller --mask_diameter")
    return Rows(starts.astype(np.int32), lengths)


def part_bytes(box: int, padding: float) -> int:
    """What the sums of both half sets take, in memory and as a file."""
    return 2 * sphere_rows(padded_box(box, padding)).voxels * 16
