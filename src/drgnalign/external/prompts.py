"""The questions of FrealignX's programs, and answers to them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from drgnalign.errors import InputError
from drgnalign.external.program import last_words, run, working_folder
from drgnalign.external.settings import Ranges, filled


class Prompt(NamedTuple):
    """A question: the setting that answers it, its text, how the answer is written, the reference method's answer."""

    key: str
    text: str
    kind: str
    default: str | float | int | bool | None


# Answers without a default follow from the data or are file names.
REFINE3D = (
    Prompt("stack", "Input particle images", "text", None),
    Prompt("input_par", "Input Frealign parameter filename", "text", None),
    Prompt("reference", "Input reconstruction", "text", None),
    Prompt("statistics", "Input data statistics", "text", None),
    Prompt("use_statistics", "Use statistics", "yes", None),
    Prompt("matching_projections", "Output matching projections", "text", None),
    Prompt("output_par", "Output parameter file", "text", None),
    Prompt("output_changes", "Output parameter changes", "text", None),
    Prompt("symmetry", "Particle symmetry", "text", "C1"),
    Prompt("first", "First particle to refine (0 = first in stack)", "whole", None),
    Prompt("last", "Last particle to refine (0 = last in stack)", "whole", None),
    Prompt("fraction", "Percent of particles to use (1 = all)", "real", 1.0),
    Prompt("pixel_size", "Pixel size of images (A)", "real", None),
    Prompt("voltage", "Beam energy (keV)", "real", None),
    Prompt("cs", "Spherical aberration (mm)", "real", None),
    Prompt("amplitude_contrast", "Amplitude contrast", "real", None),
    Prompt("mass_kda", "Molecular mass of particle (kDa)", "real", None),
    Prompt("inner_radius", "Inner mask radius (A)", "real", 30.0),
    Prompt("outer_radius", "Outer mask radius (A)", "real", None),
    Prompt("low_limit", "Low resolution limit (A)", "real", 30.0),
    Prompt("high_limit", "High resolution limit (A)", "real", None),
    Prompt("signed_cc_limit", "Resolution limit for signed CC (A) (0.0 = max)", "real", 0.0),
    Prompt("classification_limit", "Res limit for classification (A) (0.0 = max)", "real", 0.0),
    Prompt("search_mask_radius", "Mask radius for global search (A) (0.0 = max)", "real", 140.0),
    Prompt("search_limit", "Approx. resolution limit for search (A)", "real", 8.0),
    Prompt("angular_step", "Angular step (0.0 = set automatically)", "real", 7.5),
    Prompt("top_hits", "Number of top hits to refine", "whole", 20),
    Prompt("search_range_x", "Search range in X (A) (0.0 = 0.5 * mask radius)", "real", 15.0),
    Prompt("search_range_y", "Search range in Y (A) (0.0 = 0.5 * mask radius)", "real", 15.0),
    Prompt("mask_2d_x", "2D mask X coordinate (A)", "whole", 0),
    Prompt("mask_2d_y", "2D mask Y coordinate (A)", "whole", 0),
    Prompt("mask_2d_z", "2D mask Z coordinate (A)", "whole", 0),
    Prompt("mask_2d_radius", "2D mask radius (A)", "whole", 0),
    Prompt("defocus_range", "Defocus search range (A)", "whole", 500),
    Prompt("defocus_step", "Defocus step (A)", "whole", 50),
    Prompt("padding", "Tuning parameters: padding factor", "real", 1.0),
    Prompt("global_search", "Global search", "yes", False),
    Prompt("local_refinement", "Local refinement", "yes", True),
    Prompt("refine_psi", "Refine Psi", "yes", True),
    Prompt("refine_theta", "Refine Theta", "yes", True),
    Prompt("refine_phi", "Refine Phi", "yes", True),
    Prompt("refine_x", "Refine ShiftX", "yes", True),
    Prompt("refine_y", "Refine ShiftY", "yes", True),
    Prompt("write_projections", "Calculate matching projections", "yes", False),
    Prompt("mask_2d", "Apply 2D masking", "yes", True),
    Prompt("refine_defocus", "Refine defocus", "yes", False),
    Prompt("normalize", "Normalize particles", "yes", True),
    Prompt("invert", "Invert particle contrast", "yes", None),
    Prompt("exclude_blank_edges", "Exclude images with blank edges", "yes", False),
    Prompt("normalize_reference", "Normalize input reconstruction", "yes", True),
    Prompt("threshold_reference", "Threshold input reconstruction", "yes", False),
)
RECONSTRUCT3D = (
    Prompt("stack", "Input particle images", "text", None),
    Prompt("input_par", "Input Frealign parameter filename", "text", None),
    Prompt("input_map", "Input reconstruction", "yes", False),
    Prompt("half1", "Output reconstruction 1", "text", None),
    Prompt("half2", "Output reconstruction 2", "text", None),
    Prompt("filtered", "Output filtered reconstruction", "text", None),
    Prompt("statistics", "Output resolution statistics", "text", None),
    Prompt("symmetry", "Particle symmetry", "text", "C1"),
    Prompt("first", "First particle to include (0 = first in stack)", "whole", None),
    Prompt("last", "Last particle to include (0 = last in stack)", "whole", None),
    Prompt("pixel_size", "Pixel size of images (A)", "real", None),
    Prompt("voltage", "Beam energy (keV)", "real", None),
    Prompt("cs", "Spherical aberration (mm)", "real", None),
    Prompt("amplitude_contrast", "Amplitude contrast", "real", None),
    Prompt("mass_kda", "Molecular mass of particle (kDa)", "real", None),
    Prompt("reconstruction_inner_radius", "Inner mask radius (A)", "real", 0.0),
    Prompt("reconstruction_outer_radius", "Outer mask radius (A)", "real", None),
    Prompt("reconstruction_limit", "Rec. resolution limit (A) (0.0 = max)", "real", 0.0),
    Prompt("reference_limit", "Ref. resolution limit (A) (0.0 = max)", "real", 0.0),
    Prompt("score_weighting", "Particle weighting factor (A^2)", "real", 5.0),
    Prompt("score_threshold", "Score threshold (<= 1 = percentage)", "real", 1.0),
    Prompt("smoothing", "Tuning parameter: smoothing factor", "real", 1.0),
    Prompt("reconstruction_padding", "Tuning parameters: padding factor", "real", 1.0),
    Prompt("normalize", "Normalize particles", "yes", True),
    Prompt("adjust_scores", "Adjust scores for defocus dependence", "yes", True),
    Prompt("invert", "Invert particle contrast", "yes", None),
    Prompt("exclude_blank_edges", "Exclude images with blank edges", "yes", False),
    Prompt("crop", "Crop particle images", "yes", False),
    Prompt("even_odd_fsc", "FSC calculation with even/odd particles", "yes", True),
    Prompt("center_mass", "Center mass", "yes", False),
    Prompt("likelihood_blurring", "Apply likelihood blurring", "yes", False),
    Prompt("threshold_map", "Threshold input reconstruction", "yes", False),
    Prompt("dump", "Dump intermediate arrays (merge later)", "yes", None),
    Prompt("dump_odd", "Output dump filename for odd particles", "text", None),
    Prompt("dump_even", "Output dump filename for even particles", "text", None),
)
MERGE3D = (
    Prompt("half1", "Output reconstruction 1", "text", None),
    Prompt("half2", "Output reconstruction 2", "text", None),
    Prompt("filtered", "Output filtered reconstruction", "text", None),
    Prompt("statistics", "Output resolution statistics", "text", None),
    Prompt("mass_kda", "Molecular mass of particle (kDa)", "short", None),
    Prompt("reconstruction_inner_radius", "Inner mask radius (A)", "short", 0.0),
    Prompt("reconstruction_outer_radius", "Outer mask radius (A)", "short", None),
    Prompt("odd_seed", "Seed for input dump filenames for odd particles", "text", None),
    Prompt("even_seed", "Seed for input dump filenames for even particles", "text", None),
    Prompt("dumps", "Number of dump files", "whole", None),
)
PROGRAMS = {"refine3d": REFINE3D, "reconstruct3d_stats": RECONSTRUCT3D, "merge3d": MERGE3D}
KINDS = {prompt.key: prompt.kind for prompts in PROGRAMS.values() for prompt in prompts}
DEFAULTS = {prompt.key: prompt.default for prompts in PROGRAMS.values() for prompt in prompts}
# Not among them: what belongs to our way of running the programs, and what none of our tasks would keep.
ADJUSTABLE: Ranges = {
    "symmetry": None,
    "fraction": (0.01, 1),
    "inner_radius": (0, 1e4),
    "outer_radius": (1, 1e4),
    "low_limit": (1, 1e4),
    "signed_cc_limit": (0, 1e3),
    "classification_limit": (0, 1e3),
    "search_mask_radius": (0, 1e4),
    "search_limit": (1, 1e3),
    "angular_step": (0, 180),
    "top_hits": (1, 1000),
    "search_range_x": (0, 1e4),
    "search_range_y": (0, 1e4),
    **dict.fromkeys(["mask_2d_x", "mask_2d_y", "mask_2d_z", "mask_2d_radius"], (0, 1e4)),
    "defocus_range": (0, 1e5),
    "defocus_step": (1, 1e5),
    "padding": (1, 4),
    **dict.fromkeys(["global_search", "local_refinement", "mask_2d", "refine_defocus"]),
    **dict.fromkeys(["refine_psi", "refine_theta", "refine_phi", "refine_x", "refine_y"]),
    **dict.fromkeys(["normalize", "exclude_blank_edges", "normalize_reference", "threshold_reference"]),
    "reconstruction_inner_radius": (0, 1e4),
    "reconstruction_outer_radius": (1, 1e4),
    "reconstruction_limit": (0, 1e3),
    "reference_limit": (0, 1e3),
    "score_weighting": (0, 1e4),
    "score_threshold": (0, 100),
    "smoothing": (0.01, 10),
    "reconstruction_padding": (1, 4),
    **dict.fromkeys(["adjust_scores", "center_mass", "threshold_map"]),
}
# What a program is told when nothing but its questions matter
PLAUSIBLE = {"voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.07, "mass_kda": 100.0}
PLAUSIBLE |= {"outer_radius": 100.0, "reconstruction_outer_radius": 100.0, "high_limit": 10.0}
CLOSING = {
    "refine3d": "Refine3D: Normal termination",
    "reconstruct3d_stats": "Reconstruct3D: Normal termination",
    "merge3d": "Merge3D: Normal termination",
}


def answers_to(prompts: Sequence[Prompt], values: Mapping[str, object], arguments: Mapping[str, str]) -> list[str]:
    """Answers to a program's questions, in order.

    Parameters
    ----------
    prompts : sequence of Prompt
    values : mapping
        What follows from the data, by key; goes before all else.
    arguments : mapping of str to str
        The user's, which go before the reference method's.

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        The user's answer is of another kind than the question.
    """
    return [filled(prompt, values, arguments) for prompt in prompts]


def probe(path: Path, name: str, log: Path, seconds: float) -> None:
    """Have a program ask all its questions, with nothing for it to work on, and compare them with ours."""
    prompts = PROGRAMS[name]
    nothing = {"text": "probe", "real": 1.0, "short": 1.0, "whole": 1, "yes": False}
    values = {prompt.key: nothing[prompt.kind] if prompt.default is None else prompt.default for prompt in prompts}
    values |= PLAUSIBLE
    with working_folder() as folder:
        # questions for input files go on only where there is one
        (folder / "probe").write_text("nothing\n")
        outcome = run(path, answers_to(prompts, values, {}), log, folder, seconds)
    asked = re.findall(r"^(?!\s|Error)(.+?)\s+: .*$", outcome.text, re.MULTILINE)
    if not asked:
        problem = f"asks no question; it {outcome.ended} and said:{last_words(log)}"
        raise InputError(path, problem, "see that it runs on the machines of the tasks: ldd lists what it needs")
    expected = [prompt.text for prompt in prompts]
    for number, (heard, known) in enumerate(zip_longest(asked, expected, fillvalue="nothing more"), start=1):
        if heard != known:
            problem = f"is not the {name} that we know: question {number} is '{heard}', expected was '{known}'"
            raise InputError(path, problem, "use the FrealignX that docs/frealign.md names")
