"""The command line. Commands are loaded when they are named, so that each starts with what it needs."""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module
from typing import Any

import click

from wasmrun.errors import HostError, WasmrunError, outcome, printable

INTERRUPTED = 130
"""Exit status after Ctrl-C."""

_COMMANDS = {
    "run": "Run a function once.",
    "bench": "Measure cold and warm starts of functions.",
    "inspect": "Tell what a module is, and what it needs.",
    "compile": "Compile a module into the cache ahead of time.",
    "cache": "Look at the cache of compiled modules, or clear it.",
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


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit with the status that its outcome has."""
    status = status_of(args)
    for stream in (sys.stdout, sys.stderr):
        # What could not be written was told where it was written.
        with contextlib.suppress(OSError):
            if stream is not None:
                stream.flush()
    # The interpreter would take longer to tidy up than a function takes to run, and everything that
    # is left belongs to this process alone.
    os._exit(status)


def status_of(args: list[str] | None) -> int:
    """Run the command line; the exit status that its outcome has."""
    try:
        result: Any = commands.main(args, prog_name="wasmrun", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except WasmrunError as error:
        say(error)
        return outcome(error).exit_status
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            error.show()
        return 2
    except click.exceptions.Exit as wanted:
        return wanted.exit_code
    except (KeyboardInterrupt, click.Abort):
        tell("wasmrun: interrupted")
        return INTERRUPTED
    except SystemExit as exited:
        # click ends so when it has completed a word; and with 1 when whoever read our output has enough
        # of it, as with `| head`, which is no failure.
        return 0 if exited.code == 1 else int(exited.code or 0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        say(HostError(f"{where}{error.strerror or error}"))
        return outcome(HostError).exit_status


def say(error: WasmrunError) -> None:
    """Print *error* to standard error: its kind, its message, and where in the guest it happened."""
    from wasmrun.errors import FunctionError

    kind = type(error).__name__
    if isinstance(error, FunctionError) and error.type != kind:
        kind = f"{kind}: {printable(error.type, 100)}"
    tell(f"wasmrun: {kind}: {printable(error.message, 2000)}")
    if isinstance(error, FunctionError):
        for line in error.stack:
            tell(f"  at {printable(line)}")


def tell(line: str) -> None:
    """Print *line* to standard error. Where nobody reads that any more, the exit status still tells."""
    with contextlib.suppress(OSError):
        click.echo(line, err=True)
