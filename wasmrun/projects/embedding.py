"""Embedding: sources put into the JavaScript engine's module, which needs no compiler.

The engine's last imports are there to be replaced (see ``guest_sdk/javascript/engine/slots.c``): as many as there are
host functions to call stay imports, under their names, and the others become functions of the module itself. So no
index changes, and no code has to be read.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from wasmrun.machine.snapshot import sections
from wasmrun.machine.snapshot.sections import body_of, put
from wasmrun.machine.snapshot.writing import signed, sized, unsigned, vector
from wasmrun.machine.wasmreader import Reader

CHECK = "wasmrun_check"
"""The entry that looks at sources."""
INIT = "init"
"""The exported function that is no handler."""

_DISPATCH = "wasmrun_dispatch"
_HANDLERS = {"handle": "wasmrun_handle", "handle_raw": "wasmrun_handle_raw"}
_SLOT, _SOURCES_BYTES, _SOURCES_COPY = b"slot_", b"sources_bytes", b"sources_copy"
_FUNCTION = b"\0"
_UNREACHABLE = b"\0\0\x0b"


class Sources(NamedTuple):
    """What is put into the engine: files by path, which of them is the main one, and what it and they have to do with the host.

    *stack* is how large the stack will be on which they run: what goes deeper is an error of theirs, no trap.
    *handlers* are the names of exported functions, *host_functions* those of imports in the order of their slots.
    """

    main: str
    files: dict[str, bytes]
    stack: int
    handlers: Sequence[str] = ()
    host_functions: Sequence[str] = ()

    def as_value(self) -> list[Any]:
        """As the engine gets it: in its module, and as the event of `CHECK`."""
        files = [[path, text + b"\0"] for path, text in sorted(self.files.items())]
        return [self.main, self.stack, list(self.handlers), list(self.host_functions), files]


def checker(engine: bytes) -> bytes:
    """The engine without sources, whose one entry looks at those that it is given."""
    return _Engine(engine).module(b"", (), {CHECK: None})


def embed(engine: bytes, sources: Sources) -> bytes:
    """The module of a function with these *sources*. Raises `ValueError` where their names cannot be a module's."""
    entries: dict[str, int | None] = {_HANDLERS.get(name, name): number for number, name in enumerate(sources.handlers)}
    return _Engine(engine).module(_packed(sources.as_value()), sources.host_functions, entries)


class _Import(NamedTuple):
    name: bytes
    type: bytes
    raw: bytes


class _Engine:
    """The engine's module, taken apart."""

    def __init__(self, module: bytes) -> None:
        self._parts = sections.split(module)
        self._imports = list(_imports(body_of(self._parts, sections.IMPORT)))
        names = [item.name for item in self._imports]
        self._first = next(at for at, name in enumerate(names) if name.startswith(_SLOT))
        self._slots = len(names) - self._first - 2
        if names[-2:] != [_SOURCES_BYTES, _SOURCES_COPY]:
            raise ValueError("this is no JavaScript engine")

    def module(self, data: bytes, host_functions: Sequence[str], entries: dict[str, int | None]) -> bytes:
        """A module with *data* as its sources, and *entries*: names with a handler's number, or of an export as it is."""
        if len(host_functions) > self._slots:
            raise ValueError(f"it calls {len(host_functions)} host functions; at most {self._slots} are possible")
        exports = _exports(body_of(self._parts, sections.EXPORT))
        dispatch = exports.pop(_DISPATCH)
        check = exports.pop(CHECK)
        for name in entries:
            if name in exports:
                raise ValueError(f"a handler cannot be called {name!r}, which every function exports for itself")
        kept = self._imports[: self._first]
        slots = self._imports[self._first : self._first + self._slots]
        named = [
            sized(b"wasmrun") + sized(name.encode()) + _FUNCTION + slot.type
            for name, slot in zip(host_functions, slots, strict=False)
        ]
        own = self._imports[self._first + len(named) :]
        functions, count = _vector(body_of(self._parts, sections.FUNCTION))
        codes, _ = _vector(body_of(self._parts, sections.CODE))
        segments, segment_count = _vector(body_of(self._parts, sections.DATA))
        of_own = [_UNREACHABLE] * (len(own) - 2) + [_sources_bytes(data), _sources_copy(data, segment_count)]
        handlers = {name: number for name, number in entries.items() if number is not None}
        first_handler = len(self._imports) + count
        exported = [*((name, index) for name, index in exports.items())]
        exported += [(CHECK, check)] if CHECK in entries else []
        parts = self._parts
        for number, body in (
            (sections.IMPORT, vector([*(item.raw for item in kept), *named])),
            (
                sections.FUNCTION,
                unsigned(count + len(own) + len(handlers))
                + b"".join(item.type for item in own)
                + functions
                + slots[0].type * len(handlers),
            ),
            (
                sections.EXPORT,
                vector(
                    [
                        *(sized(name.encode()) + raw for name, raw in exported),
                        *(
                            sized(name.encode()) + _FUNCTION + unsigned(first_handler + at)
                            for at, name in enumerate(handlers)
                        ),
                    ]
                ),
            ),
            (
                sections.CODE,
                unsigned(count + len(own) + len(handlers))
                + b"".join(map(sized, of_own))
                + codes
                + b"".join(sized(_handler(number, dispatch[1:])) for number in handlers.values()),
            ),
            (sections.DATA_COUNT, unsigned(segment_count + 1)),
            (sections.DATA, unsigned(segment_count + 1) + segments + b"\1" + sized(data)),
        ):
            parts = put(parts, number, body)
        return sections.join(parts)


def _imports(body: bytes) -> list[_Import]:
    reader = Reader(body, 0, len(body))
    found = []
    for _ in range(reader.number()):
        begin = reader.at
        reader.take(reader.number())
        name = reader.take(reader.number())
        if reader.byte() != 0:
            raise ValueError("this is no JavaScript engine")
        type_at = reader.at
        reader.number()
        found.append(_Import(name, body[type_at : reader.at], body[begin : reader.at]))
    return found


def _exports(body: bytes) -> dict[str, bytes]:
    """What is exported, as kind and index."""
    reader = Reader(body, 0, len(body))
    found = {}
    for _ in range(reader.number()):
        name = reader.take(reader.number()).decode()
        begin = reader.at
        reader.byte()
        reader.number()
        found[name] = body[begin : reader.at]
    return found


def _vector(body: bytes) -> tuple[bytes, int]:
    """The items of a vector, and how many there are."""
    reader = Reader(body, 0, len(body))
    count = reader.number()
    return body[reader.at :], count


def _packed(value: Any) -> bytes:
    """*value* as MessagePack, with every length in 32 bits."""
    match value:
        case int():
            return struct.pack(">BI", 0xCE, value)
        case str():
            data = value.encode()
            return struct.pack(">BI", 0xDB, len(data)) + data
        case bytes():
            return struct.pack(">BI", 0xC6, len(value)) + value
    return struct.pack(">BI", 0xDD, len(value)) + b"".join(map(_packed, value))


def _sources_bytes(data: bytes) -> bytes:
    # i32.const
    return b"\0\x41" + signed(len(data)) + b"\x0b"


def _sources_copy(data: bytes, segment: int) -> bytes:
    # local.get 0, i32.const 0, i32.const length, memory.init; data.drop
    number = unsigned(segment)
    return b"\0\x20\0\x41\0\x41" + signed(len(data)) + b"\xfc\x08" + number + b"\0\xfc\x09" + number + b"\x0b"


def _handler(number: int, dispatch: bytes) -> bytes:
    # i32.const number, local.get 0, local.get 1, call
    return b"\0\x41" + signed(number) + b"\x20\0\x20\1\x10" + dispatch + b"\x0b"
