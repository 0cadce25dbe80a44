"""Labelled 50S sets that have what real ones have, each nuisance alone and all together; clean ones beside them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "states"))

from case import Case
from labelled_sets import CONTROL_CLUSTERS, hinge
from make_set import DATA, read_states, simulate_50s
from states import CONSENSUS, DIAMETER

from drgnalign.formats.mrc import ImageSource, StackWriter
from drgnalign.formats.star import read_star, write_star
from drgnalign.particles import image_names
from drgnalign.simulate import Nuisances, Specimen, phantom_states

OUT = Path(__file__).resolve().parents[1] / "out" / "real"
BOX, PARTICLES, BATCH = 64, 6000, 256
NONE = Nuisances()
NUISANCES: Mapping[str, Nuisances] = {
    "clean": NONE,
    "contrast": Nuisances(contrast=0.2),
    "grey": Nuisances(gain=0.3),
    "ramps": Nuisances(gain_range=(1.0, 5.0), offset=1.0, ramp=1.0),
    "empty": Nuisances(empty=0.15),
    "broken": Nuisances(broken=0.15),
    "other": Nuisances(other=0.15),
    "random_poses": Nuisances(random_poses=0.1),
    "off_poses": Nuisances(off_poses=0.1),
    "defocus": Nuisances(defocus_error=150.0),
    "hot_pixels": Nuisances(hot_images=0.1),
    # 17.5 Å is the up-sampled half's Nyquist
    "upsampled": Nuisances(coarse_box=48),
}
TOGETHER = Nuisances(
    contrast=0.2, gain_range=(1.0, 5.0), offset=1.0, ramp=1.0, empty=0.1, broken=0.1, random_poses=0.08,
    defocus_error=150.0,
)  # fmt: skip
# Columns of the domain occupancy table, and shares.
STATES = {
    "one": (("E",), (1.0,)),
    "three": (("E", "D", "C"), (0.5, 0.3, 0.2)),
    "four": (("E", "D", "C", "B"), (0.4, 0.3, 0.2, 0.1)),
}
OTHER_STATES = (("vol_018", "vol_288", "vol_455", "vol_116"), (0.5, 0.27, 0.15, 0.08))
SIGNAL_TO_NOISE = (0.1, 0.05)
# A minority's own domain: a ball of this radius (Å) and share of state E's mass, in the direction in which E extends
# least (74 Å), as the small subunit on the large one.
DOMAIN_MASS, DOMAIN_RADIUS, DOMAIN_PLACE = 0.6, 65.0, 119.0 * np.array([0.837, 0.366, -0.406])
DOMAIN_DIAMETER = 380.0
# Å: another particle is of this radius, and of the mass of the first state.
OTHER_RADIUS = 95.0


@dataclass(frozen=True)
class RealSet:
    """A set and how it is worked on.

    Attributes
    ----------
    states, populations : tuple
        Columns of the domain occupancy table, and their shares; none for a hinge.
    snr : float
    starts : {'latent', 'truth'}
        Labels that assignment starts from: k-means of a latent space, as CLUSTER proposes them; or, for want of the
        minutes that training takes, true labels of which half are made random, divided further, and random ones.
    nuisances : Nuisances
    particles : int
    domain : float
        Share of a second state, the first one with a domain of its own.
    """

    states: tuple[str, ...]
    populations: tuple[float, ...]
    snr: float
    starts: str
    nuisances: Nuisances = NONE
    particles: int = PARTICLES
    domain: float = 0.0

    @property
    def control(self) -> bool:
        """Is there no number of states to tell a method?"""
        return len(self.states) < 2 and not self.domain

    @property
    def k(self) -> int:
        """Clusters that methods are told to find."""
        return CONTROL_CLUSTERS if self.control else len(self.populations) + (self.domain > 0)

    @property
    def diameter(self) -> float:
        """Of the mask, Å."""
        return DOMAIN_DIAMETER if self.domain else DIAMETER


def _alone() -> dict[str, RealSet]:
    return {
        f"{number}_{nuisance}_{snr}": RealSet(
            *STATES[number], snr, "latent" if number == "one" or nuisance == "clean" else "truth", effect
        )
        for nuisance, effect in NUISANCES.items()
        for number in STATES
        for snr in SIGNAL_TO_NOISE
    }


SETS: Mapping[str, RealSet] = {
    "together": RealSet(("E", "D", "C", "B"), (0.4, 0.3, 0.22, 0.08), 0.08, "latent", TOGETHER, 8000),
    **{f"minority_{snr}": RealSet(("E",), (0.95,), snr, "latent", domain=0.05) for snr in SIGNAL_TO_NOISE},
    "other_states_0.1": RealSet(*OTHER_STATES, 0.1, "latent"),
    "hinge_0.1": RealSet((), (), 0.1, "latent"),
    "hinge_0.05": RealSet((), (), 0.05, "latent"),
    **_alone(),
}


def case_of(name: str, seed: int) -> Case:
    """A set with its consensus, made if it is not there."""
    kind, folder = SETS[name], OUT / f"{name}_{seed}"
    if not folder.exists():
        _made(kind, seed, folder)
    return _case(kind, seed, folder)


def case_without_nuisances(name: str, seed: int) -> Case:
    """The same states, poses and noise without nuisances, of those that are no junk and whose poses are not lost."""
    kind, folder = SETS[name], OUT / f"{name}_{seed}" / "without"
    if not folder.exists():
        whole = folder.with_name("whole")
        _made(replace(kind, nuisances=NONE), seed, whole)
        _select(whole, case_of(name, seed).good, folder)
        rmtree(whole)
    return _case(kind, seed, folder)


def _case(kind: RealSet, seed: int, folder: Path) -> Case:
    return Case(folder, seed, kind.k, CONSENSUS["small"], kind.diameter, one_mask=True)


def specimens(kind: RealSet, data: Path = DATA) -> list[Specimen]:
    """The states of a set."""
    states = read_states(data / "model50S", list(kind.states))
    if kind.domain:
        domain = ball(DOMAIN_RADIUS, DOMAIN_MASS * states[0].weights.sum())
        points = np.concatenate([states[0].points, domain.points + DOMAIN_PLACE])
        states.append(Specimen(points, np.concatenate([states[0].weights, domain.weights])))
    return states


def ball(radius: float, mass: float) -> Specimen:
    """A compact cluster of blobs: the phantom's body in another size."""
    body = phantom_states(1)[0]
    points = body.points - np.average(body.points, axis=0, weights=body.weights)
    points *= radius / np.linalg.norm(points, axis=1).max()
    return Specimen(points, body.weights * mass / body.weights.sum())


def _made(kind: RealSet, seed: int, folder: Path) -> None:
    """Simulate a set; its folder is there when all of it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f"{folder.name}.part")
    if kind.states:
        states = specimens(kind)
        shares = (*kind.populations, kind.domain) if kind.domain else kind.populations
        other = ball(OTHER_RADIUS, states[0].weights.sum())
        nuisances = replace(kind.nuisances, other_specimen=other)
        simulate_50s(part, states, shares, kind.particles, BOX, snr=kind.snr, seed=seed, nuisances=nuisances)
    else:
        hinge(seed, part, DATA, kind.snr)
    part.rename(folder)


def _select(whole: Path, good: np.ndarray, folder: Path) -> None:
    """A set of some of the particles of another, with a stack of its own."""
    part, rows = folder.with_name(f"{folder.name}.part"), np.flatnonzero(good)
    part.mkdir(exist_ok=True)
    truth = read_star(whole / "truth.star")
    source = ImageSource(truth, whole)
    with StackWriter(part / "particles.mrcs", len(rows), truth.box, truth.pixel_size) as stack:
        for mine in np.array_split(rows, range(BATCH, len(rows), BATCH)):
            stack.append(source.read(mine))
    for name in ("truth.star", "particles.star"):
        particles = read_star(whole / name).select(rows)
        particles.table["rlnImageName"] = image_names(range(1, len(rows) + 1), "particles.mrcs")
        particles.table["drgnRow"] = range(len(rows))
        write_star(particles, part / name)
    for volume in whole.glob("state_*.mrc"):
        volume.rename(part / volume.name)
    part.rename(folder)
