"""Servers and clients, closed when the test has ended."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import trustme
from servers import Client, Respond, Server, response

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts a server whose every response is given: bytes, or a function of connection and request."""
    with contextlib.ExitStack() as stack:

        def start(answer: bytes | Respond | None = None, context: ssl.SSLContext | None = None) -> Server:
            data = response() if answer is None else answer
            respond = (lambda connection, _: connection.sendall(data)) if isinstance(data, bytes) else data
            server = Server(respond, context)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def client() -> Client:
    """A client of its own; its ledger is that of one event."""
    return Client()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority that lives as long as the tests."""
    return trustme.CA()


@pytest.fixture(scope="session")
def trust(authority: trustme.CA) -> ssl.SSLContext:
    """What a client trusts that trusts that authority alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="session")
def certified(authority: trustme.CA) -> Callable[..., ssl.SSLContext]:
    """The context of a server with a certificate for these names."""

    def certified(*names: str, issuer: trustme.CA = authority) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issuer.issue_cert(*names).configure_cert(context)
        return context

    return certified
