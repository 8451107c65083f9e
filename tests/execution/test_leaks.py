"""Memory, descriptors and maps stay flat: over many events, over events that end badly, over executors that come and go."""

from __future__ import annotations

import contextlib
import gc
import threading
from typing import Any

import kit
import msgpack
import pytest
from kit import assert_flat, eventually, growth

import wasmrun

Make = Any


@pytest.mark.parametrize("settings", [{}, {"warm": 8}, {"reuse": True}, {"fuel": None}], ids=str)
def test_events_leave_nothing(own: wasmrun.Executor, settings: dict[str, Any]) -> None:
    """20,000 of them, cold, warm, reused and not metered."""
    function = kit.pure(**settings)
    assert_flat(growth(lambda _: own.invoke(function, b"x" * 64), 20_000, settle=lambda: kit.is_idle(own)))


def test_reports_and_logs_leave_nothing(make: Make) -> None:
    """Nor do the contexts of the envelope."""
    seen = [0]

    def count(_: wasmrun.Report) -> None:
        seen[0] += 1

    executor = make(on_report=count)
    functions = kit.pure("log_raw"), kit.pure("context")
    assert_flat(growth(lambda n: executor.run(functions[n % 2], b"x"), 5_000, settle=lambda: kit.is_idle(executor)))
    assert seen[0] == 5_500


def test_failures_leave_nothing(own: wasmrun.Executor) -> None:
    """Traps, timeouts, answers that cannot be read, events that cannot be given, start-ups that fail."""
    cases: list[tuple[wasmrun.Function, Any]] = [
        (kit.pure("trap_raw"), b"x" * 1000),
        (kit.pure("log_raw"), b"x" * 200_000),
        (kit.pure("echo_raw", result_bytes=4), b"12345"),
        (kit.pure(), 1.5),
        (kit.pure("loop_raw", fuel=50_000), b""),
        (wasmrun.Function(kit.INIT_TRAPS, entry="echo_raw", warm=0), b""),
    ]

    def fail(number: int) -> None:
        with pytest.raises(wasmrun.WasmrunError):
            own.invoke(*cases[number % len(cases)])

    assert_flat(growth(fail, 3_000, settle=lambda: kit.is_idle(own)))


def test_timeouts_leave_nothing(own: wasmrun.Executor) -> None:
    """A guest that was stopped is gone as any other."""
    function = kit.pure("loop_raw", timeout=0.001)
    assert_flat(growth(lambda _: own.run(function, b""), 60, warm=60, settle=lambda: kit.is_idle(own)))


def test_cancellations_leave_nothing(make: Make) -> None:
    """Of futures that run and of those that do not yet."""
    executor = make(threads=2, max_sandboxes=3)
    function = kit.pure("loop_raw", timeout=20)

    def cancel(_: int) -> None:
        futures = [executor.submit(function, b"x" * 1000) for _ in range(4)]
        eventually(lambda: futures[0].running())
        for future in reversed(futures):
            assert future.cancel()

    assert_flat(growth(cancel, 80, warm=40, settle=lambda: kit.is_idle(executor)))


def test_host_functions_leave_nothing(own: wasmrun.Executor) -> None:
    """Whether they answer or raise."""

    def call(event: Any) -> Any:
        if event:
            raise ValueError("x" * 1000)
        return "y" * 1000

    function = kit.asking(call)
    events = [msgpack.packb(False), msgpack.packb(True)]
    assert_flat(growth(lambda n: own.invoke(function, events[n % 2]), 3_000, settle=lambda: kit.is_idle(own)))


def test_commands_leave_nothing(own: wasmrun.Executor) -> None:
    """With WASI and captured output."""
    function = wasmrun.Function(kit.COMMAND, warm=0)
    assert_flat(growth(lambda _: own.invoke(function, {}), 2_000, settle=lambda: kit.is_idle(own)))


def test_futures_leave_nothing(own: wasmrun.Executor) -> None:
    """Their answers go with them."""
    function = kit.pure()

    def submit(_: int) -> None:
        with contextlib.suppress(wasmrun.WasmrunError):
            own.submit(function, b"x" * 10_000).result(20)

    assert_flat(growth(submit, 2_000, settle=lambda: kit.is_idle(own)))


def test_functions_that_are_unloaded_leave_nothing(own: wasmrun.Executor) -> None:
    """Code, links and sandboxes."""

    def come_and_go(number: int) -> None:
        function = kit.pure(name=f"function-{number % 7}", warm=number % 3)
        own.invoke(function, b"x")
        eventually(lambda: own.unload(function))

    assert_flat(growth(come_and_go, 400, settle=lambda: kit.is_idle(own)))
    assert own.stats().pool.functions == {}


def test_functions_that_are_refused_leave_nothing(own: wasmrun.Executor) -> None:
    """However often they are asked for."""
    function = wasmrun.Function(kit.HOST, entry="ask_raw")

    def refuse(_: int) -> None:
        with pytest.raises(wasmrun.InvalidFunction):
            own.invoke(function, b"")

    assert_flat(growth(refuse, 300))


@pytest.mark.parametrize("wait", [True, False])
def test_executors_that_come_and_go_leave_nothing(cache_dir: Any, wait: bool) -> None:
    """Engines, threads and timers included."""
    function, alone = kit.pure(warm=2), threading.active_count()

    def come_and_go(_: int) -> None:
        executor = wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=20, threads=2)
        assert executor.invoke(function, b"x") == b"x"
        assert executor.submit(function, b"y").result(20) == b"y"
        core = executor._runner.core
        executor.shutdown(wait=wait)
        eventually(lambda: core._is_free)

    assert_flat(growth(come_and_go, 50, settle=lambda: threading.active_count() == alone))


def test_executors_that_are_forgotten_leave_nothing(cache_dir: Any) -> None:
    """They are closed when they are collected."""
    function, alone = kit.pure(warm=2), threading.active_count()

    def forget(_: int) -> None:
        executor = wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=20)
        executor.invoke(function, b"x")
        core = executor._runner.core
        with pytest.warns(ResourceWarning, match="was not shut down"):
            del executor
            gc.collect()
        eventually(lambda: core._is_free)

    assert_flat(growth(forget, 20, settle=lambda: threading.active_count() == alone))
