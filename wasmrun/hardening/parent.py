"""Dying with the parent: no worker is left over when the process that watches it is killed."""

from __future__ import annotations

import os
import signal

from wasmrun.errors import HostError
from wasmrun.hardening.kernel import prctl

_PR_SET_PDEATHSIG = 1


def put_up(parent: int) -> str:
    """Have the kernel kill this process as soon as *parent* is gone.

    To the kernel the parent is the thread that started this process: one that ends takes its workers along.
    Raises `HostError` where it is gone already.
    """
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # In this order: one that died before the line above sends nothing any more.
    if os.getppid() != parent:
        raise HostError(f"process {parent}, which started this one, is gone")
    return "killed when the thread that started it ends"
