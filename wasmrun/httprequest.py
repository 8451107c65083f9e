"""A request: what a guest asks of ``wasmrun.http_request``, checked before anything is done about it.

One spelling of everything: a URL that two readers could understand differently is refused, not repaired.
"""

from __future__ import annotations

import ipaddress
import re

from wasmrun.addresses import Address
from wasmrun.hints import Any, NamedTuple

MOST_HEADERS = 100
MOST_HEADER_BYTES = 64 * 1024
_MOST_URL = 8 * 1024

PORTS = {"https": 443, "http": 80}

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(?:#.*)?", re.ASCII)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}", re.ASCII)
_VALUE = re.compile(r"[\t\x20-\x7e]*", re.ASCII)
_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}", re.ASCII)

_NEVER = ("CONNECT", "TRACE", "TRACK")
"""Methods that no rule grants: a tunnel to anywhere, and servers that echo headers."""

_OURS = frozenset((
    "connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-authenticate",
    "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
))  # fmt: skip
"""Headers that say how a message is carried, which is the host's business."""


class Url(NamedTuple):
    """An absolute http or https URL in its one spelling: *host* in lower case, *port* a number, *target* path and query.

    ``address`` where the host is one.
    """

    scheme: str
    host: str
    port: int
    target: str
    address: Address | None

    @property
    def authority(self) -> str:
        """Host and port as a Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """What makes two URLs lead to one server."""
        return self[:3]

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


class Request(NamedTuple):
    """What a guest asks for. *timeout_ms* where it has less patience than its own deadline."""

    method: str
    url: Url
    headers: tuple[tuple[str, str], ...]
    body: bytes
    timeout_ms: int | None


def parse_request(value: Any) -> Request:
    """The request in the map *value*. Raises `ValueError` with words for the guest."""
    if not isinstance(value, dict) or not value.keys() <= {"method", "url", "headers", "body", "timeout_ms"}:
        raise ValueError('a request is a map of "method", "url", "headers", "body" and "timeout_ms"')
    method = value.get("method", "GET")
    if not isinstance(method, str):
        raise ValueError("the method must be text")
    body = value.get("body")
    if isinstance(body, str):
        body = body.encode()  # MessagePack's texts are UTF-8
    if not isinstance(body, (bytes, type(None))):
        raise ValueError("the body must be bytes, text or nil")
    timeout_ms = value.get("timeout_ms")
    if timeout_ms is not None and (type(timeout_ms) is not int or timeout_ms < 1):
        raise ValueError("timeout_ms must be a whole number above 0")
    return Request(
        parse_method(method), parse_url(value.get("url")), _parse_headers(value.get("headers")), body or b"", timeout_ms
    )


def parse_method(text: str) -> str:
    """A method as it goes over the wire. Raises `ValueError`."""
    if not _METHOD.fullmatch(text) or text in _NEVER:
        raise ValueError("the method must be one such as GET or POST, in capitals; CONNECT and TRACE are never allowed")
    return text


def parse_url(text: object) -> Url:
    """The parts of an absolute URL. Raises `ValueError`."""
    if not isinstance(text, str) or not 0 < len(text) <= _MOST_URL:
        raise ValueError(f"the URL must be text of at most {_MOST_URL} characters")
    if not re.fullmatch(r"[\x21-\x7e]+", text) or "\\" in text:
        raise ValueError("the URL must be ASCII without spaces, control characters and backslashes: encode the rest")
    found = _URL.fullmatch(text)
    scheme = found[1].lower() if found else ""
    if found is None or scheme not in PORTS:
        raise ValueError("the URL must start with https:// or http://")
    if "@" in found[2]:
        raise ValueError("the URL must not hold a user or a password")
    host, port = parse_authority(found[2])
    target = found[3] if found[3].startswith("/") else "/" + found[3]
    return Url(scheme, host, PORTS[scheme] if port is None else port, target, literal(host))


def parse_authority(text: str) -> tuple[str, int | None]:
    """Host and port of ``host``, ``host:port`` or ``[address]:port``. Raises `ValueError`."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise ValueError("the host must be a name in ASCII or an address, with a port in digits where it has one")
    port = None if found[2] is None else int(found[2])
    if port is not None and not 0 < port < 65536:
        raise ValueError("the port must be from 1 to 65535")
    return parse_host(found[1]), port


def parse_host(text: str) -> str:
    """A name in lower case, or an address in its one spelling and without brackets. Raises `ValueError`."""
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError:
            raise ValueError("the host is not an IPv6 address in brackets") from None
    host = text.lower()
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # Decimal, octal, hexadecimal and shortened spellings: what a resolver would make an address of.
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError("the host looks like an IPv4 address, which is four decimal numbers") from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("the host is not a name")
    return host


def literal(host: str) -> Address | None:
    """The address that a host of `parse_host` is; None for a name."""
    if ":" in host or _NUMBER.fullmatch(host.rpartition(".")[2]):
        return ipaddress.ip_address(host)
    return None


def _parse_headers(value: Any) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError("the headers must be a map from text to text")
    headers = tuple((parse_header_name(name), parse_header_value(text)) for name, text in value.items())
    if len(headers) > MOST_HEADERS or sum(len(name) + len(text) for name, text in headers) > MOST_HEADER_BYTES:
        raise ValueError(f"at most {MOST_HEADERS} headers and {MOST_HEADER_BYTES} bytes of them")
    if len({name.lower() for name, _ in headers}) < len(headers):
        raise ValueError("a header is there twice")
    return headers


def parse_header_name(text: str) -> str:
    """The name of a header that is not the host's to set. Raises `ValueError`."""
    if not isinstance(text, str) or not _TOKEN.fullmatch(text):
        raise ValueError("the name of a header is letters, digits and hyphens")
    if text.lower() in _OURS:
        raise ValueError(f"the header {text} is set by the host")
    return text


def parse_header_value(text: str) -> str:
    """The value of a header, without the blanks around it. Raises `ValueError` that does not show it."""
    if not isinstance(text, str) or not _VALUE.fullmatch(text):
        raise ValueError("the value of a header is ASCII on one line")
    return text.strip(" \t")
