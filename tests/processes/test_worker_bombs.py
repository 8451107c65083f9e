"""Bombs: whatever a guest uses up, its worker has no more memory resident than the guest's limit and 64 MB."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import eventually

import wasmrun

MIB = 1 << 20
MORE = 64 * 1000 * 1000
"""What a worker may have resident beside its guest's memory."""

WASI = "wasi_snapshot_preview1"
MEMORY = """(module (memory (export "memory") 1) (func (export "grow") (result i32)
  (block $full (loop $again
    (br_if $full (i32.eq (memory.grow (i32.const 16)) (i32.const -1)))
    (memory.fill (i32.mul (i32.sub (memory.size) (i32.const 16)) (i32.const 65536)) (i32.const {fill}) (i32.const 1048576))
    (br $again)))
  (memory.size)))"""
TABLE = """(module (table $t 1 funcref) (func (export "grow") (result i32)
  (block $full (loop $again
    (br_if $full (i32.eq (table.grow $t (ref.func $f) (i32.const 100)) (i32.const -1))) (br $again)))
  (table.size $t)) (func $f (export "f")))"""
FLOOD = f"""(module
  (import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 17) (data (i32.const 0) "\\00\\00\\01\\00\\00\\00\\10\\00")
  (func (export "_start") (loop $again
    (drop (call $write (i32.const {{stream}}) (i32.const 0) (i32.const 1) (i32.const 8))) (br $again))))"""
OPEN = f"""(module
  (import "{WASI}" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "{WASI}" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (data (i32.const 16) "f")
  (func (export "_start") (local $error i32) (local $left i32) (local.set $left (i32.const 10000))
    (loop $again
      (local.set $error (call $open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 1)
        (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 32)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $again (i32.and (i32.eqz (local.get $error)) (i32.ne (local.get $left) (i32.const 0)))))
    (call $exit (local.get $error))))"""
"""Opens the file "f" again and again, and exits with what WASI says at last."""


@pytest.fixture
def one(cache_dir: Path) -> Iterator[wasmrun.ProcessExecutor]:
    """A worker with one thread."""
    with wasmrun.ProcessExecutor(processes=1, threads=1, cache_dir=cache_dir) as executor:
        yield executor


def peak(executor: wasmrun.ProcessExecutor) -> int:
    """The most that the one worker had resident, in bytes."""
    (pid,) = executor.walls()
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024


@pytest.mark.parametrize("memory", [64 * MIB, 256 * MIB])
def test_memory_bombs_of_several_functions_take_no_more_than_one(memory: int, one: wasmrun.ProcessExecutor) -> None:
    """What an event had is gone before the next one has its own, whether or not they are of one function."""
    functions = [
        wasmrun.Function(MEMORY.format(fill=fill), memory=memory, warm=fill % 2, fuel=None, timeout=20) for fill in range(1, 5)
    ]  # fmt: skip
    for _ in range(3):
        for function in functions:
            assert one.invoke(function) * 65536 > memory - 2 * MIB
    assert peak(one) <= memory + MORE


def test_table_bombs_take_no_more_than_their_elements(one: wasmrun.ProcessExecutor) -> None:
    """Each stops at its limit."""
    function = wasmrun.Function(TABLE, entry="grow", memory="1MiB")
    for _ in range(50):
        assert one.invoke(function) >= 19_901
    assert peak(one) <= MIB + MORE


@pytest.mark.parametrize(("stream", "error"), [(1, wasmrun.ResultTooLarge), (2, wasmrun.FunctionError)])
def test_output_bombs_are_cut(stream: int, error: type[Exception], one: wasmrun.ProcessExecutor) -> None:
    """Answers at their limit, logs at theirs; what is written to the log beyond it is not kept."""
    function = wasmrun.Function(FLOOD.format(stream=stream), memory="2MiB", timeout="300ms")
    for _ in range(5):
        assert isinstance(one.run(function).error, error)
    assert peak(one) <= 2 * MIB + MORE


def test_descriptor_bombs_end_at_the_limit_of_the_worker(one: wasmrun.ProcessExecutor, tmp_path: Path) -> None:
    """The guest is told so by WASI (29 or 33: input and output failed), and the worker serves on, with all closed."""
    (tmp_path / "f").write_text("here")
    bomb = wasmrun.Function(OPEN, dirs=[f"{tmp_path}::/d:ro"], memory="1MiB", timeout=10)
    for _ in range(5):
        error = one.run(bomb).error
        assert isinstance(error, wasmrun.GuestExit)
        assert error.status in (29, 33)
    assert peak(one) <= MIB + MORE
    (pid,) = one.walls()
    # The sandbox goes after the reply.
    eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")) < 40)


def test_answer_bombs_are_decoded_by_nobody_but_the_executor(one: wasmrun.ProcessExecutor, wat) -> None:  # type: ignore[no-untyped-def]
    """An answer of empty maps is passed on as it stands; it may take 50 times its size where it is wanted."""
    size = 4 * MIB
    guest = wat(
        f"(memory.fill (i32.const 65536) (i32.const 0x80) (i32.const {size})) (i32.store8 (i32.const 65536) (i32.const 0x92))"
        "(i32.store8 (i32.const 65537) (i32.const 0)) (i32.store8 (i32.const 65538) (i32.const 0xdd))"
        f"(i32.store8 (i32.const 65539) (i32.const 0)) (i32.store8 (i32.const 65540) (i32.const {(size - 7) >> 16 & 255}))"
        f"(i32.store8 (i32.const 65541) (i32.const {(size - 7) >> 8 & 255})) (i32.store8 (i32.const 65542) (i32.const {(size - 7) & 255}))"
        f"(call $pack (i32.const 65536) (i32.const {size}))",
        memory="80",
    )
    function = wasmrun.Function(guest, memory="6MiB", timeout=20)
    assert len(one.invoke(function)) == size - 7
    assert peak(one) <= 6 * MIB + MORE
