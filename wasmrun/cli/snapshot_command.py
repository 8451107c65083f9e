"""``wasmrun snapshot``: a module that has started already."""

from __future__ import annotations

import time
from typing import Any

import click

from wasmrun.bench.record import write_whole
from wasmrun.cli.inputs import Misuse, beside, make_function
from wasmrun.cli.options import Command, json_option, module_argument, option, options
from wasmrun.cli.output import print_bytes, print_json, tell
from wasmrun.cli.table import FUNCTION, OUTPUT
from wasmrun.errors import printable
from wasmrun.machine.compiler import CompileLimits
from wasmrun.machine.loader import read_source
from wasmrun.machine.snapshot.taking import take
from wasmrun.units import format_duration, format_size


@click.command(name="snapshot", cls=Command)
@module_argument
@option(OUTPUT)
@options(tuple(spec for spec in FUNCTION if spec.name != "snapshot"))
@json_option
@click.argument("args", nargs=-1, metavar="[-- ARGS...]")
def command(module: str, output: str | None, as_json: bool, args: tuple[str, ...], **settings: Any) -> None:
    """Run the start-up of MODULE once, and write a module that begins where it ended.

    The start-up sees the variables, the arguments and the names of the directories that are given here, and what it
    makes of them is part of the new module.
    """
    function = make_function(module, settings, args=args, warm=0)
    target = output or beside(function, ".snapshot.wasm")
    if target == "-" and as_json:
        raise Misuse("--json: standard output gets the module (--output -)")
    source, is_text = read_source(function)
    started = time.perf_counter()
    taken = take(function, source, is_text=is_text, limits=CompileLimits())
    seconds = time.perf_counter() - started
    if target == "-":
        print_bytes(taken.module)
    else:
        _write(target, taken.module)
    if as_json:
        logs = [log._asdict() for log in taken.logs]
        sizes = {"module_bytes": len(source), "snapshot_bytes": len(taken.module)}
        print_json({"path": target, **sizes, "seconds": seconds, "depends_on": taken.depends_on, "logs": logs})
        return
    for log in taken.logs:
        tell(f"{log.level.upper():5} {printable(log.message, 10_000)}")
    if target != "-":
        click.echo(f"{printable(target)}  {format_size(len(taken.module))}, taken in {format_duration(seconds)}")


def _write(path: str, data: bytes) -> None:
    try:
        write_whole(path, data)
    except OSError as error:
        raise Misuse(f"--output: {printable(path)} cannot be written: {error.strerror}") from None
