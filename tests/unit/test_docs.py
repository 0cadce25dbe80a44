"""What the documentation says of the tests and messages is true, and messages name what there is."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

from drgnalign import __version__
from drgnalign.cli import main

REPOSITORY = Path(__file__).parents[2]
NAMED = sorted(set(re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", (REPOSITORY / "docs" / "conventions.md").read_text())))


def test_the_page_names_tests() -> None:
    assert len(NAMED) > 30


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_each_test_named_by_the_conventions_exists(file: str, name: str) -> None:
    source = (REPOSITORY / "tests" / "unit" / file).read_text()
    assert not name or re.search(rf"^def {name}\(", source, re.MULTILINE)


@pytest.mark.parametrize("process", sorted(path.stem.upper() for path in (REPOSITORY / "modules").rglob("*.nf")))
def test_every_process_has_its_place_in_the_architecture(process: str) -> None:
    assert re.search(rf"\b{process}\b", (REPOSITORY / "docs" / "architecture.md").read_text())


@pytest.mark.parametrize("file", ["pyproject.toml", "nextflow.config", "CITATION.cff", "CHANGELOG.md"])
def test_there_is_one_version(file: str) -> None:
    assert re.search(rf"(version\W+|## ){re.escape(__version__)}\b", (REPOSITORY / file).read_text())


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TROUBLES = load(REPOSITORY / "docs" / "generate_troubleshooting.py")
# Of other programs that messages tell how to call.
OTHERS = {"resume", "help", "i", "one_by_one"}


def test_the_page_of_messages_is_that_of_the_source() -> None:
    page = (REPOSITORY / "docs" / "troubleshooting.md").read_text()
    assert page == TROUBLES.page(), "run docs/generate_troubleshooting.py"
    assert page.count("\n| ") > 200 and "no such stack" in page
    assert len(TROUBLES.warnings_of_results()) > 10


def test_the_page_of_what_runs_again_is_that_of_the_source() -> None:
    page = (REPOSITORY / "docs" / "reruns.md").read_text()
    assert page == load(REPOSITORY / "docs" / "generate_reruns.py").page(), "run docs/generate_reruns.py"
    assert re.search(r"^\| CLUSTER \| .*`hdbscan_k`", page, re.MULTILINE) and "| REPORT |" in page


def options_of(command: click.Command) -> set[str]:
    """Of a command, or of all commands of a group."""
    own = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            own |= options_of(inner) if inner else set()
    return own


def test_messages_name_options_that_there_are() -> None:
    """Those of the workflow, of the command and of the steps; with _ or - alike."""
    schema = json.loads((REPOSITORY / "nextflow_schema.json").read_text())
    known = {name for group in schema["$defs"].values() for name in group["properties"]} | OTHERS
    known |= {name.lstrip("-").replace("-", "_") for name in options_of(main)}
    texts = {message: f"{message.problem} {message.remedy}" for message in TROUBLES.messages()}
    texts |= {warning: warning for warning in TROUBLES.warnings_of_results()}
    found = {
        name.replace("-", "_"): message
        for message, text in texts.items()
        for name in re.findall(r"(?<![\w-])--([a-z][\w-]*)", text)
    }
    assert len(found) > 30
    assert {name: message for name, message in found.items() if name not in known} == {}
