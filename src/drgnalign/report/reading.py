"""What the workflow itself writes about a run, which the page shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from drgnalign.run.record import Own, Record, read_record

# Of a run's --outdir: where it keeps its records, and two of them.
INFO, RUN, SESSION = "pipeline_info", "run.json", "session.json"
# What to do where results are not as a run left them.
WHOLE = "copy the whole results, or run again with -resume"


@dataclass(kw_only=True)
class SessionRecord(Record):
    """``session.json``: of which run the results are, and where it was started."""

    WHAT: ClassVar[str] = "the record of a session"

    session: str | None = None
    folder: str | None = None


@dataclass(kw_only=True)
class RunRecord(Record):
    """``run.json``: what was asked for, and how many passes and rounds that makes."""

    WHAT: ClassVar[str] = "the record of a run"

    command: str | None = None
    parameters: dict[str, Any] | None = None
    defaults: dict[str, Any] | None = None
    passes: int | None = None
    rounds: int | None = None


def read_there(kind: type[Own], path: Path) -> dict[str, Any]:
    """What a record says by name; nothing where there is no file.

    Raises
    ------
    InputError
        It is broken, or holds something else.
    """
    return read_record(kind, path).written() if path.is_file() else {}
