"""Files of a run that the page is made of, read so that what is broken is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from drgnalign.errors import InputError

# What to do where results are not as a run left them.
WHOLE = "copy the whole results, or run again with -resume"


def read_named(path: Path) -> dict[str, Any]:
    """What a file of JSON holds by name; nothing where there is no file.

    Raises
    ------
    InputError
        It is broken, or holds something else.
    """
    if not path.is_file():
        return {}
    try:
        held = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read as JSON ({error})", WHOLE) from error
    if not isinstance(held, dict):
        raise InputError(path, "holds no names with values", WHOLE)
    return held
