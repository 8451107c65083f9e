"""Limits have the defaults of the design, and refuse what cannot work."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmrun.errors import InvalidFunction
from wasmrun.limits import STACKS, Limits

KIB, MIB = 1024, 1024**2


def test_limits_default_to_what_the_design_says() -> None:
    """All of them; a new one belongs in here."""
    limits = Limits()
    assert {field.name: getattr(limits, field.name) for field in dataclasses.fields(limits)} == {
        "memory": 128 * MIB,
        "timeout": 3.0,
        "init_timeout": 10.0,
        "fuel": 21_000_000_000,
        "stack": 512 * KIB,
        "table_elements": 20_000,
        "event_bytes": 6 * MIB,
        "result_bytes": 6 * MIB,
        "var_bytes": MIB,
        "log_bytes": 256 * KIB,
        "module_bytes": 50 * MIB,
    }


@pytest.mark.parametrize(
    ("timeout", "fuel"),
    [
        (0.001, 20_000_000_000),
        (1, 20_000_000_000),
        (3, 21_000_000_000),
        ("10s", 70_000_000_000),
        ("1h", 25_200_000_000_000),
    ],
)
def test_fuel_follows_the_timeout_and_has_a_floor(timeout: float | str, fuel: int) -> None:
    """7e9 for each second, at least 20e9."""
    assert Limits(timeout=timeout).fuel == Limits(timeout=timeout, fuel="auto").fuel_limit == fuel


def test_fuel_follows_the_timeout_of_a_copy_unless_it_was_given() -> None:
    """A copy with more time is not left with the fuel of the shorter one."""
    assert dataclasses.replace(Limits(), timeout="10s").fuel == 70_000_000_000
    assert dataclasses.replace(dataclasses.replace(Limits(), timeout=10), timeout=3) == Limits()
    assert dataclasses.replace(Limits(fuel=5), timeout="10s").fuel == 5
    assert dataclasses.replace(Limits(fuel=None), timeout="10s").fuel is None
    assert dataclasses.replace(pickle.loads(pickle.dumps(Limits())), timeout=10).fuel == 70_000_000_000


@pytest.mark.parametrize("none", [None, "none", "None", "NONE"])
def test_fuel_none_means_no_metering(none: str | None) -> None:
    """In Python and at a shell."""
    limits = Limits(fuel=none)
    assert (limits.fuel, limits.is_metered, limits.fuel_limit) == (None, False, 0)


@pytest.mark.parametrize(("given", "fuel"), [(1, 1), ("5000", 5000), (2e9, 2_000_000_000), ("2e9", 2_000_000_000)])
def test_fuel_is_a_whole_number(given: Any, fuel: int) -> None:
    """However it is written."""
    limits = Limits(fuel=given)
    assert (limits.fuel, limits.is_metered, limits.fuel_limit) == (fuel, True, fuel)


@given(st.integers(0, STACKS[-1]))
def test_stack_is_rounded_up_to_one_that_there_is_an_engine_for(wanted: int) -> None:
    """Never down, and never further than needed."""
    stack = Limits(stack=wanted).stack
    assert stack == min(size for size in (128 * KIB, 256 * KIB, 512 * KIB, MIB) if size >= wanted)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"memory": "lots"}, "memory: 'lots' is not a size"),
        ({"memory": -1}, "memory: a size cannot be negative"),
        ({"memory": "5GiB"}, "memory: must be at most 4294967296 bytes"),
        ({"timeout": 0}, "timeout: must be more than 0"),
        ({"timeout": "9" * 400}, "timeout: "),
        ({"timeout": 10**400}, "timeout: "),
        ({"init_timeout": -1}, "init_timeout: a duration must be at least 0"),
        ({"fuel": 0}, "fuel: must be a whole number above 0, or none, not 0"),
        ({"fuel": -5}, "fuel: must be a whole number above 0"),
        ({"fuel": 2**63}, "fuel: must be a whole number above 0"),
        ({"fuel": "much"}, "fuel: must be a whole number, not 'much'"),
        ({"fuel": True}, "fuel: must be a whole number, not True"),
        ({"stack": "2MiB"}, "stack: must be at most 1 MiB, not '2MiB'"),
        ({"table_elements": 20_001}, "table_elements: must be at most 20000, not 20001"),
        ({"table_elements": -1}, "table_elements: must be at least 0"),
        ({"event_bytes": "2GiB"}, "event_bytes: must be at most"),
        ({"result_bytes": "2GiB"}, "result_bytes: must be at most"),
        ({"log_bytes": "x"}, "log_bytes: 'x' is not a size"),
        ({"module_bytes": 7}, "module_bytes: must be at least 8 bytes, not 7"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_limits_refuse_a_bad_value_by_name(given: dict[str, Any], message: str) -> None:
    """InvalidFunction, which names the setting first."""
    with pytest.raises(InvalidFunction) as caught:
        Limits(**given)
    assert caught.value.message.startswith(message)


def test_limits_refuse_a_limit_that_there_is_not() -> None:
    """A slip of the pen is not ignored, and nothing goes by position."""
    with pytest.raises(TypeError, match="memroy"):
        Limits(memroy="1MiB")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Limits(1)  # type: ignore[call-arg, misc]


def test_limits_are_a_frozen_value() -> None:
    """Equal when equal, unchangeable, and the same after pickling and copying."""
    limits = Limits(memory="64MiB", timeout="500ms")
    assert limits == Limits(memory=64 * MIB, timeout=0.5) != Limits()
    for again in (pickle.loads(pickle.dumps(limits)), copy.copy(limits), copy.deepcopy(limits)):
        assert again == limits
    with pytest.raises(dataclasses.FrozenInstanceError):
        limits.memory = 1
