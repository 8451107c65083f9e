"""Guests for the command line, in the text format: programs that show what they were given."""

from __future__ import annotations

from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "guest_sdk" / "c" / "examples"
ECHO = EXAMPLES / "echo.wasm"
HELLO = EXAMPLES / "hello.wasm"
WORDS = EXAMPLES / "words.wasm"
_IMPORTS = """
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env_sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_get" (func $env (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
      (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))"""


def program(start: str, *, data: bytes = b"", more: str = "") -> str:
    """A command with the body *start*, and *data* at 1024.

    ``(call $say (fd) (ptr) (len))`` writes, ``(call $take (fd) (ptr) (room))`` gives the bytes read, and
    ``(call $check (errno))`` exits with a status that is not 0.
    """
    text = "".join(f"\\{byte:02x}" for byte in data)
    return f"""(module {_IMPORTS}
      (memory (export "memory") 4)
      (data (i32.const 1024) "{text}")
      (func $check (param $errno i32)
        (if (local.get $errno) (then (call $exit (local.get $errno)))))
      (func $say (param $fd i32) (param $ptr i32) (param $len i32)
        (i32.store (i32.const 0) (local.get $ptr))
        (i32.store (i32.const 4) (local.get $len))
        (call $check (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
      (func $take (param $fd i32) (param $ptr i32) (param $room i32) (result i32)
        (i32.store (i32.const 0) (local.get $ptr))
        (i32.store (i32.const 4) (local.get $room))
        (call $check (call $read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
        (i32.load (i32.const 8)))
      {more}
      (func (export "_start") (local $n i32) {start}))"""


def prints(output: bytes, *, fd: int = 1, then: str = "") -> str:
    """A command that writes *output*."""
    return program(f"(call $say (i32.const {fd}) (i32.const 1024) (i32.const {len(output)})) {then}", data=output)


CAT = program("""
    (loop $again
      (local.set $n (call $take (i32.const 0) (i32.const 65536) (i32.const 65536)))
      (if (local.get $n) (then
        (call $say (i32.const 1) (i32.const 65536) (local.get $n))
        (br $again))))""")
"""A command that writes what it reads."""


def _shows(kind: str) -> str:
    return program(f"""
        (call $check (call ${kind}_sizes (i32.const 16) (i32.const 20)))
        (call $check (call ${kind} (i32.const 2048) (i32.const 4096)))
        (call $say (i32.const 1) (i32.const 4096) (i32.load (i32.const 20)))""")


ARGS = _shows("args")
"""A command that writes its arguments, each ended by a NUL."""

ENV = _shows("env")
"""A command that writes its environment, each variable ended by a NUL."""

_OPEN = "(call $check (call $open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 4) {} (i32.const 16)))"

READ_FILE = program(
    # Rights: fd_read.
    _OPEN.format("(i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0)")
    + """
    (local.set $n (call $take (i32.load (i32.const 16)) (i32.const 65536) (i32.const 65536)))
    (call $say (i32.const 1) (i32.const 65536) (local.get $n))""",
    data=b"file",
)
"""A command that writes what ``file`` in its first directory holds; a failure is its exit status."""

_WRITE = (
    # Create and truncate; rights: fd_write.
    _OPEN.format("(i32.const 9) (i64.const 64) (i64.const 0) (i32.const 0)")
    + "(call $say (i32.load (i32.const 16)) (i32.const 1024) (i32.const 4))"
)

WRITE_FILE = program(_WRITE, data=b"file")
"""A command that creates ``file`` with the text "file" in its first directory."""

WRITE_FILE_AND_SPIN = program(_WRITE + "(loop $again (br $again))", data=b"file")
"""As `WRITE_FILE`, and then never ends."""

RAW = """
  (module (memory (export "memory") 1)
    (func (export "wasmrun_alloc") (param i32) (result i32) (i32.const 1024))
    (func (export "wasmrun_handle_raw") (param i32 i32) (result i64)
      (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1)))))
"""
"""Answers with the bytes of its event."""

SPIN = '(module (func (export "spin") (loop br 0)))'
ADD = '(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))'
NAN = '(module (func (export "nan") (result f64) (f64.div (f64.const 0) (f64.const 0))))'
