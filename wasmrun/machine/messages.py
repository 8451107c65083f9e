"""Messages: MessagePack that a guest wrote, which may hold what JSON can, bytes, and nothing else."""

from __future__ import annotations

import functools
from typing import Any

import msgpack

from wasmrun.errors import printable

# A timestamp is an extension of type 255 with 4, 8 or 12 bytes: what its header ends with, in any of its forms.
_TIMESTAMPS = (b"\xd6\xff", b"\xd7\xff", b"\x04\xff", b"\x08\xff", b"\x0c\xff")


class _Refused(ValueError):
    """The message is MessagePack, but not of the kind that is allowed."""


def _refuse_extension(code: int, _data: bytes) -> Any:
    raise _Refused(f"extension type {code}")


_unpack = functools.partial(msgpack.unpackb, ext_hook=_refuse_extension)


def decode(message: bytes) -> Any:
    """The one value in *message*. Raises `ValueError` that says why there is none, on one short line."""
    try:
        value = _unpack(message)
        # What msgpack gives without being asked: byte strings as keys, and timestamps.
        # A number is looked for as a byte, in a fifth of the time that bytes of length 1 take.
        if (0xC4 in message or 0xC5 in message or 0xC6 in message) or (
            0xFF in message and any(mark in message for mark in _TIMESTAMPS)
        ):
            _check(value)
    except _Refused:
        raise
    except msgpack.StackError:
        raise ValueError("it is nested too deep") from None
    except Exception as error:  # a ValueError, most of the time, and others of the kind of UnicodeDecodeError
        raise ValueError(f"{type(error).__name__}: {printable(str(error), 120)}") from None
    return value


def _check(value: Any) -> None:
    pending: list[Any] = [[value]]
    while pending:
        item = pending.pop()
        if type(item) is dict:
            if bytes in set(map(type, item)):
                raise _Refused("the key of a map is no string")
            item = item.values()
        kinds = set(map(type, item))
        if msgpack.Timestamp in kinds:
            raise _Refused("extension type -1")
        if list in kinds or dict in kinds:
            pending += [inner for inner in item if type(inner) in (list, dict)]
