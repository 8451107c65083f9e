"""Request ids: one for each event, as Lambda's are."""

from __future__ import annotations

import itertools
import os


class RequestIds:
    """Request ids for one executor. Lambda's are UUIDs; so are these: `prefix`, and 12 digits of what `numbers` gives."""

    def __init__(self) -> None:
        # Random but for the last 12 digits, which count: as unique, and without asking the kernel for
        # random bytes at every event. Not by the module uuid, which takes longer to load than a function to run.
        digits = os.urandom(16).hex()
        self.prefix = f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{'89ab'[int(digits[16], 16) % 4]}{digits[17:20]}-"
        self.numbers = itertools.count(int(digits[20:], 16) >> 1)  # there is room above for 2**47 events

    def number(self) -> int:
        """A number that was not given before."""
        return next(self.numbers)

    def new(self) -> str:
        """An id that was not given before."""
        return "%s%012x" % (self.prefix, next(self.numbers))  # noqa: UP031  # an f-string takes twice as long
