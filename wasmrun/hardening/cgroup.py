"""A control group with a memory limit: the kernel's own count of everything that a worker keeps resident."""

from __future__ import annotations

import os
import secrets

from wasmrun.hardening.wall import Missing

_REMEDY = (
    "mount cgroup v2 with the memory controller and let this user write to its own part of it, "
    "for instance with systemd-run --user --scope -p Delegate=yes"
)
_MOUNT = "/sys/fs/cgroup"


def own_group(listing: str) -> str:
    """The path of the process in the v2 hierarchy, from the text of its /proc/self/cgroup. Raises `Missing`."""
    for line in listing.splitlines():
        if line.startswith("0::"):
            return line[3:]
    raise Missing("this process is in no cgroup v2", _REMEDY)


class MemoryGroup:
    """A cgroup for one worker, made by its parent, which closes it when the worker is dead.

    It is made beside or below the parent's own group, where the kernel lets it. Raises `Missing`.
    """

    def __init__(self, memory: int, mount: str = _MOUNT, listing: str | None = None) -> None:
        if listing is None:
            with open("/proc/self/cgroup") as file:
                listing = file.read()
        own = (mount + own_group(listing)).rstrip("/")
        self.path = ""
        # Beside comes first: a group that holds a process can have no groups with limits below it.
        for place in (own,) if own == mount else (os.path.dirname(own), own):
            path = os.path.join(place, f"wasmrun-{secrets.token_hex(6)}")
            try:
                os.mkdir(path)
            except OSError:
                continue
            self.path = path
            try:
                # Where the memory controller is not switched on for this place, there is no such file.
                _write(os.path.join(path, "memory.max"), str(memory))
            except OSError:
                self.close()
                continue
            # Else what is over the limit would go to disk, and the guest only become slow.
            swap = os.path.join(path, "memory.swap.max")
            if os.path.exists(swap):
                _write(swap, "0")
            return
        raise Missing("no writable cgroup v2 with the memory controller", _REMEDY)

    def close(self) -> None:
        """Remove the group. Raises `OSError` while a process is in it."""
        path, self.path = self.path, ""
        if path:
            try:
                os.rmdir(path)
            except FileNotFoundError:
                pass
            except OSError:
                self.path = path
                raise

    def __enter__(self) -> MemoryGroup:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def put_up(path: str | None) -> str:
    """Move this process into the group at *path*."""
    if path is None:
        raise Missing("none was made for it", _REMEDY)
    _write(os.path.join(path, "cgroup.procs"), "0")
    with open(os.path.join(path, "memory.max")) as file:
        return f"{file.read().strip()} bytes"


def _write(path: str, text: str) -> None:
    # Never made: in a cgroup's directory, files are there or the kernel does not have what they stand for.
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
