"""Landlock: of the file system, only what was named; no TCP, no signals and no abstract sockets to others.

The three calls are made directly: this file is shorter than what it would take from a package to say the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import sys
from collections.abc import Iterable

from wasmrun.errors import HostError
from wasmrun.hardening.kernel import call
from wasmrun.hardening.maps import executed_files
from wasmrun.hardening.wall import Missing

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1

_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(1, 6))
_MAKE_DIR, _MAKE_REG, _MAKE_SYM, _REFER, _TRUNCATE = 1 << 7, 1 << 8, 1 << 12, 1 << 13, 1 << 14

_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""How many rights to files there are, counted from the lowest bit, from a version of the interface on."""
_NET_SINCE, _NET = 4, 0b11
"""Binding and connecting TCP sockets."""
_SCOPE_SINCE, _SCOPE = 6, 0b11
"""Connecting abstract Unix sockets, and sending signals, out of the worker."""

_READ = _READ_FILE | _READ_DIR
"""Executing is not among them: libraries are loaded by reading, and programs are nobody's business here."""
_WRITE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM | _REFER | _TRUNCATE
"""Devices, sockets and pipes are not among what may be made."""
_OF_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE

_OF_THE_MACHINE = ("/proc/meminfo", "/proc/cpuinfo")
"""How much memory is left, for the pool, and what the processor can do, which compiled code depends on."""

_REMEDY = "boot Linux 5.13 or newer with landlock among its security modules (lsm=landlock,…)"


def put_up(readable: Iterable[str], writable: Iterable[str]) -> str:
    """Refuse every file outside the given ones, the interpreter's and this process's own in /proc.

    Raises `HostError` for a given path that cannot be opened.
    """
    version = _version()
    handled = (1 << max(count for since, count in _FS_RIGHTS.items() if since <= version)) - 1
    net = _NET if version >= _NET_SINCE else 0
    scope = _SCOPE if version >= _SCOPE_SINCE else 0
    # An older kernel takes the longer record as long as what it does not know is 0.
    wanted = (ctypes.c_uint64 * 3)(handled, net, scope)
    ruleset = call("syscall", _CREATE_RULESET, ctypes.addressof(wanted), ctypes.sizeof(wanted), 0)
    try:
        for path in interpreter_paths():
            with contextlib.suppress(FileNotFoundError):
                os.close(_allow(ruleset, path, _READ & handled))
        for paths, rights in ((readable, _READ), (writable, _WRITE)):
            for path in paths:
                try:
                    os.close(_allow(ruleset, path, rights & handled))
                except OSError as error:
                    raise HostError(f"{path}, which the worker is to see, cannot be opened: {error.strerror}") from None
        for path in (*_OF_THE_MACHINE, f"/proc/{os.getpid()}"):
            with contextlib.suppress(FileNotFoundError):
                # Left open, on purpose: a rule holds on to the file's inode, and /proc makes a new one for the same
                # name when the kernel has needed the memory of the old one.
                _allow(ruleset, path, _READ & handled)
        call("syscall", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    more = ", TCP" if net else ""
    more += ", signals, abstract sockets" if scope else ""
    return f"version {version}: files{more}"


def _version() -> int:
    """The version of the kernel's interface, at least 1. Raises `Missing`."""
    try:
        return call("syscall", _CREATE_RULESET, None, 0, _VERSION)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise Missing("this kernel has Landlock, but it was not switched on at boot", _REMEDY) from None
        raise Missing(
            f"this kernel has no Landlock, or a filter around us hides it: {error.strerror}", _REMEDY
        ) from None


def _allow(ruleset: int, path: str, rights: int) -> int:
    """Add *path* to the rules; its descriptor, which the caller closes."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        rule = rights.to_bytes(8, sys.byteorder) + descriptor.to_bytes(4, sys.byteorder)
        record = ctypes.create_string_buffer(rule, len(rule))
        call("syscall", _ADD_RULE, ruleset, _PATH_BENEATH, ctypes.addressof(record), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def interpreter_paths() -> list[str]:
    """Where the interpreter may still look for modules, and the directories of the libraries that it has loaded."""
    found = {os.path.realpath(path) for path in sys.path if path}
    found |= {os.path.dirname(path) for path in executed_files() if ".so" in os.path.basename(path)}
    return sorted(found - {"/"})
