"""What a run found, in the words that a structural biologist would use; and what to do next."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from drgnalign.particles import DEALT_AT_IMPORT, INDEPENDENT
from drgnalign.validation.claims import DOUBTFUL, NO_STATE, Doubt

GOOD, DOUBTED, NOT_BELIEVED = "good", "doubtful", "not to be believed"
# Share of the particles that change their cluster from round to round when nothing is left to be found.
SETTLED = 0.95
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
    "spread": (
        "Share of the way to the next cluster that particles are spread over. States: below .05. Cuts through a "
        "motion: above .15."
    ),
    "amplitude": "How strongly the map shows what the consensus shows. Near 0: images without the particle.",
    "halves": "Whether the two half sets were kept apart, so that their FSC says what the data say.",
    "ari": "Adjusted Rand index: 1, the same clusters as in the last round; 0, what chance gives.",
    "junk": "Images that match no map: empty, broken or foreign ones, lost poses. In no map, kept in the files.",
    "Nyquist": "Two pixels: no map can be finer. A figure that ends there is the pixel's, not the data's.",
    "accepted": "Share of particles for which refinement found a better pose.",
    "nats": "Units of log-likelihood: 1 nat is a factor of 2.7 in probability.",
}


def mark_of(doubts: Sequence[Doubt]) -> str:
    """Of a cluster, by what speaks against it."""
    weights = {doubt.weight for doubt in doubts}
    return NOT_BELIEVED if NO_STATE in weights else DOUBTED if DOUBTFUL in weights else GOOD


def sentence(facts: Mapping[str, Any]) -> str:
    """What was found, in a sentence or two."""
    if not facts["round"]:
        return f"So far one map of all particles (the consensus). {_of_resolution(facts['clusters'])}"
    verdict = facts["verdict"]
    if not facts["clusters"]:
        return "No cluster has a particle: all are unassigned or left out."
    if verdict is None:
        number = len(facts["clusters"])
        return f"{number} clusters of the latent space. Whether the images tell them apart was not asked."
    return f"{_capital(verdict)}. {_of_resolution(facts['clusters'])}"


def _of_resolution(clusters: Sequence[Mapping[str, Any]]) -> str:
    known = [cluster["resolution_angstrom"] for cluster in clusters if cluster["resolution_angstrom"] is not None]
    if not known:
        return "No map has a resolution."
    trusted = [
        cluster
        for cluster in clusters
        if cluster["resolution_angstrom"] is not None and cluster["halves"] in (None, INDEPENDENT)
    ]
    at_nyquist = [cluster for cluster in clusters if cluster["reaches_nyquist"]]
    finest, coarsest = f"{min(known):.1f}", f"{max(known):.1f}"
    span = f"{finest} Å" if finest == coarsest else f"{finest} to {coarsest} Å"
    if len(at_nyquist) == len(known):
        return f"All maps reach Nyquist ({span}): their resolution is the pixel's, not the data's."
    if len(trusted) < len(known):
        return f"Resolutions of {span}, of which {len(known) - len(trusted)} may flatter."
    return f"Resolutions of {span}, half sets apart."


def next_steps(facts: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """What to do next, most useful first: ``why``, and the ``command`` where there is one."""
    steps: list[dict[str, str | None]] = []
    parameters = {row["name"]: row["value"] for row in facts["parameters"]}
    if not facts["finished"]:
        steps.append({"why": "The run goes on: this page is written again after every pass.", "command": None})
    if facts["halves"] == DEALT_AT_IMPORT:
        why = (
            "Half sets were dealt at import: refine the consensus from a coarse limit on, then resolutions are honest."
        )
        steps.append({"why": why, "command": _again(facts, "--consensus_limits 20,14,10,8")})
    verdict = facts["verdict"] or ""
    if "continuum" in verdict:
        why = "Particles move rather than being in states: look at the film along cryoDRGN's first component; a mask "
        why += "round what moves tells more."
        steps.append({"why": why, "command": _again(facts, "--focus_mask MASK.mrc")})
    elif verdict.startswith("one state") and not parameters.get("focus_mask"):
        why = "Small differences drown in a whole particle: a mask round the part in question finds them."
        steps.append({"why": why, "command": _again(facts, "--focus_mask MASK.mrc")})
    rounds = facts["rounds"]
    agreement = rounds[-1]["ari_with_last_round"] if rounds else None
    if facts["finished"] and facts["round"] and "continuum" not in verdict:
        settled = agreement is not None and agreement >= SETTLED
        if settled:
            why = "The clusters have come to rest: open the maps in final/, and take each cluster's particles to "
            why += "RELION or cryoSPARC for the last ångströms."
            steps.append({"why": why, "command": None})
        else:
            why = "Clusters still change from round to round: one more round."
            steps.append({"why": why, "command": _again(facts, f"--rounds {facts['round'] + 1}")})
    if facts["clusters"] and all(cluster["reaches_nyquist"] for cluster in facts["clusters"]):
        why = "Every map ends at Nyquist: extract the particles with finer pixels to see what the data hold."
        steps.append({"why": why, "command": None})
    return steps


def _again(facts: Mapping[str, Any], options: str) -> str:
    """The run's own command with further options, and -resume."""
    command = facts["command"] or "nextflow run main.nf …"
    name = options.split()[0]
    command = re.sub(rf"\s{re.escape(name)}(?:\s+|=)(?!-)\S+", "", command)
    resumed = command if "-resume" in command.split() else f"{command} -resume"
    return f"{resumed} {options}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
