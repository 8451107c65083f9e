"""Pinned connections: to addresses that were checked, and never waited for in one piece.

Every wait is cut into slices, between which the event may turn out to be over. So one deadline bounds all of a
request, however slowly its bytes come, and a cancelled one ends at once.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpcore

from wasmrun.addresses import Address, Network, is_named, parse_address
from wasmrun.machine.ledger import HttpError

SLICE = 0.02
"""Seconds between two looks at whether a waiting request should go on."""

_MOST_LOOKUPS = 32
"""Name lookups at once: nothing ends one that hangs, so its thread stays until the system gives up."""

_MOST_ADDRESSES = 4
"""Addresses of one name that are tried."""

Resolver = Callable[[str], Iterable[str]]
"""The addresses of a name, as text. Raises `OSError`. It may take as long as it likes."""


def system_resolver(name: str) -> list[str]:
    """What the system knows of *name*."""
    return [str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]


class Patience:
    """How long a request may go on."""

    def __init__(self, deadline_ns: int, is_stopped: Callable[[], bool]) -> None:
        self.deadline_ns = deadline_ns
        self._is_stopped = is_stopped

    def check(self) -> None:
        """Raise `HttpError` where it may not."""
        if self._is_stopped():
            raise HttpError("HttpStopped", "the event is over")
        if time.monotonic_ns() >= self.deadline_ns:
            raise HttpError("HttpTimeout", "the request took too long")

    def wait(self, connection: socket.socket, events: int) -> None:
        """Until *connection* is ready for *events*."""
        poll = select.poll()
        poll.register(connection, events)
        while True:
            self.check()
            if poll.poll(SLICE * 1e3):
                return

    def share(self, among: int) -> Patience:
        """One of *among* equal parts of what is left."""
        now = time.monotonic_ns()
        return Patience(now + max(0, self.deadline_ns - now) // among, self._is_stopped)


class Meter:
    """Bytes that came, and how many may."""

    def __init__(self, most: int) -> None:
        self.received = 0
        self._most = most

    def count(self, size: int) -> None:
        """Take note of *size* bytes. Raises `HttpError` where they are too many."""
        self.received += size
        if self.received > self._most:
            raise HttpError("HttpTooLarge", "the response is larger than what is left of http_bytes")


class Lookups:
    """Looks names up, each on a thread that is left behind where it takes too long."""

    def __init__(self, resolve: Resolver) -> None:
        self._resolve = resolve
        self._places = threading.BoundedSemaphore(_MOST_LOOKUPS)

    def addresses(self, name: str, patience: Patience) -> list[Address]:
        """All addresses of *name*. Raises `HttpError`."""
        while not self._places.acquire(timeout=SLICE):
            patience.check()
        found: list[Address] = []
        reasons: list[str] = []
        done = threading.Event()

        def look() -> None:
            try:
                found.extend(dict.fromkeys(map(parse_address, self._resolve(name))))
            except (OSError, ValueError) as error:
                reasons.append(str(error))
            finally:
                self._places.release()
                done.set()

        try:
            threading.Thread(target=look, name="wasmrun-lookup", daemon=True).start()
        except RuntimeError as error:
            self._places.release()
            raise _unknown(name, str(error)) from None
        while not done.wait(SLICE):
            patience.check()
        if not found:
            raise _unknown(name, *reasons)
        return found


def _unknown(name: str, reason: str = "it has none") -> HttpError:
    return HttpError("HttpConnect", f"{name} has no address", f"the address of {name} cannot be found: {reason}")


class Pinned(httpcore.NetworkBackend):
    """Connects to addresses that were checked, whatever host it is asked for; verifies names with one TLS context.

    One of this machine's own, which may be public and lead past its firewall, has to be in *networks*.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        networks: Sequence[Network],
        patience: Patience,
        meter: Meter,
        trust: ssl.SSLContext,
    ) -> None:
        self._addresses = addresses[:_MOST_ADDRESSES]
        self._networks = networks
        self._patience = patience
        self._meter = meter
        self._trust = trust
        self._line: Line | None = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> Line:
        """A connection to the first address that takes it."""
        failures = []
        for number, address in enumerate(self._addresses):
            # A silent address leaves time for the ones behind it.
            patience = self._patience.share(len(self._addresses) - number)
            try:
                connected, is_own = _connect(address, port, patience)
            except HttpError:
                self._patience.check()
                failures.append(f"{address}: no answer")
            except OSError as error:
                failures.append(f"{address}: {error.strerror or error}")
            else:
                self._line = Line(connected, self._patience, self._meter, self._trust)
                if is_own and not is_named(address, self._networks):
                    raise HttpError("HttpNotGranted", f"{host} is not granted", f"{address} is this machine's own")
                return self._line
        raise HttpError("HttpConnect", f"{host} cannot be connected to", f"{host}:{port}: {'; '.join(failures)}")

    def close(self) -> None:
        """Close what was opened. Harmless when repeated."""
        if self._line is not None:
            self._line.close()


def _connect(address: Address, port: int, patience: Patience) -> tuple[socket.socket, bool]:
    """A connection, and whether it leads to this machine itself."""
    connected = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = connected.connect_ex((str(address), port))
        if code == errno.EINPROGRESS:
            patience.wait(connected, select.POLLOUT)
            code = connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        return connected, connected.getsockname()[0] == connected.getpeername()[0]
    except BaseException:
        connected.close()
        raise


class Line(httpcore.NetworkStream):
    """A connection that is given up on when patience ends."""

    def __init__(self, connected: socket.socket, patience: Patience, meter: Meter, trust: ssl.SSLContext) -> None:
        self._socket = connected
        self._patience = patience
        self._meter = meter
        self._trust = trust

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What has come, at most *max_bytes*; nothing at the end."""
        try:
            data: bytes = self._do(lambda: self._socket.recv(max_bytes), select.POLLIN)
        except OSError as error:
            raise httpcore.ReadError(str(error)) from None
        self._meter.count(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of *buffer*."""
        rest = memoryview(buffer)
        try:
            while rest:
                rest = rest[self._do(lambda: self._socket.send(rest), select.POLLOUT) :]  # noqa: B023  # called at once
        except OSError as error:
            raise httpcore.WriteError(str(error)) from None

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Line:
        """Shake hands, with our own context, which verifies that the server is *server_hostname*."""
        try:
            # An end without the peer's word for it is an error: a response may be cut short there.
            secured = self._trust.wrap_socket(
                self._socket,
                server_hostname=server_hostname,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
            )
            self._socket = secured
            self._do(secured.do_handshake, select.POLLIN)
        except OSError as error:
            reason = getattr(error, "verify_message", "") or str(error)
            message = f"{server_hostname} cannot be trusted: its TLS or its certificate is not valid for that name"
            raise HttpError("HttpTls", message, f"TLS with {server_hostname} failed: {reason}") from None
        return self

    def _do(self, step: Callable[[], Any], events: int) -> Any:
        while True:
            self._patience.check()
            try:
                return step()
            except ssl.SSLWantReadError:
                self._patience.wait(self._socket, select.POLLIN)
            except ssl.SSLWantWriteError:
                self._patience.wait(self._socket, select.POLLOUT)
            except BlockingIOError:
                self._patience.wait(self._socket, events)

    def close(self) -> None:
        """Close the socket. Harmless when repeated."""
        self._socket.close()
