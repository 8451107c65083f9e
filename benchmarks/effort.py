"""Effort: how long a run may measure."""

import enum


class Effort(enum.Enum):
    """`--quick`, nothing, or `--full`: fewer events and rounds, or more; the questions stay the same."""

    QUICK = 0
    NORMAL = 1
    FULL = 2

    def pick(self, quick: int, normal: int, full: int) -> int:
        """The one of three sizes that belongs to this effort."""
        return (quick, normal, full)[self.value]
