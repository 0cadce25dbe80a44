"""What the documentation says of the tests is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
NAMED = sorted(set(re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", (REPOSITORY / "docs" / "conventions.md").read_text())))


def test_the_page_names_tests() -> None:
    assert len(NAMED) > 30


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_each_test_named_by_the_conventions_exists(file: str, name: str) -> None:
    source = (REPOSITORY / "tests" / "unit" / file).read_text()
    assert not name or re.search(rf"^def {name}\(", source, re.MULTILINE)
