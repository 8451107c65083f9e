"""Threads for host functions: one a call at once, used again, and never in the way of the program's end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from wasmrun.processes.hosting import HostThreads
from wasmrun.watch import Watch

WAIT = 20


@pytest.fixture
def entered() -> list[Watch]:
    """The watches that threads entered with."""
    return []


@pytest.fixture
def hosts(entered: list[Watch]) -> Iterator[HostThreads]:
    """Threads that end with the test."""
    before = threading.active_count()
    threads = HostThreads(entered.append)
    yield threads
    threads.close()
    until = time.monotonic() + WAIT
    while threading.active_count() > before:
        assert time.monotonic() < until
        time.sleep(0.001)


def test_call_has_its_reply_when_it_is_done(hosts: HostThreads) -> None:
    """With its arguments."""
    call = hosts.start(lambda *args: b"-".join(args), b"a", b"b")
    assert call.done.wait(WAIT)
    assert (call.reply, call.error) == (b"a-b", None)


def test_call_keeps_what_was_raised(hosts: HostThreads) -> None:
    """Whatever it is: no thread dies of it."""
    for error in (ValueError("x"), SystemExit(3), KeyboardInterrupt()):

        def fail(error: BaseException = error) -> bytes:
            raise error

        call = hosts.start(fail)
        assert call.done.wait(WAIT)
        assert call.error is error
    assert hosts._count <= 3


def test_calls_in_turn_share_a_thread(hosts: HostThreads) -> None:
    """One that has done its call waits for the next."""
    seen = set()
    for _ in range(20):
        call = hosts.start(lambda: seen.add(threading.current_thread()) or b"")
        assert call.done.wait(WAIT)
        until = time.monotonic() + WAIT
        while not hosts._idle:
            assert time.monotonic() < until
    assert len(seen) == 1


def test_calls_at_once_have_a_thread_each(hosts: HostThreads) -> None:
    """None waits for another one, which may wait for it."""
    barrier = threading.Barrier(8)
    calls = [hosts.start(lambda: str(barrier.wait(WAIT)).encode()) for _ in range(8)]
    assert all(call.done.wait(WAIT) for call in calls)
    assert sorted(call.reply for call in calls) == [str(at).encode() for at in range(8)]


def test_each_call_has_a_watch_of_its_own(hosts: HostThreads, entered: list[Watch]) -> None:
    """By which the functions that it runs can be ended."""
    calls = [hosts.start(lambda: b"") for _ in range(5)]
    assert all(call.done.wait(WAIT) for call in calls)
    assert {id(call.watch) for call in calls} == {id(watch) for watch in entered}


def test_threads_are_daemons(hosts: HostThreads) -> None:
    """A host function that hangs does not keep a program from ending."""
    is_daemon: list[bool] = []
    assert hosts.start(lambda: is_daemon.append(threading.current_thread().daemon) or b"").done.wait(WAIT)
    assert is_daemon == [True]


def test_thread_that_waits_holds_nothing_of_its_last_call(hosts: HostThreads) -> None:
    """Neither the event, nor what came of it."""
    import gc
    import weakref

    class Event:
        pass

    event = Event()
    call = hosts.start(lambda _: b"", event)
    assert call.done.wait(WAIT)
    kept = weakref.ref(event)
    del event, call
    until = time.monotonic() + WAIT
    while kept() is not None:
        assert time.monotonic() < until
        gc.collect()
