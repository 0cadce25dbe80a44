"""Clusters without resolution, and claims of resolution that should not be believed as they stand."""

from __future__ import annotations

from typing import Any

# Of the difference between a cluster and the consensus, between half sets at 40 Å: .9 and more for pure clusters of
# 50S states, .7 where half of the labels were wrong, at most .1 for random ones.
LEAST_DIFFERENCE = 0.5
# A claim finer than the alignment's limit by more than this factor has nothing in the poses to rest on.
BEYOND_LIMIT = 1.5
# Within this factor of Nyquist it is the pixels that end the FSC.
NEAR_NYQUIST = 1.1
# Share of a map's density that its mask may cut off. (Noise leaves none outside, a domain of 60 % of the mass a third.)
MOST_OUTSIDE = 0.01


def claim_warnings(cluster: dict[str, Any], halves: str, pixel_size: float) -> list[str]:
    """Why a cluster has no resolution, or why its 0.143 resolution may flatter.

    A cluster with wrong labels gains claimed resolution (more particles of what is common to all), so that the
    resolution alone does not show what a cluster is worth.

    Parameters
    ----------
    cluster : dict
        Entry of `drgnalign.merge.pass_metrics`.
    halves : str
        ``independent`` or ``not independent``.
    pixel_size : float
        Å.

    Returns
    -------
    list of str
        Empty where nothing speaks against it.
    """
    if cluster.get("skipped"):
        return ["has no map: too few particles in a half set"]
    resolution, limit = cluster["resolution_angstrom"], cluster["alignment_limit_angstrom"]
    found = ["was not refined: its maps of the last pass had no resolution"] if cluster.get("carried") else []
    if resolution is None:
        return [*found, "has no resolution: its half maps do not agree, and it is not refined further"]
    difference = cluster.get("difference_fsc_40")
    if difference is not None and difference < LEAST_DIFFERENCE:
        found.append("does not differ from the consensus: the resolution is that of what all particles share")
    if limit is not None and resolution * BEYOND_LIMIT < limit:
        found.append(f"claims {resolution:.1f} Å where poses were refined to {limit:g} Å")
    if halves != "independent":
        found.append("halves were aligned to one map: the resolution is not independent")
    if resolution < NEAR_NYQUIST * 2 * pixel_size:
        found.append(f"ends at Nyquist ({2 * pixel_size:.2f} Å): finer pixels are needed to know the resolution")
    outside = cluster.get("density_outside_mask")
    if outside is not None and outside > MOST_OUTSIDE:
        found.append(f"has {100 * outside:.0f} % of its density outside of the mask: see --mask_diameter and --mask")
    return found
