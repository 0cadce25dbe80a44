"""What records of a run hold comes back as it was; and of what a cluster does not have, nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drgnalign.errors import InputError
from drgnalign.run.record import read_record, write_record
from drgnalign.run.records import (
    AssignmentRecord,
    ClusterEvidence,
    ClusteringRecord,
    ClusterMetrics,
    MapFigures,
    PassMetrics,
)

SKIPPED = ["cluster", "particles", "skipped", "composition", "difference_judged", "warnings", "notes"]
MAP = [
    *("cluster", "particles", "skipped", "carried", "alignment_limit_angstrom", "reference", "resolution_angstrom"),
    *("reaches_nyquist", "mean_fsc", "mask", "density_outside_mask", "b_factor_angstrom2"),
    "by_direction",
]
COMPARED = ["difference_fsc_40", "difference_fsc_25", "amplitude", "amplitude_error"]
REFINED = ["accepted_share", "median_rotation_change_degrees", "median_shift_change_angstrom"]
ASSIGNED = [
    "particles_interval",
    "mean_posterior",
    "separation_nats",
    "spread",
    "spread_interval",
    "turned",
    "assign_limit_angstrom",
]


def written(**figures: Any) -> list[str]:
    return list(ClusterMetrics(cluster="cluster_01", particles=9, **figures).written())


def test_a_cluster_has_the_figures_that_it_can_have_in_their_order() -> None:
    assert written(skipped=True) == SKIPPED
    assert written(skipped=False) == [*MAP, "composition", "halves", "difference_judged", "warnings", "notes"]
    # compared, though all of it lies beyond Nyquist
    everything = written(skipped=False, compared=True, alignment_limit_angstrom=20.0, assign_limit_angstrom=14.0)
    last = ["composition", *ASSIGNED, "halves", "difference_judged", "warnings", "notes"]
    assert everything == [*MAP, *COMPARED, *REFINED, *last]


def test_figures_of_a_map_say_whether_it_was_compared() -> None:
    alone, beside = MapFigures(resolution_angstrom=9.0), MapFigures(resolution_angstrom=None, compared=True)
    assert not set(COMPARED) & set(alone.written()) and set(COMPARED) < set(beside.written())
    for figures in (alone, beside):
        assert MapFigures.of(figures.written()) == figures and "compared" not in figures.written()


def test_a_pass_comes_back_as_it_was_written(tmp_path: Path) -> None:
    evidence = ClusterEvidence(particles=9, spread=0.25, spread_interval=[0.0, 0.5])
    assignment = AssignmentRecord(verdict="2 states", limit_angstrom=14.0, clusters={"1": evidence})
    clustering = ClusteringRecord(method="kmeans", space="z", nearest={"1": 3}, assignment=assignment)
    skipped = ClusterMetrics(cluster="cluster_01", particles=9, skipped=True, warnings=["has no map"])
    metrics = PassMetrics(number=4, round=1, particles=9, clusters=[skipped], clustering=clustering)
    write_record(metrics, tmp_path / "metrics.json")
    assert read_record(PassMetrics, tmp_path / "metrics.json") == metrics
    facts = json.loads((tmp_path / "metrics.json").read_text())
    assert list(facts)[:3] == ["pass", "round", "particles"] and list(facts["clusters"][0]) == SKIPPED
    assert "reassignment" not in facts["clustering"]
    assert facts["clustering"]["assignment"]["clusters"]["1"]["spread_interval"] == [0.0, 0.5]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"pass": 1}', "null"])
def test_what_is_no_record_is_one_message(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(InputError, match="cannot be read as the metrics of a pass"):
        read_record(PassMetrics, tmp_path / "metrics.json")
