"""``wasmrun bench``: cold and warm starts of functions, side by side."""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from wasmrun.bench import PERCENTILES, Measured, Sample, measure
from wasmrun.cli.inputs import event_for, event_text, make_function, read_event
from wasmrun.cli.options import Command, cache_option, event_option, function_options, json_option
from wasmrun.cli.output import print_json, tell
from wasmrun.errors import WasmrunError, printable
from wasmrun.executor import Executor, Loaded
from wasmrun.function import Function
from wasmrun.units import format_duration

_NO_TERMINAL = 1_000
"""Columns where there is no terminal that has some."""


def _count_option(kind: str) -> Callable[[Any], Any]:
    return click.option(
        f"--{kind}",
        type=click.IntRange(1),
        default=1_000,
        metavar="N",
        envvar=f"WASMRUN_{kind.upper()}",
        help=f"{kind.capitalize()} starts to measure.  [default: 1000]",
    )


@click.command(name="bench", cls=Command)
@click.argument("modules", type=click.Path(), nargs=-1, required=True, metavar="MODULE...")
@event_option
@function_options
@_count_option("cold")
@_count_option("warm")
@json_option
@cache_option
def command(
    modules: tuple[str, ...],
    event: str | None,
    cold: int,
    warm: int,
    as_json: bool,
    cache_dir: str | None,
    **settings: Any,
) -> None:
    """Measure what cold and warm starts of each MODULE cost on one event.

    A cold start makes its sandbox when the event is there; a warm one takes it from the pool.
    """
    gc.enable()  # which is how programs run functions
    data = read_event(event_text(event, modules[0]))

    def make_event(loaded: Loaded) -> Any:
        return event_for(loaded, data)

    functions = _functions(modules, settings)
    found: list[Measured] = []
    try:
        with _progress(len(modules) * (cold + warm), as_json) as advance:
            _warm_up(functions[0], cache_dir)
            for function in functions:
                # An executor each, so that all are loaded under the same conditions.
                with Executor(threads=1, cache_dir=cache_dir) as executor:
                    found.append(measure(executor, function, make_event, cold=cold, warm=warm, advance=advance))
    except WasmrunError:
        if len(functions) > 1:
            tell(f"wasmrun: measuring {functions[len(found)].label} failed")
        raise
    if as_json:
        print_json({"unit": "seconds", "functions": [measured.as_dict() for measured in found]})
    else:
        _show(found)


def _functions(modules: tuple[str, ...], settings: dict[str, Any]) -> list[Function]:
    """The functions to measure, named after their files, or after their paths where that would be one name twice."""
    functions = [make_function(module, settings, warm=0) for module in modules]
    taken = Counter(function.label for function in functions)
    return [
        function if taken[function.label] == 1 else replace(function, name=printable(module, 256))
        for function, module in zip(functions, modules, strict=True)
    ]


def _warm_up(function: Function, cache_dir: str | None) -> None:
    """Load a cached *function* once: what this process does for the first time must not count as the first one's."""
    with Executor(threads=1, cache_dir=cache_dir) as executor:
        if executor.is_compiled(function):
            executor.load(function)


@contextlib.contextmanager
def _progress(total: int, is_quiet: bool) -> Iterator[Callable[[int], object]]:
    console = Console(stderr=True)
    if is_quiet or not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("measuring"), BarColumn(), TimeRemainingColumn())
    # Drawn from this thread, now and then: a thread that draws would be in the figures.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=total)
        step = max(1, total // 100)
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if done % step == 0:
                progress.update(task, completed=done, refresh=True)

        yield advance


def _show(found: list[Measured]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    # Where there is too little room, names are folded, and figures never.
    table.add_column("function", overflow="fold")
    table.add_column("start", no_wrap=True)
    for title in ("count", "min", *(f"p{percent:g}" for percent in PERCENTILES), "max"):
        table.add_column(title, justify="right", no_wrap=True)
    for measured in found:
        for sample in (measured.cold, measured.warm):
            table.add_row(*_row(measured, sample))
    console = Console()
    if not console.is_terminal:
        console.width = _NO_TERMINAL
    console.print(table)
    for measured in found:
        how = "from the cache" if measured.was_cached else "with compiling"
        ratio = measured.cold.percentile(50) / measured.warm.percentile(50)
        console.print(
            f"{measured.function.label}: loaded in {format_duration(measured.load)} {how}; "
            f"a warm start takes {1 / ratio:.2f} of a cold one",
            highlight=False,
            markup=False,
        )


def _row(measured: Measured, sample: Sample) -> tuple[str, ...]:
    figures = (min(sample.seconds), *(sample.percentile(percent) for percent in PERCENTILES), max(sample.seconds))
    return escape(measured.function.label), sample.name, str(len(sample.seconds)), *map(format_duration, figures)
