"""A log keeps its lines in order, up to its limit, and says where it was cut."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmrun import Log, Result
from wasmrun.machine.logbook import CUT, LogBook

Wat = Callable[..., str]
Run = Callable[..., Result]

LOG = '(import "wasmrun" "log" (func $log (param i32 i32 i32)))'
STEP = 16  # what an entry counts beyond its text


def logged(wat: Wat, run: Run, calls: str, *, data: bytes = b"hello", **settings: object) -> Result:
    """The result of a guest that makes these log calls."""
    return run(wat(f"{calls} (call $answer)", imports=LOG, entry="f_raw", data=data), b"", entry="f_raw", **settings)


def call(level: int, length: int = 5) -> str:
    return f"(call $log (i32.const {level}) (i32.const 16) (i32.const {length}))"


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "trace"),
        (1, "debug"),
        (2, "info"),
        (3, "warn"),
        (4, "error"),
        (5, "error"),
        (2**31 - 1, "error"),
        (-1, "trace"),
        (-(2**31), "trace"),
    ],
)
def test_log_level_is_named_and_the_nearest_where_there_is_none(wat: Wat, run: Run, number: int, name: str) -> None:
    """0 to 4; what is above is an error, what is negative a trace."""
    assert logged(wat, run, call(number)).logs == (Log(name, "hello"),)


def test_log_entries_stay_in_order_with_their_text_as_it_was(wat: Wat, run: Run) -> None:
    """Newlines and escapes are the reader's to escape; what is no UTF-8 is marked."""
    result = logged(wat, run, call(2) + call(3, 0) + call(1, 8), data=b"\x1b[1m\nA\xff\xc3\xa4")
    assert result.logs == (
        Log("info", "\x1b[1m\n"),
        Log("warn", ""),
        Log("debug", "\x1b[1m\nA\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"),
    )
    assert result.report.log_bytes == 13


def test_log_is_cut_at_its_limit_with_a_mark(wat: Wat, run: Run) -> None:
    """What fits of the last line, the mark, and nothing after; the event goes on."""
    result = logged(wat, run, call(2) * 5, log_bytes=2 * (STEP + 5) + STEP + 2)
    assert result.logs == (Log("info", "hello"), Log("info", "hello"), Log("info", "he"), CUT)
    assert result.report.log_bytes == 12
    assert result.is_ok


@pytest.mark.parametrize("limit", [0, 1, STEP])
def test_log_with_no_room_at_all_is_the_mark_alone(wat: Wat, run: Run, limit: int) -> None:
    """A limit of 0 switches logging off, visibly."""
    assert logged(wat, run, call(2) * 3, log_bytes=limit).logs == (CUT,)


def test_log_calls_with_nothing_in_them_do_not_fill_the_memory(wat: Wat, run: Run) -> None:
    """Empty lines count, too: 20,000 of them end in the mark, not in 20,000 entries."""
    loop = """(local $n i32) (local.set $n (i32.const 20000))
      (loop $again (call $log (i32.const 2) (i32.const 0) (i32.const 0))
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))"""
    result = logged(wat, run, loop, log_bytes="16KiB")
    assert len(result.logs) == 1024 + 1
    assert result.logs[-1] == CUT
    assert result.report.log_bytes == 0


def test_log_calls_after_the_cut_are_charged_all_the_same(wat: Wat, run: Run) -> None:
    """A guest that floods the log pays for it until its fuel is gone."""
    loop = "(loop $again (call $log (i32.const 2) (i32.const 0) (i32.const 60000)) (br $again))"
    result = logged(wat, run, loop, log_bytes=10, fuel=5_000_000)
    assert type(result.error).__name__ == "OutOfFuel"
    assert result.logs[-1] == CUT


def test_log_of_one_event_is_not_the_next_ones(wat: Wat, run: Run) -> None:
    """Each starts with an empty book and its whole limit."""
    for _ in range(2):
        assert logged(wat, run, call(2), log_bytes=STEP + 5).logs == (Log("info", "hello"),)


def test_log_made_before_a_failure_comes_with_the_error(wat: Wat, run: Run) -> None:
    """That is what it is for."""
    result = logged(wat, run, call(4) + "(unreachable)")
    assert result.error is not None
    assert result.error.logs == result.logs == (Log("error", "hello"),)


@given(st.lists(st.binary(max_size=40)), st.integers(0, 400))
def test_log_book_never_holds_more_than_its_limit(texts: list[bytes], limit: int) -> None:
    """In text and in entries; it says so exactly when something was left out."""
    book = LogBook(limit)
    for text in texts:
        book.add(2, text)
    kept = [entry for entry in book.entries if entry is not CUT]
    assert book.size <= limit
    assert len(kept) * STEP <= limit + STEP
    assert book.is_cut == (CUT in book.entries) == (sum(len(text) + STEP for text in texts) > limit)
    if book.is_cut:
        assert book.entries[-1] is CUT
        assert book.entries.count(CUT) == 1
    else:
        assert [entry.message for entry in kept] == [text.decode("utf-8", "replace") for text in texts]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_log_book_splits_a_stream_at_newlines_wherever_the_chunks_end(data: bytes, cuts: list[int]) -> None:
    """Each line is an entry of its own, the last one also without a newline."""
    whole, pieces = LogBook(10**6), LogBook(10**6)
    whole.write(data)
    places = [0, *sorted(cuts), len(data)]
    for start, end in itertools.pairwise(places):
        pieces.write(data[start:end])
    for book in (whole, pieces):
        book.flush()
        book.flush()
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    assert whole.entries == pieces.entries == [Log("info", line.decode("utf-8", "replace")) for line in lines]


@given(st.lists(st.binary(max_size=60), max_size=10), st.integers(0, 200))
def test_log_book_holds_no_more_of_a_stream_than_its_limit(chunks: list[bytes], limit: int) -> None:
    """A line without an end is not gathered for ever."""
    book = LogBook(limit)
    for chunk in chunks:
        book.write(chunk)
        assert len(book._partial) <= limit + 60
    book.flush()
    assert book.size <= limit


def test_log_book_takes_nothing_after_the_cut() -> None:
    """Neither entries nor streams, nor what was left of a line."""
    book = LogBook(20)
    book.write(b"a" * 30)
    assert book.entries == [Log("info", "aaaa"), CUT]
    book.add(2, b"b")
    book.write(b"c\n")
    book.flush()
    assert len(book.entries) == 2


def test_log_book_takes_the_nearest_level() -> None:
    """Also by itself."""
    book = LogBook(100)
    book.add(-3, b"")
    book.add(9, b"")
    assert [entry.level for entry in book.entries] == ["trace", "error"]
