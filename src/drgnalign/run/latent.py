"""The latent folder: what a round's training and embedding leave for clustering, for the next round and for people.

=====================  ==============================================================================================
``weights.pkl``        cryoDRGN's network, with ``config.yaml``; the next training goes on from it, DECODE evaluates it
``z.pkl``              latent means, one row a particle, whoever was trained on
``ind.pkl``            rows that were trained on; none where all were
``images.sha256``      digest of the particles' image names in the order of the rows, which are not known by name
``training.json``      how it was trained, and losses
``embedding.csv``      of each particle z, principal components, UMAP in two and three dimensions
``embedding.json``     share of the variance that each principal component explains, UMAP's settings
``embedding.npz``      what the next round's embedding starts from
``pc1_z.txt``          points along the first principal component, which are decoded
``linear/``            the linear model (`drgnalign.run.linear`), of FIT; none with ``--latent cryodrgn``
=====================  ==============================================================================================

TRAIN writes the first five (`drgnalign.heterogeneity.train`), or TAKE_TRAINING does
(`drgnalign.heterogeneity.take`), EMBED the others (`drgnalign.heterogeneity.embed`). With
``--latent linear`` there is no network, and ``z.pkl``, ``ind.pkl`` and ``images.sha256`` are the linear model's.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drgnalign.errors import InputError
from drgnalign.files import write_text
from drgnalign.formats.mrc import TYPED_NAME
from drgnalign.particles import Particles
from drgnalign.run.record import Record

WEIGHTS, CONFIG, Z, TRAINED_ON = "weights.pkl", "config.yaml", "z.pkl", "ind.pkl"
TRAINING, LOG, IMAGES = "training.json", "train.log", "images.sha256"
EMBEDDING, EMBEDDING_RECORD, EMBEDDING_START = "embedding.csv", "embedding.json", "embedding.npz"
ALONG_PC1, LINEAR = "pc1_z.txt", "linear"
REMEDY = "make it again: drgnalign embed FOLDER"
# Points along a principal component, and the percentiles of the particles between which they are.
ALONG, BETWEEN = 6, (5.0, 95.0)


@dataclass(kw_only=True)
class TrainingRecord(Record):
    """``training.json``: how a training went."""

    WHAT: ClassVar[str] = "the record of a training"

    # the last one, counted over all rounds
    epoch: int
    first_epoch: int
    # of each epoch: its number, and what was minimised, None where that was no number
    losses: list[dict[str, float | None]]
    settings: dict[str, Any]
    cryodrgn_version: str | None = None
    device: str | None = None
    # whether images were read batch by batch for want of memory
    lazy: bool | None = None
    # of one that was done before the run: its weights
    taken_from: str | None = None


@dataclass(kw_only=True)
class EmbeddingRecord(Record):
    """``embedding.json``: how points were embedded."""

    WHAT: ClassVar[str] = "the record of an embedding"

    # the share of the variance that each principal component explains
    explained_variance: list[float]
    n_neighbors: int | None = None
    min_dist: float | None = None
    seed: int | None = None
    # "previous" where UMAP started from the last round's, else "pca"
    start: str | None = None


def _digest_of_images(particles: Particles) -> str:
    """Stacks count by their names without folder and type: of data that were moved, or that RELION or a link calls
    otherwise, it is the same."""
    numbers, stacks = particles.image_locations()
    stems = {stack: Path(TYPED_NAME.sub(r"\1", stack)).stem for stack in set(stacks)}
    names = "\n".join(f"{number}@{stems[stack]}" for number, stack in zip(numbers, stacks, strict=True))
    return hashlib.sha256(names.encode()).hexdigest()


def write_images(particles: Particles, folder: Path) -> None:
    """Keep whose rows those of the latent variables in a folder are."""
    write_text(folder / IMAGES, f"{_digest_of_images(particles)}\n")


def refuse_other_images(particles: Particles, folder: Path) -> None:
    """Refuse particles of which the rows of a latent folder are not, where it says of which they are.

    Raises
    ------
    InputError
        Their images have other names, or are in another order; or the digest is broken.
    """
    path = folder / IMAGES
    if not path.is_file():
        return
    known = path.read_bytes().strip()
    if not re.fullmatch(rb"[0-9a-f]{64}", known):
        raise InputError(path, "is no digest, as it was written", "take it from the run once more, or remove it")
    if known != _digest_of_images(particles).encode():
        # a task is given links
        problem = f"its images are not those of the latent variables in {path.resolve().parent}, or in another order"
        remedy = (
            "give the particles that were trained on, in their order and under their names, such as those of the round"
        )
        raise InputError(particles.path, problem, remedy)


def places_along(component: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where maps along a principal component are decoded, of the particles' places on it (N,); evenly spaced."""
    low, high = np.percentile(component, BETWEEN)
    return np.linspace(low, high, ALONG)


def read_points(path: str | Path, space: str) -> NDArray[np.float64]:
    """Coordinates from ``embedding.csv`` to cluster particles on.

    Parameters
    ----------
    path : path
    space : {'z', 'umap2', 'umap3'}

    Returns
    -------
    (N, d) float64

    Raises
    ------
    InputError
        The table has no such coordinates.
    """
    pattern = r"^z\d+$" if space == "z" else rf"^{space}_\d+$"
    try:
        table = pd.read_csv(path, float_precision="round_trip")
        points = table.filter(regex=pattern).to_numpy(dtype=np.float64)
    except (ValueError, OSError) as error:
        raise InputError(path, f"is no table of coordinates ({error})", REMEDY) from error
    if points.shape[1] == 0:
        raise InputError(path, f"there are no coordinates '{space}' in it", REMEDY)
    if "row" in table and not np.array_equal(table["row"].to_numpy(), np.arange(len(table))):
        raise InputError(path, "its rows are not in their order, or not all there", REMEDY)
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise InputError(path, f"row {row + 1}: the coordinates '{space}' are not finite", REMEDY)
    return points
