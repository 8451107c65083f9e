"""The log book: what one guest logged, up to its cap."""

from __future__ import annotations

import struct

from wasmrun.invocation import LEVELS, Log

_ENTRY_COST = 16
"""Bytes that an entry counts beyond its text, so that empty lines are not free."""

CUT = Log("warn", "[the log is cut here: it reached its limit]")


_notebook_entry = struct.Struct("=II")


def read_notebook(notebook: bytes) -> tuple[Log, ...]:
    """The entries of what a guest logged in one crossing; see hotpath/notebook.c."""
    entries, at = [], 0
    while at < len(notebook):
        level, length = _notebook_entry.unpack_from(notebook, at)
        at += _notebook_entry.size
        entries.append(Log(LEVELS[level], notebook[at : at + length].decode("utf-8", "replace")))
        at += length
    return tuple(entries)


class LogBook:
    """Lines in the order in which they came, from the guest's log calls and from its output streams."""

    __slots__ = ("_left", "_partial", "entries", "is_cut", "size")

    def __init__(self, limit: int) -> None:
        self.entries: list[Log] = []
        self.size = 0
        self.is_cut = False
        self._left = limit
        self._partial = b""

    @property
    def room(self) -> int:
        """Bytes of text that the next entry may have at most."""
        return max(0, self._left - _ENTRY_COST)

    def add(self, level: int, text: bytes) -> None:
        """One entry of a level from 0 to 4; other levels count as the nearest one."""
        if self.is_cut:
            return
        cost = len(text) + _ENTRY_COST
        if cost > self._left:
            text = text[: max(0, self._left - _ENTRY_COST)]
            self.is_cut = True
        self._left -= cost
        self.size += len(text)
        if text or not self.is_cut:
            self.entries.append(Log(LEVELS[min(max(level, 0), 4)], text.decode("utf-8", "replace")))
        if self.is_cut:
            self.entries.append(CUT)

    def write(self, chunk: bytes) -> None:
        """Bytes of an output stream: every line becomes an entry."""
        if self.is_cut:
            return
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        for line in lines:
            self.add(2, line)
        if len(self._partial) > self._left:
            self.flush()

    def flush(self) -> None:
        """End a line that the guest did not end."""
        if self._partial:
            partial, self._partial = self._partial, b""
            self.add(2, partial)
