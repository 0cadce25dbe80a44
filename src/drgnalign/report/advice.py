"""What a run found, in the words that a structural biologist would use; and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from drgnalign.half_maps import DEALT_AT_IMPORT, FORGETS, INDEPENDENT
from drgnalign.heterogeneity.verdicts import CONTINUUM, is_open
from drgnalign.particles import USUAL_FILL
from drgnalign.run.export import ALL, MEMBERS
from drgnalign.run.state import CONSENSUS, FILTERED, MAPS, MOTION, cluster_label, published_name, round_name
from drgnalign.validation.claims import DOUBTFUL, NO_STATE, Doubt

GOOD, DOUBTED, NOT_BELIEVED = "good", "doubtful", "not to be believed"
# Share of the particles that change their cluster from round to round when nothing is left to be found.
SETTLED = 0.95
# Share of a cluster's density that a mask cuts off, from which a wider one is advised; and by how much.
MUCH_OUTSIDE, WIDER = 0.05, 1.3
# ARI from which on latent space and images say the same.
SAME = 0.9
# In commands, of what the user has to make first; and how.
MASK = "MASK.mrc"
MAKE_A_MASK = (
    f"{MASK} is a file that you have to make first: a soft mask, 0 outside to 1 inside, in the box and pixel size of "
    "the maps here, round the part in question. For example: leave that part of a map in ChimeraX (volume erase, or "
    "molmap of a fitted model), then give it soft edges with relion_mask_create."
)
# Hover texts of the page: what the words mean.
TERMS: Mapping[str, str] = {
    "resolution": "Where the FSC of the two half maps falls below 0.143, under a mask whose own effect is taken off.",
    "limit": "Poses were refined up to this resolution only: what is finer in the map was not used to align it.",
    "difference": (
        "Correlation between the half sets of what the cluster's map has and the consensus has not, at 40 Å. Near 1: "
        "the difference is real. Near 0: noise."
    ),
    "posterior": "Mean probability with which the images put the cluster's particles into it and no other.",
    "separation": "By how many nats an image is likelier, in the mean, given its own map than given both as one.",
    "blur": (
        "What a map along a motion cannot help but mix: the standard deviation of the places, in percent of the whole "
        "motion, of the particles in it. The FSC cannot see it, for both half maps mix alike."
    ),
    "spread": (
        "Share of the way to the next cluster that particles are spread over. States: below .05. Cuts through a "
        "motion: above .15."
    ),
    "amplitude": "How strongly the map shows what the consensus shows. 1: alike; near 0: images without it.",
    "interval": "Between these the number lies with 95 % probability, by the posteriors and by chance.",
    "views": (
        "How many particles are seen from where, brighter: more. Height 1 is along the map's z axis, 0 across it; "
        "empty regions: preferred orientation."
    ),
    "halves": "Whether the two half sets were kept apart, so that their FSC says what the data say.",
    "ari": "Adjusted Rand index: 1, the same clusters as in the last round; 0, what chance gives.",
    "junk": "Images that match no map: empty, broken or foreign ones, lost poses. In no map, kept in the files.",
    "Nyquist": "Two pixels: no map can be finer. A figure that ends there is the pixel's, not the data's.",
    "accepted": "Share of particles for which refinement found a better pose.",
    "micrographs": (
        "From how many micrographs the particles come, if each gave as many; in brackets, what as many particles "
        "chosen at random would give. Far fewer: bad ice, a carbon edge."
    ),
    "evenness": (
        "How evenly the views sample Fourier space. 1: all directions alike; in brackets, what as many particles "
        "chosen at random would give."
    ),
    "seen": (
        "Share of the directions, at the map's resolution, that the plane of at least one image goes through. Far from "
        "100 %: a cone of Fourier space that nobody has seen."
    ),
    "directions": (
        "FSC in cones of 20° around 200 directions, under a sphere (coarser than under a mask), best to worst; in "
        "brackets, the worst of maps that are alike in all directions. From 1.15 times as coarse on the map is called "
        "anisotropic: smeared along that direction."
    ),
    "nats": "Units of log-likelihood: 1 nat is a factor of 2.7 in probability.",
}


def mark_of(doubts: Sequence[Doubt]) -> str:
    """Of a cluster, by what speaks against it."""
    weights = {doubt.weight for doubt in doubts}
    return NOT_BELIEVED if NO_STATE in weights else DOUBTED if DOUBTFUL in weights else GOOD


def sentence(facts: Mapping[str, Any]) -> str:
    """What was found, in a few sentences."""
    clusters = facts["clusters"]
    if not facts["round"]:
        return f"So far one map of all particles (the consensus). {_of_resolution(clusters)}"
    if not clusters:
        return "No cluster has a particle: all are unassigned or left out."
    if facts["verdict"] is None:
        given = facts["clusters_given"]
        found = f"{_counted(len(clusters), 'cluster')} {'as given by --labels' if given else 'of the latent space'}"
        if len(clusters) > 1:
            found += ". Whether the images tell them apart was not asked"
        elif given:
            found += ". Whether the images support it was not asked"
        found += f"; the linear model sees {_motion_in_words(facts)}" if facts["rounds"][-1]["motion"] else ""
    else:
        found = _capital(facts["verdict_in_words"])
        doubt = facts["doubt_of_verdict"] or facts["doubt_of_motion"]
        found += f". But {doubt}" if doubt else ""
    return f"{found}. {_of_belief(clusters)}{_of_resolution(clusters)}"


def _of_belief(clusters: Sequence[Mapping[str, Any]]) -> str:
    """Of clusters that are no state, which come before any resolution."""
    bad = sum(cluster["mark"] == NOT_BELIEVED for cluster in clusters)
    if not bad:
        return ""
    which = "None of the clusters is" if bad == len(clusters) else f"{bad} of {len(clusters)} clusters {_is_not(bad)}"
    return f"{which} to be believed. "


def _is_not(number: int) -> str:
    return "is not" if number == 1 else "are not"


def open_first(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Maps to open: along a motion, where there is one, then of clusters.

    Each with its ``file``, its ``resolution_angstrom`` and, in a word, ``why``.
    """
    return [*_along_motion(facts), *_of_clusters(facts)]


def _along_motion(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The maps in the middle and at the ends."""
    points = [point for point in facts["rounds"][-1]["motion"] if point["resolution_angstrom"]]
    chosen = {0: "one end of the motion", len(points) // 2: "its middle", len(points) - 1: "its other end"}
    chosen = chosen if len(points) > 1 else {0: "the one place of the motion that has a map"}
    return [
        {
            "file": f"{_motion_folder(facts)}/{points[number]['name']}{FILTERED}",
            "resolution_angstrom": points[number]["resolution_angstrom"],
            "why": why,
        }
        for number, why in sorted(chosen.items())
        if points
    ]


def _motion_folder(facts: Mapping[str, Any]) -> str:
    return f"{'final' if _is_over(facts) else published_name(facts['pass'], facts['round'])}/{MOTION}"


def _of_clusters(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of the good clusters, else of the doubtful ones, else of the consensus."""
    with_maps = [cluster for cluster in facts["clusters"] if not cluster["skipped"]]
    for mark in (GOOD, DOUBTED):
        found = [cluster for cluster in with_maps if cluster["mark"] == mark]
        if found:
            return [
                {
                    "file": _file(facts, one),
                    "resolution_angstrom": one["resolution_angstrom"],
                    "why": _why_open(one, found),
                }
                for one in found
            ]
    consensus = [one for one in facts["rounds"] if not one["number"]]
    return [
        {
            "file": f"{published_name(one['pass'], 0)}/{MAPS}/{CONSENSUS}{FILTERED}",
            "resolution_angstrom": one["clusters"][0]["resolution_angstrom"],
            "why": "all particles, as no cluster is to be believed",
        }
        for one in consensus
        if one["clusters"] and not one["clusters"][0]["skipped"]
    ]


def particle_file(facts: Mapping[str, Any]) -> str:
    """The particles of the first map to open, for other programs."""
    first = next((one["file"].rpartition("/")[2].removesuffix(FILTERED) for one in _of_clusters(facts)), CONSENSUS)
    whole = first == CONSENSUS and facts["round"]
    return f"final/{ALL if whole else first + MEMBERS}"


def _why_open(cluster: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str:
    """What a map has most of, among these."""
    if len(others) == 1:
        return "all particles" if not cluster["label"] else "the only one that nothing speaks against"
    most = {
        "largest": _is_extreme(max, "particles", cluster, others),
        "finest": _is_extreme(min, "resolution_angstrom", cluster, others),
        "differs most from the consensus": _is_extreme(max, "difference_fsc_40", cluster, others),
    }
    said = ", ".join(word for word, is_so in most.items() if is_so)
    return said or f"{cluster['share']:.0%} of the particles kept"


def _is_extreme(
    extreme: Callable[[list[float]], float], key: str, one: Mapping[str, Any], others: Sequence[Mapping[str, Any]]
) -> bool:
    """Is it so alone?"""
    known = [other[key] for other in others if other[key] is not None]
    return known.count(one[key]) == 1 and one[key] == extreme(known)


def _file(facts: Mapping[str, Any], cluster: Mapping[str, Any]) -> str:
    return f"{'final' if _is_over(facts) else cluster['folder']}/{cluster['name']}{FILTERED}"


def _is_over(facts: Mapping[str, Any]) -> bool:
    """While a run goes on, what lies in final/ changes."""
    return bool(facts["finished"] or facts["set_aside"])


def _of_resolution(clusters: Sequence[Mapping[str, Any]]) -> str:
    known = [cluster["resolution_angstrom"] for cluster in clusters if cluster["resolution_angstrom"] is not None]
    if not known:
        return "The map has no resolution." if len(clusters) == 1 else "No map has a resolution."
    trusted = [
        cluster
        for cluster in clusters
        if cluster["resolution_angstrom"] is not None and cluster["halves"] in (None, INDEPENDENT)
    ]
    at_nyquist = [cluster for cluster in clusters if cluster["reaches_nyquist"]]
    finest, coarsest = figure_of(min(known)), figure_of(max(known))
    span = f"{finest} Å" if finest == coarsest else f"{finest} to {coarsest} Å"
    resolutions = "A resolution" if len(known) == 1 else "Resolutions"
    if len(clusters) == 1:
        return _of_one_resolution(finest, bool(at_nyquist), bool(trusted))
    if len(at_nyquist) == len(known):
        return f"All maps reach Nyquist ({span}): their resolution is the pixel's, not the data's."
    if len(trusted) < len(known):
        return f"{resolutions} of {span}, of which {len(known) - len(trusted)} may flatter."
    return f"{resolutions} of {span}, by half sets refined apart."


def figure_of(angstrom: float) -> str:
    """A resolution to as many digits as are looked at."""
    return f"{angstrom:.2f}" if angstrom < 10 else f"{angstrom:.1f}"


def _of_one_resolution(angstrom: str, at_nyquist: bool, trusted: bool) -> str:
    if at_nyquist:
        return f"The map reaches Nyquist ({angstrom} Å): its resolution is the pixel's, not the data's."
    return f"A resolution of {angstrom} Å, {'by half sets refined apart' if trusted else 'which may flatter'}."


def of_latent_space(facts: Mapping[str, Any]) -> str | None:
    """How far the clusters that latent space proposes are those of the images, and why not; None without rounds."""
    found = facts["evidence"]
    states, proposed, agreement = found["states"], found["proposed"], found["ari_with_proposed"]
    if not facts["round"]:
        return None
    if facts["clusters_given"]:
        return "The clusters are those given by --labels: neither latent space nor the images were asked."
    if states is None or agreement is None:
        return "The clusters are those of latent space: whether the images tell them apart was not asked."
    said = (
        f"Of {_counted(proposed, 'cluster')} proposed here the images tell {states} apart; labels agree by an adjusted "
    )
    said += f"Rand index of {_not_minus(agreement):.2f} (1: the same, 0: by chance). "
    if agreement >= SAME:
        return f"{said}Latent space and images say the same."
    return (
        f"{said}Where they differ the images decide: they are asked how likely each is of each map, while latent "
        "space may also follow direction of view, defocus, contrast, junk or noise, may cut a state in parts, and "
        "mixes states where it was trained on few epochs or poor poses."
    )


def _not_minus(value: float) -> float:
    """Without the minus of what is nothing to two digits."""
    return round(value, 2) + 0.0


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def next_steps(facts: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """What to do next, most useful first: ``why``, and the ``command`` where there is one."""
    if facts["set_aside"]:
        why = "These results were set aside when their run went on with other settings, code or images: what it found "
        why += "then lies two folders up. Nothing goes on from here."
        return [{"why": why, "command": None}]
    steps: list[dict[str, str | None]] = []
    parameters = {row["name"]: row["value"] for row in facts["parameters"]}
    if not facts["finished"]:
        why = "Whether the run came to its end is not known from these files. If it did not, "
        if facts["finished"] is False:
            why = "The run was under way when this page was written, and writes it again after every pass. If it has "
            why += "ended since, "
        steps.append({"why": f"{why}the same command, with -resume, goes on where it was.", "command": _again(facts)})
    if facts["halves"] == DEALT_AT_IMPORT:
        why = "Half sets were dealt at import: figures are honest once the consensus is refined from a coarse limit on."
        steps.append({"why": why, "command": _again(facts, {"--consensus_limits": _coarse_to_fine(facts)})})
    steps += _of_the_mask(facts, parameters)
    verdict = facts["verdict"] or ""
    steps += [] if is_open(verdict) else _of_junk(facts, parameters)
    if facts["rounds"][-1]["motion"]:
        steps.append(_of_motion(facts))
    if is_open(verdict):
        steps += _of_too_little_signal(facts, parameters)
    elif _moves(facts):
        why = "Clusters are cuts through a motion, or may be; each map is then an average over a part of it. "
        film = "the film along the motion" if facts["rounds"][-1]["motion"] else "the film along the first component"
        steps.append(_with_mask(facts, f"{why}Look at {film}; a mask round what moves tells more."))
    elif verdict.startswith("one state") and not parameters.get("focus_mask"):
        steps.append(_with_mask(facts, "Small differences drown in a whole particle: a mask finds them."))
    steps += _of_given_labels(facts)
    steps += _of_turned(facts)
    steps += _of_labels(facts)
    if facts["finished"] and not facts["round"]:
        why = "This is one map of everything: rounds look for states and motions in it."
        steps.append({"why": why, "command": one_more_round(facts)})
    if facts["clusters"] and all(cluster["reaches_nyquist"] for cluster in facts["clusters"]):
        which = "The map ends" if len(facts["clusters"]) == 1 else "Every map ends"
        why = f"{which} at Nyquist: extract the particles with finer pixels to see what the data hold."
        steps.append({"why": why, "command": None})
    return steps


def _of_the_mask(facts: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """What is cut off differs from image to image with their poses: that comes before any verdict."""
    cut = max((one["density_outside_mask"] or 0.0 for one in facts["clusters"]), default=0.0)
    if cut < MUCH_OUTSIDE or parameters.get("mask"):
        return []
    why = (
        f"The mask cuts off {100 * cut:.0f} % of a cluster's density, which looks like states, or like a motion. First "
    )
    box = facts["box"] * facts["pixel_size_angstrom"]
    given = float(parameters.get("mask_diameter") or USUAL_FILL * box)
    wider = min(round(WIDER * given), int(box))
    if wider <= round(given):
        return [{"why": f"{why}give a mask of your own that holds it (--mask).", "command": None}]
    return [{"why": f"{why}a larger one.", "command": _again(facts, {"--mask_diameter": str(wider)})}]


def _of_junk(facts: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """Junk and lost poses that no peak of their own tells look like states and motions."""
    if not facts["left_out"]["doubt"]:
        return []
    why = "Images differ by more than the ice makes of them: junk or lost poses may be among those kept. "
    if str(parameters.get("consensus_limits") or "none") == "none":
        why += "Those of the lowest drgnAmplitude in particles.star are the first to look at; names of images, in a "
        return [{"why": f"{why}table, are a selection for `drgnalign select --names`.", "command": None}]
    why += (
        "Junk whose poses are refined follows its noise: what was not told before is hard to tell afterwards. If the "
    )
    why += "given poses are of a refinement, begin with them as they are."
    return [{"why": why, "command": _again(facts, {"--consensus_limits": "none"})}]


def _of_turned(facts: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """Two clusters that may be one state at two poses: the largest such pair."""
    turned = [cluster for cluster in facts["clusters"] if cluster["turned"]]
    if not turned or not facts["finished"]:
        return []
    one = max(turned, key=lambda cluster: cluster["particles"])
    names = sorted((one["name"], str(one["turned"]["from"])))
    why = f"{' and '.join(names)} differ mostly by a turn of the whole particle. Lay one map on the other (ChimeraX's "
    why += "fitmap): where they are alike then they are one state, and the next run's --labels may say so."
    particles = f"{_outdir(facts)}/{round_name(facts['round'])}/particles.star"
    numbers = ",".join(str(cluster_label(name)) for name in names)
    command = ["drgnalign", "edit", particles, "--unite", numbers, "-o", "labels.star"]
    return [{"why": why, "command": shlex.join(command)}]


def _moves(facts: Mapping[str, Any]) -> bool:
    """Is there a motion, or does anything say that states may be cuts through one?"""
    seen = (facts["evidence"]["linear"] or {}).get("motion") or facts["doubt_of_verdict"]
    return bool(seen) or (facts["verdict"] or "").startswith(CONTINUUM)


def _motion_in_words(facts: Mapping[str, Any]) -> str:
    return str((facts["evidence"]["linear"] or {}).get("motion_in_words", "a motion"))


def _of_motion(facts: Mapping[str, Any]) -> dict[str, str | None]:
    folder = f"{_outdir(facts)}/{_motion_folder(facts)}"
    why = f"The linear model sees {_motion_in_words(facts)}: look at the maps along it as a film. "
    why += "Where each particle is on it, from 0 to 1, is drgnPath in particles.star."
    return {"why": why, "command": shlex.join(["chimerax", "--cmd", f'open "{folder}/point_??.mrc" vseries true'])}


def _of_too_little_signal(facts: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """States or a motion is open: first what gives more signal, then a mask."""
    why = "Whether these clusters are states or cuts through a motion is open."
    first = facts["finished"] and facts["round"] == 1
    why += " One more round, with better poses and a latent space trained on them, may tell." if first else ""
    steps: list[dict[str, str | None]] = [{"why": why, "command": one_more_round(facts) if first else None}]
    why = "More signal tells: more particles, if there are any; and no junk. Look at particles of each cluster, and at "
    why += "its map, for images without the particle."
    kept = parameters.get("junk") == "keep"
    steps.append({"why": why, "command": _again(facts, {"--junk": "exclude"}) if kept else None})
    if not parameters.get("focus_mask"):
        steps.append(_with_mask(facts, "Then a mask round the part that differs: less noise from elsewhere."))
    return steps


def _with_mask(facts: Mapping[str, Any], why: str) -> dict[str, str | None]:
    return {"why": f"{why} {MAKE_A_MASK}", "command": _again(facts, {"--focus_mask": MASK})}


def _of_given_labels(facts: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """A map of any particles has a resolution: that does not make them a state."""
    if not facts["finished"] or not facts["clusters_given"]:
        return []
    why = "Whether the images support the clusters that were given was not asked. With them as a proposal, they choose:"
    asked = {"--assign": "likelihood", "--outdir": f"{_outdir(facts)}_asked"}
    return [{"why": why, "command": _again(facts, asked)}]


def _of_labels(facts: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """Of a run that has ended: are there states to go on with, and have they come to rest?"""
    marks = [cluster["mark"] for cluster in facts["clusters"]]
    if not facts["finished"] or not facts["round"] or _moves(facts):
        return []
    if GOOD not in marks:
        why = "No cluster is good as it stands: see what speaks against each. The consensus may be all that the images "
        return [{"why": f"{why}support at this resolution.", "command": None}]
    agreement = facts["rounds"][-1]["ari_with_last_round"]
    if not facts["steady"] and (agreement is None or agreement < SETTLED):
        why = "Whether clusters have come to rest is not known yet, or they still change: one more round."
        return [{"why": why, "command": one_more_round(facts)}]
    maps = [f"{_outdir(facts)}/{one['file']}" for one in _of_clusters(facts)]
    why = (
        "The clusters have come to rest: open the maps of the good ones. Their particles, final/…_particles.star, are "
    )
    why += "ready for RELION or cryoSPARC, for the last ångströms."
    more = "If in doubt, one more round shows whether they stay as they are."
    return [
        {"why": why, "command": shlex.join(["chimerax", *maps])},
        {"why": more, "command": one_more_round(facts)},
    ]


def _outdir(facts: Mapping[str, Any]) -> str:
    if facts["moved_to"]:
        return str(facts["moved_to"])
    return next((str(row["value"]) for row in facts["parameters"] if row["name"] == "outdir"), "RESULTS")


def one_more_round(facts: Mapping[str, Any]) -> str | None:
    """The command for it; of a run that came to rest before its last round, without the rule that stopped it."""
    further = {"--rounds": str((facts["round"] or 0) + 1)}
    # else the next round would have clusters of its own
    further |= {"--fixed_clusters": "true"} if facts["clusters_given"] else {}
    return _again(facts, further | ({"--stop": "none"} if facts["steady"] else {}))


def _coarse_to_fine(facts: Mapping[str, Any]) -> str:
    """Limits of the consensus that begin coarse enough for what is claimed to count as independent."""
    known = [cluster["resolution_angstrom"] for cluster in facts["clusters"] if cluster["resolution_angstrom"]]
    finest = max(1.05 * 2 * facts["pixel_size_angstrom"], min(known, default=8.0))
    coarsest = max(20.0, 1.1 * FORGETS * max(known, default=8.0))
    limits = [coarsest, *(coarsest * share for share in (0.7, 0.5) if coarsest * share > finest), finest]
    return ",".join(f"{np.ceil(limit):.0f}" if limit > 10 else f"{limit:.1f}" for limit in limits)


def _again(facts: Mapping[str, Any], options: Mapping[str, str] = MappingProxyType({})) -> str | None:
    """The run's own command, where it is known, with other values of these options, and -resume: under a name of its
    own."""
    command = facts["command"]
    if not command:
        return None
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    options = ({"--outdir": str(facts["moved_to"])} if facts["moved_to"] else {}) | dict(options)
    gone = {"-resume", "-name", *options}
    kept: list[str] = []
    dropping = False
    for word in words:
        # a negative number is a value
        if dropping and (not word.startswith("-") or word[1:2].isdigit()):
            dropping = False
            continue
        name, equals, _ = word.partition("=")
        dropping = name in gone and not equals
        if name not in gone:
            kept.append(word)
    # of several runs in a folder, Nextflow goes on with the last one unless it is told which
    session = [facts["session"]] if facts["session"] else []
    return shlex.join([*kept, "-resume", *session, *(word for option in options.items() for word in option)])


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
