"""Modules that cannot be functions: each is refused with a message that names what is wrong."""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING

import pytest

import wasmrun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEADER = b"\0asm\1\0\0\0"


def leb128(number: int) -> bytes:
    """*number* as WebAssembly writes it."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def section(number: int, body: bytes) -> bytes:
    """One section of a binary module."""
    return bytes([number]) + leb128(len(body)) + body


def code(instructions: bytes) -> bytes:
    """The body of a function without locals."""
    return leb128(len(instructions) + 2) + b"\0" + instructions + b"\x0b"


def functions(count: int, body: bytes = code(b"")) -> bytes:
    """A binary module of *count* functions () -> (), each with *body*."""
    return (
        HEADER
        + section(1, b"\1\x60\0\0")
        + section(3, leb128(count) + b"\0" * count)
        + section(10, leb128(count) + body * count)
    )


def nested_ifs(count: int) -> bytes:
    """A binary module with one function of *count* ``if``s, one in another."""
    return functions(1, code(b"\x41\1\x04\x40" * count + b"\x0b" * count))


def children_seconds() -> float:
    """Processor time of the child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (b"MZ\x90\0 and so on", "not WebAssembly, but a program for Windows"),
        (b"\0as", "not WebAssembly, but data that starts with 00 61 73"),
        (b"\0asm\1\0", "truncated: the header is 8 bytes"),
        (b"\0asm\7\0\0\0", "an unknown version of WebAssembly: 07 00 00 00"),
        (b"\0asm\x0d\0\1\0", "the export 'handle' is missing"),
        (HEADER + b"\1\x05\1", "truncated: the section at byte 8 has 5 bytes, the file ends after 1"),
        (HEADER + b"\1", "truncated: a number at byte 9 does not end"),
        (HEADER + b"\1\xff\xff\xff\xff\xff", "malformed: the number at byte 9 is too long"),
        (HEADER + b"\0\1\0" * 10_001, "more than 10000 sections"),
        ("(module (func (export", "not valid WAT"),
        ("(module (func (result i32)))", "not a valid module"),
        ("(module (func (drop (tuple.make))))", "not valid WAT"),
        ("(" * 100_000, "not valid WAT"),
        ("(module (func " + "(block " * 50_000, "not valid WAT"),
    ],
)  # fmt: skip
def test_a_module_that_is_none_is_refused_with_what_is_wrong(
    module: str | bytes, reason: str, refusal: Callable[..., str]
) -> None:
    """Not WebAssembly, truncated, of another version, text that does not parse: the message says which, and where."""
    assert reason in refusal(module)


def test_a_module_cut_anywhere_is_refused(refusal: Callable[..., str]) -> None:
    """A binary that lost its end is never taken for a module, wherever it was cut."""
    whole = functions(3)
    between_sections = (8, 14)
    for length in range(1, len(whole)):
        if length not in between_sections:
            message = refusal(whole[:length])
            assert "truncated" in message or "not WebAssembly" in message or "not a valid module" in message


@pytest.mark.parametrize("feature", [
    "(memory 1) (memory 1)",
    "(memory i64 1)",
    "(memory 1 1 shared)",
    "(tag) (func (throw 0))",
    "(func $f (return_call $f))",
    "(type (struct (field i32)))",
    "(memory 1 (pagesize 1))",
    "(func (result v128) (i16x8.relaxed_q15mulr_s (v128.const i64x2 0 0) (v128.const i64x2 0 0)))",
])  # fmt: skip
def test_a_proposal_that_functions_do_not_need_is_refused(feature: str, refusal: Callable[..., str]) -> None:
    """Several memories, 64-bit and shared ones, exceptions, tail calls, GC: all switched off."""
    assert "not a valid module" in refusal(f"(module {feature})")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"wasmrun_alloc"', '"alloc"', "the export 'wasmrun_alloc' is missing"),
        ('"wasmrun_handle"', '"handel"', "the export 'wasmrun_handle' is missing"),
        ('"wasmrun_handle"', '"handel"', "it exports handel: name one with --entry"),
        ('(memory (export "memory")', "(memory", "the export 'memory' is missing"),
        ('(memory (export "memory")', '(export "memory" (func 0)) (memory', "'memory' is not a memory but a function"),
    ],
)  # fmt: skip
def test_a_missing_or_wrong_export_is_named(
    old: str, new: str, reason: str, wat: Callable[..., str], refusal: Callable[..., str]
) -> None:
    """The message names the export that is missing, or what it is instead."""
    guest = wat()
    assert old in guest
    assert reason in refusal(guest.replace(old, new))


@pytest.mark.parametrize("name", ["wasmrun_alloc", "wasmrun_free", "wasmrun_init", "_initialize", "wasmrun_handle"])
def test_an_export_of_another_type_is_named_with_both(
    name: str, wat: Callable[..., str], refusal: Callable[..., str]
) -> None:
    """An export of a wrong signature, or that is no function: the message says what it must be, and what it is."""
    guest = wat().replace(f'(export "{name}")', "")
    message = refusal(guest[:-1] + f'(func (export "{name}") (param f64) (result f64) (local.get 0)))')
    assert f"the export '{name}' must be (" in message
    assert message.endswith("not (f64) -> f64")
    message = refusal(guest[:-1] + f'(global (export "{name}") i32 (i32.const 0)))')
    assert message.endswith("not global")


def test_an_entry_that_is_missing_is_named_with_those_that_exist(
    wat: Callable[..., str], refusal: Callable[..., str]
) -> None:
    """An entry that the module does not have: the message lists those that it has."""
    message = refusal(wat(entry="resize"), entry="resise")
    assert message == "the export 'resise' is missing; handlers are resize"


def test_an_import_that_was_not_granted_is_named(wat: Callable[..., str], refusal: Callable[..., str]) -> None:
    """What a module imports beyond its grants is named, with how to grant it, before any export that is missing."""
    imports = '(import "wasmrun" "db.get" (func (param i32 i32) (result i64))) (import "env" "system" (func))'
    message = refusal(f"(module {imports})")
    assert "imports what it is not granted: wasmrun.db.get, env.system" in message
    assert "imports={name: function}" in message
    assert message == refusal(wat(imports=imports).replace("wasmrun_alloc", "lost"))


@pytest.mark.parametrize(
    "item", ['"env" "memory" (memory 1)', '"env" "t" (table 1 funcref)', '"wasmrun" "g" (global i32)', '"" "" (func)']
)
def test_an_import_of_any_kind_is_refused(item: str, refusal: Callable[..., str]) -> None:
    """Memories, tables and globals cannot be imported, and empty names are shown too."""
    assert "imports what it is not granted" in refusal(f'(module (import {item}) (func (export "wasmrun_handle")))')


def test_an_import_of_another_type_is_named_with_both(wat: Callable[..., str], refusal: Callable[..., str]) -> None:
    """`wasmrun.log` with another signature is refused when the function is loaded."""
    message = refusal(wat(imports='(import "wasmrun" "log" (func (param i64)))'))
    assert message == "the import wasmrun.log must be (i32, i32, i32) -> (), not (i64) -> ()"


def test_an_import_of_wasi_that_does_not_exist_is_refused(wat: Callable[..., str], refusal: Callable[..., str]) -> None:
    """A name that WASI does not have is a refusal too, with that name in it."""
    message = refusal(wat(imports='(import "wasi_snapshot_preview1" "fork" (func))'))
    assert "wasi_snapshot_preview1" in message
    assert "fork" in message


def test_a_name_chosen_by_the_module_is_escaped_and_cut_in_the_message(refusal: Callable[..., str]) -> None:
    """Names with ESC and newlines, 90 kB long and a thousand of them, do not shape what a terminal shows."""
    name = "\\1b[31m\\0a" + "x" * 90_000
    message = refusal(f'(module (import "env" "{name}" (func)))')
    assert "\\x1b[31m\\n" in message
    assert len(message) < 1_000
    many = "".join(f'(import "env" "n{i}" (func))' for i in range(1_000))
    assert "n9 and 990 more" in refusal(f"(module {many})")


def test_a_module_of_20000_exports_is_refused(refusal: Callable[..., str]) -> None:
    """Every export costs the host time outside all limits of a sandbox, so their number is capped."""
    exports = "".join(f'(export "e{i}" (func 0))' for i in range(20_000))
    assert "it has 20000 export entries; at most 5000 are allowed" in refusal(f"(module (func) {exports})")


def test_a_module_of_a_million_functions_is_refused_unread(refusal: Callable[..., str]) -> None:
    """The number is in the section's header: nothing is compiled."""
    started = time.monotonic()
    assert "it has 1000000 function entries; at most 100000 are allowed" in refusal(functions(1_000_000))
    assert time.monotonic() - started < 5


def test_a_module_of_50000_functions_in_a_table_is_refused_unread(refusal: Callable[..., str]) -> None:
    """No table has that many elements, and no sandbox the room for so many functions: nothing is compiled."""
    before = children_seconds()
    segment = b"\1\1\0" + leb128(50_000) + b"".join(leb128(number) for number in range(50_000))
    whole = functions(50_000)
    tail = whole.index(b"\x0a", 20 + 50_000)  # the code
    message = refusal(whole[:tail] + section(4, b"\1\x70\0\1") + section(9, segment) + whole[tail:])
    assert "it has 50000 elements in segments or more; at most 20000 are allowed" in message
    assert children_seconds() - before < 1


def test_a_module_of_large_types_is_refused_unread(refusal: Callable[..., str]) -> None:
    """5 MB of types would keep the compiler busy for a minute, and every process that loads them for a second."""
    before = children_seconds()
    types = b"".join(b"\x60" + leb128(1_000) + b"\x7f" * 1_000 + b"\0" for _ in range(5_000))
    message = refusal(HEADER + section(1, leb128(5_000) + types))
    assert "parameters and results of types or more; at most 100000 are allowed" in message
    assert children_seconds() - before < 1


def test_a_module_of_many_exports_of_a_large_type_is_refused_once(tmp_path: Path) -> None:
    """990 exports of 1,000 parameters each cost whoever loads them half a second, each time."""
    params = "(param" + " i32" * 1_000 + ")"
    exports = "".join(f'(export "e{number}" (func 0))' for number in range(990))
    function = wasmrun.Function(f"(module (func {params}) {exports})", warm=0)
    with wasmrun.Executor(cache_dir=tmp_path) as executor:
        for _ in range(2):
            started = time.process_time()
            with pytest.raises(wasmrun.InvalidFunction, match=r"990000 parameters and results together; at most 50000"):
                executor.load(function)
        assert time.process_time() - started < 0.1


def test_a_compile_bomb_is_given_up_in_bounded_time_and_not_tried_again(tmp_path: Path) -> None:
    """300,000 ``if``s keep a compiler busy for minutes: it gets its seconds once, whatever number of events come."""
    bomb = wasmrun.Function(nested_ifs(300_000))
    with wasmrun.Executor(cache_dir=tmp_path, compile_limits=wasmrun.CompileLimits(cpu=1)) as executor:
        before = children_seconds()
        with pytest.raises(wasmrun.InvalidFunction, match=r"more than 1\.00 s of processor time.*CompileLimits\(cpu="):
            executor.invoke(bomb)
        spent = children_seconds() - before
        assert 0.5 < spent < 3
        started = time.process_time()
        for _ in range(100):
            with pytest.raises(wasmrun.InvalidFunction, match="processor time"):
                executor.invoke(bomb)
        assert time.process_time() - started < 0.5
        assert children_seconds() - before == spent


def test_a_compile_bomb_is_given_up_by_the_clock(tmp_path: Path) -> None:
    """The limit by the clock holds too, and the message names it."""
    limits = wasmrun.CompileLimits(wall="300ms")
    with (
        wasmrun.Executor(cache_dir=tmp_path, compile_limits=limits) as executor,
        pytest.raises(wasmrun.InvalidFunction, match=r"more than 300 ms to compile.*CompileLimits\(wall="),
    ):
        executor.invoke(wasmrun.Function(nested_ifs(300_000)))


def test_a_compile_bomb_is_given_up_in_bounded_memory(tmp_path: Path) -> None:
    """Code that takes more address space than its limit to compile is refused, and this process does not grow."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limits = wasmrun.CompileLimits(cpu=20, address_space="256MiB")
    with (
        wasmrun.Executor(cache_dir=tmp_path, compile_limits=limits) as executor,
        pytest.raises(wasmrun.InvalidFunction, match=r"address space to compile.*CompileLimits\(address_space="),
    ):
        executor.invoke(wasmrun.Function(nested_ifs(300_000)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_a_refused_module_does_not_hold_up_others(tmp_path: Path, wat: Callable[..., str]) -> None:
    """While a bomb is being compiled, other functions are loaded and answer."""
    limits = wasmrun.CompileLimits(cpu=1)
    with wasmrun.Executor(cache_dir=tmp_path, compile_limits=limits) as executor:
        bomb = executor.submit(wasmrun.Function(nested_ifs(300_000)))
        assert executor.invoke(wasmrun.Function(wat())) is True
        assert not bomb.done()
        assert isinstance(bomb.exception(), wasmrun.InvalidFunction)


@pytest.mark.parametrize("exported", ['(export "memory")', ""])
def test_a_memory_minimum_above_the_limit_is_refused(exported: str, refusal: Callable[..., str]) -> None:
    """A module that starts with more memory than its limit never runs, whether it shows its memory or hides it."""
    assert refusal(f'(module (memory {exported} 17) (func (export "f")))', memory="1MiB") == (
        "the module starts with 1.1 MiB of memory, more than its limit of 1 MiB; build it with less, or raise `memory`"
    )


@pytest.mark.parametrize("exported", ['(export "table")', ""])
def test_a_table_minimum_above_the_limit_is_refused(exported: str, refusal: Callable[..., str]) -> None:
    """The message names the setting, and what to do, for a table that is shown and for one that is hidden."""
    assert refusal(f'(module (table {exported} 21 funcref) (func (export "f")))', table_elements=20) == (
        "the module's table starts with 21 elements, more than its limit of 20; build it with less, or raise "
        "`table_elements`"
    )


@pytest.mark.parametrize(
    "fields", ["(table 10 funcref) (table 10 funcref)", '(table (export "a") 1 externref) (table 1 funcref)']
)
def test_a_second_table_is_refused(fields: str, refusal: Callable[..., str]) -> None:
    """One memory, one table, one instance: more of them would each have the whole limit."""
    assert "table" in refusal(f'(module {fields} (func (export "f")))')


@pytest.mark.parametrize("path", ["missing.wasm", ".", "\0", "file.wasm/inside"])
def test_a_path_that_cannot_be_read_is_refused(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]
) -> None:
    """A path without a file, a directory, no path at all: the message names it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.wasm").write_bytes(HEADER)
    assert "module" in refusal(path)
