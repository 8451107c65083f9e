"""Events that cannot be given to a function: refused before anything runs, and no sandbox is lost by it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ADD = '(module (func (export "add") (param i32 i64) (result i64) (local.get 1)))'
COMMAND = '(module (memory (export "memory") 1) (func (export "_start")))'


def nested(depth: int) -> list[Any]:
    """A list in a list, *depth* times."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def endless() -> list[Any]:
    """A list that contains itself."""
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "event",
    [object(), {1, 2}, 1 << 64, -(1 << 63) - 1, 1j, "\ud800", {"at": [print]}, nested(10_000), endless()],
    ids=["object", "set", "above 64 bits", "below 64 bits", "complex", "surrogate", "function", "nested", "endless"],
)
def test_an_event_that_messagepack_cannot_hold_is_refused(
    event: object, executor: wasmrun.Executor, wat: Callable[..., str]
) -> None:
    """What has no form in MessagePack, or is nested 10,000 deep, is an `InvalidEvent`, which is a `ValueError` too."""
    with pytest.raises(wasmrun.InvalidEvent, match=r"the event cannot be encoded as MessagePack: ."):
        executor.invoke(wasmrun.Function(wat(), warm=0), event)
    with pytest.raises(ValueError, match="context"):
        executor.invoke(wasmrun.Function(wat(), warm=0), None, client_context=event)


@pytest.mark.parametrize(
    "event",
    [object(), {1, 2}, 1j, math.nan, math.inf, {"at": [print]}, {1: 2}, nested(10_000), endless(), "\ud800"],
    ids=["object", "set", "complex", "nan", "infinity", "function", "key", "nested", "endless", "surrogate"],
)
def test_an_event_that_json_cannot_hold_is_refused(event: object, executor: wasmrun.Executor) -> None:
    """What JSON has no form for never reaches a command."""
    with pytest.raises(wasmrun.InvalidEvent, match=r"the event cannot be written as JSON: ."):
        executor.invoke(wasmrun.Function(COMMAND, warm=0), event)


@pytest.mark.parametrize(
    "event",
    [[1], [1, 2, 3], "12", ["1", 2], [True, 2], [1.5, 2], [math.nan, 2], [1 << 32, 2], [1, 1 << 64], [1, -(1 << 80)],
     [10**5000, 1], nested(10_000), [nested(10_000), 1], None],
    ids=range(14),
)  # fmt: skip
def test_an_event_that_is_not_the_numbers_wanted_is_refused(event: object, executor: wasmrun.Executor) -> None:
    """Too few numbers, too many, or none that fit: the message says what the function takes."""
    with pytest.raises(wasmrun.InvalidEvent, match=r"i32|i64|number") as caught:
        executor.invoke(wasmrun.Function(ADD, warm=0), event)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("event", [None, "text", 5, [1, 2], {"a": 1}])
def test_an_event_that_is_not_bytes_is_refused_by_a_raw_handler(
    event: object, executor: wasmrun.Executor, wat: Callable[..., str]
) -> None:
    """A raw handler, and a raw command, take bytes and say so."""
    raw = wasmrun.Function(wat(entry="wasmrun_handle_raw"), warm=0)
    with pytest.raises(wasmrun.InvalidEvent, match="takes bytes, not"):
        executor.invoke(raw, event)
    with pytest.raises(wasmrun.InvalidEvent, match="takes bytes, not"):
        executor.invoke(wasmrun.Function(COMMAND, raw=True, warm=0), event)


def test_an_event_of_its_limit_passes_and_one_byte_more_is_too_large(
    executor: wasmrun.Executor, wat: Callable[..., str]
) -> None:
    """`event_bytes` counts the encoded event: exactly the limit passes, and what is over it never reaches the guest."""
    raw = wasmrun.Function(wat(entry="wasmrun_handle_raw"), event_bytes=1000, warm=0)
    assert executor.invoke(raw, bytes(1000)) == b"\x92\x00\xc3"
    with pytest.raises(wasmrun.PayloadTooLarge, match=r"the event has 1001 B, more than .* 1000 B.*`event_bytes`"):
        executor.invoke(raw, bytes(1001))
    with pytest.raises(wasmrun.PayloadTooLarge):
        executor.run(wasmrun.Function(wat(), event_bytes=1000, warm=0), "x" * 1001)
    with pytest.raises(wasmrun.PayloadTooLarge):
        executor.invoke(wasmrun.Function(COMMAND, event_bytes=1000, warm=0), "x" * 999)


def test_an_event_that_was_refused_costs_no_sandbox(cache_dir: Path, wat: Callable[..., str]) -> None:
    """A warm sandbox that such an event took goes back: the next event finds it, and nothing is in flight."""
    function = wasmrun.Function(wat(), event_bytes=1000, warm=1)
    with wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=1, wait=0.5) as executor:
        executor.prewarm(function)
        for _ in range(5):
            with pytest.raises(wasmrun.InvalidEvent):
                executor.invoke(function, object())
            with pytest.raises(wasmrun.PayloadTooLarge):
                executor.invoke(function, "x" * 1000)
        assert executor.stats().pool[:3] == (1, 1, 0)  # live, ready, in flight
        result = executor.run(function, None)
        assert (result.value, result.report.start) == (True, "warm")
        assert executor.stats().failures == {"InvalidEvent": 5, "PayloadTooLarge": 5}


def test_an_event_that_was_refused_leaves_a_reused_sandbox_alone(
    executor: wasmrun.Executor, wat: Callable[..., str]
) -> None:
    """The answer before it is freed once, not once more for an event that never came."""
    guest = wat(
        "(i32.store8 (i32.const 8) (global.get $frees)) (call $pack (i32.const 8) (i32.const 1))",
        more="""(global $frees (mut i32) (i32.const 0))
          (func (export "wasmrun_free") (param i32 i32)
            (global.set $frees (i32.add (global.get $frees) (i32.const 1))))""",
        entry="wasmrun_handle_raw",
    )
    function = wasmrun.Function(guest, warm=0, reuse=True)
    assert executor.invoke(function, b"one") == b"\0"
    assert executor.invoke(function, b"two") == b"\1"
    with pytest.raises(wasmrun.InvalidEvent):
        executor.invoke(function, "not bytes")
    result = executor.run(function, b"three")
    assert (result.report.start, result.value) == ("reused", b"\2")
