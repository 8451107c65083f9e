"""A setting: one checked field of a dataclass, spelled once and written once.

The command line, the environment variables and the documentation are made from the same object, so
an option has one name, one default and one explanation.
"""

from __future__ import annotations

from collections.abc import Callable

from wasmrun.errors import InvalidFunction
from wasmrun.hints import TYPE_CHECKING, Any, Generic, TypeVar
from wasmrun.units import parse_duration, parse_size

if TYPE_CHECKING:
    from datetime import timedelta

Value = TypeVar("Value")
Given = TypeVar("Given")


class _Required:
    """Stands for the default of a setting that has none."""


REQUIRED = _Required()


class Setting(Generic[Value, Given]):
    """A dataclass field that accepts what people write and holds what the program needs.

    A descriptor: assigning runs *parse*, which raises `ValueError` for a bad value; the user sees
    `InvalidFunction` that names the setting. A setting takes a value once, when its owner is made:
    this is what freezes the dataclass, and type checkers see both types, given and held.
    """

    def __init__(self, default: Value | _Required, parse: Callable[[Given], Value], help: str, metavar: str) -> None:
        self.default = default
        self.parse = parse
        self.help = help
        self.metavar = metavar
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Value:
        if instance is None:
            if isinstance(self.default, _Required):
                raise AttributeError(self.name)  # how dataclasses learns that there is no default
            return self.default
        return instance.__dict__[self.name]  # type: ignore[no-any-return]  # a __dict__ has no types

    def __set__(self, instance: Any, value: Given) -> None:
        if self.name in instance.__dict__:
            raise _frozen(self.name)
        try:
            instance.__dict__[self.name] = self.parse(value)
        except (ValueError, TypeError) as error:
            raise InvalidFunction(f"{self.name}: {error}") from None


class Frozen:
    """Base of the dataclasses that are made of settings: nothing else can be assigned, a slip of the pen least of all."""

    def __post_init__(self) -> None:
        """What is left to do once every setting has its value."""

    # Not seen by type checkers, which would take it to mean that every name can be assigned.
    if not TYPE_CHECKING:  # pragma: no branch

        def __setattr__(self, name: str, value: Any) -> None:
            # The second for what others derive by `dataclasses` itself.
            if not isinstance(_of_class(type(self), name), Setting) and name not in self.__dataclass_fields__:
                raise _frozen(name)
            super().__setattr__(name, value)


def _of_class(cls: type, name: str) -> object:
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


def _frozen(name: str) -> AttributeError:
    from dataclasses import FrozenInstanceError  # 7 ms, and only who makes a mistake needs it

    return FrozenInstanceError(f"cannot assign to field {name!r}")


def settings_of(cls: type) -> dict[str, Setting[Any, Any]]:
    """The settings that *cls* is made of by name, in the order of its fields."""
    return {
        name: value
        for base in reversed(cls.__mro__)
        for name, value in vars(base).items()
        if isinstance(value, Setting)
    }


def size(default: int, help: str, *, least: int = 0, most: int | None = None) -> Setting[int, int | str]:
    """A number of bytes, written as a number or as "64MiB"."""

    def parse(value: int | str) -> int:
        return _within(parse_size(value), least, most, "bytes")

    return Setting(default, parse, help, "SIZE")


def duration(default: float, help: str) -> Setting[float, float | str | timedelta]:
    """A number of seconds greater than 0, written as a number, a `timedelta`, or as "500ms"."""

    def parse(value: float | str | timedelta) -> float:
        seconds = parse_duration(value)
        if seconds <= 0:
            raise ValueError(f"must be more than 0 seconds, not {value!r}")
        return seconds

    return Setting(default, parse, help, "TIME")


def count(default: int, help: str, *, least: int = 0, most: int | None = None) -> Setting[int, int]:
    """A whole number."""

    def parse(value: int) -> int:
        return _within(whole(value), least, most, "")

    return Setting(default, parse, help, "N")


def flag(help: str) -> Setting[bool, bool]:
    """Off, unless switched on."""

    def parse(value: bool) -> bool:
        if not isinstance(value, bool):
            raise ValueError(f"must be True or False, not {value!r}")  # every bad setting is one kind of error
        return value

    return Setting(False, parse, help, "")


def whole(value: object) -> int:
    """*value* as an int; a text of digits and a float such as 20e9 count. Raises `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"must be a whole number, not {value!r}")
    try:
        number = float(value) if isinstance(value, str) and not value.lstrip("-").isdigit() else value
        if isinstance(number, float) and number != int(number):
            raise ValueError
        return int(number)
    except (ValueError, OverflowError):  # the latter of an infinite one
        raise ValueError(f"must be a whole number, not {value!r}") from None


def _within(number: int, least: int, most: int | None, unit: str) -> int:
    unit = f" {unit}" if unit else ""
    if number < least:
        raise ValueError(f"must be at least {least}{unit}, not {number}")
    if most is not None and number > most:
        raise ValueError(f"must be at most {most}{unit}, not {number}")
    return number
