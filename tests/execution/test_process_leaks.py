"""Memory, descriptors, maps and threads stay flat over workers that come, go and die, and over the events that they have."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kit
import msgpack
import psutil
import pytest
from kit import assert_flat, eventually, growth

import wasmrun

WORKER_BYTES_LEFT = 2 * kit.MIB

ENDLESS = f"""(module
  {kit.CALL}
  {kit.NATIVE}
  ;; Says that it is there, and stays.
  (func (export "wasmrun_handle_raw") (param i32 i32) (result i64)
    (drop (call $call (i32.const 512) (i32.const 1))) (loop $again (br $again)) (unreachable)))"""


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    # What is logged of workers that die is kept by pytest, and no leak.
    caplog.set_level(logging.CRITICAL, "wasmrun")


@pytest.fixture
def own(cache_dir: Path) -> Iterator[wasmrun.ProcessExecutor]:
    """An executor of one worker that only this test uses."""
    with wasmrun.ProcessExecutor(cache_dir=cache_dir, processes=1, max_sandboxes=20) as executor:
        yield executor


def pid(executor: wasmrun.ProcessExecutor) -> int:
    """The process id of its one worker, once it has one."""
    eventually(executor.walls)
    (found,) = executor.walls()
    return found


def is_idle(executor: wasmrun.ProcessExecutor) -> bool:
    """Whether nothing runs or waits, and its worker is there."""
    workers = executor.stats().workers
    return (workers.in_flight, workers.waiting, workers.workers) == (0, 0, 1)


def die(executor: wasmrun.ProcessExecutor) -> None:
    """End its worker, and wait for the next one."""
    before = pid(executor)
    os.kill(before, signal.SIGKILL)
    eventually(lambda: executor.walls() and before not in executor.walls())


def test_executors_of_workers_leave_nothing(cache_dir: Path) -> None:
    """However many come and go, with or without an event."""
    function, alone = kit.pure(warm=2), threading.active_count()

    def come_and_go(number: int) -> None:
        with wasmrun.ProcessExecutor(cache_dir=cache_dir, processes=1, max_sandboxes=20) as executor:
            executor.load(function)
            if number % 2:
                assert executor.invoke(function, b"x") == b"x"
                assert executor.submit(function, b"y").result(20) == b"y"

    assert_flat(growth(come_and_go, 8, warm=4, settle=lambda: threading.active_count() == alone))
    assert not [child for child in psutil.Process().children() if "child.py" in " ".join(child.cmdline())]


def test_deaths_of_workers_leave_nothing(own: wasmrun.ProcessExecutor) -> None:
    """Between events; each is replaced, and the next event finds what it needs."""
    function = kit.pure(warm=2)

    def lose(_: int) -> None:
        assert own.invoke(function, b"x") == b"x"
        die(own)

    pid(own)
    threads = threading.active_count()
    assert_flat(growth(lose, 8, warm=4, settle=lambda: is_idle(own)))
    assert threading.active_count() <= threads
    assert own.stats().workers.died == 12


def test_deaths_with_an_event_leave_nothing(own: wasmrun.ProcessExecutor) -> None:
    """Of a worker that has an event of which nobody hears any more."""
    entered = threading.Semaphore(0)
    function = wasmrun.Function(ENDLESS, imports={"call": lambda _: entered.release()}, timeout=20)

    def lose(_: int) -> None:
        before = pid(own)
        future = own.submit(function, b"x" * 10_000)
        assert entered.acquire(timeout=20)
        os.kill(before, signal.SIGKILL)
        assert isinstance(future.exception(20), wasmrun.HostError)
        eventually(lambda: own.walls() and before not in own.walls())

    assert_flat(growth(lose, 8, warm=4, settle=lambda: is_idle(own)))


def test_workers_that_are_replaced_leave_nothing(cache_dir: Path) -> None:
    """After so many events each, and for one tenant after the other."""
    function = kit.pure(warm=1)
    with wasmrun.ProcessExecutor(cache_dir=cache_dir, processes=1, max_uses=3, max_sandboxes=20) as executor:

        def use(number: int) -> None:
            for _ in range(4):
                assert executor.invoke(function, b"x", tenant=f"tenant-{number}") == b"x"

        assert_flat(growth(use, 6, warm=3, settle=lambda: is_idle(executor)))
        assert executor.stats().workers.replaced >= 12


def test_events_of_workers_leave_nothing(own: wasmrun.ProcessExecutor) -> None:
    """Answers, failures, timeouts, host functions that answer and raise, cancelled futures, large payloads: neither here
    nor in the worker."""

    def call(event: Any) -> Any:
        if event:
            raise ValueError("x" * 1000)
        return "y" * 1000

    asks = kit.asking(call)
    cases: list[tuple[wasmrun.Function, Any]] = [
        *[(kit.pure(warm=2), b"x" * 64)] * 6,
        (kit.pure("context"), {"a": 1}),
        (kit.pure("trap_raw"), b"x" * 1000),
        (kit.pure("log_raw"), b"x"),
        (kit.pure("echo_raw", result_bytes=4), b"12345"),
        (kit.pure("loop_raw", timeout=0.001), b""),
        (wasmrun.Function(kit.INIT_TRAPS, entry="echo_raw", warm=0), b""),
        (wasmrun.Function(kit.COMMAND, warm=0), {}),
        (asks, msgpack.packb(False)),
        (asks, msgpack.packb(True)),
    ]

    def one(number: int) -> None:
        function, event = cases[number % len(cases)]
        try:
            own.run(function, event)
        except wasmrun.HostError as error:
            raise AssertionError(error) from None

    count = 120 * len(cases)
    worker = psutil.Process(pid(own))
    for number in range(count):
        one(number)
    before = worker.memory_info().rss, worker.num_fds(), worker.num_threads()
    assert_flat(growth(one, count, warm=1, settle=lambda: is_idle(own)))
    after = worker.memory_info().rss, worker.num_fds(), worker.num_threads()
    assert pid(own) == worker.pid
    assert after[0] - before[0] < WORKER_BYTES_LEFT
    assert after[1] <= before[1]
    assert after[2] <= before[2] + 1  # the engine's timer ticks on one


@pytest.mark.parametrize("is_cached", [True, False])
def test_functions_that_workers_forget_leave_nothing(cache_dir: Path, is_cached: bool) -> None:
    """Neither here nor in the worker, whether that has their code from the cache or was sent it."""

    def come_and_go(number: int) -> None:
        # A module of 100 KB each time, so that one that stays shows.
        text = f'(module (memory (export "memory") 2) (data (i32.const 0) "{chr(97 + number % 3) * 100_000}")'
        function = wasmrun.Function(
            text + '(func (export "f") (result i32) (i32.const 7)))', name=f"f-{number}", warm=0
        )
        assert executor.invoke(function) == 7
        assert executor.unload(function)

    place = cache_dir if is_cached else Path(__file__)
    with wasmrun.ProcessExecutor(cache_dir=place, processes=1, max_sandboxes=20) as executor:
        worker = psutil.Process(pid(executor))
        for number in range(15):
            come_and_go(number)
        before = worker.memory_info().rss
        assert_flat(growth(come_and_go, 40, warm=1, settle=lambda: is_idle(executor)))
        assert pid(executor) == worker.pid
        assert worker.memory_info().rss - before < WORKER_BYTES_LEFT
