"""Compressed files, which no reader unpacks."""

from __future__ import annotations

from pathlib import Path

from drgnalign.errors import InputError
from drgnalign.files import suffix_of

# First bytes of what others make of a file, and what it is then.
PACKED = {
    b"\x1f\x8b": "compressed by gzip",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ\x00": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"PK\x03\x04": "a zip archive",
}


def refuse_packed(path: Path, head: bytes | None = None) -> None:
    """Refuse a compressed file, whatever its name is.

    Parameters
    ----------
    path : Path
    head : bytes, optional
        Its first bytes, six or more, where they are known already.

    Raises
    ------
    InputError
        It is compressed.
    """
    if head is None:
        with path.open("rb") as file:
            head = file.read(8)
    for magic, what in PACKED.items():
        if head.startswith(magic):
            name = path.stem if suffix_of(path) in (".gz", ".bz2", ".xz", ".zst", ".zip") else path.name
            raise InputError(path, f"is {what}", f"unpack it, and give {name}")
