"""The lines that Frealign 9.12 reads from its standard input, which it calls cards."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from drgnalign.errors import InputError
from drgnalign.external.program import last_words, run, working_folder
from drgnalign.external.settings import Ranges, filled


class Setting(NamedTuple):
    """A place on a card: the setting that fills it, how it is written, what the recorded runs have there.

    Kinds are those of FrealignX's answers, and: flag (T or F), switch (1 or 0).
    """

    key: str
    kind: str
    default: str | float | int | bool | None


# Settings without a default follow from the data, from what is to be done, or are file names. Those that neither change
# nor can be changed belong to what we have Frealign do nothing of: searches, refinement of anything but poses, filters.
FREALIGN: tuple[tuple[Setting, ...], ...] = (
    (
        Setting("format", "text", "M"),
        Setting("mode", "whole", None),
        Setting("refine_magnification", "flag", False),
        Setting("refine_defocus", "flag", False),
        Setting("refine_astigmatism", "flag", False),
        Setting("refine_each_defocus", "flag", False),
        Setting("ewald", "whole", 0),
        Setting("beautify", "flag", False),
        Setting("filter", "flag", False),
        Setting("sharpen", "flag", False),
        Setting("write_projections", "flag", False),
        Setting("fsc", "whole", 0),
        Setting("dump", "flag", None),
        # 1 takes 64 times the memory of the reference and is slower; its poses were no better
        Setting("memory", "whole", 0),
        Setting("interpolation", "whole", 1),
    ),
    (
        Setting("outer_radius", "short", None),
        Setting("inner_radius", "real", 0.0),
        Setting("pixel_size", "real", None),
        Setting("mass_kda", "short", None),
        Setting("amplitude_contrast", "real", None),
        Setting("mask_level", "real", 0.0),
        Setting("score_weighting", "real", 5.0),
        Setting("average_score", "real", 0.0),
        Setting("angular_step", "real", 5.0),
        Setting("search_cycles", "whole", 10),
        Setting("search_peaks", "whole", 10),
    ),
    tuple(Setting(f"refine_{name}", "switch", True) for name in ("psi", "theta", "phi", "x", "y")),
    (Setting("first", "whole", None), Setting("last", "whole", None)),
    (Setting("symmetry", "text", "C1"),),
    (
        Setting("magnification", "real", 1.0),
        Setting("pixel_size", "real", None),
        Setting("target_score", "real", 90.0),
        Setting("score_threshold", "real", 0.0),
        Setting("cs", "real", None),
        Setting("voltage", "real", None),
        Setting("beam_tilt_x", "text", "0."),
        Setting("beam_tilt_y", "text", "0."),
    ),
    (
        Setting("reconstruction_limit", "real", None),
        Setting("low_limit", "real", 200.0),
        Setting("high_limit", "real", None),
        Setting("classification_limit", "real", None),
        Setting("defocus_uncertainty", "real", 100.0),
        Setting("b_factor", "real", 0.0),
    ),
    (Setting("stack", "text", None),),
    (Setting("projections", "text", "/dev/null"),),
    (Setting("input_par", "text", None),),
    (Setting("output_par", "text", None),),
    (Setting("output_shifts", "text", None),),
    (Setting("terminator", "text", None),),
    (Setting("map", "text", None),),
    (Setting("weights", "text", "weights.mrc"),),
    (Setting("half1", "text", "half1.mrc"),),
    (Setting("half2", "text", "half2.mrc"),),
    (Setting("phase_residuals", "text", "residuals.mrc"),),
    (Setting("point_spread", "text", "point_spread.mrc"),),
)
MERGE = FREALIGN[-6:]
"""What merge_3d asks behind the dumps and the table of statistics."""
KINDS = {setting.key: setting.kind for card in FREALIGN for setting in card}
DEFAULTS = {setting.key: setting.default for card in FREALIGN for setting in card}
ADJUSTABLE: Ranges = {
    "ewald": (-1, 1),
    "memory": (0, 3),
    "interpolation": (0, 1),
    "outer_radius": (1, 1e5),
    "reconstruction_outer_radius": (1, 1e5),
    "inner_radius": (0, 1e5),
    "score_weighting": (1e-3, 1e4),
    "average_score": (0, 100),
    "refine_psi": None,
    "refine_theta": None,
    "refine_phi": None,
    "refine_x": None,
    "refine_y": None,
    "symmetry": None,
    "score_threshold": (0, 100),
    "reconstruction_limit": (0.5, 100),
    "low_limit": (10, 1000),
    "classification_limit": (0.5, 200),
    "b_factor": (-1e4, 1e4),
}
# Ends of the list of data sets: go on to the reconstruction, or leave it out.
RECONSTRUCT, REFINE_ONLY = (f"{first}.,0.,0.,0.,0.,0.,0.,0." for first in ("0", "-100"))
# Characters that the program reads of a card, and of a file name.
LONGEST_CARD, LONGEST_NAME = 80, 200
VERSIONS = {"frealign_v9.exe": r"\bV9\.12\b", "merge_3d.exe": r"\bMERGE_3D 1\.01\b"}


def cards(
    values: Mapping[str, object],
    arguments: Mapping[str, str],
    layout: Sequence[Sequence[Setting]] = FREALIGN,
) -> list[str]:
    """Cards of a run, in order.

    Parameters
    ----------
    values : mapping
        What follows from the data, by key; goes before all else.
    arguments : mapping of str to str
        The user's, checked; they go before the recorded ones.
    layout : sequence of cards, optional
        Frealign's unless given.

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        A card is longer than what the program reads.
    """
    lines = []
    for card in layout:
        line = ",".join(filled(setting, values, arguments) for setting in card)
        longest = LONGEST_NAME if len(card) == 1 else LONGEST_CARD
        if len(line) > longest:
            problem = f"Frealign 9 reads {longest} characters of the line '{line}', which has {len(line)}"
            raise InputError(None, problem, "give numbers with fewer digits, or a shorter name")
        lines.append(line)
    return lines


def probe(path: Path, name: str, log: Path, seconds: float) -> None:
    """Have a program show its version, which it does before it reads its first card, and refuse another one."""
    with working_folder() as folder:
        outcome = run(path, [], log, folder, seconds)
    if not re.search(VERSIONS[name], outcome.text):
        problem = f"is not the {name} of Frealign 9.12; it {outcome.ended} and said:{last_words(log)}"
        raise InputError(path, problem, "use the Frealign that docs/frealign.md names")
