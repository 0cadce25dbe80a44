"""The folders of the passes of a small run, made up: a consensus and two rounds of two clusters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from drgnalign.formats.mrc import write_volume
from drgnalign.formats.star import write_star
from drgnalign.fourier import soft_sphere
from drgnalign.particles import Particles

PARTICLES, BOX, VOXEL = 600, 24, 4.0
# Å, of a sphere that each cluster has besides the core; odd names must go unharmed through the page
CENTRES = {1: (20.0, 0.0, 0.0), 2: (0.0, 20.0, 8.0)}
NAMES = {0: ["consensus"], 1: ["cluster_01", "cluster_02"], 2: ["cluster_01", "cluster_02"]}
# Along the motion that the second round sees: the last place is shown by too few for a map.
PLACES: list[dict[str, Any]] = [
    {"name": f"point_0{i}", "place": (0.1, 0.5, 0.9)[i - 1], "spread": 0.07, "particles": 300, "worth_particles": 123.4}
    | {"resolution_angstrom": 12.5 if i < 3 else None}
    for i in (1, 2, 3)
]
FACTS: dict[str, Any] = {
    "rounds": [
        {
            "number": number,
            "pass": number + 1,
            "clusters": [{"cluster": name, "skipped": False} for name in names],
            "motion": PLACES if number == 2 else [],
        }
        for number, names in NAMES.items()
    ]
}
STACK = 'Extract/日本, "x" <b>.mrcs'


def write_run(folder: Path, names: dict[int, list[str]] = NAMES) -> dict[int, Path]:
    """Folders of the passes by their numbers, as REPORT has them, of rounds with these clusters."""
    random = np.random.default_rng(1)
    folders = {round_ + 1: folder / f"pass_{round_ + 1}" for round_ in names}
    for (round_, clusters), path in zip(names.items(), folders.values(), strict=True):
        path.mkdir(parents=True)
        numbers = [int(name[-2:]) for name in clusters if round_] or [0]
        labels = np.repeat(numbers, PARTICLES // len(numbers))
        _write_maps(path / "clusters", clusters)
        _write_figures(path, round_, clusters)
        moved = labels.copy()
        if numbers == [1, 2]:
            moved[: 40 * (2 - round_)] = 2
        left_out = (np.arange(PARTICLES) % 100 == 99).astype(int)
        write_star(_particles(moved if round_ else 0 * labels, left_out), path / "particles.star")
        if round_:
            _write_latent(path / "latent", labels, random)
            # what the first training draws is noise
            _write_film(path / "decoded", random if round_ == 1 else None)
        if round_ == 2:
            _write_motion(path / "motion")
    return folders


def _write_figures(folder: Path, round_: int, names: list[str]) -> None:
    """metrics.json and fsc.csv."""
    common: dict[str, Any] = {"skipped": False, "carried": False, "alignment_limit_angstrom": 14.0}
    common |= {"resolution_angstrom": 12.0, "reaches_nyquist": False, "mean_fsc": 0.8, "spread": 0.02}
    common |= {"difference_fsc_40": 0.9, "halves": "independent", "warnings": []}
    common["composition"] = {"micrographs": None, "views": None}
    metrics: dict[str, Any] = {"pass": round_ + 1, "round": round_, "particles": PARTICLES}
    metrics |= {"unassigned": 0, "left_out": 6, "left_out_new": 0, "left_out_back": 0, "halves": "independent"}
    metrics |= {"verdict": "2 states" if round_ else None, "screening": None, "steady": False}
    metrics["clustering"] = {"ari_with_last_round": 0.9} if round_ else None
    metrics["clusters"] = [{"cluster": name, "particles": PARTICLES // len(names), **common} for name in names]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    shells = np.arange(1, BOX // 2 + 1)
    curve = pd.DataFrame({"shell": shells, "resolution_angstrom": BOX * VOXEL / shells})
    for kind in ("unmasked", "masked", "randomised", "corrected"):
        curve[f"fsc_{kind}"] = 1 / (1 + np.exp(shells - 8.0))
    curve = curve.assign(resolution_0143_angstrom=12.0, alignment_limit_angstrom="14.0")
    curves = [curve.assign(cluster=name) for name in names]
    (pd.concat(curves) if curves else curve.assign(cluster="").head(0)).to_csv(folder / "fsc.csv", index=False)


def _body(*labels: int) -> np.ndarray:
    volume = soft_sphere(BOX, 4, 3)
    for label in labels:
        shift = np.rint(np.array(CENTRES[label])[::-1] / VOXEL).astype(int)
        volume = np.maximum(volume, np.roll(soft_sphere(BOX, 2.5, 3), tuple(shift), (0, 1, 2)) / len(labels))
    return volume


def _write_maps(folder: Path, names: list[str]) -> None:
    folder.mkdir()
    write_volume(folder / "mask.mrc", soft_sphere(BOX, 10, 2), VOXEL)
    for name in names:
        label = 0 if name == "consensus" else (int(name[-2:]) - 1) % 2 + 1
        write_volume(folder / f"{name}.mrc", _body(label) if label else _body(1, 2), VOXEL)
        if label:
            resolution = 6.0 + 6.0 * label + np.linspace(-2, 2, BOX)[:, None, None] + np.zeros((BOX, BOX, BOX))
            write_volume(folder / f"{name}_local_resolution.mrc", resolution, VOXEL)


def _write_film(folder: Path, noise: np.random.Generator | None) -> None:
    folder.mkdir()
    for number in range(1, 7):
        body = 0.2 * number * _body(1) + _body(2) if noise is None else noise.normal(size=(BOX, BOX, BOX))
        write_volume(folder / f"pc1_{number:02d}.mrc", body - 5.0, VOXEL)


def _write_motion(folder: Path) -> None:
    folder.mkdir()
    for number, place in enumerate(PLACES, start=1):
        facts = {key: value for key, value in place.items() if key != "name"}
        (folder / f"{place['name']}.json").write_text(json.dumps(facts))
        if place["resolution_angstrom"]:
            write_volume(folder / f"{place['name']}.mrc", 0.4 * number * _body(1) + _body(2), VOXEL)


def _write_latent(folder: Path, labels: np.ndarray, random: np.random.Generator) -> None:
    folder.mkdir()
    z = np.stack([np.where(labels == 1, -3.0, 3.0), np.zeros(PARTICLES)], axis=1) + random.normal(size=(PARTICLES, 2))
    columns = {"row": np.arange(PARTICLES), "z0": z[:, 0], "z1": z[:, 1], "pc1": z[:, 0], "pc2": z[:, 1]}
    columns |= {f"umap2_{i + 1}": 5 + z[:, i] for i in range(2)}
    columns |= {f"umap3_{i + 1}": z[:, i % 2] + 0.1 * i for i in range(3)}
    pd.DataFrame(columns).to_csv(folder / "embedding.csv", index=False)
    (folder / "embedding.json").write_text(json.dumps({"explained_variance": [0.9, 0.1]}))


def _particles(labels: np.ndarray, left_out: np.ndarray) -> Particles:
    table = pd.DataFrame(
        {
            "rlnImageName": [f"{row + 1:06d}@{STACK}" for row in range(PARTICLES)],
            "rlnOpticsGroup": 1,
            **dict.fromkeys(["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"], 0.0),
            **dict.fromkeys(["rlnOriginXAngst", "rlnOriginYAngst", "rlnDefocusAngle"], 0.0),
            **dict.fromkeys(["rlnDefocusU", "rlnDefocusV"], 15_000.0),
            "rlnClassNumber": np.where(left_out, 0, labels),
            "rlnRandomSubset": np.arange(PARTICLES) % 2 + 1,
            "drgnRow": np.arange(PARTICLES),
            "drgnLeftOut": left_out,
        }
    )
    optics = pd.DataFrame(
        {
            "rlnOpticsGroup": [1],
            "rlnOpticsGroupName": ["opticsGroup1"],
            "rlnVoltage": 300.0,
            "rlnSphericalAberration": 2.7,
            "rlnAmplitudeContrast": 0.1,
            "rlnImagePixelSize": VOXEL,
            "rlnImageSize": BOX,
            "drgnContrast": "white",
        }
    )
    return Particles(table, optics, Path("particles.star"))


def publish(passes: Path, results: Path) -> None:
    """Lay the folders of a small run out as a workflow's results."""
    (results / "consensus").mkdir(parents=True)
    for number, name in ((1, "consensus/pass_01"), (2, "round_01"), (3, "round_02")):
        (passes / f"pass_{number}").rename(results / name)
