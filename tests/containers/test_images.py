"""The images: the same from the same, tested, labelled, listed, and refused where they do not fit."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from building import REPOSITORY, Program, build

from drgnalign.version import source_digest


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def apptainer(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["apptainer", *map(str, arguments)], capture_output=True, text=True)


def test_apptainer_is_there() -> None:
    assert shutil.which("apptainer"), "Apptainer >= 1.2 is needed: see docs/containers.md"


@pytest.mark.parametrize("name", ["drgnalign", "frealign", pytest.param("cryodrgn", marks=pytest.mark.long)])
def test_two_builds_are_the_same_file(name: str, built: Callable[..., Path]) -> None:
    assert sha256_of(built(name)) == sha256_of(built(name, "second"))


def test_own_test_passes(image: Path) -> None:
    outcome = apptainer("test", image)
    assert outcome.returncode == 0, outcome.stderr
    assert "rotation (degrees)" in outcome.stdout


def test_labels_say_what_is_inside(image: Path) -> None:
    labels = json.loads(apptainer("inspect", "--json", image).stdout)["data"]["attributes"]["labels"]
    revision = subprocess.run(
        ["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert labels["org.opencontainers.image.version"] == version("drgnalign")
    assert labels["org.opencontainers.image.revision"].removesuffix("-dirty") == revision
    assert labels["org.drgnalign.lock-sha256"] == sha256_of(REPOSITORY / "containers" / "drgnalign.lock")
    assert labels["org.drgnalign.source-sha256"] == source_digest()


def test_list_of_contents(image: Path) -> None:
    document = json.loads(image.with_name("drgnalign.sif.spdx.json").read_text())
    packages = {package["name"]: package for package in document["packages"]}
    assert packages["drgnalign.sif"]["checksums"][0]["checksumValue"] == sha256_of(image)
    assert packages["numpy"]["versionInfo"] == version("numpy")
    hashes = (REPOSITORY / "containers" / "drgnalign.lock").read_text()
    assert f"sha256:{packages['numpy']['checksums'][0]['checksumValue']}" in hashes
    assert packages["libc6"]["externalRefs"][0]["referenceLocator"].startswith("pkg:deb/debian/libc6@")


def test_start_up_is_measured(image: Path, record_property: Callable[[str, object], None]) -> None:
    """A figure, not a bar: a machine that runs tests is busy."""

    def seconds(*command: str) -> float:
        start = time.monotonic()
        assert apptainer("exec", image, *command).returncode == 0
        return time.monotonic() - start

    bare = min(seconds("true") for _ in range(3))
    for command in (("drgnalign", "--version"), ("drgnalign", "refine", "--help")):
        beyond = min(seconds(*command) for _ in range(3)) - bare
        record_property(" ".join(command), round(beyond, 3))
        print(f"{' '.join(command)}: {beyond:.2f} s beyond Apptainer's own {bare:.2f} s")


def test_programs_are_wrapped_with_their_libraries(built: Callable[..., Path]) -> None:
    said = apptainer("exec", built("frealign"), "hello")
    assert said.stdout == "42\n", said.stderr
    assert apptainer("exec", built("frealign"), "drgnalign", "--version").returncode == 0
    assert "hello starts" in apptainer("test", built("frealign")).stdout


def test_missing_library_is_named(image: Path, program: Program, tmp_path: Path) -> None:
    outcome = build("frealign", "--base", image, "--binaries", program.folder, "--out", tmp_path / "out")
    assert outcome.returncode == 2
    assert "hello" in outcome.stderr and program.library.name in outcome.stderr
    assert not (tmp_path / "out" / "frealign.sif").exists()


@pytest.mark.long
def test_cryodrgn_trains_in_its_image(built: Callable[..., Path]) -> None:
    assert "one epoch on the cpu" in apptainer("test", built("cryodrgn")).stdout


def test_base_must_be_pinned(tmp_path: Path) -> None:
    outcome = build("drgnalign", "--base", "docker://debian:bookworm", "--out", tmp_path)
    assert outcome.returncode == 2
    assert "@sha256" in outcome.stderr


def test_misfit_is_refused_by_name(image: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "drgnalign"
    shutil.copytree(REPOSITORY / "src" / "drgnalign", checkout)
    check = REPOSITORY / "bin" / "check_image.py"
    command = ["exec", "--bind", f"{REPOSITORY},{tmp_path}", image, check, image, "--checkout", checkout, "--name"]
    assert apptainer(*command, "drgnalign").returncode == 0
    outcome = apptainer(*command, "cryodrgn")
    assert outcome.returncode == 2
    assert f"{image}: is the image drgnalign, not cryodrgn" in outcome.stderr
    (checkout / "merge.py").write_text("# another merge\n")
    outcome = apptainer(*command, "drgnalign")
    assert outcome.returncode == 2
    assert str(image) in outcome.stderr and "make images" in outcome.stderr and source_digest()[:12] in outcome.stderr
