"""The host of a proxy component: what its imports see of the sandbox that calls them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from wasmrun.machine import messages, wasi
from wasmrun.machine.hostcalls import NoFuel
from wasmrun.machine.proxy.carriers import Some, Wrong
from wasmrun.machine.proxy.resources import (
    MOST_HEADER_BYTES,
    Arrived,
    Body,
    Budget,
    FutureResponse,
    IncomingResponse,
    OutgoingRequest,
    OutgoingResponse,
    Table,
)
from wasmrun.payload import gathered

if TYPE_CHECKING:
    from wasmrun.machine.hostcalls import Exchange
    from wasmrun.machine.instance import Instance


class Host:
    """What the imports of *instance* work on; *exchange* answers its HTTP requests, where it may make any."""

    __slots__ = (
        "_bodies",
        "_body_limit",
        "budget",
        "context",
        "env",
        "exchange",
        "instance",
        "response",
        "start_ns",
        "table",
    )

    def __init__(self, instance: Instance, exchange: Exchange | None) -> None:
        function = instance.program.function
        self.instance = instance
        self.context = instance.context
        self.exchange = exchange
        self.table = Table()
        self.env = function.env
        self.budget = Budget(MOST_HEADER_BYTES, "headers and lines of requests")
        self._body_limit = function.result_bytes
        # As much as one event may bring, answer, send and receive.
        most = function.event_bytes + function.result_bytes + (2 * function.http_bytes if exchange else 0)
        self._bodies = Budget(most, "bodies")
        self.begin()

    def begin(self) -> None:
        """An event is on its way; what the guest kept from another one is still its own, and counts."""
        self.start_ns = time.monotonic_ns()
        self.response: OutgoingResponse | Wrong | None = None

    def forget(self) -> None:
        """Let go of all that the guest has: it does not run again."""
        self.table = Table()
        self.response = None

    def arrived(self, data: bytes) -> list[Arrived]:
        """A body that came, for the guest to consume once."""
        return [Arrived(self._bodies, data)]

    def new_body(self) -> Body:
        """A body for the guest to write."""
        return Body(self._body_limit, self._bodies)

    def pay(self, size: int) -> None:
        """Charge for *size* bytes."""
        if not self.instance.charge(size):
            raise NoFuel

    def number_of(self, resource: Any) -> int:
        """A new handle's number."""
        return self.table.put(resource)

    def resource(self, number: int, *, is_given: bool) -> Any:
        """The resource of that number, or None."""
        return self.table.get(number, is_given=is_given)

    def log(self, data: bytes) -> None:
        """Take what was written to an output stream."""
        self.instance.log().write(data)

    def sleep_until(self, due_ns: int) -> None:
        """Wait; where the guest's end comes first, the guard ends it."""
        wasi.sleep(self.instance, due_ns)

    def respond(self, response: OutgoingResponse | Wrong) -> None:
        """Take the one response."""
        self.response = response

    def fetch(self, future: FutureResponse) -> None:
        """Have the request done, once; what became of it is in *future*."""
        request, future.request = future.request, None
        if request is None:
            return
        if self.exchange is None:
            future.outcome = _refused("HTTP-request-denied")
            return
        if request.body.is_taken and not request.body.is_finished:
            future.outcome = _refused("internal-error", "the body of the request was not finished")
            return
        status, reply = messages.decode(
            self.exchange(self.instance, messages.encode(_asked(request, future.timeout_ns)))
        )
        if status:
            future.outcome = _refused(*_CODES.get(reply["type"], ("internal-error", reply["message"])))
            return
        self.pay(len(reply["body"]))
        fields = [
            (name, part.encode())
            for name, value in reply["headers"].items()
            for part in (value.split("\n") if name == "set-cookie" else (value,))
        ]
        future.outcome = IncomingResponse(reply["status"], fields, self.arrived(reply["body"]))


_CODES = {
    "HttpNotGranted": ("HTTP-request-denied",),
    "HttpConnect": ("connection-refused",),
    "HttpTls": ("TLS-certificate-error",),
    "HttpTimeout": ("HTTP-response-timeout",),
    "HttpProtocol": ("HTTP-protocol-error",),
    "HttpInvalid": ("HTTP-request-URI-invalid",),
}


def _refused(code: str, detail: str | None = None) -> Some:
    return Some(Some(Wrong((code, detail))))


def _asked(request: OutgoingRequest, timeout_ns: int | None) -> dict[str, Any]:
    """What the host's own HTTP takes: see guest_sdk/abi.md."""
    method, other = request.method
    scheme = (request.scheme or ("HTTPS", None))[0].lower()
    values = gathered((name, value.decode("utf-8", "replace")) for name, value in request.headers.entries)
    headers = {name: ", ".join(parts) for name, parts in values.items() if name not in ("content-length", "host")}
    asked: dict[str, Any] = {
        "method": other or method.upper(),
        "url": f"{scheme}://{request.authority or ''}{request.target or '/'}",
        "headers": headers,
    }
    if request.body.data:
        asked["body"] = bytes(request.body.data)
    if timeout_ns is not None:
        asked["timeout_ms"] = max(timeout_ns // 1_000_000, 1)
    return asked
