"""Modules that nobody wrote: what is made from a snapshot is what had started, whatever is called afterwards."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import snapshots
import wasmtime

from wasmrun.errors import InvalidFunction

_SHAPE = """(module
  (memory (export "memory") 1 40)
  (func (export "_initialize"))
  (func (export "run") (param i32 i64 f32 f64) (result i32 i64 f32 f64) (unreachable))
  (func (export "look") (param i32) (result i32) (unreachable))
  (func (export "turn") (param i64 v128) (result v128) (unreachable)))"""
_OFF = (
    "custom-descriptors", "compact-imports", "custom-page-sizes", "exceptions", "gc", "memory64", "relaxed-simd",
    "shared-everything-threads", "tail-call", "threads", "wide-arithmetic", "extended-const",
)  # fmt: skip
_BOUNDS = {
    "max-memories": 0, "max-memory32-bytes": 2 << 20, "max-tables": 1, "min-tables": 1, "max-table-elements": 500,
    "max-funcs": 12, "max-imports": 0, "min-globals": 3, "max-globals": 12, "min-element-segments": 3,
    "min-data-segments": 3, "max-data-segments": 8, "max-element-segments": 8,
}  # fmt: skip
_MODULES = 40
_SEEDS = range(1_000, 1_000 + _MODULES)
_FUEL = 200_000


@cache
def tool() -> str | None:
    """Where `wasm-tools` is."""
    beside = Path(sys.executable).with_name("wasm-tools")
    return str(beside) if beside.exists() else shutil.which("wasm-tools")


def made_up(seed: int, shape: Path) -> bytes:
    """A module of the shape; the same for the same number."""
    options = [f"--{name}-enabled=false" for name in _OFF] + [f"--{name}={most}" for name, most in _BOUNDS.items()]
    done = subprocess.run(
        [str(tool()), "smith", "--exports", str(shape), "--disallow-traps=true", *options],
        input=random.Random(seed).randbytes(4_000), capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def numbers(dice: random.Random, kinds: tuple[str, ...]) -> list[bytes]:
    """An argument of each kind, 16 bytes each."""
    values = {
        "i32": lambda: struct.pack("<I12x", dice.choice((0, 1, 65_535, 1 << 31, dice.randrange(1 << 32)))),
        "i64": lambda: struct.pack("<Q8x", dice.randrange(1 << 64)),
        "f32": lambda: struct.pack("<f12x", dice.uniform(-9, 9)),
        "f64": lambda: struct.pack("<d8x", dice.uniform(-9, 9)),
        "v128": lambda: dice.randbytes(16),
    }
    return [values[kind]() for kind in kinds]


def taken_of(module: bytes, settings: dict[str, Any]) -> bytes | None:
    """The snapshot of a module; None where its start-up fails."""
    try:
        return snapshots.snapshot(module, **settings).module
    except InvalidFunction as refused:
        if "its start-up failed" not in str(refused):
            raise
        return None


def held(machine: snapshots.Machine) -> tuple[object, ...]:
    """The state of a machine, but for what becomes of segments, which its answers tell."""
    return machine.state()[:4]


@pytest.mark.skipif(tool() is None, reason="wasm-tools is not installed; pip install 'wasmrun[test]'")
def test_snapshots_of_made_up_modules_answer_as_what_has_started(tmp_path: Path) -> None:
    """The same answers and ends over a sequence of calls, and the same memory, globals and tables before and after it."""
    shape = tmp_path / "shape.wasm"
    shape.write_bytes(wasmtime.wat2wasm(_SHAPE))
    settings: dict[str, Any] = {"abi": "plain", "entry": "run", "fuel": _FUEL}
    captured = 0
    for seed in _SEEDS:
        module = made_up(seed, shape)
        taken = taken_of(module, settings)
        if taken is None:
            continue
        captured += 1
        dice = random.Random(seed)
        with snapshots.machines(module, taken, **settings) as (started, restored):
            assert held(started) == held(restored), seed
            for _ in range(12):
                name = dice.choice(("run", "look", "turn"))
                given = numbers(dice, started.exports[name].params)
                assert started.call(name, *given) == restored.call(name, *given), (seed, name)
            assert held(started) == held(restored), seed
    assert captured >= _MODULES // 2
