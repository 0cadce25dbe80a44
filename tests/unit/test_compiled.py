"""C files beside modules."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from drgnalign import particles
from drgnalign.compiled import Array, load_library
from drgnalign.errors import DrgnalignError
from drgnalign.version import PACKAGE


def test_a_file_that_is_not_compiled_is_told(tmp_path: Path) -> None:
    for source in PACKAGE.glob("*particles.*"):
        shutil.copy(source, tmp_path)
    module = str(tmp_path / "particles.py")
    (library,) = tmp_path.glob("_particles.*")
    load_library(module, {"mark_bad_names": []})
    # another module's, whose name only begins in the same way
    library.rename(tmp_path / library.name.replace("_particles", "_particles2"))
    with pytest.raises(DrgnalignError, match=r"particles\.c: it has not been compiled\n.*make setup"):
        load_library(module, {})


def test_every_c_file_is_compiled_or_included() -> None:
    sources = set(PACKAGE.rglob("*.c"))
    included = {path.with_name(name) for path in sources for name in re.findall(r'#include "(.*)"', path.read_text())}
    assert particles.__file__ is not None and Path(particles.__file__).with_suffix(".c") in sources
    for source in sources - included:
        load_library(str(source.with_suffix(".py")), {})


def test_arrays_of_another_layout_are_refused() -> None:
    for array in (np.zeros((4, 4))[:, ::2], np.zeros(4, np.float32), np.asfortranarray(np.zeros((4, 4)))):
        with pytest.raises(TypeError, match="not an array of float64 without gaps"):
            Array(np.float64).from_param(array)
