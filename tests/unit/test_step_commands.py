"""train, embed, cluster, assign, without Nextflow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import run, succeed
from sklearn.metrics import adjusted_rand_score

from drgnalign.commands.train import train
from drgnalign.formats.cryodrgn import write_latent
from drgnalign.formats.star import read_star, write_star
from drgnalign.particles import START, Particles

SCHEMA = Path(__file__).resolve().parents[2] / "nextflow_schema.json"
STATES, DIAMETER = 2, 200


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, simulate: Callable[..., Any]) -> Path:
    """A set of two states at true poses, and a latent space that knows them but for some."""
    made = simulate(400, 32, 8.0, states=STATES, snr=0.3)
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(made.folder, folder / "set")
    truth = made.truth.cluster_labels()
    rng = np.random.default_rng(0)
    seen = np.where(rng.random(len(truth)) < 0.8, truth, rng.integers(1, STATES + 1, len(truth)))
    (folder / "latent").mkdir()
    z = np.stack([4.0 * seen, np.zeros(len(seen))], axis=1) + rng.normal(size=(len(seen), 2))
    write_latent(folder / "latent" / "z.pkl", z, np.zeros_like(z))
    succeed("embed", folder / "latent")
    return folder


def particles(two: Path) -> Path:
    return two / "set" / "particles.star"


def truth(two: Path) -> Any:
    return read_star(two / "set" / "truth.star").cluster_labels()


def test_a_training_is_embedded_and_clustered(two: Path, tmp_path: Path) -> None:
    options = ["--train-box", 16, "--epochs", 1, "--nodes", 16, "--layers", 1, "--zdim", 2, "--seed", 3]
    succeed("train", particles(two), "-o", tmp_path / "latent", *options)
    record = json.loads((tmp_path / "latent" / "training.json").read_text())
    assert record["epoch"] == 1 and record["settings"]["box"] == 16 and record["settings"]["beta"] == 0.5
    # no stack is left behind
    assert {path.name for path in tmp_path.iterdir()} == {"latent"}
    again = run("train", particles(two), "-o", tmp_path / "latent", *options)
    assert again.exit_code == 2 and "has a training already" in again.output
    assert "400 particles" in succeed("embed", tmp_path / "latent").output
    done = succeed("cluster", particles(two), "--latent", tmp_path / "latent", "--k", 3, "-o", tmp_path / "c.star")
    labelled = read_star(tmp_path / "c.star")
    assert sorted(set(labelled.cluster_labels().tolist())) == [1, 2, 3] and "0 in none" in done.output


def test_defaults_are_those_of_the_workflow() -> None:
    groups = json.loads(SCHEMA.read_text())["$defs"].values()
    defaults = {name: rule.get("default") for group in groups for name, rule in group["properties"].items()}
    own = {option.name: option.default for option in train.params}
    names = ("train_box", "zdim", "layers", "nodes", "batch_size", "learning_rate")
    assert {name: own[name] for name in names} == {name: defaults[name] for name in names}
    assert own["epochs"] == defaults["epochs_first"]


def test_clusters_have_the_numbers_of_those_that_were(two: Path, tmp_path: Path) -> None:
    given = read_star(particles(two))
    given.table["rlnClassNumber"] = np.where(truth(two) == 1, 7, 3)
    write_star(given, two / "set" / "numbered.star")
    words = ["--latent", two / "latent", "--k", STATES, "--space", "z", "-o", tmp_path / "c.star"]
    succeed("cluster", two / "set" / "numbered.star", *words)
    labelled = read_star(tmp_path / "c.star")
    assert set(labelled.cluster_labels().tolist()) == {3, 7}
    assert adjusted_rand_score(truth(two), labelled.cluster_labels()) > 0.4
    # found from where the file is now
    assert (tmp_path / str(labelled.image_locations()[1][0])).is_file()
    assert [name for name in labelled.table if str(name).startswith(START)]


@pytest.fixture(scope="module")
def clustered(two: Path) -> Path:
    words = ["--latent", two / "latent", "--k", STATES, "--space", "z", "-o", two / "clustered.star"]
    succeed("cluster", particles(two), *words)
    return two / "clustered.star"


def test_images_choose(two: Path, clustered: Path, tmp_path: Path) -> None:
    words = ["--mask-diameter", DIAMETER, "--limit", 20]
    done = succeed("assign", clustered, "-o", tmp_path / "a.star", "--posteriors", tmp_path / "p.csv.gz", *words)
    assert "2 states (of 2 clusters given)" in done.output and "drgnalign select" in done.output
    assigned = read_star(tmp_path / "a.star")
    labels = assigned.cluster_labels()
    assert adjusted_rand_score(truth(two), labels) > 0.95
    assert set(labels[labels > 0].tolist()) == {1, 2}
    posteriors = pd.read_csv(tmp_path / "p.csv.gz")
    chosen = posteriors.filter(like="cluster").to_numpy().argmax(axis=1) + 1
    assert (chosen == labels)[labels > 0].all()
    assert {path.name for path in tmp_path.iterdir()} == {"a.star", "p.csv.gz"}


def test_labels_of_a_foreign_file_are_started_from(two: Path, clustered: Path, tmp_path: Path) -> None:
    """The file of another program has its columns alone, and classes among them."""
    own = read_star(clustered)
    optics = own.optics.drop(columns="drgnContrast")
    table = own.table.drop(columns=[name for name in own.table if str(name).startswith("drgn")])
    write_star(replace(own, table=table, optics=optics), two / "foreign.star")
    words = ["--mask-diameter", DIAMETER, "--limit", 20, "--invert", "no", "--junk", "keep"]
    done = succeed("assign", two / "foreign.star", "-o", tmp_path / "a.star", *words)
    assert "2 states" in done.output
    assert adjusted_rand_score(truth(two), read_star(tmp_path / "a.star").cluster_labels()) > 0.95


def shortened(two: Path, tmp_path: Path) -> Path:
    write_star(read_star(particles(two)).select(np.arange(300)), tmp_path / "few.star")
    return tmp_path / "few.star"


def unlabelled(two: Path, tmp_path: Path) -> Path:
    given: Particles = read_star(particles(two))
    given.table.drop(columns="rlnClassNumber", inplace=True, errors="ignore")
    write_star(given, two / "set" / "unlabelled.star")
    return two / "set" / "unlabelled.star"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("embed SET", "set: has no z.pkl"),
        ("cluster FEW --latent LATENT -o OUT.star", "embedding.csv: it is of 400 particles, and"),
        ("cluster FEW --latent SET -o OUT.star", "set: has no embedding.csv"),
        ("cluster FEW --latent LATENT -o OUT.csv", "labels are written into a star file"),
        ("assign UNLABELLED -o OUT.star", "is labelled with no cluster"),
        ("assign CLUSTERED -o OUT.star --k two", "--k is 'two'"),
        ("assign CLUSTERED -o OUT.star --k 0", "--k is '0'"),
        ("assign CLUSTERED -o OUT.star --limit 5", "is beyond Nyquist"),
        ("assign CLUSTERED -o OUT.par", "labels are written into a star file"),
        ("assign CLUSTERED -o CLUSTERED", "would be written over"),
    ],
)
def test_what_does_not_fit_is_refused(two: Path, clustered: Path, tmp_path: Path, words: str, problem: str) -> None:
    places = {"SET": two / "set", "LATENT": two / "latent", "CLUSTERED": clustered, "OUT": tmp_path / "out"}
    places |= {"FEW": shortened(two, tmp_path), "UNLABELLED": unlabelled(two, tmp_path)}
    before = clustered.read_bytes()
    given = words.split()
    for name, path in places.items():
        given = [str(path) + word.removeprefix(name) if word.split(".")[0] == name else word for word in given]
    done = run(*given)
    assert done.exit_code == 2 and problem in done.output, done.output
    assert not list(tmp_path.glob("out*")) and clustered.read_bytes() == before
