"""Reports as text."""

from __future__ import annotations

import textwrap
from typing import Any

WIDTH = 100
LONGEST_LIST = 10
LONGEST_COUNT = 20
LABEL_UNITS = {"_angstrom": " (Å)", "_px": " (px)", "_kv": " (kV)", "_mm": " (mm)"}


def report_text(report: dict[str, Any]) -> str:
    """A report of `inspect_file` for people: at most 100 characters wide, findings last.

    Parameters
    ----------
    report : dict

    Returns
    -------
    str
        Without a line end.
    """
    facts = dict(report["facts"])
    ranges = facts.pop("ranges", {})
    if report["rows"] is not None:
        facts = {"images" if report["kind"].startswith("MRC") else "rows": report["rows"]} | facts
    if report["columns"]:
        # a no-break space keeps a unit beside its name
        facts["columns"] = [name + (f"\u00a0({unit})" if unit else "") for name, unit in report["columns"].items()]
    lines = [f"{report['file']}: {report['kind']}"]
    for name, value in facts.items():
        lines += _paragraph(_label(name), _value(value), 26)
    if ranges:
        lines.append(f"  {'':22}{'min':>13}{'median':>13}{'max':>13}")
    for name, values in ranges.items():
        title = name + (f" ({values['unit']})" if values["unit"] else "")
        lines.append(f"  {title:<22}" + "".join(f"{_number(values[key]):>13}" for key in ("min", "median", "max")))
    for finding in report["findings"]:
        level = finding["level"]
        lines += _paragraph(level if level == "note" else level.upper(), finding["what"], 11)
    if not report["findings"]:
        some = "--all-images" in str(facts.get("images_looked_at", ""))
        lines.append(f"  nothing suspicious{' in the images looked at: --all-images looks at all' if some else ''}")
    return "\n".join(lines)


def _label(name: str) -> str:
    """``pixel_sizes_angstrom`` to ``pixel sizes (Å)``."""
    name = name.replace("cs_mm", "Cs_mm").replace("fsc_0143", "FSC 0.143")
    for end, unit in LABEL_UNITS.items():
        if name.endswith(end):
            name = name.removesuffix(end) + unit
    return name.replace("_", " ")


def _value(value: Any) -> str:
    if isinstance(value, dict):
        shown = [f"{key}: {_value(count)}" for key, count in list(value.items())[:LONGEST_COUNT]]
        more = [f"and {len(value) - LONGEST_COUNT} more"] if len(value) > LONGEST_COUNT else []
        return ", ".join(shown + more)
    if isinstance(value, list):
        if len(value) > LONGEST_LIST and not isinstance(value[0], str):
            return f"{len(value)} values from {_value(value[0])} to {_value(value[-1])}"
        return ", ".join(map(_value, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _number(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"


def _paragraph(label: str, text: str, indent: int) -> list[str]:
    first, others = f"  {label:<{indent - 2}}", " " * indent
    wrapper = textwrap.TextWrapper(WIDTH, first, others, break_long_words=False, break_on_hyphens=False)
    return [line.replace("\u00a0", " ") for line in wrapper.wrap(text)]
