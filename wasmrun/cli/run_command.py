"""``wasmrun run``, as click has it."""

from __future__ import annotations

from typing import Any

import click

from wasmrun.cli import run, table
from wasmrun.cli.options import Command, options


@click.command(name="run", cls=Command)
@click.argument("module", type=click.Path(), default="", metavar="MODULE")
@options(table.RUN)
@click.argument("args", nargs=-1, metavar="[-- ARGS...]")
def command(**given: Any) -> int:
    """Run MODULE (.wasm or .wat) once on an event.

    The answer goes to standard output, logs and the report to standard error, and the exit status
    tells how it ended. ARGS are the arguments of a command, after its name.
    """
    return run.run(**given)
