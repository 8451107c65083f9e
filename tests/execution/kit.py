"""Guests and small tools for the tests of sandboxes, pool and executor; their child processes import it, too."""

from __future__ import annotations

import gc
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable

NATIVE = """
  (memory (export "memory") 2)
  (global $next (mut i32) (i32.const 4096))
  (data (i32.const 16) "hello")
  (func (export "wasmrun_alloc") (param $size i32) (result i32)
    (local $at i32)
    ;; Begins again where a reused instance has had all of it.
    (if (i32.gt_u (global.get $next) (i32.const 100000)) (then (global.set $next (i32.const 4096))))
    ;; Room for an envelope before it: [0, …] is two bytes.
    (local.set $at (i32.add (global.get $next) (i32.const 8)))
    (global.set $next (i32.and (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 15)) (i32.const -16)))
    (local.get $at))
  (func $pack (param $at i32) (param $size i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32)) (i64.extend_i32_u (local.get $size))))
"""
"""Memory, an allocator that is good for one event at a time, and $pack."""

PURE = f"""(module
  (import "wasmrun" "log" (func $log (param i32 i32 i32)))
  {NATIVE}
  (global $events (mut i32) (i32.const 0))
  (global $freed (mut i32) (i32.const 0))
  (func (export "wasmrun_free") (param i32 i32)
    (global.set $freed (i32.add (global.get $freed) (i32.const 1))))
  (func $number (param $value i32) (result i64)
    (i32.store (i32.const 32) (local.get $value)) (call $pack (i32.const 32) (i32.const 4)))
  ;; The event, as it stands.
  (func (export "echo_raw") (param i32 i32) (result i64) (call $pack (local.get 0) (local.get 1)))
  ;; [event, context]
  (func (export "context") (param i32 i32) (result i64)
    (i32.store16 (i32.sub (local.get 0) (i32.const 2)) (i32.const 0x0092))
    (call $pack (i32.sub (local.get 0) (i32.const 2)) (i32.add (local.get 1) (i32.const 2))))
  ;; How many events this instance had, this one included; how many answers it was told to free.
  (func (export "count_raw") (param i32 i32) (result i64)
    (global.set $events (i32.add (global.get $events) (i32.const 1))) (call $number (global.get $events)))
  (func (export "freed_raw") (param i32 i32) (result i64) (call $number (global.get $freed)))
  (func (export "loop_raw") (param i32 i32) (result i64) (loop $again (br $again)) (unreachable))
  ;; As many turns as the event says, a little-endian i32.
  (func (export "spin_raw") (param i32 i32) (result i64) (local $left i32)
    (local.set $left (i32.load (local.get 0)))
    (loop $again (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (i64.const 0))
  (func (export "trap_raw") (param i32 i32) (result i64) (unreachable))
  (func (export "log_raw") (param i32 i32) (result i64)
    (call $log (i32.const 2) (i32.const 16) (i32.const 5)) (i64.const 0))
  (func (export "chat_raw") (param i32 i32) (result i64)
    (loop $again (call $log (i32.const 2) (i32.const 16) (i32.const 0)) (br $again)) (unreachable))
)"""
"""A guest with one handler for each thing that a test needs done."""

HOST = f"""(module
  (import "wasmrun" "call" (func $call (param i32 i32) (result i64)))
  {NATIVE}
  ;; Gives the event to the host function, and answers what that answered: [0, value] or [1, error].
  (func (export "ask_raw") (param i32 i32) (result i64) (call $call (local.get 0) (local.get 1)))
  (func (export "nag_raw") (param i32 i32) (result i64)
    (loop $again (drop (call $call (local.get 0) (local.get 1))) (br $again)) (unreachable))
  (func $down (param $left i32)
    (if (local.get $left) (then (call $down (i32.sub (local.get $left) (i32.const 1))))))
  ;; Uses up much of its stack before it asks.
  (func (export "deep_raw") (param i32 i32) (result i64) (call $down (i32.const 5000)) (call $call (local.get 0) (local.get 1)))
)"""

SLEEP = f"""(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  {NATIVE}
  (func (export "sleep_raw") (param i32 i32) (result i64)
    ;; One subscription at 64: the monotonic clock, 60 s from now.
    (i32.store (i32.const 80) (i32.const 1))
    (i64.store (i32.const 88) (i64.const 60000000000))
    (drop (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 192)))
    (i64.const 0))
)"""

COMMAND = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "[1]")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 3))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))))"""
"""A WASI program that answers [1]."""

FREE_LOOPS = f"""(module
  {NATIVE}
  (func (export "wasmrun_free") (param i32 i32) (loop $again (br $again)))
  (func (export "echo_raw") (param i32 i32) (result i64) (call $pack (local.get 0) (local.get 1))))"""


def starting(body: str, *, imports: str = "") -> str:
    """WAT of a guest whose start-up, `wasmrun_init`, has the body *body*; its handler echoes."""
    return f"""(module
      {imports}
      {NATIVE}
      (func $deep (param $left i32)
        (if (local.get $left) (then (call $deep (i32.sub (local.get $left) (i32.const 1))))))
      (func (export "wasmrun_init") {body})
      (func (export "echo_raw") (param i32 i32) (result i64) (call $pack (local.get 0) (local.get 1))))"""


CALL = '(import "wasmrun" "call" (func $call (param i32 i32) (result i64)))'
INIT_LOOPS = starting("(loop $again (br $again))")
INIT_TRAPS = starting("(unreachable)")
INIT_DEEP = starting("(call $deep (i32.const 1000000))")
INIT_ASKS = starting("(drop (call $call (i32.const 512) (i32.const 1)))", imports=CALL)
"""Its start-up calls the host function `call` with 0."""


def pure(entry: str = "echo_raw", **settings: Any) -> wasmrun.Function:
    """The function *entry* of `PURE`; none is kept warm unless that is asked for."""
    return wasmrun.Function(PURE, entry=entry, **{"warm": 0, **settings})


def ordinary(entry: str = "echo_raw", **settings: Any) -> wasmrun.Function:
    """The same, with something to count at each event, so that none of them goes by express."""
    return pure(entry, **{"concurrency": 1000, **settings})


def asking(call: Callable[[Any], Any], entry: str = "ask_raw", **settings: Any) -> wasmrun.Function:
    """The function *entry* of `HOST` with *call* as its host function."""
    return wasmrun.Function(HOST, entry=entry, imports={"call": call}, **{"warm": 0, **settings})


class Gate:
    """A host function that guests wait in: how many are there, and a way to let all of them go on."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()

    def __call__(self, _: object) -> None:
        self.entered.release()
        assert self.opened.wait(20)

    def wait_for(self, count: int) -> None:
        """Wait until *count* more guests are in it."""
        for _ in range(count):
            assert self.entered.acquire(timeout=20)


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until *condition* holds; fail after *seconds*."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.001)


def is_idle(executor: wasmrun.Executor) -> bool:
    """Whether nothing runs, nothing is being prepared, nothing waits to be destroyed, and no clock ticks."""
    pool = executor.stats().pool
    return not (pool.in_flight or pool.spent or ticking(executor))


def ticking(executor: wasmrun.Executor) -> int:
    """How many of the executor's engines tick."""
    runner = executor._runner
    return sum(engine.ticker.is_running for engine, _ in runner.core._engines.values()) if runner is not None else 0


def footprint() -> tuple[int, int, int]:
    """Resident bytes, open descriptors and memory maps of this process."""
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    with open("/proc/self/maps") as file:
        maps = len(file.readlines())
    return resident, len(os.listdir("/proc/self/fd")), maps


MIB = 1024 * 1024
BYTES_LEFT = 2 * MIB
MAPS_LEFT = 24
"""Maps come and go with the allocator's arenas and the stacks of threads that ended a moment ago."""


def growth(
    work: Callable[[int], object], count: int, *, warm: int = 0, settle: Callable[[], object] = lambda: True
) -> tuple[int, int, int]:
    """By how much *count* times *work* let this process grow, after *warm* times, or a tenth of them, have warmed it up."""
    for number in range(warm or count // 10):
        work(number)
    eventually(settle)
    gc.collect()
    before = footprint()
    for number in range(count):
        work(number)
    eventually(settle)
    gc.collect()
    return tuple(after - start for after, start in zip(footprint(), before, strict=True))  # type: ignore[return-value]


def assert_flat(grown: tuple[int, int, int]) -> None:
    """Check that what `growth` found is nothing."""
    resident, descriptors, maps = grown
    assert resident < BYTES_LEFT
    assert descriptors <= 0
    assert maps < MAPS_LEFT


def is_alive(pid: int) -> bool:
    """Whether the process *pid* still runs."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
