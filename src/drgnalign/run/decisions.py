"""``decisions.json``, the record of what people gave a run besides its particles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from drgnalign.run.record import Record

DECISIONS = "decisions.json"


@dataclass(kw_only=True)
class Decision(Record):
    """A file that a person chose, and what that decides."""

    # without --
    parameter: str
    file: str
    sha256: str
    decides: str


def _all_of(items: Any) -> list[Decision]:
    return [Decision.of(item) for item in items]


@dataclass(kw_only=True)
class DecisionsRecord(Record):
    """All of a run, in the order in which they were given."""

    WHAT: ClassVar[str] = "what people decided"

    decisions: list[Decision] = field(metadata={"read": _all_of})
