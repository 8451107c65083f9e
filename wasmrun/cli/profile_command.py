"""``wasmrun profile``: where a function spends its time."""

from __future__ import annotations

from typing import Any

import click

from wasmrun.bench import drawing
from wasmrun.bench.profiling import Profiled, ProfileExecutor, Spot, top
from wasmrun.bench.record import write_whole
from wasmrun.cli.inputs import Misuse, beside, event_for, event_text, make_function, parse_time, read_event
from wasmrun.cli.options import (
    Command,
    cache_option,
    event_option,
    function_options,
    json_option,
    module_argument,
    option,
)
from wasmrun.cli.output import print_bytes, print_json, say
from wasmrun.cli.progress import progress
from wasmrun.cli.table import DURATION, INTERVAL, OUTPUT
from wasmrun.errors import outcome, printable
from wasmrun.units import format_duration

_MOST_SECONDS = 600.0
_LEAST_INTERVAL = 100e-6
_MOST_INTERVAL = 10e-3
"""Guests are looked at that often anyway, for their deadlines."""

_SHOWN = 20


@click.command(name="profile", cls=Command)
@module_argument
@event_option
@option(OUTPUT)
@option(DURATION)
@option(INTERVAL)
@function_options
@json_option
@cache_option
@click.argument("args", nargs=-1, metavar="[-- ARGS...]")
def command(
    module: str,
    event: str | None,
    output: str | None,
    duration: str,
    interval: str,
    as_json: bool,
    cache_dir: str | None,
    args: tuple[str, ...],
    **settings: Any,
) -> int:
    """Run MODULE on an event again and again, and write where its guests were every millisecond.

    The file is for https://profiler.firefox.com, which shows it without sending it anywhere. Printed are the functions in
    which the samples were.
    """
    seconds = parse_time("duration", duration, most=_MOST_SECONDS)
    step = parse_time("interval", interval, least=_LEAST_INTERVAL, most=_MOST_INTERVAL)
    function = make_function(module, settings, args=args, warm=0)
    data = read_event(event_text(event, module))
    target = output or beside(function, ".profile.json")
    if target == "-" and as_json:
        raise Misuse("--json: standard output gets the profile (--output -)")
    with ProfileExecutor(interval=step, cache_dir=cache_dir) as executor, progress(seconds, as_json) as advance:
        value = event_for(data, is_raw=executor.load(function).is_raw)
        found = executor.profile(function, value, duration=seconds, advance=advance)
    _write(target, found.data)
    spots = top(found.data)
    if as_json:
        _print(target, found, step, spots)
    elif target != "-":
        _show(target, found, step, spots)
    if found.error is None:
        return 0
    # What was seen until then is told all the same: where it loops is what one wants to know of one that times out.
    if not as_json:
        say(found.error)
    return outcome(found.error).exit_status


def _write(path: str, data: bytes) -> None:
    if path == "-":
        print_bytes(data)
        return
    try:
        write_whole(path, data)
    except OSError as error:
        raise Misuse(f"--output: {printable(path)} cannot be written: {error.strerror}") from None


def _print(path: str, found: Profiled, step: float, spots: list[Spot]) -> None:
    error = found.error
    print_json(
        {
            "path": path,
            "interval": step,
            "events": found.events,
            "samples": found.samples,
            "functions": [spot._asdict() for spot in spots],
            "error": None if error is None else {"class": type(error).__name__, "message": error.message},
        }
    )


def _show(path: str, found: Profiled, step: float, spots: list[Spot]) -> None:
    console = drawing.new_console()
    drawing.draw_spots(console, spots, _SHOWN)
    seen = sum(spot.itself for spot in spots)
    events = f"{found.events} event{'' if found.events == 1 else 's'}"
    console.print(f"{seen} samples, at most one every {format_duration(step)}, of {events}", markup=False)
    if not seen:
        console.print(
            "no guest was seen at work: give it more to do, --duration, or a shorter --interval", markup=False
        )
    elif all(spot.name.startswith("<wasm function ") for spot in spots):
        console.print("the module has no names of functions: build it without stripping them", markup=False)
    console.print(f"{printable(path)} is for https://profiler.firefox.com", markup=False)
