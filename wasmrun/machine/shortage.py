"""Shortage: what the machine has too little of, and no module is to blame for, as the error that users get."""

from __future__ import annotations

import errno
import os
import re

from wasmrun.errors import HostError

_DESCRIPTORS = (
    "each loaded module that differs from all others keeps a descriptor; unload functions, or raise the limit on open "
    "files (ulimit -n)"
)
_ADVICE = {
    errno.EMFILE: _DESCRIPTORS,
    errno.ENFILE: _DESCRIPTORS,
    errno.ENOMEM: "unload functions, or raise the limits on memory and on maps (ulimit -v, vm.max_map_count)",
}


def shortage(doing: str, number: int | None) -> HostError | None:
    """The error where the system's error *number*, which came up *doing* something, is a shortage; else None."""
    advice = _ADVICE.get(number or 0)
    return HostError(f"no room {doing}: {os.strerror(number or 0)}; {advice}") if advice else None


def shortage_in(doing: str, text: str) -> HostError | None:
    """The same for a *text* of the engine's: what it says of an artifact has no word of a guest's in it."""
    found = re.search(r"\(os error (\d+)\)", text)
    return shortage(doing, int(found[1])) if found else None
