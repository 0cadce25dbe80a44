"""cryoDRGN's files: the conventions of a worked example, and pickles that must not run code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from drgnalign.errors import InputError
from drgnalign.formats.cryodrgn import read_latent, write_ctf, write_poses
from drgnalign.geometry import euler_to_matrix
from drgnalign.particles import Particles

REAL_PARTICLES = Path(__file__).parents[3] / "shared" / "data" / "particles"


def load(path: Path):
    with path.open("rb") as file:
        return pickle.load(file)


def test_poses_of_the_worked_example(tmp_path: Path) -> None:
    rotation = euler_to_matrix([4.26], [115.57], [68.02])
    write_poses(tmp_path / "poses.pkl", rotation, [[-0.68, -0.286667]], box=64)
    rotations, translations = load(tmp_path / "poses.pkl")
    expected = [[-0.229983, 0.912753, -0.337625], [0.371333, 0.402980, 0.836492], [0.899566, 0.067007, -0.431613]]
    np.testing.assert_allclose(rotations, [expected], atol=1e-6)
    np.testing.assert_allclose(translations, [[0.010625, 0.004479]], atol=1e-6)
    assert rotations.dtype == translations.dtype == np.float32


@pytest.mark.parametrize(
    ("displacement", "message"), [([np.nan, 0.0], "finite"), ([0.0, -65.0], "more than its box of 64 px")]
)
def test_impossible_poses_are_refused(tmp_path: Path, displacement, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_poses(tmp_path / "poses.pkl", np.eye(3)[None], [displacement], box=64)
    assert not list(tmp_path.iterdir())


def test_ctf_columns_follow_the_optics_groups(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "rlnOpticsGroup": [2, 1],
            "rlnDefocusU": [15000.0, 16000.0],
            "rlnDefocusV": [14000.0, 15500.0],
            "rlnDefocusAngle": [30.0, -40.0],
            "rlnPhaseShift": [90.0, 0.0],
        }
    )
    optics = pd.DataFrame(
        {
            "rlnOpticsGroup": [1, 2],
            "rlnVoltage": [300.0, 200.0],
            "rlnSphericalAberration": [2.7, 2.0],
            "rlnAmplitudeContrast": [0.07, 0.1],
        }
    )
    write_ctf(tmp_path / "ctf.pkl", Particles(table, optics, tmp_path), box=32, pixel_size=8.5)
    ctf = load(tmp_path / "ctf.pkl")
    expected = [[32, 8.5, 15e3, 14e3, 30, 200, 2.0, 0.1, 90], [32, 8.5, 16e3, 15500, -40, 300, 2.7, 0.07, 0]]
    np.testing.assert_array_equal(ctf, np.array(expected, dtype=np.float32))
    assert ctf.dtype == np.float32


def test_real_particles_agree_with_their_pickles(tmp_path: Path) -> None:
    star, reference = REAL_PARTICLES / "empiar_10076_7.star", REAL_PARTICLES.parent / "empiar10076"
    if not star.exists():
        pytest.skip("the shared data folder is not there")
    star_module = pytest.importorskip("drgnalign.formats.star")
    particles = star_module.read_star(star)
    rotations, translations = (values[:7] for values in load(reference / "poses_10076.pkl"))
    # The star file has no poses: those of the pickle go through the table and come out again.
    particles = particles.with_poses(np.swapaxes(rotations, 1, 2), -translations * 320)
    particles.table["rlnPhaseShift"] = 0.0
    write_poses(tmp_path / "poses.pkl", particles.rotations(), particles.displacements(), 320)
    write_ctf(tmp_path / "ctf.pkl", particles, 256, 1.6375)
    written = load(tmp_path / "poses.pkl")
    np.testing.assert_allclose(written[0], rotations, atol=1e-6)
    np.testing.assert_allclose(written[1], translations, atol=1e-6)
    np.testing.assert_allclose(load(tmp_path / "ctf.pkl"), load(reference / "ctf_10076.pkl")[:7], rtol=1e-5, atol=1e-4)


latent_arrays = st.tuples(st.integers(1, 5), st.integers(1, 4)).flatmap(
    lambda shape: st.tuples(*[arrays(np.float32, shape, elements=st.floats(width=32, allow_nan=False))] * 2)
)


@settings(max_examples=30, deadline=None)
@given(latent=latent_arrays, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_latent_variables_round_trip(tmp_path_factory: pytest.TempPathFactory, latent, protocol: int) -> None:
    path = tmp_path_factory.mktemp("latent") / "z.pkl"
    path.write_bytes(b"".join(pickle.dumps(array, protocol) for array in latent))
    for read, written in zip(read_latent(path), latent, strict=True):
        np.testing.assert_array_equal(read, written)


def test_a_pickle_cannot_run_code(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "attacked"),)

    path = tmp_path / "z.pkl"
    for content in (Attack(), np.array([Attack()], dtype=object)):
        path.write_bytes(pickle.dumps(content) * 2)
        with pytest.raises(InputError, match="mkdir"):
            read_latent(path)
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps(np.zeros((3, 2))),
        pickle.dumps(np.zeros((3, 2))) + pickle.dumps(np.zeros((4, 2))),
        pickle.dumps([1, 2]) * 2,
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "z.pkl").write_bytes(content)
    with pytest.raises(InputError, match="cryoDRGN"):
        read_latent(tmp_path / "z.pkl")
    with pytest.raises(InputError, match=r"absent\.pkl"):
        read_latent(tmp_path / "absent.pkl")
