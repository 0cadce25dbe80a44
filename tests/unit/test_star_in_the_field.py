"""Star files as they come from other programs and from text editors."""

from __future__ import annotations

import codecs
import warnings
from pathlib import Path

import numpy as np
import pytest
from command_line import run, succeed

from drgnalign.errors import InputError, InputWarning
from drgnalign.formats.star import copy_star_rows, read_star, write_star
from drgnalign.inputs import import_particles
from drgnalign.inspect import inspect_file
from drgnalign.particles import ANGLES, DEFOCUS

OPTICS = {
    "rlnOpticsGroup": "1",
    "rlnOpticsGroupName": "grid",
    "rlnVoltage": "300.0",
    "rlnSphericalAberration": "2.7",
    "rlnAmplitudeContrast": "0.07",
    "rlnImagePixelSize": "8.0",
    "rlnImageSize": "32",
    "rlnImageDimensionality": "2",
}
POSES = {
    "rlnAngleRot": "10.5",
    "rlnAngleTilt": "80.25",
    "rlnAnglePsi": "-170.0",
    "rlnOriginXAngst": "-2.5",
    "rlnOriginYAngst": "9.75",
    "rlnDefocusU": "15255.4",
    "rlnDefocusV": "14948.8",
    "rlnDefocusAngle": "46.9",
    "rlnRandomSubset": "2",
}
PARTICLES = {"rlnImageName": "000001@a.mrcs", "rlnOpticsGroup": "1", **POSES}


def loop(name: str, *rows: dict[str, str]) -> str:
    labels = "".join(f"_{label} #{number}\n" for number, label in enumerate(rows[0], start=1))
    return f"data_{name}\n\nloop_\n{labels}" + "".join(" ".join(row.values()) + "\n" for row in rows) + "\n"


def pairs(name: str, row: dict[str, str]) -> str:
    return f"data_{name}\n\n" + "".join(f"_{label}   {value}\n" for label, value in row.items()) + "\n"


def numbered(count: int, row: dict[str, str] = PARTICLES, first: int = 1) -> list[dict[str, str]]:
    return [{**row, "rlnImageName": f"{number:06d}@a.mrcs"} for number in range(first, first + count)]


def star(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "p.star"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


USUAL = "# version 30001\n\n" + loop("optics", OPTICS) + "# version 30001\n\n" + loop("particles", *numbered(3))


def without(row: dict[str, str], *labels: str) -> dict[str, str]:
    return {label: value for label, value in row.items() if label not in labels}


@pytest.mark.parametrize(
    "text",
    [
        codecs.BOM_UTF8 + USUAL.partition("\n\n")[2].encode(),
        USUAL.replace("data_", "  data_"),
        USUAL.replace("data_", "\tdata_").replace("loop_", " loop_  "),
        USUAL.replace("data_particles", "data_particles   ").replace("data_optics", "data_optics # one group"),
        USUAL.replace("\n", "\r\n"),
        USUAL.replace("\n000002@", "\n  # a remark\n000002@"),
        USUAL.replace("\n000002@", "\n# a remark\n#another\n000002@"),
        USUAL.replace("46.9 2\n000002@", "46.9 2  # the first particle\n000002@"),
        USUAL.replace("loop_\n_rlnImageName", "loop_\n; a remark\n\n# another\n  _rlnImageName"),
        USUAL.replace(" 10.5 ", "\t10.5\t "),
        USUAL.rstrip(),
        pairs("optics", OPTICS) + loop("particles", *numbered(3)),
        pairs("optics", OPTICS).replace("   300.0", " 300.0   # kV").replace("grid", "'grid'")
        + loop("particles", *numbered(3)),
    ],
    ids=[
        *("byte order mark", "indented heads", "tabs before heads", "blanks and a comment behind heads", "Windows"),
        *("indented comment", "comments", "comment behind a row", "comments among labels", "tabs", "no last line end"),
        *("a list of labels and values", "with comment and quotes"),
    ],
)
def test_all_are_the_same_file(tmp_path: Path, text: str | bytes) -> None:
    (tmp_path / "usual").mkdir()
    expected = read_star(star(tmp_path / "usual", USUAL))
    found = read_star(star(tmp_path, text))
    assert found.table.to_dict() == expected.table.to_dict()
    assert found.optics.to_dict() == expected.optics.to_dict()
    # and rows of it can be taken without any other change
    copy_star_rows(tmp_path / "p.star", np.array([True, False, True]), tmp_path / "part.star")
    chosen = read_star(tmp_path / "part.star")
    assert chosen.table["rlnImageName"].tolist() == ["000001@a.mrcs", "000003@a.mrcs"]
    assert chosen.optics.to_dict() == expected.optics.to_dict()


def test_inspect_knows_what_windows_did(tmp_path: Path) -> None:
    for text in (codecs.BOM_UTF8 + USUAL.partition("\n\n")[2].encode(), USUAL.replace("\n", "\r\n")):
        report = inspect_file(star(tmp_path, text))
        assert report["kind"] == "RELION 3.1 star file"
        assert any("an editor of Windows" in finding["what"] for finding in report["findings"])


def test_one_particle_that_is_no_loop(tmp_path: Path) -> None:
    text = pairs("optics", OPTICS) + pairs("particles", PARTICLES)
    path = star(tmp_path, text)
    assert read_star(path).displacements().tolist() == [[2.5 / 8, -9.75 / 8]]
    succeed("select", path, "--rows", "1:1", "-o", tmp_path / "one.star")
    assert (tmp_path / "one.star").read_text() == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (USUAL.encode("utf-16"), "UTF-16"),
        (pairs("optics", OPTICS) + loop("particles", PARTICLES).replace("loop_\n", ""), "no loop_ above"),
        (
            loop("model_general", {"rlnPixelSize": "1"}) + loop("model_classes", {"rlnReferenceImage": "x"}),
            "model file",
        ),
        (loop("micrographs", {"rlnMicrographName": "a.mrc"}), "a list of micrographs"),
        (loop("", {"rlnCoordinateX": "1", "rlnCoordinateY": "2"}), "a list of coordinates"),
        (loop("one", PARTICLES) + loop("two", PARTICLES), "2 of its tables .*data_one, data_two"),
    ],
    ids=["UTF-16", "loop_ is missing", "model", "micrographs", "coordinates", "two tables"],
)
def test_what_it_is_instead_is_said(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_star(star(tmp_path, text))


def test_a_second_table_of_images_is_told(tmp_path: Path) -> None:
    path = star(tmp_path, USUAL + loop("images", *numbered(2, first=7)))
    with pytest.warns(InputWarning, match="only data_particles is read, not data_images"):
        assert len(read_star(path)) == 3


def test_commands_say_it_once(tmp_path: Path) -> None:
    path = star(tmp_path, USUAL + loop("images", *numbered(2, first=7)))
    assert run("reconstruct", path, "-o", tmp_path / "map").stderr.count("only data_particles is read") == 1


TOMOGRAPHY = {
    "RELION 5": {"rlnTomoName": "TS_01", **PARTICLES, "rlnImageName": "Subtomograms/TS_01/1_stack2d.mrcs"},
    "RELION 3": {**PARTICLES, "rlnImageName": "Subtomo/1.mrc", "rlnCtfImage": "Subtomo/1_ctf.mrc"},
    "shifts along z": {**PARTICLES, "rlnOriginZAngst": "0.3"},
    "images of tilts": {**PARTICLES, "rlnTiltIndex": "4"},
}


@pytest.mark.parametrize("row", TOMOGRAPHY.values(), ids=TOMOGRAPHY)
def test_tomography_is_named_as_such(tmp_path: Path, row: dict[str, str]) -> None:
    with pytest.raises(InputError, match="electron tomography"):
        read_star(star(tmp_path, loop("optics", OPTICS) + loop("particles", row)))
    cubes = loop("optics", OPTICS | {"rlnImageDimensionality": "3"}) + loop("particles", PARTICLES)
    with pytest.raises(InputError, match="electron tomography"):
        read_star(star(tmp_path, cubes))


def test_single_particles_with_labels_of_tomography_that_say_nothing(tmp_path: Path) -> None:
    general = "data_general\n\n_rlnTomoSubTomosAre2DStacks 1\n\n"
    rows = loop("particles", {**PARTICLES, "rlnOriginZAngst": "0.0"})
    assert len(read_star(star(tmp_path, general + loop("optics", OPTICS) + rows))) == 1


def test_numbers_from_0_are_no_broken_rows(tmp_path: Path) -> None:
    text = loop("optics", OPTICS) + loop("particles", *numbered(3, first=0)).replace("000000@", "000@")
    with pytest.raises(InputError, match="counts from 0") as caught:
        read_star(star(tmp_path, text))
    assert "add 1" in caught.value.remedy and "drgnalign convert particles.cs" in caught.value.remedy
    assert "remove" not in str(caught.value)


def test_images_that_are_in_no_stack(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"one image each .*a_1\.mrc.*\n.*relion_stack_create --i .*\.star --o stacked"
    ):
        read_star(star(tmp_path, loop("optics", OPTICS) + loop("particles", {**PARTICLES, "rlnImageName": "a_1.mrc"})))


def test_groups_without_optics_table_are_kept_and_told(tmp_path: Path) -> None:
    rows = [{**row, "rlnOpticsGroup": group} for row, group in zip(numbered(4), "2171", strict=True)]
    with pytest.warns(InputWarning, match=r"no optics table \(data_optics\): the 3 optics groups are kept"):
        p = read_star(star(tmp_path, loop("particles", *rows)), voltage=300, pixel_size=8)
    assert p.table["rlnOpticsGroup"].tolist() == [2, 1, 7, 1]
    assert p.optics["rlnOpticsGroup"].tolist() == [1, 2, 7]
    assert p.optics["rlnOpticsGroupName"].is_unique
    assert (p.optics[["rlnVoltage", "rlnImagePixelSize"]] == [300, 8]).all(axis=None)
    rows = [{**row, "rlnVoltage": kv} for row, kv in zip(rows, ("300", "200", "100", "200"), strict=True)]
    with pytest.warns(InputWarning, match="no optics table"):
        assert read_star(star(tmp_path, loop("particles", *rows))).optics["rlnVoltage"].tolist() == [200, 300, 100]


@pytest.mark.parametrize(
    ("optics", "particles"),
    [
        ({"rlnPixelSize": "8.0"}, {}),
        ({"rlnDetectorPixelSize": "5.0", "rlnMagnification": "6250"}, {}),
        ({}, {"rlnPixelSize": "8.0"}),
        ({}, {"rlnDetectorPixelSize": "5.0", "rlnMagnification": "6250"}),
        ({"rlnImagePixelSize": "8.0", "rlnPixelSize": "8.0"}, {}),
    ],
)
def test_pixel_size_by_another_name(tmp_path: Path, optics: dict[str, str], particles: dict[str, str]) -> None:
    row = without(OPTICS, "rlnImagePixelSize") | optics
    p = read_star(star(tmp_path, loop("optics", row) + loop("particles", PARTICLES | particles)))
    assert p.pixel_size == 8
    assert p.displacements().tolist() == [[2.5 / 8, -9.75 / 8]]


def test_pixel_sizes_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    text = loop("optics", OPTICS | {"rlnPixelSize": "4.0"}) + loop("particles", PARTICLES)
    with pytest.warns(InputWarning, match="rlnImagePixelSize says 8 Å/px and rlnPixelSize 4"):
        assert read_star(star(tmp_path, text)).pixel_size == 8


def test_optics_of_particles_must_not_contradict_those_of_their_group(tmp_path: Path) -> None:
    same = loop("optics", OPTICS) + loop("particles", *numbered(2, {**PARTICLES, "rlnVoltage": "300"}))
    assert read_star(star(tmp_path, same)).optics["rlnVoltage"].tolist() == [300]
    with pytest.raises(InputError, match=r"rlnVoltage is 200.* in its particle table, but 300.* in its optics"):
        read_star(star(tmp_path, same.replace("2 300\n", "2 200\n")))


def no_answer(path: Path, tmp_path: Path) -> list[str]:
    """What the ways to use poses and defoci say instead."""
    said = []
    for arguments in (
        ["convert", path, "-o", tmp_path / "x.star"],
        ["convert", path, "-o", tmp_path / "x.star", "--to", "cistem"],
        ["convert", path, "-o", tmp_path / "x.par", "--to", "par9"],
        ["convert", path, "-o", tmp_path / "x.cs", "--invert", "no"],
        ["convert", path, "-o", tmp_path / "x", "--to", "cryodrgn"],
        ["reconstruct", path, "-o", tmp_path / "map"],
    ):
        result = run(*arguments)
        assert result.exit_code == 2, result.output
        said.append(result.stderr.partition("ERROR: ")[2])
    assert not list(tmp_path.glob("x*"))
    return said + errors(path)


def errors(path: Path) -> list[str]:
    """What `inspect` finds wrong, but that the images are not there, which these files do without."""
    found = [finding["what"] for finding in inspect_file(path)["findings"] if finding["level"] == "error"]
    return [what for what in found if "stacks cannot be found" not in what]


BARE = without(PARTICLES, "rlnOriginXAngst", "rlnOriginYAngst")
BARE_30 = without(BARE | OPTICS, "rlnOpticsGroup", "rlnOpticsGroupName")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (loop("optics", OPTICS) + loop("particles", *numbered(3, BARE)), "rlnOriginXAngst, rlnOriginYAngst"),
        (loop("", *numbered(3, BARE_30)), "rlnOriginX, rlnOriginY"),
    ],
    ids=["3.1", "3.0"],
)
def test_poses_without_origins_have_one_answer(tmp_path: Path, text: str, names: str) -> None:
    said = no_answer(star(tmp_path, text), tmp_path)
    assert len(said) == 7
    for what in said:
        assert f"lacks the pose columns {names}" in what
        assert "0 where particles are centred" in what
        first, second = names.split(", ")
        assert f".star --o added.star --add_column {first} --add_column_value 0 && relion_star_handler" in what
        assert f"--i added.star --o added.star --add_column {second} --add_column_value 0" in what


def test_one_defocus_has_advice_that_helps(tmp_path: Path) -> None:
    rows = numbered(3, without(PARTICLES, "rlnDefocusV", "rlnDefocusAngle"))
    for what in no_answer(star(tmp_path, loop("optics", OPTICS) + loop("particles", *rows)), tmp_path):
        assert "lacks the CTF columns rlnDefocusV, rlnDefocusAngle" in what
        assert "rlnDefocusV is rlnDefocusU" in what
        assert "--add_column rlnDefocusV --copy_column_from rlnDefocusU && relion_star_handler" in what


def test_what_writes_poses_and_ctf_is_named(tmp_path: Path) -> None:
    for absent, words in ((ANGLES, ["run_data.star", "--passthrough"]), (DEFOCUS, ["CtfFind", "Patch CTF"])):
        rows = numbered(3, without(PARTICLES, *absent))
        with pytest.raises(InputError) as caught:
            import_particles(star(tmp_path, loop("optics", OPTICS) + loop("particles", *rows)))
        assert all(word in caught.value.remedy for word in words), caught.value


def test_names_that_are_none_in_any_row(tmp_path: Path) -> None:
    rows = [{**row, "rlnImageName": f"image{number}@"} for number, row in enumerate(numbered(3))]
    with pytest.raises(InputError, match=r"\('image0@', and so in all rows\)\n.*000001@Extract/job012"):
        read_star(star(tmp_path, loop("optics", OPTICS) + loop("particles", *rows)))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("label", [label for label in POSES if label != "rlnRandomSubset"])
def test_what_is_no_number_has_one_message_everywhere(tmp_path: Path, label: str, value: str) -> None:
    rows = numbered(3)
    rows[1][label] = value
    path = star(tmp_path, loop("optics", OPTICS) + loop("particles", *rows))
    message = f"row 2: {label} is not a finite number (1 such rows)"
    with pytest.raises(InputError) as caught:
        import_particles(path)
    assert caught.value.problem == message
    for arguments in (
        ["convert", path, "-o", tmp_path / "x.star"],
        ["convert", path, "-o", tmp_path / "x.par", "--to", "par9"],
        ["convert", path, "-o", tmp_path / "x.cs", "--invert", "no"],
        ["convert", path, "-o", tmp_path / "x", "--to", "cryodrgn"],
        ["reconstruct", path, "-o", tmp_path / "map"],
        ["refine", path, "-o", tmp_path / "refined.star", "--half1", path, "--half2", path, "--limit", "20"],
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert message in result.stderr, (arguments, result.output)
        assert result.stderr.count("ERROR") == 1


LENS = {
    "rlnVoltage": "{}",
    "rlnSphericalAberration": "{}",
    "rlnAmplitudeContrast": "{}",
    "rlnImagePixelSize": "{}",
    "rlnImageSize": "{}",
    "rlnBeamTiltX": "{}",
    "rlnMagMat00": "{}",
    "rlnCtfBfactor": "{}",
    "rlnOddZernike": "[0.1,{},0]",
    "rlnEvenZernike": "[{}]",
}


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("label", LENS)
def test_what_is_no_number_in_an_optics_table_is_refused(tmp_path: Path, label: str, value: str) -> None:
    row = OPTICS | {"rlnBeamTiltY": "0.0"} | {label: LENS[label].format(value)}
    path = star(tmp_path, loop("optics", row) + loop("particles", *numbered(3)))
    with pytest.raises(InputError, match=rf"p\.star: .*{label}") as caught:
        import_particles(path)
    assert "remove the row" not in caught.value.remedy
    for arguments in (["convert", path, "-o", tmp_path / "x.star"], ["reconstruct", path, "-o", tmp_path / "map"]):
        result = run(*arguments)
        assert result.exit_code == 2 and result.stderr.count("ERROR") == 1, (arguments, result.output)
        assert label in result.stderr


def test_words_in_an_optics_table_that_no_particle_names(tmp_path: Path) -> None:
    """What is wrong with the file is said, not what comes of the word."""
    particles = {label: value for label, value in PARTICLES.items() if label != "rlnOpticsGroup"}
    text = loop("optics", {**OPTICS, "rlnPixelSize": "white"}) + loop("particles", *numbered(2, particles))
    with pytest.raises(InputError, match="the particle table has no rlnOpticsGroup"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read_star(star(tmp_path, text))


def test_a_row_of_nan_is_one_message(tmp_path: Path) -> None:
    rows = numbered(3)
    rows[2] |= dict.fromkeys(("rlnAngleRot", "rlnOriginXAngst", "rlnDefocusU"), "nan")
    path = star(tmp_path, loop("optics", OPTICS) + loop("particles", *rows))
    with pytest.raises(InputError, match="row 3: rlnAngleRot, rlnOriginXAngst, rlnDefocusU are not finite numbers"):
        import_particles(path)
    assert errors(path) == [
        "rlnAngleRot, rlnOriginXAngst, rlnDefocusU are NaN or infinite in 1 rows; the first is number 3: "
        "correct or remove them"
    ]


def test_a_value_that_is_nan_may_be_given(tmp_path: Path) -> None:
    path = star(tmp_path, loop("optics", OPTICS | {"rlnVoltage": "nan"}) + loop("particles", *numbered(2)))
    assert read_star(path, voltage=300).optics["rlnVoltage"].tolist() == [300]


def test_a_phase_shift_of_the_group_is_its_particles(tmp_path: Path) -> None:
    """As RELION has it: a particle's own value goes first."""
    groups = loop("optics", OPTICS | {"rlnPhaseShift": "90.0"})
    read = read_star(star(tmp_path, groups + loop("particles", *numbered(3))))
    assert read.table["rlnPhaseShift"].tolist() == [90.0] * 3
    assert "rlnPhaseShift" not in read.optics
    own = loop("particles", *(row | {"rlnPhaseShift": "30.0"} for row in numbered(3)))
    assert read_star(star(tmp_path, groups + own)).table["rlnPhaseShift"].tolist() == [30.0] * 3


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("rlnBeamTiltx", "rlnBeamTiltX"), ("rlnPhaseshift", "rlnPhaseShift"), ("rlnCtfBFactor", "rlnCtfBfactor"),
        ("rlnCtfScaleFactor", "rlnCtfScalefactor"), ("rlnMagMat_00", "rlnMagMat00"),
        ("rlnEvenZernikes", "rlnEvenZernike"), ("rlnRandomSubsets", "rlnRandomSubset"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["optics", "particles"])
def test_a_misspelt_label_is_told(tmp_path: Path, wrong: str, right: str, where: str) -> None:
    rows = numbered(3)
    optics = dict(OPTICS)
    for row in rows if where == "particles" else [optics]:
        row[wrong] = "1"
    path = star(tmp_path, loop("optics", optics) + loop("particles", *rows))
    with pytest.warns(InputWarning, match=rf"{wrong} \(did you mean {right}\?\)"):
        read_star(path)


def test_labels_that_relion_has_are_not_taken_for_misspelt(tmp_path: Path) -> None:
    rows = numbered(3)
    for row in rows:
        row |= {"rlnCoordinateZ": "0", "rlnOriginZAngst": "0", "rlnAngleTiltPrior": "1", "rlnGroupNumber": "1"}
        row |= {"rlnIsSelected": "1", "drgnRandomSubset": "1", "rlnCtfMaxResolution": "4", "rlnClassNumber": "1"}
    path = star(tmp_path, loop("optics", OPTICS) + loop("particles", *rows))
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        read_star(path)


def test_origins_in_both_units_must_agree(tmp_path: Path) -> None:
    rows = numbered(3)
    for number, row in enumerate(rows):
        row["rlnOriginX"] = str(float(row["rlnOriginXAngst"]) / float(OPTICS["rlnImagePixelSize"]) + (number == 1))
    path = star(tmp_path, loop("optics", OPTICS) + loop("particles", *rows))
    with pytest.raises(InputError, match=r"row 2: rlnOriginXAngst is .*, and rlnOriginX .* \(1 such rows\)"):
        read_star(path)
    rows[1]["rlnOriginX"] = str(float(rows[1]["rlnOriginX"]) - 1)
    assert "rlnOriginX" not in read_star(star(tmp_path, loop("optics", OPTICS) + loop("particles", *rows))).table


def test_line_ends_that_an_editor_has_doubled(tmp_path: Path) -> None:
    """\\r\\r\\n ends a line once."""
    text = loop("optics", OPTICS) + loop("particles", *numbered(4))
    path = star(tmp_path, text)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\r\n"))
    succeed("select", path, "--rows", "2:3", "-o", tmp_path / "x.star")
    assert read_star(tmp_path / "x.star").table["rlnImageName"].tolist() == [
        row["rlnImageName"] for row in numbered(4)[1:3]
    ]


@pytest.mark.parametrize("name", ["_a.mrc", ";a.mrc"])
def test_a_first_word_that_begins_like_a_label_or_a_comment(tmp_path: Path, name: str) -> None:
    """RELION passes over a first row that begins with ;, so that it would be lost without a word."""
    rows = [{"rlnMicrographName": f"m{row}.mrc", **particle} for row, particle in enumerate(numbered(3))]
    rows[0]["rlnMicrographName"] = name
    with pytest.raises(InputError, match=r"is not a readable star file: line \d+ has"):
        read_star(star(tmp_path, loop("optics", OPTICS) + loop("particles", *rows)))
    rows[0]["rlnMicrographName"] = f"'{name}'"
    particles = read_star(star(tmp_path, loop("optics", OPTICS) + loop("particles", *rows)))
    write_star(particles, tmp_path / "again.star")
    again = read_star(tmp_path / "again.star").table["rlnMicrographName"].tolist()
    assert again == particles.table["rlnMicrographName"].tolist() == [name, "m1.mrc", "m2.mrc"]
    copy_star_rows(tmp_path / "again.star", np.array([True, False, True]), tmp_path / "two.star")
    assert read_star(tmp_path / "two.star").table["rlnMicrographName"].tolist() == [name, "m2.mrc"]


@pytest.mark.parametrize(
    "said", [{"rlnPixelSize": "3.0"}, {"rlnDetectorPixelSize": "3.0", "rlnMagnification": "10000.0"}]
)
def test_pixel_sizes_of_particles_beside_an_optics_table(tmp_path: Path, said: dict[str, str]) -> None:
    path = star(tmp_path, loop("optics", OPTICS) + loop("particles", *numbered(2, {**PARTICLES, **said})))
    with pytest.warns(InputWarning, match=r"contradict each other.*says 8 Å/px, and rln\w+.* of its particles 3$"):
        assert read_star(path).pixel_size == 8


def test_a_gap_in_a_column_of_the_optics_is_not_filled_by_its_neighbours(tmp_path: Path) -> None:
    rows = numbered(3, {**PARTICLES, "rlnBeamTiltX": "0.3"})
    rows[1]["rlnBeamTiltX"] = "nan"
    path = star(tmp_path, loop("optics", OPTICS) + loop("particles", *rows))
    with pytest.raises(InputError, match=r"row 2: rlnBeamTiltX is not a number \(1 such rows\)\n.*--drop 2 "):
        read_star(path)


@pytest.mark.parametrize(
    ("halves", "message"),
    [
        ("0101", "0 or 1 throughout: half sets count from 1"),
        ("0000", "1 or 2 for no particle"),
        ("1203", "--drop 3-4 "),
    ],
)
def test_half_sets_that_count_from_0_are_no_rows_to_be_dropped(tmp_path: Path, halves: str, message: str) -> None:
    """Who drops the rows of one half set has none of it left."""
    rows = [{**row, "rlnRandomSubset": half} for row, half in zip(numbered(4), halves, strict=True)]
    particles = read_star(star(tmp_path, loop("optics", OPTICS) + loop("particles", *rows)))
    with pytest.raises(InputError, match=message) as error:
        particles.refuse_unusable()
    assert ("--drop" in str(error.value)) == (halves == "1203") != ("--half_sets deal" in str(error.value))
