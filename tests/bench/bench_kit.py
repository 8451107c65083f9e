"""Samples whose figures are known."""

from __future__ import annotations

from collections.abc import Callable

from wasmrun.bench.samples import Load, Measured, Samples

Make = Callable[..., Measured]
"""The fixture `measured`."""


def samples(name: str, micros: float, *, count: int = 200, place: str = "threads", load: Load | None = None) -> Samples:
    """Durations with the median *micros* microseconds, which differ a little, in an order that says nothing."""
    return Samples(
        name, tuple(round(micros * 1000 * (1 + (at * 37 % 100 - 49) / 2000)) for at in range(count)), place, load
    )
