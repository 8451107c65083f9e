"""Guests that only these tests need: programs that use what WASI gives them."""

from __future__ import annotations


def _wasi(name: str, params: str) -> str:
    return f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {params}) (result i32)))'


_READ = _wasi("fd_read", "i32 i32 i32 i32")
_WRITE = _wasi("fd_write", "i32 i32 i32 i32")
_OPEN = _wasi("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32")

COPY = f"""(module {_READ} {_WRITE} {_OPEN}
  (memory (export "memory") 1)
  (data (i32.const 16) "in") (data (i32.const 24) "out")
  (func (export "_start")
    (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 2) (i32.const 0)
      (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 64)))
    (i32.store (i32.const 72) (i32.const 256))
    (i32.store (i32.const 76) (i32.const 1000))
    (drop (call $fd_read (i32.load (i32.const 64)) (i32.const 72) (i32.const 1) (i32.const 76)))
    (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 24) (i32.const 3) (i32.const 9)
      (i64.const 0x40) (i64.const 0) (i32.const 0) (i32.const 84)))
    (drop (call $fd_write (i32.load (i32.const 84)) (i32.const 72) (i32.const 1) (i32.const 88)))
    (drop (call $fd_write (i32.const 1) (i32.const 72) (i32.const 1) (i32.const 88)))))"""
"""Copies the file `in` of its first directory to `out`, and answers with what is in it."""

CAT = f"""(module {_READ} {_WRITE}
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 60000))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 4))
    (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8))))
  (data (i32.const 16) "read"))"""
"""Answers with what it reads, and logs a word."""

EXITS = """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const 42))))"""


def strings(name: str) -> str:
    """WAT of a program that answers with its ``args`` or its ``environ``, each with a NUL behind it."""
    return f"""(module {_WRITE} {_wasi(f"{name}_sizes_get", "i32 i32")} {_wasi(f"{name}_get", "i32 i32")}
      (memory (export "memory") 1)
      (func (export "_start")
        (drop (call ${name}_sizes_get (i32.const 0) (i32.const 12)))
        (drop (call ${name}_get (i32.const 1024) (i32.const 4096)))
        (i32.store (i32.const 8) (i32.const 4096))
        (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))))"""


PAGE = f"""(module {_WRITE} {_wasi("environ_sizes_get", "i32 i32")} {_wasi("environ_get", "i32 i32")}
  {_wasi("args_sizes_get", "i32 i32")} {_wasi("args_get", "i32 i32")} {_READ}
  (memory (export "memory") 260)
  (data (i32.const 64) "Content-Type: text/plain\\n\\n")
  (func $write (param $at i32) (param $size i32)
    (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $size))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func (export "_start")
    (call $write (i32.const 64) (i32.const 26))
    (drop (call $args_sizes_get (i32.const 16) (i32.const 20)))
    (drop (call $args_get (i32.const 1024) (i32.const 8000000)))
    (call $write (i32.const 8000000) (i32.load (i32.const 20)))
    (call $write (i32.const 128) (i32.const 1))
    (drop (call $environ_sizes_get (i32.const 16) (i32.const 20)))
    (drop (call $environ_get (i32.const 1024) (i32.const 8000000)))
    (call $write (i32.const 8000000) (i32.load (i32.const 20)))
    (call $write (i32.const 128) (i32.const 1))
    (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 8000000))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
    (call $write (i32.const 1024) (i32.load (i32.const 16)))))"""
"""A CGI program that answers with its arguments, its variables and its input; after each text a NUL, after each part one more."""
