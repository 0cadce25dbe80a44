"""Images that the tests share. Building one costs minutes: they are made once a session, from a base that is kept."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from building import ALL, BASE, REPOSITORY, build


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
def built(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Build drgnalign.sif into a folder of the name given; each folder is a build of its own."""
    folder = tmp_path_factory.mktemp("images")

    def make(name: str) -> Path:
        image = folder / name / "drgnalign.sif"
        if not image.exists():
            outcome = build("drgnalign", "--base", base, "--out", image.parent)
            assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        return image

    return make


@pytest.fixture(scope="session")
def image(built: Callable[[str], Path]) -> Path:
    """drgnalign.sif of this checkout."""
    return built("first")
