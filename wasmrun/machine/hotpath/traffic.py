"""Traffic: what a pool and the compiled express (express.c) tell each other, in words that both of them write."""

from __future__ import annotations

import ctypes

RUNNING = 0
"""What runs there now: events, and sandboxes that are being prepared."""
HANDED = 1
"""Events that were taken there so far."""
RUBBISH = 2
"""Sandboxes there that are to be destroyed."""
OPEN = 3
"""Whether anything may begin there: 1 or 0, which the pool says."""
LEVEL = 4
"""How awake the keeper is, which that says."""
CHANGES = 5
"""How often anything there changed: whoever reads more than one number looks whether it is still the same."""
WAITING = 6
"""Events that wait for a place, which the pool says: no other one begins in a free place there meanwhile."""


class Traffic:
    """The words of one pool, at *address*."""

    def __init__(self) -> None:
        self._array = (ctypes.c_uint64 * 7)()
        self.address = ctypes.addressof(self._array)
        self.words = memoryview(self._array).cast("B").cast("Q")
        self.words[OPEN] = 1
