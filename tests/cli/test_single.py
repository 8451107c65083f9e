"""What runs one event for the command line does so as an executor does."""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from pathlib import Path

import programs
import pytest

import wasmrun
from wasmrun.single import Single


@pytest.fixture
def single(cache_dir: Path) -> Single:
    return Single(str(cache_dir))


def test_single_answers_and_reports_as_an_executor(single: Single, cache_dir: Path) -> None:
    """A `Result` with the same record, but for what is new with each event."""
    function = wasmrun.Function(programs.RAW, warm=0)
    program = single.load(function)
    ours = single.run(function, b"event")
    single.close()
    with wasmrun.Executor(cache_dir=cache_dir) as executor:
        loaded = executor.load(function)
        theirs = executor.run(function, b"event")
    assert (*program.detected, program.abi.entry, program.abi.is_raw) == loaded
    assert (ours.value, ours.error, ours.logs) == (theirs.value, theirs.error, theirs.logs) == (b"event", None, ())
    changing = {"request_id": "", "duration": 0.0, "init_duration": 0.0, "pool_wait": 0.0}
    assert ours.report._replace(**changing) == theirs.report._replace(**changing)


def test_single_gives_failures_of_the_function_as_results(single: Single) -> None:
    """And raises what kept it from running."""
    function = wasmrun.Function(programs.SPIN, timeout="50ms", warm=0)
    assert isinstance(single.run(function, {}).error, wasmrun.TimedOut)
    with pytest.raises(wasmrun.InvalidFunction):
        single.load(wasmrun.Function("(module)", warm=0))
    with pytest.raises(TypeError, match=r"a wasmrun\.Function is needed"):
        single.load("function.wasm")  # type: ignore[arg-type]
    single.close()


@pytest.mark.parametrize("has_other", [False, True])
def test_single_ends_the_guest_on_ctrl_c(single: Single, executor: wasmrun.Executor, has_other: bool) -> None:
    """With KeyboardInterrupt, and the handler that was there in its place; what it runs next is not ended by it."""
    function = wasmrun.Function(programs.SPIN, timeout="60s", warm=0)
    program = single.load(function)
    if has_other:  # whose handler it is then, too
        executor.invoke(wasmrun.Function(programs.RAW, warm=0, concurrency=1), b"")
    handler = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        while not program.engine.live:
            os.sched_yield()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        single.run(function, {})
    thread.join()
    assert signal.getsignal(signal.SIGINT) is handler
    assert single.run(wasmrun.Function(programs.RAW, warm=0), b"event").value == b"event"
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(20)
    single.close()


def test_single_on_a_thread_that_is_not_the_main_one_leaves_signals_alone(single: Single) -> None:
    """Only the main thread may set handlers."""
    found: list[object] = []

    def work() -> None:
        found.append(single.run(wasmrun.Function(programs.RAW, warm=0), b"event").value)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    single.close()
    assert found == [b"event"]


def test_single_without_a_thread_to_close_on_is_closed_at_exit(single: Single, monkeypatch: pytest.MonkeyPatch) -> None:
    """No error of the command that has done what it was asked for."""

    def refuse(*_args: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    single.close()
    monkeypatch.undo()
    single.close()
