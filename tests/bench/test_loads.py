"""Loads: closed and open loops, with calls whose durations are known."""

from __future__ import annotations

import _thread
import contextlib
import threading
import time
from typing import TYPE_CHECKING

import pytest

import wasmrun
from wasmrun.bench import loads
from wasmrun.bench.loads import Part, closed_loop, open_loop, together
from wasmrun.bench.samples import Load
from wasmrun.bench.steps import StepExecutor
from wasmrun.bench.watched import WatchedProcesses
from wasmrun.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDLESS = wasmrun.Function('(module (func (export "f") (loop (br 0))))', name="endless", timeout=600, warm=0)


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No open loop is given up, however busy the machine that tests it."""
    monkeypatch.setattr(loads, "_PATIENCE", 1_000)


patient = pytest.mark.usefixtures("_patient")


def test_closed_loop_sends_an_event_when_the_last_is_answered() -> None:
    """One thread, one call at a time, until the time is over."""
    running = threading.Semaphore(1)
    calls = 0

    def call() -> None:
        nonlocal calls
        assert running.acquire(blocking=False)
        calls += 1
        running.release()

    load, latencies, _ = closed_loop(call, concurrency=1, duration=0.02)
    assert len(latencies) == calls > 1
    assert (load.concurrency, load.offered, load.unsent) == (1, None, 0)
    assert load.rate == pytest.approx(calls / 0.02, rel=0.5)


def test_closed_loop_calls_at_least_once_on_each_thread() -> None:
    """However short the time, and at the same time: each call waits for the other one."""
    both = threading.Barrier(2, timeout=10)
    _, latencies, _ = closed_loop(both.wait, concurrency=2, duration=1e-9)
    assert len(latencies) == 2


@patient
def test_open_loop_sends_events_when_they_are_due() -> None:
    """So many a second, no matter how fast they are answered."""
    moments: list[int] = []
    load, latencies, _ = open_loop(
        lambda: moments.append(time.perf_counter_ns()), rate=200, concurrency=1, duration=0.1
    )
    assert len(latencies) == len(moments) == 20
    assert (load.offered, load.unsent) == (200, 0)
    # None was early: so the last one is 19 gaps after the moment at which the first was due, which came before.
    assert moments[-1] - (moments[0] - latencies[0]) >= 19 * 5_000_000 - latencies[0]


@patient
def test_open_loop_counts_the_wait_of_events_behind_a_slow_one() -> None:
    """What coordinated omission leaves out: one call of 60 ms delays all that were due meanwhile."""
    first = True

    def call() -> None:
        nonlocal first
        if first:
            first = False
            time.sleep(0.06)

    _, latencies, _ = open_loop(call, rate=1_000, concurrency=1, duration=0.1)
    assert len(latencies) == 100
    # All that were due while it took place waited for its end, the last of them hardly.
    assert latencies[0] >= 60_000_000
    assert all(latency >= 60_000_000 - at * 1_000_000 for at, latency in enumerate(latencies[:60]))


def test_open_loop_that_cannot_keep_up_ends_and_forgets_nothing() -> None:
    """Events that were never sent count with the time that they have waited."""
    began = time.perf_counter()
    load, latencies, _ = open_loop(lambda: time.sleep(0.02), rate=10_000, concurrency=1, duration=0.05)
    assert time.perf_counter() - began < 5
    assert len(latencies) == 500
    assert load.unsent >= 480
    assert load.rate <= 50
    assert min(latencies[-load.unsent :]) >= 50_000_000 - 100_000


@patient
def test_open_loop_does_as_many_at_once_as_it_has_threads() -> None:
    """Each of four waits until four are there."""
    four = threading.Barrier(4, timeout=10)
    load, latencies, _ = open_loop(four.wait, rate=2_000, concurrency=4, duration=0.004)
    assert len(latencies) == 8
    assert load.concurrency == 4


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("loop", [closed_loop, open_loop])
def test_loop_ends_with_the_first_failure(loop: object, concurrency: int) -> None:
    """The other threads end, too, and what was raised is raised."""
    done = 0

    def call() -> None:
        nonlocal done
        done += 1
        if done >= 5:
            raise ValueError("no")

    options = {"rate": 1_000.0} if loop is open_loop else {}
    with pytest.raises(ValueError, match="no"):
        loop(call, concurrency=concurrency, duration=60.0, **options)  # type: ignore[operator]
    assert all(thread.name != "wasmrun-bench" for thread in threading.enumerate())


@pytest.mark.parametrize("kind", [StepExecutor, WatchedProcesses])
def test_loop_that_is_interrupted_ends_the_guests_that_run(
    kind: type[StepExecutor | WatchedProcesses], cache_dir: Path
) -> None:
    """Ctrl-C waits for none of them, though each has ten minutes."""
    watches: list[Watch] = []
    executor = kind(cache_dir=str(cache_dir))

    @contextlib.contextmanager
    def watched() -> Iterator[Watch]:
        with executor.watched() as watch:
            watches.append(watch)
            yield watch

    def call() -> object:
        return executor.invoke(ENDLESS, [])

    def interrupt() -> None:
        while sum(watch.current is not None for watch in watches) < 2:
            time.sleep(0.001)
        _thread.interrupt_main()

    began = time.monotonic()
    with executor:
        other = threading.Thread(target=interrupt)
        other.start()
        with pytest.raises(KeyboardInterrupt):
            closed_loop(call, concurrency=2, duration=60.0, watched=watched)
        other.join()
    assert time.monotonic() - began < 60
    assert all(thread.name != "wasmrun-bench" for thread in threading.enumerate())


def test_loop_that_fails_ends_the_guests_that_run(cache_dir: Path) -> None:
    """One thread's failure is all that will come of the measurement."""
    both = threading.Barrier(2, timeout=30)

    with StepExecutor(cache_dir=str(cache_dir)) as executor:

        def call() -> object:
            if both.wait() == 0:
                raise ValueError("no")
            return executor.invoke(ENDLESS, [])

        with pytest.raises(ValueError, match="no"):
            closed_loop(call, concurrency=2, duration=60.0, watched=executor.watched)


@patient
def test_open_loop_begins_when_all_threads_are_there() -> None:
    """Nothing is due before: starting a thread is no latency of an event."""
    entered: list[int] = []
    there: list[int] = []

    @contextlib.contextmanager
    def watched() -> Iterator[Watch]:
        entered.append(time.perf_counter_ns())
        # The last one is there long after the others could have begun.
        while len(entered) == 4 and time.perf_counter_ns() < entered[0] + 10 * loads._LEAD_NS:
            time.sleep(0)
        there.append(0)
        yield Watch()

    seen: list[int] = []
    open_loop(lambda: seen.append(len(there)), rate=500, concurrency=4, duration=0.02, watched=watched)
    assert set(seen) == {4}


def test_open_loop_that_keeps_up_does_what_is_offered() -> None:
    """One event a second is one a second, however soon it is answered; nor is it more where few are due."""
    for rate, duration in ((1.0, 0.01), (100.0, 0.05)):
        part = open_loop(lambda: None, rate=rate, concurrency=1, duration=duration)
        assert part.load.rate <= rate
        assert part.seconds >= len(part.latencies) / rate


def test_parts_of_a_load_are_one() -> None:
    """Every latency, the sum of what was not sent, and the worst lateness."""
    parts = [
        Part(Load(2, 30.0, 20.0, 1, 5, 0.5), (1, 2, 3, 9), 0.1),
        Part(Load(2, 1.0, 20.0, 2, 3, 1.0), (4, 9, 9), 0.9),
    ]
    whole = together(parts)
    assert whole == (Load(2, 4.0, 20.0, 3, 5, 0.625), (1, 2, 3, 9, 4, 9, 9), 1.0)
    # Four events in one second: not the mean of thirty a second and one a second.
    assert together(parts[:1]).load.rate == pytest.approx(30.0)
