"""Selections of a particle file, and the way back."""

from __future__ import annotations

import pickle
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.lib.recfunctions
import pandas as pd
import pytest
from command_line import run, succeed

from drgnalign.errors import InputWarning
from drgnalign.formats.cryosparc import read_cs, write_cs
from drgnalign.formats.par import write_par
from drgnalign.formats.star import read_blocks, read_star, write_star
from drgnalign.half_maps import DEALT, DEALT_AT_IMPORT, INDEPENDENT, marked, refined_at, standing
from drgnalign.particles import ANGLES, Particles

N = 12


def particle_set() -> Particles:
    """Twelve particles of two optics groups, three clusters, in micrographs' stacks, with columns of RELION's own."""
    rows = np.arange(N)
    table = pd.DataFrame(
        {
            "rlnCoordinateX": rows * 1.5,
            "rlnImageName": [f"{row + 1:06d}@Extract/job007/mic_{row % 4}.mrcs" for row in rows],
            "rlnMicrographName": [f"mics/mic {row % 4}.mrc" for row in rows],
            "rlnOpticsGroup": rows % 2 + 1,
            **{label: rows * 7.123456789 for label in ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")},
            "rlnOriginXAngst": rows / 3,
            "rlnOriginYAngst": -rows / 7,
            "rlnDefocusU": 15000.1 + rows,
            "rlnDefocusV": 14000.1 + rows,
            "rlnDefocusAngle": 12.5,
            "rlnClassNumber": rows // 4 + 1,
            "rlnRandomSubset": rows // 2 % 2 + 1,
            "rlnHelicalTubeID": "none",
        }
    )
    optics = pd.DataFrame(
        {
            "rlnOpticsGroup": [1, 2],
            "rlnOpticsGroupName": ["one", "two"],
            "rlnVoltage": [300.0, 200.0],
            "rlnSphericalAberration": 2.7,
            "rlnAmplitudeContrast": 0.1,
            "rlnImagePixelSize": [1.31, 1.05],
            "rlnImageSize": [320, 320],
            "drgnContrast": "white",
        }
    )
    return Particles(table, optics, Path("set.star"))


@pytest.fixture
def star(tmp_path: Path) -> Path:
    write_star(particle_set(), tmp_path / "set.star")
    return tmp_path / "set.star"


@pytest.mark.parametrize(
    ("conditions", "rows"),
    [
        (["--cluster", 2], [4, 5, 6, 7]),
        (["--cluster", 1, "--cluster", 3], [0, 1, 2, 3, 8, 9, 10, 11]),
        (["--half", 2], [2, 3, 6, 7, 10, 11]),
        (["--cluster", 2, "--half", 1], [4, 5]),
        (["--rows", "3:5"], [2, 3, 4]),
        (["--rows", "11:"], [10, 11]),
        (["--rows", ":2", "--half", 1], [0, 1]),
        ([], list(range(N))),
    ],
)
def test_select_keeps_rows_columns_and_names(
    star: Path, tmp_path: Path, conditions: list[object], rows: list[int]
) -> None:
    succeed("select", star, *conditions, "-o", tmp_path / "part.star")
    part, whole = read_star(tmp_path / "part.star"), read_star(star)
    pd.testing.assert_frame_equal(part.table, whole.table.iloc[rows].reset_index(drop=True))
    pd.testing.assert_frame_equal(part.optics, whole.optics)


def test_clusters_that_nobody_is_in_are_told(star: Path, tmp_path: Path) -> None:
    told = succeed("select", star, "--cluster", 1, "--cluster", 9, "--cluster", 7, "-o", tmp_path / "x.star").output
    assert "no particle is in cluster 7 or 9; its clusters (rlnClassNumber) are 1, 2, 3" in told
    assert len(read_star(tmp_path / "x.star")) == 4


def test_select_by_cryodrgns_index(star: Path, tmp_path: Path) -> None:
    (tmp_path / "ind.pkl").write_bytes(pickle.dumps(np.array([9, 0, 4])))
    succeed("select", star, "--ind", tmp_path / "ind.pkl", "-o", tmp_path / "part.star")
    names = read_star(tmp_path / "part.star").table["rlnImageName"]
    assert names.tolist() == particle_set().table["rlnImageName"].iloc[[0, 4, 9]].tolist()


def test_select_by_image_names(star: Path, tmp_path: Path) -> None:
    table = read_star(star).table
    names, out = tmp_path / "selection.csv", tmp_path / "out.star"
    names.write_text("rlnImageName\n" + "".join(f"{table['rlnImageName'][row]}\n" for row in (9, 2, 5)))
    succeed("select", star, "--names", names, "-o", out)
    assert read_star(out).table["rlnImageName"].tolist() == table["rlnImageName"][[2, 5, 9]].tolist()
    names.write_text('rlnImageName\n000001@"other, stack".mrcs\n')
    result = run("select", star, "--names", names, "-o", out)
    assert result.exit_code == 2 and "1 of the 1 images" in result.output
    names.write_text("row\n1\n")
    result = run("select", star, "--names", names, "-o", out)
    assert result.exit_code == 2 and "no column rlnImageName" in result.output


def test_select_who_was_left_out_or_kept(tmp_path: Path) -> None:
    given = particle_set()
    given.table["drgnLeftOut"] = (np.arange(N) % 5 == 2).astype(int)
    write_star(given, tmp_path / "set.star")
    whole = read_star(tmp_path / "set.star").table
    for option, rows in (("--left-out", [2, 7]), ("--kept", [0, 1, 3, 4, 5, 6, 8, 9, 10, 11])):
        succeed("select", tmp_path / "set.star", option, "-o", tmp_path / "part.star")
        pd.testing.assert_frame_equal(read_star(tmp_path / "part.star").table, whole.iloc[rows].reset_index(drop=True))


RELION30 = (
    "\ndata_\n\nloop_\n_rlnImageName #1\n_rlnVoltage\n_rlnPixelSize\n_rlnOriginX\n"
    "_rlnClassNumber\n_rlnNormCorrection\n\n"
    "1@a.mrcs  300.000000 1.5 2 1 0.950\n# a comment\n2@a.mrcs  300.000000 1.5 4 2 0.960\n3@a.mrcs 300 1.5 4 1 1\n\n"
)
OTHER_BLOCKS = "# version 50001\n\ndata_general\n\n_rlnTomoSubTomosAre2DStacks 0\n\n"


def test_select_leaves_a_star_file_as_it_is_but_for_the_rows(tmp_path: Path) -> None:
    (tmp_path / "old.star").write_text(OTHER_BLOCKS + RELION30)
    succeed("select", tmp_path / "old.star", "--cluster", 2, "-o", tmp_path / "part.star")
    rows = RELION30.splitlines(keepends=True)
    kept = [line for line in rows if not line.startswith(("1@", "3@"))]
    assert (tmp_path / "part.star").read_text() == OTHER_BLOCKS + "".join(kept)
    succeed("select", tmp_path / "old.star", "-o", tmp_path / "all.star")
    assert (tmp_path / "all.star").read_bytes() == (tmp_path / "old.star").read_bytes()


def test_merged_files_of_relion_3_0_have_the_layout_of_3_1(tmp_path: Path) -> None:
    (tmp_path / "old.star").write_text(RELION30)
    succeed("merge", tmp_path / "old.star", "-o", tmp_path / "new.star")
    part = read_star(tmp_path / "new.star")
    assert part.table["rlnOriginXAngst"].tolist() == [3.0, 6.0, 6.0]
    assert part.table["rlnNormCorrection"].tolist() == [0.95, 0.96, 1.0]
    assert part.optics["rlnImagePixelSize"].tolist() == [1.5]


TILT = {"rlnBeamTiltX": [0.3, 0.0], "rlnMagMat00": 1.01, "rlnOddZernike": "[0.1,0,0]", "rlnCtfDataArePhaseFlipped": 1}


def two_files(tmp_path: Path, **optics: object) -> tuple[Path, Path]:
    """The rows of a set in two files; the second's optics table says more."""
    whole = particle_set()
    write_star(whole.select(np.arange(0, 6)), tmp_path / "a.star")
    second = whole.select(np.arange(6, N))
    second.optics = second.optics.assign(**optics)
    write_star(second, tmp_path / "b.star")
    return tmp_path / "a.star", tmp_path / "b.star"


@pytest.mark.parametrize("swapped", [False, True])
def test_what_only_one_file_says_is_neutral_in_the_other(tmp_path: Path, swapped: bool) -> None:
    files = two_files(tmp_path, **TILT)
    result = succeed("merge", *(files[::-1] if swapped else files), "-o", tmp_path / "m.star")
    assert f"{files[0]}: rlnBeamTiltX, which others say, is 0.0 there" in result.stderr
    assert "nan" not in (tmp_path / "m.star").read_text()
    merged = read_star(tmp_path / "m.star")
    assert merged.optics["rlnOpticsGroup"].is_unique and merged.optics["rlnOpticsGroupName"].is_unique
    by_image = merged.optics.iloc[merged.optics_rows()].set_axis(merged.table["rlnImageName"])
    said = by_image.loc[particle_set().table["rlnImageName"]]
    odd = np.arange(N) >= 6
    assert said["rlnBeamTiltX"].tolist() == np.where(odd & (np.arange(N) % 2 == 0), 0.3, 0.0).tolist()
    assert said["rlnMagMat00"].tolist() == np.where(odd, 1.01, 1.0).tolist()
    assert said["rlnOddZernike"].tolist() == np.where(odd, "[0.1,0,0]", "[0,0,0,0,0,0]").tolist()
    assert said["rlnCtfDataArePhaseFlipped"].tolist() == odd.astype(int).tolist()
    assert merged.optics["rlnCtfDataArePhaseFlipped"].dtype.kind == "i"
    assert said["rlnVoltage"].tolist() == np.where(np.arange(N) % 2, 200.0, 300.0).tolist()


def test_groups_that_differ_by_neutral_values_only_are_one(tmp_path: Path) -> None:
    succeed("merge", *two_files(tmp_path, rlnBeamTiltX=0.0, rlnCtfDataArePhaseFlipped=0), "-o", tmp_path / "m.star")
    assert read_star(tmp_path / "m.star").optics["rlnOpticsGroupName"].tolist() == ["one", "two"]


@pytest.mark.parametrize("name", ["rlnMtfFileName", "rlnMicrographOriginalPixelSize"])
def test_facts_without_a_neutral_value_are_asked_for(tmp_path: Path, name: str) -> None:
    files = two_files(tmp_path, **{name: "mtf.star" if "Mtf" in name else 0.9})
    result = run("merge", *files, "-o", tmp_path / "m.star")
    assert result.exit_code == 2
    assert f"{files[0]}: its optics table does not say {name}" in result.stderr
    files = two_files(tmp_path, rlnVoltage=[np.nan, 200.0])
    assert (
        f"{files[1]}: its optics table does not say rlnVoltage"
        in run("merge", *files, "-o", tmp_path / "m.star").stderr
    )


def test_columns_of_the_ctf_that_only_one_file_has(tmp_path: Path) -> None:
    files = two_files(tmp_path)
    second = read_star(files[1])
    write_star(Particles(second.table.assign(rlnCtfScalefactor=0.5), second.optics, second.path), files[1])
    succeed("merge", *files, "-o", tmp_path / "m.star")
    assert read_star(tmp_path / "m.star").table["rlnCtfScalefactor"].tolist() == [1.0] * 6 + [0.5] * 6
    write_star(Particles(second.table.assign(rlnCtfMaxResolution=3.0), second.optics, second.path), files[1])
    assert "has other columns than" in run("merge", *files, "-o", tmp_path / "m.star").stderr


@pytest.mark.parametrize("column", ["rlnCtfMaxResolution", "rlnMtfFileName", "gap"])
def test_columns_that_not_all_have_are_left_out_where_asked(tmp_path: Path, column: str) -> None:
    files = two_files(tmp_path, **({"rlnMtfFileName": "mtf.star"} if column == "rlnMtfFileName" else {}))
    second = read_star(files[1])
    if column == "rlnCtfMaxResolution":
        second.table[column] = 3.0
    if column == "gap":
        column = "rlnSphericalAberration"
        second.optics[column] = [np.nan, 2.7]
    # what has a neutral value stays
    second.table["rlnPhaseShift"] = 30.0
    write_star(second, files[1])
    result = run("merge", *files, "-o", tmp_path / "m.star")
    assert result.exit_code == 2 and "--common-columns" in result.stderr and "WARNING" not in result.stderr
    result = succeed("merge", *files, "--common-columns", "-o", tmp_path / "m.star")
    assert f"{column}: left out, as not all files have it" in result.stderr
    merged = read_star(tmp_path / "m.star")
    assert column not in [*merged.table, *merged.optics]
    assert merged.table["rlnPhaseShift"].tolist() == [0.0] * 6 + [30.0] * 6
    assert merged.table["rlnDefocusU"].tolist() == [row + 15000.1 for row in range(N)]


@pytest.mark.parametrize("swapped", [False, True])
def test_whom_a_run_left_out_stays_so_beside_a_file_that_knows_none(tmp_path: Path, swapped: bool) -> None:
    files = two_files(tmp_path)
    first = read_star(files[0])
    write_star(replace(first, table=first.table.assign(drgnLeftOut=[1, 0, 0, 0, 0, 1], rlnSelected=1)), files[0])
    result = succeed("merge", *(files[::-1] if swapped else files), "-o", tmp_path / "m.star")
    assert f"{files[1]}: drgnLeftOut, which others say, is 0 there" in result.stderr
    merged = read_star(tmp_path / "m.star").table.sort_values("rlnDefocusU")
    assert merged["drgnLeftOut"].tolist() == [1, 0, 0, 0, 0, 1] + [0] * (N - 6)
    assert merged["rlnSelected"].tolist() == [1] * N


def test_half_sets_that_were_dealt_stay_so_beside_those_of_a_refinement(tmp_path: Path) -> None:
    files = two_files(tmp_path)
    write_star(marked(read_star(files[0]), DEALT), files[0])
    for options in ([], ["--common-columns"]):
        succeed("merge", *files, *options, "-o", tmp_path / "m.star")
        merged = read_star(tmp_path / "m.star")
        marks = merged.optics["drgnHalves"].to_numpy()[merged.optics_rows()]
        assert marks.tolist() == ["dealt"] * 6 + ["file"] * (N - 6)
        assert standing(merged, np.ones(N, bool), 8.0) == DEALT_AT_IMPORT
        # after a pass of all of them at a coarse limit they are independent
        assert standing(refined_at(merged, 20.0), np.ones(N, bool), 8.0) == INDEPENDENT


def test_groups_of_one_name_and_other_facts_get_names_of_their_own(tmp_path: Path) -> None:
    result = succeed("merge", *two_files(tmp_path, rlnSphericalAberration=1.4), "-o", tmp_path / "m.star")
    optics = read_star(tmp_path / "m.star").optics
    assert optics["rlnOpticsGroupName"].tolist() == ["one", "two", "one_2", "two_2"]
    assert optics["rlnSphericalAberration"].tolist() == [2.7, 2.7, 1.4, 1.4]
    assert "some got new names" in result.stderr


def test_cryosparcs_files_with_other_fields(tmp_path: Path) -> None:
    whole = particle_set()
    whole.table = whole.table[whole.table["rlnOpticsGroup"] == 1].reset_index(drop=True)
    write_cs(whole.select(np.arange(3)), tmp_path / "a.cs")
    write_cs(whole.select(np.arange(3, 6)), tmp_path / "b.cs")
    succeed("merge", tmp_path / "a.cs", tmp_path / "b.cs", "-o", tmp_path / "m.cs")
    rows = np.load(tmp_path / "b.cs")
    np.save(tmp_path / "b.npy", np.lib.recfunctions.repack_fields(rows[list(rows.dtype.names[::-1])]))
    (tmp_path / "b.npy").rename(tmp_path / "b.cs")
    succeed("merge", tmp_path / "a.cs", tmp_path / "b.cs", "-o", tmp_path / "again.cs")
    assert (tmp_path / "again.cs").read_bytes() == (tmp_path / "m.cs").read_bytes()
    more = np.lib.recfunctions.append_fields(rows, "mine/score", np.arange(3.0), usemask=False)
    np.save(tmp_path / "b.npy", more)
    (tmp_path / "b.npy").rename(tmp_path / "b.cs")
    result = run("merge", tmp_path / "a.cs", tmp_path / "b.cs", "-o", tmp_path / "m.cs")
    assert result.exit_code == 2 and "has other fields than" in result.stderr and "mine/score" in result.stderr
    result = succeed("merge", tmp_path / "a.cs", tmp_path / "b.cs", "--common-columns", "-o", tmp_path / "m.cs")
    assert "mine/score: left out" in result.stderr
    assert (tmp_path / "again.cs").read_bytes() == (tmp_path / "m.cs").read_bytes()


def test_clusters_go_back_into_one_file(star: Path, tmp_path: Path) -> None:
    parts = []
    for cluster in (3, 1, 2):
        parts.append(tmp_path / f"cluster_{cluster}.star")
        succeed("select", star, "--cluster", cluster, "-o", parts[-1])
    succeed("merge", *parts, "--like", star, "-o", tmp_path / "again.star")
    assert (tmp_path / "again.star").read_bytes() == star.read_bytes()
    succeed("merge", *parts, "-o", tmp_path / "joined.star")
    classes = read_star(tmp_path / "joined.star").table["rlnClassNumber"]
    assert classes.tolist() == [3] * 4 + [1] * 4 + [2] * 4


def test_cryosparcs_fields_go_the_same_way(star: Path, tmp_path: Path) -> None:
    write_cs(particle_set(), tmp_path / "new.cs")
    rows = np.load(tmp_path / "new.cs")
    rows["ctf/bfactor"] = np.arange(N)
    with (tmp_path / "set.cs").open("wb") as file:
        np.save(file, rows)
    succeed("select", tmp_path / "set.cs", "--cluster", 2, "-o", tmp_path / "two.cs")
    np.testing.assert_array_equal(np.load(tmp_path / "two.cs"), rows[4:8])
    succeed("select", tmp_path / "set.cs", "--rows", "9:", "-o", tmp_path / "end.cs")
    succeed("select", tmp_path / "set.cs", "--cluster", 1, "-o", tmp_path / "one.cs")
    parts = [tmp_path / f"{name}.cs" for name in ("end", "two", "one")]
    succeed("merge", *parts, "--like", tmp_path / "set.cs", "-o", tmp_path / "again.cs")
    np.testing.assert_array_equal(np.load(tmp_path / "again.cs"), rows)
    assert read_cs(tmp_path / "again.cs").table["drgnCryosparcUid"].dtype == np.uint64


def test_rows_are_dropped_by_their_numbers(star: Path, tmp_path: Path) -> None:
    succeed("select", star, "--drop", "1,4-6,12", "-o", tmp_path / "good.star")
    kept = read_star(tmp_path / "good.star").table["rlnImageName"].str[:6].astype(int).tolist()
    assert kept == [2, 3, 7, 8, 9, 10, 11]
    for rows, message in (("13", "--drop names row 13"), ("a", "--drop has 'a'"), ("1-12", "--drop names every row")):
        failed = run("select", star, "--drop", rows, "-o", tmp_path / "none.star")
        assert failed.exit_code == 2 and message in failed.output


def test_par_rows_go_the_same_way(tmp_path: Path) -> None:
    particles = particle_set()
    particles.table["rlnImageName"] = [f"{row + 1}@stack.mrcs" for row in range(N)]
    particles.optics["rlnImagePixelSize"] = 1.31
    write_par(particles, tmp_path / "set.par", "par8")
    succeed("select", tmp_path / "set.par", "--rows", "7:", "-o", tmp_path / "b.par")
    succeed("select", tmp_path / "set.par", "--rows", ":6", "-o", tmp_path / "a.par")
    succeed("merge", tmp_path / "b.par", tmp_path / "a.par", "--like", tmp_path / "set.par", "-o", tmp_path / "c.par")
    assert (tmp_path / "c.par").read_bytes() == (tmp_path / "set.par").read_bytes()


def test_a_cryosparc_job_of_two_files(tmp_path: Path) -> None:
    write_cs(particle_set(), tmp_path / "whole.cs")
    rows = np.load(tmp_path / "whole.cs")
    for name, chosen in (("main", ("uid", "alignments3D")), ("pass", ("uid", "blob", "ctf", "location"))):
        fields = [field for field in rows.dtype.names or () if field.partition("/")[0] in chosen]
        with (tmp_path / f"{name}.cs").open("wb") as file:
            np.save(file, np.lib.recfunctions.repack_fields(rows[fields]))
    command = ["select", tmp_path / "main.cs", "--rows", "2:3", "-o", tmp_path / "part.cs"]
    assert "--passthrough FILE" in run(*command).output
    succeed(*command, "--passthrough", tmp_path / "pass.cs")
    part = np.load(tmp_path / "part.cs")
    assert set(part.dtype.names or ()) == set(rows.dtype.names or ())
    np.testing.assert_array_equal(part["blob/idx"], rows["blob/idx"][1:3])


def test_optics_groups_of_one_number_are_told_apart(tmp_path: Path) -> None:
    first, second = particle_set().select(range(6)), particle_set().select(range(6, 12))
    second.optics.loc[1, ["rlnOpticsGroupName", "rlnVoltage"]] = ["three", 120.0]
    write_star(first, tmp_path / "a.star")
    write_star(second, tmp_path / "b.star")
    result = succeed("merge", tmp_path / "a.star", tmp_path / "b.star", "-o", tmp_path / "c.star")
    assert "all got new numbers" in result.output
    merged = read_star(tmp_path / "c.star")
    assert merged.optics["rlnOpticsGroupName"].tolist() == ["one", "two", "three"]
    voltage = merged.optics["rlnVoltage"].to_numpy()[merged.optics_rows()]
    assert voltage.tolist() == [300, 200] * 3 + [300, 120] * 3


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("select set.star --cluster 7 -o x.star", "none of its particles"),
        ("select set.star --half 3 -o x.star", "not in the range"),
        ("select set.star --cluster 7 --cluster 9 -o x.star", "conditions: no particle is in cluster 7 or 9"),
        ("select set.star --cluster 1 --rows 9: -o x.star", "each is met by some, all together by none"),
        ("select kept.star --left-out -o x.star", "conditions: no particle is left out"),
        ("select set.star --drop 9-3 -o x.star", "'9-3', which ends before it begins"),
        ("select set.star --rows 5 -o x.star", "give FIRST:LAST"),
        ("select set.star --rows 1:13 -o x.star", "has 12 rows, 1 to 13 were asked for"),
        ("select set.star --rows 0:3 -o x.star", "0 to 3 were asked for"),
        ("select set.star --ind far.pkl -o x.star", "asks for row 12"),
        ("select set.star --ind set.star -o x.star", "set.star"),
        ("select bare.star --cluster 1 -o x.star", "has no rlnClassNumber"),
        ("select set.star --kept -o x.star", "has no drgnLeftOut"),
        ("select set.star -o x.cs", "not named .star"),
        ("merge set.star set.star -o x.star", "which came before (12 such images)"),
        ("merge set.star bare.star -o x.star", "has other columns"),
        ("merge one.star --like two.star -o x.star", "lacks 000001@"),
    ],
)
def test_bad_use(star: Path, tmp_path: Path, command: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "far.pkl").write_bytes(pickle.dumps(np.array([12])))
    bare = particle_set()
    bare.table = bare.table[["rlnImageName", "rlnOpticsGroup"]]
    write_star(bare, tmp_path / "bare.star")
    kept = particle_set()
    kept.table["drgnLeftOut"] = 0
    write_star(kept, tmp_path / "kept.star")
    write_star(particle_set().select([0]), tmp_path / "one.star")
    write_star(particle_set().select([1]), tmp_path / "two.star")
    result = run(*command.split())
    assert result.exit_code == 2 and message in result.output, result.output
    assert not list(tmp_path.glob("x.*"))


OF_GROUPS = {"rlnCtfBfactor": 40.0, "rlnCtfScalefactor": 0.8, "rlnPhaseShift": 90.0, "rlnBeamTiltX": 0.5}


@pytest.mark.parametrize("label", OF_GROUPS)
def test_a_constant_may_stand_in_either_table(tmp_path: Path, label: str) -> None:
    """Of one file in its optics table, of another in its particle table, of a third in neither."""
    value = OF_GROUPS[label]
    for name, where in (("a", "optics"), ("b", "table"), ("c", None)):
        given = particle_set().select(np.arange(4) + 4 * "abc".index(name))
        if where is not None:
            getattr(given, where)[label] = value
        write_star(given, tmp_path / f"{name}.star")
    files = [tmp_path / f"{name}.star" for name in "abc"]
    two = succeed("merge", *files[:2], "-o", tmp_path / "two.star")
    assert label not in two.stderr
    three = succeed("merge", *files, "-o", tmp_path / "three.star")
    assert f"c.star: {label}, which others say, is" in three.stderr and "a.star: rln" not in three.stderr
    merged = read_star(tmp_path / "three.star")
    frame = merged.table if label in merged.table else merged.optics.iloc[merged.optics_rows()]
    neutral = 1.0 if label == "rlnCtfScalefactor" else 0.0
    assert frame[label].tolist() == [value] * 8 + [neutral] * 4


def test_tables_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    given = particle_set()
    given.table["rlnCtfBfactor"], given.optics["rlnCtfBfactor"] = 40.0, 20.0
    write_star(given, tmp_path / "a.star")
    with pytest.warns(InputWarning, match="rlnCtfBfactor is 40 in its particle table, and 20 in its optics table"):
        assert set(read_star(tmp_path / "a.star").ctf_factors("rlnCtfBfactor")) == {40}


BODY = """
data_images_body_1

loop_
_rlnAngleRot #1
_rlnImageOriginalName #2
"""


def with_bodies(star: Path, rows: int) -> None:
    bodies = "".join(BODY.replace("1", str(n), 1) + "".join(f"{n}.{row} x\n" for row in range(rows)) for n in (1, 2))
    star.write_text(star.read_text() + bodies + "\n")


def test_rows_of_bodies_are_selected_together(star: Path, tmp_path: Path) -> None:
    """RELION's multi-body refinement has a table for each body, whose rows are those of the particles."""
    with_bodies(star, N)
    told = succeed("select", star, "--rows", "3:5", "-o", tmp_path / "part.star").output
    assert "poses of bodies (data_images_body_1, data_images_body_2) are not used" in told
    blocks = read_blocks(tmp_path / "part.star")
    assert {name: len(block) for name, block in blocks.items()} == {
        "optics": 2,
        "particles": 3,
        "images_body_1": 3,
        "images_body_2": 3,
    }
    assert blocks["images_body_2"]["rlnAngleRot"].tolist() == [2.2, 2.3, 2.4]


def test_bodies_of_other_particles_are_refused(star: Path, tmp_path: Path) -> None:
    with_bodies(star, N - 1)
    refused = run("select", star, "--rows", "3:5", "-o", tmp_path / "part.star")
    assert refused.exit_code == 2 and "a table of a body has 11 rows, and there are 12 particles" in refused.output
    assert not (tmp_path / "part.star").exists()


def broken(star: Path, column: str, row: int, word: str) -> Path:
    """The file with another word in one row."""
    lines = star.read_text().splitlines()
    labels = [line.split()[0] for line in lines if line.startswith("_")]
    rows = [number for number, line in enumerate(lines) if "@" in line]
    words = shlex.split(lines[rows[row]])
    words[labels[labels.index("_rlnCoordinateX") :].index(f"_{column}")] = word
    lines[rows[row]] = " ".join(f'"{one}"' if " " in one else one for one in words)
    bad = star.with_name("my set, 2.star")
    bad.write_text("\n".join(lines) + "\n")
    return bad


@pytest.mark.parametrize(
    ("column", "word"),
    [("rlnOpticsGroup", "9"), ("rlnImageName", "x"), ("rlnDefocusU", "nan"), ("rlnOriginXAngst", "1e9")],
)
def test_the_command_that_is_advised_works(star: Path, tmp_path: Path, column: str, word: str) -> None:
    """What is wrong in rows that are dropped does not matter, and names with blanks are quoted."""
    bad = broken(star, column, 2, word)
    refused = run("convert", bad, "-o", tmp_path / "x.star")
    assert refused.exit_code == 2
    advice = shlex.split(refused.output.partition("remove the rows: drgnalign ")[2])
    advice[-1] = str(tmp_path / advice[-1])
    succeed(*advice)
    assert read_star(tmp_path / "good.star").table["rlnCoordinateX"].tolist() == [
        1.5 * row for row in range(N) if row != 2
    ]


def test_words_in_rows_that_are_dropped(star: Path, tmp_path: Path) -> None:
    bad = broken(star, "rlnDefocusU", 2, "none")
    assert run("select", bad, "--rows", "1:3", "-o", tmp_path / "x.star").exit_code == 2
    succeed("select", bad, "--drop", 3, "--rows", "2:4", "-o", tmp_path / "x.star")
    assert read_star(tmp_path / "x.star").table["rlnDefocusU"].tolist() == [15001.1, 15003.1]
    row = "      1   68.02  115.57    4.26     -2.04     -0.86   10000     1  14994.6  14736.4   82.19  100.00"
    row += "      -500     1.0000   20.00    0.00\n"
    rows = [row.replace("      1   68", f"      {number}   68") for number in (1, 2, 3)]
    (tmp_path / "a.par").write_text("".join([rows[0], rows[1].replace("   68.02", "  ******"), rows[2]]))
    assert "`drgnalign select --drop`" in run("select", tmp_path / "a.par", "-o", tmp_path / "b.par").output
    succeed("select", tmp_path / "a.par", "--drop", 2, "-o", tmp_path / "b.par")
    assert "".join((tmp_path / "b.par").read_text().splitlines(keepends=True)[-2:]) == rows[0] + rows[2]


def test_no_command_is_advised_that_leaves_nothing(star: Path, tmp_path: Path) -> None:
    particles = read_star(star)
    particles.table["rlnClassNumber"] = 0.5
    write_star(particles, star)
    refused = run("convert", star, "-o", tmp_path / "x.cs", "--invert", "no")
    assert refused.exit_code == 2 and "--drop" not in refused.output and "all its rows are so" in refused.output


def test_no_command_writes_over_what_it_reads(star: Path, tmp_path: Path) -> None:
    before = star.read_bytes()
    link = star.with_name("link.star")
    link.symlink_to(star)
    hard = star.with_name("hard.star")
    hard.hardlink_to(star)
    for output in (star, link, hard):
        for words in (
            ("select", star, "--rows", "1:3"),
            ("select", star),
            ("convert", star),
            ("merge", star),
            ("refine", star, "--half1", link, "--half2", link, "--limit", 20),
        ):
            refused = run(*words, "-o", output)
            assert refused.exit_code == 2 and "a file that this command reads" in refused.output, refused.output
    assert star.read_bytes() == before and link.is_symlink()
    refused = run(
        "refine", star, "--half1", link, "--half2", link, "--limit", 20, "-o", tmp_path / "r.star", "--part", star
    )
    assert refused.exit_code == 2 and star.read_bytes() == before


def test_pickles_are_not_written_over_either(star: Path, tmp_path: Path) -> None:
    """The names in a folder of cryoDRGN's are known only where they are written."""
    succeed("convert", star, "-o", tmp_path / "d", "--to", "cryodrgn")
    words = ["convert", "--poses", tmp_path / "d/poses.pkl", "--ctf", tmp_path / "d/ctf.pkl", "--to", "cryodrgn", "-o"]
    refused = run(*words, tmp_path / "d")
    assert refused.exit_code == 2 and "a file that this command reads" in refused.output
    succeed(*words, tmp_path / "e")


def test_select_needs_no_pixel_size(tmp_path: Path) -> None:
    """RELION 3.0's origins are in px; rows are copied as they are. What merge writes is in Å."""
    (tmp_path / "old.star").write_text(
        "data_\n\nloop_\n_rlnImageName\n_rlnOriginX\n_rlnOriginY\n" + "".join(f"{n}@a.mrcs 1 2\n" for n in (1, 2, 3))
    )
    succeed("select", tmp_path / "old.star", "--rows", "2:", "-o", tmp_path / "part.star")
    assert "2@a.mrcs 1 2\n3@a.mrcs 1 2\n" in (tmp_path / "part.star").read_text()
    succeed("select", tmp_path / "old.star", "--rows", ":1", "-o", tmp_path / "rest.star")
    words = ["merge", tmp_path / "part.star", tmp_path / "rest.star", "-o", tmp_path / "all.star"]
    assert "--pixel_size" in run(*words).output
    succeed(*words, "--pixel_size", 3)
    assert read_star(tmp_path / "all.star").table["rlnOriginYAngst"].tolist() == [6.0] * 3


def test_one_row_without_a_loop_and_the_word_in_a_comment(tmp_path: Path) -> None:
    text = "data_particles # no loop_ here\n# loop_\n_rlnImageName 1@a.mrcs\n_rlnOpticsGroup 1\n"
    (tmp_path / "one.star").write_text(text)
    succeed("select", tmp_path / "one.star", "--rows", "1:1", "-o", tmp_path / "out.star")
    assert (tmp_path / "out.star").read_text() == text


def test_half_sets_of_cryosparc_part_and_come_together(tmp_path: Path) -> None:
    """Half set 1 alone has a split of 0 throughout, as jobs have that know no half sets."""
    particles = particle_set()
    write_cs(particles, tmp_path / "p.cs")
    for half in (1, 2):
        succeed("select", tmp_path / "p.cs", "--half", half, "-o", tmp_path / f"h{half}.cs")
    succeed("select", tmp_path / "h1.cs", "--half", 1, "-o", tmp_path / "again.cs")
    assert (tmp_path / "again.cs").read_bytes() == (tmp_path / "h1.cs").read_bytes()
    told = succeed(
        "merge", tmp_path / "h1.cs", tmp_path / "h2.cs", "--like", tmp_path / "p.cs", "-o", tmp_path / "m.cs"
    )
    assert "h1.cs: is taken as half set 1" in told.output
    assert (np.load(tmp_path / "m.cs") == np.load(tmp_path / "p.cs")).all()


def test_symmetry_expanded_parts_are_merged_by_uid(tmp_path: Path) -> None:
    particles = particle_set()
    rows = np.arange(N)
    particles.table["rlnImageName"] = [f"{1 + row // 2:06d}@a.mrcs" for row in rows]
    particles.table["drgnCryosparcUid"] = rows + 100
    particles.table["drgnCryosparcSourceUid"] = 7 + rows // 2
    write_cs(particles, tmp_path / "sym.cs")
    for name, chosen in (("a", "1:5"), ("b", "6:")):
        succeed("select", tmp_path / "sym.cs", "--rows", chosen, "-o", tmp_path / f"{name}.cs")
    succeed("merge", tmp_path / "b.cs", tmp_path / "a.cs", "--like", tmp_path / "sym.cs", "-o", tmp_path / "all.cs")
    assert np.load(tmp_path / "all.cs")["uid"].tolist() == (rows + 100).tolist()
    twice = run("merge", tmp_path / "a.cs", tmp_path / "a.cs", "-o", tmp_path / "all.cs")
    assert twice.exit_code == 2 and "which came before" in twice.output


@pytest.fixture
def expanded(tmp_path: Path) -> Path:
    """A star file as RELION's symmetry expansion by C3 writes it: each image three times, turned, and nothing else."""
    random = np.random.default_rng(0)
    images = particle_set().select(np.arange(N // 2))
    images.table[ANGLES] = random.uniform(0, 170, (N // 2, 3))
    table = images.table.loc[np.repeat(images.table.index, 3)].reset_index(drop=True)
    table["rlnAngleRot"] += 120.0 * (np.arange(len(table)) % 3)
    table["rlnClassNumber"] = np.arange(len(table)) % 2 + 1
    table["drgnRow"] = np.arange(len(table))
    write_star(Particles(table, images.optics, tmp_path / "sym.star"), tmp_path / "sym.star")
    return tmp_path / "sym.star"


def refined(path: Path, degrees: float) -> Path:
    """The same file after a local refinement that turned by so much."""
    particles = read_star(path)
    particles.table["rlnAnglePsi"] += np.random.default_rng(1).uniform(0.5, 1, len(particles)) * degrees
    write_star(particles, path)
    return path


@pytest.mark.parametrize("degrees", [0.0, 5.0])
def test_symmetry_expanded_parts_of_relion_are_merged_by_pose(expanded: Path, tmp_path: Path, degrees: float) -> None:
    """Parts by cluster, so that rows of one image are in several; with --like in the order of the whole."""
    parts = [tmp_path / "two.star", tmp_path / "one.star"]
    for cluster, part in zip((2, 1), parts, strict=True):
        succeed("select", expanded, "--cluster", cluster, "-o", part)
        refined(part, degrees)
    succeed("merge", *parts, "-o", tmp_path / "after.star")
    count = 3 * N // 2
    assert read_star(tmp_path / "after.star").table["drgnRow"].tolist() == [*range(1, count, 2), *range(0, count, 2)]
    succeed("merge", *parts, "--like", expanded, "-o", tmp_path / "all.star")
    assert read_star(tmp_path / "all.star").table["drgnRow"].tolist() == list(range(count))
    for more in ((), ("--like", expanded)):
        twice = run("merge", *parts, parts[0], *more, "-o", tmp_path / "x.star")
        assert twice.exit_code == 2 and "which came before with nearly the same pose" in twice.stderr


def test_expanded_parts_that_hold_each_image_once_need_the_whole(expanded: Path, tmp_path: Path) -> None:
    """By themselves they could be one set twice."""
    whole = read_star(expanded)
    parts = [tmp_path / f"{copy}.star" for copy in range(3)]
    for copy, part in enumerate(parts):
        write_star(whole.select(np.arange(copy, len(whole), 3)), part)
    refused = run("merge", *parts, "-o", tmp_path / "x.star")
    assert refused.exit_code == 2 and "give the expanded file with --like" in refused.stderr
    succeed("merge", *parts, "--like", expanded, "-o", tmp_path / "x.star")
    assert read_star(tmp_path / "x.star").table["drgnRow"].tolist() == whole.table["drgnRow"].tolist()


def test_one_set_refined_twice_is_no_expansion(expanded: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.star"
    again.write_bytes(expanded.read_bytes())
    refined(again, 1.5)
    refused = run("merge", expanded, again, "-o", tmp_path / "x.star")
    assert refused.exit_code == 2 and "with nearly the same pose" in refused.stderr
    whole = read_star(expanded)
    whole.table[ANGLES] = np.random.default_rng(2).uniform(0, 170, (len(whole), 3))
    write_star(whole, again)
    refused = run("merge", again, "--like", expanded, "-o", tmp_path / "x.star")
    assert refused.exit_code == 2 and "cannot be told by their orientations" in refused.stderr


def test_rows_along_a_filament_of_small_twist_are_no_copies(expanded: Path, tmp_path: Path) -> None:
    whole = read_star(expanded)
    turn = np.arange(len(whole)) % 3
    whole.table["rlnAngleRot"] -= 119.2 * turn
    whole.table["rlnOriginXAngst"] += 4.75 * turn
    write_star(whole, tmp_path / "helix.star")
    for name, rows in (("a", "1:4"), ("b", "5:")):
        succeed("select", tmp_path / "helix.star", "--rows", rows, "-o", tmp_path / f"{name}.star")
    succeed("merge", tmp_path / "a.star", tmp_path / "b.star", "-o", tmp_path / "x.star")
    assert len(read_star(tmp_path / "x.star")) == len(whole)


def test_select_adds_no_slot_to_a_job_of_several_classes(tmp_path: Path) -> None:
    fields = [("uid", "<u8"), ("blob/path", "S9"), ("blob/idx", "<u4")]
    for name in ("alignments_class_0", "alignments_class_1"):
        fields += [(f"{name}/pose", "<f4", (3,)), (f"{name}/shift", "<f4", (2,)), (f"{name}/psize_A", "<f4")]
        fields += [(f"{name}/class_posterior", "<f4")]
    rows = np.zeros(6, fields)
    rows["uid"], rows["blob/path"], rows["blob/idx"] = np.arange(6) + 1, b"a.mrcs", np.arange(6)
    rows["alignments_class_0/class_posterior"] = np.arange(6) % 2
    rows["alignments_class_1/class_posterior"] = 1 - np.arange(6) % 2
    for name in ("alignments_class_0", "alignments_class_1"):
        rows[f"{name}/pose"] = np.random.default_rng(0).normal(size=(6, 3))
        rows[f"{name}/psize_A"] = 2
    with (tmp_path / "het.cs").open("wb") as file:
        np.save(file, rows)
    succeed("select", tmp_path / "het.cs", "--cluster", 2, "-o", tmp_path / "two.cs")
    assert (np.load(tmp_path / "two.cs") == rows[::2]).all()
    succeed("select", tmp_path / "het.cs", "--cluster", 1, "-o", tmp_path / "one.cs")
    succeed("merge", tmp_path / "one.cs", tmp_path / "two.cs", "--like", tmp_path / "het.cs", "-o", tmp_path / "all.cs")
    assert "alignments3D/pose" not in (np.load(tmp_path / "all.cs").dtype.names or ())


def test_merge_names_the_files(star: Path, tmp_path: Path) -> None:
    other = particle_set()
    other.table["rlnImageName"] = [f"{row + 50:06d}@b.mrcs" for row in range(N)]
    other.optics["rlnVoltage"] = 100.0
    write_star(other, tmp_path / "other.star")
    told = succeed("merge", star, tmp_path / "other.star", "-o", tmp_path / "all.star").output
    assert f"{star} and 1 more: optics groups of one number differ" in told
