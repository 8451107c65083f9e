"""``wasmrun dev``: build and run at every save."""

from __future__ import annotations

import os
import time

import click

from wasmrun.cli.build_command import directory_argument, tell_of_disk
from wasmrun.cli.inputs import Ended, Misuse
from wasmrun.cli.options import Command, cache_option, event_option, option
from wasmrun.cli.output import say, tell
from wasmrun.cli.run import run
from wasmrun.cli.table import FUNCTION, REPORT
from wasmrun.errors import WasmrunError, printable
from wasmrun.projects.project import read_project
from wasmrun.projects.saves import look, wait_for_save

_NOTHING = {spec.name: spec.default for spec in FUNCTION}


@click.command(name="dev", cls=Command)
@directory_argument
@event_option
@option(REPORT)
@cache_option
def command(directory: str, event: str | None, report_form: str, cache_dir: str | None) -> None:
    """Build the project in DIR (here, without it) and run it on its event, again at every save, until Ctrl-C.

    On the screen is the answer, or the compiler's errors, or the function's. Settings are those of wasmrun.toml, and
    the event is the one that it names, unless another one is given.
    """
    read_project(directory)  # what is no project is told once, and ends it
    if event == "-":
        raise Misuse("--event: standard input can be read once, and here are many events; write @FILE")
    seen = look(directory)
    while True:
        tell(f"--- {time.strftime('%H:%M:%S')}")
        try:
            run(directory, event, report_form, False, cache_dir, (), **_NOTHING)
        except Ended:
            pass  # the compiler's errors are on the screen
        except Misuse as misuse:
            tell(f"wasmrun: {printable(str(misuse), 2000)}")
        except WasmrunError as error:
            say(error)
        except OSError as error:
            tell_of_disk(error)
        tell(f"waiting for a save in {printable(os.path.abspath(directory))}; Ctrl-C ends it")
        seen = wait_for_save(directory, seen, time.sleep)
