"""What a pass gave as files for other programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from drgnalign.errors import InputError
from drgnalign.files import atomic_path, copy_whole, write_text
from drgnalign.formats.star import write_star
from drgnalign.half_maps import INDEPENDENT, NOT_INDEPENDENT, worst
from drgnalign.particles import LEFT_OUT, Particles
from drgnalign.run.chimerax import write_scenes
from drgnalign.run.record import read_record
from drgnalign.run.records import PathPoint
from drgnalign.run.state import (
    CONSENSUS,
    CURVE,
    FILTERED,
    FSC,
    HALF_MAPS,
    LEFT_OUT_FILE,
    LOCAL_RESOLUTION,
    MASK,
    MOTION,
    SHARP,
    members,
    point_names,
)

ALL, MEMBERS, INDEX = "all_particles.star", "_particles.star", "index.csv"
README = "README.txt"
MAPS = {
    HALF_MAPS[0]: "unfiltered map of half set 1",
    HALF_MAPS[1]: "unfiltered map of half set 2",
    FILTERED: "both half sets, filtered by their FSC, not sharpened",
}
OTHER_MAPS = {
    SHARP: "the same, sharpened by its B-factor",
    LOCAL_RESOLUTION: "local resolution, Å",
}


def export_final(particles: Particles, references: Path, outdir: Path, points: Iterable[Path] = ()) -> pd.DataFrame:
    """Write maps, FSC and particles of each cluster of the last state, and an index of them.

    Files are ``cluster_KK_half1.mrc``, ``cluster_KK_half2.mrc``, ``cluster_KK.mrc``, ``cluster_KK_fsc.csv`` and
    ``cluster_KK_particles.star`` per cluster, ``cluster_KK_sharp.mrc`` and ``cluster_KK_local_resolution.mrc`` where
    there are such; ``all_particles.star``; ``left_out_particles.star``, where some are left out, which are in no
    cluster's file; ``mask.mrc``, the mask of the FSCs; ``index.csv``; scripts for ChimeraX (`drgnalign.run.chimerax`);
    ``README.txt``, which says what opens in which program. A cluster that the last round skipped has no maps of that
    round: only its particles are written. Before there are clusters, the files of the consensus are written in their
    place. Maps along a motion are in ``motion/``.

    The star files are RELION 3.1's, for RELION and cryoSPARC. They hold every column of the input, with the poses
    of the last round. Image names are the input's: relative ones stay relative to the same folder, so start RELION
    there, or give it to cryoSPARC as the particle data path. Optics groups keep their numbers. As users of RELION
    expect after a classification with gold-standard halves, ``rlnClassNumber`` is the cluster (0: in none) and
    ``rlnRandomSubset`` the half set that the maps were made of. The ``drgn…`` columns stay (RELION keeps what it does
    not know): rows of the input, scores of the refinement, the input's class numbers, and in the optics table whether
    protein is white or dark in the stored images, which are never changed.

    Parameters
    ----------
    particles : Particles
        The last state.
    references : Path
        Folder of the last state's maps, with ``fsc.csv``.
    outdir : Path
    points : iterable of Path
        Folders of the points along its motion, each with the files of one.

    Returns
    -------
    DataFrame
        The index: ``file`` and ``description``.

    Raises
    ------
    InputError
        ``fsc.csv`` or a map of a cluster that stands in it is missing.
    """
    fsc_file = references / FSC
    if not fsc_file.is_file():
        raise InputError(fsc_file, "no such file", "give the references folder of a finished round")
    # As text: what is handed on must not change by a digit.
    fsc = pd.read_csv(fsc_file, dtype=str, keep_default_na=False)
    outdir.mkdir(parents=True, exist_ok=True)
    left_out = particles.left_out()
    labels = np.where(left_out, 0, particles.cluster_labels())
    write_star(particles, outdir / ALL)
    others = f"{int((~left_out & (labels == 0)).sum()):,} in no cluster, {left_out.sum():,} left out"
    index = {ALL: f"all {len(particles):,} particles in the input's order, {others}"}
    if left_out.any():
        write_star(particles.select(left_out), outdir / LEFT_OUT_FILE)
        index[LEFT_OUT_FILE] = f"{left_out.sum():,} particles that are left out ({LEFT_OUT} is 1): in no map"
    if (references / MASK).is_file():
        _copy(references / MASK, outdir)
        index[MASK] = "soft mask of the FSCs"
    found = {name: mine for name, mine in members(labels, ~left_out, set(fsc["cluster"])).items() if mine.any()}
    for name, mine in found.items():
        index |= _export_cluster(particles.select(mine), name, fsc, references, outdir)
    along = {name: folder for folder in points for name in point_names(folder)}
    index |= _export_motion(along, outdir / MOTION)
    scenes = write_scenes(
        outdir,
        [name for name in found if f"{name}{FILTERED}" in index],
        [name for name in sorted(along) if f"{MOTION}/{name}{FILTERED}" in index],
    )
    # first those that have maps
    names = sorted(found, key=lambda name: f"{name}{FILTERED}" not in index)
    write_text(outdir / README, readme(names, scenes))
    index |= {file: f"opens in ChimeraX {what}" for file, what in scenes.items()}
    index[README] = "what opens in which program"
    # Poses and maps of joint references, the consensus's among them, leave their mark on everything made later; how
    # half sets were dealt, on what has not been refined far enough since.
    own = fsc[fsc["cluster"] != CONSENSUS] if (fsc["cluster"] != CONSENSUS).any() else fsc
    worth = NOT_INDEPENDENT if (fsc["halves"] == NOT_INDEPENDENT).any() else worst(own["halves"].tolist())
    note = "" if worth == INDEPENDENT else f"; halves {worth}"
    table = pd.DataFrame([(file, what + note) for file, what in index.items()], columns=["file", "description"])
    with atomic_path(outdir / INDEX) as temporary:
        table.to_csv(temporary, index=False)
    return table


def _export_cluster(members: Particles, name: str, fsc: pd.DataFrame, references: Path, outdir: Path) -> dict[str, str]:
    """Description by name of the files written."""
    write_star(members, outdir / f"{name}{MEMBERS}")
    own = fsc[fsc["cluster"] == name]
    if own.empty:
        return {f"{name}{MEMBERS}": f"{len(members):,} particles; skipped in the last round: no maps, poses kept"}
    with atomic_path(outdir / f"{name}{CURVE}") as temporary:
        own.to_csv(temporary, index=False)
    maps = MAPS | {ending: what for ending, what in OTHER_MAPS.items() if (references / f"{name}{ending}").is_file()}
    for ending in maps:
        _copy(references / f"{name}{ending}", outdir)
    value = own["resolution_0143_angstrom"].iloc[0]
    resolution = f"{float(value):.2f} Å at 0.143 under {own['mask'].iloc[0]}" if value else "no resolution"
    return {
        f"{name}{MEMBERS}": f"{len(members):,} particles with their last poses",
        **{f"{name}{ending}": description for ending, description in maps.items()},
        f"{name}{CURVE}": f"FSC of the half maps, {resolution}",
    }


def _export_motion(points: Mapping[str, Path], outdir: Path) -> dict[str, str]:
    """Description by name of the files written; nothing of a point that too few particles show."""
    index: dict[str, str] = {}
    for name, folder in sorted(points.items()):
        point = read_record(PathPoint, folder / f"{name}.json")
        if not (folder / f"{name}{FILTERED}").exists():
            continue
        outdir.mkdir(exist_ok=True)
        for ending in (*MAPS, CURVE):
            _copy(folder / f"{name}{ending}", outdir)
        where = f"at {point.place:.2f} of the motion (0 to 1), as of {point.worth_particles:,.0f} particles"
        resolution = f"{point.resolution_angstrom:.2f} Å at 0.143" if point.resolution_angstrom else "no resolution"
        index |= {f"{MOTION}/{name}{ending}": f"{description}, {where}" for ending, description in MAPS.items()}
        index[f"{MOTION}/{name}{CURVE}"] = f"FSC of the half maps, {resolution}"
    return index


def readme(names: Sequence[str], scenes: Mapping[str, str]) -> str:
    """What opens in which program.

    Parameters
    ----------
    names : sequence of str
        ``cluster_KK`` of all clusters, or ``consensus``.
    scenes : mapping of str to str
        What ChimeraX's scripts show; there are some where there are maps.
    """
    there = "the folder that image names are relative to (--images, or that of --input)"
    name = names[0] if names else ALL.removesuffix(MEMBERS)
    again = f" (likewise {', '.join(names[1:])})" if len(names) > 1 else ""
    halves = f"{name}{HALF_MAPS[0]}, {name}{HALF_MAPS[1]}"
    export = "drgnalign export RESULTS --to"
    rows = [("ChimeraX", f"chimerax {file}: {what}") for file, what in scenes.items()]
    rows += [("RELION", f"particles {name}{MEMBERS}{again}; start RELION in {there}")]
    rows += [("RELION", f"reference {name}{FILTERED}, mask {MASK}; half maps {halves}")] if scenes else []
    rows += [("RELION", f"as a job of a project: {export} relion --relion-project PROJECT -o PROJECT/External/NAME")]
    rows += [("cryoSPARC", f"Import Particle Stack: {name}{MEMBERS}{again}; particle data path: {there}")]
    rows += [("cryoSPARC", f"Import 3D Volumes: {name}{FILTERED}, {MASK}, {halves}")] if scenes else []
    rows += [("cryoSPARC", f"particles that came from cryoSPARC: {export} cryosparc -o FOLDER")]
    rows += [("cryoDRGN", f"a round with a network: {export} cryodrgn -o FOLDER; poses and CTF alone:")]
    rows += [("cryoDRGN", f"drgnalign convert {name}{MEMBERS} --to cryodrgn -o FOLDER")]
    rows += [("EMDB", f"{export} emdb -o FOLDER")] if scenes else []
    rows += [("all files", f"{INDEX} says of each what it is; ../report.html what was found, and what not to believe")]
    programs = [program if program != before else "" for before, program in pairwise(["", *(row[0] for row in rows)])]
    return "".join(f"{program:<14}{text}\n" for program, (_, text) in zip(programs, rows, strict=True))


def _copy(source: Path, outdir: Path) -> None:
    if not source.is_file():
        raise InputError(source, "no such map", "give the references folder of the round that the particles are of")
    copy_whole(source, outdir / source.name)
