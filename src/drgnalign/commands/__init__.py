"""What all commands share: how errors reach the user, and arguments that mean the same everywhere.

Each command is a module of this package. None is imported before it is called for.
"""

from __future__ import annotations

import errno
import gc
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TextIO

import click

from drgnalign.errors import DrgnalignError, InputError, InputWarning
from drgnalign.files import identity, reading, refuse_input, suffix_of
from drgnalign.staging import as_given, in_task

MAKE_ROOM = (
    "make room on the disk, or in your quota or limit (ulimit -f), and run again; with -resume the workflow goes on "
    "where it was"
)
# What does not depend on us.
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
EXISTING = click.Path(exists=True, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
OUTPUT = click.Path(path_type=Path)


class Real(click.FloatRange):
    """A range of finite numbers: comparisons let NaN through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


NOT_NEGATIVE = Real(min=0)
POSITIVE = Real(min=0, min_open=True)
SHARE = Real(0, 1)

# Imports make objects by the hundred thousand that stay: to look through them again and again took a sixth of a start.
gc.set_threshold(50_000, 20, 50)


class _Reporting:
    """Our own errors are printed without a traceback and set the exit status: 2 for bad input, 1 for the rest.

    Warnings about the input are lines of their own. Names of options may have _ for -, as in the workflow.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("token_normalize_func", lambda name: name.replace("_", "-"))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", InputWarning)
                warnings.showwarning = _sayer()
                return super().main(*args, **kwargs)  # type: ignore[misc]
        except DrgnalignError as error:
            click.echo(f"ERROR: {as_given(str(error))}", err=True)
            sys.exit(error.exit_code)
        except OSError as error:
            told = _told(error)
            if told is None:
                raise
            click.echo(f"ERROR: {told}", err=True)
            sys.exit(told.exit_code)


def _told(error: OSError) -> DrgnalignError | None:
    """What the system refuses, where it is something that the user can mend."""
    where, why = error.filename or Path.cwd(), error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DrgnalignError(where, why, MAKE_ROOM)
    if error.errno in NOT_ALLOWED and error.filename:
        return InputError(where, why, "choose another place, or change what is allowed there")
    return None


def _sayer() -> Callable[..., None]:
    """In place of `warnings.showwarning`: where in our code it was noticed, and how often, is nothing to the user."""
    said: set[str] = set()

    def say(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if str(message) not in said:
            said.add(str(message))
            click.echo(f"WARNING: {as_given(str(message))}", err=True)

    return say


@contextmanager
def noted_warnings() -> Iterator[dict[str, type[Warning]]]:
    """What is warned of while the block runs, each once, besides that it is printed.

    Yields
    ------
    dict of str to type
        Texts, each with the class of its warning; filled as the block goes on.
    """
    noted: dict[str, type[Warning]] = {}
    with warnings.catch_warnings():
        show = warnings.showwarning

        def note(message: Warning | str, category: type[Warning], *place: Any, **stream: Any) -> None:
            show(message, category, *place, **stream)
            text = as_given(str(message))
            if issubclass(category, InputWarning):
                noted.setdefault(text, category)

        warnings.showwarning = note
        yield noted


class Command(_Reporting, click.Command):
    """A command that reports our errors, and writes over no file that it is given to read, nor over a stack that one of
    these names."""

    def invoke(self, ctx: click.Context) -> Any:
        inputs, outputs = self._paths(ctx, given=True), self._paths(ctx, given=False)
        # in a task they are the workflow's own links, and what is written takes the link's place alone
        with nullcontext() if in_task() else reading(inputs):
            for number, output in enumerate(outputs):
                refuse_input(output)
                if identity(output) in map(identity, outputs[:number]):
                    raise InputError(output, "is named twice for what is written", "name another")
            return super().invoke(ctx)

    def _paths(self, ctx: click.Context, *, given: bool) -> list[Path]:
        """The files and prefixes among the arguments that are read, or written."""
        named: list[Path | str] = []
        for parameter in self.params:
            if isinstance(parameter.type, click.Path) and (parameter.type is not OUTPUT) == given:
                value = ctx.params.get(str(parameter.name))
                named += value if isinstance(value, tuple) else [] if value is None else [value]
        # a word in place of a file is none
        return [path for path in named if isinstance(path, Path) and not path.is_dir()]


class Group(_Reporting, click.Group):
    """A group of commands that reports our errors."""


output_option = click.option("-o", "--output", type=OUTPUT, required=True)
images_option = click.option(
    "--images",
    type=EXISTING,
    help="Folder that image names are relative to. Default: the particle file's. Or the stack of a file without names.",
)
passthrough_option = click.option(
    "--passthrough",
    type=FILE,
    multiple=True,
    help="File with further fields of a cryoSPARC job; may be given several times.",
)
diameter_option = click.option(
    "--mask-diameter", type=POSITIVE, help="Diameter of the particle in Å. Default: 85 % of the box."
)
normalise_option = click.option(
    "--normalise",
    type=click.Choice(["auto", "no"]),
    default="auto",
    show_default=True,
    help="Normalise images as they are read, if some need it (not of a file of the workflow's own).",
)
invert_option = click.option(
    "--invert",
    type=click.Choice(["auto", "yes", "no"]),
    default="auto",
    show_default=True,
    help="Is protein dark in the stored images? Default: as the file says, or the images show.",
)
half_sets_option = click.option(
    "--half-sets",
    type=click.Choice(["file", "deal"]),
    default="file",
    show_default=True,
    help="Half sets as the file has them, if it does, or dealt anew.",
)
symmetry_option = click.option("--symmetry", default="C1", show_default=True, help="Point group of the particle.")
junk_option = click.option(
    "--junk",
    type=click.Choice(["exclude", "keep"]),
    default="exclude",
    show_default=True,
    help="What is to become of particles that are more likely junk than not.",
)
noise_option = click.option("--noise", type=FILE, help="Noise spectrum. Default: estimated from the images.")
seed_option = click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
threads_option = click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads.")


def refuse_other_form(source: Path, output: Path) -> None:
    """Refuse a name that asks for another form than the source's."""
    if suffix_of(output) != suffix_of(source):
        problem = f"is not named {source.suffix}, as {source.name} is"
        raise InputError(output, problem, "change the form with `drgnalign convert`")
