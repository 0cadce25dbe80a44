from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drgnalign.errors import InputError, InputWarning
from drgnalign.formats.par import LAYOUTS, _format_rows, _row_lengths, layout_of, read_par, read_par_table, write_par
from drgnalign.formats.star import read_star
from drgnalign.particles import Particles

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the test data are not there: {DATA}")

# Many rows here name one image twice, which the reader tells.
pytestmark = pytest.mark.filterwarnings("ignore::drgnalign.errors.InputWarning")

OPTICS = {"pixel_size": 3.0, "voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.07}
# one particle, displaced by (-0.68, -0.286667) px of 3 Å, as the three programs write it
V8 = "      1   68.02  115.57    4.26   -0.68   -0.29   10000     1  14994.6  14736.4   82.19  80.00\n"
V9 = (
    "      1   68.02  115.57    4.26     -2.04     -0.86   10000     1  14994.6  14736.4   82.19  100.00"
    "      -500     1.0000   20.00    0.00\n"
)
X = V9.replace("  100.00", "    0.10  100.00", 1)
# Changes of pose: no CHANGE column, MAG and defoci 0; with its PSHIFT FrealignX's has as many columns as version 9.
SHIFTS_9 = (
    "      1    2.13   -1.91   -0.99      0.13      4.02       0     1      0.0      0.0    0.00    0.00"
    "      -806    -0.3768   49.70\n"
)
SHIFTS_X = (
    "      1    2.91   -3.38    0.70     -0.04      3.89       0     0      0.0      0.0    0.00    0.00    0.00"
    "      -959     7.9372    6.62\n"
)
EXTENDED = X.rstrip("\n") + "        3     1.25    -2.50" * 2 + "    0.1234" * 23 + "\n"
COMMENT = "C           PSI   THETA     PHI       SHX\n"


def par(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "particles.par"
    path.write_text(text)
    return path


def read(path: Path) -> Particles:
    return read_par(path, "stack.mrc", **OPTICS)


@pytest.mark.parametrize(
    ("row", "origins", "phase_shift"),
    [(V8, (2.04, 0.87), 0.0), (V9, (2.04, 0.86), 0.0), (X, (2.04, 0.86), np.degrees(0.1))],
    ids=["v8", "v9", "X"],
)
def test_three_layouts(tmp_path: Path, row: str, origins: tuple[float, float], phase_shift: float) -> None:
    p = read(par(tmp_path, COMMENT + row + COMMENT + row + "\n" + COMMENT))
    assert len(p) == 2
    first = p.table.iloc[0]
    assert first["rlnImageName"] == "000001@stack.mrc"
    angles = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
    assert first[angles].tolist() == [4.26, 115.57, 68.02]
    np.testing.assert_allclose(first[["rlnOriginXAngst", "rlnOriginYAngst"]].astype(float), origins)
    assert first[["rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"]].tolist() == [14994.6, 14736.4, 82.19]
    assert first["rlnPhaseShift"] == pytest.approx(phase_shift)
    assert p.optics["rlnSphericalAberration"].tolist() == [2.7]


def test_pixels_become_angstrom_only_with_a_pixel_size(tmp_path: Path) -> None:
    p = read_par(par(tmp_path, V8))
    assert p.table["rlnOriginX"].tolist() == [0.68] and "rlnOriginXAngst" not in p.table
    write_par(p, tmp_path / "out.par", "par8")
    assert (tmp_path / "out.par").read_text().endswith(V8)
    with pytest.raises(InputError, match="--pixel_size"):
        write_par(p, tmp_path / "out.par", "par9")
    assert "rlnVoltage" not in read_par(par(tmp_path, V9)).optics


@pytest.mark.parametrize(("rows", "layout"), [(V8, "par8"), (V9, "par9"), (X, "parx"), (EXTENDED, "parx_extended")])
def test_particles_know_the_version_they_come_from(tmp_path: Path, rows: str, layout: str) -> None:
    assert layout_of(read_par(par(tmp_path, rows))) == layout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        (COMMENT, "no rows"),
        (COMMENT + "\f \v\n", "no rows"),
        (V9 + X, "line 2 has more than 16 columns"),
        (V9 + COMMENT + V8, "line 3 has 12 columns"),
        ("1 2 3\n", "rows have 3 columns"),
        (V9.replace("115.57", " steep"), "row 1: THETA is 'steep'"),
        (V9.replace("      1   68", "    0.5   68"), "no image number"),
        (V9.replace("      1   68", "    nan   68"), "no image number"),
        (V9.replace("      1   68", "     -2   68"), "no particles"),
        (V9.replace("      1   68", "      0   68"), "counts from 0"),
        (V9.replace("      1   68", "      0   68") + V9, "counts from 0"),
        # with a row missing
        (V9.replace("      1   68", "      0   68") + V9.replace("      1   68", "      2   68"), "counts from 0"),
        (V9 + V9.replace("      1   68", "      0   68"), r"counts from 0.*\(row 2: N is 0\)"),
        (SHIFTS_X, "is a shifts file"),
        (SHIFTS_9, "is a shifts file"),
        (SHIFTS_9.replace("    0     1", "10000     1"), "is a shifts file"),
    ],
)
def test_broken_files_are_input_errors(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(par(tmp_path, text))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "nothing.par")


angle = st.floats(-360, 360).map(lambda x: round(x, 2))
shift = st.floats(-999, 999).map(lambda x: round(x, 2))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(angle, angle, angle, shift, shift), min_size=1, max_size=5))
def test_frealign9_rows_are_read_exactly(tmp_path: Path, rows: list[tuple[float, ...]]) -> None:
    lines = [
        f"{n:7d}{psi:8.2f}{theta:8.2f}{phi:8.2f}{x:10.2f}{y:10.2f}" + V9[51:]
        for n, (psi, theta, phi, x, y) in enumerate(rows, start=1)
    ]
    table = read(par(tmp_path, "".join(lines))).table
    columns = ["rlnAnglePsi", "rlnAngleTilt", "rlnAngleRot", "rlnOriginXAngst", "rlnOriginYAngst"]
    np.testing.assert_array_equal(table[columns], np.array(rows) * [1, 1, 1, -1, -1])


@needs_data
@pytest.mark.parametrize(("version", "tolerance"), [("8", 0.016), ("9", 1e-9), ("X", 1e-9)])
def test_par_and_star_of_one_set_agree(version: str, tolerance: float) -> None:
    folder = DATA / "frealign-runs/inputs"
    p, expected = read(folder / f"b64_pert_{version}.par"), read_star(folder / "b64_pert.star")
    angles = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"]
    np.testing.assert_allclose(p.table[angles], expected.table[angles], atol=1e-9)
    # version 8 rounds shifts to 0.01 px
    origins = ["rlnOriginXAngst", "rlnOriginYAngst"]
    np.testing.assert_allclose(p.table[origins], expected.table[origins], atol=tolerance)


@needs_data
@pytest.mark.parametrize("name", ["frealign9/refine_output.par", "frealignx/refine3d_output.par"])
def test_outputs_of_the_real_programs_read(name: str) -> None:
    p = read(DATA / "frealign-runs" / name)
    assert len(p) == 2000
    assert p.image_locations()[0].tolist() == list(range(1, 2001))


@pytest.mark.parametrize(
    ("rows", "layout"),
    [(V8, "par8"), (V9, "par9"), (X, "parx"), (EXTENDED, "parx_extended")],
    ids=["v8", "v9", "X", "extended"],
)
def test_rows_are_written_as_they_were_read(tmp_path: Path, rows: str, layout: str) -> None:
    text = COMMENT + rows + rows.replace("      1 ", " 123456 ", 1)
    write_par(read(par(tmp_path, text)), tmp_path / "out.par", layout)
    written = (tmp_path / "out.par").read_text().splitlines(keepends=True)
    assert written[0].startswith("C") and len(written[0]) == len(rows)
    assert "".join(written[1:]) == text.removeprefix(COMMENT)


@pytest.mark.parametrize(("layout", "length"), [("par8", 95), ("par9", 137), ("parx", 145)])
def test_rows_have_the_length_that_the_programs_tell_versions_by(tmp_path: Path, layout: str, length: int) -> None:
    write_par(read(par(tmp_path, V9)), tmp_path / "out.par", layout)
    assert {len(line) for line in (tmp_path / "out.par").read_text().splitlines(keepends=True)} == {length}


def test_comments_stand_anywhere_and_summaries_behind_the_rows(tmp_path: Path) -> None:
    summary = (
        "C          3.11   91.00    0.44     -0.06      0.21   10000     1  14107.4  13911.3   88.17  100.00\n"
        "C  Total particles included, overall score, average occupancy        2000  33.987587 100.000000\n"
    )
    assert len(read(par(tmp_path, COMMENT * 60 + V9 + COMMENT + V9.replace("    1 ", "    2 ", 1) + summary))) == 2


TOUCHING = {
    "FILM of six digits": (V9, V9.replace("10000     1", "10000100000")),
    "two columns": (V9, V9.replace("   10000     1", "-9999999100000")),
    "FrealignX": (X, X.replace("10000     1", "10000-00001")),
    "FrealignX, shifts": (X, X.replace("-2.04     -0.86", "-2.04-123456.86")),
    "version 8": (V8, V8.replace("  -0.68   -0.29", "-1000.68-1000.29"[1:])),
    "extended": (EXTENDED, EXTENDED.replace("    0.1234    0.1234\n", "    0.1234-1000.1234\n")),
}


@pytest.mark.parametrize(("plain", "touching"), TOUCHING.values(), ids=TOUCHING)
def test_width_decides_before_the_number_of_words(tmp_path: Path, plain: str, touching: str) -> None:
    """A row whose columns touch has as many words as one of another version."""
    assert len(plain) == len(touching) and len(plain.split()) > len(touching.split())
    expected = layout_of(read(par(tmp_path, plain)))
    for text in (touching + touching, plain + touching, COMMENT + touching + plain):
        with pytest.warns(InputWarning, match="run together"):
            p = read(par(tmp_path, text))
        assert layout_of(p) == expected
        assert p.table[["rlnAngleRot", "rlnDefocusU"]].to_numpy().tolist() == [[4.26, 14994.6]] * 2


def test_film_numbers_of_six_digits(tmp_path: Path) -> None:
    rows = "".join(V9.replace("      1", f"{n:7d}").replace("10000     1", f"10000{99999 + n:6d}") for n in (1, 2, 3))
    p = read(par(tmp_path, rows))
    assert p.table["drgnFrealignFilm"].tolist() == [100000, 100001, 100002]
    assert p.table["rlnOriginXAngst"].tolist() == [2.04] * 3


def test_shifts_whose_columns_touch_are_shifts(tmp_path: Path) -> None:
    for row in (SHIFTS_X, SHIFTS_9):
        touching = row.replace("   0.13      4.02", "-1230.13-123454.02"[-17:]).replace(
            "-0.04      3.89", "-0.04-123453.89"
        )
        assert len(touching) == len(row) and len(touching.split()) == len(row.split()) - 1
        with pytest.raises(InputError, match="is a shifts file"):
            read(par(tmp_path, touching))


def test_free_format_of_an_accidental_width(tmp_path: Path) -> None:
    words = V9.split()
    text = " ".join(words)
    for width in (94, 136, 144):
        padded = text.replace(" ", " " * (1 + width - len(text)), 1) if len(text) <= width else text
        p = read(par(tmp_path, padded + "\n"))
        assert layout_of(p) == "par9" and p.table["rlnAngleRot"].tolist() == [4.26]


def stars(row: str, name: str, layout: str) -> str:
    """A row with asterisks in a column."""
    columns = LAYOUTS[layout].columns
    start = sum(column.width for column in columns[: LAYOUTS[layout].names.index(name)])
    width = columns[LAYOUTS[layout].names.index(name)].width
    return row[:start] + "*" * width + row[start + width :]


@pytest.mark.parametrize(
    ("layout", "name"),
    [(layout, name) for layout in ("par8", "par9", "parx") for name in LAYOUTS[layout].names],
)
def test_asterisks_are_missing_scores_but_no_poses(tmp_path: Path, layout: str, name: str) -> None:
    row = {"par8": V8, "par9": V9, "parx": X}[layout]
    second = row.replace("      1", "      2", 1)
    path = par(tmp_path, row + stars(second, name, layout))
    if name not in ("FILM", "PRESA", "LOGP", "SIGMA", "SCORE", "CHANGE"):
        with pytest.raises(InputError, match=f"row 2: {name} is asterisks"):
            read(path)
        return
    with pytest.warns(InputWarning, match=rf"asterisks .*\({name} in 1 rows\): they count as missing") as told:
        p = read(path)
    assert sum("an image of an earlier row" not in str(warning.message) for warning in told) == 1
    column = p.table[f"drgnFrealign{name.capitalize()}"]
    assert np.isnan(column.iloc[1]) and column.iloc[0] == float(row.split()[LAYOUTS[layout].names.index(name)])
    assert layout_of(p) == layout
    write_par(p, tmp_path / "out.par", layout)
    again = read_par_table(tmp_path / "out.par")
    assert np.isfinite(again).all(axis=None) and again[name].iloc[0] == column.iloc[0]


def test_asterisks_among_blank_separated_words(tmp_path: Path) -> None:
    words = ["2", *V9.split()[1:]]
    text = " ".join(V9.split()) + "\n" + " ".join(words).replace("-500", "****") + "\n"
    assert np.isnan(read(par(tmp_path, text)).table["drgnFrealignLogp"]).tolist() == [False, True]
    text = " ".join(V9.split()) + "\n" + " ".join(words).replace("14994.6", "****") + "\n"
    with pytest.raises(InputError, match="row 2: DF1 is asterisks"):
        read(par(tmp_path, text))


def test_a_byte_order_mark_is_no_row(tmp_path: Path) -> None:
    assert len(read(par(tmp_path, "\ufeff" + COMMENT + V9))) == 1


def test_line_ends_of_another_system(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    assert len(read(par(tmp_path, V9.replace("\n", "\r\n")))) == 1
    assert not [warning for warning in recwarn if warning.category is InputWarning]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" ".join(X.split()) + "\n", "read it without PSHIFT"),
        (V9.rstrip("\n") + " " * 8 + "\n", "take OCC for PSHIFT"),
        (" ".join(V9.split()) + "\n", "Frealign 9 would not read it"),
        (V9 + V9.replace("20.00", "20.001").replace("    1 ", "    2 ", 1), "FrealignX needs them of one length"),
        (V9 + V9, "an image of an earlier row"),
        (V8.replace("   -0.68   -0.29   10000", "-1000.68-1000.29   10000"), "columns run together"),
    ],
)
def test_what_the_programs_read_otherwise_is_read_and_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.warns(InputWarning, match=message):
        p = read(par(tmp_path, text))
    row = p.table.iloc[0]
    assert row[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].tolist() == [4.26, 115.57, 68.02]
    if "drgnFrealignOcc" in row:
        assert row["drgnFrealignOcc"] == 100


def test_columns_that_run_together_are_read_by_their_widths(tmp_path: Path) -> None:
    with pytest.warns(InputWarning, match="run together"):
        p = read(par(tmp_path, V8 + V8.replace("   -0.68   -0.29   10000", "-1000.68-1000.29   10000")))
    assert p.table["rlnOriginXAngst"].tolist() == pytest.approx([3 * 0.68, 3 * 1000.68])
    assert p.image_locations()[0].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"rlnOriginXAngst": 100000.0}, "SHX of 100000 does not fit"),
        ({"rlnDefocusU": np.nan}, "DF1 is not a finite number"),
        ({"rlnPhaseShift": 90.0}, "(?s)Frealign 9 knows no phase shift.*--to parx"),
        ({"rlnImageName": "10000000@stack.mrc"}, "N of 1e\\+07 does not fit"),
    ],
)
def test_what_does_not_fit_is_not_written(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    p = read(par(tmp_path, V9))
    p.table = p.table.assign(**columns)
    with pytest.raises(InputError, match=message):
        write_par(p, tmp_path / "out.par", "par9")
    assert not (tmp_path / "out.par").exists()


def test_particles_of_several_stacks_are_not_written(tmp_path: Path) -> None:
    p = read(par(tmp_path, V9 + V9.replace("    1 ", "    2 ", 1)))
    p.table["rlnImageName"] = ["1@a.mrcs", "1@b.mrcs"]
    with pytest.raises(InputError, match="in 2 stacks, Frealign takes one"):
        write_par(p, tmp_path / "out.par", "par9")


def test_rows_of_one_image_that_follow_each_other_are_told(tmp_path: Path) -> None:
    p = read(par(tmp_path, V9 + V9.replace("    1 ", "    2 ", 1)))
    p = p.select(np.array([0, 0, 1, 0]))
    with pytest.warns(InputWarning, match="1 rows name the image of the row before them: Frealign 9 leaves them out"):
        write_par(p, tmp_path / "out.par", "par9")
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        write_par(p, tmp_path / "out.parx", "parx")


def test_images_that_are_to_be_left_out_stay_marked(tmp_path: Path) -> None:
    out = X.replace("10000     1", "10000    -1")
    p = read(par(tmp_path, out))
    assert p.table["drgnFrealignInclude"].tolist() == [-1]
    write_par(p, tmp_path / "out.par", "parx")
    assert (tmp_path / "out.par").read_text().endswith(out)


@pytest.mark.parametrize(("text", "width"), [(SHIFTS_9, 15), (SHIFTS_X, 16)])
def test_shifts_files_are_read_as_tables(tmp_path: Path, text: str, width: int) -> None:
    table = read_par_table(par(tmp_path, COMMENT + text))
    assert table.shape == (1, width) and "CHANGE" not in table
    assert table["SCORE"].iloc[0] in (49.70, 6.62)


decimal = st.floats(-99, 99).map(lambda x: round(x, 2))
rows = st.lists(st.tuples(decimal, decimal, decimal, decimal, decimal), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(poses=rows, layout=st.sampled_from(["par8", "par9", "parx"]))
def test_written_poses_are_right_to_half_a_last_digit(
    tmp_path: Path, poses: list[tuple[float, ...]], layout: str
) -> None:
    p = read(par(tmp_path, "".join(V9.replace("    1 ", f"{n:5d} ", 1) for n in range(1, len(poses) + 1))))
    columns = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"]
    p.table[columns] = np.array(poses) + 0.00123
    write_par(p, tmp_path / "out.par", layout)
    again = read(tmp_path / "out.par")
    half_digit = 0.005 * np.array([1, 1, 1, *([OPTICS["pixel_size"]] * 2 if layout == "par8" else [1, 1])])
    assert (np.abs(again.table[columns] - p.table[columns]) <= half_digit + 1e-9).all(axis=None)


@settings(deadline=None)
@given(st.data(), st.sampled_from(list(LAYOUTS)))
def test_numbers_are_written_as_fortran_writes_them(data: st.DataObject, layout: str) -> None:
    """All that fit: whole numbers of last digits."""
    columns = LAYOUTS[layout].columns
    most = [10 ** (column.width - (column.name != "N") - (column.decimals > 0)) - 1 for column in columns]
    steps = [data.draw(st.integers(-(highest // 10), highest)) for highest in most]
    values = [step / 10**column.decimals for step, column in zip(steps, columns, strict=True)]
    widths, decimals = np.array([column[1:] for column in columns]).T.copy()
    words = [f"{value:{column.width}.{column.decimals}f}" for value, column in zip(values, columns, strict=True)]
    assert _format_rows(np.array([values]), widths, decimals).tobytes().decode() == "".join(words) + "\n"


@settings(deadline=None)
@given(st.text("C1 \t\r\n\0", max_size=40))
def test_lengths_of_rows(text: str) -> None:
    """Blank lines and comments are no rows; one line end of another system is no part of them."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    lengths = [len(line) for line in lines if line.strip(" \t\r") and line[0] != "C"]
    assert _row_lengths(text.encode()) == ((lengths[0], min(lengths), max(lengths)) if lengths else (0, 0, 0))


@needs_data
@pytest.mark.parametrize(
    ("name", "layout"), [("frealign9/refine_output.par", "par9"), ("frealignx/refine3d_output.par", "parx")]
)
def test_rows_of_the_real_programs_come_back_byte_by_byte(tmp_path: Path, name: str, layout: str) -> None:
    path = DATA / "frealign-runs" / name
    write_par(read(path), tmp_path / "out.par", layout)
    real, ours = (
        [line for line in file.read_text().splitlines() if not line.startswith("C")]
        for file in (path, tmp_path / "out.par")
    )
    # a zero has no sign in ours
    assert [line.replace("-0.00", " 0.00") for line in real] == ours


@needs_data
@pytest.mark.parametrize(
    ("name", "width"), [("frealign9/refine_shifts.par", 15), ("frealignx/refine3d_changes.par", 16)]
)
def test_shifts_of_the_real_programs_read(name: str, width: int) -> None:
    assert read_par_table(DATA / "frealign-runs" / name).shape == (2000, width)


def test_occupancies_of_an_assignment_are_frealigns(tmp_path: Path) -> None:
    p = read(par(tmp_path, V9))
    p.table["drgnOccupancy"] = 0.25
    write_par(p, tmp_path / "out.par", "par9")
    assert read(tmp_path / "out.par").table["drgnFrealignOcc"].tolist() == [25.0]


@pytest.mark.filterwarnings("default")
def test_nan_for_a_score_is_told(tmp_path: Path) -> None:
    with pytest.warns(InputWarning, match=r"NaN stands for scores \(SCORE in 1 rows\)"):
        p = read(par(tmp_path, V9.replace("  20.00", "    nan") + V9.replace("      1   68", "      2   68")))
    assert np.isnan(p.table["drgnFrealignScore"].iloc[0])


def test_rows_that_name_no_image_are_left_out_by_their_numbers_in_the_file(tmp_path: Path) -> None:
    """Left out silently they would shift the numbers by which messages name rows, and --drop finds them."""
    rows = [V9.replace("    1 ", f"{number:5d} ", 1) for number in (-2, 2, 3)]
    path = par(tmp_path, "".join([*rows[:2], rows[2].replace("68.02", "  nan")]))
    with pytest.raises(InputError, match=r"row 1: N is below 1.*\n.*select \S+ --drop 1 -o"):
        read(path)
    with pytest.raises(InputError, match=r"row 2: N is below 1"):
        read(par(tmp_path, rows[1] + rows[0]))
    with pytest.raises(InputError, match="has no particles"):
        read(par(tmp_path, rows[0]))
