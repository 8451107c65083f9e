"""Made-up modules: each is refused, or run to an end that has a report, whatever is in it; nobody dies of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import modules
import pytest
import smith
import verdicts
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

import wasmrun

MADE = 30
BEGUN = 10

with_smith = pytest.mark.skipif(
    smith.tool() is None and "CI" not in os.environ, reason="wasm-tools is not there: pip install 'wasmrun[test]'"
)


@with_smith
def test_made_up_module_is_refused_or_ends(tmp_path: Path) -> None:
    """Modules of `wasm-tools smith` and `mutate`, on an `Executor` in a child process and on worker processes."""
    target = modules.Modules(tmp_path, tmp_path / "found")
    try:
        for number in range(MADE):
            target.try_one(number)
    finally:
        target.close()
    assert not target.found
    for counts in target.counts.values():
        assert counts.total() == MADE
        assert {verdicts.ANSWER, "InvalidFunction", "GuestTrap"} <= set(counts)


@with_smith
def test_made_up_module_that_began_before_is_refused_or_ends(tmp_path: Path) -> None:
    """From a snapshot of its start-up, whatever that did."""
    target = modules.Modules(tmp_path, tmp_path / "found", snapshot=True)
    try:
        for number in range(BEGUN):
            target.try_one(number)
    finally:
        target.close()
    assert not target.found
    for counts in target.counts.values():
        assert {verdicts.ANSWER, "InvalidFunction"} <= set(counts)


def test_crash_of_the_process_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself: a module that ends the process is saved, and the next one is run in another process."""
    target = modules.Modules(tmp_path, tmp_path / "found")
    monkeypatch.setattr(smith, "make", lambda number, _: smith.Made(number, "smith", b"\0asm", None))
    monkeypatch.setattr(modules.verdicts, "judge", lambda *_: "InvalidFunction")
    try:
        target.try_one(1)
        process = target._in_process._process
        assert process is not None
        process.kill()
        process.wait()
        target.try_one(2)
        target.try_one(3)
    finally:
        target.close()
    assert target.counts["Executor"] == {"InvalidFunction": 2, "Crashed": 1}
    ((kept, wrong),) = target.found
    assert kept.read_bytes() == b"\0asm"
    assert wrong.startswith("Executor: Crashed status -9")


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


Both = tuple[wasmrun.Executor, wasmrun.ProcessExecutor]


def check(executors: Both, module: bytes | str) -> None:
    """Both executors judge it, and agree unless a clock had its say."""
    first, second = (verdicts.judge(executor, verdicts.given(module, None, 1)) for executor in executors)
    assert {first, second} <= modules.EXPECTED
    assert first == second or "TimedOut" in (first, second)
    assert all(executor.stats().pool.in_flight == 0 for executor in executors)


@pytest.fixture(scope="session")
def executors(executor: wasmrun.Executor, walled: wasmrun.ProcessExecutor) -> Both:
    """One of each kind, on one cache: what the first compiled, the second loads."""
    return executor, walled


@given(mutations())
@settings(max_examples=50, deadline=None)
def test_any_change_of_a_module_is_a_refusal_an_error_or_an_answer(
    executors: Both, small: bytes, change: Callable[[bytes], bytes]
) -> None:
    """A module with a few bytes changed: refused, or run to an end that has a report."""
    check(executors, change(small))


@given(st.binary(min_size=1, max_size=60))
@settings(max_examples=10, deadline=None)
def test_any_bytes_after_the_header_are_a_refusal_or_a_module(executors: Both, body: bytes) -> None:
    """Anything after the first eight bytes is refused, with words for it."""
    check(executors, b"\0asm\1\0\0\0" + body)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
@settings(max_examples=10, deadline=None)
def test_any_text_after_a_parenthesis_is_a_refusal_or_a_module(executors: Both, text: str) -> None:
    """Text that looks like WAT is refused, with words for it."""
    check(executors, "(module " + text)
