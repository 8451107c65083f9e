"""What `wasmrun.hints` has in the place of typing's own behaves as that does."""

from __future__ import annotations

import inspect
import pickle
import typing

import pytest

from wasmrun import hints


class Theirs(typing.NamedTuple):
    """A point."""

    x: int
    y: int | str = 2

    @property
    def total(self) -> int:
        """Both."""
        return self.x + int(self.y)

    def __str__(self) -> str:
        return f"{self.x},{self.y}"


class Ours(hints.NamedTuple):
    """A point."""

    x: int
    y: int | str = 2

    @property
    def total(self) -> int:
        """Both."""
        return self.x + int(self.y)

    def __str__(self) -> str:
        return f"{self.x},{self.y}"


def test_named_tuple_is_one() -> None:
    """A tuple with names, defaults, methods, a docstring, and a way through pickle."""
    point = Ours(1)
    assert (point, point.x, point.y, point.total, str(point)) == ((1, 2), 1, 2, 3, "1,2")
    assert repr(point) == "Ours(x=1, y=2)"
    assert point._replace(y=3)._asdict() == {"x": 1, "y": 3}
    assert pickle.loads(pickle.dumps(point)) == point
    assert type(pickle.loads(pickle.dumps(point))) is Ours
    match point:
        case Ours(x, 2):
            assert x == 1
        case _:
            pytest.fail("it does not match by position")


@pytest.mark.parametrize(
    "name",
    ["__doc__", "__module__", "__bases__", "__match_args__", "__slots__", "_fields", "_field_defaults"],
)
def test_named_tuple_has_what_typings_has(name: str) -> None:
    """All that the class itself tells."""
    assert getattr(Ours, name) == getattr(Theirs, name)


def test_named_tuple_has_the_signature_of_typings() -> None:
    """And the annotations, which typing has wrapped by now."""
    assert str(inspect.signature(Ours)).replace("'", "") == "(x: int, y: int | str = 2)"
    assert typing.get_type_hints(Ours) == typing.get_type_hints(Theirs) == {"x": int, "y": int | str}


@pytest.mark.parametrize(("args", "given"), [((), {}), ((1, 2, 3), {}), ((1,), {"z": 1})])
def test_named_tuple_tells_wrong_arguments_as_typings_does(args: tuple[int, ...], given: dict[str, int]) -> None:
    """By Python itself."""
    with pytest.raises(TypeError) as ours:
        Ours(*args, **given)
    with pytest.raises(TypeError) as theirs:
        Theirs(*args, **given)
    assert str(ours.value).replace("Ours", "Theirs") == str(theirs.value)


def test_named_tuple_with_a_default_before_others_is_refused() -> None:
    """As typing does, in other words: a named tuple would give the defaults to the last fields."""
    with pytest.raises(TypeError, match="Wrong: a field without a default"):

        class Wrong(hints.NamedTuple):
            x: int = 1
            y: int


def test_generic_and_protocol_are_plain_classes() -> None:
    """Parameters are for type checkers alone."""
    kind = hints.TypeVar("kind", bound=int)

    class Box(hints.Generic[kind]):
        pass

    class Held(hints.Protocol):
        value: int

    assert Box[int] is Box
    assert Box.__mro__ == (Box, hints.Generic, object)
    assert Held.__mro__ == (Held, hints.Protocol, object)
    assert kind.__name__ == "kind"
