"""What tells one state of the library from another."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from drgnalign import __version__
from drgnalign.errors import InputError

PACKAGE = Path(__file__).resolve().parent
LABELS, TITLE = Path("/.singularity.d/labels.json"), "org.opencontainers.image.title"

__all__ = ["PACKAGE", "Sources", "__version__", "check_image", "imported_names", "source_digest", "step_digests"]


def source_digest(package: Path = PACKAGE) -> str:
    """SHA-256 of the names and contents of all Python and C files of a copy of this package.

    Parameters
    ----------
    package : path
        Folder of the copy; the one that runs if not given.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    sources = (file for file in package.rglob("*") if file.suffix in (".py", ".c"))
    for file in sorted(sources, key=lambda file: file.relative_to(package).as_posix()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{content}  {file.relative_to(package).as_posix()}\n".encode())
    return digest.hexdigest()


def check_image(image: Path, name: str, checkout: Path, labels: Path = LABELS) -> None:
    """Make sure that the image this runs in is what its name says, with the library of a checkout.

    Parameters
    ----------
    image : path
        For the message.
    name : str
        What it has to be: drgnalign, cryodrgn or frealign.
    checkout : path
        Folder of the checkout's package.
    labels : path
        Where Apptainer keeps the labels of the image.

    Raises
    ------
    InputError
        It is another one: scripts of one version would run with the library of another.
    """
    title = json.loads(labels.read_text()).get(TITLE) if labels.exists() else None
    if title != name:
        problem = f"is the image {title}, not {name}" if title else "is no image that `make images` has built"
        raise InputError(image, problem, "build the images with `make images`, and keep their names")
    inside, outside = source_digest(), source_digest(checkout)
    if inside != outside:
        match = re.search(r'^__version__ = "(.*)"$', (checkout / "__init__.py").read_text(), re.M)
        version = match[1] if match else "unknown"
        problem = (
            f"holds drgnalign {__version__} (source {inside[:12]}), and the checkout is {version} ({outside[:12]})"
        )
        raise InputError(image, problem, "build the images again from this checkout with `make images`")


def step_digests(scripts: Path, package: Path, environment: Path) -> dict[str, str]:
    """What each step's results depend on besides data and parameters, as a digest.

    Parameters
    ----------
    scripts : path
        Folder of the steps' scripts, ``NAME.py``.
    package : path
        Folder of the library that they import.
    environment : path
        What stands for all other libraries: the file that locks their versions.

    Returns
    -------
    dict
        By name of the step 64 hexadecimal digits.
    """
    sources = Sources(package)
    locked = hashlib.sha256(environment.read_bytes()).hexdigest()
    return {
        script.stem: _digest_of([script, *sources.behind(script)], [scripts, package], locked)
        for script in sorted(scripts.glob("*.py"))
    }


def _digest_of(files: Iterable[Path], folders: list[Path], also: str) -> str:
    digest = hashlib.sha256(also.encode())
    for file in files:
        (name,) = (file.relative_to(folder).as_posix() for folder in folders if file.is_relative_to(folder))
        digest.update(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {name}\n".encode())
    return digest.hexdigest()


class Sources:
    """The files of a package, and which of them a script depends on: by its import statements, and theirs.

    Parameters
    ----------
    package : path
        Its folder, which has its name.
    """

    def __init__(self, package: Path) -> None:
        self.package = package
        self._needed: dict[Path, set[Path]] = {}

    def behind(self, script: Path) -> list[Path]:
        """All files of the package that a script's results depend on.

        They are the modules that it imports, directly or not, anywhere but for type checkers; the packages that they
        are in; C files that lie beside a module and have its name, with what these include; and data in folders beside
        a module which it names. Not seen are imports whose name is computed, and programs that are called.

        Parameters
        ----------
        script : path
            A script, or a module of the package.

        Returns
        -------
        list of path
            Sorted.
        """
        found: set[Path] = set()
        open_ends = [script]
        while open_ends:
            needed = self._needs(open_ends.pop()) - found
            found |= needed
            open_ends += [path for path in needed if path.suffix == ".py"]
        return sorted(found)

    def _needs(self, module: Path) -> set[Path]:
        """What one module itself asks for."""
        if module not in self._needed:
            tree = ast.parse(module.read_text())
            names = imported_names(tree, self._package_of(module))
            files = {path for name in names for path in self._files_of(name)}
            self._needed[module] = files | set(_compiled(module)) | set(_data(module, tree))
        return self._needed[module]

    def _package_of(self, module: Path) -> list[str]:
        """['drgnalign', 'formats'] of formats/star.py; [] of a script."""
        if not module.is_relative_to(self.package):
            return []
        return [self.package.name, *module.relative_to(self.package).parent.parts]

    def _files_of(self, name: str) -> list[Path]:
        """Of 'drgnalign.formats.star' the module and its packages; a name in a module has no file."""
        first, *rest = name.split(".")
        if first != self.package.name:
            return []
        folders = [self.package.joinpath(*rest[:depth]) for depth in range(len(rest) + 1)]
        candidates = [*(folder / "__init__.py" for folder in folders), folders[-1].with_suffix(".py")]
        return [path for path in candidates if path.is_file()]


def _data(module: Path, tree: ast.AST) -> list[Path]:
    """Files of the folders beside a module that it names in a text, and that are no packages."""
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    folders = [path for path in module.parent.iterdir() if path.name in texts and path.is_dir()]
    inner = [path for folder in folders if not (folder / "__init__.py").exists() for path in folder.rglob("*")]
    return [path for path in inner if path.is_file()]


def _compiled(source: Path) -> list[Path]:
    """The C file that has a module's name, and those that it includes."""
    file = source.with_suffix(".c")
    if not file.exists():
        return []
    included = re.findall(r'^\s*#\s*include\s*"([^"]+)"', file.read_text(), re.MULTILINE)
    return [file, *(file.parent / name for name in included)]


def imported_names(tree: ast.AST, package: Sequence[str]) -> set[str]:
    """Full names of the modules that a module imports, and of what it imports from them, modules or not.

    Parameters
    ----------
    tree : ast.AST
        Its source, parsed.
    package : sequence of str
        The package that it is in, from the outermost, to which relative imports refer.

    Returns
    -------
    set of str
    """
    if isinstance(tree, ast.If) and ast.unparse(tree.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        return {name for node in tree.orelse for name in imported_names(node, package)}
    if isinstance(tree, ast.Import):
        return {alias.name for alias in tree.names}
    if isinstance(tree, ast.ImportFrom):
        outer = [*package[: len(package) - tree.level + 1]] if tree.level else []
        module = ".".join([*outer, *([tree.module] if tree.module else [])])
        return {module, *(f"{module}.{alias.name}" for alias in tree.names)}
    return {name for node in ast.iter_child_nodes(tree) for name in imported_names(node, package)}
