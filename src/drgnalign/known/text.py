"""A comparison in words."""

from __future__ import annotations

from collections.abc import Sequence

from drgnalign.known.records import MIRRORED, MODEL, ChainRecord, ClusterRecord, ComparisonRecord, PairRecord

# Chains that a line names.
NAMED = 12
# References whose mean FSC is nearer than this are alike in a map: one state, turned and sampled otherwise, is within
# .001, states are .15 and more apart.
ALIKE = 0.003
# A scale is told from here on, where it moves the particle's edge by this share of the finest detail that was fitted:
# up to .02 of maps that had the same voxels.
LEAST_SCALE, EDGE = 0.002, 0.05


def comparison_text(record: ComparisonRecord) -> str:
    """A table for people: each map with each reference, and which it is."""
    lines = []
    for cluster in record.clusters:
        pairs = record.of_cluster(cluster.cluster)
        lines.append(f"{cluster.cluster}: {which_reference(cluster, pairs)}")
        for one in pairs:
            lines.append(f"  {'*' if one.assigned else ' '} {_pair_text(one)}")
            lines += [f"      {said}" for said in chains_text(record.chains_of(one))]
    return "\n".join([*lines, *_without_a_map(record)])


def _without_a_map(record: ComparisonRecord) -> list[str]:
    """References that no map is, a line each: their states may not be among the maps."""
    lines = []
    for name in dict.fromkeys(one.reference for one in record.pairs):
        mine = [one for one in record.pairs if one.reference == name]
        if any(one.assigned for one in mine):
            continue
        nearest = max((one for one in mine if one.claimed), key=lambda one: one.mean_fsc or 0, default=None)
        near = f"; {nearest.cluster} is nearest to it, mean FSC {nearest.mean_fsc:.3f}" if nearest else ""
        lines.append(f"{name}: none of the maps{near}")
    return lines


def which_reference(cluster: ClusterRecord, pairs: Sequence[PairRecord]) -> str:
    """Which reference a map is, of its pairs."""
    if cluster.reference is not None:
        alike = _alike(pairs)
        if alike:
            return f"{cluster.reference}, or as well {', '.join(alike)}: they cannot be told apart in it"
        if len(pairs) == 1:
            fits = "the particle is in it; whether another state is nearer cannot be told without other references"
            return f"{cluster.reference}, mean FSC {_mean_fsc(pairs):.3f} ({fits})"
        halves = {None: "", True: ", both half maps say so", False: ", but not by each half map"}
        said = f"margin {cluster.margin:.3f} to the next best answer{halves[cluster.halves_agree]}"
        return f"{cluster.reference} ({said}; mean FSC {_mean_fsc(pairs):.3f})"
    claimed = [one for one in pairs if one.claimed]
    if not claimed:
        return "none of the references was found in it"
    nearest = max(claimed, key=lambda one: one.mean_fsc or 0)
    return f"no reference of its own, others are nearer to each; the nearest is {nearest.reference}"


def _mean_fsc(pairs: Sequence[PairRecord]) -> float:
    """Of the pair that is assigned."""
    return next(one.mean_fsc or 0 for one in pairs if one.assigned)


def _alike(pairs: Sequence[PairRecord]) -> list[str]:
    """References that are as well in a map as its own, of its pairs."""
    best = max(one.mean_fsc or 0 for one in pairs if one.assigned)
    others = [one for one in pairs if one.claimed and not one.assigned]
    return [one.reference for one in others if (one.mean_fsc or 0) > best - ALIKE]


def _pair_text(pair: PairRecord) -> str:
    name = f"{pair.reference:<24}"
    if not pair.claimed:
        return f"{name} not found ({pair.z:.1f} standard deviations beside random places)"
    # beside another state a scale only makes up for what differs
    scale = f", its voxels × {pair.scale:.4f}" if pair.assigned and _is_of_other_scale(pair) else ""
    wrong = ": the map's is the wrong one" if pair.kind == MODEL and pair.hand == MIRRORED else ""
    return (
        f"{name} mean FSC {pair.mean_fsc:.3f}, 0.5 at {pair.resolution_05_angstrom:.1f} Å, hand {pair.hand} "
        f"({pair.hand_margin:.0f} σ){wrong}{scale}"
    )


def _is_of_other_scale(pair: PairRecord) -> bool:
    """Does the scale that was found move the particle's edge by more than the fit leaves open?"""
    moved = abs((pair.scale or 1) - 1) * (pair.diameter_angstrom or 0) / 2
    return abs((pair.scale or 1) - 1) >= LEAST_SCALE and moved > EDGE * (pair.fit_limit_angstrom or 0)


def chains_text(chains: Sequence[ChainRecord]) -> list[str]:
    """Which chains of a model are absent, and of which nobody can say; nothing of a map."""
    if not chains:
        return []
    named = {verdict: [one.chain for one in chains if one.present is verdict] for verdict in (True, False, None)}
    text = f"{len(named[True])} of {len(chains)} chains present"
    for verdict, words in ((False, "absent"), (None, "cannot be told")):
        names = named[verdict]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        text += f"; {words}: {', '.join(names[:NAMED])}{more}" if names else ""
    return [text]
