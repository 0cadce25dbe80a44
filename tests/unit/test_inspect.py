"""What `drgnalign inspect` says: every finding where it is true, and not where it is not."""

from __future__ import annotations

import json
import pickle
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mrcfile.dtypes import HEADER_DTYPE
from scipy.spatial.transform import Rotation

from drgnalign.cli import main
from drgnalign.errors import InputError
from drgnalign.formats.cryosparc import write_cs
from drgnalign.formats.mrc import StackWriter, write_volume
from drgnalign.formats.par import LAYOUTS, write_par
from drgnalign.formats.star import write_star
from drgnalign.fourier import radius_grid, raised_cosine
from drgnalign.inspect import inspect_file, report_text
from drgnalign.inspect.stacks import MAX_HEADERS
from drgnalign.maps.read import read_mask
from drgnalign.particles import Particles

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the test data are not there: {DATA}")
same_folder = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

N, BOX, PIXEL_SIZE = 8, 16, 2.0
OPTICS = {
    "rlnOpticsGroup": 1,
    "rlnOpticsGroupName": "opticsGroup1",
    "rlnVoltage": 300.0,
    "rlnSphericalAberration": 2.7,
    "rlnAmplitudeContrast": 0.1,
    "rlnImagePixelSize": PIXEL_SIZE,
    "rlnImageSize": BOX,
}


def new_particles(n: int = N, **changes: Any) -> Particles:
    """Particles of which nothing is to be found; `changes` go to the column of that name, None takes it away."""
    random = np.random.default_rng(1)
    columns: dict[str, Any] = {
        "rlnImageName": [f"{i + 1:06d}@stack.mrcs" for i in range(n)],
        "rlnOpticsGroup": 1,
        "rlnAngleRot": random.uniform(-180, 180, n).round(2),
        "rlnAngleTilt": random.uniform(0, 180, n).round(2),
        "rlnAnglePsi": random.uniform(-180, 180, n).round(2),
        "rlnOriginXAngst": random.uniform(-6, 6, n).round(2),
        "rlnOriginYAngst": random.uniform(-6, 6, n).round(2),
        "rlnDefocusU": random.uniform(10_000, 20_000, n).round(1),
        "rlnDefocusAngle": 30.0,
        "rlnPhaseShift": 0.0,
        "rlnRandomSubset": np.arange(n) % 2 + 1,
        "rlnClassNumber": 1,
        "rlnMicrographName": "micrograph.mrc",
    }
    columns["rlnDefocusV"] = columns["rlnDefocusU"] - 100.0
    optics = {label: changes.pop(label) if label in changes else value for label, value in OPTICS.items()}
    groups = max(np.size(value) for value in optics.values())
    if groups > 1:
        optics["rlnOpticsGroup"] = np.arange(1, groups + 1)
        columns["rlnOpticsGroup"] = np.arange(n) % groups + 1
    columns |= changes
    optics_table = pd.DataFrame({k: v for k, v in optics.items() if v is not None}, index=range(groups))
    return Particles(pd.DataFrame({k: v for k, v in columns.items() if v is not None}), optics_table, Path("new"))


def write_stack(path: Path, n: int = N, box: int = BOX, pixel_size: float = PIXEL_SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with StackWriter(path, n, box, pixel_size) as writer:
        writer.append(np.random.default_rng(0).normal(size=(n, box, box)))
    return path


def edit_header(path: Path, **values: Any) -> Path:
    data = bytearray(path.read_bytes())
    header = np.frombuffer(data, HEADER_DTYPE, 1)
    for name, value in values.items():
        header[name] = value
    path.write_bytes(data)
    return path


def write_pickle(path: Path, *contents: Any) -> Path:
    with path.open("wb") as file:
        for content in contents:
            pickle.dump(content, file)
    return path


def said(report: dict[str, Any]) -> list[tuple[str, str]]:
    return [(finding["level"], finding["what"]) for finding in report["findings"]]


def inspect_star(tmp_path: Path, with_stack: bool = True, **changes: Any) -> dict[str, Any]:
    if with_stack:
        write_stack(tmp_path / "stack.mrcs")
    write_star(new_particles(**changes), tmp_path / "particles.star")
    return inspect_file(tmp_path / "particles.star")


def with_row(label: str, value: float, row: int = 2) -> dict[str, Any]:
    """A change of one row of a column."""
    column = new_particles().table[label].astype(float).to_numpy().copy()
    column[row] = value
    return {label: column}


ODD_ONES_OUT: dict[str, tuple[dict[str, Any], str, str]] = {
    "shift": (with_row("rlnOriginYAngst", -16.1), "warning", "1 of 8 rows are shifted by more than half the box"),
    "zero poses": (
        {"rlnAngleRot": 0.0, "rlnAngleTilt": 0.0, "rlnAnglePsi": 0.0},
        "warning",
        "all 8 orientations are zero",
    ),
    "nan pose": (with_row("rlnAngleTilt", np.nan), "error", "rlnAngleTilt is NaN or infinite in 1 rows; the first"),
    "infinite defocus": (with_row("rlnDefocusU", np.inf), "error", "rlnDefocusU is NaN or infinite in 1 rows"),
    "nan optics": ({"rlnVoltage": np.nan}, "error", "rlnVoltage is NaN or infinite in 1 optics groups"),
    "one half": ({"rlnRandomSubset": 2}, "warning", "all particles are in half set 2"),
    "no halves": ({"rlnRandomSubset": None}, "note", "it has no half sets"),
    "other halves": ({"rlnRandomSubset": np.arange(N) % 3}, "error", "rlnRandomSubset is 0 in 3 rows"),
    "negative defocus": (
        with_row("rlnDefocusU", -8000.0) | with_row("rlnDefocusV", -7900.0),
        "warning",
        "1 of 8 rows have a negative defocus (down to -8000 Å)",
    ),
    "high defocus": (
        with_row("rlnDefocusU", 120_000.0) | with_row("rlnDefocusV", 119_000.0),
        "warning",
        "1 of 8 rows have a defocus outside",
    ),
    "low defocus": (
        with_row("rlnDefocusU", 950.0) | with_row("rlnDefocusV", 940.0),
        "warning",
        "1 of 8 rows have a defocus outside",
    ),
    "defocus in µm": ({"rlnDefocusU": 1.52, "rlnDefocusV": 1.5}, "error", "seems to be in µm"),
    "no defocus": ({"rlnDefocusU": 0.0, "rlnDefocusV": 0.0}, "warning", "all defoci are 0"),
    "astigmatism": (
        with_row("rlnDefocusU", 15_000.0) | with_row("rlnDefocusV", 12_000.0),
        "warning",
        "1 of 8 rows have an astigmatism of more than 20 % of the defocus; the largest is 3,000 Å at 13,500 Å",
    ),
    "voltage in V": ({"rlnVoltage": 300_000.0}, "error", "seems to be in V, which is 300 kV"),
    "amplitude contrast in %": ({"rlnAmplitudeContrast": 7.0}, "error", "seems to be in per cent, which is 0.07"),
    "phase shift in radians": ({"rlnPhaseShift": 1.5708}, "warning", "they seem to be radians"),
    "phase shift in degrees twice": ({"rlnPhaseShift": 5156.6}, "error", "8 of 8 phase shifts are beyond 360°"),
    "no orientations": ({"rlnAngleRot": None}, "note", "it has no orientations"),
    "no CTF": ({"rlnDefocusU": None}, "note", "it has no CTF values"),
    "no voltage": ({"rlnVoltage": None}, "note", "it has no rlnVoltage: give --voltage"),
}
NOTHING_ODD: dict[str, dict[str, Any]] = {
    "as made": {},
    "half a box": with_row("rlnOriginYAngst", -16.0),
    "some zero angles": {"rlnAngleRot": 0.0, "rlnAnglePsi": 0.0},
    "one zero pose": with_row("rlnAngleRot", 0.0) | with_row("rlnAngleTilt", 0.0) | with_row("rlnAnglePsi", 0.0),
    "unusual angles": with_row("rlnAngleRot", 725.0) | with_row("rlnAngleTilt", -40.0),
    "halves by chance": {"rlnRandomSubset": [1, 1, 1, 1, 1, 2, 2, 2]},
    "defocus at the ends": {
        "rlnDefocusU": np.linspace(1000.0, 100_000.0, N),
        "rlnDefocusV": np.linspace(1000.0, 100_000.0, N),
    },
    "some astigmatism": with_row("rlnDefocusU", 15_000.0) | with_row("rlnDefocusV", 12_500.0),
    "low voltage": {"rlnVoltage": 80.0},
    "no amplitude contrast": {"rlnAmplitudeContrast": 0.0},
    "phase plate": {"rlnPhaseShift": np.linspace(1.0, 120.0, N)},
    "one small phase shift": with_row("rlnPhaseShift", 1.5),
}


def test_what_a_file_is_and_holds(tmp_path: Path) -> None:
    report = inspect_star(tmp_path)
    assert report["kind"] == "RELION 3.1 star file"
    assert report["rows"] == N
    assert report["columns"]["rlnAngleRot"] == "°"
    assert report["columns"]["rlnVoltage"] == "kV"
    assert report["columns"]["rlnImageName"] is None
    facts = report["facts"]
    assert facts["boxes_px"] == facts["header_boxes_px"] == [BOX]
    assert facts["pixel_sizes_angstrom"] == facts["header_pixel_sizes_angstrom"] == [PIXEL_SIZE]
    assert facts["stacks"] == {"named": 1, "found": 1, "headers read": 1}
    assert facts["half_sets"] == {"1": 4, "2": 4}
    assert facts["classes"] == {"1": N}
    table = new_particles().table
    rot = table["rlnAngleRot"]
    assert facts["ranges"]["rot"] == {"unit": "°", "min": rot.min(), "median": rot.median(), "max": rot.max()}
    length = np.hypot(table["rlnOriginXAngst"], table["rlnOriginYAngst"]).max() / PIXEL_SIZE
    assert facts["ranges"]["shift length"]["max"] == pytest.approx(length)
    assert facts["ranges"]["astigmatism"]["median"] == pytest.approx(100.0)


def test_who_is_left_out_is_counted(tmp_path: Path) -> None:
    report = inspect_star(tmp_path, drgnLeftOut=[0, 0, 1, 0, 1, 0, 0, 0])
    assert report["facts"]["left_out"] == {"0": 6, "1": 2}


@pytest.mark.parametrize("name", ODD_ONES_OUT)
def test_a_finding(tmp_path: Path, name: str) -> None:
    changes, level, what = ODD_ONES_OUT[name]
    findings = said(inspect_star(tmp_path, **changes))
    assert len(findings) == 1, findings
    assert findings[0][0] == level
    assert what in findings[0][1]


@pytest.mark.parametrize("name", NOTHING_ODD)
def test_no_finding(tmp_path: Path, name: str) -> None:
    assert said(inspect_star(tmp_path, **NOTHING_ODD[name])) == []


def test_half_sets_out_of_balance(tmp_path: Path) -> None:
    """More than 55 % in one, and more than chance makes of it."""
    for ones, odd in ((54, False), (60, False), (70, True)):
        subset = np.where(np.arange(100) < ones, 1, 2)
        write_star(new_particles(100, rlnRandomSubset=subset), tmp_path / "particles.star")
        findings = said(inspect_file(tmp_path / "particles.star"))
        assert any(f"unbalanced: {ones} and {100 - ones}" in what for _, what in findings) == odd
    # of many particles 46 % are no chance, but usual for half sets dealt by micrograph
    write_star(new_particles(4000, rlnRandomSubset=np.where(np.arange(4000) < 1840, 1, 2)), tmp_path / "particles.star")
    assert not any("unbalanced" in what for _, what in said(inspect_file(tmp_path / "particles.star")))


def test_identical_poses(tmp_path: Path) -> None:
    pose = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"]
    particles = new_particles()
    particles.table.loc[[1, 5], pose] = particles.table.loc[3, pose].to_numpy()
    write_stack(tmp_path / "stack.mrcs")
    write_star(particles, tmp_path / "particles.star")
    ((level, what),) = said(inspect_file(tmp_path / "particles.star"))
    assert level == "warning"
    assert "3 of 8 rows have exactly the pose of another row" in what
    assert "is that of 3 rows" in what

    particles.table.loc[[1, 5], "rlnOriginXAngst"] += [0.01, 0.02]
    write_star(particles, tmp_path / "particles.star")
    assert said(inspect_file(tmp_path / "particles.star")) == []


def test_a_few_identical_poses_are_a_note(tmp_path: Path) -> None:
    particles = new_particles(1000)
    particles.table.iloc[7, 2:7] = particles.table.iloc[8, 2:7]
    write_star(particles, tmp_path / "particles.star")
    levels = [level for level, what in said(inspect_file(tmp_path / "particles.star")) if "exactly the pose" in what]
    assert levels == ["note"]


def test_duplicate_images(tmp_path: Path) -> None:
    """The number counts, not how it is written; equal numbers in two stacks are two images."""
    names = ["1@stack.mrcs", "000001@stack.mrcs", "1@other.mrcs", *(f"{i}@stack.mrcs" for i in range(2, 7))]
    write_stack(tmp_path / "other.mrcs")
    ((level, what),) = said(inspect_star(tmp_path, rlnImageName=names, rlnRandomSubset=[1, 1, 1, 1, 2, 2, 2, 2]))
    assert level == "warning"
    told = "2 of 8 rows have the image of another row (1 images), at another pose: meant after symmetry expansion"
    assert told in what

    (_, first), (_, second) = said(inspect_star(tmp_path, rlnImageName=names))
    assert told in first and "both half sets hold rows of the same 1 images: they are not independent" in second
    left_out = inspect_star(tmp_path, rlnImageName=names, drgnLeftOut=[1, 0, 0, 0, 0, 0, 0, 0])
    assert said(left_out) == []
    left_out = inspect_star(tmp_path, rlnImageName=names, rlnSelected=[0, 1, 1, 1, 1, 1, 1, 1])
    assert [level for level, _ in said(left_out)] == ["note"]
    names[1] = "7@stack.mrcs"
    assert said(inspect_star(tmp_path, rlnImageName=names)) == []


@pytest.mark.parametrize(
    ("label", "values", "what"),
    [
        ("rlnImageSize", [BOX, 2 * BOX], "the box differs between optics groups (16 to 32 px)"),
        ("rlnImagePixelSize", [PIXEL_SIZE, 2.1], "the pixel size differs between optics groups (2 to 2.1 Å)"),
    ],
)
def test_groups_that_differ(tmp_path: Path, label: str, values: list[float], what: str) -> None:
    (found,) = said(inspect_star(tmp_path, with_stack=False, **{label: values}))[1:]
    assert found[0] == "error"
    assert what in found[1]
    assert len(said(inspect_star(tmp_path, with_stack=False, rlnVoltage=[300.0, 200.0]))) == 1


@pytest.mark.parametrize(
    ("size", "level", "what"),
    [
        (PIXEL_SIZE * 1.002, "warning", "the pixel size is 2 Å here, 2.004 Å in the header"),
        (1.0, "note", "the headers of 1 of 1 stacks have no pixel size"),
        (0.0, "note", "the headers of 1 of 1 stacks have no pixel size"),
        (90.3, "warning", "90.3 Å, cannot be meant"),
        (PIXEL_SIZE * 1.0005, None, ""),
    ],
)
def test_pixel_size_of_the_header(tmp_path: Path, size: float, level: str | None, what: str) -> None:
    write_stack(tmp_path / "stack.mrcs", pixel_size=size)
    findings = said(inspect_star(tmp_path, with_stack=False))
    assert [found[0] for found in findings] == ([] if level is None else [level])
    assert all(what in found[1] for found in findings)


def test_a_pixel_size_of_one_may_be_meant(tmp_path: Path) -> None:
    write_stack(tmp_path / "stack.mrcs", box=4 * BOX, pixel_size=1.0)
    assert said(inspect_star(tmp_path, with_stack=False, rlnImagePixelSize=1.0, rlnImageSize=4 * BOX)) == []


def test_box_of_the_header(tmp_path: Path) -> None:
    write_stack(tmp_path / "stack.mrcs", box=2 * BOX)
    ((level, what),) = said(inspect_star(tmp_path, with_stack=False))
    assert level == "error"
    assert "the box is 16 px here, 32 px in the header" in what


def test_rows_beyond_the_end_of_the_stack(tmp_path: Path) -> None:
    write_stack(tmp_path / "stack.mrcs", n=6)
    ((level, what),) = said(inspect_star(tmp_path, with_stack=False))
    assert level == "error"
    assert "2 of 8 rows name images beyond the end of their stack: row 7 names image 7" in what
    assert "which holds 6" in what


def test_a_truncated_stack(tmp_path: Path) -> None:
    stack = write_stack(tmp_path / "stack.mrcs")
    stack.write_bytes(stack.read_bytes()[:-4])
    ((level, what),) = said(inspect_star(tmp_path, with_stack=False))
    assert level == "error"
    assert "is truncated: 7 complete images of the 8 in its header" in what


def test_missing_stacks(tmp_path: Path) -> None:
    """None found, perhaps because only the folder is not known, or some missing: nothing can be done with the file."""
    names = [f"{i // 2 + 1}@{'ab'[i % 2]}.mrcs" for i in range(N)]
    ((level, what),) = said(inspect_star(tmp_path, with_stack=False, rlnImageName=names))
    assert (level, what[:35]) == ("error", "2 of 2 stacks cannot be found, such")
    write_stack(tmp_path / "elsewhere" / "a.mrcs")
    ((level, what),) = said(inspect_file(tmp_path / "particles.star", tmp_path / "elsewhere"))
    assert (level, what[:16]) == ("error", "1 of 2 stacks ca")
    assert "b.mrcs" in what
    write_stack(tmp_path / "elsewhere" / "b.mrcs")
    assert said(inspect_file(tmp_path / "particles.star", tmp_path / "elsewhere")) == []


def test_images_that_no_program_can_use_are_found_where_all_are_looked_at(tmp_path: Path) -> None:
    stack, n = tmp_path / "stack.mrcs", 64
    images = np.random.default_rng(0).normal(size=(n, BOX, BOX)).astype(np.float32)
    images[41, 3, 5], images[[12, 50, 51]] = np.nan, 7.0
    with StackWriter(stack, n, BOX, PIXEL_SIZE) as writer:
        writer.append(images)
    write_star(new_particles(n), tmp_path / "particles.star")
    some = inspect_file(tmp_path / "particles.star")
    assert some["facts"]["images_looked_at"] == "16 of 64 (--all-images looks at all)"
    assert report_text({**some, "findings": []}).endswith("in the images looked at: --all-images looks at all")
    report = inspect_file(tmp_path / "particles.star", every_image=True)
    assert report["facts"]["images_looked_at"] == "all 64"
    infinite, blank = (what for level, what in said(report) if level == "error")
    assert "1 of 64 images looked at hold NaN or infinite pixels, the first of them in row 42" in infinite
    assert (
        "--drop 42 -o" in infinite and "3 of 64 images looked at are blank" in blank and "--drop 13,51-52 -o" in blank
    )
    of_stack = inspect_file(stack, every_image=True)
    assert of_stack["facts"]["sections_looked_at"] == "all 64"
    assert [what[:9] for level, what in said(of_stack) if level == "error"] == ["1 of 64 s", "3 of 64 s"]


def test_not_every_header_is_read(tmp_path: Path) -> None:
    n = MAX_HEADERS + 30
    for i in range(n):
        write_stack(tmp_path / f"{i}.mrcs", n=1)
    write_star(new_particles(n, rlnImageName=[f"1@{i}.mrcs" for i in range(n)]), tmp_path / "particles.star")
    report = inspect_file(tmp_path / "particles.star")
    assert report["facts"]["stacks"] == {"named": n, "found": n, "headers read": MAX_HEADERS}
    assert report["findings"] == []


def test_star_of_relion_3_0_without_pixel_size(tmp_path: Path) -> None:
    """It cannot be read as particles, but said all the same; shifts are compared with the box in px."""
    rows = "".join(f"{i}@stack.mrcs {10 * i} 20 30 {shift} 0\n" for i, shift in enumerate((1, -9, 3), start=1))
    labels = ["ImageName", "AngleRot", "AngleTilt", "AnglePsi", "OriginX", "OriginY"]
    text = "data_\nloop_\n" + "".join(f"_rln{label}\n" for label in labels) + rows
    (tmp_path / "old.star").write_text(text)
    write_stack(tmp_path / "stack.mrcs", pixel_size=1.0)
    report = inspect_file(tmp_path / "old.star")
    assert report["kind"] == "RELION 3.0 star file"
    assert report["columns"]["rlnOriginX"] == "px"
    assert report["facts"]["ranges"]["origin x"] == {"unit": "px", "min": -9.0, "median": 1.0, "max": 3.0}
    warned = [what for level, what in said(report) if level == "warning"]
    assert len(warned) == 1
    assert "1 of 3 rows are shifted by more than half the box (the largest is 9 px, half the box is 8 px)" in warned[0]
    asked = "give --voltage (kV), --cs (mm), --amplitude_contrast (0…1), --pixel_size"
    assert any(asked in what for _, what in said(report))


@pytest.mark.parametrize(("version", "kind"), [("50001", "RELION 5 star file"), ("30001", "RELION 3.1 star file")])
def test_version_of_a_star_file(tmp_path: Path, version: str, kind: str) -> None:
    write_star(new_particles(), tmp_path / "particles.star")
    text = (tmp_path / "particles.star").read_text().replace("30001", version)
    (tmp_path / "particles.star").write_text(text)
    assert inspect_file(tmp_path / "particles.star")["kind"] == kind


def test_star_file_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "micrographs.star").write_text("data_\nloop_\n_rlnMicrographName #1\na.mrc\n")
    report = inspect_file(tmp_path / "micrographs.star")
    assert report["kind"] == "star file without particles"
    assert [level for level, _ in said(report)] == ["error"]


# ---- other particle files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layout", "unit", "noted"), [("par8", "px", 1), ("par9", "Å", 0), ("parx", "Å", 0)])
def test_par_files(tmp_path: Path, layout: str, unit: str, noted: int) -> None:
    write_par(new_particles(), tmp_path / "particles.par", layout)
    report = inspect_file(tmp_path / "particles.par")
    assert report["kind"] == f"{LAYOUTS[layout].title} par file"
    assert report["columns"]["SHX"] == unit
    assert report["facts"]["ranges"]["origin x"]["unit"] == unit
    assert ("phase shift" in report["facts"]["ranges"]) == (layout == "parx")
    notes = [what for level, what in said(report) if "FrealignX would take the numbers as Å" in what]
    assert len(said(report)) == len(notes) == noted


def test_excluded_particles_are_counted(tmp_path: Path) -> None:
    particles = new_particles()
    particles.table["drgnFrealignInclude"] = [-1, -1, *[1] * (len(particles) - 2)]
    write_par(particles, tmp_path / "particles.par", "parx")
    ((level, what),) = said(inspect_file(tmp_path / "particles.par"))
    assert level == "note" and what.startswith("2 particles are left out by INCLUDE < 0")


def test_par_file_with_its_stack(tmp_path: Path) -> None:
    write_par(new_particles(), tmp_path / "particles.par", "par9")
    assert said(inspect_file(tmp_path / "particles.par", write_stack(tmp_path / "images" / "s.mrcs"))) == []
    short = write_stack(tmp_path / "images" / "short.mrcs", n=5)
    ((level, what),) = said(inspect_file(tmp_path / "particles.par", short))
    assert level == "error"
    assert "3 of 8 rows name images beyond the end" in what


def test_warnings_of_the_readers_are_findings(tmp_path: Path) -> None:
    particles = new_particles()
    write_par(particles, tmp_path / "particles.par", "parx")
    assert said(inspect_file(tmp_path / "particles.par")) == []
    lines = (tmp_path / "particles.par").read_text().splitlines()
    lines[1:] = [" ".join(line.split()) for line in lines[1:]]
    (tmp_path / "particles.par").write_text("\n".join(lines) + "\n")
    findings = said(inspect_file(tmp_path / "particles.par"))
    assert {level for level, _ in findings} == {"warning"}
    assert any("FrealignX would read it without PSHIFT" in what for _, what in findings)
    assert not any(str(tmp_path) in what for _, what in findings)


@pytest.mark.parametrize(("pshift", "program"), [("", "Frealign 9"), ("    0.00", "FrealignX")])
def test_shifts_files(tmp_path: Path, pshift: str, program: str) -> None:
    row = "    2.13   -1.91   -0.99      0.13      4.02       0     1      0.0      0.0    0.00"
    text = "".join(f"{i:7d}{row}{pshift}    0.00      -806    -0.3768   49.70\n" for i in (1, 2))
    (tmp_path / "shifts.par").write_text(text)
    report = inspect_file(tmp_path / "shifts.par")
    assert report["kind"] == f"{program} shifts file"
    assert report["facts"]["ranges"]["change of SHY"]["max"] == 4.02
    assert said(report) == []


def test_cryosparc_particles(tmp_path: Path) -> None:
    particles = new_particles()
    particles.optics["drgnContrast"] = "dark"
    write_cs(particles, tmp_path / "particles.cs")
    write_stack(tmp_path / "stack.mrcs")
    report = inspect_file(tmp_path / "particles.cs")
    assert report["kind"] == "cryoSPARC particles"
    assert report["columns"]["ctf/df1_A"] == "Å"
    assert report["columns"]["alignments3D/pose"] == "rad"
    assert report["facts"]["protein_in_images"] == ["dark"]
    assert said(report) == []


def test_cryosparc_passthrough_file(tmp_path: Path) -> None:
    with (tmp_path / "passthrough.cs").open("wb") as file:
        np.save(file, np.zeros(5, [("uid", "u8"), ("ctf/accel_kv", "f4")]))
    report = inspect_file(tmp_path / "passthrough.cs")
    assert report["kind"] == "cryoSPARC table without images"
    assert (report["rows"], list(report["columns"])) == (5, ["uid", "ctf/accel_kv"])
    assert [level for level, _ in said(report)] == ["note"]


# ---- pickles ------------------------------------------------------------------------------------------------------


def rotations(n: int = N) -> np.ndarray:
    return Rotation.random(n, random_state=1).as_matrix().astype(np.float32)


CTF_ROW = [BOX, PIXEL_SIZE, 15000.0, 14900.0, 30.0, 300.0, 2.7, 0.1, 0.0]


@pytest.mark.parametrize(
    ("contents", "kind", "rows"),
    [
        ([(rotations(), np.zeros((N, 2), "f4"))], "cryoDRGN poses", N),
        ([rotations()], "cryoDRGN poses", N),
        ([np.tile(np.float32(CTF_ROW), (N, 1))], "cryoDRGN CTF parameters", N),
        ([np.ones((N, 9), "f4"), np.ones((N, 9), "f4")], "cryoDRGN latent variables", N),
        ([np.ones((N, 4), "f4"), np.ones((N, 4), "f4")], "cryoDRGN latent variables", N),
        ([np.array([3, 1, 8])], "cryoDRGN index", 3),
        ([[3, 1, 8]], "cryoDRGN index", 3),
        ([np.array([1, 1, 0, 0, -1, 0])], "cluster labels", 6),
        ([np.ones((N, 2))], "pickled array (8 × 2)", None),
        ([np.ones(7)], "pickled array (7)", None),
    ],
)
def test_pickles_are_told_by_their_content(tmp_path: Path, contents: list[Any], kind: str, rows: int | None) -> None:
    report = inspect_file(write_pickle(tmp_path / "a.pkl", *contents))
    assert (report["kind"], report["rows"]) == (kind, rows)
    assert all(level == "note" for level, _ in said(report))


@pytest.mark.parametrize("start", [b"PK\x03\x04", pickle.dumps(0x1950A86A20F9469CFC6C)])
def test_weights_are_never_opened(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "weights.3.pkl").write_bytes(start + b"cos\nsystem\n(S'touch broken'\ntR.")
    report = inspect_file(tmp_path / "weights.3.pkl")
    assert report["kind"] == "cryoDRGN weights (never opened)"
    assert report["findings"] == []


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("broken"),)


def test_hostile_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = inspect_file(write_pickle(tmp_path / "poses.pkl", Hostile()))
    assert [level for level, _ in said(report)] == ["error"]
    assert not (tmp_path / "broken").exists()


def test_cryodrgn_poses(tmp_path: Path) -> None:
    shifts = np.zeros((N, 2), "f4")
    shifts[3, 1] = 0.5
    assert said(inspect_file(write_pickle(tmp_path / "a.pkl", (rotations(), shifts)))) == []
    shifts[3, 1] = -0.51
    ((level, what),) = said(inspect_file(write_pickle(tmp_path / "a.pkl", (rotations(), shifts))))
    assert level == "warning"
    assert "1 of 8 rows are shifted by more than half the box (the largest is 0.51 box" in what
    same = np.tile(np.eye(3, dtype="f4"), (N, 1, 1))
    assert (
        "all 8 orientations are zero" in said(inspect_file(write_pickle(tmp_path / "a.pkl", (same, 0 * shifts))))[0][1]
    )


def test_cryodrgn_ctf(tmp_path: Path) -> None:
    table = np.tile(np.float32(CTF_ROW), (N, 1))
    assert said(inspect_file(write_pickle(tmp_path / "ctf.pkl", table))) == []
    table[2, 2] = 25000
    ((level, what),) = said(inspect_file(write_pickle(tmp_path / "ctf.pkl", table)))
    assert level == "warning"
    assert "astigmatism" in what
    table[2, 2] = np.nan
    ((level, what),) = said(inspect_file(write_pickle(tmp_path / "ctf.pkl", table)))
    assert level == "error"


def test_latent_variables(tmp_path: Path) -> None:
    z = np.random.default_rng(0).normal(size=(N, 3)).astype("f4")
    report = inspect_file(write_pickle(tmp_path / "z.pkl", z, z))
    assert report["facts"]["dimensions"] == 3
    assert report["findings"] == []
    z[4] = np.nan
    ((level, what),) = said(inspect_file(write_pickle(tmp_path / "z.pkl", z, z)))
    assert level == "error"
    assert "1 of 8 rows have means that are NaN or infinite, the first is row 5" in what


def test_damaged_pickles(tmp_path: Path) -> None:
    z = np.zeros((500, 3), "f4")
    path = write_pickle(tmp_path / "z.pkl", z, z)
    path.write_bytes(path.read_bytes()[:-100])
    report = inspect_file(path)
    assert report["kind"] == "cryoDRGN latent variables"
    assert [level for level, _ in said(report)] == ["error"]
    repeated = np.append(np.arange(100), 7)
    ((level, what),) = said(inspect_file(write_pickle(tmp_path / "ind.pkl", repeated)))
    assert level == "error"
    assert "an image is selected a second time" in what
    ((level, what),) = said(inspect_file(write_pickle(tmp_path / "ind.pkl", np.array([True, False]))))
    assert level == "error"


# ---- images and statistics ----------------------------------------------------------------------------------------


def test_mrc_stack(tmp_path: Path) -> None:
    report = inspect_file(write_stack(tmp_path / "stack.mrcs"))
    assert (report["kind"], report["rows"]) == ("MRC stack", N)
    assert report["facts"]["size_px"] == "16 × 16 × 8"
    assert report["facts"]["pixel_sizes_angstrom"] == [PIXEL_SIZE]
    assert report["findings"] == []


@pytest.mark.parametrize(
    ("changes", "level", "what"),
    [
        ({"machst": 0}, "note", "machine stamp is zero"),
        ({"cella": 0.0}, "note", "no voxel size"),
        ({"ispg": 1}, "note", "calls it a volume (space group 1); it is taken as 8 images"),
        ({"cella": (16.0, 16.0, 1.0)}, "note", "exactly 1 Å"),
        ({"cella": (11564.0, 11564.0, 1.0)}, "warning", "722.75 Å, cannot be meant"),
        ({"cella": (32.0, 33.0, 1.0)}, "warning", "pixels of 2 × 2.0625 Å"),
        ({"nx": 32, "ny": 8, "mx": 32, "my": 8, "cella": (64.0, 16.0, 1.0)}, "warning", "images are 32 × 8 px"),
    ],
)
def test_findings_of_a_stack(tmp_path: Path, changes: dict[str, Any], level: str, what: str) -> None:
    (found,) = said(inspect_file(edit_header(write_stack(tmp_path / "stack.mrcs"), **changes)))
    assert found[0] == level
    assert what in found[1]


def test_mrc_volume(tmp_path: Path) -> None:
    write_volume(tmp_path / "map.mrc", np.random.default_rng(0).normal(size=(8, 8, 8)), 2.0)
    report = inspect_file(tmp_path / "map.mrc")
    assert (report["kind"], report["rows"], report["findings"]) == ("MRC volume", None, [])
    ((level, what),) = said(inspect_file(edit_header(tmp_path / "map.mrc", cella=0.0)))
    assert level == "warning"
    assert "no voxel size: write it into the header" in what
    write_volume(tmp_path / "slab.map", np.random.default_rng(0).normal(size=(4, 8, 8)), 2.0)
    ((level, what),) = said(inspect_file(tmp_path / "slab.map"))
    assert level == "warning"
    assert "not a cube (8 × 8 × 4)" in what


@pytest.mark.parametrize(("ispg", "mz", "kind"), [(0, 1, "MRC stack"), (0, 8, "MRC volume"), (1, 8, "MRC volume")])
def test_a_cube_is_what_its_header_says(tmp_path: Path, ispg: int, mz: int, kind: str) -> None:
    write_volume(tmp_path / "a.mrc", np.zeros((8, 8, 8)), 2.0)
    assert inspect_file(edit_header(tmp_path / "a.mrc", ispg=ispg, mz=mz))["kind"] == kind


def test_nan_in_a_stack(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "stack.mrcs")
    values = np.memmap(path, "<f4", "r+", 1024, (N, BOX, BOX))
    values[5, 3, 3] = np.nan
    values.flush()
    ((level, what),) = said(inspect_file(path))
    assert level == "error"
    assert "1 of 8 sections looked at hold NaN or infinite values; the first is number 6" in what


def test_truncated_stack(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "stack.mrcs")
    path.write_bytes(path.read_bytes()[:-1])
    report = inspect_file(path)
    assert report["kind"] == "MRC file"
    assert [(level, "7 complete images of the 8" in what) for level, what in said(report)] == [("error", True)]


@pytest.mark.parametrize(("last", "noted"), [(0.1, 0), (0.2, 1)])
def test_statistics(tmp_path: Path, last: float, noted: int) -> None:
    text = "C  NO.  RESOL  RING RAD   FSC  Part_FSC  Part_SSNR  Rec_SSNR\n"
    text += "".join(f"   {i}  {24 / i:.2f}  {i / 8:.3f}  {fsc}  0.1  1.0  2.0\n" for i, fsc in ((2, 0.9), (3, last)))
    (tmp_path / "statistics.txt").write_text(text)
    report = inspect_file(tmp_path / "statistics.txt")
    assert (report["kind"], report["rows"]) == ("Frealign statistics (FrealignX)", 2)
    assert report["facts"].get("fsc_0143_angstrom") == (None if noted else 8.0)
    assert [level for level, _ in said(report)] == ["note"] * noted


# ---- the command --------------------------------------------------------------------------------------------------


def test_command(tmp_path: Path) -> None:
    inspect_star(tmp_path, rlnRandomSubset=1)
    good, stack, bad = tmp_path / "particles.star", tmp_path / "stack.mrcs", tmp_path / "no_such.star"
    result = CliRunner().invoke(main, ["inspect", str(good), str(stack)])
    assert result.exit_code == 0, result.output
    assert "WARNING  all particles are in half set 1" in result.output
    assert "nothing suspicious" in result.output
    assert max(len(line) for line in result.output.splitlines() if str(tmp_path) not in line) <= 100
    # the files after a bad one are inspected all the same
    result = CliRunner().invoke(main, ["inspect", str(bad), str(stack)])
    assert result.exit_code == 2
    assert "ERROR" in result.output
    assert "MRC stack" in result.output


def test_command_gives_json(tmp_path: Path) -> None:
    inspect_star(tmp_path, **with_row("rlnAngleTilt", np.nan), rlnVoltage=np.inf)
    result = CliRunner().invoke(main, ["inspect", "--json", str(tmp_path / "particles.star")])
    assert result.exit_code == 2
    (report,) = json.loads(result.output)
    assert set(report) == {"file", "kind", "rows", "columns", "facts", "findings"}
    assert report == json.loads(json.dumps(inspect_file(tmp_path / "particles.star"), allow_nan=False))


@pytest.mark.parametrize("name", ["no_such.star", "notes.md", "empty.par", "empty.cs", "empty.star"])
def test_what_cannot_be_read_is_an_error(tmp_path: Path, name: str) -> None:
    if not name.startswith("no_such"):
        (tmp_path / name).write_bytes(b"# notes" if name == "notes.md" else b"")
    report = inspect_file(tmp_path / name)
    assert [level for level, _ in said(report)] == ["error"]
    assert "ERROR" in report_text(report)


@same_folder
@given(st.sampled_from(["a.star", "a.par", "a.cs", "a.pkl", "a.mrc", "a.mrcs", "a.txt"]), st.data())
def test_damaged_files_end_in_a_report(tmp_path: Path, name: str, data: st.DataObject) -> None:
    path = tmp_path / name
    particles = new_particles()
    if name == "a.star":
        write_star(particles, path)
    elif name == "a.par":
        write_par(particles, path, "parx")
    elif name == "a.cs":
        particles.optics["drgnContrast"] = "white"
        write_cs(particles, path)
    elif name == "a.pkl":
        write_pickle(path, (rotations(), np.zeros((N, 2))))
    elif name == "a.txt":
        path.write_text("C Part_SSNR\n 2 12.0 0.1 0.9 0.9 1 1\n")
    else:
        write_stack(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path.write_bytes(content)
    report = inspect_file(path)
    json.dumps(report, allow_nan=False)
    assert report_text(report)


def test_many_rows(tmp_path: Path) -> None:
    n = 50_000
    write_star(new_particles(n), tmp_path / "particles.star")
    start = time.perf_counter()
    inspect_file(tmp_path / "particles.star")
    assert time.perf_counter() - start < 5


# ---- real files ---------------------------------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize(
    ("name", "kind", "rows"),
    [
        ("particles/relion31.star", "RELION 3.1 star file", 5),
        ("particles/relion31.v2.star", "RELION 3.1 star file", 5),
        ("particles/relion31.mrcs", "MRC stack", 5),
        ("particles/empiar_10076_7.star", "RELION 3.0 star file", 7),
        ("particles/empiar_10076_7.cs", "cryoSPARC particles", 7),
        ("particles/empiar_10076_7.mrc", "MRC stack", 7),
        ("particles/freehand/parts-15_128x128f.par", "Frealign 8 par file", 50),
        ("particles/freehand/parts.stk", "MRC stack", 50),
        ("star/relion5.star", "RELION 5 star file", 17),
        ("star/sample_particles_relion30.star", "RELION 3.0 star file", 17),
        ("frealign-runs/frealign9/refine_output.par", "Frealign 9 par file", 2000),
        ("frealign-runs/frealign9/refine_shifts.par", "Frealign 9 shifts file", 2000),
        ("frealign-runs/frealign9/reconstruct.res", "Frealign statistics (Frealign 9)", 32),
        ("frealign-runs/frealignx/refine3d_output.par", "FrealignX par file", 2000),
        ("frealign-runs/frealignx/refine3d_changes.par", "FrealignX shifts file", 2000),
        ("frealign-runs/frealignx/statistics.txt", "Frealign statistics (FrealignX)", 32),
        ("empiar10076/poses_10076.pkl", "cryoDRGN poses", 131_899),
        ("empiar10076/ctf_10076.pkl", "cryoDRGN CTF parameters", 131_899),
        ("empiar10076/filtered.ind.pkl", "cryoDRGN index", 87_327),
    ],
)
def test_real_files(name: str, kind: str, rows: int) -> None:
    report = inspect_file(DATA / name)
    assert (report["kind"], report["rows"]) == (kind, rows)
    # of some there are no images here
    assert not any(level == "error" and "stacks cannot be found" not in what for level, what in said(report))


@needs_data
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("particles/relion31.star", "all particles are in half set 1"),
        ("particles/freehand/parts.stk", "90.3438 Å, cannot be meant"),
        ("star/relion5.star", "4 of 17 rows have the image of another row"),
        ("star/relion31.6opticsgroups.star", "the pixel size differs between optics groups (1.24 to 1.25 Å)"),
        ("empiar10076/ctf_10076.pkl", "458 of 131,899 rows have an astigmatism"),
    ],
)
def test_true_findings_in_real_files(name: str, what: str) -> None:
    warned = [found for level, found in said(inspect_file(DATA / name)) if level != "note"]
    assert any(what in found for found in warned)


def test_one_stack_under_several_names_is_one(tmp_path: Path) -> None:
    """By another spelling, a linked folder and a hard link: the same image in both half sets."""
    write_stack(tmp_path / "stack.mrcs", n=3)
    (tmp_path / "linked").symlink_to(tmp_path)
    (tmp_path / "hard.mrcs").hardlink_to(tmp_path / "stack.mrcs")
    spelt = ["stack.mrcs", "./stack.mrcs", "stack.mrcs", "linked/stack.mrcs", "stack.mrcs", "hard.mrcs"]
    names = [f"{row // 2 + 1:06d}@{name}" for row, name in enumerate(spelt)]
    write_star(new_particles(6, rlnImageName=names), tmp_path / "particles.star")
    found = [what for level, what in said(inspect_file(tmp_path / "particles.star")) if level == "warning"]
    assert any("6 of 6 rows have the image of another row (3 images)" in one for one in found)
    assert any("both half sets hold rows of the same 3 images" in one for one in found)


def test_magnifications_and_shares_of_a_par_file_are_told(tmp_path: Path) -> None:
    particles = new_particles(rlnMicrographName=None)
    particles.table["drgnFrealignOcc"] = 50.0
    particles.table["drgnFrealignMag"] = [10_000] * 7 + [9_000]
    write_par(particles, tmp_path / "a.par", "parx")
    found = dict(reversed(one) for one in said(inspect_file(tmp_path / "a.par")))
    shares = next(what for what in found if "8 particles have occupancies between 0 and 100 %" in what)
    sizes = next(what for what in found if "MAG differs between its rows (9000 to 10000)" in what)
    assert found[shares] == found[sizes] == "warning"


def test_origins_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    """Not an option that nobody gave."""
    particles = new_particles()
    particles.table["rlnOriginX"] = 7.0
    particles.table["rlnOriginY"] = 7.0
    write_star(particles, tmp_path / "a.star")
    errors = [what for level, what in said(inspect_file(tmp_path / "a.star")) if level == "error"]
    assert len(errors) == 1 and "rlnOriginX" in errors[0] and "--pixel_size" not in errors[0]


@pytest.mark.parametrize(("value", "found"), [(0, True), (3.5, True), (None, False)])
def test_volumes_of_one_value_are_told(tmp_path: Path, value: float | None, found: bool) -> None:
    volume = np.zeros((32, 32, 32), np.float32) if value is None else np.full((32, 32, 32), value, np.float32)
    if value is None:
        # in a section that is not looked at
        volume[1, 4, 4] = 1
    write_volume(tmp_path / "a.mrc", volume, 8.0)
    told = f"all its voxels are {value or 0:g}: it is neither a map nor a mask"
    assert any(level == "error" and told in what for level, what in said(inspect_file(tmp_path / "a.mrc"))) is found


SPHERE = (radius_grid(32, 3) < 9).astype(np.float32)


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        (SPHERE - 128, "its values are -128 … -127, those of a mask 0 … 1; .*newstack .*--add_constant 128"),
        (255 * SPHERE, "its values are 0 … 255, those of a mask 0 … 1"),
        (np.where(radius_grid(32, 3) < 1.5, 1, 0), "only 19 voxels of this mask are inside"),
        (np.eye(1, 32**3, 7 * 32**2 + 40).reshape(32, 32, 32), "only 1 voxels of this mask are inside"),
        (0.3 * SPHERE, "no voxel of this mask is inside"),
        (np.where(SPHERE > 0, 1, 0.7), "no voxel of this mask is outside"),
    ],
)
def test_what_would_be_refused_as_a_mask_is_told(mask: np.ndarray, problem: str, tmp_path: Path) -> None:
    """Of volumes that look like one: by inspect in the words of what takes it for one."""
    write_volume(tmp_path / "mask.mrc", mask, PIXEL_SIZE)
    ((level, what),) = said(inspect_file(tmp_path / "mask.mrc"))
    assert level == "warning" and re.match(f"it looks like a mask, and would be refused as one: {problem}", what)
    with pytest.raises(InputError, match=problem.partition(";")[0]):
        read_mask(tmp_path / "mask.mrc", 32, PIXEL_SIZE)


def test_bytes_of_imod_without_its_stamp_are_told(tmp_path: Path) -> None:
    write_volume(tmp_path / "mask.mrc", SPHERE, PIXEL_SIZE)
    header = bytearray((tmp_path / "mask.mrc").read_bytes()[:1024])
    header[12:16] = bytes(4)  # mode 0
    (tmp_path / "mask.mrc").write_bytes(bytes(header) + (SPHERE - 128).astype("i1").tobytes())
    assert "would be refused as one: its values are -128" in report_text(inspect_file(tmp_path / "mask.mrc"))


def test_maps_and_good_masks_are_no_bad_masks(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(32, 32, 32))
    for volume in (noise, SPHERE, SPHERE * noise, np.maximum(noise - 1, 0), raised_cosine(radius_grid(32, 3) - 8, 4)):
        write_volume(tmp_path / "a.mrc", volume, PIXEL_SIZE)
        assert said(inspect_file(tmp_path / "a.mrc")) == []


def test_nan_in_any_section_of_a_volume_is_told(tmp_path: Path) -> None:
    """All are read where it is used; of stacks some are looked at."""
    volume = np.random.default_rng(0).normal(size=(32, 32, 32))
    volume[3, 4, 5] = np.nan
    write_volume(tmp_path / "a.mrc", volume, PIXEL_SIZE)
    assert "1 of 32 sections looked at hold NaN" in report_text(inspect_file(tmp_path / "a.mrc"))


def test_voxels_that_are_no_cubes_are_told(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.mrc", np.random.default_rng(0).normal(size=(8, 8, 8)), 2.0)
    edit_header(tmp_path / "a.mrc", cella=(16.0, 16.0, 24.0))
    assert any("its voxels are 2 × 2 × 3 Å" in what for level, what in said(inspect_file(tmp_path / "a.mrc")))


def test_pixels_beyond_what_cameras_count_are_told(tmp_path: Path) -> None:
    stack = write_stack(tmp_path / "stack.mrcs")
    pixels = np.memmap(stack, "<f4", "r+", 1024, (N, BOX, BOX))
    pixels[2, 1, 1] = 1e38
    pixels.flush()
    found = said(inspect_star(tmp_path, with_stack=False))
    assert any("1 of 8 images looked at hold pixels beyond 1e+15" in what for level, what in found if level == "error")


def test_what_is_refused_elsewhere_is_an_error(tmp_path: Path) -> None:
    found = said(inspect_star(tmp_path, rlnCtfScalefactor=[0.0, *[1.0] * (N - 1)]))
    assert any(level == "error" and "rlnCtfScalefactor is not above 0" in what for level, what in found)
    assert len(found) == len(set(found))
    (only,) = said(inspect_file(tmp_path))
    assert only == ("error", "is a folder; give the files in it")
