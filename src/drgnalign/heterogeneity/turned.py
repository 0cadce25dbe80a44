"""How much of a change of the map is the particle's turning and shifting as a whole: errors of poses, and no change."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from drgnalign.arrays import BoolArray, FloatArray, FloatVolume
from drgnalign.fourier import irfft_volume, resize_volume, rfft_volume, shell_numbers
from drgnalign.maps.mask import coarse_box
from drgnalign.particles import Particles

# Å up to which maps are compared. Turned by the few degrees that poses are off, finer detail moves by more than its own
# width, and derivatives do not describe that.
COARSE = 25.0
# A change of which this much is turning and shifting as a whole is none but errors of poses: .44 and .66 of the change
# along a curve through states at poses 4° off, .01 to .1 along motions, .36 of a lobe that swings about a body that is
# all but round; .56 to .86 of the difference of two clusters of one state, 0 to .04 of those of two.
RIGID = 0.4


class Turn(NamedTuple):
    """What of the difference of two clusters' maps is turning and shifting as a whole.

    Attributes
    ----------
    share : float
        Of it, about 0 to 1; 0 where the half sets have no difference in common.
    rotation : (3,) float64
        Vector, radians, by which the second cluster's particles are turned to lie as the first one's do.
    shift : (3,) float64
        (x, y, z), Å, by which they are shifted then.
    """

    share: float
    rotation: FloatArray
    shift: FloatArray

    @property
    def size(self) -> tuple[float, float]:
        """Of the rotation, degrees, and of the shift, Å."""
        return float(np.rad2deg(np.linalg.norm(self.rotation))), float(np.linalg.norm(self.shift))

    def of(self, particles: Particles, rows: BoolArray) -> Particles:
        """Particles of which some (N,), the second cluster's, lie as the first one's do."""
        rotations, displacements = particles.rotations(), particles.displacements()
        rotations[rows] = Rotation.from_rotvec(self.rotation).as_matrix() @ rotations[rows]
        # a particle that is taken to lie further to one side is put further to the other
        displacements[rows] -= (self.shift @ rotations[rows])[:, :2] / particles.pixel_size
        return particles.with_poses(rotations, displacements)


def rigid_fields(volume: FloatVolume | FloatArray) -> FloatArray:
    """Derivatives of a map by shifts along x, y and z, and by rotations about them.

    Parameters
    ----------
    volume : (n, n, n) float

    Returns
    -------
    (6, n³) float64
    """
    steps = np.gradient(volume)[::-1]
    axis = np.arange(len(volume)) - len(volume) // 2
    x, y, z = axis, axis[:, None], axis[:, None, None]
    turns = [z * steps[1] - y * steps[2], x * steps[2] - z * steps[0], y * steps[0] - x * steps[1]]
    return np.stack([*steps, *turns]).reshape(6, -1)


def turns_between(
    halves: Mapping[int, tuple[FloatVolume, FloatVolume]], mask: FloatVolume, pixel_size: float
) -> dict[tuple[int, int], Turn]:
    """How much of what the maps of each two clusters differ by is the particle's turning and shifting as a whole.

    Between half sets, so that noise has no part in it: the share of ⟨D₁, D₂⟩ that lies along the six derivatives of
    their mean, D the difference within the mask up to `COARSE` Å.

    Parameters
    ----------
    halves : mapping
        Unfiltered half maps (N, N, N) of each cluster by its label.
    mask : (N, N, N) float32
    pixel_size : float
        Å.

    Returns
    -------
    dict
        Pair of labels, the smaller one first, to the turn.
    """
    # so fine that differences of neighbours are derivatives
    box = coarse_box(len(mask), pixel_size, COARSE)
    inside = resize_volume(mask, box)
    maps = {label: [_coarse(half, box, pixel_size) for half in both] for label, both in halves.items()}
    fields = {label: rigid_fields(0.25 * (both[0] + both[1])) * inside.ravel() for label, both in maps.items()}
    voxel, turns = pixel_size * len(mask) / box, {}
    for one, other in combinations(sorted(maps), 2):
        first, second = (((a - b) * inside).ravel() for a, b in zip(maps[one], maps[other], strict=True))
        of_pair, common = fields[one] + fields[other], float(first @ second)
        # a round body has no rotations
        inverse = np.linalg.pinv(of_pair @ of_pair.T, rcond=1e-12, hermitian=True)
        along = of_pair @ first, of_pair @ second
        share = float(along[0] @ inverse @ along[1]) / common if common > 0 else 0.0
        parts = inverse @ (along[0] + along[1]) / 2
        turns[one, other] = Turn(share, parts[3:], -parts[:3] * voxel)
    return turns


def _coarse(volume: FloatVolume, box: int, pixel_size: float) -> FloatArray:
    width = len(volume) * pixel_size
    seen = shell_numbers(box, 3) <= width / COARSE
    return np.asarray(irfft_volume(rfft_volume(resize_volume(volume, box)) * seen, box), np.float64)
