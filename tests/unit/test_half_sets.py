"""Half sets are dealt by what shares noise, and a figure says what they are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import run, succeed

from drgnalign.errors import InputError, InputWarning
from drgnalign.formats.cryosparc import read_cs
from drgnalign.formats.mrc import StackWriter, write_volume
from drgnalign.formats.star import read_star, write_star
from drgnalign.fourier import soft_sphere
from drgnalign.half_maps import DEALT, FORGETS, JOINT, marked, refined_at, standing
from drgnalign.half_sets import deal, in_both, ties
from drgnalign.heterogeneity.assign import _folds
from drgnalign.inputs import import_particles, undecided
from drgnalign.inspect import inspect_file
from drgnalign.particles import ANGLES, Particles
from drgnalign.run.metrics import pass_metrics
from drgnalign.run.plan import PassReport

N = 40


def particles_with(**columns: object) -> Particles:
    """Images 1…40 of a stack, and further columns."""
    names = {"rlnImageName": [f"{i:06d}@a.mrcs" for i in range(1, N + 1)], "rlnOpticsGroup": 1}
    optics = pd.DataFrame({"rlnOpticsGroup": [1], "rlnImagePixelSize": 4.0})
    return Particles(pd.DataFrame(names | columns), optics, Path("set.star"))


def dealt(particles: Particles, root: Path | None = None) -> np.ndarray:
    return deal(ties(particles, root), np.random.default_rng(0))


def parted(halves: np.ndarray, things: object) -> int:
    """How many things are in both half sets."""
    return int((pd.Series(halves).groupby(np.asarray(things)).nunique() > 1).sum())


MICROGRAPHS = np.repeat([f"mic{i}.mrc" for i in range(5)], 8)
THINGS = {
    "an image in several rows": {"rlnImageName": [f"{i % 20 + 1}@a.mrcs" for i in range(N)]},
    "a stack by two spellings": {
        "rlnImageName": [f"{i % 20 + 1:0{i % 7 + 1}d}@{'./' * (i % 3)}a.mrcs" for i in range(N)]
    },
    "subtracted images of one": {"rlnImageOriginalName": [f"{i % 20 + 1}@orig.mrcs" for i in range(N)]},
    "frames of one particle": {"rlnOriginalParticleName": [f"{i % 20 + 1}@orig.mrcs" for i in range(N)]},
    "one place, extracted twice": {
        "rlnImageName": [f"{i % 20 + 1}@{'ab'[i // 20]}.mrcs" for i in range(N)],
        "rlnMicrographName": "m.mrc",
        "rlnCoordinateX": [100.5 * (i % 20) for i in range(N)],
        "rlnCoordinateY": 7.0,
    },
    "one place, in micrographs of two jobs": {
        "rlnImageName": [f"{i % 20 + 1}@{'ab'[i // 20]}.mrcs" for i in range(N)],
        "rlnMicrographName": [f"MotionCorr/job00{2 + i // 20}/m.mrc" for i in range(N)],
        "rlnCoordinateX": [100.5 * (i % 20) for i in range(N)],
        "rlnCoordinateY": 7.0,
    },
}


@pytest.mark.parametrize("columns", THINGS.values(), ids=THINGS)
def test_what_shares_noise_is_not_parted(columns: dict[str, object]) -> None:
    halves = dealt(particles_with(**columns))
    assert parted(halves, np.arange(N) % 20) == 0
    assert np.bincount(halves).tolist() == [0, N // 2, N // 2]
    rows = particles_with(**columns)
    shared = in_both(ties(rows), np.arange(N) // 20 + 1)
    assert set(shared.values()) == {20}


def test_filaments_go_by_micrograph_and_tube() -> None:
    """Tube 1 of one micrograph has nothing to do with tube 1 of another."""
    tubes = np.tile([1, 1, 1, 2, 2, 2, 2, 3], 5)
    filaments = [f"{name} {tube}" for name, tube in zip(MICROGRAPHS, tubes, strict=True)]
    particles = particles_with(rlnMicrographName=MICROGRAPHS, rlnHelicalTubeID=tubes)
    halves = dealt(particles)
    assert parted(halves, filaments) == 0
    assert parted(halves, tubes) == 3
    assert abs(np.bincount(halves)[1:] - N / 2).max() <= 2
    assert in_both(ties(particles), np.arange(N) % 2 + 1) == {"filaments": 10}


def test_an_image_and_those_that_were_made_of_it_are_one() -> None:
    """Chains: a subtracted image, its source, and another copy of the source, in another stack."""
    names = ["1@a.mrcs", "1@sub.mrcs", "2@sub.mrcs", "2@a.mrcs"]
    originals = ["None", "1@a.mrcs", "1@a.mrcs", "None"]
    table = pd.DataFrame({"rlnImageName": names, "rlnOpticsGroup": 1, "rlnImageOriginalName": originals})
    halves = dealt(Particles(table, particles_with().optics, Path("set.star")))
    assert halves[0] == halves[1] == halves[2] != halves[3]


def test_links_to_one_stack_are_one_stack(tmp_path: Path) -> None:
    (tmp_path / "a.mrcs").touch()
    (tmp_path / "b.mrcs").symlink_to("a.mrcs")
    names = [f"{i % 20 + 1}@{'ab'[i // 20]}.mrcs" for i in range(N)]
    assert parted(dealt(particles_with(rlnImageName=names), tmp_path), np.arange(N) % 20) == 0


def test_symmetry_expansion_of_cryosparc_is_known_by_its_sources(tmp_path: Path) -> None:
    fields = [("uid", "<u8"), ("blob/path", "S9"), ("blob/idx", "<u4"), ("sym_expand/src_uid", "<u8")]
    rows = np.zeros(N, fields)
    rows["uid"] = 2**63 + np.arange(N, dtype=np.uint64)
    rows["sym_expand/src_uid"] = 2**62 + np.arange(N, dtype=np.uint64) // 2
    rows["blob/path"], rows["blob/idx"] = b"sub.mrcs", np.arange(N)
    with (tmp_path / "expanded.cs").open("wb") as file:
        np.save(file, rows)
    assert parted(dealt(read_cs(tmp_path / "expanded.cs")), np.arange(N) // 2) == 0


def test_every_image_for_itself_is_dealt_evenly_and_by_seed() -> None:
    particles = particles_with(rlnMicrographName="m.mrc", rlnCoordinateX=0.0, rlnCoordinateY=0.0)
    first, again, other = (deal(ties(particles), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.bincount(first).tolist() == [0, N // 2, N // 2]
    assert (first == again).all() and (first != other).any()


def test_one_filament_cannot_be_dealt() -> None:
    with pytest.raises(InputError, match="all 40 particles are of one image, place or filament"):
        dealt(particles_with(rlnMicrographName="m.mrc", rlnHelicalTubeID=1))


def test_many_rows_are_dealt_alike() -> None:
    count = 200_000
    table = pd.DataFrame({"rlnImageName": [f"{i % 100_000 + 1}@a.mrcs" for i in range(count)], "rlnOpticsGroup": 1})
    halves = dealt(Particles(table, particles_with().optics, Path("set.star")))
    assert parted(halves, np.arange(count) % 100_000) == 0


def test_folds_of_assignment_do_not_part_them_either() -> None:
    particles = particles_with(
        rlnImageName=[f"{i % 20 + 1}@a.mrcs" for i in range(N)], rlnRandomSubset=np.arange(N) % 2 + 1
    )
    folds = _folds(particles, 4)
    assert parted(folds, np.arange(N) % 20) == 0
    assert np.bincount(folds).tolist() == [12, 12, 8, 8]
    assert _folds(particles_with(rlnRandomSubset=1), 4).tolist() == [0, 1, 2, 3] * 10
    assert not _folds(particles, 1).any()


# --- what they are worth


def test_dealt_half_sets_are_independent_beyond_twice_the_coarsest_limit() -> None:
    """Of all but a tenth of the particles."""
    everyone, particles = np.ones(N, bool), marked(particles_with(), DEALT)
    assert standing(particles, everyone, 8.0) == "dealt at import"
    refined = refined_at(refined_at(particles, FORGETS * 8.0), 9.0)
    assert standing(refined, everyone, 8.0) == "independent"
    assert standing(refined, everyone, 8.1) == "dealt at import"
    assert standing(refined, everyone, None) == "dealt at import"
    refined.table.loc[:2, "drgnRefinedFrom"] = np.nan
    assert standing(refined, everyone, 8.0) == "independent"
    refined.table.loc[:8, "drgnRefinedFrom"] = 9.0
    assert standing(refined, everyone, 8.0) == "dealt at import"
    assert standing(refined, np.arange(N) > 8, 8.0) == "independent"


def test_who_is_left_out_was_not_refined() -> None:
    particles = marked(particles_with(drgnLeftOut=np.arange(N) % 2), DEALT)
    assert refined_at(particles, 20.0).table["drgnRefinedFrom"].tolist() == [20.0, 0.0] * (N // 2)


def test_other_half_sets_are_what_they_are() -> None:
    everyone = np.ones(N, bool)
    assert standing(particles_with(), everyone, 8.0) == "independent"
    assert standing(refined_at(marked(particles_with(), JOINT), 30.0), everyone, 8.0) == "not independent"


def test_a_pass_says_what_its_half_sets_are_worth(noisy_set, tmp_path: Path) -> None:
    particles = marked(noisy_set.given, DEALT)
    particles.table["drgnAccepted"] = 1
    (tmp_path / "consensus_resolution.json").write_text('{"resolution_angstrom": 16.0}')
    plan = pd.DataFrame({"cluster": ["consensus"], "limit": "32", "reference": "consensus", "carried": False})
    report, nobody = PassReport(1, 0, "independent", "consensus"), np.zeros(len(particles), bool)
    for after, worth in ((particles, "dealt at import"), (refined_at(particles, 32.0), "independent")):
        metrics = pass_metrics(particles, after, plan, tmp_path, report, None, nobody)
        assert metrics.halves == metrics.clusters[0].halves == worth
        told = any("dealt at import" in warning for warning in metrics.clusters[0].warnings)
        assert told == (worth == "dealt at import")


# --- as files have them


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """A star file that lists 300 images of nothing but noise twice, each time at the same pose."""
    random, count = np.random.default_rng(0), 300
    with StackWriter(tmp_path / "noise.mrcs", count, 32, 4.0) as stack:
        stack.append(random.normal(size=(count, 32, 32)).astype(np.float32))
    table = pd.DataFrame({"rlnImageName": [f"{i + 1}@noise.mrcs" for i in range(count)], "rlnOpticsGroup": 1})
    for label, span in zip(ANGLES, (360, 180, 360), strict=True):
        table[label] = random.uniform(0, span, count)
    table[["rlnOriginXAngst", "rlnOriginYAngst", "rlnDefocusAngle"]] = 0.0
    table[["rlnDefocusU", "rlnDefocusV"]] = 15_000.0
    optics = {"rlnOpticsGroup": [1], "rlnOpticsGroupName": "g", "rlnVoltage": 300.0, "rlnSphericalAberration": 2.7}
    optics |= {"rlnAmplitudeContrast": 0.1, "rlnImagePixelSize": 4.0, "rlnImageSize": 32, "drgnContrast": "white"}
    twice = Particles(pd.concat([table, table], ignore_index=True), pd.DataFrame(optics), tmp_path / "twice.star")
    write_star(twice, twice.path)
    write_volume(tmp_path / "mask.mrc", soft_sphere(32, 10, 3), 4.0)
    return twice.path


def reconstruct(star: Path, *options: str) -> str:
    """What is said of a reconstruction within a sphere."""
    words = ("--mask", star.with_name("mask.mrc"), "--mask-diameter", 100, "-o", star.with_name("map"))
    return succeed("reconstruct", star, *options, *words).output


def test_noise_that_is_listed_twice_claims_nothing(noise: Path) -> None:
    told = reconstruct(noise)
    assert "map: no resolution" in told
    assert "600 of 600 rows have the image of another row (300 images), 300 of them the pose of an earlier one" in told
    assert f"drgnalign select {noise} --drop 301-600 -o good.star" in told


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("parted", [False, True])
def test_rows_of_one_image_are_told_alike_by_all_that_use_them(
    noisy_set: Any, tmp_path: Path, own: bool, parted: bool
) -> None:
    """Of files of the workflow's own too, by inspect, reconstruct and refine; what comes of it says so as well."""
    given = noisy_set.given
    rows = given.table.iloc[:6].copy()
    if parted:
        rows["rlnRandomSubset"] = 3 - rows["rlnRandomSubset"]
    table = pd.concat([given.table, rows], ignore_index=True)
    if not own:
        table = table.drop(columns="drgnRow")
    write_star(Particles(table, given.optics, given.path), tmp_path / "p.star")
    images = ("--images", noisy_set.folder)
    mask = tmp_path / "mask.mrc"
    write_volume(mask, soft_sphere(32, 10, 3), 8.0)
    maps = ("--half1", noisy_set.folder / "state_01.mrc", "--half2", noisy_set.folder / "state_02.mrc")
    said = {
        "inspect": succeed("inspect", tmp_path / "p.star", *images).output,
        "reconstruct": succeed("reconstruct", tmp_path / "p.star", *images, "-o", tmp_path / "m").output,
        "refine": succeed(
            "refine", tmp_path / "p.star", *images, *maps, "--mask", mask, "--limit", 30, "-o", tmp_path / "new.star"
        ).output,
    }
    for words in (" ".join(one.split()) for one in said.values()):
        assert words.count("12 of 306 rows have the image of another row (6 images)") == 1
        assert words.count("both half sets hold rows of the same 6 images") == int(parted)
    refined = read_star(tmp_path / "new.star")
    assert set(refined.optics.get("drgnHalves", [])) == ({"shared"} if parted else set())


def test_a_division_of_the_file_that_parts_images_is_told(noise: Path) -> None:
    """The first 300 rows are half set 1 and hold the same images as the others: noise reaches Nyquist."""
    own = read_star(noise)
    own.table["rlnRandomSubset"] = np.arange(600) // 300 + 1
    write_star(own, noise)
    with pytest.warns(InputWarning, match="both half sets hold rows of the same 300 images.*--half_sets deal"):
        state = undecided(import_particles(noise))
    assert standing(state, np.ones(600, bool), 8.0) == "not independent"
    claimed = reconstruct(noise)
    assert "map: 8.00 Å" in claimed and "the half sets are not independent" in claimed
    anew = reconstruct(noise, "--half_sets", "deal")
    assert "its half sets are not used" in anew and "map: no resolution" in anew


def test_one_half_set_alone_is_refused_with_a_way_out(noise: Path) -> None:
    own = read_star(noise)
    own.table["rlnRandomSubset"] = 1
    write_star(own, noise)
    refused = run("reconstruct", noise, "-o", noise.with_name("map"))
    assert refused.exit_code == 2
    assert "rlnRandomSubset is 1 for all particles" in refused.output and "--half_sets deal" in refused.output
    assert "map: no resolution" in reconstruct(noise, "--half_sets", "deal")


def test_what_is_known_of_half_sets_goes_on_with_the_file(noise: Path) -> None:
    """A later run on what an earlier one wrote does not take dealt half sets for those of a refinement."""
    with pytest.warns(InputWarning, match="has no half sets: they are dealt by chance, never parting images"):
        state = import_particles(noise)
    write_star(refined_at(state, 30.0), noise)
    with pytest.warns(InputWarning, match="its half sets are dealt at import"):
        again = import_particles(noise)
    assert (again.half_sets() == state.half_sets()).all()
    assert standing(again, np.ones(600, bool), 15.0) == "independent"
    assert standing(again, np.ones(600, bool), 16.0) == "dealt at import"


def test_a_file_of_a_run_without_half_sets_has_them_dealt(noise: Path) -> None:
    """Rows of one image stay together, so that noise that is listed twice claims nothing."""
    with pytest.warns(InputWarning):
        state = import_particles(noise)
    state.table.drop(columns="rlnRandomSubset", inplace=True)
    with pytest.raises(InputError, match="has no half sets"):
        state.half_sets()
    write_star(state, noise)
    told = reconstruct(noise)
    assert "has no half sets: they are dealt by chance" in told and "map: no resolution" in told
    assert "map_particles.star" in told
    volume = noise.with_name("map_half1.mrc")
    refined = ("--half1", volume, "--half2", volume, "--mask", noise.with_name("mask.mrc"), "--limit", 20)
    assert (
        "has no half sets: they are dealt by chance"
        in succeed("refine", noise, *refined, "-o", noise.with_name("new.star")).output
    )


def test_images_that_show_nothing_or_cannot_be_are_named(noise: Path) -> None:
    """A blank image is told; one pixel far beyond what cameras count would take all density off the map."""
    stack = noise.with_name("noise.mrcs")
    pixels = np.memmap(stack, "<f4", "r+", 1024, (300, 32, 32))
    pixels[6] = 0
    pixels.flush()
    assert "noise.mrcs: image 7 is blank, all its pixels alike (2 such images)" in reconstruct(noise)
    pixels[20, 3, 3] = -1e38
    pixels.flush()
    refused = run("reconstruct", noise, "-o", noise.with_name("map"))
    assert refused.exit_code == 2
    assert "image 21 holds NaN or infinite pixels, or some beyond 1e+15 (2 of 600 images)" in refused.output


@pytest.mark.parametrize(("label", "value"), [("rlnOriginYAngst", 1e200), ("rlnDefocusU", 1e200), ("rlnAngleRot", 1e9)])
def test_numbers_that_mean_nothing_are_named(noise: Path, label: str, value: float) -> None:
    own = read_star(noise)
    own.table.loc[4, label] = value
    write_star(own, noise)
    refused = run("reconstruct", noise, "-o", noise.with_name("map"))
    assert refused.exit_code == 2 and f"row 5: {label} is {value:g}" in refused.output
    assert any(one["level"] == "error" and f"row 5: {label}" in one["what"] for one in inspect_file(noise)["findings"])


def test_refine_notes_the_limit_and_what_was_aligned_to_one_map(noisy_set, tmp_path: Path) -> None:
    own = noisy_set.given.select(np.arange(60))
    own.table.drop(columns=["rlnRandomSubset", "drgnRow"], inplace=True)
    write_star(own, tmp_path / "own.star")
    maps = noisy_set.folder / "state_01.mrc"
    words = ["refine", tmp_path / "own.star", "--images", noisy_set.folder, "--limit", 20, "-o", tmp_path / "new.star"]
    succeed(*words, "--half1", maps, "--half2", maps)
    assert set(read_star(tmp_path / "new.star").optics["drgnHalves"]) == {JOINT}
    (tmp_path / "copy.mrc").write_bytes(maps.read_bytes())
    (tmp_path / "link.mrc").symlink_to(maps)
    for other in ("copy.mrc", "link.mrc"):
        succeed(*words, "--half1", maps, "--half2", tmp_path / other)
        assert set(read_star(tmp_path / "new.star").optics["drgnHalves"]) == {JOINT}


@pytest.fixture
def undivided(noisy_set, tmp_path: Path) -> Path:
    """A star file without half sets, of particles in two classes."""
    own = noisy_set.given.select(np.arange(60))
    own.table.drop(columns=["rlnRandomSubset", "drgnRow"], errors="ignore", inplace=True)
    own.table["rlnClassNumber"] = np.arange(60) % 2 + 1
    (tmp_path / "particles.mrcs").symlink_to(noisy_set.folder / "particles.mrcs")
    write_star(own, tmp_path / "all.star")
    return tmp_path / "all.star"


def test_refine_deals_no_half_sets_beside_given_maps(undivided: Path, tmp_path: Path) -> None:
    """Of a part of the particles others would be dealt than those that the maps are of; reconstruct keeps what it
    dealt, and a part of that keeps it too."""
    (tmp_path / "maps").mkdir()
    prefix = tmp_path / "maps" / "r"
    told = succeed("reconstruct", undivided, "-o", prefix).output
    assert "r_particles.star: the particles with the half sets of these maps" in told
    maps = ("--half1", f"{prefix}_half1.mrc", "--half2", f"{prefix}_half2.mrc", "--limit", 60)
    part = tmp_path / "part.star"
    for divided, code in ((undivided, 2), (Path(f"{prefix}_particles.star"), 0)):
        succeed("select", divided, "--cluster", 1, "-o", part)
        refused = run("refine", part, *maps, "-o", tmp_path / "new.star")
        assert refused.exit_code == code and (f"give {prefix}_particles.star" in refused.output) == (code == 2)
    kept, new = read_star(f"{prefix}_particles.star"), read_star(tmp_path / "new.star")
    assert (kept.half_sets()[::2] == new.half_sets()).all() and len(new) == 30
    assert set(new.optics["drgnHalves"]) == {DEALT} and set(new.table["drgnRefinedFrom"]) == {60.0}
    assert run("refine", part, *maps, "--half-sets", "deal", "-o", tmp_path / "new.star").exit_code == 2
    succeed("refine", undivided, *maps, "--joint-reference", "-o", tmp_path / "new.star")
    assert set(read_star(tmp_path / "new.star").optics["drgnHalves"]) == {JOINT}
    # where half sets were not dealt, nothing more is written
    succeed("reconstruct", f"{prefix}_particles.star", "-o", tmp_path / "again")
    assert not (tmp_path / "again_particles.star").exists()


def test_copies_of_a_stack_are_known_by_poses_to_the_last_digit() -> None:
    random = np.random.default_rng(0)
    names = [f"{i % 20 + 1}@{'ab'[i // 20]}.mrcs" for i in range(N)]
    poses = {label: np.tile(random.normal(size=20), 2) for label in (*ANGLES, "rlnOriginXAngst", "rlnOriginYAngst")}
    particles = particles_with(rlnImageName=names, rlnDefocusU=15_000.0, **poses)
    assert in_both(ties(particles), np.arange(N) // 20 + 1) == {"poses": 20}
    assert parted(dealt(particles), np.arange(N) % 20) == 0
    # another defocus, another particle
    particles.table["rlnDefocusU"] = np.arange(N)
    assert "poses" not in ties(particles)


@pytest.mark.parametrize("step", [1, 0])
def test_poses_that_are_alike_by_chance_tell_nothing(step: int) -> None:
    """Of a search on a grid, and of particles that were never aligned."""
    random = np.random.default_rng(0)
    table = {label: step * 30.0 * random.integers(0, 6, N) for label in ANGLES}
    table |= {label: 0.0 for label in ("rlnOriginXAngst", "rlnOriginYAngst")}
    assert set(ties(particles_with(**table))) == {"images"}


NOTHING_SHARED = {
    "micrographs of one name in two folders": {
        "rlnMicrographName": [f"MotionCorr/job002/session{i % 2}/1.mrc" for i in range(N)],
        "rlnCoordinateX": [100.0 * (i // 2) for i in range(N)],
        "rlnCoordinateY": 7.0,
    },
    "a tube of 0 for all": {"rlnMicrographName": MICROGRAPHS, "rlnHelicalTubeID": 0},
    "a tube for all, of no micrograph": {"rlnHelicalTubeID": np.where(np.arange(N) == 2, np.nan, 1.0)},
    "coordinates of 0": {
        "rlnMicrographName": MICROGRAPHS,
        "rlnCoordinateX": np.where(np.arange(N) < 30, 0.0, np.arange(N)),
        "rlnCoordinateY": 0.0,
    },
    "coordinates of NaN": {
        "rlnMicrographName": MICROGRAPHS,
        "rlnCoordinateX": np.where(np.arange(N) < 30, np.nan, np.arange(N)),
        "rlnCoordinateY": np.arange(N) % 3,
    },
}


@pytest.mark.parametrize("columns", NOTHING_SHARED.values(), ids=NOTHING_SHARED)
def test_what_shares_nothing_is_not_said_to(columns: dict[str, object]) -> None:
    assert in_both(ties(particles_with(**columns)), np.arange(N) % 2 + 1) == {}
