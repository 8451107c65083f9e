"""Inspection tells what a module is and wants, and why it could not run, without running it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import wasmrun
from wasmrun import Function, Inspection

Wat = Callable[..., str]
LOG = '(import "wasmrun" "log" (func $log (param i32 i32 i32)))'
HOST = '(import "wasmrun" "db.get" (func $host (param i32 i32) (result i64)))'
WASI = '(import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))'


@pytest.fixture
def inspect(executor: wasmrun.Executor) -> Callable[..., Inspection]:
    """What there is to know of a module."""
    return lambda source, **settings: executor.inspect(Function(source, **settings))


def test_inspection_of_a_function_that_can_run(inspect: Callable[..., Inspection], wat: Wat) -> None:
    """Its ABI and why, its entry, its sizes, and every import and export with its type."""
    found = inspect(wat(imports=LOG, memory="2 16"))
    assert (found.abi, found.reason, found.entry, found.is_raw) == (
        "native",
        "it exports wasmrun_alloc",
        "wasmrun_handle",
        False,
    )
    assert (found.problem, found.needs, found.uses_wasi, found.has_start) == (None, (), False, False)
    assert (found.functions, found.memory_bytes, found.memory_maximum_bytes) == (4, 2 * 65536, 16 * 65536)
    assert found.imports == (("wasmrun.log", "(i32, i32, i32) -> ()"),)
    assert found.exports == (
        ("memory", "memory of 2 pages, at most 16"),
        ("wasmrun_alloc", "(i32) -> i32"),
        ("wasmrun_handle", "(i32, i32) -> i64"),
    )
    assert 100 < found.module_bytes < found.artifact_bytes


def test_inspection_says_what_would_have_to_be_granted(inspect: Callable[..., Inspection], wat: Wat) -> None:
    """Host functions and strange imports; not WASI, the log, or `abort`, which every function has."""
    source = wat(
        imports=LOG + HOST + WASI + '(import "env" "abort" (func (param i32 i32 i32 i32))) (import "env" "puts" (func))'
    )
    found = inspect(source)
    assert found.needs == ("wasmrun.db.get", "env.puts")
    assert found.problem is not None
    assert "imports what it is not granted: wasmrun.db.get, env.puts" in found.problem
    assert (found.uses_wasi, found.abi, found.entry) == (True, "native", None)


def test_inspection_of_a_grant_that_was_given_has_no_problem(inspect: Callable[..., Inspection], wat: Wat) -> None:
    """The function's own settings count."""
    found = inspect(wat(imports=HOST), imports={"db.get": print})
    assert (found.problem, found.needs) == (None, ("wasmrun.db.get",))


def test_inspection_of_a_module_that_fits_no_abi_says_why(inspect: Callable[..., Inspection]) -> None:
    """What it has is listed all the same."""
    found = inspect('(module (func $s) (start $s) (global (export "g") i32 (i32.const 0)))')
    assert (found.abi, found.entry, found.has_start) == ("plain", None, True)
    assert found.problem == "no entry is named; functions of numbers are none: name one with --entry"
    assert found.exports == (("g", "global"),)
    assert (found.memory_bytes, found.memory_maximum_bytes) == (0, None)


def test_inspection_of_a_plug_in_needs_no_kernel(inspect: Callable[..., Inspection]) -> None:
    """What every plug-in may import is no grant; HTTP and functions of the program are."""
    imports = "".join(
        f'(import "extism:host/{place}" "{name}" (func {type_}))'
        for place, name, type_ in (
            ("env", "input_length", "(result i64)"),
            ("env", "http_request", "(param i64 i64) (result i64)"),
            ("user", "look_up", "(param i64) (result i64)"),
        )
    )
    found = inspect(f'(module {imports} (func (export "run") (result i32) (i32.const 0)))', imports={"look_up": len})
    assert (found.abi, found.reason, found.entry) == ("extism", "it imports from extism:host/env", "run")
    assert (found.problem, found.needs) == (None, ("extism:host/env.http_request", "extism:host/user.look_up"))


def test_inspection_of_a_module_that_is_none_says_what_it_is(inspect: Callable[..., Inspection]) -> None:
    """And nothing else; of nothing there is nothing to tell."""
    found = inspect(b"\x7fELF")
    assert (found.kind, found.abi, found.module_bytes, found.artifact_bytes) == (
        "an ELF file, a program or library of native code", None, 4, 0)  # fmt: skip
    assert (found.imports, found.exports, found.made_by, found.made_for) == ((), (), (), None)
    assert found.problem is not None
    assert "not WebAssembly, but an ELF file" in found.problem
    with pytest.raises(wasmrun.InvalidFunction, match="there is no module"):
        inspect("gone.wasm")


def test_inspection_of_a_module_that_is_refused_has_its_names(inspect: Callable[..., Inspection]) -> None:
    """As far as they can be read without the engine."""
    imported = b"\2\x10\2\3env\1f\0\0\1m\1\n\2\4\7"
    found = inspect(b"\0asm\1\0\0\0\1\4\1\x60\0\0" + imported + b"\7\5\1\1\x1b\0\0")
    assert found.problem is not None
    assert "addresses of 64 bits" in found.problem
    assert found.imports == (("env.f", "function"), (r"m.\n", "memory"))
    assert found.exports == (("\x1b", "function"),)
    assert (found.kind, found.memory_bytes) == ("module", 7 * 65536)


def test_inspection_runs_nothing(inspect: Callable[..., Inspection]) -> None:
    """Neither the start function nor anything else."""
    assert inspect('(module (func $s (unreachable)) (start $s) (func (export "f")))').problem is None
