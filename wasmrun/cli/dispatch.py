"""Dispatch: which parser reads a command line, and how its outcome is told."""

from __future__ import annotations

import os

from wasmrun.cli.inputs import Ended, Misuse
from wasmrun.cli.output import say
from wasmrun.cli.quick import parse
from wasmrun.errors import HostError, WasmrunError, outcome


def dispatch(args: list[str]) -> int:
    """Run the command line *args*; its exit status."""
    try:
        return _execute(args)
    except WasmrunError as error:
        say(error)
        return outcome(error).exit_status
    except Ended as end:
        return end.status
    except BrokenPipeError:
        return 0  # whoever read our output has enough of it, as with `| head`, which is no failure
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        say(HostError(f"{where}{error.strerror or error}"))
        return outcome(HostError).exit_status


def _execute(args: list[str]) -> int:
    given = parse(args, os.environ)
    if given is not None:
        from wasmrun.cli.run import run

        try:
            return run(**given)
        except Misuse:
            pass  # nothing has run, or been read from standard input: click meets the same, and tells it
    from wasmrun.cli.commands import execute

    return execute(args)
