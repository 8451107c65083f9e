"""A setting checks what it is given, names itself in the error, and takes a value once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmrun.errors import InvalidFunction
from wasmrun.function import Function, Grants
from wasmrun.limits import Limits
from wasmrun.machine.compiler import CompileLimits
from wasmrun.settings import Setting, count, duration, flag, size, whole


@dataclass(kw_only=True)
class Oven:
    """Something with one setting of every kind."""

    trays: Setting[int, int] = count(2, "Trays.", least=1, most=4)
    room: Setting[int, int | str] = size(100, "Room.", least=10, most=1000)
    time: Setting[float, float | str] = duration(60.0, "Time.")
    is_hot: Setting[bool, bool] = flag("Hot already.")


def test_setting_has_its_default_on_the_class_and_on_the_instance() -> None:
    """As any field of a dataclass."""
    assert (Oven.trays, Oven.room, Oven.time, Oven.is_hot) == (2, 100, 60.0, False)
    oven = Oven()
    assert (oven.trays, oven.room, oven.time, oven.is_hot) == (2, 100, 60.0, False)


def test_setting_holds_the_parsed_value() -> None:
    """Text in, numbers out."""
    oven = Oven(trays=3, room="0.5kB", time="90s", is_hot=True)
    assert (oven.trays, oven.room, oven.time, oven.is_hot) == (3, 500, 90.0, True)


def test_setting_takes_the_least_and_the_most_that_it_allows() -> None:
    """Both bounds are values."""
    for trays, room in ((1, 10), (4, 1000)):
        oven = Oven(trays=trays, room=room)
        assert (oven.trays, oven.room) == (trays, room)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trays": 0}, "trays: must be at least 1, not 0"),
        ({"trays": 5}, "trays: must be at most 4, not 5"),
        ({"trays": "many"}, "trays: must be a whole number, not 'many'"),
        ({"trays": 1.5}, "trays: must be a whole number, not 1.5"),
        ({"trays": None}, "trays: must be a whole number, not None"),
        ({"room": 9}, "room: must be at least 10 bytes, not 9"),
        ({"room": "1KiB"}, "room: must be at most 1000 bytes, not 1024"),
        ({"room": "wide"}, "room: 'wide' is not a size"),
        ({"time": 0}, "time: must be more than 0 seconds, not 0"),
        ({"time": "0ms"}, "time: must be more than 0 seconds, not '0ms'"),
        ({"time": "soon"}, "time: 'soon' is not a duration"),
        ({"is_hot": 1}, "is_hot: must be True or False, not 1"),
        ({"is_hot": "yes"}, "is_hot: must be True or False, not 'yes'"),
    ],
    ids=str,
)
def test_setting_refuses_a_bad_value_by_name(given: dict[str, Any], message: str) -> None:
    """The user sees which setting, what was wrong, and what was given."""
    with pytest.raises(InvalidFunction) as caught:
        Oven(**given)
    assert str(caught.value).startswith(message)
    assert caught.value.__suppress_context__


def test_setting_cannot_be_assigned_or_deleted_later() -> None:
    """What freezes the dataclasses that are made of settings."""
    oven = Oven()
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'trays'"):
        oven.trays = 3
    with pytest.raises(AttributeError):
        del oven.trays
    assert oven.trays == 2


@pytest.mark.parametrize("cls", [Limits, Grants, Function, CompileLimits])
def test_setting_explains_itself_once_for_flags_variables_and_docs(cls: type) -> None:
    """Every field is a setting with a name, a sentence of help, and a metavar for the command line."""
    for item in fields(cls):
        setting = next(vars(base)[item.name] for base in cls.__mro__ if item.name in vars(base))
        assert isinstance(setting, Setting)
        assert setting.name == item.name
        assert setting.help.endswith(".")
        assert setting.help[0].isupper()
        assert setting.metavar or isinstance(item.default, bool)


@pytest.mark.parametrize(
    ("value", "number"), [(5, 5), ("5", 5), ("-5", -5), (20e9, 20_000_000_000), ("20e9", 20_000_000_000), (2.0, 2)]
)
def test_whole_number_is_read_from_number_and_text(value: object, number: int) -> None:
    """As it is written in Python and at a shell; the answer is an int."""
    assert whole(value) == number
    assert type(whole(value)) is int


@pytest.mark.parametrize(
    "value", [True, None, 1.5, "1.5", "", "five", "²", "--5", float("nan"), "nan", float("inf"), "1e999", b"5", [5]]
)
def test_whole_number_refuses_everything_else(value: object) -> None:
    """With one kind of error, which shows the value."""
    with pytest.raises(ValueError, match="must be a whole number, not"):
        whole(value)


@given(st.integers(-(2**200), 2**200))
def test_whole_number_written_as_digits_stays_exact(number: int) -> None:
    """No float on the way."""
    assert whole(str(number)) == number
