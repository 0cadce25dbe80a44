#!/usr/bin/env python3
"""CHECK_IMAGE: the library inside an image, held against the checkout's."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import distributions
from pathlib import Path

import click

from drgnalign.commands import FOLDER, Command
from drgnalign.version import check_image


@click.command(cls=Command)
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="What the image has to be.")
@click.option("--checkout", type=FOLDER, required=True, help="Folder src/drgnalign of the checkout that runs.")
def main(image: Path, name: str, checkout: Path) -> None:
    """Refuse IMAGE, inside which this runs, where it is another one or its library is not the checkout's."""
    check_image(image, name, checkout)
    print(installed(name))


def installed(name: str) -> str:
    """A digest of what is in the image besides the library, which is the checkout's: Python, its packages, programs."""
    packages = sorted(f"{package.name} {package.version}" for package in distributions() if package.name != "drgnalign")
    programs = sorted(path for path in Path("/opt/frealign/bin").glob("*") if path.is_file())
    contents = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in programs]
    return hashlib.sha256("\n".join([name, platform.python_version(), *packages, *contents]).encode()).hexdigest()


if __name__ == "__main__":
    main()
