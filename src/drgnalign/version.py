"""What tells one state of the library from another."""

from __future__ import annotations

import hashlib
from pathlib import Path

from drgnalign import __version__

PACKAGE = Path(__file__).resolve().parent

__all__ = ["PACKAGE", "__version__", "source_digest"]


def source_digest(package: Path = PACKAGE) -> str:
    """SHA-256 of the names and contents of all Python files of a copy of this package.

    Parameters
    ----------
    package : path
        Folder of the copy; the one that runs if not given.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py"), key=lambda file: file.relative_to(package).as_posix()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{content}  {file.relative_to(package).as_posix()}\n".encode())
    return digest.hexdigest()
