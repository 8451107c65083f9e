"""A component may declare imports of WASI with other types than they have: it is ended, and nothing of the host is read."""

from __future__ import annotations

import re
from typing import Any

import pytest
from lifted import component

import wasmrun
from wasmrun.base_executor import BaseExecutor

_POINTER = "(i64.const 0x414141414141)"

# What is imported, from where; its core type; and a call of it.
OTHERS = {
    "poll of numbers": (
        "io/poll",
        '"poll" (func (param "in" (list u64)) (result (list u32)))',
        "(param i32 i32 i32)",
        f"(i64.store (i32.const 512) {_POINTER}) (call $f (i32.const 512) (i32.const 1) (i32.const 600))",
    ),
    "poll of nothing": (
        "io/poll",
        '"poll" (func (result (list u32)))',
        "(param i32)",
        "(call $f (i32.const 600))",
    ),
    "poll of a number": (
        "io/poll",
        '"poll" (func (param "in" u64) (result (list u32)))',
        "(param i64 i32)",
        f"(call $f {_POINTER} (i32.const 600))",
    ),
    "poll for nothing": (
        "io/poll",
        '"poll" (func (param "in" (list u64)))',
        "(param i32 i32)",
        "(call $f (i32.const 512) (i32.const 1))",
    ),
    "poll for text": (
        "io/poll",
        '"poll" (func (param "in" (list u64)) (result string))',
        "(param i32 i32 i32)",
        "(call $f (i32.const 512) (i32.const 1) (i32.const 600))",
    ),
    "duration as text": (
        "clocks/monotonic-clock",
        '"subscribe-duration" (func (param "when" string) (result u64))',
        "(param i32 i32) (result i64)",
        "(drop (call $f (i32.const 512) (i32.const 4)))",
    ),
    "duration without one": (
        "clocks/monotonic-clock",
        '"subscribe-duration" (func (result u64))',
        "(result i64)",
        "(drop (call $f))",
    ),
    "instant with more": (
        "clocks/monotonic-clock",
        '"subscribe-instant" (func (param "when" u64) (param "more" u64))',
        "(param i64 i64)",
        f"(call $f {_POINTER} {_POINTER})",
    ),
    "socket of a number": (
        "sockets/tcp-create-socket",
        '"create-tcp-socket" (func (param "address-family" u64) (result u64))',
        "(param i64) (result i64)",
        f"(drop (call $f {_POINTER}))",
    ),
    "address of numbers": (
        "sockets/ip-name-lookup",
        '"resolve-addresses" (func (param "network" u64) (param "name" u64))',
        "(param i64 i64)",
        f"(call $f {_POINTER} {_POINTER})",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("version", ["0.2.0", "0.2.12"])
def test_import_declared_with_other_types_ends_the_guest(executor: BaseExecutor, name: str, version: str) -> None:
    """No number of the guest's is taken for an address, and nothing is written where no result was wanted."""
    interface, declared, core_type, call = OTHERS[name]
    imported = declared.split('"')[1]
    guest = component(
        f"{call} unreachable",
        imports=f'(import "wasi:{interface}@{version}" (instance $wasi (export {declared})))',
        lowered=(
            f'(core func $lowered (canon lower (func $wasi "{imported}") (memory (core memory $l "memory")) '
            '(realloc (core func $l "realloc"))))'
        ),
        given=f'(export "{imported}" (func $lowered))',
        functions=f'(import "h" "{imported}" (func $f {core_type}))',
    )
    error: Any = executor.run(wasmrun.Function(guest), {}).error
    assert isinstance(error, wasmrun.GuestTrap)
    assert re.search("with other types than it has|a value that is no resource|type mismatch", str(error))
