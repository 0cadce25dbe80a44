"""The memory that a process may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from drgnalign.heterogeneity.memory import SLURM_LIMIT, available_memory

GIB = 2**30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GiB free."""
    monkeypatch.delenv(SLURM_LIMIT, raising=False)
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: 999999999 kB\nMemAvailable:  {8 * GIB // 1024} kB\n")
    return tmp_path


def limit(machine: Path, file: str, value: object) -> None:
    path = machine / "sys/fs/cgroup" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{value}\n")


def test_without_limits_it_is_what_is_free(machine: Path) -> None:
    assert available_memory(machine) == 8 * GIB


def test_the_group_above_may_limit_too(machine: Path) -> None:
    (machine / "proc/self/cgroup").write_text("0::/job_1/step_0\n")
    limit(machine, "job_1/step_0/memory.max", "max")
    limit(machine, "job_1/memory.max", 3 * GIB)
    assert available_memory(machine) == 3 * GIB


def test_the_first_version_of_control_groups(machine: Path) -> None:
    (machine / "proc/self/cgroup").write_text("5:cpu,cpuacct:/other\n4:memory:/job_1\n")
    limit(machine, "memory/job_1/memory.limit_in_bytes", 2 * GIB)
    assert available_memory(machine) == 2 * GIB


def test_slurm_grants_less(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SLURM_LIMIT, "1024")
    assert available_memory(machine) == GIB
