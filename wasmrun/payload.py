"""Payload 2.0: HTTP as function URLs and HTTP APIs of Lambda put it into events, and as they take it from answers.

Everything in an event may be missing, and nothing in it is believed: what is read has one line a text, and text that UTF-8
can write.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

from wasmrun.errors import InvalidEvent, printable
from wasmrun.hints import Any, NamedTuple, TypeVar

MOST_HEADERS = 10_000
"""Most headers of a request, and most arguments from a query: each is a text of its own for the guest."""

TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""What a method or a header's name is."""

# Besides what could end a line, what UTF-8 cannot write.
NOT_TEXT = re.compile("[\0-\x08\n-\x1f\x7f\ud800-\udfff]")

_NOT_SENT = {"connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
             "upgrade"}  # fmt: skip
"""Headers that are for whoever sends the response to say."""

_T = TypeVar("_T")


class HttpRequest(NamedTuple):
    """A request. Names of headers are in lower case; ``scheme`` is http or https."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    scheme: str
    domain: str
    source_ip: str
    protocol: str
    route_key: str
    stage: str


def read_payload(event: Any) -> HttpRequest:
    """The request that *event* describes, an object of payload 2.0. Raises `InvalidEvent` that names what is wrong."""
    if not isinstance(event, dict):
        raise InvalidEvent(f"the event must be a request, an object of payload 2.0, not {type(event).__name__}")
    version = event.get("version", "2.0")
    if version != "2.0":
        raise InvalidEvent(f"the request must be of version 2.0, not {_shown(version)}")
    context = _get(event, "requestContext", dict, {})
    http = _get(context, "http", dict, {}, "requestContext.")
    method = _text(http, "method", "GET", "requestContext.http.")
    if not TOKEN.fullmatch(method):
        raise InvalidEvent(f"requestContext.http.method is no method: {printable(repr(method), 80)}")
    headers = _headers(event)
    return HttpRequest(
        method,
        _text(event, "rawPath", "/") or "/",
        _text(event, "rawQueryString", ""),
        headers,
        _body(event),
        "http" if headers.get("x-forwarded-proto", "https").lower() == "http" else "https",
        _text(context, "domainName", "", "requestContext."),
        _text(http, "sourceIp", "", "requestContext.http."),
        _text(http, "protocol", "HTTP/1.1", "requestContext.http."),
        _text(event, "routeKey", ""),
        _text(context, "stage", "", "requestContext."),
    )


def make_response(status: int, fields: Iterable[tuple[str, str]], body: bytes) -> dict[str, Any]:
    """The answer that is this response: *fields* of one name joined, cookies apart, a body that is no text as base64."""
    values = gathered(fields)
    cookies = values.pop("set-cookie", None)
    headers = {name: ", ".join(parts) for name, parts in values.items() if name not in _NOT_SENT}
    response: dict[str, Any] = {"statusCode": status, "headers": headers}
    if cookies:
        response["cookies"] = cookies
    try:
        return response | {"body": body.decode(), "isBase64Encoded": False}
    except UnicodeDecodeError:
        return response | {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}


def gathered(fields: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The values of *fields* by their names in lower case, in the order in which they came."""
    found: dict[str, list[str]] = {}
    for name, value in fields:
        found.setdefault(name.lower(), []).append(value)
    return found


def _get(holder: dict[Any, Any], name: str, kind: type[_T], default: _T, where: str = "") -> _T:
    value = holder.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise InvalidEvent(f"{where}{name} must be {_KINDS[kind]}, not {type(value).__name__}")
    return value


_KINDS = {dict: "an object", str: "text", list: "a list", bool: "true or false"}


def _text(holder: dict[Any, Any], name: str, default: str, where: str = "") -> str:
    return _checked(_get(holder, name, str, default, where), f"{where}{name}")


def _shown(value: object) -> str:
    # A deep list has no repr, nor has a number of very many digits.
    return printable(repr(value), 80) if value is None or isinstance(value, str) else f"of type {type(value).__name__}"


def _checked(text: str, what: str) -> str:
    """*text*, which is one line that UTF-8 can write. Raises `InvalidEvent`."""
    if NOT_TEXT.search(text):
        raise InvalidEvent(f"{what} has characters that no request can have: {printable(repr(text), 80)}")
    return text


def _headers(event: dict[Any, Any]) -> dict[str, str]:
    """Headers by their names in lower case."""
    given = _get(event, "headers", dict, {})
    if len(given) > MOST_HEADERS:
        raise InvalidEvent(f"the request has {len(given)} headers; at most {MOST_HEADERS} are allowed")
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidEvent(f"headers must be texts by name, not {_shown(name)}: {type(value).__name__}")
        _checked(value, f"the header {printable(name, 80)}")
    values = gathered((name, value) for name, value in given.items() if TOKEN.fullmatch(name))
    found = {name: ", ".join(parts) for name, parts in values.items()}
    cookies = _get(event, "cookies", list, [])
    if cookies and "cookie" not in found:
        if not all(isinstance(cookie, str) for cookie in cookies):
            raise InvalidEvent("cookies must be a list of texts")
        found["cookie"] = _checked("; ".join(cookies), "cookies")
    return found


def _body(event: dict[Any, Any]) -> bytes:
    body, is_base64 = _get(event, "body", str, ""), _get(event, "isBase64Encoded", bool, False)
    try:
        return base64.b64decode(body, validate=True) if is_base64 else body.encode()
    except ValueError:
        raise InvalidEvent(
            "body must be base64 where isBase64Encoded says so, else text that UTF-8 can write"
        ) from None
