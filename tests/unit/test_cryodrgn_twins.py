"""cryoDRGN's own converters make of a star file the pickles that we make of it."""

from __future__ import annotations

import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from drgnalign.errors import DrgnalignError
from drgnalign.formats.cryodrgn import read_cryodrgn, write_cryodrgn
from drgnalign.formats.star import read_star, write_star
from drgnalign.geometry import angular_distance
from drgnalign.heterogeneity.cryodrgn import find_cryodrgn
from drgnalign.particles import DEFOCUS, ORIGINS, Particles

pytestmark = pytest.mark.slow

REAL_STAR = Path(__file__).parents[3] / "shared" / "data" / "particles" / "relion31.star"


def converted_by_cryodrgn(star: Path, folder: Path) -> None:
    """Run parse_pose_star and parse_ctf_star, without options: box and pixel size are in the optics table."""
    try:
        cryodrgn = find_cryodrgn()
    except DrgnalignError as error:
        pytest.skip(f"the program cryodrgn is not installed: {error.problem}")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    folder.mkdir()
    for name, output in (("parse_pose_star", "poses.pkl"), ("parse_ctf_star", "ctf.pkl")):
        arguments = [str(cryodrgn), name, str(star), "-o", str(folder / output)]
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def load(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file)


def assert_twins(particles: Particles, star: Path, folder: Path) -> None:
    converted_by_cryodrgn(star, folder / "theirs")
    write_cryodrgn(particles, folder / "ours")
    theirs, ours = (load(folder / name / "poses.pkl") for name in ("theirs", "ours"))
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-6, rtol=0)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-6, rtol=0)
    assert np.abs(theirs[1]).max() > 1e-4
    theirs, ours = (load(folder / name / "ctf.pkl") for name in ("theirs", "ours"))
    np.testing.assert_array_equal(ours, theirs)
    assert ours.dtype == theirs.dtype == np.float32
    # And back: what the programs wrote is read as the particles that the star file describes.
    back = read_cryodrgn(folder / "theirs" / "poses.pkl", folder / "theirs" / "ctf.pkl", "stack.mrcs")
    assert angular_distance(back.rotations(), particles.rotations()).max() < 1e-4
    np.testing.assert_allclose(back.table[ORIGINS], particles.table[ORIGINS], atol=1e-4)
    np.testing.assert_array_equal(back.table[DEFOCUS].astype(np.float32), particles.table[DEFOCUS].astype(np.float32))


def test_a_star_file_of_ours(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    defocus = rng.uniform(8_000, 25_000, 12)
    table = pd.DataFrame(
        {
            "rlnImageName": [f"{number:06d}@stack.mrcs" for number in range(1, 13)],
            "rlnOpticsGroup": [1, 2, 3] * 4,
            "rlnAngleRot": rng.uniform(-180, 180, 12),
            # the poles, where rot and psi are one angle, and a negative tilt among them
            "rlnAngleTilt": [0.0, 180.0, -35.0, *rng.uniform(0, 180, 9)],
            "rlnAnglePsi": rng.uniform(-180, 360, 12),
            "rlnOriginXAngst": rng.uniform(-40, 40, 12),
            "rlnOriginYAngst": rng.uniform(-40, 40, 12),
            "rlnDefocusU": defocus,
            "rlnDefocusV": defocus - rng.uniform(0, 900, 12),
            "rlnDefocusAngle": rng.uniform(-90, 90, 12),
            "rlnPhaseShift": rng.uniform(0, 180, 12),
        }
    )
    optics = pd.DataFrame(
        {
            "rlnOpticsGroup": [1, 2, 3],
            "rlnOpticsGroupName": ["one", "two", "three"],
            "rlnVoltage": [300.0, 200.0, 300.0],
            "rlnSphericalAberration": [2.7, 0.01, 2.7],
            "rlnAmplitudeContrast": [0.07, 0.1, 0.1],
            "rlnImagePixelSize": [1.31, 1.0625, 2.62],
            "rlnImageSize": [128, 128, 65],
            "rlnImageDimensionality": [2, 2, 2],
        }
    )
    particles = Particles(table, optics, tmp_path)
    write_star(particles, tmp_path / "ours.star")
    assert_twins(particles, tmp_path / "ours.star", tmp_path)


def test_a_star_file_of_relion(tmp_path: Path) -> None:
    if not REAL_STAR.exists():
        pytest.skip("the shared data folder is not there")
    assert_twins(read_star(REAL_STAR), REAL_STAR, tmp_path)
