"""Host calls of components: the log, and functions that take and give JSON texts.

What answers them is what answers modules: an exchange of MessagePack, which may lead to another process.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from wasmrun.errors import HostError, printable
from wasmrun.hints import Any
from wasmrun.invocation import LEVELS
from wasmrun.jsontext import from_json, to_json
from wasmrun.machine import capi, messages
from wasmrun.machine.components import values
from wasmrun.machine.components.linker import Body
from wasmrun.machine.hostcalls import Exchange, NoFuel
from wasmrun.machine.instance import Instance
from wasmrun.units import format_size

LOGGER = "logger.log"
HTTP = "http.request"
"""Functions of the package ``wasmrun:function``, without its name and version."""

TYPES = {
    LOGGER: "func(level: enum, message: string)",
    HTTP: "func(request: string) -> result<string, string>",
}
"""Their types, as the surface of a component has them."""

_INFO = LEVELS.index("info")
_NUMBERS = {level.encode(): number for number, level in enumerate(LEVELS)}


def _claim(instance: Instance, length: int) -> None:
    if not instance.charge(length):
        raise NoFuel


def log(instance: Instance, arguments: int, _result: int) -> None:
    """``log(level, message)``: one entry of the log; what is over the log's limit is not kept."""
    pointer, length = values.text_at(arguments + values.SIZE)
    _claim(instance, length)
    book = instance.log()
    if not book.is_cut:
        level = capi.string_at(*values.text_at(arguments))
        # One byte more than there is room for, and the log is cut.
        book.add(_NUMBERS.get(level, _INFO), capi.string_at(pointer, min(length, book.room + 1)))


def message(exchange: Exchange) -> Body:
    """A host function of the embedding program, which *exchange* answers."""
    return _exchanged(exchange, lambda value: value, lambda value: value)


def http_request(exchange: Exchange) -> Body:
    """``http.request``: bodies are bytes, for which JSON has no form."""
    return _exchanged(exchange, _with_bytes, _without_bytes)


def _exchanged(exchange: Exchange, before: Callable[[Any], Any], after: Callable[[Any], Any]) -> Body:
    def body(instance: Instance, arguments: int, result: int) -> None:
        pointer, length = values.text_at(arguments)
        _claim(instance, length)
        most = instance.program.function.result_bytes
        if length > most:
            # Decoding takes time and many times the memory, outside the sandbox and its limits.
            text = f"{format_size(length)}, more than the limit of {format_size(most)} (result_bytes)"
            is_ok, reply = False, _refusal(text)
        else:
            try:
                request = messages.encode(before(from_json(capi.string_at(pointer, length))))
            except (ValueError, OverflowError) as error:
                is_ok, reply = False, _refusal(f"not JSON that can be passed on: {printable(str(error))}")
            else:
                is_ok, reply = _reply(instance, exchange(instance, request), after)
        _claim(instance, len(reply))
        values.put_text_result(result, reply, is_ok=is_ok)

    return body


def _reply(instance: Instance, answer: bytes, after: Callable[[Any], Any]) -> tuple[bool, bytes]:
    try:
        status, value = messages.decode(answer)
        return status == 0, to_json(after(value) if status == 0 else value).encode()
    except ValueError as error:
        failure = HostError(f"a host function answered what JSON has no form for: {printable(str(error))}")
        instance.host_failure = failure
        return False, to_json({"type": "InvalidAnswer", "message": failure.message}).encode()


def _refusal(reason: str) -> bytes:
    return to_json({"type": "InvalidArgument", "message": reason}).encode()


def _with_bytes(request: Any) -> Any:
    """A request whose body, in base64, is bytes. Raises `ValueError`."""
    if not isinstance(request, dict) or "body_base64" not in request:
        return request
    if "body" in request:
        raise ValueError("a request has `body` or `body_base64`, not both")
    rest = dict(request)
    encoded = rest.pop("body_base64")
    try:
        return rest | {"body": base64.b64decode(encoded, validate=True)}
    except (TypeError, ValueError, binascii.Error):
        raise ValueError("`body_base64` is not base64") from None


def _without_bytes(response: Any) -> Any:
    rest = dict(response)
    return rest | {"body_base64": base64.b64encode(rest.pop("body")).decode()}
