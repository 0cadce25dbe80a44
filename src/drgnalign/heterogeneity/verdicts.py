"""What is said on the number of states, and the same in a sentence of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from drgnalign.run.records import LinearRecord

# Cuts through a continuum run into each other: their particles spread by more than this on the way to the next cut.
# States did by .04 at most, by up to .12 where a tail of the poses was wrong; cuts through a hinge by .18 to .22.
SPREAD = 0.15
# A curve is believed where it gains so many nats an image over points, and so many standard errors. These are .20 and
# .14 nats on hinges at signal-to-noise ratios of .1 and .05, -.02 to .005 where there are states at poses that were
# refined, and .1 to .7 of states at poses 4° off: curves follow errors of poses too, but are sparse between states,
# which shows where there are many images. Of 300 such a gain is 5 standard errors at most, of motions 6 to 20.
LEAST_GAIN, CERTAIN = 0.05, 6
CONTINUUM = "a continuum that discrete states do not describe"
NO_NUMBER = f"{CONTINUUM}, or too little signal"
RUNNING = f"{CONTINUUM}: all clusters run into each other"
PERHAPS_RUNNING = f"{NO_NUMBER}: all clusters may run into each other"
MOVING = f"{CONTINUUM}: the linear model sees a motion"
PARTLY_MOVING = "States and a motion: the linear model sees "
NEVER_AT_REST = f"{NO_NUMBER}: labels never come to rest"
OTHER_CLUSTERS = f"{NO_NUMBER}: other starts lead to other clusters"
EMPTY_FOCUS = (
    "the consensus shows no density inside the focus mask: images were told apart by what few of them have there, if "
    "any has. See whether the mask lies in the frame of this run's maps"
)
AS_ASKED = "one cluster, as asked"
# What these say to somebody who sees the number of clusters first, where nothing matters more.
IN_WORDS: Mapping[str, str] = {
    RUNNING: "{apart}. All run into each other, as cuts through a motion do: {continuum}",
    MOVING: "Particles move, as the linear model sees: {continuum}. {apart}, as cuts through it",
    PERHAPS_RUNNING: "{apart}. Whether they are states or cuts through a motion cannot be told at this noise{spread}",
    NEVER_AT_REST: "{apart}. Whether they are states cannot be told: their labels never come to rest, as in a motion "
    "or where there is too little signal",
    OTHER_CLUSTERS: "{apart}. Whether they are states cannot be told: other starts lead to other clusters, as in a "
    "motion or where there is too little signal",
}


def with_linear(verdict: str, states: int, linear: LinearRecord | None) -> str:
    """A verdict on a number of states, with what a linear model says where that is something else.

    A motion that images held out show goes before states: once poses were refined against the maps of cuts through it,
    clusters look like states (docs/method.md).

    Parameters
    ----------
    verdict : str
        Of the clusters alone.
    states : int
        Clusters that the images tell apart.
    linear : LinearRecord or None
        None: nobody has looked for points.
    """
    if linear is None or (linear.agrees(states) and not linear.motion):
        return verdict
    if not linear.motion:
        return f"{verdict}; the linear model counts {linear.number}"
    if verdict.startswith((RUNNING, AS_ASKED)):
        return f"{verdict}; the linear model sees {linear.motion_in_words}"
    said = f"{PARTLY_MOVING}{linear.motion_in_words}" if linear.beside else MOVING
    return f"{said}; the clusters alone say: {verdict}"


def in_words(assignment: Mapping[str, Any], clusters: int) -> str:
    """The verdict of an assignment, with the number of clusters first where it has none itself.

    Parameters
    ----------
    assignment : mapping
        Of `drgnalign.heterogeneity.states.evidence`: ``verdict``, and where they are known ``states`` and ``clusters``.
    clusters : int
        How many there are, where ``states`` is not known.

    Returns
    -------
    str
        Without a full stop.
    """
    verdict = str(assignment["verdict"])
    for said, words in IN_WORDS.items():
        if verdict.startswith(said):
            number = assignment.get("states") or clusters
            apart = f"{number} cluster{' is' if number == 1 else 's are'} told apart"
            spread = _spread(assignment.get("clusters") or {})
            return words.format(apart=apart, continuum=CONTINUUM, spread=spread) + verdict.removeprefix(said)
    return verdict


def at_two_poses_in_words(united: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is said of each two clusters that were united as one state at two poses (`AssignmentRecord`)."""
    return [
        f"two clusters, of {one['particles'][0]:,} and {one['particles'][1]:,} particles, that differed by a turn of "
        f"the whole particle (about {one['degrees']:.0f}° and {one['angstrom']:.0f} Å), and by nothing else once poses "
        "were refined together, were united as one state at two poses"
        for one in united
    ]


def is_open(verdict: str) -> bool:
    """Can the images tell neither states nor a continuum?"""
    return verdict.startswith(NO_NUMBER)


def widest_interval(clusters: Mapping[str, Mapping[str, Any]]) -> list[float] | None:
    """Of an assignment's clusters, the spread that is known least; None where there is none."""
    intervals = [interval for one in clusters.values() if (interval := one.get("spread_interval"))]
    return max(intervals, key=lambda interval: float(interval[1]), default=None)


def _spread(clusters: Mapping[str, Mapping[str, Any]]) -> str:
    """In brackets, where it reaches beyond what states have."""
    widest = widest_interval(clusters)
    return f" (spread between {between(widest)})" if widest and widest[1] > SPREAD else ""


def between(interval: list[float]) -> str:
    """``0 and 0.5``."""
    low, high = (f"{float(value):.2f}".rstrip("0").rstrip(".") for value in interval)
    return f"{low} and {high}"
