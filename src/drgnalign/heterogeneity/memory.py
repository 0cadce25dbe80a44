"""How much memory there is for this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# What Slurm grants a job for each node, MB; it need not enforce that.
SLURM_LIMIT = "SLURM_MEM_PER_NODE"
# Where a group of processes has its limit, in both versions of Linux's control groups.
CONTROL_GROUPS = {"": ("", "memory.max"), "memory": ("memory", "memory.limit_in_bytes")}


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that this process may take: what is free on the machine, and no more than its job was granted.

    Parameters
    ----------
    root : path
        Of the file system that has ``proc`` and ``sys``.
    """
    limits = list(_group_limits(root))
    if SLURM_LIMIT in os.environ:
        limits.append(int(os.environ[SLURM_LIMIT]) * 2**20)
    facts = dict(line.split(":", 1) for line in (root / "proc/meminfo").read_text().splitlines())
    return min([int(facts["MemAvailable"].split()[0]) * 1024, *limits])


def _group_limits(root: Path) -> Iterator[int]:
    """Limits of the process's control groups and of those above them."""
    groups = root / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.exists() else []:
        _, controllers, path = line.split(":", 2)
        for controller in set(controllers.split(",")) & CONTROL_GROUPS.keys():
            folder, file = CONTROL_GROUPS[controller]
            top = root / "sys/fs/cgroup" / folder
            inner = top / path.lstrip("/")
            for group in (inner, *inner.parents):
                if group.is_relative_to(top) and (group / file).exists():
                    text = (group / file).read_text().strip()
                    if text != "max":
                        yield int(text)
