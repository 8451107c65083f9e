"""Verdicts: what became of one function and one event, and whether that is one of the ends that there may be."""

from __future__ import annotations

import time
from typing import Any

import wasmrun

LIMITS: dict[str, Any] = {
    "warm": 0, "timeout": "100ms", "init_timeout": "100ms", "memory": "1MiB", "fuel": 1_000_000, "log_bytes": "1KiB",
    "result_bytes": "64KiB", "name": "fuzzed",
}  # fmt: skip
"""The settings of a function that is made up."""

ANSWER = "answer"
MOST_SECONDS = 5.0
"""What a run may take that is bounded by the limits above, on a machine that has other things to do."""


def same(value: Any) -> Any:
    """The host function that guests may call."""
    return value


def given(module: bytes | str, entry: str | None, number: int, *, snapshot: bool = False) -> wasmrun.Function:
    """The function of a module that was made up; *number* chooses its settings."""
    settings = LIMITS | {"snapshot": snapshot}
    if number % 10 == 0:
        # Without fuel it is the clock that ends it.
        settings.update(fuel=None, timeout="30ms")
    if isinstance(module, bytes) and b"http_request" in module:
        settings.update(http=["guest.invalid"])
    return wasmrun.Function(module, entry=entry, imports={"call": same}, **settings)


def suited(loaded: wasmrun.Loaded) -> Any:
    """An event that a function of that ABI takes."""
    if loaded.abi == "plain":
        return [7, -1, 0.5, -0.5]
    return b"\x93\1\2\3" if loaded.is_raw else {"name": "Ada", "text": "to be or not to be"}


def judge(executor: wasmrun.Executor | wasmrun.ProcessExecutor, function: wasmrun.Function) -> str:
    """Run *function* once and forget it: "answer", or the class of the error.

    Raises `AssertionError` for an end that there may not be, and passes on whatever else is raised.
    """
    try:
        event = suited(executor.load(function))
    except wasmrun.InvalidFunction as error:
        return _refused(error)
    began = time.monotonic()
    try:
        result = executor.run(function, event)
    except (wasmrun.InvalidEvent, wasmrun.InvalidFunction, wasmrun.HostError) as error:
        return _refused(error) if type(error) is not wasmrun.InvalidFunction else "InvalidFunction at the event"
    finally:
        took = time.monotonic() - began
        assert executor.unload(function)
    assert took < MOST_SECONDS, f"it took {took:.1f} s"
    report = result.report
    assert report.memory_bytes <= function.memory
    assert report.log_bytes <= function.log_bytes
    assert report.result_bytes <= function.result_bytes or isinstance(result.error, wasmrun.ResultTooLarge)
    if result.error is None:
        assert report.status == "success"
        return ANSWER
    assert result.error.report is report
    assert report.status == type(result.error).__name__
    return type(result.error).__name__


def _refused(error: wasmrun.WasmrunError) -> str:
    assert error.message.isprintable()
    assert len(error.message) < 2_000
    return type(error).__name__
