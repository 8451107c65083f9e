"""Classes made of settings are the dataclasses that the standard library would make of them."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

from wasmrun.dataclass import dataclass
from wasmrun.function import Function, Grants
from wasmrun.limits import Limits
from wasmrun.settings import REQUIRED, Frozen, Setting, count


def _text(value: str) -> str:
    return value


@dataclass(kw_only=True)
class Base(Frozen):
    """Settings of a base."""

    first: Setting[int, int] = count(1, "The first.")
    second: Setting[str, str] = Setting("two", _text, "The second.", "TEXT")


@dataclass(kw_only=True)
class Value(Base):
    """The same with one that must be given."""

    name: Setting[str, str] = Setting(REQUIRED, _text, "The name.", "NAME")


def stdlib(cls: type, **options: bool) -> Any:
    """The dataclass that the standard library makes of the fields of *cls*."""
    fields = [
        (item.name, item.type, dataclasses.field(default=item.default, kw_only=item.kw_only))
        for item in dataclasses.fields(cls)
    ]
    made = dataclasses.make_dataclass(cls.__name__, fields, **options)
    made.__qualname__ = cls.__qualname__
    return made


CLASSES = pytest.mark.parametrize("cls", [Base, Value, Limits, Grants, Function])


@CLASSES
def test_signature_is_the_one_of_a_dataclass(cls: type) -> None:
    """Names, kinds, defaults and annotations, in their order: what help and documentation show."""
    assert inspect.signature(cls) == inspect.signature(stdlib(cls))
    assert cls.__match_args__ == stdlib(cls).__match_args__  # type: ignore[attr-defined]


def test_fields_are_in_the_order_of_the_classes() -> None:
    """Bases first, and what is required is the one that may be given by its position."""
    assert [(item.name, item.kw_only) for item in dataclasses.fields(Value)] == [
        ("first", True),
        ("second", True),
        ("name", False),
    ]
    names = [item.name for item in dataclasses.fields(Function)]
    assert names[0] == "env"  # Grants, then Limits, then its own
    assert names.index("http_bytes") < names.index("memory") < names.index("module")
    assert [item.name for item in dataclasses.fields(Function) if not item.kw_only] == ["module"]


@pytest.mark.parametrize(
    ("args", "given"),
    [((), {}), (("a", "b"), {}), (("a",), {"third": 3}), (("a",), {"name": "b"}), (("a",), {"secnd": "b"})],
)
def test_wrong_arguments_are_told_as_of_a_dataclass(args: tuple[str, ...], given: dict[str, Any]) -> None:
    """By Python itself, with the class's name."""
    with pytest.raises(TypeError) as ours:
        Value(*args, **given)
    with pytest.raises(TypeError) as theirs:
        stdlib(Value)(*args, **given)
    # The standard library names its own module's twin differently, and nothing else.
    assert str(ours.value) == str(theirs.value).replace("__create_fn__.<locals>.", "Value.")
    assert str(ours.value).startswith("Value.__init__()")


def test_instances_are_shown_and_compared_as_those_of_a_dataclass() -> None:
    """By their class and all their fields; what can be compared so, and not told to be final, has no hash."""
    assert repr(Value("a", first=2)) == repr(stdlib(Value)("a", first=2)) == "Value(first=2, second='two', name='a')"
    assert Value("a") == Value("a", second="two")
    assert Value("a") != Value("b")
    assert Base() != Value("a")
    assert Base().__eq__(Value("a")) is NotImplemented
    with pytest.raises(TypeError, match="unhashable type: 'Base'"):
        hash(Base())


def test_the_standard_librarys_functions_take_it_for_their_own() -> None:
    """`fields` and `is_dataclass`, of the class and of an instance; `replace`, `asdict` and `astuple`."""
    assert dataclasses.is_dataclass(Value)
    assert dataclasses.is_dataclass(Value("a"))
    assert not dataclasses.is_dataclass(Frozen)
    assert dataclasses.fields(Value) == dataclasses.fields(Value("a"))
    assert dataclasses.replace(Value("a", first=2), name="b") == Value("b", first=2)
    assert dataclasses.asdict(Value("a")) == {"first": 1, "second": "two", "name": "a"}
    assert dataclasses.astuple(Value("a")) == (1, "two", "a")
    function = dataclasses.replace(Function("a.wasm", timeout=10), module="b.wasm")
    assert (function.module, function.name, function.timeout) == ("b.wasm", "b", 10.0)
    with pytest.raises(TypeError, match="'b'"):
        dataclasses.replace(Value("a"), b=1)


def test_a_dataclass_can_be_derived_from_it() -> None:
    """One of the standard library's, with fields of its own, which it shows, compares and may assign."""

    @dataclasses.dataclass(kw_only=True)
    class Derived(Value):
        extra: int = 3

    one = Derived(name="a", extra=4)
    assert repr(one).endswith("Derived(first=1, second='two', name='a', extra=4)")
    assert one != Derived(name="a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.other = 1

    @dataclasses.dataclass(eq=False, repr=False)
    class Mine(Function):
        extra: int = dataclasses.field(default=3, kw_only=True)

    assert Mine("a.wasm") == Mine("a.wasm")
    assert Mine("a.wasm") != Mine("a.wasm", extra=4)


def test_a_plain_subclass_has_the_initializer_of_its_base() -> None:
    """Unless it writes its own."""

    class Plain(Base):
        pass

    class Own(Base):
        def __init__(self) -> None:
            super().__init__(first=7)

    assert Plain(first=2).first == 2
    assert dataclasses.fields(Plain) == dataclasses.fields(Base)
    assert Own().first == 7
