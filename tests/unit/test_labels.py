"""Labels that a person or another program gives come to the right particles, or are refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import run, succeed
from numpy.testing import assert_array_equal

from drgnalign.errors import InputError, InputNote
from drgnalign.formats.star import write_star
from drgnalign.half_sets import UID_COLUMN
from drgnalign.labels import with_labels
from drgnalign.particles import Particles
from drgnalign.run.inputs import LabelsRecord

COUNT = 12
pytestmark = pytest.mark.filterwarnings("ignore::drgnalign.errors.InputNote")


@pytest.fixture
def particles(simulate: Callable) -> Particles:
    given = simulate(COUNT, 32, 8.0).given
    return replace(given, table=given.table.assign(drgnRow=np.arange(COUNT), rlnClassNumber=0))


def csv_of(path: Path, particles: Particles, **columns: object) -> Path:
    pd.DataFrame({"rlnImageName": particles.table["rlnImageName"], **columns}).to_csv(path, index=False)
    return path


def labels_in(particles: Particles, path: Path) -> list[int]:
    return with_labels(particles, path)[0].cluster_labels().tolist()


def test_a_table_in_any_order_with_words(particles: Particles, tmp_path: Path) -> None:
    said = ["drop", "-1", "0", "Unassigned", " 2 ", "2.0", *["7"] * 6]
    path = csv_of(tmp_path / "mine.csv", particles, label=said, other="x")
    table = pd.read_csv(path, dtype=str).sample(frac=1, random_state=1)
    table["rlnImageName"] = table["rlnImageName"].str.replace(r"^0+(\d+)@", r"\1@./", regex=True)
    table.to_csv(path, index=False)
    with pytest.warns(InputNote, match=r"its 2 clusters \(2 in 2, 6 in 7\); 2 particles are in none; 2 are left out"):
        labelled, record = with_labels(particles, path)
    assert labelled.cluster_labels().tolist() == [0, 0, 0, 0, 2, 2, *[7] * 6]
    assert_array_equal(labelled.excluded(), np.arange(COUNT) < 2)
    assert record.clusters == {"2": 2, "7": 6} and (record.unassigned, record.left_out) == (2, 2)
    assert LabelsRecord.of(record.written()) == record


def test_a_list_is_a_cluster_and_all_others_another(particles: Particles, tmp_path: Path) -> None:
    few = particles.select(np.array([1, 4]))
    expected = [1 if row in (1, 4) else 2 for row in range(COUNT)]
    assert labels_in(particles, csv_of(tmp_path / "lasso.csv", few)) == expected
    table = few.table.drop(columns="rlnClassNumber", errors="ignore")
    write_star(replace(few, table=table), tmp_path / "few.star")
    assert labels_in(particles, tmp_path / "few.star") == expected
    (tmp_path / "ind.pkl").write_bytes(pickle.dumps(np.array([4, 1])))
    assert labels_in(particles, tmp_path / "ind.pkl") == expected


def test_classes_of_a_star_file(particles: Particles, tmp_path: Path) -> None:
    """Of a run's own file too, in which who was left out has a label that says nothing; others are in none."""
    classes, out = np.arange(COUNT) % 3 + 1, np.arange(COUNT) == 5
    table = particles.table.assign(rlnClassNumber=classes, drgnLeftOut=out.astype(int))
    write_star(replace(particles, table=table).select(np.arange(COUNT - 1)), tmp_path / "run_it025_data.star")
    expected = np.where(out | (np.arange(COUNT) == COUNT - 1), 0, classes)
    assert labels_in(particles, tmp_path / "run_it025_data.star") == expected.tolist()


def test_labels_of_cryodrgn_count_from_nought(particles: Particles, tmp_path: Path) -> None:
    labels = np.array([-1, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 0])
    (tmp_path / "labels.pkl").write_bytes(pickle.dumps(labels))
    # one row of the file was dropped as it was read
    some = particles.select(np.delete(np.arange(COUNT), 3))
    labelled, _ = with_labels(some, tmp_path / "labels.pkl")
    assert labelled.cluster_labels().tolist() == [0, 1, 1, 2, 2, 3, 3, 3, 3, 3, 1]
    assert labelled.excluded().tolist() == [True, *[False] * 10]


def test_classes_of_cryosparc_are_found_by_uid(particles: Particles, tmp_path: Path) -> None:
    uids = np.arange(COUNT, dtype=np.uint64) + np.uint64(2**63)
    rows = np.zeros(COUNT, [("uid", "<u8"), ("alignments3D/pose", "<f4", (3,)), ("alignments3D/class", "<u4")])
    rows["uid"], rows["alignments3D/class"] = uids[::-1], np.arange(COUNT)[::-1] % 2
    with (tmp_path / "classes.cs").open("wb") as file:
        np.save(file, rows)
    with pytest.raises(InputError, match="uid, which those of --input do not have"):
        with_labels(particles, tmp_path / "classes.cs")
    known = replace(particles, table=particles.table.assign(**{UID_COLUMN: uids}))
    assert labels_in(known, tmp_path / "classes.cs") == [1, 2] * (COUNT // 2)


def test_rows_of_one_image_are_told_apart_by_their_order(particles: Particles, tmp_path: Path) -> None:
    """As symmetry expansion makes them."""
    twice = particles.select(np.repeat(np.arange(4), 3))
    labels = np.arange(12) % 3 + 1
    path = csv_of(tmp_path / "expanded.csv", twice, label=labels)
    assert labels_in(twice, path) == labels.tolist()
    pd.read_csv(path).iloc[::-1].to_csv(path, index=False)
    with pytest.raises(InputError, match="several labels"):
        with_labels(twice, path)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.csv", "image,label\n1@a.mrcs,1\n", "has no column rlnImageName"),
        ("a.csv", "rlnImageName,label\n1@a.mrcs,1\n", r"names 1@a.mrcs, which --input lacks \(1 of the 1 named\)"),
        ("a.csv", "rlnImageName,one,two\n1@a.mrcs,1,2\n", r"several columns \(one, two\), none of them called label"),
        ("a.csv", "rlnImageName,label\n{own},1.5\n", "row 1: the label '1.5' is no whole number"),
        ("a.csv", "rlnImageName,label\n{own},good\n", "row 1: the label 'good' is no whole number"),
        ("a.csv", "rlnImageName,label\n{own},\n", "row 1: the label '' is no whole number"),
        ("a.csv", "rlnImageName,label\n{own},-2\n", "has the label -2"),
        ("a.csv", "rlnImageName,label\n{own},0\n", "has no particle in a cluster"),
        ("a.csv", "rlnImageName,label\nmine,1\n", "row 1: 'mine' is no name of an image"),
        ("a.csv", "rlnImageName,label\n{own},1\n{own},2\n", "several labels"),
        ("a.csv", "", "cannot be read as CSV"),
        ("a.txt", "1 2 3", "is of a kind"),
        ("a.star", "data_\n\nloop_\n_rlnMicrographName #1\na.mrc\n", "has no table with rlnImageName"),
        ("a.pkl", [0, 1, 1], "has 3 labels, --input has 12 particles"),
        ("a.pkl", [0, 12], r"names row 12 \(from 0\), --input has 12"),
        ("a.pkl", [[0], [1]], "not whole numbers"),
    ],
)
def test_what_are_no_labels_of_these_particles_is_refused(
    particles: Particles, tmp_path: Path, name: str, text: str | list[object], problem: str
) -> None:
    own = particles.table["rlnImageName"].iloc[0]
    path = tmp_path / name
    path.write_bytes(pickle.dumps(text) if isinstance(text, list) else text.replace("{own}", own).encode())
    with pytest.raises(InputError, match=problem) as refused:
        with_labels(particles, path)
    assert refused.value.file == str(path)


def test_who_drops_everybody_is_refused(particles: Particles, tmp_path: Path) -> None:
    labels = ["drop"] * (COUNT - 1) + ["1"]
    already = replace(particles, table=particles.table.assign(drgnExcluded=np.arange(COUNT) == COUNT - 1))
    with pytest.raises(InputError, match="drops every particle"):
        with_labels(already, csv_of(tmp_path / "a.csv", particles, label=labels))


def run_of(particles: Particles, path: Path) -> Path:
    """What a round leaves: clusters 1, 2, 3, 5, three particles each, but one that is left out and one in none."""
    labels, out = np.repeat([1, 2, 3, 5], 3), np.arange(COUNT) == 0
    labels[[0, 3]] = 0
    write_star(
        replace(particles, table=particles.table.assign(rlnClassNumber=labels, drgnLeftOut=out.astype(int))), path
    )
    return path


def test_what_a_person_decides_of_a_rounds_clusters_is_done_and_told(particles: Particles, tmp_path: Path) -> None:
    star, path = run_of(particles, tmp_path / "particles.star"), tmp_path / "mine.csv"
    said = succeed("edit", star, "--unite", "1,5", "--drop", 2, "--relabel", "3:7", "-o", path).output
    assert "5 in 1, 3 in 7; 2 in none, 2 dropped" in said
    labelled, record = with_labels(particles, path)
    assert labelled.cluster_labels().tolist() == [0, 1, 1, 0, 0, 0, 7, 7, 7, 1, 1, 1]
    assert_array_equal(labelled.excluded(), [False] * 4 + [True] * 2 + [False] * 6)
    assert record.decisions == {"drop 2": 2, "relabel 3:7": 3, "unite 1,5": 5}
    assert record.sentence.endswith(
        "a person decided: drop 2 (2 particles), relabel 3:7 (3 particles), unite 1,5 (5 particles)"
    )
    assert LabelsRecord.of(record.written()) == record


def test_freed_particles_are_in_none(particles: Particles, tmp_path: Path) -> None:
    star, path = run_of(particles, tmp_path / "particles.star"), tmp_path / "mine.csv"
    succeed("edit", star, "--free", "3", "--free", "5", "-o", path)
    assert labels_in(particles, path) == [0, 1, 1, 0, 2, 2, *[0] * 6]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "nothing is to be changed"),
        (("--unite", "1"), "--unite is '1'"),
        (("--unite", "1,x"), "--unite is '1,x'"),
        (("--drop", "0"), "--drop is '0'"),
        (("--relabel", "1"), "such as --relabel 3:1"),
        (("--drop", "4"), "4 is none of its clusters"),
        (("--drop", "1", "--free", "2", "--drop", "3", "--drop", "5"), "no cluster would be left"),
        (("--drop", "1", "--unite", "1,2"), "1 is named twice"),
        (("--relabel", "1:2"), "there would be another cluster 2"),
        (("--relabel", "1:7", "--relabel", "2:7"), "there would be another cluster 7"),
    ],
)
def test_decisions_that_cannot_be_are_told(
    particles: Particles, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    path = tmp_path / "mine.csv"
    refused = run("edit", run_of(particles, tmp_path / "particles.star"), "-o", path, *words)
    assert refused.exit_code == 2 and told in refused.output and not path.exists()


def test_numbers_may_change_places(particles: Particles, tmp_path: Path) -> None:
    star, path = run_of(particles, tmp_path / "particles.star"), tmp_path / "mine.csv"
    succeed("edit", star, "--relabel", "1:2", "--relabel", "2:1", "-o", path)
    assert labels_in(particles, path) == [0, 2, 2, 0, 1, 1, 3, 3, 3, 5, 5, 5]
