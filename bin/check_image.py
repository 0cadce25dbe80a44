#!/usr/bin/env python3
"""CHECK_IMAGE: the library inside an image, held against the checkout's."""

from __future__ import annotations

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


if __name__ == "__main__":
    main()
