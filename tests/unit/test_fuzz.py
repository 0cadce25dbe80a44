"""A hundred of the benchmark's mutated files for each parser, and that the benchmark sees what fails."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from drgnalign.errors import InputError


def load_fuzz() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"
    spec = importlib.util.spec_from_file_location("fuzz", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


fuzz = load_fuzz()


@pytest.mark.parametrize("name", list(fuzz.PARSERS))
def test_mutated_files_are_read_or_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "case"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        examples = fuzz.make_examples(name, tmp_path, seed=7)
        read = []
        for case in range(120):
            path.write_bytes(fuzz.mutated(name, examples, 7, case))
            read.append(fuzz.run_case(name, case, path))
    assert 0 < sum(read) < len(read)


@pytest.mark.parametrize("name", list(fuzz.PARSERS))
def test_a_case_follows_from_its_number_and_the_seed(tmp_path: Path, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        examples = fuzz.make_examples(name, tmp_path, seed=7)
        assert examples == fuzz.make_examples(name, tmp_path, seed=7)
    first, again, others = ([fuzz.mutated(name, examples, seed, case) for case in range(20)] for seed in (7, 7, 8))
    assert first == again != others
    assert len(set(first)) > 10


def test_a_run_of_one_parser_leaves_the_record_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "RESULTS", tmp_path / "fuzz.json")
    monkeypatch.setattr(fuzz, "fuzz", lambda *_: {"failures": 0})
    for parser, recorded in (("star", False), ("all", True)):
        assert CliRunner().invoke(fuzz.main, ["--parser", parser]).exit_code == 0
        assert (tmp_path / "fuzz.json").exists() == recorded


def out_of_memory() -> None:
    try:
        bytearray(3 * 10**9)
    except MemoryError as error:
        raise InputError(None, "it is damaged", "") from error


@pytest.mark.parametrize(
    ("fail", "report"),
    [
        (lambda: 1 / 0, "ZeroDivisionError"),
        (out_of_memory, "MemoryError"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"),
        (lambda: time.sleep(60), "SIGALRM"),
    ],
    ids=["traceback", "memory", "crash", "hang"],
)
def test_failures_are_seen_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail: Callable[[], object], report: str
) -> None:
    def examples(folder: Path, random: object) -> list[Path]:
        (folder / "valid").write_bytes(b"valid")
        return [folder / "valid"]

    def read(path: Path) -> None:
        data = path.read_bytes()
        if b"bad" in data:
            fail()

    def mutate(data: bytes, random: object) -> bytes:
        return b"bad"

    monkeypatch.setitem(fuzz.PARSERS, "test", fuzz.Parser(examples, [read], [mutate]))
    monkeypatch.setattr(fuzz, "BYTES", [lambda data, random: b"good"])
    monkeypatch.setattr(fuzz, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(fuzz, "SECONDS", 0.2)
    result = fuzz.fuzz("test", 6, seed=1)
    assert result["cases"] == 6 == result["read"] + result["failures"]
    assert 0 < result["failures"] < 6
    kept = sorted((tmp_path / "kept").glob("*.bin"))
    assert [path.read_bytes() for path in kept] == [b"bad"] * result["failures"]
    assert report in kept[0].with_suffix(".txt").read_text()
