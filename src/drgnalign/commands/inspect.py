"""drgnalign inspect: what files are, what is in them, and what looks wrong."""

from __future__ import annotations

import json
from pathlib import Path

import click

from drgnalign.commands import EXISTING, Command
from drgnalign.inspect import inspect_file, report_text


@click.command(cls=Command)
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--images",
    type=EXISTING,
    help="Folder that image names are relative to (default: each file's own), or the stack of a par file.",
)
@click.option(
    "--all-images",
    is_flag=True,
    help="Look at all images for NaN and blank ones, not at 16 of each file, and at the backgrounds of up to 2,000.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def inspect(files: tuple[Path, ...], images: Path | None, all_images: bool, as_json: bool) -> None:
    """Say what FILES are, what is in them, and what looks wrong: particle files, cryoDRGN's pickles, stacks and maps.

    The exit status is 2 if a file has an error: it cannot be read, or holds or names what no program can use.
    """
    reports = []
    for path in files:
        reports.append(inspect_file(path, images, every_image=all_images))
        if not as_json:
            click.echo(("\n" if len(reports) > 1 else "") + report_text(reports[-1]))
    if as_json:
        click.echo(json.dumps(reports, indent=2, ensure_ascii=False, allow_nan=False))
    if any(finding["level"] == "error" for report in reports for finding in report["findings"]):
        click.get_current_context().exit(2)
