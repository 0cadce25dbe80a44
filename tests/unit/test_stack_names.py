"""Files that are put together, or written elsewhere, and the stacks that they name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import run, succeed

from drgnalign.formats.cryosparc import read_cs, write_cs
from drgnalign.formats.mrc import ImageSource, StackWriter
from drgnalign.formats.star import read_star, write_star
from drgnalign.inputs import check_images
from drgnalign.particles import Particles

BOX = 16


def stack_of(path: Path, values: list[float]) -> Path:
    """Images that hold one value each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with StackWriter(path, len(values), BOX, 4.0) as stack:
        stack.append(np.array(values)[:, None, None] * np.ones((len(values), BOX, BOX)))
    return path


@pytest.fixture
def star_of(particles_of: Callable[..., Particles]) -> Callable[..., Path]:
    """A star file that names three images so."""
    made = particles_of(np.zeros((3, BOX, BOX), np.float32))
    for label in ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"):
        made.table[label] = 0.0

    def make(path: Path, *names: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_star(replace(made, table=made.table.assign(rlnImageName=list(names))), path)
        return path

    return make


def values_read(path: Path) -> list[float]:
    particles = read_star(path)
    check_images(particles, path.parent)
    return ImageSource(particles, path.parent).read(np.arange(len(particles)))[:, 0, 0].tolist()


def named(stack: str, first: int = 1) -> list[str]:
    return [f"{first + number:06d}@{stack}" for number in range(3)]


@pytest.mark.parametrize("output", ["m.star", "A/m.star", "C/m.star"])
def test_stacks_of_one_name_in_two_folders_stay_two(tmp_path: Path, star_of: Callable[..., Path], output: str) -> None:
    for folder, values in (("A", [1.0, 2.0, 3.0]), ("B", [4.0, 5.0, 6.0])):
        stack_of(tmp_path / folder / "p.mrcs", values)
        star_of(tmp_path / folder / "p.star", *named("p.mrcs"))
    (tmp_path / "C").mkdir()
    succeed("merge", tmp_path / "A/p.star", tmp_path / "B/p.star", "-o", tmp_path / output)
    assert values_read(tmp_path / output) == [1, 2, 3, 4, 5, 6]
    names = read_star(tmp_path / output).table["rlnImageName"].str.partition("@")[2].unique().tolist()
    assert (
        names
        == {
            "m.star": ["A/p.mrcs", "B/p.mrcs"],
            "A/m.star": ["p.mrcs", str(tmp_path / "B/p.mrcs")],
            "C/m.star": [str(tmp_path / "A/p.mrcs"), str(tmp_path / "B/p.mrcs")],
        }[output]
    )


def test_cryosparcs_files_too(tmp_path: Path, star_of: Callable[..., Path]) -> None:
    for folder, value in (("A", 1.0), ("B", 4.0)):
        stack_of(tmp_path / folder / "p.mrc", [value] * 3)
        given = read_star(star_of(tmp_path / folder / "p.star", *named("p.mrc")))
        given.optics["drgnContrast"] = "white"
        given.table["drgnCryosparcUid"] = np.arange(3) + int(10 * value)
        write_cs(given, tmp_path / folder / "p.cs")
    succeed("merge", tmp_path / "A/p.cs", tmp_path / "B/p.cs", "-o", tmp_path / "m.cs")
    merged = read_cs(tmp_path / "m.cs")
    assert ImageSource(merged, tmp_path).read(np.arange(6))[:, 0, 0].tolist() == [1, 1, 1, 4, 4, 4]


@pytest.mark.parametrize("how", ["spelling", "link", "hard link", "digits", "absolute"])
def test_one_stack_by_two_names_is_one(tmp_path: Path, star_of: Callable[..., Path], how: str) -> None:
    stack = stack_of(tmp_path / "A/p.mrcs", [1.0, 2.0, 3.0])
    (tmp_path / "B").mkdir()
    if how == "link":
        (tmp_path / "B/q.mrcs").symlink_to(stack)
    if how == "hard link":
        os.link(stack, tmp_path / "B/q.mrcs")
    name = {"spelling": "../A/./p.mrcs", "digits": "../A/p.mrcs", "absolute": str(stack)}.get(how, "q.mrcs")
    star_of(tmp_path / "A/p.star", *named("p.mrcs"))
    star_of(tmp_path / "B/p.star", *([f"{n}@{name}" for n in (1, 2, 3)] if how == "digits" else named(name)))
    result = run("merge", tmp_path / "A/p.star", tmp_path / "B/p.star", "-o", tmp_path / "m.star")
    assert result.exit_code == 2 and "which came before (3 such images)" in result.stderr


def test_stacks_that_are_not_there_are_not_taken_for_one(tmp_path: Path, star_of: Callable[..., Path]) -> None:
    for folder in "AB":
        star_of(tmp_path / folder / "p.star", *named("job1/p.mrcs", first=1 if folder == "A" else 4))
    both = ["merge", tmp_path / "A/p.star", tmp_path / "B/p.star", "-o", tmp_path / "m.star"]
    result = run(*both)
    assert result.exit_code == 2 and "may be another one" in result.stderr and "--images" in result.stderr
    succeed(*both, "--images", tmp_path)
    assert set(read_star(tmp_path / "m.star").table["rlnImageName"].str.partition("@")[2]) == {"job1/p.mrcs"}


def test_names_relative_to_the_current_folder_are_told(
    tmp_path: Path, star_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As RELION has them, whose jobs lie in folders of their own."""
    stack_of(tmp_path / "Extract/p.mrcs", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    for job, first in (("job1", 1), ("job2", 4)):
        star_of(tmp_path / job / "p.star", *named("Extract/p.mrcs", first))
    monkeypatch.chdir(tmp_path)
    result = succeed("merge", "job1/p.star", "job2/p.star", "-o", "m.star")
    assert "1 of its stacks, such as Extract/p.mrcs, are not found from its folder, and taken" in result.stderr
    assert values_read(tmp_path / "m.star") == [1, 2, 3, 4, 5, 6]
    assert set(read_star(tmp_path / "m.star").table["rlnImageName"].str.partition("@")[2]) == {"Extract/p.mrcs"}


def test_parts_come_back_in_the_order_of_the_whole(tmp_path: Path, star_of: Callable[..., Path]) -> None:
    stack_of(tmp_path / "p.mrcs", [1.0, 2.0, 3.0])
    whole = star_of(tmp_path / "p.star", *named("p.mrcs"))
    (tmp_path / "sub").mkdir()
    for name, rows in (("b", "2:"), ("a", ":1")):
        result = succeed("select", whole, "--rows", rows, "-o", tmp_path / "sub" / f"{name}.star")
        assert f"are relative to {tmp_path}" in result.stderr
    parts = [tmp_path / "sub/b.star", tmp_path / "sub/a.star"]
    succeed("merge", *parts, "--like", whole, "-o", tmp_path / "m.star")
    assert (tmp_path / "m.star").read_text() == whole.read_text()


def test_no_file_is_written_whose_names_mean_other_images(tmp_path: Path, star_of: Callable[..., Path]) -> None:
    for folder in "AB":
        stack_of(tmp_path / folder / "p.mrcs", [1.0, 2.0, 3.0])
    given = star_of(tmp_path / "A/p.star", *named("p.mrcs"))
    for command in ("select", "convert"):
        result = run(command, given, "-o", tmp_path / "B/q.star")
        assert result.exit_code == 2 and "another file than" in result.stderr
        assert not (tmp_path / "B/q.star").exists()


@pytest.mark.parametrize("command", ["select", "convert"])
def test_names_that_mean_a_stack_from_the_new_place_alone_are_told(
    tmp_path: Path, star_of: Callable[..., Path], command: str
) -> None:
    """As those of a run's results do beside the stack of another project."""
    given = star_of(tmp_path / "results/p.star", *named("p.mrcs"))
    stack_of(tmp_path / "new/p.mrcs", [7.0, 8.0, 9.0])
    said = succeed(command, given, "-o", tmp_path / "new/q.star").stderr
    there = (tmp_path / "new/p.mrcs").resolve()
    assert f"from here that is {there}, which may be another stack of that name: check it" in said
    assert "--images" in said
    stack_of(tmp_path / "new/p.mrcs", [7.0, 8.0])
    said = succeed(command, given, "-o", tmp_path / "new/r.star").stderr
    assert "which is another stack: it holds 2 images, and number 3 is asked for" in said
    said = succeed(command, given, "-o", tmp_path / "results/q.star").stderr
    assert "from here that is" not in said


def test_many_images_beyond_the_end_are_those_of_another_stack(tmp_path: Path, star_of: Callable[..., Path]) -> None:
    """To drop the rows that ask for them would be wrong."""
    given = star_of(tmp_path / "p.star", *named("p.mrcs", first=2))
    stack_of(tmp_path / "p.mrcs", [1.0, 2.0])
    for words in (("convert", given, "-o", tmp_path / "p.cs"), ("reconstruct", given, "-o", tmp_path / "r")):
        refused = run(*words)
        assert refused.exit_code == 2 and "another stack of that name" in refused.output
        assert "--drop" not in refused.output and "--images" in refused.output


def test_names_of_a_run_s_input_are_told_where_they_mean_nothing(
    tmp_path: Path, star_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack_of(tmp_path / "data/p.mrcs", [1.0, 2.0, 3.0])
    result_file = star_of(tmp_path / "results/p.star", *named("p.mrcs"))
    particles = read_star(result_file)
    write_star(replace(particles, table=particles.table.assign(drgnRow=[0, 1, 2])), result_file)
    for folder, told in ((tmp_path, True), (tmp_path / "data", False)):
        monkeypatch.chdir(folder)
        said = succeed("select", result_file, "--rows", "2:", "-o", tmp_path / "results/q.star").stderr
        assert ("such as p.mrcs, are those of the run's input" in said and "--images" in said) == told


def test_refined_poses_are_written_for_their_own_images(noisy_set, tmp_path: Path) -> None:
    """In a folder that has another stack of the name, too; and as what their name says, or not at all."""
    own = noisy_set.given.select(np.arange(40))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "particles.mrcs").symlink_to(noisy_set.folder / "particles.mrcs")
    write_star(own, tmp_path / "in" / "p.star")
    stack_of(tmp_path / "out" / "particles.mrcs", [0.0] * 40)
    maps = noisy_set.folder / "state_01.mrc"
    words = ["refine", tmp_path / "in" / "p.star", "--half1", maps, "--half2", maps, "--limit", 30, "-o"]
    succeed(*words, tmp_path / "out" / "ref.star")
    read = ImageSource(read_star(tmp_path / "out" / "ref.star"), tmp_path / "out").read([0, 1])
    np.testing.assert_array_equal(read, ImageSource(own, noisy_set.folder).read([0, 1]))
    refused = run(*words, tmp_path / "out" / "ref.star", "--images", tmp_path / "in")
    assert refused.exit_code == 2 and "another file than" in refused.output
    refused = run(*words, tmp_path / "ref.par")
    assert refused.exit_code == 2 and "name it .star" in refused.output


def test_one_reference_for_both_half_sets_is_told_at_once(noisy_set, tmp_path: Path) -> None:
    own = noisy_set.given.select(np.arange(40))
    (tmp_path / "particles.mrcs").symlink_to(noisy_set.folder / "particles.mrcs")
    write_star(own, tmp_path / "p.star")
    one = noisy_set.folder / "state_01.mrc"
    words = ["refine", tmp_path / "p.star", "--half1", one, "--half2", one, "--limit", 30, "-o", tmp_path / "r.star"]
    assert "are one map" in succeed(*words).stderr
    assert "both were aligned to one map" in succeed("inspect", tmp_path / "r.star").stdout
