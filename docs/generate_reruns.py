"""Write docs/reruns.md: which steps -resume runs again after which change."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from drgnalign.version import Sources

DOCS = Path(__file__).resolve().parent
REPOSITORY = DOCS.parent
PACKAGE = REPOSITORY / "src" / "drgnalign"
HEAD = """# What runs again

`-resume` runs a step again where what it is given, its parameters or the code behind it have changed; then all that
comes after it and is given something else. (Written by `docs/generate_reruns.py`.)

Every step runs again after a change of `requirements.lock`, which stands for all other libraries; in images, of what is
installed in one of them: to build them again from the same is no change. The particle file, labels and a folder of
Frealign's programs count by what is in them, masks, trainings and stacks by size and time. More `--rounds` estimate the
training anew. Not seen are imports whose name is computed, of which steps have none, and other libraries that were
changed by hand.
"""


def parameters_read() -> dict[str, list[str]]:
    """By step, from subworkflows/settings.nf."""
    text = (REPOSITORY / "subworkflows" / "settings.nf").read_text()
    groups = {name: _texts(names) for name, names in re.findall(r"def (\w+) = \[(.*)\]\n", text)}
    table = text.partition("return [\n")[2].partition("\n    ]")[0]
    rows = re.findall(r"^        (\w+): (.*),$", table, re.MULTILINE)
    return {step: [name for part in row.split(" + ") for name in groups.get(part, _texts(part))] for step, row in rows}


def _texts(words: str) -> list[str]:
    return re.findall(r"'(\w+)'", words)


def files_behind() -> dict[str, list[str]]:
    """By step, names of files of the library."""
    sources = Sources(PACKAGE)
    return {
        script.stem: [str(path.relative_to(PACKAGE)) for path in sources.behind(script)]
        for script in sorted((REPOSITORY / "bin").glob("*.py"))
    }


def page() -> str:
    """The whole text."""
    parameters, files = parameters_read(), files_behind()
    lines = [HEAD, "## Parameters", "", "| step | runs again after a change of | files behind it |", "|---|---|---|"]
    lines += [
        f"| {step.upper()} | {', '.join(f'`{name}`' for name in sorted(set(names)))} | {len(files[step])} |"
        for step, names in parameters.items()
    ]
    lines += [
        "",
        "REPORT shows all parameters. INSERT and REFINE run again with RECONSTRUCT: their sums are gone by then.",
        "Besides, in those rounds that are done in another way then: CLUSTER after a change of `clustering`, `k`,",
        "`k_start`, `cluster_on`, `assign`, `labels` or `fixed_clusters`; ASSIGN of `k`; FIT of `k` or `k_start`",
        "where more than 12 clusters are proposed; TRAIN of `epochs_first`, `epochs_round` or `weights`.",
    ]
    lines += ["", "## Code", "", "| steps that run again | after a change of, in `src/drgnalign/` |", "|---|---|"]
    lines += [f"| {steps} | {', '.join(names)} |" for steps, names in _by_steps(parameters, files)]
    return "\n".join(lines) + "\n"


def _by_steps(parameters: dict[str, list[str]], files: dict[str, list[str]]) -> list[tuple[str, list[str]]]:
    """Files that the same steps need, together; what most need first."""
    steps_of: dict[str, list[str]] = defaultdict(list)
    for step in parameters:
        for name in files[step]:
            steps_of[name].append(step)
    together: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, steps in sorted(steps_of.items()):
        together[tuple(steps)].append(name)
    rows = sorted(together.items(), key=lambda row: (-len(row[0]), row[0]))
    return [(_words(steps, list(parameters)), [f"`{name}`" for name in names]) for steps, names in rows]


def _words(steps: tuple[str, ...], everything: list[str]) -> str:
    """Names of steps; what is left out, where that is shorter."""
    others = [step.upper() for step in everything if step not in steps]
    if not others:
        return "all"
    if len(others) < len(steps):
        return f"all but {', '.join(others)}"
    return ", ".join(step.upper() for step in steps)


if __name__ == "__main__":
    (DOCS / "reruns.md").write_text(page())
