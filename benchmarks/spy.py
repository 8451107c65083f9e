"""The spy: a guest that looks for what others left wherever a guest can look, and leaves its own mark there."""

import contextlib
import struct
from pathlib import Path
from typing import Any

import wasmrun

MARKS = {"north": b"Q", "south": b"Z"}
"""The mark of each tenant: a byte that nothing else has."""

_WASI = '(import "wasi_snapshot_preview1" "{}" (func ${} (param {}) (result i32)))'
SPY = f"""(module
  (import "wasmrun" "log" (func $log (param i32 i32 i32)))
  {_WASI.format("environ_sizes_get", "sizes", "i32 i32")}
  {_WASI.format("environ_get", "environ", "i32 i32")}
  {_WASI.format("path_open", "open", "i32 i32 i32 i32 i32 i64 i64 i32 i32")}
  {_WASI.format("fd_read", "read", "i32 i32 i32 i32")}
  {_WASI.format("fd_write", "write", "i32 i32 i32 i32")}
  {_WASI.format("fd_close", "close", "i32")}
  (memory (export "memory") 2 3)
  (global $mark (mut i32) (i32.const 0))
  (table $table 2 10 funcref)
  (elem declare func $alloc)
  (data (i32.const 16) "trace")
  (func $alloc (export "wasmrun_alloc") (param i32) (result i32) (i32.const 1024))
  (func $count (param $from i32) (param $size i32) (param $byte i32) (result i32) (local $found i32)
    (block $end (loop $next
      (br_if $end (i32.eqz (local.get $size)))
      (local.set $found (i32.add (local.get $found) (i32.eq (i32.load8_u (local.get $from)) (local.get $byte))))
      (local.set $from (i32.add (local.get $from) (i32.const 1)))
      (local.set $size (i32.sub (local.get $size) (i32.const 1)))
      (br $next)))
    (local.get $found))
  (func $dirty (param $from i32) (result i32) (local $found i32)
    (loop $next
      (local.set $found (i32.add (local.get $found) (i64.ne (i64.load (local.get $from)) (i64.const 0))))
      (br_if $next (i32.lt_u (local.tee $from (i32.add (local.get $from) (i32.const 8))) (i32.const 131072))))
    (local.get $found))
  ;; The event: the own mark, that of the other one, and whether to trap at the end.
  (func (export "wasmrun_handle_raw") (param $event i32) (param i32) (result i64)
    (local $own i32) (local $other i32) (local $found i32)
    (local.set $own (i32.load8_u (local.get $event)))
    (local.set $other (i32.load8_u offset=1 (local.get $event)))
    ;; Memory, global, table, and their sizes.
    (local.set $found (call $dirty (i32.const 8192)))
    (local.set $found (i32.add (local.get $found) (i32.ne (global.get $mark) (i32.const 0))))
    (local.set $found (i32.add (local.get $found) (i32.eqz (ref.is_null (table.get $table (i32.const 0))))))
    (local.set $found (i32.add (local.get $found) (i32.sub (table.size $table) (i32.const 2))))
    (local.set $found (i32.add (local.get $found) (i32.sub (memory.size) (i32.const 2))))
    ;; Variables.
    (drop (call $sizes (i32.const 64) (i32.const 68)))
    (if (i32.lt_u (i32.load (i32.const 68)) (i32.const 512)) (then
      (drop (call $environ (i32.const 2048) (i32.const 3072)))
      (local.set $found (i32.add (local.get $found)
        (call $count (i32.const 3072) (i32.load (i32.const 68)) (local.get $other))))))
    ;; The scratch file, which gets the own mark when it has none.
    (if (i32.eqz (call $open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 5) (i32.const 1)
                   (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 72))) (then
      (i32.store (i32.const 80) (i32.const 4096)) (i32.store (i32.const 84) (i32.const 256))
      (i32.store (i32.const 88) (i32.const 0))
      (drop (call $read (i32.load (i32.const 72)) (i32.const 80) (i32.const 1) (i32.const 88)))
      (local.set $found (i32.add (local.get $found)
        (call $count (i32.const 4096) (i32.load (i32.const 88)) (local.get $other))))
      (if (i32.eqz (i32.load (i32.const 88))) (then
        (memory.fill (i32.const 4352) (local.get $own) (i32.const 64))
        (i32.store (i32.const 80) (i32.const 4352)) (i32.store (i32.const 84) (i32.const 64))
        (drop (call $write (i32.load (i32.const 72)) (i32.const 80) (i32.const 1) (i32.const 88)))))
      (drop (call $close (i32.load (i32.const 72))))))
    ;; What it leaves behind.
    (memory.fill (i32.const 4480) (local.get $own) (i32.const 16))
    (call $log (i32.const 2) (i32.const 4480) (i32.const 16))
    (memory.fill (i32.const 8192) (local.get $own) (i32.const 122880))
    (global.set $mark (local.get $own))
    (table.set $table (i32.const 0) (ref.func $alloc))
    (drop (table.grow $table (ref.null func) (i32.const 1)))
    (drop (memory.grow (i32.const 1)))
    (i32.store (i32.const 96) (local.get $found))
    (if (i32.load8_u offset=2 (local.get $event)) (then (unreachable)))
    (i64.const 0x6000000004)))"""


class Spy:
    """One tenant's spy: counts what it finds of the other one's.

    Without *scratch*, a directory of its own, it is the same function for both tenants. With *reuse*, it finds
    what its own events have left, too.
    """

    def __init__(self, tenant: str, scratch: Path | None, *, reuse: bool = False) -> None:
        self.tenant = tenant
        (other,) = set(MARKS) - {tenant}
        self._own, self._other = MARKS[tenant], MARKS[other]
        grants: dict[str, Any] = {"reuse": reuse}
        if scratch is not None:
            scratch.mkdir(exist_ok=True)
            grants |= {"env": {"SECRET": self._own.decode() * 16}, "dirs": [f"{scratch}::/scratch"]}
        self.function = wasmrun.Function(SPY, name="spy", warm=1, memory="256KiB", **grants)
        self.ends: dict[str, int] = {}

    def look(self, executor: wasmrun.Executor | wasmrun.ProcessExecutor, *, traps: bool = False) -> int:
        """Run it once: how many foreign bytes, or other traces, there were. An event that was not run has found none."""
        event = self._own + self._other + bytes([traps])
        found, said, logs, end = 0, "", (), "answer"
        try:
            result = executor.run(self.function, event, tenant=self.tenant)
        except wasmrun.WasmrunError as error:
            said, end = str(error), type(error).__name__
        else:
            logs = result.logs
            if result.error is None:
                (found,) = struct.unpack("<I", result.value)
            else:
                said, end = str(result.error) + repr(result.error.stack), type(result.error).__name__
        with contextlib.suppress(KeyError):
            self.ends[end] += 1
            end = ""
        if end:
            self.ends[end] = 1
        foreign = self._other.decode() * 4
        return found + sum(log.message.count(foreign) for log in logs) + said.count(foreign)
