"""drgnalign export: a pass of a run for another program."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from drgnalign.commands import FOLDER, OUTPUT, Command
from drgnalign.errors import InputError
from drgnalign.handover.cryodrgn import write_workdir
from drgnalign.handover.cryosparc import write_groups
from drgnalign.handover.emdb import write_entries
from drgnalign.handover.relion import OF_RELION, write_job
from drgnalign.handover.results import parameters_of, read_results, root_of_images

TO = ("relion", "cryosparc", "cryodrgn", "emdb")
OF_IMAGES = ("relion", "cryodrgn")


@click.command(cls=Command)
@click.argument("results", type=FOLDER)
@click.option("--to", type=click.Choice(TO), required=True, help="The program, or the data bank.")
@click.option("-o", "--output", "--o", type=OUTPUT, required=True, help="Folder; for RELION one in the project.")
@click.option("--relion-project", type=FOLDER, help="Folder that RELION is started in: paths are relative to it.")
@click.option("--pass", "folder", help="Of the pass in RESULTS, such as round_02. Default: the last one.")
@click.option("--images", type=FOLDER, help="Folder that image names are relative to. Default: as the run was told.")
def export(
    results: Path, to: str, output: Path, relion_project: Path | None, folder: str | None, images: Path | None
) -> None:
    """Write a pass of the run whose --outdir is RESULTS in the form that another program wants.

    relion: a folder as of an External job of a project: particles of each cluster with image names that RELION finds
    from there, half maps, maps, mask. cryosparc: result groups, where the input was cryoSPARC's. cryodrgn: a training's
    folder, which its analyze and dashboard open, of those who are not left out. emdb: a folder for each cluster with
    what a deposition asks.
    """
    there = [path.name for path in output.iterdir()] if output.is_dir() else []
    if output.is_file() or [name for name in there if to != "relion" or not OF_RELION.match(name)]:
        raise InputError(output, "is there, and is no empty folder", "name a new folder with -o")
    if images is not None and to not in OF_IMAGES:
        raise InputError(None, f"--images, and --to {to}", "leave it out: names of images stay as they are")
    if (to == "relion") != (relion_project is not None):
        remedy = "give --relion-project" if to == "relion" else "leave it out, or give --to relion"
        raise InputError(None, f"--to {to} and --relion-project", remedy)
    found = read_results(results, folder)
    said = f"{output}: {', '.join(state.name for state in found.states)} of {found.folder}"
    if relion_project is not None:
        write_job(found, images or root_of_images(results), relion_project, output)
    elif to == "cryodrgn":
        epoch = write_workdir(found, images or root_of_images(results), output)
        said = f"{said}; next: cryodrgn analyze {shlex.quote(str(output))} {epoch}, or cryodrgn dashboard"
    elif to == "cryosparc":
        write_groups(found, output)
    else:
        write_entries(found, output, parameters_of(results).get("symmetry") or "C1, if --symmetry was not given")
    click.echo(said)
