"""Loads: many events, from several threads, until a time is over.

A *closed* loop sends each event when the answer to the last one is there: it finds how much can be done. It
cannot find how long events wait, because it sends none while it waits itself. An *open* one sends them when
their time has come, whoever is busy, as the world does; the latency of each is counted from the moment at which it was
to be sent, so that one slow event is seen in all those that it delayed.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from time import perf_counter_ns
from typing import NamedTuple

from wasmrun.bench.percentiles import percentile
from wasmrun.bench.samples import Load
from wasmrun.machine.threads import guest_stack
from wasmrun.watch import Watch

_LEAD_NS = 2_000_000
"""From the moment at which all threads are there to the first event of an open loop."""

_AWAKE_NS = 200_000
"""For how long a thread waits for the next event awake: a sleep ends up to 100 µs late."""

_PATIENCE = 2
"""After this many times its duration an open loop is over, whatever is left."""

_JOIN_SECONDS = 0.1

Call = Callable[[], object]

Watched = Callable[[], AbstractContextManager[Watch]]
"""In what a thread makes its calls, so that others can end the one that it makes."""


class Part(NamedTuple):
    """A load, the latencies of its events in the order of the answers, in nanoseconds, and for how many seconds it went on."""

    load: Load
    latencies: tuple[int, ...]
    seconds: float


def together(parts: Sequence[Part]) -> Part:
    """Parts of one load as one; at least one. Rate and share are those of all events: parts may differ in both."""
    loads = [part.load for part in parts]
    done = [len(part.latencies) - part.load.unsent for part in parts]
    seconds = sum(part.seconds for part in parts)
    shares = [(load.warm_share, count) for load, count in zip(loads, done, strict=True) if load.warm_share is not None]
    whole = loads[0]._replace(
        rate=sum(done) / seconds,
        unsent=sum(load.unsent for load in loads),
        lateness=max(load.lateness for load in loads),
        warm_share=sum(share * count for share, count in shares) / max(sum(done), 1) if shares else None,
    )
    return Part(whole, tuple(latency for part in parts for latency in part.latencies), seconds)


class _Threads:
    """Threads that do the same until each has ended, from the moment at which all are there; what the first failure was."""

    def __init__(self, watched: Watched) -> None:
        self.is_over = False
        self.began = 0
        self._watched = watched
        self._watches: list[Watch] = []
        self._failure: BaseException | None = None

    def run(self, work: Callable[[], None], count: int) -> None:
        """Run *work* on *count* threads, on this one where it is one. Raises what one of them raised.

        Whatever else is being called then is ended, and where this raises `KeyboardInterrupt`, too.
        """
        if count == 1:
            self._begin()
            work()
            return
        all_there = threading.Barrier(count, self._begin)
        with guest_stack():
            threads = [
                threading.Thread(target=self._guarded, args=(work, all_there), name="wasmrun-bench")
                for _ in range(count)
            ]
            try:
                for thread in threads:
                    thread.start()
                for thread in threads:
                    # In turns, because a Ctrl-C is not seen while this waits for good.
                    while thread.is_alive():
                        thread.join(_JOIN_SECONDS)
            finally:
                self._end()
                all_there.abort()
                for thread in threads:
                    if thread.ident is not None:
                        thread.join()
        if self._failure is not None:
            raise self._failure

    def _begin(self) -> None:
        self.began = perf_counter_ns()

    def _end(self) -> None:
        # In this order, and a thread's in the opposite one: whose watch is not seen here, sees that all is over.
        self.is_over = True
        for watch in list(self._watches):
            watch.stop("cancelled")

    def _guarded(self, work: Callable[[], None], all_there: threading.Barrier) -> None:
        try:
            with self._watched() as watch:
                self._watches.append(watch)
                all_there.wait()
                work()
        except BaseException as error:
            self._failure = self._failure or error
            self._end()


def closed_loop(
    call: Call,
    *,
    concurrency: int,
    duration: float,
    watched: Watched = lambda: contextlib.nullcontext(Watch()),
) -> Part:
    """Make *call* on each of *concurrency* threads, as fast as it answers, for *duration* seconds.

    One call of each thread at least.
    """
    threads = _Threads(watched)
    done: list[tuple[int, int]] = []

    def work() -> None:
        found: list[tuple[int, int]] = []
        until = threads.began + int(duration * 1e9)
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
    seconds = (done[-1][0] - threads.began) / 1e9
    return Part(Load(concurrency, len(done) / seconds), tuple(latency for _, latency in done), seconds)


def open_loop(
    call: Call,
    *,
    rate: float,
    concurrency: int,
    duration: float,
    watched: Watched = lambda: contextlib.nullcontext(Watch()),
) -> Part:
    """Make *call* *rate* times a second for *duration* seconds, on *concurrency* threads; once at least.

    Latencies are those since the moment at which each call was due.
    """
    threads = _Threads(watched)
    count = max(1, int(rate * duration))
    patience = int(duration * 1e9 * _PATIENCE)
    numbers = itertools.count()
    done: list[tuple[int, int]] = []
    late: list[int] = []

    def work() -> None:
        found: list[tuple[int, int]] = []
        lateness: list[int] = []
        begin = threads.began + _LEAD_NS
        give_up = begin + patience
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
    answered = (done[-1][0] - threads.began - _LEAD_NS) / 1e9 if done else 0.0
    # A part ends when the next event would be due, though the last one was answered long before.
    seconds = max(answered, count / rate)
    unsent = count - len(done)
    # Nothing that waited is forgotten: it took at least as long as it has waited so far.
    waits = [patience - int(number * 1e9 / rate) for number in range(len(done), count)]
    load = Load(concurrency, len(done) / seconds, rate, unsent, int(percentile(sorted(late), 99)) if late else 0)
    return Part(load, (*(latency for _, latency in done), *waits), seconds)


def _wait(due: int) -> int:
    """Wait until *due*; when that ended."""
    left = due - perf_counter_ns()
    if left > _AWAKE_NS:
        time.sleep((left - _AWAKE_NS) / 1e9)
    while (now := perf_counter_ns()) < due:
        time.sleep(0)  # lets other threads have the interpreter
    return now
