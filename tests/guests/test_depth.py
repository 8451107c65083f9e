"""The C SDK answers or refuses events of every depth with the stacks that build.py sets, and an overflow is seen."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

import wasmrun

if TYPE_CHECKING:
    from pathlib import Path

MAX_DEPTH = 128

DEPTHS = range(1, 141)

JSON_DEPTH = 64
"""Of proxy.c."""

Wrap = Callable[[Any, int], Any]

WRAPS: dict[str, Wrap] = {
    "arrays": lambda inner, _level: [inner],
    "maps": lambda inner, _level: {"k": inner},
    "mixed": lambda inner, level: [{"k": inner}, [inner]][level % 2],
    "with more before": lambda inner, level: [[1, "x" * 40, [], inner], {"a": {}, "b": inner}][level % 2],
    "with more behind": lambda inner, level: [[inner, 1.5, [[]]], {"a": inner, "b": None, "c": b"c"}][level % 2],
    "wide": lambda inner, level: [[*range(20), inner, *range(20)], {**dict.fromkeys("abcdefghijklmnopq"), "z": inner}][
        level % 2
    ],
}


def nested(depth: int, wrap: Wrap) -> Any:
    """As many arrays and maps within each other; what stands beside them may be two levels deep itself."""
    value: Any = [[], {}][depth % 2]
    for level in range(depth - 1):
        value = wrap(value, level)
    return value


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def entry_of(probe: bytes, entry: str) -> wasmrun.Function:
    return wasmrun.Function(probe, entry=entry, imports={"db.get": lambda value: value}, reuse=True)


def refused(executor: wasmrun.Executor, function: wasmrun.Function, event: Any) -> None:
    with pytest.raises(wasmrun.GuestError, match="nested too deep") as caught:
        executor.invoke(function, event)
    assert caught.value.type == "InvalidInput"


@pytest.mark.parametrize("shape", WRAPS)
def test_echo_answers_every_depth_or_refuses_it(executor: wasmrun.Executor, examples: Path, shape: str) -> None:
    """With its stack of 2 KiB; the refusal is a reported error, and 128 levels are fine."""
    function = wasmrun.Function(examples / "echo.wasm")
    outcomes = set()
    for depth in DEPTHS:
        event = nested(depth, WRAPS[shape])
        good = depth_of(event) <= MAX_DEPTH
        outcomes.add(good)
        if good:
            assert executor.invoke(function, event) == event
        else:
            refused(executor, function, event)
    assert outcomes == {True, False}


@pytest.mark.parametrize("shape", WRAPS)
def test_words_skips_every_depth_or_refuses_it(executor: wasmrun.Executor, examples: Path, shape: str) -> None:
    """A value that the handler passes over on its way to the key it wants."""
    function = wasmrun.Function(examples / "words.wasm")
    for depth in DEPTHS:
        event = {"ignored": nested(depth, WRAPS[shape]), "text": "one two two", "top": 1}
        if depth_of(event) <= MAX_DEPTH:
            answer = executor.invoke(function, event)
            assert (answer["words"], answer["top"]) == (3, [{"word": "two", "count": 2}])
        else:
            refused(executor, function, event)


def test_probe_counts_the_levels_of_keys_and_contexts(executor: wasmrun.Executor, probe: bytes) -> None:
    """Where no host puts arrays and maps: in the keys of maps, and in the context."""
    parse, envelope = entry_of(probe, "parse_raw"), entry_of(probe, "envelope_raw")
    for depth in DEPTHS:
        for level in (b"\x91", b"\x81\xc0", b"\xdd\0\0\0\1", b"\xdf\0\0\0\1\xc0"):
            value = level * depth + b"\xc0"
            good = depth <= MAX_DEPTH
            assert executor.invoke(parse, value)[:1] == (b"\0" if good else b"\1")
            assert executor.invoke(envelope, b"\x92\xc0" + value)[1] == (0 if good else 1)
        keys = b"\x81" * depth + b"\xc0" * (depth + 1)
        assert executor.invoke(parse, keys)[:1] == (b"\0" if depth <= MAX_DEPTH else b"\1")
        assert executor.invoke(parse, keys[:-1]) == b"\1"  # a value is missing
        assert executor.invoke(parse, keys + b"\xc0") == b"\1"  # there is one too many


def test_events_without_end_are_refused(executor: wasmrun.Executor, probe: bytes) -> None:
    """A million levels, and counts that promise what is not there, at every depth."""
    parse = entry_of(probe, "parse_raw")
    for level in (b"\x91", b"\x9f", b"\x81", b"\x8f", b"\xdd\xff\xff\xff\xff", b"\xdf\x80\0\0\0"):
        assert executor.invoke(parse, level * 1_000_000) == b"\1"
        for depth in DEPTHS:
            assert executor.invoke(parse, level * depth) == b"\1"


def tree(chance: random.Random, depth: int) -> Any:
    if depth == 0 or chance.random() < 0.2:
        return chance.choice([None, 1, -(2**40), "text", "x" * 300, b"\0\1", 1.5, [], {}])
    items = [tree(chance, depth - 1) for _ in range(chance.choice([0, 1, 1, 2, 3, 17]))]
    return items if chance.random() < 0.5 else {f"key {i}": item for i, item in enumerate(items)}


def test_trees_come_back_and_cut_ones_do_not(executor: wasmrun.Executor, examples: Path, probe: bytes) -> None:
    """Branches of every form: the whole is taken, and no part of it is."""
    chance = random.Random(4)
    echo = wasmrun.Function(examples / "echo.wasm")
    parse = entry_of(probe, "parse_raw")
    for _ in range(60):
        value = tree(chance, 5)
        assert executor.invoke(echo, value) == value
        packed = msgpack.packb(value)
        assert executor.invoke(parse, packed) == b"\0" + packed
        for _ in range(5):
            assert executor.invoke(parse, packed[: chance.randrange(len(packed))]) == b"\1"


# ---- proxy's JSON


def sum_of(executor: wasmrun.Executor, examples: Path, body: str) -> tuple[int, Any]:
    event = {"rawPath": "/api/sum", "requestContext": {"http": {"method": "POST"}}, "body": body}
    page = executor.invoke(wasmrun.Function(examples / "proxy.wasm", reuse=True), event)
    return page["statusCode"], json.loads(page["body"])


@pytest.mark.parametrize("shape", WRAPS)
def test_proxy_skips_json_of_every_depth_or_refuses_it(executor: wasmrun.Executor, examples: Path, shape: str) -> None:
    """64 levels are fine, one more is a 400."""
    for depth in DEPTHS:
        value = nested(depth, WRAPS[shape])
        body = json.dumps({"a": value, "numbers": [1, 2]}, default=lambda content: content.decode())
        status, answer = sum_of(executor, examples, body)
        assert status == (200 if depth_of(value) <= JSON_DEPTH else 400)
        assert status == 400 or answer == {"sum": 3}


def refuse_constant(name: str) -> None:
    raise ValueError(name)


def test_proxy_skips_what_json_is_and_nothing_else(executor: wasmrun.Executor, examples: Path) -> None:
    """On thousands of damaged texts it agrees with Python's parser."""
    chance = random.Random(5)
    whole = '{"a": [1, -0.5e+7, {"b": [[], {}, true]}, "c\\"d\\u00e9", {"e": {"f": null}, "g": false}], "h": {} }'
    good = 0
    for _ in range(4_000):
        text = list(whole)
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            at = chance.randrange(len(text))
            text[at : at + chance.choice([0, 1, 1, 2])] = chance.choice([*'[]{},:" 10-.e', "", "", "[]", "{}", ",1"])
        body = f'{{"z": {"".join(text)}, "numbers": [1]}}'
        try:
            json.loads(body, parse_constant=refuse_constant)
        except ValueError:
            expected = 400
        else:
            expected = 200
            good += 1
        assert sum_of(executor, examples, body)[0] == expected, body
    assert 200 < good < 3_800


# ---- the stack itself


def test_depth_takes_no_stack(executor: wasmrun.Executor, compile_c: Callable[..., Path], examples: Path) -> None:
    """Half of what echo has is enough for the deepest event."""
    echo = wasmrun.Function(compile_c(examples / "echo.c", "-Wl,-z,stack-size=1024"))
    for wrap in WRAPS.values():
        event = nested(MAX_DEPTH - 2, wrap)
        assert executor.invoke(echo, event) == event


RECURSES = """
#include "wasmrun.h"
static volatile uint32_t canaries[1024] = {1}; /* in the data; the rest of the module's memory is the arena */
static uint32_t down(uint32_t levels, volatile uint32_t *above) {
    volatile uint32_t frame[16];
    for (int i = 0; i < 16; i++) frame[i] = 0xffffffff;
    *above = levels;
    if (levels != 0) frame[0] = down(levels - 1, frame) + 1;
    return frame[0] + *above;
}
WASMRUN_HANDLER(wasmrun_handle) {
    uint64_t levels;
    if (!wasmrun_read_uint(event, &levels)) return 1;
    volatile uint32_t first;
    down((uint32_t)levels, &first);
    bool whole = canaries[0] == 1;
    for (int i = 1; i < 1024; i++) whole = whole && canaries[i] == 0;
    wasmrun_write_bool(answer, whole);
    return 0;
}
"""


def test_stack_that_overflows_traps_and_overwrites_nothing(
    executor: wasmrun.Executor, compile_c: Callable[..., Path], tmp_path: Path
) -> None:
    """It lies below the data, and past its end is no memory: from some depth on there are traps and nothing else."""
    source = tmp_path / "recurses.c"
    source.write_text(RECURSES, encoding="utf-8")
    function = wasmrun.Function(compile_c(source))
    outcomes = []
    for levels in range(0, 300, 5):
        try:
            outcomes.append(executor.invoke(function, levels))
        except wasmrun.GuestTrap as trap:
            outcomes.append(trap.kind)
    fine = outcomes.count(True)
    assert 0 < fine < len(outcomes)
    assert outcomes == [True] * fine + ["memory out of bounds"] * (len(outcomes) - fine)
