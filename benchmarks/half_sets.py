#!/usr/bin/env python3
"""How long does what one map of all particles aligned noise to last in half sets that are dealt afterwards?

Images of noise alone, and of noise with a particle, are aligned to one map of all of them, over and over. Then half
sets are dealt, and each is refined against its own map at some limits. After each pass: what the half maps claim,
beside the truth where there is one. `drgnalign.half_maps` rests on the outcome.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent / "engine"))

from records import REPOSITORY, Records
from states import Experiment, HalfMaps, half_maps

from drgnalign.fourier import soft_sphere
from drgnalign.half_maps import FORGETS
from drgnalign.half_sets import deal, ties
from drgnalign.particles import Particles
from drgnalign.simulate import Nuisances, phantom_states, simulate_set
from drgnalign.validation.fsc import fourier_shell_correlation, half_map_fsc, resolution_at

RESULT = REPOSITORY / "benchmarks" / "results" / "half_sets.json"
OUT = REPOSITORY / "benchmarks" / "out" / "half_sets"
PARTICLES, BOX, PIXEL_SIZE, DIAMETER = 2000, 64, 4.0, 170.0
# Signal-to-noise ratios; None: images of noise alone.
SIGNALS = {"noise": None, "signal-to-noise .02": 0.02, "signal-to-noise .005": 0.005}
# Of passes of all particles against one map, Å.
JOINT = {"4 joint passes": (20.0, 14.0, 10.0, 10.0), "8 joint passes": (20.0, 20.0, 14.0, 14.0, 10.0, 10.0, 10.0, 10.0)}
# Of each half set against its own map, Å; 0: what the last FSC claimed.
SCHEDULES = {
    "auto": (0.0,) * 4,
    "14, 12": (14.0, 12.0, 12.0),
    "18, 12": (18.0, 12.0, 12.0),
    "24, 16, 12": (24.0, 16.0, 12.0),
    "30, 20, 12": (30.0, 20.0, 12.0, 12.0),
    "40, 24, 16, 12": (40.0, 24.0, 16.0, 12.0),
}


class HalfSets:
    """A set, under one soft sphere as mask: noise has no density to make one of."""

    def __init__(self, name: str, seed: int) -> None:
        folder = OUT / f"{name}_{seed}"
        signal = SIGNALS[name]
        simulate_set(
            folder,
            phantom_states(1),
            [1.0],
            PARTICLES,
            BOX,
            PIXEL_SIZE,
            snr=signal or 0.1,
            rotation_error_deg=4.0,
            shift_error_angstrom=2.0,
            nuisances=Nuisances(empty=0.0 if signal else 1.0),
            seed=seed,
        )
        self._experiment = Experiment(folder, DIAMETER)
        self._mask = soft_sphere(BOX, 0.5 * DIAMETER / PIXEL_SIZE, 4.0)
        self._random = np.random.default_rng(seed)

    def joint(self, limits: Sequence[float]) -> Particles:
        """Poses after passes of all particles against the one map of them."""
        particles = self._experiment.given
        for limit in limits:
            mean = np.mean(self._half_maps(particles), axis=0)
            particles, _ = self._experiment.refine(particles, (mean, mean), self._mask, limit, weighted=True)
        return particles

    def dealt(self, particles: Particles) -> Particles:
        """With half sets that know nothing of the poses' origin."""
        halves = deal(ties(particles), self._random)
        return replace(particles, table=particles.table.assign(rlnRandomSubset=halves))

    def passes(self, particles: Particles, limits: Sequence[float]) -> list[dict[str, Any]]:
        """What is claimed, and true, before and after each pass of the half sets against their own maps."""
        found = [self._judged(particles)]
        for wanted in limits:
            limit = wanted or found[-1]["claimed"]
            if limit is None:
                break
            volumes = self._half_maps(particles)
            particles, _ = self._experiment.refine(particles, volumes, self._mask, limit, weighted=False)
            found.append({"limit": limit, **self._judged(particles)})
        return found

    def _half_maps(self, particles: Particles) -> HalfMaps:
        return half_maps(self._experiment.reconstruct(particles))

    def _judged(self, particles: Particles) -> dict[str, float | None]:
        first, second = self._half_maps(particles)
        claimed = half_map_fsc(first, second, PIXEL_SIZE, self._mask).resolution
        true = None
        for volume in self._experiment.true_maps.values():
            curve = fourier_shell_correlation((first + second) * self._mask, volume * self._mask)
            true = round(resolution_at(curve, BOX * PIXEL_SIZE, 0.5), 2)
        return {"claimed": claimed and round(claimed, 2), "true": true}


def run_set(name: str, seed: int) -> dict[str, Any]:
    """By number of joint passes and schedule."""
    half_sets = HalfSets(name, seed)
    record: dict[str, Any] = {}
    for joint, joint_limits in JOINT.items():
        dealt = half_sets.dealt(half_sets.joint(joint_limits))
        for schedule, limits in SCHEDULES.items():
            passes = half_sets.passes(dealt, limits)
            arm = f"{joint}, then {schedule}"
            record[arm] = {"passes": passes, **_worst(passes)}
            print(json.dumps({"set": name, "seed": seed, "arm": arm, "passes": passes}), flush=True)
    return record


def _worst(passes: list[dict[str, Any]]) -> dict[str, float | None]:
    """The finest claim after the first pass, and by what factor that is finer than the coarsest limit."""
    claims = [one["claimed"] for one in passes[1:] if one["claimed"]]
    finest = min(claims, default=None)
    return {"finest": finest, "ratio": finest and round(max(one["limit"] for one in passes[1:]) / finest, 2)}


def false_claims(record: dict[str, Any]) -> list[str]:
    """Where a claim counts as independent that flatters by more than a tenth: noise by any."""
    wrong = []
    for name, arm in record.items():
        for number, one in enumerate(arm["passes"][1:], 1):
            coarsest = max(before["limit"] for before in arm["passes"][1 : number + 1])
            counts = one["claimed"] is not None and FORGETS * one["claimed"] <= coarsest
            if counts and (one["true"] is None or one["claimed"] < 0.9 * one["true"]):
                wrong.append(f"{name}: pass {number} claims {one['claimed']} Å, true {one['true']}")
    return wrong


@click.command()
@click.option("--seed", "seeds", type=int, multiple=True, default=(1,), show_default=True)
def main(seeds: tuple[int, ...]) -> None:
    """Run all; exit status 1 where half sets would count as independent that are not."""
    os.environ["OMP_NUM_THREADS"] = "1"
    records = Records(RESULT, "benchmarks/half_sets.py")
    wrong = []
    for name in SIGNALS:
        for seed in seeds:
            record = run_set(name, seed)
            records.keep(name, seed, {"half sets": record})
            wrong += [f"{name}, seed {seed}: {one}" for one in false_claims(record)]
            rmtree(OUT / f"{name}_{seed}")
    print("\n".join(wrong) or "no claim counts as independent that is not")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
