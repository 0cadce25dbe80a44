"""What the drivers of both Frealigns do alike: one half set after the other, with programs found and probed once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from drgnalign.engine.refine import check_limit
from drgnalign.errors import DrgnalignError, InputError
from drgnalign.external.common import (
    check_answer,
    half_sets,
    log_folder,
    mass_of,
    pack_dumps,
    parse_arguments,
    refined,
    time_limit,
    working_folder,
    write_reference,
)
from drgnalign.external.images import STACK, stack_for
from drgnalign.external.program import find_program, require_success, run
from drgnalign.formats.par import read_par
from drgnalign.interface import Chunk, EngineSettings, FloatVolume, References
from drgnalign.particles import Particles

# Å: what Frealign 9 takes for the coarsest limit of a refinement; nobody needs a coarser one.
COARSEST_LIMIT = 200.0
REFERENCE, ASKED, ANSWERED = "reference.mrc", "asked.par", "answered.par"


class FrealignDriver(ABC):
    """A Frealign behind the interface of all engines; a part is a tar file of the arrays that it dumps.

    Half sets are 1 and 2; 0 stands for both where they are aligned to one map.
    """

    refiner: str
    """The program that answers with poses."""
    programs: Collection[str]
    low_limit: float
    """Å: coarsest resolution that poses are refined with, unless users want another."""
    summer: str
    """The program that sums up."""

    def __init__(self, settings: EngineSettings, adjustable: Collection[str]) -> None:
        self.arguments = parse_arguments(settings.frealign_args, sorted({*adjustable, "time_limit"}))
        self.settings = settings
        self.mass_kda = mass_of(settings)
        self.logs = log_folder(settings)
        self._found: dict[str, Path] = {}

    def refine(self, chunk: Chunk, references: References, limit: float, part: Path | None) -> Particles:
        self._check_limit(limit, chunk.particles)
        with working_folder() as folder:
            named, dark = stack_for(chunk, folder)
            facts = self._refinement_facts(chunk, dark, references, limit, folder)
            groups = half_sets(chunk.particles, self.settings.joint_reference)
            answers = []
            for half, rows in groups.items():
                write_reference(chunk, references, half, folder / REFERENCE)
                asked = named.select(rows)
                log = self._refine_half(chunk, references, half, asked, facts, folder)
                answers.append(self._take_answer(asked, folder / ANSWERED, log))
            result = refined(chunk.particles, list(groups.values()), answers)
            if part is not None:
                self._dump(replace(chunk, particles=result), named, dark, folder, part)
        return result

    def insert(self, chunk: Chunk, part: Path) -> None:
        with working_folder() as folder:
            named, dark = stack_for(chunk, folder)
            self._dump(chunk, named, dark, folder, part)

    def check(self, particles: Particles, limits: Sequence[float]) -> None:
        self._facts(Chunk(particles, Path()), dark=False)
        for limit in limits:
            self._check_limit(limit, particles)
        for program in self.programs:
            self._program(program)

    @abstractmethod
    def reconstruct(self, parts: Sequence[Path], prefix: Path) -> tuple[FloatVolume, FloatVolume, float]: ...

    @abstractmethod
    def _facts(self, chunk: Chunk, dark: bool) -> dict[str, object]:
        """Settings that follow from the data."""

    @abstractmethod
    def _refinement_facts(
        self, chunk: Chunk, dark: bool, references: References, limit: float, folder: Path
    ) -> dict[str, object]:
        """Those of a refinement; what is known of the references goes into the folder."""

    @abstractmethod
    def _refine_half(
        self,
        chunk: Chunk,
        references: References,
        half: int,
        asked: Particles,
        facts: Mapping[str, object],
        folder: Path,
    ) -> Path:
        """Have particles of a half set refined against `REFERENCE`, into `ANSWERED`; the log."""

    @abstractmethod
    def _dump_half(
        self, chunk: Chunk, half: int, asked: Particles, facts: Mapping[str, object], folder: Path
    ) -> tuple[Path, dict[int, list[Path]]]:
        """Have particles of a half set summed up; the log, and the dumps by the half map they belong to."""

    @abstractmethod
    def _probe(self, path: Path, name: str, folder: Path) -> None:
        """Refuse a program that is not the one we know."""

    def _check_limit(self, limit: float, particles: Particles) -> None:
        """Refuse limits that the images do not have, and those that the program would exchange, change or stop at."""
        check_limit(limit, particles)
        low = min(float(self.arguments.get("low_limit", self.low_limit)), COARSEST_LIMIT)
        if limit >= low:
            problem = f"the resolution limit {limit:g} Å is not finer than the low one of Frealign, {low:g} Å"
            remedy = f"give a finer limit, or --frealign_args low_limit=… of up to {COARSEST_LIMIT:g} Å"
            raise InputError(None, problem, remedy)

    def _take_answer(self, asked: Particles, path: Path, log: Path) -> Particles:
        """Read what the program answered, and remove it, so that it is not taken for the next one."""
        if not path.is_file():
            raise DrgnalignError(log, f"{self.refiner} wrote no parameters", "look at the log")
        try:
            answer = read_par(path, STACK)
        except InputError as error:
            problem = f"{self.refiner}: its parameter file {error.problem}"
            raise DrgnalignError(log, problem, "look at the log") from error
        check_answer(self.refiner, asked, answer, log)
        path.unlink()
        return answer

    def _dump(self, chunk: Chunk, named: Particles, dark: bool, folder: Path, part: Path) -> None:
        """Write the part of a reconstruction; `named` says where the images are."""
        poses = chunk.particles.table.assign(rlnImageName=named.table["rlnImageName"])
        particles = replace(chunk.particles, table=poses)
        facts = self._facts(chunk, dark)
        dumps: dict[int, list[Path]] = {}
        for half, rows in half_sets(particles, self.settings.joint_reference).items():
            log, files = self._dump_half(chunk, half, particles.select(rows), facts, folder)
            for file in chain.from_iterable(files.values()):
                if not file.is_file():
                    raise DrgnalignError(log, f"{self.summer} wrote no {file.name}", "look at the log")
            dumps |= files
        pack_dumps(dumps, part)

    def _run(self, program: str, lines: Sequence[str], closing: str, folder: Path, name: str, particles: int) -> Path:
        """Run a program; the log if all went well."""
        log = self.logs / f"{name}_{program.removesuffix('.exe')}.log"
        path = self._program(program)
        outcome = run(path, lines, log, folder, time_limit(self.arguments, particles))
        require_success(path, outcome, closing)
        return log

    def _program(self, name: str) -> Path:
        """Where a program is, after it has shown that it is the one we know."""
        if name not in self._found:
            path = find_program(name, self.settings.frealign_dir)
            with working_folder() as folder:
                self._probe(path, name, folder)
            self._found[name] = path
        return self._found[name]


def log_name(name: str, half: int, doing: str = "") -> str:
    """Beginning of the name of the log of what is done to a half set."""
    return "_".join(filter(None, (name, f"half{half}" if half else "", doing)))
