"""The drgnalign command, as a user calls it."""

from __future__ import annotations

from click.testing import CliRunner, Result

from drgnalign.cli import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def succeed(*arguments: object) -> Result:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result
