from __future__ import annotations

import pickle
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from drgnalign.errors import InputError
from drgnalign.formats.star import read_star, write_star
from drgnalign.particles import Particles

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the test data are not there: {DATA}")

RELION30 = """
data_images

loop_
_rlnImageName #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnMagnification #5
_rlnDetectorPixelSize #6
_rlnOriginX #7
_rlnOriginY #8
_rlnGroupName #9
_rlnScore #10
000001@a.mrcs 300 2.7 0.1 50000 7.5 2.0 -4.0 001 0.5
000002@a.mrcs 200 2.7 0.1 50000 7.5 1.0  0.0 002 0.25
000003@a.mrcs 300 2.7 0.1 50000 7.5 0.0  1.0 001 1e-3
"""
OPTICS = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnImagePixelSize #4
_rlnOddZernike #5
1 grid1 300.0 2.0 [0.1,-0.2,0,0]
"""
PARTICLES = """
data_particles

loop_
_rlnImageName #1
_rlnOpticsGroup #2
_rlnOriginXAngst #3
_rlnOriginYAngst #4
_rlnMicrographName #5
_rlnFilamentLength #6
000001@a.mrcs 1 2.0 -4.0 mic/1.mrc 12.5
000002@a.mrcs 1 1.0  0.5 mic/2.mrc 99
"""


def star(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "particles.star"
    path.write_text(text)
    return path


def test_relion30_gets_an_optics_table(tmp_path: Path) -> None:
    p = read_star(star(tmp_path, RELION30))
    assert p.optics["rlnVoltage"].tolist() == [300, 200]
    np.testing.assert_allclose(p.optics["rlnImagePixelSize"], 1.5)
    assert p.table["rlnOpticsGroup"].tolist() == [1, 2, 1]
    np.testing.assert_allclose(p.table[["rlnOriginXAngst", "rlnOriginYAngst"]], [[3, -6], [1.5, 0], [0, 1.5]])
    assert p.table["rlnGroupName"].tolist() == ["001", "002", "001"]
    assert p.table["rlnScore"].tolist() == [0.5, 0.25, 1e-3]
    moved = {"rlnOriginX", "rlnOriginY", "rlnVoltage", "rlnMagnification", "rlnDetectorPixelSize"}
    assert not moved & set(p.table)


def test_a_row_that_lacks_a_constant_is_named_where_there_is_no_optics_table(tmp_path: Path) -> None:
    path = star(tmp_path, RELION30.replace("200 2.7 0.1", "200 nan 0.1"))
    with pytest.raises(InputError, match=r"row 2: rlnSphericalAberration is not a finite .* \(1 such rows\)") as error:
        read_star(path).refuse_unusable()
    assert f"drgnalign select {path} --drop 2 -o good.star" in error.value.remedy


@pytest.mark.parametrize("text", [OPTICS + PARTICLES, PARTICLES + OPTICS])
def test_relion31_blocks_in_either_order(tmp_path: Path, text: str) -> None:
    p = read_star(star(tmp_path, text))
    np.testing.assert_allclose(p.displacements(), [[-1, 2], [-0.5, -0.25]])
    assert p.optics["rlnOddZernike"].tolist() == ["[0.1,-0.2,0,0]"]
    assert p.table["rlnFilamentLength"].tolist() == [12.5, 99]


def test_pixel_origins_in_a_relion31_file(tmp_path: Path) -> None:
    text = (OPTICS + PARTICLES).replace("OriginXAngst", "OriginX").replace("OriginYAngst", "OriginY")
    p = read_star(star(tmp_path, text))
    np.testing.assert_allclose(p.displacements(), [[-2, 4], [-1, -0.5]])


def test_per_particle_optics_columns_are_taken_into_the_optics_table(tmp_path: Path) -> None:
    text = (OPTICS + PARTICLES).replace("_rlnFilamentLength", "_rlnAmplitudeContrast")
    same = text.replace(" 12.5\n", " 0.1\n").replace(" 99\n", " 0.1\n")
    assert read_star(star(tmp_path, same)).optics["rlnAmplitudeContrast"].tolist() == [0.1]
    with pytest.raises(InputError, match="rlnAmplitudeContrast differs within an optics group"):
        read_star(star(tmp_path, text))


def test_arguments_fill_gaps_and_must_not_contradict(tmp_path: Path) -> None:
    path = star(tmp_path, OPTICS + PARTICLES)
    p = read_star(path, cs=2.7, voltage=300)
    assert p.optics["rlnSphericalAberration"].tolist() == [2.7]
    with pytest.raises(InputError, match=r"rlnVoltage is 300 in the file, but --voltage says 200"):
        read_star(path, voltage=200)


def test_pixel_origins_need_a_pixel_size(tmp_path: Path) -> None:
    path = star(tmp_path, RELION30.replace("Magnification", "Nothing"))
    with pytest.raises(InputError, match="--pixel_size"):
        read_star(path)
    assert read_star(path, pixel_size=2.0).table["rlnOriginYAngst"].tolist() == [-8, 0, 2]


@pytest.mark.parametrize(
    ("number", "word", "label"),
    [
        ("-4.0", "left", "rlnOriginY"),
        ("50000", "9" * 5000, "rlnMagnification"),
        ("50000", "None", "rlnMagnification"),
        ("7.5", "'5 um'", "rlnDetectorPixelSize"),
        ("300", "300\0", "rlnVoltage"),
    ],
)
def test_words_in_columns_that_are_reckoned_with_at_once(tmp_path: Path, number: str, word: str, label: str) -> None:
    with pytest.raises(InputError, match=f"row 1: {label} is"):
        read_star(star(tmp_path, RELION30.replace(f" {number}", f" {word}", 1)))


@pytest.mark.parametrize(
    ("words", "values"),
    [
        # an exponent of ten digits crashes pandas
        (["1e3000000000", "1"], [np.inf, 1.0]),
        (["1e3000000000", "one"], ["1e3000000000", "one"]),
        (["18446744073709551615", "0"], [2**64 - 1, 0]),
        (["-9223372036854775808", "+1"], [-(2**63), 1]),
        (["18446744073709551616", "0"], ["18446744073709551616", "0"]),
        (["18446744073709551615", "-1"], ["18446744073709551615", "-1"]),
        (["1" * 5000, "0"], ["1" * 5000, "0"]),
        (["1_000", "infinity"], ["1_000", "infinity"]),
    ],
)
def test_columns_beyond_double_precision(tmp_path: Path, words: list[str], values: list) -> None:
    text = OPTICS + PARTICLES.replace(" 12.5", f" {words[0]}").replace(" 99", f" {words[1]}")
    read = read_star(star(tmp_path, text)).table["rlnFilamentLength"]
    assert read.tolist() == values


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not a star file",
        "data_\n",
        OPTICS,
        PARTICLES.replace(" 12.5", ""),
        PARTICLES.replace(" 12.5", " 12.5 7 8"),
        PARTICLES.replace("000002@a.mrcs", "a.mrcs"),
        (OPTICS + PARTICLES).replace("000002@a.mrcs 1", "000002@a.mrcs 7"),
        (OPTICS + PARTICLES).replace("1.0  0.5", "left 0.5"),
        "\x00\xff\xfe",
    ],
)
def test_broken_files_are_input_errors(tmp_path: Path, text: str) -> None:
    path = tmp_path / "particles.star"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"particles\.star"):
        read_star(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_star(tmp_path / "nothing.star")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=arrays(np.float64, (4, 3), elements=st.floats(allow_nan=False, allow_infinity=False)),
    counts=arrays(np.int64, 4, elements=st.integers(-(2**62), 2**62)),
    names=st.lists(st.text("abc/._-019 ", min_size=1, max_size=9).map(str.strip), min_size=4, max_size=4),
)
def test_what_is_written_reads_back_exactly(
    tmp_path: Path, values: np.ndarray, counts: np.ndarray, names: list[str]
) -> None:
    table = pd.DataFrame(values, columns=["rlnAngleRot", "rlnDefocusU", "drgnScore"])
    table["rlnImageName"] = [f"{i}@my stack{name}.mrcs" for i, name in enumerate(names, start=1)]
    table["rlnGroupName"] = names
    table["drgnCount"] = counts
    table["rlnOpticsGroup"] = 1
    optics = pd.DataFrame({"rlnOpticsGroup": [1], "rlnImagePixelSize": [values[0, 0]]})
    path = tmp_path / "round_trip.star"
    write_star(Particles(table, optics, path), path)
    read = read_star(path)
    pd.testing.assert_frame_equal(read.table, table, check_exact=True)
    pd.testing.assert_frame_equal(read.optics, optics, check_exact=True)


def test_writing_is_deterministic_and_leaves_nothing_behind(tmp_path: Path) -> None:
    p = read_star(star(tmp_path, OPTICS + PARTICLES))
    write_star(p, tmp_path / "a.star")
    write_star(p, tmp_path / "b.star")
    assert (tmp_path / "a.star").read_bytes() == (tmp_path / "b.star").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"particles.star", "a.star", "b.star"}


def test_nan_survives(tmp_path: Path) -> None:
    p = read_star(star(tmp_path, OPTICS + PARTICLES))
    p.table["drgnScore"] = [1.5, np.nan]
    write_star(p, tmp_path / "a.star")
    np.testing.assert_array_equal(read_star(tmp_path / "a.star").table["drgnScore"], [1.5, np.nan])


@needs_data
@pytest.mark.parametrize("path", sorted(DATA.glob("*/*.star")) or [DATA], ids=lambda path: path.name)
def test_real_files_read_and_round_trip(path: Path, tmp_path: Path) -> None:
    p = read_star(path)
    assert len(p) > 3
    write_star(p, tmp_path / "copy.star")
    copy = read_star(tmp_path / "copy.star")
    pd.testing.assert_frame_equal(copy.table, p.table, check_exact=True)
    pd.testing.assert_frame_equal(copy.optics, p.optics, check_exact=True)


@needs_data
def test_empiar_10076_agrees_with_the_pickle() -> None:
    p = read_star(DATA / "particles/empiar_10076_7.star")
    with (DATA / "empiar10076/ctf_10076.pkl").open("rb") as file:
        box, apix, u, v, angle, voltage, cs, contrast, _ = pickle.load(file)[:7].T
    np.testing.assert_allclose(p.table[["rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"]].T, [u, v, angle])
    optics = p.optics.iloc[p.optics_rows()]
    np.testing.assert_allclose(optics["rlnVoltage"], voltage)
    np.testing.assert_allclose(optics["rlnSphericalAberration"], cs)
    np.testing.assert_allclose(optics["rlnAmplitudeContrast"], contrast)
    # the pickle is for another sampling of the same field of view
    np.testing.assert_allclose(p.pixel_size * 320, box * apix, rtol=1e-5)


@needs_data
@pytest.mark.parametrize("box", [64, 65])
def test_displacement_moves_the_centred_image_onto_the_shifted_one(box: int) -> None:
    p = read_star(DATA / f"star/rln_proj_{box}_shifted.star")
    shifted = mrcfile.read(DATA / f"star/rln_proj_{box}_shifted.mrcs")
    centred = mrcfile.read(DATA / f"star/rln_proj_{box}_centered.mrcs")
    for image, expected, (x, y) in zip(centred, shifted, p.displacements().astype(int), strict=True):
        moved = np.roll(image, (y, x), axis=(0, 1))
        assert np.corrcoef(moved.ravel(), expected.ravel())[0, 1] > 0.99
