"""Python reads this when it starts, if this folder is on its path: it kills one REFINE task in the middle of a file.

The first process of the name that gives its refined particles their final name is killed instead, and half of the file
is all that is left.
"""

import os
import signal
import sys
from pathlib import Path

FINAL_NAME = Path.replace


def killed_in_the_middle(self: Path, target: Path) -> Path:
    marker = Path(os.environ["HALF_FILE_MARKER"])
    if Path(target).suffix == ".star" and not marker.exists():
        os.truncate(self, self.stat().st_size // 2)
        marker.write_text(str(self.resolve()))
        os.kill(os.getpid(), signal.SIGKILL)
    return FINAL_NAME(self, target)


# sys.argv is not there yet
if any(word.endswith("refine.py") for word in sys.orig_argv):
    Path.replace = killed_in_the_middle
