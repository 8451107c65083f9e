"""Plug-ins that mean no good, or are broken: each ends in its own error, and the next one runs."""

from __future__ import annotations

import random

import pytest
from extism_kit import ECHO, A, Either, plugin

import wasmrun
from wasmrun.machine.kernel import FUNCTIONS

LIMITS = {"memory": "2MiB", "timeout": "500ms", "raw": True}

LOOP = "(loop $l (br $l))"
ENDS = {
    "output_past_memory": (
        "(call $output_set (i64.const 300) (i64.const 0x7fffffff))",
        wasmrun.InvalidAnswer,
        "2147483647 bytes at 300, which are not in its kernel's memory",
    ),
    "output_of_all_ones": ("(call $output_set (i64.const -1) (i64.const -1))", wasmrun.InvalidAnswer, "are not in its"),
    "output_wraps": ("(call $output_set (i64.const -8) (i64.const 16))", wasmrun.InvalidAnswer, "are not in its"),
    "error_of_garbage": (
        "(call $error_set (i64.const -1)) (return (i32.const 1))",
        wasmrun.GuestError,
        "an error without a text",
    ),
    "loop": (LOOP, wasmrun.TimedOut, "ran past its time of 500 ms"),
    "recursion": ("(drop (call $recursion))", wasmrun.GuestTrap, "stack overflow"),
    "alloc_until_none": (
        "(loop $l (if (i64.eqz (call $alloc (i64.const 100000))) (then unreachable)) (br $l))",
        wasmrun.GuestTrap,
        "its memory is near its limit of 2 MiB",
    ),
    "vars_until_full": (
        (
            "(loop $l (local.set $a (i64.add (local.get $a) (i64.const 1)))"
            f"(call $var_set (call $text (local.get $a)) (call $text {A})) (br $l))"
        ),
        wasmrun.GuestTrap,
        "the plug-in's variables are full",
    ),
    "log_for_ever": (f"(loop $l (call $log_info (call $text {A})) (br $l))", wasmrun.TimedOut, "ran past its time"),
    "http_that_is_not_json": (
        f"(drop (call $http_request (call $text {A}) (i64.const 0)))",
        wasmrun.GuestTrap,
        "the plug-in's HTTP request is not JSON",
    ),
    "http_of_garbage": (
        "(drop (call $http_request (i64.const -1) (i64.const -1)))",
        wasmrun.GuestTrap,
        "the plug-in gave a handle that is none",
    ),
}
SOURCE = plugin(echo=ECHO, **{name: body for name, (body, _, _) in ENDS.items()})


@pytest.mark.parametrize("entry", ENDS)
def test_hostile_plug_in_ends_in_an_error_of_its_own(executor: Either, entry: str) -> None:
    """And the next event is answered."""
    _, kind, words = ENDS[entry]
    error = executor.run(wasmrun.Function(SOURCE, entry=entry, **LIMITS), b"event").error
    assert type(error) is kind
    assert words in str(error)
    assert executor.invoke(wasmrun.Function(SOURCE, entry="echo", **LIMITS), b"event") == b"event"


def test_plug_in_that_runs_out_of_fuel_ends(executor: Either) -> None:
    """In the kernel, too, which is metered as the plug-in is."""
    source = plugin(run=f"(loop $l (drop (call $text {A})) (br $l))")
    error = executor.run(wasmrun.Function(source, entry="run", fuel=100_000), b"").error
    assert type(error) is wasmrun.OutOfFuel
    without = wasmrun.Function(plugin(run=ECHO), entry="run", fuel=None, raw=True)
    assert executor.invoke(without, b"not metered") == b"not metered"


def test_answer_over_its_limit_is_an_error(executor: Either) -> None:
    """Of a byte too many."""
    for size, kind in ((100, type(None)), (101, wasmrun.ResultTooLarge)):
        function = wasmrun.Function(SOURCE, entry="echo", result_bytes=100, raw=True)
        assert type(executor.run(function, b"x" * size).error) is kind


def test_event_that_finds_no_memory_is_an_error(executor: Either) -> None:
    """It is the kernel's memory that it goes to."""
    function = wasmrun.Function(SOURCE, entry="echo", memory="1MiB", raw=True)
    assert executor.run(function, b"x" * 900_000).value == b"x" * 900_000
    assert type(executor.run(function, b"x" * 1_000_000).error) is wasmrun.OutOfMemory


GROW = """
  (loop $l (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then
    (local.set $a (i64.add (local.get $a) (i64.const 1))) (br $l))))
  (loop $l (if (i64.ne (call $alloc (i64.const 60000)) (i64.const 0)) (then
    (local.set $b (i64.add (local.get $b) (i64.const 1))) (br $l))))
  (call $say (i64.add (i64.mul (local.get $a) (i64.const 1000)) (local.get $b)))"""
GROW_KERNEL_FIRST = GROW.replace("memory.grow (i32.const 1)", "memory.grow (i32.const 1)").split("  (loop")


@pytest.mark.parametrize("first", ["plug-in", "kernel"])
@pytest.mark.parametrize("memory", ['(memory (export "memory") 1)', "(memory 1)"], ids=["exported", "hidden"])
def test_memory_limit_holds_for_plug_in_and_kernel_together(executor: Either, memory: str, first: str) -> None:
    """Whoever asks first gets more; a memory that cannot be seen gets half."""
    _, one, other, say = GROW_KERNEL_FIRST[0], *("  (loop" + part for part in GROW_KERNEL_FIRST[1:]), ""
    other, _, rest = other.partition("  (call $say")
    body = (one + other if first == "plug-in" else other + one) + "  (call $say" + rest + say
    function = wasmrun.Function(plugin(run=body, memory=memory), memory="4MiB", raw=True)
    result = executor.run(function, b"")
    grown, blocks = divmod(int.from_bytes(result.value, "little"), 1000)
    pages = 1 + grown + (blocks * 60_016 + 65_535) // 65_536
    assert 60 <= pages <= 64
    assert grown >= 31 if first == "plug-in" or "export" not in memory else blocks >= 60
    assert result.report.memory_bytes <= 4 * 1024 * 1024


def test_kernel_survives_whatever_is_written_over_its_blocks(executor: Either) -> None:
    """Garbage in every header, then every function: an answer or an error, and never more than that."""
    dice = random.Random(1)
    calls = []
    for _ in range(60):
        name = dice.choice([name for name in FUNCTIONS if name != "http_request"])
        kinds = FUNCTIONS[name].params
        values = [
            dice.choice((0, 1, 16, 255, 511, 512, 528, 544, 65_535, 65_536, -1, dice.getrandbits(63))) for _ in kinds
        ]
        args = " ".join(
            f"({kind}.const {value & 0x7FFFFFFF if kind == 'i32' else value})"
            for kind, value in zip(kinds, values, strict=True)
        )
        call = f"(call ${name} {args})"
        calls.append(f"(drop {call})" if FUNCTIONS[name].results else call)
    functions = {}
    for number in range(40):
        garbage = "".join(
            f"(call $store_u64 (i64.const {512 + 8 * at}) (i64.const {dice.choice((0, -1, 528, dice.getrandbits(63)))}))"
            for at in range(30)
        )
        functions[f"run{number}"] = f"(drop (call $text {A})) {garbage} {' '.join(dice.sample(calls, 30))}"
    source = plugin(**functions)
    for entry in functions:
        function = wasmrun.Function(source, entry=entry, warm=0, **LIMITS)
        error = executor.run(function, b"x" * 100).error
        assert error is None or isinstance(error, wasmrun.FunctionError)
