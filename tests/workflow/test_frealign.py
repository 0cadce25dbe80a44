"""Rounds with doubles of the Frealigns' programs: half sets apart, and what is left of a run when a program fails."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from runs import Run, further

from conftest import OF_ENGINE, Fault, FrealignFaults
from drgnalign.formats.mrc import read_volume
from drgnalign.formats.star import read_star
from drgnalign.truth.rounds import score_rounds

PROGRAM_LOGS = {"frealignx": "*_half{}_refine3d.log", "frealign9": "*_half{}_refine_frealign_v9.log"}


@pytest.fixture(params=["frealignx", *further("frealign9")])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(engine: str, scenario: Callable[[str], Any]) -> Run:
    made: Run | FrealignFaults = scenario(OF_ENGINE[engine])
    return made.frealign9.finished if isinstance(made, FrealignFaults) else made


def test_a_round_improves_poses(run: Run, noisy_set: Any) -> None:
    scores = score_rounds(run.results, noisy_set.folder / "truth.star")
    assert scores["rotation_median"].iloc[-1] < 0.9 * scores["rotation_median"].iloc[0]
    assert scores["shift_median"].iloc[-1] < 0.9 * scores["shift_median"].iloc[0]


def test_results_are_those_of_every_engine(run: Run) -> None:
    for folder in ("consensus/pass_01", "round_01"):
        files = {path.name for path in (run.results / folder).iterdir()}
        assert {"metrics.json", "fsc.csv", "particles.star", "logs"} <= files
    assert set(pd.read_csv(run.results / "summary.csv")["halves"]) == {"independent"}
    for file in ("round_01/particles.star", "final/all_particles.star"):
        table = read_star(run.results / file).table
        assert table["drgnFrealignScore"].gt(0).all() and table["drgnScore"].equals(table["drgnFrealignScore"])


def test_soft_assignment_weights_particles(frealignx_run: Run) -> None:
    results = frealignx_run.results
    assigned = json.loads((results / "round_01" / "clusters.json").read_text())["assignment"]
    assert (assigned["assignment"], assigned["against"]) == ("soft", "own_half_folds")
    assert assigned["states"] == len(assigned["clusters"]) >= 1
    for file in ("round_01/particles.star", "final/all_particles.star"):
        table = read_star(results / file).table
        np.testing.assert_array_equal(table["drgnOccupancy"], table["drgnPosterior"])
        assert table["drgnOccupancy"].between(1 / len(assigned["clusters"]), 1).all()


def test_each_half_set_reads_only_its_reference(run: Run, engine: str) -> None:
    """The doubles print a checksum of the reference that they read, and the numbers of the particles."""
    before = run.results / "consensus" / "pass_01"
    # each round has a mask of its own
    mask = read_volume(run.results / "round_01" / "clusters" / "mask.mrc")[0]
    halves = read_star(before / "particles.star").half_sets()
    logs = run.results / "round_01" / "logs" / "refine"
    for half in (1, 2):
        product = read_volume(before / "clusters" / f"consensus_half{half}.mrc")[0] * mask
        checksum = hashlib.sha256(product.astype("<f4").tobytes()).hexdigest()[:16]
        texts = [path.read_text() for path in sorted(logs.glob(PROGRAM_LOGS[engine].format(half)))]
        assert len(texts) >= 2
        assert {re.findall(r"Reference checksum: (\w+)", text)[0] for text in texts} == {checksum}
        numbers = [int(n) for text in texts for n in re.findall(r"Particle numbers: (.*)", text)[0].split()]
        assert sorted(numbers) == (np.flatnonzero(halves == half) + 1).tolist()


@pytest.mark.long
def test_one_reference_for_both_half_sets_is_told_everywhere(frealign_fault_runs: FrealignFaults) -> None:
    results = frealign_fault_runs.joint_frealignx.finished.results
    for table in ("summary.csv", "consensus/pass_01/fsc.csv", "round_01/fsc.csv"):
        assert set(pd.read_csv(results / table)["halves"]) == {"not independent"}
    assert not list((results / "round_01" / "logs" / "refine").glob("*_half*"))
    texts = [path.read_text() for path in (results / "round_01" / "logs" / "refine").glob("*_refine3d.log")]
    assert len(texts) >= 2
    assert len({re.findall(r"Reference checksum: (\w+)", text)[0] for text in texts}) == 1
    numbers = [int(n) for text in texts for n in re.findall(r"Particle numbers: (.*)", text)[0].split()]
    assert sorted(numbers) == list(range(1, len(read_star(results / "round_01" / "particles.star")) + 1))


FAULTS = {
    "frealign9": r"\.log: frealign_v9.exe was ended by signal 9",
    "frealignx": r"\.log: refine3d(: its parameter file| answered for)",
}


@pytest.fixture
def fault(engine: str, frealign_fault_runs: FrealignFaults) -> Fault:
    """Killed (Frealign 9), a full disk (FrealignX)."""
    return {"frealign9": frealign_fault_runs.frealign9, "frealignx": frealign_fault_runs.joint_frealignx}[engine]


@pytest.mark.long
def test_a_program_that_fails_stops_the_run_with_its_message(fault: Fault, engine: str) -> None:
    failed = fault.failed
    assert failed.status == 1
    assert "REFINE (2/2 r1/1" in failed.log and re.search(f"ERROR: .*{FAULTS[engine]}", failed.log)
    assert "What to do: look at the log" in failed.log
    assert not (failed.results / "round_01" / "particles.star").exists()
    assert not any("REFINE (" in name or "MERGE (2 r1" in name for name in failed.named("COMPLETED"))


@pytest.mark.long
def test_after_a_failure_nothing_that_had_finished_runs_again(fault: Fault) -> None:
    done = fault.failed.named("COMPLETED") | fault.failed.named("CACHED")
    # a report shows where results are, and these are in another folder
    report = {"REPORT (1)"}
    assert {"LABEL:FIT (2 r1)", "MAP:MERGE (1)"} <= done - report <= fault.finished.named("CACHED")
    again = {re.split(r" \(2 r1", name)[0] for name in fault.finished.named("COMPLETED") - report}
    steps = ("REFINE", "REASSIGN", "RESPLIT", "REINSERT", "RECONSTRUCT", "MERGE")
    assert again == {*(f"MAP:{name}" for name in steps), "REPORT", "EXPORT"}
