"""The copy: a module that does what another one does, and lets the host see what that one hides.

No index changes: exports are added, and functions at the end that find out whether a passive segment was dropped.
"""

from __future__ import annotations

from typing import NamedTuple

from wasmrun.machine.snapshot import contents, sections
from wasmrun.machine.snapshot.contents import Contents
from wasmrun.machine.snapshot.sections import body_of, extended, put
from wasmrun.machine.snapshot.writing import sized, unsigned

_MOST_PROBES = 10_000
_NOTHING_TO_NOTHING = b"\x60\0\0"


class Copy(NamedTuple):
    """The copy, how the names of its additional exports begin, and which segments can be asked about."""

    module: bytes
    prefix: str
    data: tuple[int, ...]
    elements: tuple[int, ...]


def make_copy(found: Contents) -> Copy:
    """The copy of the module with the contents *found*. Raises `ValueError` where there is too much to look at."""
    prefix = "state"
    while any(export.name.startswith(prefix.encode()) for export in found.exports):
        prefix += "_"
    wanted = [(f"m{index}", contents.MEMORY, index) for index in range(len(found.memories))]
    wanted += [(f"t{index}", contents.TABLE, index) for index in range(len(found.tables))]
    wanted += [(f"g{index}", contents.GLOBAL, index) for index, item in enumerate(found.globals) if item.is_mutable]
    if found.tables or any(item.is_mutable and item.type == contents.FUNCREF for item in found.globals):
        wanted += [(f"f{index}", contents.FUNCTION, index) for index in sorted(found.referable)]
    data, elements = _droppable_data(found), _droppable_elements(found)
    probes = [*map(_data_probe, data), *(_elements_probe(index, table) for index, table in elements.items())]
    if len(probes) > _MOST_PROBES:
        raise ValueError(f"it has {len(probes)} passive segments; at most {_MOST_PROBES} are allowed")
    names = [*(f"d{index}" for index in data), *(f"e{index}" for index in elements)]
    first = found.imported + found.functions
    wanted += [(name, contents.FUNCTION, first + at) for at, name in enumerate(names)]
    parts = found.sections
    exports = [sized(f"{prefix}{name}".encode()) + bytes((kind,)) + unsigned(index) for name, kind, index in wanted]
    parts = put(parts, sections.EXPORT, extended(body_of(parts, sections.EXPORT), exports))
    if probes:
        parts = put(parts, sections.TYPE, extended(body_of(parts, sections.TYPE), [_NOTHING_TO_NOTHING]))
        types = [unsigned(found.types)] * len(probes)
        parts = put(parts, sections.FUNCTION, extended(body_of(parts, sections.FUNCTION), types))
        parts = put(parts, sections.CODE, extended(body_of(parts, sections.CODE), [sized(code) for code in probes]))
    return Copy(sections.join(parts), prefix, data, tuple(elements))


def _droppable_data(found: Contents) -> tuple[int, ...]:
    """The data segments that code can drop, which it only can where the module says how many there are."""
    if not found.has_data_count or not found.memories:
        return ()
    return tuple(index for index, segment in enumerate(found.data) if segment.is_passive)


def _droppable_elements(found: Contents) -> dict[int, int]:
    """The segments of elements that code can drop and, before that, use; each with a table of its type."""
    tables = {table.type: index for index, table in reversed(list(enumerate(found.tables)))}
    return {
        index: tables[segment.type]
        for index, segment in enumerate(found.elements)
        if segment.is_passive and segment.type in tables
    }


# Nothing is copied, from the second byte or element on: that traps where there is not even a first one, as in a
# segment that was dropped. (No locals; i32.const 0, 1, 0; memory.init or table.init; end.)


def _data_probe(index: int) -> bytes:
    return b"\0\x41\0\x41\1\x41\0\xfc\x08" + unsigned(index) + b"\0\x0b"


def _elements_probe(index: int, table: int) -> bytes:
    return b"\0\x41\0\x41\1\x41\0\xfc\x0c" + unsigned(index) + unsigned(table) + b"\x0b"
