from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from drgnalign.errors import InputError
from drgnalign.particles import Particles, _badly_named


def particles() -> Particles:
    table = pd.DataFrame(
        {
            "rlnImageName": ["000001@a.mrcs", "000003@sub/b@c.mrcs", "2@a.mrcs"],
            "rlnOpticsGroup": [5, 2, 5],
            "rlnAngleRot": [10.0, 0.0, -30.0],
            "rlnAngleTilt": [20.0, 90.0, 40.0],
            "rlnAnglePsi": [30.0, 0.0, 170.0],
            "rlnOriginXAngst": [3.0, 0.0, -1.5],
            "rlnOriginYAngst": [-6.0, 1.5, 0.0],
            "rlnRandomSubset": [1, 2, 1],
            "rlnClassNumber": [0, 2, 1],
            "drgnRow": [0, 1, 2],
        }
    )
    optics = pd.DataFrame({"rlnOpticsGroup": [2, 5], "rlnImagePixelSize": [1.5, 1.5], "rlnImageSize": [64, 64]})
    return Particles(table, optics, Path("set.star"))


def test_displacement_is_minus_origin_in_pixels() -> None:
    np.testing.assert_allclose(particles().displacements(), [[-2, 4], [0, -1], [1, 0]])


def test_rotation_takes_image_axes_to_volume_axes() -> None:
    # rot 0, tilt 90, psi 0: the view along the volume's x axis, R = Ry(90)
    np.testing.assert_allclose(particles().rotations()[1] @ [0, 0, 1], [1, 0, 0], atol=1e-12)


def test_columns_as_arrays() -> None:
    p = particles()
    assert (len(p), p.box, p.pixel_size) == (3, 64, 1.5)
    assert p.half_sets().tolist() == [1, 2, 1]
    assert p.cluster_labels().tolist() == [0, 2, 1]
    assert p.optics_rows().tolist() == [1, 0, 1]
    numbers, stacks = p.image_locations()
    assert numbers.tolist() == [1, 3, 2]
    assert stacks.tolist() == ["a.mrcs", "sub/b@c.mrcs", "a.mrcs"]


def test_nobody_is_left_out_where_the_table_does_not_say() -> None:
    p = particles()
    assert p.left_out().tolist() == [False, False, False]
    p.table["drgnLeftOut"] = [0, 1, 0]
    assert p.left_out().tolist() == [False, True, False]


@pytest.mark.parametrize("rows", [[2, 0], [True, False, True]])
def test_select_copies_and_renumbers(rows: list[int]) -> None:
    p = particles()
    selected = p.select(rows)
    assert selected.table.index.tolist() == [0, 1]
    assert set(selected.table["drgnRow"]) == {0, 2}
    selected.table["rlnClassNumber"] = 9
    assert 9 not in p.cluster_labels()


def test_with_poses_gives_back_the_same_poses() -> None:
    p = particles()
    rotations = Rotation.random(3, np.random.default_rng(1)).as_matrix()
    displacements = np.array([[1.0, 2.0], [-3.0, 0.25], [0.0, 0.0]])
    moved = p.with_poses(rotations, displacements)
    np.testing.assert_allclose(moved.rotations(), rotations, atol=1e-12)
    np.testing.assert_allclose(moved.displacements(), displacements, atol=1e-12)
    assert p.table["rlnAngleRot"].tolist() == [10.0, 0.0, -30.0]


def test_valid_set_passes() -> None:
    particles().validate()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("rlnImageName", "a.mrcs", "row 2: rlnImageName"),
        ("rlnImageName", "0@a.mrcs", r"counts from 0.*row 2: 0@a\.mrcs"),
        ("rlnImageName", None, "row 2: rlnImageName"),
        ("rlnOpticsGroup", 3, "row 2: the optics group"),
        ("rlnAngleTilt", "steep", "row 2: rlnAngleTilt is not a number"),
    ],
)
def test_broken_row_is_named(column: str, value: object, message: str) -> None:
    p = particles()
    p.table[column] = p.table[column].astype(object)
    p.table.loc[1, column] = value
    with pytest.raises(InputError, match=message):
        p.validate()


def test_broken_tables_are_refused() -> None:
    p = particles()
    with pytest.raises(InputError, match="no particles"):
        p.select(np.zeros(3, bool)).validate()
    twice = Particles(p.table, p.optics.assign(rlnOpticsGroup=5), p.path)
    with pytest.raises(InputError, match="listed twice"):
        twice.validate()
    for label in ("rlnImageName", "rlnOpticsGroup"):
        with pytest.raises(InputError, match=f"no column {label}"):
            Particles(p.table.drop(columns=label), p.optics, p.path).validate()


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(st.text("019@aé²٣ \0\ud800", max_size=6), st.from_regex(r"\A0{0,3}[0-9]{17,19}@a\Z")),
        min_size=1,
        max_size=5,
    )
)
def test_names_of_images_are_numbers_of_stacks(names: list[str]) -> None:
    bad = [re.fullmatch(r"0*[1-9][0-9]{0,17}@.+", name, re.DOTALL) is None for name in names]
    assert _badly_named(names).tolist() == bad


def test_a_name_with_a_line_s_end_is_bad() -> None:
    assert _badly_named(["1@a", "1@a\n2@b", "3@c"]).tolist() == [False, True, False]


def test_missing_box_is_an_input_error() -> None:
    p = particles()
    with pytest.raises(InputError, match="rlnImageSize"):
        _ = Particles(p.table, p.optics.drop(columns="rlnImageSize"), p.path).box


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("rlnAngleRot", np.nan, "row 2: rlnAngleRot is not a finite number"),
        ("rlnOriginXAngst", -np.inf, "row 2: rlnOriginXAngst is not a finite number"),
        ("rlnDefocusAngle", np.nan, "row 2: rlnDefocusAngle is not a finite number"),
        ("rlnPhaseShift", np.inf, "row 2: rlnPhaseShift is not a finite number"),
        ("drgnOccupancy", np.nan, "row 2: drgnOccupancy is not a finite number"),
        ("rlnRandomSubset", np.nan, "row 2: rlnRandomSubset is not 1 or 2"),
    ],
)
def test_numbers_that_no_image_can_be_worked_on_with(column: str, value: float, message: str) -> None:
    p = particles()
    p.table[column] = 1.0
    p.refuse_unusable()
    p.table.loc[1, column] = value
    with pytest.raises(InputError, match=message):
        p.refuse_unusable()


def test_an_optics_table_without_numbers() -> None:
    p = particles()
    p.optics["rlnVoltage"] = np.nan
    with pytest.raises(InputError, match="rlnVoltage is not a finite number in its optics table"):
        p.refuse_unusable()
