"""A latent folder of a linear model: fitted at the present poses, with points and a motion that describe it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drgnalign.arrays import FloatVolume, IntArray
from drgnalign.engine.noise import estimate_noise
from drgnalign.engine.reconstruct import HALVES, insert_particles
from drgnalign.engine.sampling import oversampling
from drgnalign.formats.cryodrgn import write_indices, write_latent
from drgnalign.formats.mrc import ImageSource
from drgnalign.heterogeneity.known import Known
from drgnalign.heterogeneity.linear import CONTINUED, SCHEDULE, fit_linear, latent_of
from drgnalign.heterogeneity.motions import Motion, find_motion
from drgnalign.heterogeneity.points import fit_points, points_found
from drgnalign.maps.mask import resampled_mask, soft_sphere
from drgnalign.particles import Particles
from drgnalign.run.latent import TRAINED_ON, Z
from drgnalign.run.linear import RECORD, Found, Moving, read_model, write_found, write_model
from drgnalign.run.record import write_record
from drgnalign.run.records import LinearRecord
from drgnalign.symmetry import point_group


@dataclass(frozen=True)
class LinearSettings:
    """How a linear model is fitted.

    Attributes
    ----------
    components : int
        Volumes besides the mean.
    most_points : int
        Points that are looked for at most.
    limit, diameter : float
        Å.
    symmetry : str
    seed : int
    threads : int
    """

    components: int
    most_points: int
    limit: float
    diameter: float
    symmetry: str
    seed: int
    threads: int


def write_linear(
    particles: Particles,
    images: Path,
    settings: LinearSettings,
    output: Path,
    *,
    last: Path | None = None,
    focus: FloatVolume | None = None,
) -> LinearRecord:
    """Fit the volumes that particles vary along, each half set on its own, and write a folder of it.

    Parameters
    ----------
    particles : Particles
        With half sets. Who is left out has no part in the model, and is seen by it.
    images : Path
        Folder that image names are relative to.
    settings : LinearSettings
    output : Path
        Folder to make.
    last : Path, optional
        Folder of another model of these particles, from which this one starts.
    focus : (n, n, n) float32, optional
        Mask of the part that may differ, of any sampling.

    Returns
    -------
    LinearRecord
    """
    mask = soft_sphere(particles.box, particles.pixel_size, settings.diameter)
    focus = None if focus is None else resampled_mask(focus, particles.box)
    rows = np.flatnonzero(~particles.left_out())
    kept = particles.select(rows)
    source, group = ImageSource(kept, images), point_group(settings.symmetry)
    noise = estimate_noise(kept, source, settings.diameter)
    if last is None:
        padding = oversampling(kept.box, kept.pixel_size, settings.diameter)
        sums = insert_particles(kept, source, noise, padding, group)
        start = {half: sums.half_map(half)[None] for half in HALVES}
    else:
        start = read_model(last)[0]
    model = fit_linear(
        kept,
        source,
        noise,
        start,
        mask,
        settings.diameter,
        settings.components,
        schedule=[one.no_finer(settings.limit) for one in (SCHEDULE if last is None else CONTINUED)],
        symmetry=group,
        focus=focus,
        seed=settings.seed,
        threads=settings.threads,
    )
    everybody = ImageSource(particles, images)
    known = latent_of(particles, everybody, noise, model, mask, settings.diameter, settings.threads)
    mine = known.of(rows)
    tried = fit_points(mine, settings.most_points, settings.seed)
    points = points_found(tried, len(rows))
    labels = np.zeros(len(particles), np.int64)
    labels[rows] = points.labels_of(mine)
    search = find_motion(mine, points, kept.half_sets(), model.volumes, settings.most_points, settings.seed)
    motion = search and search.motion
    moving = None if motion is None else _moving(motion, mine, rows, len(particles))
    output.mkdir()
    write_model(model.volumes, particles.pixel_size, output)
    write_found(Found(known, labels, points.places, moving), output)
    means, variances = known.posterior()
    write_latent(output / Z, means, np.log(variances))
    if len(rows) < len(particles):
        write_indices(output / TRAINED_ON, rows)
    record = LinearRecord(
        particles=len(rows),
        components=settings.components,
        limit_angstrom=model.limit,
        continued=last is not None,
        contrast_spread=model.spreads.contrast,
        shared=model.shared.tolist(),
        gains=[one.log_likelihood for one in tried],
        points=len(points.shares),
        shares=points.shares.tolist(),
        groups=search and search.groups,
        motion_gain=search and search.gain.nats,
        motion_gain_error=search and search.gain.error,
        motion=motion is not None,
        moving_share=None if motion is None else float(motion.moving.mean()),
    )
    write_record(record, output / RECORD)
    return record


def _moving(motion: Motion, mine: Known, rows: IntArray, count: int) -> Moving:
    """The motion of images that are the `rows` of `count` particles; who takes no part in it has no place on it."""
    chosen = np.flatnonzero(motion.moving)
    along, errors = np.full((2, count), np.nan)
    along[rows[chosen]], errors[rows[chosen]] = motion.curve.along(mine.of(chosen))
    return Moving(motion.curve.nodes, along, errors)
