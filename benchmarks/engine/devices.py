#!/usr/bin/env python3
"""The native engine's loops on a GPU beside those on the processor: refinement and insertion of the same particles.

Time is that of the loops on images that are read as they go, without the start of a program; results are compared.
Leaves loudly where there is no GPU.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from records import REPOSITORY, Records
from sets import CASES, Case, make

from drgnalign.engine.noise import estimate_noise
from drgnalign.engine.prior import estimate_prior
from drgnalign.engine.reconstruct import HalfMapSums, insert_particles
from drgnalign.engine.reference import transform_reference
from drgnalign.engine.refine import refine_particles
from drgnalign.engine.sampling import oversampling
from drgnalign.formats.mrc import ImageSource, read_volume
from drgnalign.formats.star import read_star
from drgnalign.geometry import angular_distance
from drgnalign.particles import Particles

OUT = REPOSITORY / "benchmarks" / "out" / "engine"
RESULT = REPOSITORY / "benchmarks" / "results" / "devices.json"
# Particles on each device: what the GPU takes for few is its start.
COUNTS = {"cpu": 1, "cuda": 16}


def run_case(case: Case) -> dict[str, Any]:
    """Milliseconds a particle of both loops on one core and on the GPU, and how far the results are apart."""
    folder = make(case, OUT)
    given = read_star(folder / "particles.star")
    volume, _ = read_volume(folder / "state_01.mrc")
    mask, _ = read_volume(folder / "mask.mrc")
    padding = oversampling(case.box, case.pixel_size, case.diameter)
    reference = transform_reference(volume, mask, np.ones(case.box // 2 + 1), case.pixel_size, case.limit, padding)
    references = {1: reference, 2: reference}
    noise = estimate_noise(given, ImageSource(given, folder), case.diameter)
    prior = estimate_prior(given, ImageSource(given, folder), references, noise, case.limit)

    def refine(particles: Particles, device: str) -> Particles:
        source = ImageSource(particles, folder)
        found = refine_particles(particles, source, references, noise, case.limit, prior=prior, device=device)
        return found.apply_to(particles)

    def insert(particles: Particles, device: str) -> HalfMapSums:
        return insert_particles(particles, ImageSource(particles, folder), noise, padding, device=device)

    record: dict[str, Any] = {}
    poses, maps = {}, {}
    for device, times in COUNTS.items():
        some = given.select(np.arange(times * len(given)) % len(given))
        for warm_up in (True, False):
            particles = given if warm_up else some
            refined, refining = timed(refine, particles, device)
            sums, inserting = timed(insert, particles, device)
            if warm_up:
                poses[device], maps[device] = refined, sums.half_map(1)
        record[device] = {
            "refine_ms": round(1e3 * refining / len(some), 4),
            "insert_ms": round(1e3 * inserting / len(some), 4),
            "particles": len(some),
        }
    degrees = angular_distance(poses["cpu"].rotations(), poses["cuda"].rotations())
    apart = np.linalg.norm(poses["cpu"].displacements() - poses["cuda"].displacements(), axis=1)
    difference = np.sqrt(np.mean((maps["cpu"] - maps["cuda"]) ** 2) / np.mean(maps["cpu"] ** 2))
    return record | {
        "degrees_apart": {"median": float(np.median(degrees)), "99 %": float(np.percentile(degrees, 99))},
        "px_apart": {"median": float(np.median(apart)), "99 %": float(np.percentile(apart, 99))},
        "maps_apart": float(difference),
        "gpu_memory_mb": round(torch.cuda.max_memory_allocated() / 2**20),
    }


def timed(step: Callable[[Particles, str], Any], particles: Particles, device: str) -> tuple[Any, float]:
    """What a step gives, and its wall seconds."""
    begin = time.perf_counter()
    given = step(particles, device)
    if device == "cuda":
        torch.cuda.synchronize()
    return given, time.perf_counter() - begin


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("there is no GPU that PyTorch can use: nothing was measured")
    os.environ["OMP_NUM_THREADS"] = "1"
    records = Records(RESULT, "benchmarks/engine/devices.py")
    for case in CASES[:3]:
        record = run_case(case)
        records.keep(case.name, 1, {"devices": record})
        print(json.dumps({"case": case.name, **record}), flush=True)


if __name__ == "__main__":
    main()
