"""drgnalign score: poses and labels against the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from drgnalign.commands import FILE, POSITIVE, Command
from drgnalign.files import significant
from drgnalign.formats.star import read_star
from drgnalign.stack_names import named_for
from drgnalign.truth.score import score_particles


@click.command(cls=Command)
@click.argument("truth", type=FILE)
@click.argument("estimate", type=FILE)
@click.option("--pixel-size", type=POSITIVE, help="Å/px, where a file does not say it.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def score(truth: Path, estimate: Path, pixel_size: float | None, as_json: bool) -> None:
    """Errors of the poses and agreement of the labels in ESTIMATE against TRUTH.

    ESTIMATE may hold a part of the images of TRUTH, in any order, and lie in another folder.
    """
    both = [read_star(path, pixel_size=pixel_size) for path in (truth, estimate)]
    names = [set(one.image_locations()[1]) for one in both]
    if not names[1] <= names[0]:
        both = named_for(both, truth, None, like=truth)
    result = score_particles(*both)
    click.echo(json.dumps(significant(result), indent=2) if as_json else _score_text(result))


def _score_text(result: dict[str, Any]) -> str:
    lines = [f"{result['particles']:,} particles; the truth has {result['true_particles']:,}"]
    lines += [
        f"{name:<18} median {errors['median']:.3f}  p90 {errors['p90']:.3f}  mean {errors['mean']:.3f}"
        for name, errors in (
            ("rotation (degrees)", result["rotation_degrees"]),
            ("shift (Å)", result["shift_angstrom"]),
        )
    ]
    lines.append(f"global rotation removed: {result['global_rotation_degrees']:.3f} degrees")
    ari = result["label_ari"]
    lines.append("no labels" if ari is None else f"label ARI {ari:.3f} ({result['unassigned']} unassigned)")
    lines += [
        f"state {state}: {values['particles']} particles, rotation median {values['rotation_median_degrees']:.3f} "
        f"degrees, shift median {values['shift_median_angstrom']:.3f} Å"
        for state, values in result["states"].items()
    ]
    if junk := result["junk"]:
        found = "" if junk["found"] is None else f", {100 * junk['found']:.1f} % of it left out"
        lines.append(f"junk: {junk['particles']}{found}; {100 * junk['good_left_out']:.1f} % of the others left out")
    return "\n".join(lines)
