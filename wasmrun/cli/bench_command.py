"""``wasmrun bench``: what functions cost, side by side."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import click

from wasmrun.bench import drawing
from wasmrun.bench.advice import Advice, advise
from wasmrun.bench.budget import EXIT_STATUS, Budget, Verdict, check, parse_budget
from wasmrun.bench.comparison import Comparison, compare
from wasmrun.bench.environment import machine, versions
from wasmrun.bench.measuring import Plan, Rate, Session
from wasmrun.bench.plot import CannotPlot, check_plot, draw_plot
from wasmrun.bench.record import Record, Unreadable, read_record, record, to_bytes, write_whole
from wasmrun.bench.samples import PLACES, Measured
from wasmrun.cli.bench_fuel import profile
from wasmrun.cli.inputs import Misuse, event_for, event_text, make_function, parse_time, read_event
from wasmrun.cli.options import (
    Command,
    cache_option,
    event_option,
    function_options,
    json_option,
    manifest_option,
    options,
)
from wasmrun.cli.output import print_json, tell
from wasmrun.cli.progress import progress
from wasmrun.cli.table import BENCH
from wasmrun.errors import WasmrunError, printable
from wasmrun.executor import Executor, Loaded
from wasmrun.function import Function

_MOST_THREADS = 256
_MOST_SECONDS = 600.0
_MOST_RATE = 1e6


def _count_option(kind: str) -> Callable[[Any], Any]:
    return click.option(
        f"--{kind}",
        type=click.IntRange(1),
        default=1_000,
        metavar="N",
        envvar=f"WASMRUN_{kind.upper()}",
        help=f"{kind.capitalize()} starts to measure, at most.  [default: 1000]",
    )


class _Other(NamedTuple):
    """What is compared with: a module's path, or what was measured before and the file that it is from."""

    path: str
    record: Record | None


@click.command(name="bench", cls=Command)
@click.argument("modules", type=click.Path(), nargs=-1, metavar="MODULE...")
@event_option
@manifest_option
@function_options
@_count_option("cold")
@_count_option("warm")
@options(BENCH)
@json_option
@cache_option
def command(
    modules: tuple[str, ...],
    event: str | None,
    cold: int,
    warm: int,
    duration: str,
    concurrency: str,
    rate: str,
    processes: bool,
    compare_with: tuple[str, ...],
    budgets: tuple[str, ...],
    save: str | None,
    plot: str | None,
    fuel_profile: str | None,
    fuel_baseline: str | None,
    as_json: bool,
    cache_dir: str | None,
    **settings: Any,
) -> int:
    """Measure what each MODULE costs on one event: the steps of a start, starts of every kind, and load.

    A cold start makes its sandbox when the event is there; a warm one takes it from the pool; a reused one takes that
    of the event before. A closed loop finds what can be done, an open one how long events wait at a given rate.
    """
    if fuel_profile is not None:
        _refuse_with_fuel(modules, {"--event": event, "--plot": plot, "--compare": compare_with, "--budget": budgets})
        return profile(
            modules[0] if modules else "", settings, events=fuel_profile, baseline=fuel_baseline, save=save, as_json=as_json,
            cache_dir=cache_dir,
        )  # fmt: skip
    if fuel_baseline is not None:
        raise Misuse("--fuel-baseline: it is for --fuel-profile, which is missing")
    gc.enable()  # which is how programs run functions
    plan = Plan(
        cold,
        warm,
        parse_time("duration", duration, most=_MOST_SECONDS),
        _concurrency(concurrency),
        _rates(rate),
        PLACES if processes else PLACES[:1],
    )
    if plot is not None:
        _check_plot(plot)
    wanted = [_budget(text) for text in budgets]
    others = [_other(path) for path in compare_with]
    if settings["manifest"] or not modules:
        modules = ("", *modules)  # which stands for the manifest
    data = read_event(event_text(event, modules[0]))
    files = (*modules, *(other.path for other in others if other.record is None))
    functions = _functions(files, settings)
    told = _told(event, plan, settings)
    measured = _measure(functions, data, plan, cache_dir, is_quiet=as_json)
    own, rest = measured[: len(modules)], measured[len(modules) :]
    if save is not None:
        _save(save, measured, told)
    if plot is not None:
        _plot(plot, own, rest, others)
    comparisons = _compare(own, rest, others, told)
    verdicts = check(wanted, own)
    advice = [one for found in own for one in advise(found)]
    if as_json:
        _print(measured, comparisons, verdicts, advice, told)
    else:
        _show(measured, comparisons, verdicts, advice)
    return 0 if all(verdict.is_kept for verdict in verdicts) else EXIT_STATUS


# What the options say


def _refuse_with_fuel(modules: tuple[str, ...], others: dict[str, Any]) -> None:
    for flag, value in others.items():
        if value:
            raise Misuse(f"{flag}: it has no meaning with --fuel-profile, which runs its events and tells their fuel")
    if len(modules) > 1:
        raise Misuse("--fuel-profile: it is for one MODULE")


def _concurrency(text: str) -> tuple[int, ...]:
    if text.strip() == "none":
        return ()
    numbers = [part.strip() for part in text.split(",")]
    if not all(
        part.isascii() and part.isdigit() and len(part) <= 3 and 1 <= int(part) <= _MOST_THREADS for part in numbers
    ):
        raise Misuse(
            f"--concurrency: {printable(text, 60)!r} is no list of numbers from 1 to {_MOST_THREADS}, such as 1,2"
        )
    return tuple(dict.fromkeys(map(int, numbers)))


def _rates(text: str) -> tuple[Rate, ...]:
    if text.strip() == "none":
        return ()
    return tuple(dict.fromkeys(_rate(part.strip()) for part in text.split(",")))


def _rate(text: str) -> Rate:
    is_share = text.endswith("%")
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = 0.0
    if not 0 < number <= (1_000 if is_share else _MOST_RATE):
        raise Misuse(
            f"--rate: {printable(text, 60)!r} is neither a number of events a second nor a share of what the closed loop does, "
            "such as 5000 or 50%"
        )
    return Rate(number / 100 if is_share else number, is_share)


def _budget(text: str) -> Budget:
    try:
        return parse_budget(text)
    except ValueError as error:
        raise Misuse(f"--budget: {error}") from None


def _check_plot(path: str) -> None:
    """Before anything is measured."""
    try:
        check_plot(path)
    except CannotPlot as error:
        raise Misuse(f"--plot: {error}") from None


def _other(path: str) -> _Other:
    try:
        with open(path, "rb") as file:
            is_record = path.endswith(".json") or file.read(1) == b"{"
        return _Other(path, read_record(path) if is_record else None)
    except Unreadable as error:
        raise Misuse(f"--compare: {printable(path)} is no saved benchmark: {error}") from None
    except IsADirectoryError:
        return _Other(path, None)
    except (OSError, ValueError) as error:
        raise Misuse(
            f"--compare: {printable(path)} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None


def _functions(modules: Sequence[str], settings: dict[str, Any]) -> list[Function]:
    """The functions to measure, named after their files, or after their paths where that would be one name twice."""
    plain = {name: value for name, value in settings.items() if name != "manifest"}
    functions = [make_function(module, plain if module else settings, warm=0) for module in modules]
    taken = Counter(function.label for function in functions)
    return [
        function
        if taken[function.label] == 1
        else replace(function, name=printable(module or settings["manifest"], 256))
        for function, module in zip(functions, modules, strict=True)
    ]


def _told(event: str | None, plan: Plan, settings: dict[str, Any]) -> dict[str, Any]:
    """What was measured with, as far as it is not the default. Variables may be secrets: only their names."""
    given = {name: value for name, value in settings.items() if value not in (None, (), False)}
    if "env" in given:
        given["env"] = [text.partition("=")[0] for text in given["env"]]
    if "config" in given:
        given["config"] = [text.partition("=")[0] for text in given["config"]]
    how = plan._asdict() | {"rates": [str(rate) for rate in plan.rates]}
    return {"event": None if event is None else printable(event), **how, **given}


# Measuring


def _measure(
    functions: list[Function], data: bytes | None, plan: Plan, cache_dir: str | None, *, is_quiet: bool
) -> list[Measured]:
    def make_event(loaded: Loaded) -> Any:
        return event_for(data, is_raw=loaded.is_raw)

    _warm_up(functions[0], cache_dir)
    with progress(len(functions) * plan.turns, is_quiet) as advance:
        session = Session(functions, make_event, plan, cache_dir=cache_dir, advance=lambda: advance(1))
        try:
            return session.measure()
        except WasmrunError:
            if len(functions) > 1:
                tell(f"wasmrun: measuring {printable(session.current.label)} failed")
            raise


def _warm_up(function: Function, cache_dir: str | None) -> None:
    """Load a cached *function* once: what this process does for the first time must not count as the first one's."""
    with Executor(threads=1, max_sandboxes=1, cache_dir=cache_dir) as executor:
        if executor.is_compiled(function):
            executor.load(function)


def _compare(
    own: list[Measured], rest: list[Measured], others: list[_Other], settings: dict[str, Any]
) -> list[Comparison]:
    fresh = iter(rest)
    found: list[Comparison] = []
    for other in others:
        if other.record is None:
            second = next(fresh)
            found += [compare(first, second) for first in own]
        else:
            origin, unlike = printable(other.path), other.record.unlike(settings)
            found += [compare(first, second, origin, unlike) for first in own for second in other.record.found]
    return found


# What is told


def _save(path: str, measured: list[Measured], settings: dict[str, Any]) -> None:
    try:
        write_whole(path, to_bytes(record(measured, settings)))
    except OSError as error:
        raise Misuse(f"--save: {printable(path)} cannot be written: {error.strerror}") from None


def _plot(path: str, own: list[Measured], rest: list[Measured], others: list[_Other]) -> None:
    saved = [one for other in others for one in (other.record.found if other.record is not None else ())]
    try:
        write_whole(path, draw_plot(path, [*own, *rest, *saved]))
    except OSError as error:
        raise Misuse(f"--plot: {printable(path)} cannot be written: {error.strerror}") from None


def _print(
    measured: list[Measured],
    comparisons: list[Comparison],
    verdicts: list[Verdict],
    advice: list[Advice],
    settings: dict[str, Any],
) -> None:
    print_json(
        {
            "unit": "seconds",
            "versions": versions(),
            "machine": machine(),
            "settings": settings,
            "functions": [found.as_dict() for found in measured],
            "comparisons": [comparison.as_dict() for comparison in comparisons],
            "budgets": [verdict.as_dict() for verdict in verdicts],
            "advice": [one._asdict() for one in advice],
        }
    )


def _show(
    measured: list[Measured], comparisons: list[Comparison], verdicts: list[Verdict], advice: list[Advice]
) -> None:
    console = drawing.new_console()
    drawing.draw(console, measured)
    for comparison in comparisons:
        console.print()
        drawing.draw_comparison(console, comparison)
    if verdicts:
        console.print()
    for verdict in verdicts:
        console.print(str(verdict), markup=False)
    if advice:
        console.print()
    for one in advice:
        console.print(f"advice for {one.label}: {one.text}", markup=False)
