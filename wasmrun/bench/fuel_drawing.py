"""Drawing of fuel: what a corpus needed, and how that stands to its baseline, in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wasmrun.bench.fuel import HEADROOM, Change, Need, Needs, Regression, most
from wasmrun.bench.percentiles import percentile
from wasmrun.units import format_size

_SHOWN = 5
"""Events that are shown of those that need the most."""

_LISTED = 20
"""Events that are listed of one kind."""


def draw_needs(console: Console, needs: Needs, event_bytes: int) -> None:
    """Figures, the line and the limit; then what is wrong with single events. *event_bytes* is the function's limit."""
    ordered = needs.ordered
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("function", overflow="fold")
    for column in ("events", "failed", "min", "p50", "p90", "p99", "max"):
        table.add_column(column, justify="right", no_wrap=True)
    figures = [ordered[0], *(percentile(ordered, percent) for percent in (50, 90, 99)), ordered[-1]] if ordered else []
    cells = [f"{int(figure):,}" for figure in figures] or [""] * 5
    table.add_row(escape(needs.label), f"{len(ordered):,}", f"{len(needs.failed):,}", *cells)
    console.print(table)
    if len(ordered) > 1:
        console.print()
        console.print(_events(most(needs, _SHOWN)))
        console.print()
    for line in _conclusions(needs, event_bytes):
        console.print(line, markup=False)
    _list(console, [f"{one.name}: {one.error}" for one in needs.failed], "not answered")
    _list(console, [_unsteady(one) for one in needs.answered if not one.is_steady], "not the same each time")


def _events(needs: Sequence[Need]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("most fuel", overflow="fold")
    for column in ("event", "fuel"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in needs:
        table.add_row(escape(one.name), format_size(one.event_bytes), f"{one.fuel or 0:,}")
    return table


def _conclusions(needs: Needs, event_bytes: int) -> list[str]:
    if needs.proposed is None:
        return ["no event was answered: there is nothing to go by"]
    lines = []
    line = needs.line
    if line is not None:
        lines.append(
            f"by size: {line.slope:,.1f} for a byte of the event, and {line.base:,.0f}, which accounts for "
            f"{line.explained:.0%} of the differences; the largest event that is allowed, {format_size(event_bytes)}, "
            f"would need {line.at(event_bytes):,.0f}"
        )
    elif len(needs.ordered) > 2:
        lines.append("by size: it says little of the fuel")
    lines.append(
        f"proposed limit: {needs.proposed:,}, which is {HEADROOM} times the most (--fuel {needs.proposed}, fuel={needs.proposed:_})"
    )
    return lines


def _unsteady(one: Need) -> str:
    return f"{one.name}: {one.other:,} and {one.fuel:,}; it is left out of baselines"


def draw_regression(console: Console, found: Regression, versions: dict[str, str]) -> None:
    """What needs more than it did, what needs less, what is new and what is gone."""
    worse = [change for change in found.changes if change.is_worse]
    _list(console, [_change(change) for change in worse], "more fuel than before")
    _list(console, [_change(one) for one in found.changes if not one.is_worse], "less fuel than before: save it again")
    _list(console, found.added, "not in the baseline")
    _list(console, found.gone, "in the baseline alone")
    if worse and found.versions != versions:
        made = ", ".join(f"{name} {text}" for name, text in found.versions.items())
        console.print(f"the baseline was made with {made}: other versions may count otherwise", markup=False)
    if not found.compared:
        console.print("no event of the baseline is in the corpus: nothing could be compared")
    elif not found.changes:
        console.print("no event needs another amount of fuel than before")


def _change(change: Change) -> str:
    if change.now is None:
        return f"{change.name}: {change.before:,}, and is not answered now"
    return f"{change.name}: {change.before:,}, now {change.now:,} ({change.now - change.before:+,})"


def _list(console: Console, lines: Sequence[str], title: str) -> None:
    for line in lines[:_LISTED]:
        console.print(f"{title}: {line}", markup=False)
    if len(lines) > _LISTED:
        console.print(f"{title}: {len(lines) - _LISTED:,} more (--json has all)", markup=False)
