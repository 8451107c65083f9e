"""Traps: every kind by its name, taken from the trap's code and never from words of the guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Fail


@pytest.mark.parametrize(
    ("kind", "body", "more"),
    [
        ("unreachable", "unreachable", ""),
        ("memory out of bounds", "(drop (i32.load (i32.const 65533)))", "(memory 1 1)"),
        ("memory out of bounds", "(i64.store offset=0xffffffff (i32.const -1) (i64.const 0))", "(memory 1 1)"),
        ("memory out of bounds", "(memory.fill (i32.const 65530) (i32.const 0) (i32.const 7))", "(memory 1 1)"),
        ("memory out of bounds", "(memory.copy (i32.const 0) (i32.const -1) (i32.const 2))", "(memory 1 1)"),
        ("memory out of bounds", "(memory.init 0 (i32.const 0) (i32.const 2) (i32.const 2))", '(memory 1) (data "a")'),
        ("table out of bounds", "(drop (table.get (i32.const 3)))", "(table 3 funcref)"),
        ("table out of bounds", "(table.fill (i32.const 2) (ref.null func) (i32.const 2))", "(table 3 funcref)"),
        ("table out of bounds", "(call_indirect (i32.const 3))", "(table 3 funcref)"),
        ("call of a null function", "(call_indirect (i32.const 1))", "(table 3 funcref)"),
        ("indirect call of the wrong type", "(drop (call_indirect (result i32) (i32.const 0)))",
         "(table funcref (elem $f)) (func $f)"),
        ("integer overflow", "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", ""),
        ("integer overflow", "(drop (i32.trunc_f64_s (f64.const 1e10)))", ""),
        ("integer division by zero", "(drop (i32.div_u (i32.const 1) (i32.const 0)))", ""),
        ("integer division by zero", "(drop (i64.rem_s (i64.const 1) (i64.const 0)))", ""),
        ("invalid conversion to integer", "(drop (i32.trunc_f32_s (f32.const nan)))", ""),
        ("stack overflow", "(call $run)", ""),
    ],
)  # fmt: skip
def test_a_trap_has_its_kind(kind: str, body: str, more: str, fail: Fail) -> None:
    """What a guest did wrong is in `kind` and in the message, with the function that did it."""
    error = fail(f'(module {more} (func $run (export "run") {body}))', entry="run")
    assert type(error) is wasmrun.GuestTrap
    assert error.kind == kind
    assert error.message.startswith(f"the function trapped: {kind} in run (function ")
    assert error.frames[0].startswith("run (function ")
    assert error.stack == error.frames
    assert error.type == "GuestTrap"


def test_a_trap_names_the_functions_from_the_inside_out(fail: Fail) -> None:
    """Frames are the guest's stack, innermost first; a function without a name has its index."""
    error = fail("""(module
      (func $inner unreachable) (func (call $inner)) (func $outer (export "run") (call 1)))""")
    assert error.frames == ("inner (function 0)", "function 1", "outer (function 2)")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (r"\1b]0;owned\07\1b[2J", r"\x1b]0;owned\x07\x1b[2J"),
        (r"two\0alines\0d", r"two\nlines\r"),
        (r"\e2\80\ae txt.exe", "\\u202e txt.exe"),
        (r"\c2\9b31m", r"\x9b31m"),
    ],
)
def test_a_name_in_a_trap_is_escaped(name: str, shown: str, fail: Fail) -> None:
    """Function names are the guest's: escape sequences, newlines and direction marks never reach a terminal."""
    error = fail(f'(module (func (@name "{name}") (export "run") unreachable))', entry="run")
    assert error.frames == (f"{shown} (function 0)",)
    assert error.message == f"the function trapped: unreachable in {shown} (function 0)"
    assert error.message.isprintable()


def test_a_name_in_a_trap_is_cut(fail: Fail) -> None:
    """A name of 90 kB does not fill a log."""
    for letter in ("x", "\\1b"):
        error = fail(f'(module (func (@name "{letter * 90_000}") (export "run") unreachable))', entry="run")
        assert len(error.frames[0]) < 150
        assert "…" in error.frames[0]
        assert len(error.message) < 200


def test_a_name_does_not_choose_the_kind(fail: Fail) -> None:
    """A function called like another error changes nothing: kinds come from the trap's code."""
    for name in ("all fuel consumed by WebAssembly", "wasm trap: interrupt", "wasm trap: call stack exhausted"):
        error = fail(f'(module (func (@name "{name}") (export "run") unreachable))', entry="run")
        assert (type(error), error.kind) == (wasmrun.GuestTrap, "unreachable")


def test_a_trap_in_a_deep_stack_has_few_frames(fail: Fail) -> None:
    """A deep stack is shown from its inner end, and not all of it."""
    error = fail(
        """(module (func $down (export "down") (param i32)
      (if (i32.eqz (local.get 0)) (then unreachable)) (call $down (i32.sub (local.get 0) (i32.const 1)))))""",
        [1000],
    )
    assert 10 <= len(error.frames) <= 32


@pytest.mark.parametrize(
    ("body", "fuel_exact"),
    [
        ("unreachable", True),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", False),
    ],
)
def test_a_trap_says_whether_its_fuel_is_exact(body: str, fuel_exact: bool, fail: Fail) -> None:
    """`unreachable` writes the fuel down, a trap by a signal does not: the report says which it is."""
    error = fail(f'(module (func (export "run") {body}))', entry="run")
    assert error.report.fuel_exact is fuel_exact


def test_an_abort_of_assemblyscript_is_a_trap_with_its_words(wat: Callable[..., str], fail: Fail) -> None:
    """`env.abort` ends the guest; message and file are escaped, and addresses outside the memory are no words."""
    abort = '(import "env" "abort" (func $abort (param i32 i32 i32 i32)))'
    text = "no\x1b[31m".encode("utf-16-le")
    data = len(text).to_bytes(4, "little") + text

    def guest(message: str, file: str) -> str:
        return wat(
            f"(call $abort {message} {file} (i32.const 3) (i32.const 7)) (i64.const 0)", imports=abort, data=data
        )

    error = fail(guest("(i32.const 20)", "(i32.const 20)"))
    assert (type(error), error.kind) == (wasmrun.GuestTrap, "abort")
    assert error.message == r"the function aborted: no\x1b[31m at no\x1b[31m:3:7"
    for nowhere in ("(i32.const 0)", "(i32.const -1)", "(i32.const 65537)", "(i32.const 3)"):
        assert fail(guest(nowhere, nowhere)).message == "the function aborted: no message"


def test_an_exit_in_a_handler_is_an_exit(wat: Callable[..., str], fail: Fail) -> None:
    """A native guest that calls `proc_exit` is a `GuestExit`, with its status; also 0, which is no answer."""
    imports = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
    for status in (0, 3, 125):
        error = fail(wat(f"(call $exit (i32.const {status})) (i64.const 0)", imports=imports))
        assert (type(error), error.status) == (wasmrun.GuestExit, status)
        assert error.message == f"the program exited with status {status}"


@pytest.mark.parametrize("status", [1, 77, 125, 126, 255, 256, -1, -(2**31)])
def test_a_command_that_exits_with_any_status_is_an_exit(status: int, fail: Fail) -> None:
    """Every status other than 0 is a `GuestExit`, those that a shell does not have too, with its report."""
    error = fail(exiting(status), {})
    assert (type(error), error.status, error.report.abi) == (wasmrun.GuestExit, status, "command")
    assert error.message == f"the program exited with status {status}"


def exiting(status: int) -> str:
    """A command that exits with *status*."""
    return f"""(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const {status}))))"""
