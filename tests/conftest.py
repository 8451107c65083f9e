"""What tests of every suite share: one executor, one directory of compiled modules, and a small native guest."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def pytest_configure() -> None:
    """Let Ctrl-C be what it is at a terminal; a shell that runs the tests in its background has them ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


DATA_AT = 16
"""Where the native guest has its data."""

BUMP = """
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (loop $again
      (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))) (then
        (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
        (return (i32.const 0)))))
    (local.get $at)
"""
"""The body of an allocator that gives what it has once, and grows the memory for more."""


def literal(data: bytes) -> str:
    """*data* as a string of the WebAssembly text format."""
    return '"' + "".join(f"\\{byte:02x}" for byte in data) + '"'


def native(
    handler: str = "(call $answer)",
    *,
    data: bytes = b"\x92\x00\xc3",
    imports: str = "",
    more: str = "",
    memory: str = "1",
    alloc: str = BUMP,
    entry: str = "wasmrun_handle",
) -> str:
    """WAT of a guest of the native ABI whose handler has the body *handler*; by default it answers *data*.

    In *handler* there are the locals ``$ptr`` and ``$len``, and the functions ``$alloc``, ``$answer`` (the
    packed place of *data*, which is an answer of True unless it is given) and ``$pack`` (pointer, length).
    *alloc* is the body of the allocator with the local ``$size``; *imports* and *more* are further fields.
    """
    heap = (DATA_AT + len(data) + 1023) // 1024 * 1024
    return f"""(module
      {imports}
      (memory (export "memory") {memory})
      (global $heap (mut i32) (i32.const {heap}))
      (data (i32.const {DATA_AT}) {literal(data)})
      (func $pack (param i32 i32) (result i64)
        (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1))))
      (func $answer (result i64) (call $pack (i32.const {DATA_AT}) (i32.const {len(data)})))
      (func $alloc (export "wasmrun_alloc") (param $size i32) (result i32) {alloc})
      (func (export "{entry}") (param $ptr i32) (param $len i32) (result i64) {handler})
      {more})"""


@pytest.fixture(scope="session")
def wat() -> Callable[..., str]:
    """`native`: the text of a small guest of the native ABI."""
    return native


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of compiled modules, so that each is compiled once in a session."""
    return tmp_path_factory.mktemp("cache", numbered=False)


@pytest.fixture(scope="session")
def executor(cache_dir: Path) -> Iterator[wasmrun.Executor]:
    """One executor for every test that needs none of its own."""
    with wasmrun.Executor(cache_dir=cache_dir, max_sandboxes=200, threads=4) as executor:
        yield executor
