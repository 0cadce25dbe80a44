#!/usr/bin/env python3
"""Maps and models of a 50S subunit held against maps of its states: is what is known told, and nothing else?"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import gemmi
import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "rib50s"))

from make_set import DATA, FIELD, OCCUPANCY, SIZES, existing, read_states, simulate_50s
from records import REPOSITORY, Records

from drgnalign.arrays import FloatArray, FloatVolume
from drgnalign.files import significant
from drgnalign.formats.star import read_star
from drgnalign.known.body import Body, body_of
from drgnalign.known.chains import by_name, chain_occupancies, placed_model
from drgnalign.known.clusters import ClusterMap, read_cluster
from drgnalign.known.compare import agreement, assign
from drgnalign.known.fit import Fit, fit_body, placed
from drgnalign.known.model import KnownModel, blur, density_of, map_of, read_known_model
from drgnalign.maps.mask import particle_mask, union_mask
from drgnalign.simulate import density_map, phantom_states
from drgnalign.validation.fsc import half_map_fsc

MODEL = DATA / "model50S"
RESULTS = REPOSITORY / "benchmarks" / "results" / "known.json"
STATES = ("E", "D", "C", "B")
DIAMETER = 300.0
# Of the maps, Å; noise of a half map in standard deviations of its density.
RESOLUTION, NOISE = 6.5, 0.4
BOXES = {128: 1.0, 64: 0.6}
# Of references: another box and voxel size.
OTHER_BOX, OTHER_PIXEL = 176, 2.4
MOST_SHIFT = 25.0
# Precision and recall of chains.
CHAINS_BAR = 0.95
IMAGES = ("small", "medium")
OUT = REPOSITORY / "benchmarks" / "out" / "known"
BARS = {
    "turned": "all found within 0.5° and with the right hand",
    "wrong": "none claimed",
    "states": "each map is its own state",
    "chains": f"precision and recall at least {CHAINS_BAR} in each state",
    "images": f"precision and recall at least {CHAINS_BAR} in each state",
}


class Domains:
    """The model's domains, each a chain, about its centre."""

    def __init__(self, folder: Path) -> None:
        self.chains: dict[str, gemmi.Chain] = {}
        for file in sorted(folder.glob("*.pdb.gz")):
            structure = gemmi.read_structure(str(file))
            structure.remove_waters()
            structure.remove_empty_chains()
            for chain in structure[0]:
                self.chains[f"{file.name.removesuffix('.pdb.gz')}_{chain.name.lower()}"] = chain.clone()
        self.occupancy = pd.read_csv(existing(folder / "domain_occupancy_20maps.csv"), index_col="domain")
        points = np.concatenate([positions(chain) for chain in self.chains.values()])
        self.centre = points.mean(axis=0)

    def of_state(self, name: str) -> list[str]:
        """Domains that a state has."""
        return [one for one in self.occupancy.index[self.occupancy[name] > OCCUPANCY] if one in self.chains]

    def density(self, names: list[str], box: int, pixel: float, moved: gemmi.Transform | None = None) -> FloatVolume:
        """Of some domains, as they are moved about the model's centre."""
        chains = [self.chains[name].clone() for name in names]
        origin = self.centre
        if moved is not None:
            to = gemmi.Transform(gemmi.Mat33(), gemmi.Vec3(*-self.centre))
            chains = [placed_chain(chain, to, moved) for chain in chains]
            origin = np.zeros(3)
        return density_of(chains, origin, box, pixel, blur(RESOLUTION, pixel))


def positions(chain: gemmi.Chain) -> FloatArray:
    return np.array([atom.pos.tolist() for residue in chain for atom in residue])


def transform(linear: FloatArray, shift: FloatArray) -> gemmi.Transform:
    return gemmi.Transform(gemmi.Mat33(linear.tolist()), gemmi.Vec3(*shift))


def placed_chain(chain: gemmi.Chain, *moves: gemmi.Transform) -> gemmi.Chain:
    model = gemmi.Model(1)
    model.add_chain(chain)
    for move in moves:
        model.transform_pos_and_adp(move)
    return model[0].clone()


def cluster_map(density: FloatVolume, pixel: float, noise: float, rng: np.random.Generator, name: str) -> ClusterMap:
    """Two half maps of a density under white noise."""
    level = noise * float(density[density > 0.1 * density.max()].std())
    halves = tuple((density + level * rng.standard_normal(density.shape)).astype(np.float32) for _ in range(2))
    mean = (0.5 * (halves[0] + halves[1])).astype(np.float32)
    mask = particle_mask(mean, pixel, DIAMETER)
    resolution = half_map_fsc(halves[0], halves[1], pixel, mask).resolution
    return ClusterMap(name, mean, mean, pixel, mask, halves, resolution or 2 * pixel)


def body(volume: FloatVolume, pixel: float) -> Body:
    return body_of(volume, pixel, particle_mask(volume, pixel, DIAMETER))


def turned(domains: Domains, tries: int) -> dict[str, Any]:
    """A state's map, turned, shifted and every other time mirrored, is looked for in a noisy one of it."""
    rng = np.random.default_rng(1)
    errors, shifts, hands, claims, seconds, margins, limits, resolutions = ([] for _ in range(8))
    for number in tqdm(range(tries), disable=None):
        state, pixel = STATES[number % len(STATES)], FIELD / 128
        names, mirrored = domains.of_state(state), bool(rng.integers(2))
        cluster = cluster_map(domains.density(names, 128, pixel), pixel, NOISE, rng, state)
        target = body_of(cluster.volume, pixel, cluster.mask)
        turn = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
        linear = turn @ np.diag([1.0, 1.0, -1.0 if mirrored else 1.0])
        shift = rng.uniform(-MOST_SHIFT, MOST_SHIFT, 3)
        other = domains.density(names, OTHER_BOX, OTHER_PIXEL, transform(linear, shift))
        start = time.process_time()
        fit = fit_body(target, body(other, OTHER_PIXEL), cluster.resolution)
        seconds.append(time.process_time() - start)
        error, off = _errors(fit, linear, shift)
        errors.append(error)
        shifts.append(off)
        hands.append(fit.mirrored == mirrored and fit.hand_decided)
        claims.append(fit.claimed)
        margins.append(fit.hand_margin)
        limits.append(fit.limit)
        resolutions.append(cluster.resolution)
    found = int(np.sum((np.array(errors) <= 0.5) & hands & claims))
    return {
        "tries": tries,
        "found": found,
        "worst_degrees": float(np.max(errors)),
        "median_degrees": float(np.median(errors)),
        "worst_angstrom": float(np.max(shifts)),
        "hands_right": int(np.sum(hands)),
        "least_hand_margin": float(np.min(margins)),
        "coarsest_resolution": float(np.max(resolutions)),
        "coarsest_limit": float(np.max(limits)),
        "seconds_a_pair": float(np.mean(seconds)),
        "met": found == tries,
    }


def _errors(fit: Fit, linear: FloatArray, shift: FloatArray) -> tuple[float, float]:
    """Degrees, and Å at the particle's centre; 180 where the hand is wrong."""
    left = fit.linear / fit.scale @ linear
    degrees = float(np.degrees(Rotation.from_matrix(left).magnitude())) if np.linalg.det(left) > 0 else 180.0
    return degrees, float(np.linalg.norm(fit.linear @ shift + fit.shift))


def shuffled(domains: Domains, names: list[str], rng: np.random.Generator) -> FloatVolume:
    """Each domain in another one's place, in an orientation of its own: as much of the same, and something else."""
    order = rng.permutation(len(names))
    centres = [positions(domains.chains[name]).mean(axis=0) for name in names]
    volume = np.zeros((OTHER_BOX,) * 3, np.float32)
    moved = []
    for name, place in zip(names, order, strict=True):
        chain = domains.chains[name].clone()
        home = transform(np.eye(3), -positions(chain).mean(axis=0))
        turn = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
        moved.append(placed_chain(chain, home, transform(turn, centres[place] - domains.centre)))
    volume += density_of(moved, np.zeros(3), OTHER_BOX, OTHER_PIXEL, blur(RESOLUTION, OTHER_PIXEL))
    return volume


def wrong(domains: Domains, tries: int) -> dict[str, Any]:
    """References of shuffled domains, of proteins of another state alone, and phantoms, looked for in a state."""
    rng = np.random.default_rng(2)
    pixel, scores, claimed = FIELD / 128, [], 0
    for number in tqdm(range(tries), disable=None):
        state = STATES[number % len(STATES)]
        cluster = cluster_map(domains.density(domains.of_state(state), 128, pixel), pixel, NOISE, rng, state)
        if number % 5 == 4:
            points, weights = phantom_states(4, number)[3]
            other = density_map(points * 1.2, weights, OTHER_BOX, OTHER_PIXEL, 2.5)
        else:
            other = shuffled(domains, domains.of_state(STATES[(number + 1) % len(STATES)]), rng)
        fit = fit_body(body_of(cluster.volume, pixel, cluster.mask), body(other, OTHER_PIXEL), cluster.resolution)
        scores.append(fit.z)
        claimed += fit.claimed
    return {"tries": tries, "claimed": claimed, "highest_z": float(np.max(scores)), "met": claimed == 0}


def states(domains: Domains, box: int) -> dict[str, Any]:
    """Which of four states is which, of maps of each and references of each that lie elsewhere."""
    rng = np.random.default_rng(3)
    pixel = FIELD / box
    others = []
    for _ in STATES:
        turn = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
        others.append(transform(turn, rng.uniform(-MOST_SHIFT, MOST_SHIFT, 3)))
    references = [
        domains.density(domains.of_state(name), OTHER_BOX, OTHER_PIXEL, moved)
        for name, moved in zip(STATES, others, strict=True)
    ]
    bodies = [body(one, OTHER_PIXEL) for one in references]
    scores, claims, resolutions, spread = np.zeros((4, 4)), np.zeros((4, 4), bool), [], []
    for row, name in enumerate(STATES):
        cluster = cluster_map(domains.density(domains.of_state(name), box, pixel), pixel, BOXES[box], rng, name)
        target = body_of(cluster.volume, pixel, cluster.mask)
        fits = [fit_body(target, one, cluster.resolution) for one in bodies]
        volumes = [placed(one, OTHER_PIXEL, fit, box, pixel) for one, fit in zip(references, fits, strict=True)]
        mask = union_mask(cluster.mask, volumes, pixel, DIAMETER)
        agreed = [agreement(cluster, one, mask) for one in volumes]
        scores[row], claims[row] = [one.mean_fsc for one in agreed], [fit.claimed for fit in fits]
        spread.append(max(abs(one.halves[0] - one.halves[1]) for one in agreed))
        resolutions.append(cluster.resolution)
    found = assign(scores, claims)
    return {
        "resolutions": resolutions,
        "mean_fsc": {
            name: dict(zip(STATES, row, strict=True)) for name, row in zip(STATES, scores.tolist(), strict=True)
        },
        "assigned": [None if one is None else STATES[one] for one in found.reference],
        "margins": found.margins,
        "halves_differ": float(np.max(spread)),
        "met": found.reference == [0, 1, 2, 3],
    }


def one_model(domains: Domains, out: Path) -> KnownModel:
    """All domains as one file, read as a user's."""
    model = gemmi.Model(1)
    for name, chain in domains.chains.items():
        named = chain.clone()
        named.name = name
        model.add_chain(named)
    structure = gemmi.Structure()
    structure.add_model(model)
    structure.setup_entities()
    out.mkdir(parents=True, exist_ok=True)
    structure.make_mmcif_document().write_file(str(out / "50S.cif"))
    return read_known_model(out / "50S.cif")


def judged_chains(domains: Domains, model: KnownModel, clusters: list[ClusterMap]) -> dict[str, Any]:
    """Precision and recall of the chains said to be present, state by state."""
    rows = {}
    for cluster in clusters:
        known = map_of(model, cluster.pixel_size, cluster.resolution)
        reference = body_of(known.volume, known.pixel_size, known.mask)
        fit = fit_body(body_of(cluster.volume, cluster.pixel_size, cluster.mask), reference, cluster.resolution)
        volume = placed(known.volume, known.pixel_size, fit, cluster.box, cluster.pixel_size)
        mask = union_mask(cluster.mask, [volume], cluster.pixel_size, DIAMETER)
        chains = by_name(placed_model(model, fit))
        found = chain_occupancies(cluster, chains, mask, cluster.resolution)
        there = set(domains.of_state(cluster.name))
        judged = [one for one in found if one.chain in domains.occupancy.index]
        said = [one.chain in there for one in judged if one.present]
        rows[cluster.name] = {
            "resolution": cluster.resolution,
            "claimed": fit.claimed,
            "there": len(there),
            "precision": float(np.mean(said)) if said else 0.0,
            "recall": sum(said) / len(there),
            "not_told": sum(one.present is None for one in judged),
            "called_absent": sum(one.present is False and one.chain in there for one in judged),
            "least_present": min(one.occupancy for one in judged if one.chain in there),
            "most_absent": max(one.occupancy for one in judged if one.chain not in there),
        }
    least = {key: min(row[key] for row in rows.values()) for key in ("precision", "recall")}
    return {"states": rows, **least, "met": min(least.values()) >= CHAINS_BAR}


def chains(domains: Domains, box: int) -> dict[str, Any]:
    """Of maps of each state under white noise."""
    rng, pixel = np.random.default_rng(4), FIELD / box
    model = one_model(domains, OUT)
    densities = [(name, domains.density(domains.of_state(name), box, pixel)) for name in STATES]
    clusters = [cluster_map(density, pixel, BOXES[box], rng, name) for name, density in densities]
    return judged_chains(domains, model, clusters)


def images(domains: Domains, size: str, poses: str = "truth") -> dict[str, Any]:
    """Of maps of simulated images with the CTF, views and noise of EMPIAR-10076, at their true labels and poses, or at
    the poses that a run is given (``particles``), 4° and 2 Å off."""
    folder, (box, particles) = OUT / f"images_{size}", SIZES[size]
    if not (folder / "truth.star").exists():
        specimens = read_states(MODEL, list(STATES))
        simulate_50s(folder, specimens, (0.4, 0.3, 0.2, 0.1), particles, box, snr=0.1, seed=1)
    for number, _ in enumerate(STATES, 1):
        part, prefix = folder / f"{poses}_{number}.star", folder / poses / f"cluster_{number:02d}"
        prefix.parent.mkdir(exist_ok=True)
        if not prefix.with_suffix(".mrc").exists():
            truth, names = read_star(folder / "truth.star"), part.with_suffix(".csv")
            truth.table.loc[truth.cluster_labels() == number, ["rlnImageName"]].to_csv(names, index=False)
            drgnalign("select", folder / f"{poses}.star", "--names", names, "-o", part)
            drgnalign("reconstruct", part, "-o", prefix, "--mask-diameter", DIAMETER)
    clusters = [read_cluster(folder / poses / f"cluster_{number:02d}.mrc") for number, _ in enumerate(STATES, 1)]
    named = [replace(cluster, name=name) for cluster, name in zip(clusters, STATES, strict=True)]
    return judged_chains(domains, one_model(domains, OUT), named)


def drgnalign(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "drgnalign.cli", *map(str, arguments)], check=True, capture_output=True)


@click.command()
@click.option("--only", multiple=True, help="Parts, such as turned or chains_64. Default: all.")
@click.option("--tries", default=100, show_default=True)
@click.option("--again", is_flag=True, help="What is recorded too.")
def main(only: tuple[str, ...], tries: int, again: bool) -> None:
    """Run what is not recorded, and print each bar."""
    domains = Domains(existing(MODEL))
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "turned": lambda: turned(domains, tries),
        "wrong": lambda: wrong(domains, tries // 2),
        **{f"states_{box}": lambda box=box: states(domains, box) for box in BOXES},  # type: ignore[misc]
        **{f"chains_{box}": lambda box=box: chains(domains, box) for box in BOXES},  # type: ignore[misc]
        **{f"images_{size}": lambda size=size: images(domains, size) for size in IMAGES},  # type: ignore[misc]
        "images_given": lambda: images(domains, "small", "particles"),
    }
    records = Records(RESULTS, "make bench-known")
    for name in only or parts:
        if again or not records.has("50S", 1, name):
            records.keep("50S", 1, {name: parts[name]()})
    results = records.sets().get("50S", {}).get("1", {})
    for name in parts:
        if name in results:
            told = {key: value for key, value in results[name].items() if key not in ("commit", "machine", "card")}
            met = "met" if told.pop("met") else "MISSED"
            click.echo(f"{name}: {BARS[name.partition('_')[0]]}: {met}\n  {json.dumps(significant(told, 4))}")
    sys.exit(0 if all(results.get(name, {}).get("met") for name in parts) else 1)


if __name__ == "__main__":
    main()
