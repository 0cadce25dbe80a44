"""drgnalign: refine the hidden states of heterogeneous cryo-EM data sets, one cluster at a time."""

import os
import tempfile
from pathlib import Path

__version__ = "0.1.0"

# Compiled functions are kept beside the code or in the user's cache folder. Where neither can be written, as in a
# container that runs under another user, numba would not even import them.
_home_cache = Path(os.environ.get("XDG_CACHE_HOME") or os.environ.get("HOME", "/")).resolve()
_nearest = next(folder for folder in (_home_cache, *_home_cache.parents) if folder.exists())
if not os.access(Path(__file__).parent, os.W_OK) and not os.access(_nearest, os.W_OK):
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"drgnalign-numba-{os.getuid()}"))
