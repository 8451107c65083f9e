"""Two tenants that try to read each other's traces: memory, globals, tables, errors, logs, files. Scaled down.

The full count, a million events, is the soak's.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import wasmrun
from benchmarks.spy import MARKS, Spy

Anywhere = wasmrun.Executor | wasmrun.ProcessExecutor
EVENTS = 300
TENANTS = ("a", "b")

# What it finds: a global, a byte of memory, a table's entry, the sizes of table and memory; then it leaves its own.
TRACES = """
  (i32.store8 (i32.const 19) (global.get $mark))
  (i32.store8 (i32.const 20) (i32.load8_u (i32.const 9000)))
  (i32.store8 (i32.const 21) (i32.eqz (ref.is_null (table.get $table (i32.const 0)))))
  (i32.store8 (i32.const 22) (i32.sub (table.size $table) (i32.const 2)))
  (i32.store8 (i32.const 23) (i32.sub (memory.size) (i32.const 1)))
  (drop (memory.grow (i32.const 3)))
  (local.set $at (i32.const 4096))
  (loop $next
    (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then (i32.store8 (i32.const 20) (i32.const 1))))
    (i64.store (local.get $at) (i64.const -1))
    (local.set $at (i32.add (local.get $at) (i32.const 8)))
    (br_if $next (i32.lt_u (local.get $at) (i32.const 262144))))
  (global.set $mark (i32.const 77))
  (table.set $table (i32.const 0) (ref.func $alloc))
  (drop (table.grow $table (ref.null func) (i32.const 1)))
  (call $answer)
"""
MORE = "(global $mark (mut i32) (i32.const 0)) (table $table 2 10 funcref) (elem declare func $alloc)"
CLEAN = [0, 0, 0, 0, 0]


def alternate(act: Callable[[str, int], None], events: int = EVENTS) -> None:
    """Have both tenants' events run, in turns and at the same time."""
    with ThreadPoolExecutor(2) as threads:
        for future in [threads.submit(act, TENANTS[at % 2], at) for at in range(events)]:
            future.result()


def test_tenants_find_nothing_in_memory_globals_and_tables(anywhere: Anywhere, wat: Callable[..., str]) -> None:
    """Each event finds a sandbox as its module made it, whoever was there before."""
    guest = wat(f"(local $at i32) {TRACES}", data=b"\x92\0\x95\0\0\0\0\0", more=MORE, alloc="(i32.const 2048)")
    function = wasmrun.Function(guest, memory="1MiB")

    def act(tenant: str, _: int) -> None:
        assert anywhere.invoke(function, tenant=tenant) == CLEAN

    alternate(act)


def test_tenants_find_nothing_in_errors(anywhere: Anywhere, wat: Callable[..., str]) -> None:
    """Errors of host functions that race are each its own event's."""

    def fail(value: str) -> None:
        raise ValueError(value)

    # The event, a short text, is the second byte of [event, context] and what follows it.
    handler = """
      (drop (call $fail (i32.add (local.get $ptr) (i32.const 1))
        (i32.add (i32.and (i32.load8_u offset=1 (local.get $ptr)) (i32.const 31)) (i32.const 1))))
      unreachable"""
    guest = wat(handler, imports='(import "wasmrun" "fail" (func $fail (param i32 i32) (result i64)))')
    function = wasmrun.Function(guest, imports={"fail": fail})

    def act(tenant: str, number: int) -> None:
        mine = f"{tenant}-{number}"
        with pytest.raises(wasmrun.HostError) as caught:
            anywhere.invoke(function, mine, tenant=tenant)
        assert isinstance(caught.value.__cause__, ValueError)
        assert caught.value.__cause__.args == (mine,)

    alternate(act)


def test_tenants_find_nothing_in_logs_and_reports(anywhere: Anywhere, wat: Callable[..., str]) -> None:
    """A log has the lines of its own event, once; a report its own request."""
    handler = """
      (call $log (i32.const 2) (i32.add (local.get $ptr) (i32.const 2))
        (i32.and (i32.load8_u offset=1 (local.get $ptr)) (i32.const 31)))
      (call $answer)"""
    guest = wat(handler, imports='(import "wasmrun" "log" (func $log (param i32 i32 i32)))')
    function = wasmrun.Function(guest)

    def act(tenant: str, number: int) -> None:
        mine = f"{tenant}-{number}"
        result = anywhere.run(function, mine, tenant=tenant, request_id=mine)
        assert [line.message for line in result.logs] == [mine]
        assert result.report.request_id == mine

    alternate(act)


def test_tenants_find_nothing_in_scratch_files(anywhere: Anywhere, tmp_path: Path) -> None:
    """A file that one writes to its directory is not in the other's, which has the same name in the guest."""
    guest = """(module
      (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1) (data (i32.const 16) "{path}")
      (func (export "_start") (call $exit (call $open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const {length})
        (i32.const {flags}) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 32)))))"""
    for tenant in TENANTS:
        (tmp_path / tenant).mkdir()

    def function(tenant: str, path: str, flags: int) -> wasmrun.Function:
        text = guest.format(path=path, length=len(path), flags=flags)
        return wasmrun.Function(text, dirs=[f"{tmp_path / tenant}::/scratch"], tenant=tenant, warm=0)

    assert anywhere.run(function("a", "mine", 1)).is_ok
    assert (tmp_path / "a" / "mine").exists()
    for path in ("mine", "../a/mine"):
        assert not anywhere.run(function("b", path, 0)).is_ok
    assert anywhere.run(function("a", "mine", 0)).is_ok


@pytest.mark.parametrize("is_shared", [False, True], ids=["a function each", "one function"])
def test_spies_find_nothing_of_each_other(anywhere: Anywhere, tmp_path: Path, is_shared: bool) -> None:
    """They look wherever a guest can look, and leave their mark there, in turns; some end in a trap."""
    spies = [Spy(tenant, None if is_shared else tmp_path / tenant) for tenant in MARKS]
    assert sum(spies[at % 2].look(anywhere, traps=at % 7 == 0) for at in range(40)) == 0
    for spy in spies:
        assert set(spy.ends) == {"answer", "GuestTrap"}
        assert sum(spy.ends.values()) == 20


def test_spy_finds_what_is_there_to_be_found(executor: wasmrun.Executor, tmp_path: Path) -> None:
    """Else the test above could not fail: what its own earlier event left in a sandbox that is used again."""
    spy = Spy("north", tmp_path / "north", reuse=True)
    assert spy.look(executor) == 0
    assert spy.look(executor) > 100_000 // 8


@pytest.mark.parametrize("count", [1, 2])
def test_tenants_never_share_a_worker(count: int, cache_dir: Path, wat: Callable[..., str]) -> None:
    """It is replaced before it serves another one."""
    served: dict[str, set[int]] = {"a": set(), "b": set()}
    guest = wat(
        "(drop (call $tell (local.get $ptr) (i32.const 0))) (call $answer)",
        imports='(import "wasmrun" "tell" (func $tell (param i32 i32) (result i64)))',
    )
    with wasmrun.ProcessExecutor(processes=count, cache_dir=cache_dir, wait=20) as executor:
        for _ in range(2):
            for tenant in TENANTS:
                executor.invoke(wasmrun.Function(guest, imports={"tell": lambda _: 1}), tenant=tenant)
                with executor._supervisor.crew._lock:
                    workers = list(executor._supervisor.crew._workers.values())
                served[tenant] |= {one.pid for one in workers if one.place is not None and one.place.tenant == tenant}
    assert served["a"]
    assert served["b"]
    assert not served["a"] & served["b"]
