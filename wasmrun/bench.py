"""The benchmark: what cold and warm starts of one function cost, measured through the public API."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from wasmrun.executor import Executor, Loaded
from wasmrun.function import Function

PERCENTILES = (50.0, 90.0, 99.0)

_BURST = 32
"""Sandboxes that are made ready for one burst of warm starts."""


class Sample(NamedTuple):
    """Latencies of one kind of start, in seconds, as measured around `Executor.invoke`, in order."""

    name: str
    seconds: tuple[float, ...]

    def percentile(self, percent: float) -> float:
        """The smallest latency that *percent* of the invocations did not exceed (nearest rank)."""
        ordered = sorted(self.seconds)
        return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]

    def as_dict(self) -> dict[str, Any]:
        """The sample's figures as a JSON object; durations in seconds."""
        figures = {f"p{percent:g}": self.percentile(percent) for percent in PERCENTILES}
        return {"count": len(self.seconds), "min": min(self.seconds), **figures, "max": max(self.seconds)}


class Measured(NamedTuple):
    """What was measured of one function. ``load`` is the time from its code to a linked program, in seconds.

    ``was_cached`` says whether its module was compiled before; if not, ``load`` includes compiling it.
    """

    function: Function
    load: float
    was_cached: bool
    cold: Sample
    warm: Sample

    def as_dict(self) -> dict[str, Any]:
        """The figures as a JSON object; durations in seconds."""
        return {
            "function": self.function.label,
            "load": self.load,
            "was_cached": self.was_cached,
            "cold": self.cold.as_dict(),
            "warm": self.warm.as_dict(),
        }


def measure(
    executor: Executor,
    function: Function,
    make_event: Callable[[Loaded], Any],
    *,
    cold: int,
    warm: int,
    advance: Callable[[int], object] = lambda _: None,
) -> Measured:
    """Measure *cold* and *warm* starts of *function* on one event; *advance* hears of each that was done.

    *make_event* makes the event, once it is known how the function takes it. A cold start makes its
    sandbox on the event's path; a warm one finds it ready. The first of each kind is not counted: it
    loads what all later ones share. Raises what the function raises.
    """
    was_cached = executor.is_compiled(function)
    started = time.perf_counter()
    unready = replace(function, warm=0)
    loaded = executor.load(unready)
    load = time.perf_counter() - started
    event = make_event(loaded)
    ready = replace(function, warm=_BURST)
    colds, warms = [], []
    for seconds in _cold(executor, unready, event, cold):
        colds.append(seconds)
        advance(1)
    for seconds in _warm(executor, ready, event, warm):
        warms.append(seconds)
        advance(1)
    executor.unload(unready)
    executor.unload(ready)
    return Measured(function, load, was_cached, Sample("cold", tuple(colds)), Sample("warm", tuple(warms)))


def _cold(executor: Executor, function: Function, event: Any, count: int) -> Iterator[float]:
    executor.invoke(function, event)
    for _ in range(count):
        yield _timed(executor, function, event)


def _warm(executor: Executor, function: Function, event: Any, count: int) -> Iterator[float]:
    executor.prewarm(function)
    executor.invoke(function, event)
    left = count
    while left:
        # Bursts below what is ready: refilling is not part of a warm start, and is not measured.
        ready = executor.prewarm(function)
        for _ in range(min(left, max(1, ready))):
            yield _timed(executor, function, event)
            left -= 1


def _timed(executor: Executor, function: Function, event: Any) -> float:
    started = time.perf_counter()
    executor.invoke(function, event)
    return time.perf_counter() - started
