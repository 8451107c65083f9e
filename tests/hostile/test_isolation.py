"""Isolation: what one event leaves behind is never there for another, unless the function asked for it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MARKS = """
  (global $mark (mut i32) (i32.const 0))
  (table $table 2 10 funcref)
  (elem declare func $alloc)
"""
REMEMBER = """
  ;; What the events before this one left in a global, in the memory, in the table and in their sizes.
  (i32.store8 (i32.const 19) (global.get $mark))
  (i32.store8 (i32.const 20) (i32.load8_u (i32.const 9000)))
  (i32.store8 (i32.const 21) (i32.eqz (ref.is_null (table.get $table (i32.const 0)))))
  (i32.store8 (i32.const 22) (i32.sub (table.size $table) (i32.const 2)))
  (i32.store8 (i32.const 23) (i32.sub (memory.size) (i32.const 1)))
  (global.set $mark (i32.add (global.get $mark) (i32.const 1)))
  (i32.store8 (i32.const 9000) (i32.const 7))
  (table.set $table (i32.const 0) (ref.func $alloc))
  (drop (table.grow $table (ref.null func) (i32.const 1)))
  (drop (memory.grow (i32.const 1)))
"""
CLEAN = [0, 0, 0, 0, 0]


@pytest.fixture(scope="module")
def remember(wat: Callable[..., str]) -> Callable[..., str]:
    """A guest that answers with what it finds of earlier events, leaves its own marks, and then does *ending*."""

    def make(ending: str = "(call $answer)", more: str = "", imports: str = "") -> str:
        return wat(REMEMBER + ending, data=b"\x92\0\x95\0\0\0\0\0", more=MARKS + more, imports=imports)

    return make


@pytest.fixture
def alone(cache_dir: Path) -> Iterator[wasmrun.Executor]:
    """An executor with one sandbox: every event gets the place of the one before it."""
    with wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=1, threads=2, wait=1) as executor:
        yield executor


@pytest.mark.parametrize("warm", [0, 1])
def test_an_event_finds_nothing_of_the_one_before(
    warm: int, alone: wasmrun.Executor, remember: Callable[..., str]
) -> None:
    """Globals, memory, tables and their sizes are as the module made them, for cold starts and for warm ones."""
    function = wasmrun.Function(remember(), warm=warm)
    for _ in range(20):
        # The one place is free again once the keeper has destroyed the sandbox before.
        while warm and not alone.prewarm(function):
            time.sleep(0.001)
        result = alone.run(function, None)
        assert result.value == CLEAN
        assert result.report.start == ("warm" if warm else "cold")


def test_an_event_finds_nothing_of_another_functions(alone: wasmrun.Executor, wat: Callable[..., str]) -> None:
    """A guest that looks through all the memory it can get finds only zeros, where another one wrote all over."""
    fill = wat(
        "(drop (memory.grow (i32.const 15)))"
        "(memory.fill (i32.const 4096) (i32.const 0xaa) (i32.const 1044480)) (call $answer)"
    )
    look = wat(
        """(local $at i32) (drop (memory.grow (i32.const 15))) (local.set $at (i32.const 4096))
      (loop $next
        (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then (i32.store8 (i32.const 18) (i32.const 0xc2))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $next (i32.lt_u (local.get $at) (i32.const 1048576))))
      (call $answer)""",
        alloc="(i32.const 2048)",
    )
    for _ in range(10):
        assert alone.invoke(wasmrun.Function(fill, warm=0), None) is True
        assert alone.invoke(wasmrun.Function(look, warm=0), None) is True


@pytest.mark.parametrize("ending", ["unreachable", "(loop $l (br $l)) (i64.const 0)", "(i64.const -1)"])
def test_an_event_finds_nothing_of_one_that_failed(
    ending: str, alone: wasmrun.Executor, remember: Callable[..., str]
) -> None:
    """After a trap, a timeout or a bad answer the place is clean again."""
    bad = wasmrun.Function(remember(ending), timeout="30ms", warm=0)
    good = wasmrun.Function(remember(), warm=0)
    for _ in range(5):
        assert not alone.run(bad, None).is_ok
        assert alone.invoke(good, None) == CLEAN


def test_events_at_the_same_time_find_nothing_of_each_other(cache_dir: Path, remember: Callable[..., str]) -> None:
    """Many threads on few sandboxes: every event finds a clean one."""
    function = wasmrun.Function(remember(), warm=2)
    with wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=4) as executor, ThreadPoolExecutor(8) as threads:
        assert all(value == CLEAN for value in threads.map(lambda _: executor.invoke(function, None), range(400)))


def test_reuse_keeps_what_an_event_left(alone: wasmrun.Executor, remember: Callable[..., str]) -> None:
    """A function that asks for it finds its globals, memory and tables as it left them, one event after another."""
    function = wasmrun.Function(remember(), warm=0, reuse=True)
    assert alone.invoke(function, None) == CLEAN
    for n in range(1, 5):
        result = alone.run(function, None)
        assert result.value == [n, 7, 1, n, n]
        assert result.report.start == "reused"
        assert result.report.init_duration is None
        assert result.report.memory_bytes == (n + 2) * 65536


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        ("unreachable", wasmrun.GuestTrap),
        ("(loop $l (br $l)) (i64.const 0)", wasmrun.OutOfFuel),
        ("(i64.const -1)", wasmrun.InvalidAnswer),
        ("(call $pack (i32.const 16) (i32.const 3000))", wasmrun.ResultTooLarge),
        ("(call $pack (i32.const 16) (i32.const 1))", wasmrun.InvalidAnswer),
        ("(call $exit (i32.const 0)) (i64.const 0)", wasmrun.GuestExit),
        ("(drop (call $sleep)) (call $answer)", wasmrun.TimedOut),
        ("(i32.store (i32.const 8) (i32.const 0x800192)) (call $pack (i32.const 8) (i32.const 3))", wasmrun.GuestError),
    ],
)  # fmt: skip
def test_reuse_ends_with_a_failure(
    ending: str, error: type[Exception], alone: wasmrun.Executor, remember: Callable[..., str]
) -> None:
    """After a trap, a timeout, a limit, a bad answer or a reported error, the next event has a new sandbox."""
    imports = """
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))"""
    more = """(func $sleep (result i32)
      (i32.store (i32.const 9116) (i32.const 1)) (i64.store (i32.const 9124) (i64.const 100000000000))
      (call $poll (i32.const 9100) (i32.const 9200) (i32.const 1) (i32.const 9300)))"""
    # The first event answers, the second one fails.
    first = "(if (i32.eq (global.get $mark) (i32.const 1)) (then (return (call $answer))))"
    guest = remember(first + ending, imports=imports, more=more)
    function = wasmrun.Function(guest, warm=0, reuse=True, timeout="200ms", fuel=1_000_000, result_bytes=1000)
    for _ in range(3):
        result = alone.run(function, None)
        assert (result.value, result.report.start) == (CLEAN, "cold")
        failed = alone.run(function, None)
        assert type(failed.error) is error
        assert failed.report.start == "reused"
        assert failed.report.result_bytes in (0, 1, 3)


def test_reuse_is_never_shared_by_tenants(cache_dir: Path, remember: Callable[..., str]) -> None:
    """What one tenant's event left is there for that tenant alone; no tenant is a tenant too."""
    function = wasmrun.Function(remember(), warm=0, reuse=True)
    with wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=3, wait=1) as executor:
        for n in range(4):
            for tenant in ("a", "b", None):
                assert executor.invoke(function, None, tenant=tenant)[0] == n
    # With one place only, tenants take it from each other, and find it clean.
    with wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=1, wait=1) as executor:
        for tenant in ("a", "b", None, "a", "a"):
            value = executor.invoke(function, None, tenant=tenant)
        assert value[0] == 1
        assert executor.stats().pool.evictions == 3


@pytest.mark.parametrize(
    "body",
    [
        "unreachable",
        "(loop $l (br $l))",
        "(call $exit (i32.const 0))",
        "(call $log (i32.const 2) (i32.const -1) (i32.const 9))",
    ],
)
def test_a_free_that_fails_destroys_the_sandbox_and_not_the_answer(
    body: str, alone: wasmrun.Executor, remember: Callable[..., str]
) -> None:
    """The answer was read before; what cannot give it back is not used again."""
    more = f'(func (export "wasmrun_free") (param i32 i32) {body})'
    imports = """(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (import "wasmrun" "log" (func $log (param i32 i32 i32)))"""
    function = wasmrun.Function(remember(more=more, imports=imports), warm=0, reuse=True, fuel=100_000)
    for _ in range(3):
        result = alone.run(function, None)
        assert (result.value, result.report.start, result.report.status) == (CLEAN, "cold", "success")


def test_a_free_runs_on_what_is_left_of_the_events_budget(
    alone: wasmrun.Executor, remember: Callable[..., str]
) -> None:
    """A `wasmrun_free` that loops ends with the event's deadline, not with one of its own."""
    more = '(func (export "wasmrun_free") (param i32 i32) (loop $l (br $l)))'
    function = wasmrun.Function(remember(more=more), warm=0, reuse=True, fuel=None, timeout="100ms")
    result = alone.run(function, None)
    assert result.value == CLEAN
    assert result.report.duration < 0.1


def test_a_free_gets_the_answers_place_and_is_left_out_without_reuse(
    alone: wasmrun.Executor, wat: Callable[..., str]
) -> None:
    """`wasmrun_free` is called with what the handler answered, and only where there is a next event."""
    guest = wat(
        "(i32.store8 (i32.const 18) (global.get $freed)) (call $answer)",
        more="""(global $freed (mut i32) (i32.const 0))
          (func (export "wasmrun_free") (param $at i32) (param $size i32)
            (global.set $freed (i32.add (local.get $at) (local.get $size))))""",
    )
    reused = wasmrun.Function(guest, warm=0, reuse=True)
    assert [alone.invoke(reused, None) for _ in range(3)] == [0, 19, 19]
    assert [alone.invoke(wasmrun.Function(guest, warm=0), None) for _ in range(3)] == [0, 0, 0]


def test_a_report_and_a_log_are_of_one_event(alone: wasmrun.Executor, wat: Callable[..., str]) -> None:
    """In a reused sandbox nothing of an earlier event is reported: no log, no sizes, no fuel, and no id."""
    guest = wat(
        """(call $log (i32.const 2) (i32.const 16) (i32.const 1))
        (if (i32.gt_u (local.get $len) (i32.const 1000)) (then unreachable)) (call $answer)""",
        imports='(import "wasmrun" "log" (func $log (param i32 i32 i32)))',
    )
    function = wasmrun.Function(guest, warm=0, reuse=True)
    for _ in range(5):
        alone.invoke(function, "not asked for its log")
    first, second = alone.run(function, "12"), alone.run(function, "123")
    assert len(first.logs) == len(second.logs) == 1
    assert first.report.log_bytes == second.report.log_bytes == 1
    assert second.report.event_bytes == first.report.event_bytes + 1
    assert first.report.request_id != second.report.request_id
    assert first.report.fuel_used == second.report.fuel_used
    failed = alone.run(function, "x" * 1000)
    assert isinstance(failed.error, wasmrun.GuestTrap)
    assert (failed.report.start, failed.report.result_bytes, len(failed.logs)) == ("reused", 0, 1)
