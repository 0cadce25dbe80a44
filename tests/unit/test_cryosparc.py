from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pandas as pd
import pytest
from command_line import run, succeed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from drgnalign.errors import InputError, InputWarning
from drgnalign.formats.cryosparc import read_cs, write_cs
from drgnalign.formats.particle_file import read_particle_file
from drgnalign.formats.star import read_star, write_star
from drgnalign.geometry import angular_distance, euler_to_matrix
from drgnalign.half_sets import ties
from drgnalign.particles import ANGLES, CRYOSPARC_TERMS, MAGNIFICATION, ORIGINS, Particles

DATA = Path(__file__).parents[3] / "shared" / "data" / "particles"
TWIN = DATA / "empiar_10076_7.cs"
needs_twin = pytest.mark.skipif(not TWIN.is_file(), reason=f"the test data are not there: {DATA}")
same_folder = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

BLOB = {
    "uid": np.array([11, 2**63 + 5, 13], "u8"),
    "blob/path": np.array([b">J1/a.mrc", b"J1/b.mrc", b">J1/a.mrc"], "S20"),
    "blob/idx": np.array([0, 7, 2], "u4"),
    "blob/shape": np.full((3, 2), 64, "u4"),
    "blob/psize_A": np.full(3, 1.31, "f4"),
    "blob/sign": np.full(3, -1, "f4"),
}
CTF = {
    "ctf/exp_group_id": np.array([4, 4, 9], "u4"),
    "ctf/accel_kv": np.full(3, 300, "f4"),
    "ctf/cs_mm": np.full(3, 2.7, "f4"),
    "ctf/amp_contrast": np.full(3, 0.07, "f4"),
    "ctf/df1_A": np.array([15301.1, 15000.0, 9999.9], "f4"),
    "ctf/df2_A": np.array([14916.4, 14000.3, 9000.0], "f4"),
    "ctf/df_angle_rad": np.radians([5.28, -90.0, 359.9]).astype("f4"),
    "ctf/phase_shift_rad": np.radians([0.0, 90.0, 30.5]).astype("f4"),
    "ctf/of_a_later_version": np.arange(6, dtype="f4").reshape(3, 2),
}
ALIGNMENT = {
    "pose": np.array([[0.1, -0.2, 0.3], [0, 0, 0], [np.pi, 0, 0]], "f4"),
    "shift": np.array([[1, -2], [0, 0], [3.5, 0.25]], "f4"),
    "psize_A": np.full(3, 2.62, "f4"),
    "split": np.array([0, 1, 0], "u4"),
    "class": np.array([0, 2, 1], "u4"),
}


def slot(name: str, **changes: Any) -> dict[str, np.ndarray]:
    return {f"{name}/{field}": values for field, values in (ALIGNMENT | changes).items()}


def save(path: Path, fields: dict[str, np.ndarray]) -> Path:
    rows = np.zeros(3, [(name, values.dtype, values.shape[1:]) for name, values in fields.items()])
    for name, values in fields.items():
        rows[name] = values
    with path.open("wb") as file:
        np.save(file, rows)
    return path


def new_particles(n: int = 3, **columns: Any) -> Particles:
    """Particles that were never in cryoSPARC."""
    table = {
        "rlnImageName": [f"{i + 1:06d}@stack.mrcs" for i in range(n)],
        "rlnOpticsGroup": 1,
        "rlnDefocusU": 15301.1,
        "rlnDefocusV": 14916.4,
        "rlnDefocusAngle": 5.28,
        "rlnPhaseShift": 90.0,
        "rlnAngleRot": 10.0,
        "rlnAngleTilt": 20.0,
        "rlnAnglePsi": 30.0,
        "rlnOriginXAngst": 2.5,
        "rlnOriginYAngst": -1.25,
        "rlnRandomSubset": np.arange(n) % 2 + 1,
        "rlnClassNumber": 2,
    }
    optics = {
        "rlnOpticsGroup": [1],
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.07],
        "rlnImagePixelSize": [1.31],
        "rlnImageSize": [64],
        "drgnContrast": ["white"],
    }
    return Particles(pd.DataFrame(table | columns, index=range(n)), pd.DataFrame(optics), Path("some.star"))


def written(particles: Particles, path: Path) -> np.ndarray:
    write_cs(particles, path)
    return np.load(path, allow_pickle=False)


# ---- conventions ------------------------------------------------------------------------------------------------


def test_pose_is_a_rotation_vector_that_takes_image_to_volume(tmp_path: Path) -> None:
    particles = read_cs(save(tmp_path / "a.cs", BLOB | CTF | slot("alignments3D")))
    expected = Rotation.from_rotvec(ALIGNMENT["pose"].astype(float)).as_matrix()
    np.testing.assert_allclose(particles.rotations(), expected, atol=1e-12)
    # by hand: a quarter turn about z takes the image's x axis to the volume's y axis
    turn = np.zeros((3, 3), "f4")
    turn[:, 2] = np.pi / 2
    particles = read_cs(save(tmp_path / "b.cs", BLOB | CTF | slot("alignments3D", pose=turn)))
    np.testing.assert_allclose(particles.rotations()[0] @ [1, 0, 0], [0, 1, 0], atol=1e-7)


def test_shift_is_relions_origin_in_pixels_of_the_alignment(tmp_path: Path) -> None:
    particles = read_cs(save(tmp_path / "a.cs", BLOB | CTF | slot("alignments3D")))
    np.testing.assert_allclose(particles.table[ORIGINS], ALIGNMENT["shift"].astype(float) * 2.62, rtol=1e-12)
    np.testing.assert_allclose(particles.displacements(), -ALIGNMENT["shift"] * 2, rtol=1e-12)


def test_shift_without_its_pixel_size_is_in_pixels_of_the_image_and_is_said(tmp_path: Path) -> None:
    fields = BLOB | CTF | slot("alignments3D")
    del fields["alignments3D/psize_A"]
    with pytest.warns(InputWarning, match="psize_A"):
        particles = read_cs(save(tmp_path / "a.cs", fields))
    np.testing.assert_allclose(particles.table[ORIGINS], ALIGNMENT["shift"].astype(float) * 1.31, rtol=1e-12)


def test_counting_paths_and_uids(tmp_path: Path) -> None:
    table = read_cs(save(tmp_path / "a.cs", BLOB | CTF | slot("alignments3D"))).table
    assert table["rlnImageName"].tolist() == ["000001@J1/a.mrc", "000008@J1/b.mrc", "000003@J1/a.mrc"]
    assert table["rlnRandomSubset"].tolist() == [1, 2, 1]
    assert table["rlnClassNumber"].tolist() == [1, 3, 2]
    assert table["drgnCryosparcUid"].dtype == np.uint64
    assert table["drgnCryosparcUid"].tolist() == [11, 2**63 + 5, 13]


def test_ctf_values_are_the_shortest_decimals_in_degrees(tmp_path: Path) -> None:
    particles = read_cs(save(tmp_path / "a.cs", BLOB | CTF))
    assert particles.table["rlnDefocusU"].tolist() == [15301.1, 15000.0, 9999.9]
    assert particles.table["rlnDefocusAngle"].tolist() == [5.28, -90.0, 359.9]
    assert particles.table["rlnPhaseShift"].tolist() == [0.0, 90.0, 30.5]
    assert particles.pixel_size == 1.31


def test_sign_is_the_contrast_of_the_stored_images(tmp_path: Path) -> None:
    signs = np.array([-1, -1, 1], "f4")
    particles = read_cs(save(tmp_path / "a.cs", BLOB | CTF | {"blob/sign": signs}))
    contrast = particles.optics["drgnContrast"].to_numpy()[particles.optics_rows()]
    assert contrast.tolist() == ["dark", "dark", "white"]


def test_locations_are_fractions_of_the_micrograph(tmp_path: Path) -> None:
    location = {
        "location/micrograph_path": np.full(3, b">J2/m.mrc"),
        "location/micrograph_shape": np.tile(np.array([1000, 4000], "u4"), (3, 1)),
        "location/center_x_frac": np.full(3, 0.25, "f4"),
        "location/center_y_frac": np.full(3, 0.25, "f4"),
    }
    table = read_cs(save(tmp_path / "a.cs", BLOB | location)).table
    assert table["rlnMicrographName"].tolist() == ["J2/m.mrc"] * 3
    assert table[["rlnCoordinateX", "rlnCoordinateY"]].iloc[0].tolist() == [1000, 750]


# ---- optics groups and given facts ------------------------------------------------------------------------------


def test_optics_groups_follow_exposure_groups_and_ignore_float32_noise(tmp_path: Path) -> None:
    noisy = np.full(3, 1.31, "f4")
    noisy[1] = np.nextafter(noisy[1], np.float32(2))
    particles = read_cs(save(tmp_path / "a.cs", BLOB | CTF | {"blob/psize_A": noisy}))
    assert particles.table["rlnOpticsGroup"].tolist() == [1, 1, 2]
    assert particles.optics["rlnImagePixelSize"].tolist() == [1.31, 1.31]
    assert particles.optics["drgnCryosparcExpGroup"].tolist() == [4, 9]
    # noise that the table does not show is not flattened in the file either
    assert written(particles, tmp_path / "b.cs")["blob/psize_A"].tolist() == noisy.tolist()


def test_exposure_groups_are_split_where_the_microscope_differs(tmp_path: Path) -> None:
    particles = read_cs(save(tmp_path / "a.cs", BLOB | CTF | {"ctf/accel_kv": np.array([300, 200, 300], "f4")}))
    assert particles.table["rlnOpticsGroup"].nunique() == 3


def test_given_facts_fill_gaps_and_may_not_contradict(tmp_path: Path) -> None:
    path = save(tmp_path / "a.cs", BLOB)
    optics = read_cs(path, voltage=200, cs=2.7, amplitude_contrast=0.1, pixel_size=1.3101).optics
    assert optics[["rlnVoltage", "rlnImagePixelSize"]].iloc[0].tolist() == [200, 1.31]
    with pytest.raises(InputError, match=r"--pixel_size says 1\.4"):
        read_cs(path, pixel_size=1.4)


def test_shifts_without_any_pixel_size_ask_for_it(tmp_path: Path) -> None:
    fields = BLOB | slot("alignments3D")
    del fields["alignments3D/psize_A"], fields["blob/psize_A"]
    with pytest.raises(InputError, match="--pixel_size"):
        read_cs(save(tmp_path / "a.cs", fields))


# ---- which alignment --------------------------------------------------------------------------------------------


def test_two_dimensional_alignments_are_no_poses(tmp_path: Path) -> None:
    path = save(tmp_path / "a.cs", BLOB | CTF | slot("alignments2D", pose=np.radians([30.0, -10.5, 270]).astype("f4")))
    with pytest.warns(InputWarning, match="2-D alignments only"):
        particles = read_cs(path)
    assert not {"rlnAngleRot", "rlnAngleTilt"} & set(particles.table)
    assert particles.table["rlnAnglePsi"].tolist() == [30.0, -10.5, 270.0]
    np.testing.assert_allclose(particles.table[ORIGINS], ALIGNMENT["shift"].astype(float) * 2.62, rtol=1e-12)
    assert particles.table["rlnClassNumber"].tolist() == [1, 3, 2]
    write_cs(particles, tmp_path / "b.cs")
    assert (tmp_path / "b.cs").read_bytes() == path.read_bytes()


def test_three_dimensional_alignments_go_before_two_dimensional_ones(tmp_path: Path) -> None:
    flat = slot("alignments2D", pose=np.zeros(3, "f4"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        particles = read_cs(save(tmp_path / "a.cs", BLOB | CTF | flat | slot("alignments3D")))
    assert set(ANGLES) <= set(particles.table)


def several_classes() -> tuple[np.ndarray, np.ndarray]:
    """Poses (N, 2, 3) of two classes, and their posterior (N, 2): the second, the first, the second."""
    poses = np.stack([np.zeros((3, 3), "f4"), ALIGNMENT["pose"]], axis=1)
    return poses, np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6]], "f4")


def test_most_probable_class_of_a_slot_with_all_classes(tmp_path: Path) -> None:
    poses, posterior = several_classes()
    multi = slot(
        "alignments3D_multi",
        pose=poses,
        shift=np.stack([ALIGNMENT["shift"]] * 2, axis=1),
        class_posterior=posterior,
        **{"class": np.tile(np.array([0, 1], "u4"), (3, 1))},
    )
    particles = read_cs(save(tmp_path / "a.cs", BLOB | CTF | multi))
    expected = np.where([[True], [False], [True]], ALIGNMENT["pose"], 0)
    np.testing.assert_allclose(particles.rotations(), Rotation.from_rotvec(expected).as_matrix(), atol=1e-7)
    assert particles.table["rlnClassNumber"].tolist() == [2, 1, 2]
    np.testing.assert_allclose(particles.table[ORIGINS], ALIGNMENT["shift"].astype(float) * 2.62, rtol=1e-12)
    again = read_cs(written_path(particles, tmp_path / "b.cs"))
    assert angular_distance(again.rotations(), particles.rotations()).max() < 1e-4
    assert "alignments3D_multi/pose" in again.cs_rows.dtype.names


def written_path(particles: Particles, path: Path) -> Path:
    write_cs(particles, path)
    return path


@pytest.mark.parametrize("begin", ["alignments_class_", "alignments_class_3D_", "alignments_class3D_"])
def test_most_probable_class_of_one_slot_a_class(tmp_path: Path, begin: str) -> None:
    """The latter two as jobs of 3D classification name them; their split are half sets."""
    poses, posterior = several_classes()
    fields = BLOB | CTF
    for k in range(2):
        fields |= slot(f"{begin}{k}", pose=poses[:, k], class_posterior=posterior[:, k])
    particles = read_cs(save(tmp_path / "a.cs", fields))
    expected = np.where([[True], [False], [True]], ALIGNMENT["pose"], 0)
    np.testing.assert_allclose(particles.rotations(), Rotation.from_rotvec(expected).as_matrix(), atol=1e-7)
    assert particles.table["rlnClassNumber"].tolist() == [2, 1, 2]
    np.testing.assert_array_equal(particles.half_sets(), ALIGNMENT["split"] + 1)


@pytest.mark.parametrize("others", [{}, slot("alignments2D", pose=np.zeros(3, "f4"))])
def test_poses_in_slots_that_are_not_known_are_told(tmp_path: Path, others: dict[str, np.ndarray]) -> None:
    path = save(tmp_path / "a.cs", BLOB | CTF | slot("alignments_new_7") | others)
    with pytest.warns(InputWarning, match="its poses in alignments_new_7 are not read"):
        assert "rlnAngleRot" not in read_cs(path).table


def test_several_classes_without_posterior_are_refused(tmp_path: Path) -> None:
    fields = BLOB | CTF | slot("alignments_class_0") | slot("alignments_class_1")
    with pytest.raises(InputError, match="class_posterior") as error:
        read_cs(save(tmp_path / "a.cs", fields))
    assert "one class" in error.value.remedy


def test_split_that_divides_nothing_is_no_half_set(tmp_path: Path) -> None:
    path = save(tmp_path / "a.cs", BLOB | CTF | slot("alignments3D", split=np.zeros(3, "u4")))
    with pytest.warns(InputWarning, match="half sets"):
        assert "rlnRandomSubset" not in read_cs(path).table


@pytest.mark.parametrize(("value", "told"), [(np.array(7, "u4"), "is 7"), (np.array(np.nan, "f4"), "is nan")])
def test_a_row_of_neither_half_set_does_not_cost_the_division(tmp_path: Path, value: np.ndarray, told: str) -> None:
    split = np.array([0, 1, 0], value.dtype)
    rows = np.tile(np.load(save(tmp_path / "a.cs", BLOB | CTF | slot("alignments3D", split=split))), 4)
    rows["alignments3D/split"][4] = value
    path = tmp_path / "b.cs"
    with path.open("wb") as file:
        np.save(file, rows)
    with pytest.raises(InputError, match=rf"row 5: alignments3D/split {told}.* \(1 such rows\)") as error:
        read_cs(path)
    assert f"drgnalign select {path} --drop 5 -o good.cs" in error.value.remedy
    assert read_cs(path, dropped=[4]).table["rlnRandomSubset"].tolist() == [1, 2, 1, 1, 1, *[1, 2, 1] * 2]


@pytest.mark.parametrize("split", [[1, 2, 2], [5, 5, 5], [0, 1, 2]])
def test_a_split_that_means_something_else_is_told_as_before(tmp_path: Path, split: list[int]) -> None:
    path = save(tmp_path / "a.cs", BLOB | CTF | slot("alignments3D", split=np.array(split, "u4")))
    with pytest.warns(InputWarning, match="half sets"):
        assert "rlnRandomSubset" not in read_cs(path).table


# ---- passthrough ------------------------------------------------------------------------------------------------


def test_passthrough_is_joined_by_uid(tmp_path: Path) -> None:
    order = [2, 0, 1]
    whole = read_cs(save(tmp_path / "whole.cs", BLOB | CTF | slot("alignments3D")))
    main = save(tmp_path / "main.cs", {"uid": BLOB["uid"]} | slot("alignments3D"))
    rest = save(tmp_path / "rest.cs", {name: values[order] for name, values in (BLOB | CTF).items()})
    joined = read_cs(main, rest)
    pd.testing.assert_frame_equal(joined.table, whole.table)
    pd.testing.assert_frame_equal(joined.optics, whole.optics)
    with pytest.raises(InputError, match="has no field blob/path"):
        read_cs(main)


def test_passthrough_may_hold_more_particles_but_not_fewer(tmp_path: Path) -> None:
    rest = save(tmp_path / "rest.cs", BLOB)
    subset = np.load(save(tmp_path / "main.cs", {"uid": BLOB["uid"]} | CTF))[[2, 0]]
    np.save(tmp_path / "subset.npy", subset)
    assert read_cs(tmp_path / "subset.npy", rest).table["drgnCryosparcUid"].tolist() == [13, 11]
    other = save(tmp_path / "other.cs", BLOB | {"uid": np.array([11, 12, 13], "u8")})
    with pytest.raises(InputError, match="no row for 1 of the 3"):
        read_cs(tmp_path / "main.cs", other)


def test_the_main_files_poses_and_fields_go_before_the_passthroughs(tmp_path: Path) -> None:
    poses, posterior = several_classes()
    multi = slot("alignments3D_multi", pose=poses, class_posterior=posterior)
    del multi["alignments3D_multi/shift"], multi["alignments3D_multi/class"]
    main = save(tmp_path / "main.cs", {"uid": BLOB["uid"], "ctf/df1_A": np.full(3, 1, "f4")} | multi)
    rest = save(tmp_path / "rest.cs", BLOB | CTF | slot("alignments3D", pose=np.ones((3, 3), "f4")))
    particles = read_cs(main, rest)
    np.testing.assert_allclose(particles.rotations()[1], np.eye(3), atol=1e-12)
    assert particles.table["rlnDefocusU"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("broken", ["main", "rest"])
def test_join_without_uid_is_refused(tmp_path: Path, broken: str) -> None:
    fields = {"main": {"uid": BLOB["uid"]} | CTF, "rest": dict(BLOB)}
    del fields[broken]["uid"]
    paths = {name: save(tmp_path / f"{name}.cs", columns) for name, columns in fields.items()}
    with pytest.raises(InputError, match="no field uid"):
        read_cs(paths["main"], paths["rest"])


# ---- writing ----------------------------------------------------------------------------------------------------


def test_unchanged_particles_give_the_same_bytes(tmp_path: Path) -> None:
    longer = np.array([[0.1, -0.2, 0.3], [0, 4, 0], [np.pi, 0, 0]], "f4")  # 4 rad is −2.28 rad the other way
    path = save(tmp_path / "a.cs", BLOB | CTF | slot("alignments3D", pose=longer))
    write_cs(read_cs(path), tmp_path / "b.cs")
    assert (tmp_path / "b.cs").read_bytes() == path.read_bytes()


def test_what_the_table_changes_is_written_and_the_rest_kept(tmp_path: Path) -> None:
    particles = read_cs(save(tmp_path / "a.cs", BLOB | CTF | slot("alignments3D"))).select([2, 0])
    turned = Rotation.from_euler("ZYZ", [[1, 2, 3], [4, 5, 6]]).as_matrix()
    particles = particles.with_poses(turned, [[1.0, 2.0], [0.0, -1.0]])
    particles.table["rlnImageName"] = ["000003@J1/a.mrc", "000009@a/very/much/longer/path.mrcs"]
    particles.table["rlnClassNumber"] = [7, 1]
    rows = written(particles, tmp_path / "b.cs")
    np.testing.assert_allclose(Rotation.from_rotvec(rows["alignments3D/pose"]).as_matrix(), turned, atol=1e-6)
    np.testing.assert_allclose(rows["alignments3D/shift"], [[-0.5, -1], [0, 0.5]], rtol=1e-6)
    assert rows["alignments3D/class"].tolist() == [6, 0]
    assert rows["blob/path"].tolist() == [b">J1/a.mrc", b"a/very/much/longer/path.mrcs"]
    assert rows["blob/idx"].tolist() == [2, 8]
    assert rows["ctf/of_a_later_version"].tolist() == [[4, 5], [0, 1]]
    assert rows["uid"].tolist() == [13, 11]


def test_poses_of_particles_that_had_none_get_their_slot(tmp_path: Path) -> None:
    particles = read_cs(save(tmp_path / "a.cs", BLOB | CTF)).with_poses(np.stack([np.eye(3)] * 3), np.zeros((3, 2)))
    rows = written(particles, tmp_path / "b.cs")
    assert rows["alignments3D/psize_A"].tolist() == BLOB["blob/psize_A"].tolist()
    assert rows["alignments3D/alpha"].tolist() == [1, 1, 1]


def test_new_file_has_the_facts_and_cryosparcs_fields(tmp_path: Path) -> None:
    rows = written(new_particles(), tmp_path / "a.cs")
    assert rows["blob/path"].tolist() == [b"stack.mrcs"] * 3
    assert rows["blob/idx"].tolist() == [0, 1, 2]
    assert rows["blob/shape"].tolist() == [[64, 64]] * 3
    assert rows["blob/sign"].tolist() == [1, 1, 1]
    assert rows["alignments3D/split"].tolist() == [0, 1, 0]
    assert rows["alignments3D/class"].tolist() == [1, 1, 1]
    np.testing.assert_allclose(rows["alignments3D/shift"], np.array([[2.5, -1.25]] * 3) / 1.31, rtol=1e-6)
    np.testing.assert_allclose(rows["ctf/phase_shift_rad"], np.pi / 2, rtol=1e-6)
    assert len(set(rows["uid"].tolist())) == 3
    if TWIN.is_file():
        assert set(np.load(TWIN).dtype.names) <= set(rows.dtype.names)


def test_same_particles_give_the_same_bytes_and_uids_stay_unique(tmp_path: Path) -> None:
    expanded = new_particles(rlnImageName="000001@a.mrcs")  # one image three times, as after symmetry expansion
    for name in ("a.cs", "b.cs"):
        write_cs(expanded, tmp_path / name)
    assert (tmp_path / "a.cs").read_bytes() == (tmp_path / "b.cs").read_bytes()
    assert len(set(np.load(tmp_path / "a.cs")["uid"].tolist())) == 3


def test_unassigned_particles_cannot_be_said_in_a_class(tmp_path: Path) -> None:
    assert written(new_particles(rlnClassNumber=0), tmp_path / "a.cs")["alignments3D/class"].tolist() == [0, 0, 0]
    with pytest.raises(InputError, match="below 1 for 1 particles"):
        write_cs(new_particles(rlnClassNumber=[0, 1, 2]), tmp_path / "a.cs")


def test_aberrations_that_are_not_written_are_named(tmp_path: Path) -> None:
    particles = new_particles()
    particles.optics["rlnBeamTiltX"] = 0.1
    said = r"beam tilt \(rlnBeamTiltX/rlnBeamTiltY up to 0\.1 mrad; matters from 2\.0\d Å on\) cannot be written"
    with pytest.warns(InputWarning, match=said):
        write_cs(particles, tmp_path / "a.cs")


LENS = {
    "ctf/anisomag": np.array([[0.01, 0.002, -0.003, -0.02]] * 2 + [[0, 0, 0, 0]], "f4"),
    "ctf/tilt_A": np.array([[2000, -500], [2000, -500], [0, 0]], "f4"),
    "ctf/trefoil_A": np.array([[-3000, 10.5], [-3000, 10.5], [0, 0]], "f4"),
    "ctf/tetra_A": np.array([[1, 2, 3e5, 4], [1, 2, 3e5, 4], [0, 0, 0, 0]], "f4"),
    "ctf/shift_A": np.array([[0.5, 0.25], [0.5, 0.25], [0, 0]], "f4"),
    "ctf/bfactor": np.array([0, 12.5, 20], "f4"),
    "ctf/scale": np.array([1, 0.9, 1.1], "f4"),
}


def test_what_a_file_says_of_the_lens_is_used_or_kept_and_told(tmp_path: Path) -> None:
    path = save(tmp_path / "a.cs", BLOB | CTF | LENS)
    with pytest.warns(InputWarning) as caught:
        particles = read_cs(path)
    used, kept = (str(warning.message) for warning in caught[:2])
    assert "ctf/anisomag is used as RELION's rlnMagMat00…11" in used
    assert "signs are not documented: ctf/tilt_A, beam tilt of cryoSPARC (drgnCryosparcTilt up to 2e+03 Å; matt" in kept
    assert "ctf/tetra_A" in kept
    assert "ctf/shift_A" in kept
    assert particles.table["rlnOpticsGroup"].tolist() == [1, 1, 2]
    optics = particles.optics
    assert optics[MAGNIFICATION].to_numpy()[0].tolist() == pytest.approx([1.01, 0.002, -0.003, 0.98])
    assert optics[MAGNIFICATION].to_numpy()[1].tolist() == [1, 0, 0, 1]
    assert optics["drgnCryosparcTrefoil"].tolist() == ["[-3000.0,10.5]", "[0.0,0.0]"]
    assert particles.table["rlnCtfBfactor"].tolist() == [0, 12.5, 20]
    assert particles.table["rlnCtfScalefactor"].tolist() == [1, 0.9, 1.1]


def test_the_lens_goes_to_a_star_file_and_back_into_a_new_file(tmp_path: Path) -> None:
    with pytest.warns(InputWarning):
        particles = read_cs(save(tmp_path / "a.cs", BLOB | CTF | LENS))
    write_star(particles, tmp_path / "b.star")
    rows = written(read_star(tmp_path / "b.star"), tmp_path / "c.cs")
    for field, values in LENS.items():
        np.testing.assert_array_equal(rows[field], values, field)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("field", ["ctf/tilt_A", "ctf/trefoil_A", "ctf/tetra_A", "ctf/shift_A"])
def test_a_lens_that_is_not_finite_is_refused(tmp_path: Path, field: str, value: float) -> None:
    lens = LENS[field].copy()
    lens[1, 0] = value
    path = save(tmp_path / "a.cs", BLOB | CTF | slot("alignments3D") | {field: lens})
    with pytest.raises(
        InputError, match=rf"row 2: {field} is .*, which are not finite numbers \(1 such rows\)"
    ) as error:
        read_particle_file(path)
    assert "--drop 2 " in error.value.remedy


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("field", "option"),
    [
        ("ctf/cs_mm", "--cs"),
        ("ctf/accel_kv", "--voltage"),
        ("ctf/amp_contrast", "--amplitude_contrast"),
        ("blob/psize_A", "--pixel_size"),
        ("ctf/df1_A", ""),
        ("ctf/phase_shift_rad", ""),
        ("alignments3D/pose", ""),
        ("alignments3D/shift", ""),
    ],
)
def test_what_is_not_finite_is_named_by_field_and_row(tmp_path: Path, field: str, option: str, value: float) -> None:
    """A file of cryoSPARC's has no optics table that could be corrected."""
    fields = BLOB | CTF | slot("alignments3D")
    fields[field] = fields[field].copy()
    fields[field][1] = value
    path = save(tmp_path / "a.cs", fields)
    with pytest.raises(InputError, match=rf"a.cs: row 2: {field} is not a finite number \(1 such rows\)") as error:
        read_cs(path).refuse_unusable()
    assert f"drgnalign select {path} --drop 2 -o good.cs" in error.value.remedy and option in error.value.remedy
    assert len(read_cs(path, dropped=[1])) == 2
    assert f"{field} is NaN or infinite in 1 rows; the first is number 2" in " ".join(
        run("inspect", path).output.split()
    )


@pytest.mark.parametrize(("field", "value"), [("ctf/accel_kv", -1), ("blob/psize_A", -6), ("ctf/amp_contrast", 2)])
def test_a_constant_that_cannot_be_is_named_by_field_and_row(tmp_path: Path, field: str, value: float) -> None:
    fields = BLOB | CTF | slot("alignments3D")
    fields[field] = fields[field].copy()
    fields[field][1] = value
    path = save(tmp_path / "a.cs", fields)
    with pytest.raises(InputError, match=rf"row 2: the .* \({field}\) is {value}.* \(1 such rows\)") as error:
        read_particle_file(path)
    assert f"drgnalign select {path} --drop 2 -o good.cs" in error.value.remedy


def test_a_gap_that_an_option_fills_is_none(tmp_path: Path) -> None:
    voltages = np.array([300, np.nan, 300], "f4")
    particles = read_cs(save(tmp_path / "a.cs", BLOB | CTF | {"ctf/accel_kv": voltages}), voltage=300.0)
    particles.refuse_unusable()


def test_a_row_without_the_pixels_of_its_shift_is_named(tmp_path: Path) -> None:
    sizes = np.array([2.62, np.nan, np.nan], "f4")
    path = save(tmp_path / "a.cs", BLOB | CTF | slot("alignments3D", psize_A=sizes))
    with pytest.raises(InputError, match=r"row 3: alignments3D/psize_A is nan.* \(1 such rows\)"):
        read_cs(path)
    # the second is not shifted, whatever its pixels
    assert np.isfinite(read_cs(path, dropped=[2]).table[ORIGINS].to_numpy()).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [0, 1])
def test_a_neutral_lens_is_no_warning_and_no_column(tmp_path: Path, scale: int) -> None:
    neutral = {field: np.zeros_like(values) for field, values in LENS.items()}
    particles = read_cs(save(tmp_path / "a.cs", BLOB | CTF | neutral | {"ctf/scale": np.full(3, scale, "f4")}))
    assert not [label for label in (*particles.table, *particles.optics) if "Mag" in label or "factor" in label]
    assert not set(CRYOSPARC_TERMS) & set(particles.optics)


def test_a_list_of_the_lens_that_is_none_is_refused(tmp_path: Path) -> None:
    particles = new_particles()
    particles.optics["drgnCryosparcTetra"] = "[1,2]"
    with pytest.raises(InputError, match="drgnCryosparcTetra is not a list of 4 numbers"):
        write_cs(particles, tmp_path / "a.cs")


angle = st.floats(-360, 360) | st.sampled_from([-180.0, -90.0, 0.0, 90.0, 180.0])
tilt = st.floats(0, 180) | st.sampled_from([0.0, 1e-7, 90.0, 180.0 - 1e-7, 180.0])
origin = st.floats(-200, 200)


@same_folder
@given(st.lists(st.tuples(angle, tilt, angle, origin, origin), min_size=1, max_size=5))
def test_poses_survive_within_half_a_last_digit(tmp_path: Path, rows: list[tuple[float, ...]]) -> None:
    values = np.array(rows)
    columns = dict(zip([*ANGLES, *ORIGINS], values.T, strict=True))
    given_ = new_particles(len(values), **columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # one particle is no two half sets
        read = read_cs(written_path(given_, tmp_path / "a.cs"))
    # three components of up to π, each half a last digit of a float32 off
    limit = np.degrees(np.sqrt(3) * np.spacing(np.float32(np.pi)) / 2) * 1.1
    assert angular_distance(given_.rotations(), read.rotations()).max() <= limit
    np.testing.assert_allclose(read.table[ORIGINS], given_.table[ORIGINS], rtol=6e-8, atol=1e-12)


@same_folder
@given(st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1)).filter(lambda v: np.linalg.norm(v) > 0.1))
def test_half_turns_survive(tmp_path: Path, axis: tuple[float, ...]) -> None:
    pose = (np.array([axis] * 3) / np.linalg.norm(axis) * np.pi).astype("f4")
    particles = read_cs(save(tmp_path / "a.cs", BLOB | CTF | slot("alignments3D", pose=pose)))
    fresh = Particles(particles.table, particles.optics, particles.path)
    again = read_cs(written_path(fresh, tmp_path / "b.cs"))
    assert angular_distance(euler_to_matrix(*particles.table[ANGLES].to_numpy().T), again.rotations()).max() < 3e-5


@same_folder
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), st.floats(-7, 7, width=32))
def test_ctf_values_survive_bit_for_bit(tmp_path: Path, defocus: list[float], radians: float) -> None:
    changes = {"ctf/df1_A": np.array(defocus, "f4"), "ctf/df_angle_rad": np.full(3, radians, "f4")}
    path = save(tmp_path / "a.cs", BLOB | CTF | changes)
    rows = written(read_cs(path), tmp_path / "b.cs")
    for field, values in changes.items():
        np.testing.assert_array_equal(rows[field], values)


@pytest.mark.parametrize("label", ["rlnDefocusU", "rlnAngleTilt", "rlnOriginYAngst", "rlnRandomSubset"])
def test_nan_is_refused_on_writing(tmp_path: Path, label: str) -> None:
    with pytest.raises(InputError, match=f"row 2: {label}"):
        write_cs(new_particles(**{label: [1.0, np.nan, 1.0]}), tmp_path / "a.cs")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", ["rlnDefocusV", "rlnAngleRot", "rlnOriginXAngst"])
def test_missing_columns_are_named(tmp_path: Path, label: str) -> None:
    particles = new_particles()
    with pytest.raises(InputError, match=f"lacks the .* columns {label}"):
        write_cs(Particles(particles.table.drop(columns=label), particles.optics, particles.path), tmp_path / "a.cs")


@pytest.mark.parametrize("label", ["rlnVoltage", "rlnImagePixelSize", "rlnImageSize", "drgnContrast"])
def test_missing_optics_are_named(tmp_path: Path, label: str) -> None:
    particles = new_particles()
    with pytest.raises(InputError, match=f"has no {label}"):
        write_cs(Particles(particles.table, particles.optics.drop(columns=label), particles.path), tmp_path / "a.cs")
    particles.optics[label] = np.nan
    with pytest.raises(InputError, match=label):
        write_cs(particles, tmp_path / "a.cs")


def test_other_values_that_cannot_be_written(tmp_path: Path) -> None:
    for columns, problem in (
        ({"rlnImageName": ["000001@?"] * 3}, "does not name the stack"),
        ({"rlnRandomSubset": 3}, "neither 1 nor 2"),
        ({"rlnDefocusU": 1e39}, "does not fit"),
        ({"drgnCryosparcUid": [1, 1, 2]}, "unique"),
        ({"drgnCryosparcUid": [1.0, 2.0, 3.0]}, "unique"),
    ):
        with pytest.raises(InputError, match=problem):
            write_cs(new_particles(**columns), tmp_path / "a.cs")
    assert list(tmp_path.iterdir()) == []


# ---- files that cannot be read ----------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["blob/path", "blob/idx"])
def test_missing_image_fields_are_named(tmp_path: Path, field: str) -> None:
    with pytest.raises(InputError, match=f"has no field {field}"):
        read_cs(save(tmp_path / "a.cs", {name: values for name, values in BLOB.items() if name != field}))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("blob/path", np.zeros(3)),
        ("blob/path", np.full(3, b"\xff.mrc")),
        ("blob/path", np.full(3, b">")),
        ("blob/idx", np.array([0, -1, 2])),
        ("blob/idx", np.full(3, 0.5)),
        ("blob/shape", np.array([[64, 64], [64, 32], [64, 64]])),
        ("blob/shape", np.full(3, 64)),
        ("blob/sign", np.zeros(3)),
        ("blob/psize_A", np.full(3, b"1.31")),
        ("alignments3D/psize_A", np.zeros(3, "f4")),
        ("uid", np.full(3, b"x")),
        ("ctf/df1_A", np.zeros((3, 2))),
        ("alignments3D/pose", np.zeros((3, 9))),
        ("alignments3D/shift", np.zeros((3, 0))),
        ("alignments3D/shift", np.zeros(3, "f4")),
        ("alignments3D/split", np.full(3, 0.5)),
    ],
)
def test_fields_of_the_wrong_kind_are_refused(tmp_path: Path, field: str, values: np.ndarray) -> None:
    with pytest.raises(InputError):
        read_cs(save(tmp_path / "a.cs", BLOB | CTF | slot("alignments3D") | {field: values}))


def test_pose_that_is_nan_is_read_as_nan_for_the_checks_of_the_import(tmp_path: Path) -> None:
    pose = ALIGNMENT["pose"].copy()
    pose[1, 2] = np.nan
    particles = read_cs(save(tmp_path / "a.cs", BLOB | CTF | slot("alignments3D", pose=pose)))
    assert particles.table[ANGLES].isna().all(axis=1).tolist() == [False, True, False]
    with pytest.raises(InputError, match="row 2: rlnAngleRot"):
        write_cs(particles, tmp_path / "b.cs")


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], object), allow_pickle=True)
    np.save(tmp_path / "fields.npy", np.array([(1, "x")], [("uid", "u8"), ("blob/path", "O")]), allow_pickle=True)
    np.save(tmp_path / "plain.npy", np.zeros(5))
    np.save(tmp_path / "empty.npy", np.zeros(0, [("blob/path", "S5"), ("blob/idx", "u4")]))
    np.savez(tmp_path / "zip.npz", a=np.zeros(3))
    (tmp_path / "nothing.cs").write_bytes(b"")
    (tmp_path / "text.cs").write_text("data_particles\n")
    for path in [*tmp_path.iterdir(), tmp_path / "missing.cs"]:
        with pytest.raises(InputError):
            read_cs(path)


def test_truncated_and_boastful_files_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.cs", BLOB | CTF)
    whole = path.read_bytes()
    for end in (*range(0, 140, 7), len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError):
            read_cs(path)
    rows = np.load(save(path, BLOB | CTF))
    for shape in [(4,), (3 * 10**9,), (3 * 10**18,), (3 * 10**30,), (-3,), (3, 2**62), ()]:
        header = np.lib.format.header_data_from_array_1_0(rows) | {"shape": shape}
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.write(rows.tobytes())
        with pytest.raises(InputError):
            read_cs(path)


def test_rows_without_bytes_are_refused_however_many(tmp_path: Path) -> None:
    path = tmp_path / "a.cs"
    header = (
        "{'descr': [('blob/path', '|S0'), ('blob/idx', '|V0')], 'fortran_order': False, 'shape': (1000000000000,), }"
    )
    header = header.ljust(64 * 3 - 11) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(InputError):
        read_cs(path)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutated_files_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "a.cs"
    content = bytearray(save(path, BLOB | CTF | slot("alignments3D")).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(content) - 1))
        content[where : where + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(InputError):
            assert len(read_cs(path)) >= 1


# ---- the real file ----------------------------------------------------------------------------------------------


@needs_twin
def test_twin_agrees_with_its_star_file() -> None:
    cs, star = read_cs(TWIN), read_star(TWIN.with_suffix(".star"))
    for mine, theirs in zip(cs.image_locations(), star.image_locations(), strict=True):
        assert mine.tolist() == theirs.tolist()
    assert cs.box == 320
    for label in ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"):
        np.testing.assert_allclose(cs.table[label], star.table[label], rtol=6e-8)
    for label in ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"):
        np.testing.assert_allclose(cs.optics[label], star.optics[label], rtol=6e-8)
    np.testing.assert_allclose(cs.pixel_size, star.pixel_size, rtol=1e-5)


@needs_twin
def test_contrast_of_the_twin_is_what_its_images_show() -> None:
    """Below its CTF's first zero, at 17 Å, the particle's middle differs from its surroundings in one direction."""
    with mrcfile.open(TWIN.with_suffix(".mrc"), permissive=True) as file:
        images = file.data.astype(np.float64)
    box, pixel_size, resolution = images.shape[-1], 1.31, 40.0
    frequency = np.hypot(np.fft.fftfreq(box, pixel_size)[:, None], np.fft.rfftfreq(box, pixel_size))
    smooth = np.fft.irfft2(np.fft.rfft2(images) * np.exp(-2 * (resolution * frequency) ** 2), (box, box))
    radius = np.hypot(*np.mgrid[-box // 2 : box // 2, -box // 2 : box // 2]) * pixel_size
    middle, around = smooth[:, radius < 80].mean(axis=1), smooth[:, (radius > 140) & (radius < 200)].mean(axis=1)
    assert (middle < around).all()
    assert read_cs(TWIN).optics["drgnContrast"].tolist() == ["dark"]


@needs_twin
def test_twin_is_written_as_it_was(tmp_path: Path) -> None:
    particles = read_cs(TWIN)
    assert particles.pixel_size == 1.3099979
    write_cs(particles, tmp_path / "a.cs")
    assert np.load(tmp_path / "a.cs").tobytes() == np.load(TWIN).tobytes()  # headers may be padded differently
    rows = written(particles.select([3, 5]), tmp_path / "b.cs")
    np.testing.assert_array_equal(rows, np.load(TWIN)[[3, 5]])


TYPES = {
    "unicode": {"blob/path": BLOB["blob/path"].astype("U30")},
    "whole numbers as float": {
        "blob/idx": BLOB["blob/idx"].astype("f8"),
        "blob/shape": BLOB["blob/shape"].astype("f4"),
        "ctf/exp_group_id": CTF["ctf/exp_group_id"].astype("f8"),
        "alignments3D/split": ALIGNMENT["split"].astype("f8"),
        "alignments3D/class": ALIGNMENT["class"].astype("f4"),
    },
    "double precision and big-endian": {
        name: values.astype(">f8") for name, values in {**CTF, **slot("alignments3D")}.items() if values.dtype == "f4"
    },
    "signed": {"uid": BLOB["uid"].astype("i8"), "blob/idx": BLOB["blob/idx"].astype("i8")},
}


@pytest.mark.parametrize("fields", TYPES.values(), ids=TYPES)
def test_fields_of_other_types_say_the_same(tmp_path: Path, fields: dict[str, np.ndarray]) -> None:
    usual = BLOB | CTF | slot("alignments3D")
    expected = read_cs(save(tmp_path / "usual.cs", usual))
    found = read_cs(save(tmp_path / "other.cs", usual | fields))
    pd.testing.assert_frame_equal(found.table, expected.table, rtol=1e-7)
    pd.testing.assert_frame_equal(found.optics, expected.optics, rtol=1e-6)
    # and what is written can be read again, with names that are longer
    found.table["rlnImageName"] += "_é_and_more"
    write_cs(found, tmp_path / "again.cs")
    pd.testing.assert_frame_equal(read_cs(tmp_path / "again.cs").table, found.table)
    write_cs(read_cs(tmp_path / "other.cs"), tmp_path / "again.cs")
    assert np.load(tmp_path / "again.cs")["blob/path"].astype("S20").tolist() == BLOB["blob/path"].tolist()


def test_types_that_do_not_hold_the_numbers_are_refused(tmp_path: Path) -> None:
    for changes in ({"uid": BLOB["uid"].astype("f8")}, {"blob/idx": np.array([0, 0.5, 1])}):
        with pytest.raises(InputError, match=f"the field {next(iter(changes))} is <f8"):
            read_cs(save(tmp_path / "a.cs", BLOB | changes))


# ---- files that contradict each other, or come in another order ---------------------------------------------------


def poses_of_value(value: float) -> np.ndarray:
    return np.full((3, 3), value, "f4")


def test_what_contradicts_the_main_file_is_told(tmp_path: Path) -> None:
    main = save(tmp_path / "main.cs", BLOB | CTF | slot("alignments3D", pose=poses_of_value(0.1)))
    changed = CTF["ctf/df1_A"].copy()
    changed[1] += 100
    rest = save(
        tmp_path / "rest.cs",
        {"uid": BLOB["uid"], "ctf/df1_A": changed} | slot("alignments3D", pose=poses_of_value(0.5)),
    )
    with pytest.warns(
        InputWarning, match=r"rest\.cs: contradicts .*main\.cs in ctf/df1_A in 1 rows, alignments3D/pose"
    ):
        particles = read_cs(main, rest)
    np.testing.assert_allclose(particles.rotations()[0], Rotation.from_rotvec([0.1] * 3).as_matrix(), atol=1e-6)
    assert particles.table["rlnDefocusU"].tolist() == read_cs(main).table["rlnDefocusU"].tolist()


def test_fields_of_another_jobs_poses_are_not_mixed_in(tmp_path: Path) -> None:
    """Shifts of the main file are in its own pixels, or those of the images, but not in those of the job before."""
    own = slot("alignments3D")
    del own["alignments3D/psize_A"]
    main = save(tmp_path / "main.cs", BLOB | CTF | own)
    rest = save(tmp_path / "rest.cs", {"uid": BLOB["uid"], "alignments3D/psize_A": np.full(3, 9.0, "f4")})
    with pytest.warns(InputWarning, match="has no alignments3D/psize_A"):
        joined = read_cs(main, rest)
    with pytest.warns(InputWarning):
        pd.testing.assert_frame_equal(joined.table, read_cs(main).table)


def test_a_passthrough_given_first_is_known(tmp_path: Path) -> None:
    """By its name, or as it holds more particles and no poses, or other values and no poses."""
    job = BLOB | CTF | slot("alignments3D", pose=poses_of_value(0.1))
    older = BLOB | {"ctf/df1_A": np.full(3, 9000, "f4")}
    cases = [
        ("J1_passthrough_particles.cs", BLOB | slot("alignments3D", pose=poses_of_value(0.5)), job),
        ("rest.cs", BLOB, job),
        ("rest.cs", older, job),
    ]
    for number, (name, passthrough, main) in enumerate(cases):
        files = [save(tmp_path / name, passthrough), save(tmp_path / "main.cs", main)]
        if number == 1:
            part = np.load(files[1])[:2]
            with files[1].open("wb") as file:
                np.save(file, part)
        with pytest.warns(InputWarning, match=r"main\.cs: is taken as the job's main file"):
            swapped = read_cs(files[0], files[1])
        alone = read_cs(files[1])
        pd.testing.assert_frame_equal(swapped.table, alone.table)


def test_poses_that_another_file_has_are_told(tmp_path: Path) -> None:
    poses, posterior = several_classes()
    multi = slot("alignments3D_multi", pose=poses, class_posterior=posterior)
    del multi["alignments3D_multi/shift"], multi["alignments3D_multi/class"]
    first = save(tmp_path / "first.cs", BLOB | CTF | slot("alignments3D"))
    second = save(tmp_path / "second.cs", {"uid": BLOB["uid"]} | multi)
    for main, rest, used in ((first, second, "alignments3D"), (second, first, "alignments3D_multi")):
        with pytest.warns(InputWarning) as said:
            read_cs(main, rest)
        told = [str(one.message) for one in said if "are not used, but those of" in str(one.message)]
        assert len(told) == 1 and f"those of {main} ({used})" in told[0]


# ---- what a star file keeps ----------------------------------------------------------------------------------------


def test_what_is_kept_of_a_job_comes_back(tmp_path: Path) -> None:
    kept = {
        "alignments3D/alpha": np.array([0.9, 1.1, 1.0], "f4"),
        "alignments3D/weight": np.array([0.5, 1.0, 0.25], "f4"),
        "ctf/scale_const": np.array([0.1, 0.2, 0.3], "f4"),
        "sym_expand/idx": np.array([0, 1, 0], "u4"),
        "sym_expand/src_uid": np.array([2**63 + 5, 2**63 + 5, 7], "u8"),
        "location/micrograph_path": np.array([b"m/a.mrc", b"m/b.mrc", b"m/a.mrc"]),
        "pick_stats/ncc_score": np.array([0.1, 0.2, 0.4], "f4"),
    }
    path = save(tmp_path / "a.cs", BLOB | CTF | slot("alignments3D") | kept)
    result = succeed("convert", path, "-o", tmp_path / "a.star")
    assert "cryoSPARC's pick_stats (1 field)" in result.stderr and "sym_expand" not in result.stderr
    star = read_star(tmp_path / "a.star")
    assert star.table["rlnMicrographName"].tolist() == ["m/a.mrc", "m/b.mrc", "m/a.mrc"]
    # rows of one particle stay in one half set
    assert ties(star)["source images"][:2].tolist() == [0, 0]
    succeed("convert", tmp_path / "a.star", "-o", tmp_path / "b.cs")
    back = np.load(tmp_path / "b.cs")
    for name, values in kept.items():
        if not name.startswith("pick_stats"):
            np.testing.assert_array_equal(back[name], values, err_msg=name)


def test_what_a_new_file_has_no_place_for_is_told(tmp_path: Path) -> None:
    given = read_cs(save(tmp_path / "a.cs", BLOB | CTF | slot("alignments3D")))
    given.table["rlnMicrographName"] = ["m/a.mrc", "m/b.mrc", "m/a.mrc"]
    given.table["rlnCoordinateX"] = given.table["rlnCoordinateY"] = [1.0, 2.0, 3.0]
    write_star(given, tmp_path / "a.star")
    result = succeed("convert", tmp_path / "a.star", "-o", tmp_path / "b.cs")
    assert "rlnCoordinateX, rlnCoordinateY cannot be written to a .cs file" in result.stderr
    assert np.load(tmp_path / "b.cs")["location/micrograph_path"].tolist() == [b"m/a.mrc", b"m/b.mrc", b"m/a.mrc"]


@pytest.mark.parametrize("silent", [[np.nan, np.nan], [0, 0], [0.5, 0.5]])
def test_posteriors_that_tell_no_class_choose_none(tmp_path: Path, silent: list[float]) -> None:
    poses, posterior = several_classes()
    posterior[1] = silent
    fields = slot("alignments3D_multi", pose=poses, shift=np.zeros((3, 2, 2), "f4"), class_posterior=posterior)
    del fields["alignments3D_multi/class"]
    apart = {}
    for k in range(2):
        apart |= slot(f"alignments_class_{k}", pose=poses[:, k], class_posterior=posterior[:, k])
    for alignments in (fields, apart):
        path = save(tmp_path / "a.cs", BLOB | CTF | alignments)
        with pytest.raises(InputError, match=r"row 2: \w+/class_posterior says of no class .*\n.*--drop 2 "):
            read_cs(path)
        assert len(read_cs(path, dropped=[1])) == 2
