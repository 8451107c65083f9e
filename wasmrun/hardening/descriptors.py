"""Descriptors: what was open when the process began is closed, unless it was meant for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from wasmrun.hardening.maps import executed_files

_STANDARD = (0, 1, 2)


def put_up(keep: Iterable[int]) -> str:
    """Close every descriptor that is not in *keep*; standard streams that are not lead nowhere from then on."""
    kept = sorted({*keep, *_libraries()})
    # By name, and not by range: where a range cannot be closed in one call, Python tries all of two billion.
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):  # the descriptor of that directory, which is closed by now
                os.close(int(name))
    for descriptor in _STANDARD:
        if descriptor not in kept:
            # Else the next file that is opened would get what the interpreter and its libraries print. They are
            # opened in the order of their numbers, and a new file gets the lowest that is free.
            os.open(os.devnull, os.O_RDWR)
    return f"open: {', '.join(map(str, kept))}" if kept else "none open"


def _libraries() -> set[int]:
    """Descriptors of files that this process executes.

    libffi keeps one of itself, where it is built so, and maps more of it as more callbacks are made. Closed, its
    number would go to another file, which would be mapped and executed in its place.
    """
    executed = set()
    for path in executed_files():
        with contextlib.suppress(OSError):  # replaced by an upgrade, and nobody's any more
            status = os.stat(path)
            executed.add((status.st_dev, status.st_ino))
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # as above
            status = os.fstat(int(name))
            if (status.st_dev, status.st_ino) in executed:
                found.add(int(name))
    return found
