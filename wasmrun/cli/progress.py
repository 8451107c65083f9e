"""Progress: a bar on standard error, where that is a terminal and somebody may be waiting."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_PAUSE_SECONDS = 0.1

Advance = Callable[[float], object]


@contextlib.contextmanager
def progress(total: float, is_quiet: bool) -> Iterator[Advance]:
    """What to call with how much of *total* was done since the last time."""
    console = Console(stderr=True)
    if is_quiet or not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("measuring"), BarColumn(), TimeRemainingColumn())
    # Drawn from this thread, between two measurements, and not at each: a thread that draws would be in the figures.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=total)
        last = 0.0

        def advance(part: float) -> None:
            nonlocal last
            bar.advance(task, part)
            now = monotonic()
            if now - last >= _PAUSE_SECONDS:
                last = now
                bar.refresh()

        yield advance
