"""What files are called in messages: a task of the workflow works with links, the user knows what they lead to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

# Set by the workflow for its tasks.
IN_TASK = "DRGNALIGN_TASK"
# Folder of another task, whose results are nothing that the user has named.
TASK_FOLDER = re.compile(r"/[0-9a-f]{2}/[0-9a-f]{30}(/|$)")
# The run's own link to the folder of the images (subworkflows/images.nf).
IMAGES_OF_A_RUN = re.compile(r"/images/[0-9a-f]{32}$")


def in_task() -> bool:
    """Is this a task of the workflow?"""
    return IN_TASK in os.environ


def is_of_the_run(path: Path) -> bool:
    """Is a file of this task one that another task has made, so that the user has none of that name?"""
    return in_task() and path.is_symlink() and TASK_FOLDER.search(str(path.readlink())) is not None


def as_given(message: str) -> str:
    """A message with the user's own paths in place of the links that a task of the workflow has for them.

    Parameters
    ----------
    message : str
        May name files relative to the current folder.

    Returns
    -------
    str
        The same outside of the workflow's tasks.
    """
    if not in_task():
        return message
    for link in _links(Path.cwd()):
        target = _given(link)
        if not TASK_FOLDER.search(target):
            name = str(link.relative_to(Path.cwd()))
            # a folder's name alone may also be a word of the message
            end = "(?=/)" if link.is_dir() and "/" not in name else r"(?![\w.-])"
            message = re.sub(rf"(?<![\w./-]){re.escape(name)}{end}", target.replace("\\", r"\\"), message)
    return message


def _given(link: Path) -> str:
    """What a task's link leads to, by the user's name of it."""
    target = link.readlink()
    own = IMAGES_OF_A_RUN.search(str(target)) and target.is_symlink()
    return str(target.readlink() if own else target)


def _links(folder: Path) -> Iterator[Path]:
    """Links in a task's folder, and in the folders in it that files are put into under their own names."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            yield path
        elif path.is_dir():
            yield from (inner for inner in sorted(path.iterdir()) if inner.is_symlink())
