"""drgnalign assign: the images choose among clusters."""

from __future__ import annotations

import shlex
import warnings
from pathlib import Path

import click
import numpy as np

from drgnalign.arrays import IntArray
from drgnalign.commands import (
    FILE,
    OUTPUT,
    POSITIVE,
    Command,
    diameter_option,
    half_sets_option,
    images_option,
    invert_option,
    junk_option,
    normalise_option,
    output_option,
    symmetry_option,
    threads_option,
)
from drgnalign.commands.facts_options import with_facts
from drgnalign.errors import InputError, InputWarning
from drgnalign.files import require_folder, suffix_of
from drgnalign.formats.particle_file import Facts
from drgnalign.formats.star import write_star
from drgnalign.heterogeneity.assign import AssignmentSettings
from drgnalign.heterogeneity.contrast import inverted
from drgnalign.heterogeneity.lost import with_found_poses, with_searched
from drgnalign.heterogeneity.match import match_labels
from drgnalign.heterogeneity.states import (
    assigner_of,
    evidence,
    find_states,
    labelled,
    labels_to_start_from,
    renamed,
    write_posteriors,
)
from drgnalign.heterogeneity.verdicts import EMPTY_FOCUS, at_two_poses_in_words, in_words
from drgnalign.inputs import as_labelled, open_particles
from drgnalign.labels import refuse_odd_labels, sizes_in_words
from drgnalign.maps.read import check_mask
from drgnalign.particles import Particles
from drgnalign.report.words import inverted_contrast
from drgnalign.run.state import cluster_name
from drgnalign.stack_names import named_beside
from drgnalign.validation.claims import MOST_OUTSIDE

# Å: as the workflow's --assign_limit
USUAL_LIMIT = 14.0


@click.command(cls=Command)
@click.argument("particles", type=FILE)
@output_option
@click.option("--k", default="auto", show_default=True, help="Most clusters to keep, or auto: all that differ.")
@click.option("--limit", type=POSITIVE, help="Å up to which images are compared. Default: 14, or Nyquist.")
@click.option("--focus-mask", type=FILE, help="Mask of the part that clusters are told apart by.")
@click.option("--posteriors", type=OUTPUT, help="Also write how likely each particle is of each cluster, .csv.gz.")
@junk_option
@images_option
@normalise_option
@half_sets_option
@with_facts
@invert_option
@diameter_option
@symmetry_option
@threads_option
def assign(
    particles: Path,
    output: Path,
    k: str,
    limit: float | None,
    focus_mask: Path | None,
    posteriors: Path | None,
    junk: str,
    images: Path | None,
    normalise: str,
    half_sets: str,
    facts: Facts,
    invert: str,
    mask_diameter: float | None,
    symmetry: str,
    threads: int,
) -> None:
    """Let the images of PARTICLES choose among the clusters that these are labelled with, and say how many are states.

    Labels are rlnClassNumber, and all drgnStart…, as `drgnalign cluster` writes them. What matches no cluster's map
    is left out (drgnLeftOut), unless --junk keep.
    """
    most = _most(k)
    if suffix_of(output) != ".star":
        raise InputError(output, "labels are written into a star file", "name it .star")
    require_folder(output)
    if posteriors is not None:
        if not posteriors.name.endswith(".csv.gz"):
            raise InputError(posteriors, "posteriors are written as a packed table", "name it .csv.gz")
        require_folder(posteriors)
    table, root, _ = open_particles(particles, images, mask_diameter, normalise, half_sets, facts, invert)
    table = as_labelled(table)
    starts, before = _starts(table, particles), table.left_out()
    limit = max(USUAL_LIMIT, 2 * table.pixel_size) if limit is None else limit
    diameter, exclude = table.diameter(mask_diameter), junk == "exclude"
    focus = None if focus_mask is None else check_mask(focus_mask, table.box, table.pixel_size, diameter)
    settings = AssignmentSettings(limit, diameter, symmetry=symmetry, exclude=exclude, focus=focus)
    with assigner_of(table, root, settings, output.absolute().parent) as assigner:
        states = find_states(assigner, starts, most, threads=threads)
        in_focus = assigner.focus_shows()
        cut = assigner.cut_off(states.kept.assignment.labels)
    chosen = states.kept.assignment
    states = renamed(states, match_labels(starts[0], chosen.labels, (), ~chosen.left_out).labels)
    found = states.kept.assignment
    moved = with_searched(with_found_poses(table, states.particles, states.brought_back), states.searched)
    write_star(named_beside(labelled(moved, found, soft=False), output, images), output)
    if posteriors is not None:
        write_posteriors(moved, found, posteriors)
    known = evidence(states, table.box * table.pixel_size, in_focus)
    known["clusters"] = {label: one.written() for label, one in known["clusters"].items()}
    _warn_of_cut(cut, particles, diameter)
    if in_focus is False:
        warnings.warn(f"{focus_mask}: {EMPTY_FOCUS}", InputWarning, stacklevel=2)
    if odd := inverted_contrast(inverted(found.amplitudes, found.left_out), int(found.left_out.sum())):
        warnings.warn(f"{particles}: {odd}", InputWarning, stacklevel=2)
    click.echo(f"{in_words(known, len(found.clusters))} (of {len(np.unique(starts[0][starts[0] > 0]))} clusters given)")
    for united in at_two_poses_in_words(known["at_two_poses"]):
        click.echo(f"{output}: {united}: `drgnalign refine` them before you reconstruct", err=True)
    taken, moved_back = int((before & ~found.left_out).sum()), int(states.brought_back.sum())
    back = f", {taken:,} taken back that the file leaves out" if taken else ""
    anew = f", poses of {moved_back:,} found anew" if moved_back else ""
    click.echo(f"{output}: {sizes_in_words(found.labels)}; {found.left_out.sum():,} left out{back}{anew}", err=True)
    first = str(found.clusters[0])
    part, prefix = f"{output.with_suffix('')}_{first}.star", output.with_name(cluster_name(found.clusters[0]))
    words = ["drgnalign", "select", str(output), "--cluster", first, "-o", part]
    following = ["drgnalign", "reconstruct", part, "-o", str(prefix)]
    click.echo(f"Next: {shlex.join(words)} && {shlex.join(following)}", err=True)


def _most(k: str) -> int | None:
    if k == "auto":
        return None
    if not k.isdecimal() or int(k) < 1:
        raise InputError(None, f"--k is {k!r}", "give a number from 1 on, or auto")
    return int(k)


def _warn_of_cut(cut: float, path: Path, diameter: float) -> None:
    """Say that images were compared without a part of the particle."""
    if cut > MOST_OUTSIDE:
        problem = f"a cluster's map has {100 * cut:.0f} % of its density outside of the sphere of {diameter:g} Å"
        advice = "that images are compared in: what is found there may be no states; give a larger --mask-diameter"
        warnings.warn(f"{path}: {problem} {advice}", InputWarning, stacklevel=2)


def _starts(particles: Particles, path: Path) -> list[IntArray]:
    """Labels to start from."""
    refuse_odd_labels(particles)
    starts = labels_to_start_from(particles) if "rlnClassNumber" in particles.table else []
    starts = [start for start in starts if start.any()]
    if not starts:
        remedy = "make some with `drgnalign cluster`, or give a file with labels"
        raise InputError(path, "is labelled with no cluster (rlnClassNumber)", remedy)
    return starts
