"""Results as a folder of cryoDRGN's: what its ``analyze`` and its dashboard open.

A round's ``latent/`` has the network as a task left it; its ``config.yaml`` names files that went with the task. Here
are the particles that are not left out, row by row in every file: image names, poses and CTF of the round, latent
means; the UMAP and the clusters stand where ``cryodrgn analyze`` leaves its own.
"""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd

from drgnalign.errors import InputError
from drgnalign.files import atomic_path, copy_whole, write_text
from drgnalign.formats.cryodrgn import read_latent, write_cryodrgn, write_latent
from drgnalign.formats.mrc import find_stack
from drgnalign.formats.star import write_star
from drgnalign.handover.results import Results, absolute, refuse_missing_stacks
from drgnalign.particles import Particles
from drgnalign.report.reading import WHOLE
from drgnalign.run.latent import CONFIG, EMBEDDING, LOG, TRAINING, WEIGHTS, TrainingRecord, Z, read_points
from drgnalign.run.record import read_record
from drgnalign.run.state import LATENT
from drgnalign.stack_names import with_names

STAR, POSES, CTF = "particles.star", "poses.pkl", "ctf.pkl"


def write_workdir(results: Results, root: Path, folder: Path) -> int:
    """Write what ``cryodrgn analyze FOLDER N`` and ``cryodrgn dashboard FOLDER`` need, N the last epoch.

    Parameters
    ----------
    results : Results
        Of a round that trained a network.
    root : Path
        Folder that image names are relative to.
    folder : Path
        Made if need be.

    Returns
    -------
    int
        N.

    Raises
    ------
    InputError
        The pass has no network, a stack is not found, or a file is missing or broken.
    """
    latent = results.folder / LATENT
    if not (latent / WEIGHTS).is_file():
        raise InputError(results.folder, "has no network of cryoDRGN's", "choose a round that trained one with --pass")
    refuse_missing_stacks(results, root)
    _refuse_blanks(results.particles, root)
    epoch = read_record(TrainingRecord, latent / TRAINING).epoch
    kept = ~results.particles.left_out()
    mu, logvar = read_latent(latent / Z)
    umap = read_points(latent / EMBEDDING, "umap2")
    if not len(mu) == len(umap) == len(kept):
        raise InputError(latent, f"is of {len(mu):,} particles, and there are {len(kept):,}", WHOLE)
    particles = with_names(results.particles.select(kept), root, _call)
    folder.mkdir(parents=True, exist_ok=True)
    write_star(particles, folder / STAR)
    write_cryodrgn(particles, folder)
    write_latent(folder / f"z.{epoch}.pkl", mu[kept], logvar[kept])
    for source, name in ((WEIGHTS, f"weights.{epoch}.pkl"), (LOG, "run.log")):
        copy_whole(latent / source, folder / name)
    write_text(folder / CONFIG, _config((latent / CONFIG).read_text(encoding="utf-8"), folder.resolve()))
    labels = particles.cluster_labels()
    names = np.unique(labels[labels > 0])
    clusters = folder / f"analyze.{epoch}" / f"kmeans{max(len(names), 1)}"
    clusters.mkdir(parents=True, exist_ok=True)
    _dump(umap[kept].astype(np.float32), clusters.parent / "umap.pkl")
    # cryoDRGN counts from 0; who is in none is -1
    _dump(np.where(labels > 0, np.searchsorted(names, labels), -1), clusters / "labels.pkl")
    return epoch


def _refuse_blanks(particles: Particles, root: Path) -> None:
    """cryoDRGN parts the rows of star files at blanks, whatever quotes there are."""
    calls = [_call(find_stack(str(name), root)) for name in pd.unique(particles.image_locations()[1])]
    with_blanks = [call for call in calls if len(call.split()) > 1]
    if with_blanks:
        problem = f"cryoDRGN reads no blanks in the path of a stack ({with_blanks[0]})"
        raise InputError(particles.path, problem, "give --images with a link to that folder whose path has none")


def _call(stack: Path) -> str:
    return str(absolute(stack))


def _config(text: str, folder: Path) -> str:
    """A training's ``config.yaml`` (flat blocks, a line a key), which names the files of this folder; JSON is YAML."""
    files = {"particles": str(folder / STAR), "poses": str(folder / POSES), "ctf": str(folder / CTF)}
    for key, value in {**files, "ind": None, "datadir": None}.items():
        # long values go on in the next lines, farther in
        before, *after = re.split(rf"(?m)^  {key}:.*(?:\n   .*)*$", text)
        if len(after) != 1:
            raise InputError(CONFIG, f"has {len(after)} lines '{key}:'", "give the results of a cryoDRGN 4 training")
        text = f"{before}  {key}: {json.dumps(value)}{after[0]}"
    return text


def _dump(array: np.ndarray, path: Path) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        pickle.dump(array, file)
