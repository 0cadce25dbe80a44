"""FrealignX (refine3d 1.02, reconstruct3d_stats 1.03, merge3d 1.01 of cisTEM 1) as a refinement engine.

The programs ask one question after the other. They deal particles to two maps by the parity of their number in the
stack, so that they are given one half set at a time: what they call odd and even are then two quarters, which are added
up again. Only with a joint reference are they left to do it their way, as the reference method did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from drgnalign.errors import DrgnalignError, InputError
from drgnalign.external.common import (
    joint_map_beside,
    link_dumps,
    optics_value,
    statistics_beside,
    written_map,
)
from drgnalign.external.driver import ANSWERED, ASKED, FrealignDriver, Group, warn
from drgnalign.external.images import STACK
from drgnalign.external.program import working_folder
from drgnalign.external.prompts import ADJUSTABLE, CLOSING, DEFAULTS, KINDS, PROGRAMS, answers_to, probe
from drgnalign.external.settings import time_limit
from drgnalign.files import atomic_path
from drgnalign.formats.frealign_statistics import read_statistics
from drgnalign.formats.mrc import write_volume
from drgnalign.formats.par import write_par
from drgnalign.interface import Chunk, Reconstruction, References

# A dump's head: seven whole numbers, the first three of which are the box of its arrays, the fourth the images' and the
# seventh their count; the pixel sizes of both, and more. Behind it, for half of the arrays' box, a complex number and
# then a weight for each voxel, in single precision.
DUMP_HEAD, DUMP_COUNT, VOXEL_BYTES = 60, slice(24, 28), 12
# Statistics with an FSC above the one behind an FSC below the other are wrong.
PERFECT, IMPERFECT = 0.9999, 0.99
# refine3d keeps the outer mask so far from the edge of the box, Å.
EDGE = 20.0


class FrealignX(FrealignDriver):
    """FrealignX; a part holds two dumps for each half set."""

    programs = PROGRAMS
    refiner, summer = "refine3d", "reconstruct3d_stats"
    kinds, defaults, ranges = KINDS, DEFAULTS, ADJUSTABLE
    _probe = staticmethod(probe)

    def reconstruct(self, parts: Sequence[Path], prefix: Path) -> Reconstruction:
        with working_folder() as folder:
            dumps = link_dumps(parts, folder, ".dat")
            files = [*dumps[1], *dumps[2]]
            for file in files:
                _check_size(file, file.resolve().parent)
            box, pixel_size = _sampling(files[0])
            count = max(len(dumps[half]) for half in (1, 2))
            for half in (1, 2):
                # the program wants as many dumps of one map as of the other
                for number in range(len(dumps[half]) + 1, count + 1):
                    _write_empty(files[0], folder / f"half{half}_{number}.dat")
            values = {
                "half1": "half1.mrc",
                "half2": "half2.mrc",
                "filtered": "filtered.mrc",
                "statistics": "statistics.txt",
                "mass_kda": self.mass_kda,
                "reconstruction_outer_radius": self._reconstruction_radius(box * pixel_size),
                "odd_seed": "half1_.dat",
                "even_seed": "half2_.dat",
                "dumps": count,
            }
            seconds = time_limit(self.arguments, size=2 * count * files[0].stat().st_size)
            log = self._ask("merge3d", values, folder, prefix.name, seconds)
            half1, half2, joint = (
                written_map("merge3d", folder / str(values[key]), log) for key in ("half1", "half2", "filtered")
            )
            statistics = _written_statistics(folder / "statistics.txt", box, log)
        with atomic_path(statistics_beside(prefix)) as temporary:
            temporary.write_bytes(statistics)
        if self.settings.joint_reference:
            write_volume(joint_map_beside(prefix), joint, pixel_size)
        return Reconstruction(half1, half2, pixel_size)

    def _facts(self, chunk: Chunk, dark: bool) -> dict[str, object]:
        particles = chunk.particles
        return {
            "stack": STACK,
            "input_par": ASKED,
            "first": 1,
            "last": 0,
            "pixel_size": particles.pixel_size,
            "voltage": optics_value(particles, "rlnVoltage"),
            "cs": optics_value(particles, "rlnSphericalAberration"),
            "amplitude_contrast": optics_value(particles, "rlnAmplitudeContrast"),
            "mass_kda": self.mass_kda,
            "reconstruction_outer_radius": self._reconstruction_radius(particles.box * particles.pixel_size),
            "invert": not dark,
        }

    def _refinement_radius(self, chunk: Chunk) -> dict[str, object]:
        wanted = float(self.arguments.get("outer_radius", 0.5 * chunk.diameter))
        largest = 0.5 * chunk.particles.box * chunk.particles.pixel_size - EDGE
        if wanted > largest and ("outer_radius" in self.arguments or chunk.mask_diameter is not None):
            warn(f"the outer radius of {wanted:g} Å is cut to {largest:g} Å: refine3d keeps {EDGE:g} Å from the edge")
        return {"outer_radius": min(wanted, largest)}

    def _reconstruction_radius(self, width: float) -> float:
        """Outer radius of a map's mask in Å, in a box of some Å."""
        wanted = float(self.arguments.get("reconstruction_outer_radius", 0.5 * width))
        if wanted > 0.5 * width:
            warn(f"reconstruction_outer_radius of {wanted:g} Å is cut to half the box, {0.5 * width:g} Å")
        return min(wanted, 0.5 * width)

    def _refinement_facts(self, chunk: Chunk, references: References, limit: float, folder: Path) -> dict[str, object]:
        return _statistics(references, folder)

    def _refine_group(self, group: Group, references: References, facts: Mapping[str, object]) -> Path:
        write_par(group.particles, group.folder / ASKED, "parx")
        values = {
            **facts,
            "matching_projections": "projections.mrc",
            "output_par": ANSWERED,
            "output_changes": "changes.par",
        }
        return self._ask("refine3d", values, group.folder, group.name, self._seconds(group))

    def _dump_group(self, group: Group, facts: Mapping[str, object]) -> tuple[Path, dict[int, list[Path]]]:
        write_par(group.particles, group.folder / ASKED, "parx")
        odd, even = (group.folder / f"dump{group.half}_{parity}.dat" for parity in ("odd", "even"))
        values = {
            **facts,
            "half1": "odd.mrc",
            "half2": "even.mrc",
            "filtered": "filtered.mrc",
            "statistics": "dumped.txt",
            "dump": True,
            "dump_odd": odd.name,
            "dump_even": even.name,
        }
        log = self._ask("reconstruct3d_stats", values, group.folder, group.name, self._seconds(group))
        # with one reference for all, odd and even are the halves, as the reference method had it
        return log, {group.half: [odd, even]} if group.half else {1: [odd], 2: [even]}

    def _check_dump(self, path: Path, log: Path) -> None:
        # where a disk is full the program goes on as if nothing were the matter
        _check_size(path, log)
        values = np.memmap(path, "<f4", "r", DUMP_HEAD)
        if not all(np.isfinite(piece).all() for piece in np.array_split(values, 1 + values.size // 2**22)):
            problem = f"{self.summer} dumped NaN into {path.name}: an image is blank or damaged"
            raise DrgnalignError(log, problem, "look at the images of this chunk")

    def _ask(self, program: str, values: Mapping[str, object], folder: Path, name: str, seconds: float) -> Path:
        """Answer a program's questions; the log if all went well."""
        answers = answers_to(PROGRAMS[program], values, self.arguments)
        return self._run(program, answers, CLOSING[program], folder, name, seconds)


def _statistics(references: References, folder: Path) -> dict[str, object]:
    """Put the statistics of the references into a folder, where there are some; the answers about them."""
    path = statistics_beside(references.prefix)
    if not path.exists():
        warn(f"{path.name} is not beside the reference: FrealignX then weights resolutions by a formula")
    is_known = path.exists() and _is_credible(path)
    if is_known:
        (folder / "statistics.txt").write_bytes(path.read_bytes())
    return {"statistics": "statistics.txt", "use_statistics": is_known}


def _written_statistics(path: Path, box: int, log: Path) -> bytes:
    """Statistics that merge3d has written, after a look whether they are whole."""
    try:
        table = read_statistics(path)
    except InputError as error:
        raise DrgnalignError(log, f"the statistics that merge3d wrote: {error.problem}", "look at the log") from error
    if len(table) != box // 2 or not np.isfinite(table.to_numpy()).all():
        problem = f"merge3d wrote statistics of {len(table)} shells, not {box // 2}, or some that are no numbers"
        raise DrgnalignError(log, problem, "look at the log, and for room on the disk")
    return path.read_bytes()


def _is_credible(path: Path) -> bool:
    """Whether statistics can weight images: at pixels of 13 Å merge3d was seen to write an FSC of 1 behind 0.8,
    and refinement with that table doubled the errors that it had without."""
    fsc = read_statistics(path)["fsc"].to_numpy()
    worst = np.minimum.accumulate(fsc)
    credible = not ((fsc > PERFECT) & (worst < IMPERFECT)).any()
    if not credible:
        warn(f"{path}: its FSC is 1 in shells behind others that are not; refined without these statistics")
    return credible


def _head(dump: Path) -> bytes:
    """Filled up with zeros where the file is shorter."""
    with dump.open("rb") as file:
        return file.read(DUMP_HEAD).ljust(DUMP_HEAD, bytes(1))


def _check_size(dump: Path, where: Path) -> None:
    """Make sure that a dump is as long as its head says."""
    head = np.frombuffer(_head(dump), "<i4")
    expected = DUMP_HEAD + VOXEL_BYTES * (int(head[0]) // 2 + 1) * int(head[1]) * int(head[2])
    if dump.stat().st_size != expected:
        problem = f"{dump.name} was not written wholly: it has {dump.stat().st_size} bytes of {expected}"
        raise DrgnalignError(where, problem, "make room on the disk, and run again")


def _sampling(dump: Path) -> tuple[int, float]:
    """Box and pixel size in Å of a dump."""
    head = _head(dump)
    return int(np.frombuffer(head[12:16], "<i4")[0]), float(np.frombuffer(head[32:36], "<f4")[0])


def _write_empty(dump: Path, path: Path) -> None:
    """A dump of no images, of the shape of another."""
    head = bytearray(_head(dump))
    head[DUMP_COUNT] = bytes(4)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(dump.stat().st_size)
