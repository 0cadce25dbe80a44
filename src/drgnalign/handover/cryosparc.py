"""Results as result groups of cryoSPARC: what its job "Import Result Group" takes.

A group is a ``.csg`` file, YAML, beside the ``.cs`` file that it names: of each slot (``blob``, ``ctf``,
``alignments3D`` and others) the file, the number of rows and the type, as cryoSPARC writes them beside the outputs of a
job. ``uid`` are those of the input, so that particles are those that the project has, and no stack is imported again.
"""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from drgnalign.errors import InputError
from drgnalign.files import write_text
from drgnalign.formats.cryosparc import write_cs
from drgnalign.formats.cryosparc.fields import UID, field_names, load_rows
from drgnalign.handover.results import Results, State
from drgnalign.run.export import MEMBERS

# What is written whole; of places in micrographs some fields are missing.
WHOLE_SLOTS = ("blob", "ctf", "alignments2D", "alignments3D")
# Of the form, not of ours.
FORM = "v4.0.0"


def write_groups(results: Results, folder: Path) -> list[Path]:
    """Write ``cluster_KK_particles.csg`` and ``.cs`` of each state.

    Stacks are named as in the input, relative to cryoSPARC's project; ``alignments3D/split`` is the half set of the
    maps.

    Parameters
    ----------
    results : Results
        Of a run whose input was cryoSPARC's.
    folder : Path
        Made if need be.

    Returns
    -------
    list of Path
        The groups.

    Raises
    ------
    InputError
        The input was not cryoSPARC's.
    """
    if UID not in results.particles.table:
        remedy = "import final/…_particles.star by Import Particle Stack"
        raise InputError(results.folder, "is not of particles from cryoSPARC: they have no uid", remedy)
    folder.mkdir(parents=True, exist_ok=True)
    return [_write_group(results, state, folder) for state in results.states]


def _write_group(results: Results, state: State, folder: Path) -> Path:
    particles = (folder / f"{state.name}{MEMBERS}").with_suffix(".cs")
    write_cs(state.particles, particles)
    group = particles.with_suffix(".csg")
    written = {field.partition("/")[0] for field in field_names(load_rows(particles))}
    slots = [slot for slot in WHOLE_SLOTS if slot in written]
    lines = [
        f"created: {datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M:%S.%f')}",
        "group:",
        f"  description: '{len(state.particles)} particles of {state.name}, {results.folder.name}, by drgnalign'",
        f"  name: {state.name}",
        f"  title: {state.name}",
        "  type: particle",
        "results:",
        *(line for slot in slots for line in _slot(slot, particles.name, len(state.particles))),
        f"version: {FORM}",
    ]
    write_text(group, "\n".join(lines) + "\n")
    return group


def _slot(slot: str, file: str, count: int) -> list[str]:
    return [f"  {slot}:", f"    metafile: '>{file}'", f"    num_items: {count}", f"    type: particle.{slot}"]
