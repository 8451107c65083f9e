"""Limits of the kernel on what this process may use.

Not on processes (RLIMIT_NPROC): it counts those of the same user elsewhere, and where it is reached ticks vanish
without a word. Not on address space (RLIMIT_AS): each sandbox reserves 4 GiB of it. RLIMIT_DATA leaves
reservations out and counts what is private and may be written, touched or not.
"""

from __future__ import annotations

import resource

from wasmrun.units import format_size

_MIB = 1024 * 1024
_BASE = 96 * _MIB
"""An interpreter with an engine, its timer's and its runtime's threads: 35 to 60 MiB, most of it untouched stacks."""
_PER_SANDBOX = 200 * 1024
"""The engine reserves the largest table for each in memory that may be written: 160 KB."""


def data_bytes(memory: int, sandboxes: int) -> int:
    """What a worker needs of `Walls.data` for as many *sandboxes* as it has places for, of *memory* bytes each.

    The engine takes no place's memory back, it only clears it: a place counts with the largest memory that a guest
    had there, while another guest, or none, is in it. So this bounds what a worker may ever hold, and is no
    measure of what it holds resident.
    """
    return _BASE + sandboxes * (memory + _PER_SANDBOX)


def put_up(*, descriptors: int, file_size: int, data: int | None) -> str:
    """Bound descriptors, file sizes and, unless None, writable memory; core dumps to nothing."""
    _bound(resource.RLIMIT_CORE, 0)
    number = _bound(resource.RLIMIT_NOFILE, descriptors)
    size = format_size(_bound(resource.RLIMIT_FSIZE, file_size))
    memory = "unbounded" if data is None else format_size(_bound(resource.RLIMIT_DATA, data))
    return f"{number} descriptors, files of {size}, memory {memory}, no core dumps"


def _bound(what: int, wanted: int) -> int:
    """Lower a limit to *wanted*, or to what it is at most already; which of the two."""
    _, hard = resource.getrlimit(what)
    bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    # Both: a soft limit alone could be raised again.
    resource.setrlimit(what, (bound, bound))
    return bound
