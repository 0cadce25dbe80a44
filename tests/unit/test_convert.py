"""One particle set in every program's form, and from each into each."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from command_line import run, succeed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drgnalign.engine.reconstruct import insert_particles
from drgnalign.formats.cryodrgn import read_ctf, read_poses
from drgnalign.formats.mrc import ImageSource, StackWriter
from drgnalign.formats.particle_file import FORM_OF_NAME, NAMES_STACKS, TARGETS, expected_contrast, read_particle_file
from drgnalign.formats.star import read_star, write_star
from drgnalign.geometry import angular_distance
from drgnalign.inspect.kinds import INSPECTORS
from drgnalign.particles import ANGLES, DEFOCUS, ORIGINS, PARTICLE_FILES, Particles

BOX, PIXEL_SIZE = 64, 3.0
FORMS = ["star", "cistem", "par8", "par9", "parx", "cryodrgn", "cs"]
# Of the files of a form; ".par" of the others, and a folder is cryoDRGN's.
SUFFIXES = {"star": ".star", "cistem": ".star", "cs": ".cs", "cryodrgn": ""}
FACTS = ["--pixel-size", PIXEL_SIZE, "--voltage", 300, "--cs", 2.7, "--amplitude-contrast", 0.07, "--box", BOX]
# The particle of the worked example: rot, tilt, psi, displacement in px, defocus; and it is dark.
EXAMPLE = {
    "rlnAngleRot": 4.26,
    "rlnAngleTilt": 115.57,
    "rlnAnglePsi": 68.02,
    "rlnOriginXAngst": 2.04,
    "rlnOriginYAngst": 0.86,
    "rlnDefocusU": 14994.6,
    "rlnDefocusV": 14736.4,
    "rlnDefocusAngle": 82.19,
    "rlnPhaseShift": 0.0,
}
EXAMPLE_ROTATION = [[-0.229983, 0.912753, -0.337625], [0.371333, 0.402980, 0.836492], [0.899566, 0.067007, -0.431613]]
V9 = (
    "      1   68.02  115.57    4.26     -2.04     -0.86   10000     1  14994.6  14736.4   82.19  100.00"
    "      -500     1.0000   20.00    0.00"
)
X = V9.replace("   82.19", "   82.19    0.00")
V8 = "      1   68.02  115.57    4.26   -0.68   -0.29   10000     1  14994.6  14736.4   82.19  80.00"
# Half a last digit of each form: degrees between orientations, Å.
FLOAT32_DEGREES = 4e-5
PRECISION = {
    "star": (1e-6, 1e-9),
    "cistem": (0.015, 0.005),
    "par8": (0.015, 0.005 * PIXEL_SIZE),
    "par9": (0.015, 0.005),
    "parx": (0.015, 0.005),
    "cryodrgn": (FLOAT32_DEGREES, 1e-5),
    "cs": (FLOAT32_DEGREES, 1e-5),
}


def particles(rows: list[dict[str, float]], folder: Path) -> Particles:
    """Particles in the stack ``images.mrcs`` of `folder`, which is made."""
    with StackWriter(folder / "images.mrcs", len(rows), BOX, PIXEL_SIZE) as stack:
        stack.append(np.zeros((len(rows), BOX, BOX)))
    table = pd.DataFrame(rows)
    table.insert(0, "rlnImageName", [f"{n:06d}@{folder / 'images.mrcs'}" for n in range(1, len(rows) + 1)])
    table.insert(1, "rlnOpticsGroup", 1)
    optics = {
        "rlnOpticsGroup": 1,
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnVoltage": 300.0,
        "rlnSphericalAberration": 2.7,
        "rlnAmplitudeContrast": 0.07,
        "rlnImagePixelSize": PIXEL_SIZE,
        "rlnImageSize": BOX,
        "rlnImageDimensionality": 2,
        "drgnContrast": "dark",
    }
    return Particles(table, pd.DataFrame([optics]), folder / "particles.star")


def converted(form: str, source: list[object], folder: Path, name: str) -> list[object]:
    """Convert, and give the arguments that name the result as an input."""
    output = folder / f"{name}_{form}{SUFFIXES.get(form, '.par')}"
    succeed("convert", *source, "-o", output, "--to", form)
    if form == "cryodrgn":
        return ["--poses", output / "poses.pkl", "--ctf", output / "ctf.pkl", "--images", folder / "images.mrcs"]
    return [output, *(["--images", folder / "images.mrcs", *FACTS] if form.startswith("par") else [])]


def test_each_form_is_known_where_forms_are_told_apart() -> None:
    assert FORMS == TARGETS
    assert set(FORM_OF_NAME) == set(PARTICLE_FILES) <= set(INSPECTORS)
    assert set(NAMES_STACKS) <= set(PARTICLE_FILES)
    assert {expected_contrast(target) for target in TARGETS} == {"white", "dark", None}


def as_star(source: list[object], folder: Path) -> Particles:
    succeed("convert", *source, "-o", folder / "back.star")
    return read_star(folder / "back.star")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example")
    write_star(particles([EXAMPLE], folder), folder / "particles.star")
    return folder


@pytest.mark.parametrize(("form", "row"), [("par8", V8), ("par9", V9), ("parx", X)])
def test_worked_example_in_par_files(example: Path, form: str, row: str) -> None:
    (output, *_) = converted(form, [example / "particles.star"], example, "example")
    assert Path(str(output)).read_text().splitlines()[-1] == row


def test_worked_example_in_pickles(example: Path) -> None:
    folder = example / "pickles"
    succeed("convert", example / "particles.star", "-o", folder, "--to", "cryodrgn")
    rotations, translations = read_poses(folder / "poses.pkl")
    assert translations is not None
    # the file stores the transpose of what is read
    np.testing.assert_allclose(rotations[0].T, EXAMPLE_ROTATION, atol=1e-6)
    np.testing.assert_allclose(translations[0], [0.68 / 64, 0.286667 / 64], atol=1e-8)
    expected = [64, 3.0, 14994.6, 14736.4, 82.19, 300, 2.7, 0.07, 0]
    np.testing.assert_array_equal(read_ctf(folder / "ctf.pkl").to_numpy(np.float32)[0], np.float32(expected))


def test_worked_example_in_cryosparcs_file(example: Path) -> None:
    succeed("convert", example / "particles.star", "-o", example / "example.cs")
    row = np.load(example / "example.cs")[0]
    # a rotation vector turns by its length about itself: what it leaves in place, the matrix does too
    vector = row["alignments3D/pose"].astype(float)
    rotation = np.array(EXAMPLE_ROTATION).T
    np.testing.assert_allclose(rotation @ vector, vector, atol=1e-5)
    assert np.degrees(np.linalg.norm(vector)) == pytest.approx(np.degrees(np.arccos((np.trace(rotation) - 1) / 2)))
    skew = rotation - rotation.T
    assert np.dot([skew[2, 1], skew[0, 2], skew[1, 0]], vector) > 0
    np.testing.assert_allclose(row["alignments3D/shift"], [0.68, 0.286667], atol=1e-6)
    assert row["ctf/df_angle_rad"] == pytest.approx(np.radians(82.19))
    assert (row["blob/idx"], row["blob/sign"]) == (0, -1)


@pytest.fixture(scope="module")
def various(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Particles]:
    """Ordinary and special poses."""
    folder = tmp_path_factory.mktemp("various")
    random = np.random.default_rng(0)
    rows = []
    special = [(0, 0, 0), (30, 0, 40), (30, 180, 40), (-179.99, 90, 179.99), (0, 90, 0), (90, 180, -90), (12, 1e-3, 5)]
    for angles in [*special, *random.uniform([-180, 0, -180], [180, 180, 180], (20, 3))]:
        x, y = random.normal(0, 4, 2)
        # as many digits as a par file has, so that they must come back exactly
        defocus = np.round(random.uniform(6000, 25_000, 2), 1)
        values = [*angles, x, y, *defocus, round(random.uniform(0, 180), 2), 0.0]
        rows.append(dict(zip(EXAMPLE, map(float, values), strict=True)))
    table = particles(rows, folder)
    write_star(table, folder / "particles.star")
    return folder, table


@pytest.mark.parametrize("second", FORMS)
@pytest.mark.parametrize("first", FORMS)
def test_from_every_form_into_every_other(various: tuple[Path, Particles], first: str, second: str) -> None:
    folder, truth = various
    name = f"{first}_{second}"
    extra = ["--invert", "yes"] if second == "cs" else []
    source = converted(first, [folder / "particles.star"], folder, name)
    middle = converted(second, [*source, *extra], folder, f"{name}_then")
    final = as_star(middle, folder)
    degrees, angstrom = (PRECISION[first][i] + PRECISION[second][i] + 1e-6 for i in (0, 1))
    assert angular_distance(truth.rotations(), final.rotations()).max() < degrees
    assert np.abs(truth.table[ORIGINS] - final.table[ORIGINS]).to_numpy().max() < angstrom
    np.testing.assert_allclose(final.table[DEFOCUS], truth.table[DEFOCUS], rtol=1e-12)
    assert (final.table["rlnPhaseShift"] == 0).all()
    assert final.table["rlnImageName"].tolist() == truth.table["rlnImageName"].tolist()
    facts = ["rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnImagePixelSize", "rlnImageSize"]
    np.testing.assert_allclose(final.optics[facts].to_numpy(float), truth.optics[facts].to_numpy(float), rtol=1e-12)


@pytest.mark.parametrize("form", ["star", "cistem", "parx", "cryodrgn", "cs"])
def test_phase_shifts_are_kept(tmp_path: Path, form: str) -> None:
    given = particles([{**EXAMPLE, "rlnPhaseShift": 90.0}, {**EXAMPLE, "rlnPhaseShift": 37.25}], tmp_path)
    write_star(given, tmp_path / "particles.star")
    back = as_star(converted(form, [tmp_path / "particles.star"], tmp_path, "phase"), tmp_path)
    # 0.01 rad is the last digit of a par file, and of cisTEM's
    atol = np.degrees(0.005) if form in ("parx", "cistem") else 1e-5
    np.testing.assert_allclose(back.table["rlnPhaseShift"], [90.0, 37.25], atol=atol)


angle = st.floats(-360, 360)
edge = st.sampled_from([0.0, 180.0, 90.0, -90.0, 179.999999, 1e-7])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    poses=st.lists(st.tuples(angle | edge, st.floats(0, 180) | edge.map(abs), angle | edge), min_size=1, max_size=4),
    shift=st.floats(-90, 90),
    form=st.sampled_from(["star", "cs", "cryodrgn"]),
)
def test_poses_survive(tmp_path: Path, poses: list[tuple[float, ...]], shift: float, form: str) -> None:
    rows = [{**EXAMPLE, **dict(zip(ANGLES, pose, strict=True)), "rlnOriginXAngst": shift} for pose in poses]
    given = particles(rows, tmp_path)
    write_star(given, tmp_path / "particles.star")
    back = as_star(converted(form, [tmp_path / "particles.star"], tmp_path, "any"), tmp_path)
    assert angular_distance(given.rotations(), back.rotations()).max() < PRECISION[form][0] + 1e-6
    assert np.abs(given.table[ORIGINS] - back.table[ORIGINS]).to_numpy().max() < PRECISION[form][1]


@pytest.mark.parametrize("form", FORMS[1:])
def test_one_map_from_every_form(noisy_set: Any, tmp_path: Path, form: str) -> None:
    truth: Particles = noisy_set.truth
    optics = truth.optics.iloc[0]
    facts = ["--pixel-size", optics["rlnImagePixelSize"], "--voltage", optics["rlnVoltage"], "--box", truth.box]
    facts += ["--cs", optics["rlnSphericalAberration"], "--amplitude-contrast", optics["rlnAmplitudeContrast"]]
    stack = ["--images", noisy_set.folder / "particles.mrcs"]
    output = tmp_path / f"made{SUFFIXES.get(form, '.par')}"
    succeed("convert", noisy_set.folder / "truth.star", "-o", output, "--to", form)
    source = ["--poses", output / "poses.pkl", "--ctf", output / "ctf.pkl"] if form == "cryodrgn" else [output]
    succeed("convert", *source, *stack, *([] if form == "cs" else facts), "-o", tmp_path / "p.star")

    def half_map(given: Particles) -> np.ndarray:
        table = given.table.assign(rlnRandomSubset=truth.table["rlnRandomSubset"])
        whole = Particles(table, given.optics.assign(drgnContrast="white"), given.path)
        source = ImageSource(whole, noisy_set.folder)
        return insert_particles(whole, source, noisy_set.white_noise, padding=2.0).half_map(1)

    assert np.corrcoef(half_map(truth).ravel(), half_map(read_star(tmp_path / "p.star")).ravel())[0, 1] > 0.9999


def test_what_is_missing_is_asked_for_by_name(example: Path, tmp_path: Path) -> None:
    par = converted("par9", [example / "particles.star"], example, "asked")[0]
    result = run("convert", par, "-o", tmp_path / "x.star")
    assert result.exit_code == 2
    for option in ("--voltage (kV)", "--cs (mm)", "--amplitude_contrast", "--pixel_size", "--box"):
        assert option in result.output
    result = run("convert", par, *FACTS, "-o", tmp_path / "x.star")
    assert result.exit_code == 2 and "give --images STACK" in result.output
    assert not list(tmp_path.iterdir())


def test_pixel_size_of_a_stacks_header_is_used_and_told(example: Path, tmp_path: Path) -> None:
    par = converted("par8", [example / "particles.star"], example, "header")[0]
    result = succeed("convert", par, "--images", example / "images.mrcs", "-o", tmp_path / "x.par", "--to", "par9")
    assert "the pixel size in its header, 3 Å, is used" in result.output
    # a last digit of version 8 is 0.03 Å
    assert read_particle_file(tmp_path / "x.par").table["rlnOriginYAngst"].tolist() == pytest.approx([0.87])


@pytest.mark.parametrize("header", [1.0, 90.34, 0.01])
def test_a_header_without_meaning_is_not_used(example: Path, tmp_path: Path, header: float) -> None:
    par = converted("par8", [example / "particles.star"], example, "meaningless")[0]
    with StackWriter(tmp_path / "images.mrcs", 1, BOX, header) as stack:
        stack.append(np.zeros((1, BOX, BOX)))
    result = run("convert", par, "--images", tmp_path / "images.mrcs", "-o", tmp_path / "x.par", "--to", "par9")
    assert result.exit_code == 2 and "--pixel_size" in result.output


def test_a_stack_in_the_order_of_the_rows(tmp_path: Path) -> None:
    given = particles([EXAMPLE, EXAMPLE], tmp_path)
    given.table["rlnImageName"] = ["000007@mic_a.mrcs", "000002@mic_b.mrcs"]
    write_star(given, tmp_path / "two.star")
    command = ["convert", tmp_path / "two.star", "-o", tmp_path / "x.par", "--to", "par9"]
    result = run(*command)
    assert result.exit_code == 2 and "in 2 stacks, Frealign takes one" in result.output
    succeed(*command, "--images", tmp_path / "images.mrcs")
    assert read_particle_file(tmp_path / "x.par").image_locations()[0].tolist() == [1, 2]
    write_star(given.select([0]), tmp_path / "one.star")
    result = run("convert", tmp_path / "one.star", "--images", tmp_path / "images.mrcs", "-o", tmp_path / "y.star")
    assert result.exit_code == 2 and "holds 2 images" in result.output


def test_stacks_of_one_name_in_several_folders_are_told_apart(tmp_path: Path) -> None:
    given = particles([EXAMPLE, EXAMPLE], tmp_path)
    given.table["rlnImageName"] = ["000002@job1/images.mrcs", "000002@job2/images.mrcs"]
    write_star(given, tmp_path / "two.star")
    succeed("convert", tmp_path / "two.star", "--images", tmp_path / "images.mrcs", "-o", tmp_path / "x.star")
    assert read_star(tmp_path / "x.star").image_locations()[0].tolist() == [1, 2]


def test_a_stack_of_another_sampling_is_refused(tmp_path: Path) -> None:
    write_star(particles([EXAMPLE], tmp_path), tmp_path / "one.star")
    for box, pixel_size, label in ((32, PIXEL_SIZE, "rlnImageSize"), (BOX, 2.0, "rlnImagePixelSize")):
        with StackWriter(tmp_path / "other.mrcs", 1, box, pixel_size) as stack:
            stack.append(np.zeros((1, box, box)))
        result = run("convert", tmp_path / "one.star", "--images", tmp_path / "other.mrcs", "-o", tmp_path / "x.star")
        assert result.exit_code == 2 and f"its header says {label}" in result.output


def test_an_image_beyond_the_stack_is_refused(tmp_path: Path) -> None:
    write_star(particles([EXAMPLE, EXAMPLE], tmp_path), tmp_path / "two.star")
    par = converted("par9", [tmp_path / "two.star"], tmp_path, "beyond")[0]
    particles([EXAMPLE], tmp_path)
    result = run("convert", par, "--images", tmp_path / "images.mrcs", *FACTS, "-o", tmp_path / "x.star")
    assert result.exit_code == 2 and "which holds 1" in result.output


@pytest.mark.parametrize(("label", "value"), [("rlnOriginXAngst", 1e9), ("rlnAngleTilt", -1e7), ("rlnDefocusU", 1e30)])
def test_what_means_nothing_is_not_carried_on(tmp_path: Path, label: str, value: float) -> None:
    written = particles([{**EXAMPLE, label: value}], tmp_path)
    write_star(written, tmp_path / "p.star")
    result = run("convert", tmp_path / "p.star", "-o", tmp_path / "p.par", "--to", "par9")
    assert result.exit_code == 2 and label in result.stderr and f" is {value:g}" in result.stderr
    assert not (tmp_path / "p.par").exists()


def test_frealign_knows_one_microscope(tmp_path: Path) -> None:
    given = particles([EXAMPLE, EXAMPLE], tmp_path)
    given.table["rlnOpticsGroup"] = [1, 2]
    second = given.optics.assign(rlnOpticsGroup=2, rlnOpticsGroupName="two", rlnImagePixelSize=2.0)
    given.optics = pd.concat([given.optics, second], ignore_index=True)
    write_star(given, tmp_path / "two.star")
    command = ["convert", tmp_path / "two.star", "-o", tmp_path / "x.par", "--to"]
    result = run(*command, "par8")
    assert result.exit_code == 2 and "rlnImagePixelSize differ between its optics groups" in result.output
    assert "differ between its optics groups" in succeed(*command, "par9").output


@pytest.mark.parametrize(("form", "told"), [("par9", True), ("cryodrgn", True), ("parx", False), ("star", False)])
def test_particles_to_be_left_out_do_not_come_back_unsaid(tmp_path: Path, form: str, told: bool) -> None:
    given = particles([EXAMPLE, EXAMPLE], tmp_path)
    given.table = given.table.assign(drgnFrealignInclude=-1, rlnRandomSubset=[1, 2])
    write_star(given, tmp_path / "out.star")
    output = tmp_path / {"cryodrgn": "x", "star": "x.star"}.get(form, "x.par")
    result = succeed("convert", tmp_path / "out.star", "-o", output, "--to", form)
    assert ("2 particles are left out by INCLUDE < 0" in result.output) is told
    assert ("no place for half sets" in result.output) is (form != "star")


@pytest.mark.parametrize(("form", "told"), [("parx", False), ("par9", True), ("cs", True), ("star", False)])
def test_whom_a_run_left_out_does_not_come_back_unsaid(tmp_path: Path, form: str, told: bool) -> None:
    given = particles([EXAMPLE, EXAMPLE], tmp_path)
    given.table["drgnLeftOut"] = [0, 1]
    given.optics["drgnContrast"] = "white"
    write_star(given, tmp_path / "out.star")
    output = tmp_path / {"cs": "x.cs", "star": "x.star"}.get(form, "x.par")
    result = succeed("convert", tmp_path / "out.star", "-o", output, "--to", form)
    said = "that 1 particles are left out (drgnLeftOut; `drgnalign select --kept` writes the others)"
    assert (said in result.output) is told
    if form == "parx":
        assert read_particle_file(output).table["drgnFrealignInclude"].tolist() == [1, -1]


@pytest.mark.parametrize("form", ["par9", "cistem", "cryodrgn", "cs", "star"])
def test_rows_of_one_source_image_are_told(tmp_path: Path, form: str) -> None:
    """Who deals half sets of what is written would part them."""
    given = particles([EXAMPLE] * 4, tmp_path)
    given.table["rlnImageOriginalName"] = ["1@a.mrcs", "2@a.mrcs"] * 2
    write_star(given, tmp_path / "given.star")
    output = tmp_path / {"cryodrgn": "x", "star": "x.star", "cistem": "x.star", "cs": "x.cs"}.get(form, "x.par")
    told = succeed("convert", tmp_path / "given.star", "-o", output, "--to", form).output
    assert ("its rows are of 2 source images, which half sets must not part" in told) is (form != "star")


@pytest.mark.parametrize("form", ["par9", "parx", "cistem", "cryodrgn"])
def test_columns_that_are_lost_are_named(tmp_path: Path, form: str) -> None:
    """Those that tell particles apart: the first eight; and filaments, where there is one in each micrograph."""
    given = particles([EXAMPLE] * 4, tmp_path)
    numbers = {f"rlnFactor{letter}": np.arange(4.0) for letter in "ABCDEFGHIJ"}
    given.table = given.table.assign(**numbers, rlnAllAlike=3.0, rlnHelicalTubeID=1, rlnOriginXAngst=np.arange(4.0))
    write_star(given, tmp_path / "particles.star")
    said = succeed("convert", tmp_path / "particles.star", "-o", tmp_path / f"lost_{form}", "--to", form).stderr
    assert "rlnFactorA, rlnFactorB" in said and "rlnFactorH, 2 more" in said and "filaments" in said
    assert not any(name in said for name in ("rlnFactorI", "rlnAllAlike", "rlnOrigin", "rlnAngle", "rlnDefocus"))


@pytest.mark.parametrize("form", ["par8", "par9", "parx", "cryodrgn"])
def test_one_half_set_alone_is_lost_too(tmp_path: Path, form: str) -> None:
    given = particles([EXAMPLE] * 2, tmp_path)
    given.table["rlnRandomSubset"] = 2
    write_star(given, tmp_path / "given.star")
    output = tmp_path / ("x" if form == "cryodrgn" else "x.par")
    assert "no place for half sets" in succeed("convert", tmp_path / "given.star", "-o", output, "--to", form).output


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ([1, 2, 3], ""),
        ([1, 3, 2], "its 3 rows are not all images of"),
        ([1, 2], "its 2 rows are not all images of"),
        ([1, 2, 1], "its 3 rows are not all images of"),
    ],
)
def test_rows_that_are_not_a_stack_for_cryodrgn_are_told(tmp_path: Path, images: list[int], told: str) -> None:
    given = particles([EXAMPLE] * 3, tmp_path)
    write_star(given.select(np.array(images) - 1), tmp_path / "given.star")
    said = succeed("convert", tmp_path / "given.star", "-o", tmp_path / "x", "--to", "cryodrgn").output
    assert (told or "cryoDRGN takes row by row") in said if told else "WARNING" not in said


def test_rows_of_several_stacks_for_cryodrgn_are_told(tmp_path: Path) -> None:
    given = particles([EXAMPLE] * 2, tmp_path)
    given.table["rlnImageName"] = ["1@a.mrcs", "1@b.mrcs"]
    write_star(given, tmp_path / "given.star")
    told = succeed("convert", tmp_path / "given.star", "-o", tmp_path / "x", "--to", "cryodrgn").output
    assert "its images are in 2 stacks: cryoDRGN takes row by row" in told
    assert f"or {tmp_path / 'given.star'} in its place" in told


@pytest.mark.parametrize(("label", "half"), [("drgnFrealignOcc", 50.0), ("drgnOccupancy", 0.5)])
@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("par8", "no place for the occupancies between 0 and 100 % of 2 particles"),
        ("cryodrgn", "no place for the occupancies between 0 and 100 % of 2 particles"),
        ("star", "RELION does not read the occupancies of 2 particles"),
        ("par9", ""),
        ("cistem", ""),
    ],
)
def test_occupancies_that_are_lost_are_told(tmp_path: Path, form: str, told: str, label: str, half: float) -> None:
    given = particles([EXAMPLE] * 2, tmp_path)
    given.table[label] = half
    write_star(given, tmp_path / "given.star")
    output = tmp_path / {"cryodrgn": "x", "star": "x.star", "cistem": "x.star"}.get(form, "x.par")
    said = succeed("convert", tmp_path / "given.star", "-o", output, "--to", form).output
    assert told in said and ("WARNING" in said) is bool(told)


def test_a_file_in_another_folder_names_its_stack_so_that_it_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_star(particles([EXAMPLE], tmp_path), tmp_path / "one.star")
    par = converted("par9", [tmp_path / "one.star"], tmp_path, "named")[0]
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    command = ["convert", par, "--images", "images.mrcs", *FACTS, "-o"]
    for output, name in (("here.star", "images.mrcs"), ("sub/there.star", str(tmp_path / "images.mrcs"))):
        succeed(*command, output)
        assert read_star(tmp_path / output).image_locations()[1].tolist() == [name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("particles.star -o folder.star", "is a folder"),
        ("particles.star", "Missing option '-o'"),
        ("-o x.star", "one input is needed"),
        ("particles.star --ctf ctf.pkl -o x.star", "one input is needed"),
        ("particles.star -o x.txt", "does not tell how to write it"),
        ("particles.star -o x.par", "say which: --to par8"),
        ("particles.star -o x.star --to cs", "does not tell how to write it as cs"),
        ("particles.star -o x.cs --to par9", "does not tell how to write it as par9"),
        ("particles.star -o x.parx --to cs", "does not tell how to write it as cs"),
        ("particles.star -o x.star --pixel-size 3.1", "leave --pixel_size out"),
        ("particles.star -o x.star --box 65", "its box is 64 px, --box says 65"),
        ("particles.star -o x.star --pixel-size 0", "not in the range"),
        ("particles.star -o nowhere/x.star", "its folder does not exist"),
        ("ctf.pkl -o x.star", "cannot be read as particles"),
    ],
)
def test_bad_use(example: Path, arguments: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(example)
    (example / "ctf.pkl").write_bytes(b"")
    (example / "folder.star").mkdir(exist_ok=True)
    result = run("convert", *arguments.split())
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output
    assert not list(example.glob("x.*"))


@pytest.fixture
def distinct(tmp_path: Path) -> Path:
    """Six particles in a folder of their own; images tell their numbers by their grey value."""
    folder = tmp_path / "old"
    folder.mkdir()
    made = particles([EXAMPLE | {"rlnAngleRot": 10.0 * n} for n in range(6)], folder)
    numbered_stack(folder / "images.mrcs", range(1, 7))
    made.table["rlnImageName"] = [f"{number:06d}@images.mrcs" for number in (6, 5, 4, 3, 2, 1)]
    write_star(made, folder / "particles.star")
    return folder / "particles.star"


def numbered_stack(path: Path, values: Iterable[float], box: int = BOX, pixel_size: float = PIXEL_SIZE) -> Path:
    values = list(values)
    path.parent.mkdir(exist_ok=True)
    with StackWriter(path, len(values), box, pixel_size) as stack:
        stack.append(np.array(values)[:, None, None] * np.ones((len(values), box, box)))
    return path


def numbers_of(path: Path) -> list[int]:
    return read_particle_file(path).image_locations()[0].tolist()


def test_pickles_of_a_part_of_the_images_need_their_index(distinct: Path, tmp_path: Path) -> None:
    """cryoDRGN takes the rows and images that --ind names; poses may also be those of its images alone."""
    stack = distinct.with_name("images.mrcs")
    whole, part, ind = tmp_path / "whole", tmp_path / "part", tmp_path / "ind.pkl"
    succeed("convert", distinct, "-o", whole, "--to", "cryodrgn")
    succeed("select", distinct, "--rows", "1:2", "-o", distinct.with_name("part.star"))
    succeed("convert", distinct.with_name("part.star"), "-o", part, "--to", "cryodrgn")
    ind.write_bytes(pickle.dumps(np.array([4, 1])))
    out = tmp_path / "back.star"

    def back(folder: Path, *options: object) -> Result:
        words = ["--poses", folder / "poses.pkl", "--ctf", folder / "ctf.pkl", "--images", stack, "-o", out]
        return run("convert", *words, *options)

    refused = back(part)
    assert refused.exit_code == 2 and "has 2 rows, and" in refused.output and "--ind" in refused.output
    words = [
        "convert",
        "--poses",
        part / "poses.pkl",
        "--ctf",
        part / "ctf.pkl",
        "-o",
        tmp_path / "x.par",
        "--to",
        "parx",
    ]
    assert "numbered as the rows of the pickles" in succeed(*words).output
    assert back(whole).exit_code == 0 and numbers_of(out) == [1, 2, 3, 4, 5, 6]
    assert back(whole, "--ind", ind).exit_code == 0 and numbers_of(out) == [5, 2]
    np.testing.assert_allclose(read_star(out).table["rlnAngleRot"], [40, 10], atol=1e-4)
    assert back(part, "--ind", ind).exit_code == 0 and numbers_of(out) == [5, 2]
    np.testing.assert_allclose(read_star(out).table["rlnAngleRot"], [0, 10], atol=1e-4)
    ind.write_bytes(pickle.dumps(np.array([7, 1])))
    assert back(part, "--ind", ind).exit_code == 2
    ind.write_bytes(pickle.dumps(np.arange(6)[::-1]))
    assert "both fit" in back(whole, "--ind", ind).output
    assert "select --ind" in run("convert", distinct, "--ind", ind, "-o", out).output


def test_a_new_stack_under_the_old_name_is_not_taken_for_the_old_one(distinct: Path, tmp_path: Path) -> None:
    """Images tell whether they are in the order of the old stack or of the rows, where they can be compared."""
    out = tmp_path / "new" / "out.star"
    restacked = numbered_stack(tmp_path / "new" / "images.mrcs", (6, 5, 4, 3, 2, 1))
    copy = numbered_stack(tmp_path / "copy" / "images.mrcs", range(1, 7))
    other = numbered_stack(tmp_path / "new" / "other.mrcs", (0,) * 6)
    renamed = numbered_stack(tmp_path / "copy" / "renamed.mrcs", range(1, 7))
    for target in (out, out.with_suffix(".par")):
        for stack, numbers in ((restacked, range(1, 7)), (copy, range(6, 0, -1)), (renamed, range(6, 0, -1))):
            options = ["--to", "parx"] if target.suffix == ".par" else []
            succeed("convert", distinct, "--images", stack, "-o", target, *options)
            assert numbers_of(target) == list(numbers)
    # not the old images: a name of their own is told, the old name asked about
    told = succeed("convert", distinct, "--images", other, "-o", out).output
    assert "the order of the rows is taken" in told and numbers_of(out) == [1, 2, 3, 4, 5, 6]
    distinct.with_name("images.mrcs").unlink()
    asked = run("convert", distinct, "--images", restacked, "-o", out)
    assert asked.exit_code == 2 and "--numbers file" in asked.output
    for numbers, expected in (("file", [6, 5, 4, 3, 2, 1]), ("rows", [1, 2, 3, 4, 5, 6])):
        succeed("convert", distinct, "--images", restacked, "-o", out, "--numbers", numbers)
        assert numbers_of(out) == expected


def test_the_contrast_that_is_lost_is_told(distinct: Path, tmp_path: Path) -> None:
    """With what the target's program takes images for."""
    succeed("convert", distinct, "-o", distinct.with_name("dark.cs"))
    succeed("convert", distinct, "-o", distinct.with_name("white.cs"), "--invert", "no")
    for contrast, target, words in (
        ("dark", "dark.star", "RELION takes it for white: invert the images"),
        ("white", "white.par", "Frealign takes it for dark: invert the images"),
        ("white", "pickles", "cryoDRGN takes it for dark: train with --uninvert-data"),
    ):
        to = {".par": ["--to", "par9"], "": ["--to", "cryodrgn"]}.get(Path(target).suffix, [])
        out = succeed("convert", distinct.with_name(f"{contrast}.cs"), "-o", distinct.with_name(target), *to).output
        assert words in out
    # what the program expects needs no word
    for contrast, target in (("white", "white.star"), ("dark", "dark.par")):
        to = ["--to", "par9"] if target == "dark.par" else []
        out = succeed("convert", distinct.with_name(f"{contrast}.cs"), "-o", distinct.with_name(target), *to).output
        assert "the contrast" not in out


def test_what_is_said_is_held_against_the_stack(distinct: Path, tmp_path: Path) -> None:
    """Numbers beyond the end and another box are refused, another pixel size told."""
    succeed("convert", distinct, "-o", tmp_path / "pickles", "--to", "cryodrgn")
    half = numbered_stack(tmp_path / "half.mrcs", range(1, 7), BOX // 2, 2 * PIXEL_SIZE)
    words = ["convert", "--poses", tmp_path / "pickles/poses.pkl", "--ctf", tmp_path / "pickles/ctf.pkl"]
    words += ["--images", half, "-o", tmp_path / "half.star"]
    refused = run(*words)
    assert refused.exit_code == 2 and "its box is 64 px" in refused.output and "--box" in refused.output
    succeed(*words, "--box", BOX // 2, "--pixel-size", 2 * PIXEL_SIZE)
    succeed("convert", distinct, "-o", tmp_path / "e.par", "--to", "parx")
    words = ["convert", tmp_path / "e.par", "--images", half, "-o", tmp_path / "e.star", *FACTS[2:-2]]
    told = succeed(*words, "--pixel-size", PIXEL_SIZE).output
    assert "the pixel size is 3 Å, 6 Å in the header" in told
    shifted = read_star(distinct)
    shifted.table["rlnImageName"] = [f"{number}@images.mrcs" for number in range(2, 8)]
    write_star(shifted, distinct)
    refused = run("convert", distinct, "-o", distinct.with_suffix(".cs"))
    assert refused.exit_code == 2 and "row 6: asks for image 7 of" in refused.output


def test_contrast_is_looked_at_where_programs_take_it_otherwise(noisy_set: Any, tmp_path: Path) -> None:
    """Frealign's files say nothing of it; images that are not there are told, and show nothing."""
    given = noisy_set.given
    without = Particles(given.table, given.optics.drop(columns="drgnContrast", errors="ignore"), tmp_path / "p.star")
    write_star(without, tmp_path / "p.star")
    stack = noisy_set.folder / "particles.mrcs"
    facts = ["--pixel-size", 8, "--voltage", 300, "--cs", 2.7, "--amplitude-contrast", 0.07, "--box", 32]
    alone = succeed("convert", tmp_path / "p.star", "-o", tmp_path / "p.par", "--to", "par9").stderr
    assert "1 of 1 stacks cannot be found" in alone and "is not known" in alone
    refused = run("convert", tmp_path / "p.star", "-o", tmp_path / "p.cs")
    assert refused.exit_code == 2 and "particles.mrcs is not there, whose images would show" in refused.output
    source = ["convert", tmp_path / "p.par", *facts, "--images", stack]
    said = succeed(*source, "-o", tmp_path / "dark.star", "--invert", "yes").stderr
    assert "protein is dark in the images; RELION takes it for white" in said
    assert "protein in images       dark" in succeed("inspect", tmp_path / "dark.star").stdout
    succeed(*source, "-o", tmp_path / "q.star")
    assert set(read_star(tmp_path / "q.star").optics["drgnContrast"]) == {"white"}
