"""The commands, as click has them. Each is loaded when it is named, so that it starts with what it needs."""

from __future__ import annotations

import contextlib
import os
from importlib import import_module
from typing import Any

import click
from click.shell_completion import shell_complete

from wasmrun.cli.quick import COMPLETION

USAGE = 2
"""Exit status where the command line is wrong."""

_COMMANDS = {
    "run": "Run a function once.",
    "bench": "Measure what functions cost: starts, calls, load, fuel.",
    "profile": "Tell where a function spends its time.",
    "inspect": "Tell what a module is, and what it needs.",
    "compile": "Compile a module into the cache ahead of time.",
    "snapshot": "Run a module's start-up once, and write a module that begins after it.",
    "new": "Make a project with a function in it, in the language of your choice.",
    "build": "Build the project in a directory.",
    "dev": "Build and run the project in a directory, again at every save.",
    "cache": "Look at the cache of compiled modules, or clear it.",
    "doctor": "Tell what this machine offers to run functions behind.",
    "completion": "Print the completion script for a shell.",
}


class _Commands(click.Group):
    """A group that imports ``wasmrun.cli.NAME`` when NAME is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"wasmrun.cli.{cmd_name}_command").command
        command.short_help = _COMMANDS[cmd_name]  # what shells show beside the name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # From the table: help must not import every command.
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


def _print_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from wasmrun import __version__
        from wasmrun.machine import capi

        click.echo(f"wasmrun {__version__} (wasmtime {capi.SUPPORTED_MAJOR}: {capi.LIBRARY_PATH})")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show versions."
)
def commands() -> None:
    """Run functions compiled to WebAssembly, each event in its own sandbox.

    Exit status: 0 answer, 2 usage, 3 invalid function, 5 event too large, 6 throttled, 10 the function
    reported an error, 11 exit, 12 trap, 13 time, 14 memory, 15 fuel, 16 invalid answer, 17 answer too
    large, 70 our own failure, 130 Ctrl-C.

    Every option of a command can also come from the environment: --timeout from WASMRUN_TIMEOUT.
    """


def execute(args: list[str]) -> int:
    """Run the command line *args*; its exit status. Raises what a command raises."""
    # Not by `commands.main`, which has answers of its own to Ctrl-C and to a pipe that nobody reads.
    instruction = os.environ.get(COMPLETION)
    if instruction:
        return USAGE if shell_complete(commands, {}, "wasmrun", COMPLETION, instruction) else 0
    try:
        with commands.make_context("wasmrun", list(args)) as context:
            result: Any = commands.invoke(context)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as wanted:
        return wanted.exit_code
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            error.show()
        return USAGE
    except SystemExit:
        return 0  # so rich ends when whoever reads the table has enough of it, which is no failure
