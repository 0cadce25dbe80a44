#!/usr/bin/env python3
"""Write docs/troubleshooting.md: every message of the project with what to do, from the source.

``…`` stands for what a message says of the case at hand.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "troubleshooting.md"
ERRORS = ("InputError", "DrgnalignError")
# Deep enough for texts that are put together in two or three steps.
DEEPEST = 6
HEAD = """# Troubleshooting

Made from the source by `docs/generate_troubleshooting.py`: every message of the project, and what to do. `…` stands for
the file, number or name at hand. Look for a word of the message with your browser's search.

A run that stops says at once what is wrong and `What to do:` (a step's own message begins with `ERROR:`, after what it
warned of), and once more at its end; what Nextflow prints between them names the step and its folder (`Work dir:`),
where `.command.log` has all that the step printed. Once the cause is mended, the same command with `-resume` goes on.
What is to be doubted in results is in `findings.txt` and in the column `warnings` of `summary.csv`;
[method.md](method.md) says where it comes from.
What happens to tasks that are killed, or run out of memory or time, is in [hpc.md](hpc.md).
"""


class Message(NamedTuple):
    """What is wrong, and what to do; where in the source."""

    problem: str
    remedy: str
    module: str


def messages() -> list[Message]:
    """All errors of the library, the steps and the workflow."""
    found = [message for path in python_files() for message in _of_python(path)]
    found += [message for path in workflow_files() for message in _of_workflow(path)]
    found = [message for message in found if message.problem.strip("… :")]
    return sorted(set(found), key=lambda message: (message.module, message.problem, message.remedy))


def warnings_of_results() -> list[str]:
    """What `summary.csv` warns of, one sentence each."""
    tree = ast.parse((ROOT / "src" / "drgnalign" / "validation" / "claims.py").read_text())
    told = [
        _text(node.args[0], function)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Doubt"
    ]
    return sorted({text for text in told if text.count(" ") > 2})


def python_files() -> list[Path]:
    return sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "bin").glob("*.py")])


def workflow_files() -> list[Path]:
    return [ROOT / "main.nf", *sorted((ROOT / "subworkflows").glob("*.nf")), *sorted((ROOT / "modules").glob("*.nf"))]


def _of_python(path: Path) -> Iterator[Message]:
    tree, module = ast.parse(path.read_text()), str(path.relative_to(ROOT))
    scopes: list[ast.AST] = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for scope in scopes:
        for node in ast.walk(scope):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
                given = [*node.args, *(keyword.value for keyword in node.keywords)]
                if len(given) == 3:
                    yield Message(_text(given[1], scope), _text(given[2], scope), module)


def _text(node: ast.expr, scope: ast.AST, depth: int = 0) -> str:
    """The words of an expression, `…` where they come of the case."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, scope, depth) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, scope, depth + 1) if isinstance(node.value, ast.Name) else "…"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, scope, depth) + _text(node.right, scope, depth)
    if isinstance(node, ast.IfExp):
        words = [_text(part, scope, depth) for part in (node.body, node.orelse)]
        return " / ".join(word for word in words if word)
    if isinstance(node, ast.Name) and depth < DEEPEST:
        before = [
            assigned.value
            for assigned in ast.walk(scope)
            if isinstance(assigned, ast.Assign)
            and assigned.lineno < node.lineno
            and any(isinstance(target, ast.Name) and target.id == node.id for target in assigned.targets)
        ]
        texts = [_text(value, scope, depth + 1) for value in before or _constants().get(node.id, [])]
        texts = [text for text in texts if text.strip("… ")]
        return texts[-1] if texts else "…"
    return "…"


@cache
def _constants() -> dict[str, list[ast.expr]]:
    """The sentences that modules have names for, where one name stands for one."""
    found: dict[str, list[ast.expr]] = {}
    for path in python_files():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and " " in str(node.value.value):
                for target in node.targets:
                    found.setdefault(ast.unparse(target), []).append(node.value)
    return {name: values for name, values in found.items() if len(values) == 1}


def _of_workflow(path: Path) -> Iterator[Message]:
    for text in re.findall(r'error\(\s*"((?:[^"\\]|\\.|"(?=[^)]*\}))*)"\s*\)', path.read_text()):
        words = re.sub(r"\$\{[^{}]*(\{[^{}]*\}[^{}]*)*\}", "…", text).replace("\\$", "$")
        problem, _, remedy = words.partition("\\n  What to do: ")
        yield Message(problem.replace("\\n", " "), remedy, str(path.relative_to(ROOT)))


def page() -> str:
    """The page as it is to be."""
    lines = [HEAD, "## What stops a run or a command", ""]
    module = None
    for message in messages():
        if message.module != module:
            module = message.module
            lines += ["", f"**`{module}`**", "", "| message | what to do |", "|---|---|"]
        lines.append(f"| {_cell(message.problem)} | {_cell(message.remedy)} |")
    lines += ["", "## What results are warned of", ""]
    lines += [f"- {text}" for text in warnings_of_results()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def _cell(text: str) -> str:
    return " ".join(re.sub(r"…(\s*…)+", "…", text).split()).replace("|", "\\|") or "…"


if __name__ == "__main__":
    PAGE.write_text(page())
