"""``inputs.json``, the record of what the particle file was found to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from drgnalign.run.record import Record

# More clusters than this are not listed one by one.
LISTED = 12


@dataclass(kw_only=True)
class LabelsRecord(Record):
    """Labels that were given: a person's decision, which changes what maps of these clusters show."""

    WHAT: ClassVar[str] = "what the labels given were found to be"

    file: str
    sha256: str
    # particles by label
    clusters: dict[str, int]
    unassigned: int
    left_out: int
    # particles by what a person decided of them, in words (`drgnalign edit`)
    decisions: dict[str, int] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """Without a full stop."""
        sizes = ", ".join(f"{count:,} in {label}" for label, count in list(self.clusters.items())[:LISTED])
        more = f" and {len(self.clusters) - LISTED} more" if len(self.clusters) > LISTED else ""
        number = f"{len(self.clusters)} cluster{'' if len(self.clusters) == 1 else 's'}"
        said = f"the first round starts from its {number} ({sizes}{more})"
        said += f"; {self.unassigned:,} particles are in none" if self.unassigned else ""
        said += f"; {self.left_out:,} are left out for good" if self.left_out else ""
        decided = ", ".join(f"{words} ({count:,} particles)" for words, count in self.decisions.items())
        return said + (f"; a person decided: {decided}" if decided else "")


@dataclass(kw_only=True)
class InputsRecord(Record):
    """What CHECK_INPUTS found, and what CHECK_SETTINGS warns of besides."""

    WHAT: ClassVar[str] = "what the input was found to be"

    input: str
    particles: int
    box: int
    pixel_size_angstrom: float
    train_box: int
    optics_groups: int
    half_sets: list[int]
    halves: str
    left_out_by_input: int
    contrast: list[str]
    contrast_from: str
    normalised: bool
    backgrounds: dict[str, Any]
    optics: list[dict[str, Any]]
    warnings: list[str]
    notes: list[str]
    labels: LabelsRecord | None = field(default=None, metadata={"read": LabelsRecord.of, "part": "labels"})

    def _has(self, part: str | None) -> bool:
        return part is None or getattr(self, part) is not None


def doubts_of_input(written: Mapping[str, Any]) -> list[str]:
    """Of an `InputsRecord` as it is written, or nothing: its warnings without what only says what was done with the
    input, which is no doubt about a result."""
    return [text for text in written.get("warnings", []) if text not in written.get("notes", [])]
