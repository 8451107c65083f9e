"""Dataclass: the decorator for classes that are made of settings, without `dataclasses`, which takes 7 ms to load.

What it makes is a dataclass to type checkers, to whoever makes one, and to `dataclasses.replace` and its like: what
those look for is made when they do.
"""

from __future__ import annotations

from collections.abc import Callable

from wasmrun.hints import TYPE_CHECKING, Any
from wasmrun.settings import REQUIRED, settings_of

__all__ = ("dataclass",)


def _decorator(*, kw_only: bool = False, eq: bool = True, repr: bool = True) -> Callable[[type], type]:  # noqa: ARG001
    # *kw_only* is for type checkers. Here it is the settings without a default that are positional.
    def decorate(cls: Any) -> Any:
        cls.__init__ = _initializer(cls)
        for name in ("__match_args__", "__dataclass_fields__", "__dataclass_params__"):
            setattr(cls, name, _Derived(name, eq=eq, repr=repr))
        if repr:
            cls.__repr__ = _show
        if eq:
            cls.__eq__, cls.__hash__ = _is_equal, None
        return cls

    return decorate


def _required(cls: type) -> list[str]:
    return [name for name, setting in settings_of(cls).items() if setting.default is REQUIRED]


def _initializer(cls: type) -> Any:
    """The method that takes each setting as a parameter of its own, so that Python itself says which one is wrong."""
    settings, required = settings_of(cls), _required(cls)
    defaults = {name: setting.default for name, setting in settings.items() if name not in required}
    parameters = ", ".join(["self", *required, "*", *defaults])
    body = "".join(f"    self.{name} = {name}\n" for name in settings)
    made: dict[str, Any] = {}
    exec(f"def __init__({parameters}):\n{body}    self.__post_init__()\n", made)  # noqa: S102  # names of this package
    method = made["__init__"]
    method.__kwdefaults__ = defaults
    method.__annotations__ = {name: _annotation(cls, name) for name in (*required, *defaults)} | {"return": None}
    method.__module__, method.__qualname__ = cls.__module__, f"{cls.__qualname__}.__init__"
    return method


def _annotation(cls: type, name: str) -> Any:
    return next(base.__annotations__[name] for base in cls.__mro__ if name in vars(base))


def _show(self: object) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in settings_of(type(self)))
    return f"{type(self).__qualname__}({shown})"


def _is_equal(self: object, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return all(getattr(self, name) == getattr(other, name) for name in settings_of(type(self)))


class _Derived:
    """What `dataclasses` knows its own classes by: taken from a twin which that makes when it first asks."""

    def __init__(self, name: str, **options: Any) -> None:
        self._name = name
        self._options = options

    def __get__(self, instance: object, owner: type) -> Any:
        from dataclasses import field, make_dataclass  # loaded already by whoever asks

        fields = [
            (
                name,
                _annotation(owner, name),
                field() if setting.default is REQUIRED else field(default=setting.default, kw_only=True),
            )
            for name, setting in settings_of(owner).items()
        ]
        value = getattr(make_dataclass(owner.__name__, fields, **self._options), self._name)
        setattr(owner, self._name, value)
        return value


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _decorator
