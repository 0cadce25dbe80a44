"""What tells one state of the library from another."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from drgnalign import __version__
from drgnalign.errors import InputError

PACKAGE = Path(__file__).resolve().parent
LABELS, TITLE = Path("/.singularity.d/labels.json"), "org.opencontainers.image.title"

__all__ = ["PACKAGE", "__version__", "check_image", "source_digest"]


def source_digest(package: Path = PACKAGE) -> str:
    """SHA-256 of the names and contents of all Python and C files of a copy of this package.

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
    sources = (file for file in package.rglob("*") if file.suffix in (".py", ".c"))
    for file in sorted(sources, key=lambda file: file.relative_to(package).as_posix()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{content}  {file.relative_to(package).as_posix()}\n".encode())
    return digest.hexdigest()


def check_image(image: Path, name: str, checkout: Path, labels: Path = LABELS) -> None:
    """Make sure that the image this runs in is what its name says, with the library of a checkout.

    Parameters
    ----------
    image : path
        For the message.
    name : str
        What it has to be: drgnalign, cryodrgn or frealign.
    checkout : path
        Folder of the checkout's package.
    labels : path
        Where Apptainer keeps the labels of the image.

    Raises
    ------
    InputError
        It is another one: scripts of one version would run with the library of another.
    """
    title = json.loads(labels.read_text()).get(TITLE) if labels.exists() else None
    if title != name:
        problem = f"is the image {title}, not {name}" if title else "is no image that `make images` has built"
        raise InputError(image, problem, "build the images with `make images`, and keep their names")
    inside, outside = source_digest(), source_digest(checkout)
    if inside != outside:
        match = re.search(r'^__version__ = "(.*)"$', (checkout / "__init__.py").read_text(), re.M)
        version = match[1] if match else "unknown"
        problem = (
            f"holds drgnalign {__version__} (source {inside[:12]}), and the checkout is {version} ({outside[:12]})"
        )
        raise InputError(image, problem, "build the images again from this checkout with `make images`")
