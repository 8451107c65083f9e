"""What a wasmrun function in Python has at hand: context, reported errors, the log, HTTP requests, host functions.

It needs nothing beside the standard library. There is no host while a component is built, or where this is imported by any
other Python: lines of the log go to standard error then, and requests fail.
"""

from __future__ import annotations

import base64
import json
import logging
import sys
from dataclasses import dataclass
from typing import Any

try:  # what componentize-py makes from the project's WIT world
    import wit_world
    from componentize_py_types import Err
    from wit_world.imports import logger
except ImportError:
    wit_world = logger = Err = None

has_host = False
"""Whether this is a sandbox."""

__all__ = ["Context", "Fail", "Response", "call", "http_request", "log"]


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of an invocation beside its event. `deadline_ms` is Unix time in milliseconds."""

    request_id: str
    function: str
    version: str
    deadline_ms: int
    memory_limit_bytes: int
    fuel_limit: int | None
    client_context: Any = None
    tenant_id: str | None = None
    trace_id: str | None = None


class Fail(Exception):
    """An error that the function reports, by a type of its own. Other exceptions are reported under their class's name.

    Without a *stack*, that of the exception is reported.
    """

    def __init__(self, type: str, message: str, stack: list[str] | None = None) -> None:
        super().__init__(message)
        self.type = type
        self.message = message
        self.stack = stack


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to an HTTP request. Names of headers are in lower case; the body is as the server sent it."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


LEVELS = ("trace", "debug", "info", "warn", "error")


def log(level: str, message: str) -> None:
    """Write a line to the function's log. Levels are trace, debug, info, warn and error."""
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, not {level!r}")
    if not has_host or logger is None:
        print(f"{level.upper()}  {message}", file=sys.stderr)
        return
    logger.log(logger.Level[level.upper()], _text(str(message)))


class LogHandler(logging.Handler):
    """Takes what is logged by the standard library's `logging` to the function's log."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = LEVELS[min(max(record.levelno // 10, 0), 4)]
            log(level, self.format(record))
        except Exception:
            self.handleError(record)


def http_request(
    url: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes | str | None = None,
    timeout_ms: int | None = None,
) -> Response:
    """Have the host do an HTTP request. Any status is an answer; what was not done raises `Fail`, such as HttpNotGranted.

    The project's WIT world has to import `wasmrun:function/http`, and the function has to be granted the host.
    """
    request: dict[str, Any] = {"method": method, "url": url}
    if headers:
        request["headers"] = dict(headers)
    if isinstance(body, str):
        request["body"] = body
    elif body is not None:
        request["body_base64"] = base64.b64encode(body).decode()
    if timeout_ms is not None:
        request["timeout_ms"] = timeout_ms
    reply = _ask(_imported("http.request", "import wasmrun:function/http@1.0.0;"), request)
    return Response(reply["status"], reply["headers"], base64.b64decode(reply["body_base64"]))


def call(name: str, value: Any = None) -> Any:
    """Call a host function of the embedding program, such as ``db.get``, which the project's WIT world imports.

    Raises `Fail` with the type and message of what the host function raised.
    """
    interface, _, function = name.rpartition(".")
    line = f"import {function}: func(request: string) -> result<string, string>;"
    return _ask(_imported(name, f"import {interface}: interface {{ … }}" if interface else line), value)


def _imported(name: str, line: str) -> Any:
    if not has_host:
        raise Fail(
            "NoHost", f"{name} is for a sandbox, and a component is imported when it is built; call it in handle()"
        )
    interface, _, function = name.replace("-", "_").rpartition(".")
    module = getattr(wit_world, "imports", None) if interface else wit_world
    if interface and module is not None:
        module = sys.modules.get(f"{module.__name__}.{interface}")
    found = getattr(module, function, None)
    if found is None:
        raise Fail("NotImported", f"{name} is not imported; write into function.wit: {line}")
    return found


def _ask(imported: Any, value: Any) -> Any:
    try:
        return json.loads(imported(encoded(value)))
    except Exception as error:
        if Err is None or not isinstance(error, Err):
            raise
        refusal = error.value
    try:
        reported = json.loads(refusal)
        raise Fail(reported["type"], reported["message"])
    except (ValueError, TypeError, KeyError):
        raise Fail("Error", refusal) from None


def encoded(value: Any) -> str:
    """*value* as JSON text that is UTF-8; bytes are base64 text. Raises `Fail` with the type InvalidAnswer."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_base64)
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError:
        raise Fail("InvalidAnswer", "a text has half of a surrogate pair, which is no character") from None
    except RecursionError:
        raise Fail("InvalidAnswer", "the value nests too deep") from None
    except (TypeError, ValueError) as error:
        raise Fail("InvalidAnswer", f"the value cannot be JSON: {error}") from None
    return text


def _base64(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} is no kind of value that JSON has")


def _text(text: str) -> str:
    """*text* as it can be carried: what is no character becomes a question mark."""
    return text if text.isascii() else text.encode(errors="replace").decode()
