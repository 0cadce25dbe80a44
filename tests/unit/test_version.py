"""Which library an image holds, and that another one is refused by name."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path

import pytest

import drgnalign
from drgnalign.errors import InputError
from drgnalign.version import PACKAGE, TITLE, Sources, check_image, imported_names, source_digest, step_digests

IMAGE = Path("images/drgnalign.sif")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PACKAGE, tmp_path / "drgnalign", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({TITLE: "drgnalign"}))
    return path


def test_digest_is_of_names_and_contents(checkout: Path) -> None:
    assert source_digest(checkout) == source_digest()
    (checkout / "notes.txt").write_text("no source")
    assert source_digest(checkout) == source_digest()
    (checkout / "geometry.py").rename(checkout / "merging.py")
    renamed = source_digest(checkout)
    (checkout / "merging.py").write_text("# changed\n")
    assert len({renamed, source_digest(checkout), source_digest()}) == 3


def test_images_that_do_not_fit_are_refused(checkout: Path, labels: Path, tmp_path: Path) -> None:
    check_image(IMAGE, "drgnalign", checkout, labels)
    with pytest.raises(InputError, match=r"drgnalign\.sif: is the image drgnalign, not cryodrgn"):
        check_image(IMAGE, "cryodrgn", checkout, labels)
    with pytest.raises(InputError, match=r"drgnalign\.sif: is no image that `make images` has built"):
        check_image(IMAGE, "drgnalign", checkout, tmp_path / "absent.json")
    (checkout / "maps.py").write_text("# changed\n")
    with pytest.raises(InputError, match=rf"{source_digest()[:12]}.*{source_digest(checkout)[:12]}.*\n.*make images"):
        check_image(IMAGE, "drgnalign", checkout, labels)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import drgnalign.maps", {"drgnalign.maps"}),
        ("import drgnalign.maps as m, json", {"drgnalign.maps", "json"}),
        ("from drgnalign.maps import a, b", {"drgnalign.maps", "drgnalign.maps.a", "drgnalign.maps.b"}),
        ("from drgnalign import maps as m", {"drgnalign", "drgnalign.maps"}),
        ("from . import star", {"drgnalign.formats", "drgnalign.formats.star"}),
        ("from .star import a", {"drgnalign.formats.star", "drgnalign.formats.star.a"}),
        ("from ..maps import a", {"drgnalign.maps", "drgnalign.maps.a"}),
        ("from .. import maps", {"drgnalign", "drgnalign.maps"}),
        ("def f():\n    if True:\n        import drgnalign.maps", {"drgnalign.maps"}),
        ("try:\n    import numpy\nexcept ImportError:\n    from .star import a", {"numpy", "drgnalign.formats.star"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\nelse:\n    import b", {"typing", "b"}),
        ("# from drgnalign.maps import a\n'from drgnalign.maps import b'", set()),
    ],
)
def test_modules_that_are_imported(source: str, names: set[str]) -> None:
    """Of a module of drgnalign.formats; however it says so, and not where it only speaks of it."""
    found = imported_names(ast.parse(source), ["drgnalign", "formats"])
    assert names <= found
    assert {name.split(".")[0] for name in found} == {name.split(".")[0] for name in names}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A script needs `a.b`, which needs `c`, which has a C file and data; nobody needs `d`."""
    files = {
        "bin/step.py": "from p.a.b import f\n",
        "bin/other.py": "import json\n",
        "p/__init__.py": "",
        "p/a/__init__.py": "from p.a import e\n",
        "p/a/b.py": "from ..c import g\n",
        "p/a/e.py": "",
        "p/c.py": "PAGES = 'pages'\n",
        "p/c.c": '#include <math.h>\n#include "shared.h"\n',
        "p/shared.h": "",
        "p/pages/page.html": "",
        "p/notes/notes.txt": "",
        "p/d.py": "from p.a import b\n",
        "lock": "numpy==1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_files_that_a_step_depends_on(package: Path) -> None:
    """With the packages that a module is in, what these import, what is compiled, and data that it names."""
    found = [str(path.relative_to(package)) for path in Sources(package / "p").behind(package / "bin" / "step.py")]
    modules = ["p/__init__.py", "p/a/__init__.py", "p/a/b.py", "p/a/e.py", "p/c.c", "p/c.py"]
    assert found == sorted([*modules, "p/pages/page.html", "p/shared.h"])
    assert Sources(package / "p").behind(package / "bin" / "other.py") == []


@pytest.mark.parametrize("changed", ["bin/step.py", "p/a/e.py", "p/c.c", "p/shared.h", "p/pages/page.html"])
def test_a_step_s_digest_changes_with_what_it_depends_on_alone(package: Path, changed: str) -> None:
    def digests() -> dict[str, str]:
        return step_digests(package / "bin", package / "p", package / "lock")

    before = digests()
    for unneeded in ("p/d.py", "p/notes/notes.txt"):
        (package / unneeded).write_text("x = 1\n")
    assert digests() == before and before.keys() == {"step", "other"}
    (package / changed).write_text("# changed\n")
    after = digests()
    assert after["step"] != before["step"] and after["other"] == before["other"]
    (package / "lock").write_text("numpy==2\n")
    assert digests()["other"] != before["other"]


def test_what_no_import_statement_says_is_not_seen(package: Path) -> None:
    """A name that is computed. No step's modules have one; programs are told by the lock file and images."""
    (package / "bin" / "step.py").write_text("import importlib\nimportlib.import_module('p.' + 'c')\n")
    assert Sources(package / "p").behind(package / "bin" / "step.py") == []
    scripts = (PACKAGE.parents[1] / "bin").glob("*.py")
    behind = {path for script in scripts for path in Sources(PACKAGE).behind(script) if path.suffix == ".py"}
    assert len(behind) > 100
    # the face for notebooks, of which no step's module takes anything
    behind.remove(PACKAGE / "__init__.py")
    taken = "|".join(drgnalign.__all__)
    computed = rf"import_module\(|__import__\(|from drgnalign import .*\b({taken})\b|drgnalign\.public"
    assert [path for path in behind if re.search(computed, path.read_text())] == []
