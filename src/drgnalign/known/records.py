"""``comparison.json``: what was found of each map and each reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from drgnalign.run.record import Own, Record

RECORD = "comparison.json"
MAP, MODEL = "map", "model"
# Of the hand.
AS_GIVEN, MIRRORED, NOT_TOLD = "as given", "mirrored", "not told"


def _all_of(kind: type[Own]) -> Callable[[list[Any]], list[Own]]:
    return lambda records: [kind.of(one) for one in records]


@dataclass(kw_only=True)
class PairRecord(Record):
    """A map and a reference. What needs the reference's place is None where it was not found."""

    cluster: str
    reference: str
    # a map or a model
    kind: str
    claimed: bool
    # correlation in frequencies that no place was fitted to, and what random places make of them
    agreement: float
    null_mean: float
    null_deviation: float
    z: float
    hand: str
    hand_margin: float
    # x_map = rotation · x_reference + shift, from box centre to box centre; holds scale and inversion
    rotation: list[list[float]] | None = None
    shift_angstrom: list[float] | None = None
    scale: float | None = None
    grey_scale: float | None = None
    fit_limit_angstrom: float | None = None
    mean_fsc: float | None = None
    resolution_05_angstrom: float | None = None
    # of a model: the same of the chains that are present, and the mean Q-score of its residues
    resolution_05_present_angstrom: float | None = None
    q_score: float | None = None
    # of an even ball with the reference's radius of gyration
    diameter_angstrom: float | None = None
    # by the assignment
    assigned: bool = False
    margin: float | None = None


@dataclass(kw_only=True)
class ChainRecord(Record):
    """A chain of a model in a map; see `drgnalign.known.chains.ChainOccupancy`."""

    cluster: str
    reference: str
    chain: str
    residues: int
    occupancy: float
    null_mean: float
    null_deviation: float
    z: float
    # nobody knows where the null reaches as far
    present: bool | None
    q_score: float | None = None


@dataclass(kw_only=True)
class ClusterRecord(Record):
    """A map: which reference it is, of those there are."""

    cluster: str
    resolution_angstrom: float
    pixel_size_angstrom: float
    box: int
    half_maps: bool
    # what its half sets are worth, where its run says so
    halves: str | None = None
    # what the FSC of this row is taken under, and up to which resolution its mean
    mask: str = ""
    reference: str | None = None
    margin: float | None = None
    # whether each half map alone would be the same reference; nobody knows without half maps
    halves_agree: bool | None = None


@dataclass(kw_only=True)
class ComparisonRecord(Record):
    """``comparison.json``."""

    WHAT: ClassVar[str] = "the record of a comparison"

    version: str
    # whether the reference method's published figures are to be shown beside
    thesis: bool = False
    clusters: list[ClusterRecord] = field(default_factory=list, metadata={"read": _all_of(ClusterRecord)})
    pairs: list[PairRecord] = field(default_factory=list, metadata={"read": _all_of(PairRecord)})
    chains: list[ChainRecord] = field(default_factory=list, metadata={"read": _all_of(ChainRecord)})

    def of_cluster(self, name: str) -> list[PairRecord]:
        """The pairs of a map."""
        return [one for one in self.pairs if one.cluster == name]

    def chains_of(self, pair: PairRecord) -> list[ChainRecord]:
        """Of the model of a pair."""
        return [one for one in self.chains if (one.cluster, one.reference) == (pair.cluster, pair.reference)]

    def table(self) -> list[Mapping[str, Any]]:
        """Rows of ``comparison.csv``: the pairs, rotations as nine numbers row by row."""
        return [_flat(one.written()) for one in self.pairs]


def _flat(facts: dict[str, Any]) -> dict[str, Any]:
    """With lists as columns of their own."""
    rotation, shift = facts.pop("rotation") or [[None] * 3] * 3, facts.pop("shift_angstrom") or [None] * 3
    turned = {f"r{row + 1}{column + 1}": rotation[row][column] for row in range(3) for column in range(3)}
    return facts | {f"shift_{axis}_angstrom": value for axis, value in zip("xyz", shift, strict=True)} | turned
