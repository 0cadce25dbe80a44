"""The driver of Frealign 9 through doubles of its programs, and its cards beside recorded ones."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drgnalign.engine.native import NativeEngine
from drgnalign.engines import ENGINES
from drgnalign.errors import DrgnalignError, InputError, InputWarning
from drgnalign.external.cards import MERGE, RECONSTRUCT, REFINE_ONLY, cards
from drgnalign.external.frealign9 import _table_for, _with_magnification
from drgnalign.formats.mrc import read_volume, write_volume
from drgnalign.formats.par import write_par
from drgnalign.formats.star import read_star
from drgnalign.geometry import angular_distance
from drgnalign.interface import Chunk, EngineSettings, References
from drgnalign.maps.mask import particle_mask
from drgnalign.particles import Particles

pytestmark = pytest.mark.slow

DOUBLES = Path(__file__).parents[1] / "doubles"
RUNS = Path(__file__).parents[3] / "shared" / "data" / "frealign-runs" / "frealign9"
needs_data = pytest.mark.skipif(not RUNS.is_dir(), reason=f"the test data are not there: {RUNS}")
LIMIT, DIAMETER = 20.0, 220.0


@pytest.fixture(scope="module")
def few(simulate: Callable):
    return simulate(120, 32, 8.0, snr=0.5, rotation_error_deg=4.0, shift_error_angstrom=4.0)


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, in which the doubles find the python that has the library."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def chunk(few) -> Chunk:
    return Chunk(few.given, few.folder, mask_diameter=DIAMETER)


@pytest.fixture(scope="module")
def maps(few, tmp_path_factory: pytest.TempPathFactory) -> References:
    """Half maps of the native engine at the given poses: without a table of statistics."""
    folder = tmp_path_factory.mktemp("maps")
    native = NativeEngine(EngineSettings())
    native.insert(Chunk(few.given, few.folder, mask_diameter=DIAMETER), folder / "part")
    half1, half2, pixel_size = native.reconstruct([folder / "part"], folder / "map")[:3]
    for half, volume in ((1, half1), (2, half2)):
        write_volume(folder / f"map_half{half}.mrc", volume, pixel_size)
    return References(folder / "map_half1.mrc", folder / "map_half2.mrc")


@pytest.fixture(scope="module")
def own(few, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a part of the given poses, given.part, and the half maps and tables that come of it, rec_…"""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        engine().insert(Chunk(few.given, few.folder, mask_diameter=DIAMETER), Path("given.part"))
        half1, half2, pixel_size = engine().reconstruct([Path("given.part")], Path("rec"))[:3]
        for half, volume in ((1, half1), (2, half2)):
            write_volume(f"rec_half{half}.mrc", volume, pixel_size)
    return folder


def engine(arguments: str = "", joint: bool = False, folder: Path | None = DOUBLES):
    settings = EngineSettings(joint, 200.0, folder, arguments, Path("logs"))
    return ENGINES["frealign9"](settings)


def of_half(chunk: Chunk, half: int) -> Chunk:
    """With the particles of one half set only."""
    particles = chunk.particles
    return replace(chunk, particles=particles.select(np.flatnonzero(particles.half_sets() == half)))


def error_of(few, particles: Particles) -> float:
    return float(np.median(angular_distance(few.truth.rotations(), particles.rotations())))


def log(name: str) -> str:
    return Path("logs", f"particles_{name}_frealign_v9.log").read_text()


# --- cards ------------------------------------------------------------------------------------------------------------


def recorded(**changes: object) -> dict[str, object]:
    """Settings of the recorded runs."""
    values = {"pixel_size": 3.0, "mass_kda": 200, "amplitude_contrast": -0.07, "first": 1, "last": 2000, "cs": 2.7}
    values |= {"voltage": 300.0, "reconstruction_limit": 6.0, "stack": "b64_stack.mrcs", "filter": True}
    return {**values, **changes}


def outputs(name: str) -> dict[str, object]:
    keys = ("weights", "half1", "half2", "phase_residuals", "point_spread")
    files = ("weights", "half1", "half2", "phasediffs", "pointspread")
    return {key: f"{name}_{file}.mrc" for key, file in zip(keys, files, strict=True)}


@needs_data
def test_cards_of_the_recorded_runs() -> None:
    refine = recorded(mode=1, dump=False, memory=1, outer_radius=60, high_limit=12.0, classification_limit=12.0)
    refine |= {"input_par": "refine_input_with_table.par", "output_par": "refine_output.par", "map": "rec_pert.mrc"}
    refine |= {"output_shifts": "refine_output.shft", "terminator": REFINE_ONLY, **outputs("refine_output")}
    rebuild = recorded(mode=0, dump=False, memory=0, outer_radius=80, high_limit=8.0, classification_limit=8.0)
    rebuild |= {"input_par": "b64_true_9.par", "output_par": "reconstruct.par", "map": "reconstruct.mrc"}
    rebuild |= {"output_shifts": "reconstruct.shft", "terminator": RECONSTRUCT, **outputs("reconstruct")}
    for name, values in (("refine", refine), ("reconstruct", rebuild)):
        assert "".join(f"{line}\n" for line in cards(values, {})) == (RUNS / f"{name}.stdin").read_text()
    merged = ("merged.mrc", "merged_w.mrc", "merged_h1.mrc", "merged_h2.mrc", "merged_pd.mrc", "merged_ps.mrc")
    keys = ("map", "weights", "half1", "half2", "phase_residuals", "point_spread")
    asked = cards(dict(zip(keys, merged, strict=True)), {}, MERGE)
    assert (RUNS / "merge_3d.stdin").read_text().splitlines()[-6:] == asked


@needs_data
def test_par_file_with_statistics_byte_for_byte(tmp_path: Path) -> None:
    """Rows and table of the recorded refinement's input, from the set's star file and the recorded statistics."""
    recorded = (RUNS / "refine_input_with_table.par").read_text().splitlines()
    given = read_star(RUNS.parent / "inputs" / "b64_pert.star")
    write_par(_with_magnification(given), tmp_path / "asked.par", "par9")
    rows = [line for line in (tmp_path / "asked.par").read_text().splitlines() if not line.startswith("C")]
    # the star file holds the first of them
    assert len(rows) == 200
    assert rows == [line for line in recorded if not line.startswith("C")][:200]
    statistics = tmp_path / "map_statistics_half1.txt"
    shutil.copy(RUNS / "refine_input_with_table.par", statistics)
    table = _table_for(Chunk(given, tmp_path), tmp_path / "map", 1)
    heading = next(i for i, line in enumerate(recorded) if "Part_SSNR" in line)
    assert table == recorded[heading : heading + 1 + given.box // 2]


def test_long_cards_are_refused() -> None:
    values = recorded(mode=1, dump=False, outer_radius=60, high_limit=12.0, classification_limit=12.0, input_par="a")
    values |= {"output_par": "b", "output_shifts": "c", "terminator": REFINE_ONLY, "map": "d"}
    assert len(cards(values, {})) == 19
    with pytest.raises(InputError, match="reads 80 characters"):
        cards(
            values | {"pixel_size": 1.2345678901234567, "mass_kda": 123456.7, "amplitude_contrast": -1 / 3},
            {"inner_radius": "1.0000000001"},
        )
    with pytest.raises(InputError, match="reads 200 characters"):
        cards(values | {"map": "d" * 201}, {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("mode=0", "no setting is called 'mode'"),
        ("pixel_size=2", "no setting is called"),
        ("memory=4", "from 0 to 3"),
        ("memory=1.5", "a whole number"),
        ("low_limit=five", "a number"),
        ("score_weighting=0", "from 0.001"),
        ("refine_psi=1", "yes or no"),
        ("symmetry=H", "symmetry is 'H'"),
    ],
)
def test_settings_that_are_refused(arguments: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        engine(arguments)


def test_settings_reach_the_cards(chunk: Chunk, maps: References) -> None:
    with pytest.warns(InputWarning, match="outer_radius of 900 Å is cut to half the box, 128 Å"):
        engine("low_limit=150,memory=2,refine_psi=no,outer_radius=900").refine(of_half(chunk, 1), maps, LIMIT, None)
    for line in ("M,1,F,F,F,F,0,F,F,F,F,0,F,2,1", "128,0.0,8.0,200,-0.07", "0,1,1,1,1", "16.0,150.0,20.0,20.0"):
        assert f"   {line}" in log("half1_refine")


# --- the driver -------------------------------------------------------------------------------------------------------


def test_refinement_and_reconstruction(few, chunk: Chunk, own: Path) -> None:
    nine = engine()
    nine.check(chunk, [LIMIT])
    refined = nine.refine(chunk, References(own / "rec_half1.mrc", own / "rec_half2.mrc"), LIMIT, Path("b.part"))
    assert error_of(few, refined) < 0.7 * error_of(few, few.given)
    assert len(refined) == len(few.given)
    assert (refined.table["rlnImageName"] == few.given.table["rlnImageName"]).all()
    assert {"drgnScore", "drgnRotationChange", "drgnFrealignLogp"} <= set(refined.table)
    half1, half2, pixel_size = nine.reconstruct([Path("b.part")], Path("better"))[:3]
    assert pixel_size == pytest.approx(8.0)
    before = sum(read_volume(own / f"rec_half{half}.mrc")[0] for half in (1, 2))
    correlations = [np.corrcoef(few.volume.ravel(), volume.ravel())[0, 1] for volume in (before, half1 + half2)]
    assert correlations[1] > correlations[0]
    # the table of each half's reference was given along, and there are new ones
    assert all("Reading Part_SSNR table" in log(f"half{half}_refine") for half in (1, 2))
    assert all(Path(f"better_statistics_half{half}.txt").is_file() for half in (1, 2))


def test_no_half_sees_the_other(few, chunk: Chunk, maps: References) -> None:
    with pytest.warns(InputWarning, match="map_statistics_half1.txt is not beside the reference"):
        engine().refine(chunk, maps, LIMIT, None)
    halves = few.given.half_sets()
    numbers = few.given.image_locations()[0]
    seen = {}
    for half in (1, 2):
        text = log(f"half{half}_refine")
        assert "Reading Part_SSNR" not in text
        assert re.search(r"Particle numbers: (.*)", text)[1].split() == [str(n) for n in numbers[halves == half]]
        seen[half] = re.search(r"Reference checksum: (\w+)", text)[1]
    assert seen[1] != seen[2]
    # half 2 sees the map that it is given as its own
    swapped = References(maps.half1, maps.half1, maps.mask)
    with pytest.warns(InputWarning):
        engine().refine(of_half(chunk, 2), swapped, LIMIT, None)
    assert re.search(r"checksum: (\w+)", log("half2_refine"))[1] == seen[1]


def test_parts_add_up(few, chunk: Chunk, own: Path) -> None:
    nine = engine()
    # the first part has one half set only
    first = few.given.half_sets() == 1
    first[60:] = False
    for number, rows in enumerate((first, ~first)):
        nine.insert(replace(chunk, particles=few.given.select(np.flatnonzero(rows))), Path(f"{number}.part"))
    assert [path.name for path in Path("0.part").iterdir()] == ["half1_1.mrc"]
    added = nine.reconstruct([Path(f"{number}.part") for number in range(2)], Path("added"))
    for half in (1, 2):
        whole = read_volume(own / f"rec_half{half}.mrc")[0]
        np.testing.assert_allclose(added[half - 1], whole, atol=1e-4 * np.abs(whole).max())
    with pytest.raises(DrgnalignError, match="no part has particles of half set 2"):
        nine.reconstruct([Path("0.part")], Path("half"))


def test_joint_reference(few, chunk: Chunk, maps: References, own: Path) -> None:
    nine = engine(joint=True)
    with pytest.warns(InputWarning, match="map_statistics_joint.txt"):
        refined = nine.refine(chunk, maps, LIMIT, Path("joint.part"))
    assert error_of(few, refined) < 0.7 * error_of(few, few.given)
    assert len(re.search(r"Particle numbers: (.*)", log("refine"))[1].split()) == len(few.given)
    half1, half2, _ = nine.reconstruct([Path("joint.part")], Path("joint"))[:3]
    assert 0.3 < np.corrcoef(half1.ravel(), half2.ravel())[0, 1] < 0.999
    assert Path("joint_statistics_joint.txt").is_file()
    # the program's map of both is the next reference
    for half, volume in enumerate((half1, half2), start=1):
        write_volume(f"joint_half{half}.mrc", volume, chunk.particles.pixel_size)
    nine.refine(chunk, replace(maps, half1=Path("joint_half1.mrc"), half2=Path("joint_half2.mrc")), LIMIT, None)
    whole, pixel_size = read_volume("joint_statistics_map.mrc")
    product = whole * particle_mask(whole, pixel_size, chunk.diameter)
    checksum = hashlib.sha256(product.astype("<f4").tobytes()).hexdigest()[:16]
    assert re.search(r"Reference checksum: (\w+)", log("refine"))[1] == checksum
    # a part of half sets is none of a joint reference
    with pytest.raises(DrgnalignError, match="the joint reference"):
        nine.reconstruct([own / "given.part"], Path("joint"))


def test_rows_of_another_magnification(few, chunk: Chunk) -> None:
    """MAG of a user's par file does not scale the images."""
    table = few.given.table.assign(drgnFrealignMag=59880)
    engine().insert(of_half(replace(chunk, particles=replace(few.given, table=table)), 1), Path("a.part"))
    assert Path("a.part").is_dir()


def test_dark_protein_and_no_amplitude_contrast(few, chunk: Chunk) -> None:
    for contrast, amplitude, card in (("dark", 0.07, ",0.07,"), ("white", 0.0, ",-0.0001,")):
        optics = few.given.optics.assign(drgnContrast=contrast, rlnAmplitudeContrast=amplitude)
        engine().insert(of_half(replace(chunk, particles=replace(few.given, optics=optics)), 1), Path("a.part"))
        assert card in log("half1_reconstruct")


@pytest.mark.parametrize("damage", ["shell", "asterisks", "other box"])
def test_table_that_does_not_fit(chunk: Chunk, own: Path, damage: str) -> None:
    shutil.copytree(own, ".", dirs_exist_ok=True)
    table = Path("rec_statistics_half1.txt")
    lines = table.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if "Part_SSNR" in line) + 1
    if damage == "shell":
        del lines[first + 3]
    elif damage == "other box":
        lines[first:] = [line for line in lines[first:] if not line.startswith("C  17")]
    else:
        lines[first] = lines[first][:47] + "*" * 11 + lines[first][58:]
    table.write_text("\n".join(lines) + "\n")
    with pytest.warns(InputWarning, match="not of a box of 32 px, or damaged"):
        engine().refine(of_half(chunk, 1), References(Path("rec_half1.mrc"), Path("rec_half2.mrc")), LIMIT, None)
    assert "Reading Part_SSNR" not in log("half1_refine")


# --- what is refused --------------------------------------------------------------------------------------------------


def test_what_frealign_9_cannot_do(few, chunk: Chunk, particles_of: Callable) -> None:
    nine = engine()
    with pytest.raises(InputError, match="even boxes"):
        nine.check(replace(chunk, particles=particles_of(np.zeros((4, 9, 9), np.float32))), [LIMIT])
    shifted = few.given.table.assign(rlnPhaseShift=90.0)
    with pytest.raises(InputError, match="no phase shift"):
        nine.check(replace(chunk, particles=replace(few.given, table=shifted)), [LIMIT])
    far = few.given.table.assign(rlnOriginXAngst=129.0)
    with pytest.raises(InputError, match="outside its image"):
        nine.check(replace(chunk, particles=replace(few.given, table=far)), [LIMIT])
    with pytest.raises(InputError, match="give --mass_kda"):
        ENGINES["frealign9"](EngineSettings(logs=Path("logs")))


def test_shifts_and_limits(few, chunk: Chunk, maps: References) -> None:
    half = int(few.given.half_sets()[0])
    far = few.given.table.copy()
    far.loc[0, "rlnOriginXAngst"] = 129.0
    with pytest.warns(InputWarning, match="1 particles are outside their images"):
        engine().insert(of_half(replace(chunk, particles=replace(few.given, table=far)), half), Path("a.part"))
    with pytest.raises(InputError, match="not finer than low_limit, 18 Å"):
        engine("low_limit=18").check(chunk, [LIMIT])
    # what comes of a poor map is no fault of the user's
    with pytest.warns(InputWarning, match="low_limit of 18 Å leaves nothing to refine with up to 20 Å; 200 Å is used"):
        engine("low_limit=18").refine(of_half(chunk, 1), maps, LIMIT, None)
    assert "16.0,200.0,20.0,20.0" in log("half1_refine")
    with pytest.raises(InputError, match="inner_radius, 120 Å, is not below the outer radius, 110 Å"):
        engine("inner_radius=120").check(chunk, [LIMIT])
    with pytest.raises(InputError, match="reconstruction_limit of 30"):
        engine("reconstruction_limit=30").refine(chunk, maps, LIMIT, None)
    with pytest.warns(InputWarning, match="beyond Nyquist"):
        engine("reconstruction_limit=5").check(chunk, [LIMIT])


def test_programs_that_are_not_there(chunk: Chunk, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"has no program frealign_v9\.exe"):
        engine(folder=Path()).check(chunk, [LIMIT])
    shutil.copytree(DOUBLES, "programs")
    Path("programs/merge_3d.exe").chmod(0o644)
    with pytest.raises(InputError, match="cannot be executed"):
        engine(folder=Path("programs")).check(chunk, [LIMIT])
    monkeypatch.setenv("DRGNALIGN_DOUBLE_FAULT", "other_version")
    with pytest.raises(InputError, match=r"(?s)is not the frealign_v9.exe of Frealign 9.12; it .* and said:.*V9\.11"):
        engine().check(chunk, [LIMIT])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nan", "wrote NaN for 1 particles"),
        ("asterisks", r"its parameter file .*asterisks"),
        ("fewer", "answered for 59 of 60 particles"),
        ("renumber", "other particles than it was asked for"),
        ("killed", "was ended by signal 9"),
        ("stop", "(?s)ended with status 0 without its closing line.*STOP  ERROR: Something"),
        ("disk_full", "(?s)ended with status 2.*No space left on device$"),
        ("no_closing", "status 0 without its closing line 'Normal termination, no output data-files'"),
        ("no_output", "wrote no parameters"),
    ],
)
@pytest.mark.filterwarnings("ignore::drgnalign.errors.InputWarning")
def test_faults_of_a_refinement(
    few, chunk: Chunk, maps: References, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    monkeypatch.setenv("DRGNALIGN_DOUBLE_FAULT", fault)
    with pytest.raises(DrgnalignError) as caught:
        engine().refine(chunk, maps, LIMIT, Path("a.part"))
    assert re.search(message, caught.value.problem), caught.value.problem
    assert caught.value.file == str(Path("logs/particles_half1_refine_frealign_v9.log").resolve())
    # nothing half done is left
    assert sorted(path.name for path in Path().iterdir()) == ["logs"]


@pytest.mark.filterwarnings("ignore::drgnalign.errors.InputWarning")
def test_time_limit(chunk: Chunk, maps: References, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRGNALIGN_DOUBLE_FAULT", "hang")
    with pytest.raises(DrgnalignError, match=r"had not ended after 2 s"):
        engine("time_limit=2").refine(chunk, maps, LIMIT, None)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("flat_map", "wrote an empty map"),
        ("nan_map", "wrote a map that holds NaN"),
        ("no_output", "wrote no table of statistics"),
        ("killed", "was ended by signal 9"),
        ("no_closing", "without its closing line 'Normal termination of merge_3d'"),
    ],
)
def test_faults_of_a_merge(own: Path, monkeypatch: pytest.MonkeyPatch, fault: str, message: str) -> None:
    monkeypatch.setenv("DRGNALIGN_DOUBLE_FAULT", fault)
    with pytest.raises(DrgnalignError, match=message):
        engine().reconstruct([own / "given.part"], Path("rec"))


def test_one_particle_is_too_few(few, chunk: Chunk) -> None:
    row = np.flatnonzero(few.given.half_sets() == 1)[:1]
    engine().insert(replace(chunk, particles=few.given.select(row)), Path("a.part"))
    with pytest.raises(DrgnalignError, match="at least two particles needed"):
        engine().reconstruct([Path("a.part")], Path("rec"))


def test_other_parts(chunk: Chunk) -> None:
    Path("text.part").write_text("no folder")
    with pytest.raises(InputError, match="is no part of a reconstruction"):
        engine().reconstruct([Path("text.part")], Path("rec"))
    Path("x.part").mkdir()
    Path("x.part/half1_1.dat").touch()
    with pytest.raises(InputError, match="is no part of a reconstruction"):
        engine().reconstruct([Path("x.part")], Path("rec"))


# --- the doubles are strict -------------------------------------------------------------------------------------------


@pytest.fixture
def asked(few, chunk: Chunk, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cards of a reconstruction, with its files in this folder."""
    from drgnalign.external import driver

    kept: list[str] = []

    def keep(program: Path, lines: list[str], log: Path, folder: Path, seconds: float) -> None:
        kept[:] = lines
        shutil.copytree(folder, ".", dirs_exist_ok=True)
        raise DrgnalignError(None, "kept", "")

    monkeypatch.setattr(driver, "run", keep)
    small = replace(chunk, particles=few.given.select(np.arange(20)))
    with pytest.raises(DrgnalignError, match="kept"):
        engine(joint=True).insert(small, Path("a.part"))
    return kept


def outcome(lines: list[str], program: str = "frealign_v9.exe") -> tuple[int, str]:
    """Exit status and standard error."""
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run([DOUBLES / program], input=text, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr + ("" if "Normal termination" in done.stdout else "(no closing line)")


def changed(lines: list[str], card: int, text: str) -> list[str]:
    return [*lines[: card - 1], text, *lines[card:]]


def test_double_takes_right_cards(asked: list[str]) -> None:
    assert outcome(asked) == (0, "")
    # the map is there now
    assert outcome(asked)[0] == -signal.SIGSEGV


def test_double_is_strict_about_cards(asked: list[str]) -> None:
    for card in range(1, 20):
        status, said = outcome(asked[: card - 1] + asked[card:])
        assert status != 0 or "STOP" in said, f"card {card} is missing, and not missed"
    for card in (2, 4, 6, 8):
        status, said = outcome([*asked[: card - 1], asked[card], asked[card - 1], *asked[card + 1 :]])
        assert status != 0 or "STOP" in said, f"cards {card} and {card + 1} are exchanged, and it was not seen"
    for card, text in [
        (1, asked[0] + ",1"),
        (1, asked[0].replace("T", "yes")),
        (2, asked[1].replace(",10,10", ",10.5,10")),
        (2, asked[1] + "0" * 40),
        (3, "1,1,1,1,2"),
        (4, "1,21"),
        (4, "5,4"),
        (5, "Q1"),
        (6, asked[5].replace("8.0", "7.0")),
        (7, asked[6].replace("200.0", "1.0", 1)),
        (13, REFINE_ONLY),
    ]:
        status, said = outcome(changed(asked, card, text))
        assert status != 0 or "STOP" in said, f"card {card}: {text}"
    status, said = outcome([*asked, "more"])
    assert "more cards" in said


def test_double_is_strict_about_rows(asked: list[str]) -> None:
    par = Path(asked[9])
    good = par.read_text().splitlines(keepends=True)
    assert len(good[1]) == 137
    for row, expected in [
        (good[2].replace("\n", " \n"), "a row of 137 characters"),
        (good[2][:-1][:-8] + "\n", "a row of 128 characters"),
        (" ".join(good[2].split()) + "\n", "characters, not 136"),
        (good[1], "in two rows that follow each other"),
        (f"{9999:7d}" + good[2][7:], "outside the stack"),
        (good[2][:51] + f"{59880:8d}" + good[2][59:], "MAG 59880"),
    ]:
        par.write_text("".join([*good[:2], row, *good[3:]]))
        assert expected in outcome(asked)[1]


def test_double_of_the_merge_is_strict(asked: list[str]) -> None:
    assert outcome(asked)[0] == 0
    lines = ["1", asked[13], "table", "map", "weights", "half1", "half2", "residuals", "points"]
    assert outcome(lines, "merge_3d.exe") == (0, "")
    for wrong in (lines[:-1], ["2", *lines[1:]], ["0", *lines[1:]], ["1", "none", *lines[2:]], [*lines, "more"]):
        status, said = outcome(wrong, "merge_3d.exe")
        assert status != 0 or "STOP" in said
