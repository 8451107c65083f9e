"""Hints: the names of `typing`, without `typing`, which takes longer to load than a function to run.

Type checkers see typing's own. At run time there is what classes are made of; what only stands in annotations, which
nobody evaluates, is `object`.
"""

from __future__ import annotations

from collections import namedtuple

__all__ = ("TYPE_CHECKING", "Any", "ClassVar", "Generic", "NamedTuple", "NoReturn", "Protocol", "TypeVar")

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any, ClassVar, Generic, NamedTuple, NoReturn, Protocol, TypeVar
else:
    Any = ClassVar = NoReturn = object

    class TypeVar:
        """The name of a type; nothing else is kept of it."""

        __slots__ = ("__name__",)

        def __init__(self, name, **_bounds) -> None:
            self.__name__ = name

    class Protocol:
        """A class that type checkers compare others with."""

        __slots__ = ()

    class Generic:
        """A class that type checkers know the parameters of."""

        __slots__ = ()

        def __class_getitem__(cls, _parameters):
            return cls

    class _NamedTupleType(type):
        """Makes named tuples as typing does, but for compiling each annotation, which is most of what that costs."""

        def __new__(cls, name, bases, namespace):
            if not bases:
                return super().__new__(cls, name, bases, namespace)
            fields = namespace["__annotations__"]
            defaults = {field: namespace[field] for field in fields if field in namespace}
            made = namedtuple(name, fields, defaults=defaults.values(), module=namespace["__module__"])  # noqa: PYI024
            if made._field_defaults != defaults:
                raise TypeError(f"{name}: a field without a default follows one that has one")
            made.__annotations__ = made.__new__.__annotations__ = fields
            for key, value in namespace.items():
                if key not in fields and key not in ("__annotations__", "__module__"):
                    setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_NamedTupleType):
        """The base of a named tuple, as typing's: fields are annotated, and may have defaults and methods."""
