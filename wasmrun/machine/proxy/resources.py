"""Resources: what a proxy component has handles of, as objects of one event. Nothing here knows the engine.

A guest makes them as it likes, and keeps them as long as it likes: how many there are and what they hold is bounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from wasmrun.errors import GuestTrap, ResultTooLarge
from wasmrun.units import format_size

MOST_RESOURCES = 1_000
"""Handles that a guest may have at a time."""

MOST_HEADER_BYTES = 1024 * 1024
"""What all headers may have, and all lines of requests, that a guest has made and holds."""

_PER_FIELD = 32
"""What a field counts beside its text, so that empty ones are not free."""

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,1000}")
_BAD_IN_VALUE = re.compile(rb"[\0-\x08\n-\x1f\x7f]")
_FORBIDDEN = {"connection", "host", "http2-settings", "keep-alive", "proxy-authenticate", "proxy-authorization",
              "proxy-connection", "transfer-encoding", "upgrade"}  # fmt: skip
"""Fields that are for whoever sends the message to say."""


class Budget:
    """Bytes that the host holds for one guest. *what* they are is told where they are more than *limit*."""

    def __init__(self, limit: int, what: str) -> None:
        self._limit = self.left = limit
        self._what = what

    def take(self, size: int) -> None:
        """Count *size*. Raises `GuestTrap` past the limit."""
        if size > self.left:
            raise GuestTrap(
                f"the component holds {self._what} of more than {format_size(self._limit)}", kind="host call"
            )
        self.left -= size


class Held:
    """What one thing of a guest's has of a budget. It is given back when nobody has the thing any more."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: Budget, size: int = 0) -> None:
        self._budget = budget
        self._size = 0
        self.add(size)

    def add(self, size: int) -> None:
        """Count *size*. Raises `GuestTrap` past the limit."""
        self._budget.take(size)
        self._size += size

    def __del__(self) -> None:
        self._budget.left += self._size


class Arrived:
    """The bytes of a body that came, as long as the guest has them in any form."""

    __slots__ = ("_held", "data")

    def __init__(self, budget: Budget, data: bytes) -> None:
        self._held = Held(budget, len(data))
        self.data = data


class HeaderError(Exception):
    """A field that cannot be: `invalid-syntax`, `forbidden` or `immutable`."""


class IoError:
    """What a stream failed with. None of ours ever does."""

    TYPE: ClassVar[int] = 1


class Pollable:
    """Something to wait for: ready at *due_ns* of the monotonic clock, or at once."""

    TYPE: ClassVar[int] = 2

    def __init__(self, due_ns: int = 0) -> None:
        self.due_ns = due_ns


class InputStream:
    """Bytes that are all there."""

    TYPE: ClassVar[int] = 3

    def __init__(self, body: Arrived | None = None) -> None:
        self._body = body
        self._rest = memoryview(b"" if body is None else body.data)

    def read(self, most: int) -> bytes | None:
        """At most *most* bytes; None at the end."""
        if not self._rest:
            return None
        chunk, self._rest = bytes(self._rest[:most]), self._rest[most:]
        return chunk


class OutputStream:
    """Where bytes go: *sink* takes them."""

    TYPE: ClassVar[int] = 4

    def __init__(self, sink: Any) -> None:
        self.sink = sink


class Fields:
    """Headers or trailers, in the order in which they were put in."""

    TYPE: ClassVar[int] = 5

    def __init__(self, budget: Budget) -> None:
        self.entries: list[tuple[str, bytes]] = []
        self._budget = budget
        self._held = Held(budget)
        self.is_fixed = False

    @classmethod
    def of(cls, budget: Budget, entries: list[tuple[str, bytes]]) -> Fields:
        """Those that a guest made of *entries*. Raises `HeaderError`."""
        made = cls(budget)
        for name, value in entries:
            made.append(name, value)
        return made

    @classmethod
    def arrived(cls, budget: Budget, entries: list[tuple[str, bytes]]) -> Fields:
        """Those of a message that came: they are fixed, and nobody has put them together here."""
        made = cls(budget)
        made.entries = entries
        made.is_fixed = True
        return made

    def view(self) -> Fields:
        """The same ones, fixed."""
        made = Fields(self._budget)
        made.entries, made._held = self.entries, self._held
        made.is_fixed = True
        return made

    def append(self, name: str, value: bytes) -> None:
        """Put a field at the end. Raises `HeaderError`."""
        self._check(name, value)
        self._held.add(len(name) + len(value) + _PER_FIELD)
        self.entries.append((name, value))

    def set(self, name: str, values: list[bytes]) -> None:
        """Put *values* in the place of all fields of that name. Raises `HeaderError`."""
        for value in values:
            self._check(name, value)
        self.delete(name)
        for value in values:
            self.append(name, value)

    def delete(self, name: str) -> None:
        """Take all fields of that name away. Raises `HeaderError`."""
        self._check(name)
        self.entries = [entry for entry in self.entries if entry[0].lower() != name.lower()]

    def get(self, name: str) -> list[bytes]:
        """The values of all fields of that name."""
        return [value for key, value in self.entries if key.lower() == name.lower()]

    def clone(self) -> Fields:
        """A copy that may be changed."""
        copy = Fields(self._budget)
        for name, value in self.entries:
            copy._held.add(len(name) + len(value) + _PER_FIELD)
        copy.entries = list(self.entries)
        return copy

    def _check(self, name: str, value: bytes = b"") -> None:
        if self.is_fixed:
            raise HeaderError("immutable")
        if not _TOKEN.fullmatch(name) or _BAD_IN_VALUE.search(value):
            raise HeaderError("invalid-syntax")
        if name.lower() in _FORBIDDEN:
            raise HeaderError("forbidden")


class Body:
    """Bytes that the guest writes, to *limit*; ``is_finished`` once it said so. All bodies together have a *budget*."""

    def __init__(self, limit: int, budget: Budget) -> None:
        self.data = bytearray()
        self._held = Held(budget)
        self.is_taken = self.is_finished = False
        self._limit = limit

    def write(self, chunk: bytes) -> None:
        """Add *chunk*. Raises `ResultTooLarge`, and `GuestTrap` for what comes after the end."""
        if self.is_finished:
            raise GuestTrap("the component wrote to a body that it had finished", kind="host call")
        if len(self.data) + len(chunk) > self._limit:
            raise ResultTooLarge(
                f"the component wrote a body of more than {format_size(self._limit)}; write less, or raise `result_bytes`"
            )
        self._held.add(len(chunk))
        self.data += chunk


@dataclass
class IncomingRequest:
    """The request that is the event. *body* has what is left to be consumed: nothing, once it was."""

    TYPE: ClassVar[int] = 6

    method: str
    target: str
    scheme: str
    authority: str
    headers: list[tuple[str, bytes]]
    body: list[Arrived]


class IncomingBody:
    """The body of a request or a response that came."""

    TYPE: ClassVar[int] = 7

    def __init__(self, body: Arrived) -> None:
        self.body: Arrived | None = body


class FutureTrailers:
    """Trailers that there are none of."""

    TYPE: ClassVar[int] = 8

    def __init__(self) -> None:
        self.is_told = False


class OutgoingResponse:
    """A response that the guest makes."""

    TYPE: ClassVar[int] = 9

    def __init__(self, headers: Fields, body: Body) -> None:
        headers.is_fixed = True
        self.status = 200
        self.headers = headers
        self.body = body


class OutgoingBody:
    """The handle by which a body is written."""

    TYPE: ClassVar[int] = 10

    def __init__(self, body: Body) -> None:
        self.body = body
        self.is_open = False


class ResponseOutparam:
    """The place for the one response."""

    TYPE: ClassVar[int] = 11


class OutgoingRequest:
    """A request that the guest makes."""

    TYPE: ClassVar[int] = 12

    def __init__(self, headers: Fields, body: Body, budget: Budget) -> None:
        headers.is_fixed = True
        self.held = Held(budget)
        self.method = ("get", None)
        self.target: str | None = None
        self.scheme: tuple[str, Any] | None = None
        self.authority: str | None = None
        self.headers = headers
        self.body = body


class RequestOptions:
    """Times, in nanoseconds, that a request may take."""

    TYPE: ClassVar[int] = 13

    def __init__(self) -> None:
        self.timeouts: dict[str, int | None] = {}


class FutureResponse:
    """A response that comes. It is fetched when it is first waited for: by then the request's body is written."""

    TYPE: ClassVar[int] = 14

    def __init__(self, request: OutgoingRequest, timeout_ns: int | None) -> None:
        self.request: OutgoingRequest | None = request
        self.timeout_ns = timeout_ns
        self.outcome: Any = None
        self.is_told = False


@dataclass
class IncomingResponse:
    """A response that came."""

    TYPE: ClassVar[int] = 15

    status: int
    headers: list[tuple[str, bytes]]
    body: list[Arrived]


class Absent:
    """A terminal, a directory, a network: what a proxy component can name and never gets."""

    TYPE: ClassVar[int] = 16


class Table:
    """The handles of one sandbox."""

    def __init__(self) -> None:
        self._resources: dict[int, Any] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._resources)

    def put(self, resource: Any) -> int:
        """A number for *resource*. Raises `GuestTrap` where there are too many."""
        if len(self._resources) >= MOST_RESOURCES or self._last >= 2**32 - 1:
            raise GuestTrap(f"the component holds more than {MOST_RESOURCES} handles", kind="host call")
        self._last += 1
        self._resources[self._last] = resource
        return self._last

    def get(self, number: int, *, is_given: bool) -> Any:
        """The resource of that number, or None; no more there if it *is_given*."""
        return self._resources.pop(number, None) if is_given else self._resources.get(number)

    def drop(self, number: int) -> None:
        """The guest is done with it."""
        self._resources.pop(number, None)
