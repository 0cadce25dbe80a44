"""The parameters: one description, which the defaults, the help and the checks follow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runs import REPOSITORY, nextflow

SCHEMA = json.loads((REPOSITORY / "nextflow_schema.json").read_text())
PROPERTIES: dict[str, Any] = {
    name: rule for group in SCHEMA["$defs"].values() for name, rule in group["properties"].items()
}


def test_defaults_are_those_of_the_schema(tmp_path: Path) -> None:
    status, printed = nextflow(tmp_path, "config", REPOSITORY, "-flat")
    assert status == 0, printed
    lines = [line.removeprefix("params.").split(" = ") for line in printed.splitlines() if line.startswith("params.")]
    defaults = {name: json.loads(value.replace("'", '"')) for name, value in lines}
    assert defaults == {name: rule["default"] for name, rule in PROPERTIES.items()}


def test_help_lists_every_parameter_and_runs_nothing(tmp_path: Path) -> None:
    status, printed = nextflow(tmp_path, "run", REPOSITORY / "main.nf", "--help")
    assert status == 0, printed
    for name, rule in PROPERTIES.items():
        assert f"--{name} " in printed and rule["description"] in printed
    assert "Submitted" not in printed
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", PROPERTIES)
def test_every_parameter_is_described(name: str) -> None:
    rule = PROPERTIES[name]
    assert rule["type"] in ("string", "integer", "number", "boolean")
    assert rule["description"].endswith(".") and "\n" not in rule["description"]
    assert "default" in rule
    if rule["type"] in ("integer", "number"):
        assert "minimum" in rule or "exclusiveMinimum" in rule
