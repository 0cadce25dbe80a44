"""The disk that a run takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drgnalign.particles import Particles
from drgnalign.run.disk import Plan, estimate_disk

# EMPIAR-10076
COUNT, BOX, PIXEL_SIZE, DIAMETER = 131_899, 320, 1.31, 300.0
PLAN = Plan(
    consensus=1, anew=0, rounds=10, clusters=6, reconstructs=False, train_box=128, assign_limit=None, chunk_size=None,
    native=True, keep=False,
)  # fmt: skip
GB = 10**9


@pytest.fixture(scope="module")
def particles() -> Particles:
    optics = pd.DataFrame({"rlnOpticsGroup": [1], "rlnImagePixelSize": [PIXEL_SIZE], "rlnImageSize": [BOX]})
    return Particles(pd.DataFrame({"rlnOpticsGroup": np.ones(COUNT, int)}), optics, Path("a.star"))


def test_sums_of_one_pass_are_the_measured_ones(particles: Particles) -> None:
    """Ten chunks of 1.42 GB."""
    few = replace(PLAN, rounds=1)
    kept = estimate_disk(particles, replace(few, keep=True), DIAMETER)["work"]
    more = estimate_disk(particles, few, DIAMETER)["work"]
    assert kept - more == pytest.approx(10 * 1.42 * GB, rel=0.01)


def test_a_consensus_that_makes_its_references_has_two_sets_of_sums(particles: Particles) -> None:
    alone = replace(PLAN, rounds=0, consensus=3)
    for keep in (False, True):
        without, twice = (
            estimate_disk(particles, replace(alone, anew=anew, keep=keep), DIAMETER)["work"] for anew in (0, 1)
        )
        assert twice - without == pytest.approx(10 * 1.42 * GB, rel=0.1)


def test_what_is_kept_grows_with_the_rounds(particles: Particles) -> None:
    one, ten = (estimate_disk(particles, replace(PLAN, rounds=rounds), DIAMETER)["work"] for rounds in (1, 10))
    kept = estimate_disk(particles, replace(PLAN, keep=True), DIAMETER)["work"]
    # maps and tables go on growing: 6 × 5 × 320³ × 4 bytes a round are 3.9 GB
    assert (ten - one) / 9 == pytest.approx(4.3 * GB, rel=0.1)
    assert kept - ten > 9 * 17 * GB


def test_the_stacks_are_counted(particles: Particles) -> None:
    smaller = estimate_disk(particles, replace(PLAN, train_box=64), DIAMETER)["work"]
    assert estimate_disk(particles, PLAN, DIAMETER)["work"] - smaller == 4 * COUNT * (128**2 - 64**2)
    assert estimate_disk(particles, PLAN, DIAMETER)["stacks"] == 4 * COUNT * 128**2
    coarser = estimate_disk(particles, replace(PLAN, assign_limit=14.0), DIAMETER)["work"]
    assert coarser > estimate_disk(particles, PLAN, DIAMETER)["work"]


def test_a_linear_model_is_counted(particles: Particles) -> None:
    """Nine volumes of 64 px for each half set, and 44 numbers a particle."""
    without = estimate_disk(particles, replace(PLAN, assign_limit=14.0), DIAMETER)
    fitted = estimate_disk(particles, replace(PLAN, assign_limit=14.0, components=8), DIAMETER)
    of_a_round = 4 * (2 * 9 * 64**3 + 44 * COUNT)
    assert fitted["results"] - without["results"] == 10 * of_a_round
    assert fitted["work"] - without["work"] == 20 * of_a_round


def test_maps_along_a_motion_are_counted(particles: Particles) -> None:
    """Half maps and a filtered one, of eight points in each of ten rounds."""
    without, moving = (estimate_disk(particles, replace(PLAN, path_points=points), DIAMETER) for points in (0, 8))
    for folder in ("work", "results"):
        assert moving[folder] - without[folder] == 10 * 8 * 3 * 4 * 320**3
