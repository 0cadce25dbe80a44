"""Images that the tests share. Building one costs minutes: they are made once a session, from a base that is kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from building import ALL, BASE, REPOSITORY, Program, build, compile_program


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without Apptainer there is nothing to test, which `make test-hpc` does not accept."""
    if shutil.which("apptainer") or ALL:
        return
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="apptainer is not on the PATH; make test-hpc insists on it"))


@pytest.fixture(scope="session")
def base() -> Path:
    """A Debian with Python 3.11, from the mirror that this machine's apt uses."""
    if not BASE.exists():
        subprocess.run(["bash", REPOSITORY / "containers" / "debian_base.sh", BASE], check=True)
    return BASE


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A program with a shared library of its own."""
    return compile_program(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="session")
def built(base: Path, program: Program, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Build an image into a folder of the name given; each folder is a build of its own."""
    out = tmp_path_factory.mktemp("images")

    def make(name: str, folder: str = "first") -> Path:
        image = out / folder / f"{name}.sif"
        if not image.exists():
            options = ["--base", base if name == "drgnalign" else make("drgnalign"), "--out", image.parent]
            if name == "frealign":
                options += ["--binaries", program.folder]
            with program.library_found():
                outcome = build(name, *options)
            assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        return image

    return make


@pytest.fixture(scope="session")
def image(built: Callable[..., Path]) -> Path:
    """drgnalign.sif of this checkout."""
    return built("drgnalign")


@pytest.fixture(scope="session")
def images(built: Callable[..., Path]) -> Path:
    """Folder with what a run with the native engine needs: one that was built before, or what is built now."""
    given = os.environ.get("DRGNALIGN_IMAGES")
    return Path(given) if given else built("cryodrgn").parent
