"""Odd files as people have them, against all that reads files: no traceback, and one message that says what is odd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from numpy.typing import NDArray

from drgnalign.formats.cryosparc import write_cs
from drgnalign.formats.mrc import StackWriter
from drgnalign.formats.par import write_par
from drgnalign.formats.star import read_star

N, BOX = 24, 32
LABELS = (
    *("rlnImageName", "rlnOpticsGroup", "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst"),
    *("rlnOriginYAngst", "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnRandomSubset", "rlnClassNumber"),
)
OPTICS = (
    "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnOpticsGroupName\n_rlnVoltage\n_rlnSphericalAberration\n"
    "_rlnAmplitudeContrast\n_rlnImagePixelSize\n_rlnImageSize\n1 grid 300.0 2.7 0.1 4.0 32\n\n"
)
HEAD = OPTICS + "data_particles\n\nloop_\n" + "".join(f"_{label}\n" for label in LABELS)


def table() -> list[list[str]]:
    random = np.random.default_rng(3)
    return [
        [
            *(f"{row + 1:06d}@a.mrcs", "1", *(f"{angle:.3f}" for angle in random.uniform(5, 175, 3)), "1.5", "-2.25"),
            *("15000.0", "14800.0", "45.0", str(row % 2 + 1), str(row % 3 + 1)),
        ]
        for row in range(N)
    ]


def star(rows: list[list[str]] | None = None, separator: str = " ") -> str:
    return HEAD + "".join(separator.join(row) + "\n" for row in (table() if rows is None else rows))


def with_value(label: str, value: str, *rows: int) -> str:
    """A star file with one value in some rows, or in all."""
    whole = table()
    for row in rows or range(N):
        whole[row][LABELS.index(label)] = value
    return star(whole)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    y, x = np.mgrid[:BOX, :BOX] - BOX // 2
    with StackWriter(tmp_path / "a.mrcs", N, BOX, 4.0) as stack:
        stack.append(np.random.default_rng(0).normal(size=(N, BOX, BOX)) + 2 * (np.hypot(x, y) < 7))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said_by_all(path: Path, only_used: bool = False) -> list[str]:
    """What all commands say that refuse a file, each with one message; `only_used`: those that look at its values."""
    suffix = path.suffix
    facts = ["--voltage", "300", "--cs", "2.7", "--amplitude-contrast", "0.1"] if suffix == ".par" else []
    output = "x.star" if suffix in (".cs", ".par") else "x.cs"
    images = ["--images", "a.mrcs"] if suffix == ".par" else []
    commands = [["inspect", path], ["convert", path, *images, *facts, "-o", output]]
    if not only_used:
        commands += [["select", path, "--rows", "2:3", "-o", f"y{suffix}"], ["merge", path, "-o", f"z{suffix}"]]
    if suffix == ".star":
        commands.append(["reconstruct", path, "-o", "map"])
    said = []
    for words in commands:
        result = run(*words)
        assert result.exit_code == 2, (words[0], result.output, result.exception)
        assert words[0] == "inspect" or result.stderr.count("What to do:") == 1
        said.append(" ".join(result.output.split()))
    return said


@pytest.mark.parametrize(
    "text",
    [
        star(),
        star().replace("\n", "\r\n"),
        star(separator="\t"),
        star(separator="   \t "),
        star().replace("_rlnAngleRot", "_rlnAngleRot\t#3"),
        "\ufeff" + star(),
        star() + "# made by hand\n",
        star().replace("data_particles", "data_images"),
        with_value("rlnAngleRot", "+12.5", 3),
        with_value("rlnAngleRot", "'12.5'", 3),
        with_value("rlnOpticsGroup", "1.0"),
        star().replace(" 32\n", " 32.0\n"),
    ],
    ids=range(12),
)
def test_what_is_only_unusual_is_read(folder: Path, text: str) -> None:
    (folder / "p.star").write_bytes(text.encode())
    for words in (["convert", "-o", "x.cs", "--invert", "no"], ["select", "-o", "y.star"], ["merge", "-o", "z.star"]):
        result = run(words[0], "p.star", *words[1:])
        assert result.exit_code == 0, result.output
    assert len(read_star(folder / "z.star")) == N


COMMAS = "write numbers with a decimal point"
DROP_4 = "(1 such rows) What to do: correct or remove the rows: drgnalign select p.star --drop 4 -o good.star"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (star().replace("\n", "\r"), "ends of lines are those of old Macs"),
        (star().replace(".", ","), COMMAS),
        (with_value("rlnDefocusU", "15,000.0"), COMMAS),
        (with_value("rlnDefocusU", "15,0", 3), COMMAS),
        (with_value("rlnAngleRot", "abc", 3), f"row 4: rlnAngleRot is 'abc' {DROP_4}"),
        (with_value("rlnAngleRot", "12°", 3), f"row 4: rlnAngleRot is '12°' {DROP_4}"),
        (with_value("rlnAngleRot", "N/A", 3), f"row 4: rlnAngleRot is 'N/A' {DROP_4}"),
        (with_value("rlnAngleRot", "0x1F", 3), f"row 4: rlnAngleRot is '0x1F' {DROP_4}"),
        (with_value("rlnDefocusV", "1.5D+04", 3), f"row 4: rlnDefocusV is '1.5D+04' {DROP_4}"),
        (with_value("rlnAngleRot", "abc", 3, 7, 8), "(3 such rows) What to do: correct or remove the rows"),
        (with_value("rlnRandomSubset", "A"), "(24 such rows) What to do: correct the column"),
        (with_value("rlnClassNumber", "9" * 25), "(24 such rows) What to do: correct the column"),
        (with_value("rlnImageName", "2.0@a.mrcs", 3), "is not of the form number@stack"),
        (with_value("rlnImageName", "99999999999999999999@a.mrcs", 3), "is not of the form number@stack"),
        (with_value("rlnImageName", "٢@a.mrcs", 3), "is not of the form number@stack"),
        (with_value("rlnOpticsGroup", "nan", 3), "row 4: the optics group is not in the optics table"),
        (HEAD, "has no particles"),
        (star([]), "has no particles"),
        (OPTICS + "data_particles\n\nloop_\n", "has no particles"),
        (OPTICS, "holds rlnImageName"),
        ("# nothing\n\n", "holds rlnImageName"),
        (star([*table()[:5], table()[5][:-2]]), "has 10 fields, for 12 labels"),
        (star()[:-20], "fields, for 12 labels"),
        (star().replace("300.0", "300kV"), "rlnVoltage is '300kV'"),
        (star().replace(" 4.0 ", " 0 "), "the pixel size (rlnImagePixelSize) is 0 Å"),
        (star().replace(" 4.0 ", " 1e30 "), "the pixel size (rlnImagePixelSize) is 1e+30 Å"),
    ],
    ids=range(26),
)
def test_what_is_wrong_in_a_star_file_is_said_once(folder: Path, text: str, words: str) -> None:
    (folder / "p.star").write_bytes(text.encode())
    inspected, *others = said_by_all(Path("p.star"))
    assert words.replace(" What to do:", ";") in inspected.replace("p.star: ", "")
    assert all(words in said for said in others), others


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (with_value("rlnAngleRot", "1e30", 3), "row 4: rlnAngleRot is 1e+30°"),
        (with_value("rlnOriginXAngst", "-inf", 3), "rlnOriginXAngst is"),
        (with_value("rlnRandomSubset", "1.5", 3), "rlnRandomSubset is"),
        (star().replace("300.0", "nan"), "rlnVoltage is"),
        (star().replace(" 32\n", " 1e30\n"), "1e+30"),
    ],
    ids=range(5),
)
def test_what_cannot_be_used_is_refused_where_it_is_used(folder: Path, text: str, words: str) -> None:
    (folder / "p.star").write_text(text)
    assert all(words in said for said in said_by_all(Path("p.star"), only_used=True))


def test_a_folder_in_place_of_a_stack(folder: Path) -> None:
    (folder / "p.star").write_text(with_value("rlnImageName", "1@."))
    refused = run("reconstruct", "p.star", "-o", "map")
    assert refused.exit_code == 2 and "is a folder, where a stack is named" in refused.stderr


def test_a_magnification_of_0_is_not_told_as_origins(folder: Path) -> None:
    """RELION 3.0's pixel size is made of it."""
    labels = ["rlnMagnification", "rlnDetectorPixelSize", "rlnVoltage", "rlnSphericalAberration"]
    text = "data_\n\nloop_\n" + "".join(f"_{label}\n" for label in (*LABELS, *labels, "rlnAmplitudeContrast"))
    text = text.replace("Angst\n", "\n").replace("_rlnOpticsGroup\n", "")
    rows = [" ".join([row[0], *row[2:], "0 4.0 300 2.7 0.1"]) for row in table()]
    (folder / "p.star").write_text(text + "\n".join(rows) + "\n")
    for said in said_by_all(Path("p.star"), only_used=True):
        assert "rlnOriginX is in px, and the pixel size that the file gives is inf Å" in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("\n", "\r"), "ends of lines are those of old Macs"),
        (lambda text: text.encode("utf-16"), "is text in UTF-16"),
        (lambda text: text.replace("15000.0", "  abc  ", 1), "row 1: DF1 is 'abc' (1 such rows)"),
        (lambda text: text.replace("15000.0", "15000,0"), COMMAS),
        (lambda text: text.splitlines()[0] + "\n", "has no rows"),
        (lambda text: text[:-60], "columns, the first row has 17"),
        (lambda text: star(), "its rows have"),
    ],
    ids=range(7),
)
def test_what_is_wrong_in_a_par_file_is_said_once(
    folder: Path, change: Callable[[str], str | bytes], words: str
) -> None:
    (folder / "p.star").write_text(star())
    write_par(read_star(folder / "p.star"), folder / "p.par", "parx")
    changed = change((folder / "p.par").read_text())
    (folder / "p.par").write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    assert all(words in said for said in said_by_all(Path("p.par")))


def changed_pose(rows: NDArray) -> NDArray:
    rows["alignments3D/pose"] *= 1e30
    return rows


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed_pose, "row 1: alignments3D/pose turns by"),
        (lambda rows: rows[:0], "has no particles"),
        (lambda rows: rows.reshape(2, -1), "not a table of named fields"),
        (lambda rows: np.zeros((5, 3)), "not a table of named fields"),
    ],
    ids=range(4),
)
def test_what_is_wrong_in_a_cs_file_is_said_once(
    folder: Path, change: Callable[[NDArray], NDArray], words: str
) -> None:
    (folder / "p.star").write_text(star())
    particles = read_star(folder / "p.star")
    particles.optics["drgnContrast"] = "white"
    write_cs(particles, folder / "p.cs")
    rows = change(np.load(folder / "p.cs"))
    with (folder / "p.cs").open("wb") as file:
        np.save(file, rows)
    assert all(words in said for said in said_by_all(Path("p.cs")))


@pytest.mark.parametrize(("factor", "words"), [(1e20, "hold pixels beyond 1e+15"), (0.0, "are blank")])
def test_stacks_are_told_as_they_are_refused(folder: Path, factor: float, words: str) -> None:
    (folder / "p.star").write_text(star())
    pixels = np.memmap("a.mrcs", "<f4", "r+", 1024)
    pixels *= np.float32(factor)
    pixels.flush()
    for path in ("a.mrcs", "p.star"):
        result = run("inspect", path)
        assert result.exit_code == 2 and words in " ".join(result.output.split())
    refused = run("reconstruct", "p.star", "-o", "map")
    assert refused.exit_code == 2 and words.removeprefix("hold ") in refused.stderr.replace(
        "some beyond", "pixels beyond"
    )
