"""Warnings beside claims of resolution."""

from __future__ import annotations

from typing import Any

import pytest

from drgnalign.run.records import ClusterMetrics
from drgnalign.validation import claims

GOOD: dict[str, Any] = {
    "cluster": "cluster_01",
    "particles": 100,
    "skipped": False,
    "resolution_angstrom": 9.0,
    "alignment_limit_angstrom": 10.0,
    "difference_fsc_40": 0.9,
}


DIRECTIONS: dict[str, Any] = {
    "best_angstrom": 8.0,
    "mean_angstrom": 9.1,
    "worst_angstrom": 12.0,
    "worst_by_chance_angstrom": 9.8,
    "worst_direction": [0.0, 0.6, 0.8],
    "anisotropic": False,
}


def claim_warnings(facts: dict[str, Any], halves: str, pixel_size: float) -> list[str]:
    return [doubt.text for doubt in claims.doubts(ClusterMetrics.of(facts), halves, pixel_size)]


def test_an_honest_claim_has_no_warning() -> None:
    assert claim_warnings(GOOD, "independent", 1.5) == []
    assert claim_warnings(GOOD | {"density_outside_mask": 0.004}, "independent", 1.5) == []
    assert claim_warnings(GOOD | {"by_direction": DIRECTIONS}, "independent", 1.5) == []
    for amplitude, error in ((0.5, 0.01), (1.9, 0.01), (0.2, 0.2), (2.4, 0.5)):
        figures = {"amplitude": amplitude, "amplitude_error": error}
        assert claim_warnings(GOOD | figures, "independent", 1.5) == []


@pytest.mark.parametrize(
    ("change", "halves", "pixel_size", "part"),
    [
        ({"difference_fsc_40": 0.1}, "independent", 1.5, "does not differ from the consensus"),
        ({"alignment_limit_angstrom": 7.0}, "independent", 1.5, "refined to 7 Å, where the half maps agree to 9.0 Å"),
        ({}, "not independent", 1.5, "not independent"),
        ({"density_outside_mask": 0.124}, "independent", 1.5, "has 12 % of its density outside of the mask"),
        ({}, "independent", 4.4, "ends at Nyquist (8.80 Å)"),
        (
            {"by_direction": DIRECTIONS | {"anisotropic": True}},
            "independent",
            1.5,
            "12.0 Å along x, y, z = 0.00, 0.60, 0.80",
        ),
        (
            {"turned": {"from": "cluster_02", "degrees": 6.2, "angstrom": 3.4}},
            "independent",
            1.5,
            "differs from cluster_02 mostly by a turn of the whole particle (about 6° and 3 Å): one state at two poses",
        ),
        ({"amplitude": 0.1, "amplitude_error": 0.05}, "independent", 1.5, "has 0.10 times the consensus's amplitude"),
        ({"amplitude": 2.4, "amplitude_error": 0.1}, "independent", 1.5, "has 2.40 times the consensus's amplitude"),
    ],
)
def test_what_flatters_is_named(change: dict[str, float], halves: str, pixel_size: float, part: str) -> None:
    (warning,) = claim_warnings(GOOD | change, halves, pixel_size)
    assert part in warning


@pytest.mark.parametrize("limit", [7.5, 9.0, 14.0, 26.0, None])
def test_half_sets_refined_apart_may_claim_more_than_the_limit_of_their_poses(limit: float | None) -> None:
    assert claim_warnings(GOOD | {"alignment_limit_angstrom": limit}, "independent", 1.5) == []


def test_where_particles_move_a_map_is_an_average() -> None:
    cluster = ClusterMetrics.of(GOOD)
    assert claims.doubts(cluster, "independent", 1.5, moving=True) == [claims.Doubt(claims.MOVES, claims.DOUBTFUL)]
    (alone,) = claims.doubts(ClusterMetrics.of(GOOD | {"skipped": True}), "independent", 1.5, moving=True)
    assert alone.weight == claims.NO_STATE


def test_a_cluster_without_a_map_says_so() -> None:
    assert claim_warnings(GOOD | {"skipped": True}, "not independent", 1.5) == [
        "has no map: too few particles in a half set"
    ]


def test_a_cluster_without_resolution_claims_nothing() -> None:
    figures = {"resolution_angstrom": None, "amplitude": 0.02, "amplitude_error": 0.01}
    resolution, amplitude = claim_warnings(GOOD | figures, "not independent", 1.5)
    assert "has no resolution" in resolution and "amplitude" in amplitude
    (warning,) = claim_warnings(GOOD | {"carried": True}, "independent", 1.5)
    assert "was not refined" in warning
