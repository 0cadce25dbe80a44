"""What the drivers of both Frealigns share: settings, stacks, running a program, and what comes back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from drgnalign.errors import DrgnalignError, InputError
from drgnalign.external.common import (
    check_answer,
    half_sets,
    joint_map_beside,
    link_dumps,
    log_folder,
    optics_value,
    pack_dumps,
    refined,
    statistics_beside,
    write_reference,
    written_map,
)
from drgnalign.external.images import STACK, stack_for
from drgnalign.external.program import find_program, require_success, run
from drgnalign.external.settings import check_arguments, parse_arguments, time_limit
from drgnalign.formats.mrc import ImageSource, read_header, read_volume, write_volume
from drgnalign.fourier import radius_grid
from drgnalign.interface import Chunk, EngineSettings, References
from drgnalign.maps.mask import particle_mask
from drgnalign.particles import Particles

KEYS = st.text("abcdefgh_", min_size=1, max_size=6)
VALUES = st.text("0123456789.yesno", min_size=1, max_size=6)
SETTINGS = st.dictionaries(KEYS, VALUES, max_size=6)


# Settings


@given(SETTINGS, st.sampled_from(["", " "]))
def test_arguments_come_back(settings: dict[str, str], blank: str) -> None:
    text = f",{blank}".join(f"{key}={value}" for key, value in settings.items())
    assert parse_arguments(text, settings) == settings


@given(SETTINGS.filter(bool), st.data())
def test_unknown_and_double_arguments_are_named(settings: dict[str, str], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(settings)))
    text = ",".join(f"{name}={value}" for name, value in settings.items())
    with pytest.raises(InputError, match=f"no setting is called '{key}'"):
        parse_arguments(text, set(settings) - {key})
    with pytest.raises(InputError, match=f"'{key}=1' is not a setting"):
        parse_arguments(f"{text},{key}=1", settings)


@given(st.text(max_size=30))
def test_any_text_is_settings_or_an_input_error(text: str) -> None:
    try:
        assert all(parse_arguments(text, ["a", "b"]).values())
    except InputError as error:
        assert "--frealign_args" in str(error)


def test_time_limit_grows_with_the_work() -> None:
    assert time_limit({}, 0) == 120 and time_limit({}, 1000) == 8120
    assert time_limit({"time_limit": "2.5"}, 1000) == 2.5
    assert time_limit({}, size=10**9) == 220


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("time_limit", "soon", "'soon'\n.*a number"),
        ("time_limit", "nan", "'nan'\n.*a number"),
        ("time_limit", "inf", "'inf'\n.*a number"),
        ("time_limit", "0", "0\n.*from 0.1 to"),
        ("radius", "-1", "-1\n.*from 0 to 5"),
        ("count", "1.5", "'1.5'\n.*a whole number"),
        ("switch", "1", "'1'\n.*yes or no"),
        ("symmetry", "round", "'round'\n.*C1, D7"),
    ],
)
def test_settings_of_another_kind_or_out_of_range(key: str, text: str, message: str) -> None:
    kinds = {"count": "whole", "switch": "switch", "symmetry": "text"}
    ranges = {"time_limit": (0.1, 1e7), "radius": (0.0, 5.0), "count": None, "switch": None, "symmetry": None}
    check_arguments({"radius": "5", "count": "2", "switch": "no", "symmetry": "D7"}, kinds, ranges)
    with pytest.raises(InputError, match=f"--frealign_args: {key} is {message}"):
        check_arguments({key: text}, kinds, ranges)


def test_logs_go_into_a_folder_that_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert log_folder(EngineSettings(logs=Path("a/b"))) == tmp_path / "a" / "b"
    assert log_folder(EngineSettings()) == tmp_path / "frealign_logs"
    assert (tmp_path / "a" / "b").is_dir()


# Particles


@pytest.fixture
def images() -> np.ndarray:
    """Whole numbers, which every kind of stack can hold."""
    return np.random.default_rng(0).integers(-100, 100, (6, 8, 8)).astype(np.float32)


@pytest.fixture
def particles(particles_of: Callable[..., Particles], images: np.ndarray) -> Particles:
    return particles_of(images)


def test_half_sets_and_their_rows(particles: Particles) -> None:
    groups = half_sets(particles, joint=False)
    assert {half: rows.tolist() for half, rows in groups.items()} == {1: [0, 2, 4], 2: [1, 3, 5]}
    assert list(half_sets(particles.select([0, 2]), joint=False)) == [1]
    assert half_sets(particles, joint=True)[0].tolist() == list(range(6))


def test_who_is_left_out_is_in_no_half_set_and_has_no_answer(particles: Particles) -> None:
    particles.table["drgnLeftOut"] = [0, 1, 0, 0, 0, 1]
    assert half_sets(particles, joint=True)[0].tolist() == [0, 2, 3, 4]
    groups = half_sets(particles, joint=False)
    assert {half: rows.tolist() for half, rows in groups.items()} == {1: [0, 2, 4], 2: [3]}
    answers = [scored(particles.select(rows)) for rows in groups.values()]
    result = refined(particles, list(groups.values()), answers)
    assert result.table["drgnAccepted"].tolist() == [1, 0, 1, 1, 1, 0]
    assert result.table["drgnScore"].isna().tolist() == [False, True, False, False, False, True]
    pd.testing.assert_frame_equal(result.table.loc[[1, 5], list(particles.table)], particles.table.loc[[1, 5]])


def test_one_value_for_all_optics_groups(particles_of: Callable[..., Particles], images: np.ndarray) -> None:
    two = particles_of(images, groups=np.array([1, 1, 1, 2, 2, 2]))
    assert optics_value(two, "rlnVoltage") == 300
    two.optics["rlnVoltage"] = [300.0, 200.0]
    with pytest.raises(InputError, match=r"rlnVoltage differs \(200, 300\), and Frealign knows one"):
        optics_value(two, "rlnVoltage")
    # a group that no particle is of does not count
    assert optics_value(two.select([3, 4]), "rlnVoltage") == 200


def scored(particles: Particles, score: float = 1.0) -> Particles:
    names = ("Logp", "Sigma", "Score", "Change")
    return replace(particles, table=particles.table.assign(**{f"drgnFrealign{name}": score for name in names}))


def test_answers_that_are_not_to_the_question(particles: Particles, tmp_path: Path) -> None:
    log, answer = tmp_path / "program.log", scored(particles)
    images = particles.table["rlnImageName"].tolist()
    check_answer("program", particles, answer, images, log)
    with pytest.raises(DrgnalignError, match=r"program\.log: program answered for 5 of 6 particles"):
        check_answer("program", particles, answer.select(range(5)), images, log)
    with pytest.raises(DrgnalignError, match="for other particles than it was asked for"):
        check_answer("program", particles, answer.select([1, 0, 2, 3, 4, 5]), images, log)
    for label in ("rlnAngleTilt", "rlnOriginXAngst", "drgnFrealignScore"):
        table = answer.table.assign(**{label: [0.0, 0, np.nan, 0, np.inf, 0]})
        with pytest.raises(DrgnalignError, match=f"wrote NaN for 2 particles, the first of them {images[2]}"):
            check_answer("program", particles, replace(answer, table=table), images, log)


def test_answers_go_to_their_rows(particles: Particles) -> None:
    rows = [np.array([0, 2, 4]), np.array([1, 3, 5])]
    answers = [scored(particles.select(chosen), 10.0 * half) for half, chosen in enumerate(rows, start=1)]
    answers[1].table["rlnAnglePsi"] = [3.0, 4.0, 5.0]
    answers[0].table["rlnOriginXAngst"] = [0.0, 6.0, 0.0]
    result = refined(particles, rows, answers)
    assert result.table["rlnAnglePsi"].tolist() == [0, 3, 0, 4, 0, 5]
    assert result.table["drgnScore"].tolist() == [10, 20] * 3
    np.testing.assert_allclose(result.table["drgnRotationChange"], [0, 3, 0, 4, 0, 5], atol=1e-6)
    assert result.table["drgnShiftChange"].tolist() == [0, 0, 6, 0, 0, 0]
    assert result.table["drgnScoreBefore"].isna().all()
    again = refined(result, rows, answers)
    assert again.table["drgnScoreBefore"].tolist() == [10, 20] * 3
    assert "drgnScore" not in particles.table


# Stacks


def linked(particles: Particles, tmp_path: Path) -> tuple[bool, bool, np.ndarray, list[int]]:
    """Whether the stack is a link, whether it is dark, its images, and the particles' numbers in it."""
    folder = tmp_path / "work"
    folder.mkdir()
    named, dark = stack_for(Chunk(particles, tmp_path), folder)
    numbers, names = named.image_locations()
    assert set(names) == {STACK}
    stored = np.array(read_header(folder / STACK).map())
    return (folder / STACK).is_symlink(), dark, stored[numbers - 1], numbers.tolist()


@pytest.mark.parametrize("contrast", ["white", "dark"])
def test_a_good_stack_is_only_linked(particles: Particles, images: np.ndarray, tmp_path: Path, contrast: str) -> None:
    chosen = particles.select([4, 1, 2])
    chosen.optics["drgnContrast"] = contrast
    is_link, dark, stored, numbers = linked(chosen, tmp_path)
    assert is_link and dark == (contrast == "dark") and numbers == [5, 2, 3]
    assert_array_equal(stored, images[[4, 1, 2]])


def test_what_is_normalised_is_written(particles: Particles, tmp_path: Path) -> None:
    chosen = particles.select([4, 1, 2])
    chosen.optics["drgnContrast"], chosen.optics["drgnBackgroundRadius"] = "dark", 0.4 * chosen.box
    is_link, dark, stored, numbers = linked(chosen, tmp_path)
    assert (is_link, dark, numbers) == (False, False, [1, 2, 3])
    assert_array_equal(stored, ImageSource(chosen, tmp_path).read([0, 1, 2]))


def test_mixed_contrast_becomes_white(
    particles_of: Callable[..., Particles], images: np.ndarray, tmp_path: Path
) -> None:
    two = particles_of(images, groups=np.array([1, 1, 1, 2, 2, 2]))
    two.optics["drgnContrast"] = ["white", "dark"]
    is_link, dark, stored, numbers = linked(two, tmp_path)
    assert (is_link, dark, numbers) == (False, False, [1, 2, 3, 4, 5, 6])
    assert_array_equal(stored, np.concatenate([images[:3], -images[3:]]))


def test_several_stacks_become_one_in_the_order_of_the_rows(
    particles: Particles, images: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "other.mrcs").write_bytes((tmp_path / "images.mrcs").read_bytes())
    names = ["6@images.mrcs", "1@other.mrcs", "3@images.mrcs"]
    mixed = replace(particles.select([0, 1, 2]))
    mixed.table["rlnImageName"] = names
    is_link, _, stored, numbers = linked(mixed, tmp_path)
    assert not is_link and numbers == [1, 2, 3]
    assert_array_equal(stored, images[[5, 0, 2]])


def test_an_image_that_is_there_twice(particles: Particles, images: np.ndarray, tmp_path: Path) -> None:
    """Frealign tells particles by the numbers of their images."""
    is_link, _, stored, numbers = linked(particles.select([3, 3, 0]), tmp_path)
    assert not is_link and numbers == [1, 2, 3]
    assert_array_equal(stored, images[[3, 3, 0]])


@pytest.mark.parametrize(
    ("dtype", "readable"), [("<f4", True), ("<i2", True), ("<f2", False), (">f4", False), ("i1", False), ("<u2", False)]
)
def test_kinds_of_stacks(particles: Particles, images: np.ndarray, tmp_path: Path, dtype: str, readable: bool) -> None:
    positive = np.abs(images)
    with mrcfile.new(tmp_path / "images.mrcs", overwrite=True) as stack:
        stack.set_data(positive.astype(dtype))
    is_link, _, stored, _ = linked(particles, tmp_path)
    assert is_link == readable
    assert_array_equal(stored, positive)


# References, maps and dumps


@pytest.fixture
def references(tmp_path: Path) -> References:
    ball = (radius_grid(24, 3) < 6).astype(np.float32)
    for half in (1, 2):
        write_volume(tmp_path / f"map_half{half}.mrc", half * ball, 4.0)
    write_volume(tmp_path / "mask.mrc", (radius_grid(24, 3) < 4).astype(np.float32), 4.0)
    return References(tmp_path / "map_half1.mrc", tmp_path / "map_half2.mrc", tmp_path / "mask.mrc")


@pytest.fixture
def chunk(particles_of: Callable[..., Particles], tmp_path: Path) -> Chunk:
    return Chunk(particles_of(np.zeros((2, 24, 24), np.float32)), tmp_path, mask_diameter=80.0)


def test_reference_of_a_half_set_or_of_both(chunk: Chunk, references: References, tmp_path: Path) -> None:
    for half, factor in ((1, 1.0), (2, 2.0), (0, 1.5), (0, 5.0)):
        if factor == 5:
            write_volume(joint_map_beside(tmp_path / "map"), 5 * (radius_grid(24, 3) < 6), 4.0)
        write_reference(chunk, references, half, tmp_path / "reference.mrc")
        volume, pixel_size = read_volume(tmp_path / "reference.mrc")
        assert pixel_size == 4.0
        assert_array_equal(volume, factor * (radius_grid(24, 3) < 4))


def test_reference_without_a_mask_gets_its_own(chunk: Chunk, references: References, tmp_path: Path) -> None:
    write_reference(chunk, replace(references, mask=None), 2, tmp_path / "reference.mrc")
    half2 = read_volume(references.half2)[0]
    assert_array_equal(read_volume(tmp_path / "reference.mrc")[0], half2 * particle_mask(half2, 4.0, 80.0))


def test_statistics_have_the_name_of_their_map() -> None:
    assert statistics_beside(Path("a/cluster_01")) == Path("a/cluster_01_statistics.txt")
    assert References(Path("a/b_half1.mrc"), Path("a/b_half2.mrc")).prefix == Path("a/b")


def test_dumps_of_parts_are_numbered_through(tmp_path: Path) -> None:
    for name, halves in (("a", {1: ["a1", "a2"], 2: []}), ("b", {1: ["b1"], 2: ["b2"]})):
        files = {half: [tmp_path / f"{word}.dat" for word in words] for half, words in halves.items()}
        for path in (path for paths in files.values() for path in paths):
            path.write_text(path.stem)
        pack_dumps(files, tmp_path / f"{name}.part")
    (tmp_path / "out").mkdir()
    dumps = link_dumps([tmp_path / "b.part", tmp_path / "a.part"], tmp_path / "out", ".dat")
    assert {half: len(links) for half, links in dumps.items()} == {0: 0, 1: 3, 2: 1}
    found = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert found == {"half1_1.dat": "a1", "half1_2.dat": "a2", "half1_3.dat": "b1", "half2_1.dat": "b2"}
    with pytest.raises(InputError, match=r"a\.part: is no part of a reconstruction by this Frealign"):
        link_dumps([tmp_path / "a.part"], tmp_path / "out", ".mrc")


def test_maps_that_are_none(tmp_path: Path) -> None:
    log, path = tmp_path / "merge.log", tmp_path / "map.mrc"
    with pytest.raises(DrgnalignError, match=r"merge\.log: merge wrote no map"):
        written_map("merge", path, log)
    for value, message in ((0.0, "an empty map"), (np.nan, "a map that holds NaN")):
        write_volume(path, np.full((4, 4, 4), value), 1.0)
        with pytest.raises(DrgnalignError, match=rf"merge\.log: merge wrote {message}"):
            written_map("merge", path, log)
    path.write_bytes(b"half a map")
    with pytest.raises(DrgnalignError, match=r"merge\.log"):
        written_map("merge", path, log)


# Programs


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Path]:
    """A shell script that can be run."""

    def make(script: str) -> Path:
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make


def test_programs_are_found_in_the_folder_or_on_the_path(
    program: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program("true")
    assert find_program("program", tmp_path) == path
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert find_program("program", None) == path
    with pytest.raises(InputError, match=f"{tmp_path}: has no program other"):
        find_program("other", tmp_path)
    with pytest.raises(InputError, match="the program other is not on the PATH"):
        find_program("other", None)
    path.chmod(0o644)
    with pytest.raises(InputError, match="cannot be executed"):
        find_program("program", tmp_path)


def test_a_program_gets_its_answers_and_its_words_are_kept(program: Callable[[str], Path], tmp_path: Path) -> None:
    path = program('while read answer; do echo "heard: $answer"; done; echo to stderr >&2; echo done')
    outcome = run(path, ["one", "two words"], tmp_path / "log", tmp_path, 10.0)
    assert outcome.text == "heard: one\nheard: two words\nto stderr\ndone\n" == (tmp_path / "log").read_text()
    require_success(path, outcome, "done")


def test_a_program_that_does_not_listen(program: Callable[[str], Path], tmp_path: Path) -> None:
    outcome = run(program("echo done"), ["answer"] * 100_000, tmp_path / "log", tmp_path, 10.0)
    assert outcome.status == 0


def test_a_program_that_hangs_is_killed_with_its_children(program: Callable[[str], Path], tmp_path: Path) -> None:
    path = program("echo working; (sleep 3; touch survived) & sleep 30")
    start = time.monotonic()
    message = r"(?s)log: program had not ended after 0.5 s, and was killed; .*\n    working.*time_limit=SECONDS"
    with pytest.raises(DrgnalignError, match=message):
        run(path, [], tmp_path / "log", tmp_path, 0.5)
    assert time.monotonic() - start < 3
    time.sleep(3)
    assert not (tmp_path / "survived").exists()


def test_an_interrupt_ends_the_program_too(
    program: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        time.sleep(0.3)
        raise KeyboardInterrupt

    monkeypatch.setattr("subprocess.Popen.communicate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(program("sleep 1; touch survived"), [], tmp_path / "log", tmp_path, 10.0)
    time.sleep(1.2)
    assert not (tmp_path / "survived").exists()


def test_a_killed_task_takes_the_program_along(program: Callable[[str], Path], tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from drgnalign.external.program import run; "
    code += "folder = Path(sys.argv[1]); run(folder / 'program', [], folder / 'log', folder, 60.0)"
    program("echo $$; exec sleep 60")
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) as task:
        while not (log := tmp_path / "log").exists() or not log.read_text():
            time.sleep(0.05)
        task.kill()
    status = Path("/proc", log.read_text().strip(), "stat")
    for _ in range(50):
        # a zombie that nobody has asked for has ended too
        if not status.exists() or status.read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the program goes on")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo done; exit 3", r"program ended with status 3; it said last:\n    done"),
        ("echo one; echo two", r"program ended with status 0 without its closing line 'done'; .*\n    one\n    two"),
        ("echo done; kill -9 $$", r"program was ended by signal 9; it said"),
        ("echo done; for i in 1 2 3; do echo more; done", "without its closing line"),
        ("true", "it said last: nothing"),
        (r"printf '10%%\r20%%\r\n\nwhy it failed\n'", r"10%\n    20%\n    why it failed"),
    ],
)
def test_ends_that_are_not_good(program: Callable[[str], Path], tmp_path: Path, script: str, message: str) -> None:
    path = program(script)
    with pytest.raises(DrgnalignError, match=rf"(?s)log: .*{message}"):
        require_success(path, run(path, [], tmp_path / "log", tmp_path, 10.0), "done")


def test_a_file_of_another_machine_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"\x7fELF not for here")
    (tmp_path / "program").chmod(0o755)
    path = find_program("program", tmp_path)
    with pytest.raises(DrgnalignError, match="program"):
        require_success(path, run(path, [], tmp_path / "log", tmp_path, 10.0), "done")
