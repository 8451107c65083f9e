"""Hosting: threads on which host functions run for guests that are in worker processes.

Threads of their own, because the caller's thread must be able to leave a host function that hangs; daemons,
because a program whose host function hangs must still be able to end.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from wasmrun.watch import Watch


class HostCall:
    """One call of a host function: its reply once ``done`` is set, or what it raised.

    ``watch`` is what ends the functions that it runs itself.
    """

    def __init__(self, work: Callable[..., bytes], args: tuple[Any, ...]) -> None:
        self._work = work
        self._args = args
        self.watch = Watch()
        self.done = threading.Event()
        self.reply = b""
        self.error: BaseException | None = None

    def run(self) -> None:
        """Do it."""
        try:
            self.reply = self._work(*self._args)
        except BaseException as error:
            self.error = error
        finally:
            self.done.set()


class HostThreads:
    """As many threads as there are calls at once; each waits for the next call when it has done one."""

    def __init__(self, enter: Callable[[Watch], Any]) -> None:
        self._enter = enter
        self._calls: queue.SimpleQueue[HostCall | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._count = 0

    def start(self, work: Callable[..., bytes], *args: Any) -> HostCall:
        """Begin a call. Raises `RuntimeError` where no thread can be had."""
        call = HostCall(work, args)
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            else:
                threading.Thread(target=self._work, name="wasmrun-host", daemon=True).start()
                self._count += 1
        self._calls.put(call)
        return call

    def close(self) -> None:
        """Let the threads end, each when it has no call."""
        with self._lock:
            count = self._count
        for _ in range(count):
            self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            self._enter(call.watch)
            call.run()
            with self._lock:
                self._idle += 1
            del call  # what it holds goes before the next one comes
