"""The module's file: what its sections say of sizes and counts, read before a compiler sees it.

What is read is capped before it is read, so the time taken is bounded whatever the bytes. Whether the
module is valid is the engine's to say: where a form begins that it will refuse, reading ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wasmrun.limits import MOST_TABLE_ELEMENTS
from wasmrun.machine.facts import Facts, is_component, is_wasm
from wasmrun.machine.wasmreader import CONSTANT, INDEX, VALUE_TYPE, Reader

_CORE = b"\x01\0\0\0"

_SECTIONS = {1: "type", 2: "import", 3: "function", 4: "table", 5: "memory", 6: "global", 7: "export", 9: "element"}
_START = 8
_MOST_SECTIONS = 10_000

MOST = {"type": 50_000, "import": 1_000, "function": 100_000, "table": 100, "memory": 100, "global": 50_000,
        "export": 5_000, "element": 50_000}  # fmt: skip
"""Most entries that a section may have: host work on a module grows with them, outside every limit of a sandbox."""

MOST_WITHIN = {"type": (100_000, "parameters and results of types"),
               "element": (MOST_TABLE_ELEMENTS, "elements in segments")}  # fmt: skip
"""Most that all entries of a section may hold together. Each function type is compiled, and made known to the
engine, by its parameters and results; each function that a segment names takes room in every sandbox."""

_FUNCTION_TYPE, _TABLE_WITH_VALUE = 0x60, 0x40


def scan(data: bytes) -> Facts:
    """The facts of the core module *data*. Raises `ValueError` that says what is wrong, and where."""
    _check_header(data)
    counts = dict.fromkeys(MOST, 0)
    within = {"type": 0, "element": 0, "table": 0, "memory": 0}
    has_start = False
    file = Reader(data, 8, len(data))
    for _ in range(_MOST_SECTIONS):
        if file.at == len(data):
            break
        begin, section = file.at, file.byte()
        size = file.number()
        end = file.at + size
        if end > len(data):
            raise ValueError(
                f"truncated: the section at byte {begin} has {size} bytes, the file ends after {len(data) - file.at}"
            )
        if section in _SECTIONS and size:
            what = _SECTIONS[section]
            reader = Reader(data, file.at, end)
            count = reader.number()
            counts[what] += count
            if counts[what] > MOST[what]:
                raise ValueError(f"it has {counts[what]} {what} entries; at most {MOST[what]} are allowed")
            if what in MOST_WITHIN:
                most, holds = MOST_WITHIN[what]
                for number in _ENTRIES[what](reader, count):
                    within[what] += number
                    if within[what] > most:  # before the rest is read
                        raise ValueError(f"it has {within[what]} {holds} or more; at most {most} are allowed")
            elif what in within:
                within[what] = max(within[what], *_ENTRIES[what](reader, count), 0)
        has_start = has_start or section == _START
        file.at = end
    else:
        raise ValueError(f"it has more than {_MOST_SECTIONS} sections")
    if within["table"] > MOST_TABLE_ELEMENTS:
        raise ValueError(
            f"its table starts with {within['table']} elements, more than `table_elements` can allow "
            f"({MOST_TABLE_ELEMENTS}); build it with a smaller table"
        )
    return Facts(
        has_start, counts["function"], counts["import"], counts["export"], len(data), within["memory"], within["table"],
        counts["memory"], counts["table"],
    )  # fmt: skip


def _check_header(data: bytes) -> None:
    if not is_wasm(data):
        raise ValueError(f"not WebAssembly: it starts with {data[:4].hex(' ') or 'nothing'}, not with 00 61 73 6d")
    if len(data) < 8:
        raise ValueError("truncated: the header is 8 bytes")
    if data[4:8] != _CORE:
        if is_component(data):
            raise ValueError("a component, where a module is wanted")
        raise ValueError(f"an unknown version of WebAssembly: {data[4:8].hex(' ')}")


def _types(reader: Reader, count: int) -> Iterator[int]:
    """How many parameters, then how many results, each type has."""
    for _ in range(count):
        if reader.byte() != _FUNCTION_TYPE:
            return
        for _ in ("parameters", "results"):
            length = reader.number()
            yield length
            for _ in range(length):
                reader.skip(VALUE_TYPE)


def _tables(reader: Reader, count: int) -> Iterator[int]:
    """How many elements each table starts with."""
    for _ in range(count):
        if reader.data[reader.at : reader.at + 1] == bytes((_TABLE_WITH_VALUE,)):
            return
        reader.skip(VALUE_TYPE)
        yield _minimum(reader)


def _memories(reader: Reader, count: int) -> Iterator[int]:
    """How many pages each memory starts with."""
    for _ in range(count):
        yield _minimum(reader)


def _minimum(reader: Reader) -> int:
    flags = reader.byte()  # 1: with a maximum, 2: shared, 4: of 64 bits, 8: with a page size
    minimum = reader.number(10)
    if flags & 1:
        reader.number(10)
    if flags & 8:
        reader.number()
    return minimum


def _elements(reader: Reader, count: int) -> Iterator[int]:
    """How many elements each segment has."""
    for _ in range(count):
        flags = reader.number()  # 1: put nowhere at the start, 2: with a table, 4: expressions instead of indexes
        if flags > 7:
            return
        if flags & 3 == 2:
            reader.skip(INDEX)
        if not flags & 1:
            reader.skip(CONSTANT)
        if flags & 3:
            reader.skip(VALUE_TYPE)
        length = reader.number()
        yield length
        for _ in range(length):
            reader.skip(CONSTANT if flags & 4 else INDEX)


_ENTRIES: dict[str, Callable[[Reader, int], Iterator[int]]] = {
    "type": _types,
    "table": _tables,
    "memory": _memories,
    "element": _elements,
}
