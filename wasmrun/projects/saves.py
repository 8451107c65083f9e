"""Saves: when files of a project change.

By looking at them, five times a second: that works on every file system, mounted and shared ones among them, needs
no package, and costs next to nothing for as many files as a project has.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from wasmrun.projects.project import files_of

INTERVAL = 0.2
"""Seconds between two looks."""

Seen = dict[str, tuple[int, int, int]]


def look(directory: str) -> Seen:
    """Every file of the project, with what changes when it is saved."""
    seen = {}
    for path in files_of(directory):
        try:
            status = os.stat(os.path.join(directory, path))
        except OSError:
            continue  # it went while we looked
        seen[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return seen


def wait_for_save(directory: str, seen: Seen, sleep: Callable[[float], None]) -> Seen:
    """Wait until the project is not as it was *seen*, and has stayed so for one look; what it is then."""
    last = seen
    while True:
        sleep(INTERVAL)
        now = look(directory)
        # An editor that writes several files, or one in steps, is not disturbed.
        if now == last and now != seen:
            return now
        last = now
