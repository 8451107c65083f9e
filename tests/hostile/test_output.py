"""Output: logs and standard streams are kept as they came, up to their limits, and harm nobody."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

import wasmrun
from wasmrun.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Fail

LOG = '(import "wasmrun" "log" (func $log (param i32 i32 i32)))'
CUT = wasmrun.Log("warn", "[the log is cut here: it reached its limit]")


def literal(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)


def writer(descriptor: int, data: bytes, times: str = "1", ending: str = "") -> str:
    """A command that writes *data* to *descriptor* so many times."""
    return f"""(module
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 2)
      (data (i32.const 1024) "{literal(data)}")
      (func (export "_start") (local $n i32) (local $error i32)
        (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const {len(data)}))
        (loop $again
          (local.set $error (call $write (i32.const {descriptor}) (i32.const 0) (i32.const 1) (i32.const 8)))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br_if $again (i32.lt_u (local.get $n) (i32.const {times}))))
        {ending}))"""


def test_a_log_line_is_kept_raw_and_escaped_where_it_is_shown(
    executor: wasmrun.Executor, wat: Callable[..., str]
) -> None:
    """Escape sequences, newlines and broken UTF-8 stay in `.logs`; `printable` makes one harmless line of them."""
    text = b"\x1b[2Jred\nalert \xff\x00"
    handler = f"(call $log (i32.const 3) (i32.const 19) (i32.const {len(text)})) (call $answer)"
    guest = wat(handler, imports=LOG, data=b"\x92\x00\xc3" + text).replace(
        f"(call $pack (i32.const 16) (i32.const {len(text) + 3}))", "(call $pack (i32.const 16) (i32.const 3))"
    )
    result = executor.run(wasmrun.Function(guest, warm=0), None)
    assert result.logs == (wasmrun.Log("warn", "\x1b[2Jred\nalert \ufffd\0"),)
    shown = printable(result.logs[0].message)
    assert shown == r"\x1b[2Jred\nalert " + "\ufffd" + r"\x00"
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("level", "name"),
    [(0, "trace"), (1, "debug"), (2, "info"), (3, "warn"), (4, "error"),
     (5, "error"), (0x7FFFFFFF, "error"), (-1, "trace")],
)  # fmt: skip
def test_a_log_level_that_does_not_exist_is_the_nearest_one(
    level: int, name: str, executor: wasmrun.Executor, wat: Callable[..., str]
) -> None:
    """Levels are 0 to 4; others are no error."""
    handler = f"(call $log (i32.const {level}) (i32.const 16) (i32.const 0)) (call $answer)"
    assert executor.run(wasmrun.Function(wat(handler, imports=LOG), warm=0), None).logs == (wasmrun.Log(name, ""),)


@pytest.mark.parametrize(
    ("pointer", "length"), [(65535, 2), (-1, 1), (0, -1), (0x7FFFFFFF, 1), (0x80000000, 0x80000000), (65537, 0)]
)
def test_a_log_outside_the_memory_is_a_trap(pointer: int, length: int, wat: Callable[..., str], fail: Fail) -> None:
    """The host reads nothing that is not the guest's, and does not copy before it has looked."""
    handler = f"(call $log (i32.const 2) (i32.const {pointer}) (i32.const {length})) (call $answer)"
    error = fail(wat(handler, imports=LOG, memory="1 1"), fuel=10_000_000_000)
    assert (type(error), error.kind) == (wasmrun.GuestTrap, "memory out of bounds")
    assert f"gave wasmrun.log {length & 0xFFFFFFFF} bytes at {pointer & 0xFFFFFFFF}" in error.message


def test_log_bytes_cut_the_log_with_a_mark(executor: wasmrun.Executor, wat: Callable[..., str]) -> None:
    """What is over the limit is left out, the last entry says so, and the guest's answer stands."""
    handler = """(local $n i32) (loop $l (call $log (i32.const 2) (i32.const 0) (i32.const 100))
      (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if $l (i32.lt_u (local.get $n) (i32.const 50))))
      (call $answer)"""
    function = wasmrun.Function(wat(handler, imports=LOG), log_bytes=1000, warm=0)
    result = executor.run(function, None)
    assert result.value is True
    assert result.logs[-1] == CUT
    assert result.logs.count(CUT) == 1
    assert 800 <= result.report.log_bytes <= 1000
    assert result.report.log_bytes == sum(len(log.message) for log in result.logs[:-1])
    untouched = executor.run(wasmrun.Function(wat(handler, imports=LOG), log_bytes="64KiB", warm=0), None)
    assert len(untouched.logs) == 50
    assert CUT not in untouched.logs
    none = executor.run(wasmrun.Function(wat(handler, imports=LOG), log_bytes=0, warm=0), None)
    assert (none.logs, none.report.log_bytes) == ((CUT,), 0)


@pytest.mark.parametrize("length", [0, 1, 60_000])
@pytest.mark.parametrize("fuel", [None, 100_000_000])
def test_a_flood_of_logs_ends_within_its_limits(
    length: int, fuel: int | None, wat: Callable[..., str], fail: Fail
) -> None:
    """Log calls in an endless loop, empty ones too, cost the guest fuel or time, and the host a bounded log."""
    handler = f"(loop $l (call $log (i32.const 2) (i32.const 0) (i32.const {length})) (br $l)) (i64.const 0)"
    started = time.monotonic()
    error = fail(wat(handler, imports=LOG), timeout="200ms", fuel=fuel)
    assert time.monotonic() - started < 2
    assert type(error) in (wasmrun.TimedOut, wasmrun.OutOfFuel)
    assert error.report.log_bytes <= 256 * 1024
    assert len(error.logs) <= 256 * 1024 // 16 + 1
    if fuel is not None:
        # 1,000 fuel a call, and 1 a byte.
        assert len(error.logs) <= fuel // (1_000 + length) + 1


def test_a_log_that_the_fuel_does_not_pay_for_is_not_copied(wat: Callable[..., str], fail: Fail) -> None:
    """The charge comes first: a log call without fuel for it is `OutOfFuel`, and leaves no entry."""
    handler = "(call $log (i32.const 2) (i32.const 0) (i32.const 60000)) (call $answer)"
    error = fail(wat(handler, imports=LOG), fuel=60_500)
    assert (type(error), error.logs, error.report.fuel_used) == (wasmrun.OutOfFuel, (), 60_500)
    error = fail(wat(handler, imports=LOG), fuel=900)
    assert (type(error), error.report.fuel_used) == (wasmrun.OutOfFuel, 900)


def test_the_log_of_a_failure_is_on_the_error(wat: Callable[..., str], fail: Fail) -> None:
    """What a guest logged before it trapped, at start-up too, is not lost."""
    log = "(call $log (i32.const 4) (i32.const 16) (i32.const 3))"
    error = fail(wat(f"{log} unreachable", imports=LOG, data=b"why"))
    assert error.logs == (wasmrun.Log("error", "why"),)
    assert error.report.log_bytes == 3
    for more in (f"(func $s {log} unreachable) (start $s)", f'(func (export "wasmrun_init") {log} unreachable)'):
        error = fail(wat(imports=LOG, data=b"why", more=more))
        assert (error.kind, error.logs) == ("unreachable", (wasmrun.Log("error", "why"),))


def test_standard_error_of_a_command_is_its_log(executor: wasmrun.Executor, fail: Fail) -> None:
    """Every line is an entry, the last one also without its newline, and the limit is the log's."""
    result = executor.run(wasmrun.Function(writer(2, b"one\ntwo\x1b[0m\n\nthree"), warm=0), {})
    assert [log.message for log in result.logs] == ["one", "two\x1b[0m", "", "three"]
    result = executor.run(wasmrun.Function(writer(2, b"x" * 1000, "300"), log_bytes="10KiB", warm=0), {})
    assert result.logs[-1] == CUT
    assert 9_000 < result.report.log_bytes <= 10 * 1024
    error = fail(writer(2, b"\n" * 1000, "-1"), {}, timeout="200ms", log_bytes="10KiB")
    assert type(error) is wasmrun.TimedOut
    assert len(error.logs) <= 10 * 1024 // 16 + 1


def test_standard_output_of_a_native_guest_is_its_log(executor: wasmrun.Executor, wat: Callable[..., str]) -> None:
    """A handler that prints does no harm to its answer."""
    imports = '(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'
    handler = """(i32.store (i32.const 512) (i32.const 18)) (i32.store (i32.const 516) (i32.const 2))
      (drop (call $write (i32.const 1) (i32.const 512) (i32.const 1) (i32.const 520)))
      (call $pack (i32.const 16) (i32.const 3))"""
    result = executor.run(wasmrun.Function(wat(handler, imports=imports, data=b"\x92\x00\x7fk"), warm=0), None)
    assert (result.value, result.logs) == (127, (wasmrun.Log("info", "\x7fk"),))


@pytest.mark.parametrize("ending", ["", "(call $exit (i32.const 0))", "(call $exit (i32.const 7))", "unreachable"])
def test_an_output_over_its_limit_is_too_large(ending: str, executor: wasmrun.Executor, fail: Fail) -> None:
    """A command that writes more than `result_bytes` ends so, whatever it makes of the write that failed."""
    error = fail(writer(1, b"x" * 1000, "20", ending), {}, result_bytes=19_999)
    assert type(error) is wasmrun.ResultTooLarge
    assert "more than its limit of 19.5 KiB; write less, or raise `result_bytes`" in error.message
    error = fail(writer(1, b"x" * 60_000, "2", ending), {}, result_bytes=60_000)
    assert type(error) is wasmrun.ResultTooLarge


def test_an_output_of_its_limit_passes(executor: wasmrun.Executor) -> None:
    """Exactly `result_bytes` is allowed."""
    result = executor.run(wasmrun.Function(writer(1, b"x" * 1000, "20"), result_bytes=20_000, warm=0), {})
    assert (result.value, result.report.result_bytes) == ("x" * 20_000, 20_000)


def test_a_flood_of_output_ends_early_and_in_bounded_memory(fail: Fail) -> None:
    """A command that ignores every failed write and goes on writing is ended by the limit, not only by its deadline."""
    started = time.monotonic()
    error = fail(writer(1, b"x" * 60_000, "-1"), {}, timeout="20s", result_bytes="1MiB")
    assert type(error) is wasmrun.ResultTooLarge
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "vector", ["(i32.const -8) (i32.const 1)", "(i32.const 131068) (i32.const 1)", "(i32.const 0) (i32.const -1)"]
)
def test_an_output_from_outside_the_memory_fails(vector: str, fail: Fail) -> None:
    """WASI checks addresses as our own imports do: an error of the guest, and no crash."""
    guest = writer(1, b"x").replace("(i32.const 0) (i32.const 1) (i32.const 8)", f"{vector} (i32.const 8)")
    error = fail(guest.replace("(local.set $n", "(if (local.get $error) (then unreachable)) (local.set $n"), {})
    assert isinstance(error, wasmrun.GuestTrap)
