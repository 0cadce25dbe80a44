"""drgnalign: refine the hidden states of heterogeneous cryo-EM data sets, one cluster at a time.

What `__all__` names is in `drgnalign.public`, imported when one of it is first asked for; docs/python.md shows it.
"""

from __future__ import annotations

import atexit
import os
import platform
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.2.0"
__all__ = ["Dataset", "assign", "fsc", "mask_of", "open_particles", "reconstruct", "refine", "write_particles"]

# What numba compiles, for UMAP, is for one generation of processors. One level for all lets an image bring its
# functions along.
if platform.machine() == "x86_64":
    os.environ.setdefault("NUMBA_CPU_NAME", "x86-64-v3")
    os.environ.setdefault("NUMBA_CPU_FEATURES", "")


def _use_writable_cache() -> None:
    """Give numba a folder for compiled functions that it can write to: it takes no other, not even for reading.

    Such are kept beside the code or in the user's cache folder. Where neither can be written, as in an image that runs
    under another user, they go into a temporary folder. What an image brings along is linked into one.
    """
    brought = os.environ.get("NUMBA_CACHE_DIR")
    if brought is not None:
        if os.access(brought, os.R_OK) and not os.access(brought, os.W_OK):
            os.environ["NUMBA_CACHE_DIR"] = _linked(Path(brought))
        return
    home_cache = Path(os.environ.get("XDG_CACHE_HOME") or os.environ.get("HOME", "/")).resolve()
    nearest = next(folder for folder in (home_cache, *home_cache.parents) if folder.exists())
    if not os.access(Path(__file__).parent, os.W_OK) and not os.access(nearest, os.W_OK):
        os.environ["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / f"drgnalign-numba-{os.getuid()}")


def _linked(cache: Path) -> str:
    """A temporary folder of links to the files of a cache, gone when the program ends."""
    temporary = tempfile.TemporaryDirectory(prefix="drgnalign-numba-")
    atexit.register(temporary.cleanup)
    for file in cache.glob("*/*"):
        link = Path(temporary.name) / file.relative_to(cache)
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(file)
    return temporary.name


_use_writable_cache()


def __dir__() -> list[str]:
    """What a notebook completes."""
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    """Of `drgnalign.public`. (Named in a string: a step's version is of all modules that it imports.)"""
    if name in __all__:
        return getattr(import_module("drgnalign.public"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
