"""Loads: many events, from several threads, until a time is over.

A *closed* loop sends each event when the answer to the last one is there: it finds how much can be done. It
cannot find how long events wait, because it sends none while it waits itself. An *open* one sends them when
their time has come, whoever is busy, as the world does; the latency of each is counted from the moment at which it was
to be sent, so that one slow event is seen in all those that it delayed.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from statistics import fmean
from time import perf_counter_ns
from typing import NamedTuple

from wasmrun.bench.percentiles import percentile
from wasmrun.bench.samples import Load
from wasmrun.machine.threads import guest_stack

_LEAD_NS = 2_000_000
"""From the first thread's start to the first event."""

_AWAKE_NS = 200_000
"""For how long a thread waits for the next event awake: a sleep ends up to 100 µs late."""

_PATIENCE = 2
"""After this many times its duration an open loop is over, whatever is left."""

_JOIN_SECONDS = 0.1

Call = Callable[[], object]


class Part(NamedTuple):
    """A load, and the latencies of its events in the order of the answers, in nanoseconds."""

    load: Load
    latencies: tuple[int, ...]


def together(parts: Sequence[Part]) -> Part:
    """Parts of one load as one; at least one. Rates and shares are means: the parts took the same time."""
    loads = [part.load for part in parts]
    shares = [load.warm_share for load in loads if load.warm_share is not None]
    whole = loads[0]._replace(
        rate=fmean(load.rate for load in loads),
        unsent=sum(load.unsent for load in loads),
        lateness=max(load.lateness for load in loads),
        warm_share=fmean(shares) if shares else None,
    )
    return Part(whole, tuple(latency for part in parts for latency in part.latencies))


class _Threads:
    """Threads that do the same until each has ended; what the first failure was."""

    def __init__(self) -> None:
        self.is_over = False
        self._failure: BaseException | None = None

    def run(self, work: Callable[[], None], count: int) -> None:
        """Run *work* on *count* threads, on this one where it is one. Raises what one of them raised."""
        if count == 1:
            work()
            return
        with guest_stack():
            threads = [threading.Thread(target=self._guarded, args=(work,), name="wasmrun-bench") for _ in range(count)]
            try:
                for thread in threads:
                    thread.start()
                for thread in threads:
                    # In turns, because a Ctrl-C is not seen while this waits for good.
                    while thread.is_alive():
                        thread.join(_JOIN_SECONDS)
            finally:
                self.is_over = True
                for thread in threads:
                    if thread.ident is not None:
                        thread.join()
        if self._failure is not None:
            raise self._failure

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self.is_over = True
            self._failure = self._failure or error


def closed_loop(call: Call, *, concurrency: int, duration: float) -> Part:
    """Make *call* on each of *concurrency* threads, as fast as it answers, for *duration* seconds.

    One call of each thread at least.
    """
    threads = _Threads()
    done: list[tuple[int, int]] = []
    begin = perf_counter_ns()
    until = begin + int(duration * 1e9)

    def work() -> None:
        found: list[tuple[int, int]] = []
        now = perf_counter_ns()
        while not threads.is_over:
            call()
            after = perf_counter_ns()
            found.append((after, after - now))
            if after >= until:
                break
            now = after
        done.extend(found)

    threads.run(work, concurrency)
    done.sort()
    elapsed = done[-1][0] - begin
    return Part(Load(concurrency, len(done) * 1e9 / elapsed), tuple(latency for _, latency in done))


def open_loop(call: Call, *, rate: float, concurrency: int, duration: float) -> Part:
    """Make *call* *rate* times a second for *duration* seconds, on *concurrency* threads.

    Latencies are those since the moment at which each call was due.
    """
    threads = _Threads()
    count = max(1, int(rate * duration))
    numbers = itertools.count()
    done: list[tuple[int, int]] = []
    late: list[int] = []
    begin = perf_counter_ns() + _LEAD_NS
    give_up = begin + int(duration * 1e9 * _PATIENCE)

    def work() -> None:
        found: list[tuple[int, int]] = []
        lateness: list[int] = []
        while not threads.is_over:
            number = next(numbers)
            if number >= count:
                break
            due = begin + int(number * 1e9 / rate)
            now = perf_counter_ns()
            if now < due:
                lateness.append(_wait(due) - due)
            elif now >= give_up:
                threads.is_over = True
                break
            call()
            after = perf_counter_ns()
            found.append((after, after - due))
        done.extend(found)
        late.extend(lateness)

    threads.run(work, concurrency)
    done.sort()
    elapsed = max((done[-1][0] if done else give_up) - begin, 1)
    unsent = count - len(done)
    # Nothing that waited is forgotten: it took at least as long as it has waited so far.
    waits = [give_up - begin - int(number * 1e9 / rate) for number in range(len(done), count)]
    load = Load(concurrency, len(done) * 1e9 / elapsed, rate, unsent, int(percentile(sorted(late), 99)) if late else 0)
    return Part(load, (*(latency for _, latency in done), *waits))


def _wait(due: int) -> int:
    """Wait until *due*; when that ended."""
    left = due - perf_counter_ns()
    if left > _AWAKE_NS:
        time.sleep((left - _AWAKE_NS) / 1e9)
    while (now := perf_counter_ns()) < due:
        time.sleep(0)  # lets other threads have the interpreter
    return now
