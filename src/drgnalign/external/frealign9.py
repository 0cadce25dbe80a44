"""Frealign 9.12 (frealign_v9.exe, merge_3d.exe) as a refinement engine.

The programs read cards. They deal particles to two maps by the parity of their line, so that they are given one half
set at a time, and the map of all of them is the half map. Only with a joint reference are they left to do it their way.
The table of resolution statistics that a refinement weights by is read from the comments of its parameter file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from drgnalign.errors import DrgnalignError, InputError
from drgnalign.external.cards import (
    ADJUSTABLE,
    DEFAULTS,
    KINDS,
    MERGE,
    RECONSTRUCT,
    REFINE_ONLY,
    VERSIONS,
    cards,
    probe,
)
from drgnalign.external.common import joint_map_beside, link_dumps, optics_value, written_map
from drgnalign.external.driver import ANSWERED, ASKED, FrealignDriver, Group, log_name, warn
from drgnalign.external.images import STACK
from drgnalign.external.program import working_folder
from drgnalign.external.settings import time_limit
from drgnalign.files import atomic_path
from drgnalign.formats.frealign_statistics import EDGES9
from drgnalign.formats.mrc import read_header, write_volume
from drgnalign.formats.par import extra_label, write_par
from drgnalign.interface import Chunk, Reconstruction, References
from drgnalign.particles import Particles
from drgnalign.run.state import STATISTICS, beside

PROGRAM, MERGER = VERSIONS
REFINED = "Normal termination, no output data-files"
DUMPED = "Normal termination, intermediate files dumped"
MERGED = "Normal termination of merge_3d"
# The contrast is the sign of the amplitude contrast, so that there has to be some.
LEAST_CONTRAST = 1e-4
# With this MAG in every row the pixel size on the cards, once in Å and once as a step in µm, is the images'.
MAGNIFICATION = 10000
# Which rows of the table of statistics the program reads: those of shells 2 to box / 2.
SHELL, PART_SSNR = EDGES9[0], EDGES9[6]


class Frealign9(FrealignDriver):
    """Frealign 9.12; a part holds one dump for each half set."""

    programs = VERSIONS
    refiner = summer = PROGRAM
    kinds, defaults, ranges = KINDS, DEFAULTS, ADJUSTABLE
    _probe = staticmethod(probe)

    def check(self, chunk: Chunk, limits: Sequence[float]) -> None:
        particles = chunk.particles
        if particles.box % 2:
            problem = f"the images have {particles.box} px a side, and Frealign 9 takes even boxes only"
            raise InputError(particles.path, problem, "cut or downsample them to an even box")
        remedy = "give --engine native or frealignx, which know them"
        particles.refuse_rows(particles.phase_shifts() != 0, "Frealign 9 knows no phase shift", remedy)
        particles.refuse_rows(_outside(particles), "the particle is outside its image, and Frealign 9 would move it")
        for limit in limits:
            self._check_reconstruction_limit(limit)
        super().check(chunk, limits)

    def insert(self, chunk: Chunk, part: Path) -> None:
        _warn_of_shifts(chunk.particles)
        super().insert(chunk, part)

    def reconstruct(self, parts: Sequence[Path], prefix: Path) -> Reconstruction:
        joint = self.settings.joint_reference
        with working_folder() as folder:
            dumps = link_dumps(parts, folder, ".mrc")
            for half in (0,) if joint else (1, 2):
                if not dumps[half]:
                    what = "the joint reference" if joint else f"half set {half}"
                    problem = f"no part has particles of {what}"
                    raise DrgnalignError(prefix, problem, "refine more particles, with the same settings throughout")
                log = self._merge(dumps[half], half, folder, prefix)
            # merged with a joint reference, the two maps are those of odd and of even rows
            names = ("0_odd.mrc", "0_even.mrc") if joint else ("1.mrc", "2.mrc")
            half1, half2 = (written_map(MERGER, folder / f"map{name}", log) for name in names)
            pixel_size = read_header(folder / f"map{names[0]}").pixel_size
            if pixel_size is None:
                raise DrgnalignError(log, f"{MERGER} wrote a map without a pixel size", "look at the log")
            if joint:
                write_volume(joint_map_beside(prefix), written_map(MERGER, folder / "map0.mrc", log), pixel_size)
        return Reconstruction(half1, half2, pixel_size)

    def _merge(self, dumps: Sequence[Path], half: int, folder: Path, prefix: Path) -> Path:
        """Add up the dumps of a half set; its statistics go beside the maps to be. Returns the log."""
        table = folder / f"statistics{half}.txt"
        values = {
            "map": f"map{half}.mrc",
            "weights": f"weights{half}.mrc",
            "half1": f"map{half}_odd.mrc",
            "half2": f"map{half}_even.mrc",
        }
        lines = [str(len(dumps)), *(path.name for path in dumps), table.name]
        lines += cards(values, {}, MERGE)
        seconds = time_limit(self.arguments, size=sum(path.stat().st_size for path in dumps))
        log = self._run(MERGER, lines, MERGED, folder, log_name(prefix.name, half), seconds)
        if not table.is_file():
            raise DrgnalignError(log, f"{MERGER} wrote no table of statistics", "look at the log")
        with atomic_path(_statistics_beside(prefix, half)) as temporary:
            temporary.write_bytes(table.read_bytes())
        return log

    def _facts(self, chunk: Chunk, dark: bool) -> dict[str, object]:
        particles = chunk.particles
        nyquist = 2 * particles.pixel_size
        contrast = max(optics_value(particles, "rlnAmplitudeContrast"), LEAST_CONTRAST)
        return {
            "stack": STACK,
            "input_par": ASKED,
            "output_shifts": "shifts.par",
            "first": 1,
            "pixel_size": particles.pixel_size,
            "voltage": optics_value(particles, "rlnVoltage"),
            "cs": optics_value(particles, "rlnSphericalAberration"),
            "amplitude_contrast": contrast if dark else -contrast,
            "mass_kda": self.mass_kda,
            "reconstruction_limit": max(nyquist, float(self.arguments.get("reconstruction_limit", nyquist))),
        }

    def _refinement_radius(self, chunk: Chunk) -> dict[str, object]:
        return {"outer_radius": self._radius("outer_radius", chunk)}

    def _refinement_facts(self, chunk: Chunk, references: References, limit: float, folder: Path) -> dict[str, object]:
        self._check_reconstruction_limit(limit)
        _warn_of_shifts(chunk.particles)
        return {"classification_limit": float(self.arguments.get("classification_limit", limit))}

    def _refine_group(self, group: Group, references: References, facts: Mapping[str, object]) -> Path:
        asked = group.folder / ASKED
        write_par(_with_magnification(group.particles), asked, "par9")
        with asked.open("a", encoding="ascii") as file:
            file.writelines(f"{line}\n" for line in _table_for(group.chunk, references.prefix, group.half))
        values = {
            **facts,
            "mode": 1,
            "dump": False,
            "last": len(group.particles),
            "score_threshold": 0.0,
            "output_par": ANSWERED,
            "terminator": REFINE_ONLY,
            "map": facts["reference"],
        }
        return self._frealign(group, values, REFINED, "refine")

    def _dump_group(self, group: Group, facts: Mapping[str, object]) -> tuple[Path, dict[int, list[Path]]]:
        write_par(_with_magnification(group.particles), group.folder / ASKED, "par9")
        # an existing file would be taken for a map
        dump = group.folder / f"dump{group.half}.mrc"
        values = {
            **facts,
            # less than none: the radius that statistics are of, and the map is left as it is
            "outer_radius": -self._radius("reconstruction_outer_radius", group.chunk),
            "high_limit": facts["reconstruction_limit"],
            "classification_limit": facts["reconstruction_limit"],
            "mode": 0,
            "dump": True,
            "memory": 0,
            "last": len(group.particles),
            "output_par": "dumped.res",
            "terminator": RECONSTRUCT,
            "map": dump.name,
        }
        return self._frealign(group, values, DUMPED, "reconstruct"), {group.half: [dump]}

    def _frealign(self, group: Group, values: Mapping[str, object], closing: str, doing: str) -> Path:
        """Run Frealign itself; the log if all went well."""
        lines = cards(values, self.arguments)
        return self._run(PROGRAM, lines, closing, group.folder, f"{group.name}_{doing}", self._seconds(group))

    def _check_dump(self, path: Path, log: Path) -> None:
        """Nothing: Frealign ends with an error where it cannot write, and stops at a blank image."""

    def _radius(self, key: str, chunk: Chunk) -> float:
        """An outer radius in Å: inside the images."""
        wanted = float(self.arguments.get(key, 0.5 * chunk.diameter))
        largest = 0.5 * chunk.particles.box * chunk.particles.pixel_size
        if wanted > largest and (key in self.arguments or chunk.mask_diameter is not None):
            warn(f"{key} of {wanted:g} Å is cut to half the box, {largest:g} Å")
        return min(wanted, largest)

    def _check_reconstruction_limit(self, limit: float) -> None:
        finest = float(self.arguments.get("reconstruction_limit", 0.0))
        if finest > limit:
            problem = f"reconstruction_limit of {finest:g} Å is coarser than the resolution limit, {limit:g} Å"
            raise InputError(None, problem, "leave it out: without it maps go to Nyquist")


def _statistics_beside(prefix: Path, half: int) -> Path:
    """Where the resolution statistics of a half map are, beside it; 0: of one map for all."""
    return beside(prefix, f"{STATISTICS}_{f'half{half}' if half else 'joint'}.txt")


def _table_for(chunk: Chunk, prefix: Path, half: int) -> list[str]:
    """Comment lines with the statistics of the reference; none, with a warning, where there are none that fit."""
    path = _statistics_beside(prefix, half)
    if not path.is_file():
        warn(f"{path.name} is not beside the reference: Frealign 9 weights resolutions by a formula, and less well")
        return []
    lines = path.read_text(encoding="latin-1").splitlines()
    header = next((i for i, line in enumerate(lines) if "Part_SSNR" in line), len(lines))
    table = [line for line in lines[header + 1 :] if re.match(r"C *\d+ ", line[:6])]
    shells = [int(line[slice(*SHELL)]) for line in table]
    # a number that fills its column with asterisks would end the table
    finite = all(re.fullmatch(r" *\d+\.\d+", line[slice(*PART_SSNR)]) for line in table)
    if shells != list(range(2, chunk.particles.box // 2 + 2)) or not finite:
        warn(f"{path.name} is not of a box of {chunk.particles.box} px, or damaged, and left out: weights are poorer")
        return []
    return [lines[header], *table]


def _with_magnification(particles: Particles) -> Particles:
    return replace(particles, table=particles.table.assign(**{extra_label("MAG"): MAGNIFICATION}))


def _outside(particles: Particles) -> np.ndarray:
    """Which particles (N,) are more than half a box from the centre; the program takes them to be in it."""
    return np.asarray(np.abs(particles.displacements()).max(axis=1) > 0.5 * particles.box)


def _warn_of_shifts(particles: Particles) -> None:
    outside = _outside(particles)
    if outside.any():
        warn(f"{outside.sum()} particles are outside their images, and Frealign 9 takes them to be in the centre")
