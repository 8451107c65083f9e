"""The world of a proxy component: its imports by their names in WIT, each with its types and what it does.

What a component imports beside these, files and sockets, is there to be linked, and ends it when it is called.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from wasmrun.errors import GuestExit, GuestTrap
from wasmrun.machine.proxy import resources
from wasmrun.machine.proxy.carriers import (
    Carrier,
    List,
    Ok,
    Option,
    Record,
    Resource,
    Some,
    Tuple,
    Variant,
    Wrong,
    boolean,
    octets,
    text,
    u16,
    u32,
    u64,
)
from wasmrun.machine.proxy.resources import (
    Absent,
    Fields,
    FutureResponse,
    FutureTrailers,
    HeaderError,
    IncomingBody,
    IncomingRequest,
    IncomingResponse,
    InputStream,
    IoError,
    OutgoingBody,
    OutgoingRequest,
    OutgoingResponse,
    OutputStream,
    Pollable,
    RequestOptions,
    ResponseOutparam,
)

MOST_CHUNK = 64 * 1024
"""Most that is read, written or made up at once."""

_TICK_NS = 1_000_000
"""Clocks are as fine as this."""


class Host(Protocol):
    """What the imports need of the sandbox that calls them."""

    budget: resources.Budget
    env: tuple[tuple[str, str], ...]
    start_ns: int

    def new_body(self) -> resources.Body:
        """A body for the guest to write."""
        ...

    def log(self, data: bytes) -> None:
        """Take what was written to an output stream."""
        ...

    def sleep_until(self, due_ns: int) -> None:
        """Wait, or end the guest where its own end comes first."""
        ...

    def respond(self, response: OutgoingResponse | Wrong) -> None:
        """Take the one response."""
        ...

    def fetch(self, future: FutureResponse) -> None:
        """Put the outcome of the request into *future*."""
        ...

    def pay(self, size: int) -> None:
        """Charge for *size* bytes."""
        ...


class Import(NamedTuple):
    """One function: what it takes and gives, and what it does."""

    params: tuple[Carrier, ...]
    result: Carrier | None
    body: Callable[..., Any]


IMPORTS: dict[tuple[str, str], Import] = {}
"""By interface and function."""

RESOURCES: dict[str, dict[str, type]] = {
    "wasi:io/error": {"error": IoError},
    "wasi:io/poll": {"pollable": Pollable},
    "wasi:io/streams": {"error": IoError, "pollable": Pollable, "input-stream": InputStream, "output-stream": OutputStream},
    "wasi:clocks/monotonic-clock": {"pollable": Pollable},
    "wasi:clocks/wall-clock": {},
    "wasi:random/random": {},
    "wasi:random/insecure": {},
    "wasi:random/insecure-seed": {},
    "wasi:cli/environment": {},
    "wasi:cli/exit": {},
    "wasi:cli/stdin": {"input-stream": InputStream},
    "wasi:cli/stdout": {"output-stream": OutputStream},
    "wasi:cli/stderr": {"output-stream": OutputStream},
    "wasi:cli/terminal-input": {"terminal-input": Absent},
    "wasi:cli/terminal-output": {"terminal-output": Absent},
    "wasi:cli/terminal-stdin": {"terminal-input": Absent},
    "wasi:cli/terminal-stdout": {"terminal-output": Absent},
    "wasi:cli/terminal-stderr": {"terminal-output": Absent},
    "wasi:filesystem/types": {
        "error": IoError, "input-stream": InputStream, "output-stream": OutputStream, "descriptor": Absent,
        "directory-entry-stream": Absent,
    },  # fmt: skip
    "wasi:filesystem/preopens": {"descriptor": Absent},
    "wasi:sockets/network": {"error": IoError, "network": Absent},
    "wasi:sockets/instance-network": {"network": Absent},
    "wasi:sockets/udp": {
        "pollable": Pollable, "network": Absent, "udp-socket": Absent, "incoming-datagram-stream": Absent,
        "outgoing-datagram-stream": Absent,
    },  # fmt: skip
    "wasi:sockets/udp-create-socket": {"network": Absent, "udp-socket": Absent},
    "wasi:sockets/tcp": {
        "pollable": Pollable, "input-stream": InputStream, "output-stream": OutputStream, "network": Absent,
        "tcp-socket": Absent,
    },  # fmt: skip
    "wasi:sockets/tcp-create-socket": {"network": Absent, "tcp-socket": Absent},
    "wasi:sockets/ip-name-lookup": {"pollable": Pollable, "network": Absent, "resolve-address-stream": Absent},
    "wasi:http/types": {
        "io-error": IoError, "pollable": Pollable, "input-stream": InputStream, "output-stream": OutputStream,
        "fields": Fields, "headers": Fields, "trailers": Fields, "incoming-request": IncomingRequest,
        "incoming-body": IncomingBody, "future-trailers": FutureTrailers, "outgoing-response": OutgoingResponse,
        "outgoing-body": OutgoingBody, "response-outparam": ResponseOutparam, "outgoing-request": OutgoingRequest,
        "request-options": RequestOptions, "future-incoming-response": FutureResponse,
        "incoming-response": IncomingResponse,
    },  # fmt: skip
    "wasi:http/outgoing-handler": {
        "outgoing-request": OutgoingRequest, "request-options": RequestOptions,
        "future-incoming-response": FutureResponse,
    },  # fmt: skip
}  # fmt: skip
"""The interfaces that are offered, with the resources that each defines or uses."""


def _offer(interface: str, name: str, *params: Carrier, gives: Carrier | None = None) -> Callable[[Any], Any]:
    def take(body: Callable[..., Any]) -> Callable[..., Any]:
        IMPORTS[interface, name] = Import(params, gives, body)
        return body

    return take


def _own(kind: type) -> Resource:
    return Resource(kind, is_given=True)


# ---- streams and waiting

_IO = "wasi:io/streams"
_INPUT, _OUTPUT, _POLLABLE = Resource(InputStream), Resource(OutputStream), Resource(Pollable)
_STREAM_ERROR = Variant(last_operation_failed=_own(IoError))
_CLOSED = Wrong(("closed", None))


def _read(_host: Host, stream: InputStream, most: int) -> Any:
    chunk = stream.read(min(most, MOST_CHUNK))
    return _CLOSED if chunk is None else chunk


def _skip(_host: Host, stream: InputStream, most: int) -> Any:
    chunk = stream.read(min(most, MOST_CHUNK))
    return _CLOSED if chunk is None else len(chunk)


def _write(_host: Host, stream: OutputStream, data: bytes) -> None:
    if len(data) > MOST_CHUNK:
        raise GuestTrap(
            f"the component wrote {len(data)} bytes at once, and {MOST_CHUNK} were permitted", kind="host call"
        )
    stream.sink(data)


def _write_zeroes(host: Host, stream: OutputStream, size: int) -> None:
    host.pay(size)
    _write(host, stream, bytes(min(size, MOST_CHUNK + 1)))


def _splice(host: Host, stream: OutputStream, source: InputStream, most: int) -> Any:
    chunk = source.read(min(most, MOST_CHUNK))
    if chunk is None:
        return _CLOSED
    host.pay(len(chunk))
    stream.sink(chunk)
    return len(chunk)


def _ready(_host: Host, _stream: Any) -> Pollable:
    return Pollable()


for _prefix in ("", "blocking-"):
    _offer(_IO, f"[method]input-stream.{_prefix}read", _INPUT, u64, gives=Ok(octets, _STREAM_ERROR))(_read)
    _offer(_IO, f"[method]input-stream.{_prefix}skip", _INPUT, u64, gives=Ok(u64, _STREAM_ERROR))(_skip)
    _offer(_IO, f"[method]output-stream.{_prefix}splice", _OUTPUT, _INPUT, u64, gives=Ok(u64, _STREAM_ERROR))(_splice)
    _offer(_IO, f"[method]output-stream.{_prefix}flush", _OUTPUT, gives=Ok(None, _STREAM_ERROR))(
        lambda _host, _stream: None
    )
for _name in ("write", "blocking-write-and-flush"):
    _offer(_IO, f"[method]output-stream.{_name}", _OUTPUT, octets, gives=Ok(None, _STREAM_ERROR))(_write)
for _name in ("write-zeroes", "blocking-write-zeroes-and-flush"):
    _offer(_IO, f"[method]output-stream.{_name}", _OUTPUT, u64, gives=Ok(None, _STREAM_ERROR))(_write_zeroes)
_offer(_IO, "[method]output-stream.check-write", _OUTPUT, gives=Ok(u64, _STREAM_ERROR))(
    lambda _host, _stream: MOST_CHUNK
)
_offer(_IO, "[method]input-stream.subscribe", _INPUT, gives=_own(Pollable))(_ready)
_offer(_IO, "[method]output-stream.subscribe", _OUTPUT, gives=_own(Pollable))(_ready)


@_offer("wasi:io/error", "[method]error.to-debug-string", Resource(IoError), gives=text)
def _error_text(_host: Host, _error: IoError) -> str:
    return "an error"


@_offer("wasi:io/poll", "[method]pollable.ready", _POLLABLE, gives=boolean)
def _is_ready(_host: Host, pollable: Pollable) -> bool:
    return pollable.due_ns <= time.monotonic_ns()


@_offer("wasi:io/poll", "[method]pollable.block", _POLLABLE)
def _block(host: Host, pollable: Pollable) -> None:
    host.sleep_until(pollable.due_ns)


@_offer("wasi:io/poll", "poll", List(_POLLABLE), gives=List(u32))
def _poll(host: Host, pollables: list[Pollable]) -> list[int]:
    if not pollables:
        raise GuestTrap("the component polls nothing", kind="host call")
    host.sleep_until(min(pollable.due_ns for pollable in pollables))
    now = time.monotonic_ns()
    return [place for place, pollable in enumerate(pollables) if pollable.due_ns <= now]


# ---- clocks, chance, and what a command has

_DATETIME = Record(seconds=u64, nanoseconds=u32)


@_offer("wasi:clocks/monotonic-clock", "now", gives=u64)
def _now(host: Host) -> int:
    return (time.monotonic_ns() - host.start_ns) // _TICK_NS * _TICK_NS


@_offer("wasi:clocks/monotonic-clock", "resolution", gives=u64)
def _resolution(_host: Host) -> int:
    return _TICK_NS


@_offer("wasi:clocks/monotonic-clock", "subscribe-instant", u64, gives=_own(Pollable))
def _subscribe_instant(host: Host, instant: int) -> Pollable:
    return Pollable(host.start_ns + instant)


@_offer("wasi:clocks/monotonic-clock", "subscribe-duration", u64, gives=_own(Pollable))
def _subscribe_duration(_host: Host, duration: int) -> Pollable:
    return Pollable(time.monotonic_ns() + duration)


@_offer("wasi:clocks/wall-clock", "now", gives=_DATETIME)
def _wall_now(_host: Host) -> tuple[int, int]:
    return divmod(time.time_ns() // _TICK_NS * _TICK_NS, 10**9)


@_offer("wasi:clocks/wall-clock", "resolution", gives=_DATETIME)
def _wall_resolution(_host: Host) -> tuple[int, int]:
    return 0, _TICK_NS


@_offer("wasi:random/random", "get-random-bytes", u64, gives=octets)
@_offer("wasi:random/insecure", "get-insecure-random-bytes", u64, gives=octets)
def _random_bytes(_host: Host, size: int) -> bytes:
    if size > MOST_CHUNK:
        raise GuestTrap(
            f"the component wants {size} random bytes at once; at most {MOST_CHUNK} are had", kind="host call"
        )
    return os.urandom(size)


@_offer("wasi:random/random", "get-random-u64", gives=u64)
@_offer("wasi:random/insecure", "get-insecure-random-u64", gives=u64)
def _random_number(_host: Host) -> int:
    return int.from_bytes(os.urandom(8), "little")


@_offer("wasi:random/insecure-seed", "insecure-seed", gives=Tuple(u64, u64))
def _seed(host: Host) -> tuple[int, int]:
    return _random_number(host), _random_number(host)


@_offer("wasi:cli/environment", "get-environment", gives=List(Tuple(text, text)))
def _environment(host: Host) -> list[tuple[str, str]]:
    return list(host.env)


@_offer("wasi:cli/environment", "get-arguments", gives=List(text))
def _arguments(_host: Host) -> list[str]:
    return []


@_offer("wasi:cli/environment", "initial-cwd", gives=Option(text))
@_offer("wasi:cli/terminal-stdin", "get-terminal-stdin", gives=Option(_own(Absent)))
@_offer("wasi:cli/terminal-stdout", "get-terminal-stdout", gives=Option(_own(Absent)))
@_offer("wasi:cli/terminal-stderr", "get-terminal-stderr", gives=Option(_own(Absent)))
@_offer("wasi:filesystem/types", "filesystem-error-code", Resource(IoError), gives=Option(Variant()))
def _nothing(_host: Host, *_args: Any) -> None:
    return None


@_offer("wasi:filesystem/preopens", "get-directories", gives=List(Tuple(_own(Absent), text)))
def _directories(_host: Host) -> list[Any]:
    return []


@_offer("wasi:cli/exit", "exit", Ok())
def _exit(_host: Host, status: Any) -> None:
    raise GuestExit(status=int(isinstance(status, Wrong)))


@_offer("wasi:cli/stdin", "get-stdin", gives=_own(InputStream))
def _stdin(_host: Host) -> InputStream:
    return InputStream()


@_offer("wasi:cli/stdout", "get-stdout", gives=_own(OutputStream))
@_offer("wasi:cli/stderr", "get-stderr", gives=_own(OutputStream))
def _standard_output(host: Host) -> OutputStream:
    return OutputStream(host.log)


# ---- HTTP

_HTTP = "wasi:http/types"
_FIELDS = Resource(Fields)
_HEADER_RESULT = Ok(None, Variant())
_METHOD, _SCHEME = Variant(other=text), Variant(other=text)
_ERROR_CODE = Variant(internal_error=Option(text))
_ENTRIES = List(Tuple(text, octets))
_UNIT = Ok()
_DONE = Wrong()
METHODS = ("get", "head", "post", "put", "delete", "connect", "options", "trace", "patch")


def method(name: str) -> tuple[str, str | None]:
    """The method's case."""
    return (name.lower(), None) if name.isupper() and name.lower() in METHODS else ("other", name)


def scheme(name: str) -> tuple[str, str | None]:
    """The scheme's case."""
    return (name.upper(), None) if name in ("http", "https") else ("other", name)


def _guarded(body: Callable[..., Any]) -> Callable[..., Any]:
    def change(host: Host, *args: Any) -> Any:
        try:
            return body(host, *args)
        except HeaderError as error:
            return Wrong((str(error), None))

    return change


@_offer(_HTTP, "[constructor]fields", gives=_own(Fields))
def _new_fields(host: Host) -> Fields:
    return Fields(host.budget)


@_offer(_HTTP, "[static]fields.from-list", _ENTRIES, gives=Ok(_own(Fields), Variant()))
@_guarded
def _fields_from(host: Host, entries: list[tuple[str, bytes]]) -> Fields:
    return Fields.of(host.budget, entries)


@_offer(_HTTP, "[method]fields.get", _FIELDS, text, gives=List(octets))
def _get(_host: Host, fields: Fields, name: str) -> list[bytes]:
    return fields.get(name)


@_offer(_HTTP, "[method]fields.has", _FIELDS, text, gives=boolean)
def _has(_host: Host, fields: Fields, name: str) -> bool:
    return bool(fields.get(name))


_offer(_HTTP, "[method]fields.set", _FIELDS, text, List(octets), gives=_HEADER_RESULT)(
    _guarded(lambda _host, fields, name, values: fields.set(name, values))
)
_offer(_HTTP, "[method]fields.append", _FIELDS, text, octets, gives=_HEADER_RESULT)(
    _guarded(lambda _host, fields, name, value: fields.append(name, value))
)
_offer(_HTTP, "[method]fields.delete", _FIELDS, text, gives=_HEADER_RESULT)(
    _guarded(lambda _host, fields, name: fields.delete(name))
)


@_offer(_HTTP, "[method]fields.entries", _FIELDS, gives=_ENTRIES)
def _entries(_host: Host, fields: Fields) -> list[tuple[str, bytes]]:
    return fields.entries


@_offer(_HTTP, "[method]fields.clone", _FIELDS, gives=_own(Fields))
def _clone(_host: Host, fields: Fields) -> Fields:
    return fields.clone()


_REQUEST = Resource(IncomingRequest)


@_offer(_HTTP, "[method]incoming-request.method", _REQUEST, gives=_METHOD)
def _method(_host: Host, request: IncomingRequest) -> tuple[str, str | None]:
    return method(request.method)


@_offer(_HTTP, "[method]incoming-request.path-with-query", _REQUEST, gives=Option(text))
def _target(_host: Host, request: IncomingRequest) -> str:
    return request.target


@_offer(_HTTP, "[method]incoming-request.scheme", _REQUEST, gives=Option(_SCHEME))
def _scheme(_host: Host, request: IncomingRequest) -> tuple[str, str | None]:
    return scheme(request.scheme)


@_offer(_HTTP, "[method]incoming-request.authority", _REQUEST, gives=Option(text))
def _authority(_host: Host, request: IncomingRequest) -> str:
    return request.authority


@_offer(_HTTP, "[method]incoming-request.headers", _REQUEST, gives=_own(Fields))
@_offer(_HTTP, "[method]incoming-response.headers", Resource(IncomingResponse), gives=_own(Fields))
def _headers(host: Host, message: IncomingRequest | IncomingResponse) -> Fields:
    return Fields.arrived(host.budget, message.headers)


@_offer(_HTTP, "[method]incoming-request.consume", _REQUEST, gives=Ok(_own(IncomingBody)))
@_offer(_HTTP, "[method]incoming-response.consume", Resource(IncomingResponse), gives=Ok(_own(IncomingBody)))
def _consume(_host: Host, message: IncomingRequest | IncomingResponse) -> IncomingBody | Wrong:
    return IncomingBody(message.body.pop()) if message.body else _DONE


@_offer(_HTTP, "[method]incoming-response.status", Resource(IncomingResponse), gives=u16)
def _status(_host: Host, response: IncomingResponse) -> int:
    return response.status


@_offer(_HTTP, "[method]incoming-body.stream", Resource(IncomingBody), gives=Ok(_own(InputStream)))
def _stream(_host: Host, body: IncomingBody) -> InputStream | Wrong:
    arrived, body.body = body.body, None
    return _DONE if arrived is None else InputStream(arrived)


@_offer(_HTTP, "[static]incoming-body.finish", _own(IncomingBody), gives=_own(FutureTrailers))
def _finish_incoming(_host: Host, _body: IncomingBody) -> FutureTrailers:
    return FutureTrailers()


_offer(_HTTP, "[method]future-trailers.subscribe", Resource(FutureTrailers), gives=_own(Pollable))(_ready)


@_offer(
    _HTTP, "[method]future-trailers.get", Resource(FutureTrailers),
    gives=Option(Ok(Ok(Option(_own(Fields)), _ERROR_CODE))),
)  # fmt: skip
def _trailers(_host: Host, future: FutureTrailers) -> Any:
    if future.is_told:
        return _DONE
    future.is_told = True
    return Some(Some(Some(None)))


_RESPONSE = Resource(OutgoingResponse)


@_offer(_HTTP, "[constructor]outgoing-response", _own(Fields), gives=_own(OutgoingResponse))
def _new_response(host: Host, headers: Fields) -> OutgoingResponse:
    return OutgoingResponse(headers, host.new_body())


@_offer(_HTTP, "[method]outgoing-response.status-code", _RESPONSE, gives=u16)
def _status_code(_host: Host, response: OutgoingResponse) -> int:
    return response.status


@_offer(_HTTP, "[method]outgoing-response.set-status-code", _RESPONSE, u16, gives=_UNIT)
def _set_status_code(_host: Host, response: OutgoingResponse, status: int) -> Wrong | None:
    if not 200 <= status <= 599:
        return _DONE
    response.status = status
    return None


_REQUEST_OUT = Resource(OutgoingRequest)


@_offer(_HTTP, "[method]outgoing-response.headers", _RESPONSE, gives=_own(Fields))
@_offer(_HTTP, "[method]outgoing-request.headers", _REQUEST_OUT, gives=_own(Fields))
def _headers_of(_host: Host, message: OutgoingResponse | OutgoingRequest) -> Fields:
    return message.headers.view()


@_offer(_HTTP, "[method]outgoing-response.body", _RESPONSE, gives=Ok(_own(OutgoingBody)))
@_offer(_HTTP, "[method]outgoing-request.body", _REQUEST_OUT, gives=Ok(_own(OutgoingBody)))
def _body(_host: Host, message: OutgoingResponse | OutgoingRequest) -> OutgoingBody | Wrong:
    if message.body.is_taken:
        return _DONE
    message.body.is_taken = True
    return OutgoingBody(message.body)


@_offer(_HTTP, "[method]outgoing-body.write", Resource(OutgoingBody), gives=Ok(_own(OutputStream)))
def _write_to(_host: Host, body: OutgoingBody) -> OutputStream | Wrong:
    if body.is_open:
        return _DONE
    body.is_open = True
    return OutputStream(body.body.write)


@_offer(_HTTP, "[static]outgoing-body.finish", _own(OutgoingBody), Option(_own(Fields)), gives=Ok(None, _ERROR_CODE))
def _finish(_host: Host, body: OutgoingBody, _trailers: Fields | None) -> None:
    # Lambda's responses have no place for trailers.
    body.body.is_finished = True


@_offer(_HTTP, "[static]response-outparam.set", _own(ResponseOutparam), Ok(_own(OutgoingResponse), _ERROR_CODE))
def _set_response(host: Host, _place: ResponseOutparam, response: OutgoingResponse | Wrong) -> None:
    host.respond(response)


@_offer(_HTTP, "http-error-code", Resource(IoError), gives=Option(_ERROR_CODE))
def _error_code(_host: Host, _error: IoError) -> None:
    return None


# ---- requests that the guest makes


@_offer(_HTTP, "[constructor]outgoing-request", _own(Fields), gives=_own(OutgoingRequest))
def _new_request(host: Host, headers: Fields) -> OutgoingRequest:
    return OutgoingRequest(headers, host.new_body(), host.budget)


def _property(name: str, attribute: str, carrier: Carrier) -> None:
    def read(_host: Host, request: OutgoingRequest) -> Any:
        return getattr(request, attribute)

    def write(_host: Host, request: OutgoingRequest, value: Any) -> None:
        # A text, a case's name and its payload, or None.
        request.held.add(sum(len(part) for part in (value if isinstance(value, tuple) else (value,)) if part))
        setattr(request, attribute, value)

    _offer(_HTTP, f"[method]outgoing-request.{name}", _REQUEST_OUT, gives=carrier)(read)
    _offer(_HTTP, f"[method]outgoing-request.set-{name}", _REQUEST_OUT, carrier, gives=_UNIT)(write)


_property("method", "method", _METHOD)
_property("path-with-query", "target", Option(text))
_property("scheme", "scheme", Option(_SCHEME))
_property("authority", "authority", Option(text))


def _timeout(name: str) -> None:
    options = Resource(RequestOptions)

    def read(_host: Host, options: RequestOptions) -> int | None:
        return options.timeouts.get(name)

    def write(_host: Host, options: RequestOptions, value: int | None) -> None:
        options.timeouts[name] = value

    _offer(_HTTP, f"[method]request-options.{name}", options, gives=Option(u64))(read)
    _offer(_HTTP, f"[method]request-options.set-{name}", options, Option(u64), gives=_UNIT)(write)


for _name in ("connect-timeout", "first-byte-timeout", "between-bytes-timeout"):
    _timeout(_name)


@_offer(_HTTP, "[constructor]request-options", gives=_own(RequestOptions))
def _new_options(_host: Host) -> RequestOptions:
    return RequestOptions()


@_offer(
    "wasi:http/outgoing-handler", "handle", _own(OutgoingRequest), Option(_own(RequestOptions)),
    gives=Ok(_own(FutureResponse), _ERROR_CODE),
)  # fmt: skip
def _handle(_host: Host, request: OutgoingRequest, options: RequestOptions | None) -> FutureResponse:
    given = [value for value in (options.timeouts.values() if options else ()) if value is not None]
    return FutureResponse(request, max(given) if given else None)


_offer(_HTTP, "[method]future-incoming-response.subscribe", Resource(FutureResponse), gives=_own(Pollable))(_ready)


@_offer(
    _HTTP, "[method]future-incoming-response.get", Resource(FutureResponse),
    gives=Option(Ok(Ok(_own(IncomingResponse), _ERROR_CODE))),
)  # fmt: skip
def _response(host: Host, future: FutureResponse) -> Any:
    if future.is_told:
        return _DONE
    host.fetch(future)
    future.is_told = True
    return future.outcome
