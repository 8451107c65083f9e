"""The plain ABI: numbers in, numbers out, exactly, or a clear refusal."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wasmrun import GuestTrap, InvalidEvent, Result

Run = Callable[..., Result]

# One module for all: each type given back as it came.
SAME = "(module " + "".join(
    f'(func (export "{kind}") (param {kind}) (result {kind}) (local.get 0))' for kind in ("i32", "i64", "f32", "f64")
) + """
  (func (export "none") (result))
  (func (export "nothing_in") (result i32) (i32.const 7))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "all") (param i32 i64 f32 f64) (result f64 f32 i64 i32)
    (local.get 3) (local.get 2) (local.get 1) (local.get 0))
  (func (export "divide") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
  (func (export "fourteen") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (local.get 13)))"""  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "event", "value"),
    [
        ("i32", 5, 5),
        ("i32", [5], 5),
        ("i32", (5,), 5),
        ("i32", 5.0, 5),
        ("i32", -(2**31), -(2**31)),
        ("i32", 2**31 - 1, 2**31 - 1),
        ("i32", 2**31, -(2**31)),
        ("i32", 2**32 - 1, -1),
        ("i64", -(2**63), -(2**63)),
        ("i64", 2**63 - 1, 2**63 - 1),
        ("i64", 2**64 - 1, -1),
        ("i64", 9007199254740993, 9007199254740993),
        ("f32", 0.5, 0.5),
        ("f32", 1, 1.0),
        ("f64", 0.1, 0.1),
        ("f64", 10**300, 1e300),
        ("f64", math.inf, math.inf),
        ("f32", -math.inf, -math.inf),
        ("none", [], None),
        ("none", None, None),
        ("none", {}, None),
        ("nothing_in", {}, 7),
        ("add", [1, 2], 3),
        ("all", [1, 2, 0.5, 0.1], [0.1, 0.5, 2, 1]),
        ("fourteen", list(range(14)), 13),
    ],
)
def test_numbers_go_in_and_come_out(run: Run, entry: str, event: Any, value: Any) -> None:
    """Signed and unsigned, whole floats for integers, one or many, none."""
    result = run(SAME, event, entry=entry)
    assert result.value == value
    assert type(result.value) is type(value)


@pytest.mark.parametrize("entry", ["f32", "f64"])
def test_nan_is_a_number_here(run: Run, entry: str) -> None:
    """Floats have it; JSON doors refuse it later."""
    assert math.isnan(run(SAME, math.nan, entry=entry).value)
    assert math.copysign(1, run(SAME, -0.0, entry=entry).value) == -1


@pytest.mark.parametrize(
    ("entry", "event", "message"),
    [
        ("i32", 2**32, "4294967296 does not fit i32"),
        ("i32", -(2**31) - 1, "-2147483649 does not fit i32"),
        ("i64", 2**64, "18446744073709551616 does not fit i64"),
        ("i64", -(2**63) - 1, "-9223372036854775809 does not fit i64"),
        ("i64", 10**5000, "a number of 16610 bits does not fit i64"),
        ("i32", 1e300, "does not fit i32"),
        ("i32", 1.5, "1.5 is not a whole number, and the function takes i32"),
        ("i64", math.nan, "nan is not a whole number, and the function takes i64"),
        ("i32", math.inf, "inf is not a whole number, and the function takes i32"),
        ("f32", 1e39, r"1e\+39 does not fit f32"),
        ("f64", 10**5000, "a number of 16610 bits does not fit f64"),
        ("f64", 10**309, "a number of 1027 bits does not fit f64"),
        ("i32", True, "a bool is not a number; the function takes i32"),
        ("i32", "5", "a str is not a number; the function takes i32"),
        ("f64", [None], "a NoneType is not a number; the function takes f64"),
        ("i32", b"5", "a bytes is not a number"),
        ("i32", {"a": 1}, "a dict is not a number"),
        ("i32", [[5]], "a list is not a number"),
        ("add", 1, r"add takes 2 numbers \(i32, i32\), not 1; write the event as a list"),
        ("add", [1, 2, 3], r"add takes 2 numbers \(i32, i32\), not 3"),
        ("add", None, r"add takes 2 numbers \(i32, i32\), not 0"),
        ("none", [1], r"none takes 0 numbers \(\), not 1"),
    ],
    ids=lambda value: str(value)[:30] if not isinstance(value, int) or abs(value) < 10**30 else "huge",
)
def test_event_that_is_not_the_numbers_wanted_is_refused(run: Run, entry: str, event: Any, message: str) -> None:
    """With the number and the type; nothing of it ran."""
    with pytest.raises(InvalidEvent, match=message):
        run(SAME, event, entry=entry)


@given(st.integers(-(2**31), 2**32 - 1), st.integers(-(2**63), 2**64 - 1), st.floats(width=32), st.floats())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
def test_numbers_keep_their_bits(run: Run, small: int, large: int, single: float, double: float) -> None:
    """Of every type, at once, in another order."""
    value = run(SAME, [small, large, single, double], entry="all").value
    assert struct.pack("<d", value[0]) == struct.pack("<d", double) or math.isnan(double)
    assert struct.pack("<f", value[1]) == struct.pack("<f", single) or math.isnan(single)
    assert value[2] & (2**64 - 1) == large & (2**64 - 1)
    assert value[3] & (2**32 - 1) == small & (2**32 - 1)


def test_trap_of_a_plain_function_has_its_kind(run: Run) -> None:
    """As everywhere."""
    assert run(SAME, [6, 3], entry="divide").value == 2
    for event, kind in (([1, 0], "integer division by zero"), ([-(2**31), -1], "integer overflow")):
        error = run(SAME, event, entry="divide").error
        assert isinstance(error, GuestTrap)
        assert error.kind == kind


def test_entry_need_not_be_named_where_there_is_one(run: Run) -> None:
    """Names of the ABI and of toolchains do not count."""
    source = """(module (func (export "_initialize")) (func (export "__wasm_call_ctors"))
      (func (export "one") (result i32) (i32.const 1)))"""
    assert run(source).value == 1


def test_initialize_runs_before_a_plain_function(run: Run) -> None:
    """A reactor sets itself up there."""
    source = """(module (global $g (mut i32) (i32.const 0)) (memory (export "memory") 1)
      (func (export "_initialize") (global.set $g (i32.const 9))) (func (export "f") (result i32) (global.get $g)))"""
    result = run(source)
    assert result.value == 9
    assert result.report.memory_bytes == 65536


def test_initialize_of_another_type_is_a_function_like_others(run: Run) -> None:
    """It is not called, as nobody knows with what."""
    source = """(module (func (export "_initialize") (param i32) (unreachable))
      (func (export "f") (result i32) (i32.const 4)))"""
    assert run(source).value == 4
