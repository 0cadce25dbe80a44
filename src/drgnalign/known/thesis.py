"""The reference method's published figures beside a run's.

Figures of Silvera, master's thesis, Universidad de la República, 2025, on EMPIAR-10076:
``thesis.csv`` are tables 5.2 to 5.15, ``experiment`` as in ``conf/experiments``; ``thesis_classes.csv`` is table 5.16,
beside the EMDB's maps of Davis et al. (2016), Cell 167, 1610.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

import pandas as pd

from drgnalign.half_maps import INDEPENDENT
from drgnalign.known.records import ClusterRecord

# What stands in place of a file.
THESIS = "thesis"
SOURCE = "Silvera 2025, tables 5.2 to 5.16"
# Why figures beside each other are not of one kind.
NOT_COMPARABLE = (
    "theirs are masked FSCs of half maps whose particles were aligned to one map of both halves, which claims more "
    "than is there; of clusters that other labels made; class A is called 70S there, where Davis et al. have it as "
    "incomplete: compare maps, not letters"
)


def published(name: str) -> pd.DataFrame:
    """A table of the thesis."""
    with (files("drgnalign.known") / name).open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype=str).astype({"resolution_angstrom": float})


def thesis_text(clusters: Sequence[ClusterRecord]) -> str:
    """A run's clusters beside the thesis's classes and the best of each of its experiments' clusters."""
    return "\n".join(
        [*_classes(), *_experiments(), *_own(clusters), f"Not comparable as they stand: {NOT_COMPARABLE}."]
    )


def _classes() -> list[str]:
    rows = published("thesis_classes.csv").itertuples(index=False)
    head = f"The reference method on EMPIAR-10076, best of each class ({SOURCE}), beside the EMDB's:"
    return [head] + [
        f"  {row.told_by:<40} {row.resolution_angstrom:.2f} Å, EMDB {row.emdb_angstrom} Å "
        f"(class {row[0]}, experiment {row.experiment}, iteration {row.iteration})"
        for row in rows
    ]


def _experiments() -> list[str]:
    table = published("thesis.csv")
    best = table.loc[table.groupby(["table", "experiment", "cluster"], sort=False)["resolution_angstrom"].idxmin()]
    lines = ["Best iteration of each cluster, by experiment:"]
    for (number, experiment), rows in best.groupby(["table", "experiment"], sort=False):
        told = ", ".join(f"{row.resolution_angstrom:.2f} ({row.iteration})" for row in rows.itertuples(index=False))
        lines.append(f"  experiment {experiment} (table {number}): {told}")
    return lines


def _own(clusters: Sequence[ClusterRecord]) -> list[str]:
    return ["This run, FSC 0.143 of each cluster:"] + [
        f"  {one.cluster}{f', {one.reference}' if one.reference else ''}: {_own_claim(one)}" for one in clusters
    ]


def _own_claim(one: ClusterRecord) -> str:
    if one.halves is None and one.resolution_angstrom == 2 * one.pixel_size_angstrom:
        return "no FSC of half maps is beside it"
    doubt = "" if one.halves == INDEPENDENT else ": not claimed as independent"
    return f"{one.resolution_angstrom:.2f} Å, half sets {one.halves or 'of which nothing is known'}{doubt}"
