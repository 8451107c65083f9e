"""Loads: closed and open loops, with calls whose durations are known."""

from __future__ import annotations

import threading
import time

import pytest

from wasmrun.bench import loads
from wasmrun.bench.loads import Part, closed_loop, open_loop, together
from wasmrun.bench.samples import Load


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

    load, latencies = closed_loop(call, concurrency=1, duration=0.02)
    assert len(latencies) == calls > 1
    assert (load.concurrency, load.offered, load.unsent) == (1, None, 0)
    assert load.rate == pytest.approx(calls / 0.02, rel=0.5)


def test_closed_loop_calls_at_least_once_on_each_thread() -> None:
    """However short the time, and at the same time: each call waits for the other one."""
    both = threading.Barrier(2, timeout=10)
    _, latencies = closed_loop(both.wait, concurrency=2, duration=1e-9)
    assert len(latencies) == 2


@patient
def test_open_loop_sends_events_when_they_are_due() -> None:
    """So many a second, no matter how fast they are answered."""
    moments: list[int] = []
    load, latencies = open_loop(lambda: moments.append(time.perf_counter_ns()), rate=200, concurrency=1, duration=0.1)
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

    _, latencies = open_loop(call, rate=1_000, concurrency=1, duration=0.1)
    assert len(latencies) == 100
    # All that were due while it took place waited for its end, the last of them hardly.
    assert latencies[0] >= 60_000_000
    assert all(latency >= 60_000_000 - at * 1_000_000 for at, latency in enumerate(latencies[:60]))


def test_open_loop_that_cannot_keep_up_ends_and_forgets_nothing() -> None:
    """Events that were never sent count with the time that they have waited."""
    began = time.perf_counter()
    load, latencies = open_loop(lambda: time.sleep(0.02), rate=10_000, concurrency=1, duration=0.05)
    assert time.perf_counter() - began < 5
    assert len(latencies) == 500
    assert load.unsent >= 480
    assert load.rate <= 50
    assert min(latencies[-load.unsent :]) >= 50_000_000 - 100_000


@patient
def test_open_loop_does_as_many_at_once_as_it_has_threads() -> None:
    """Each of four waits until four are there."""
    four = threading.Barrier(4, timeout=10)
    load, latencies = open_loop(four.wait, rate=2_000, concurrency=4, duration=0.004)
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


def test_parts_of_a_load_are_one() -> None:
    """Every latency, the sum of what was not sent, and the worst lateness."""
    parts = [Part(Load(2, 10.0, 20.0, 1, 5, 0.5), (1, 2)), Part(Load(2, 30.0, 20.0, 2, 3, 1.0), (3,))]
    assert together(parts) == (Load(2, 20.0, 20.0, 3, 5, 0.75), (1, 2, 3))
