"""Answers that cannot be read: pointers, lengths and encodings of the guest's choosing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Fail

PAGE = 65536


def packed(pointer: int, length: int) -> str:
    """A handler's body that answers with this place, as it stands."""
    return f"(i64.const 0x{pointer & 0xFFFFFFFF:08x}{length & 0xFFFFFFFF:08x})"


@pytest.mark.parametrize("entry", ["wasmrun_handle", "wasmrun_handle_raw"])
@pytest.mark.parametrize(
    ("pointer", "length"),
    [
        (PAGE, 1),
        (PAGE - 1, 2),
        (16, PAGE),
        (16, 0xFFFFFFFF),
        (0x7FFFFFFF, 3),
        (0x80000000, 3),
        (0xFFFFFFFF, 1),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFF0, 16),
        (-1, 3),
        (-PAGE, 3),
        (16, -1),
        (PAGE + 1, 0),
        (-1, 0),
    ],
)
def test_an_answer_outside_the_memory_is_invalid(
    pointer: int, length: int, entry: str, wat: Callable[..., str], fail: Fail
) -> None:
    """A pointer out of range, a length past the end, both near 2**31 and 2**32: refused before anything is read."""
    error = fail(wat(packed(pointer, length), entry=entry, memory="1 1"), b"")
    assert type(error) is wasmrun.InvalidAnswer
    assert (
        f"answered {length & 0xFFFFFFFF} bytes at {pointer & 0xFFFFFFFF}, which are not in its memory" in error.message
    )
    assert error.report.result_bytes == 0


def test_an_answer_at_a_null_pointer_is_invalid(wat: Callable[..., str], fail: Fail) -> None:
    """0 is nowhere, though there is memory at it."""
    error = fail(wat(packed(0, 3)))
    assert type(error) is wasmrun.InvalidAnswer
    assert error.message == "the function answered 3 bytes at a null pointer"


def test_an_answer_of_no_bytes_is_invalid_but_for_a_raw_handler(
    executor: wasmrun.Executor, wat: Callable[..., str], fail: Fail
) -> None:
    """Nothing is no MessagePack; as bytes it is fine, at 0, and at the very end of the memory."""
    error = fail(wat(packed(0, 0)))
    assert type(error) is wasmrun.InvalidAnswer
    assert "answered nothing" in error.message
    for pointer in (0, 16, PAGE):
        raw = wat(packed(pointer, 0), entry="wasmrun_handle_raw", memory="1 1")
        assert executor.invoke(wasmrun.Function(raw, warm=0), b"") == b""


@pytest.mark.parametrize("pointer", [0x7FFFFFFE, 0x80000000, 0xFFFEFFF0, 0xFFFFFFFD])
def test_an_answer_above_2_gib_is_read_where_there_is_memory(
    pointer: int, executor: wasmrun.Executor, wat: Callable[..., str]
) -> None:
    """Pointers are unsigned: from 2 GiB to the last byte of 4 GiB, answers are read, and events written."""
    handler = f"""
      (i32.store8 (i32.const {pointer}) (i32.const 0x92)) (i32.store8 (i32.const {pointer + 1}) (i32.const 0))
      (i32.store8 (i32.const {pointer + 2}) (i32.load8_u (i32.add (local.get $ptr) (i32.const 1))))
      (call $pack (i32.const {pointer}) (i32.const 3))"""
    guest = wat(handler, memory="65536", alloc="(i32.const 0x80000100)")
    assert executor.invoke(wasmrun.Function(guest, memory="4GiB", warm=0), 42) == 42


def test_an_answer_may_end_where_the_memory_ends(executor: wasmrun.Executor, wat: Callable[..., str]) -> None:
    """The last bytes are the guest's as well, also of a memory that grew while the event was handled."""
    for grow in (0, 3):
        at = (1 + grow) * PAGE - 3
        handler = f"""
          (drop (memory.grow (i32.const {grow})))
          (i32.store16 (i32.const {at}) (i32.const 0x0092)) (i32.store8 (i32.const {at + 2}) (i32.const 7))
          {packed(at, 3)}"""
        result = executor.run(wasmrun.Function(wat(handler), warm=0), None)
        assert result.value == 7
        assert result.report.memory_bytes == (1 + grow) * PAGE


def test_a_memory_of_no_pages_has_no_room(executor: wasmrun.Executor, wat: Callable[..., str], fail: Fail) -> None:
    """A guest that starts without memory can grow one; until then every answer is out of range."""

    def empty(handler: str, alloc: str) -> str:
        return wat(handler, memory="0", data=b"", alloc=alloc)

    assert "(data" in empty("", "")
    guest = empty(packed(16, 3), "(i32.const 0)").replace('(data (i32.const 16) "")', "")
    assert type(fail(guest)) is wasmrun.OutOfMemory
    raw = guest.replace("wasmrun_handle", "wasmrun_handle_raw")
    assert type(fail(raw, b"")) is wasmrun.InvalidAnswer
    grown = empty(
        packed(16, 3),
        "(drop (memory.grow (i32.const 1))) (i32.store16 (i32.const 16) (i32.const 0x0092)) (i32.const 99)",
    )
    result = executor.run(wasmrun.Function(grown.replace('(data (i32.const 16) "")', ""), warm=0), None)
    assert (result.value, result.report.memory_bytes) == (0, PAGE)


ENVELOPE = "the answer is not MessagePack [0, value] or [1, error]"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"\xc1", "not MessagePack that can be read"),
        (b"\x92\x00", "not MessagePack that can be read"),
        (b"\x92\x00\xc3\xc3", "not MessagePack that can be read"),
        (b"\x92\x00\xa5abc", "not MessagePack that can be read"),
        (b"\xdd\xff\xff\xff\xff\x00\x00", "not MessagePack that can be read"),
        (b"\xdf\xff\xff\xff\xff\x00\x00", "not MessagePack that can be read"),
        (b"\x92\x00\xc6\xff\xff\xff\xff", "not MessagePack that can be read"),
        (b"\x92\x00\xa2\xff\xfe", "not MessagePack that can be read"),
        (b"\x92\x00" + b"\x91" * 3000 + b"\xc0", "nested too deep"),
        (b"\x92\x00\x81\x01\xc0", "not MessagePack that can be read"),
        (b"\x92\x00\x81\xc0\xc0", "not MessagePack that can be read"),
        (b"\x92\x00\x81\xc3\xc0", "not MessagePack that can be read"),
        (b"\x92\x00\x81\xcb" + bytes(8) + b"\xc0", "not MessagePack that can be read"),
        (b"\x92\x00\x81\xc4\x01k\xc0", "the key of a map is no string"),
        (b"\x92\x00\x82\xa1k\xc0\xc5\0\x01k\xc0", "the key of a map is no string"),
        (b"\x92\x00\x81\x90\xc0", "not MessagePack that can be read"),
        (b"\x92\x00\x81\xd4\x05x\xc0", "extension type 5"),
        (b"\x92\x00\x91\x81\xa1k\x81\xc6\0\0\0\x01k\xc0", "the key of a map is no string"),
        (b"\x92\x01\x81\xc4\x04type\xa1x", "the key of a map is no string"),
        (b"\x92\x00\xd4\x05x", "extension type 5"),
        (b"\x92\x00\x91\xc7\x03\x7fabc", "extension type 127"),
        (b"\x92\x00\xc9\x00\x00\x00\x01\x80x", "extension type -128"),
        (b"\x92\x00\xd6\xff\x00\x00\x00\x01", "extension type -1"),
        (b"\x92\x00\xd7\xff\x00\x00\x00\x01\x00\x00\x00\x01", "extension type -1"),
        (b"\x92\x00\x81\xa1k\x91\xc7\x0c\xff" + bytes(12), "extension type -1"),
        (b"\x92\x00\xc8\x00\x0c\xff" + bytes(12), "extension type -1"),
        (b"\x92\x00\xc9\x00\x00\x00\x04\xff" + bytes(4), "extension type -1"),
        (b"\x92\x00\xc7\x05\xff" + bytes(5), "not MessagePack that can be read"),
        (b"\xc3", ENVELOPE),
        (b"\x90", ENVELOPE),
        (b"\x91\x00", ENVELOPE),
        (b"\x93\x00\xc3\xc3", ENVELOPE),
        (b"\x92\x02\xc3", ENVELOPE),
        (b"\x92\xff\xc3", ENVELOPE),
        (b"\x92\xc2\xc3", ENVELOPE),
        (b"\x92\xcb" + bytes(8) + b"\xc3", ENVELOPE),
        (b"\x92\xa10\xc3", ENVELOPE),
        (b"\x92\x90\xc3", ENVELOPE),
        (b"\x80", ENVELOPE),
        (b"\x92\x01\xa4text", "the error in the answer is not a map"),
        (b"\x92\x01\xc0", "the error in the answer is not a map"),
        (b"\x92\x01\x81\xa4type\x05", '"type" and "message" must be strings'),
        (b"\x92\x01\x81\xa7message\xc4\x01x", '"type" and "message" must be strings'),
        (b"\x92\x01\x81\xa5stack\x05", '"stack" a list'),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_envelope_is_invalid(answer: bytes, reason: str, decoded: Callable[[bytes], Any]) -> None:
    """Broken MessagePack, extension types, timestamps, keys that are no strings, other shapes: each says what it is."""
    error = decoded(answer)
    assert type(error) is wasmrun.InvalidAnswer
    assert reason in error.message
    assert len(error.message) < 300


@pytest.mark.parametrize("value", [
    None, True, False, 0, -1, 2**64 - 1, -(2**63), 1.5, math.inf, "", "ü\x1b\n", b"", b"\xd6\xff", "\u00ff" * 300,
    [], {}, [[[]]], {"": None}, {"\xd7\xff": [b"\xc7\x0c\xff"]},
])  # fmt: skip
def test_an_answer_of_any_value_is_that_value(value: object, decoded: Callable[[bytes], Any]) -> None:
    """What looks like an extension type inside of strings and bytes is none."""
    assert decoded(msgpack.packb([0, value])) == value


def test_an_error_that_the_guest_reports_keeps_its_words(decoded: Callable[[bytes], Any]) -> None:
    """Type, message and stack are the guest's; what is missing is filled in, what is strange in the stack left out."""
    error = decoded(msgpack.packb([1, {"type": "Bad", "message": "no \x1b[31m", "stack": ["a", 1, "b"], "more": 1}]))
    assert type(error) is wasmrun.GuestError
    assert (error.type, error.message, error.stack) == ("Bad", "no \x1b[31m", ("a", "b"))
    error = decoded(msgpack.packb([1, {}]))
    assert (type(error), error.type, error.message, error.stack) == (wasmrun.GuestError, "Error", "Error", ())
    error = decoded(msgpack.packb([1, {"type": "OutOfMemory", "stack": None}]))
    assert (type(error), error.type) == (wasmrun.OutOfMemory, "OutOfMemory")


def test_an_answer_over_its_limit_is_not_copied(
    wat: Callable[..., str], fail: Fail, executor: wasmrun.Executor
) -> None:
    """An answer of exactly `result_bytes` passes; one byte more is `ResultTooLarge`, however much more it is."""
    answer = msgpack.packb([0, bytes(1000)])
    at = len(answer)
    function = wasmrun.Function(wat(data=answer), result_bytes=at, warm=0)
    assert executor.run(function, None).report.result_bytes == at
    error = fail(wat(data=answer), result_bytes=at - 1)
    assert type(error) is wasmrun.ResultTooLarge
    assert "more than its limit of 1004 B; answer less, or raise `result_bytes`" in error.message
    assert error.report.result_bytes == 0
    huge = wat(packed(1, 4 * 1024**3 - 1), memory="65536", alloc="(i32.const 16)")
    error = fail(huge, memory="4GiB")
    assert type(error) is wasmrun.ResultTooLarge
    assert "4.0 GiB, more than its limit of 6 MiB" in error.message


@pytest.mark.parametrize("pointer", ["-1", "65536", "65535", "0x7fffffff", "0x80000000", "-65536"])
def test_an_allocator_that_answers_outside_the_memory_is_invalid(
    pointer: str, wat: Callable[..., str], fail: Fail
) -> None:
    """The event is written only where all of it lies inside of the memory."""
    error = fail(wat(alloc=f"(i32.const {pointer})", memory="1 1"), "text")
    assert type(error) is wasmrun.InvalidAnswer
    assert f"wasmrun_alloc answered {int(pointer, 0) & 0xFFFFFFFF} for" in error.message


def test_an_allocator_that_answers_0_is_out_of_memory(wat: Callable[..., str], fail: Fail) -> None:
    """0 says that there is no memory for the event, whatever its size."""
    error = fail(wat(alloc="(i32.const 0)"), "text")
    assert type(error) is wasmrun.OutOfMemory
    assert "no memory for an event of" in error.message
    error = fail(wat(memory="1 2"), "x" * 3 * PAGE)
    assert type(error) is wasmrun.OutOfMemory


def test_an_allocator_that_traps_is_a_trap(wat: Callable[..., str], fail: Fail) -> None:
    """What the allocator does wrong ends the event as what the handler does wrong."""
    error = fail(wat(alloc="unreachable"))
    assert (type(error), error.kind) == (wasmrun.GuestTrap, "unreachable")
    error = fail(wat(alloc="(loop $l (br $l)) (i32.const 0)"), timeout="50ms")
    assert type(error) is wasmrun.TimedOut
    error = fail(wat(alloc="(loop $l (br $l)) (i32.const 0)"), fuel=10_000)
    assert (type(error), error.report.fuel_used) == (wasmrun.OutOfFuel, 10_000)


def test_an_event_may_be_written_over_the_guest_itself(executor: wasmrun.Executor, wat: Callable[..., str]) -> None:
    """An allocator that gives the answer's own place harms only its guest: the answer is what the event left there."""
    guest = wat(packed(16, 3), alloc="(i32.const 16)", entry="wasmrun_handle_raw")
    assert executor.invoke(wasmrun.Function(guest, warm=0), b"own") == b"own"


@pytest.mark.parametrize(
    ("output", "value"),
    [(b"", None), (b" \n", None), (b"{", "{"), (b"[1,]", "[1,]"), (b"NaN", "NaN"), (b"[" * 2000, "[" * 2000),
     (b"9" * 5000, "9" * 5000), (b'"\\ud800"', "\ud800"), (b"\x1b[31m", "\x1b[31m")],
    ids=range(9),
)  # fmt: skip
def test_an_output_that_is_no_json_is_text(output: bytes, value: object, executor: wasmrun.Executor) -> None:
    """What a command writes is JSON where it can be read as JSON, else a string."""
    assert executor.invoke(wasmrun.Function(printing(output), warm=0)) == value


def test_an_output_that_is_no_text_is_invalid_unless_raw(executor: wasmrun.Executor, fail: Fail) -> None:
    """Bytes that are not UTF-8: the message says how to take them."""
    error = fail(printing(b"\xff\xfe"), {})
    assert type(error) is wasmrun.InvalidAnswer
    assert "not UTF-8" in error.message
    assert "--raw" in error.message
    assert executor.invoke(wasmrun.Function(printing(b"\xff\xfe"), raw=True, warm=0), b"") == b"\xff\xfe"


def printing(output: bytes) -> str:
    """A command that writes *output*."""
    text = "".join(f"\\{byte:02x}" for byte in output)
    return f"""(module
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 16) "{text}")
      (func (export "_start")
        (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const {len(output)}))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
