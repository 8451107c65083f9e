"""Plug-ins in WAT, and Extism's own runtime to run them in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import wasmtime

import wasmrun
from wasmrun.machine.kernel import FUNCTIONS, MODULE

PLUGINS = Path(__file__).parent / "plugins"

Either = wasmrun.Executor | wasmrun.ProcessExecutor


def plugin(*functions: str, memory: str = '(memory (export "memory") 1)', more: str = "", **entries: str) -> str:
    """WAT of a plug-in that imports all of the kernel, each function by its name.

    *entries* are functions of () -> i32, of which a body is given that need not answer 0. There are ``$text``, the
    handle of 8 bytes, and ``$say``, which makes 8 bytes the output; *more* are further imports.
    """
    imports = "".join(
        f'(import "{MODULE}" "{name}" (func ${name} {_fields("param", item.params)} {_fields("result", item.results)}))\n'
        for name, item in FUNCTIONS.items()
    )
    bodies = "".join(
        f'(func ${name} (export "{name}") (result i32) (local $a i64) (local $b i64) {body} (i32.const 0))\n'
        for name, body in entries.items()
    )
    return f"""(module {more} {imports} {memory}
      (func $text (param i64) (result i64) (local $at i64)
        (local.set $at (call $alloc (i64.const 8)))
        (call $store_u64 (local.get $at) (local.get 0))
        (local.get $at))
      (func $say (param i64) (call $output_set (call $text (local.get 0)) (i64.const 8)))
      {"".join(functions)} {bodies})"""


def _fields(word: str, kinds: tuple[str, ...]) -> str:
    return f"({word} {' '.join(kinds)})" if kinds else ""


ECHO = "(call $output_set (call $input_offset) (call $input_length))"
A, B = "(i64.const 0x4141414141414141)", "(i64.const 0x4242424242424242)"


def oracle(source: str | bytes, entry: str, event: bytes, **manifest: Any) -> bytes | str:
    """What Extism's own runtime answers, or the text of its error."""
    import extism

    data = bytes(wasmtime.wat2wasm(source)) if isinstance(source, str) else source
    made = extism.Plugin({"wasm": [{"data": data}], **manifest}, wasi=True)
    try:
        return bytes(made.call(entry, event))
    except extism.Error as error:
        return str(error)
