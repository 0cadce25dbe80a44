"""The one exception family: every message names the file, what is wrong and what to do."""

from __future__ import annotations

from pathlib import Path


class DrgnalignError(Exception):
    """Something went wrong that the user can understand and act on.

    Parameters
    ----------
    file : path or None
        The file concerned, if there is one.
    problem : str
        What is wrong, with the numbers that show it.
    remedy : str
        What the user can do about it.
    """

    exit_code = 1

    def __init__(self, file: str | Path | None, problem: str, remedy: str) -> None:
        self.file = None if file is None else str(file)
        self.problem = problem
        self.remedy = remedy
        where = "" if self.file is None else f"{self.file}: "
        super().__init__(f"{where}{problem}\n  What to do: {remedy}")


class InputError(DrgnalignError):
    """The user's input cannot be used as it is: trying again will not help (exit status 2)."""

    exit_code = 2


class InputWarning(UserWarning):
    """The input can be read, but something about it is probably not what the user thinks it is."""


class InputNote(InputWarning):
    """What was done with the input, which the user may want to know; no doubt about what comes of it."""
