"""Advice: what follows from the figures, each piece with the figures that it follows from. None where none does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from wasmrun.bench.percentiles import Interval
from wasmrun.bench.samples import Measured, Samples
from wasmrun.units import format_duration

_MUCH_START_UP = 0.5
_COSTLY_START_UP = 100e-6
"""Seconds. Below, a snapshot saves less than is worth the trouble."""

_SLOW_COMPILE = 0.25
_FEW_WARM = 0.9
_UNSTEADY_TAIL = 20.0
_SCALES = 1.2
_SHORT = 500e-6
"""Seconds. Guests of longer events run at the same time, wherever there are processors for them."""

_TAKES_SNAPSHOTS = ("native", "plain")
_COSTLY_SANDBOX = 2.0
_FELL_BEHIND = 0.95


class Advice(NamedTuple):
    """One piece: what to do, of which function, and the figures by which."""

    label: str
    text: str


def advise(measured: Measured) -> list[Advice]:
    """What the figures of one function say."""
    rules = (_snapshot, _warm, _pool, _reuse, _ahead, _scaling, _behind, _noise)
    return [Advice(measured.label, text) for rule in rules for text in rule(measured)]


def _snapshot(measured: Measured) -> Iterator[str]:
    init, cold = measured.of("init"), measured.of("cold")
    if init is None or cold is None or measured.abi not in _TAKES_SNAPSHOTS:
        return
    share = init.seconds(50) / cold.seconds(50)
    if init.seconds(50) >= _COSTLY_START_UP and share >= _MUCH_START_UP:
        yield (
            f"start-up is {min(share, 1.0):.0%} of a cold start ({_of(init)} of {_of(cold)}): take a snapshot "
            "(--snapshot, snapshot=True)"
        )


def _warm(measured: Measured) -> Iterator[str]:
    cold, warm = measured.fresh, measured.of("warm")
    if cold is not None and warm is not None and _is_below(warm, cold, 0.67):
        yield (
            f"a warm start takes {_of(warm)}, a {cold.name} one {_of(cold)}: keep sandboxes ready for as many events as "
            "come at once (warm=N)"
        )


def _pool(measured: Measured) -> Iterator[str]:
    for key, samples in measured.samples.items():
        load = samples.load
        if samples.name == "open" and load is not None and load.warm_share is not None and not load.unsent:
            offered = load.offered or 0.0
            if load.warm_share < _FEW_WARM and load.rate >= offered * _FELL_BEHIND:
                yield (
                    f"{key}: at {offered:,.0f} events/s only {load.warm_share:.0%} found a sandbox ready: events come "
                    "faster than sandboxes are refilled; raise warm=N for bursts, or share the events among processes"
                )
                return


def _reuse(measured: Measured) -> Iterator[str]:
    warm, reused = measured.of("warm"), measured.of("reused")
    if warm is not None and reused is not None and warm.seconds(50) >= _COSTLY_SANDBOX * reused.seconds(50):
        yield (
            f"a reused sandbox answers in {_of(reused)}, a new one that is warm in {_of(warm)}: if events may see what "
            "earlier ones left behind, reuse=True"
        )


def _ahead(measured: Measured) -> Iterator[str]:
    compile_, load = measured.of("compile"), measured.of("load")
    if compile_ is not None and load is not None and compile_.seconds(50) >= _SLOW_COMPILE:
        yield (
            f"compiling takes {_of(compile_)}, loading what is compiled {_of(load)}: compile when you deploy, not at "
            "the first event (wasmrun compile)"
        )


def _scaling(measured: Measured) -> Iterator[str]:
    threads = _closed(measured, "threads")
    processes = _closed(measured, "processes")
    if processes and threads:
        best, other = max(processes), max(threads)
        if best[0] >= _SCALES * other[0]:
            yield (
                f"{best[1]} worker processes do {best[0]:,.0f} events/s, {other[1]} threads {other[0]:,.0f}: "
                "ProcessExecutor is faster here, and safer"
            )
    one = next((rate for rate, concurrency in threads if concurrency == 1), None)
    more = max((item for item in threads if item[1] > 1), default=None)
    if one and more and more[0] < _SCALES * one and not (processes and max(processes)[0] >= _SCALES * max(threads)[0]):
        alone = measured.of("closed@1")
        is_short = alone is not None and alone.seconds(50) < _SHORT
        why = (
            "its events are too short for threads to help, which take turns at the interpreter"
            if is_short
            else "more of them find no processor free"
        )
        yield f"{more[1]} threads do {more[0]:,.0f} events/s, one does {one:,.0f}: {why}"


def _closed(measured: Measured, place: str) -> list[tuple[float, int]]:
    loads = [one.load for one in measured.samples.values() if one.name == "closed" and one.place == place]
    return [(load.rate, load.concurrency) for load in loads if load is not None]


def _behind(measured: Measured) -> Iterator[str]:
    for key, samples in measured.samples.items():
        load = samples.load
        if load is not None and load.offered is not None and load.rate < load.offered * _FELL_BEHIND:
            waiting = f", and {load.unsent:,} were never sent" if load.unsent else ""
            yield (
                f"{key}: {load.offered:,.0f} events/s are more than it keeps up with: {load.rate:,.0f} were done{waiting}; "
                "its latencies are those of a queue that grows"
            )


def _noise(measured: Measured) -> Iterator[str]:
    for name in ("warm", "cold", "snapshot"):
        samples = measured.of(name)
        if samples is not None and samples.seconds(99) >= _UNSTEADY_TAIL * samples.seconds(50):
            yield (
                f"{name}: p99 is {samples.seconds(99) / samples.seconds(50):.0f} times p50 ({format_duration(samples.seconds(99))} "
                f"for {_of(samples)}): if the function's work is the same each time, the machine was busy with something else"
            )
            return


def _is_below(first: Samples, second: Samples, share: float) -> bool:
    """Whether *first* takes at most *share* of *second*, whatever chance did to either."""
    one: Interval = first.interval(50)
    other: Interval = second.interval(50)
    return one.high <= other.low * share


def _of(samples: Samples) -> str:
    return format_duration(samples.seconds(50))
