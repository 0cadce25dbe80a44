"""train, embed, cluster, assign, without Nextflow."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import run, succeed
from sklearn.metrics import adjusted_rand_score

from drgnalign.commands.linear import linear
from drgnalign.commands.train import train
from drgnalign.formats.cryodrgn import write_indices, write_latent
from drgnalign.formats.star import read_star, write_star
from drgnalign.particles import START, Particles
from drgnalign.run.latent import write_images

pytestmark = pytest.mark.slow

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
    write_images(read_star(folder / "set" / "particles.star"), folder / "latent")
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


def test_a_linear_model_takes_the_place_of_a_training(two: Path, tmp_path: Path) -> None:
    words = ["--components", 3, "--most-points", 4, "--mask-diameter", DIAMETER, "--threads", 2]
    done = succeed("linear", particles(two), "-o", tmp_path / "latent", *words)
    assert "The linear model sees 2 states" in done.output and "drgnalign embed" in done.output
    assert {path.name for path in tmp_path.iterdir()} == {"latent"}
    succeed("embed", tmp_path / "latent")
    labelled = tmp_path / "c.star"
    succeed("cluster", particles(two), "--latent", tmp_path / "latent", "--k", 2, "-o", labelled)
    assert adjusted_rand_score(truth(two), read_star(labelled).table[f"{START}Points"]) > 0.9
    done = succeed("assign", labelled, "--mask-diameter", DIAMETER, "-o", tmp_path / "s.star")
    assert "2 states" in done.output
    again = run("linear", particles(two), "-o", tmp_path / "latent")
    assert again.exit_code == 2 and "is there already" in again.output


def test_defaults_are_those_of_the_workflow() -> None:
    groups = json.loads(SCHEMA.read_text())["$defs"].values()
    defaults = {name: rule.get("default") for group in groups for name, rule in group["properties"].items()}
    own = {option.name: option.default for option in train.params}
    names = ("train_box", "zdim", "layers", "nodes", "batch_size", "learning_rate")
    assert {name: own[name] for name in names} == {name: defaults[name] for name in names}
    assert own["epochs"] == defaults["epochs_first"]
    of_linear = {option.name: option.default for option in linear.params}
    assert (of_linear["components"], of_linear["limit"]) == (defaults["components"], defaults["assign_limit"])


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
    succeed("assign", clustered, "-o", tmp_path / "again.star", "--posteriors", tmp_path / "again.csv.gz", *words)
    for first, second in (("a.star", "again.star"), ("p.csv.gz", "again.csv.gz")):
        assert (tmp_path / first).read_bytes() == (tmp_path / second).read_bytes()


def test_who_is_taken_back_is_told(two: Path, clustered: Path, tmp_path: Path) -> None:
    given = read_star(clustered)
    given.table["drgnLeftOut"] = (np.arange(len(given)) < 30).astype(int)
    write_star(given, two / "some_out.star")
    done = succeed("assign", two / "some_out.star", "-o", tmp_path / "a.star", "--mask-diameter", DIAMETER)
    assert "0 left out, 30 taken back that the file leaves out" in done.output


def test_a_training_that_is_ended_ends_cryodrgn_and_leaves_no_images(two: Path, tmp_path: Path) -> None:
    words = [particles(two), "-o", tmp_path / "latent", "--train-box", 16, "--epochs", 500, "--nodes", 16, "--zdim", 1]
    command = [sys.executable, "-m", "drgnalign.cli", "train", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while not (tmp_path / "latent" / "train.log").is_file() or "Epoch" not in log_of(tmp_path):
            assert process.poll() is None
            time.sleep(0.1)
        (child,) = children_of(process.pid)
        process.terminate()
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
    assert not Path(f"/proc/{child}").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["latent"]


def log_of(folder: Path) -> str:
    return (folder / "latent" / "train.log").read_text()


def children_of(process: int) -> list[str]:
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


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


def turned(two: Path, tmp_path: Path) -> Path:
    """The same particles from the last one on."""
    write_star(read_star(particles(two)).select(np.arange(400)[::-1]), tmp_path / "turned.star")
    return tmp_path / "turned.star"


def unlabelled(two: Path, tmp_path: Path) -> Path:
    given: Particles = read_star(particles(two))
    given.table.drop(columns="rlnClassNumber", inplace=True, errors="ignore")
    write_star(given, two / "set" / "unlabelled.star")
    return two / "set" / "unlabelled.star"


ODD = {
    "NAN": ("rlnClassNumber", "nan"),
    "NEGATIVE": ("rlnClassNumber", "-1"),
    "FRACTION": ("drgnStart3", "1.5"),
    "WORD": ("drgnStart3", "two"),
}
SPOILT: dict[str, Callable[[Path], object]] = {
    "EMPTY": lambda folder: (folder / "embedding.csv").write_text(""),
    "SORTED": lambda folder: in_other_order(folder / "embedding.csv"),
    "INFINITE": lambda folder: with_a_hole(folder / "embedding.csv"),
    "OTHERS": lambda folder: write_indices(folder / "ind.pkl", np.array([0, 900])),
    "BROKEN": lambda folder: (folder / "embedding.npz").write_bytes(b"PK\x03\x04"),
    "ALIKE": lambda folder: write_latent(folder / "z.pkl", np.ones((400, 2)), np.zeros((400, 2))),
    "ROUND": lambda folder: (folder.parent / "metrics.json").write_text("{}"),
}


def labelled_oddly(clustered: Path, name: str, column: str, value: str) -> Path:
    given = read_star(clustered)
    given.table[column] = given.table[column].astype(str)
    given.table.loc[7, column] = value
    write_star(given, clustered.with_name(f"{name}.star"))
    return clustered.with_name(f"{name}.star")


def spoilt(latent: Path, folder: Path) -> Path:
    shutil.copytree(latent, folder)
    SPOILT[folder.parent.name](folder)
    return folder


def in_other_order(path: Path) -> None:
    pd.read_csv(path).sample(frac=1, random_state=0).to_csv(path, index=False)


def with_a_hole(path: Path) -> None:
    table = pd.read_csv(path)
    table.loc[2, "umap2_1"] = np.nan
    table.to_csv(path, index=False)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("embed SET", "set: has no z.pkl"),
        ("cluster FEW --latent LATENT -o OUT.star", "embedding.csv: it is of 400 particles, and"),
        (
            "cluster TURNED --latent LATENT -o OUT.star",
            "turned.star: its images are not those of the latent",
        ),
        ("cluster TURNED --latent ABOVE -o OUT.star", "give --latent"),
        ("embed LINEAR", "is of a round of a run"),
        ("cluster FEW --latent SET -o OUT.star", "set: has no embedding.csv"),
        ("cluster FEW --latent LATENT -o OUT.csv", "labels are written into a star file"),
        ("assign UNLABELLED -o OUT.star", "is labelled with no cluster"),
        ("assign CLUSTERED -o OUT.star --k two", "--k is 'two'"),
        ("assign CLUSTERED -o OUT.star --k 0", "--k is '0'"),
        ("assign CLUSTERED -o OUT.star --limit 5", "is beyond Nyquist"),
        ("cluster PAR.par --latent LATENT -o OUT.star", "PAR.par: poses are taken from star files"),
        ("assign PAR.par -o OUT.star", "PAR.par: poses are taken from star files"),
        ("assign CLUSTERED -o OUT.par", "labels are written into a star file"),
        ("assign CLUSTERED -o CLUSTERED", "would be written over"),
        ("assign CLUSTERED -o OUT.star --posteriors OUT.star", "named twice"),
        ("assign CLUSTERED -o OUT.star --posteriors OUT.csv", "name it .csv.gz"),
        ("assign CLUSTERED -o OUT/a.star", "its folder does not exist"),
        ("assign CLUSTERED -o OUT.star --posteriors OUT/p.csv.gz", "its folder does not exist"),
        ("train FEW -o OUT/latent", "its folder does not exist"),
        ("assign NAN -o OUT.star", "row 8: rlnClassNumber is no number of a cluster"),
        ("assign FRACTION -o OUT.star", "row 8: drgnStart3 is no number of a cluster"),
        ("assign WORD -o OUT.star", "row 8: drgnStart3 is no number of a cluster"),
        ("cluster NEGATIVE --latent LATENT -o OUT.star", "row 8: rlnClassNumber is no number of a cluster"),
        ("cluster CLUSTERED --latent LATENT -o OUT.star --k 401", "401 clusters cannot be made of 400"),
        ("cluster CLUSTERED --latent LATENT -o OUT.star --hdbscan-k 3", "--hdbscan-k is of hdbscan"),
        ("cluster CLUSTERED --latent EMPTY -o OUT.star", "embedding.csv: is no table of coordinates"),
        ("cluster CLUSTERED --latent SORTED -o OUT.star", "embedding.csv: its rows are not in their order"),
        ("cluster CLUSTERED --latent INFINITE -o OUT.star", "row 3: the coordinates 'umap2' are not finite"),
        ("embed OTHERS", "ind.pkl: is of rows up to 900 (from 0)"),
        ("embed LATENT --last-latent BROKEN", "embedding.npz: is no embedding to start from"),
        ("embed ALIKE", "z.pkl: all particles have the same latent variables"),
        ("embed ROUND", "is of a round of a run"),
    ],
)
def test_what_does_not_fit_is_refused(two: Path, clustered: Path, tmp_path: Path, words: str, problem: str) -> None:
    places = {"SET": two / "set", "LATENT": two / "latent", "CLUSTERED": clustered, "OUT": tmp_path / "out"}
    places |= {
        "FEW": shortened(two, tmp_path),
        "TURNED": turned(two, tmp_path),
        "UNLABELLED": unlabelled(two, tmp_path),
    }
    places |= {name: labelled_oddly(clustered, name, *odd) for name, odd in ODD.items()}
    places |= {name: spoilt(two / "latent", tmp_path / name / "latent") for name in SPOILT}
    places |= {"ABOVE": tmp_path / "ROUND", "LINEAR": tmp_path / "ROUND" / "latent" / "linear"}
    shutil.copytree(two / "latent", places["LINEAR"])
    places |= {"ROUND": tmp_path / "ROUND" / "latent", "PAR": tmp_path / "PAR"}
    (tmp_path / "PAR.par").touch()
    before = clustered.read_bytes()
    given = words.split()
    for name, path in places.items():
        given = [str(path) + word.removeprefix(name) if word.split(".")[0] == name else word for word in given]
    done = run(*given)
    assert done.exit_code in (1, 2) and "ERROR: " in done.output and problem in done.output, done.output
    assert not list(tmp_path.glob("out*")) and clustered.read_bytes() == before
