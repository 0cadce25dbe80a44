"""The driver of FrealignX through doubles of its programs, its answers beside recorded ones; how strict these are."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from drgnalign.engines import ENGINES
from drgnalign.errors import DrgnalignError, InputError, InputWarning
from drgnalign.external.common import statistics_beside
from drgnalign.external.prompts import MERGE3D, PROGRAMS, RECONSTRUCT3D, REFINE3D, answers_to
from drgnalign.formats.frealign_statistics import read_statistics
from drgnalign.formats.mrc import read_volume, write_volume
from drgnalign.formats.par import read_par, read_par_table, write_par
from drgnalign.formats.star import read_star
from drgnalign.geometry import angular_distance
from drgnalign.interface import Chunk, EngineSettings, References
from drgnalign.maps.mask import particle_mask
from drgnalign.particles import Particles

pytestmark = pytest.mark.slow

DOUBLES = Path(__file__).parents[1] / "doubles"
RUNS = Path(__file__).parents[3] / "shared" / "data" / "frealign-runs"
needs_data = pytest.mark.skipif(not RUNS.is_dir(), reason=f"the test data are not there: {RUNS}")
LIMIT, DIAMETER = 20.0, 220.0

# What was typed into the real programs in recorded runs.
RECORDED_REFINE3D = """
    b64_stack.mrcs b64_pert_X.par rec_pert.mrc rec_pert_stats.txt yes match.mrc B_stat_own.par
    B_stat_own.par_changes.par C1 1 0 1.0 3.0 300.0 2.7 0.07 200.0 0.0 60.0 200.0 8.0 0.0 8.0 60.0 12.0 5.0 20 0.0
    0.0 0 0 0 0 500 50 1.0 no yes yes yes yes yes yes no no no yes yes no yes no
"""
RECORDED_RECONSTRUCT3D = """
    b64_stack.mrcs b64_true_X.par no rec_true_1.mrc rec_true_2.mrc rec_true.mrc rec_true_stats.txt C1 1 0 3.0
    300.0 2.7 0.07 200.0 0.0 80.0 0.0 0.0 5.0 1.0 1.0 1.0 yes yes yes no no yes no no no no d1.dat d2.dat
"""
RECORDED_MERGE3D = """
    sp_merge_1.mrc sp_merge_2.mrc sp_merge.mrc sp_merge_stats.txt 200 0 80 dump_odd_.dat dump_even_.dat 3
"""
# The settings of these runs, as the driver has them: what follows from the data, and --frealign_args.
DATA = {"symmetry": "C1", "first": 1, "last": 0, "pixel_size": 3, "voltage": 300, "cs": 2.7, "mass_kda": 200}
DATA |= {"amplitude_contrast": 0.07, "invert": True, "stack": "b64_stack.mrcs"}
REFINE3D_FILES = {
    "input_par": "b64_pert_X.par",
    "reference": "rec_pert.mrc",
    "statistics": "rec_pert_stats.txt",
    "use_statistics": True,
    "matching_projections": "match.mrc",
    "output_par": "B_stat_own.par",
    "output_changes": "B_stat_own.par_changes.par",
}
REFINE3D_ARGUMENTS = {
    "inner_radius": "0",
    "low_limit": "200",
    "classification_limit": "8",
    "search_mask_radius": "60",
    "search_limit": "12",
    "angular_step": "5",
    "search_range_x": "0",
    "search_range_y": "0",
    "mask_2d": "no",
}
RECONSTRUCT3D_FILES = {
    "input_par": "b64_true_X.par",
    "half1": "rec_true_1.mrc",
    "half2": "rec_true_2.mrc",
    "filtered": "rec_true.mrc",
    "statistics": "rec_true_stats.txt",
    "dump": False,
    "dump_odd": "d1.dat",
    "dump_even": "d2.dat",
}
MERGE3D_FILES = {
    "half1": "sp_merge_1.mrc",
    "half2": "sp_merge_2.mrc",
    "filtered": "sp_merge.mrc",
    "statistics": "sp_merge_stats.txt",
    "odd_seed": "dump_odd_.dat",
    "even_seed": "dump_even_.dat",
    "dumps": 3,
}
RECORDED = {
    "refine3d": (
        RECORDED_REFINE3D,
        DATA | REFINE3D_FILES | {"outer_radius": 60, "high_limit": 8},
        REFINE3D_ARGUMENTS,
    ),
    "reconstruct3d_stats": (
        RECORDED_RECONSTRUCT3D,
        DATA | RECONSTRUCT3D_FILES | {"reconstruction_outer_radius": 80},
        {},
    ),
    "merge3d": (RECORDED_MERGE3D, MERGE3D_FILES | {"mass_kda": 200, "reconstruction_outer_radius": 80}, {}),
}
# The reference method's answers by their number, and which of its answers follow from the data.
METHOD_REFINE3D = {9: "C1", 12: 1, 18: 30, 20: 30, 22: 0, 23: 0, 24: 140, 25: 8, 26: 7.5, 27: 20, 28: 15, 29: 15}
METHOD_REFINE3D |= {30: 0, 31: 0, 32: 0, 33: 0, 34: 500, 35: 50, 36: 1, 37: False, 38: True, 39: True, 40: True}
METHOD_REFINE3D |= {41: True, 42: True, 43: True, 44: False, 45: True, 46: False, 47: True, 49: False, 50: True}
METHOD_REFINE3D |= {51: False}
METHOD_RECONSTRUCT3D = {3: False, 8: "C1", 16: 0, 18: 0, 19: 0, 20: 5, 21: 1, 22: 1, 23: 1, 24: True, 25: True}
METHOD_RECONSTRUCT3D |= {27: False, 28: False, 29: True, 30: False, 31: False, 32: False}


@pytest.fixture(scope="module")
def few(simulate: Callable[..., Any]) -> Any:
    """120 particles, the half sets not those of even and odd numbers."""
    made = simulate(120, 32, 8.0, snr=0.5, rotation_error_deg=4.0, shift_error_angstrom=4.0)
    made.given.table["rlnRandomSubset"] = np.random.default_rng(3).permutation(np.arange(120) % 2 + 1)
    return made


@pytest.fixture(scope="module", autouse=True)
def own_python() -> Any:
    """The doubles run under the python that has the library."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        yield


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def engine(**settings: Any) -> Any:
    given: dict[str, Any] = {"mass_kda": 200.0, "frealign_dir": DOUBLES, "logs": Path("logs")}
    return ENGINES["frealignx"](EngineSettings(**(given | settings)))


def chunk_of(few: Any, particles: Particles | None = None) -> Chunk:
    return Chunk(few.given if particles is None else particles, few.folder, mask_diameter=DIAMETER)


@pytest.fixture(scope="module")
def maps(few: Any, tmp_path_factory: pytest.TempPathFactory) -> References:
    """Half maps at the given poses, as the programs make them, their statistics, and a mask."""
    folder = tmp_path_factory.mktemp("maps")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        driver = engine()
        driver.insert(chunk_of(few), folder / "given.part")
        half1, half2, pixel_size = driver.reconstruct([folder / "given.part"], folder / "map")[:3]
    write_volume(folder / "map_half1.mrc", half1, pixel_size)
    write_volume(folder / "map_half2.mrc", half2, pixel_size)
    write_volume(folder / "mask.mrc", particle_mask(half1 + half2, pixel_size, DIAMETER), pixel_size)
    return References(folder / "map_half1.mrc", folder / "map_half2.mrc", folder / "mask.mrc")


@pytest.fixture(scope="module")
def run(few: Any, maps: References, tmp_path_factory: pytest.TempPathFactory) -> tuple[Particles, Path]:
    """All particles refined, and the folder with logs and part."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return engine().refine(chunk_of(few), maps, LIMIT, folder / "refined.part"), folder


def log_of(folder: Path, name: str) -> str:
    return (folder / "logs" / f"particles_{name}.log").read_text()


def numbers_in(log: str) -> list[int]:
    return [int(word) for word in re.findall(r"Particle numbers: (.*)", log)[0].split()]


def checksum_in(log: str) -> str:
    return re.findall(r"Reference checksum: (\w+)", log)[0]


def checksum(*paths: Path) -> str:
    """Of the product of maps."""
    volume = np.prod([read_volume(path)[0] for path in paths], axis=0)
    return hashlib.sha256(volume.astype("<f4").tobytes()).hexdigest()[:16]


def dumps_of(part: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in part.iterdir()}


def sums_in(dump: bytes) -> np.ndarray:
    return np.frombuffer(dump, "<f4", offset=60)


def images_in(dump: bytes) -> int:
    return int(np.frombuffer(dump, "<i4", 7)[6])


def median_error(few: Any, particles: Particles) -> float:
    return float(np.median(angular_distance(few.truth.rotations(), particles.rotations())))


# Answers


@pytest.mark.parametrize("program", PROGRAMS)
def test_answers_are_those_of_the_recorded_runs(program: str) -> None:
    recorded, values, arguments = RECORDED[program]
    assert answers_to(PROGRAMS[program], values, arguments) == recorded.split()


@needs_data
@pytest.mark.parametrize("program", PROGRAMS)
def test_recorded_input_byte_for_byte(program: str) -> None:
    _, values, arguments = RECORDED[program]
    answers = answers_to(PROGRAMS[program], values, arguments)
    recorded = (RUNS / "frealignx" / f"{program}.stdin").read_bytes()
    assert "".join(f"{answer}\n" for answer in answers).encode() == recorded


@needs_data
def test_recorded_par_byte_for_byte(tmp_path: Path) -> None:
    write_par(read_star(RUNS / "inputs" / "b64_pert.star"), tmp_path / "asked.par", "parx")
    written = (tmp_path / "asked.par").read_bytes().splitlines()
    recorded = (RUNS / "inputs" / "b64_pert_X.par").read_bytes().splitlines()
    assert written[1:] == recorded[1:]
    assert written[0][:1] == recorded[0][:1] == b"C"


@needs_data
def test_recorded_output_is_parsed_completely() -> None:
    answer = read_par(RUNS / "frealignx" / "refine3d_output.par")
    assert len(answer) == 2000 and answer.image_locations()[0].tolist() == list(range(1, 2001))
    first = read_par_table(RUNS / "frealignx" / "refine3d_output.par").iloc[0]
    row = [1, 68.27, 115.04, 4.28, -2.25, -0.56, 10000, 1, 14994.6, 14736.4, 82.19, 0, 100, -1459, 8.9372, 34.83, 6.62]
    assert first.tolist() == row
    changes = read_par_table(RUNS / "frealignx" / "refine3d_changes.par")
    assert len(changes) == 2000 and "CHANGE" not in changes
    assert changes["PSI"].iloc[0] == 2.91


@pytest.mark.parametrize(
    ("prompts", "method"), [(REFINE3D, METHOD_REFINE3D), (RECONSTRUCT3D, METHOD_RECONSTRUCT3D)], ids=["refine", "rec"]
)
def test_defaults_are_those_of_the_reference_method(prompts: Any, method: dict[int, object]) -> None:
    defaults = {number: p.default for number, p in enumerate(prompts, start=1) if p.default is not None}
    assert defaults == method


def test_numbers_of_questions() -> None:
    assert [len(prompts) for prompts in (REFINE3D, RECONSTRUCT3D, MERGE3D)] == [51, 35, 10]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("angular_stepp=3", "no setting is called 'angular_stepp'"),
        ("pixel_size=3", "no setting is called 'pixel_size'"),
        ("padding=2,padding=1", "'padding=1' is not a setting"),
        ("padding", "'padding' is not a setting"),
        ("padding=", "'padding=' is not a setting"),
        ("outer_radius=wide", "outer_radius is 'wide'"),
        ("padding=two", "padding is 'two'"),
        ("padding=nan", "padding is 'nan'"),
        ("padding=0", "from 1 to 4"),
        ("symmetry=round", "symmetry is 'round'"),
        ("likelihood_blurring=yes", "no setting is called 'likelihood_blurring'"),
        ("top_hits=2.5", "top_hits is '2.5'"),
        ("refine_psi=maybe", "refine_psi is 'maybe'"),
        ("time_limit=long", "time_limit is 'long'"),
    ],
)
def test_arguments_that_are_none(arguments: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        engine(frealign_args=arguments)


def test_a_hole_wider_than_the_particle_is_refused(few: Any) -> None:
    small = replace(chunk_of(few), mask_diameter=55.0)
    with pytest.raises(InputError, match=r"inner_radius, 30 Å, is not below the outer radius, 27\.5 Å"):
        engine().check(small, [LIMIT])
    engine(frealign_args="inner_radius=0").check(small, [LIMIT])


def test_limits_beyond_nyquist_are_said(few: Any) -> None:
    with pytest.warns(InputWarning, match=r"search_limit of 8 Å is beyond Nyquist \(16 Å\)"):
        engine(frealign_args="search_limit=8").check(chunk_of(few), [LIMIT])


def test_symmetry_is_one_setting() -> None:
    assert engine(symmetry="D7").arguments["symmetry"] == "D7"
    assert engine(frealign_args="symmetry=D7").arguments["symmetry"] == "D7"
    assert engine(frealign_args="symmetry=D7", symmetry="D7").arguments["symmetry"] == "D7"
    with pytest.raises(InputError, match="the symmetry is C4 and, in --frealign_args, D7"):
        engine(frealign_args="symmetry=D7", symmetry="C4")
    with pytest.raises(InputError, match="symmetry is 'X'"):
        engine(symmetry="X")


def test_frealign_has_no_gpu() -> None:
    with pytest.raises(InputError, match="--device cuda is not for Frealign"):
        engine(device="cuda")


def test_mass_must_be_known() -> None:
    with pytest.raises(InputError, match="needs the mass"):
        engine(mass_kda=None)


def test_a_mask_wider_than_the_box_is_cut_and_said(few: Any) -> None:
    with pytest.warns(InputWarning, match=r"outer radius of 300 Å is cut to 108 Å"):
        engine(frealign_args="outer_radius=300,low_limit=60").check(chunk_of(few), [LIMIT])


def test_limits_that_the_program_would_exchange_are_refused(few: Any) -> None:
    with pytest.raises(InputError, match=r"limit 30 Å is not finer than low_limit, 30 Å\n.*low_limit="):
        engine(frealign_args="inner_radius=0").check(chunk_of(few), [LIMIT, 30.0])
    with pytest.raises(InputError, match="beyond Nyquist"):
        engine().check(chunk_of(few), [4.0])


def test_optics_that_differ_are_refused(few: Any) -> None:
    optics = few.given.optics.loc[[0, 0]].reset_index(drop=True).assign(rlnOpticsGroup=[1, 2], rlnVoltage=[300.0, 200])
    table = few.given.table.assign(rlnOpticsGroup=np.arange(120) % 2 + 1)
    with pytest.raises(InputError, match=r"rlnVoltage differs \(200, 300\)"):
        engine().check(chunk_of(few, replace(few.given, table=table, optics=optics)), [LIMIT])


# A good run


def test_refinement_improves_poses(few: Any, run: tuple[Particles, Path]) -> None:
    refined, _ = run
    assert median_error(few, refined) < 0.8 * median_error(few, few.given)
    columns = ["rlnImageName", "rlnRandomSubset", "rlnDefocusU", "drgnRow"]
    assert refined.table[columns].equals(few.given.table[columns])


def test_each_half_set_sees_only_its_own(few: Any, maps: References, run: tuple[Particles, Path]) -> None:
    _, folder = run
    numbers, halves = few.given.image_locations()[0], few.given.half_sets()
    for half, path in ((1, maps.half1), (2, maps.half2)):
        log = log_of(folder, f"half{half}_refine3d")
        assert checksum_in(log) == checksum(path, maps.mask)
        assert numbers_in(log) == numbers[halves == half].tolist()
        assert numbers_in(log_of(folder, f"half{half}_reconstruct3d_stats")) == numbers[halves == half].tolist()
        assert "Use statistics                                     : yes" in log
    dumps = dumps_of(folder / "refined.part")
    assert sorted(dumps) == ["half1_1.dat", "half1_2.dat", "half2_1.dat", "half2_2.dat"]
    for half in (1, 2):
        assert images_in(dumps[f"half{half}_1.dat"]) + images_in(dumps[f"half{half}_2.dat"]) == 60
    assert {path.name for path in folder.iterdir()} == {"logs", "refined.part"}


def test_statistics_lie_beside_the_maps(maps: References) -> None:
    table = read_statistics(statistics_beside(maps.prefix))
    assert_allclose(table["resolution_angstrom"], 256 / (table["shell"] - 1), atol=1e-4)
    assert len(table) == 16 and table["fsc"].iloc[0] > 0.9


def test_statistics_that_cannot_be_right_are_left_out(few: Any, maps: References, tmp_path: Path) -> None:
    """As merge3d wrote them at pixels of 13 Å: an FSC of 1 behind lower ones."""
    for path in (maps.half1, maps.half2):
        (tmp_path / path.name).symlink_to(path)
    doubtful = References(tmp_path / maps.half1.name, tmp_path / maps.half2.name, maps.mask)
    lines = statistics_beside(maps.prefix).read_text().splitlines()
    rows = [number for number, line in enumerate(lines) if line.strip() and not line.startswith("C")]
    for row, fsc in ((rows[3], "0.8000"), (rows[5], "1.0000")):
        fields = lines[row].split()
        fields[3] = fsc
        lines[row] = "  ".join(["", *fields])
    statistics_beside(doubtful.prefix).write_text("\n".join(lines) + "\n")
    assert read_statistics(statistics_beside(doubtful.prefix))["fsc"].iloc[[3, 5]].tolist() == [0.8, 1.0]
    with pytest.warns(InputWarning, match=r"map_statistics.txt: its FSC is 1 in shells behind others"):
        engine().refine(chunk_of(few), doubtful, LIMIT, None)
    for half in (1, 2):
        assert "Use statistics                                     : no" in log_of(tmp_path, f"half{half}_refine3d")


def test_scores_are_kept_and_written_into_the_next_par(run: tuple[Particles, Path], tmp_path: Path) -> None:
    refined, _ = run
    table = refined.table
    assert (table["drgnScore"] == table["drgnFrealignScore"]).all() and table["drgnScore"].nunique() > 50
    assert table["drgnScoreBefore"].isna().all() and (table["drgnAccepted"] == 1).all()
    write_par(refined, tmp_path / "next.par", "parx")
    par = read_par_table(tmp_path / "next.par")
    for name in ("Logp", "Sigma", "Score", "Change"):
        assert_array_equal(par[name.upper()], table[f"drgnFrealign{name}"])
    assert (table["drgnShiftChange"] > 0).any() and (table["drgnRotationChange"] > 0).any()


def test_parts_make_the_map_of_the_whole(few: Any, maps: References, tmp_path: Path) -> None:
    """Of two chunks, the first of which has no particle of half set 2."""
    ours = few.given.half_sets() == 1
    first = np.flatnonzero(ours)[:25]
    others = np.setdiff1d(np.arange(120), first)
    driver = engine()
    for name, rows in (("a", first), ("b", others)):
        driver.insert(chunk_of(few, few.given.select(rows)), tmp_path / f"{name}.part")
    assert sorted(dumps_of(tmp_path / "a.part")) == ["half1_1.dat", "half1_2.dat"]
    half1, half2, _ = driver.reconstruct([tmp_path / "b.part", tmp_path / "a.part"], tmp_path / "map")[:3]
    for volume, path in ((half1, maps.half1), (half2, maps.half2)):
        whole = read_volume(path)[0]
        assert_allclose(volume, whole, atol=1e-4 * np.abs(whole).max())
    assert f"Images processed: {ours.sum()} {120 - ours.sum()}" in (tmp_path / "logs" / "map_merge3d.log").read_text()


@pytest.mark.parametrize("joint", [False, True])
def test_who_is_left_out_is_shown_to_no_program(few: Any, maps: References, tmp_path: Path, joint: bool) -> None:
    marked = few.given.select(np.arange(120))
    marked.table["drgnLeftOut"] = (np.arange(120) % 6 == 0).astype(int)
    refined = engine(joint_reference=joint).refine(chunk_of(few, marked), maps, LIMIT, tmp_path / "refined.part")
    logs = [path.read_text() for path in sorted((tmp_path / "logs").glob("*_refine3d.log"))]
    shown = sorted(number for log in logs for number in numbers_in(log))
    assert shown == (np.flatnonzero(~marked.left_out()) + 1).tolist()
    assert sum(images_in(dump) for dump in dumps_of(tmp_path / "refined.part").values()) == 100
    left = marked.left_out()
    pd.testing.assert_frame_equal(refined.table.loc[left, list(marked.table)], marked.table[left], check_exact=True)


def test_joint_reference_is_the_reference_methods_way(few: Any, maps: References, tmp_path: Path) -> None:
    """One run of all rows against the mean map; halves of odd and even numbers. These maps are without statistics."""
    driver = engine(joint_reference=True)
    bare = References(tmp_path / "bare_half1.mrc", tmp_path / "bare_half2.mrc", maps.mask)
    bare.half1.symlink_to(maps.half1)
    bare.half2.symlink_to(maps.half2)
    driver.refine(chunk_of(few), bare, LIMIT, tmp_path / "joint.part")
    assert "Use statistics                                     : no" in log_of(tmp_path, "refine3d")
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == [
        "particles_reconstruct3d_stats.log",
        "particles_refine3d.log",
    ]
    numbers = few.given.image_locations()[0].tolist()
    assert numbers_in(log_of(tmp_path, "refine3d")) == numbers
    assert numbers_in(log_of(tmp_path, "reconstruct3d_stats")) == numbers
    mean = np.mean([read_volume(path)[0] for path in (maps.half1, maps.half2)], axis=0, dtype=np.float32)
    write_volume(tmp_path / "mean.mrc", mean, 8.0)
    assert checksum_in(log_of(tmp_path, "refine3d")) == checksum(tmp_path / "mean.mrc", maps.mask)
    dumps = dumps_of(tmp_path / "joint.part")
    assert sorted(dumps) == ["half1_1.dat", "half2_1.dat"]
    assert [images_in(dumps[name]) for name in sorted(dumps)] == [60, 60]


def test_the_programs_map_is_the_next_joint_reference(few: Any, maps: References, tmp_path: Path) -> None:
    driver = engine(joint_reference=True)
    driver.insert(chunk_of(few), tmp_path / "joint.part")
    halves = driver.reconstruct([tmp_path / "joint.part"], tmp_path / "map")[:2]
    for half, volume in enumerate(halves, start=1):
        write_volume(tmp_path / f"map_half{half}.mrc", volume, few.given.pixel_size)
    joint = References(tmp_path / "map_half1.mrc", tmp_path / "map_half2.mrc", maps.mask)
    driver.refine(chunk_of(few), joint, LIMIT, None)
    assert checksum_in(log_of(tmp_path, "refine3d")) == checksum(tmp_path / "map_statistics_map.mrc", joint.mask)


def test_contrast_follows_the_data(few: Any, tmp_path: Path) -> None:
    """A dark stack as it is, and one that has to be written anew, give the sums of the white one."""
    white = few.given.select(range(20))
    images = -few.source.read(range(20))
    with mrcfile.new(tmp_path / "dark.mrcs") as stack:
        stack.set_data(images)
    with mrcfile.new(tmp_path / "dark16.mrcs") as stack:
        stack.set_data(images.astype(np.float16))
    driver = engine(joint_reference=True)
    driver.insert(chunk_of(few, white), tmp_path / "white.part")
    expected = dumps_of(tmp_path / "white.part")
    for name, word in (("dark", "no"), ("dark16", "yes")):
        table = white.table.assign(rlnImageName=[f"{number}@{name}.mrcs" for number in range(1, 21)])
        dark = replace(white, table=table, optics=white.optics.assign(drgnContrast="dark"))
        driver.insert(Chunk(dark, tmp_path, mask_diameter=DIAMETER), tmp_path / f"{name}.part")
        assert f"Invert particle contrast                           : {word}" in log_of(tmp_path, "reconstruct3d_stats")
        for member, dump in dumps_of(tmp_path / f"{name}.part").items():
            sums = sums_in(expected[member])
            assert_allclose(sums_in(dump), sums, atol=1e-3 * np.abs(sums).max())


# Faults


FAULTS = {
    "nan": r"refine3d\.log: .*NaN",
    "fewer": r"refine3d\.log: refine3d answered for 11 of 12 particles",
    "renumber": r"refine3d\.log: refine3d answered for other particles",
    "killed": r"refine3d\.log: refine3d was ended by signal 9",
    "abort": r"(?s)refine3d\.log: refine3d was ended by signal 6.*Something of the program's own went wrong",
    "disk_full": r"refine3d\.log: refine3d: its parameter file|answered for \d+ of 12 particles",
    "no_closing": r"refine3d\.log: refine3d ended with status 0 without its closing line 'Refine3D: Normal term",
    "no_output": r"refine3d\.log: refine3d wrote no parameters",
    "hang": r"refine3d\.log: refine3d had not ended after 1 s",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_refine3d(
    few: Any, maps: References, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    driver = engine(joint_reference=True, frealign_args="time_limit=1" if fault == "hang" else "")
    driver.check(chunk_of(few), [LIMIT])
    monkeypatch.setenv("DRGNALIGN_DOUBLE_FAULT", fault)
    with pytest.raises(DrgnalignError, match=FAULTS[fault]):
        driver.refine(chunk_of(few, few.given.select(range(12))), maps, LIMIT, tmp_path / "refined.part")
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("killed", "reconstruct3d_stats was ended by signal 9"),
        ("no_closing", "without its closing line 'Reconstruct3D: Normal termination'"),
        ("no_output", "reconstruct3d_stats wrote no dump1_odd.dat"),
        ("disk_full", r"dump1_odd.dat was not written wholly: it has \d+ bytes of \d+\n.*make room"),
    ],
)
def test_faults_of_reconstruct3d(
    few: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    monkeypatch.setenv("DRGNALIGN_DOUBLE_FAULT", fault)
    with pytest.raises(DrgnalignError, match=message):
        engine().insert(chunk_of(few, few.given.select(range(12))), tmp_path / "given.part")
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("disk_full", r"map_merge3d.log: the statistics that merge3d wrote: "),
        ("no_output", "merge3d wrote no map"),
        ("flat_map", "merge3d wrote an empty map"),
    ],
)
def test_faults_of_merge3d(
    maps: References, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    monkeypatch.setenv("DRGNALIGN_DOUBLE_FAULT", fault)
    with pytest.raises(DrgnalignError, match=message):
        engine().reconstruct([maps.half1.with_name("given.part")], tmp_path / "map")
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


def test_files_that_are_no_parts(tmp_path: Path) -> None:
    (tmp_path / "other.part").write_text("no tar file")
    with pytest.raises(InputError, match=r"other\.part: is no part"):
        engine().reconstruct([tmp_path / "other.part"], tmp_path / "map")


def test_programs_that_are_not_there(few: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no program refine3d\n.*--frealign_dir"):
        engine(frealign_dir=tmp_path).check(chunk_of(few), [LIMIT])
    (tmp_path / "refine3d").write_text("not for running")
    with pytest.raises(InputError, match=r"refine3d: cannot be executed\n.*chmod"):
        engine(frealign_dir=tmp_path).check(chunk_of(few), [LIMIT])
    (tmp_path / "refine3d").chmod(0o755)
    with pytest.raises(DrgnalignError, match="refine3d"):
        engine(frealign_dir=tmp_path).check(chunk_of(few), [LIMIT])


def test_a_newer_dialect_is_refused_before_anything_is_refined(
    few: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRGNALIGN_DOUBLE_FAULT", "newer")
    message = (
        r"reconstruct3d_stats: .* question 22 is 'Weighting by score or dose', "
        r"expected was 'Tuning parameter: smoothing factor'"
    )
    with pytest.raises(InputError, match=message):
        engine().check(chunk_of(few), [LIMIT])


# How strict the doubles are


class Given:
    """A double, and input files that it takes."""

    def __init__(self, program: str, few: Any, maps: References, folder: Path) -> None:
        self.program, self.folder = program, folder
        self.par = folder / "asked.par"
        (folder / "stack.mrcs").symlink_to(few.folder / "particles.mrcs")
        (folder / "reference.mrc").symlink_to(maps.half1)
        self.statistics = folder / "statistics.txt"
        self.statistics.write_bytes(statistics_beside(maps.prefix).read_bytes())
        write_par(few.given.select(range(12)), self.par, "parx")
        facts = {"stack": "stack.mrcs", "input_par": "asked.par", "reference": "reference.mrc", "pixel_size": 8.0}
        facts |= {"statistics": "statistics.txt", "outer_radius": 108, "reconstruction_outer_radius": 108}
        facts |= {"high_limit": LIMIT, "dump": True, "statistics": self.statistics.name}
        self.answers = answers_to(PROGRAMS[program], RECORDED[program][1] | facts, {})

    def run(self) -> tuple[int, str]:
        text = "".join(f"{answer}\n" for answer in self.answers)
        done = subprocess.run(
            [DOUBLES / self.program], input=text, capture_output=True, text=True, cwd=self.folder, check=False
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout


@pytest.fixture(params=["refine3d", "reconstruct3d_stats"])
def given(request: pytest.FixtureRequest, few: Any, maps: References, tmp_path: Path) -> Given:
    return Given(request.param, few, maps, tmp_path)


@pytest.fixture
def refine3d(few: Any, maps: References, tmp_path: Path) -> Given:
    return Given("refine3d", few, maps, tmp_path)


def test_doubles_work_and_print_like_the_recorded_runs(given: Given) -> None:
    status, text = given.run()
    assert status == 0, text
    title = {"refine3d": "Refine3D", "reconstruct3d_stats": "Reconstruct3D"}[given.program]
    assert text.rstrip().endswith(f"{title}: Normal termination")
    assert "Pixel size of images (A)                           : 8.0\n" in text


@needs_data
@pytest.mark.parametrize("program", PROGRAMS)
def test_doubles_ask_what_the_recorded_programs_asked(program: str, few: Any, maps: References, tmp_path: Path) -> None:
    """Up to the last question and to the letter, but for the date of compilation and the answers."""
    recorded = (RUNS / "frealignx" / f"{program}.log").read_text()
    _, text = Given(program, few, maps, tmp_path).run()
    head, count = re.compile(r"(?m)^( +(?:Version) : .*|\S.{50}): ?"), len(PROGRAMS[program]) + 1
    assert head.findall(text)[:count] == head.findall(recorded)[:count]


@pytest.mark.parametrize("place", [0, 3, 8, 10, 16, 22, 31])
def test_answers_that_changed_places(given: Given, place: int) -> None:
    """With the next one of another kind: no program could tell one number from another."""
    kinds = [prompt.kind if prompt.kind in ("text", "yes") else "number" for prompt in PROGRAMS[given.program]]
    other = next(i for i in range(place, len(kinds)) if kinds[i] != kinds[place])
    answers = given.answers
    answers[place], answers[other] = answers[other], answers[place]
    status, text = given.run()
    assert status == 255 and "answer is not recognized" in text


@pytest.mark.parametrize("place", [0, 3, 9, 20, 30, 34])
def test_an_answer_missing_or_blank_or_too_many(given: Given, place: int) -> None:
    answers = list(given.answers)
    for changed in (answers[:place] + answers[place + 1 :], [*answers[:place], "", *answers[place + 1 :]]):
        given.answers = changed
        assert given.run()[0] == 255
    given.answers = [*answers, "yes"]
    assert given.run()[0] == 255


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("stack", "absent.mrcs"),
        ("use_statistics", "maybe"),
        ("symmetry", "round"),
        ("first", "1.5"),
        ("fraction", "1.2"),
        ("pixel_size", "wide"),
        ("pixel_size", "-8"),
        ("pixel_size", "nan"),
        ("mass_kda", "0"),
        ("voltage", "2.7"),
        ("cs", "300"),
        ("amplitude_contrast", "0.9"),
        ("high_limit", "300"),
        ("outer_radius", "30.0"),
        ("top_hits", "0"),
        ("invert", "yes\r"),
    ],
)
def test_answers_of_another_kind(refine3d: Given, key: str, answer: str) -> None:
    place = [prompt.key for prompt in REFINE3D].index(key)
    refine3d.answers[place] = answer
    status, text = refine3d.run()
    assert status == 255 and text.rstrip().endswith("answer is not recognized...")


PAR_FAULTS: dict[str, Callable[[list[str]], list[str]]] = {
    "a shorter row": lambda rows: [*rows[:3], rows[3][:-2], *rows[4:]],
    "all rows shorter": lambda rows: [row[:-8] for row in rows],
    "single spaces": lambda rows: [" ".join(row.split()) for row in rows],
    "padded single spaces": lambda rows: [" ".join(row.split()).ljust(144) for row in rows],
    "trailing blanks": lambda rows: [f"{row}  " for row in rows],
    "carriage returns": lambda rows: [f"{row}\r" for row in rows],
    "columns of version 9": lambda rows: [(row[:92] + row[100:]).ljust(144) for row in rows],
    "no rows": lambda rows: ["C nothing"],
    "NaN": lambda rows: [rows[0].replace(rows[0][7:15], "     nan"), *rows[1:]],
    "an image twice": lambda rows: [rows[0], *rows],
    "no such image": lambda rows: [*rows, "   9999" + rows[0][7:]],
}


@pytest.mark.parametrize("fault", PAR_FAULTS)
def test_par_files_that_the_real_programs_misread(given: Given, fault: str) -> None:
    heading, *rows = given.par.read_text().splitlines()
    assert {len(row) for row in rows} == {144}
    given.par.write_text("\n".join([heading, *PAR_FAULTS[fault](rows)]) + "\n")
    status, _ = given.run()
    assert status != 0


@pytest.mark.parametrize("fault", ["another box", "a row short", "absent"])
def test_statistics_of_something_else(refine3d: Given, fault: str) -> None:
    lines = refine3d.statistics.read_text().splitlines()
    if fault == "another box":
        rows = ["".join(f"{x:14.5f}" for x in (s, 512 / (s - 1), (s - 1) / 64, 1, 1, 9, 9)) for s in range(2, 34)]
        refine3d.statistics.write_text("\n".join(rows) + "\n")
    elif fault == "a row short":
        refine3d.statistics.write_text("\n".join(lines[:-1]) + "\n")
    else:
        refine3d.statistics.unlink()
    assert refine3d.run()[0] != 0


def test_a_double_that_aborts_loses_its_words_unless_line_buffered(
    refine3d: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRGNALIGN_DOUBLE_FAULT", "abort")
    monkeypatch.delenv("_STDBUF_O", raising=False)
    assert refine3d.run() == (-6, "")
