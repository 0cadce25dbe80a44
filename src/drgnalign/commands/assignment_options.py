"""The options of how images choose among maps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any

import click

from drgnalign.commands import FILE, FOLDER, diameter_option, junk_option, symmetry_option
from drgnalign.heterogeneity.assign import AGAINST, Assigner, AssignmentSettings
from drgnalign.heterogeneity.limit import Limit, assignment_limit
from drgnalign.heterogeneity.states import assigner_for
from drgnalign.maps.read import read_mask
from drgnalign.particles import Particles

_OPTIONS = (
    click.option("--last-references", type=FOLDER, required=True),
    click.option("--stack", type=FILE, required=True, help="Images for assignment, in the order of the particles."),
    click.option("--limit", type=float, default=14.0, show_default=True, help="Å; coarser where the consensus is."),
    click.option("--against", type=click.Choice(AGAINST), default=AGAINST[0], show_default=True),
    click.option("--assignment", type=click.Choice(["hard", "soft"]), default="hard", show_default=True),
    junk_option,
    diameter_option,
    symmetry_option,
    click.option("--focus-mask", type=FILE, help="Mask of the part that clusters are told apart by, of full size."),
)


@dataclass(frozen=True)
class AssignmentOptions:
    """As they are given; the names are those of the options."""

    last_references: Path
    stack: Path
    limit: float
    against: str
    assignment: str
    junk: str
    mask_diameter: float | None
    symmetry: str
    focus_mask: Path | None

    @property
    def soft(self) -> bool:
        """Whether particles belong to several clusters."""
        return self.assignment == "soft"

    def reached(self, particles: Particles) -> Limit:
        """What their images are compared up to."""
        return assignment_limit(self.last_references, self.limit, particles, self.stack)

    def assigner(self, particles: Particles) -> AbstractContextManager[Assigner]:
        """See `drgnalign.heterogeneity.states.assigner_for`."""
        size = particles.box, particles.pixel_size
        focus = None if self.focus_mask is None else read_mask(self.focus_mask, *size)
        diameter, excluded = particles.diameter(self.mask_diameter), self.junk == "exclude"
        settings = AssignmentSettings(self.limit, diameter, self.against, self.soft, self.symmetry, excluded, focus)
        return assigner_for(particles, self.stack, self.last_references, settings)


def with_assignment(command: Callable[..., None]) -> Callable[..., None]:
    """Options of how images choose among maps; the command gets them as the argument ``options``."""

    @wraps(command)
    def wrapped(**arguments: Any) -> None:
        options = AssignmentOptions(**{field.name: arguments.pop(field.name) for field in fields(AssignmentOptions)})
        command(options=options, **arguments)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
