"""cryoDRGN's own back-projection of our images, poses and CTF gives our map."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drgnalign.engine.reconstruct import insert_particles
from drgnalign.errors import DrgnalignError
from drgnalign.formats.cryodrgn import write_ctf, write_poses
from drgnalign.formats.mrc import read_volume
from drgnalign.heterogeneity.cryodrgn import find_cryodrgn
from drgnalign.maps.mask import particle_mask

pytestmark = pytest.mark.slow


def test_backproject_voxel_gives_the_same_map(simulate: Callable, tmp_path: Path) -> None:
    try:
        cryodrgn = find_cryodrgn()
    except DrgnalignError as error:
        pytest.skip(f"the program cryodrgn is not installed: {error.problem}")
    # Well displaced and astigmatic, so that signs and axes of shifts and of the astigmatism count.
    rng = np.random.default_rng(0)
    defocus = rng.uniform(14_000, 20_000, 600)
    defoci = pd.DataFrame(
        {"rlnDefocusU": defocus, "rlnDefocusV": defocus - 8000, "rlnDefocusAngle": rng.uniform(0, 180, 600)}
    )
    data = simulate(600, 32, 8.0, snr=100.0, displacement_spread=2.0, defoci=defoci)
    write_poses(tmp_path / "poses.pkl", data.truth.rotations(), data.truth.displacements(), 32)
    write_ctf(tmp_path / "ctf.pkl", data.truth, 32, 8.0)
    arguments = ["backproject_voxel", data.folder / "particles.mrcs", "--outdir", tmp_path / "out"]
    arguments += ["--poses", tmp_path / "poses.pkl", "--ctf", tmp_path / "ctf.pkl", "--no-half-maps", "--no-fsc-vals"]
    # Its CTF is negative at low frequency and it inverts the images: white protein comes out positive. By default
    # it damps the map where views are few.
    arguments += ["--ctf-alg", "mul", "--reg-weight", "0.001"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([cryodrgn, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs, pixel_size = read_volume(tmp_path / "out" / "backproject.mrc")
    assert pixel_size == pytest.approx(8.0)

    sums = insert_particles(data.truth, data.source, data.white_noise, padding=2.0)
    ours = 0.5 * (sums.half_map(1) + sums.half_map(2))
    inside = particle_mask(data.volume, 8.0, 220.0) > 0.5

    def correlation(first: np.ndarray, second: np.ndarray) -> float:
        return float(np.corrcoef(first[inside], second[inside])[0, 1])

    assert correlation(theirs, ours) > 0.98
    assert correlation(ours, data.volume) > 0.99
    # Any other hand, order of axes or centre is told apart.
    for axis in range(3):
        assert correlation(np.flip(theirs, axis), ours) < 0.6
        assert correlation(np.roll(theirs, 1, axis), ours) < 0.95
    assert correlation(theirs.transpose(2, 1, 0), ours) < 0.6
