"""Limits: each one holds, ends in its own error, and leaves a full report."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Fail, Refusal

MIB = 1024 * 1024
PAGE = 65536
ENDLESS = "(loop $l (br $l)) (i64.const 0)"
RECURSION = "(func $r (param i64) (result i64) (i64.add (call $r (local.get 0)) (i64.const 1)))"
SLEEP = """
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))"""


def sleeping(milliseconds: int, flags: int = 0) -> str:
    """A handler's body that sleeps by `poll_oneoff`."""
    return f"""
      (i64.store (i32.const 2048) (i64.const 7))
      (i32.store (i32.const 2064) (i32.const 1))
      (i64.store (i32.const 2072) (i64.const {milliseconds * 1_000_000}))
      (i32.store16 (i32.const 2088) (i32.const {flags}))
      (drop (call $poll (i32.const 2048) (i32.const 2112) (i32.const 1) (i32.const 2200)))"""


def test_memory_grows_to_its_limit_and_no_further(executor: wasmrun.Executor, wat: Callable[..., str]) -> None:
    """`memory.grow` answers -1 at the limit, to the page, and the guest lives on."""
    handler = """
      (local $n i32)
      (loop $more
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
      (i32.store8 (i32.const 18) (local.get $n)) (call $answer)"""
    result = executor.run(wasmrun.Function(wat(handler), memory="1MiB", warm=0), None)
    assert result.value == 16  # 15 pages more than the first, and one refusal
    assert result.report.memory_bytes == MIB
    assert result.report.memory_near_limit
    assert "Memory: near its limit" in str(result.report)


@pytest.mark.parametrize("exported", ["", '(export "m")'])
def test_a_memory_that_is_not_exported_has_the_same_limit(exported: str, executor: wasmrun.Executor) -> None:
    """Hiding the memory from the host does not get a guest more of it."""
    guest = f"""(module (memory {exported} 1)
      (func (export "run") (result i32) (drop (memory.grow (i32.const 3))) (memory.grow (i32.const 1))))"""
    assert executor.invoke(wasmrun.Function(guest, entry="run", memory="256KiB", warm=0)) == -1


def test_a_guest_that_grows_for_ever_ends_at_its_deadline_with_its_memory_bounded(
    wat: Callable[..., str], fail: Fail
) -> None:
    """Refused growth costs a guest its time, not the host its memory."""
    error = fail(
        wat("(loop $l (drop (memory.grow (i32.const 1))) (br $l)) (i64.const 0)"), timeout="50ms", memory="2MiB"
    )
    assert type(error) is wasmrun.TimedOut
    assert error.report.memory_bytes == 2 * MIB


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        ("unreachable", wasmrun.GuestTrap),
        ("(call $exit (i32.const 3)) (i64.const 0)", wasmrun.GuestExit),
        ("(call $answer)", wasmrun.GuestError),
    ],
)
def test_a_failure_near_the_memory_limit_says_so(
    ending: str, kind: type[Exception], wat: Callable[..., str], fail: Fail
) -> None:
    """A refused growth is invisible to the host: the error stays what it is, and its message names the memory."""
    imports = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
    grow = "(drop (memory.grow (i32.const 15)))"
    failed = b"\x92\x01\x81\xa7message\xa2no"
    error = fail(wat(grow + ending, data=failed, imports=imports), memory="1MiB")
    assert type(error) is kind
    assert error.report.memory_near_limit
    assert error.message.endswith("(its memory is near its limit of 1 MiB)")
    error = fail(wat(ending, data=failed, imports=imports), memory="1MiB")
    assert not error.report.memory_near_limit
    assert "limit" not in error.message


def test_timeout_ends_a_loop_without_fuel(wat: Callable[..., str], fail: Fail) -> None:
    """Without metering the deadline alone ends a guest, on time, and fuel is not reported."""
    started = time.monotonic()
    error = fail(wat(ENDLESS), timeout="100ms", fuel=None)
    assert time.monotonic() - started < 2
    assert type(error) is wasmrun.TimedOut
    assert isinstance(error, TimeoutError)
    assert "past its time of 100 ms; make it faster, or raise `timeout`" in error.message
    assert 0.1 <= error.report.duration < 1
    assert error.report.fuel_used is None


def test_timeout_ends_a_loop_before_its_fuel(wat: Callable[..., str], fail: Fail) -> None:
    """With both, the first one counts; the fuel of a loop that was interrupted is a lower bound, and says so."""
    error = fail(wat(ENDLESS), timeout="50ms")
    assert type(error) is wasmrun.TimedOut
    assert 0.05 <= error.report.duration < 1
    assert not error.report.fuel_exact
    assert "Fuel: >=" in str(error.report)


def test_fuel_ends_a_loop_before_its_timeout(wat: Callable[..., str], fail: Fail) -> None:
    """With both, the first one counts; the fuel that was used is exactly the fuel that there was."""
    error = fail(wat(ENDLESS), timeout="60s", fuel=1_000_000)
    assert type(error) is wasmrun.OutOfFuel
    assert "used up its fuel of 1000000; do less, or raise `fuel`" in error.message
    assert (error.report.fuel_used, error.report.fuel_exact) == (1_000_000, True)
    assert error.report.duration < 1
    assert "Fuel: 1000000" in str(error.report)


def test_fuel_is_the_same_for_the_same_work(executor: wasmrun.Executor, wat: Callable[..., str], fail: Fail) -> None:
    """An answer's fuel is exact: the same each time, enough when given again, and half of it is too little."""
    guest = wat()
    used = executor.run(wasmrun.Function(guest, warm=0, name="a"), None).report.fuel_used
    assert used is not None
    assert used > 0
    again = executor.run(wasmrun.Function(guest, warm=0, name="a", fuel=used), None)
    assert (again.value, again.report.fuel_used, again.report.fuel_exact) == (True, used, True)
    error = fail(guest, fuel=used // 2)
    assert (type(error), error.report.fuel_used) == (wasmrun.OutOfFuel, used // 2)


def test_a_shorter_timeout_of_a_call_counts_and_a_longer_one_does_not(
    executor: wasmrun.Executor, wat: Callable[..., str]
) -> None:
    """What a caller says about one event can only take time away."""
    function = wasmrun.Function(wat(ENDLESS), timeout="100ms", warm=0)
    result = executor.run(function, None, timeout=0.03)
    assert isinstance(result.error, wasmrun.TimedOut)
    assert 0.03 <= result.report.duration < 0.1
    assert "past its time of 30.0 ms" in result.error.message
    result = executor.run(function, None, timeout=60)
    assert isinstance(result.error, wasmrun.TimedOut)
    assert result.report.duration < 2


@pytest.mark.parametrize("timeout", [-1, "soon", float("nan")])
def test_a_timeout_of_a_call_that_is_none_is_refused(
    timeout: object, executor: wasmrun.Executor, wat: Callable[..., str]
) -> None:
    """A negative duration or none at all is a `ValueError`, and no sandbox stays behind."""
    with pytest.raises(ValueError, match="duration"):
        executor.invoke(wasmrun.Function(wat(), warm=0), None, timeout=timeout)
    assert executor.stats().pool.in_flight == 0


@pytest.mark.parametrize("flags", [0, 1])
def test_sleeping_ends_at_the_deadline(flags: int, wat: Callable[..., str], fail: Fail) -> None:
    """A guest that sleeps longer than it may is woken by its deadline, whether the time is relative or absolute."""
    error = fail(wat(sleeping(60_000, flags) + "(call $answer)", imports=SLEEP, memory="2"), timeout="50ms")
    assert type(error) is wasmrun.TimedOut
    assert 0.05 <= error.report.duration < 1


def test_sleeping_less_than_the_deadline_is_allowed(executor: wasmrun.Executor, wat: Callable[..., str]) -> None:
    """A sleep takes the time that the guest asked for, and ends with its event written."""
    handler = sleeping(30) + "(i32.store8 (i32.const 18) (i32.load8_u (i32.const 2112))) (call $answer)"
    result = executor.run(wasmrun.Function(wat(handler, imports=SLEEP), timeout="5s", warm=0), None)
    assert result.value == 7  # the event's userdata
    assert 0.03 <= result.report.duration < 1


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ("(i32.const 65520) (i32.const 0) (i32.const 1) (i32.const 0)", "memory out of bounds"),
        ("(i32.const 0) (i32.const -1) (i32.const 1) (i32.const 0)", "memory out of bounds"),
        ("(i32.const 0) (i32.const 0) (i32.const 1) (i32.const -1)", "memory out of bounds"),
        ("(i32.const 0) (i32.const 0) (i32.const -1) (i32.const 0)", "host call"),
        ("(i32.const 0) (i32.const 0) (i32.const 5000) (i32.const 0)", "host call"),
    ],
)
def test_sleeping_on_addresses_outside_the_memory_is_a_trap(
    arguments: str, kind: str, wat: Callable[..., str], fail: Fail
) -> None:
    """`poll_oneoff` checks what it is pointed at, and how much."""
    error = fail(wat(f"(drop (call $poll {arguments})) (call $answer)", imports=SLEEP, memory="1 1"))
    assert (type(error), error.kind) == (wasmrun.GuestTrap, kind)


def test_polling_in_a_loop_ends_at_the_deadline(wat: Callable[..., str], fail: Fail) -> None:
    """Polls that return at once, and polls for nothing, do not keep a guest alive."""
    for count in (0, 1):
        poll = f"(drop (call $poll (i32.const 2048) (i32.const 2112) (i32.const {count}) (i32.const 2200)))"
        loop = f"(loop $l {poll} (br $l))"
        error = fail(wat(loop + "(i64.const 0)", imports=SLEEP), timeout="50ms", fuel=None)
        assert type(error) is wasmrun.TimedOut


@pytest.mark.parametrize("stack", ["128KiB", "256KiB", "512KiB", "1MiB"])
def test_stack_ends_recursion_at_every_size(
    stack: str, executor: wasmrun.Executor, wat: Callable[..., str], fail: Fail
) -> None:
    """Recursion ends in a trap, on the caller's thread and on the executor's, and the process lives on."""
    guest = wat("(call $r (i64.const 1))", more=RECURSION)
    error = fail(guest, stack=stack)
    assert (type(error), error.kind) == (wasmrun.GuestTrap, "stack overflow")
    assert error.frames
    assert len(error.frames) <= 32
    future = executor.submit(wasmrun.Function(guest, stack=stack, warm=0), None)
    raised = future.exception()
    assert isinstance(raised, wasmrun.GuestTrap)
    assert raised.kind == "stack overflow"


def test_stack_of_a_larger_size_goes_deeper(executor: wasmrun.Executor) -> None:
    """The setting is what bounds the depth: a guest with twice the stack gets about twice as deep."""
    guest = """(module (global $depth (mut i32) (i32.const 0))
      (func $down (param $n i32) (result i32)
        (if (result i32) (i32.eqz (local.get $n)) (then (i32.const 0))
          (else (i32.add (i32.const 1) (call $down (i32.sub (local.get $n) (i32.const 1)))))))
      (func (export "down") (param i32) (result i32) (call $down (local.get 0))))"""

    def deepest(stack: str) -> int:
        function = wasmrun.Function(guest, entry="down", stack=stack, warm=0)
        low, high = 0, 1 << 20
        while high - low > 64:
            middle = (low + high) // 2
            low, high = (middle, high) if executor.run(function, [middle]).is_ok else (low, middle)
        return low

    small, large = deepest("128KiB"), deepest("512KiB")
    assert 3 < large / small < 5


def test_table_elements_bound_growth_and_minimum(executor: wasmrun.Executor, refusal: Refusal) -> None:
    """`table.grow` answers -1 past the limit; a table that starts above it is refused."""

    def guest(minimum: int) -> str:
        return f"""(module (table $t {minimum} funcref)
          (func (export "grow") (param i32) (result i32) (table.grow $t (ref.null func) (local.get 0))))"""

    function = wasmrun.Function(guest(10), table_elements=100, warm=0)
    assert executor.invoke(function, [90]) == 10
    assert executor.invoke(function, [91]) == -1
    assert executor.invoke(function, [-1]) == -1
    assert "table starts with 101 elements, more than its limit of 100" in refusal(guest(101), [0], table_elements=100)
    assert executor.invoke(wasmrun.Function(guest(0), warm=0), [20_000]) == 0
    assert executor.invoke(wasmrun.Function(guest(0), warm=0), [20_001]) == -1
    assert "table" in refusal(guest(20_001), [0])


@pytest.mark.parametrize("how", ["start", "_initialize", "wasmrun_init"])
def test_init_timeout_ends_a_start_up_that_loops(how: str, wat: Callable[..., str], fail: Fail) -> None:
    """A start-up has its own allowance; past it the error names that setting, and the report has its time."""
    loop = "(loop $l (br $l))"
    more = f"(func $s {loop}) (start $s)" if how == "start" else f'(func (export "{how}") {loop})'
    error = fail(wat(more=more), init_timeout="50ms", timeout="10s")
    assert type(error) is wasmrun.TimedOut
    assert "past its time of 50.0 ms; make it faster, or raise `init_timeout`" in error.message
    assert error.report.duration == 0
    assert 0.05 <= error.report.init_duration < 1
    error = fail(wat(more=more), init_timeout="10s", fuel=10_000)
    assert type(error) is wasmrun.OutOfFuel
    assert error.report.fuel_used == 10_000
    error = fail(wat(more=more), init_timeout="50ms", fuel=None)
    assert type(error) is wasmrun.TimedOut


def test_a_start_up_has_fuel_of_its_own(executor: wasmrun.Executor, wat: Callable[..., str]) -> None:
    """What preparing used is not taken from the event, nor reported as the event's."""
    spin = """(local $n i32)
      (loop $l (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $n) (i32.const 1000))))"""
    plain = executor.run(wasmrun.Function(wat(), warm=0), None).report.fuel_used
    function = wasmrun.Function(wat(more=f'(func (export "wasmrun_init") {spin})'), fuel=8_000, warm=0)
    result = executor.run(function, None)
    assert result.value is True
    assert result.report.fuel_used == plain


def test_module_bytes_bound_the_module(executor: wasmrun.Executor, refusal: Refusal) -> None:
    """A module over its limit is not compiled: bytes, text, and text whose binary is larger."""
    module = b"\0asm\1\0\0\0" + b"\0\x7f" + b"\0" * 127
    assert "the module has 137 B, more than its limit of 136 B" in refusal(module, module_bytes=136)
    assert "no entry is named" in refusal(module, module_bytes=137)
    assert "more than its limit of 64 B" in refusal("(module " + " " * 64 + ")", module_bytes=64)
    assert "as a binary" in refusal('(memory(data "x"))', module_bytes=20)
