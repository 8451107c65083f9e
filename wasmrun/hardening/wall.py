"""Walls: what a worker is to put up around itself, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

NAMES = (
    "cgroup",
    "namespaces",
    "parent",
    "limits",
    "descriptors",
    "environment",
    "capabilities",
    "privileges",
    "memory image",
    "landlock",
    "seccomp",
)
"""Every wall, in the order in which they are put up."""


class Wall(NamedTuple):
    """One wall: whether it is up, what it is or why it is not, and what would put it up."""

    name: str
    is_up: bool
    detail: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Walls:
    """What a worker asks of its walls. Paths are absolute; sizes are bytes."""

    parent: int
    """The process that it must not outlive."""
    keep: tuple[int, ...] = (0, 1, 2)
    """Descriptors that stay open; all others are closed."""
    readable: tuple[str, ...] = ()
    """Files and directories beside the interpreter's own: the artifact cache, read-only grants."""
    writable: tuple[str, ...] = ()
    """Directories granted for reading and writing."""
    descriptors: int = 256
    """How many it may have open."""
    file_size: int = 1 << 30
    """How large a file may become by its writing, its log included."""
    data: int | None = None
    """Private memory that it may write to, see `data_bytes`; None: no bound."""
    cgroup: str | None = None
    """The `MemoryGroup` that its parent made for it."""
    required: frozenset[str] = frozenset()
    """Walls without which it must not run."""

    def __post_init__(self) -> None:
        unknown = self.required - set(NAMES)
        if unknown:
            raise ValueError(f"no such wall: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
        for path in (*self.readable, *self.writable):
            if not path.startswith("/"):
                raise ValueError(f"the path of a wall must be absolute: {path!r}")


class Missing(Exception):
    """A wall cannot be put up here: why, and what would help."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy
