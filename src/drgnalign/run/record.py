"""A record of a run: what a JSON file, or a part of it, holds, and the one way to read and to write it.

Apart from the records themselves, so that another figure of a pass does not make anew what only writes a record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from drgnalign.errors import InputError
from drgnalign.files import write_json

Own = TypeVar("Own", bound="Record")


class Record:
    """What a file, or a part of it, holds in JSON: its fields under their names, in their order."""

    # What messages call it.
    WHAT: ClassVar[str] = "a record of the run"

    @classmethod
    def of(cls: type[Own], facts: Mapping[str, Any]) -> Own:
        """From what was read; what no field is named for is left aside.

        Raises
        ------
        TypeError
            It lacks what such a record has always had.
        """
        own = {}
        for one in fields(cls):  # type: ignore[arg-type]
            key = one.metadata.get("key", one.name)
            if key in facts:
                value = facts[key]
                own[one.name] = value if value is None else one.metadata.get("read", _as_is)(value)
        return cls(**own)

    def written(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            one.metadata.get("key", one.name): _plain(getattr(self, one.name))
            for one in fields(self)  # type: ignore[arg-type]
            if self._has(one.metadata.get("part"))
        }

    def _has(self, part: str | None) -> bool:
        """Does the record have the fields of a part, or of none?"""
        return part is None


def _as_is(value: Any) -> Any:
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.written()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def read_record(kind: type[Own], path: Path) -> Own:
    """Read a record.

    Raises
    ------
    InputError
        The file is missing or broken.
    """
    try:
        return kind.of(json.loads(path.read_text(), parse_constant=_refuse))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(path, f"cannot be read as {kind.WHAT} ({error})", "run again with -resume") from error


def _refuse(constant: str) -> None:
    """Python would take what is no JSON."""
    raise ValueError(f"{constant} is no number")


def write_record(record: Record, path: Path) -> None:
    """Write a record."""
    write_json(path, record.written())
