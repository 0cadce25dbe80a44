"""The ``drgnalign`` command: the library's steps, usable without Nextflow."""

from __future__ import annotations

from importlib import import_module

import click

from drgnalign import __version__
from drgnalign.commands import Group

COMMANDS = (
    "assign",
    "cluster",
    "compare",
    "convert",
    "edit",
    "embed",
    "export",
    "fsc",
    "inspect",
    "linear",
    "merge",
    "reconstruct",
    "refine",
    "report",
    "score",
    "select",
    "simulate",
    "train",
)


class LazyGroup(Group):
    """Imports a command when it is called: the libraries behind all of them take a second."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The first sentence of each command's help, whole: click would cut it at the end of the line."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            text = " ".join(((command and command.help) or "").split("\n\n")[0].split())
            rows.append((name, text))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"drgnalign.commands.{cmd_name}"), cmd_name)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Heterogeneous cryo-EM refinement, step by step."""


if __name__ == "__main__":
    main()
