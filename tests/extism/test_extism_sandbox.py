"""A plug-in's sandbox: what it keeps and forgets, how it starts, and what its functions may be."""

from __future__ import annotations

import random
from typing import Any

import pytest
from extism_kit import ECHO, PLUGINS, A, B, Either, plugin

import wasmrun
from wasmrun.limits import MIB
from wasmrun.machine.kernel import FUNCTIONS, Kernel, kernel_for
from wasmrun.machine.module import ExternType

COUNT = PLUGINS / "count_vowels.wasm"


def test_variables_are_one_events(executor: Either) -> None:
    """However its sandbox started."""
    for warm in (0, 2):
        function = wasmrun.Function(COUNT, entry="count_vowels", warm=warm)
        for _ in range(4):
            assert executor.invoke(function, b"aei") == {"count": 3, "total": 3}


def test_variables_of_a_reused_sandbox_stay_and_its_blocks_go(executor: Either) -> None:
    """What is kept of an event is what it set; blocks are gone, and zero."""
    function = wasmrun.Function(COUNT, entry="count_vowels", reuse=True, tenant="t", name="kept")
    assert [executor.invoke(function, b"aei")["total"] for _ in range(4)] == [3, 6, 9, 12]
    # One of 8 bytes where the last event had its own.
    peek = "(local.set $a (call $input_length)) (local.set $b (call $alloc (i64.const 64))) (call $output_set (local.get $b) (i64.const 64))"
    source = plugin(
        run=f"{peek} (call $var_set (call $text {A}) (call $text {B})) (call $store_u64 (local.get $b) (i64.const 0))"
    )
    looking = wasmrun.Function(source, entry="run", reuse=True, tenant="t", raw=True, name="looking")
    for _ in range(20):
        assert executor.invoke(looking, b"secret of this event" * 5) == bytes(64)


def test_starts_are_cold_warm_and_reused(local: wasmrun.Executor) -> None:
    """As of any other function; what is reported of memory has the kernel's in it."""
    starts = []
    for settings in ({"warm": 0}, {"warm": 1}, {"reuse": True, "tenant": "t"}):
        function = wasmrun.Function(plugin(run=ECHO), raw=True, **settings)
        if settings.get("warm") == 1:
            local.prewarm(function)
        report = [local.run(function, b"event").report for _ in range(2)][-1 if "reuse" in settings else 0]
        assert (report.abi, report.memory_bytes) == ("extism", 2 * 65_536)
        starts.append(report.start)
    assert starts == ["cold", "warm", "reused"]


def test_plug_in_that_exits_with_0_has_answered(executor: Either) -> None:
    """And takes no other event: the sandbox of one that is reused is made anew."""
    function = wasmrun.Function(PLUGINS / "echo.wasm", entry="leave", raw=True, reuse=True, tenant="t")
    for _ in range(3):
        result = executor.run(function, b"0")
        assert result.value == b"0"
        assert result.report.start != "reused"
    error = executor.run(function, b"7").error
    assert isinstance(error, wasmrun.GuestExit)
    assert error.status == 7


def test_what_was_reported_before_a_trap_is_told(executor: Either) -> None:
    """Language runtimes say what went wrong, and trap."""
    function = wasmrun.Function(plugin(run=f"(call $error_set (call $text {A})) unreachable"))
    with pytest.raises(wasmrun.GuestTrap, match=r"the function trapped: unreachable.*; before, it reported: AAAAAAAA"):
        executor.invoke(function)


@pytest.mark.parametrize(
    ("exports", "ran"),
    [
        (("_initialize",), "i"),
        (("__wasm_call_ctors",), "c"),
        (("__wasm_call_ctors", "_initialize"), "c"),
        (("hs_init",), "h"),
        (("hs_init", "_initialize"), "ih"),
        (("hs_init", "_initialize", "__wasm_call_ctors"), "ih"),
        ((), ""),
    ],
)
def test_runtime_of_the_language_is_started_as_extism_does(local: wasmrun.Executor, exports: Any, ran: str) -> None:
    """Before the event, within an allowance of its own."""
    letters = {"_initialize": "i", "__wasm_call_ctors": "c", "hs_init": "h"}
    starters = "".join(
        f'(func (export "{name}") {"(param i32 i32)" if name == "hs_init" else ""}'
        f"(global.set $ran (i64.add (i64.shl (global.get $ran) (i64.const 8)) (i64.const {ord(letters[name])}))))"
        for name in exports
    )
    source = plugin("(global $ran (mut i64) (i64.const 0))", starters, run="(call $say (global.get $ran))")
    assert local.invoke(wasmrun.Function(source, raw=True)).rstrip(b"\0")[::-1].decode() == ran
    if exports:
        endless = source.replace("(global.set $ran", "(loop $l (br $l)) (global.set $ran")
        with pytest.raises(wasmrun.TimedOut, match="init_timeout"):
            local.invoke(wasmrun.Function(endless, init_timeout="50ms"))


def test_start_function_finds_the_kernel(executor: Either) -> None:
    """It may allocate, though the kernel does not grow for it: nobody knows yet what the plug-in has."""
    start = f"(func $begin (drop (call $alloc (i64.const 1000))) (call $log_info (call $text {A}))"
    grow = "(global.set $got (call $alloc (i64.const 100000)))) (start $begin) (global $got (mut i64) (i64.const 1))"
    source = plugin(start + grow, run=f"{ECHO} (return (i32.wrap_i64 (global.get $got)))")
    result = executor.run(wasmrun.Function(source, raw=True), b"event")
    assert (result.value, [log.message for log in result.logs]) == (b"event", ["AAAAAAAA"])


def test_entry_is_the_one_function_or_named(local: wasmrun.Executor) -> None:
    """Those of runtimes and linkers do not count; what does not fit is said."""
    helpers = '(func (export "_helper")) (func (export "__new") (param i32) (result i32) (local.get 0))'
    assert local.invoke(wasmrun.Function(plugin(helpers, run=ECHO)), b"5") == 5
    two = plugin(helpers, one=ECHO, other=ECHO)
    with pytest.raises(
        wasmrun.InvalidFunction, match=r"no entry is named; the plug-in's functions are one, other: name one"
    ):
        local.invoke(wasmrun.Function(two))
    assert local.invoke(wasmrun.Function(two, entry="other"), b"5") == 5
    for entry, words in (
        ("none", r"is missing; .* are one, other"),
        ("__new", r"must be \(\) -> i32"),
        ("memory", "must be"),
    ):
        with pytest.raises(wasmrun.InvalidFunction, match=words):
            local.invoke(wasmrun.Function(two, entry=entry))
    command = plugin(f'(func (export "_start") {ECHO})')
    assert local.invoke(wasmrun.Function(command, reuse=True, tenant="t"), b"5") == 5


def test_event_and_answer_are_json_where_they_can_be(executor: Either) -> None:
    """Else text, else bytes; nothing is None."""
    function = wasmrun.Function(plugin(run=ECHO))
    for event, answer in (
        ({"a": [1, None]}, {"a": [1, None]}),
        ("text", "text"),
        (b"not JSON", "not JSON"),
        (b"\xff\x00", b"\xff\x00"),
        (b"", None),
    ):
        assert executor.invoke(function, event) == answer
    with pytest.raises(wasmrun.InvalidEvent, match="a raw plug-in takes bytes, not str"):
        executor.invoke(wasmrun.Function(plugin(run=ECHO), raw=True), "text")
    with pytest.raises(wasmrun.InvalidEvent, match="cannot be written as JSON"):
        executor.invoke(function, {1: 2})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ('(import "extism:host/env" "alloc" (func (param i32) (result i32)))', r"alloc must be \(i64\) -> i64"),
        ('(import "extism:host/env" "memory" (memory 1))', "not granted: extism:host/env.memory"),
        ('(import "extism:host/env" "extism_context" (global (mut externref)))', "not granted: extism:host/env"),
        ('(import "extism:host/env" "wasmrun:begin" (func (param i32) (result i32)))', "not granted: extism:host/env"),
        ('(import "extism:host/user" "look_up" (func (param i64) (result i64)))', "grant host functions with imports"),
        (
            '(import "extism:host/env" "free" (func (param i64))) (memory 2048)',
            "starts with 128.1 MiB of memory with its kernel",
        ),
    ],
)
def test_plug_in_that_cannot_run_is_refused_when_it_is_loaded(local: wasmrun.Executor, fields: str, words: str) -> None:
    """By name."""
    source = f'(module {fields} (func (export "run") (result i32) (i32.const 0)))'
    with pytest.raises(wasmrun.InvalidFunction, match=words):
        local.load(wasmrun.Function(source, abi="extism"))


def test_kernel_exports_what_plug_ins_may_import() -> None:
    """The table here and the module say the same."""
    core = wasmrun.Executor()
    try:
        found: dict[str, ExternType] = {}
        with core._open().core.module(kernel_for(wasmrun.Function("(module)"))) as module:
            found = module.exports
        assert {name: item for name, item in found.items() if name in FUNCTIONS} == FUNCTIONS
        assert set(found) - set(FUNCTIONS) == {"memory", "wasmrun:begin"}
    finally:
        core.shutdown()
    assert Kernel.close


def test_blocks_never_overlap_and_freed_ones_are_used_again(local: wasmrun.Executor) -> None:
    """Against a model: what is written to a block is there until it is freed, whatever happens around it."""
    dice = random.Random(7)
    live: dict[int, int] = {}
    steps = []
    for number in range(400):
        if live and dice.random() < 0.45:
            slot = dice.choice(sorted(live))
            steps.append(
                f"(call $check (i32.const {slot}) (i64.const {live.pop(slot)})) (call $free (call $get (i32.const {slot})))"
            )
        else:
            slot = number
            live[slot] = size = dice.choice((1, 8, 15, 16, 17, 100, 500, 5000))
            steps.append(
                f"(call $put (i32.const {slot}) (call $alloc (i64.const {size}))) (call $fill (i32.const {slot}) (i64.const {size}))"
            )
    steps += [f"(call $check (i32.const {slot}) (i64.const {size}))" for slot, size in live.items()]
    each = "(loop $l (if (i64.lt_u (local.get $i) (local.get $size)) (then {} (local.set $i (i64.add (local.get $i) (i64.const 1))) (br $l))))"
    at = "(i64.add (call $get (local.get $slot)) (local.get $i))"
    helpers = f"""
      (func $get (param i32) (result i64) (i64.load (i32.mul (local.get 0) (i32.const 8))))
      (func $put (param i32 i64) (i64.store (i32.mul (local.get 0) (i32.const 8)) (local.get 1)))
      (func $fill (param $slot i32) (param $size i64) (local $i i64)
        {each.format(f"(call $store_u8 {at} (local.get $slot))")})
      (func $check (param $slot i32) (param $size i64) (local $i i64)
        (if (i64.ne (call $length (call $get (local.get $slot))) (local.get $size)) (then unreachable))
        {each.format(f"(if (i32.ne (call $load_u8 {at}) (i32.and (local.get $slot) (i32.const 255))) (then unreachable))")})"""
    source = plugin(helpers, run=" ".join(steps) + "(call $say (call $memory_bytes))")
    result = local.run(wasmrun.Function(source, raw=True))
    assert result.error is None
    assert int.from_bytes(result.value, "little") <= MIB
