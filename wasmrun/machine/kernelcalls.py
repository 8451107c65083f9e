"""Kernel calls: what the kernel of an Extism plug-in asks of the host, and host functions that plug-ins import.

Addresses are those of the kernel's memory, and chosen by the plug-in as much as everything else.
"""

from __future__ import annotations

import ctypes
import json
import struct

import msgpack

from wasmrun.errors import GuestTrap, HostError, OutOfMemory, printable
from wasmrun.hints import TYPE_CHECKING, Any
from wasmrun.jsontext import from_json, to_json
from wasmrun.machine import capi, messages
from wasmrun.machine.hostcalls import Body, NoFuel
from wasmrun.machine.instance import Instance
from wasmrun.machine.module import PAGE, ExternType
from wasmrun.machine.record import KERNEL, KERNEL_ALLOC, KERNEL_LENGTH, KERNEL_MEMORY, VALUES, copy_in, copy_out
from wasmrun.units import format_size

if TYPE_CHECKING:
    from wasmrun.machine.hostcalls import Exchange

_MASK32 = 0xFFFFFFFF
_MASK64 = 0xFFFFFFFFFFFFFFFF
_MOST_PAGES = 0xFFFF
_REFUSALS = (
    "variables are switched off for this plug-in (var_bytes is 0)",
    "the plug-in's variables are full; keep less in them, or raise `var_bytes`",
    "the plug-in has no memory for a variable; use less, or raise `memory`",
    "the plug-in gave a handle that is none",
)
_FLOATS = {"f32": struct.Struct("<f"), "f64": struct.Struct("<d")}


def _fail(message: str) -> GuestTrap:
    return GuestTrap(message, kind="host call")


def _take(instance: Instance, pointer: int, length: int, what: str) -> bytes:
    """The *length* bytes at *pointer*, which the plug-in pays for."""
    if not instance.charge(length):
        raise NoFuel
    if not length:
        return b""
    if pointer + length > instance.kernel_bytes:
        raise _fail(f"the plug-in gave {what} {length} bytes at {pointer}, which are not in its kernel's memory")
    return copy_out(instance.kernel_base + pointer, length)  # type: ignore[no-any-return]  # a py_object


def _place(instance: Instance, data: bytes) -> int:
    """The handle of a new block with *data*; 0, which stands for nothing, where there is none."""
    if not instance.charge(len(data)):
        raise NoFuel
    if not data:
        return 0
    pointer = _ask_kernel(instance, b"alloc", KERNEL_ALLOC, len(data)) & _MASK32
    if not pointer or pointer + len(data) > instance.kernel_bytes:
        raise OutOfMemory(f"the plug-in has no memory for {len(data)} bytes from the host; raise `memory`")
    copy_in(instance.kernel_base + pointer, data, len(data))
    return pointer


def _ask_kernel(instance: Instance, name: bytes, word: int, value: int) -> int:
    """Call the kernel's function *name* with one number."""
    at = instance.record + VALUES
    context, address = instance.context, instance.address
    capi.export_get(context, address + KERNEL * 8, name, len(name), address + (word - 1) * 8)
    instance.words[at] = value
    instance.call(word, 1)
    return instance.words[at]


def grow(instance: Instance, words: Any) -> int:
    """``grow(pages)``: more memory for the kernel, as long as it and the plug-in's stay within their common limit.

    The engine bounds each memory by itself: so what the kernel gets is taken from the bound of the plug-in's.
    """
    program = instance.program
    wanted, have = words[0] & _MASK32, instance.kernel_bytes // PAGE
    if program.has_memory and not instance.memory_base:
        return 0  # in a start function, where nobody knows yet how much the plug-in has
    # A memory that cannot be seen may have grown to half of the limit, and no further.
    taken = instance.current_memory_bytes() if program.has_memory else program.store_limits[0]
    most = min((program.function.memory - taken) // PAGE, _MOST_PAGES)
    pages = max(wanted, min(have, 16))  # so that many small blocks are not a call each
    if have + pages > most:
        pages = wanted
    if have + pages > most:
        return 0
    limit, *counts = program.store_limits
    capi.store_limiter(instance.store, program.function.memory, *counts)
    before = ctypes.c_uint64()
    error = capi.memory_grow(instance.context, instance.address + KERNEL_MEMORY * 8, pages, ctypes.addressof(before))
    if error:
        capi.error_delete(error)
    else:
        instance.kernel_bytes += pages * PAGE
    rest = program.function.memory - instance.kernel_bytes
    capi.store_limiter(instance.store, rest if program.has_memory else limit, *counts)
    return 0 if error else 1


def log(instance: Instance, words: Any) -> None:
    """``log(level, at, length)``: one entry of the log."""
    length = words[4] & _MASK32
    book = instance.log()
    if book.is_cut:
        instance.charge(length)
        return
    if length > book.room + 1:
        instance.charge(length - book.room - 1)
        length = book.room + 1  # one byte more than there is room for, and the log is cut
    book.add(words[0] & _MASK32, _take(instance, words[2] & _MASK32, length, "the log"))


def config_get(instance: Instance, words: Any) -> int:
    """``config_get(at, length)``: the handle of a value of the function's configuration, 0 where it has none."""
    config = instance.program.config
    length = words[2] & _MASK32
    if length > max(map(len, config), default=0):
        instance.charge(length)
        return 0
    value = config.get(_take(instance, words[0] & _MASK32, length, "config_get"))
    return 0 if value is None else _place(instance, value)


def var_limit(instance: Instance, _words: Any) -> int:
    """``var_limit()``: how many bytes of variables the plug-in may have."""
    return instance.program.function.var_bytes


def refuse(_instance: Instance, words: Any) -> None:
    """``refuse(reason)``: the kernel ends the plug-in."""
    raise _fail(_REFUSALS[words[0] & _MASK32])


def http_request(instance: Instance, words: Any) -> int:
    """``http_request(at, length, body at, body length)``: the handle of the response's body."""
    instance.http_reply = None
    most = instance.program.function.result_bytes
    length, body_length = words[2] & _MASK32, words[6] & _MASK32
    if length > most:
        raise _fail(
            f"the plug-in's HTTP request has {format_size(length)}, more than {format_size(most)} (result_bytes)"
        )
    request = _parse_request(_take(instance, words[0] & _MASK32, length, "http_request"))
    if body_length:
        request["body"] = _take(instance, words[4] & _MASK32, body_length, "http_request")
    exchange = instance.program.exchanges.get("http_request")
    if exchange is None:
        raise _fail("an HTTP request of the plug-in was refused; grant HTTP requests with http=['HOST'] (--http HOST)")
    response = _exchanged(instance, exchange, request, "an HTTP request of the plug-in failed")
    instance.http_reply = response["status"], response["headers"]
    return _place(instance, response["body"])


def _parse_request(data: bytes) -> dict[str, Any]:
    try:
        given = from_json(data)
    except ValueError as error:
        raise _fail(f"the plug-in's HTTP request is not JSON: {printable(str(error))}") from None
    if not isinstance(given, dict):
        raise _fail("the plug-in's HTTP request is not a JSON object")
    request = {"url": given.get("url"), "method": given.get("method") or "GET"}
    headers = given.get("headers", given.get("header"))
    if headers:
        request["headers"] = headers
    if isinstance(request["method"], str):
        request["method"] = request["method"].upper()
    return request


def http_status_code(instance: Instance, _words: Any) -> int:
    """``http_status_code()``: of the last response, 0 before there was one."""
    reply = instance.http_reply
    return 0 if reply is None else reply[0]


def http_headers(instance: Instance, _words: Any) -> int:
    """``http_headers()``: the handle of the last response's headers as a JSON object, 0 before there was one."""
    reply = instance.http_reply
    return 0 if reply is None else _place(instance, json.dumps(reply[1]).encode())


def _exchanged(instance: Instance, exchange: Exchange, value: Any, failed: str) -> Any:
    """What *exchange* answers to *value*. An error ends the plug-in, which Extism gives no way to be told of it."""
    try:
        request: bytes = msgpack.packb(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _fail(f"{failed}: {printable(str(error))}") from None
    is_error, answer = messages.decode(exchange(instance, request))
    if is_error:
        raise _fail(f"{failed}: {printable(str(answer['type']))}: {printable(str(answer['message']))}")
    return answer


IMPORTS: dict[str, tuple[ExternType, Body]] = {
    "grow": (ExternType("function", ("i32",), ("i32",)), grow),
    "log": (ExternType("function", ("i32",) * 3), log),
    "config_get": (ExternType("function", ("i32",) * 2, ("i64",)), config_get),
    "http_request": (ExternType("function", ("i32",) * 4, ("i64",)), http_request),
    "http_status_code": (ExternType("function", (), ("i32",)), http_status_code),
    "http_headers": (ExternType("function", (), ("i64",)), http_headers),
    "var_limit": (ExternType("function", (), ("i64",)), var_limit),
    "refuse": (ExternType("function", ("i32",)), refuse),
}
"""What the kernel imports from ``host``."""


# Host functions that plug-ins import themselves


def user_function(name: str, type_: ExternType, exchange: Exchange) -> Body:
    """The host function *name* as the plug-in imports it: an i64 is the handle of a block, other numbers are themselves.

    The function of the embedding program gets nothing, one value, or a list of values, blocks as bytes. What it
    answers becomes a block where the plug-in wants an i64: bytes as they stand, text as UTF-8, None as no block,
    anything else as JSON.
    """
    kinds = type_.params
    result = type_.results[0] if type_.results else None

    def body(instance: Instance, words: Any) -> int | None:
        # Asking the kernel for a length uses the same words.
        given = [words[2 * at] for at in range(len(kinds))]
        values = [_argument(instance, kind, bits, name) for kind, bits in zip(kinds, given, strict=True)]
        value = values if len(values) > 1 else (values[0] if values else None)
        failed = f"the host function {printable(name)!r} failed"
        return _result(instance, result, _exchanged(instance, exchange, value, failed), name)

    return body


def _argument(instance: Instance, kind: str, bits: int, name: str) -> Any:
    if kind in _FLOATS:
        pack = _FLOATS[kind]
        return pack.unpack(bits.to_bytes(8, "little")[: pack.size])[0]
    if kind == "i32":
        return ctypes.c_int32(bits & _MASK32).value
    length = _ask_kernel(instance, b"length", KERNEL_LENGTH, bits)
    most = instance.program.function.result_bytes
    if length > most:
        raise _fail(f"the plug-in gave {printable(name)!r} {format_size(length)}, more than {format_size(most)}")
    return _take(instance, bits & _MASK32, length, printable(name))


def _result(instance: Instance, kind: str | None, value: Any, name: str) -> int | None:
    if kind is None:
        return None
    try:
        if kind == "i64":
            return _place(instance, _bytes(value))
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"a {type(value).__name__} is no {kind}")
        if kind in _FLOATS:
            return int.from_bytes(_FLOATS[kind].pack(value), "little")
        if not -(1 << 31) <= value < 1 << 32:
            raise OverflowError(f"{value!r} does not fit {kind}")
        return int(value) & _MASK32
    except (TypeError, ValueError, OverflowError, struct.error) as error:
        raise HostError(f"the host function {printable(name)!r} gave what cannot be given: {error}") from None


def _bytes(value: Any) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else to_json(value).encode()
