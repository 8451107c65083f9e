"""Wizer is the oracle: from its snapshots and from ours, and from the module itself, events get the same answers."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import snapshots

import wasmrun

FETCHED = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "fetched.py"))
PLAIN = """(module (memory (export "memory") 1 20) (table 3 funcref) (elem (i32.const 1) $a $b)
  (type $number (func (result i32)))
  (global $n (mut i64) (i64.const 1)) (global $f (mut f64) (f64.const 0))
  (func $a (result i32) (i32.const 5)) (func $b (result i32) (i32.const 6))
  (data (i32.const 16) "kept")
  (func (export "wasmrun_init")
    (local $i i32)
    (drop (memory.grow (i32.const 3)))
    (global.set $f (f64.div (f64.const 1) (f64.const 3)))
    (loop $l
      (i32.store (i32.add (i32.const 70000) (i32.mul (local.get $i) (i32.const 300))) (i32.mul (local.get $i) (i32.const 77)))
      (global.set $n (i64.mul (global.get $n) (i64.const 3)))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 500)))))
  (func (export "wasmrun_alloc") (param i32) (result i32) (i32.const 32768))
  (func (export "wasmrun_handle_raw") (param $at i32) (param i32) (result i64)
    (i64.store (i32.const 100) (global.get $n)) (f64.store (i32.const 108) (global.get $f))
    (i32.store (i32.const 116) (memory.size))
    (i32.store (i32.const 120) (call_indirect (type $number) (i32.add (i32.const 1) (i32.and (i32.load8_u (local.get $at)) (i32.const 1)))))
    (i32.store (i32.const 124) (i32.load (i32.add (i32.const 70000) (i32.mul (i32.load8_u (local.get $at)) (i32.const 300)))))
    (i32.store (i32.const 128) (i32.load (i32.const 16)))
    (i64.or (i64.shl (i64.const 100) (i64.const 32)) (i64.const 32))))"""
EVENTS = {
    "plain": [bytes((number,)) for number in range(0, 256, 5)],
    "heavy": [str(number).encode() for number in range(50)],
    "QuickJS": [
        b"{}", b'{"key": "key0"}', b'{"key": "key19999", "numbers": [1, 2.5, -3]}', b'{"key": "none", "numbers": []}',
        b'{"numbers": "none"}', '{"key": "é"}'.encode(),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def wizer() -> Path:
    """The program."""
    found = FETCHED["wizer"]()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(params=list(EVENTS))
def guest(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A module with a `wasmrun_init`, in a file."""
    found: Any = tmp_path / "plain.wasm"
    if request.param == "plain":
        found.write_bytes(snapshots.binary(PLAIN))
    elif request.param == "heavy":
        found = FETCHED["heavy"](tmp_path)
    else:
        found = FETCHED["built_quickjs"]()
        found = found if found.exists() else "QuickJS was not built; `python -m benchmarks snapshot` builds it"
    if isinstance(found, str):
        pytest.skip(found)
    return request.param, found


def test_answers_are_those_from_wizer_s_snapshot(guest: tuple[str, Path], wizer: Path, tmp_path: Path) -> None:
    """Event by event, each in a fresh sandbox."""
    name, module = guest
    theirs = tmp_path / "theirs.wasm"
    options = ["--allow-wasi", "--wasm-bulk-memory", "true", "--init-func", "wasmrun_init"]
    subprocess.run([str(wizer), *options, str(module), "-o", str(theirs)], check=True, capture_output=True)
    with wasmrun.Executor(cache_dir=tmp_path / "cache", threads=1) as executor:
        functions = [
            wasmrun.Function(module, warm=0),
            wasmrun.Function(module, warm=0, snapshot=True),
            wasmrun.Function(theirs, warm=0),
        ]
        for event in EVENTS[name]:
            answers = [executor.run(function, event) for function in functions]
            assert answers[0].error is None
            assert answers[0].value == answers[1].value == answers[2].value
