"""The images: the same from the same, tested, labelled, listed, and refused where they do not fit."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from building import ALL, REPOSITORY, build

from drgnalign.version import source_digest

MISSING = "libdrgnmissing.so"


def apptainer(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["apptainer", *map(str, arguments)], capture_output=True, text=True)


def test_apptainer_is_there() -> None:
    assert shutil.which("apptainer"), "Apptainer >= 1.2 is needed: see docs/containers.md"


def test_two_builds_are_the_same_file(built: Callable[[str], Path]) -> None:
    digests = [hashlib.sha256(built(name).read_bytes()).hexdigest() for name in ("first", "second")]
    assert digests[0] == digests[1]


def test_own_test_passes(image: Path) -> None:
    outcome = apptainer("test", image)
    assert outcome.returncode == 0, outcome.stderr
    assert "rotation (degrees)" in outcome.stdout


def test_labels_say_what_is_inside(image: Path) -> None:
    labels = json.loads(apptainer("inspect", "--json", image).stdout)["data"]["attributes"]["labels"]
    revision = subprocess.run(
        ["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    lock = (REPOSITORY / "containers" / "drgnalign.lock").read_bytes()
    assert labels["org.opencontainers.image.version"] == version("drgnalign")
    assert labels["org.opencontainers.image.revision"].removesuffix("-dirty") == revision
    assert labels["org.drgnalign.lock-sha256"] == hashlib.sha256(lock).hexdigest()
    assert labels["org.drgnalign.source-sha256"] == source_digest()


def test_list_of_contents(image: Path) -> None:
    document = json.loads(image.with_name("drgnalign.sif.spdx.json").read_text())
    packages = {package["name"]: package for package in document["packages"]}
    assert packages["drgnalign.sif"]["checksums"][0]["checksumValue"] == hashlib.sha256(image.read_bytes()).hexdigest()
    assert packages["numpy"]["versionInfo"] == version("numpy")
    hashes = (REPOSITORY / "containers" / "drgnalign.lock").read_text()
    assert f"sha256:{packages['numpy']['checksums'][0]['checksumValue']}" in hashes
    assert packages["libc6"]["externalRefs"][0]["referenceLocator"].startswith("pkg:deb/debian/libc6@")


def test_kernels_come_compiled(image: Path) -> None:
    """No kernel of the library is compiled again, though nothing in the image can be written to."""
    script = (
        "from drgnalign.engine import kernels\n"
        "import numba.core.event as event, numpy as np\n"
        "with event.install_recorder('numba:compile') as recorder:\n"
        "    from drgnalign.particles import Particles\n"
        "    from drgnalign.formats.star import read_star\n"
        "    from pathlib import Path\n"
        "    from drgnalign.simulate import phantom_states, simulate_set\n"
        "    import tempfile\n"
        "    with tempfile.TemporaryDirectory() as folder:\n"
        "        simulate_set(Path(folder), phantom_states(1), [1.0], 20, 32, 8.0, snr=1.0, seed=0)\n"
        "        read_star(Path(folder) / 'particles.star')\n"
        "print(sorted({str(e.data['dispatcher']) for _, e in recorder.buffer if 'drgnalign' in str(e.data)}))\n"
    )
    outcome = apptainer("exec", "--no-home", image, "python", "-c", script)
    assert outcome.stdout.strip() == "[]", outcome.stdout + outcome.stderr


def test_start_up_is_measured(image: Path, record_property: Callable[[str, object], None]) -> None:
    """A figure, not a bar: a machine that runs tests is busy."""

    def seconds(*command: str) -> float:
        start = time.monotonic()
        assert apptainer("exec", image, *command).returncode == 0
        return time.monotonic() - start

    bare = min(seconds("true") for _ in range(3))
    program = min(seconds("drgnalign", "--version") for _ in range(3))
    record_property("start_up_seconds", round(program - bare, 3))
    print(f"start-up {program - bare:.2f} s beyond Apptainer's own {bare:.2f} s")


def test_programs_are_wrapped_with_their_libraries(image: Path, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    compile_program(programs, tmp_path / "lib")
    out = tmp_path / "out"
    search = os.environ.get("LD_LIBRARY_PATH")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_LIBRARY_PATH", f"{tmp_path / 'lib'}{os.pathsep}{search}" if search else str(tmp_path / "lib"))
        outcome = build("frealign", "--base", image, "--binaries", programs, "--out", out)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    said = apptainer("exec", out / "frealign.sif", "hello")
    assert said.stdout == "42\n", said.stderr
    assert apptainer("exec", out / "frealign.sif", "drgnalign", "--version").returncode == 0


def test_missing_library_is_named(image: Path, tmp_path: Path) -> None:
    compile_program(tmp_path / "programs", tmp_path / "lib")
    outcome = build("frealign", "--base", image, "--binaries", tmp_path / "programs", "--out", tmp_path / "out")
    assert outcome.returncode == 2
    assert "hello" in outcome.stderr and MISSING in outcome.stderr
    assert not (tmp_path / "out" / "frealign.sif").exists()


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


@pytest.mark.skipif(not ALL, reason="gigabytes; make test-hpc builds it")
def test_image_of_cryodrgn(image: Path, tmp_path: Path) -> None:
    outcome = build("cryodrgn", "--base", image, "--out", tmp_path)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "one epoch on the cpu" in apptainer("test", tmp_path / "cryodrgn.sif").stdout


def compile_program(programs: Path, libraries: Path) -> None:
    """A program that prints what a shared library of its own answers."""
    programs.mkdir()
    libraries.mkdir()
    (libraries / "answer.c").write_text("int answer(void) { return 42; }\n")
    (libraries / "hello.c").write_text(
        '#include <stdio.h>\nint answer(void);\nint main(void) { printf("%d\\n", answer()); return 0; }\n'
    )
    shared = libraries / MISSING
    # With a name of its own the program looks for it by that, not by the path that it was linked from.
    soname = f"-Wl,-soname,{MISSING}"
    subprocess.run(["gcc", "-shared", "-fPIC", soname, "-o", shared, libraries / "answer.c"], check=True)
    subprocess.run(["gcc", "-o", programs / "hello", libraries / "hello.c", shared], check=True)
    assert (
        f"[{MISSING}]" in subprocess.run(["readelf", "-d", programs / "hello"], capture_output=True, text=True).stdout
    )
