"""FrealignX (refine3d 1.02, reconstruct3d_stats 1.03, merge3d 1.01 of cisTEM 1) as a refinement engine.

The programs ask one question after the other. They deal particles to two maps by the parity of their number in the
stack, so that they are given one half set at a time: what they call odd and even are then two quarters, which are added
up again. Only with a joint reference are they left to do it their way, as the reference method did.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from drgnalign.errors import InputWarning
from drgnalign.external.common import (
    joint_map_beside,
    optics_value,
    statistics_beside,
    unpack_dumps,
    working_folder,
    written_map,
)
from drgnalign.external.driver import ANSWERED, ASKED, REFERENCE, FrealignDriver, log_name
from drgnalign.external.images import STACK
from drgnalign.external.prompts import CLOSING, LOW_LIMIT, PROGRAMS, answers_to, formatted, probe
from drgnalign.files import atomic_path
from drgnalign.formats.frealign_statistics import read_statistics
from drgnalign.formats.mrc import write_volume
from drgnalign.formats.par import write_par
from drgnalign.interface import Chunk, EngineSettings, FloatVolume, References
from drgnalign.particles import Particles

# Settings that users may change although they follow from the data.
ADJUSTABLE = ("outer_radius", "reconstruction_outer_radius")
# Behind the seven whole numbers of a dump's head, the last of which counts the images, and what follows them.
DUMP_HEAD, DUMP_COUNT = 60, slice(24, 28)
# Statistics with an FSC above the one behind an FSC below the other are wrong.
PERFECT, IMPERFECT = 0.9999, 0.99
# The programs keep the outer mask so far from the edge of the box, Å.
EDGE = 20.0


class FrealignX(FrealignDriver):
    """FrealignX; a part holds two dumps for each half set."""

    programs = PROGRAMS
    refiner, summer = "refine3d", "reconstruct3d_stats"
    low_limit = LOW_LIMIT

    def __init__(self, settings: EngineSettings) -> None:
        prompts = [prompt for program in PROGRAMS.values() for prompt in program]
        super().__init__(settings, {*ADJUSTABLE, *(p.key for p in prompts if p.default is not None)})

    def reconstruct(self, parts: Sequence[Path], prefix: Path) -> tuple[FloatVolume, FloatVolume, float]:
        with working_folder() as folder:
            counts = unpack_dumps(parts, folder, ".dat")
            first = next(folder.glob("half*_1.dat"))
            box, pixel_size = _sampling(first)
            for half in (1, 2):
                # the program wants as many dumps of one map as of the other
                for number in range(counts[half] + 1, max(counts.values()) + 1):
                    _write_empty(first, folder / f"half{half}_{number}.dat")
            radius = self._radius("reconstruction_outer_radius", 0.5 * box * pixel_size, box, pixel_size)
            values = {
                "half1": "half1.mrc",
                "half2": "half2.mrc",
                "filtered": "filtered.mrc",
                "statistics": "statistics.txt",
                "mass_kda": self.mass_kda,
                "reconstruction_outer_radius": radius,
                "odd_seed": "half1_.dat",
                "even_seed": "half2_.dat",
                "dumps": max(counts.values()),
            }
            log = self._ask("merge3d", values, folder, prefix.name, particles=0)
            half1, half2, joint = (
                written_map("merge3d", folder / str(values[key]), log) for key in ("half1", "half2", "filtered")
            )
            statistics = (folder / "statistics.txt").read_bytes()
        with atomic_path(statistics_beside(prefix)) as temporary:
            temporary.write_bytes(statistics)
        if self.settings.joint_reference:
            write_volume(joint_map_beside(prefix), joint, pixel_size)
        return half1, half2, pixel_size

    def _facts(self, chunk: Chunk, dark: bool) -> dict[str, object]:
        particles = chunk.particles
        box, pixel_size = particles.box, particles.pixel_size
        return {
            "stack": STACK,
            "input_par": ASKED,
            "first": 1,
            "last": 0,
            "pixel_size": pixel_size,
            "voltage": optics_value(particles, "rlnVoltage"),
            "cs": optics_value(particles, "rlnSphericalAberration"),
            "amplitude_contrast": optics_value(particles, "rlnAmplitudeContrast"),
            "mass_kda": self.mass_kda,
            "outer_radius": self._radius("outer_radius", 0.5 * chunk.diameter, box, pixel_size),
            "reconstruction_outer_radius": self._radius(
                "reconstruction_outer_radius", 0.5 * box * pixel_size, box, pixel_size
            ),
            "invert": not dark,
        }

    def _refinement_facts(
        self, chunk: Chunk, dark: bool, references: References, limit: float, folder: Path
    ) -> dict[str, object]:
        return self._facts(chunk, dark) | {"high_limit": limit} | _statistics(references, folder)

    def _refine_half(
        self,
        chunk: Chunk,
        references: References,
        half: int,
        asked: Particles,
        facts: Mapping[str, object],
        folder: Path,
    ) -> Path:
        write_par(asked, folder / ASKED, "parx")
        values = {
            **facts,
            "reference": REFERENCE,
            "matching_projections": "projections.mrc",
            "output_par": ANSWERED,
            "output_changes": "changes.par",
        }
        return self._ask("refine3d", values, folder, log_name(chunk.particles.path.stem, half), len(asked))

    def _dump_half(
        self, chunk: Chunk, half: int, asked: Particles, facts: Mapping[str, object], folder: Path
    ) -> tuple[Path, dict[int, list[Path]]]:
        write_par(asked, folder / ASKED, "parx")
        odd, even = (folder / f"dump{half}_{parity}.dat" for parity in ("odd", "even"))
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
        log = self._ask("reconstruct3d_stats", values, folder, log_name(chunk.particles.path.stem, half), len(asked))
        # with one reference for all, odd and even are the halves, as the reference method had it
        return log, {half: [odd, even]} if half else {1: [odd], 2: [even]}

    def _radius(self, key: str, usual: float, box: int, pixel_size: float) -> float:
        """An outer mask radius in Å, cut as the programs cut it."""
        wanted = float(formatted(key, "real", self.arguments.get(key, usual)))
        largest = 0.5 * box * pixel_size - EDGE
        if wanted > largest and key in self.arguments:
            message = (
                f"{key} of {wanted:g} Å is cut to {largest:g} Å: FrealignX keeps {EDGE:g} Å from the edge of the box"
            )
            warnings.warn(message, InputWarning, stacklevel=2)
        return min(wanted, largest)

    def _ask(self, program: str, values: Mapping[str, object], folder: Path, name: str, particles: int) -> Path:
        """Answer a program's questions; the log if all went well."""
        answers = answers_to(PROGRAMS[program], values, self.arguments)
        return self._run(program, answers, CLOSING[program], folder, name, particles)

    def _probe(self, path: Path, name: str, folder: Path) -> None:
        probe(path, name, folder)


def _statistics(references: References, folder: Path) -> dict[str, object]:
    """Put the statistics of the references into a folder, where there are some; the answers about them."""
    path = statistics_beside(references.prefix)
    is_known = path.exists() and _is_credible(path)
    if is_known:
        (folder / "statistics.txt").write_bytes(path.read_bytes())
    return {"statistics": "statistics.txt", "use_statistics": is_known}


def _is_credible(path: Path) -> bool:
    """Whether statistics can weight images: at pixels of 13 Å merge3d was seen to write an FSC of 1 behind 0.8,
    and refinement with that table doubled the errors that it had without."""
    fsc = read_statistics(path)["fsc"].to_numpy()
    worst = np.minimum.accumulate(fsc)
    credible = not ((fsc > PERFECT) & (worst < IMPERFECT)).any()
    if not credible:
        message = f"{path}: its FSC is 1 in shells behind others that are not; refined without these statistics"
        warnings.warn(message, InputWarning, stacklevel=2)
    return credible


def _sampling(dump: Path) -> tuple[int, float]:
    """Box and pixel size in Å of a dump."""
    head = dump.open("rb").read(DUMP_HEAD)
    return int(np.frombuffer(head[12:16], "<i4")[0]), float(np.frombuffer(head[32:36], "<f4")[0])


def _write_empty(dump: Path, path: Path) -> None:
    """A dump of no images, of the shape of another."""
    head = bytearray(dump.open("rb").read(DUMP_HEAD))
    head[DUMP_COUNT] = bytes(4)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(dump.stat().st_size)
