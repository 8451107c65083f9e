"""Privileges: none left, none to be had, and no other process may look inside."""

from __future__ import annotations

import ctypes

from wasmrun.hardening.kernel import call, prctl

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522


def drop_capabilities() -> str:
    """Give up every capability: a worker of root has root's files, and no more of root's powers."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    call("capset", ctypes.addressof(header), ctypes.addressof(nothing))
    return "none"


def refuse_new_privileges() -> str:
    """No program that is executed gives more rights than this process has. Landlock and seccomp ask for it."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    return "no new ones"


def hide_memory() -> str:
    """Processes of the same user can neither trace this one nor read its memory, and it leaves no core dump."""
    prctl(_PR_SET_DUMPABLE, 0)
    return "not to be dumped or traced"
