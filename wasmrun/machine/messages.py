"""Messages: MessagePack, of which what others wrote may hold what JSON can, bytes, and nothing else."""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Iterator
from itertools import chain

import msgpack

from wasmrun.errors import printable
from wasmrun.hints import Any

# A timestamp is an extension of type 255 with 4, 8 or 12 bytes: what its header ends with, in any of its forms.
_TIMESTAMPS = (b"\xd6\xff", b"\xd7\xff", b"\x04\xff", b"\x08\xff", b"\x0c\xff")


class _Refused(ValueError):
    """The message is MessagePack, but not of the kind that is allowed."""


def _refuse_extension(code: int, _data: bytes) -> Any:
    raise _Refused(f"extension type {code}")


_unpack = functools.partial(msgpack.unpackb, ext_hook=_refuse_extension)

_MANY_BYTES = 64 * 1024
"""A message longer than this may hold so many values that the collector would look at them again and again."""


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Keep the cyclic collector still: what is decoded has no cycles, and 6 million empty lists take 3 times as long."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # Where another thread had switched it off for its own message, that one switches it on again.
        if was_on:
            gc.enable()


encode = msgpack.packb
"""A value as a message. Raises as msgpack does where it cannot be one."""


def decode(message: bytes) -> Any:
    """The one value in *message*. Raises `ValueError` that says why there is none, on one short line."""
    if len(message) > _MANY_BYTES:
        with _no_collector():
            return _decode(message)
    return _decode(message)


def _decode(message: bytes) -> Any:
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
    # Level by level, because millions of small lists are walked in C then: a third of the time of one at a time.
    level = [value]
    while level:
        if msgpack.Timestamp in set(map(type, level)):
            raise _Refused("extension type -1")
        maps = [item for item in level if type(item) is dict]
        if bytes in set(map(type, chain.from_iterable(maps))):
            raise _Refused("the key of a map is no string")
        inside_lists = chain.from_iterable(item for item in level if item and type(item) is list)
        level = [*inside_lists, *chain.from_iterable(map(dict.values, maps))]
