"""Reports of failures: every kind of error has its record, the same one wherever it is shown."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WASI = """
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasmrun" "log" (func $log (param i32 i32 i32)))"""
LOG = "(call $log (i32.const 2) (i32.const 16) (i32.const 1)) "

FAILURES: dict[type[wasmrun.FunctionError], tuple[str, dict[str, Any]]] = {
    wasmrun.GuestError: ("(call $pack (i32.const 19) (i32.const 3))", {}),
    wasmrun.GuestExit: ("(call $exit (i32.const 9)) (i64.const 0)", {}),
    wasmrun.GuestTrap: ("unreachable", {}),
    wasmrun.TimedOut: ("(loop $l (br $l)) (i64.const 0)", {"timeout": "50ms"}),
    wasmrun.OutOfMemory: ("(call $pack (i32.const 22) (i32.const 20))", {}),
    wasmrun.OutOfFuel: ("(loop $l (br $l)) (i64.const 0)", {"fuel": 1_000_000}),
    wasmrun.InvalidAnswer: ("(i64.const -1)", {}),
    wasmrun.ResultTooLarge: ("(call $pack (i32.const 16) (i32.const 200))", {"result_bytes": 100}),
}
DATA = b"\x92\0\xc3" + b"\x92\1\x80" + b"\x92\1\x81\xa4type\xabOutOfMemory"


def failing(error: type[wasmrun.FunctionError], wat: Callable[..., str], **settings: Any) -> wasmrun.Function:
    """A function that fails so at every event, after it has logged one byte."""
    handler, limits = FAILURES[error]
    return wasmrun.Function(
        wat(LOG + handler, data=DATA, imports=WASI), name="failing", **{"warm": 0, **limits, **settings}
    )


def test_failures_are_all_of_their_classes() -> None:
    """The table above has every class of a function's failure."""
    assert set(FAILURES) == set(wasmrun.FunctionError.__subclasses__())


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: error.__name__)
def test_a_failure_has_a_full_report(
    error: type[wasmrun.FunctionError], cache_dir: Path, wat: Callable[..., str]
) -> None:
    """Status, times, fuel, memory and sizes are filled in, whichever way the event was run, and told to `on_report`."""
    told: list[wasmrun.Report] = []
    function = failing(error, wat)
    with wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=4, on_report=told.append) as executor:
        result = executor.run(function, "event", request_id="r-1")
        with pytest.raises(error) as invoked:
            executor.invoke(function, "event", request_id="r-2")
        submitted = executor.submit(function, "event", request_id="r-3").exception()
        assert executor.stats().failures == {error.__name__: 3}
    assert isinstance(submitted, error)
    errors = [result.error, invoked.value, submitted]
    assert told == [failed.report for failed in errors if failed is not None]
    assert [report.request_id for report in told] == ["r-1", "r-2", "r-3"]
    for failed, report in zip(errors, told, strict=True):
        assert failed is not None
        assert type(failed) is error
        assert failed.logs == (wasmrun.Log("info", "\ufffd"),)
        assert (report.function, report.version, report.abi) == ("failing", "$LATEST", "native")
        assert (report.start, report.status) == ("cold", error.__name__)
        assert 0 < report.duration < 2
        assert report.init_duration is not None
        assert report.init_duration > 0
        assert report.fuel_used is not None
        # The host call alone costs 1,000; where the fuel was not written down, less may be known.
        assert report.fuel_used > 1_000
        assert report.fuel_exact == (error is not wasmrun.TimedOut)
        assert report.memory_bytes == 65536
        assert report.memory_limit_bytes == 128 * 1024 * 1024
        assert not report.memory_near_limit
        assert report.event_bytes > len("event")
        assert report.log_bytes == 1
        assert report.result_bytes == {wasmrun.GuestError: 3, wasmrun.OutOfMemory: 20}.get(error, 0)
        assert f"Status: {error.__name__}" in str(report)


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: error.__name__)
def test_a_failure_crosses_processes_with_its_report(
    error: type[wasmrun.FunctionError], executor: wasmrun.Executor, wat: Callable[..., str]
) -> None:
    """An error that is pickled keeps its class, its words, its report and its logs."""
    failed = executor.run(failing(error, wat), "event").error
    copy = pickle.loads(pickle.dumps(failed))
    assert type(copy) is error
    assert (copy.args, vars(copy)) == (failed.args, vars(failed))
    assert str(copy) == str(failed)


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: error.__name__)
def test_a_failure_of_a_warm_start_has_a_full_report_too(
    error: type[wasmrun.FunctionError], executor: wasmrun.Executor, wat: Callable[..., str]
) -> None:
    """A sandbox that was ready is reported as warm, with no time for preparing it."""
    function = failing(error, wat, warm=1)
    assert executor.prewarm(function) == 1
    result = executor.run(function, "event")
    assert type(result.error) is error
    assert (result.report.start, result.report.init_duration) == ("warm", None)
    assert result.report.duration > 0
    executor.unload(function)


def test_a_failure_before_anything_ran_has_no_report(cache_dir: Path, wat: Callable[..., str]) -> None:
    """What is refused is counted, and reported to nobody: nothing ran."""
    told: list[wasmrun.Report] = []
    function = wasmrun.Function(wat(), event_bytes=1000, warm=0)
    with wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=4, on_report=told.append) as executor:
        for event in (object(), "x" * 1000):
            with pytest.raises((wasmrun.InvalidEvent, wasmrun.PayloadTooLarge)):
                executor.invoke(function, event)
        with pytest.raises(wasmrun.InvalidFunction):
            executor.invoke(wasmrun.Function(b"nothing", warm=0))
        assert told == []


def test_a_report_that_nobody_can_take_does_not_harm_the_answer(
    cache_dir: Path, wat: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """An `on_report` that raises is logged, and the invocation is what it was."""

    def on_report(_report: wasmrun.Report) -> None:
        raise LookupError("no room for reports")

    with wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=4, on_report=on_report) as executor:
        assert executor.invoke(wasmrun.Function(wat(), warm=0), None) is True
        with pytest.raises(wasmrun.GuestTrap):
            executor.invoke(wasmrun.Function(wat("unreachable"), warm=0), None)
    assert [record.message.startswith("on_report failed for request") for record in caplog.records] == [True, True]
