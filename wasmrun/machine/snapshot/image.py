"""The image of a memory: what is not zero in it, as few segments as is worth it."""

from __future__ import annotations

import re
from collections.abc import Iterator

_CHUNK = 64 * 1024
_ZEROS = bytes(_CHUNK)
_LEAST_GAP = 32
"""Zeros that are written out rather than start another segment, which takes a dozen bytes and the engine's time."""
_MOST_SEGMENTS = 10_000
_GAP = bytes(_LEAST_GAP)
_SOMETHING = re.compile(rb"[^\0]")


def segments(memory: memoryview, most_bytes: int) -> list[tuple[int, bytes]]:
    """Where something stands in *memory*, and what; in order, apart. Raises `ValueError` for more than *most_bytes*."""
    gap = _LEAST_GAP
    found: list[tuple[int, int]] = []
    size = 0
    for base in range(0, len(memory), _CHUNK):
        chunk = bytes(memory[base : base + _CHUNK])
        if chunk == _ZEROS:
            continue
        for start, end in _runs(chunk):
            size += end - start
            if found and base + start - found[-1][1] < gap:
                found[-1] = found[-1][0], base + end
            else:
                found.append((base + start, base + end))
        if size > most_bytes:
            raise ValueError(_TOO_LARGE)
        while len(found) > _MOST_SEGMENTS:
            gap *= 4
            found = _merged(found, gap)
    if sum(end - start for start, end in found) > most_bytes:
        raise ValueError(_TOO_LARGE)
    return [(start, bytes(memory[start:end])) for start, end in found]


_TOO_LARGE = "its memory holds more after the start-up than a module may have"


def _runs(chunk: bytes) -> Iterator[tuple[int, int]]:
    """Where something stands in *chunk* between gaps."""
    at = 0
    while found := _SOMETHING.search(chunk, at):
        start = found.start()
        gap = chunk.find(_GAP, start)
        yield start, len(chunk) if gap < 0 else gap
        if gap < 0:
            return
        at = gap + _LEAST_GAP


def _merged(found: list[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    merged = found[:1]
    for start, end in found[1:]:
        if start - merged[-1][1] < gap:
            merged[-1] = merged[-1][0], end
        else:
            merged.append((start, end))
    return merged
