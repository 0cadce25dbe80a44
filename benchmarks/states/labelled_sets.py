"""Labelled 50S sets that the states benchmark runs on, and its negative controls."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "rib50s"))

from case import Case
from make_set import DATA, SIZES, STATES, read_states, simulate_50s
from make_set import main as make_set
from states import CONSENSUS

from drgnalign.formats.star import read_star, write_star
from drgnalign.geometry import euler_to_matrix, matrix_to_euler
from drgnalign.particles import Particles
from drgnalign.simulate import Specimen

OUT = Path(__file__).resolve().parents[1] / "out" / "states"
# Options of benchmarks/rib50s/make_set.py; a hinge instead.
SETS: Mapping[str, dict[str, Any]] = {
    "snr_0.1": {"snr": 0.1},
    "snr_0.05": {"snr": 0.05},
    "other_states": {"snr": 0.1, "states": "vol_018,vol_288,vol_455,vol_116", "populations": "0.5,0.27,0.15,0.08"},
    "one_state": {"snr": 0.1, "states": "E", "populations": "1"},
    "hinge": {"snr": 0.1},
    "faint_hinge": {"snr": 0.05},
    "medium": {"snr": 0.1, "size": "medium"},
    "large": {"snr": 0.1, "particles": 20000},
    "faint": {"snr": 0.02, "size": "medium"},
    **{f"perturbed_{amount}": {"snr": 0.1, "perturbation": amount} for amount in (3, 5, 10, 20)},
}
CONTROLS = ("one_state", "hinge", "faint_hinge")
# Clusters that methods are told to find in them.
CONTROL_CLUSTERS = 4
# Limits of the consensus before the usual ones, Å, where poses are further off.
COARSE = (40.0, 30.0)
# Å: perturbations of so many degrees (each Euler angle) and pixels are uniform, and count pixels of EMPIAR-10076.
GIVEN_PIXEL_SIZE = 1.31
# A part of the specimen swings through so many degrees each way, in so many positions.
SWING, POSITIONS = 25.0, 60
# Share of the atoms that swings: those farthest along a direction.
SWINGING, ALONG = 0.22, np.array([1.0, 0.4, 0.2])


def case_of(name: str, seed: int) -> Case:
    """A set with its consensus, made if it is not there."""
    folder, options = OUT / f"{name}_{seed}", SETS[name]
    make(name, seed, folder)
    limits = CONSENSUS[options.get("size", "small")]
    k = CONTROL_CLUSTERS if name in CONTROLS else len(options.get("states", STATES).split(","))
    return Case(folder, seed, k, (*COARSE, *limits) if "perturbation" in options else limits)


def make(name: str, seed: int, out: Path, data: Path = DATA) -> None:
    """Make a set if it is not there."""
    if (out / "truth.star").exists():
        return
    options: dict[str, Any] = {"size": "small", "seed": seed, "out": out, "data": data} | SETS[name]
    perturbation = options.pop("perturbation", None)
    if "hinge" in name:
        hinge(seed, out, data, options["snr"])
        return
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    make_set(words, standalone_mode=False)
    if perturbation is not None:
        truth = read_star(out / "truth.star")
        write_star(perturbed(truth, perturbation, seed), out / "particles.star")


def perturbed(truth: Particles, amount: float, seed: int) -> Particles:
    """The particles as given, at true poses that are off by up to so many degrees and pixels."""
    rng = np.random.default_rng(seed)
    angles = np.array(matrix_to_euler(truth.rotations()))
    angles += rng.uniform(-amount, amount, angles.shape)
    shifts = rng.uniform(-amount, amount, (len(truth), 2)) * GIVEN_PIXEL_SIZE / truth.pixel_size
    given = truth.with_poses(euler_to_matrix(*angles), truth.displacements() + shifts)
    given.table["rlnClassNumber"] = 0
    return given


def hinge(seed: int, out: Path, data: Path, snr: float) -> None:
    """A continuum: state E, of which a part swings about its base, all positions alike in number."""
    box, count = SIZES["small"]
    (whole,) = read_states(data / "model50S", ["E"])
    direction = ALONG / np.linalg.norm(ALONG)
    height = whole.points @ direction
    base = np.quantile(height, 1 - SWINGING)
    part = height > base
    pivot = whole.points[part].mean(axis=0) - direction * (height[part].mean() - base)
    axis = np.cross(direction, [0.0, 0.0, 1.0])
    axis /= np.linalg.norm(axis)
    positions = []
    for angle in np.radians(np.linspace(-SWING, SWING, POSITIONS)):
        points = whole.points.copy()
        points[part] = Rotation.from_rotvec(angle * axis).apply(points[part] - pivot) + pivot
        positions.append(Specimen(points, whole.weights))
    simulate_50s(out, positions, [1.0] * POSITIONS, count, box, snr=snr, seed=seed, data=data)
