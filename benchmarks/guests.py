"""The guests and events that are measured: `echo.wat`, and texts made from it."""

from pathlib import Path

ECHO_PATH = Path(__file__).with_name("echo.wat")
SMALL, USUAL = 1, 17
"""Pages of memory that a guest starts with: the least there is, and what rustc asks for where nobody chose."""
PAYLOAD = b"x" * 64
EVENT = {"id": 7, "text": "x" * 52}
"""64 bytes as MessagePack, so that an envelope is compared with a raw event of the same size."""
SPIN = """(module
  (memory (export "memory") 1)
  (func (export "wasmrun_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "wasmrun_handle_raw") (param i32 i32) (result i64)
    (local $left i32)
    (local.set $left (i32.load (local.get 0)))
    (loop $again
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $again (local.get $left)))
    (i64.const 0)))"""
"""Counts down from the number in its event."""
LARGE_ECHO = """(module
  (memory (export "memory") 100)
  (func (export "wasmrun_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "wasmrun_handle_raw") (param i32 i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1)))))"""
"""Answers events of up to 6 MB."""


def echo(pages: int = SMALL) -> str:
    """The echo guest, with a memory of `pages`."""
    return ECHO_PATH.read_text().replace('(memory (export "memory") 1)', f'(memory (export "memory") {pages})')


def label(name: str, pages: int) -> str:
    """What a contestant with a guest of so many pages is called; the smallest goes without saying."""
    return name if pages == SMALL else f"{name}, {pages} pages"


def echo_number(number: int) -> str:
    """An echo guest that differs from all others in one constant that never runs: another module to every cache."""
    return _with(f'(func (export "number") (result i32) (i32.const {number}))')


def echo_touched() -> str:
    """An echo guest whose start-up writes into its memory: one page is resident before the first event."""
    return _with('(func (export "wasmrun_init") (i32.store8 (i32.const 1024) (i32.const 1)))')


def _with(field: str) -> str:
    head, _, _ = echo().rpartition(")")
    return f"{head}  {field}\n)\n"
