"""Drawing: figures in a terminal, as tables and as a histogram. A figure is never cut; names are folded."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wasmrun.bench.comparison import TOO_FEW, Comparison, Difference
from wasmrun.bench.percentiles import Interval, percentile
from wasmrun.bench.profiling import Spot
from wasmrun.bench.samples import Measured, Samples
from wasmrun.errors import printable
from wasmrun.units import format_duration

_NO_TERMINAL = 1_000
"""Columns where there is no terminal that has some."""

_WIDE = 100
_NARROW_BARS, _WIDE_BARS = 20, 48
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_MOST_BUCKETS = 12
_TAIL = 99.0
_NOTABLY_LATE = 0.1

OF_A_START = ("store", "instantiate", "init", "encode", "first_call")
"""The steps that lie on the path of an event that makes its sandbox."""


def new_console() -> Console:
    """Standard output. Where it is no terminal, nothing is folded; there, and with NO_COLOR, nothing is coloured."""
    console = Console(highlight=False)
    if console.options.ascii_only and isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal from before Unicode has no "µ" either: better a question mark there than no table.
        sys.stdout.reconfigure(errors="replace")
    if not console.is_terminal:
        console.width = _NO_TERMINAL
    return console


def draw(console: Console, found: Sequence[Measured]) -> None:
    """Everything that was measured, function by function."""
    is_wide = console.width >= _WIDE
    # As wide where nobody knows how wide it will be shown as where there is little room.
    bars = _WIDE_BARS if is_wide and console.is_terminal else _NARROW_BARS
    is_ascii = console.options.ascii_only
    console.print(_starts(found, is_wide=is_wide))
    if any(samples.load is not None for one in found for samples in one.samples.values()):
        console.print()
        console.print(_loads(found, is_wide=is_wide))
    for measured in found:
        console.print()
        console.print(f"[bold]{escape(measured.label)}[/bold]")
        console.print(_phases(measured, bars, is_ascii=is_ascii))
        histogram = _histogram(measured, bars, is_ascii=is_ascii)
        if histogram is not None:
            console.print()
            console.print(histogram)
        for line in _remarks(measured):
            console.print(line, markup=False)


def _table(kind: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("function", overflow="fold")
    table.add_column(kind, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _starts(found: Sequence[Measured], *, is_wide: bool) -> Table:
    # Where there is little room, what is left out is what a reader misses least.
    figures = ("min", "p50", "±", "p90", "p99", "±", "max") if is_wide else ("p50", "±", "p99", "±", "max")
    table = _table("start", "count", *figures)
    for measured in found:
        for key, samples in measured.samples.items():
            if samples.load is None:
                table.add_row(escape(measured.label), key, str(len(samples.steady)), *_figures(samples, figures))
    return table


def _loads(found: Sequence[Measured], *, is_wide: bool) -> Table:
    figures = ("p50", "±", "p90", "p99", "±", "max") if is_wide else ("p50", "±", "p99", "±")
    table = _table("load", "events/s", "warm", *figures)
    for measured in found:
        for key, samples in measured.samples.items():
            load = samples.load
            if load is not None:
                share = "" if load.warm_share is None else f"{load.warm_share:.0%}"
                table.add_row(escape(measured.label), key, _rate(load.rate), share, *_figures(samples, figures))
    return table


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _figures(samples: Samples, names: Sequence[str]) -> Iterable[str]:
    """The figures by their names as texts; "±" is what the percentile before it may be off by."""
    for at, name in enumerate(names):
        yield (
            _spread(samples, float(names[at - 1][1:])) if name == "±" else format_duration(samples.figure(name) or 0.0)
        )


def _spread(samples: Samples, percent: float) -> str:
    """Half of the interval, as a share of the percentile."""
    if len(samples.steady) < 2:
        return ""
    interval: Interval = samples.interval(percent)
    half = (interval.high - interval.low) / 2 / max(samples.seconds(percent), 1e-9)
    return f"{half:.0%}" if half < 9.995 else ">999%"


def _phases(measured: Measured, bars: int, *, is_ascii: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("step", no_wrap=True)
    for column in ("p50", "±", "p99", "share"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("of a start", no_wrap=True)
    whole = sum(measured.phases[name].seconds(50) for name in OF_A_START if name in measured.phases)
    for name, samples in measured.phases.items():
        share = samples.seconds(50) / whole if whole and name in OF_A_START else None
        table.add_row(
            name,
            format_duration(samples.seconds(50)),
            _spread(samples, 50),
            format_duration(samples.seconds(99)) if len(samples.steady) > 1 else "",
            "" if share is None else f"{share:.0%}",
            "" if share is None else _bar(share, bars, is_ascii=is_ascii),
        )
    return table


def _histogram(measured: Measured, bars: int, *, is_ascii: bool) -> Table | None:
    """How often which latency was seen, in steps of equal ratio; what is above the 99th percentile in one last line."""
    kinds = [one for name in ("cold", "snapshot", "warm", "reused") if (one := measured.samples.get(name)) is not None]
    kinds = [one for one in kinds if len(one.steady) >= 2 * _MOST_BUCKETS]
    if not kinds:
        return None
    low = min(max(one.steady[0], 1) for one in kinds)
    high = max(int(one.seconds(_TAIL) * 1e9) for one in kinds)
    edges = _edges(low, max(high, low + 1))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("up to", justify="right", no_wrap=True)
    for one in kinds:
        table.add_column(one.name, no_wrap=True)
    counts = [_counts(one.steady, edges) for one in kinds]
    width = max(4, bars * 2 // len(kinds) // 2)
    for at in range(len(edges) + 1):
        title = format_duration(edges[at] / 1e9) if at < len(edges) else "more"
        shares = [column[at] / sum(column) for column in counts]
        cells = [
            f"{_bar(column[at] / max(column), width, is_ascii=is_ascii):{width}} {column[at]:>5}" if column[at] else ""
            for column in counts
        ]
        if any(shares):
            table.add_row(title, *cells)
    return table


def _edges(low: int, high: int) -> list[float]:
    """Upper ends of buckets from *low* to *high*, each the same ratio above the last, none closer than 2 %."""
    count = max(1, min(_MOST_BUCKETS, int(math.log(high / low) / math.log(1.02))))
    return [low * (high / low) ** (at / count) for at in range(1, count + 1)]


def _counts(ordered: Sequence[int], edges: Sequence[float]) -> list[int]:
    counts = [0] * (len(edges) + 1)
    at = 0
    for value in ordered:
        while at < len(edges) and value > edges[at]:
            at += 1
        counts[at] += 1
    return counts


def _bar(share: float, width: int, *, is_ascii: bool) -> str:
    """A bar of *share* of *width* columns; what is there is seen, however little."""
    share = min(max(share, 0.0), 1.0)
    if is_ascii:
        return "#" * max(round(share * width), int(share > 0))
    eighths = max(round(share * width * 8), int(share > 0))
    return _EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _remarks(measured: Measured) -> Iterable[str]:
    every = [*measured.phases.items(), *measured.samples.items()]
    beginnings = [_beginning(key, samples) for key, samples in every if samples.warm_up.cut]
    if beginnings:
        yield f"warm-up, which does not count: {'; '.join(beginnings)}"
    late = [
        f"{key} {format_duration(samples.load.lateness / 1e9)}"
        for key, samples in every
        if samples.load is not None and samples.load.lateness / 1e9 > samples.seconds(50) * _NOTABLY_LATE
    ]
    if late:
        yield f"sent late, which is part of the latencies: one event of a hundred by {', '.join(late)}, or more"
    yield from (f"not measured: {note}" for note in measured.notes)


def _beginning(key: str, samples: Samples) -> str:
    cut = samples.warm_up.cut
    before = format_duration(percentile(sorted(samples.nanoseconds[:cut]), 50) / 1e9)
    end = "" if samples.warm_up.is_steady else ", and it may go on: measure more"
    return f"{key}, the first {cut} of {len(samples.nanoseconds)} (p50 {before}{end})"


def draw_comparison(console: Console, comparison: Comparison) -> None:
    """What differs between two functions, and what does not."""
    origin = "" if comparison.origin is None else f" ({escape(comparison.origin)})"
    console.print(f"[bold]{escape(comparison.first)}[/bold] beside [bold]{escape(comparison.second)}[/bold]{origin}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for column in ("p50", "beside", "ratio", "±", "p"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for one in comparison.differences:
        half = (one.interval.high - one.interval.low) / 2
        table.add_row(
            one.key, format_duration(one.first), format_duration(one.second), f"{one.ratio:.2f}",
            "" if one.verdict == TOO_FEW else f"{half:.2f}", _chance(one), one.verdict,
        )  # fmt: skip
    console.print(table)
    if comparison.unlike:
        console.print(f"not measured alike, which may be the difference: {'; '.join(comparison.unlike)}", markup=False)


def _chance(one: Difference) -> str:
    if one.verdict == TOO_FEW:
        return ""
    return f"{one.p:.2g}" if one.p >= 0.0001 else "<0.0001"


def draw_spots(console: Console, spots: Sequence[Spot], most: int) -> None:
    """The first *most* functions in which samples were, as shares of all; nothing where there are none."""
    if not spots:
        return
    whole = sum(spot.itself for spot in spots)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("self", "", "total", ""):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("function", overflow="fold")
    for spot in spots[:most]:
        name = escape(printable(spot.name))
        table.add_row(
            f"{spot.itself / whole:.1%}", str(spot.itself), f"{spot.total / whole:.1%}", str(spot.total), name
        )
    console.print(table)
    if len(spots) > most:
        console.print(f"and {len(spots) - most} more")
