"""What a pass gave in words: for the screen of the run, and at its end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from drgnalign.heterogeneity.verdicts import (
    CONTINUUM,
    EMPTY_FOCUS,
    RUNNING,
    at_two_poses_in_words,
    in_words,
    is_open,
)
from drgnalign.known.records import ComparisonRecord
from drgnalign.known.text import comparison_text
from drgnalign.known.thesis import thesis_text
from drgnalign.run.inputs import LabelsRecord
from drgnalign.run.records import ClusterMetrics, LinearRecord, PassMetrics
from drgnalign.run.state import COMPARISON, CONSENSUS, LEFT_OUT_FILE, MOTION, published_name, round_name

# Spread of the images' amplitudes beyond what noise makes of them: ice of varied thickness makes .1 to .3.
MOST_CONTRAST = 0.35
# A pass that turns half of the particles by more than this (degrees) began at poses whose errors may look like a
# motion. Median errors were 1 to 1.5 where hinges were seen, 4 where states were taken for a motion.
MUCH_TURNED = 2.0
# Of the images left out, and at least so many, that match the maps upside down before it is said: noise makes some.
INVERTED_SHARE, INVERTED_LEAST = 0.1, 10
# More clusters than this are not listed one by one in a line.
LISTED = 6


def pass_sentence(metrics: PassMetrics) -> str:
    """Verdict as in the findings, sizes, resolutions and agreement with the last round in one line.

    Parameters
    ----------
    metrics : PassMetrics

    Returns
    -------
    str
        ``2 states; 152 and 148 particles at 16.4 and 17 Å; ARI with the last round 0.98``.
    """
    clusters = metrics.clusters
    agreement = metrics.ari_with_last_round
    parts = [verdict_of(metrics) if metrics.verdict else None, _maps_in_words(clusters)]
    if agreement is not None:
        parts.append(f"ARI with the last round {agreement:.2f}")
    return "; ".join(part for part in parts if part)


def _maps_in_words(clusters: list[ClusterMetrics]) -> str:
    if not clusters:
        return "no cluster"
    sizes = [cluster.particles for cluster in clusters]
    found = [_resolution(cluster) for cluster in clusters]
    if len(clusters) > LISTED:
        known = sorted(one.resolution_angstrom for one in clusters if one.resolution_angstrom is not None)
        at = f"{known[0]:.3g}–{known[-1]:.3g} Å" if known else "no resolution"
        return f"{len(clusters)} clusters of {min(sizes):,}–{max(sizes):,} particles at {at}"
    numbers = _listed([f"{size:,}" for size in sizes])
    # the unit once, where there is no word among the figures
    if all(value.endswith(" Å") for value in found):
        return f"{numbers} particles at {_listed([value.removesuffix(' Å') for value in found])} Å"
    return f"{numbers} particles at {_listed(found)}"


def _resolution(cluster: ClusterMetrics) -> str:
    if cluster.skipped:
        return "no map"
    value = cluster.resolution_angstrom
    return "no resolution" if value is None else f"{value:.3g} Å"


def _listed(words: list[str]) -> str:
    """``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def left_out_sentence(metrics: PassMetrics) -> str:
    """Who is left out after a pass, in a line for the screen; empty where nobody has looked for junk yet.

    Parameters
    ----------
    metrics : PassMetrics
    """
    name = f"Round {metrics.round}" if metrics.round else f"Consensus, pass {metrics.number}"
    of_all, out = f"of {metrics.particles:,} particles", metrics.left_out
    looked = metrics.looked
    doubt = junk_doubt(metrics)
    if out or metrics.left_out_back:
        changes = f"{metrics.left_out_new:,} new, {metrics.left_out_back:,} back"
        sentence = f"{name}: {out:,} {of_all} are left out ({changes}): in no map, training or statistic"
        mine = metrics.left_out_by_input
        sentence += f"; {mine:,} of them for good, by the particle file or --labels" if mine else ""
        sentence += "; --junk keep keeps them" if out > mine or not mine else ""
        if looked is not None and looked.searched:
            sentence += f"; of {looked.searched:,} poses looked for, {looked.brought_back or 0:,} were found"
        return "; ".join(filter(None, [sentence, inverted_contrast(metrics.left_out_inverted, out), doubt]))
    if metrics.junk_expected is None or (looked is None and not metrics.round):
        return ""
    expected = f"{metrics.junk_expected:.0f}"
    # none that is told is not none that is there
    found = f"the images take about {expected} {of_all} for junk"
    if doubt:
        found = doubt if expected == "0" else f"{found}, and {doubt}"
    return f"{name}: no particle is left out; {found}"


def junk_doubt(metrics: PassMetrics) -> str:
    """Where images differ by more than the ice makes of them, junk may be among them that no peak of its own tells.

    Parameters
    ----------
    metrics : PassMetrics

    Returns
    -------
    str
        Empty where there is no such doubt.
    """
    spread = (metrics.looked and metrics.looked.contrast_spread) or 0.0
    if spread <= MOST_CONTRAST:
        return ""
    said = f"the images' amplitudes vary by {spread:.2f}, more than ice makes them"
    return f"{said}: junk, lost poses or states that cannot be told yet may be among the particles kept"


def inverted_contrast(number: int, left_out: int) -> str:
    """Where many of those left out show what the maps show, but black for white (`number`); else empty."""
    if number < max(INVERTED_LEAST, INVERTED_SHARE * left_out):
        return ""
    return (
        f"{number:,} of those left out match the maps with inverted contrast (drgnAmplitude below 0): invert their "
        "images, or give them an optics group of their own, whose contrast is found by itself"
    )


def findings(
    passes: list[PassMetrics],
    labels: LabelsRecord | None = None,
    of_input: Sequence[str] = (),
    comparison: ComparisonRecord | None = None,
) -> str:
    """What a run has found so far: the verdict, each cluster, what not to believe, and which files to open.

    Parameters
    ----------
    passes : list of PassMetrics
        Of `drgnalign.report.summary.read_passes`.
    labels : LabelsRecord, optional
        The first round's, where a person or another program gave them.
    of_input : sequence of str
        What is in doubt of the input (`doubts_of_input`).
    comparison : ComparisonRecord, optional
        Of the last pass's maps with what the user knows.

    Returns
    -------
    str
        Lines, ready for a screen.
    """
    last = passes[-1]
    stage = f"round {last.round}" if last.round else f"consensus, pass {last.number}"
    lines = [f"What was found ({stage})"]
    if last.verdict:
        said = verdict_of(last)
        lines.append(f"  The images support: {said}" if said == last.verdict else f"  {said}")
    linear = last.clustering and last.clustering.linear
    if linear and linear.motion:
        lines.append(
            f"  {_who_moves(linear)} (a curve gains {_gain(linear)} over points): see the half maps along the motion"
        )
    elif linear and linear.motion_gain is not None and (last.verdict or "").startswith(RUNNING):
        lines.append(
            f"  But no motion is made out (a curve gains {_gain(linear)} over points). Poses that are off, or a mask "
            "that cuts density, make clusters run into each other too"
        )
    elif linear and linear.motion_gain is not None and linear.points == len(linear.gains):
        lines.append(
            f"  More points than were looked for; a curve gains {_gain(linear)} over them: no motion is made out"
        )
    if labels is not None:
        lines.append(f"  Labels were given ({Path(labels.file).name}): {labels.sentence}")
    lines += [f"  {cluster.cluster}: {_cluster_in_words(cluster)}" for cluster in last.clusters]
    if last.unassigned:
        lines.append(f"  {last.unassigned:,} of {last.particles:,} particles are in no cluster")
    if last.left_out:
        of_all = f"{last.left_out:,} of {last.particles:,} particles"
        lines.append(f"  {of_all} are left out: in no map, but in final/{LEFT_OUT_FILE}")
    searched, found = poses_looked_for(passes)
    if searched:
        lines.append(f"  {found:,} poses were found, of {searched:,} looked for among all orientations in all passes")
    united = (last.assignment and last.assignment.at_two_poses) or []
    lines += [f"  In assignment, {said}" for said in at_two_poses_in_words(united)]
    agreement = last.ari_with_last_round
    if agreement is not None:
        lines.append(f"  Labels agree with the last round's by {agreement:.2f} (adjusted Rand index; 1: all the same)")
    notes = {note for cluster in last.clusters for note in cluster.notes}
    told = [*not_believed(passes), *({"of": "the input", "text": text} for text in of_input)]
    lines += _under("What not to believe as it stands", [one for one in told if one["text"] not in notes])
    lines += _under("What to bear in mind", [one for one in told if one["text"] in notes])
    lines += [] if comparison is None else _beside_what_is_known(comparison, last)
    return "\n".join([*lines, *_files_to_open(last)]) + "\n"


def _beside_what_is_known(comparison: ComparisonRecord, last: PassMetrics) -> list[str]:
    """The comparison, and published figures, if they are wanted."""
    lines = []
    if comparison.pairs:
        where = f"{published_name(last.number, last.round)}/{COMPARISON}/"
        lines.append(f"Beside maps and models that are known ({where}; *: assigned)")
        lines += [f"  {line}" for line in comparison_text(comparison).splitlines()]
    if comparison.thesis:
        lines += ["Beside published figures", *(f"  {line}" for line in thesis_text(comparison.clusters).splitlines())]
    return lines


def _who_moves(linear: LinearRecord) -> str:
    return f"There is {linear.motion_in_words}" if linear.beside else "Particles move"


def _gain(linear: LinearRecord) -> str:
    return f"{linear.motion_gain:.2f} ± {linear.motion_gain_error:.2f} nats an image"


def _under(heading: str, told: list[dict[str, str]]) -> list[str]:
    return [heading, *(f"  {one['of']}: {one['text']}" for one in told)] if told else []


def _cluster_in_words(cluster: ClusterMetrics) -> str:
    limit = cluster.alignment_limit_angstrom
    aligned = f", aligned up to {limit:g} Å" if limit else ""
    return f"{cluster.particles:,} particles, {_resolution(cluster)}{aligned}"


def verdict_of(metrics: PassMetrics) -> str:
    """On the number of states, with the number of clusters in it; of a pass that has a verdict."""
    assignment = {} if metrics.assignment is None else metrics.assignment.written()
    said = in_words({**assignment, "verdict": metrics.verdict}, len(metrics.clusters))
    return f"{said}{none_left(assignment.get('clusters') or {}, len(metrics.clusters))}"


def none_left(before: Collection[str], clusters: int) -> str:
    """Of clusters that had particles before their poses were refined and have none since."""
    gone = len(before) - clusters
    return (
        f"; at the refined poses {gone} of them {'has' if gone == 1 else 'have'} no particle left" if gone > 0 else ""
    )


def not_believed(passes: list[PassMetrics]) -> list[dict[str, str]]:
    """Each warning of the last pass once: whom it is ``of``, and its ``text``; then what all passes say against its
    verdict, and that junk may be among them."""
    last = passes[-1]
    about: dict[str, list[str]] = {}
    for cluster in last.clusters:
        for warning in cluster.warnings:
            about.setdefault(warning, []).append(cluster.cluster)
    found = [{"of": _of_clusters(names, len(last.clusters)), "text": warning} for warning, names in about.items()]
    if doubt := doubt_of_verdict(passes):
        found.insert(0, {"of": "the verdict", "text": doubt})
    if motion := doubt_of_motion(passes):
        found.insert(0, {"of": "the motion", "text": motion})
    if other := _other_number(last):
        found.insert(0, {"of": "the verdict" if last.verdict else "the clusters", "text": other})
    if last.assignment is not None and last.assignment.density_in_focus is False:
        found.insert(0, {"of": "the verdict", "text": EMPTY_FOCUS})
    particles = (inverted_contrast(last.left_out_inverted, last.left_out), junk_doubt(last))
    found += [{"of": "particles", "text": text} for text in particles if text]
    return found


def _other_number(last: PassMetrics) -> str:
    """Where the linear model counts another number of states than the images tell apart, or than there are clusters
    where these were not asked; else empty."""
    linear = last.clustering and last.clustering.linear
    if linear and not linear.motion and last.verdict is None and not linear.agrees(len(last.clusters)):
        return f"the images were not asked whether they are so many; the linear model counts {linear.number}"
    states = None if last.assignment is None else last.assignment.states
    if not linear or linear.motion or states is None or linear.agrees(states) or is_open(last.verdict or ""):
        return ""
    return f"the linear model, which looks on its own, counts {linear.number}: the number is not settled"


def doubt_of_verdict(passes: list[PassMetrics]) -> str:
    """Where states are what is left of a continuum; else empty.

    At poses that were refined against the maps of cuts through a motion, the next round's images call every cut a state
    (docs/method.md). The linear model does not.
    """
    last = passes[-1]
    earlier = [one for one in passes[:-1] if one.round and (one.verdict or "").startswith(RUNNING)]
    if not earlier or not last.verdict or last.verdict.startswith(CONTINUUM):
        return ""
    return (
        f"round {earlier[0].round} saw a continuum; since then poses were refined against maps of parts of it, "
        "which makes cuts through a motion look like states"
    )


def doubt_of_motion(passes: list[PassMetrics]) -> str:
    """Where a motion may be, or was, no more than errors of poses; else empty."""
    last = passes[-1]
    if last.moving:
        turned = last.median_rotation_change_degrees or 0.0
        if turned > MUCH_TURNED:
            return (
                f"poses changed by {turned:.1f}° in this pass (median), and errors of poses look like a motion: see "
                "whether one more round still finds it"
            )
        junk = junk_doubt(last)
        return f"{junk}, and these look like a motion" if junk else ""
    earlier = [str(one.round) for one in passes if one.moving]
    if not earlier:
        return ""
    which = f"round{'' if len(earlier) == 1 else 's'} {_listed(earlier)}"
    return f"{which} saw one, which is gone at the poses refined since: errors of poses look like a motion"


def poses_looked_for(passes: list[PassMetrics]) -> tuple[int, int]:
    """How many lost poses were looked for over all passes, and how many of them were found."""
    looked = [one.looked for one in passes if one.looked is not None]
    return sum(one.searched or 0 for one in looked), sum(one.brought_back or 0 for one in looked)


def _of_clusters(names: list[str], everyone: int) -> str:
    if len(names) == everyone > 1:
        return "every cluster"
    if len(names) == 1:
        return names[0]
    return f"each of {f'{len(names)} of {everyone} clusters' if len(names) > LISTED else _listed(names)}"


def _files_to_open(last: PassMetrics) -> list[str]:
    """In the order in which one looks at them."""
    files = {
        "report.html": "all of this with maps in 3-D, latent space and FSC: open it in a browser",
        "final/": "maps and particles for RELION, cryoSPARC and viewers; index.csv says what is what",
    }
    if last.moving:
        files[f"final/{MOTION}/"] = "half maps along the motion; a cluster's map is an average over its part of it"
    if last.round:
        number = round_name(last.round)
        files |= {
            f"umap_{number}.png": "particles in latent space, in the colours of their clusters",
            "label_flow.png": "which particles changed their cluster from round to round",
            f"fsc_{number}.png": "FSC of each cluster",
        }
    else:
        files[f"fsc_{round_name(0)}.png"] = f"FSC of the {CONSENSUS}"
    files["resolution_by_round.png"] = "resolution over the passes"
    files["summary.csv"] = "every pass and cluster in figures, with warnings"
    width = max(map(len, files))
    return ["Files to open first", *(f"  {name:<{width}}  {what}" for name, what in files.items())]
