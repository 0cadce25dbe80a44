"""The records of a run, which later steps, the report and people read: ``clusters.json``, ``metrics.json`` and others.

Each class is a record or a part of one; docs/outputs.md says what its fields mean. What a record does not say, because
it is of an earlier version, is None or empty. Figures that are of something that a cluster does not have, such as those
of its map where it has none, are left out of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from drgnalign.run.record import Own, Record
from drgnalign.run.state import cluster_label

# Of fields that are written with a part of the record only: the map, its comparison with the consensus, the poses that
# were refined, the images that were asked.
MAP, COMPARED, REFINED, ASSIGNED, NEVER = (
    {"part": part} for part in ("map", "compared", "refined", "assigned", "never")
)
# Nats an image that points more gain, for the number of states to be in doubt for them: a state of 2.5 % gained .25; at
# poses 2° off a point too many gained .03, at poses that are right .001.
LEAST_OF_POINTS = 0.05


def _of(kind: type[Own]) -> Callable[[Any], Own]:
    return lambda facts: kind.of(facts)


def _ends(values: list[float]) -> list[float]:
    """Of an interval."""
    if len(values) != 2:
        raise ValueError(f"{len(values)} ends of an interval in place of two")
    return values


@dataclass(kw_only=True)
class ClusterEvidence(Record):
    """What speaks for a cluster; see `drgnalign.heterogeneity.states.cluster_evidence`."""

    particles: int | None = None
    difference_fsc_40: float | None = None
    difference_fsc_25: float | None = None
    mean_posterior: float | None = None
    mean_amplitude: float | None = None
    separation_nats: float | None = None
    spread: float | None = None
    spread_interval: list[float] | None = field(default=None, metadata={"read": _ends})
    # the cluster that it differs from mostly by a turn of the whole particle: its name (from), degrees, angstrom
    turned: dict[str, Any] | None = None


def _evidence(clusters: Mapping[str, Any]) -> dict[str, ClusterEvidence]:
    return {label: ClusterEvidence.of(one) for label, one in clusters.items()}


@dataclass(kw_only=True)
class AssignmentRecord(Record):
    """What ASSIGN found."""

    limit_angstrom: float | None = None
    limit_because: str | None = None
    k: int | str | None = None
    against: str | None = None
    assignment: str | None = None
    ari_with_proposed: float | None = None
    searched: int | None = None
    brought_back: int | None = None
    verdict: str | None = None
    states: int | None = None
    agreement: list[float] | None = None
    # of the consensus; null without a focus mask
    density_in_focus: bool | None = None
    # clusters that were united: numbers of their particles, degrees and Å between their poses
    at_two_poses: list[dict[str, Any]] | None = None
    at_rest: bool | None = None
    log_likelihood: float | None = None
    passes: list[dict[str, Any]] | None = None
    contrast: dict[str, float] | None = None
    left_out: int | None = None
    clusters: dict[str, ClusterEvidence] = field(default_factory=dict, metadata={"read": _evidence})

    @property
    def contrast_spread(self) -> float | None:
        """Of the images."""
        return (self.contrast or {}).get("spread")


@dataclass(kw_only=True)
class ReassignmentRecord(Record):
    """What REASSIGN found."""

    limit_angstrom: float | None = None
    limit_because: str | None = None
    changed: float | None = None
    at_rest: bool | None = None
    log_likelihood: float | None = None
    passes: list[dict[str, Any]] | None = None
    contrast: dict[str, float] | None = None
    left_out: int | None = None
    clusters: dict[str, ClusterEvidence] = field(default_factory=dict, metadata={"read": _evidence})


@dataclass(kw_only=True)
class LinearRecord(Record):
    """``linear.json``: a linear latent model, and what it says of the number of states."""

    WHAT: ClassVar[str] = "the record of a linear latent model"

    particles: int | None = None
    components: int | None = None
    limit_angstrom: float | None = None
    # whether it started from the last round's
    continued: bool | None = None
    contrast_spread: float | None = None
    # correlation of each component between the half sets
    shared: list[float] = field(default_factory=list)
    # nats a particle over the mean map alone, by the number of points
    gains: list[float] = field(default_factory=list)
    points: int | None = None
    shares: list[float] = field(default_factory=list)
    # points, but those between which images lie as one: states, and what moves
    groups: int | None = None
    # nats a particle that a curve gains over the points, of images that neither was fitted to, and the standard error
    motion_gain: float | None = None
    motion_gain_error: float | None = None
    # whether the curve is believed
    motion: bool | None = None
    # of the particles, those that take part in it
    moving_share: float | None = None

    @property
    def beside(self) -> int:
        """States beside what moves."""
        return max((self.groups or 1) - 1, 0) if self.motion else 0

    def agrees(self, states: int) -> bool:
        """Does it count so many states, or so many and others that hardly gain anything?

        Of a million images, and at poses that are a little off, a point more gains much in all and next to nothing an
        image (`LEAST_OF_POINTS`).
        """
        points = self.points or 0
        if states == points or not 0 < states < points <= len(self.gains):
            return states == points
        return self.gains[points - 1] - self.gains[states - 1] < LEAST_OF_POINTS

    @property
    def number(self) -> str:
        """``3 states``; where the last one that was looked for still gained something, there may be more."""
        more = " or more" if len(self.gains) == self.points and len(self.gains) > 1 else ""
        return f"{self.points} state{'' if self.points == 1 else 's'}{more}"

    @property
    def motion_in_words(self) -> str:
        """``a motion``; where only some move, of how many, and what is beside it."""
        if not self.beside:
            return "a motion"
        states = f"{self.beside} state{'' if self.beside == 1 else 's'}"
        return f"a motion of {100 * (self.moving_share or 0):.0f} % of the particles, and {states} beside it"


@dataclass(kw_only=True)
class ClusteringRecord(Record):
    """``clusters.json``: how clusters were proposed (CLUSTER), and what the images made of them (ASSIGN, REASSIGN)."""

    WHAT: ClassVar[str] = "the record of a clustering"

    method: str = ""
    space: str = ""
    proposed: int = 0
    settings: dict[str, float] = field(default_factory=dict)
    silhouette: float | None = None
    ari_with_last_round: float | None = None
    counterparts: dict[str, int | None] = field(default_factory=dict)
    overlap: dict[str, list[Any]] = field(default_factory=dict)
    nearest: dict[str, int] = field(default_factory=dict)
    linear: LinearRecord | None = field(default=None, metadata={"read": _of(LinearRecord), "part": "linear"})
    assignment: AssignmentRecord | None = field(
        default=None, metadata={"read": _of(AssignmentRecord), "part": "assignment"}
    )
    reassignment: ReassignmentRecord | None = field(
        default=None, metadata={"read": _of(ReassignmentRecord), "part": "reassignment"}
    )

    @property
    def moving(self) -> bool:
        """Does the linear model see a motion?"""
        return bool(self.linear and self.linear.motion)

    @property
    def latest(self) -> AssignmentRecord | ReassignmentRecord | None:
        """What the images made of the clusters in the end."""
        return self.reassignment or self.assignment

    def _has(self, part: str | None) -> bool:
        return part is None or getattr(self, part) is not None


@dataclass(kw_only=True)
class ScreeningRecord(Record):
    """``screening.json``: what SCREEN found."""

    WHAT: ClassVar[str] = "the record of a screening"

    contrast_mean: float | None = None
    contrast_spread: float | None = None
    searched: int | None = None
    brought_back: int | None = None
    left_out: int | None = None


@dataclass(kw_only=True)
class PathPoint(Record):
    """``motion/point_NN.json``: a map along a motion."""

    WHAT: ClassVar[str] = "the record of a point of a motion"

    # on the path, 0 … 1, and the standard deviation of the true places of what is in the map
    place: float
    spread: float
    # with any share in it; as many whole ones would make a map as good
    particles: int
    worth_particles: float
    resolution_angstrom: float | None = None


def _three(values: list[float]) -> list[float]:
    """Values of which there are three."""
    if len(values) != 3:
        raise ValueError(f"{len(values)} values in place of three")
    return values


@dataclass(kw_only=True)
class DirectionFigures(Record):
    """Of `drgnalign.validation.views.ConicalFsc`: resolutions by direction, Å."""

    best_angstrom: float
    mean_angstrom: float
    worst_angstrom: float
    # of isotropic maps
    worst_by_chance_angstrom: float
    # (x, y, z)
    worst_direction: list[float] = field(metadata={"read": _three})
    anisotropic: bool


@dataclass(kw_only=True)
class MapFigures(Record):
    """``NAME_resolution.json``: figures of a map; the last four where it was compared with the consensus."""

    WHAT: ClassVar[str] = "the figures of a map"

    resolution_angstrom: float | None
    reaches_nyquist: bool | None = None
    mean_fsc: float | None = None
    mask: str | None = None
    density_outside_mask: float | None = None
    b_factor_angstrom2: float | None = None
    by_direction: DirectionFigures | None = field(default=None, metadata={"read": DirectionFigures.of})
    difference_fsc_40: float | None = field(default=None, metadata=COMPARED)
    difference_fsc_25: float | None = field(default=None, metadata=COMPARED)
    amplitude: float | None = field(default=None, metadata=COMPARED)
    amplitude_error: float | None = field(default=None, metadata=COMPARED)
    compared: bool = field(default=False, metadata=NEVER)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> MapFigures:
        return super().of({**facts, "compared": "difference_fsc_40" in facts})

    def _has(self, part: str | None) -> bool:
        return part is None or (part == "compared" and self.compared)


@dataclass(kw_only=True)
class MicrographFigures(Record):
    """Of `drgnalign.validation.composition.micrograph_concentration`."""

    effective: float
    expected: float
    p: float


@dataclass(kw_only=True)
class ViewFigures(Record):
    """Of `drgnalign.validation.composition.view_coverage`."""

    efficiency: float
    expected: float
    z: float
    distance: float | None = None
    expected_distance: float | None = None
    # share of the shell at the map's resolution that the images' planes go through
    seen: float | None = None


@dataclass(kw_only=True)
class DefocusFigures(Record):
    """Of `drgnalign.validation.composition.defocus_shift`."""

    # 5 %, 50 %, 95 %
    quantiles: list[float] = field(metadata={"read": _three})
    quantiles_of_all: list[float] = field(metadata={"read": _three})
    higher: float
    z: float


@dataclass(kw_only=True)
class CompositionRecord(Record):
    """Where a cluster's particles come from; see `drgnalign.validation.composition`."""

    micrographs: MicrographFigures | None = field(default=None, metadata={"read": MicrographFigures.of})
    views: ViewFigures | None = field(default=None, metadata={"read": ViewFigures.of})
    defocus: DefocusFigures | None = field(default=None, metadata={"read": DefocusFigures.of})


def _named(name: str) -> str:
    """A name that a cluster has."""
    cluster_label(name)
    return name


@dataclass(kw_only=True)
class ClusterMetrics(Record):
    """Of ``metrics.json``, a cluster or the consensus: its map, its poses, its images."""

    cluster: str = field(metadata={"read": _named})
    particles: int
    skipped: bool
    carried: bool | None = field(default=None, metadata=MAP)
    alignment_limit_angstrom: float | None = field(default=None, metadata=MAP)
    reference: str | None = field(default=None, metadata=MAP)
    resolution_angstrom: float | None = field(default=None, metadata=MAP)
    reaches_nyquist: bool | None = field(default=None, metadata=MAP)
    mean_fsc: float | None = field(default=None, metadata=MAP)
    mask: str | None = field(default=None, metadata=MAP)
    density_outside_mask: float | None = field(default=None, metadata=MAP)
    b_factor_angstrom2: float | None = field(default=None, metadata=MAP)
    by_direction: DirectionFigures | None = field(default=None, metadata=MAP | {"read": DirectionFigures.of})
    difference_fsc_40: float | None = field(default=None, metadata=COMPARED)
    difference_fsc_25: float | None = field(default=None, metadata=COMPARED)
    amplitude: float | None = field(default=None, metadata=COMPARED)
    amplitude_error: float | None = field(default=None, metadata=COMPARED)
    accepted_share: float | None = field(default=None, metadata=REFINED)
    median_rotation_change_degrees: float | None = field(default=None, metadata=REFINED)
    median_shift_change_angstrom: float | None = field(default=None, metadata=REFINED)
    composition: CompositionRecord = field(default_factory=CompositionRecord, metadata={"read": CompositionRecord.of})
    # between which numbers its particles are with 95 % probability, by their posteriors and by chance
    particles_interval: list[int] | None = field(default=None, metadata=ASSIGNED | {"read": _ends})
    mean_posterior: float | None = field(default=None, metadata=ASSIGNED)
    separation_nats: float | None = field(default=None, metadata=ASSIGNED)
    spread: float | None = field(default=None, metadata=ASSIGNED)
    spread_interval: list[float] | None = field(default=None, metadata=ASSIGNED | {"read": _ends})
    turned: dict[str, Any] | None = field(default=None, metadata=ASSIGNED)
    assign_limit_angstrom: float | None = field(default=None, metadata=ASSIGNED)
    halves: str | None = field(default=None, metadata=MAP)
    difference_judged: float | None = None
    warnings: list[str] = field(default_factory=list)
    # those of the warnings that are no doubt about the cluster
    notes: list[str] = field(default_factory=list)
    compared: bool = field(default=False, metadata=NEVER)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> ClusterMetrics:
        judged = facts.get("difference_judged", facts.get("difference_fsc_40"))
        return super().of({**facts, "difference_judged": judged, "compared": "difference_fsc_40" in facts})

    def _has(self, part: str | None) -> bool:
        return (
            part is None
            or {
                "map": not self.skipped,
                "compared": self.compared,
                "refined": self.alignment_limit_angstrom is not None,
                "assigned": self.assign_limit_angstrom is not None,
                "never": False,
            }[part]
        )


@dataclass(kw_only=True)
class PassMetrics(Record):
    """``metrics.json``: a pass in figures."""

    WHAT: ClassVar[str] = "the metrics of a pass"

    number: int = field(metadata={"key": "pass", "read": int})
    round: int
    particles: int
    unassigned: int = 0
    left_out: int = 0
    left_out_by_input: int = 0
    left_out_new: int = 0
    left_out_back: int = 0
    left_out_inverted: int = 0
    junk_expected: float | None = None
    halves: str | None = None
    references: str | None = None
    median_rotation_change_degrees: float | None = None
    median_shift_change_angstrom: float | None = None
    verdict: str | None = None
    clusters: list[ClusterMetrics] = field(metadata={"read": lambda found: [ClusterMetrics.of(one) for one in found]})
    clustering: ClusteringRecord | None = field(default=None, metadata={"read": _of(ClusteringRecord)})
    screening: ScreeningRecord | None = field(default=None, metadata={"read": _of(ScreeningRecord)})
    # whether the loop has come to rest (`drgnalign.run.metrics.steady`)
    steady: bool = False

    @property
    def assignment(self) -> AssignmentRecord | None:
        """What the images made of the clusters first, if they were asked."""
        return None if self.clustering is None else self.clustering.assignment

    @property
    def moving(self) -> bool:
        """Does the linear model see a motion?"""
        return bool(self.clustering and self.clustering.moving)

    @property
    def ari_with_last_round(self) -> float | None:
        """Agreement with the last round's labels; None in the first, before which there are at most those given."""
        return None if self.clustering is None or self.round < 2 else self.clustering.ari_with_last_round

    @property
    def looked(self) -> ScreeningRecord | AssignmentRecord | None:
        """What was recorded when junk was last looked for."""
        return self.screening or self.assignment
