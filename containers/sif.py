"""Write an image so that the same contents give the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import uuid
from datetime import datetime, timezone
from pathlib import Path

# SIF 1.0: the header has a random identifier and two times; descriptors of 585 bytes follow, each with two times and
# the numbers of user and group that made it.
HEADER_ID, DESCRIPTORS, DESCRIPTOR_SIZE, DESCRIPTOR_TIMES = 48, 4096, 585, 41
BUILD_DATE = "org.label-schema.build-date"


def write_sif(root: Path, definition: Path, image: Path, time: int) -> None:
    """Pack a sandbox.

    Parameters
    ----------
    root : path
        The sandbox, whose label with the date of the build is set to `time`.
    definition : path
        Kept in the image.
    image : path
        The file to write.
    time : int
        Seconds since 1970: time of every file in the image.
    """
    _fix_build_date(root / ".singularity.d" / "labels.json", time)
    squashfs = image.with_name(f"{image.name}.squashfs")
    try:
        packing = ["-noappend", "-comp", "zstd", "-Xcompression-level", "9", "-all-root", "-no-xattrs", "-no-progress"]
        packing += ["-quiet", "-mkfs-time", str(time), "-all-time", str(time)]
        _run(["mksquashfs", root, squashfs, *packing])
        image.unlink(missing_ok=True)
        _run(["apptainer", "sif", "new", image])
        add = ["apptainer", "sif", "add", "--groupid", "1"]
        _run([*add, "--datatype", "1", "--filename", "deffile", image, definition])
        partition = ["--datatype", "4", "--parttype", "2", "--partfs", "1", "--partarch", "2", "--filename", "rootfs"]
        _run([*add, *partition, image, squashfs])
        _fix_header(image, squashfs, time)
    finally:
        squashfs.unlink(missing_ok=True)
    image.chmod(0o755)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, which may be larger than memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _run(command: list[object]) -> None:
    # mksquashfs takes times from its options or from the environment, not from both.
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    subprocess.run([str(word) for word in command], check=True, env=environment)


def _fix_build_date(labels: Path, time: int) -> None:
    entries = json.loads(labels.read_text())
    entries[BUILD_DATE] = datetime.fromtimestamp(time, timezone.utc).isoformat()
    labels.write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n")


def _fix_header(image: Path, squashfs: Path, time: int) -> None:
    digest = bytes.fromhex(sha256_of(squashfs))
    times = struct.pack("<qq", time, time)
    with image.open("r+b") as file:
        file.seek(HEADER_ID)
        file.write(uuid.UUID(bytes=digest[:16], version=4).bytes + times)
        for number in range(2):
            file.seek(DESCRIPTORS + number * DESCRIPTOR_SIZE + DESCRIPTOR_TIMES)
            file.write(times + struct.pack("<qq", 0, 0))
