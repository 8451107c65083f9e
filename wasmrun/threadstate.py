"""The state of a thread: whether there is room on its stack for a guest, and by what its guests can be ended."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from wasmrun.errors import HostError
from wasmrun.hints import NoReturn
from wasmrun.limits import KIB
from wasmrun.machine.threads import stack_bytes
from wasmrun.units import format_size
from wasmrun.watch import Watch

_HOST_STACK = 256 * KIB
"""Stack that a thread needs beside its guest's, for the host's own work."""

_NESTING_STACK = 128 * KIB
"""Stack that a host function may use before it runs another function on the same thread."""


class ThreadState(threading.local):
    """What is known of one thread.

    The size of its stack, and the room that is left for guests; how many functions of the program it
    is in that invocations called; and the watch by which others end what it runs: on a worker that of
    the future, on the main thread that of Ctrl-C.
    """

    size = 0
    room = 0
    depth = 0
    is_main = False
    watch: Watch | None = None

    def meet(self) -> None:
        """Learn what has to be known of the calling thread before a guest runs on it."""
        is_main = threading.current_thread() is threading.main_thread()
        size = stack_bytes()
        # All at once: a Ctrl-C that came between would leave a thread that counts as known, and is not.
        self.is_main, self.room, self.size = is_main, size - _HOST_STACK, size

    @contextlib.contextmanager
    def nesting(self, guest_stack: int) -> Iterator[None]:
        """While in here, host functions may run further guests on what is left of this thread's stack."""
        needed = guest_stack + _NESTING_STACK
        self.room -= needed
        self.depth += 1
        try:
            yield
        finally:
            self.room += needed
            self.depth -= 1

    def refuse(self, guest_stack: int) -> NoReturn:
        """Raise the `HostError` of a thread that has no room for a guest with *guest_stack* bytes of stack."""
        if self.depth:
            raise HostError(
                "functions are nested too deep on this thread: a host function may run another function, but every one "
                "of them needs room on the same stack; run it on the executor's threads (submit)"
            )
        raise HostError(
            f"this thread's stack has {format_size(self.size)}; a function with a stack of {format_size(guest_stack)} "
            f"needs {format_size(guest_stack + _HOST_STACK)}: run it on the executor's threads (submit), or give the "
            "thread more with threading.stack_size"
        )
