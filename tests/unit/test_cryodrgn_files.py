"""cryoDRGN's files: the conventions of a worked example, and pickles that must not run code."""

from __future__ import annotations

import os
import pickle
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from drgnalign.errors import InputError
from drgnalign.formats import pickles
from drgnalign.formats.cryodrgn import (
    CTF_COLUMNS,
    read_cryodrgn,
    read_ctf,
    read_indices,
    read_labels,
    read_latent,
    read_poses,
    write_cryodrgn,
    write_ctf,
    write_poses,
)
from drgnalign.geometry import angular_distance, euler_to_matrix
from drgnalign.particles import NO_STACK, ORIGINS, Particles

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


ROTATIONS = Rotation.random(4, random_state=1).as_matrix()
TRANSLATIONS = np.array([[0.01, -0.02], [0.1, 0.0], [-0.3, 0.25], [0.0, 0.05]])
CTF = np.array(
    [
        [196, 1.25, 15301.1, 14916.4, 5.28, 300, 2.7, 0.07, 0],
        [196, 1.24, 15303.0, 14918.4, -85.1, 300, 2.7, 0.07, 90],
        [196, 1.25, 15150.7, 14766.0, 5.28, 300, 2.7, 0.07, 179.9],
        [98, 2.5, 9999.9, 14797.3, 5.28, 200, 2.0, 0.1, 0],
    ]
)


def dump(path: Path, content, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def test_poses_come_back_in_our_convention(tmp_path: Path) -> None:
    truth = euler_to_matrix([4.26], [115.57], [68.02])
    write_poses(tmp_path / "poses.pkl", truth, [[-0.68, -0.286667]], box=64)
    rotations, translations = read_poses(tmp_path / "poses.pkl")
    assert translations is not None
    assert rotations.dtype == translations.dtype == np.float64
    np.testing.assert_allclose(rotations, truth, atol=1e-7)
    np.testing.assert_allclose(translations * 64, [[0.68, 0.286667]], atol=1e-6)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("layout", ["C", "F", "transposed", "strided"])
@pytest.mark.parametrize("numpy_1", [False, True])
def test_every_way_that_numpy_pickles_an_array(tmp_path: Path, protocol, dtype, layout, numpy_1) -> None:
    stored = {
        "C": np.ascontiguousarray(ROTATIONS),
        "F": np.asfortranarray(ROTATIONS),
        "transposed": np.ascontiguousarray(ROTATIONS.transpose(1, 0, 2)).transpose(1, 0, 2),
        "strided": np.repeat(ROTATIONS, 2, axis=0)[::2],
    }[layout].astype(dtype, order="K")
    content = pickle.dumps((stored, TRANSLATIONS), protocol)
    if numpy_1:
        # from protocol 4 on, the length of a text stands before it
        content = content.replace(b"\x16numpy._core.multiarray", b"\x15numpy.core.multiarray")
        content = content.replace(b"\x13numpy._core.numeric", b"\x12numpy.core.numeric")
        content = content.replace(b"numpy._core", b"numpy.core")
    (tmp_path / "poses.pkl").write_bytes(content)
    rotations, translations = read_poses(tmp_path / "poses.pkl")
    np.testing.assert_array_equal(rotations, np.swapaxes(stored, 1, 2))
    np.testing.assert_array_equal(translations, TRANSLATIONS)


@pytest.mark.parametrize("content", [ROTATIONS, (ROTATIONS,)])
def test_rotations_alone_are_poses(tmp_path: Path, content) -> None:
    rotations, translations = read_poses(dump(tmp_path / "poses.pkl", content))
    np.testing.assert_array_equal(rotations, np.swapaxes(ROTATIONS, 1, 2))
    assert translations is None
    table = read_cryodrgn(tmp_path / "poses.pkl", None, box=64, pixel_size=2.0).table
    assert not table[ORIGINS].to_numpy().any()


def changed(array: np.ndarray, row: int, value) -> np.ndarray:
    array = array.copy()
    array[row] = value
    return array


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ((ROTATIONS, TRANSLATIONS * 64), "row 1: .*in px, as in old cryoDRGN"),
        ((ROTATIONS, -TRANSLATIONS * 64), "row 1: .*in px, as in old cryoDRGN"),
        ((ROTATIONS, changed(TRANSLATIONS, 1, np.nan)), "row 2: the translations are not finite"),
        ((changed(ROTATIONS, 2, 0.0), TRANSLATIONS), "row 3: the rotation matrix is not orthogonal"),
        ((changed(ROTATIONS, 2, 1e300), TRANSLATIONS), "row 3: the rotation matrix is not orthogonal"),
        ((changed(ROTATIONS, 3, np.inf), TRANSLATIONS), "row 4: the rotations are not finite"),
        ((changed(ROTATIONS, 0, np.diag([1.0, 1.0, -1.0])), TRANSLATIONS), "row 1: the matrix is a reflection"),
        ((ROTATIONS, TRANSLATIONS[:3]), "4 rotations, but 3 translations"),
        ((ROTATIONS, TRANSLATIONS, TRANSLATIONS), "3 objects"),
        ((ROTATIONS, None), "no array of numbers for the translations"),
        ([ROTATIONS, TRANSLATIONS], "no array of numbers for the rotations"),
        (ROTATIONS[0], r"shape \(3, 3\), not \(N, 3, 3\)"),
        (ROTATIONS[:0], "cannot be read|shape"),
        (ROTATIONS.astype(str), "no array of numbers"),
        (ROTATIONS.astype(complex), "type 'c16'"),
        ((), "0 objects"),
    ],
)
def test_poses_that_are_none_are_refused(tmp_path: Path, content, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_poses(dump(tmp_path / "poses.pkl", content))


def test_ctf_columns_have_names_and_the_decimals_that_were_stored(tmp_path: Path) -> None:
    table = read_ctf(dump(tmp_path / "ctf.pkl", CTF.astype(np.float32)))
    assert list(table) == CTF_COLUMNS
    np.testing.assert_array_equal(table.to_numpy(), CTF)
    third = CTF / 3 * [0, 1, 1, 1, 1, 1, 1, 1, 1] + CTF * [1, 0, 0, 0, 0, 0, 0, 0, 0]
    np.testing.assert_array_equal(read_ctf(dump(tmp_path / "ctf.pkl", third)).to_numpy(), third)


@given(values=arrays(np.float32, (3, 9), elements=st.floats(2**-10, 1.0, width=32)), scale=st.integers(0, 6))
def test_decimals_are_the_same_in_single_precision(tmp_path_factory, values: np.ndarray, scale: int) -> None:
    values *= np.float32(10.0) ** scale
    values[:, 0], values[:, 7] = 64, values[:, 7] % 1
    table = read_ctf(dump(tmp_path_factory.mktemp("ctf") / "ctf.pkl", values))
    np.testing.assert_array_equal(table.to_numpy().astype(np.float32), values)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, 0, "row 3: column 1 is not a box"),
        (0, 64.5, "row 3: column 1"),
        (0, 1e30, "row 3: column 1"),
        (1, -1, "row 3: column 2"),
        (2, np.nan, "row 3: the CTF parameters are not finite"),
        (5, 0, "row 3: column 6"),
        (7, 1.5, "row 3: column 8"),
    ],
)
def test_impossible_ctf_parameters_are_refused(tmp_path: Path, column: int, value: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_ctf(dump(tmp_path / "ctf.pkl", changed(CTF, (2, column), value)))


@pytest.mark.parametrize("content", [CTF[:, :8], CTF[0], (CTF,), CTF.tolist(), CTF > 0, "text", None, 3.0])
def test_other_things_are_no_ctf_parameters(tmp_path: Path, content) -> None:
    with pytest.raises(InputError, match=r"parse_ctf_star"):
        read_ctf(dump(tmp_path / "ctf.pkl", content))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    "content",
    [
        np.array([5, 0, 3]),
        np.array([5, 0, 3], ">u2"),
        np.array([5, 0, 3], np.uint64),
        [5, 0, 3],
        list(np.array([5, 0, 3])),
    ],
)
def test_indices_keep_their_order(tmp_path: Path, content, protocol: int) -> None:
    indices = read_indices(dump(tmp_path / "ind.pkl", content, protocol))
    assert indices.dtype == np.int64
    assert indices.tolist() == [5, 0, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.array([5, -1]), "row 2: .*negative"),
        (np.array([5, 1, 5]), r"row 3: .*second time \(1 such"),
        (np.array([5.0, 1.0]), "type float64, not whole numbers"),
        (np.array([True, False]), "type bool, not whole numbers"),
        ([True, False], "not whole numbers"),
        ([2**63], "not whole numbers"),
        ([2**70], "beyond 64 bits"),
        (np.array([2**63], np.uint64), "too large"),
        (["1"], "not whole numbers"),
        (np.array(["1", "2"]), "type <U1"),
        (np.array([[1, 2]]), "shape"),
        ([], "not"),
        ({1, 2}, "cannot be read"),
        ((1, 2), "something else"),
        (3, "something else"),
    ],
)
def test_indices_that_are_none_are_refused(tmp_path: Path, content, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_indices(dump(tmp_path / "ind.pkl", content))


def test_labels(tmp_path: Path) -> None:
    assert read_labels(dump(tmp_path / "labels.pkl", np.array([2, 0, -1, 2], np.int32))).tolist() == [2, 0, -1, 2]
    for content, message in ((np.array([0, -2]), "row 2: .*below -1"), (np.array(["a", "b"]), "not whole numbers")):
        with pytest.raises(InputError, match=message):
            read_labels(dump(tmp_path / "labels.pkl", content))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    poses = (ROTATIONS.astype(np.float32), TRANSLATIONS.astype(np.float32))
    return dump(tmp_path / "poses.pkl", poses), dump(tmp_path / "ctf.pkl", CTF.astype(np.float32))


def test_particles_of_both_files(files: tuple[Path, Path]) -> None:
    particles = read_cryodrgn(*files, "stack.mrcs")
    table, optics = particles.table, particles.optics
    assert table["rlnImageName"].tolist() == [f"00000{number}@stack.mrcs" for number in (1, 2, 3, 4)]
    assert table["rlnOpticsGroup"].tolist() == [1, 2, 1, 3]
    assert optics["rlnImagePixelSize"].tolist() == [1.25, 1.24, 2.5]
    assert optics["rlnImageSize"].tolist() == [196, 196, 98]
    assert optics["rlnVoltage"].tolist() == [300, 300, 200]
    edge = np.array([196 * 1.25, 196 * 1.24, 196 * 1.25, 98 * 2.5])
    np.testing.assert_allclose(table[ORIGINS], TRANSLATIONS * edge[:, None], atol=1e-5)
    assert angular_distance(particles.rotations(), np.swapaxes(ROTATIONS, 1, 2)).max() < 1e-4
    assert table["rlnPhaseShift"].tolist() == [0, 90, 179.9, 0]


def test_particles_of_one_file(files: tuple[Path, Path]) -> None:
    ctf_only = read_cryodrgn(None, files[1])
    assert ctf_only.table["rlnImageName"].iloc[3] == f"000004@{NO_STACK}"
    assert "rlnAngleRot" not in ctf_only.table
    poses_only = read_cryodrgn(files[0], None, box=100, pixel_size=2.0, voltage=300)
    assert "rlnDefocusU" not in poses_only.table
    assert poses_only.optics["rlnVoltage"].tolist() == [300.0]
    assert "rlnSphericalAberration" not in poses_only.optics
    np.testing.assert_allclose(poses_only.table[ORIGINS], TRANSLATIONS * 200, atol=1e-5)


def test_what_no_file_says_is_asked_for(files: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match=r"give --poses, --ctf or both"):
        read_cryodrgn(None, None)
    with pytest.raises(InputError, match=r"give --pixel_size \(Å/px\)$"):
        read_cryodrgn(files[0], None, box=64)
    with pytest.raises(InputError, match=r"--box \(px\)"):
        read_cryodrgn(files[0], None)


def test_files_of_different_length_are_refused(files: tuple[Path, Path]) -> None:
    dump(files[1], CTF[:3])
    with pytest.raises(InputError, match=r"poses\.pkl.* 4 rows, but .*ctf\.pkl has 3"):
        read_cryodrgn(*files)


def test_what_is_given_must_not_contradict_the_file(files: tuple[Path, Path]) -> None:
    dump(files[1], CTF[[0, 2, 0, 2]])
    assert read_cryodrgn(*files, voltage=300.1, box=196, pixel_size=1.2501).pixel_size == 1.25
    for facts in ({"voltage": 200}, {"pixel_size": 2.5}, {"box": 98}, {"box": 98, "pixel_size": 2.6}):
        with pytest.raises(InputError, match=r"row 1: .* in the file, but --"):
            read_cryodrgn(*files, **facts)


def test_the_stack_may_be_of_another_sampling(files: tuple[Path, Path]) -> None:
    dump(files[1], CTF[[0, 2, 0, 2]])
    particles = read_cryodrgn(*files, box=98, pixel_size=2.5)
    assert (particles.box, particles.pixel_size) == (98, 2.5)
    np.testing.assert_allclose(particles.table[ORIGINS], TRANSLATIONS * 245, atol=1e-5)


def test_particles_round_trip(files: tuple[Path, Path], tmp_path: Path) -> None:
    write_cryodrgn(read_cryodrgn(*files), tmp_path / "new")
    rotations, translations = load(tmp_path / "new" / "poses.pkl")
    np.testing.assert_allclose(rotations, ROTATIONS, atol=1e-6)
    np.testing.assert_allclose(translations, TRANSLATIONS, atol=1e-6)
    ctf = load(tmp_path / "new" / "ctf.pkl")
    np.testing.assert_array_equal(ctf, CTF.astype(np.float32))
    assert rotations.dtype == translations.dtype == ctf.dtype == np.float32


angles = st.floats(-360, 360, allow_subnormal=False)


@settings(deadline=None)
@given(
    euler=st.tuples(angles, st.sampled_from([0.0, 180.0, 1e-4, 90.0, -30.0]), angles),
    origin=st.tuples(*[st.floats(-60, 60)] * 2),
    box=st.integers(63, 320),
)
def test_poses_round_trip_at_edges(tmp_path_factory, euler, origin, box: int) -> None:
    folder = tmp_path_factory.mktemp("edges")
    table = {"rlnImageName": ["1@a"], "rlnOpticsGroup": [1]}
    table |= {f"rlnAngle{name}": [value] for name, value in zip(("Rot", "Tilt", "Psi"), euler, strict=True)}
    table |= {label: [value] for label, value in zip(ORIGINS, origin, strict=True)}
    table |= {"rlnDefocusU": [1e4], "rlnDefocusV": [1e4], "rlnDefocusAngle": [0.0]}
    optics = {"rlnOpticsGroup": [1], "rlnVoltage": [300], "rlnSphericalAberration": [2.7]}
    optics |= {"rlnAmplitudeContrast": [0.1], "rlnImagePixelSize": [1.31], "rlnImageSize": [box]}
    particles = Particles(pd.DataFrame(table), pd.DataFrame(optics), folder)
    write_cryodrgn(particles, folder)
    back = read_cryodrgn(folder / "poses.pkl", folder / "ctf.pkl")
    assert angular_distance(back.rotations(), particles.rotations()).max() < 2e-5
    np.testing.assert_allclose(back.table[ORIGINS], [origin], atol=box * 1.31 * 2**-24)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("rlnVoltage", r"give --voltage \(kV\)"),
        ("rlnSphericalAberration", r"give --cs \(mm\)"),
        ("rlnAmplitudeContrast", "give --amplitude_contrast"),
        ("rlnImageSize", r"give --box \(px\)"),
        ("rlnImagePixelSize", r"give --pixel_size \(Å/px\)"),
        ("rlnAngleRot", "lacks the pose columns rlnAngleRot"),
        ("rlnDefocusV", "lacks the CTF columns rlnDefocusV"),
    ],
)
def test_what_cryodrgn_needs_is_asked_for(files: tuple[Path, Path], tmp_path: Path, label: str, message: str) -> None:
    particles = read_cryodrgn(*files)
    particles.table.drop(columns=label, errors="ignore", inplace=True)
    particles.optics.drop(columns=label, errors="ignore", inplace=True)
    with pytest.raises(InputError, match=message):
        write_cryodrgn(particles, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("column", ["rlnAnglePsi", "rlnOriginXAngst", "rlnDefocusU", "rlnPhaseShift"])
@pytest.mark.parametrize("value", [np.nan, 1e300])
def test_both_files_are_written_or_none(files: tuple[Path, Path], tmp_path: Path, column: str, value: float) -> None:
    particles = read_cryodrgn(*files)
    particles.table.loc[2, column] = value
    if (column, value) == ("rlnAnglePsi", 1e300):
        return  # an angle like any other
    with pytest.raises(InputError):
        write_cryodrgn(particles, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    particles = read_cryodrgn(*files)
    (tmp_path / "new" / "ctf.pkl").mkdir(parents=True)
    for folder in (files[0], tmp_path / "no" / "folder"):
        with pytest.raises(InputError, match="cannot be made a folder"):
            write_cryodrgn(particles, folder)


def test_without_phase_shift(files: tuple[Path, Path], tmp_path: Path) -> None:
    particles = read_cryodrgn(*files)
    particles.table.drop(columns="rlnPhaseShift", inplace=True)
    write_cryodrgn(particles, tmp_path / "new")
    assert not load(tmp_path / "new" / "ctf.pkl")[:, 8].any()


READERS = [read_poses, read_ctf, read_indices, read_labels, read_latent]
ARRAY = b"cnumpy._core.multiarray\n_reconstruct\n"
DTYPE = b"cnumpy\ndtype\n(V%s\nI00\nI01\ntR(I3\nV<\nNNNI-1\nI-1\nI0\ntb"


def array_state(shape: bytes, dtype: bytes, raw: bytes) -> bytes:
    start = b"\x80\x04" + ARRAY + b"(cnumpy\nndarray\nK\x00\x85C\x01btR(K\x01"
    return start + shape + DTYPE % dtype + b"\x89C" + bytes([len(raw)]) + raw + b"tb."


HOSTILE = {
    "os.system": b"cposix\nsystem\n(Vtouch attacked\ntR.",
    "eval": b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x091+1\x85R.",
    "getattr": b"cbuiltins\ngetattr\n(cnumpy\nndarray\nV__class__\ntR.",
    "dotted": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__base__\x93.",
    "numpy.load": b"cnumpy\nload\n(Vattacked\ntR.",
    "decode": b"c_codecs\ndecode\n(Va\nVrot13\ntR.",
    "encode with another codec": b"c_codecs\nencode\n(Va\nVbz2\ntR.",
    "inst": b"(iposix\nsystem\n.",
    "obj": b"(cnumpy\nndarray\no.",
    "newobj": b"\x80\x04cnumpy\nndarray\n)\x81.",
    "persistent": b"Pattacked\n.",
    "extension": b"\x82\x01.",
    "state of a function": ARRAY + b"}(V__code__\nI1\nsb.",
    "state of a class": b"cnumpy\ndtype\nN(V__setstate__\nI1\ntb.",
    "shape to reconstruct": ARRAY + b"(cnumpy\nndarray\n(I99999999999\ntC\x01btR.",
    "type to reconstruct": ARRAY + b"(cnumpy\ndtype\n(I0\ntC\x01btR.",
    "huge shape": array_state(b"\x8a\x06\xff\xff\xff\xff\xff\x7f\x85", b"f8", b"\0" * 8),
    "negative shape": array_state(b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86", b"f8", b"\0" * 8),
    "overflowing shape": array_state(b"\x8a\x08" + b"\0" * 7 + b"\x40K\x00\x86", b"f8", b""),
    "many dimensions": array_state(b"(" + b"K\x01" * 200 + b"t", b"f8", b"\0" * 8),
    "shape of text": array_state(b"V8\n\x85", b"f8", b"\0" * 8),
    "objects": array_state(b"K\x01\x85", b"O8", b"\0" * 8),
    "records": array_state(b"K\x01\x85", b"f8,f8", b"\0" * 16),
    "dates": array_state(b"K\x01\x85", b"M8", b"\0" * 8),
    "void": array_state(b"K\x01\x85", b"V8", b"\0" * 8),
    "items of no size": array_state(b"\x8a\x06\xff\xff\xff\xff\xff\x7f\x85", b"S0", b""),
    "impossible text": array_state(b"K\x02\x85", b"U1", b"\xff" * 8),
    "array without state": ARRAY + b"(cnumpy\nndarray\n(I0\ntC\x01btR.",
    "long number": b"\x80\x04\x8b" + (10**6).to_bytes(4, "little") + b"\x7f" * 10**6 + b".",
    "false length of a number": b"\x80\x04\x8b\xff\xff\xff\x7fabc.",
    "negative length": b"\x80\x04\x8b\xff\xff\xff\xffabc.",
    "long decimal": b"L" + b"9" * 10**6 + b"L\n.",
    "false length of bytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x3fabc.",
    "false length of a byte array": b"\x80\x05\x96\xff\xff\xff\xff\x10\0\0\0abc.",
    "false length of a text": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.",
    "false frame": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f).",
    "far place in the memo": b"\x80\x04)r\xff\xff\xff\x7f.",
    "no such place in the memo": b"\x80\x04h\x07.",
    "copies": b"\x80\x02c_codecs\nencode\nq\0X\0\0\1\0"
    + b"a" * 65536
    + b"q\1Vlatin1\n\x86q\2"
    + b"h\0h\2R" * 10**5
    + b".",
    "tuple in tuple": b"\x80\x04)" + b"\x85" * 30_000 + b".",
    "list in list": b"]" * 30_000 + b"a" * (30_000 - 1) + b".",
    "list in itself": b"\x80\x04]\x94h\x00a.",
    "tuple in itself": b"\x80\x04]\x94h\x00\x85ah\x00\x85.",
    "doubling tuples": b"\x80\x04)" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(200)) + b".",
    "doubling dictionary keys": b"\x80\x04)" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60)) + b"}\x94(h\x05Nu.",
    "nested marks": b"(" * 30_000 + b"t" * 30_000 + b".",
    "dictionary": pickle.dumps({"a": 1}),
    "nothing on the stack": b"\x80\x04.",
    "mark without beginning": b"\x80\x04t.",
    "wrong text": b"\x80\x04\x8c\x02\xff\xfe.",
    "wrong number": b"I1x\n.",
    "zip of torch": b"PK\x03\x04" + b"\0" * 100,
    "empty": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_at_once(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.pkl"
    path.write_bytes(HOSTILE[name])
    tracemalloc.start()
    started = time.process_time()
    for read in READERS:
        with pytest.raises(InputError):
            read(path)
    seconds, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6
    assert seconds < 10
    assert [file.name for file in tmp_path.iterdir()] == ["hostile.pkl"]


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04" + b"\0" * 100,
        pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2),
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n.",
        b"\x80\x02]ctorch.nn.modules.linear\nLinear\na.",
    ],
)
def test_files_of_torch_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.pkl").write_bytes(content)
    for read in READERS:
        with pytest.raises(InputError, match=r"file of torch.*never read"):
            read(tmp_path / "weights.pkl")


def test_the_number_of_steps_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dump(tmp_path / "ind.pkl", list(range(1000)))
    assert len(read_indices(path)) == 1000
    monkeypatch.setattr(pickles, "MAX_OPCODES", 900)
    with pytest.raises(InputError, match="more than 900 steps; pickle one numpy array instead"):
        read_indices(path)


@pytest.mark.parametrize("read", READERS)
def test_other_paths_are_refused(tmp_path: Path, read) -> None:
    for path in (tmp_path, tmp_path / "absent.pkl"):
        with pytest.raises(InputError, match="no such file"):
            read(path)


SEEDS = [
    pickle.dumps(content, protocol)
    for protocol in (0, 2, 4, 5)
    for content in ((ROTATIONS, TRANSLATIONS), CTF.astype(np.float32), np.arange(5), [3, 1], np.asfortranarray(CTF))
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(SEEDS)) * draw(st.integers(1, 2)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content) - 1))
        piece = draw(st.binary(max_size=9) | st.sampled_from([b"\xff" * 8, b"\0" * 4, b"R", b"b", b"\x93", b"t", b"("]))
        removed = draw(st.sampled_from([0, 1, len(piece), 40]))
        content[place : place + removed] = piece
        content = content or bytearray(b"\0")
    return bytes(content)


@settings(max_examples=400, deadline=None)
@given(content=damaged())
def test_damaged_files_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for read in READERS:
            try:
                read(path)
            except InputError as error:
                assert str(path) in str(error)


def test_real_files_are_read() -> None:
    folder = REAL_PARTICLES.parent / "empiar10076"
    if not folder.exists():
        pytest.skip("the shared data folder is not there")
    particles = read_cryodrgn(folder / "poses_10076.pkl", folder / "ctf_10076.pkl", "particles.mrcs")
    assert len(particles) == 131_899
    assert (particles.box, particles.pixel_size, len(particles.optics)) == (256, 1.6375, 1)
    rotations, translations = read_poses(folder / "poses_10076.pkl")
    assert translations is not None
    products = rotations @ np.swapaxes(rotations, 1, 2)
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(3), products.shape), atol=2e-6)
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0, atol=2e-6)
    with (folder / "poses_10076.pkl").open("rb") as file:
        stored = pickle.load(file)
    np.testing.assert_array_equal(rotations, np.swapaxes(stored[0], 1, 2))
    np.testing.assert_array_equal(translations, stored[1])
    star = pytest.importorskip("drgnalign.formats.star").read_star(REAL_PARTICLES / "empiar_10076_7.star")
    labels = ["rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"]
    np.testing.assert_array_equal(particles.table[labels][:7], star.table[labels])
    labels = ["rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"]
    np.testing.assert_array_equal(particles.optics[labels], star.optics[labels])
    # The same edge in Å: the images have 320 px.
    np.testing.assert_allclose(320 * star.pixel_size, 256 * 1.6375, rtol=1e-4)
    indices = read_indices(folder / "filtered.ind.pkl")
    assert len(indices) == 87_327
    assert (np.diff(indices) > 0).all()
    assert indices[-1] < 131_899
