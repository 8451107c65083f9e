"""Watches: how a guest that runs is told to stop, by `Future.cancel` or by Ctrl-C."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from wasmrun.hints import Any, Protocol


class Stoppable(Protocol):
    """What a watch holds: a sandbox, or an event that is with a worker process."""

    stop: str | None
    is_hosting: bool


class Watch:
    """One thread's hold on the sandbox that it runs, so that others can end the guest in it.

    ``is_busy`` from the moment that the invocation takes anything from the pool until it has given
    it back; ``current`` while there is a sandbox. Its own thread calls `see` and `lose`, any other one
    `stop`. No lock: a signal handler, which interrupts its own thread, may not wait for one.
    """

    __slots__ = ("current", "is_busy", "reason")

    def __init__(self) -> None:
        self.current: Stoppable | None = None
        self.is_busy = False
        self.reason: str | None = None

    def stop(self, reason: str) -> None:
        """End the guest at its next look, within two ticks; or the next guest, where none runs yet."""
        # In this order, and `see` in the opposite one: whichever comes second sees the other.
        self.reason = reason
        sandbox = self.current
        if sandbox is not None:
            sandbox.stop = reason

    def see(self, sandbox: Stoppable) -> None:
        """From now on, *sandbox* is what runs."""
        self.current = sandbox
        if self.reason is not None:
            sandbox.stop = self.reason

    def lose(self) -> bool:
        """From now on, nothing runs. False where the sandbox must not serve again: it may yet be told to stop."""
        self.current = None
        # In this order, and `stop` in the opposite one. With no reason to be seen here, whoever comes
        # with one finds no sandbox; with one, it may be about to mark the sandbox that it found, which
        # would end the guest of the next event.
        return self.reason is None


class InterruptGuard:
    """The handler for SIGINT while guests may run on the main thread.

    Python runs signal handlers between bytecodes. While a guest runs there are none, and the first
    that comes is the entry of one of our callbacks: a KeyboardInterrupt raised there is printed by
    ctypes and lost. One raised while the pool counts would leave its counts wrong. So during an
    invocation this handler only marks it; a guest ends at that same look, a wait for a sandbox at its
    next turn, and the KeyboardInterrupt is raised where the invocation returns. At all other times, and
    in functions of the program that a guest or the executor calls meanwhile, it does what Python's own
    handler does.

    As `asyncio.Runner` does, it takes the place of Python's own handler only, never of a program's.
    """

    def __init__(self) -> None:
        self.watch = Watch()
        self.users = 0

    def __call__(self, number: int, frame: FrameType | None) -> Any:
        """Mark what runs on the main thread; where nothing does, raise as Python's own handler."""
        watch = self.watch
        if not watch.is_busy or (watch.current is not None and watch.current.is_hosting):
            return signal.default_int_handler(number, frame)
        watch.stop("interrupted")
        return None

    def leave(self) -> None:
        """One executor less uses it; the last one restores Python's own handler, where it still can."""
        self.users -= 1
        if (
            self.users == 0
            and threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is self
        ):
            signal.signal(signal.SIGINT, signal.default_int_handler)


def guard_interrupts() -> InterruptGuard | None:
    """The process's guard, put in place if need be; None where the program handles SIGINT itself.

    Call it on the main thread. The guard lives in the signal table, and nowhere else.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        handler = InterruptGuard()
        signal.signal(signal.SIGINT, handler)
    if not isinstance(handler, InterruptGuard):
        return None
    handler.users += 1
    return handler
