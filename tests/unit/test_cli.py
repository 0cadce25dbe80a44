"""The commands, as a user calls them."""

from __future__ import annotations

import errno
import json
import os
import shlex
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from command_line import run, succeed
from numpy.testing import assert_array_equal

from drgnalign import __version__
from drgnalign.commands import Command
from drgnalign.formats.mrc import read_volume, write_volume
from drgnalign.formats.star import read_star, write_star
from drgnalign.steps.downsample import main as downsample


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny simulated set and its maps at the given poses; the tests below add files, and change none."""
    folder = tmp_path_factory.mktemp("cli")
    options = ["--particles", 300, "--states", 1, "--snr", 0.5, "--shift-error", 4, "--seed", 3]
    succeed("simulate", folder / "set", *options)
    succeed("reconstruct", folder / "set" / "particles.star", "-o", folder / "given", "--mask-diameter", 220)
    return folder


def test_simulate_writes_a_set(folder: Path) -> None:
    files = {path.name for path in (folder / "set").iterdir()}
    assert files == {"particles.star", "truth.star", "particles.mrcs", "state_01.mrc"}
    given = read_star(folder / "set" / "particles.star")
    assert (len(given), given.box, given.pixel_size) == (300, 32, 8.0)


def test_reconstruct_writes_everything_that_is_kept(folder: Path) -> None:
    suffixes = ["_half1.mrc", "_half2.mrc", ".mrc", "_mask.mrc", "_fsc.csv", "_resolution.json"]
    assert {path.name for path in folder.glob("*given*")} == {f"given{suffix}" for suffix in suffixes}
    table = pd.read_csv(folder / "given_fsc.csv")
    assert table["shell"].tolist() == list(range(1, 17))
    record = json.loads((folder / "given_resolution.json").read_text())
    assert record["resolution_angstrom"] == pytest.approx(table["resolution_0143_angstrom"][0])
    assert record["mask"] == table["mask"][0] == "given_mask.mrc"
    assert record["density_outside_mask"] == 0
    halves = [read_volume(folder / f"given_half{half}.mrc")[0] for half in (1, 2)]
    filtered, pixel_size = read_volume(folder / "given.mrc")
    assert pixel_size == 8.0
    assert np.corrcoef(filtered.ravel(), sum(halves).ravel())[0, 1] > 0.8
    assert filtered.std() < (0.5 * sum(halves)).std()


def test_simulate_a_motion(tmp_path: Path) -> None:
    said = succeed("simulate", tmp_path / "set", "--particles", 100, "--motion", 5).stderr
    assert "100 particles of 5 places" in said
    assert len(list((tmp_path / "set").glob("state_*.mrc"))) == 5
    assert set(read_star(tmp_path / "set" / "truth.star").cluster_labels()) == {1, 2, 3, 4, 5}


def test_simulate_with_nuisances(tmp_path: Path) -> None:
    succeed("simulate", tmp_path / "set", "--particles", 100, "--states", 1, "--empty", 0.2, "--contrast", 0.1)
    truth = read_star(tmp_path / "set" / "truth.star").table
    assert (truth["drgnTrueJunk"] == "empty").sum() == 20
    assert truth["drgnTrueContrast"].std() > 0.05


def test_simulate_reconstruct_refine_score_fsc(folder: Path) -> None:
    particles, truth = folder / "set" / "particles.star", folder / "set" / "truth.star"

    def score(estimate: Path) -> dict:
        return json.loads(succeed("score", truth, estimate, "--json").stdout)

    references = ["--half1", folder / "given_half1.mrc", "--half2", folder / "given_half2.mrc"]
    refined, part = folder / "refined.star", folder / "refined.npz"
    options = ["--limit", 20, "--mask-diameter", 220, "-o", refined, "--part", part]
    succeed("refine", particles, *references, *options)
    before, after = score(particles), score(refined)
    assert after["rotation_degrees"]["median"] < 0.7 * before["rotation_degrees"]["median"]
    assert after["shift_angstrom"]["median"] < 0.4 * before["shift_angstrom"]["median"]
    text = succeed("score", truth, refined).stdout
    assert f"median {after['rotation_degrees']['median']:.3f}" in text
    assert "no labels" in text

    # From the part or from the refined particles, the map is the same, and nearer to the truth.
    succeed("reconstruct", part, "-o", folder / "part", "--mask-diameter", 220)
    succeed("reconstruct", refined, "-o", folder / "refined", "--mask-diameter", 220)
    for half in ("half1", "half2"):
        one, two = (read_volume(folder / f"{name}_{half}.mrc")[0] for name in ("part", "refined"))
        np.testing.assert_allclose(one, two, atol=1e-3 * np.abs(two).max())

    def against_truth(name: str) -> pd.DataFrame:
        maps = [folder / f"{name}.mrc", folder / "set" / "state_01.mrc"]
        return pd.read_csv(StringIO(succeed("fsc", *maps, "--mask", folder / "given_mask.mrc").stdout))

    first, second = against_truth("given"), against_truth("refined")
    assert second["fsc_masked"].mean() > first["fsc_masked"].mean()
    assert second["resolution_angstrom"].tolist() == pytest.approx([256 / shell for shell in range(1, 17)], abs=1e-4)


def test_scores_are_a_table(folder: Path, tmp_path: Path) -> None:
    particles, truth = folder / "set" / "particles.star", folder / "set" / "truth.star"
    other = 0.1 * read_volume(folder / "given_half1.mrc")[0]
    for half in (1, 2):
        write_volume(tmp_path / f"faint_half{half}.mrc", other, 8.0)
    pairs = []
    for prefix in (folder / "given", tmp_path / "faint"):
        pairs += ["--half1", f"{prefix}_half1.mrc", "--half2", f"{prefix}_half2.mrc"]
    options = ["--mask", folder / "given_mask.mrc", "--limit", 20, "--mask-diameter", 220]
    for name, star in (("given", particles), ("true", truth)):
        succeed("refine", star, "--score-only", *pairs, *options, "-o", tmp_path / f"{name}.csv")
    given, true = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("given", "true"))
    assert given.columns.tolist() == ["image", "given", "faint"]
    assert given["image"].tolist() == read_star(particles).table["rlnImageName"].tolist()
    assert true["given"].mean() > given["given"].mean() > given["faint"].mean()
    twice = run("refine", particles, *pairs, *options, "-o", tmp_path / "no.star")
    assert twice.exit_code == 2
    assert "give one pair, or --score-only" in twice.output
    lonely = run("refine", particles, *pairs[:-2], *options, "-o", tmp_path / "no.star")
    assert "2 --half1 and 1 --half2" in lonely.output
    assert not (tmp_path / "no.star").exists()


def test_references_shrunk_towards_the_consensus(folder: Path, tmp_path: Path) -> None:
    """Half of the particles differ in nothing but noise from all."""
    some = read_star(folder / "set" / "particles.star").select(np.arange(0, 300, 2))
    write_star(some, tmp_path / "some.star")
    options = ["--images", folder / "set", "--mask-diameter", 220, "-o", tmp_path / "some"]
    consensus = ["--consensus", folder / "given", "--reference-prior", "consensus"]
    lacking = run("reconstruct", tmp_path / "some.star", *options, *consensus)
    assert lacking.exit_code == 2
    assert "give --mask" in lacking.output
    alone = run("reconstruct", tmp_path / "some.star", *options, "--reference-prior", "consensus")
    assert "give --consensus" in alone.output
    succeed("reconstruct", tmp_path / "some.star", *options, *consensus, "--mask", folder / "given_mask.mrc")
    record = json.loads((tmp_path / "some_resolution.json").read_text())
    assert abs(record["difference_fsc_40"]) < 0.5
    assert record["difference_fsc_25"] is not None
    references = []
    for half in (1, 2):
        reference, own, common = (
            read_volume(path)[0]
            for path in (
                tmp_path / f"some_reference_half{half}.mrc",
                tmp_path / f"some_half{half}.mrc",
                folder / f"given_half{half}.mrc",
            )
        )
        assert np.corrcoef(reference.ravel(), common.ravel())[0, 1] > np.corrcoef(own.ravel(), common.ravel())[0, 1]
        references += [f"--half{half}", tmp_path / f"some_reference_half{half}.mrc"]
    options = ["--weighted", "--limit", 20, "--mask-diameter", 220, "--images", folder / "set"]
    succeed("refine", tmp_path / "some.star", *references, *options, "-o", tmp_path / "refined.star")
    assert read_star(tmp_path / "refined.star").table["drgnAccepted"].mean() > 0.9


def test_density_outside_of_a_mask_is_told(folder: Path, tmp_path: Path) -> None:
    half, pixel_size = read_volume(folder / "given_mask.mrc")
    half[:, :, 16:] = 0
    write_volume(tmp_path / "half.mrc", half, pixel_size)
    options = ["--mask", tmp_path / "half.mrc", "--mask-diameter", 220, "-o", tmp_path / "map"]
    succeed("reconstruct", folder / "set" / "particles.star", *options)
    assert 0.1 < json.loads((tmp_path / "map_resolution.json").read_text())["density_outside_mask"] < 0.6


@pytest.mark.parametrize(
    "words",
    [
        ("assign", "--focus-mask"),
        ("reconstruct", "--mask"),
        ("refine", "--limit", 20, "--half1", "given_half1.mrc", "--half2", "given_half2.mrc", "--mask"),
    ],
)
def test_a_mask_in_a_corner_of_the_box_is_refused(folder: Path, tmp_path: Path, words: tuple[Any, ...]) -> None:
    z, y, x = np.mgrid[:32, :32, :32]
    ball = ((x - 5) ** 2 + (y - 5) ** 2 + (z - 5) ** 2 <= 16).astype(np.float32)
    write_volume(tmp_path / "corner.mrc", ball, 8.0)
    given = read_star(folder / "set" / "particles.star")
    given.table["rlnClassNumber"] = 1 + np.arange(len(given)) % 2
    write_star(given, tmp_path / "labelled.star")
    name, *options = (folder / word if str(word).endswith(".mrc") else word for word in words)
    paths = (tmp_path / "corner.mrc", "--images", folder / "set", "-o", tmp_path / "out.star")
    refused = run(name, tmp_path / "labelled.star", "--mask-diameter", 160, *options, *paths)
    assert refused.exit_code == 2 and "corner.mrc: more of it lies outside of the particle's sphere" in refused.output


@pytest.mark.slow
def test_assign_tells_of_density_outside_of_its_sphere(folder: Path, tmp_path: Path) -> None:
    given = read_star(folder / "set" / "particles.star")
    given.table["rlnClassNumber"] = 1
    write_star(given, tmp_path / "labelled.star")
    words = ("assign", tmp_path / "labelled.star", "--images", folder / "set", "-o", tmp_path / "out.star")
    told = "of its density outside of the sphere of"
    assert told in succeed(*words, "--mask-diameter", 92).output
    assert told not in succeed(*words, "--mask-diameter", 220).output


@pytest.mark.slow
def test_assign_tells_of_a_focus_where_nothing_is(folder: Path, tmp_path: Path) -> None:
    z, y, x = np.mgrid[:32, :32, :32] - 16
    for name, away in (("inside", 0), ("beside", 11)):
        ball = ((x - away) ** 2 + y**2 + z**2 <= 9).astype(np.float32)
        write_volume(tmp_path / f"{name}.mrc", ball, 8.0)
    given = read_star(folder / "set" / "particles.star")
    given.table["rlnClassNumber"] = 1
    write_star(given, tmp_path / "labelled.star")
    words = ("assign", tmp_path / "labelled.star", "--images", folder / "set", "-o", tmp_path / "out.star")
    told = "beside.mrc: the consensus shows no density inside the focus mask"
    assert told in succeed(*words, "--mask-diameter", 230, "--focus-mask", tmp_path / "beside.mrc").output
    assert "no density" not in succeed(*words, "--mask-diameter", 230, "--focus-mask", tmp_path / "inside.mrc").output


def test_assign_deals_half_sets_anew_where_it_is_told_to(folder: Path, tmp_path: Path) -> None:
    """Its own message of half sets that cannot be says so."""
    given = read_star(folder / "set" / "particles.star")
    given.table["rlnClassNumber"], given.table["rlnRandomSubset"] = 1, 1
    write_star(given, tmp_path / "one.star")
    words = ("assign", tmp_path / "one.star", "--images", folder / "set", "--mask-diameter", 220)
    assert "--half_sets deal" in run(*words, "-o", tmp_path / "out.star").output
    succeed(*words, "--half_sets", "deal", "-o", tmp_path / "out.star")
    assert set(read_star(tmp_path / "out.star").table["rlnRandomSubset"]) == {1, 2}


def test_the_stack_may_lie_elsewhere(folder: Path, tmp_path: Path) -> None:
    particles = read_star(folder / "set" / "particles.star")
    write_star(particles, tmp_path / "particles.star")
    options = ["-o", tmp_path / "map", "--mask-diameter", 220]
    missing = run("reconstruct", tmp_path / "particles.star", *options)
    assert missing.exit_code == 2
    assert "particles.mrcs: no such stack" in missing.output
    succeed("reconstruct", tmp_path / "particles.star", *options, "--images", folder / "set")
    assert_array_equal(read_volume(tmp_path / "map.mrc")[0], read_volume(folder / "given.mrc")[0])


def test_a_users_own_star_file_is_completed_first(folder: Path, tmp_path: Path) -> None:
    """Without the workflow's own columns contrast is found and half sets are dealt."""
    particles = read_star(folder / "set" / "truth.star")
    del particles.table["drgnRow"], particles.table["rlnRandomSubset"], particles.optics["drgnContrast"]
    write_star(particles, tmp_path / "own.star")
    options = ["-o", tmp_path / "own", "--images", folder / "set", "--mask-diameter", 220]
    succeed("reconstruct", tmp_path / "own.star", *options)
    inside = read_volume(folder / "given_mask.mrc")[0] > 0.5
    own, true = read_volume(tmp_path / "own.mrc")[0], read_volume(folder / "set" / "state_01.mrc")[0]
    assert np.corrcoef(own[inside], true[inside])[0, 1] > 0.7


def test_version_and_help() -> None:
    assert __version__ in succeed("--version").output
    for command in ("simulate", "refine", "reconstruct", "fsc", "score"):
        assert command in succeed("--help").output
        assert "--help" in succeed(command, "--help").output


# --- bad input: one message, exit status 2, no traceback


@pytest.fixture(scope="module")
def bad(folder: Path) -> Path:
    """Files that do not fit, beside the good ones."""
    write_volume(folder / "small.mrc", np.ones((24, 24, 24), np.float32), 8.0)
    write_volume(folder / "slab.mrc", np.ones((32, 32, 10), np.float32), 8.0)
    (folder / "text.txt").write_text("this is no map\n")
    (folder / "particles.cs").write_bytes(b"not looked at")
    (folder / "text.star").write_text("this is no star file\n")
    particles = read_star(folder / "set" / "particles.star")
    for name, column, value in (("nan", "rlnAngleRot", np.nan), ("beyond", "rlnImageName", "301@particles.mrcs")):
        broken = particles.select(np.arange(300))
        del broken.table["drgnRow"]
        broken.table.loc[4, column] = value
        write_star(broken, folder / "set" / f"{name}.star")
    # files of the workflow's own, which are not imported
    for name, column in (("angle", "rlnAnglePsi"), ("shift", "rlnOriginYAngst"), ("defocus", "rlnDefocusV")):
        broken = particles.select(np.arange(300))
        broken.optics["drgnContrast"] = "white"
        broken.table.loc[4, column] = np.inf if name == "shift" else np.nan
        write_star(broken, folder / "set" / f"own_{name}.star")
    bytes_mask = 255 * read_volume(folder / "given_mask.mrc")[0]
    write_volume(folder / "bytes.mrc", bytes_mask, read_volume(folder / "given_mask.mrc")[1])
    return folder


HALVES = "--half1 given_half1.mrc --half2 given_half2.mrc"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("refine set/particles.star --half1 given_half1.mrc -o x.star --limit 20", "Missing option '--half2'"),
        ("refine set/nothing.star " + HALVES + " --limit 20 -o x.star", "does not exist"),
        ("refine set/particles.star " + HALVES + " --limit 15 -o x.star", "beyond Nyquist"),
        ("refine set/particles.star " + HALVES + " --limit nan -o x.star", "limit"),
        ("refine set/particles.star " + HALVES + " --limit inf -o x.star", "limit"),
        ("refine set/particles.star " + HALVES + " --limit fine -o x.star", "'fine' is not a valid float"),
        ("refine set/particles.star " + HALVES + " --limit 20 -o nowhere/x.star", "nowhere/x.star: its folder"),
        ("refine set/particles.star " + HALVES + " --limit 20 -o x.star --noise given_fsc.csv", "given_fsc.csv"),
        ("refine set/particles.star " + HALVES + " --limit 20 -o x.star --mask slab.mrc", "slab.mrc"),
        ("refine set/particles.star --half1 small.mrc --half2 given_half2.mrc --limit 20 -o x.star", "24 voxels wide"),
        ("refine set/particles.star --half1 text.txt --half2 given_half2.mrc --limit 20 -o x.star", "not an MRC file"),
        ("refine set/nan.star " + HALVES + " --limit 20 -o x.star", "rlnAngleRot"),
        ("refine set/own_angle.star " + HALVES + " --limit 20 -o x.star", "own_angle.star: row 5: rlnAnglePsi is not"),
        ("refine set/own_defocus.star " + HALVES + " --limit 20 -o x.star", "row 5: rlnDefocusV is not"),
        ("refine set/own_shift.star " + HALVES + " --limit 20 -o x.csv --score-only", "row 5: rlnOriginYAngst is not"),
        (
            "refine set/particles.star " + HALVES + " --limit 20 -o x.star --pilot set/own_angle.star",
            "row 5: rlnAnglePsi",
        ),
        ("reconstruct set/own_angle.star -o x", "row 5: rlnAnglePsi is not a finite number"),
        ("refine set/beyond.star " + HALVES + " --limit 20 -o x.star", "particles.mrcs"),
        ("refine text.star " + HALVES + " --limit 20 -o x.star", "text.star"),
        ("reconstruct set/particles.star given.mrc -o x", "given together with other inputs"),
        ("reconstruct particles.cs -o x", "convert particles.cs -o particles.star, and give that"),
        ("refine particles.cs " + HALVES + " --limit 20 -o x.star", "convert particles.cs -o particles.star, and give"),
        (
            "refine set/particles.star --half1 given_half2.mrc --half2 given_half1.mrc --limit 20 -o x.star",
            "given_half2.mrc: is given as --half1, and by its name is the map of half set 2",
        ),
        ("reconstruct given.mrc -o x", "given.mrc"),
        ("reconstruct set/particles.star -o x --mask-diameter 0", "0.0 is not in the range x>0"),
        (
            "reconstruct set/particles.star -o x --mask-diameter 900",
            "--mask-diameter 900 Å is larger than the box (256 Å)",
        ),
        ("reconstruct set/particles.star -o x --mask-diameter 20", "--mask-diameter 20 Å is less than 4 pixels of 8 Å"),
        ("reconstruct set/particles.star -o x --mass-kda -3", "-3.0 is not in the range x>0"),
        ("reconstruct set/particles.star -o x --mask small.mrc", "small.mrc"),
        ("reconstruct set/particles.star -o x --mask bytes.mrc", "bytes.mrc: its values are 0 … 255"),
        ("refine set/particles.star " + HALVES + " --limit 20 -o x.star --mask bytes.mrc", "bytes.mrc: its values"),
        ("fsc given_half1.mrc given_half2.mrc --mask bytes.mrc", "bytes.mrc: its values are 0 … 255"),
        ("reconstruct set/particles.star -o nowhere/x", "nowhere"),
        ("fsc given_half1.mrc small.mrc", "small.mrc: it is 24 voxels wide"),
        ("fsc given_half1.mrc given_half2.mrc --mask small.mrc", "small.mrc"),
        ("fsc slab.mrc slab.mrc", "slab.mrc"),
        ("fsc given_half1.mrc text.txt", "not an MRC file"),
        ("score set/truth.star text.star", "text.star"),
        ("simulate x --particles 1", "1 is not in the range"),
        ("simulate x --snr 0", "'--snr': 0.0 is not in the range"),
        ("simulate x --rotation-error -3", "-3.0 is not in the range 0<=x<=180"),
        ("simulate x --pixel-size 2", "the box 64 Å"),
        ("simulate x --states 9", "9 is not in the range 1<=x<=4"),
        ("simulate text.txt --particles 10", "text.txt"),
    ],
)
def test_bad_input(bad: Path, command: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bad)
    before = set(bad.rglob("*"))
    result = run(*command.split())
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
    assert set(bad.rglob("*")) == before


def test_a_part_of_any_name_can_be_written(folder: Path, tmp_path: Path) -> None:
    options = ["--half1", folder / "given_half1.mrc", "--half2", folder / "given_half2.mrc", "--limit", 20]
    succeed(
        "refine", folder / "set" / "particles.star", *options, "-o", folder / "any.star", "--part", tmp_path / "part"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_without_a_traceback(number: int) -> None:
    @click.command(cls=Command)
    def write() -> None:
        raise OSError(number, os.strerror(number), "particles.star")

    result = CliRunner().invoke(write)
    assert result.exit_code == 1
    assert result.output.startswith(f"ERROR: particles.star: {os.strerror(number)}\n  What to do: make room")


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        ("drgnalign.cli", {"numpy", "numba", "pandas", "scipy"}),
        ("drgnalign.commands.refine", {"numba", "scipy.fft", "scipy.spatial", "sklearn", "matplotlib", "umap"}),
        ("drgnalign.steps.assign", {"numba", "scipy.fft", "scipy.stats", "sklearn", "matplotlib"}),
        ("drgnalign.steps.report", {"numba", "scipy.fft", "scipy.stats", "sklearn", "umap"}),
        ("drgnalign.simulate", {"numba"}),
    ],
)
def test_slow_libraries_wait_until_they_are_needed(module: str, slow: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert module in loaded
    assert not slow & set(loaded)


def test_the_module_is_the_command() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "drgnalign.cli", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "reconstruct" in shown


def test_what_a_file_lacks_may_be_given(folder: Path, tmp_path: Path) -> None:
    """With the options that messages name."""
    bare = read_star(folder / "set" / "particles.star")
    bare.optics.drop(columns=["rlnVoltage", "rlnSphericalAberration"], inplace=True)
    write_star(bare, tmp_path / "bare.star")
    words = ["reconstruct", tmp_path / "bare.star", "--images", folder / "set", "-o", tmp_path / "map"]
    refused = run(*words)
    assert refused.exit_code == 2 and "give --voltage (kV), --cs (mm)" in refused.output
    succeed(*words, "--voltage", 300, "--cs", 2.7)
    assert run("refine", "--help").output.count("--pixel-size") == 1


@pytest.mark.parametrize("name", ["set", "soft", "hard"])
@pytest.mark.parametrize("kind", ["scores", "part", "prefix", "converted", "downsampled"])
def test_a_stack_that_the_particle_file_names_is_not_written_over(
    folder: Path, tmp_path: Path, kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By no name that it goes by; it was given by none."""
    monkeypatch.chdir(tmp_path)
    before = (folder / "set" / "particles.mrcs").read_bytes()
    stack = tmp_path / {"prefix": "stack_half1.mrc", "converted": "stack.cs"}.get(kind, "stack.mrcs")
    stack.write_bytes(before)
    given = read_star(folder / "set" / "particles.star")
    given.table["rlnImageName"] = [f"{row}@{stack.name}" for row in range(1, 301)]
    write_star(given, tmp_path / "p.star")
    target = stack
    if name != "set":
        target = tmp_path / f"other{stack.name[5:]}"
        target.symlink_to(stack) if name == "soft" else target.hardlink_to(stack)
    maps = ("--half1", folder / "given_half1.mrc", "--half2", folder / "given_half2.mrc", "--limit", 40)
    if kind == "downsampled":
        words = ["--images", ".", "--box", "16", "--stack", str(target), "--noise", "noise.csv"]
        result = CliRunner().invoke(downsample, ["p.star", *words])
    elif kind == "converted":
        result = run("convert", "p.star", "-o", target)
    elif kind == "prefix":
        result = run("reconstruct", "p.star", "-o", str(target).removesuffix("_half1.mrc"))
    else:
        option = ["--score-only", "-o", target] if kind == "scores" else ["-o", "new.star", "--part", target]
        result = run("refine", "p.star", *maps, *option)
    assert result.exit_code == 2 and "a file that this command reads" in result.output, result.output
    assert stack.read_bytes() == target.read_bytes() == before


def next_command(said: str) -> list[str]:
    """What is to be typed next, of the last line."""
    line = said.strip().splitlines()[-1]
    words = shlex.split(line.partition(" Next: ")[2])
    assert words[0] == "drgnalign"
    return words[1:]


def test_what_was_written_and_what_to_type_next_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, by simulate and by refine; typed as it stands it works."""
    monkeypatch.chdir(tmp_path)
    said = succeed("simulate", "my set", "--particles", 60, "--snr", 1, "--states", 2).stderr
    assert said.strip().splitlines()[-1].startswith("my set: 60 particles of 2 states (truth.star and state_*.mrc are")
    succeed(*next_command(said))
    maps = ("--half1", "my set/map_half1.mrc", "--half2", "my set/map_half2.mrc", "--limit", 40)
    said = succeed("refine", "my set/particles.star", *maps, "-o", "new.star").stderr
    assert said.strip().splitlines()[-1].startswith("new.star: 60 particles, refined up to 40 Å. Next: drgnalign")
    succeed(*next_command(said))
    assert (tmp_path / "new_half1.mrc").is_file()
    said = succeed("refine", "my set/particles.star", "--images", "my set", *maps, "-o", "b.star").stderr
    succeed(*next_command(said))
    said = succeed("refine", "my set/particles.star", *maps, "--score-only", "-o", "scores.csv").stderr
    assert said.strip().endswith("scores.csv: log-likelihoods of 60 particles for 1 pair of references")
    monkeypatch.setenv("DRGNALIGN_TASK", "1")
    assert "Next:" not in succeed("refine", "my set/particles.star", *maps, "-o", "c.star").stderr


@pytest.mark.parametrize("left", ["particles.star", "truth.star", "particles.mrcs", "state_04.mrc"])
def test_sets_are_not_mixed_in_one_folder(tmp_path: Path, left: str) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / left).write_text("of another set")
    refused = run("simulate", tmp_path, "--particles", 10)
    assert refused.exit_code == 2 and f"{tmp_path}: holds a set already ({left})" in refused.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", left}
    (tmp_path / left).unlink()
    succeed("simulate", tmp_path, "--particles", 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--particles", 0], "'--particles'"),
        (["--particles", 3, "--states", 4], "3 particles"),
        (["--box", 2], "'--box'"),
        (["--box", 100_000], "'--box'"),
        (["--box", 8], "the specimen is 199 Å across, the box 64 Å"),
        (["--pixel-size", -8], "'--pixel-size'"),
        (["--pixel-size", "nan"], "nan is not a finite number"),
        (["--pixel-size", 0.01], "'--pixel-size'"),
        (["--snr", 0], "'--snr'"),
        (["--snr", "inf"], "'--snr'"),
        (["--snr", "nan"], "'--snr'"),
        (["--rotation-error", 1e9], "'--rotation-error'"),
        (["--shift-error", 200], "--shift-error is 200 Å, and the box is 256 Å wide"),
        (["--contrast", 100], "'--contrast'"),
        (["--gain", 100], "'--gain'"),
        (["--ramp", "inf"], "'--ramp'"),
        (["--empty", 1.5], "'--empty'"),
        (["--empty", 0.5, "--broken", 0.3, "--random-poses", 0.3], "are 0.5, 0.3 and 0.3, more than 1 together"),
        (["--defocus-error", 1e6], "'--defocus-error'"),
        (["--seed", -1], "'--seed'"),
        (["--states", 2, "--motion", 5], "--states and --motion are both given"),
        (["--motion", 1], "'--motion'"),
    ],
)
def test_what_cannot_be_simulated_is_refused(tmp_path: Path, options: list[object], message: str) -> None:
    refused = run("simulate", tmp_path / "set", *options)
    assert refused.exit_code == 2 and message in refused.stderr, refused.output
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_options_are_finite_numbers(folder: Path, tmp_path: Path, value: str) -> None:
    star, maps = folder / "set" / "particles.star", ("--half1", folder / "given.mrc", "--half2", folder / "given.mrc")
    for words in (
        ["refine", star, *maps, "--limit", value, "-o", tmp_path / "a.star"],
        ["reconstruct", star, "--mask-diameter", value, "-o", tmp_path / "a"],
        ["convert", star, "--pixel-size", value, "-o", tmp_path / "a.cs"],
        ["convert", star, "--amplitude-contrast", value, "-o", tmp_path / "a.cs"],
        ["merge", star, "--cs", value, "-o", tmp_path / "a.star"],
    ):
        refused = run(*words)
        assert refused.exit_code == 2 and "Invalid value for '--" in refused.stderr
