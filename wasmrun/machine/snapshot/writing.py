"""Writing WebAssembly's binary format: numbers, vectors, names, constants."""

from __future__ import annotations

from collections.abc import Collection, Iterable

END = b"\x0b"


def unsigned(number: int) -> bytes:
    """An unsigned number in LEB128."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def signed(number: int) -> bytes:
    """A signed number in LEB128."""
    out = bytearray()
    while not -0x40 <= number < 0x40:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number & 0x7F)
    return bytes(out)


def sized(data: bytes) -> bytes:
    """*data* after its length: a name, or the bytes of a segment."""
    return unsigned(len(data)) + data


def vector(items: Collection[bytes]) -> bytes:
    """*items* after their number."""
    return unsigned(len(items)) + b"".join(items)


def indexes(numbers: Collection[int]) -> bytes:
    """A vector of indexes."""
    return vector([unsigned(number) for number in numbers])


def place(address: int) -> bytes:
    """The constant expression of an i32, which is how a segment says where it goes."""
    return b"\x41" + signed(address - (1 << 32) if address >= 1 << 31 else address) + END


def limits(minimum: int, maximum: int | None) -> bytes:
    """The limits of a memory or of a table."""
    return b"\0" + unsigned(minimum) if maximum is None else b"\1" + unsigned(minimum) + unsigned(maximum)


def joined(parts: Iterable[bytes]) -> bytes:
    """*parts*, one after the other."""
    return b"".join(parts)
