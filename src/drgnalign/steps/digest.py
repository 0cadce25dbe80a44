"""DIGEST: what each step's results depend on besides data and parameters."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, FOLDER, OUTPUT, Command
from drgnalign.files import write_json
from drgnalign.version import step_digests


@click.command(cls=Command)
@click.argument("checkout", type=FOLDER)
@click.option("--environment", type=FILE, required=True, help="What locks the versions of all other libraries.")
@click.option("-o", "--output", type=OUTPUT, required=True, help="By name of the step, as JSON.")
def main(checkout: Path, environment: Path, output: Path) -> None:
    """Digest the code behind the steps of CHECKOUT, which has bin/ and src/."""
    write_json(output, step_digests(checkout / "bin", checkout / "src" / "drgnalign", environment))
