"""Profiles: where guests spend their time, by the engine's own profiler."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import wasmrun
from wasmrun.bench.profiling import ProfileExecutor, top
from wasmrun.machine import profiling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TWO = """(module
  (func $down (param i32)
    (loop (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (i32.gt_s (local.get 0) (i32.const 0)))))
  (func $most (call $down (i32.const 9000000)))
  (func $least (call $down (i32.const 1000000)))
  (func (export "f") (call $most) (call $least)))"""
"""Nine tenths of its time are spent for one of two functions, in a third one."""


@pytest.fixture
def fifty(monkeypatch: pytest.MonkeyPatch) -> float:
    """A time after which fifty samples are there, however busy the machine: with them, a profile ends."""
    monkeypatch.setattr(profiling, "MOST_SAMPLES", 50)
    return 60.0


@pytest.fixture
def profiler(cache_dir: Path) -> Iterator[ProfileExecutor]:
    """An executor that samples every 0.2 ms."""
    with ProfileExecutor(interval=0.0002, cache_dir=str(cache_dir)) as executor:
        yield executor


def function(text: str, **settings: object) -> wasmrun.Function:
    """A function that keeps nothing ready."""
    return wasmrun.Function(text, warm=0, **settings)  # type: ignore[arg-type]


def test_profile_finds_where_the_time_goes(profiler: ProfileExecutor, fifty: float) -> None:
    """By itself, and for whom."""
    found = profiler.profile(function(TWO), [], duration=fifty)
    assert found.error is None
    assert found.samples == 50
    spots = {spot.name: spot for spot in top(found.data)}
    assert top(found.data)[0].name == "down"
    assert spots["down"].itself > 45
    assert spots["most"].total > 30


def test_profile_is_what_firefox_reads(profiler: ProfileExecutor, fifty: float) -> None:
    """Its version, one thread, and tables that fit each other."""
    whole = json.loads(profiler.profile(function(TWO, name="a name"), [], duration=fifty).data)
    assert whole["meta"]["preprocessedProfileVersion"] >= 44
    assert whole["meta"]["interval"] == 0.2
    assert whole["meta"]["product"] == "a name"
    (thread,) = whole["threads"]
    lengths = {name: thread[name]["length"] for name in ("samples", "stackTable", "frameTable", "funcTable")}
    assert all(length > 0 for length in lengths.values())
    assert max(stack for stack in thread["samples"]["stack"] if stack is not None) < lengths["stackTable"]
    assert max(thread["stackTable"]["frame"]) < lengths["frameTable"]
    assert max(thread["frameTable"]["func"]) < lengths["funcTable"]
    assert max(thread["funcTable"]["name"]) < len(thread["stringArray"])


def test_profile_of_short_events_is_not_blind(profiler: ProfileExecutor, fifty: float) -> None:
    """Each is over before a second tick; seen is what the first one meets, and that is any place."""
    short = TWO.replace("9000000", "18000").replace("1000000", "2000")
    found = profiler.profile(function(short), [], duration=fifty)
    assert found.events > 50
    assert top(found.data)[0].name == "down"


def test_profile_counts_a_recursion_once(profiler: ProfileExecutor, fifty: float) -> None:
    """However deep: no function is on more stacks than there are samples."""
    text = """(module (func $deep (export "f") (param i32) (local i32)
        (if (local.get 0) (then (call $deep (i32.sub (local.get 0) (i32.const 1)))))
        (local.set 1 (i32.const 2000))
        (loop (local.set 1 (i32.sub (local.get 1) (i32.const 1))) (br_if 0 (local.get 1)))))"""
    found = profiler.profile(function(text), [2_000], duration=fifty)
    (spot,) = top(found.data)
    assert spot == ("deep", 50, 50)


def test_profile_of_a_function_that_fails_shows_it_until_then(profiler: ProfileExecutor) -> None:
    """One that never ends most of all: the deadline holds as it does elsewhere."""
    spin = function('(module (func $endless (export "f") (loop br 0)))', timeout="100ms")
    found = profiler.profile(spin, [], duration=60)
    assert isinstance(found.error, wasmrun.TimedOut)
    assert found.events == 1
    assert [spot.name for spot in top(found.data)] == ["endless"]


def test_profile_of_next_to_nothing_is_empty(profiler: ProfileExecutor) -> None:
    """Not an error."""
    found = profiler.profile(function('(module (func (export "f")))'), [], duration=1e-9)
    assert found.events == 1
    assert top(found.data) == [] or found.samples > 0


def test_profile_names_functions_by_their_exports_where_they_have_no_other(
    profiler: ProfileExecutor, tmp_path: Path
) -> None:
    """Imports have numbers, too; a module in the text format keeps its own names."""
    from wasmrun.bench.profiling import _exported

    # (module (import "wasi_snapshot_preview1" "sched_yield" …) (func) (func (export "é") …))
    binary = (
        b"\0asm\x01\0\0\0\x01\x08\x02\x60\0\x01\x7f\x60\0\0\x02\x26\x01\x16wasi_snapshot_preview1\x0bsched_yield\0\0"
        b"\x03\x03\x02\x01\x01\x07\x06\x01\x02\xc3\xa9\0\x02\x0a\x07\x02\x02\0\x0b\x02\0\x0b"
    )
    assert _exported(wasmrun.Function(binary)) == {"<wasm function 1>": "é"}
    assert _exported(function(TWO)) == {}


@pytest.mark.parametrize(
    "name",
    [
        "\x1b[31mred\n",
        "a" * 100_000,
        "_ZN" + "4core" * 20_000 + "E",
        "_R" + "NvC" * 20_000 + "1a",
        "<wasm function 7>",
        " ",
    ],
    ids=["control", "long", "nested", "rust", "unnamed", "blank"],
)
def test_profile_bears_any_name(name: str, profiler: ProfileExecutor, fifty: float) -> None:
    """The engine's profiler takes names apart as linkers put them together; whatever comes of that, it ends."""
    text = "".join(f"\\{byte:02x}" for byte in name.encode())
    loop = "(loop (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (local.get 0)))"
    found = profiler.profile(
        function(f'(module (func $"{text}" (export "f") (param i32) {loop}))'), [3_000_000], duration=fifty
    )
    assert len(top(found.data)) == 1


def test_profile_has_an_end(profiler: ProfileExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within an event, too: so many samples, and no more."""
    monkeypatch.setattr(profiling, "MOST_SAMPLES", 1)
    spin = function('(module (func $endless (export "f") (loop br 0)))', timeout="100ms")
    assert profiler.profile(spin, [], duration=60).samples == 1


def test_profile_of_a_plug_in_is_refused(profiler: ProfileExecutor) -> None:
    """With the reason."""
    plugin = wasmrun.Function(
        '(module (import "extism:host/env" "input_length" (func (result i64))) (func (export "f") (result i32) (i32.const 0)))',
        warm=0,
        entry="f",
    )
    with pytest.raises(wasmrun.InvalidFunction, match="cannot be profiled: their work is spread over several modules"):
        profiler.profile(plugin, b"", duration=0.1)


def test_profiling_ends_with_its_executor(cache_dir: Path) -> None:
    """And leaves nothing of an event behind: places are given back, whatever the guest does."""
    with ProfileExecutor(interval=0.001, cache_dir=str(cache_dir)) as executor:
        for _ in range(40):  # more than it has places
            trap = executor.profile(function('(module (func (export "f") unreachable))'), [], duration=1)
            assert isinstance(trap.error, wasmrun.GuestTrap)
        pool = executor.stats().pool
        assert (pool.in_flight, pool.live) == (0, 0)
