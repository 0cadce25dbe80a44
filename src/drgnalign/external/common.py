"""What the drivers of both Frealigns share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from drgnalign.arrays import FloatVolume, IntArray
from drgnalign.errors import DrgnalignError, InputError
from drgnalign.files import refuse_emptied
from drgnalign.formats.mrc import read_volume, write_volume
from drgnalign.geometry import angular_distance
from drgnalign.interface import Chunk, EngineSettings, References
from drgnalign.maps.mask import particle_mask
from drgnalign.maps.read import read_map, read_mask
from drgnalign.particles import ANGLES, ORIGINS, Particles
from drgnalign.run.state import STATISTICS, beside

EXTRA_COLUMNS = ["drgnFrealignLogp", "drgnFrealignSigma", "drgnFrealignScore", "drgnFrealignChange"]


def mass_of(settings: EngineSettings) -> float:
    """Mass in kDa, without which both programs refine wrongly and say nothing."""
    if settings.mass_kda is None:
        raise InputError(None, "Frealign needs the mass of the particle", "give --mass_kda")
    return settings.mass_kda


def log_folder(settings: EngineSettings) -> Path:
    """Where what the programs print is kept."""
    folder = (settings.logs or Path("frealign_logs")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def half_sets(particles: Particles, joint: bool) -> dict[int, IntArray]:
    """Rows of each half set that has some; one group, 0, where both are aligned to one map. Particles that are left
    out are in none."""
    kept = ~particles.left_out()
    if joint:
        return {0: np.flatnonzero(kept)}
    halves = np.where(kept, particles.half_sets(), 0)
    return {half: np.flatnonzero(halves == half) for half in (1, 2) if (halves == half).any()}


def statistics_beside(prefix: Path) -> Path:
    """Where the resolution statistics of a reconstruction are, beside its maps."""
    return beside(prefix, f"{STATISTICS}.txt")


def optics_value(particles: Particles, label: str) -> float:
    """The one value of an optics column: the programs know one for all."""
    values = particles.optics[label].to_numpy(np.float64)[np.unique(particles.optics_rows())]
    if not np.allclose(values, values[0], rtol=1e-6):
        listed = ", ".join(f"{value:g}" for value in np.unique(values))
        remedy = "refine the optics groups apart, or with --engine native"
        raise InputError(particles.path, f"{label} differs ({listed}), and Frealign knows one", remedy)
    return float(values[0])


def joint_map_beside(prefix: Path) -> Path:
    """Where the map that a program made of both half sets, the next joint reference, is beside the half maps."""
    return beside(prefix, f"{STATISTICS}_map.mrc")


def write_reference(chunk: Chunk, references: References, half: int, path: Path) -> None:
    """Write the map that particles are aligned to, under the mask: a half set's own, or for 0 the joint one.

    The joint one is the program's own, as the reference method had it; the mean of the half maps where these are not
    the program's (the decoder's, for one).
    """
    particles = chunk.particles
    box, pixel_size = particles.box, particles.pixel_size
    halves, joint = [references.half1, references.half2], joint_map_beside(references.prefix)
    sources = [halves[half - 1]] if half else [joint] if joint.is_file() else halves
    volume: FloatVolume = np.mean([read_map(source, box, pixel_size) for source in sources], axis=0, dtype=np.float32)
    if references.mask is None:
        mask = particle_mask(volume, pixel_size, chunk.diameter)
    else:
        mask = read_mask(references.mask, box, pixel_size)
    write_volume(path, volume * mask, pixel_size)


def check_answer(program: str, asked: Particles, answer: Particles, images: Sequence[str], log: Path) -> None:
    """Make sure that a program answered for every particle, in order, with finite numbers; `images` names them.

    Raises
    ------
    DrgnalignError
        It did not.
    """
    remedy = "look at the log; images or references may be damaged"
    if len(answer) != len(asked):
        raise DrgnalignError(log, f"{program} answered for {len(answer)} of {len(asked)} particles", remedy)
    if (answer.image_locations()[0] != asked.image_locations()[0]).any():
        raise DrgnalignError(log, f"{program} answered for other particles than it was asked for", remedy)
    columns = [*ANGLES, *ORIGINS, *(label for label in EXTRA_COLUMNS if label in answer.table)]
    finite = np.isfinite(answer.table[columns].to_numpy(np.float64)).all(axis=1)
    if not finite.all():
        first = images[int((~finite).argmax())]
        problem = f"{program} wrote NaN for {(~finite).sum()} particles, the first of them {first}"
        raise DrgnalignError(log, problem, remedy)


def refined(particles: Particles, rows: Sequence[np.ndarray], answers: Sequence[Particles]) -> Particles:
    """Particles with the poses and scores of the answers.

    Parameters
    ----------
    particles : Particles
        (N).
    rows : sequence of (n,) int
        Which of them each answer is about.
    answers : sequence of Particles
        (n) each.

    Returns
    -------
    Particles
        With the columns that the native engine adds as well; the scores are Frealign's. Rows without an answer are as
        they were.
    """
    table = particles.table.copy()
    columns = [*ANGLES, *ORIGINS, *(label for label in EXTRA_COLUMNS if label in answers[0].table)]
    before = table["drgnFrealignScore"] if "drgnFrealignScore" in table else pd.Series(np.nan, table.index)
    for label in columns:
        values = table[label].to_numpy(np.float64).copy() if label in table else np.full(len(table), np.nan)
        for chosen, answer in zip(rows, answers, strict=True):
            values[chosen] = answer.table[label]
        table[label] = values
    result = Particles(table, particles.optics.copy(), particles.path)
    moved = (table[ORIGINS] - particles.table[ORIGINS]).to_numpy(np.float64)
    table["drgnScoreBefore"] = before.to_numpy(np.float64)
    table["drgnScore"] = table["drgnFrealignScore"]
    table["drgnAccepted"] = np.isin(np.arange(len(table)), np.concatenate(rows)).astype(np.int64)
    table["drgnRotationChange"] = angular_distance(particles.rotations(), result.rotations())
    table["drgnShiftChange"] = np.linalg.norm(moved, axis=1)
    return result


def pack_dumps(dumps: Mapping[int, Sequence[Path]], part: Path) -> None:
    """Move the dumps of each half set into a part, a folder."""
    temporary = part.with_name(f".{part.name}.{os.getpid()}")
    temporary.mkdir()
    try:
        for half, files in dumps.items():
            for number, file in enumerate(files, start=1):
                shutil.move(file, temporary / f"half{half}_{number}{file.suffix}")
        if part.is_dir():
            shutil.rmtree(part)
        temporary.rename(part)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def link_dumps(parts: Sequence[Path], folder: Path, suffix: str) -> dict[int, list[Path]]:
    """Link the dumps of all parts into a folder as ``half1_1.suffix`` and so on; those of each half set."""
    dumps: dict[int, list[Path]] = {0: [], 1: [], 2: []}
    refuse_emptied(file for part in parts for file in part.glob(f"half[012]_*{suffix}"))
    for part in sorted(parts, key=lambda part: part.name):
        files = sorted(part.glob(f"half[012]_*{suffix}"))
        if not files:
            raise InputError(part, "is no part of a reconstruction by this Frealign", "make it again")
        for file in files:
            half = int(file.name[4])
            link = folder / f"half{half}_{len(dumps[half]) + 1}{suffix}"
            link.symlink_to(file.resolve())
            dumps[half].append(link)
    return dumps


def written_map(program: str, path: Path, log: Path) -> FloatVolume:
    """A map that a program has written."""
    if not path.is_file():
        raise DrgnalignError(log, f"{program} wrote no map", "look at the log")
    try:
        volume = read_volume(path)[0]
    except InputError as error:
        raise DrgnalignError(log, f"{program} wrote a map that {error.problem}", "look at the log") from error
    if not volume.std() > 0:
        raise DrgnalignError(log, f"{program} wrote an empty map", "look at the log")
    return volume
