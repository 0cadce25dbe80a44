"""Whole runs in images, on this machine and on a real Slurm: the same results as without either."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from runs import DEFAULT_PARSER, PYTHON, REPOSITORY, contents, run_workflow

import cluster

ON_SLURM = {"gpu_options": "none", "require_gpu": "false", "max_cpus": 1, "max_memory": "3.GB", "max_jobs": 8}
DATA = REPOSITORY.parent / "shared" / "data"
RIB50S = {
    "latent": "both",
    "rounds": 3,
    "k": 4,
    "seed": 1,
    "consensus_limits": "30,28,27,27",
    "resolution_limits": "27",
    "references": "reconstruct",
    "mask_diameter": 300,
    "chunk_size": 800,
    "train_box": 32,
    "zdim": 4,
    "nodes": 64,
    "learning_rate": 0.001,
    "batch_size": 32,
    "beta": 0.25,
    "epochs_first": 6,
    "epochs_round": 2,
}
pytestmark = pytest.mark.long


def assert_same(one: Path, other: Path) -> None:
    first, second = contents(one), contents(other)
    assert "final/all_particles.star" in first and first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_a_round_in_images_is_a_round_without(images: Path, noisy_set: Any, tmp_path: Path) -> None:
    particles, parameters = (
        noisy_set.folder / "particles.star",
        {"latent": "both", "rounds": 1, "consensus_limits": "none"},
    )
    without = run_workflow(tmp_path / "without", particles, parameters)
    assert without.status == 0, without.log
    parameters["container_dir"] = str(images)
    options = {"profile": "test,apptainer", "variables": DEFAULT_PARSER}
    inside = run_workflow(tmp_path / "inside", particles, parameters, **options)
    assert inside.status == 0, inside.log
    assert "WARN: " not in inside.log
    assert_same(inside.results, without.results)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the test data are not there: {DATA}")
@pytest.mark.skipif(not (cluster.is_up() or cluster.can_start()), reason=cluster.HOW_TO_GET_ONE)
def test_three_rounds_of_50s_states_on_a_cluster(images: Path, tmp_path: Path) -> None:
    """rib50s-tiny, as a user of a cluster runs it: the same bytes from four nodes as from this machine."""
    make_set = [PYTHON, REPOSITORY / "benchmarks" / "rib50s" / "make_set.py", "--size", "tiny", "--seed", "1"]
    subprocess.run([*make_set, "--out", tmp_path / "set"], check=True)
    particles = tmp_path / "set" / "particles.star"
    here = run_workflow(tmp_path / "here", particles, RIB50S, profile="standard")
    assert here.status == 0, here.log
    parameters = {**RIB50S, **ON_SLURM, "container_dir": images}
    with cluster.running():
        there = run_workflow(tmp_path / "there", particles, parameters, profile="hpc", variables=DEFAULT_PARSER)
    assert there.status == 0, there.log
    assert_same(there.results, here.results)
