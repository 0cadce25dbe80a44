"""Labels of columns in messages: those that are nearly known ones, and those that are lost."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from drgnalign.errors import InputWarning

# A misspelt label differs by so many letters at most, and not by small and capital ones; shorter ones differ anyway.
MOST_EDITS, SHORTEST = 2, 8
# So many are named, the others counted.
MOST_NAMED = 8


def tell_misspelt(path: Path, labels: Iterable[str], known: Sequence[str], others: Sequence[str] = ()) -> None:
    """Say which labels of a table are nearly those of columns that would be used.

    Parameters
    ----------
    path : Path
        The file.
    labels : iterable of str
    known : sequence of str
        Labels that are used.
    others : sequence of str
        Right labels that are not used, though nearly the same.

    Warns
    -----
    InputWarning
    """
    meant = {
        label: near(label, known)
        for label in labels
        if label not in known and label not in others and not label.startswith("drgn")
    }
    said = [f"{label} (did you mean {right}?)" for label, right in meant.items() if right]
    if said:
        message = f"{path}: unknown columns, which are not used: {', '.join(said)}"
        warnings.warn(message, InputWarning, stacklevel=3)


def near(label: str, known: Sequence[str]) -> str | None:
    """The one of the known labels that a label is most like; None where it is like none."""
    if len(label) < SHORTEST:
        return None
    distances = {right: edits(label.lower(), right.lower()) for right in known if abs(len(right) - len(label)) <= 2}
    best = min(distances, key=distances.__getitem__, default=None)
    return best if best is not None and distances[best] <= MOST_EDITS else None


def edits(first: str, second: str) -> int:
    """Least number of letters to be changed, put in or taken out that makes one word of another (Levenshtein)."""
    row = list(range(len(second) + 1))
    for number, letter in enumerate(first, start=1):
        before, row = row, [number]
        for place, other in enumerate(second, start=1):
            row.append(min(before[place] + 1, row[-1] + 1, before[place - 1] + (letter != other)))
    return row[-1]


def first_of(labels: Sequence[str]) -> list[str]:
    """The first eight labels, and how many more there are."""
    return [*labels[:MOST_NAMED], *([f"{len(labels) - MOST_NAMED} more"] if len(labels) > MOST_NAMED else [])]
