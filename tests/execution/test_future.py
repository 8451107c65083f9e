"""Cancelling: before an event begins, while its guest runs wherever it may be, and after it has ended."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from typing import Any

import kit
import pytest
from kit import Gate, eventually

import wasmrun
from wasmrun.sandbox import Sandbox

Make = Any

STOP_SECONDS = 0.05
"""The promise: a guest that runs is stopped within this."""


def cancel_running(executor: wasmrun.Executor, function: wasmrun.Function, *, event: bytes = b"") -> float:
    """Submit, wait until it runs, cancel; the seconds until its sandbox was given back."""
    future = executor.submit(function, event)
    eventually(lambda: future.watch.current is not None)
    time.sleep(0.01)
    started = time.monotonic()
    assert future.cancel()
    eventually(lambda: executor.stats().pool.in_flight == 0)
    seconds = time.monotonic() - started
    assert future.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(20)
    return seconds


def test_cancel_of_a_pending_future_keeps_it_from_running(make: Make, gate: Gate) -> None:
    """As in the standard library."""
    executor = make(threads=1)
    running = executor.submit(kit.asking(gate), b"\xc0")
    gate.wait_for(1)
    asked: list[object] = []
    pending = executor.submit(kit.asking(asked.append), b"\xc0")
    assert pending.cancel()
    assert pending.cancel()
    assert pending.cancelled()
    gate.opened.set()
    running.result(20)
    executor.shutdown()
    assert asked == []
    with pytest.raises(concurrent.futures.CancelledError):
        pending.result(0)


def test_cancel_of_an_ended_future_comes_too_late(own: wasmrun.Executor) -> None:
    """Its answer stands, its error too."""
    answered, failed = own.submit(kit.pure(), b"x"), own.submit(kit.pure("trap_raw"), b"")
    assert answered.result(20) == b"x"
    assert isinstance(failed.exception(20), wasmrun.GuestTrap)
    assert not answered.cancel()
    assert not failed.cancel()
    assert answered.result(0) == b"x"


GUESTS = {
    "a loop": kit.pure("loop_raw", timeout=20),
    "a loop without metering": kit.pure("loop_raw", timeout=20, fuel=None),
    "a loop that logs": kit.pure("chat_raw", timeout=20),
    "a sleep": wasmrun.Function(kit.SLEEP, entry="sleep_raw", timeout=20, warm=0),
    "its own start-up": wasmrun.Function(kit.INIT_LOOPS, entry="echo_raw", warm=0),
    "the freeing of its answer": wasmrun.Function(kit.FREE_LOOPS, entry="echo_raw", warm=0, timeout=20, reuse=True),
    "host functions in turn": kit.asking(lambda _: None, "nag_raw", timeout=20),
}


@pytest.mark.parametrize("function", GUESTS.values(), ids=GUESTS)
def test_cancel_stops_a_guest_in(make: Make, function: wasmrun.Function) -> None:
    """Within 50 ms, which a busy machine may spoil once, but not five times."""
    executor = make(threads=1)
    seconds = [cancel_running(executor, function) for _ in range(5)]
    assert min(seconds) < STOP_SECONDS
    assert max(seconds) < 2
    assert executor.stats().pool.functions[function].ready == 0


def test_cancel_during_a_host_function_takes_effect_when_it_returns(make: Make, gate: Gate) -> None:
    """The future is cancelled at once; Python code cannot be stopped from outside."""
    executor = make(threads=1)
    asked: list[object] = []

    def call(event: object) -> None:
        asked.append(event)
        gate(event)

    future = executor.submit(kit.asking(call, "nag_raw", timeout=20), b"\xc0")
    gate.wait_for(1)
    assert future.cancel()
    assert future.cancelled()
    assert executor.stats().pool.in_flight == 1  # still
    gate.opened.set()
    eventually(lambda: executor.stats().pool.in_flight == 0)
    assert len(asked) == 1


def test_cancel_stops_what_a_host_function_runs(make: Make) -> None:
    """And the guest that called it: the one future is for both."""
    after: list[object] = []

    def nest(_: object) -> None:
        try:
            executor.invoke(kit.pure("loop_raw", timeout=20), b"")
        finally:
            after.append(None)

    executor = make(threads=1)
    function = kit.asking(nest, "nag_raw", timeout=20)
    future = executor.submit(function, b"\xc0")
    eventually(lambda: executor.stats().pool.in_flight == 2)
    started = time.monotonic()
    assert future.cancel()
    eventually(lambda: executor.stats().pool.in_flight == 0)
    assert time.monotonic() - started < 2
    assert len(after) == 1


def test_cancel_ends_a_wait_for_a_sandbox(make: Make, gate: Gate) -> None:
    """The thread is free for other events at once, and nothing runs later."""
    executor = make(threads=2, max_sandboxes=1, wait=60)
    running = executor.submit(kit.asking(gate), b"\xc0")
    gate.wait_for(1)
    asked: list[object] = []
    waiting = executor.submit(kit.asking(asked.append), b"\xc0")
    eventually(lambda: executor.stats().pool.waits == 1)
    assert waiting.cancel()
    eventually(lambda: executor._runner.core.pool._waiting == 0)
    gate.opened.set()
    running.result(20)
    executor.shutdown()
    assert asked == []
    assert executor.stats().pool.throttled == 0


def test_cancel_before_the_guest_runs_keeps_it_from_running(
    own: wasmrun.Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between being handed out and being run; the sandbox that saw nothing of it may serve."""
    asked: list[object] = []
    function = kit.asking(asked.append)
    own.load(function)
    acquire = own._runner.core.pool.acquire

    def acquire_late(*args: Any) -> Any:
        sandbox = acquire(*args)
        assert future.cancel()
        return sandbox

    monkeypatch.setattr(own._runner.core.pool, "acquire", acquire_late)
    started = threading.Event()
    monkeypatch.setattr(own, "_work", lambda job, work=own._work: started.wait(20) and work(job))
    future = own.submit(function, b"\xc0")
    started.set()
    eventually(lambda: own.stats().pool.in_flight == 0 and own.stats().pool.cold_starts == 1)
    assert future.cancelled()
    assert asked == []


def test_cancel_from_inside_stops_the_guest(make: Make) -> None:
    """A host function may cancel the future that it runs for."""
    futures: list[wasmrun.Future[Any]] = []
    ready = threading.Event()

    def cancel(_: object) -> None:
        assert ready.wait(20)
        assert futures[0].cancel()

    executor = make()
    futures.append(executor.submit(kit.asking(cancel, "nag_raw"), b"\xc0"))
    ready.set()
    with pytest.raises(concurrent.futures.CancelledError):
        futures[0].result(20)
    eventually(lambda: executor.stats().pool.in_flight == 0)


def test_cancel_tells_waiters_and_callbacks_once(own: wasmrun.Executor) -> None:
    """Although the guest still has to end, and its thread then has nothing to say."""
    called: list[object] = []
    future = own.submit(kit.pure("loop_raw", timeout=20), b"")
    future.add_done_callback(called.append)
    eventually(lambda: future.watch.current is not None)
    woken = threading.Thread(target=lambda: called.append(concurrent.futures.wait([future], timeout=20).done))
    woken.start()
    eventually(lambda: future._waiters)
    assert future.cancel()
    assert future.cancel()
    woken.join(20)
    eventually(lambda: own.stats().pool.in_flight == 0)
    own.shutdown()
    assert called.count(future) == 1
    assert called.count({future}) == 1
    assert len(called) == 2
    late: list[object] = []
    future.add_done_callback(late.append)
    assert late == [future]


def test_cancel_races_with_the_end(own: wasmrun.Executor) -> None:
    """Either the answer stands and cancel says so, or it is cancelled and says so; callbacks come once."""
    function = kit.pure(warm=2)
    own.prewarm(function)
    outcomes = {True: 0, False: 0}
    until = time.monotonic() + 1.2
    number = 0
    while time.monotonic() < until and min(outcomes.values()) < 200:
        number += 1
        called: list[object] = []
        future = own.submit(function, b"x")
        future.add_done_callback(called.append)
        for _ in range(number * 7 % 200):
            pass
        was_cancelled = future.cancel()
        outcomes[was_cancelled] += 1
        if was_cancelled:
            assert future.cancelled()
            with pytest.raises(concurrent.futures.CancelledError):
                future.result(0)
        else:
            assert future.result(0) == b"x"
        eventually(lambda: called == [future])  # noqa: B023  # it ends in this turn
    assert min(outcomes.values()) > 0, outcomes
    own.submit(function, b"last").result(20)
    eventually(lambda: kit.is_idle(own))
    own.shutdown()
    assert own.stats().pool.live == 0


def test_cancel_never_hits_the_next_event(own: wasmrun.Executor) -> None:
    """Of a sandbox that is reused: a late mark would end a guest of somebody else."""
    function = kit.pure(reuse=True)
    wrong: list[BaseException] = []
    until = time.monotonic() + 1.5

    def invoke() -> None:
        try:
            while time.monotonic() < until:
                assert own.invoke(function, b"x") == b"x"
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=invoke) for _ in range(2)]
    for thread in threads:
        thread.start()
    while time.monotonic() < until:
        future = own.submit(function, b"y")
        while not (future.running() or future.done()):
            pass
        future.cancel()
    for thread in threads:
        thread.join(20)
    assert not wrong


def test_cancelled_sandbox_is_not_reused(own: wasmrun.Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although its guest answered: whoever cancelled may come to mark it only later."""
    function = kit.pure("count_raw", reuse=True)
    own.load(function)
    clean_up = Sandbox.clean_up
    futures: list[wasmrun.Future[Any]] = []

    def clean_up_late(sandbox: Sandbox) -> bool:
        is_clean = clean_up(sandbox)
        eventually(lambda: futures)
        assert futures[0].cancel()
        sandbox.stop = None
        return is_clean

    with monkeypatch.context() as patch:
        patch.setattr(Sandbox, "clean_up", clean_up_late)
        futures.append(own.submit(function, b""))
        eventually(lambda: own.stats().pool.cold_starts == 1 and own.stats().pool.in_flight == 0)
    assert futures[0].cancelled()
    assert own.stats().pool.ready == 0
    assert int.from_bytes(own.invoke(function, b""), "little") == 1


def test_sandbox_whose_cleaning_up_ends_the_thread_is_not_reused(
    own: wasmrun.Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`wasmrun_free` may call a host function, which may raise anything."""
    function = kit.pure("count_raw", reuse=True)
    own.load(function)

    def leave(_: Sandbox) -> bool:
        raise SystemExit(3)

    with monkeypatch.context() as patch:
        patch.setattr(Sandbox, "clean_up", leave)
        with pytest.raises(SystemExit):
            own.invoke(function, b"")
    pool = own.stats().pool
    assert (pool.in_flight, pool.ready) == (0, 0)


def test_cancel_between_pending_and_running_tries_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It began to run between two looks: still cancelled."""
    make(threads=1)
    future: wasmrun.Future[Any] = wasmrun.Future()
    cancel = concurrent.futures.Future.cancel
    looks: list[object] = []

    def cancel_late(self: Any) -> bool:
        looks.append(self)
        assert future.set_running_or_notify_cancel()
        return cancel(self)

    monkeypatch.setattr(concurrent.futures.Future, "cancel", cancel_late)
    assert future.cancel()
    assert future.cancelled()
    assert looks == [future]
    assert future.watch.reason == "cancelled"


def test_future_that_is_settled_twice_is_a_mistake() -> None:
    """Only a cancelled one may be: anything else is not hidden."""
    future: wasmrun.Future[int] = wasmrun.Future()
    future.set_running_or_notify_cancel()
    future.settle(1, None)
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.settle(2, None)
    assert future.result(0) == 1
