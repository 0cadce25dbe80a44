"""The user's own maps of the states that there may be: the images choose among them, and assignment starts from that.

Such a map is compared with once and never aligned to: what it shows that is not in the images is gone after that pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from drgnalign.arrays import FloatArray, FloatVolume, IntArray
from drgnalign.errors import InputError
from drgnalign.fourier import irfft_volume, resize_volume, rfft_volume, shell_numbers, shell_sums
from drgnalign.heterogeneity.assign import Assigner
from drgnalign.maps.read import are_one_map, read_map
from drgnalign.particles import Particles
from drgnalign.validation.fsc import fourier_shell_correlation

# Half sets of the consensus agree by this where maps are held against it, which then agree by this on average: maps of
# one particle in one frame do by .8 and more, one that is turned, moved or mirrored by .1 to .3.
AGREE = 0.5
# Of a soft mask's values, what is no part of it.
OUTSIDE = 0.01


def check_initial_maps(paths: Sequence[Path], box: int, pixel_size: float) -> None:
    """Refuse maps that no images of this sampling can choose among.

    Parameters
    ----------
    paths : sequence of Path
    box : int
    pixel_size : float
        Å.

    Raises
    ------
    InputError
        There is one alone; one is no map of this box and pixel size; or two are one map.
    """
    if len(paths) == 1:
        raise InputError(paths[0], "it is the only one of --initial_maps: nothing to choose", "give two maps or more")
    for number, path in enumerate(paths):
        read_map(path, box, pixel_size)
        for other in paths[:number]:
            if are_one_map(other, path):
                raise InputError(path, f"it is the same map as {other}", "give each of --initial_maps once")


def labels_by_maps(assigner: Assigner, paths: Sequence[Path], particles: Particles) -> IntArray:
    """Which of the user's maps each particle matches best.

    Parameters
    ----------
    assigner : Assigner
    paths : sequence of Path
        Maps of the full box, on any scale, sharpened or not, in the frame of the particles' poses. Outside of a focus
        mask they are taken to be as the consensus.
    particles : Particles
        With the images' box and pixel size.

    Returns
    -------
    (N,) int64
        From 1, in the order of the maps; 0 = left out.

    Raises
    ------
    InputError
        A map does not lie where the consensus lies.
    """
    halves, mask, focus = assigner.consensus(), assigner.mask, assigner.settings.focus
    reach = _reach(fourier_shell_correlation(halves[0] * mask, halves[1] * mask))
    consensus = 0.5 * (halves[0] + halves[1])
    maps = []
    for path in paths:
        volume = resize_volume(read_map(path, particles.box, particles.pixel_size), assigner.particles.box)
        # its zero is its program's
        volume = volume - np.median(volume[mask < OUTSIDE])
        agreement = fourier_shell_correlation(volume * mask, consensus * mask)[1 : reach + 1].mean()
        if agreement < AGREE:
            problem = f"its FSC with the consensus is {agreement:.2f} on average, to {_angstrom(assigner, reach):.0f} Å"
            advice = (
                "align it to consensus/pass_NN/clusters/consensus.mrc of the results (or turn its hand), then -resume"
            )
            raise InputError(path, f"{problem}: it does not lie as the particles' poses have them", advice)
        own = on_scale_of(volume, consensus, mask)
        maps.append(own if focus is None else consensus + focus * (own - consensus))
    return assigner.labels_by(maps)


def _reach(correlation: FloatArray) -> int:
    """The last shell, one at least, up to which an FSC is no less than `AGREE`."""
    below = np.flatnonzero(correlation[1:] < AGREE)
    return max(int(below[0]) if len(below) else len(correlation) - 1, 1)


def _angstrom(assigner: Assigner, shell: int) -> float:
    return assigner.particles.box * assigner.particles.pixel_size / shell


def on_scale_of(volume: FloatVolume, consensus: FloatVolume, mask: FloatVolume) -> FloatVolume:
    """A map whose every shell is multiplied by what fits the consensus's best, under a mask.

    Maps of other programs are sharpened, filtered, and in units of their own. A shell that has nothing in common with
    the consensus is taken away.

    Parameters
    ----------
    volume, consensus, mask : (N, N, N) float32

    Returns
    -------
    (N, N, N) float32
        Outside of the mask too.
    """
    box = mask.shape[0]
    own, common = rfft_volume(volume * mask), rfft_volume(consensus * mask)
    power = shell_sums(np.abs(own) ** 2, box)
    factors = np.divide(shell_sums((own * common.conj()).real, box), power, out=np.zeros_like(power), where=power > 0)
    # the corners beyond the last shell count for nothing
    of_shell = np.append(np.maximum(factors, 0.0), 0.0)
    filtered = rfft_volume(volume) * of_shell[np.minimum(shell_numbers(box, 3), box // 2 + 1)]
    return irfft_volume(filtered, box).astype(np.float32)
