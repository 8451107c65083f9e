"""Serving: what answers the calls that guests make to the host, in the process of the embedding program."""

from __future__ import annotations

from wasmrun.errors import HostError
from wasmrun.function import Function
from wasmrun.hints import TYPE_CHECKING
from wasmrun.machine import hostcalls
from wasmrun.machine.hostcalls import Exchange

if TYPE_CHECKING:
    from wasmrun.outbound import Outbound


class Server:
    """Makes the exchanges of functions: host functions of the program, and the client for their HTTP requests."""

    def __init__(self) -> None:
        self._outbound: Outbound | None = None

    def exchanges(self, function: Function) -> dict[str, Exchange]:
        """What answers *function*'s calls, by name. Raises `HostError` where the HTTP client is not installed."""
        found = {name: hostcalls.local(name, call) for name, call in function.imports}
        if function.http:
            from wasmrun.machine import httpcalls  # for the few functions that have the grant

            found["http_request"] = httpcalls.through(self._client().door(function))
        return found

    def _client(self) -> Outbound:
        if self._outbound is None:
            try:
                from wasmrun.outbound import Outbound  # an extra, and 70 ms
            except ModuleNotFoundError as error:
                raise HostError(
                    f"the `http` grant needs the package {error.name!r}; install it with: pip install 'wasmrun[http]'"
                ) from None
            self._outbound = Outbound()
        return self._outbound
