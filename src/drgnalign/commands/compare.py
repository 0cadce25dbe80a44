"""drgnalign compare: maps against known maps and atomic models."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from drgnalign.commands import EXISTING, OUTPUT, Command
from drgnalign.errors import InputError
from drgnalign.files import require_folder
from drgnalign.known.clusters import cluster_files
from drgnalign.known.comparison import FITTED, compare_all
from drgnalign.known.read import known_files
from drgnalign.known.records import RECORD, ComparisonRecord
from drgnalign.known.text import comparison_text
from drgnalign.known.thesis import THESIS, thesis_text
from drgnalign.report.known import write_known_figures


class Known(click.Path):
    """A file or folder, or the word for published figures, which stays a word."""

    def __init__(self) -> None:
        super().__init__(exists=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return THESIS if value == THESIS else super().convert(value, param, ctx)


@click.command(cls=Command)
@click.argument("maps", type=EXISTING)
@click.argument("known", type=Known(), nargs=-1, required=True)
@click.option("-o", "--output", type=OUTPUT, required=True, help="Folder for tables, fitted references, differences.")
def compare(maps: Path, known: Sequence[Path | str], output: Path) -> None:
    """Hold MAPS against KNOWN maps and atomic models: which is which, and what differs.

    MAPS is a run's round_NN or final, a folder of such maps, or one map. KNOWN are maps (.mrc, .map) and models (.cif,
    .pdb), also packed by gzip, or folders of these. They may have another box, voxel size, hand and scale of grey
    values, and lie in any orientation. The word thesis in their place stands for the reference method's published
    figures.
    """
    require_folder(output.absolute())
    if output.is_file():
        raise InputError(output, "is a file", "name a folder, which is made, with -o")
    if (output / RECORD).exists() or any((output / FITTED).glob("*")):
        raise InputError(output, "has a comparison already, or what is left of one", "choose another folder")
    if output.resolve() in [path.resolve() for path in (maps, *known) if isinstance(path, Path)]:
        raise InputError(output, "is a folder of what is compared", "name another with -o, which is made")
    files = cluster_files(maps)
    published = THESIS in known
    given = known_files(path for path in known if isinstance(path, Path))
    record = compare_all(files, given, output, lambda text: click.echo(text, err=True), published)
    if given:
        write_known_figures(record, output)
        click.echo(comparison_text(record))
    if published:
        click.echo(thesis_text(record.clusters))
    click.echo(f"Next: {_next(record, output, files[0].parent)}", err=True)


def _next(record: ComparisonRecord, output: Path, maps: Path) -> str:
    """What opens a map with its reference and their difference."""
    if not record.pairs:
        return "give the EMDB's maps of the same classes, or an atomic model, too"
    pairs = [one for one in record.pairs if one.assigned] or [one for one in record.pairs if one.claimed]
    if not pairs:
        return f"look at {output / RECORD}; a reference that should be there may be of another scale or hand"
    name = f"{pairs[0].cluster}__{pairs[0].reference}.mrc"
    return shlex.join(["chimerax", str(maps / f"{pairs[0].cluster}.mrc"), str(output / "fitted" / name)])
