"""cisTEM 2's star files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run, succeed

from drgnalign.errors import InputError, InputWarning
from drgnalign.formats.cistem import COLUMNS, OPTIONAL, is_cistem, read_cistem, write_cistem
from drgnalign.formats.particle_file import read_particle_file
from drgnalign.formats.star import read_star
from drgnalign.inputs import import_particles
from drgnalign.inspect import inspect_file
from drgnalign.particles import ANGLES, DEFOCUS, ORIGINS, Particles

# The worked example of the other forms: displaced by (-2.04, -0.86) Å; 0.1 rad of phase shift.
ROW = {
    "PositionInStack": "       1",
    "AnglePsi": "  68.02",
    "AngleTheta": " 115.57",
    "AnglePhi": "   4.26",
    "XShift": "    -2.04",
    "YShift": "    -0.86",
    "Defocus1": " 14994.6",
    "Defocus2": " 14736.4",
    "DefocusAngle": "  82.19",
    "PhaseShift": "   0.10",
    "ImageActivity": "    1",
    "Occupancy": " 100.00",
    "LogP": "     -500",
    "Sigma": "    1.0000",
    "Score": "  20.00",
    "ScoreChange": "   0.00",
    "PixelSize": " 3.00000",
    "MicroscopeVoltagekV": " 300.00",
    "MicroscopeCsMM": "   2.70",
    "AmplitudeContrast": " 0.0700",
    "BeamTiltX": "  0.000",
    "BeamTiltY": "  0.000",
    "ImageShiftX": "  0.000",
    "ImageShiftY": "  0.000",
    "Best2DClass": "    3",
    "BeamTiltGroup": "    0",
    "StackFilename": "'stack.mrc'".rjust(50),
    "OriginalImageFilename": "'mic_1.mrc'".rjust(50),
    "Reference3DFilename": "''".rjust(50),
    "ParticleGroup": "       1",
    "AssignedSubset": "       1",
    "PreExposure": "   0.00",
    "TotalExposure": "  50.00",
}


def cistem(path: Path, *rows: dict[str, str]) -> Path:
    """A file as cisTEM writes it."""
    labels = "".join(f"_cisTEM{name} #{number}\n" for number, name in enumerate(rows[0], start=1))
    body = "".join(" ".join(row.values()) + " \n" for row in rows)
    path.write_text(f"# Written by cisTEM Version 2.0.0\n \ndata_\n \nloop_\n{labels}#    POS     PSI\n{body}")
    return path


def numbered(count: int, **changes: str) -> list[dict[str, str]]:
    return [
        {**ROW, "PositionInStack": f"{n:8d}", "AssignedSubset": f"{2 - n % 2:8d}", **changes}
        for n in range(1, count + 1)
    ]


def without(row: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in row.items() if name not in names}


def test_the_worked_example(tmp_path: Path) -> None:
    path = cistem(tmp_path / "p.star", *numbered(2))
    assert is_cistem(path)
    p = read_particle_file(path)
    assert p.table[ANGLES].to_numpy().tolist() == [[4.26, 115.57, 68.02]] * 2
    assert p.table[ORIGINS].to_numpy().tolist() == [[2.04, 0.86]] * 2
    np.testing.assert_allclose(p.displacements(), [[-0.68, -0.86 / 3]] * 2)
    assert p.table[DEFOCUS].to_numpy().tolist() == [[14994.6, 14736.4, 82.19]] * 2
    np.testing.assert_allclose(p.table["rlnPhaseShift"], np.degrees(0.1))
    assert p.table["rlnImageName"].tolist() == ["000001@stack.mrc", "000002@stack.mrc"]
    assert p.table["rlnRandomSubset"].tolist() == [1, 2]
    assert p.table["rlnMicrographName"].tolist() == ["mic_1.mrc"] * 2
    optics = p.optics.iloc[0]
    assert [optics[label] for label in ("rlnImagePixelSize", "rlnVoltage", "rlnSphericalAberration")] == [3, 300, 2.7]
    assert optics["rlnAmplitudeContrast"] == 0.07 and len(p.optics) == 1
    assert "rlnClassNumber" not in p.table  # the class of a 2-D classification is none of ours


def test_rows_are_written_as_they_were_read(tmp_path: Path) -> None:
    rows = [*numbered(3), {**ROW, "PositionInStack": "  123456", "BeamTiltX": "  0.500", "ImageActivity": "   -1"}]
    path = cistem(tmp_path / "p.star", *rows)
    write_cistem(read_cistem(path), tmp_path / "out.star")
    written = (tmp_path / "out.star").read_text().splitlines(keepends=True)
    given = path.read_text().splitlines(keepends=True)
    assert written[1:38] == given[1:38]  # without the names of the programs
    assert written[39:] == given[39:]
    captions = written[38].split()
    assert captions[0].startswith("#") and len(captions) == len(ROW) + (captions[0] == "#")
    assert len(written[38]) == len(written[39])


def test_positions_on_the_micrograph_are_kept(tmp_path: Path) -> None:
    rows = [{**row, "OriginalXPosition": "  101.50", "OriginalYPosition": "    7.25"} for row in numbered(2)]
    write_cistem(read_cistem(cistem(tmp_path / "p.star", *rows)), tmp_path / "out.star")
    lines = (tmp_path / "out.star").read_text().splitlines(keepends=True)
    assert lines[-1] == (tmp_path / "p.star").read_text().splitlines(keepends=True)[-1]
    assert [column.name for column in COLUMNS] == [*ROW, *OPTIONAL]


def test_beam_tilts_are_optics_groups(tmp_path: Path) -> None:
    rows = numbered(3)
    rows[1] |= {"BeamTiltX": "  0.300", "BeamTiltY": " -0.200"}
    p = read_cistem(cistem(tmp_path / "p.star", *rows))
    assert p.optics[["rlnBeamTiltX", "rlnBeamTiltY"]].to_numpy().tolist() == [[0, 0], [0.3, -0.2]]
    assert p.table["rlnOpticsGroup"].tolist() == [1, 2, 1]
    assert "rlnBeamTiltX" not in read_cistem(cistem(tmp_path / "p.star", *numbered(3))).optics


def test_image_shifts_are_told(tmp_path: Path) -> None:
    path = cistem(tmp_path / "p.star", *numbered(2, ImageShiftY=" -1.250"))
    with pytest.warns(InputWarning, match=r"cisTEMImageShiftY, up to 1\.25 Å, are not used"):
        read_cistem(path)


@pytest.mark.parametrize("subsets", ["11", "00", "13"])
def test_subsets_that_are_no_half_sets(tmp_path: Path, subsets: str) -> None:
    rows = [{**row, "AssignedSubset": subset} for row, subset in zip(numbered(2), subsets, strict=True)]
    p = read_cistem(cistem(tmp_path / "p.star", *rows))
    assert "rlnRandomSubset" not in p.table
    write_cistem(p, tmp_path / "out.star")
    assert read_cistem(tmp_path / "out.star").table.equals(p.table)


@pytest.mark.parametrize("subsets", ["012", "123"])
def test_subsets_that_are_not_used_are_told(tmp_path: Path, subsets: str) -> None:
    rows = [{**row, "AssignedSubset": subset} for row, subset in zip(numbered(3), subsets, strict=True)]
    path = cistem(tmp_path / "p.star", *rows)
    with pytest.warns(InputWarning, match=f"AssignedSubset holds {', '.join(subsets)}, which are not"):
        assert "rlnRandomSubset" not in read_cistem(path).table


def test_a_row_of_neither_half_set_does_not_cost_the_division(tmp_path: Path) -> None:
    rows = numbered(6)
    rows[3]["AssignedSubset"] = "       7"
    path = cistem(tmp_path / "p.star", *rows)
    with pytest.raises(InputError, match=r"row 4: cisTEMAssignedSubset is 7.* \(1 such rows\)") as error:
        read_cistem(path)
    assert "--drop 4 " in error.value.remedy
    assert "rlnRandomSubset" in read_cistem(path, dropped=[3]).table


def test_what_is_not_finite_is_named_as_the_file_has_it(tmp_path: Path) -> None:
    rows = numbered(4)
    rows[2]["MicroscopeVoltagekV"] = "nan"
    with pytest.raises(
        InputError, match=r"row 3: cisTEMMicroscopeVoltagekV is not a finite .* \(1 such rows\)"
    ) as error:
        read_cistem(cistem(tmp_path / "p.star", *rows)).refuse_unusable()
    assert "--drop 3 " in error.value.remedy and "--voltage" in error.value.remedy


def test_what_is_missing_may_be_given(tmp_path: Path) -> None:
    names = ("StackFilename", "PixelSize", "MicroscopeVoltagekV", "MicroscopeCsMM", "AmplitudeContrast")
    path = cistem(tmp_path / "p.star", *[without(row, *names) for row in numbered(2)])
    p = read_cistem(path, "mine.mrc", pixel_size=3.0, voltage=300.0, cs=2.7, amplitude_contrast=0.07)
    assert p.table["rlnImageName"].tolist() == ["000001@mine.mrc", "000002@mine.mrc"]
    assert p.optics["rlnVoltage"].tolist() == [300]
    # 0 is what cisTEM writes where it does not know them
    p = read_cistem(
        cistem(tmp_path / "p.star", *numbered(2, PixelSize="0.0", MicroscopeVoltagekV="0.0")), voltage=200.0
    )
    assert p.optics["rlnVoltage"].tolist() == [200] and "rlnImagePixelSize" not in p.optics
    with pytest.raises(InputError, match="rlnVoltage is 300 in the file, but --voltage says 200"):
        read_cistem(cistem(tmp_path / "p.star", *numbered(2)), voltage=200.0)


def test_a_file_that_does_not_name_its_stack(tmp_path: Path) -> None:
    path = cistem(tmp_path / "p.star", *[without(row, "StackFilename") for row in numbered(2)])
    with pytest.raises(InputError, match=r"does not name its stack\n.*--images"):
        import_particles(path, tmp_path)


def test_names_with_blanks_are_read(tmp_path: Path) -> None:
    path = cistem(tmp_path / "p.star", *numbered(2, OriginalImageFilename="'/data/my mics/1.mrc'"))
    p = read_cistem(path)
    assert p.table["rlnMicrographName"].tolist() == ["/data/my mics/1.mrc"] * 2
    with pytest.warns(InputWarning, match="cisTEM reads no names with blanks"):
        write_cistem(p, tmp_path / "out.star")
    assert read_cistem(tmp_path / "out.star").table.equals(p.table)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PositionInStack": "0"}, "counts from 0"),
        ({"PositionInStack": "1.5"}, r"row 2: cisTEMPositionInStack is 1\.5"),
        ({"PositionInStack": "-3"}, "row 2: cisTEMPositionInStack is -3"),
        ({"PositionInStack": "nan"}, "row 2: cisTEMPositionInStack is nan"),
        ({"AnglePsi": "steep"}, "row 2: cisTEMAnglePsi is 'steep'"),
        ({"Best2DClass": "9" * 40}, "row 2: cisTEMBest2DClass"),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    rows = numbered(2)
    rows[1] |= changes
    with pytest.raises(InputError, match=message):
        read_cistem(cistem(tmp_path / "p.star", *rows))


def test_columns_of_others_are_told(tmp_path: Path) -> None:
    path = cistem(tmp_path / "p.star", *numbered(2))
    expected = read_cistem(path)
    path.write_text(path.read_text().replace("_cisTEMPreExposure", "_PreExposure").replace("_cisTEMTotalExposure", "_"))
    with pytest.warns(InputWarning, match="none of cisTEM's are left out: '', 'PreExposure'"):
        table = read_cistem(path).table
    assert table.equals(expected.table.drop(columns=["drgnCistemPreExposure", "drgnCistemTotalExposure"]))


def test_a_name_with_a_nul_is_a_name(tmp_path: Path) -> None:
    path = cistem(tmp_path / "p.star", *numbered(2, StackFilename="'a\0b.mrc'"))
    assert read_cistem(path).table["rlnImageName"].tolist() == ["000001@a\0b.mrc", "000002@a\0b.mrc"]


@pytest.mark.parametrize("names", [("XShift", "YShift"), ("AngleTheta", "AnglePhi"), ("Defocus2",)])
def test_what_a_refinement_needs_is_asked_for(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = cistem(tmp_path / "p.star", *[without(row, *names) for row in numbered(2)])
    what = {
        "XShift": "cisTEMXShift, cisTEMYShift",
        "AngleTheta": "rlnAngleRot, rlnAngleTilt",
        "Defocus2": "rlnDefocusV",
    }
    with pytest.raises(InputError, match=f"lacks the .* columns {what[names[0]]}"):
        import_particles(path)
    with pytest.raises(InputError, match=f"lacks the .* columns {what[names[0]]}"):
        write_cistem(read_cistem(path), tmp_path / "out.star")


def test_several_stacks_and_quotes_are_not_written(tmp_path: Path) -> None:
    p = read_cistem(cistem(tmp_path / "p.star", *numbered(2)))
    p.table["rlnImageName"] = ["1@a.mrc", "1@b.mrc"]
    with pytest.raises(InputError, match="in 2 stacks, cisTEM takes one"):
        write_cistem(p, tmp_path / "out.star")
    p.table["rlnImageName"] = ["1@a'.mrc", "2@a'.mrc"]
    with pytest.raises(InputError, match="cannot stand in a file of cisTEM's"):
        write_cistem(p, tmp_path / "out.star")


def test_other_star_files_are_none(tmp_path: Path) -> None:
    (tmp_path / "r.star").write_text("data_\n\nloop_\n_rlnImageName #1\n1@a.mrc\n")
    assert not is_cistem(tmp_path / "r.star") and not is_cistem(tmp_path / "nothing.star")
    with pytest.raises(InputError, match="no table of cisTEM's"):
        read_cistem(tmp_path / "r.star")
    with pytest.raises(InputError, match=r"star file of cisTEM's.*\n.*drgnalign convert"):
        read_star(cistem(tmp_path / "p.star", *numbered(2)))


def test_selected_and_merged_files_are_cistems(tmp_path: Path) -> None:
    path = cistem(tmp_path / "p.star", *numbered(4))
    succeed("select", path, "--half", 1, "-o", tmp_path / "a.star")
    succeed("select", path, "--half", 2, "-o", tmp_path / "b.star")
    lines = path.read_text().splitlines()
    assert (tmp_path / "a.star").read_text().splitlines() == [*lines[:-4], lines[-4], lines[-2]]
    succeed("merge", tmp_path / "a.star", tmp_path / "b.star", "--like", path, "-o", tmp_path / "m.star")
    assert (tmp_path / "m.star").read_text().splitlines()[-4:] == lines[-4:]


def test_inspect_knows_them(tmp_path: Path) -> None:
    rows = numbered(4)
    rows[2]["ImageActivity"] = "-1"
    report = inspect_file(cistem(tmp_path / "p.star", *rows))
    assert report["kind"] == "cisTEM star file" and report["rows"] == 4
    assert report["columns"]["cisTEMXShift"] == "Å" and report["columns"]["cisTEMPhaseShift"] == "rad"
    assert report["facts"]["half_sets"] == {"1": 2, "2": 2}
    assert report["facts"]["ranges"]["origin x"]["median"] == 2.04
    said = [finding["what"] for finding in report["findings"]]
    assert any("1 particles are left out by INCLUDE < 0 (the activity)" in what for what in said)
    (tmp_path / "p.cistem").write_bytes(np.array([33, 4], "<i4").tobytes() + bytes(99))
    report = inspect_file(tmp_path / "p.cistem")
    assert report["kind"] == "cisTEM binary file"
    assert "convert_binary_to_star" in report["findings"][0]["what"]
    result = run("convert", tmp_path / "p.cistem", "-o", tmp_path / "x.star")
    assert result.exit_code == 2 and "convert_binary_to_star" in result.stderr


def test_commands_take_them_as_they_are(simulate: Callable[..., Any], tmp_path: Path) -> None:
    """A map at the poses of a cisTEM file is that at the poses of its RELION twin."""
    given = simulate(60, 32, 8.0, snr=10.0)
    succeed("convert", given.folder / "truth.star", "--to", "cistem", "-o", given.folder / "cistem.star")
    for name in ("truth", "cistem"):
        succeed("reconstruct", given.folder / f"{name}.star", "-o", tmp_path / name, "--mask-diameter", 160)
    maps = [np.fromfile(tmp_path / f"{name}_half1.mrc", "<f4", offset=1024) for name in ("truth", "cistem")]
    assert np.corrcoef(*maps)[0, 1] > 0.9999
    assert isinstance(import_particles(given.folder / "cistem.star"), Particles)
