"""A reader never sees half a file."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from drgnalign.errors import DrgnalignError, InputError
from drgnalign.files import atomic_path, refuse_emptied, significant


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.suffix == ".csv"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_new_file_replaces_the_old_one(tmp_path: Path) -> None:
    for text in ("one", "two"):
        with atomic_path(str(tmp_path / "a.txt")) as temporary:
            temporary.write_text(text)
    assert (tmp_path / "a.txt").read_text() == "two"


@pytest.mark.parametrize("name", ["part.npz", "part.x.npz"])
def test_programs_that_look_at_the_suffix_find_it(tmp_path: Path, name: str) -> None:
    with atomic_path(tmp_path / name) as temporary:
        np.savez(temporary, a=np.arange(3))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    expected = pytest.raises(InputError, match=r"nowhere/a\.txt: its folder does not exist")
    with expected as caught, atomic_path(tmp_path / "nowhere" / "a.txt"):
        pytest.fail("the block must not run")
    assert caught.value.exit_code == 2


def test_messages_say_where_what_and_what_to_do() -> None:
    error = DrgnalignError("a.star", "it is empty", "give another")
    assert str(error) == "a.star: it is empty\n  What to do: give another"
    assert str(DrgnalignError(None, "too few", "give more")) == "too few\n  What to do: give more"
    assert (error.exit_code, InputError(None, "a", "b").exit_code) == (1, 2)


def test_records_have_digits_that_mean_something() -> None:
    record = {"a": [1 / 3, 131_899, (2e-9 / 3,)], "b": {"c": 12345678.9, "d": None, "e": "1/3"}}
    assert significant(record) == {
        "a": [0.333333, 131_899, [6.66667e-10]],
        "b": {"c": 12345700.0, "d": None, "e": "1/3"},
    }


def test_all_files_that_were_emptied_are_named_at_once(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.part", "whole.part", "b, 2.part", "nothing.part")]
    for path, content in zip(paths, (bytes(9), b"PK\3\4", bytes(5000), b""), strict=True):
        path.write_bytes(content)
    refuse_emptied(paths[1::2])
    with pytest.raises(InputError, match="was emptied once its pass had ended, and 1 more") as refused:
        refuse_emptied(paths)
    assert f"rm {paths[0]} '{paths[2]}'" in refused.value.remedy


def test_a_full_disk_is_told_by_the_file_s_name(tmp_path: Path) -> None:
    """The system says no name where a write fails."""
    with pytest.raises(OSError) as failed, atomic_path(tmp_path / "map.mrc"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert failed.value.filename == str(tmp_path / "map.mrc")
