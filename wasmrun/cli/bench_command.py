"""``wasmrun bench``: cold and warm starts of functions, side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from wasmrun.bench import PERCENTILES, Measured, Sample, measure
from wasmrun.cli.options import cache_option, event_option, function_options, json_option, make_function
from wasmrun.cli.options import event_for, print_json, read_event
from wasmrun.executor import Executor
from wasmrun.units import format_duration


@click.command(name="bench")
@click.argument("modules", type=click.Path(), nargs=-1, required=True, metavar="MODULE...")
@event_option
@function_options
@click.option("--cold", type=click.IntRange(1), default=1_000, show_default=True, help="Cold starts to measure.")
@click.option("--warm", type=click.IntRange(1), default=1_000, show_default=True, help="Warm starts to measure.")
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
    data = read_event(event)
    found = []
    with Executor(threads=1, cache_dir=cache_dir) as executor, _progress(len(modules) * (cold + warm), as_json) as advance:
        for module in modules:
            function = make_function(module, settings, warm=0)
            value = event_for(executor.load(function), data)
            executor.unload(function)
            found.append(measure(executor, function, value, cold=cold, warm=warm, advance=advance))
    if as_json:
        print_json({"unit": "seconds", "functions": [measured.as_dict() for measured in found]})
    else:
        _show(found)


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
    for title in ("function", "start"):
        table.add_column(title, no_wrap=True)
    for title in ("count", "min", *(f"p{percent:g}" for percent in PERCENTILES), "max"):
        table.add_column(title, justify="right", no_wrap=True)
    for measured in found:
        for sample in (measured.cold, measured.warm):
            table.add_row(*_row(measured, sample))
    console = Console()
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
    return measured.function.label, sample.name, str(len(sample.seconds)), *map(format_duration, figures)
