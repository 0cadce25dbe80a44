"""Messages name the user's files, not the links that a task has for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drgnalign.particles import dropping
from drgnalign.staging import IN_TASK, as_given


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A task's folder with links to a user's files, one of them to another task's result."""
    user = tmp_path / "my data, [v2]"
    (user / "images").mkdir(parents=True)
    (user / "known maps").mkdir()
    for name in ("my particles.star", "mask.mrc", "a.cs"):
        (user / name).touch()
    folder = tmp_path / "work" / "ab" / ("0" * 30)
    for name in ("input", "beside1", "known1"):
        (folder / name).mkdir(parents=True)
    result = tmp_path / "work" / "cd" / ("1" * 30) / "particles.star"
    images = tmp_path / "work" / "images" / ("a" * 32)
    images.parent.mkdir()
    images.symlink_to(user / "images")
    for link, target in (
        ("input/my particles.star", user / "my particles.star"),
        ("beside1/a.cs", user / "a.cs"),
        ("known1/known maps", user / "known maps"),
        ("mask.mrc", user / "mask.mrc"),
        ("images", images),
        ("particles.star", result),
    ):
        (folder / link).symlink_to(target)
    monkeypatch.chdir(folder)
    return user


def test_links_become_what_they_lead_to(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IN_TASK, "1")
    for message, given in {
        "input/my particles.star: row 8": f"{task}/my particles.star: row 8",
        "beside1/a.cs: no uid": f"{task}/a.cs: no uid",
        "mask.mrc: its values": f"{task}/mask.mrc: its values",
        "references/mask.mrc: its values": "references/mask.mrc: its values",
        "known1/known maps: holds no map": f"{task}/known maps: holds no map",
        "known1/known maps/a.mrc: truncated": f"{task}/known maps/a.mrc: truncated",
        "images/sub/a.mrcs: truncated, give images": f"{task}/images/sub/a.mrcs: truncated, give images",
        "particles.star: row 8": "particles.star: row 8",
    }.items():
        assert as_given(message) == given


def test_elsewhere_messages_stay_as_they_are(task: Path) -> None:
    assert as_given("input/my particles.star: row 8") == "input/my particles.star: row 8"


def test_rows_of_another_tasks_result_are_dropped_from_the_users_file(
    task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user has none of that name."""
    monkeypatch.setenv(IN_TASK, "1")
    bad = np.array([False, True, True])
    ours, users = Path("particles.star"), Path("input/my particles.star")
    assert dropping(ours, bad) == "drgnalign select FILE --drop 2-3 -o GOOD, where FILE is the one given with --input"
    assert dropping(users, bad) == "drgnalign select 'input/my particles.star' --drop 2-3 -o good.star"
