"""The walk-throughs of the docs, run as they stand there: on simulated data in each program's form, and on the demo."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from runs import JAVA_OPTIONS, PYTHON, REPOSITORY

from conftest import copy_code
from drgnalign.formats.mrc import StackWriter, read_volume
from drgnalign.formats.particle_file import read_particle_file
from drgnalign.formats.star import read_star, write_star

pytestmark = pytest.mark.long
GUIDE = REPOSITORY / "docs" / "walkthroughs.md"
BETWEEN_ROUNDS = REPOSITORY / "docs" / "between_rounds.md"
BIN = PYTHON.parent
# What a small set needs, as a nextflow.config beside the data says it: the commands stay as they are.
SETTINGS = (REPOSITORY / "conf" / "test.config").read_text().replace("rounds = 2\n", "")
MICROGRAPHS = 10
# Of the runs on the demo, in their order
RESULTS = ("results", "results_united", "results_asked")


@pytest.fixture
def project(noisy_set: Any, tmp_path: Path) -> Path:
    """A folder of its own, with the programs that a user has on the PATH."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "nextflow.config").write_text(SETTINGS)
    programs = tmp_path / "programs"
    programs.mkdir()
    launcher = programs / "nextflow"
    launcher.write_text(
        f'#!/bin/bash\nexec "{REPOSITORY}/.tools/nextflow" "$1" "{REPOSITORY}/$2" -ansi-log false "${{@:3}}"\n'
    )
    launcher.chmod(0o755)
    return folder


def walk(project: Path, heading: str) -> None:
    """Run the commands of a section."""
    section = GUIDE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    run_commands(section, project, project.parent / "programs", REPOSITORY)


def run_commands(text: str, folder: Path, programs: Path, code: Path) -> None:
    """Run what stands in the blocks of a text that are for a shell, with the library of a checkout."""
    commands = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL))
    environment = {
        **os.environ,
        "PATH": f"{programs}:{BIN}:{os.environ['PATH']}",
        "PYTHONPATH": str(code / "src"),
        "NXF_OPTS": JAVA_OPTIONS,
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def converted(noisy_set: Any, project: Path, stack: str, *words: object) -> None:
    """The set in another form, beside a stack of this name."""
    shutil.copy(noisy_set.folder / "particles.mrcs", project / stack)
    shutil.copy(noisy_set.folder / "particles.star", project / "of_relion.star")
    command = [BIN / "drgnalign", "convert", "of_relion.star", *map(str, words)]
    subprocess.run(command, cwd=project, check=True, capture_output=True, text=True)
    (project / "of_relion.star").unlink()


def train(project: Path) -> None:
    """A training of the user's: one epoch of a small network."""
    network = ["--zdim", 2, "--enc-layers", 2, "--enc-dim", 32, "--dec-layers", 2, "--dec-dim", 32, "-n", 1]
    command = [BIN / "cryodrgn", "train_vae", "particles.mrcs", "--poses", "poses.pkl", "--ctf", "ctf.pkl"]
    command += [*network, "--lr", 0.001, "-b", 32, "--uninvert-data", "-o", "00_vae"]
    subprocess.run(list(map(str, command)), cwd=project, check=True, capture_output=True, text=True)


def per_micrograph(noisy_set: Any, folder: Path) -> pd.Series:
    """Stacks of the images, one a micrograph, and what names they have in the project's folder."""
    images, _ = read_volume(noisy_set.folder / "particles.mrcs")
    names = np.empty(len(images), object)
    folder.mkdir(parents=True)
    for number, rows in enumerate(np.array_split(np.arange(len(images)), MICROGRAPHS)):
        stack = folder / f"mic_{number:02d}.mrcs"
        with StackWriter(stack, len(rows), images.shape[-1], 8.0) as writer:
            writer.append(images[rows])
        names[rows] = [f"{place:06d}@{stack.relative_to(folder.parents[1])}" for place in range(1, len(rows) + 1)]
    return pd.Series(names)


def test_from_relion(project: Path, noisy_set: Any) -> None:
    particles = noisy_set.given.select(np.arange(len(noisy_set.given)))
    order = np.argsort(particles.image_locations()[0])
    particles = particles.select(order)
    particles.table["rlnImageName"] = per_micrograph(noisy_set, project / "Extract" / "job007").to_numpy()
    (project / "Refine3D" / "job042").mkdir(parents=True)
    write_star(particles, project / "Refine3D" / "job042" / "run_data.star")
    walk(project, "From RELION")
    back = read_star(project / "External" / "drgnalign" / "cluster_01_particles.star").table
    assert len(back) > 50
    assert all((project / name.partition("@")[2]).is_file() for name in back["rlnImageName"])
    before = particles.table.set_index("rlnImageName")["rlnRandomSubset"]
    assert (before[back["rlnImageName"]].to_numpy() == back["rlnRandomSubset"].to_numpy()).all()


def test_from_cryosparc(project: Path, noisy_set: Any) -> None:
    """What a refinement makes is in one file, and what it was given in another."""
    job = project / "J42"
    job.mkdir()
    converted(noisy_set, project, "particles.mrcs", "-o", "whole.cs")
    whole = np.load(project / "whole.cs")
    names = whole.dtype.names or ()
    made = [name for name in names if name == "uid" or name.startswith("alignments3D")]
    given = [name for name in names if name == "uid" or name not in made]
    for fields, name in ((made, "J42_005_particles.cs"), (given, "J42_passthrough_particles.cs")):
        part = np.empty(len(whole), [(field, whole.dtype[field]) for field in fields])
        for field in fields:
            part[field] = whole[field]
        with (job / name).open("wb") as file:
            np.save(file, part)
    walk(project, "From cryoSPARC")
    (group,) = (project / "for_cryosparc").glob("**/cluster_01*.cs")
    assert set(np.load(group)["uid"]) <= set(whole["uid"])


def test_from_frealign(project: Path, noisy_set: Any) -> None:
    words = ("--numbers", "file", "--images", "stack.mrc", "--to", "par9", "-o", "particles.par")
    converted(noisy_set, project, "stack.mrc", *words)
    walk(project, "From Frealign or cisTEM")
    lines = (project / "state_1.par").read_text().splitlines()
    assert len([line for line in lines if not line.startswith("C")]) > 50


def test_from_cryodrgn(project: Path, noisy_set: Any) -> None:
    converted(noisy_set, project, "particles.mrcs", "--to", "cryodrgn", "-o", ".")
    train(project)
    walk(project, "From cryoDRGN")
    (latent,) = (project / "for_cryodrgn").glob("z.*.pkl")
    kept = len(read_particle_file(project / "drgnalign" / "final" / "cluster_01_particles.star"))
    assert latent.stat().st_size > 0 and kept > 50


def test_between_rounds(tmp_path: Path) -> None:
    """In a copy of the project's folder, where the demo's results go."""
    code = tmp_path / "drgnalign"
    copy_code(code)
    for name in ("Makefile", "pyproject.toml", "setup.py"):
        shutil.copy2(REPOSITORY / name, code)
    for name in ("setup", "benchmarks", ".tools"):
        shutil.copytree(REPOSITORY / name, code / name, ignore=shutil.ignore_patterns("out"))
    run_commands(BETWEEN_ROUNDS.read_text(), code, code / ".tools", code)
    demo = code / "demo"
    found = {name: json.loads((demo / name / "report.json").read_text()) for name in RESULTS}
    assert [found[name]["verdict"] for name in RESULTS] == ["3 states", None, "2 states"]
    assert found["results"]["round"] == 4 and (demo / "results" / "round_03" / "metrics.json").is_file()
    decided = {one["parameter"]: one for one in found["results_united"]["decisions"]}
    assert set(decided) == {"labels", "start_from"} and "unite 2,3" in decided["labels"]["decides"]
    (together,) = found["results_united"]["clusters"]
    assert together["label"] == 2
    assert len(read_star(demo / "External" / "united" / "cluster_02_particles.star").table) == together["particles"]
