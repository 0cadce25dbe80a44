"""The options that give what a particle file may lack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any

import click

from drgnalign.commands import NOT_NEGATIVE, POSITIVE, SHARE
from drgnalign.formats.particle_file import Facts

_FACTS_OPTIONS = (
    click.option("--pixel-size", type=POSITIVE, help="Å/px, where the file does not say it."),
    click.option("--voltage", type=POSITIVE, help="kV, where the file does not say it."),
    click.option("--cs", type=NOT_NEGATIVE, help="Spherical aberration, mm, where the file does not say it."),
    click.option("--amplitude-contrast", type=SHARE, help="Fraction, where the file does not say it."),
)


def with_facts(command: Callable[..., None]) -> Callable[..., None]:
    """Options that give what a particle file may lack; the command gets them as the argument ``facts``."""

    @wraps(command)
    def wrapped(**arguments: Any) -> None:
        command(facts=Facts(**{field.name: arguments.pop(field.name) for field in fields(Facts)}), **arguments)

    for option in reversed(_FACTS_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
