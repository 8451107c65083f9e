"""A corpus: many events, in a file with one a line or in a directory with one a file. They come from anywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from wasmrun.errors import printable

MOST_BYTES = 64 * 2**20
"""Of one event."""

_MOST_EVENTS = 1_000_000


class CorpusUnreadable(ValueError):
    """There are no events to be had; the text says why."""


class Entry(NamedTuple):
    """One event: where it is, and its bytes, or why they cannot be had."""

    name: str
    data: bytes | None
    problem: str = ""


def read_corpus(path: str) -> Iterator[Entry]:
    """The events at *path*, in the order of the lines or of the names. Raises `CorpusUnreadable`.

    Empty lines are no events, nor are files whose names begin with a dot. What is wrong with one event ends none
    of the others.
    """
    try:
        entries = _files(path) if os.path.isdir(path) else _lines(path)
        for number, entry in enumerate(entries):
            if number >= _MOST_EVENTS:
                raise CorpusUnreadable(f"it has more than {_MOST_EVENTS:,} events")
            yield entry
    except (OSError, ValueError) as error:
        if isinstance(error, CorpusUnreadable):
            raise
        raise CorpusUnreadable(f"it cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _lines(path: str) -> Iterator[Entry]:
    name = printable(os.path.basename(path))
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(MOST_BYTES + 1):
            number += 1
            if len(line) > MOST_BYTES:
                while line and not line.endswith(b"\n"):
                    line = file.readline(MOST_BYTES)
                yield Entry(f"{name}:{number}", None, f"it has more than {MOST_BYTES // 2**20} MiB")
            elif line.strip():
                yield Entry(f"{name}:{number}", line.rstrip(b"\r\n"))


def _files(path: str) -> Iterator[Entry]:
    with os.scandir(path) as found:
        names = sorted(one.name for one in found if one.is_file() and not one.name.startswith("."))
    for name in names:
        try:
            with open(os.path.join(path, name), "rb") as file:
                data = file.read(MOST_BYTES + 1)
        except OSError as error:
            yield Entry(printable(name), None, f"it cannot be read: {error.strerror}")
            continue
        is_large = len(data) > MOST_BYTES
        problem = f"it has more than {MOST_BYTES // 2**20} MiB" if is_large else ""
        yield Entry(printable(name), None if is_large else data, problem)
