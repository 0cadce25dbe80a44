"""``inputs.json``, the record of what the particle file was found to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from drgnalign.run.record import Record


@dataclass(kw_only=True)
class InputsRecord(Record):
    """What CHECK_INPUTS found, and what CHECK_SETTINGS warns of besides."""

    WHAT: ClassVar[str] = "what the input was found to be"

    input: str
    particles: int
    box: int
    pixel_size_angstrom: float
    train_box: int
    optics_groups: int
    half_sets: list[int]
    halves: str
    left_out_by_input: int
    contrast: list[str]
    contrast_from: str
    normalised: bool
    backgrounds: dict[str, Any]
    optics: list[dict[str, Any]]
    warnings: list[str]
    notes: list[str]
