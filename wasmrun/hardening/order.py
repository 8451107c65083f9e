"""The order of the walls: each is put up while what it needs is still allowed."""

from __future__ import annotations

import os
from collections.abc import Callable

from wasmrun.errors import HostError
from wasmrun.hardening import (
    cgroup,
    descriptors,
    environment,
    landlock,
    namespaces,
    parent,
    privileges,
    resources,
    seccomp,
)
from wasmrun.hardening.wall import Missing, Wall, Walls

_REMEDY = "have whatever restricts this process, a container's profile for instance, allow it"


def harden(walls: Walls) -> tuple[Wall, ...]:
    """Put up every wall that this machine has around the calling process, for good; what became of each.

    To be called once, by a worker, after its imports and before it has a thread, a timer or an engine. Raises
    `HostError` where a wall in ``walls.required`` cannot be had, where the parent is gone, and where the worker
    would not see its own files any more. A process in which this was raised must end: some of the walls are up.
    """
    try:
        threads = os.listdir("/proc/self/task")
    except OSError as error:
        raise HostError(
            f"a process is hardened with the help of /proc, which is not here ({error}); mount it"
        ) from None
    if len(threads) > 1:
        # They would keep what this takes away: namespaces, capabilities and Landlock are a thread's own.
        raise HostError(f"a process is hardened while it has one thread; this one has {len(threads)}")
    steps: dict[str, Callable[[], str]] = {
        # While the files of the kernel can still be written to, and this is a user that its parent's cgroup knows.
        "cgroup": lambda: cgroup.put_up(walls.cgroup),
        # Its maps are refused to a process that is not dumpable, and their files to one behind Landlock. It gives every
        # capability, inside.
        "namespaces": namespaces.put_up,
        # After whatever changes a process's credentials, which may call off the signal.
        "parent": lambda: parent.put_up(walls.parent),
        "limits": lambda: resources.put_up(descriptors=walls.descriptors, file_size=walls.file_size, data=walls.data),
        # Landlock asks nobody who has opened a file before it.
        "descriptors": lambda: descriptors.put_up(walls.keep),
        "environment": environment.put_up,
        # What was left of them, and what the user namespace gave.
        "capabilities": privileges.drop_capabilities,
        "privileges": privileges.refuse_new_privileges,
        # After the maps, see above, and after the credentials: the kernel sets this anew with them.
        "memory image": privileges.hide_memory,
        # After the last file outside is read.
        "landlock": lambda: landlock.put_up(walls.readable, walls.writable),
        # The last: it refuses most of what the others are made with.
        "seccomp": seccomp.put_up,
    }
    found = {}
    # Its library is looked for by programs of the system, which are out of reach later.
    try:
        seccomp.load_library()
    except Missing as missing:
        found["seccomp"] = _missing("seccomp", missing, walls)
    for name, put_up in steps.items():
        if name in found:
            continue
        try:
            found[name] = Wall(name, True, put_up())
        except Missing as missing:
            found[name] = _missing(name, missing, walls)
        except OSError as error:
            found[name] = _missing(name, Missing(error.strerror or str(error), _REMEDY), walls)
    _check_files(walls)
    return tuple(found[name] for name in steps)


def _missing(name: str, missing: Missing, walls: Walls) -> Wall:
    if name in walls.required:
        raise HostError(
            f"the wall {name!r} was asked for and cannot be put up: {missing.detail}; to have it, {missing.remedy}"
        )
    return Wall(name, False, missing.detail, missing.remedy)


def _check_files(walls: Walls) -> None:
    """Raise `HostError` where a path that is to be seen is not: root's power to read everything is gone."""
    for path in (*landlock.interpreter_paths(), *walls.readable, *walls.writable):
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise HostError(
                f"{path} cannot be read by a worker without privileges ({error.strerror}); "
                "make it readable for the user that runs this, or run this as its owner"
            ) from None
