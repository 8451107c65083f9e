"""Logger: one of `logging`'s, found when there is something to log; loading that takes longer than a function to run."""

from __future__ import annotations

from wasmrun.hints import TYPE_CHECKING, Any

__all__ = ("Logger",)


class _Lazy:
    """Everything that `logging.getLogger` has under *name*, as it is when it is used."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        import logging

        return getattr(logging.getLogger(self._name), attribute)


if TYPE_CHECKING:
    from logging import Logger
else:
    Logger = _Lazy
