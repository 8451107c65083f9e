"""How many events a second does `executor.map` do: in one process, with more threads, with two workers?"""

import itertools
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import wasmrun

from .effort import Effort
from .figures import Figure
from .guests import PAYLOAD, SMALL, SPIN, echo
from .native import floor_rounds
from .rounds import Round, interleave
from .subject import Executor, executor, function, process_executor, spin_event

CAVEATS = (
    "Each event has a fresh sandbox. Small ones echo 64 bytes; the others count for a millisecond.",
    "`map` is the standard library's: all events are submitted, then the answers are taken in order.",
    "'One after the other' is `invoke` in a loop, which needs no other thread.",
    "The parent's own work takes its share of the processors: on two of them, two workers and a parent are three.",
    "Threads share the interpreter's lock, which is free while a guest runs: they pay for long guests.",
)


def measure(effort: Effort) -> Iterator[Figure]:
    """Small events, then long ones."""
    with (
        tempfile.TemporaryDirectory(prefix="wasmrun-benchmark-") as name,
        floor_rounds((SMALL,)) as floor,
        executor(Path(name)) as one,
        executor(Path(name), threads=2) as two,
        process_executor(Path(name), 1) as worker,
        process_executor(Path(name), 2) as workers,
    ):
        places: dict[str, Executor] = {
            "one thread": one,
            "two threads": two,
            "one worker": worker,
            "two workers": workers,
        }
        small, many = function(echo()), effort.pick(2_000, 20_000, 100_000)
        contestants: dict[str, Round] = {"small, one after the other": partial(_in_turn, one, small, PAYLOAD, many)}
        if floor:
            contestants["small, floor"] = lambda: 1e6 / floor["floor, fresh"]()
        for place, where in places.items():
            contestants[f"small, {place}"] = partial(_mapped, where, small, PAYLOAD, many)
        rates = interleave(contestants, effort.pick(3, 5, 5), "events/s")
        yield from (rates.cost(contestant) for contestant in contestants)
        if floor:
            yield from rates.both_ratios("small, one thread", "small, floor", "≥ 0.7")
            yield from rates.both_ratios("small, one after the other", "small, floor")
        yield from rates.both_ratios("small, two threads", "small, one thread")
        yield from rates.both_ratios("small, two workers", "small, one worker")

        spin = function(SPIN)
        event = spin_event(Path(name), spin)
        contestants = {f"1 ms, {place}": partial(_mapped, where, spin, event, 200) for place, where in places.items()}
        rates = interleave(contestants, effort.pick(5, 15, 41), "events/s")
        yield from (rates.cost(contestant) for contestant in contestants)
        yield from rates.both_ratios("1 ms, two threads", "1 ms, one thread")
        yield from rates.both_ratios("1 ms, two workers", "1 ms, one worker", "≥ 1.9")


def _mapped(executor: Executor, what: wasmrun.Function, event: bytes, events: int) -> float:
    began = time.perf_counter()
    for _ in executor.map(what, itertools.repeat(event, events)):
        pass
    return events / (time.perf_counter() - began)


def _in_turn(executor: Executor, what: wasmrun.Function, event: bytes, events: int) -> float:
    began = time.perf_counter()
    for _ in range(events):
        executor.invoke(what, event)
    return events / (time.perf_counter() - began)
