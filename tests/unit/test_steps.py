"""A process leads to its script and from there to its module, all of one name; and depends on no more than it needs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PROCESSES = sorted(path.stem for path in (REPOSITORY / "modules").rglob("*.nf"))
# Held against the library inside an image, which may be another one: it imports nothing that this may lack.
IN_ANY_IMAGE = {"check_image"}


def test_every_script_is_a_process_s() -> None:
    scripts = {path.stem for path in (REPOSITORY / "bin").glob("*.py")}
    assert scripts == {*PROCESSES, "versions"}


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_leads_to_its_module_in_two_hops(name: str) -> None:
    (file,) = (REPOSITORY / "modules").rglob(f"{name}.nf")
    text = file.read_text()
    assert f"process {name.upper()} {{" in text
    assert set(re.findall(r"(\w+)\.py\b", text)) - {"versions"} == {name}
    script = (REPOSITORY / "bin" / f"{name}.py").read_text()
    if name in IN_ANY_IMAGE:
        return
    (imported,) = (node for node in ast.parse(script).body if isinstance(node, ast.ImportFrom))
    assert imported.module in (f"drgnalign.steps.{name}", f"drgnalign.commands.{name}")
    assert len(script.splitlines()) <= 7
    assert f'"""{name.upper()}: ' in script
    assert isinstance(getattr(import_module(imported.module), imported.names[0].name), click.Command)


@pytest.mark.parametrize("name", ["cluster", "decode", "embed", "export", "merge", "report", "split", "train"])
def test_what_does_not_refine_is_not_done_again_for_the_kernels(name: str) -> None:
    program = f"import sys, drgnalign.steps.{name}; print(*(m for m in sys.modules if 'kernels' in m))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
