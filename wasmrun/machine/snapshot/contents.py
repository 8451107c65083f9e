"""What is in a module, as far as a snapshot has to know: what holds state, what is exported, and the segments.

For modules that the engine has found valid. What cannot be part of a snapshot raises `ValueError`.
"""

from __future__ import annotations

from typing import NamedTuple

from wasmrun.machine.snapshot import sections
from wasmrun.machine.snapshot.sections import Section, body_of
from wasmrun.machine.wasmreader import CONSTANT, INDEX, VALUE_TYPE, Reader

FUNCTION, TABLE, MEMORY, GLOBAL = range(4)
"""Kinds of what is exported."""
FUNCREF = b"\x70"

_KINDS = {TABLE: "table", MEMORY: "memory", GLOBAL: "global", 4: "tag"}
_REF_FUNC, _VECTOR, _F32, _F64 = 0xD2, 0xFD, 0x43, 0x44
_ONE_BYTE = frozenset((*range(0x6A, 0x6D), *range(0x7C, 0x7F), 0x0B))


class Limits(NamedTuple):
    """How large a memory or a table is at first, and may become."""

    minimum: int
    maximum: int | None


class Table(NamedTuple):
    """A table: the type of its elements, and its size."""

    type: bytes
    limits: Limits


class Global(NamedTuple):
    """A global: its type, whether it can change, and the expression of its first value."""

    type: bytes
    is_mutable: bool
    value: bytes


class Export(NamedTuple):
    """An export: its name, what kind of thing it is, and which."""

    name: bytes
    kind: int
    number: int


class Elements(NamedTuple):
    """A segment of elements: whether it is passive, the type, and the functions that it names."""

    is_passive: bool
    type: bytes
    functions: frozenset[int]
    raw: bytes


class Data(NamedTuple):
    """A segment of data: whether it is passive, and its bytes as they stand."""

    is_passive: bool
    raw: bytes


class Contents(NamedTuple):
    """A module's contents. Function indexes count the imported ones, which come first."""

    sections: list[Section]
    types: int
    imported: int
    functions: int
    tables: tuple[Table, ...]
    memories: tuple[Limits, ...]
    globals: tuple[Global, ...]
    exports: tuple[Export, ...]
    elements: tuple[Elements, ...]
    data: tuple[Data, ...]
    has_data_count: bool

    @property
    def referable(self) -> frozenset[int]:
        """The functions that a reference can be to: code may only name those that are named outside of it."""
        found = {export.number for export in self.exports if export.kind == FUNCTION}
        for segment in self.elements:
            found |= segment.functions
        for item in self.globals:
            found |= functions_in(item.value)
        return frozenset(found)


def read(module: bytes) -> Contents:
    """The contents of *module*. Raises `ValueError`."""
    found = sections.split(module)

    def part(number: int) -> tuple[Reader, int]:
        body = body_of(found, number) or b"\0"
        reader = Reader(body, 0, len(body))
        return reader, reader.number()

    reader, count = part(sections.GLOBAL)
    globals_ = tuple(_global(reader) for _ in range(count))
    reader, count = part(sections.TABLE)
    tables = tuple(Table(reader.skip(VALUE_TYPE), _limits(reader)) for _ in range(count))
    reader, count = part(sections.MEMORY)
    memories = tuple(_limits(reader) for _ in range(count))
    reader, count = part(sections.EXPORT)
    exports = tuple(Export(reader.take(reader.number()), reader.byte(), reader.number()) for _ in range(count))
    reader, count = part(sections.ELEMENT)
    elements = tuple(_elements(reader) for _ in range(count))
    reader, count = part(sections.DATA)
    data = tuple(_data(reader) for _ in range(count))
    return Contents(
        found, part(sections.TYPE)[1], _imported(*part(sections.IMPORT)), part(sections.FUNCTION)[1], tables, memories,
        globals_, exports, elements, data, any(section.number == sections.DATA_COUNT for section in found),
    )  # fmt: skip


def functions_in(expression: bytes) -> frozenset[int]:
    """The functions that a constant *expression* names."""
    found = set()
    reader = Reader(expression, 0, len(expression))
    while reader.at < len(expression):
        code = reader.byte()
        if code == _REF_FUNC:
            found.add(reader.number())
        elif code in (_F32, _F64):
            reader.take(4 if code == _F32 else 8)
        elif code == _VECTOR:
            reader.take(17)
        elif code not in _ONE_BYTE:
            reader.number(10)
    return frozenset(found)


def _imported(reader: Reader, count: int) -> int:
    """How many functions are imported, which is all that a function may import."""
    for _ in range(count):
        module, name = reader.take(reader.number()), reader.take(reader.number())
        kind = reader.byte()
        if kind != FUNCTION:
            shown = f"{module.decode(errors='replace')}.{name.decode(errors='replace')}"
            raise ValueError(f"it imports the {_KINDS.get(kind, 'thing')} {shown}, whose state is not its own")
        reader.number()
    return count


def _limits(reader: Reader) -> Limits:
    flags = reader.byte()
    if flags > 1:
        raise ValueError("it has a memory or a table that is shared, of 64 bits, or with pages of its own size")
    return Limits(reader.number(), reader.number() if flags else None)


def _global(reader: Reader) -> Global:
    type_, is_mutable = reader.skip(VALUE_TYPE), reader.byte()
    return Global(type_, bool(is_mutable), reader.skip(CONSTANT))


def _elements(reader: Reader) -> Elements:
    begin = reader.at
    flags = (
        reader.number()
    )  # 1: put nowhere at the start, 2: with a table, or declared, 4: expressions instead of indexes
    if not flags & 1:
        if flags & 2:
            reader.skip(INDEX)
        reader.skip(CONSTANT)
    type_ = FUNCREF
    if flags & 3:
        kind = reader.skip(VALUE_TYPE)
        type_ = kind if flags & 4 else FUNCREF
    functions: set[int] = set()
    for _ in range(reader.number()):
        if flags & 4:
            functions |= functions_in(reader.skip(CONSTANT))
        else:
            functions.add(reader.number())
    return Elements(flags & 3 == 1, type_, frozenset(functions), reader.data[begin : reader.at])


def _data(reader: Reader) -> Data:
    begin = reader.at
    flags = reader.number()  # 1: passive, 2: with a memory
    if flags == 2:
        reader.skip(INDEX)
    if flags != 1:
        reader.skip(CONSTANT)
    reader.take(reader.number())
    return Data(flags == 1, reader.data[begin : reader.at])
