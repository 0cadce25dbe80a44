"""The options that choose and set up an engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any

import click

from drgnalign.commands import FOLDER, OUTPUT, POSITIVE, symmetry_option
from drgnalign.engines import ENGINES
from drgnalign.interface import EngineSettings

_ENGINE_OPTIONS = (
    click.option("--engine", "engine_name", type=click.Choice(list(ENGINES)), default="native", show_default=True),
    click.option("--mass-kda", type=POSITIVE, help="Mass of the particle, kDa. Frealign needs it."),
    click.option("--joint-reference", is_flag=True, help="Align both half sets to one map."),
    symmetry_option,
    click.option(
        "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Of the native engine."
    ),
    click.option("--frealign-dir", type=FOLDER, help="Folder of your Frealign programs. Default: the PATH."),
    click.option("--frealign-args", default="", help="Further settings of these: key=value,…"),
    click.option("--logs", type=OUTPUT, help="Folder for what they print. Default: frealign_logs."),
)


def with_engine(command: Callable[..., None]) -> Callable[..., None]:
    """Options that choose and set up an engine; the command gets it as the argument ``engine``."""

    @wraps(command)
    def wrapped(engine_name: str, **arguments: Any) -> None:
        settings = EngineSettings(**{field.name: arguments.pop(field.name) for field in fields(EngineSettings)})
        command(engine=ENGINES[engine_name](settings), **arguments)

    for option in reversed(_ENGINE_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
