"""Outbound HTTP: the requests that guests ask for, done by the host within what was granted.

One connection for each request, closed after it: no guest finds what another one left in it.
"""

from __future__ import annotations

import functools
import logging
import ssl
import time
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urljoin

import certifi
import httpcore

from wasmrun.addresses import is_granted
from wasmrun.errors import printable
from wasmrun.function import Function
from wasmrun.httpgrant import is_allowed, secrets_for
from wasmrun.httprequest import MOST_HEADER_BYTES, MOST_HEADERS, Request, parse_request, parse_url
from wasmrun.invocation import HttpCall
from wasmrun.machine.ledger import Door, HttpError, Ledger, Outgoing
from wasmrun.pinned import Lookups, Meter, Patience, Pinned, Resolver, system_resolver

MOST_REDIRECTS = 5

_TO_GET = {301: ("POST",), 302: ("POST",), 303: ("POST", "PUT", "PATCH", "DELETE")}
"""Methods that become GET, by the redirect's status."""

_REDIRECTS = (301, 302, 303, 307, 308)
_OF_ONE_ORIGIN = ("authorization", "cookie")
_OF_A_BODY = ("content-encoding", "content-language", "content-location", "content-type")

_log = logging.getLogger("wasmrun")


class _Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def system_trust() -> ssl.SSLContext:
    """A context that verifies names and certificates against the system's authorities; certifi's, where it has none."""
    # Not `ssl.create_default_context`, which writes keys where the environment tells it to.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and paths.capath is None:
        context.load_verify_locations(certifi.where())
    else:
        context.load_default_certs()
    return context


class Outbound:
    """The client of one executor. May be used from any thread; holds no connection."""

    def __init__(self, *, resolve: Resolver = system_resolver, trust: ssl.SSLContext | None = None) -> None:
        self._lookups = Lookups(resolve)
        self._trust = system_trust() if trust is None else trust

    def door(self, function: Function) -> Door:
        """What does the requests of *function*."""
        return functools.partial(self.request, function)

    def request(self, function: Function, value: Any, outgoing: Outgoing) -> dict[str, Any]:
        """The response to the request in *value*, redirects followed. Raises `HttpError`."""
        try:
            request = parse_request(value)
        except ValueError as error:
            raise HttpError("HttpInvalid", str(error)) from None
        deadline_ns = outgoing.deadline_ns
        if request.timeout_ms is not None:
            deadline_ns = min(deadline_ns, time.monotonic_ns() + request.timeout_ms * 1_000_000)
        patience = Patience(deadline_ns, outgoing.is_stopped)
        for _ in range(MOST_REDIRECTS + 1):
            response = self._recorded(function, request, patience, outgoing.ledger)
            location = response.headers.get("location")
            if response.status not in _REDIRECTS or location is None:
                return response._asdict()
            request = _redirected(request, response.status, location)
        raise HttpError("HttpTooMany", f"more than {MOST_REDIRECTS} redirects")

    def _recorded(self, function: Function, request: Request, patience: Patience, ledger: Ledger) -> _Response:
        """One request, without redirects, written down however it ends."""
        if len(ledger.calls) >= function.http_requests:
            raise HttpError("HttpTooMany", f"more than {function.http_requests} requests (http_requests)")
        sent = _size(request)
        meter = Meter(function.http_bytes - ledger.received)
        status = kind = None
        started = time.perf_counter()
        try:
            patience.check()
            if ledger.sent + sent > function.http_bytes:
                sent = 0
                raise HttpError("HttpTooLarge", "the request is larger than what is left of http_bytes")
            response = self._do(function, request, patience, meter)
            status = response.status
            return response
        except HttpError as error:
            kind = error.kind
            _log.debug("%s refused or failed: %s", function.label, printable(error.reason))
            raise
        finally:
            seconds = time.perf_counter() - started
            ledger.add(HttpCall(request.method, request.url.authority, status, sent, meter.received, seconds, kind))

    def _do(self, function: Function, request: Request, patience: Patience, meter: Meter) -> _Response:
        method, url = request.method, request.url
        if not is_allowed(function.http, method, url):
            raise _not_granted(request, f"grant it with http=['{url.scheme}://{url.authority}']")
        addresses = [url.address] if url.address is not None else self._lookups.addresses(url.host, patience)
        for address in addresses:
            if not is_granted(address, function.http_networks):
                raise _not_granted(request, f"{address} is not public; grant it with http_networks=['{address}']")
        headers = _headers(request, secrets_for(function.http_secrets, method, url))
        network = Pinned(addresses, function.http_networks, patience, meter, self._trust)
        try:
            return _exchange(request, headers, network)
        except HttpError as error:
            if error.kind != "HttpNotGranted":
                raise
            raise _not_granted(request, error.reason) from None
        except httpcore.NetworkError as error:
            reason = f"the connection to {url.authority} broke: {error}"
            raise HttpError("HttpConnect", f"the connection to {url.authority} broke", reason) from None
        except httpcore.RemoteProtocolError as error:
            reason = f"{url.authority} sent what is not HTTP: {error}"
            raise HttpError("HttpProtocol", f"{url.authority} sent what is not HTTP", reason) from None
        except httpcore.LocalProtocolError:
            # Its text could show a header of ours.
            raise HttpError("HttpInvalid", "the request cannot be written as HTTP") from None
        finally:
            network.close()


def _exchange(request: Request, headers: list[tuple[str, str]], network: Pinned) -> _Response:
    """Send a request and read its response, over a connection of its own."""
    url = request.url
    scheme, host = url.scheme.encode(), url.host.encode()
    # A context for httpcore to set up as it likes; the network uses its own, which other threads use too.
    unused = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    connection = httpcore.HTTPConnection(httpcore.Origin(scheme, host, url.port), unused, network_backend=network)
    response = connection.handle_request(
        httpcore.Request(
            request.method,
            httpcore.URL(scheme=scheme, host=host, port=url.port, target=url.target),
            headers=[(name.encode(), value.encode()) for name, value in headers],
            content=request.body,
        )
    )
    found = _decoded(response.headers)
    return _Response(response.status, found, b"".join(response.iter_stream()))


def _headers(request: Request, secrets: dict[str, str]) -> list[tuple[str, str]]:
    """All headers of a request: the host's, the secrets, and those of the guest that are neither."""
    own = {"host": request.url.authority, "connection": "close"}
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        own["content-length"] = str(len(request.body))
    rest = [(name, value) for name, value in request.headers if name.lower() not in secrets]
    named = {name.lower() for name, _ in rest} | secrets.keys()
    # The body is given as it was sent, so that nothing that unpacks to more than http_bytes is unpacked here.
    defaults = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "wasmrun"}
    missing = [item for item in defaults.items() if item[0] not in named]
    return [*own.items(), *missing, *rest, *secrets.items()]


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers of a response by name in lower case; what is there several times, in one text."""
    pairs = list(headers)
    if len(pairs) > MOST_HEADERS or sum(len(name) + len(value) for name, value in pairs) > MOST_HEADER_BYTES:
        raise HttpError("HttpTooLarge", f"the response has more than {MOST_HEADERS} headers, or too long ones")
    found: dict[str, str] = {}
    for name, value in pairs:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        # A cookie may hold a comma; no header holds a line's end.
        separator = "\n" if key == "set-cookie" else ", "
        found[key] = f"{found[key]}{separator}{text}" if key in found else text
    return found


def _redirected(request: Request, status: int, location: str) -> Request:
    """The request that a redirect asks for. Whether it is granted is for whoever does it."""
    try:
        if not location.isascii() or not location.isprintable() or " " in location or "\\" in location:
            raise ValueError("it is not ASCII")
        url = parse_url(urljoin(str(request.url), location))
    except ValueError:
        raise HttpError("HttpProtocol", f"{request.url.authority} redirects to what is not a URL") from None
    dropped: tuple[str, ...] = () if url.origin == request.url.origin else _OF_ONE_ORIGIN
    method, body = request.method, request.body
    if method in _TO_GET.get(status, ()):
        method, body = "GET", b""
        dropped += _OF_A_BODY
    headers = tuple(item for item in request.headers if item[0].lower() not in dropped)
    return Request(method, url, headers, body, request.timeout_ms)


def _size(request: Request) -> int:
    """What a guest sends: secrets are not counted, so that their length cannot be measured."""
    headers = sum(len(name) + len(value) for name, value in request.headers)
    return len(request.method) + len(str(request.url)) + headers + len(request.body)


def _not_granted(request: Request, hint: str) -> HttpError:
    place = f"{request.method} {request.url.scheme}://{request.url.authority}"
    return HttpError("HttpNotGranted", f"{place} is not granted", f"{place} is not granted: {hint}")
