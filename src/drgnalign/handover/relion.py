"""Results as a job of a RELION project.

A folder of an External job (RELION's documentation, "Using RELION", "External job-type"): what the job made is listed
in ``RELION_OUTPUT_NODES.star`` with its type, and ``RELION_JOB_EXIT_SUCCESS`` says that it is whole. Paths in RELION's
files are relative to the project's folder, in which RELION is started.
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

from drgnalign.errors import InputError
from drgnalign.files import copy_whole, suffix_of, write_text
from drgnalign.formats.star import write_star
from drgnalign.handover.results import Results, absolute, refuse_missing_stacks
from drgnalign.run.export import MEMBERS
from drgnalign.run.state import FILTERED, HALF_MAPS, MASK, beside
from drgnalign.stack_names import with_names

# What RELION's External tab has put into the folder of its job.
OF_RELION = re.compile(r"\.|job|run\.|note\.|default_pipeline|continue_|RELION_JOB_")
NODES, SUCCESS = "RELION_OUTPUT_NODES.star", "RELION_JOB_EXIT_SUCCESS"
STACK = ".mrcs"
# Types of nodes, of RELION 4 and 5.
PARTICLES_NODE, MAP_NODE, HALF_MAP_NODE, MASK_NODE = (
    "ParticleGroupMetadata.star.relion",
    "DensityMap.mrc",
    "DensityMap.mrc.halfmap",
    "Mask3D.mrc",
)


def write_job(results: Results, root: Path, project: Path, folder: Path) -> dict[str, str]:
    """Write a pass as a job: particles and maps of each cluster, the mask, and the list of them.

    ``rlnRandomSubset`` is the half set of the maps, ``rlnClassNumber`` the cluster; the ``drgn…`` columns stay, which
    RELION keeps. Stacks that are not named ``.mrcs`` get ``:mrcs`` behind their names, as RELION wants it.

    Parameters
    ----------
    results : Results
    root : Path
        Folder that image names are relative to.
    project : Path
        The project's folder.
    folder : Path
        Of the job, in the project; made if need be.

    Returns
    -------
    dict of str to str
        Type of each file in the list, by its path in the project.

    Raises
    ------
    InputError
        The folder is not in the project, or a stack is not found.
    """
    job = Path(os.path.relpath(folder.resolve(), project.resolve()))
    if job.parts[:1] == ("..",) or not project.is_dir():
        raise InputError(folder, f"is not in the RELION project {project}", "give -o PROJECT/External/NAME")
    if len(str(job).split()) > 1:
        raise InputError(folder, "has a blank in its name, at which RELION parts rows", "give a name without one")
    refuse_missing_stacks(results, root)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SUCCESS).unlink(missing_ok=True)
    nodes: dict[str, str] = {}
    for state in results.states:
        name = f"{state.name}{MEMBERS}"
        named = with_names(state.particles, root, partial(_call, project=project))
        write_star(named, folder / name)
        nodes[name] = PARTICLES_NODE
        for ending, kind in ((HALF_MAPS[0], HALF_MAP_NODE), (HALF_MAPS[1], HALF_MAP_NODE), (FILTERED, MAP_NODE)):
            path = beside(state.prefix, ending)
            copy_whole(path, folder / path.name)
            nodes[path.name] = kind
    copy_whole(results.mask, folder / MASK)
    nodes[MASK] = MASK_NODE
    listed = {str(job / name): kind for name, kind in nodes.items()}
    rows = "".join(f"{path} {kind}\n" for path, kind in listed.items())
    head = "data_output_nodes\n\nloop_\n_rlnPipeLineNodeName #1\n_rlnPipeLineNodeTypeLabel #2\n"
    write_text(folder / NODES, f"# version 30001\n\n{head}{rows}")
    write_text(folder / SUCCESS, "")
    return listed


def _call(stack: Path, project: Path) -> str:
    """From the project's folder where the stack is in it, else from the root of all."""
    file, folder = absolute(stack), absolute(project)
    name = str(file.relative_to(folder) if file.is_relative_to(folder) else file)
    return name if suffix_of(name) == STACK else f"{name}:{STACK[1:]}"
