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


def loaded_with(module: str) -> set[str]:
    """What a fresh Python has of the library once it has imported a module."""
    program = f"import sys, {module}; print(*(name for name in sys.modules if name.startswith('drgnalign')))"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


@pytest.mark.parametrize("name", ["cluster", "decode", "embed", "export", "merge", "report", "split", "train"])
def test_what_does_not_refine_is_not_done_again_for_the_kernels(name: str) -> None:
    assert "drgnalign.engine.kernels" not in loaded_with(f"drgnalign.steps.{name}")


def test_maps_are_written_without_an_engine() -> None:
    assert not {name for name in loaded_with("drgnalign.maps.write") if name.startswith("drgnalign.engine")}


@pytest.mark.parametrize("name", ["check_inputs", "downsample", "train", "embed"])
def test_another_figure_of_a_pass_does_not_import_read_or_train_again(name: str) -> None:
    assert "drgnalign.run.records" not in loaded_with(f"drgnalign.steps.{name}")
