"""What the drivers of both Frealigns do alike: one half set after the other, with programs found and probed once."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from drgnalign.engine.refine import check_limit
from drgnalign.engine.sampling import COARSEST_LIMIT
from drgnalign.errors import DrgnalignError, InputError, InputWarning
from drgnalign.external.common import (
    check_answer,
    half_sets,
    log_folder,
    mass_of,
    pack_dumps,
    refined,
    write_reference,
)
from drgnalign.external.images import STACK, stack_for
from drgnalign.external.program import find_program, require_success, run, working_folder
from drgnalign.external.settings import TIME_LIMITS, Ranges, check_arguments, parse_arguments, time_limit
from drgnalign.formats.par import read_par
from drgnalign.interface import Chunk, EngineSettings, Reconstruction, References
from drgnalign.optics import not_told
from drgnalign.particles import Particles

ASKED, ANSWERED = "asked.par", "answered.par"


class Group(NamedTuple):
    """Particles of one half set on their way to a program.

    Attributes
    ----------
    chunk : Chunk
        That they are of.
    half : int
        1 or 2; 0: both, aligned to one map.
    particles : Particles
        Named after their place in the stack.
    folder : Path
        Where the program runs.
    """

    chunk: Chunk
    half: int
    particles: Particles
    folder: Path

    @property
    def name(self) -> str:
        """Beginning of the names of logs."""
        return log_name(self.chunk.particles.path.stem, self.half)


class FrealignDriver(ABC):
    """A Frealign behind the interface of all engines; a part is a folder with the arrays that it dumps."""

    programs: Collection[str]
    refiner: str
    """The program that answers with poses."""
    summer: str
    """The program that sums up."""
    kinds: Mapping[str, str]
    defaults: Mapping[str, object]
    ranges: Ranges
    """Of the settings that users may change."""

    def __init__(self, settings: EngineSettings) -> None:
        ranges = {**self.ranges, "time_limit": TIME_LIMITS}
        self.arguments = parse_arguments(settings.frealign_args, sorted(ranges))
        if settings.device != "cpu":
            raise InputError(None, f"--device {settings.device} is not for Frealign", "give --device cpu")
        self.arguments.setdefault("symmetry", settings.symmetry)
        check_arguments(self.arguments, self.kinds, ranges)
        if settings.symmetry not in ("C1", self.arguments["symmetry"]):
            problem = f"the symmetry is {settings.symmetry} and, in --frealign_args, {self.arguments['symmetry']}"
            raise InputError(None, problem, "give --symmetry alone")
        self.settings = settings
        self.mass_kda = mass_of(settings)
        self.logs = log_folder(settings)
        self._found: dict[str, Path] = {}

    def check(self, chunk: Chunk, limits: Sequence[float]) -> None:
        facts = self._facts(chunk, dark=False) | self._refinement_radius(chunk)
        inner, outer = self._number("inner_radius"), float(str(facts["outer_radius"]))
        if inner >= outer:
            problem = f"inner_radius, {inner:g} Å, is not below the outer radius, {outer:g} Å"
            raise InputError(None, problem, "give --frealign_args inner_radius=0, or a larger --mask_diameter")
        warn_of_lens(chunk.particles, chunk.diameter)
        nyquist = 2 * chunk.particles.pixel_size
        for key, text in self.arguments.items():
            if key.endswith("_limit") and key != "time_limit" and 0 < float(text) < nyquist:
                warn(f"{key} of {text} Å is beyond Nyquist ({nyquist:g} Å), where Frealign ends")
        for limit in limits:
            check_limit(limit, chunk.particles)
            if limit >= self._low_limit():
                problem = f"the resolution limit {limit:g} Å is not finer than low_limit, {self._low_limit():g} Å"
                remedy = f"give a finer limit, or --frealign_args low_limit=… of up to {COARSEST_LIMIT:g} Å"
                raise InputError(None, problem, remedy)
        for program in self.programs:
            self._program(program)

    def refine(self, chunk: Chunk, references: References, limit: float, part: Path | None) -> Particles:
        check_limit(limit, chunk.particles)
        warn_of_lens(chunk.particles, chunk.diameter)
        with working_folder() as folder:
            named, dark = stack_for(chunk, folder)
            known = self._facts(chunk, dark)
            facts = {
                **known,
                **self._refinement_radius(chunk),
                **self._refinement_facts(chunk, references, limit, folder),
                "high_limit": limit,
                "low_limit": self._low_limit_for(limit),
            }
            groups = half_sets(chunk.particles, self.settings.joint_reference)
            answers = []
            for half, rows in groups.items():
                # by a name that the log shows, and the only one there
                reference = folder / f"reference_{f'half{half}' if half else 'joint'}.mrc"
                write_reference(chunk, references, half, reference)
                group = Group(chunk, half, named.select(rows), folder)
                log = self._refine_group(group, references, {**facts, "reference": reference.name})
                reference.unlink()
                images = chunk.particles.table["rlnImageName"].iloc[rows].tolist()
                answers.append(self._take_answer(group.particles, images, folder / ANSWERED, log))
            result = refined(chunk.particles, list(groups.values()), answers)
            if part is not None:
                self._dump(replace(chunk, particles=result), named, known, folder, part)
        return result

    def insert(self, chunk: Chunk, part: Path) -> None:
        warn_of_lens(chunk.particles, chunk.diameter)
        with working_folder() as folder:
            named, dark = stack_for(chunk, folder)
            self._dump(chunk, named, self._facts(chunk, dark), folder, part)

    @abstractmethod
    def reconstruct(self, parts: Sequence[Path], prefix: Path) -> Reconstruction: ...

    @abstractmethod
    def _facts(self, chunk: Chunk, dark: bool) -> dict[str, object]:
        """Settings that follow from the data."""

    @abstractmethod
    def _refinement_radius(self, chunk: Chunk) -> dict[str, object]:
        """The outer radius of a refinement's mask in Å, as the program has it."""

    @abstractmethod
    def _refinement_facts(self, chunk: Chunk, references: References, limit: float, folder: Path) -> dict[str, object]:
        """Settings of a refinement; what is known of the references goes into the folder."""

    @abstractmethod
    def _refine_group(self, group: Group, references: References, facts: Mapping[str, object]) -> Path:
        """Have particles of a half set refined, into `ANSWERED`; the log."""

    @abstractmethod
    def _dump_group(self, group: Group, facts: Mapping[str, object]) -> tuple[Path, dict[int, list[Path]]]:
        """Have particles of a half set summed up; the log, and the dumps by the half map they belong to."""

    @abstractmethod
    def _check_dump(self, path: Path, log: Path) -> None:
        """Refuse a dump that is not whole."""

    @staticmethod
    @abstractmethod
    def _probe(path: Path, name: str, log: Path, seconds: float) -> None:
        """Refuse a program that is not the one we know."""

    def _number(self, key: str) -> float:
        """A setting that does not follow from the data."""
        return float(str(self.arguments.get(key, self.defaults[key])))

    def _low_limit(self) -> float:
        return min(self._number("low_limit"), COARSEST_LIMIT)

    def _low_limit_for(self, limit: float) -> float:
        """The coarsest resolution that poses are refined with; a limit that follows from a poor map may be so too."""
        low = self._low_limit()
        if limit < low:
            return self._number("low_limit")
        warn(f"low_limit of {low:g} Å leaves nothing to refine with up to {limit:g} Å; {COARSEST_LIMIT:g} Å is used")
        return COARSEST_LIMIT

    def _take_answer(self, asked: Particles, images: Sequence[str], path: Path, log: Path) -> Particles:
        """Read what the program answered, and remove it, so that it is not taken for the next one."""
        if not path.is_file():
            raise DrgnalignError(log, f"{self.refiner} wrote no parameters", "look at the log")
        try:
            answer = read_par(path, STACK)
        except InputError as error:
            problem = f"{self.refiner}: its parameter file {error.problem}"
            raise DrgnalignError(log, problem, "look at the log") from error
        check_answer(self.refiner, asked, answer, images, log)
        path.unlink()
        return answer

    def _dump(self, chunk: Chunk, named: Particles, facts: Mapping[str, object], folder: Path, part: Path) -> None:
        """Write the part of a reconstruction; `named` says where the images are."""
        poses = chunk.particles.table.assign(rlnImageName=named.table["rlnImageName"])
        particles = replace(chunk.particles, table=poses)
        dumps: dict[int, list[Path]] = {}
        for half, rows in half_sets(particles, self.settings.joint_reference).items():
            log, files = self._dump_group(Group(chunk, half, particles.select(rows), folder), facts)
            for file in chain.from_iterable(files.values()):
                if not file.is_file():
                    raise DrgnalignError(log, f"{self.summer} wrote no {file.name}", "look at the log")
                self._check_dump(file, log)
            dumps |= files
        pack_dumps(dumps, part)

    def _seconds(self, group: Group) -> float:
        return time_limit(self.arguments, len(group.particles))

    def _run(self, program: str, lines: Sequence[str], closing: str, folder: Path, name: str, seconds: float) -> Path:
        """Run a program; the log if all went well."""
        log = self.logs / f"{name}_{program.removesuffix('.exe')}.log"
        path = self._program(program)
        outcome = run(path, lines, log, folder, seconds)
        require_success(path, outcome, closing)
        return log

    def _program(self, name: str) -> Path:
        """Where a program is, after it has shown that it is the one we know."""
        if name not in self._found:
            path = find_program(name, self.settings.frealign_dir)
            log = self.logs / f"probe_{name.removesuffix('.exe')}.log"
            self._probe(path, name, log, time_limit(self.arguments))
            log.unlink()
            self._found[name] = path
        return self._found[name]


def log_name(name: str, half: int) -> str:
    """Beginning of the name of the log of what is done to a half set."""
    return f"{name}_half{half}" if half else name


def warn_of_lens(particles: Particles, diameter: float) -> None:
    """Say what is in the images that Frealign cannot be told. Flips, multiplication by the CTF and odd aberrations are
    taken off the images that it is given."""
    lost = not_told(particles, diameter)
    if lost:
        warn(f"{particles.path}: Frealign takes no account of {lost}: --engine native does")


def warn(message: str) -> None:
    warnings.warn(message, InputWarning, stacklevel=3)
