"""The native ABI: what a guest is handed, what its answer may be, and who is told when it is none."""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wasmrun
from wasmrun import (
    FunctionError,
    GuestError,
    GuestTrap,
    InvalidAnswer,
    InvalidEvent,
    OutOfFuel,
    OutOfMemory,
    Result,
    ResultTooLarge,
)
from wasmrun.machine.abi.base import Abi, Given
from wasmrun.machine.instance import Instance

Wat = Callable[..., str]
Run = Callable[..., Result]
ECHO = "(call $pack (local.get $ptr) (local.get $len))"
GIVEN = Given("8f5a0a3e-3f6c-4d0e-9b39-0d6f6f1c2a57", 1_741_806_241_390)


@pytest.fixture
def abi(program: Callable[..., Any], wat: Wat) -> Abi:
    """The ABI of an enveloped function."""
    return program(wat(), name="hello", version="3", memory="64MiB", fuel=12345).abi  # type: ignore[no-any-return]


@pytest.fixture
def raw_abi(program: Callable[..., Any], wat: Wat) -> Abi:
    """The ABI of a raw function."""
    return program(wat(entry="wasmrun_handle_raw")).abi  # type: ignore[no-any-return]


CONTEXT = {
    "request_id": GIVEN.request_id,
    "function": "hello",
    "version": "3",
    "deadline_ms": GIVEN.deadline_ms,
    "memory_limit_bytes": 64 * 2**20,
    "fuel_limit": 12345,
}


def test_input_is_the_event_and_its_context(abi: Abi) -> None:
    """Exactly the keys of the ABI page, and one MessagePack value."""
    assert msgpack.unpackb(abi.encode({"name": "Ada"}, GIVEN)) == [{"name": "Ada"}, CONTEXT]


@pytest.mark.parametrize(
    ("more", "keys"),
    [
        ({"client_context": {"a": [1]}}, {"client_context": {"a": [1]}}),
        ({"tenant": "t"}, {"tenant_id": "t"}),
        ({"trace_id": "Root=1"}, {"trace_id": "Root=1"}),
        ({"client_context": 0, "tenant": "", "trace_id": ""}, {"client_context": 0, "tenant_id": "", "trace_id": ""}),
    ],
    ids=str,
)
def test_context_has_what_the_caller_gave(abi: Abi, more: dict[str, Any], keys: dict[str, Any]) -> None:
    """Under the names of the ABI, and only then."""
    assert msgpack.unpackb(abi.encode(5, GIVEN._replace(**more))) == [5, CONTEXT | keys]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), st.integers(0, 2**63))
def test_context_is_the_same_whichever_way_it_is_written(request_id: str, deadline: int) -> None:
    """The short way for most events, the long way for the others: request ids of any length, any deadline."""
    from wasmrun.function import Function
    from wasmrun.machine.abi.native import Native
    from wasmrun.machine.module import ExternType

    class Exporting:
        def __init__(self) -> None:
            self.exports = {
                "memory": ExternType("memory"),
                "wasmrun_alloc": ExternType("function", ("i32",), ("i32",)),
                "wasmrun_handle": ExternType("function", ("i32", "i32"), ("i64",)),
            }

    native = Native(Function("a.wasm", name="ü" * 40), Exporting())  # type: ignore[arg-type]  # all that it looks at
    short = native.encode(None, Given(request_id, deadline))
    assert msgpack.unpackb(short) == msgpack.unpackb(b"\x92\xc0" + native._full_context(Given(request_id, deadline)))


def test_context_that_utf8_cannot_write_is_refused(abi: Abi) -> None:
    """Surrogates, as bytes that were no text leave them behind, are the caller's mistake wherever they are."""
    for field in ("request_id", "tenant", "trace_id", "client_context"):
        with pytest.raises(InvalidEvent, match="cannot be encoded"):
            abi.encode(None, GIVEN._replace(**{field: "r-\ud800"}))


@pytest.mark.parametrize(
    "event",
    [{1, 2}, object(), 2**64, -(2**63) - 1, "\ud800", {"a": [b"", Ellipsis]}],
    ids=lambda event: type(event).__name__,
)
def test_event_that_messagepack_has_no_form_for_is_refused(abi: Abi, event: Any) -> None:
    """The caller's mistake, before anything runs."""
    with pytest.raises(InvalidEvent, match="the event cannot be encoded as MessagePack: "):
        abi.encode(event, GIVEN)
    with pytest.raises(InvalidEvent, match="the client context cannot be encoded as MessagePack: "):
        abi.encode(None, GIVEN._replace(client_context=event))


def test_event_nested_too_deep_or_in_itself_is_refused(abi: Abi) -> None:
    """Not a RecursionError."""
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(InvalidEvent, match="cannot be encoded"):
        abi.encode(circle, GIVEN)


@pytest.mark.parametrize(
    ("event", "payload"),
    [(b"\0x", b"\0x"), (bytearray(b"x"), b"x"), (memoryview(b"xyz")[1:], b"yz"), ({}, b""), (b"", b"")],
    ids=["bytes", "bytearray", "memoryview", "no event", "empty"],
)
def test_raw_event_is_its_bytes(raw_abi: Abi, event: Any, payload: bytes) -> None:
    """As they stand; no event is none."""
    assert not raw_abi.needs_context
    assert raw_abi.encode(event, None) == payload


@pytest.mark.parametrize("event", ["text", 5, None, [1], {"a": 1}], ids=repr)
def test_raw_event_of_another_type_is_refused(raw_abi: Abi, event: Any) -> None:
    """With the entry's name and what to do."""
    with pytest.raises(InvalidEvent, match=r"handle_raw takes bytes, not .*; pass bytes, or name another entry"):
        raw_abi.encode(event, None)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(VALUES.filter(lambda value: "\ud800" not in repr(value)))
def test_answer_of_any_value_is_that_value(value: Any) -> None:
    """What goes in comes out, whatever bytes look like: those of a timestamp in a byte string, too."""
    from wasmrun.machine.abi.native import NativeCodec

    native = NativeCodec(wasmrun.Function("function.wasm"), "wasmrun_handle")
    assert native.decode(msgpack.packb([0, value])) == value


@given(st.binary(max_size=60))
def test_answer_of_any_bytes_is_a_value_or_one_of_the_guests_errors(answer: bytes) -> None:
    """Whatever a guest writes there, it is no exception of ours."""
    from wasmrun.machine.abi.native import NativeCodec

    native = NativeCodec(wasmrun.Function("function.wasm"), "wasmrun_handle")
    for message in (answer, b"\x92\x00" + answer, b"\x92\x01" + answer):
        with contextlib.suppress(InvalidAnswer, GuestError, OutOfMemory):
            native.decode(message)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "the function answered nothing; an answer is MessagePack"),
        (b"\xc1", "the answer is not MessagePack that can be read"),
        (b"\x92\x00", "the answer is not MessagePack that can be read"),
        (b"\x92\x00\xc0\xc0", "the answer is not MessagePack that can be read"),
        (b"\x00", r"the answer is not MessagePack \[0, value\] or \[1, error\]"),
        (b"\x90", r"the answer is not MessagePack \[0, value\]"),
        (b"\x91\x00", r"the answer is not MessagePack \[0, value\]"),
        (b"\x93\x00\x00\x00", r"the answer is not MessagePack \[0, value\]"),
        (b"\x92\x02\xc0", r"the answer is not MessagePack \[0, value\]"),
        (b"\x92\xc2\xc0", r"the answer is not MessagePack \[0, value\]"),
        (b"\x82\xa1a\x01\xa1b\x02", r"the answer is not MessagePack \[0, value\]"),
        (b"\x92\x00\xd4\x05x", "extension type 5"),
        (b"\x92\x00\x91\xd6\xff\0\0\0\0", "extension type -1"),
        (b"\x92\x00\x81\xa1k\xd7\xff\0\0\0\0\0\0\0\0", "extension type -1"),
        (b"\x92\x00\xc7\x0c\xff" + bytes(12), "extension type -1"),
        (b"\x92\x00\xc8\x00\x0c\xff" + bytes(12), "extension type -1"),
        (b"\x92\x00\xc7\x04\xff" + bytes(4), "extension type -1"),
        (b"\x92\x00\x81\x01\x02", "the answer is not MessagePack that can be read: .*"),
        (b"\x92\x00\x81\xc4\x01k\x02", "key"),
        (b"\x92\x00\xa2\xff\xff", "the answer is not MessagePack that can be read: UnicodeDecodeError"),
        (b"\x92\x00" + b"\x91" * 2000 + b"\xc0", "nested too deep"),
        (b"\x92\x00\xdd\xff\xff\xff\xff", "the answer is not MessagePack that can be read"),
        (b"\x92\x01\xc0", r"the error in the answer is not a map"),
        (b"\x92\x01\x81\xa4type\x05", 'in the error of the answer "type" and "message" must be strings'),
        (b"\x92\x01\x81\xa7message\x05", 'in the error of the answer "type" and "message" must be strings'),
        (b"\x92\x01\x81\xa5stack\x05", 'and "stack" a list'),
    ],
)
def test_answer_that_cannot_be_read_says_why(abi: Abi, answer: bytes, message: str) -> None:
    """InvalidAnswer, on one short line."""
    with pytest.raises(InvalidAnswer, match=message) as caught:
        abi.decode(answer)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("error", "cls", "type_", "message", "stack"),
    [
        ({"type": "ValueError", "message": "bad", "stack": ["a", "b"]}, GuestError, "ValueError", "bad", ("a", "b")),
        ({"type": "OutOfMemory", "message": "cannot grow"}, OutOfMemory, "OutOfMemory", "cannot grow", ()),
        ({"message": "bad"}, GuestError, "Error", "bad", ()),
        ({"type": "Quiet"}, GuestError, "Quiet", "Quiet", ()),
        ({}, GuestError, "Error", "Error", ()),
        ({"stack": None, "code": 5}, GuestError, "Error", "Error", ()),
        ({"stack": "one line"}, GuestError, "Error", "Error", ("one line",)),
        ({"stack": ["a", 5, None]}, GuestError, "Error", "Error", ("a",)),
    ],
)
def test_error_that_the_guest_reports_keeps_its_words(
    abi: Abi, error: dict[str, Any], cls: type[FunctionError], type_: str, message: str, stack: tuple[str, ...]
) -> None:
    """Type, message and stack; what is missing has a value all the same."""
    with pytest.raises(cls) as caught:
        abi.decode(msgpack.packb([1, error]))
    assert (type(caught.value), caught.value.type, str(caught.value), caught.value.stack) == (
        cls,
        type_,
        message,
        stack,
    )


@pytest.mark.parametrize("length", [0, 1, 64, 65_000, 70_000, 1_000_000])
def test_event_of_any_length_comes_back(wat: Wat, run: Run, length: int) -> None:
    """Also where the guest has to grow its memory for it."""
    event = bytes(range(256)) * (length // 256) + bytes(length % 256)
    assert run(wat(ECHO, entry="f_raw"), event, entry="f_raw").value == event


def test_event_of_nothing_is_not_allocated(wat: Wat, run: Run) -> None:
    """The handler gets 0, 0."""
    source = wat(
        "(i64.or (i64.extend_i32_u (local.get $ptr)) (i64.extend_i32_u (local.get $len)))",
        entry="f_raw",
        alloc="(unreachable)",
    )
    assert run(source, b"", entry="f_raw").value == b""


@pytest.mark.parametrize(
    ("alloc", "error", "message"),
    [
        ("(i32.const 0)", OutOfMemory, r"no memory for an event of 5 bytes \(wasmrun_alloc answered 0\)"),
        (
            "(i32.const 65532)",
            InvalidAnswer,
            "wasmrun_alloc answered 65532 for 5 bytes; the function's memory has 65536",
        ),
        ("(i32.const -1)", InvalidAnswer, "wasmrun_alloc answered 4294967295 for 5 bytes"),
        ("(i32.const -2147483648)", InvalidAnswer, "wasmrun_alloc answered 2147483648 for 5 bytes"),
        ("(unreachable)", GuestTrap, "unreachable"),
        ("(loop $l (br $l)) (i32.const 0)", OutOfFuel, "used up its fuel"),
    ],
)
def test_event_that_has_no_place_is_the_functions_failure(
    wat: Wat, run: Run, alloc: str, error: type[FunctionError], message: str
) -> None:
    """Unsigned, checked, and nothing is written."""
    result = run(wat(ECHO, entry="f_raw", alloc=alloc), b"12345", entry="f_raw", fuel=1_000_000)
    assert isinstance(result.error, error)
    assert re.search(message, result.error.message)


@pytest.mark.parametrize(
    ("pointer", "length", "error"),
    [
        (65536, 0, None),
        (0, 0, None),
        (65535, 1, None),
        (65535, 2, InvalidAnswer),
        (65536, 1, InvalidAnswer),
        (2**31, 1, InvalidAnswer),
        (2**32 - 1, 1, InvalidAnswer),
        (2**32 - 1, 2**32 - 1, InvalidAnswer),
        (16, 2**31, InvalidAnswer),
        (0, 1, InvalidAnswer),
        (65537, 0, InvalidAnswer),
    ],
)
def test_answer_is_read_only_where_it_lies_in_the_memory(
    wat: Wat, run: Run, pointer: int, length: int, error: type[FunctionError] | None
) -> None:
    """At every border, unsigned."""
    packed = struct.unpack("<q", struct.pack("<Q", pointer << 32 | length))[0]
    result = run(wat(f"(i64.const {packed})", entry="f_raw"), b"", entry="f_raw")
    if error is None:
        assert result.value == bytes(length)
    else:
        assert isinstance(result.error, error)


def test_answer_over_its_limit_is_refused_and_at_its_limit_taken(wat: Wat, run: Run) -> None:
    """Not copied; the limit is the last size that is allowed."""
    source = wat(ECHO, entry="f_raw")
    assert run(source, b"x" * 100, entry="f_raw", result_bytes=100).value == b"x" * 100
    result = run(source, b"x" * 101, entry="f_raw", result_bytes=100)
    assert isinstance(result.error, ResultTooLarge)
    assert "answered 101 B, more than its limit of 100 B" in result.error.message


def test_start_up_runs_in_order_before_the_first_event(wat: Wat, run: Run) -> None:
    """The start function, `_initialize`, `wasmrun_init`; each once."""
    more = """
      (global $n (mut i32) (i32.const 16))
      (func $note (param i32)
        (i32.store8 (global.get $n) (local.get 0)) (global.set $n (i32.add (global.get $n) (i32.const 1))))
      (func $start (call $note (i32.const 83))) (start $start)
      (func (export "wasmrun_init") (call $note (i32.const 105)))
      (func (export "_initialize") (call $note (i32.const 73)))"""
    assert run(wat(more=more, data=b"....", entry="f_raw"), b"", entry="f_raw").value == b"SIi."


def test_instance_takes_another_event_after_its_answer_was_released(
    live: Callable[..., AbstractContextManager[Instance]], wat: Wat
) -> None:
    """`wasmrun_free` gets the place of the answer, and its budget is the event's."""
    more = """(func (export "wasmrun_free") (param i32 i32)
      (i32.store (i32.const 64) (local.get 0)) (i32.store (i32.const 68) (local.get 1)))"""
    with live(wat(ECHO, more=more, entry="f_raw", data=bytes(100)), entry="f_raw") as instance:
        abi = instance.program.abi
        for event in (b"one", b"three"):
            assert abi.call(instance, event) == event
            abi.release(instance)
            pointer, length = struct.unpack("<II", instance.read(64, 8))
            assert length == len(event)
            assert instance.read(pointer, length) == event


def test_answer_needs_no_release_where_there_is_no_free(
    live: Callable[..., AbstractContextManager[Instance]], wat: Wat
) -> None:
    """An allocator may have no use for it."""
    with live(wat(ECHO, entry="f_raw"), entry="f_raw") as instance:
        assert instance.program.abi.call(instance, b"x") == b"x"
        instance.program.abi.release(instance)
        assert instance.program.abi.call(instance, b"y") == b"y"


def test_release_that_traps_is_a_failure_of_its_own(
    live: Callable[..., AbstractContextManager[Instance]], wat: Wat
) -> None:
    """The answer is in hand by then; the instance is not used again."""
    more = '(func (export "wasmrun_free") (param i32 i32) (unreachable))'
    with live(wat(ECHO, more=more, entry="f_raw"), entry="f_raw") as instance:
        assert instance.program.abi.call(instance, b"x") == b"x"
        with pytest.raises(GuestTrap, match="unreachable"):
            instance.program.abi.release(instance)
