"""The files that this process executes: its program, and the libraries that it has loaded."""

from __future__ import annotations


def executed_files() -> set[str]:
    """Their paths, as the kernel tells them."""
    found = set()
    with open("/proc/self/maps") as maps:
        for line in maps:
            # address, rights, offset, device, inode, path
            fields = line.rstrip("\n").split(maxsplit=5)
            if len(fields) == 6 and "x" in fields[1] and fields[5].startswith("/"):
                found.add(fields[5])
    return found
