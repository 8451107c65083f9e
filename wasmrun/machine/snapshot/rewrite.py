"""The rewriting: a module, and the state after its start-up, as a module that begins there."""

from __future__ import annotations

from wasmrun.machine.snapshot import contents, sections
from wasmrun.machine.snapshot.contents import Contents, Elements, Export
from wasmrun.machine.snapshot.sections import put
from wasmrun.machine.snapshot.state import State
from wasmrun.machine.snapshot.writing import indexes, limits, place, sized, unsigned, vector

RESUME = b"wasmrun_resume"

_GONE_DATA = b"\x01\0"
"""A passive segment of no bytes: what one is like that was dropped."""
_DECLARED, _DECLARED_EXPRESSIONS = b"\x03\0", b"\x07"


def rewrite(found: Contents, state: State, dropped_exports: frozenset[bytes], resume_as: bytes) -> bytes:
    """The module with the contents *found* as it is in *state*.

    *dropped_exports* have been run, and are left out; ``wasmrun_resume`` is to be found as *resume_as*, too.
    """
    exports = _exports(found, dropped_exports, resume_as)
    parts = found.sections
    for number, body in (
        (sections.TABLE, _tables(found, state)),
        (sections.MEMORY, vector([limits(state.pages, item.maximum) for item in found.memories])),
        (sections.GLOBAL, _globals(found, state)),
        (sections.EXPORT, vector([sized(item.name) + bytes((item.kind,)) + unsigned(item.number) for item in exports])),
        (sections.START, b""),
        (sections.ELEMENT, _elements(found, state, exports)),
    ):
        parts = put(parts, number, b"" if body == b"\0" else body)
    data = _data(found, state)
    if found.has_data_count:
        parts = put(parts, sections.DATA_COUNT, unsigned(len(data)))
    # An empty one is left where the module says how many there are.
    return sections.join(put(parts, sections.DATA, vector(data) if data or found.has_data_count else b""))


def _exports(found: Contents, dropped: frozenset[bytes], resume_as: bytes) -> list[Export]:
    kept = [item for item in found.exports if item.name not in dropped]
    return kept + [item._replace(name=resume_as) for item in kept if item.name == RESUME]


def _tables(found: Contents, state: State) -> bytes:
    return vector(
        [
            table.type + limits(len(held), table.limits.maximum)
            for table, held in zip(found.tables, state.tables, strict=True)
        ]
    )


def _globals(found: Contents, state: State) -> bytes:
    return vector(
        [
            item.type + bytes((item.is_mutable,)) + state.globals.get(index, item.value)
            for index, item in enumerate(found.globals)
        ]
    )


def _elements(found: Contents, state: State, exports: list[Export]) -> bytes:
    """The segments under their old indexes, those that fill the tables, and the functions that code refers to."""
    kept = [
        segment.raw if segment.is_passive and index not in state.dropped_elements else _gone(segment)
        for index, segment in enumerate(found.elements)
    ]
    filling = [_run(index, start, run) for index, held in enumerate(state.tables) for start, run in _runs(held)]
    declared = {item.number for item in exports if item.kind == contents.FUNCTION}
    declared |= {function for held in state.tables for function in held if function is not None}
    for index, segment in enumerate(found.elements):
        if segment.is_passive and index not in state.dropped_elements:
            declared |= segment.functions
    missing = sorted(found.referable - declared)
    return vector([*kept, *filling, *([_DECLARED + indexes(missing)] if missing else [])])


def _gone(segment: Elements) -> bytes:
    """A segment of the same type without elements: what one is like that was dropped."""
    if segment.type == contents.FUNCREF:
        return _DECLARED + b"\0"
    return _DECLARED_EXPRESSIONS + segment.type + b"\0"


def _runs(held: list[int | None]) -> list[tuple[int, list[int]]]:
    """The elements of a table that are not null: where, and which."""
    runs: list[tuple[int, list[int]]] = []
    for at, function in enumerate(held):
        if function is None:
            continue
        if runs and runs[-1][0] + len(runs[-1][1]) == at:
            runs[-1][1].append(function)
        else:
            runs.append((at, [function]))
    return runs


def _run(table: int, start: int, functions: list[int]) -> bytes:
    head = b"\0" + place(start) if not table else b"\x02" + unsigned(table) + place(start) + b"\0"
    return head + indexes(functions)


def _data(found: Contents, state: State) -> list[bytes]:
    """The segments under their old indexes, where code can use them, and those that fill the memory."""
    kept = []
    if found.has_data_count:
        kept = [
            segment.raw if segment.is_passive and index not in state.dropped_data else _GONE_DATA
            for index, segment in enumerate(found.data)
        ]
    return kept + [b"\0" + place(start) + sized(data) for start, data in state.memory]
