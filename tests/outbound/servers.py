"""Servers on the loopback interface, and a client that resolves names as a test says."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import wasmrun
from wasmrun.machine.ledger import Ledger, Outgoing
from wasmrun.outbound import Outbound

LOOPBACK = ["127.0.0.0/8", "::1/128"]


@dataclasses.dataclass
class Seen:
    """A request as a server got it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Respond = Callable[[socket.socket, Seen], object]


def response(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """A response with its length."""
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return head.encode("latin-1") + b"\r\n" + body


class Server:
    """Takes connections one after the other, each on a thread; *respond* does the rest."""

    def __init__(self, respond: Respond, context: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self.connections = 0
        self.is_hasty = False  # whether bodies are left unread
        self.problems: list[BaseException] = []
        self._respond = respond
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            with connection:
                request = read_request(connection, with_body=not self.is_hasty)
                if request is not None:
                    self.seen.append(request)
                    self._respond(connection, request)
                    if self._context is not None:
                        connection = connection.unwrap()  # type: ignore[attr-defined]
        except (OSError, ValueError):
            pass  # the client went away, as many tests want it to
        except BaseException as problem:
            self.problems.append(problem)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(5)
        assert self.problems == []


def read_request(connection: socket.socket, *, with_body: bool) -> Seen | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while with_body and len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    method, target, _ = first.split(" ")
    return Seen(method, target, headers, body)


class Client:
    """The client with a resolver of the test's own, called as a guest's call does it."""

    def __init__(self, trust: ssl.SSLContext | None = None) -> None:
        self.names: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.outbound = Outbound(resolve=self.resolve, trust=trust)
        self.ledger = Ledger()
        self.is_stopped = threading.Event()

    def resolve(self, name: str) -> list[str]:
        self.asked.append(name)
        if name not in self.names:
            raise OSError("Name or service not known")
        return self.names[name]

    def __call__(
        self, url: str, method: str = "GET", *, rules: Any = "http://127.0.0.1", seconds: float = 10.0,
        settings: dict[str, Any] | None = None, **request: Any,
    ) -> Any:  # fmt: skip
        more = {"http_networks": LOOPBACK, **(settings or {})}
        function = wasmrun.Function("(module)", http=rules, **more)
        outgoing = Outgoing(time.monotonic_ns() + int(seconds * 1e9), self.is_stopped.is_set, self.ledger)
        return self.outbound.request(function, {"method": method, "url": url, **request}, outgoing)
