#!/usr/bin/env python3
"""What a linear latent model says of labelled sets: how many points, which particles are in each, in what time; of
hinges, where along their motion particles are, and what half maps along it are worth.

What is recorded is not fitted again, so that an interrupted run goes on where it was. Needs the test data.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "states"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "real"))

import click
import numpy as np
import real_sets
from case import LIMIT, Case
from labelled_sets import SETS as LABELLED
from labelled_sets import case_of
from records import REPOSITORY, Records
from scipy.ndimage import distance_transform_edt
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score

from drgnalign.arrays import IntArray
from drgnalign.engine.noise import estimate_noise
from drgnalign.engine.reconstruct import HALVES, insert_particles
from drgnalign.engine.sampling import oversampling
from drgnalign.formats.mrc import ImageSource
from drgnalign.fourier import raised_cosine
from drgnalign.heterogeneity.curve import Gain, fit_curves
from drgnalign.heterogeneity.known import Known
from drgnalign.heterogeneity.linear import SCHEDULE, LinearModel, fit_linear, latent_of
from drgnalign.heterogeneity.motions import find_motion
from drgnalign.heterogeneity.path import nearest_places, points_along, shown_at
from drgnalign.heterogeneity.points import fit_points, points_found
from drgnalign.maps.mask import soft_sphere
from drgnalign.particles import PATH, PATH_ERROR, Particles
from drgnalign.validation.fsc import fourier_shell_correlation

RESULT = REPOSITORY / "benchmarks" / "results" / "latent.json"
SETS = (
    "snr_0.1",
    "snr_0.05",
    "one_state",
    "hinge",
    "faint_hinge",
    "other_states",
    "together",
    "minority_0.1",
    "minority_0.05",
)
SEEDS = (1, 2, 3)
COMPONENTS, MOST_POINTS, PATH_POINTS = 8, 12, 8
# Share of the largest variance between the true maps of a hinge from which on a voxel is of the part that moves.
MOVING = 0.02


def fitted(case: Case, particles: Particles) -> tuple[LinearModel, ImageSource, Any, float]:
    """A model of the particles that are kept, and what it took in s."""
    kept = particles.select(np.flatnonzero(case.kept))
    source = ImageSource(kept, case.folder)
    noise = estimate_noise(kept, source, case.diameter)
    start = time.perf_counter()
    sums = insert_particles(kept, source, noise, oversampling(kept.box, kept.pixel_size, case.diameter))
    means = {half: sums.half_map(half)[None] for half in HALVES}
    mask = soft_sphere(kept.box, kept.pixel_size, case.diameter)
    model = fit_linear(kept, source, noise, means, mask, case.diameter, COMPONENTS, seed=case.seed)
    return model, source, noise, time.perf_counter() - start


def judged(case: Case) -> dict[str, Any]:
    """What is recorded of a set."""
    particles = case.with_assigned_images(case.particles)
    model, _, noise, seconds = fitted(case, particles)
    mask = soft_sphere(particles.box, particles.pixel_size, case.diameter)
    known = latent_of(particles, ImageSource(particles, case.folder), noise, model, mask, case.diameter)
    kept = np.flatnonzero(case.kept)
    start = time.perf_counter()
    tried = fit_points(known.of(kept), MOST_POINTS, case.seed)
    searched = time.perf_counter() - start
    points = points_found(tried, len(kept))
    labels, halves = points.labels_of(known), particles.half_sets()[kept]
    search = find_motion(known.of(kept), points, halves, model.volumes, MOST_POINTS, case.seed)
    assert search is not None
    gain = search.gain
    of_motion = moved(case, known.of(kept), kept, gain) if "hinge" in case.folder.name else {}
    return {
        "particles": len(kept),
        "limit": LIMIT,
        "gains": [round(one.log_likelihood, 5) for one in tried],
        "points": len(points.shares),
        "shares": np.round(points.shares, 4).tolist(),
        "groups": search.groups,
        "moving_share": None if search.motion is None else round(float(search.motion.moving.mean()), 4),
        **(of_motion or agreement(case, labels)),
        "motion_gain": [round(value, 4) for value in (gain.nats, gain.error)],
        "curve_width": gain.widths[-1],
        "shared": np.round(model.shared, 3).tolist(),
        "contrast_spread": round(model.spreads.contrast, 4),
        "fit_seconds": round(seconds, 1),
        "points_seconds": round(searched, 1),
        "ms_per_particle_and_iteration": round(1e3 * seconds / len(kept) / len(SCHEDULE), 3),
    }


def moved(case: Case, known: Known, kept: IntArray, gain: Gain) -> dict[str, Any]:
    """Of a hinge: rank correlation of places with the true angle, and of maps along the motion, in the part that moves,
    the area under their FSC with the truth and under what their half maps claim."""
    particles, curve = case.particles, fit_curves(known, gain.widths, case.seed)[-1]
    along, errors = np.full((2, len(particles)), np.nan)
    along[kept], errors[kept] = curve.along(known)
    everyone = Particles(particles.table.assign(**{PATH: along, PATH_ERROR: errors}), particles.optics, particles.path)
    placed = everyone.select(kept)
    states = case.states[kept]
    true_maps = np.stack([case.experiment.true_maps[number] for number in sorted(case.experiment.true_maps)])
    variance = true_maps.var(axis=0)
    mask = soft_edge(variance > MOVING * variance.max())
    noise = estimate_noise(placed, ImageSource(placed, case.folder), case.diameter)
    padding = oversampling(placed.box, placed.pixel_size, case.diameter)
    areas, claims, spreads = [], [], []
    for place in points_along(placed, PATH_POINTS):
        shown, spread = shown_at(placed, float(place))
        rows = np.flatnonzero(np.isin(placed.table["drgnRow"], shown.table["drgnRow"]))
        truth = true_maps[round(np.average(states[rows], weights=shown.occupancies())) - 1] * mask
        sums = insert_particles(shown, ImageSource(shown, case.folder), noise, padding)
        one, two = (sums.half_map(half) * mask for half in HALVES)
        halves = np.maximum(fourier_shell_correlation(one, two), 0.0)
        claims.append(float(np.sqrt(2 * halves / (1 + halves)).mean()))
        areas.append(float(fourier_shell_correlation(one + two, truth).mean()))
        spreads.append(spread)
    return {
        "degrees": round(float(case.experiment.score(particles)["degrees"]["median"]), 4),
        "degrees_by_places": round(refined_by_places(case, everyone), 4),
        "rank_correlation": round(abs(float(spearmanr(along[kept], states)[0])), 4),
        "map_area": round(float(np.mean(areas)), 4),
        "claimed_area": round(float(np.mean(claims)), 4),
        "spread": round(float(np.mean(spreads)), 4),
    }


def refined_by_places(case: Case, placed: Particles) -> float:
    """Median error of the rotations, degrees, after one refinement of each place of a motion."""
    places = nearest_places(placed)
    assert places is not None
    refined = case.refine(placed, places)
    return float(case.experiment.score(refined.particles)["degrees"]["median"])


def soft_edge(inside: Any) -> Any:
    """A mask of voxels, grown by a voxel, with an edge of three."""
    return raised_cosine(distance_transform_edt(~inside) - 1.0, 3.0).astype(np.float32)


def agreement(case: Case, labels: IntArray) -> dict[str, float]:
    """Of labels with the truth, on particles that count: index, and recall and purity of the rarest state."""
    counts = case.good & case.kept
    truth, found = case.states[counts], labels[counts]
    rarest = int(np.bincount(truth)[1:].argmin()) + 1
    its = int(np.bincount(found[truth == rarest]).argmax())
    return {
        "ari": round(float(adjusted_rand_score(truth, found)), 4),
        "rare_recall": round(float((found[truth == rarest] == its).mean()), 3),
        "rare_purity": round(float((truth[found == its] == rarest).mean()), 3),
    }


@click.command()
@click.option("--set", "names", multiple=True, default=SETS, help="Of the benchmarks on states and on real images.")
@click.option("--seed", "seeds", multiple=True, type=int, default=SEEDS)
def main(names: tuple[str, ...], seeds: tuple[int, ...]) -> None:
    """Fit a model to each set at its consensus poses, and hold its points against the truth."""
    records = Records(RESULT, "make bench-latent")
    for seed in seeds:
        for name in names:
            if not records.has(name, seed, "linear"):
                case = case_of(name, seed) if name in LABELLED else real_sets.case_of(name, seed)
                found = judged(case)
                said = f"ARI {found['ari']}" if "ari" in found else f"rank correlation {found['rank_correlation']}"
                click.echo(f"{name}, seed {seed}: {found['points']} points, {said}, {found['fit_seconds']} s")
                records.keep(name, seed, {"linear": found})


if __name__ == "__main__":
    main()
