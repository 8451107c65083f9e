"""The command ABI: a program's input is the event as JSON, its output the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from wasmrun import GuestTrap, InvalidAnswer, InvalidEvent, Result

Run = Callable[..., Result]

WASI = """
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))"""
CAT = f"""(module {WASI} (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 1024))
    (loop $again
      (i32.store (i32.const 4) (i32.const 5000))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
      (if (i32.load (i32.const 4)) (then
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (br $again)))))
  (func (export "again") (unreachable)))"""


@pytest.mark.parametrize(
    "value",
    [None, {}, {"a": [1, 2.5, "ü\N{SNOWMAN}"]}, "text", 2**70, [], {"b": {"c": None}}, "x" * 100_000],
    ids=lambda value: str(value)[:20],
)
def test_event_is_json_on_standard_input(run: Run, value: Any) -> None:
    """And the answer is what the JSON on standard output says."""
    assert run(CAT, value).value == value


def test_event_of_bytes_is_standard_input_as_it_stands(run: Run) -> None:
    """JSON that somebody has written already."""
    assert run(CAT, b' {"a" : 1} ').value == {"a": 1}


def test_bytes_in_an_event_are_base64_in_json(run: Run) -> None:
    """As at every JSON door."""
    assert run(CAT, {"data": b"\x00\xff"}).value == {"data": "AP8="}


@pytest.mark.parametrize("event", [float("nan"), {1: 2}, {1, 2}, object(), "\ud800"], ids=repr)
def test_event_that_json_has_no_form_for_is_refused(run: Run, event: Any) -> None:
    """The caller's mistake, before the program starts."""
    with pytest.raises(InvalidEvent, match="the event cannot be written as JSON: "):
        run(CAT, event)


@pytest.mark.parametrize(
    ("output", "value"),
    [
        (b"", None),
        (b" \n", None),
        (b"null\n", None),
        (b"5\n", 5),
        (b"hello\n", "hello\n"),
        (b"{broken", "{broken"),
        (b"NaN", "NaN"),
        (b"[1, Infinity]", "[1, Infinity]"),
        (b"1 2", "1 2"),
        ("grüße".encode(), "grüße"),
        (b"[" * 3000, "[" * 3000),
    ],
)
def test_output_that_is_no_json_is_text(run: Run, output: bytes, value: Any) -> None:
    """As the program wrote it; nothing is None."""
    assert run(CAT, output).value == value


@pytest.mark.parametrize("output", [b"\xff", b"ok\xc3", b"\xed\xa0\x80"])
def test_output_that_is_no_text_is_invalid_unless_bytes_are_wanted(run: Run, output: bytes) -> None:
    """With what to do about it."""
    result = run(CAT, output)
    assert isinstance(result.error, InvalidAnswer)
    assert "is not UTF-8" in result.error.message
    assert "take it as bytes with raw=True (--raw)" in result.error.message
    assert run(CAT, output, raw=True).value == output


def test_raw_command_gives_and_takes_bytes(run: Run) -> None:
    """As they stand; no event is none, and anything else is refused."""
    assert run(CAT, b"{}", raw=True).value == b"{}"
    assert run(CAT, {}, raw=True).value == b""
    with pytest.raises(InvalidEvent, match="a raw command takes bytes, not dict"):
        run(CAT, {"a": 1}, raw=True)


def test_command_may_have_another_entry(run: Run) -> None:
    """Any export that takes and gives nothing."""
    result = run(CAT, {}, entry="again")
    assert isinstance(result.error, GuestTrap)
    assert result.error.kind == "unreachable"


def test_command_needs_no_memory_to_end_well(run: Run) -> None:
    """It reads and writes nothing then."""
    result = run('(module (func (export "_start")))', {"a": 1})
    assert (result.value, result.error, result.report.memory_bytes) == (None, None, 0)


def test_command_report_has_the_sizes_of_both_texts(run: Run) -> None:
    """In bytes, as they crossed."""
    report = run(CAT, {"ü": 1}).report
    assert (report.abi, report.event_bytes, report.result_bytes) == ("command", 9, 9)
