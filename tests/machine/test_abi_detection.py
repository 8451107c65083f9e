"""The ABI of a module is what its imports and exports say, and a module that serves none is told why."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

import wasmrun
from wasmrun import InvalidFunction, Result
from wasmrun.machine import program
from wasmrun.machine.module import Module
from wasmrun.machine.program import detect

Wat = Callable[..., str]
Run = Callable[..., Result]
Load = Callable[..., Module]

MEMORY = '(memory (export "memory") 1)'
ALLOC = '(func (export "wasmrun_alloc") (param i32) (result i32) (i32.const 1024))'
START = '(func (export "_start"))'
ADD = '(func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))'


def handler(name: str) -> str:
    return f'(func (export "{name}") (param i32 i32) (result i64) (i64.const 0))'


@pytest.mark.parametrize(
    ("fields", "settings", "abi", "reason"),
    [
        (ALLOC, {}, "native", "it exports wasmrun_alloc"),
        (handler("wasmrun_handle"), {}, "native", "it exports wasmrun_handle"),
        (handler("wasmrun_handle_raw"), {}, "native", "it exports wasmrun_handle_raw"),
        (ALLOC + START, {}, "native", "it exports wasmrun_alloc"),
        ('(global (export "wasmrun_alloc") i32 (i32.const 0))', {}, "native", "it exports wasmrun_alloc"),
        (MEMORY + handler("go"), {"entry": "go"}, "native", r"go takes \(ptr, len\) and gives an i64"),
        (MEMORY + handler("go") + START, {"entry": "go"}, "native", r"go takes \(ptr, len\) and gives an i64"),
        (MEMORY + handler("go") + START, {}, "command", "it exports _start"),
        (START, {}, "command", "it exports _start"),
        (START + ADD, {"entry": "add"}, "command", "it exports _start"),
        (handler("go"), {"entry": "go"}, "plain", "it exports neither wasmrun_alloc nor _start"),
        (ADD, {}, "plain", "it exports neither wasmrun_alloc nor _start"),
        ("", {}, "plain", "it exports neither wasmrun_alloc nor _start"),
        (ALLOC + START + ADD, {"abi": "plain"}, "plain", "named by the function"),
        (ADD, {"abi": "native"}, "native", "named by the function"),
        (ADD, {"abi": "command"}, "command", "named by the function"),
    ],
)  # fmt: skip
def test_abi_is_detected_by_exports(load: Load, fields: str, settings: dict[str, Any], abi: str, reason: str) -> None:
    """In the order of the design: native, command, plain; what the function says comes first."""
    source = f"(module {fields})"
    found = detect(wasmrun.Function(source, **settings), load(source))
    assert found.abi == abi
    assert re.fullmatch(reason, found.reason)


def test_extism_plug_in_is_told_that_it_is_one(run: Run) -> None:
    """By its imports, whatever it exports; naming another ABI gets it the list of those."""
    source = f'(module (import "extism:host/env" "input_length" (func (result i64))) {handler("wasmrun_handle")})'
    with pytest.raises(InvalidFunction, match=r"no entry is named; the plug-in's functions are none"):
        run(source)
    with pytest.raises(InvalidFunction, match=r"imports what it is not granted: extism:host/env.input_length"):
        run(source, abi="native")


def test_imports_that_are_not_granted_are_named_before_exports_that_are_missing(run: Run) -> None:
    """Whoever builds for another host sees that first."""
    for source in ('(module (import "env" "puts" (func)))', f'(module (import "env" "puts" (func)) {ALLOC})'):
        with pytest.raises(InvalidFunction, match=r"imports what it is not granted: env.puts"):
            run(source)


@pytest.mark.parametrize(
    ("names", "settings", "entry", "is_raw"),
    [
        (["wasmrun_handle", "wasmrun_handle_raw", "go"], {}, "wasmrun_handle", False),
        (["wasmrun_handle_raw", "go"], {}, "wasmrun_handle_raw", True),
        (["wasmrun_handle", "wasmrun_handle_raw"], {"raw": True}, "wasmrun_handle_raw", True),
        (["wasmrun_handle", "go", "go_raw"], {"entry": "go"}, "go", False),
        (["wasmrun_handle", "go", "go_raw"], {"entry": "go_raw"}, "go_raw", True),
        (["wasmrun_handle", "wasmrun_handle_raw"], {"entry": "wasmrun_handle_raw"}, "wasmrun_handle_raw", True),
    ],
)
def test_native_entry_is_chosen(
    program: Callable[..., Any], names: list[str], settings: dict[str, Any], entry: str, is_raw: bool
) -> None:
    """The usual handler where none is named, the raw one where bytes are asked for; a name that ends in _raw is raw."""
    abi = program(f"(module {MEMORY} {ALLOC} {''.join(map(handler, names))})", **settings).abi
    assert (abi.name, abi.entry, abi.is_raw) == ("native", entry, is_raw)


FREE = '(func (export "wasmrun_free") (param i32))'
HANDLE = handler("wasmrun_handle")


@pytest.mark.parametrize(
    ("fields", "settings", "message"),
    [
        (MEMORY + ALLOC, {}, r"the export 'wasmrun_handle' is missing \(or 'wasmrun_handle_raw'\)$"),
        (MEMORY + ALLOC + handler("go"), {}, r"'wasmrun_handle' is missing .*; it exports go: name one with --entry"),
        (MEMORY + ALLOC + HANDLE, {"entry": "gone"}, "the export 'gone' is missing; handlers are wasmrun_handle$"),
        (MEMORY + ALLOC, {"entry": "gone"}, "the export 'gone' is missing; handlers are none$"),
        (MEMORY + ALLOC + HANDLE + ADD, {"entry": "add"},
         r"the export 'add' must be \(i32, i32\) -> i64, not \(i32, i32\) -> i32"),
        (MEMORY + ALLOC + '(func (export "wasmrun_handle"))', {},
         r"'wasmrun_handle' must be \(i32, i32\) -> i64, not \(\) -> \(\)"),
        (MEMORY + ALLOC + '(global (export "wasmrun_handle") i32 (i32.const 0))', {},
         r"'wasmrun_handle' must be .*, not global"),
        (MEMORY + HANDLE, {}, r"the export 'wasmrun_alloc' is missing; it must be \(i32\) -> i32"),
        (MEMORY + HANDLE + '(func (export "wasmrun_alloc"))', {},
         r"'wasmrun_alloc' must be \(i32\) -> i32, not \(\) -> \(\)"),
        (MEMORY + HANDLE + ALLOC + FREE, {}, r"'wasmrun_free' must be \(i32, i32\) -> \(\), not \(i32\) -> \(\)"),
        (MEMORY + HANDLE + ALLOC + '(func (export "wasmrun_init") (param i32))', {},
         r"'wasmrun_init' must be \(\) -> \(\)"),
        (MEMORY + HANDLE + ALLOC + '(func (export "_initialize") (result i32) (i32.const 0))', {},
         r"'_initialize' must be \(\) -> \(\), not \(\) -> i32"),
        (HANDLE + ALLOC, {}, "the export 'memory' is missing"),
        (HANDLE + ALLOC + '(func (export "memory"))', {}, "the export 'memory' is not a memory but a function"),
        (HANDLE + ALLOC + '(table (export "memory") 1 funcref)', {}, "the export 'memory' is not a memory but a table"),
        (ADD, {"abi": "command"}, "the export '_start' is missing"),
        (START, {"entry": "gone"}, "the export 'gone' is missing"),
        (START + ADD, {"entry": "add"}, r"the export 'add' must be \(\) -> \(\), not \(i32, i32\) -> i32"),
        ('(global (export "_start") i32 (i32.const 0))', {}, r"the export '_start' must be \(\) -> \(\), not global"),
        ("", {}, "no entry is named; functions of numbers are none"),
        (ADD + ADD.replace('"add"', '"plus"'), {},
         "no entry is named; functions of numbers are add, plus: name one with --entry"),
        (ADD, {"entry": "sub"}, "the export 'sub' is missing; functions of numbers are add"),
        (MEMORY + ADD, {"entry": "memory"}, "the export 'memory' is no function of numbers: memory of 1 page"),
        ('(func (export "f") (param externref))', {"entry": "f"},
         r"'f' is no function of numbers: \(externref\) -> \(\)"),
        ('(func (export "f") (param v128))', {"entry": "f"}, r"'f' is no function of numbers: \(v128\) -> \(\)"),
        ('(func (export "a\\1b[1m")) (func (export "b"))', {}, r"functions of numbers are a\\x1b\[1m, b"),
    ],
)  # fmt: skip
def test_function_that_its_module_cannot_serve_is_told_why(
    run: Run, fields: str, settings: dict[str, Any], message: str
) -> None:
    """The export by its name, what it must be, what it is; names that the guest chose are escaped."""
    with pytest.raises(InvalidFunction, match=message):
        run(f"(module {fields})", **settings)


def test_function_asks_for_bytes_where_the_module_has_no_raw_entry(run: Run) -> None:
    """`raw=True` passes bytes as they stand: where that cannot be, it is said, not ignored."""
    with pytest.raises(InvalidFunction, match="raw"):
        run(f"(module {MEMORY} {ALLOC} {HANDLE})", b"", raw=True)
    with pytest.raises(InvalidFunction, match="raw"):
        run(f"(module {MEMORY} {ALLOC} {HANDLE} {handler('go')})", b"", raw=True, entry="go")
    with pytest.raises(InvalidFunction, match="raw"):
        run(f"(module {ADD})", b"", raw=True)


def test_handlers_in_a_message_are_counted_and_cut(run: Run) -> None:
    """A guest with a hundred of them, with long names, does not fill the screen."""
    names = [f"{number:03}" + "x" * 500 for number in range(100)]
    with pytest.raises(InvalidFunction) as caught:
        run(f"(module {MEMORY} {ALLOC} {''.join(map(handler, names))})")
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize("abi", ["native", "command", "plain"])
def test_memory_above_the_limit_is_refused_with_both_sizes(run: Run, abi: str) -> None:
    """Whatever the ABI; exported or imported."""
    with pytest.raises(
        InvalidFunction, match=r"starts with 2 MiB of memory, more than its limit of 1 MiB; .*raise `memory`"
    ):
        run('(module (memory (export "memory") 32))', memory="1MiB", abi=abi)


def test_memory_of_just_the_limit_is_taken(run: Run) -> None:
    """The limit is the last size that is allowed; growing further is refused."""
    source = '(module (memory (export "memory") 16) (func (export "f") (result i32) (memory.grow (i32.const 1))))'
    result = run(source, memory="1MiB")
    assert (result.value, result.report.memory_near_limit) == (-1, True)


def test_memory_above_the_limit_is_refused_also_where_it_is_not_exported(run: Run) -> None:
    """The module's file says what its types do not."""
    source = '(module (memory 32) (func (export "f")))'
    with pytest.raises(InvalidFunction, match=r"starts with 2 MiB of memory, more than its limit of 1 MiB; "):
        run(source, memory="1MiB")
    assert run(source, memory="2MiB").is_ok


@pytest.mark.parametrize(
    ("fields", "limits", "word"),
    [("(memory 32)", {"memory": "1MiB"}, "memory"), ("(table 21 funcref)", {"table_elements": 20}, "table")],
)
def test_limits_hold_in_the_engine_without_a_look_at_the_file(
    run: Run, monkeypatch: pytest.MonkeyPatch, fields: str, limits: dict[str, Any], word: str
) -> None:
    """The look is for the words of the refusal; every sandbox has the limits itself."""
    monkeypatch.setattr(program, "_check_sizes", lambda *sizes: None)
    with pytest.raises(InvalidFunction, match=f"the module cannot be instantiated: {word} minimum size"):
        run(f'(module {fields} (func (export "f")))', **limits)


@pytest.mark.parametrize("fuel", ["auto", None])
@pytest.mark.parametrize(
    "fields",
    [
        '(memory 1) (data (offset (i32.add (i32.const 8) (i32.const 8))) "x")',
        '(memory 1000) (data (i32.const 0) "x") (data (i32.const 60000000) "far")',
        '(data "passive") (memory 1)',
        "(table 10 funcref) (elem (i32.const 5) funcref (ref.func $f) (ref.null func))",
        "(table 10 externref) (elem (i32.const 1) externref (ref.null extern))",
        "(global funcref (ref.func $f))",
    ],
    ids=["computed offset", "far apart", "passive", "null in a table", "externref table", "function in a global"],
)
def test_module_whose_segments_are_compiled_to_code_can_be_instantiated(run: Run, fields: str, fuel: Any) -> None:
    """The engine places some by running code, which needs fuel and time although there is no start function."""
    source = f'(module (func $f (export "f") (result i32) (i32.const 1)) {fields})'
    assert run(source, fuel=fuel, entry="f").value == 1


def test_data_outside_the_memory_is_refused_when_it_is_placed(run: Run) -> None:
    """A segment that does not fit is the module's own fault, before anything ran."""
    result = run('(module (memory 1) (data (i32.const 65530) "too long") (func (export "f")))')
    assert isinstance(result.error, wasmrun.GuestTrap)
    assert result.error.kind == "memory out of bounds"


@pytest.mark.parametrize(
    ("fields", "settings"),
    [
        (MEMORY + ALLOC + handler("wasmrun_handle"), {}),
        (MEMORY + ALLOC + handler("wasmrun_handle_raw") + handler("go"), {"entry": "go"}),
        (ADD, {}),
    ],
    ids=["envelope", "named envelope", "numbers"],
)
def test_raw_function_without_a_handler_of_bytes_is_refused(run: Run, fields: str, settings: dict[str, Any]) -> None:
    """Rather than given an envelope where bytes as they stand were asked for."""
    with pytest.raises(InvalidFunction, match=r"^raw=True [(]--raw[)] "):
        run(f"(module {fields})", raw=True, **settings)
