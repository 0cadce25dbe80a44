#!/usr/bin/env python3
"""Build the images drgnalign.sif, cryodrgn.sif and frealign.sif: all is fetched first and checked against hashes.

Two builds of the same inputs give the same file, bit by bit. docs/containers.md has the commands and what they cost.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from sbom import write_sbom
from sif import sha256_of, write_sif
from spython.main import Client

from drgnalign.commands import Command
from drgnalign.errors import DrgnalignError, InputError
from drgnalign.version import __version__, source_digest

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
PYTHON_VERSION = "3.11"
# A wheel's tag names the oldest glibc that it runs on; 2.28 is what the lock files are made for.
PLATFORMS = ["any", *(f"manylinux{tag}_x86_64" for tag in (1, 2010, 2014))]
PLATFORMS += [f"manylinux_2_{minor}_x86_64" for minor in range(5, 29)]
INPUTS = ("src", "containers", "pyproject.toml", "setup.py")
PINNED = re.compile(r"docker://\S+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Revision:
    """State of the checkout: name of the commit, marked where files differ from it, and its time."""

    name: str
    time: int


@click.command(cls=Command)
@click.argument("name", type=click.Choice(["drgnalign", "cryodrgn", "frealign"]))
@click.option("--base", help="docker://NAME@sha256:…, a folder or an image. Default of the latter two: drgnalign.sif.")
@click.option("--binaries", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Frealign's programs.")
@click.option("--out", type=click.Path(path_type=Path), default=REPOSITORY / "images", show_default="images")
def main(name: str, base: str | None, binaries: Path | None, out: Path) -> None:
    """Build NAME.sif, test it, and write the list of what is inside to NAME.sif.spdx.json."""
    if shutil.which("apptainer") is None:
        raise DrgnalignError(None, "apptainer is not on the PATH", "install Apptainer >= 1.2")
    if (name == "frealign") != (binaries is not None):
        raise InputError(
            None, "the image frealign wraps your programs, and no other does", "give --binaries with it only"
        )
    out = out.resolve()
    agent, source = find_base(base or (None if name == "drgnalign" else str(out / "drgnalign.sif")))
    if name != "drgnalign":
        check_base(source)
    revision = git_revision()
    staged = out / "staged" / name
    staged.mkdir(parents=True, exist_ok=True)
    lock = HERE / f"{'cryodrgn' if name == 'cryodrgn' else 'drgnalign'}.lock"
    if binaries is not None:
        stage_programs(binaries, source, staged)
    else:
        stage_packages(lock, staged, revision)
    arguments = {
        "agent": agent,
        "base": source,
        "version": __version__,
        "revision": revision.name,
        "lock": sha256_of(lock),
        "source": source_digest(),
    }
    with temporary_beside(out / f"{name}.sif") as image:
        with sandbox(name, arguments, staged, revision, out) as root:
            write_sif(root, HERE / f"{name}.def", image, revision.time)
            packages = write_sbom(root, staged, name, image, revision.time)
        run_test(image)
    digest = sha256_of(out / f"{name}.sif")
    click.echo(f"{digest}  {out / name}.sif  {packages} packages")


def find_base(base: str | None) -> tuple[str, str]:
    """Apptainer's bootstrap agent for a base, and the base's name for it."""
    if base is None:
        raise InputError(None, "the image drgnalign needs a base", "give --base, see docs/containers.md")
    if PINNED.fullmatch(base):
        return "docker", base.removeprefix("docker://")
    if "://" in base:
        raise InputError(base, "such a base may be another one tomorrow", "give docker://NAME@sha256:DIGEST")
    if not Path(base).exists():
        raise InputError(base, "no such image or folder", "build the image drgnalign first, or correct --base")
    return "localimage", str(Path(base).resolve())


def check_base(image: str) -> None:
    """Refuse to build upon an image drgnalign that was made of other sources."""
    labels = Client.inspect(image, quiet=True)["attributes"]["labels"]
    if labels.get("org.drgnalign.source-sha256") != source_digest():
        raise InputError(image, "it does not hold the library of this checkout", "build the image drgnalign again")


def git_revision() -> Revision:
    """Of this checkout; only the files that an image is made of count as changed."""

    def git(*arguments: str) -> str:
        try:
            return subprocess.run(
                ["git", "-C", str(REPOSITORY), *arguments], check=True, capture_output=True, text=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError) as error:
            raise InputError(REPOSITORY, "its revision is not known to git", "build from a git checkout") from error

    name, time = git("log", "-1", "--format=%H %ct").split()
    return Revision(name + ("-dirty" if git("status", "--porcelain", "--", *INPUTS) else ""), int(time))


def run(command: Sequence[object], problem: str) -> None:
    """Run a program whose failure is explained by what it prints."""
    if subprocess.run([str(word) for word in command], env={**os.environ, "PYTHONHASHSEED": "0"}).returncode:
        raise DrgnalignError(None, problem, "see what is printed above")


def stage_packages(lock: Path, staged: Path, revision: Revision) -> None:
    """Fetch what the lock file lists and the installer, and make a package of the library."""
    wheels = staged / "wheels"
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    download += ["--require-hashes", "--only-binary=:all:", "--python-version", PYTHON_VERSION, *platforms]
    requirements = ["--requirement", lock, "--requirement", REPOSITORY / "setup" / "uv.lock"]
    run([*download, *requirements, "--dest", wheels], f"the packages of {lock} could not all be fetched")
    shutil.copy(lock, staged / "lock")
    for script in ("exercise.sh", "train_once.py"):
        shutil.copy(HERE / script, staged)
    with zipfile.ZipFile(next(wheels.glob("uv-*.whl"))) as wheel:
        program = next(name for name in wheel.namelist() if name.endswith("/scripts/uv"))
        (staged / "uv").write_bytes(wheel.read(program))
    (staged / "uv").chmod(0o755)
    build_library(wheels, revision)


def build_library(wheels: Path, revision: Revision) -> None:
    """Build from a copy: a folder `build` of earlier days would lend its files to the package."""
    with tempfile.TemporaryDirectory() as folder:
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so")
        shutil.copytree(REPOSITORY / "src", Path(folder) / "src", ignore=ignore)
        for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
            shutil.copy(REPOSITORY / file, folder)
        os.environ["SOURCE_DATE_EPOCH"] = str(revision.time)
        wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        run([*wheel, "--no-build-isolation", "--wheel-dir", wheels, folder], "the library could not be packaged")


def stage_programs(binaries: Path, base: str, staged: Path) -> None:
    """Copy the user's programs, and those of their shared libraries that the base has not."""
    shutil.rmtree(staged)
    (staged / "lib").mkdir(parents=True)
    shutil.copytree(binaries, staged / "bin")
    shutil.copy(HERE / "probe.sh", staged)
    inside = ["apptainer", "exec", "--no-mount", "tmp,home,cwd", "--bind", f"{staged}:/mnt"]
    inside += ["--env", "LD_LIBRARY_PATH=/mnt/lib", base, "ldd"]
    for program in sorted(path for path in binaries.iterdir() if path.is_file()):
        here = dict(re.findall(r"^\s*(\S+) => (/\S+)", ldd(["ldd", str(program.resolve())]), re.M))
        # What a library needs itself is not looked for before that is found.
        while missing := re.findall(r"^\s*(\S+) => not found", ldd([*inside, f"/mnt/bin/{program.name}"]), re.M):
            for library in missing:
                if library not in here:
                    problem = f"its shared library {library} is neither in the base nor on this machine"
                    raise InputError(program, problem, f"install the package that has {library} here, and build again")
                shutil.copy(here[library], staged / "lib" / library)


def ldd(command: Sequence[str]) -> str:
    """What ldd prints; it fails on what is not a dynamic program, which is then in want of no library."""
    return subprocess.run(command, capture_output=True, text=True).stdout


@contextmanager
def sandbox(name: str, arguments: dict[str, str], staged: Path, revision: Revision, out: Path) -> Iterator[Path]:
    """The image as a folder."""
    # The host's /tmp is not to be seen from a build.
    os.environ |= {"APPTAINER_NO_MOUNT": "tmp,home,cwd", "SOURCE_DATE_EPOCH": str(revision.time)}
    folder = Path(tempfile.mkdtemp(dir=out, prefix=f".{name}-"))
    try:
        options = ["--notest", "--force", "--bind", f"{staged}:/mnt"]
        for key, value in arguments.items():
            options += ["--build-arg", f"{key}={value}"]
        definition = str(HERE / f"{name}.def")
        if (
            Client.build(definition, str(folder / "root"), sandbox=True, options=options, sudo=False, quiet=False)
            is None
        ):
            raise DrgnalignError(definition, "Apptainer could not build it", "see what is printed above")
        yield folder / "root"
    finally:
        del os.environ["APPTAINER_NO_MOUNT"]
        shutil.rmtree(folder)


@contextmanager
def temporary_beside(final: Path) -> Iterator[Path]:
    """A temporary image, which takes its place together with its list of contents when the block ends well."""
    image = final.with_name(f".{final.name}")
    files = [(image, final), (sbom_of(image), sbom_of(final))]
    try:
        yield image
        for temporary, path in files:
            temporary.replace(path)
    finally:
        for temporary, _ in files:
            temporary.unlink(missing_ok=True)


def sbom_of(image: Path) -> Path:
    """The list of contents beside an image."""
    return image.with_name(f"{image.name}.spdx.json")


def run_test(image: Path) -> None:
    """Run the image's own test, in the image as it will be used: read-only."""
    run(["apptainer", "test", image], f"{image.name.removeprefix('.')} does not pass its own test")


if __name__ == "__main__":
    main()
