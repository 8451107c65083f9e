"""How these tests run a guest that misbehaves: its error, with the record of its invocation checked each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import wasmrun

Fail = Callable[..., Any]
"""The fixture `fail`; what it gives has attributes of every class of error."""

Refusal = Callable[..., str]
"""The fixture `refusal`."""


def check_report(error: wasmrun.FunctionError, function: wasmrun.Function) -> wasmrun.Report:
    """The report of *error*, after a look at every field of it."""
    report = error.report
    assert report is not None
    assert report.request_id
    assert (report.function, report.version) == (function.name, "$LATEST")
    assert report.status == type(error).__name__
    assert report.abi in ("native", "command", "plain")
    assert report.start in ("cold", "warm", "reused")
    assert (report.init_duration is not None) == (report.start == "cold")
    assert report.duration + (report.init_duration or 0) > 0
    assert report.pool_wait >= 0
    assert report.memory_limit_bytes == function.memory
    assert 0 <= report.memory_bytes <= function.memory
    assert report.memory_near_limit == (report.memory_bytes >= 0.9 * function.memory)
    if function.fuel is None:
        assert report.fuel_used is None
    else:
        assert 0 <= (report.fuel_used or 0) <= function.fuel
    assert 0 <= report.log_bytes <= function.log_bytes
    return report


@pytest.fixture
def fail(executor: wasmrun.Executor) -> Fail:
    """Runs an event that is to fail: the `FunctionError`, whose report is checked field by field."""

    def run(module: str | bytes, event: Any = None, **settings: Any) -> wasmrun.FunctionError:
        function = wasmrun.Function(module, **{"warm": 0, **settings})
        result = executor.run(function, event)
        assert result.value is None
        assert isinstance(result.error, wasmrun.FunctionError)
        assert result.error.report is result.report
        assert result.error.logs is result.logs
        check_report(result.error, function)
        return result.error

    return run


@pytest.fixture
def refusal(executor: wasmrun.Executor) -> Refusal:
    """Runs an event of a function that is to be refused: the message of the `InvalidFunction`."""

    def run(module: str | bytes, event: Any = None, **settings: Any) -> str:
        function = wasmrun.Function(module, **{"warm": 0, **settings})
        with pytest.raises(wasmrun.InvalidFunction) as caught:
            executor.run(function, event)
        assert executor.stats().pool.in_flight == 0
        assert caught.value.message.isprintable()
        return caught.value.message

    return run


@pytest.fixture(scope="session")
def decoded(executor: wasmrun.Executor, wat: Callable[..., str]) -> Callable[[bytes], Any]:
    """Runs a guest that answers with the given bytes: the value, or the error."""
    # The event is [bytes, context]: 92, then c4 or c5 and a length of one or two bytes.
    guest = wat("""
      (if (result i64) (i32.eq (i32.load8_u offset=1 (local.get $ptr)) (i32.const 0xc4))
        (then (call $pack (i32.add (local.get $ptr) (i32.const 3)) (i32.load8_u offset=2 (local.get $ptr))))
        (else (call $pack (i32.add (local.get $ptr) (i32.const 4))
          (i32.or (i32.shl (i32.load8_u offset=2 (local.get $ptr)) (i32.const 8))
            (i32.load8_u offset=3 (local.get $ptr))))))""")
    function = wasmrun.Function(guest, warm=4)

    def decode(answer: bytes) -> Any:
        result = executor.run(function, answer)
        assert result.report.result_bytes == len(answer)
        return result.value if result.error is None else result.error

    return decode
