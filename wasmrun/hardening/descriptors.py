"""Descriptors: what was open when the process began is closed, unless it was meant for it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

_LAST = 2**31 - 1
_STANDARD = (0, 1, 2)


def put_up(keep: Iterable[int]) -> str:
    """Close every descriptor that is not in *keep*; standard streams that are not lead nowhere from then on."""
    kept = sorted({*keep, *_libraries()})
    first = 0
    for descriptor in (*kept, _LAST):
        # Python takes an empty range for all of them.
        if descriptor > first:
            os.closerange(first, descriptor)
        first = descriptor + 1
    for descriptor in _STANDARD:
        if descriptor not in kept:
            # Else the next file that is opened would get what the interpreter and its libraries print. They are
            # opened in the order of their numbers, and a new file gets the lowest that is free.
            os.open(os.devnull, os.O_RDWR)
    return f"open: {', '.join(map(str, kept))}" if kept else "none open"


def _libraries() -> set[int]:
    """Descriptors of files that are mapped to be executed.

    libffi keeps one of itself, and maps more of it as more callbacks are made. Closed, its number would go to
    another file, which would be mapped and executed in its place.
    """
    mapped = set()
    with open("/proc/self/maps") as maps:
        for line in maps:
            _, rights, _, device, inode = line.split()[:5]
            if "x" in rights and inode != "0":
                major, _, minor = device.partition(":")
                mapped.add((os.makedev(int(major, 16), int(minor, 16)), int(inode)))
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            status = os.fstat(int(name))
        except OSError:  # the directory's own descriptor, which is gone by now
            continue
        if stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) in mapped:
            found.add(int(name))
    return found
