from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drgnalign.errors import InputError
from drgnalign.formats.par import read_par
from drgnalign.formats.star import read_star
from drgnalign.particles import Particles

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the test data are not there: {DATA}")

OPTICS = {"pixel_size": 3.0, "voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.07}
# one particle, displaced by (-0.68, -0.286667) px of 3 Å, as the three programs write it
V8 = "      1   68.02  115.57    4.26   -0.68   -0.29   10000     1  14994.6  14736.4   82.19  80.00\n"
V9 = (
    "      1   68.02  115.57    4.26     -2.04     -0.86   10000     1  14994.6  14736.4   82.19  100.00"
    "      -500     1.0000   20.00    0.00\n"
)
X = V9.replace("  100.00", "    0.10  100.00", 1)
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


@pytest.mark.parametrize("missing", OPTICS)
def test_what_the_file_does_not_hold_must_be_given(tmp_path: Path, missing: str) -> None:
    with pytest.raises(InputError, match=f"--{missing}"):
        read_par(par(tmp_path, V9), "stack.mrc", **{**OPTICS, missing: None})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        (COMMENT, "no rows"),
        (V9 + X, "line 2 has 17 columns"),
        ("1 2 3\n", "line 1 has 3 columns"),
        (V9.replace("115.57", "steep"), "line 1: .*steep"),
        (V9.replace("      1   68", "    0.5   68"), "no image number"),
        (V9.replace("      1   68", "    nan   68"), "no image number"),
        (V9.replace("      1   68", "      0   68"), "no image number"),
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
