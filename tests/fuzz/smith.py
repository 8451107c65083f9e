"""Smith: modules that `wasm-tools` makes up, or makes of a guest that works, each from one number."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import kit
import wasmtime

EXAMPLES = Path(__file__).parents[2] / "guest_sdk" / "c" / "examples"
_TOOL_SECONDS = 20
MIB = 1 << 20

_OURS = """
  (import "wasmrun" "log" (func (param i32 i32 i32)))
  (import "wasmrun" "call" (func (param i32 i32) (result i64)))"""
_ABORT = '(import "env" "abort" (func (param i32 i32 i32 i32)))'
_WASI = """
  (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
"""
IMPORTS = {"native": _OURS + _WASI, "raw": _OURS + _ABORT + _WASI, "command": _WASI, "plain": _ABORT}
"""What a made-up module may import, for each ABI: what needs an export that it has not is refused."""

SHAPES = {
    "native": """
  (memory (export "memory") 1)
  (func (export "wasmrun_alloc") (param i32) (result i32) (unreachable))
  (func (export "wasmrun_free") (param i32 i32))
  (func (export "wasmrun_init"))
  (func (export "wasmrun_handle") (param i32 i32) (result i64) (unreachable))""",
    "raw": """
  (memory (export "memory") 1)
  (func (export "wasmrun_alloc") (param i32) (result i32) (unreachable))
  (func (export "wasmrun_handle_raw") (param i32 i32) (result i64) (unreachable))""",
    "command": """
  (memory (export "memory") 1)
  (func (export "_start"))""",
    "plain": """
  (func (export "run") (param i32 i64 f32 f64) (result i32 i64 f32 f64) (unreachable))""",
}
"""What a made-up module exports, for each ABI."""

_PROPOSALS = (
    "custom-descriptors", "compact-imports", "custom-page-sizes", "exceptions", "gc", "memory64", "relaxed-simd",
    "shared-everything-threads", "tail-call", "threads", "wide-arithmetic",
)  # fmt: skip
"""What the engine refuses."""

_BOUNDS = {
    # A shape that exports a memory brings it along.
    "max-memories": 0, "max-memory32-bytes": 2 * MIB, "max-tables": 1, "max-table-elements": 2_000, "max-funcs": 20,
    "max-imports": 5,
}  # fmt: skip

HOW = ("smith", "smith", "smith", "mutate", "mutate", "mutate", "wild")
"""Made up in the shape of an ABI; made of a guest that works; made up with every proposal, and imports that nobody has."""


class Made(NamedTuple):
    """A module, how it was made, and the entry that it is to be called by; None where looking is to find it."""

    number: int
    how: str
    module: bytes
    entry: str | None


@cache
def tool() -> str | None:
    """Where `wasm-tools` is; None where it is not installed."""
    beside = Path(sys.executable).with_name("wasm-tools")
    return str(beside) if beside.exists() else shutil.which("wasm-tools")


@cache
def corpus() -> tuple[tuple[str | None, bytes], ...]:
    """The guests that are changed, each with its entry: the compiled examples, and those that are written in tests."""
    inline = [
        *[(entry, kit.PURE) for entry in ("echo_raw", "context", "spin_raw", "log_raw")],
        ("ask_raw", kit.HOST), ("sleep_raw", kit.SLEEP), (None, kit.COMMAND), ("echo_raw", kit.FREE_LOOPS),
        ("echo_raw", kit.INIT_ASKS),
    ]  # fmt: skip
    return (
        *[(None, path.read_bytes()) for path in sorted(EXAMPLES.glob("*.wasm"))],
        *[(entry, bytes(wasmtime.wat2wasm(text))) for entry, text in inline],
    )


def make(number: int, directory: Path) -> Made:
    """The module of *number*, the same each time; *directory* has room for files. Raises `RuntimeError` without the tool."""
    dice = random.Random(number)
    how = dice.choice(HOW)
    if how == "mutate":
        entry, module = dice.choice(corpus())
        for _ in range(dice.randint(1, 4)):
            module = _run(["mutate", "--seed", str(dice.randrange(1 << 62)), "-"], module) or module
        return Made(number, how, module, entry)
    options: list[str] = []
    entry = None
    if how == "smith":
        shape = dice.choice(list(SHAPES))
        entry = "run" if shape == "plain" else None
        options += ["--exports", _kept(directory, shape, f"(module {SHAPES[shape]})")]
        options += ["--available-imports", _kept(directory, f"{shape}-imports", f"(module {IMPORTS[shape]})")]
        options += [f"--{name}-enabled=false" for name in _PROPOSALS]
        options += [f"--{name}={most}" for name, most in _BOUNDS.items()]
    elif dice.random() < 0.3:
        options += ["--allow-invalid-funcs=true"]
    for _ in range(5):
        module = _run(["smith", *options], dice.randbytes(dice.choice((30, 100, 400, 1_000, 3_000))))
        if module:
            return Made(number, how, module, entry)
    return Made(number, how, b"\0asm\1\0\0\0", entry)


def _kept(directory: Path, name: str, text: str) -> str:
    path = directory / f"{name}.shape.wasm"
    if not path.exists():
        path.write_bytes(wasmtime.wat2wasm(text))
    return str(path)


def _run(arguments: list[str], given: bytes) -> bytes:
    """What the tool makes of *given*; nothing where it can make nothing of it."""
    program = tool()
    if program is None:
        raise RuntimeError("wasm-tools is not installed; pip install 'wasmrun[test]'")
    done = subprocess.run([program, *arguments], input=given, capture_output=True, timeout=_TOOL_SECONDS, check=False)
    return done.stdout if done.returncode == 0 else b""
