"""Bays: memory that an executor and one thread of a worker share, for payloads too long to go through a socket.

A bay belongs to one lane, over which one event at a time is talked about, and each end writes to it only when it
is its turn to speak. A worker that lies may write at any time: so what the executor reads is copied out first, and
looked at then. Nobody can make it shorter, which would end the process that reads beyond.
"""

from __future__ import annotations

import fcntl
import mmap
import os

BAY_BYTES = 8 << 20
"""Bytes of a bay: more than the usual limits let an event or an answer have. What was never used costs nothing;
what was stays resident as long as the worker."""


def new_bay() -> int:
    """The descriptor of a new bay. Raises `OSError` where there can be none."""
    descriptor = os.memfd_create("wasmrun", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, BAY_BYTES)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def map_bay(descriptor: int) -> mmap.mmap:
    """The memory of the bay behind *descriptor*. Raises `OSError`."""
    return mmap.mmap(descriptor, BAY_BYTES)
