"""Runs of the workflow that several tests look at, two at a time in the background."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from runs import DEFAULT_PARSER, REPOSITORY, Run, run_workflow

from drgnalign.formats.mrc import write_volume
from drgnalign.formats.star import read_star, write_star
from drgnalign.fourier import soft_sphere
from drgnalign.simulate import Nuisances, phantom_states, simulate_set, swinging_states

DOUBLES = REPOSITORY / "tests" / "doubles"
DATA = REPOSITORY.parent / "shared" / "data"
ATP_SYNTHASE = DATA / "particles" / "freehand"
LOOP = {"latent": "both", "clustering": "kmeans,gmm,hdbscan", "references": "reconstruct,previous,decoder"}
FREALIGN = {"rounds": 1, "frealign_dir": DOUBLES, "mass_kda": 200}
FREALIGN |= {"consensus_limits": "none", "references": "consensus", "epochs_first": 1, "junk": "keep"}
# Which runs a test of an engine is about.
OF_ENGINE = {"frealignx": "frealignx_run", "frealign9": "frealign_fault_runs"}
SOFT = {"assignment": "soft", "assign_against": "own_half_folds", "k": "auto", "k_start": 4}
# So few of each state in half set 2 that of two clusters exactly one has the ten that a half map needs, wherever a few
# of them go.
IN_HALF_2 = {1: 16, 2: 4}
ONE_TASK_AT_A_TIME = "executor.'$local'.queueSize = 1\n"
# For runs that are not about chunks: their particles are one.
ONE_CHUNK = {"chunk_size": 500}


class Interrupted(NamedTuple):
    """A run killed in the middle of its second round, and resumed."""

    killed: Run
    resumed: Run


class Further(NamedTuple):
    """What goes on from an interrupted run: a third round; and, the training of the second one lost, a run that begins
    it anew and is killed."""

    extended: Run
    begun_anew: Run


class Consensus(NamedTuple):
    """Runs without rounds: one task at a time, and with other chunks."""

    serial: Run
    other_chunks: Run


class Masks(NamedTuple):
    """A round with the user's own masks, and the consensus with another mask.

    Of particles without half sets; all names are odd, and numbers are written as text."""

    given: Run
    other_mask: Run


class OwnFolder(NamedTuple):
    """A run in the folder of its data; resumed, with files that came new into it; resumed with a stack changed."""

    first: Run
    resumed: Run
    changed: Run


class Fault(NamedTuple):
    """A run whose programs fail in the first round, and the one that goes on from there without the fault."""

    failed: Run
    finished: Run


class FrealignFaults(NamedTuple):
    """A round against the consensus with doubles of the Frealigns' programs, which fail before they do their work;
    FrealignX's with one reference for both half sets."""

    frealign9: Fault
    joint_frealignx: Fault


class Scenarios:
    """What is run; the names are those of the fixtures. Later ones may wait for earlier ones."""

    def __init__(self, folder: Path, noisy_set: Any) -> None:
        self.folder = folder
        self.set = noisy_set
        self.particles = noisy_set.folder / "particles.star"
        self.futures: dict[str, Future[Any]] = {}

    def wait_for(self, *names: str) -> None:
        """For earlier runs of the same folder, which Nextflow gives to one at a time."""
        for name in names:
            if name in self.futures:
                self.futures[name].result()

    def loop_run(self) -> Run:
        return finished(run_workflow(self.folder / "loop", self.particles, LOOP))

    def interrupted_runs(self) -> Interrupted:
        killed = self.interrupted("killed", kill_at="REFINE (5/")
        return Interrupted(killed, finished(self.interrupted("resumed", "-resume")))

    def further_runs(self) -> Further:
        resumed = self.futures["interrupted_runs"].result().resumed
        extended = finished(self.interrupted("extended", "-resume", rounds=3))
        shutil.copytree(resumed.results, self.folder / "interrupted" / "begun_anew")
        shutil.rmtree(resumed.work_folder("LABEL:TRAIN (5 r2)"))
        return Further(extended, self.interrupted("begun_anew", "-resume", kill_at="> LABEL:TRAIN (5/"))

    def interrupted(self, results: str, *options: object, kill_at: str | None = None, **more: object) -> Run:
        """By the parser of users who do not ask for another one."""
        return run_workflow(
            self.folder / "interrupted",
            self.particles,
            {**LOOP, **more},
            results=results,
            options=options,
            kill_at=kill_at,
            variables=DEFAULT_PARSER,
        )

    def fixed_run(self) -> Run:
        self.wait_for("loop_run")
        parameters = {**LOOP, "fixed_clusters": True}
        options = ("-resume",)
        return finished(
            run_workflow(self.folder / "loop", self.particles, parameters, results="fixed", options=options)
        )

    def coarser_run(self) -> Run:
        self.wait_for("loop_run", "fixed_run")
        maps = ",".join(str(self.set.folder / f"state_{state:02d}.mrc") for state in (2, 1))
        parameters = {**LOOP, "rounds": 1, "assign_limit": 30, "initial_maps": maps}
        return finished(
            run_workflow(self.folder / "loop", self.particles, parameters, results="coarser", options=("-resume",))
        )

    def taken_run(self) -> Run:
        self.wait_for("loop_run", "fixed_run", "coarser_run")
        parameters = {**LOOP, "rounds": 1, "start_from": "results/round_02", "consensus_limits": "none", "junk": "keep"}
        return finished(run_workflow(self.folder / "loop", None, parameters, results="taken"))

    def dbscan_run(self) -> Run:
        self.wait_for("loop_run", "fixed_run", "coarser_run", "taken_run")
        parameters = {**LOOP, "clustering": "dbscan", "rounds": 1, "assign": "none"}
        return finished(
            run_workflow(self.folder / "loop", self.particles, parameters, results="dbscan", options=("-resume",))
        )

    def joint_run(self) -> Run:
        particles = self.set.given.select(range(len(self.set.given)))
        particles.table["rlnRandomSubset"] = 1
        for state, few in IN_HALF_2.items():
            rows = np.flatnonzero(self.set.truth.table["rlnClassNumber"] == state)[:few]
            particles.table.loc[rows, "rlnRandomSubset"] = 2
        folder = self.folder / "joint"
        folder.mkdir()
        write_star(particles, folder / "unbalanced.star")
        parameters = {"images": self.set.folder, "rounds": 1, "consensus_limits": "none", "junk": "keep"}
        parameters |= {"joint_reference": True, "references": "consensus", "assign": "none", **ONE_CHUNK}
        return finished(run_workflow(folder, folder / "unbalanced.star", parameters))

    def consensus_runs(self) -> Consensus:
        code, folder = self.folder / "code", self.folder / "consensus"
        copy_code(code)
        append(code / "conf" / "test.config", ONE_TASK_AT_A_TIME)

        def run(results: str, chunk_size: int) -> Run:
            parameters = {"rounds": 0, "chunk_size": chunk_size}
            return finished(
                run_workflow(folder, self.particles, parameters, results=results, options=("-resume",), code=code)
            )

        return Consensus(run("serial", 150), run("other_chunks", 300))

    def mask_runs(self) -> Masks:
        folder, odd = self.folder / "masks", self.folder / "it's [my], {data}; (v2)"
        for made in (folder, odd):
            made.mkdir()
        (odd / "raw images, all").symlink_to(self.set.folder)
        particles = self.set.given.select(range(len(self.set.given)))
        particles.table.drop(columns="rlnRandomSubset", inplace=True)
        write_star(particles, odd / "my particles, v2.star")
        paths = {"images": odd / "raw images, all", "mask": odd / "my mask.mrc", "focus_mask": odd / "my [focus].mrc"}
        text = {"seed": "0", "zdim": "2", "gpus": "1", "max_jobs": "1e2", "learning_rate": "1e-3", "beta": "5e-1"}
        (folder / "text.yml").write_text(yaml.safe_dump(text))

        def run(results: str, rounds: int, **radii: float) -> Run:
            for name, radius in radii.items():
                write_volume(paths[name], soft_sphere(32, radius / 8.0, 2), 8.0)
            parameters = {**paths, "rounds": rounds, "consensus_limits": "none", "junk": "keep", **ONE_CHUNK}
            options = ("-resume", "-params-file", folder / "text.yml")
            star = odd / "my particles, v2.star"
            return finished(run_workflow(folder, star, parameters, results=f"{results} [1], x", options=options))

        given = run("given", 1, mask=110, focus_mask=90)
        return Masks(given, run("other_mask", 0, mask=100))

    def labelled_run(self) -> Run:
        """True states, of which the first five are dropped and the next five in none."""
        truth = read_star(self.set.folder / "truth.star").table[["rlnImageName", "rlnClassNumber"]]
        labels = truth["rlnClassNumber"].astype(str)
        labels[:5], labels[5:10] = "drop", "0"
        folder = self.folder / "labelled"
        folder.mkdir()
        truth.assign(rlnClassNumber=labels).sample(frac=1, random_state=0).to_csv(folder / "mine, all.csv", index=False)
        parameters = {"labels": folder / "mine, all.csv", "assign": "none", "rounds": 1, "consensus_limits": "none"}
        known = [self.set.folder / f"state_{state:02d}.mrc" for state in (2, 1)]
        parameters |= {"compare": ",".join(map(str, [*known, "thesis"]))}
        return finished(run_workflow(folder, self.particles, {**parameters, "junk": "keep", **ONE_CHUNK}))

    def own_folder_runs(self) -> OwnFolder:
        """One stack by its absolute name, one a link to a link."""
        folder, elsewhere = self.folder / "own folder, 1", self.folder / "elsewhere"
        for made in (folder, elsewhere):
            made.mkdir()
        stacks = (folder / "my stack.mrcs", elsewhere / "other.mrcs")
        shutil.copy(self.set.folder / "particles.mrcs", elsewhere / "mine.mrcs")
        shutil.copy(self.set.folder / "particles.mrcs", stacks[1])
        (elsewhere / "link.mrcs").symlink_to("mine.mrcs")
        stacks[0].symlink_to(elsewhere / "link.mrcs")
        particles = self.set.given.select(range(len(self.set.given)))
        numbers = particles.image_locations()[0]
        names = [str(stacks[1]) if number % 2 else stacks[0].name for number in numbers]
        particles.table["rlnImageName"] = [f"{number:06d}@{name}" for number, name in zip(numbers, names, strict=True)]
        write_star(particles, folder / "particles.star")

        def run(*options: object) -> Run:
            parameters = {"images": ".", "rounds": 0, "consensus_limits": "none", "junk": "keep", **ONE_CHUNK}
            run = finished(run_workflow(folder, Path("particles.star"), parameters, options=options))
            kept = shutil.copytree(run.results, self.folder / f"own_{len(list(self.folder.iterdir()))}")
            return replace(run, results=kept)

        first = run()
        (folder / "notes.txt").touch()
        resumed = run("-resume")
        (elsewhere / "mine.mrcs").touch()
        return OwnFolder(first, resumed, run("-resume"))

    def junk_run(self) -> Run:
        folder = self.folder / "junk" / "set"
        options: dict[str, Any] = {"snr": 0.3, "sigma": 6.0, "seed": 2}
        options |= {"rotation_error_deg": 3.0, "shift_error_angstrom": 3.0, "nuisances": Nuisances(empty=0.2)}
        simulate_set(folder, phantom_states(2), [1.0, 1.0], 500, 32, 8.0, **options)
        return self.with_junk("excluded")

    def kept_run(self) -> Run:
        self.wait_for("junk_run")
        return self.with_junk("kept", "-resume", junk="keep")

    def with_junk(self, results: str, *options: object, **parameters: object) -> Run:
        folder, given = self.folder / "junk", {"rounds": 1, **ONE_CHUNK, **parameters}
        particles = folder / "set" / "particles.star"
        return finished(run_workflow(folder, particles, given, results=results, options=options))

    def frealignx_run(self) -> Run:
        """A round against the consensus with doubles of FrealignX's programs, assignment soft and in folds."""
        return finished(self.frealign("frealignx", {**SOFT, "engine": "frealignx"}))

    def frealign_fault_runs(self) -> FrealignFaults:
        self.wait_for("frealignx_run")
        frealign9 = self.fault_of("frealign9", "killed")
        return FrealignFaults(frealign9, self.fault_of("frealignx", "disk_full", joint_reference=True))

    def fault_of(self, engine: str, fault: str, **settings: object) -> Fault:
        settings = {"engine": engine, **settings}
        # the round's fault comes after the consensus was made without one
        finished(self.frealign(f"{fault}_not_yet", settings | {"rounds": 0}))
        failed = self.frealign(fault, settings, DRGNALIGN_DOUBLE_FAULT=fault)
        return Fault(failed, finished(self.frealign(f"{fault}_mended", settings)))

    def frealign(self, results: str, settings: dict[str, Any], **variables: str) -> Run:
        """All in one folder: what does not depend on the engine is done once."""
        return run_workflow(
            self.folder / "frealign",
            self.particles,
            FREALIGN | settings,
            results=results,
            options=("-resume",),
            variables=variables,
        )

    def motion_run(self) -> Run:
        folder = self.folder / "motion"
        simulate_set(folder / "set", swinging_states(20), [1.0] * 20, 400, 32, 8.0, snr=0.5, sigma=6.0, seed=2)
        parameters = {"rounds": 1, "consensus_limits": "none", "junk": "keep", "assign": "none", "k": 1, **ONE_CHUNK}
        parameters |= {"path_points": 2}
        return finished(run_workflow(folder, folder / "set" / "particles.star", parameters))

    def path_run(self) -> Run:
        """So many particles that two places have 250 in each half set."""
        folder = self.folder / "path"
        options: dict[str, Any] = {"snr": 0.5, "sigma": 6.0, "rotation_error_deg": 3.0, "seed": 2}
        simulate_set(folder / "set", swinging_states(20), [1.0] * 20, 1100, 32, 8.0, **options)
        parameters = {"rounds": 1, "consensus_limits": "none", "junk": "keep", "k": 2, "chunk_size": 1000}
        return finished(run_workflow(folder, folder / "set" / "particles.star", parameters))

    def real_run(self) -> Run:
        parameters = {
            "images": ATP_SYNTHASE / "parts.stk",
            "pixel_size": 2.8,
            "voltage": 200,
            "cs": 2.0,
            "amplitude_contrast": 0.07,
            "consensus_limits": "none",
            "rounds": 1,
            "k": 1,
        }
        return finished(run_workflow(self.folder / "real", ATP_SYNTHASE / "parts-15_128x128f.par", parameters))


def finished(run: Run) -> Run:
    assert run.status == 0, run.log
    return run


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def copy_code(folder: Path) -> None:
    """A checkout that may be changed. Compiled functions come along: files keep their times."""
    folder.mkdir()
    for name in ("main.nf", "nextflow.config", "nextflow_schema.json", "requirements.lock"):
        shutil.copy2(REPOSITORY / name, folder)
    for name in ("bin", "conf", "modules", "src", "subworkflows"):
        shutil.copytree(REPOSITORY / name, folder / name)
    (folder / ".venv").symlink_to(REPOSITORY / ".venv")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that look at none of the runs come first: they are done while these go on."""
    runs = {name for name in vars(Scenarios) if name.endswith(("_run", "_runs"))}
    items.sort(key=lambda item: not runs.isdisjoint(getattr(item, "fixturenames", ())))


@pytest.fixture(scope="session", autouse=True)
def scenario(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, noisy_set: Any
) -> Iterator[Callable[[str], Any]]:
    """The result of a run by name. All runs that the selected tests need are started here."""
    needed = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    calls = [item.callspec for item in request.session.items if hasattr(item, "callspec")]
    needed |= {OF_ENGINE[call.params["engine"]] for call in calls if "engine" in call.params}
    scenarios = Scenarios(tmp_path_factory.mktemp("runs"), noisy_set)
    # the longest first; what goes on from loop_run has to wait for it
    names = ("loop_run", "interrupted_runs", "frealignx_run", "frealign_fault_runs", "junk_run", "fixed_run")
    names += ("mask_runs", "coarser_run", "taken_run", "real_run", "motion_run", "labelled_run", "consensus_runs")
    names += ("joint_run", "own_folder_runs", "path_run", "dbscan_run", "further_runs", "kept_run")
    with ThreadPoolExecutor(2) as pool:
        for name in names:
            if name in needed:
                scenarios.futures[name] = pool.submit(getattr(scenarios, name))
        yield lambda name: scenarios.futures[name].result()


@pytest.fixture(scope="session")
def loop_run(scenario: Callable[[str], Any]) -> Run:
    """Two rounds after one refinement of the consensus."""
    return scenario("loop_run")


@pytest.fixture(scope="session")
def taken_run(scenario: Callable[[str], Any], loop_run: Run) -> Run:
    """One round from the second one of `loop_run`."""
    return scenario("taken_run")


@pytest.fixture(scope="session")
def interrupted_runs(scenario: Callable[[str], Any]) -> Interrupted:
    return scenario("interrupted_runs")


@pytest.fixture(scope="session")
def further_runs(scenario: Callable[[str], Any], interrupted_runs: Interrupted) -> Further:
    return scenario("further_runs")


@pytest.fixture(scope="session")
def fixed_run(scenario: Callable[[str], Any], loop_run: Run) -> Run:
    """`loop_run` resumed with fixed clusters."""
    return scenario("fixed_run")


@pytest.fixture(scope="session")
def coarser_run(scenario: Callable[[str], Any], loop_run: Run) -> Run:
    """The first round of `loop_run` with images compared at another limit, for which they are sampled coarser; and from
    maps of the states, the second one first."""
    return scenario("coarser_run")


@pytest.fixture(scope="session")
def dbscan_run(scenario: Callable[[str], Any], loop_run: Run) -> Run:
    """The first round of `loop_run` with clusters by density, as the latent space has them."""
    return scenario("dbscan_run")


@pytest.fixture(scope="session")
def joint_run(scenario: Callable[[str], Any]) -> Run:
    """One round against the joint consensus, of a set with few particles in half set 2, without assignment."""
    return scenario("joint_run")


@pytest.fixture(scope="session")
def consensus_runs(scenario: Callable[[str], Any]) -> Consensus:
    return scenario("consensus_runs")


@pytest.fixture(scope="session")
def labelled_run(scenario: Callable[[str], Any]) -> Run:
    """One round of clusters that were given."""
    return scenario("labelled_run")


@pytest.fixture(scope="session")
def mask_runs(scenario: Callable[[str], Any]) -> Masks:
    return scenario("mask_runs")


@pytest.fixture(scope="session")
def own_folder_runs(scenario: Callable[[str], Any]) -> OwnFolder:
    return scenario("own_folder_runs")


@pytest.fixture(scope="session")
def junk_run(scenario: Callable[[str], Any]) -> Run:
    """A round of a set, beside its results, of which a fifth are empty images."""
    return scenario("junk_run")


@pytest.fixture(scope="session")
def kept_run(scenario: Callable[[str], Any], junk_run: Run) -> Run:
    """The same with ``--junk keep``."""
    return scenario("kept_run")


@pytest.fixture(scope="session")
def motion_run(scenario: Callable[[str], Any]) -> Run:
    """One round of a particle of which a lobe swings."""
    return scenario("motion_run")


@pytest.fixture(scope="session")
def path_run(scenario: Callable[[str], Any]) -> Run:
    """One round of a particle that moves, with clusters that the images choose."""
    return scenario("path_run")


@pytest.fixture(scope="session")
def real_run(scenario: Callable[[str], Any]) -> Run:
    """One round of 50 real images."""
    return scenario("real_run")


@pytest.fixture(scope="session")
def frealignx_run(scenario: Callable[[str], Any]) -> Run:
    return scenario("frealignx_run")


@pytest.fixture(scope="session")
def frealign_fault_runs(scenario: Callable[[str], Any]) -> FrealignFaults:
    return scenario("frealign_fault_runs")
