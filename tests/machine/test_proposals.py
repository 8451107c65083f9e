"""What functions do not need of WebAssembly is switched off; what compilers emit is on."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest

import wasmrun
from wasmrun.limits import KIB
from wasmrun.machine import capi
from wasmrun.machine.config import EngineSettings, new_config

SETTINGS = EngineSettings(512 * KIB, True)

# A module of each proposal, the switches that it needs, and words of the refusal.
REFUSED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "shared memory": (
        "(module (memory 1 1 shared))",
        ("wasm_threads", "shared_memory"),
        "threads must be enabled for shared memories",
    ),
    "atomics": (
        "(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))",
        ("wasm_threads",),
        "threads support is not enabled",
    ),
    "memory64": ("(module (memory i64 1))", ("wasm_memory64",), "memory64 must be enabled"),
    "multi-memory": ("(module (memory 1) (memory 1))", ("wasm_multi_memory",), "multiple memories"),
    "GC": (
        "(module (type (struct (field i32))))",
        ("wasm_function_references", "wasm_gc"),
        "not supported without the gc feature",
    ),
    "exceptions": (
        "(module (tag) (func (throw 0)))",
        ("wasm_gc", "wasm_function_references", "wasm_exceptions"),
        "exceptions proposal not enabled",
    ),
    "tail calls": (
        "(module (func $f (return_call $f)))",
        ("wasm_tail_call",),
        "tail calls support is not enabled",
    ),
    "function references": (
        "(module (type $t (func)) (func (param (ref $t)) (call_ref $t (local.get 0))))",
        ("wasm_function_references",),
        "function references required",
    ),
    "relaxed SIMD": (
        "(module (func (param v128 v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 1))))",
        ("wasm_relaxed_simd",),
        "relaxed SIMD support is not enabled",
    ),
    "custom page sizes": (
        "(module (memory 1 (pagesize 1)))",
        ("wasm_custom_page_sizes",),
        "the custom page sizes proposal must be enabled",
    ),
    "wide arithmetic": (
        (
            "(module (func (param i64 i64 i64 i64) (result i64 i64)"
            " (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3))))"
        ),
        ("wasm_wide_arithmetic",),
        "wide arithmetic support is not enabled",
    ),
    "stack switching": (
        "(module (type $f (func)) (type $c (cont $f)))",
        ("wasm_gc", "wasm_function_references", "wasm_exceptions", "wasm_stack_switching"),
        "when stack switching is disabled",
    ),
}

WORKING: dict[str, tuple[str, Any]] = {
    "SIMD": ('(func (export "f") (result i32) (i32x4.extract_lane 2 (v128.const i32x4 1 2 3 4)))', 3),
    "bulk memory": (
        (
            '(memory 1) (func (export "f") (result i32)'
            " (memory.fill (i32.const 8) (i32.const 7) (i32.const 4)) (i32.load (i32.const 8)))"
        ),
        0x07070707,
    ),
    "multi-value": ('(func (export "f") (result i32 i64) (i32.const 1) (i64.const 2))', [1, 2]),
    "reference types": (
        (
            '(table 3 externref) (func (export "f") (result i32)'
            " (drop (table.grow (ref.null extern) (i32.const 2))) (table.size))"
        ),
        5,
    ),
    "sign extension": ('(func (export "f") (result i32) (i32.extend8_s (i32.const 255)))', -1),
    "saturating conversion": ('(func (export "f") (result i32) (i32.trunc_sat_f64_s (f64.const 1e99)))', 2**31 - 1),
    "mutable globals": (
        (
            '(global $g (export "g") (mut i32) (i32.const 4)) (func (export "f") (result i32)'
            " (global.set $g (i32.const 5)) (global.get $g))"
        ),
        5,
    ),
}


def binary(text: str) -> bytes:
    """The module of *text* as a binary, whatever proposals it uses: the text's parser knows them all."""
    vec = capi.ByteVec()
    assert not capi.wat2wasm(text.encode(), len(text.encode()), capi.addressof(vec))
    data = capi.string_at(vec.data, vec.size)
    capi.byte_vec_delete(capi.addressof(vec))
    return data


def refusal(source: bytes, switches: tuple[str, ...]) -> str:
    """What the engine's configuration says to a module, with *switches* on; "" where it takes it."""
    config = new_config(SETTINGS)
    for name in switches:
        capi.config_flag(config, name, True)
    engine = capi.engine_new(config)
    module = ctypes.c_void_p()
    error = capi.module_new(engine, source, len(source), capi.addressof(module))
    if not error:
        capi.module_delete(module.value)
    capi.engine_delete(engine)
    return capi.take_error(error) if error else ""


@pytest.mark.parametrize("proposal", REFUSED)
def test_proposal_that_functions_do_not_need_is_refused(executor: wasmrun.Executor, proposal: str) -> None:
    """By the name of what is missing, when the function is loaded."""
    text, _, words = REFUSED[proposal]
    with pytest.raises(wasmrun.InvalidFunction, match=f"not a valid module: .*{words}"):
        executor.prewarm(wasmrun.Function(text, warm=0))


@pytest.mark.parametrize("proposal", REFUSED)
def test_proposal_is_refused_by_its_switch_alone(proposal: str) -> None:
    """The same module is taken once its switches are on: so it is these that keep it out."""
    text, switches, _ = REFUSED[proposal]
    source = binary(text)
    assert refusal(source, ())
    assert refusal(source, switches) == ""


@pytest.mark.parametrize("proposal", WORKING)
def test_proposal_that_compilers_use_works(run: Callable[..., wasmrun.Result], proposal: str) -> None:
    """What clang, rustc, TinyGo and AssemblyScript emit today."""
    text, value = WORKING[proposal]
    assert run(f"(module {text})").value == value


def test_component_is_refused_as_what_it_is(executor: wasmrun.Executor) -> None:
    """Not as a module that is broken."""
    with pytest.raises(wasmrun.InvalidFunction, match="the export 'handle' is missing"):
        executor.prewarm(wasmrun.Function("(component)", warm=0))


def test_settings_of_an_engine_are_part_of_its_description() -> None:
    """Whatever changes compiled code changes the key of artifacts."""
    lines = {EngineSettings(stack, metered).describe() for stack in (128 * KIB, 512 * KIB) for metered in (True, False)}
    assert len(lines) == 4
    assert all("wasm_threads" in line and "wasm_simd" in line for line in lines)
