"""The clusters that a latent space proposes, as columns of the particles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from drgnalign.errors import InputError
from drgnalign.heterogeneity.cluster import cluster, cluster_record, label_particles, other_numbers
from drgnalign.particles import PATH, PATH_ERROR, START, Particles
from drgnalign.run.latent import EMBEDDING, LINEAR, read_points, refuse_other_images
from drgnalign.run.linear import RECORD, read_labels, read_motion
from drgnalign.run.record import read_record
from drgnalign.run.records import ClusteringRecord, LinearRecord


def propose(
    particles: Particles,
    latent: Path,
    method: str,
    space: str,
    k: int | None,
    hdbscan_k: int | None,
    seed: int,
    used: Iterable[int],
    starts: bool,
) -> tuple[Particles, ClusteringRecord]:
    """Label particles with clusters of their latent variables, named after those that they are in.

    Parameters
    ----------
    particles : Particles
        With the last round's labels.
    latent : Path
        Folder with ``embedding.csv``.
    method : str
        One of `drgnalign.heterogeneity.cluster.METHODS`, or ``fixed``: the labels stay as they are.
    space : {'z', 'umap2', 'umap3'}
    k : int or None
        Default: as many as there were.
    hdbscan_k : int or None
        Clusters that ``hdbscan`` searches its settings for.
    seed : int
    used : iterable of int
        Labels of all rounds so far.
    starts : bool
        Add ``drgnStart…``, other labels for an assignment to start from: of k-means with more and fewer clusters, and
        of a linear model's points.

    Returns
    -------
    Particles
        ``rlnClassNumber``, ``drgnMembership`` where the method has one, ``drgnStart…``, and places along a linear
        model's motion.
    ClusteringRecord

    Raises
    ------
    InputError
        The embedding is of other particles, or of these in another order.
    """
    points = read_points(latent / EMBEDDING, space)
    if len(points) != len(particles):
        problem = f"it is of {len(points):,} particles, and {particles.path} has {len(particles):,}"
        raise InputError(
            latent / EMBEDDING,
            problem,
            "give the particles of this folder, all of them: parts are taken afterwards, by drgnalign select",
        )
    refuse_other_images(particles, latent)
    last, kept = particles.cluster_labels(), ~particles.left_out()
    k = k or len(np.unique(last[last > 0]))
    try:
        matching, found = label_particles(points, last, method, k, seed, used, hdbscan_k, kept)
    except InputError as error:
        raise InputError(error.file or latent / EMBEDDING, error.problem, error.remedy) from error
    # the last round's
    table = particles.table.drop(columns=[PATH, PATH_ERROR], errors="ignore")
    table["rlnClassNumber"] = matching.labels
    if found.membership is not None:
        table["drgnMembership"] = found.membership
    for number in other_numbers(k, int(kept.sum())) if starts else ():
        table[f"{START}{number}"] = cluster(points, "kmeans", number, seed + number, kept=kept).labels
    facts = cluster_record(points, matching, method, space, k, found.settings, seed)
    linear = latent / LINEAR
    if linear.is_dir():
        facts.linear = read_record(LinearRecord, linear / RECORD)
        if starts:
            table[f"{START}Points"] = read_labels(linear, len(particles))
        if facts.linear.motion:
            motion = read_motion(linear, len(particles))
            table[PATH], table[PATH_ERROR] = motion.along, motion.errors
    return replace(particles, table=table), facts
