"""The module's file: what its section headers say, read before a compiler sees it.

Only headers and counts are read, each once, so the time taken is bounded by the number of sections.
Whether the module is valid is the engine's to say.
"""

from __future__ import annotations

from typing import NamedTuple

MAGIC = b"\0asm"
_CORE = b"\x01\0\0\0"

_SECTIONS = {1: "type", 2: "import", 3: "function", 4: "table", 5: "memory", 6: "global", 7: "export", 9: "element"}
_START = 8
_MOST_SECTIONS = 10_000

MOST = {"type": 50_000, "import": 1_000, "function": 100_000, "table": 100, "memory": 100, "global": 50_000,
        "export": 5_000, "element": 50_000}  # fmt: skip
"""Most entries that a section may have: host work on a module grows with them, outside every limit of a sandbox."""


class Facts(NamedTuple):
    """What the headers of a core module say."""

    has_start: bool
    functions: int
    imports: int
    exports: int
    module_bytes: int


def is_wasm(data: bytes) -> bool:
    """Whether *data* starts as a WebAssembly binary does."""
    return data[:4] == MAGIC


def scan(data: bytes) -> Facts:
    """The facts of the core module *data*. Raises `ValueError` that says what is wrong, and where."""
    if not is_wasm(data):
        raise ValueError(f"not WebAssembly: it starts with {data[:4].hex(' ') or 'nothing'}, not with 00 61 73 6d")
    if len(data) < 8:
        raise ValueError("truncated: the header is 8 bytes")
    if data[4:8] != _CORE:
        if data[6:8] == b"\x01\0":
            raise ValueError(
                "a component: this version of wasmrun runs core modules only; build the core module instead"
            )
        raise ValueError(f"an unknown version of WebAssembly: {data[4:8].hex(' ')}")
    counts: dict[str, int] = {}
    has_start = False
    at = 8
    for _ in range(_MOST_SECTIONS):
        if at == len(data):
            break
        section = data[at]
        size, body = _leb128(data, at + 1)
        if body + size > len(data):
            raise ValueError(
                f"truncated: the section at byte {at} has {size} bytes, the file ends after {len(data) - body}"
            )
        if section in _SECTIONS and size:
            what = _SECTIONS[section]
            counts[what], _ = _leb128(data, body)
            if counts[what] > MOST[what]:
                raise ValueError(f"it has {counts[what]} {what} entries; at most {MOST[what]} are allowed")
        has_start = has_start or section == _START
        at = body + size
    else:
        raise ValueError(f"it has more than {_MOST_SECTIONS} sections")
    return Facts(has_start, counts.get("function", 0), counts.get("import", 0), counts.get("export", 0), len(data))


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned 32-bit number at *at*, and where it ends."""
    value = shift = 0
    for offset in range(5):
        if at + offset >= len(data):
            raise ValueError(f"truncated: a number at byte {at} does not end")
        byte = data[at + offset]
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at + offset + 1
    raise ValueError(f"malformed: the number at byte {at} is too long")
