"""A worker program that is honest, but for functions of certain names: at their events it gets stuck, or ends."""

from __future__ import annotations

import ctypes
import json
import signal
import sys
import threading
from typing import Any

sys.path[:0] = json.loads(sys.argv[1])["paths"]

from wasmrun.processes import child, worker  # noqa: E402  # the paths are known only now

LIBC = ctypes.PyDLL(None)
"""Which keeps the GIL while it is in C."""

MISHAPS = {
    "holder": lambda: LIBC.sleep(60),
    # In the middle of the guest, which loops.
    "stopped": lambda: threading.Timer(0.03, signal.raise_signal, [signal.SIGSTOP]).start(),
    "SIGKILL": lambda: signal.raise_signal(signal.SIGKILL),
    "SIGSEGV": lambda: ctypes.string_at(1),
    "SIGABRT": LIBC.abort,
    "SIGSYS": lambda: LIBC.ptrace(0, 0, 0, 0),
}
_serve = worker._Executor.serve


def _stumble(self: Any, watch: Any, function: Any, *rest: Any) -> Any:
    if function.name in MISHAPS:
        MISHAPS[function.name]()
    return _serve(self, watch, function, *rest)


worker._Executor.serve = _stumble
child.main()
