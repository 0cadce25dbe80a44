"""Building images as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BASE = Path(os.environ.get("DRGNALIGN_BASE", REPOSITORY / ".tools" / "bookworm"))
ALL = os.environ.get("DRGNALIGN_HPC") == "1"


def build(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run containers/build.py as a user does."""
    command = [sys.executable, REPOSITORY / "containers" / "build.py", *arguments]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True)


class Program(NamedTuple):
    """A program `hello` in a folder, which needs a shared library in another, which needs one more beside it."""

    folder: Path
    library: Path

    @contextmanager
    def library_found(self) -> Iterator[None]:
        """As on a machine that has the library."""
        search = os.environ.get("LD_LIBRARY_PATH")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LD_LIBRARY_PATH", os.pathsep.join(filter(None, (str(self.library.parent), search))))
            yield


def compile_program(folder: Path) -> Program:
    """A program that prints what a shared library of its own answers, which has it from another one."""
    program = Program(folder / "programs", folder / "lib" / "libdrgnmissing.so")
    program.folder.mkdir()
    program.library.parent.mkdir()
    (folder / "known.c").write_text("int known(void) { return 42; }\n")
    (folder / "answer.c").write_text("int known(void);\nint answer(void) { return known(); }\n")
    (folder / "hello.c").write_text(
        '#include <stdio.h>\nint answer(void);\nint main(void) { printf("%d\\n", answer()); return 0; }\n'
    )
    known = program.library.with_name("libdrgnknown.so")
    make_library(known, folder / "known.c")
    make_library(program.library, folder / "answer.c", known)
    hello = program.folder / "hello"
    search = f"-Wl,-rpath-link,{known.parent}"
    subprocess.run(["gcc", "-o", hello, folder / "hello.c", program.library, search], check=True)
    needed = subprocess.run(["readelf", "-d", hello], capture_output=True, text=True).stdout
    assert f"[{program.library.name}]" in needed
    return program


def make_library(library: Path, *sources: Path) -> None:
    # With a name of its own it is looked for by that, not by the path that it was linked from.
    soname = f"-Wl,-soname,{library.name}"
    subprocess.run(["gcc", "-shared", "-fPIC", soname, "-o", library, *sources], check=True)
