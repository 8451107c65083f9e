"""The component's file: the modules in it, and how often each is instantiated, read before a compiler sees it.

A component may instantiate a component twice that does the same with the next one, and so on: what a small
file asks for is counted here by multiplying, before anything is done. As with modules, whether the file is valid is
the engine's to say, and reading ends where a form begins that is not known.
"""

from __future__ import annotations

from wasmrun.hints import NamedTuple
from wasmrun.machine.config import OF_COMPONENTS
from wasmrun.machine.facts import Facts, is_component
from wasmrun.machine.wasmfile import MOST, scan
from wasmrun.machine.wasmreader import Reader

_MOST_SECTIONS = 10_000
_MOST_DEPTH = 20
_MOST_ENTRIES = 10_000
"""Most entries of a section, other than those of the modules inside."""
_MOST_FUNCTIONS = MOST["function"]

_MODULE, _CORE_INSTANCE, _COMPONENT, _INSTANCE, _ALIAS = 1, 2, 4, 5, 6
_SORT_CORE, _SORT_COMPONENT, _SORT_MODULE = 0x00, 0x04, 0x11


class Parts(NamedTuple):
    """What instances of a module or a component consist of."""

    instances: int = 0
    memories: int = 0
    tables: int = 0
    pages: int = 0
    table_elements: int = 0


class _Space:
    """One component while it is read: what its indexes stand for, as far as that can be instantiated."""

    def __init__(self, outer: _Space | None) -> None:
        self.outer = outer
        self.modules: list[Parts] = []
        self.components: list[Parts] = []
        self.total = Parts()

    def add(self, parts: Parts) -> None:
        """Count one instantiation."""
        own = self.total
        self.total = Parts(
            own.instances + parts.instances,
            own.memories + parts.memories,
            own.tables + parts.tables,
            own.pages + parts.pages,
            max(own.table_elements, parts.table_elements),
        )
        room = OF_COMPONENTS
        for name, count, most in (
            ("instances of modules", self.total.instances, room.core_instances - 1),
            ("memories", self.total.memories, room.memories),
            ("tables", self.total.tables, room.tables),
        ):
            if count > most:
                raise ValueError(f"it has {count} {name} or more; at most {most} are allowed")


class _File:
    """The counts of all modules in the file."""

    def __init__(self) -> None:
        self.functions = self.imports = self.exports = 0
        self.has_start = False


def scan_component(data: bytes) -> Facts:
    """The facts of the component *data*. Raises `ValueError` that says what is wrong, and where."""
    if not is_component(data):
        raise ValueError("a module, and not a component; leave out abi='component' (--abi component)")
    file = _File()
    total = _read(data, 8, len(data), file, None, 0).total
    return Facts(
        has_start=file.has_start,
        functions=file.functions,
        imports=file.imports,
        exports=file.exports,
        module_bytes=len(data),
        memory_pages=total.pages,
        table_elements=total.table_elements,
        memories=total.memories,
        tables=total.tables,
        is_component=True,
    )


def _read(data: bytes, at: int, end: int, file: _File, outer: _Space | None, depth: int) -> _Space:
    if depth > _MOST_DEPTH:
        raise ValueError(f"its components are nested deeper than {_MOST_DEPTH}")
    space = _Space(outer)
    reader = Reader(data, at, end)
    for _ in range(_MOST_SECTIONS):
        if reader.at == end:
            return space
        begin, section = reader.at, reader.byte()
        size = reader.number()
        stop = reader.at + size
        if stop > end:
            raise ValueError(
                f"truncated: the section at byte {begin} has {size} bytes, the file ends after {end - reader.at}"
            )
        if section == _MODULE:
            space.modules.append(_module(data[reader.at : stop], file))
        elif section == _COMPONENT:
            inner = Reader(data, reader.at, stop)
            inner.take(8)
            space.components.append(_read(data, inner.at, stop, file, space, depth + 1).total)
        elif section and size:
            part = Reader(data, reader.at, stop)
            count = part.number()
            if count > _MOST_ENTRIES:
                raise ValueError(
                    f"the section at byte {begin} has {count} entries; at most {_MOST_ENTRIES} are allowed"
                )
            if section == _CORE_INSTANCE:
                _core_instances(part, count, space)
            elif section == _INSTANCE:
                _instances(part, count, space)
            elif section == _ALIAS:
                _aliases(part, count, space)
        reader.at = stop
    raise ValueError(f"it has more than {_MOST_SECTIONS} sections")


def _module(data: bytes, file: _File) -> Parts:
    facts = scan(data)
    file.functions += facts.functions
    file.imports += facts.imports
    file.exports += facts.exports
    file.has_start = file.has_start or facts.has_start
    if file.functions > _MOST_FUNCTIONS:
        raise ValueError(f"its modules have {file.functions} functions or more; at most {_MOST_FUNCTIONS} are allowed")
    return Parts(1, facts.memories, facts.tables, facts.memory_pages, facts.table_elements)


def _core_instances(reader: Reader, count: int, space: _Space) -> None:
    for _ in range(count):
        kind = reader.byte()
        if kind == 0:
            _instantiate(space, space.modules, reader.number())
            for _ in range(reader.number()):
                reader.take(reader.number())
                reader.byte()
                reader.number()
        elif kind == 1:
            for _ in range(reader.number()):
                reader.take(reader.number())
                reader.byte()
                reader.number()
        else:
            return


def _instances(reader: Reader, count: int, space: _Space) -> None:
    for _ in range(count):
        kind = reader.byte()
        if kind == 0:
            _instantiate(space, space.components, reader.number())
            for _ in range(reader.number()):
                reader.take(reader.number())
                _sort(reader)
                reader.number()
        elif kind == 1:
            for _ in range(reader.number()):
                if reader.byte() > 1:  # how the name is written
                    return
                reader.take(reader.number())
                _sort(reader)
                reader.number()
        else:
            return


def _instantiate(space: _Space, known: list[Parts], index: int) -> None:
    # What was imported, or exported by an instance, is not known; where there is such a thing, the engine counts.
    space.add(known[index] if index < len(known) else Parts(1))


def _aliases(reader: Reader, count: int, space: _Space) -> None:
    for _ in range(count):
        sort, target = _sort(reader), reader.byte()
        found = Parts(1)
        if target == 2:
            levels, index = reader.number(), reader.number()
            source: _Space | None = space
            for _ in range(min(levels, _MOST_DEPTH + 1)):
                source = source.outer if source is not None else None
            if source is not None:
                known = source.modules if sort == _SORT_MODULE else source.components
                found = known[index] if index < len(known) else found
        elif target in (0, 1):
            reader.number()
            reader.take(reader.number())
        else:
            return
        if sort == _SORT_MODULE:
            space.modules.append(found)
        elif sort == _SORT_COMPONENT:
            space.components.append(found)


def _sort(reader: Reader) -> int:
    """The sort of an index. What belongs to modules, and is no module, has none that matters here."""
    sort = reader.byte()
    if sort != _SORT_CORE:
        return sort
    sort = reader.byte()
    return sort if sort == _SORT_MODULE else -1
