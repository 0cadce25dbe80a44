"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from drgnalign.errors import InputError

# Of a file: device and number there; of what is not found: what is known of the name.
Identity = tuple[object, ...]
# What the running command was given to read, and the stacks that these files name; None where nobody asks.
_INPUTS: ContextVar[set[Identity] | None] = ContextVar("inputs", default=None)


def suffix_of(path: str | Path) -> str:
    """What a file's name ends with, from the dot on, in small letters: users of Windows have .STAR and .MRC."""
    return Path(path).suffix.lower()


def require_folder(path: Path) -> None:
    """Refuse a file's name whose folder does not exist or cannot be written."""
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(path, "its folder does not exist or cannot be written", "create the folder or choose another")


def identity(path: Path) -> Identity:
    """Alike of paths that lead to one file, by links of either kind too."""
    try:
        status = path.stat()
    except OSError:
        return (os.path.realpath(path),)
    return status.st_dev, status.st_ino


@contextmanager
def reading(paths: Iterable[Path]) -> Iterator[None]:
    """While the block runs these files, and those of `also_reading`, are the input, which `refuse_input` and
    `atomic_path` leave as it is."""
    token = _INPUTS.set({identity(path) for path in paths})
    try:
        yield
    finally:
        _INPUTS.reset(token)


def also_reading(path: Path) -> None:
    """Take a file for the input too, until the block of `reading` ends."""
    inputs = _INPUTS.get()
    if inputs is not None:
        inputs.add(identity(path))


def refuse_input(path: Path) -> None:
    """Refuse to write over a file that is read, by whatever name it goes.

    Raises
    ------
    InputError
    """
    if identity(path) in (_INPUTS.get() or ()):
        raise InputError(path, "it is a file that this command reads, and would be written over", "name another")


def refuse_emptied(paths: Iterable[Path]) -> None:
    """Refuse files of tasks that the workflow has emptied since: they have their old sizes, and hold nothing.

    Raises
    ------
    InputError
        All of them are named.
    """
    emptied = [path.resolve() for path in paths if _is_emptied(path)]
    if emptied:
        more = f", and {len(emptied) - 1} more" if len(emptied) > 1 else ""
        remove = shlex.join(["rm", *map(str, emptied)])
        remedy = f"remove what was emptied, and start again with -resume, which makes it again: {remove}"
        raise InputError(emptied[0], f"was emptied once its pass had ended{more}", f"{remedy}; --keep keeps such files")


def _is_emptied(path: Path) -> bool:
    with path.open("rb") as file:
        beginning = file.read(4096)
    return bool(beginning) and not any(beginning)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary name beside `path`, which takes its place when the block ends without an exception.

    Parameters
    ----------
    path : path
        Final name; its folder must exist and be writable.

    Yields
    ------
    Path
        Temporary name with the same suffix.

    Raises
    ------
    InputError
        The folder does not exist or cannot be written, or the file is one that the command reads (`reading`).
    """
    path = Path(path)
    refuse_input(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    if path.is_dir():
        raise InputError(path, "is a folder", "choose another name")
    require_folder(path)
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        # of a full disk the system says no name
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file, all of it or none."""
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def sha256_of(path: Path) -> str:
    """Of what is in a file, in hexadecimal digits; the file may be larger than the memory."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            found.update(part)
    return found.hexdigest()


def write_text(path: str | Path, text: str) -> None:
    """Write a text, all of it or none."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def significant(value: Any, digits: int = 6) -> Any:
    """JSON-ready `value` with all its floating-point numbers to so many digits: more mean nothing to anybody."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: significant(item, digits) for key, item in value.items()}
    return [significant(item, digits) for item in value] if isinstance(value, (list, tuple)) else value


def write_json(path: str | Path, record: Any) -> None:
    """Write a record for people and programs, its figures to six digits."""
    write_text(path, json.dumps(significant(record), indent=2) + "\n")
