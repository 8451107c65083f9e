"""Both kinds of executor side by side: the same event ends in the same value, error, report and logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import guests
import kit
import msgpack
import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Both, Either

Wat = Any
LOG = '(import "wasmrun" "log" (func $log (param i32 i32 i32)))'


class Unread(bytes):
    """An event whose answer only the executor finds to be none."""


class UnreadRequest(dict[str, str]):
    """The same, of a request."""


MEASURED = {"request_id", "duration", "init_duration", "pool_wait"}
"""What of a report differs from event to event."""


def fields(report: wasmrun.Report | None) -> dict[str, Any] | None:
    if report is None:
        return None
    known = {key: value for key, value in report._asdict().items() if key not in MEASURED}
    if not report.fuel_exact:
        del known["fuel_used"]
    return known


def description(error: BaseException | None) -> Any:
    """Everything about *error* that does not differ from event to event."""
    if error is None:
        return None
    kept = {key: value for key, value in vars(error).items() if key != "report"}
    return (
        type(error),
        error.args,
        str(error),
        kept,
        fields(getattr(error, "report", None)),
        description(error.__cause__),
    )


def outcome(executor: Either, function: wasmrun.Function, event: Any) -> tuple[Any, ...]:
    """What `run` and `invoke` make of one event."""
    found: list[Any] = []
    for call in (executor.run, executor.invoke):
        try:
            answer = call(function, event)
        except wasmrun.WasmrunError as error:
            found.append(("raised", description(error)))
        else:
            if isinstance(answer, wasmrun.Result):
                answer = (answer.value, description(answer.error), fields(answer.report), answer.logs)
            found.append(("given", answer))
    return tuple(found)


def reported(error: object) -> bytes:
    return msgpack.packb([1, error])


CASES: dict[str, Callable[[Wat], tuple[wasmrun.Function, Any]]] = {
    "an answer": lambda wat: (kit.pure("log_raw"), b""),
    "a reported error": lambda wat: (
        wasmrun.Function(wat(data=reported({"type": "Ü\x1b", "message": "m\n", "stack": ["a", "b"]})), warm=0), 1),
    "a long reported error": lambda wat: (
        wasmrun.Function(wat(data=reported({"type": "T" * 900, "message": "m" * 40_000, "stack": ["s" * 500] * 90})),
                         warm=0), 1),
    "a reported error of another shape": lambda wat: (wasmrun.Function(wat(data=reported("text")), warm=0), 1),
    "a reported lack of memory": lambda wat: (
        wasmrun.Function(wat(data=reported({"type": "OutOfMemory", "message": "no"})), warm=0), 1),
    "an allocator that has nothing": lambda wat: (wasmrun.Function(wat(alloc="(i32.const 0)"), warm=0), 1),
    "an exit": lambda wat: (wasmrun.Function(guests.EXITS, warm=0), {}),
    "unreachable": lambda wat: (kit.pure("trap_raw"), b"abc"),
    "a trap in a function with a name": lambda wat: (
        wasmrun.Function(wat("(call $inner) (i64.const 0)",
                             more="(func $inner (unreachable))"), warm=0), 1),
    "a division by zero": lambda wat: (
        wasmrun.Function(wat("(i64.extend_i32_u (i32.div_u (i32.const 1) (i32.const 0)))"), warm=0), 1),
    "an access out of bounds": lambda wat: (
        wasmrun.Function(wat("(i64.load (i32.const -8))"), warm=0), 1),
    "an endless recursion": lambda wat: (
        wasmrun.Function(wat("(call $deep) (i64.const 0)", more="(func $deep (call $deep))"), warm=0), 1),
    "a trap with little memory left": lambda wat: (
        wasmrun.Function(wat("(drop (memory.grow (i32.const 15))) (unreachable)"), memory="1MiB", warm=0), 1),
    "too much time": lambda wat: (kit.pure("loop_raw", timeout=0.02), b""),
    "too much time at the start": lambda wat: (
        wasmrun.Function(kit.INIT_LOOPS, entry="echo_raw", init_timeout=0.02, warm=0), b""),
    "too much fuel": lambda wat: (kit.pure("loop_raw", fuel=10_000), b""),
    "a trap at the start": lambda wat: (wasmrun.Function(kit.INIT_TRAPS, entry="echo_raw", warm=0), b""),
    "an answer out of memory": lambda wat: (
        wasmrun.Function(wat("(call $pack (i32.const 65530) (i32.const 100))"), warm=0), 1),
    "an answer that is no MessagePack": lambda wat: (wasmrun.Function(wat(data=b"\xc1"), warm=0), 1),
    "an answer that is no envelope": lambda wat: (wasmrun.Function(wat(data=b"\x93\0\0\0"), warm=0), 1),
    "an answer that ends too soon": lambda wat: (wasmrun.Function(wat(data=b"\x92\0\x92"), warm=0), Unread()),
    "an answer that holds what is not allowed": lambda wat: (
        wasmrun.Function(wat(data=b"\x92\0\xd6\xff\0\0\0\0"), warm=0), Unread()),
    "an answer that is too large": lambda wat: (kit.pure(result_bytes=10), b"x" * 11),
    "an answer of nothing": lambda wat: (wasmrun.Function(wat("(i64.const 0)"), warm=0), 1),
    "an event that is too large": lambda wat: (kit.pure(event_bytes=10), b"x" * 11),
    "an event that cannot be encoded": lambda wat: (kit.pure(), 1.5),
    "an entry that is missing": lambda wat: (kit.pure("missing_raw"), b""),
    "an import that is not granted": lambda wat: (wasmrun.Function(kit.HOST, entry="ask_raw"), b""),
    "no module": lambda wat: (wasmrun.Function(b"no module"), b""),
    "a module that is cut": lambda wat: (wasmrun.Function(b"\0asm\1\0\0\0\x01"), b""),
    "a memory over the limit": lambda wat: (wasmrun.Function(wat(memory="100"), memory="1MiB"), b""),
    "logs before a trap": lambda wat: (
        wasmrun.Function(
            wat("(call $log (i32.const 4) (i32.const 16) (i32.const 3)) (unreachable)", imports=LOG, data=b"\xff\xc3\xbc"),
            warm=0), 1),
    "a host function that fails": lambda wat: (kit.asking(_fail, "ask_raw"), b"\xc0"),
    "a host function that fails a guest": lambda wat: (
        wasmrun.Function(
            wat("(drop (call $call (i32.const 16) (i32.const 1))) (unreachable)", data=b"\xc0",
                imports='(import "wasmrun" "call" (func $call (param i32 i32) (result i64)))'),
            imports={"call": _fail}, warm=0), 1),
    "an unmetered answer": lambda wat: (kit.pure(fuel=None), b"x"),
    "a program's answer": lambda wat: (wasmrun.Function(guests.CAT, warm=0), {"a": 1}),
    "a program's answer of bytes that are no text": lambda wat: (
        wasmrun.Function(guests.CAT, warm=0, raw=True), b"\xff"),
    "a response": lambda wat: (wasmrun.Function(guests.CAT, abi="wagi", warm=0), {"body": "status: 404\n\nno"}),
    "an answer that is no response": lambda wat: (
        wasmrun.Function(guests.CAT, abi="wagi", warm=0), UnreadRequest({"body": "status: abc\n\nno"})),
    "a request that is none": lambda wat: (wasmrun.Function(guests.CAT, abi="wagi", warm=0), {"rawPath": "/%00"}),
    "numbers": lambda wat: (
        wasmrun.Function('(module (func (export "f") (param i32) (result f64) (f64.const nan)))', warm=0), 1),
    "numbers of the wrong kind": lambda wat: (
        wasmrun.Function('(module (func (export "f") (param i32)))', warm=0), "1"),
}  # fmt: skip


def _fail(_: object) -> None:
    raise LookupError("no such \n user")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_outcome_is_the_same_in_both_of(
    both: Both, wat: Wat, case: Callable[[Wat], tuple[wasmrun.Function, Any]]
) -> None:
    """Type, message, attributes, report and logs."""
    function, event = case(wat)
    local, remote = outcome(both.local, function, event), outcome(both.remote, function, event)
    if isinstance(event, (Unread, UnreadRequest)):
        # A worker that need not report does not read the answer: of that event there is only what the executor saw.
        local, remote = local[:1], remote[:1]
    for one, other in zip(remote, local, strict=True):
        assert repr(one) == repr(other)


def test_loads_and_looks_are_the_same(both: Both) -> None:
    """Of each ABI."""
    for function in (
        kit.pure(), kit.pure("context"), wasmrun.Function(guests.CAT), wasmrun.Function(kit.HOST, entry="ask_raw"),
        wasmrun.Function(guests.CAT, abi="wagi"),
        wasmrun.Function('(module (func (export "f") (param i32 i64) (result f32) (f32.const 1)))'),
    ):  # fmt: skip
        assert both.remote.inspect(function) == both.local.inspect(function)
        if function.module != kit.HOST:
            assert both.remote.load(function) == both.local.load(function)
