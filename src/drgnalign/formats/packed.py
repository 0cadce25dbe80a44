"""Compressed files, and text that no reader takes apart."""

from __future__ import annotations

import codecs
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


def refuse_other_text(path: Path, data: bytes) -> None:
    """Refuse text whose lines or letters are not those of any program of the field.

    Raises
    ------
    InputError
        It is in UTF-16, or its lines end as on Macs before 2001.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(path, "is text in UTF-16, which no program of the field reads", "save it as UTF-8")
    if b"\r" in data and b"\n" not in data:
        problem = "is one line: its ends of lines are those of old Macs (CR), which no program of the field reads"
        raise InputError(path, problem, "save it with line ends of Unix (LF), which editors call by that name")
