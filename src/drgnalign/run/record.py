"""A record of a run: what a JSON file, or a part of it, holds, and the one way to read and to write it.

Apart from the records themselves, so that another figure of a pass does not make anew what only writes a record.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, NoReturn, TypeVar, get_args, get_origin, get_type_hints

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
            It lacks what such a record has always had, or something is of another type than it always was.
        """
        if not isinstance(facts, Mapping):
            raise TypeError("it holds no names with values")
        own, kinds = {}, _kinds(cls)  # type: ignore[arg-type]
        for one in fields(cls):  # type: ignore[arg-type]
            key = one.metadata.get("key", one.name)
            if key in facts:
                value = facts[key]
                own[one.name] = value if value is None else one.metadata.get("read", _as_is)(value)
                if not _fits(own[one.name], kinds[one.name]):
                    raise TypeError(f"{key} is {value!r:.40}, and no {_in_words(kinds[one.name])}")
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


@cache
def _kinds(kind: type[Record]) -> dict[str, Any]:
    """Types of the fields of a kind of record."""
    return get_type_hints(kind)


def _fits(value: Any, kind: Any) -> bool:
    """Is a value of the type that a field is declared with? A whole number is a number too, true and false are none."""
    of, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if of is UnionType:
        return any(_fits(value, one) for one in inner)
    if of is list:
        return isinstance(value, list) and all(_fits(item, inner[0]) for item in value)
    if of is dict:
        return isinstance(value, dict) and all(_fits(item, inner[1]) for item in value.values())
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)


def _in_words(kind: Any) -> str:
    """'number' of a field that holds one, or nothing."""
    words = {int: "whole number", float: "number", str: "text", bool: "true or false", dict: "table"}
    inner = get_args(kind) if get_origin(kind) is UnionType else (kind,)
    names = [get_origin(one) or one for one in inner if one is not NoneType]
    return " or ".join(words.get(name, name.__name__) for name in names)


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
        return kind.of(json.loads(path.read_text(), parse_constant=_refuse, parse_float=_finite))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(path, f"cannot be read as {kind.WHAT} ({error})", "run again with -resume") from error


def _finite(text: str) -> float:
    """Python would read 1e999 as infinite."""
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _refuse(constant: str) -> NoReturn:
    """Python would take what is no JSON."""
    raise ValueError(f"{constant} is no number")


def write_record(record: Record, path: Path) -> None:
    """Write a record."""
    write_json(path, record.written())
