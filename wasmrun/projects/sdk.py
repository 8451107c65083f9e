"""The SDKs' files: in the installed package, or beside it in a checkout."""

from __future__ import annotations

import os

from wasmrun.errors import HostError

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def sdk_file(path: str) -> str:
    """Where *path* of ``guest_sdk/`` is. Raises `HostError`."""
    for root in (_PACKAGE, os.path.dirname(_PACKAGE)):
        found = os.path.join(root, "guest_sdk", path)
        if os.path.exists(found):
            return found
    raise HostError(f"this installation of wasmrun lacks guest_sdk/{path}; install it again")
