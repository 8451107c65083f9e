"""What the tests of hardening share: guests, and how a worker ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

_OPEN = """(module
      (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1) (data (i32.const 16) "f")
      (func (export "_start") (call $exit (call $open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 1)
        (i32.const {flags}) (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 32)))))"""
"""Opens the file "f" in the first granted directory, and exits with WASI's error number."""

GUESTS = {
    "echo": '(module (func (export "double") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2))))',
    "spin": '(module (func (export "spin") (loop br 0)))',
    "print": """(module
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 0) "\\10\\00\\00\\00\\02\\00\\00\\00") (data (i32.const 16) "42")
      (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))""",
    "grow": """(module (memory (export "memory") 1) (func (export "grow") (result i32)
      (block $full (loop $again
        (br_if $full (i32.eq (memory.grow (i32.const 16)) (i32.const -1)))
        (memory.fill (i32.mul (i32.sub (memory.size) (i32.const 16)) (i32.const 65536)) (i32.const 1) (i32.const 1048576))
        (br $again)))
      (memory.size)))""",
    "table": """(module (table $t 1 funcref) (func (export "grow") (result i32)
      (block $full (loop $again
        (br_if $full (i32.eq (table.grow $t (ref.null func) (i32.const 100)) (i32.const -1))) (br $again)))
      (table.size $t)))""",
    "flood": """(module
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 17) (data (i32.const 0) "\\00\\00\\01\\00\\00\\00\\10\\00")
      (func (export "_start") (loop $again
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br $again))))""",
    "read": _OPEN.format(flags=0, rights=2),
    "create": _OPEN.format(flags=1, rights=64),
}
"""Guests, by name."""


class Done(NamedTuple):
    """How a worker ended: what it said, its exit status, what it wrote to standard error."""

    said: Any
    status: int
    err: str


Start = Callable[..., Done]
"""The fixture `worker`: takes the code, the same to run before, and fields of `Walls`."""

Inside = Callable[..., Any]
"""The fixture `inside`: as `worker`, for one that has to end well; gives what it said."""
