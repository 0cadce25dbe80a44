"""What the drivers of both Frealigns share."""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from drgnalign.engine.mask import particle_mask
from drgnalign.errors import DrgnalignError, InputError
from drgnalign.files import atomic_path
from drgnalign.formats.mrc import read_volume, write_volume
from drgnalign.geometry import angular_distance
from drgnalign.interface import Chunk, EngineSettings, FloatVolume, References
from drgnalign.maps import read_map
from drgnalign.particles import ANGLES, ORIGINS, IntArray, Particles

# Seconds granted to a program, and for each particle: twenty times what a box of 256 took.
TIME_LIMIT = (120.0, 8.0)
EXTRA_COLUMNS = ["drgnFrealignLogp", "drgnFrealignSigma", "drgnFrealignScore", "drgnFrealignChange"]


def parse_arguments(text: str, known: Collection[str]) -> dict[str, str]:
    """Settings of ``--frealign_args``.

    Parameters
    ----------
    text : str
        ``key=value,key=value…``
    known : collection of str
        Keys that may be set.

    Returns
    -------
    dict of str to str

    Raises
    ------
    InputError
        Not of that form, a key that is not known, or one twice.
    """
    given: dict[str, str] = {}
    for word in filter(None, (word.strip() for word in text.split(","))):
        key, equals, value = word.partition("=")
        if not equals or not value or key in given:
            raise InputError(None, f"--frealign_args: {word!r} is not a setting", "give key=value,… , each key once")
        if key not in known:
            raise InputError(None, f"--frealign_args: no setting is called {key!r}", f"known are {', '.join(known)}")
        given[key] = value
    return given


def time_limit(arguments: Mapping[str, str], particles: int) -> float:
    """Seconds that a program may take."""
    if "time_limit" in arguments:
        try:
            seconds = float(arguments["time_limit"])
        except ValueError:
            raise InputError(None, "--frealign_args: time_limit is no number", "give seconds") from None
        if not 0 < seconds < np.inf:
            raise InputError(None, f"--frealign_args: a time_limit of {seconds:g} is none", "give seconds")
        return seconds
    return TIME_LIMIT[0] + TIME_LIMIT[1] * particles


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
    """Rows of each half set that has some; one group, 0, where both are aligned to one map."""
    if joint:
        return {0: np.arange(len(particles))}
    halves = particles.half_sets()
    return {half: np.flatnonzero(halves == half) for half in (1, 2) if (halves == half).any()}


def statistics_beside(prefix: Path) -> Path:
    """Where the resolution statistics of a reconstruction are, beside its maps."""
    return prefix.with_name(f"{prefix.name}_statistics.txt")


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
    return prefix.with_name(f"{prefix.name}_statistics_map.mrc")


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
        mask = read_map(references.mask, box, pixel_size)
    write_volume(path, volume * mask, pixel_size)


def check_answer(program: str, asked: Particles, answer: Particles, path: Path) -> None:
    """Make sure that a program answered for every particle, in order, with finite numbers.

    Raises
    ------
    DrgnalignError
        It did not.
    """
    remedy = "look at the log; images or references may be damaged"
    if len(answer) != len(asked):
        raise DrgnalignError(path, f"{program} answered for {len(answer)} of {len(asked)} particles", remedy)
    if (answer.image_locations()[0] != asked.image_locations()[0]).any():
        raise DrgnalignError(path, f"{program} answered for other particles than it was asked for", remedy)
    columns = [*ANGLES, *ORIGINS, *(label for label in EXTRA_COLUMNS if label in answer.table)]
    finite = np.isfinite(answer.table[columns].to_numpy(np.float64)).all(axis=1)
    if not finite.all():
        row = int((~finite).argmax()) + 1
        raise DrgnalignError(path, f"{program} wrote NaN for {(~finite).sum()} particles, first in row {row}", remedy)


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
        With the columns that the native engine adds as well; the scores are Frealign's.
    """
    table = particles.table.copy()
    columns = [*ANGLES, *ORIGINS, *(label for label in EXTRA_COLUMNS if label in answers[0].table)]
    before = table["drgnFrealignScore"] if "drgnFrealignScore" in table else pd.Series(np.nan, table.index)
    for label in columns:
        values = table[label].to_numpy(np.float64).copy() if label in table else np.zeros(len(table))
        for chosen, answer in zip(rows, answers, strict=True):
            values[chosen] = answer.table[label]
        table[label] = values
    result = Particles(table, particles.optics.copy(), particles.path)
    moved = (table[ORIGINS] - particles.table[ORIGINS]).to_numpy(np.float64)
    table["drgnScoreBefore"] = before.to_numpy(np.float64)
    table["drgnScore"] = table["drgnFrealignScore"]
    table["drgnAccepted"] = 1
    table["drgnRotationChange"] = angular_distance(particles.rotations(), result.rotations())
    table["drgnShiftChange"] = np.linalg.norm(moved, axis=1)
    return result


def pack_dumps(dumps: Mapping[int, Sequence[Path]], part: Path) -> None:
    """Write the dumps of each half set into a part, a tar file."""
    with atomic_path(part) as temporary, tarfile.open(temporary, "w") as archive:
        for half, files in dumps.items():
            for number, file in enumerate(files, start=1):
                archive.add(file, f"half{half}_{number}{file.suffix}")


def unpack_dumps(parts: Sequence[Path], folder: Path, suffix: str) -> Counter[int]:
    """Extract the dumps of all parts as ``half1_1.suffix`` and so on; how many there are for each half set."""
    counts: Counter[int] = Counter()
    for part in sorted(parts):
        try:
            with tarfile.open(part) as archive:
                for member in archive.getmembers():
                    if not member.name.endswith(suffix):
                        raise ValueError(f"it holds {member.name}")
                    half = int(member.name[4])
                    counts[half] += 1
                    member.name = f"half{half}_{counts[half]}{suffix}"
                    archive.extract(member, folder, filter="data")
        except (tarfile.TarError, ValueError, KeyError) as error:
            problem = f"is no part of a reconstruction by this Frealign ({error})"
            raise InputError(part, problem, "make it again") from error
    return counts


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


@contextmanager
def working_folder() -> Iterator[Path]:
    """A temporary folder in the working directory, where there is room for stacks and dumps."""
    with TemporaryDirectory(prefix=".frealign_", dir=".") as name:
        yield Path(name).resolve()
