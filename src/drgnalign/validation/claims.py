"""Clusters without resolution, or of particles that are no state, and claims of resolution that should not be believed
as they stand."""

from __future__ import annotations

from typing import NamedTuple

from drgnalign.half_maps import DEALT_AT_IMPORT, FORGETS, INDEPENDENT
from drgnalign.heterogeneity.verdicts import SPREAD, between
from drgnalign.run.records import ClusterMetrics

# Of the difference between a cluster and the consensus, between half sets at 40 Å: .9 and more for pure clusters of
# 50S states, .7 where half of the labels were wrong, at most .1 for random ones.
LEAST_DIFFERENCE = 0.5
# Poses refined to a limit finer than the half maps agree to, by more than this factor: the shells between are noise, to
# which the poses of each half set are aligned. (The other way round nothing is wrong: beyond the limit of alignment the
# FSC cannot be of noise that images were aligned to, and 11.1 Å claimed at a limit of 20 Å were 11.2 Å at one of 17 Å.)
BEYOND_CLAIM = 1.25
# Within this factor of Nyquist it is the pixels that end the FSC.
NEAR_NYQUIST = 1.1
# Share of a map's density that its mask may cut off. (Noise leaves none outside, a domain of 60 % of the mass a third.)
MOST_OUTSIDE = 0.01
# Amplitude against the consensus (`drgnalign.engine.shrinkage.relative_amplitudes`): .58–1.15 of states of the 50S
# subunit, .48–1.4 of four phantoms whose masses are as 1 to 2.35, up to 1.9 where a third of all images was junk; 0 of
# empty images, up to .15 of those and of broken particles once they were refined to the consensus.
LEAST_AMPLITUDE, MOST_AMPLITUDE = 1 / 3, 2.0
# What is large: micrographs fewer than expected by this factor, a sampling of Fourier space worse by this, a defocus
# above (or below) that of any particle with this chance. And what is rare: a chance, or a number of standard
# deviations, that random choices do not reach (`drgnalign.validation.composition`).
FEWER_MICROGRAPHS, FEWER_VIEWS, ODD_DEFOCUS = 3.0, 2.0, 0.8
LEAST_CHANCE, MOST_DEVIATIONS = 1e-6, 5.0
# What a doubt is of: the cluster is no state that its map shows; the cluster or its figure needs a look; the figure has
# a bound that is not the data's.
WEIGHTS = NO_STATE, DOUBTFUL, NOTE = "no state", "doubtful", "note"

# Of clusters, where a motion is seen.
MOVES = "particles move: a cluster's map is an average over its part of the motion, and its FSC cannot see that"


class Doubt(NamedTuple):
    """What speaks against a cluster or its resolution, in words; and how much: one of `WEIGHTS`."""

    text: str
    weight: str


def doubts(cluster: ClusterMetrics, halves: str, pixel_size: float, moving: bool = False) -> list[Doubt]:
    """Why a cluster has no resolution, is perhaps no state, or why its 0.143 resolution may flatter.

    A cluster with wrong labels gains claimed resolution (more particles of what is common to all), so that the
    resolution alone does not show what a cluster is worth.

    Parameters
    ----------
    cluster : ClusterMetrics
    halves : str
        ``independent``, ``dealt at import`` or ``not independent`` (`drgnalign.half_maps.standing`).
    pixel_size : float
        Å.
    moving : bool
        The linear model sees a motion.

    Returns
    -------
    list of Doubt
        Empty where nothing speaks against it.
    """
    found = [*_of_the_resolution(cluster, halves, pixel_size), *_of_the_particles(cluster)]
    return [*found, Doubt(MOVES, DOUBTFUL)] if moving and not cluster.skipped else found


def _of_the_resolution(cluster: ClusterMetrics, halves: str, pixel_size: float) -> list[Doubt]:
    if cluster.skipped:
        return [Doubt("has no map: too few particles in a half set", NO_STATE)]
    resolution, limit = cluster.resolution_angstrom, cluster.alignment_limit_angstrom
    found = []
    if cluster.carried:
        found.append(Doubt("was not refined: its maps of the last pass had no resolution", DOUBTFUL))
    if resolution is None:
        return [
            *found,
            Doubt("has no resolution: its half maps do not agree, and it is not refined further", NO_STATE),
        ]
    difference = cluster.difference_judged
    if difference is not None and difference < LEAST_DIFFERENCE:
        same = "does not differ from the consensus: the resolution is that of what all particles share"
        found.append(Doubt(same, NO_STATE))
    if limit is not None and limit * BEYOND_CLAIM < resolution:
        beyond = (
            f"poses were refined to {limit:g} Å, where the half maps agree to {resolution:.1f} Å only: images may be "
            "aligned to noise, see --resolution_limits and, of the consensus, --consensus_limits"
        )
        found.append(Doubt(beyond, NOTE if halves == INDEPENDENT else DOUBTFUL))
    if halves == DEALT_AT_IMPORT:
        dealt = (
            "half sets were dealt at import, of poses that one map may have made: the resolution may flatter, "
            f"until it is {FORGETS:g} times as fine as the coarsest limit of refinement: see --consensus_limits"
        )
        found.append(Doubt(dealt, DOUBTFUL))
    elif halves != INDEPENDENT:
        shared = "half sets share images or were aligned to one map: the resolution is not independent"
        found.append(Doubt(shared, DOUBTFUL))
    if resolution < NEAR_NYQUIST * 2 * pixel_size:
        ends = f"ends at Nyquist ({2 * pixel_size:.2f} Å) or all but: finer pixels are needed to know the resolution"
        found.append(Doubt(ends, NOTE))
    directions = cluster.by_direction
    if directions is not None and directions.anisotropic:
        axis = ", ".join(f"{value:.2f}" for value in directions.worst_direction)
        smeared = (
            f"is anisotropic: {directions.worst_angstrom:.1f} Å along x, y, z = {axis}, where it is "
            f"{directions.mean_angstrom:.1f} Å in the mean, and by chance {directions.worst_by_chance_angstrom:.1f} Å "
            "at worst: what is fine along it is smeared"
        )
        found.append(Doubt(smeared, DOUBTFUL))
    outside = cluster.density_outside_mask
    if outside is not None and outside > MOST_OUTSIDE:
        cut = f"has {100 * outside:.0f} % of its density outside of the mask: give a larger --mask_diameter, or --mask"
        found.append(Doubt(cut, DOUBTFUL))
    return found


def _of_the_particles(cluster: ClusterMetrics) -> list[Doubt]:
    """What a state of the molecule would not have; only where it is much, and far beyond chance."""
    found = []
    amplitude, error = cluster.amplitude, cluster.amplitude_error or 0.0
    # in both half sets
    if amplitude is not None and (amplitude + error < LEAST_AMPLITUDE or amplitude - error > MOST_AMPLITUDE):
        odd = f"has {amplitude:.2f} times the consensus's amplitude: images without the particle, here or there"
        found.append(Doubt(odd, NO_STATE))
    spread, interval = cluster.spread, cluster.spread_interval
    if spread is not None and spread > SPREAD:
        found.append(Doubt("runs into another cluster: it is no state of its own, or not only", DOUBTFUL))
    elif interval and interval[1] > SPREAD:
        known = f"its spread lies between {between(interval)}"
        found.append(Doubt(f"may be a state or a cut through a motion: {known}; cuts have more than {SPREAD:g}", NOTE))
    turned = cluster.turned
    if turned:
        size = f"about {turned['degrees']:.0f}° and {turned['angstrom']:.0f} Å"
        odd = f"differs from {turned['from']} mostly by a turn of the whole particle ({size})"
        perhaps = "one state at two poses, or states in the frame of a part that they share"
        found.append(Doubt(f"{odd}: {perhaps}", DOUBTFUL))
    composition = cluster.composition
    micrographs, views, defocus = composition.micrographs, composition.views, composition.defocus
    if (
        micrographs
        and micrographs.effective * FEWER_MICROGRAPHS < micrographs.expected
        and micrographs.p < LEAST_CHANCE
    ):
        chance = f"it would be {micrographs.expected:.0f}"
        some = f"comes from few micrographs, as if from {micrographs.effective:.1f}; by chance {chance}"
        found.append(Doubt(some, DOUBTFUL))
    if views and views.z < -MOST_DEVIATIONS and views.efficiency * FEWER_VIEWS < views.expected:
        chance = f"it would be {views.expected:.2f}"
        some = f"has few views: they sample Fourier space by {views.efficiency:.2f}; by chance {chance}"
        found.append(Doubt(some, DOUBTFUL))
    if defocus and abs(defocus.z) > MOST_DEVIATIONS and not 1 - ODD_DEFOCUS <= defocus.higher <= ODD_DEFOCUS:
        (_, median, _), (_, usual, _) = defocus.quantiles, defocus.quantiles_of_all
        found.append(Doubt(f"has odd defoci: {median:.0f} Å in the median, all particles {usual:.0f} Å", DOUBTFUL))
    return found
