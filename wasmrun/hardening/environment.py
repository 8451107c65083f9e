"""The environment: where programs keep secrets, and where a worker needs nothing from."""

from __future__ import annotations

import ctypes
import os

_ENV_START, _ENV_END = 49, 50
"""Places in /proc/self/stat, counted from 0."""


def put_up() -> str:
    """Empty the environment: Python's copy, the C library's, and the text that the kernel laid on the stack.

    What Python copied to its heap before is let go, not overwritten: start a worker with an empty environment.
    """
    os.environ.clear()
    with open("/proc/self/stat", "rb") as file:
        text = file.read()
    # The program's name comes second, in parentheses, and may hold spaces and parentheses itself.
    fields = text[text.rindex(b")") + 2 :].split()
    start, end = int(fields[_ENV_START - 2]), int(fields[_ENV_END - 2])
    if end > start:
        # Nothing points here any more: the C library's list was emptied above.
        ctypes.memset(start, 0, end - start)
    return "empty"
