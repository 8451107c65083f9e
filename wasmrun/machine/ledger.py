"""Ledger: the HTTP requests that the host did for one event, and what they carried.

Here is also what lies between a guest's call and the client that serves it, which belongs to a layer above:
in this process, or in the parent of a worker process that has no network.
"""

from __future__ import annotations

from collections.abc import Callable

from wasmrun.hints import Any, NamedTuple
from wasmrun.invocation import HttpCall


class Ledger:
    """The calls so far, in order. Open while the guest has the event: not while it starts up, nor afterwards."""

    __slots__ = ("calls", "is_open", "received", "sent")

    def __init__(self) -> None:
        self.calls: list[HttpCall] = []
        self.sent = self.received = 0
        self.is_open = True

    def add(self, call: HttpCall) -> None:
        """Write *call* down."""
        self.calls.append(call)
        self.sent += call.sent
        self.received += call.received


class HttpError(Exception):
    """A request that failed: its type and message for the guest, and a reason for the host's eyes only."""

    def __init__(self, kind: str, message: str, reason: str = "") -> None:
        super().__init__(kind, message, reason)
        self.kind = kind
        self.message = message
        self.reason = reason or message


class Outgoing(NamedTuple):
    """What a request of an event must obey: when to end (on the monotonic clock), whom to ask, what was spent."""

    deadline_ns: int
    is_stopped: Callable[[], bool]
    ledger: Ledger


Door = Callable[[Any, Outgoing], Any]
"""Does the request that a guest's value asks for, and gives the response's value. Raises `HttpError`."""
