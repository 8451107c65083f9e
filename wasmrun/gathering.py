"""Gatherings: the events of one `map`, shared out to the threads that run them, and their outcomes in order.

A future for each event would cost several times what a small event does. So a few threads pull events from one
store until it is empty, and leave the outcomes there. Whoever iterates over them is not woken for each one.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from wasmrun.watch import Watch

_PENDING: Any = object()

_QUIET_SECONDS = 0.0005
"""How long who waits is left asleep after it was woken: waking a thread costs as much as a few small events."""

_FIRST_WAIT = 0.001
_LONGEST_WAIT = 0.02


class Gathering:
    """The *events* of one `map`. Any number of threads `take` and `put`, one iterates over `outcomes`."""

    def __init__(self, events: list[Any]) -> None:
        self._events = events
        self._outcomes: list[Any] = [_PENDING] * len(events)
        self._errors: dict[int, BaseException] = {}
        # Ranges of the events that nobody has taken; several only where some were given back.
        self._left: deque[tuple[int, int]] = deque([(0, len(events))] if events else [])
        self._changed = threading.Condition(threading.Lock())
        # How many threads have several events, of which they may give some back.
        self._held = 0
        self._watches: list[Watch] = []
        self._is_awaited = False
        self._woken = 0.0
        self._is_stopped = False

    def __len__(self) -> int:
        return len(self._events)

    # For the threads that run events

    def join(self, watch: Watch) -> bool:
        """Count the calling thread, whose guests *watch* can end; False where there is nothing to do any more."""
        with self._changed:
            if self._is_stopped or not (self._left or self._held):
                return False
            self._watches.append(watch)
            return True

    def leave(self, watch: Watch, *, unless_last: bool = False) -> bool:
        """The calling thread takes no more events. With *unless_last* it stays where no other one is there."""
        with self._changed:
            if unless_last and len(self._watches) == 1:
                return False
            self._watches.remove(watch)
            self._changed.notify_all()
            return True

    def take(self, most: int) -> tuple[int, list[Any]]:
        """Up to *most* events that follow one another, and the number of the first; none when there are no more.

        After several, `give_back` must follow; who comes meanwhile and finds none waits for that.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._left or not self._held or self._is_stopped)
            if self._is_stopped or not self._left:
                return 0, []
            begin, end = self._left.popleft()
            cut = min(begin + most, end)
            if cut < end:
                self._left.appendleft((cut, end))
            self._held += cut - begin > 1
        events = self._events[begin:cut]
        self._events[begin:cut] = [None] * (cut - begin)  # what was large is not kept longer than it is needed
        return begin, events

    def give_back(self, begin: int, events: list[Any]) -> None:
        """Have those of several *events* that were not run, from *begin* on, run by whoever is next; none is fine, too."""
        self._events[begin : begin + len(events)] = events
        with self._changed:
            self._held -= 1
            if events and not self._is_stopped:
                self._left.appendleft((begin, begin + len(events)))
            if events or not self._held:
                self._changed.notify_all()

    def put(self, begin: int, values: list[Any]) -> None:
        """The values of the events from *begin* on."""
        self._outcomes[begin : begin + len(values)] = values
        self._tell()

    def fail(self, at: int, error: BaseException) -> None:
        """The error of one event."""
        self._errors[at] = error
        self._outcomes[at] = None
        self._tell()

    def _tell(self) -> None:
        # Without the lock: who waits looks again by itself soon, where this comes at the wrong time.
        if self._is_awaited and time.monotonic() - self._woken >= _QUIET_SECONDS:
            with self._changed:
                self._woken = time.monotonic()
                self._changed.notify_all()

    # For whoever asked for them

    def outcomes(self, until: float | None) -> Iterator[Any]:
        """The values in their order; an error is raised in its turn, and `TimeoutError` at *until* (monotonic).

        When that ends, for whatever reason, guests that run are stopped and the other events are dropped.
        """
        try:
            for at in range(len(self._outcomes)):
                if self._outcomes[at] is _PENDING:
                    self._wait(at, until)
                value, self._outcomes[at] = self._outcomes[at], None
                error = self._errors.pop(at, None)
                if error is not None:
                    try:
                        raise error
                    finally:
                        del error, value
                yield value
        finally:
            self.stop()

    def _wait(self, at: int, until: float | None) -> None:
        seconds = _FIRST_WAIT
        with self._changed:
            self._is_awaited = True
            try:
                while self._outcomes[at] is _PENDING:
                    if self._is_stopped and not self._watches:
                        raise concurrent.futures.CancelledError
                    left = seconds if until is None else min(seconds, until - time.monotonic())
                    if left <= 0:
                        raise TimeoutError
                    self._changed.wait(left)
                    seconds = min(seconds * 2, _LONGEST_WAIT)
            finally:
                self._is_awaited = False

    def refuse(self) -> None:
        """Let nobody take any more: what has not begun is cancelled."""
        with self._changed:
            self._is_stopped = True
            self._left.clear()
            self._changed.notify_all()

    def stop(self) -> None:
        """The same, and end the guests that run."""
        self.refuse()
        with self._changed:
            watches = list(self._watches)
        for watch in watches:
            watch.stop("cancelled")
