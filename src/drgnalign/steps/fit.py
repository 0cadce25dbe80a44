"""FIT: a linear latent model of the present poses, what each image says of it, and points that describe that."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from drgnalign.arrays import IntArray
from drgnalign.commands import (
    FILE,
    FOLDER,
    OUTPUT,
    Command,
    diameter_option,
    seed_option,
    symmetry_option,
    threads_option,
)
from drgnalign.downsample import with_stack
from drgnalign.engine.noise import estimate_noise
from drgnalign.engine.reconstruct import HALVES, insert_particles
from drgnalign.engine.sampling import oversampling
from drgnalign.formats.cryodrgn import write_indices, write_latent
from drgnalign.formats.mrc import ImageSource
from drgnalign.formats.star import read_star
from drgnalign.heterogeneity.known import Known
from drgnalign.heterogeneity.limit import assignment_limit
from drgnalign.heterogeneity.linear import CONTINUED, SCHEDULE, fit_linear, latent_of
from drgnalign.heterogeneity.motions import Motion, find_motion
from drgnalign.heterogeneity.points import fit_points, points_found
from drgnalign.maps.mask import resampled_mask, soft_sphere
from drgnalign.maps.read import read_mask
from drgnalign.run.latent import LINEAR, TRAINED_ON, Z, write_images
from drgnalign.run.linear import RECORD, Found, Moving, read_model, write_found, write_model
from drgnalign.run.record import write_record
from drgnalign.run.records import LinearRecord
from drgnalign.symmetry import point_group


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@click.option("--stack", type=FILE, required=True, help="Images for assignment, in the order of the particles.")
@click.option("--last-references", type=FOLDER, required=True)
@click.option("--last-latent", type=FOLDER, help="The last round's folder, whose model this one starts from.")
@click.option("--components", type=click.IntRange(1, 15), required=True)
@click.option("--most-points", type=click.IntRange(1), required=True, help="Points that are looked for at most.")
@click.option("--limit", type=float, required=True, help="Å; coarser where the consensus is.")
@click.option("--focus-mask", type=FILE, help="Mask of the part that may differ, of full size.")
@diameter_option
@symmetry_option
@seed_option
@threads_option
@click.option("-o", "--output", type=OUTPUT, required=True, help="Folder of the model.")
def main(
    particles: Path,
    stack: Path,
    last_references: Path,
    last_latent: Path | None,
    components: int,
    most_points: int,
    limit: float,
    focus_mask: Path | None,
    mask_diameter: float | None,
    symmetry: str,
    seed: int,
    threads: int,
    output: Path,
) -> None:
    """Fit the volumes that PARTICLES vary along, each half set on its own."""
    table = read_star(particles)
    diameter, reached = table.diameter(mask_diameter), assignment_limit(last_references, limit, table, stack)
    focus = None if focus_mask is None else read_mask(focus_mask, table.box, table.pixel_size)
    coarse = with_stack(table, stack)
    mask = soft_sphere(coarse.box, coarse.pixel_size, diameter)
    focus = None if focus is None else resampled_mask(focus, coarse.box)
    rows = np.flatnonzero(~coarse.left_out())
    kept = coarse.select(rows)
    source, group = ImageSource(kept, stack.parent), point_group(symmetry)
    noise = estimate_noise(kept, source, diameter)
    start = None if last_latent is None else read_model(last_latent / LINEAR)[0]
    if start is None:
        padding = oversampling(coarse.box, coarse.pixel_size, diameter)
        sums = insert_particles(kept, source, noise, padding, group)
        start = {half: sums.half_map(half)[None] for half in HALVES}
    model = fit_linear(
        kept,
        source,
        noise,
        start,
        mask,
        diameter,
        components,
        schedule=[one.no_finer(reached.angstrom) for one in (SCHEDULE if last_latent is None else CONTINUED)],
        symmetry=group,
        focus=focus,
        seed=seed,
        threads=threads,
    )
    known = latent_of(coarse, ImageSource(coarse, stack.parent), noise, model, mask, diameter, threads)
    mine = known.of(rows)
    tried = fit_points(mine, most_points, seed)
    points = points_found(tried, len(rows))
    labels = np.zeros(len(coarse), np.int64)
    labels[rows] = points.labels_of(mine)
    search = find_motion(mine, points, kept.half_sets(), model.volumes, most_points, seed)
    motion = search and search.motion
    moving = None if motion is None else _moving(motion, mine, rows, len(coarse))
    output.mkdir()
    write_model(model.volumes, coarse.pixel_size, output)
    write_found(Found(known, labels, points.places, moving), output)
    means, variances = known.posterior()
    write_latent(output / Z, means, np.log(variances))
    write_images(table, output)
    if len(rows) < len(coarse):
        write_indices(output / TRAINED_ON, rows)
    record = LinearRecord(
        particles=len(rows),
        components=components,
        limit_angstrom=model.limit,
        continued=last_latent is not None,
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


def _moving(motion: Motion, mine: Known, rows: IntArray, count: int) -> Moving:
    """The motion of images that are the `rows` of `count` particles; who takes no part in it has no place on it."""
    chosen = np.flatnonzero(motion.moving)
    along, errors = np.full((2, count), np.nan)
    along[rows[chosen]], errors[rows[chosen]] = motion.curve.along(mine.of(chosen))
    return Moving(motion.curve.nodes, along, errors)
