#!/usr/bin/env python3
"""Write docs/parameters.md from nextflow_schema.json, and docs/frealign_settings.md from the drivers' tables."""

import json
from pathlib import Path

from drgnalign.external import cards, prompts
from drgnalign.external.settings import formatted

ROOT = Path(__file__).resolve().parents[1]


def parameters_page(schema: dict) -> str:
    """The page: a table for each group of parameters."""
    lines = ["# Parameters", "", "Made from `nextflow_schema.json` by `docs/generate_parameters.py`.", ""]
    for group in schema["$defs"].values():
        lines += [f"## {group['title']}", "", "| parameter | type | default | |", "|---|---|---|---|"]
        for name, rule in group["properties"].items():
            kind = " \\| ".join(rule["enum"]) if "enum" in rule else rule["type"]
            default = "" if rule["default"] is None else f"`{json.dumps(rule['default']).strip(chr(34))}`"
            lines.append(f"| `--{name}` | {kind} | {default} | {rule['description']} |")
        lines.append("")
    return "\n".join(lines)


def frealign_page() -> str:
    """The settings that ``--frealign_args`` can change, by program."""
    lines = ["# Settings of the Frealign programs", "", "Made by `docs/generate_parameters.py`; see frealign.md.", ""]
    for program, questions in prompts.PROGRAMS.items():
        asked = {prompt.key: prompt for prompt in questions if prompt.key in prompts.ADJUSTABLE}
        lines += [f"## {program}", "", "| key | default | | question |", "|---|---|---|---|"]
        for key, prompt in asked.items():
            default = "from the data" if prompt.default is None else formatted(key, prompt.kind, prompt.default)
            lines.append(f"| `{key}` | {default} | {bounds(prompts.ADJUSTABLE[key])} | {prompt.text} |")
        lines.append("")
    lines += ["## frealign_v9.exe", "", "| key | default | |", "|---|---|---|"]
    for key, limits in cards.ADJUSTABLE.items():
        preset = cards.DEFAULTS.get(key)
        answer = "from the data" if preset is None else "yes" if preset is True else preset
        lines.append(f"| `{key}` | {answer} | {bounds(limits)} |")
    lines.append("")
    return "\n".join(lines)


def bounds(limits: "tuple[float, float] | None") -> str:
    return "" if limits is None else f"{limits[0]:g} … {limits[1]:g}"


if __name__ == "__main__":
    schema = json.loads((ROOT / "nextflow_schema.json").read_text())
    (ROOT / "docs" / "parameters.md").write_text(parameters_page(schema))
    (ROOT / "docs" / "frealign_settings.md").write_text(frealign_page())
