"""NOTE_DECISIONS: which files of their own people gave the run, and what they decide."""

from __future__ import annotations

from pathlib import Path

import click

from drgnalign.commands import FILE, OUTPUT, Command
from drgnalign.files import sha256_of
from drgnalign.run.decisions import Decision, DecisionsRecord
from drgnalign.run.inputs import InputsRecord
from drgnalign.run.record import read_record, write_record

# What the file of each parameter decides; of labels InputsRecord has more to say.
DECIDES = {
    "ind": "which images are taken",
    "labels": "the clusters of the first round",
    "initial_maps": "a map that the first round's assignment starts from",
    "mask": "the mask of all passes",
    "focus_mask": "what assignment judges by",
    "weights": "the first round's training",
    "start_from": "poses, half sets and who is left out for good",
}


@click.command(cls=Command)
@click.option(
    "--file",
    "files",
    type=(click.Choice(list(DECIDES)), str, FILE),
    multiple=True,
    help="A parameter, the file that it names as people know it, and the file.",
)
@click.option("--inputs", type=FILE, required=True, help="What was found of the particles, JSON.")
@click.option("-o", "--output", type=OUTPUT, required=True)
def main(files: tuple[tuple[str, str, Path], ...], inputs: Path, output: Path) -> None:
    """Write which files were given, with digests of what is in them."""
    labels = read_record(InputsRecord, inputs).labels
    decides = DECIDES | ({} if labels is None else {"labels": labels.sentence})
    noted = [
        Decision(parameter=name, file=known, sha256=sha256_of(path), decides=decides[name])
        for name, known, path in files
    ]
    write_record(DecisionsRecord(decisions=noted), output)
