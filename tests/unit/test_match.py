"""Cluster names from round to round."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drgnalign.heterogeneity.match import match_labels

label_pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=60)


def test_renumbered_clusters_get_their_old_names() -> None:
    matching = match_labels([1, 1, 1, 2, 2, 3, 0], [3, 3, 3, 1, 1, 2, 2])
    assert matching.labels.tolist() == [1, 1, 1, 2, 2, 3, 3]
    assert matching.counterparts == {1: 1, 2: 2, 3: 3}
    assert matching.ari == 1.0
    assert matching.overlap.loc[0, 3] == 1
    assert matching.overlap.to_numpy().sum() == 7


def test_the_whole_assignment_counts_not_the_best_pair() -> None:
    # Cluster 1 shares most with old 1 (5), but 4 + 4 shared particles beat 5 + 0.
    previous = [1] * 5 + [2] * 4 + [1] * 4
    current = [1] * 5 + [1] * 4 + [2] * 4
    assert match_labels(previous, current).counterparts == {1: 1, 2: 2}


def test_a_surplus_cluster_gets_a_number_never_used() -> None:
    matching = match_labels([1, 1, 1, 2, 2, 2], [1, 1, 3, 2, 2, 2], used={1, 2, 3})
    assert matching.labels.tolist() == [1, 1, 4, 2, 2, 2]
    assert matching.counterparts == {1: 1, 2: 2, 4: None}


def test_a_cluster_of_particles_unassigned_before_is_new() -> None:
    matching = match_labels([0, 0, 1, 1], [1, 1, 2, 2])
    assert matching.labels.tolist() == [2, 2, 1, 1]
    assert matching.counterparts == {1: 1, 2: None}


def test_nothing_shared() -> None:
    matching = match_labels([1, 1, 0, 0], [0, 0, 1, 1])
    assert matching.labels.tolist() == [0, 0, 2, 2]
    assert matching.ari is None


def test_different_numbers_of_particles_are_refused() -> None:
    with pytest.raises(ValueError, match="3 and of 2"):
        match_labels([1, 1, 1], [1, 1])


@settings(deadline=None)
@given(pairs=label_pairs, used=st.sets(st.integers(1, 9)))
def test_matching_only_renames(pairs: list[tuple[int, int]], used: set[int]) -> None:
    previous, current = np.array(pairs).T
    matching = match_labels(previous, current, used)
    names = {(a, b) for a, b in zip(current.tolist(), matching.labels.tolist(), strict=True)}
    assert len(names) == len({a for a, _ in names}) == len({b for _, b in names})
    assert ((current == 0) == (matching.labels == 0)).all()
    assert set(matching.counterparts) == set(matching.labels.tolist()) - {0}
    for label, counterpart in matching.counterparts.items():
        if counterpart is None:
            assert label not in used | set(previous.tolist())
        else:
            assert counterpart == label
            assert ((previous == label) & (matching.labels == label)).any()
    assert match_labels(matching.labels, matching.labels, used).labels.tolist() == matching.labels.tolist()
