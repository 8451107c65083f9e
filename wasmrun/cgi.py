"""CGI: a request of Lambda's payload 2.0 as variables, arguments and input, and a program's output as a response.

Variables are those of CGI 1.1 (RFC 3875) as WAGI has them. What a client sends becomes text of an environment, and
what a program writes becomes headers: neither may say more than one name and one value.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, unquote_plus

from wasmrun.errors import InvalidAnswer, InvalidEvent, printable
from wasmrun.hints import Any, NamedTuple
from wasmrun.payload import MOST_HEADERS, NOT_TEXT, TOKEN, make_response, read_payload
from wasmrun.units import format_size

MOST_HEADER_BYTES = 64 * 1024
"""Most that a program's headers may have."""

_NOT_PASSED = {"authorization", "connection", "content-length", "content-type", "keep-alive", "proxy",
               "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}  # fmt: skip
"""Headers that are no variable: of the connection, for the server (as WAGI has it), or said by CONTENT_LENGTH and
CONTENT_TYPE. HTTP_PROXY would be taken for the proxy that the program is to use."""

_ONCE = ("status", "location", "content-type")

# Of others, such as X_A and X-A, two could be the same variable, and one who filters knows only the one.
_NAME = re.compile(r"[A-Za-z0-9-]+")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_STATUS = re.compile(r"([2-5][0-9]{2})(?: .*)?")
_BLANK_LINE = re.compile(rb"(?:\A|\r?\n)\r?\n")
_LINE = re.compile(r"\r?\n")


class Request(NamedTuple):
    """What a program gets of one request. ``variables`` without those that the function itself is granted."""

    script_name: str
    args: list[str]
    variables: dict[str, str]
    body: bytes


def read_request(event: Any) -> Request:
    """The request that *event* describes, an object of payload 2.0 in which everything may be missing.

    Raises `InvalidEvent` that names what is wrong.
    """
    request = read_payload(event)
    headers = {name: value for name, value in request.headers.items() if _NAME.fullmatch(name)}
    path, query, scheme, address = request.path, request.query, request.scheme, request.source_ip
    route, script, raw_info = _route(request.route_key, request.stage, path)
    info = _decoded(raw_info)
    name, port = _server(headers, request.domain, scheme)
    usual = port == ("443" if scheme == "https" else "80")
    url = f"{scheme}://{name}{'' if usual else f':{port}'}{path}{f'?{query}' if query else ''}"
    variables = {
        f"HTTP_{key.upper().replace('-', '_')}": value for key, value in headers.items() if key not in _NOT_PASSED
    } | {
        "AUTH_TYPE": "",
        "CONTENT_LENGTH": str(len(request.body)),
        "CONTENT_TYPE": headers.get("content-type", ""),
        "GATEWAY_INTERFACE": "CGI/1.1",
        "PATH_INFO": info,
        "PATH_TRANSLATED": info,
        "QUERY_STRING": query,
        "REMOTE_ADDR": address,
        "REMOTE_HOST": address,
        "REMOTE_USER": "",
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": script,
        "SERVER_NAME": name,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": request.protocol,
        "SERVER_SOFTWARE": "WAGI/1",
        "X_FULL_URL": url,
        "X_MATCHED_ROUTE": route,
        "X_RAW_PATH_INFO": raw_info,
    }
    return Request(script or "/", _args(query), variables, request.body)


def _route(key: str, stage: str, path: str) -> tuple[str, str, str]:
    """The route as WAGI writes it, the part of *path* that it stands for, and the rest.

    *key* is ``$default``, or a method and a path like ``/pets/{id}`` or ``/files/{rest+}``.
    """
    route = key.partition(" ")[2]
    before = [""] if stage in ("", "$default") or not f"{path}/".startswith(f"/{stage}/") else ["", stage]
    if not route.startswith("/"):
        matched, segments = "/...", before
    elif route.endswith("+}"):
        fixed = route.rpartition("/")[0]
        matched, segments = f"{fixed}/...", [*before, *fixed.split("/")[1:]]
    else:
        matched, segments = route, [*before, *route.split("/")[1:]]
    parts = path.split("/")
    rest = parts[len(segments) :]
    return matched, "/".join(parts[: len(segments)]).rstrip("/"), "".join(f"/{part}" for part in rest)


def _decoded(path: str) -> str:
    try:
        text = unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise InvalidEvent(f"rawPath is not UTF-8: {printable(repr(path), 80)}") from None
    if "\0" in text:
        raise InvalidEvent(f"rawPath has a NUL: {printable(repr(path), 80)}")
    return text


def _server(headers: dict[str, str], domain: str, scheme: str) -> tuple[str, str]:
    """Name and port of the server: what the client calls it, where that is a name, else what it is."""
    found = _HOST.fullmatch(headers.get("host", "")) or _HOST.fullmatch(domain)
    port = headers.get("x-forwarded-port", "")
    if not (port.isascii() and port.isdigit() and len(port) <= 5):
        port = "443" if scheme == "https" else "80"
    return (found[1], found[2] or port) if found else ("localhost", port)


def _args(query: str) -> list[str]:
    pairs = [pair for pair in query.split("&", MOST_HEADERS + 1) if pair]
    if len(pairs) > MOST_HEADERS:
        raise InvalidEvent(f"rawQueryString has more than {MOST_HEADERS} pairs")
    # What cannot be an argument is in QUERY_STRING as it came.
    return [unquote_plus(pair).replace("\0", "\N{REPLACEMENT CHARACTER}") for pair in pairs]


def read_response(output: bytes) -> dict[str, Any]:
    """The response, as Lambda's payload 2.0 has it, that a program wrote. Raises `InvalidAnswer`."""
    end = _BLANK_LINE.search(output, 0, MOST_HEADER_BYTES + 4)
    if end is None:
        what = f"in its first {format_size(MOST_HEADER_BYTES)}" if len(output) > MOST_HEADER_BYTES else "in its output"
        raise InvalidAnswer(f"the program wrote no empty line {what}: headers, an empty line and a body are wanted")
    try:
        lines = _LINE.split(output[: end.start()].decode()) if end.start() else []
    except UnicodeDecodeError as error:
        raise InvalidAnswer(f"the program's headers are not UTF-8: {error}") from None
    found: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not TOKEN.fullmatch(name) or NOT_TEXT.search(value):
            raise InvalidAnswer(f"the program wrote what is no header: {printable(line, 80)!r}")
        found.setdefault(name.lower(), []).append(value.strip(" \t"))
    for name in _ONCE:
        if len(found.get(name, ())) > 1:
            raise InvalidAnswer(f"the program wrote more than one header {name}")
    if not any(name in found for name in _ONCE):
        raise InvalidAnswer("the program wrote none of the headers content-type, status and location")
    body = output[end.end() :]
    status = _status(found)
    return make_response(status, [(name, value) for name, values in found.items() for value in values], body)


def _status(found: dict[str, list[str]]) -> int:
    given = found.pop("status", None)
    if given is None:
        return 302 if "location" in found else 200
    status = _STATUS.fullmatch(given[0])
    if status is None:
        raise InvalidAnswer(f"the program's status must be a number from 200 to 599, not {printable(given[0], 80)!r}")
    return int(status[1])
