"""Fuzzing: whatever bytes come from outside, what comes out is a value or an error of ours, and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack
import pytest
import wasmtime
from hypothesis import example, given, settings
from hypothesis import strategies as st

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = 65536
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(st.binary(max_size=200) | st.binary(max_size=40).map(lambda tail: b"\x92\0" + tail)
       | st.binary(max_size=40).map(lambda tail: b"\x92\1\x83\xa4type" + tail))  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_an_answer_or_an_error(decoded: Callable[[bytes], Any], answer: bytes) -> None:
    """Bytes as the envelope of an answer: a value of plain types, or one of the three errors that there are for it."""
    value = decoded(answer)
    if isinstance(value, Exception):
        assert type(value) in (wasmrun.InvalidAnswer, wasmrun.GuestError, wasmrun.OutOfMemory)
    else:
        assert is_plain(value)


@given(JSON)
@settings(max_examples=200, deadline=None)
def test_any_value_is_its_own_answer(decoded: Callable[[bytes], Any], value: object) -> None:
    """Every value of plain types comes back as it went, from a guest that gives back what it got."""
    assert decoded(msgpack.packb([0, value])) == value


def is_plain(value: object) -> bool:
    """Whether *value* holds what JSON can, and bytes, and nothing else."""
    if type(value) is list:
        return all(map(is_plain, value))
    if type(value) is dict:
        return all(type(key) is str and is_plain(inner) for key, inner in value.items())
    return value is None or type(value) in (bool, int, float, str, bytes)


@pytest.fixture(scope="module")
def pointing(wat: Callable[..., str]) -> wasmrun.Function:
    """A raw function that answers with the place that its event names."""
    guest = wat("(i64.load (local.get $ptr))", memory="2 2", data=bytes(range(256)) * 16, entry="wasmrun_handle_raw")
    return wasmrun.Function(guest, warm=4, result_bytes=50_000)


EDGES = st.sampled_from([0, 1, 16, 4112, 2 * PAGE - 1, 2 * PAGE, 2 * PAGE + 1, 1 << 31, (1 << 32) - 1])


@given(
    EDGES | st.integers(0, 3 * PAGE) | st.integers(0, 2**32 - 1),
    EDGES | st.integers(0, 300) | st.integers(0, 2**32 - 1),
)
@settings(max_examples=300, deadline=None)
@example(16, 256)
def test_any_place_is_an_answer_or_an_error(
    executor: wasmrun.Executor, pointing: wasmrun.Function, pointer: int, length: int
) -> None:
    """Exactly what lies in the memory and within the limit is read; everything else is refused by its own error."""
    result = executor.run(pointing, (pointer << 32 | length).to_bytes(8, "little"))
    if pointer + length > 2 * PAGE:
        assert type(result.error) is wasmrun.InvalidAnswer
    elif length > 50_000:
        assert type(result.error) is wasmrun.ResultTooLarge
    elif length and not pointer:
        assert type(result.error) is wasmrun.InvalidAnswer
    else:
        assert len(result.value) == length
        if pointer >= 16 and pointer + length <= 16 + 4096:
            assert result.value == bytes((pointer - 16 + n) % 256 for n in range(length))


SMALL = """(module
  (import "wasmrun" "log" (func $log (param i32 i32 i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1 2)
  (table 2 funcref) (elem (i32.const 0) $init)
  (global $g (mut i32) (i32.const 0))
  (data (i32.const 16) "\\92\\00\\c3")
  (func $init (export "wasmrun_init") (global.set $g (i32.const 4096)))
  (func (export "wasmrun_alloc") (param i32) (result i32) (global.get $g))
  (func (export "wasmrun_handle") (param i32 i32) (result i64)
    (call $log (i32.const 2) (local.get 0) (local.get 1))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call_indirect (i32.const 0))
    (i64.or (i64.shl (i64.extend_i32_u (i32.const 16)) (i64.const 32)) (i64.const 3))))"""


@pytest.fixture(scope="session")
def small() -> bytes:
    """A small module that uses a little of everything."""
    return bytes(wasmtime.wat2wasm(SMALL))


@st.composite
def mutations(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """What changes a few bytes of a module: replaced, inserted, removed, or cut at the end."""
    steps = draw(
        st.lists(
            st.tuples(st.sampled_from("rrrrid"), st.floats(0, 1, exclude_max=True), st.integers(0, 255)),
            min_size=1,
            max_size=3,
        )
    )

    def change(module: bytes) -> bytes:
        data = bytearray(module)
        for kind, where, byte in steps:
            at = 8 + int(where * (len(data) - 8))
            if kind == "r":
                data[at] = byte
            elif kind == "i":
                data.insert(at, byte)
            else:
                del data[at]
        return bytes(data)

    return change


LIMITS: dict[str, Any] = {
    "warm": 0, "timeout": "100ms", "init_timeout": "100ms", "memory": "1MiB", "fuel": 1_000_000, "log_bytes": "1KiB",
    "result_bytes": "64KiB", "name": "fuzzed",
}  # fmt: skip


@given(mutations())
@settings(max_examples=80, deadline=None)
def test_any_change_of_a_module_is_a_refusal_an_error_or_an_answer(
    executor: wasmrun.Executor, small: bytes, change: Callable[[bytes], bytes]
) -> None:
    """A module with a few bytes changed: refused, or run to an end that has a report."""
    outcome_of(executor, wasmrun.Function(change(small), **LIMITS))


@given(st.binary(min_size=1, max_size=60))
@settings(max_examples=20, deadline=None)
def test_any_bytes_after_the_header_are_a_refusal_or_a_module(executor: wasmrun.Executor, body: bytes) -> None:
    """Anything after the first eight bytes is refused, with words for it."""
    outcome_of(executor, wasmrun.Function(b"\0asm\1\0\0\0" + body, **LIMITS))


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
@settings(max_examples=20, deadline=None)
def test_any_text_after_a_parenthesis_is_a_refusal_or_a_module(executor: wasmrun.Executor, text: str) -> None:
    """Text that looks like WAT is refused, with words for it."""
    outcome_of(executor, wasmrun.Function("(module " + text, **LIMITS))


def outcome_of(executor: wasmrun.Executor, function: wasmrun.Function) -> None:
    """Run *function*: it is refused, its event is, or there is a result; and nothing stays behind."""
    refused: wasmrun.WasmrunError | None = None
    try:
        result = executor.run(function, None)
    except (wasmrun.InvalidFunction, wasmrun.InvalidEvent) as error:
        refused = error
    if refused is not None:
        assert refused.message.isprintable()
        assert len(refused.message) < 2_000
    else:
        assert result.error is None or result.error.report is result.report
        assert result.report.memory_bytes <= 1024 * 1024
        assert result.report.log_bytes <= 1024
        executor.unload(function)
    assert executor.stats().pool.in_flight == 0
