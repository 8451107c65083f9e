"""HTTP calls: ``wasmrun.http_request`` of a guest, led through its program's door."""

from __future__ import annotations

import msgpack

from wasmrun.errors import HostError, printable
from wasmrun.machine import messages
from wasmrun.machine.hostcalls import Exchange, refusal
from wasmrun.machine.instance import Instance
from wasmrun.machine.ledger import Door, HttpError, Outgoing


def through(door: Door) -> Exchange:
    """Requests are answered by *door*, while the guest has an event; what fails is an error value for the guest."""

    def exchange(instance: Instance, request: bytes) -> bytes:
        try:
            value = messages.decode(request)
        except ValueError as error:
            return refusal(f"not MessagePack that can be read: {error}")
        try:
            ledger = instance.ledger
            if ledger is None or not ledger.is_open:
                raise HttpError("HttpNotGranted", "a request is for an event: there is none now")
            # Whoever ends guests, Ctrl-C included, sets what the wait for a response looks at.
            outgoing = Outgoing(instance.deadline_ns, lambda: instance.stop is not None, ledger)
            answer: bytes = msgpack.packb([0, door(value, outgoing)])
            # The guest went on from an earlier failure, as after any other host call.
            instance.host_failure = None
        except HttpError as error:
            if error.kind != "HttpInvalid":  # the guest's own mistake
                # Without a cause: its frames hold secrets, and some programs log the variables of frames.
                what = f"an HTTP request of the function failed: {error.kind}: {printable(error.reason)}"
                instance.host_failure = HostError(what)
            return msgpack.packb([1, {"type": error.kind, "message": error.message}])  # type: ignore[no-any-return]
        except Exception as error:
            raise HostError(f"an HTTP request could not be done: {type(error).__name__} in the host") from error
        return answer

    return exchange
