"""Sections: a module taken apart into them, and put together again."""

from __future__ import annotations

from typing import NamedTuple

from wasmrun.machine.snapshot.writing import sized, unsigned
from wasmrun.machine.wasmreader import Reader

TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, CODE, DATA, DATA_COUNT = range(1, 13)

_HEADER = b"\0asm\x01\0\0\0"
_ORDER = (TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, DATA_COUNT, CODE, DATA)
_RANK = {number: rank for rank, number in enumerate(_ORDER)}


class Section(NamedTuple):
    """One section; ``number`` is 0 for a custom one."""

    number: int
    body: bytes


def split(module: bytes) -> list[Section]:
    """The sections of *module*. Raises `ValueError` where it is truncated."""
    found = []
    reader = Reader(module, len(_HEADER), len(module))
    while reader.at < len(module):
        number = reader.byte()
        found.append(Section(number, reader.take(reader.number())))
    return found


def join(sections: list[Section]) -> bytes:
    """The module of *sections*."""
    return _HEADER + b"".join(bytes((number,)) + sized(body) for number, body in sections)


def body_of(sections: list[Section], number: int) -> bytes:
    """What is in the section *number*; nothing where there is none."""
    return next((section.body for section in sections if section.number == number), b"")


def put(sections: list[Section], number: int, body: bytes) -> list[Section]:
    """*sections* with *body* as section *number*, at the place that is its own; without that section where it is empty."""
    kept = [section for section in sections if section.number != number]
    if not body:
        return kept
    after = [at for at, section in enumerate(kept) if section.number and _RANK[section.number] < _RANK[number]]
    where = after[-1] + 1 if after else 0
    return [*kept[:where], Section(number, body), *kept[where:]]


def extended(body: bytes, items: list[bytes]) -> bytes:
    """The vector *body* with *items* at its end."""
    reader = Reader(body or b"\0", 0, len(body) or 1)
    count = reader.number()
    return unsigned(count + len(items)) + body[reader.at :] + b"".join(items)
