"""Settings that users give with ``--frealign_args``, and how both Frealigns want them written."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Protocol

import numpy as np

from drgnalign.errors import InputError

Ranges = Mapping[str, "tuple[float, float] | None"]
"""The smallest and the largest value of settings that users may change; None where there is no such thing."""

# Helical and other symmetries want further settings.
SYMMETRIES = r"[CD][1-9]\d?|T|O|I[12]?"
# Seconds granted to a program whatever it does, for each particle (twenty times what a box of 256 took), and for each
# byte of sums that it reads (10 MB/s, as a shared disk under load).
TIME_LIMIT, PARTICLE_TIME, BYTE_TIME = 120.0, 8.0, 1e-7
TIME_LIMITS = (0.1, 1e7)


def parse_arguments(text: str, known: Collection[str]) -> dict[str, str]:
    """Settings of ``--frealign_args``.

    Parameters
    ----------
    text : str
        ``key=value,key=value…``
    known : collection of str
        Keys that may be set.

    Returns
    -------
    dict of str to str

    Raises
    ------
    InputError
        Not of that form, a key that is not known, or one twice.
    """
    given: dict[str, str] = {}
    for word in filter(None, (word.strip() for word in text.split(","))):
        key, equals, value = word.partition("=")
        if not equals or not value or key in given:
            raise InputError(None, f"--frealign_args: {word!r} is not a setting", "give key=value,… , each key once")
        if key not in known:
            raise InputError(None, f"--frealign_args: no setting is called {key!r}", f"known are {', '.join(known)}")
        given[key] = value
    return given


def check_arguments(arguments: Mapping[str, str], kinds: Mapping[str, str], ranges: Ranges) -> None:
    """Refuse settings that are of another kind, or out of their range.

    Parameters
    ----------
    arguments : mapping of str to str
        As `parse_arguments` gives them.
    kinds : mapping of str to str
        Kind of each, as `formatted` has them; a number where it is not there.
    ranges : mapping

    Raises
    ------
    InputError
    """
    for key, text in arguments.items():
        formatted(key, kinds.get(key, "real"), text)
        if key == "symmetry" and not re.fullmatch(SYMMETRIES, text):
            raise InputError(None, f"--frealign_args: symmetry is {text!r}", "give C1, D7, T, O, I, …")
        limits = ranges[key]
        if limits is not None and not limits[0] <= float(text) <= limits[1]:
            problem = f"--frealign_args: {key} is {text}"
            raise InputError(None, problem, f"give a number from {limits[0]:g} to {limits[1]:g}")


def formatted(key: str, kind: str, value: object) -> str:
    """A setting as text.

    Kinds are text, yes (or no), flag (T or F), switch (1 or 0), whole, real, and short, a number without an exponent or
    needless digits.

    Raises
    ------
    InputError
        The value is of another kind.
    """
    try:
        if kind in ("yes", "flag", "switch"):
            word = value if isinstance(value, str) else ("yes" if value else "no")
            yes, no = {"yes": ("yes", "no"), "flag": ("T", "F"), "switch": ("1", "0")}[kind]
            return {"yes": yes, "no": no}[word]
        if kind == "text":
            return str(value)
        number = float(value)  # type: ignore[arg-type]
        if not np.isfinite(number) or (kind == "whole" and number != int(number)):
            raise ValueError
        return {"whole": f"{number:.0f}", "short": f"{number:g}"}.get(kind, repr(number))
    except (ValueError, KeyError):
        named = {"whole": "a whole number", **dict.fromkeys(("yes", "flag", "switch"), "yes or no")}
        raise InputError(None, f"--frealign_args: {key} is {value!r}", f"give {named.get(kind, 'a number')}") from None


class Place(Protocol):
    """Where a program reads a setting: a question or a place on a card."""

    @property
    def key(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def default(self) -> object: ...


def filled(place: Place, values: Mapping[str, object], arguments: Mapping[str, str]) -> str:
    """What goes there, as text: what follows from the data, else the user's setting, else the default.

    Raises
    ------
    InputError
        It is of another kind.
    """
    value = values[place.key] if place.key in values else arguments.get(place.key, place.default)
    return formatted(place.key, place.kind, value)


def time_limit(arguments: Mapping[str, str], particles: int = 0, size: int = 0) -> float:
    """Seconds that a program may take for some particles, or some bytes of sums."""
    if "time_limit" in arguments:
        return float(arguments["time_limit"])
    return TIME_LIMIT + PARTICLE_TIME * particles + BYTE_TIME * size
