"""``wasmrun build``: a project's module from its sources."""

from __future__ import annotations

import os
import time

import click

from wasmrun.cli.inputs import Ended
from wasmrun.cli.options import Command, json_option, option
from wasmrun.cli.output import print_json, say, tell
from wasmrun.cli.table import Option
from wasmrun.errors import WasmrunError, printable
from wasmrun.projects.building import Built, CompilerFailed, build
from wasmrun.projects.project import read_project
from wasmrun.projects.saves import look, wait_for_save
from wasmrun.units import format_duration, format_size

_WATCH = Option("watch", "--watch", "Build again at every save, until Ctrl-C.", default=False)

directory_argument = click.argument("directory", type=click.Path(), default=".", metavar="[DIR]")


@click.command(name="build", cls=Command)
@directory_argument
@option(_WATCH)
@json_option
def command(directory: str, watch: bool, as_json: bool) -> None:
    """Build the project in DIR (here, without it): its wasmrun.toml says how.

    Nothing is done where neither sources nor toolchain changed. What a compiler prints is shown as it stands, and its
    exit status is kept.
    """
    if not watch:
        try:
            _show(build(read_project(directory), os.environ), as_json)
        except CompilerFailed as failure:
            say(failure)
            raise Ended(failure.status) from None
        return
    read_project(directory)  # what is no project is told once, and ends it
    seen = look(directory)
    while True:
        try:
            _show(build(read_project(directory), os.environ), as_json)
        except WasmrunError as error:
            say(error)
        except OSError as error:
            tell_of_disk(error)
        tell(f"waiting for a save in {printable(os.path.abspath(directory))}; Ctrl-C ends it")
        seen = wait_for_save(directory, seen, time.sleep)


def tell_of_disk(error: OSError) -> None:
    """Say what cannot be read or written, where a command goes on all the same. Raises `BrokenPipeError`, which ends it."""
    if isinstance(error, BrokenPipeError):
        raise error
    tell(f"wasmrun: {printable(str(error.filename or 'the project'))}: {error.strerror or error}")


def _show(built: Built, as_json: bool) -> None:
    if as_json:
        print_json(built._asdict())
        return
    what = "nothing has changed" if built.was_cached else f"built in {format_duration(built.seconds)}"
    click.echo(f"{printable(built.module)}  {format_size(built.module_bytes)}, {what}")
