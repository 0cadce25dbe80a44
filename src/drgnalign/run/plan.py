"""The plan of a pass: what is done with each of its clusters, and in which chunks; ``plan.csv``.

SPLIT writes it beside the chunks (`drgnalign.run.split`); the workflow makes tasks of its rows, and MERGE puts together
what came of them. Its columns, one row a chunk:

=============  =====================================================================================================
``cluster``    name of the cluster's maps
``limit``      Å, as text; ``none`` where poses are not refined
``reference``  name of the maps that images are compared with, or ``reconstruct``: of the particles as they are
``carried``    the pass refines poses, but not this cluster's
``chunk``      star file of some of the cluster's particles
``pilot``      star file of a few of them, of all chunks, from which each chunk learns what to expect
=============  =====================================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from drgnalign.files import atomic_path

PLAN_FILE = "plan.csv"
PLAN = ["cluster", "limit", "reference", "carried", "chunk", "pilot"]
# In place of a limit, and of a reference.
NO_LIMIT, RECONSTRUCT = "none", "reconstruct"


@dataclass(frozen=True)
class PassReport:
    """What a pass was asked to do, for the record.

    Attributes
    ----------
    number, round : int
        Pass of the loop, and round (0 = consensus).
    halves : str
        ``independent``, or ``not independent`` where this pass or one before aligned both half sets to one map.
    references : str
        Kind of reference that clusters started from.
    """

    number: int
    round: int
    halves: str
    references: str


def pilot_name(cluster: str) -> str:
    """Of the star file of a cluster's pilot particles."""
    return f"{cluster}_pilot.star"


def chunk_name(cluster: str, number: int) -> str:
    """Of the star file of a cluster's chunk; chunks are numbered from 1."""
    return f"{cluster}_chunk_{number:04d}.star"


def write_plan(rows: Sequence[dict[str, Any]], folder: Path) -> pd.DataFrame:
    """Write the plan of these chunks; there may be none."""
    plan = pd.DataFrame(rows, columns=PLAN)
    with atomic_path(folder / PLAN_FILE) as temporary:
        plan.to_csv(temporary, index=False)
    return plan


def read_plan(path: Path) -> pd.DataFrame:
    """A plan as `write_plan` returned it."""
    return pd.read_csv(path, dtype={"limit": str})
