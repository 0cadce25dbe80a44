"""How many states do the images support? Assignments from several starts, and the evidence for each cluster."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from drgnalign.downsample import downsample_stack
from drgnalign.engine.noise import estimate_noise
from drgnalign.formats.mrc import ImageSource, read_header
from drgnalign.heterogeneity.assign import Assigner, Assignment, AssignmentSettings
from drgnalign.particles import Particles, image_names
from drgnalign.split import CONSENSUS

IntArray = NDArray[np.int64]

# Adjusted Rand index: discrete states are found again from another start, if not from every one (at least .98 was
# measured, at a signal-to-noise ratio of .05), cuts through a continuum from none (at most .86).
AGREEMENT = 0.92
DIFFERENCE_AT = (40.0, 25.0)
# Columns of a star file with further labels to start from.
START = "drgnStart"
# Fourier pixels beyond the limit that images for assignment keep; they are made anew where that saves this share of
# their pixels.
ROOM, WORTH_IT = 2, 0.2


class CoarseImages(NamedTuple):
    """Particles whose images are just large enough for a limit, and the folder of their stack."""

    particles: Particles
    folder: Path


@dataclass(frozen=True)
class States:
    """The clusters that are left, and what speaks for them.

    Attributes
    ----------
    assignment : Assignment
        The one with the highest likelihood.
    agreement : list of float
        Adjusted Rand index of its labels with those from each of the other starts.
    separations : dict
        See `Assigner.separations`.
    """

    assignment: Assignment
    agreement: list[float]
    separations: dict[tuple[int, int], float]

    @property
    def verdict(self) -> str:
        """``one state``, ``N states``, or why no number can be given."""
        number = len(self.assignment.clusters)
        if number == 1:
            return "one state"
        if not self.assignment.at_rest or (self.agreement and max(self.agreement) < AGREEMENT):
            return (
                "a continuum that discrete states do not describe, or too little signal: no other start leads to "
                "the same clusters"
            )
        return f"{number} states"


def assignment_limit(fsc: pd.DataFrame, wanted: float, particles: Particles, stack: Path) -> float:
    """What images are compared up to, in Å: as wanted, or as the consensus or the stack's pixels allow.

    Parameters
    ----------
    fsc : DataFrame
        ``fsc.csv`` of the last pass.
    wanted : float
        Å.
    particles : Particles
    stack : Path
        Down-sampled images.
    """
    consensus = fsc.loc[fsc["cluster"] == CONSENSUS, "resolution_0143_angstrom"].iloc[0]
    nyquist = 2 * particles.pixel_size * particles.box / read_header(stack).shape[1]
    return max(wanted, float(consensus), nyquist)


def coarse_images(particles: Particles, stack: Path, limit: float, folder: Path) -> CoarseImages:
    """Particles with the images of a down-sampled stack, sampled once more where they are finer than is needed.

    Parameters
    ----------
    particles : Particles
    stack : Path
        White protein, in their order.
    limit : float
        Å.
    folder : Path
        For a new stack.
    """
    box = read_header(stack).shape[1]
    given = _with_images(particles, stack, box)
    needed = math.ceil(particles.box * particles.pixel_size / limit) + ROOM
    smaller = next(size for size in range(2 * needed, 2 * box) if size % 2 == 0 and _is_fast(size))
    if smaller**2 > (1 - WORTH_IT) * box**2:
        return CoarseImages(given, stack.parent)
    made = folder / "coarse.mrcs"
    downsample_stack(given, ImageSource(given, stack.parent), smaller, made)
    return CoarseImages(_with_images(particles, made, smaller), folder)


@contextmanager
def assigner_for(
    particles: Particles, stack: Path, fsc: pd.DataFrame, settings: AssignmentSettings
) -> Iterator[Assigner]:
    """An assigner at the finest limit that there is, `settings.limit` at most.

    Images that it needs besides the stack's lie in the working folder meanwhile.

    Parameters
    ----------
    particles : Particles
    stack : Path
        Down-sampled images, white protein, in the order of the particles.
    fsc : DataFrame
        ``fsc.csv`` of the last pass.
    settings : AssignmentSettings
    """
    limit = assignment_limit(fsc, settings.limit, particles, stack)
    with TemporaryDirectory(dir=Path.cwd()) as folder:
        images = coarse_images(particles, stack, limit, Path(folder))
        source = ImageSource(images.particles, images.folder)
        noise = estimate_noise(images.particles, source, settings.diameter)
        yield Assigner(images.particles, source, noise, replace(settings, limit=limit))


def _is_fast(size: int) -> bool:
    """Whether a box is made of the factors that transforms like."""
    for factor in (2, 3, 5):
        while size % factor == 0:
            size //= factor
    return size == 1


def _with_images(particles: Particles, stack: Path, box: int) -> Particles:
    """The same particles with the images of a stack in their order."""
    pixel_size = particles.pixel_size * particles.box / box
    optics = particles.optics.assign(rlnImageSize=box, rlnImagePixelSize=pixel_size)
    optics = optics.drop(columns=["drgnContrast"], errors="ignore")
    names = image_names(np.arange(1, len(particles) + 1), stack.name)
    return replace(particles, table=particles.table.assign(rlnImageName=names), optics=optics)


def labels_to_start_from(proposed: Particles, last: IntArray) -> list[IntArray]:
    """The proposed clusters, the last round's, if there are any, and what else was proposed."""
    others = [label for label in map(str, proposed.table) if label.startswith(START)]
    further = [proposed.table[label].to_numpy(np.int64) for label in others]
    if (last > 0).any():
        further = [last, *further[:-1]]
    return [proposed.cluster_labels(), *further]


def renamed(states: States, labels: IntArray) -> States:
    """The same states under other names: `labels` are those of the particles."""
    found = states.assignment
    names = {label: int(labels[found.labels == label][0]) for label in found.clusters}
    order = np.argsort([names[label] for label in found.clusters])
    assignment = replace(
        found,
        labels=labels,
        clusters=[names[found.clusters[number]] for number in order],
        posteriors=found.posteriors[:, order],
        difference_fsc=found.difference_fsc[order],
    )
    separations = {(names[first], names[second]): gain for (first, second), gain in states.separations.items()}
    return replace(states, assignment=assignment, separations=separations)


def find_states(assigner: Assigner, starts: Sequence[IntArray], k: int | None, threads: int = 1) -> States:
    """Assign from several starts, keep the likeliest, and unite what the images do not tell apart.

    Two clusters are united where the images are likelier given their common map (`Assigner.separations` not above
    zero), and, while there are more than `k`, the two that lose least.

    Parameters
    ----------
    assigner : Assigner
    starts : sequence of (N,) int64
        Labels to start from, at least one.
    k : int or None
        Most clusters to keep; None keeps all that the images tell apart.
    threads : int
        Starts that are worked on at the same time.

    Returns
    -------
    States
    """
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda start: _united(assigner, assigner.run(start), k), starts))
    best, separations = max(found, key=lambda one: one[0].log_likelihood)
    others = [one for one, _ in found if one is not best]
    agreement = [float(adjusted_rand_score(best.labels, one.labels)) for one in others]
    return States(best, agreement, separations)


def _united(
    assigner: Assigner, assignment: Assignment, k: int | None
) -> tuple[Assignment, dict[tuple[int, int], float]]:
    while True:
        separations = assigner.separations(assignment.labels)
        if not separations:
            return assignment, separations
        sizes = dict(zip(*np.unique(assignment.labels, return_counts=True), strict=True))
        losses = {pair: gain * (sizes[pair[0]] + sizes[pair[1]]) for pair, gain in separations.items()}
        first, second = min(losses, key=losses.__getitem__)
        if losses[first, second] > 0 and (k is None or len(assignment.clusters) <= k):
            return assignment, separations
        assignment = assigner.run(np.where(assignment.labels == second, first, assignment.labels))


def evidence(states: States, angstrom: float) -> dict[str, Any]:
    """What speaks for the clusters, for the record.

    Parameters
    ----------
    states : States
    angstrom : float
        Width of the box.

    Returns
    -------
    dict
        JSON-ready: ``verdict``, ``states``, ``agreement`` with other starts, ``at_rest``, the ``passes``, and in
        ``clusters``, by label: ``particles``; ``difference_fsc_40`` and ``_25``, of the difference from the consensus
        between half sets (None beyond Nyquist); ``mean_posterior`` of its particles; ``separation_nats`` a particle
        from the cluster that is most like it (None where there is no other).
    """
    found = states.assignment
    clusters = {}
    for number, label in enumerate(found.clusters):
        mine = found.labels == label
        gains = [gain for pair, gain in states.separations.items() if label in pair]
        clusters[str(label)] = {
            "particles": int(mine.sum()),
            **_differences(found.difference_fsc[number], angstrom),
            "mean_posterior": float(found.posteriors[mine, number].mean()),
            "separation_nats": min(gains) if gains else None,
        }
    return {
        "verdict": states.verdict,
        "states": len(found.clusters),
        "agreement": states.agreement,
        "at_rest": found.at_rest,
        "log_likelihood": found.log_likelihood,
        "passes": [one._asdict() for one in found.passes],
        "clusters": clusters,
    }


def _differences(correlation: NDArray[np.float64], angstrom: float) -> dict[str, float | None]:
    shells = {resolution: round(angstrom / resolution) for resolution in DIFFERENCE_AT}
    return {
        f"difference_fsc_{resolution:g}": float(correlation[shell]) if shell < len(correlation) else None
        for resolution, shell in shells.items()
    }
