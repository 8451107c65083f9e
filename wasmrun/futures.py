"""Futures whose `cancel` also stops a guest that already runs."""

from __future__ import annotations

import concurrent.futures
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, RUNNING
from typing import Generic, TypeVar

from wasmrun.watch import Watch

T = TypeVar("T")


class Future(concurrent.futures.Future[T], Generic[T]):
    """The standard library's Future; `cancel` works on a running invocation, too."""

    def __init__(self) -> None:
        super().__init__()
        self.watch = Watch()

    def cancel(self) -> bool:
        """Cancel the invocation; a guest that runs is stopped within 50 ms. False only when it has ended."""
        while not self._cancel_running():
            if super().cancel():
                return True
            if self.done():
                return False
            # It began to run between the two: once more. It runs only once, so this ends.
        self.watch.stop("cancelled")
        self._invoke_callbacks()  # type: ignore[attr-defined]  # what cancel() of the base class ends with
        return True

    def _cancel_running(self) -> bool:
        with self._condition:
            if self._state != RUNNING:
                return False
            # From here on the result is not wanted, whatever the guest still answers.
            self._state = CANCELLED_AND_NOTIFIED
            for waiter in self._waiters:
                waiter.add_cancelled(self)
            self._condition.notify_all()
            return True

    def settle(self, value: T | None, error: BaseException | None) -> None:
        """Set the outcome, unless the future was cancelled meanwhile."""
        try:
            if error is not None:
                self.set_exception(error)
            else:
                self.set_result(value)  # type: ignore[arg-type]  # None is a T where there is no error
        except concurrent.futures.InvalidStateError:
            if self._state not in (CANCELLED, CANCELLED_AND_NOTIFIED):
                raise
