"""The component ABI: an exported function from texts to a text or an error, all of them JSON."""

from __future__ import annotations

import ctypes
import json
import re

from wasmrun.errors import (
    GuestError,
    InvalidAnswer,
    InvalidEvent,
    InvalidFunction,
    OutOfMemory,
    ResultTooLarge,
    printable,
)
from wasmrun.hints import TYPE_CHECKING, Any, ClassVar
from wasmrun.jsontext import from_json, to_json
from wasmrun.machine.abi.base import Given
from wasmrun.machine.components import binding, failing
from wasmrun.machine.record import ENTRY, VALUES, copy_out
from wasmrun.units import format_size

if TYPE_CHECKING:
    from wasmrun.function import Function
    from wasmrun.machine.components.link import Link
    from wasmrun.machine.components.loaded import Component
    from wasmrun.machine.instance import Instance

HANDLER = "func(event: string, context: string) -> result<string, string>"
"""The type of handlers; the parameters may have any names."""
_HANDLER = re.compile(r"func\([a-z0-9-]+: string, [a-z0-9-]+: string\) -> result<string, string>", re.IGNORECASE)
_START_UP = "func()"
_RESULT = VALUES + 8
"""The word of the record where the result is; the two arguments, of 4 words each, are before it."""

_word = ctypes.c_uint64.from_address


class ComponentCodec:
    """JSON text for the event and one for its context; JSON text for the answer. Or texts as they stand."""

    name: ClassVar[str] = "component"
    needs_context = True

    def __init__(self, function: Function, entry: str, *, is_raw: bool) -> None:
        self.entry = entry
        self.is_raw = is_raw
        fixed = {
            "function": function.label,
            "version": function.version,
            "memory_limit_bytes": function.memory,
            "fuel_limit": function.fuel_limit,
        }
        self._head = json.dumps(fixed, ensure_ascii=False)[:-1] + ', "request_id": '

    def encode(self, event: Any, given: Given | None) -> bytes:
        """The context, a zero byte, and the event. Raises `InvalidEvent`."""
        if isinstance(event, (bytes, bytearray, memoryview)):
            payload = bytes(event)
            try:
                payload.decode()
            except UnicodeDecodeError as error:
                raise InvalidEvent(f"a component takes text, and the event's bytes are not UTF-8: {error}") from None
        elif self.is_raw:
            if event != {}:
                raise InvalidEvent(f"a raw component takes bytes, not {type(event).__name__}")
            payload = b""
        else:
            try:
                payload = to_json(event).encode()
            except ValueError as error:
                raise InvalidEvent(f"the event cannot be written as JSON: {error}") from None
        # No JSON has a zero byte, so the first one is ours.
        return b"%b\0%b" % (self._context(given), payload)

    def _context(self, given: Given | None) -> bytes:
        if given is None:
            return b"{}"
        try:
            text = f'{self._head}{json.dumps(given.request_id)}, "deadline_ms": {given.deadline_ms}'
            for name, value in (
                ("client_context", given.client_context),
                ("tenant_id", given.tenant),
                ("trace_id", given.trace_id),
            ):
                if value is not None:
                    text += f', "{name}": {to_json(value)}'
            return (text + "}").encode()
        except ValueError as error:
            raise InvalidEvent(f"the context cannot be written as JSON: {error}") from None

    def decode(self, answer: bytes) -> Any:
        """The value of the answer's JSON, or the bytes of its text where that is taken as it stands."""
        if self.is_raw:
            return answer
        try:
            return from_json(answer)
        except ValueError as error:
            raise InvalidAnswer(
                f"the answer is not JSON: {printable(str(error))}; take it as it stands with raw=True (--raw)"
            ) from None


class ComponentAbi(ComponentCodec):
    """The component ABI for one function. Raises `InvalidFunction` for a component that cannot serve it."""

    wasi_at_event = False
    can_reuse = True
    params: tuple[str, ...] = ()
    results: tuple[str, ...] = ()

    def __init__(self, function: Function, component: Component) -> None:
        super().__init__(function, _choose_entry(function, component.exports), is_raw=function.raw)
        start_up = component.exports.get("init")
        if start_up not in (None, _START_UP):
            raise InvalidFunction(f"the export 'init' must be {_START_UP}, not {printable(start_up or '')}")
        self.start_up: tuple[bytes, ...] = (b"init",) if start_up else ()
        self._place, self._name = _placed(self.entry, component.exports)
        self._result_bytes = function.result_bytes

    def prepare(self, instance: Instance) -> None:
        """Run ``init``, and find the handler."""
        link: Link = instance.program.link  # type: ignore[assignment]  # a component's
        for name in self.start_up:
            link.find(instance, name.decode())
            self._call(instance, 0, 0)
        link.find(instance, self._name, inside=self._place)

    def _call(self, instance: Instance, arguments: int, results: int) -> None:
        address = instance.address
        error = binding.call(
            address + ENTRY * 8, instance.context, instance.values, arguments, address + _RESULT * 8, results
        )
        if error:
            raise failing.failure(instance, error)

    def call(self, instance: Instance, payload: bytes) -> bytes:
        """Hand the event over and read the answer; what the function reports is raised."""
        words, record = instance.words, instance.record
        length = payload.index(b"\0")
        start = ctypes.c_void_p.from_buffer(ctypes.c_char_p(payload)).value or 0
        at = record + VALUES
        words[at] = words[at + 4] = binding.STRING
        words[at + 1], words[at + 2] = len(payload) - length - 1, start + length + 1
        words[at + 5], words[at + 6] = length, start
        # The engine frees what stands where it puts the result.
        words[record + _RESULT] = 0
        self._call(instance, 2, 1)
        result = instance.address + _RESULT * 8
        try:
            inner = words[record + _RESULT + 2]
            size = _word(inner + 8).value
            if size > self._result_bytes:
                raise ResultTooLarge(
                    f"the function answered {format_size(size)}, more than its limit of "
                    f"{format_size(self._result_bytes)}; answer less, or raise `result_bytes`"
                )
            answer: bytes = copy_out(_word(inner + 16).value, size) if size else b""
            is_ok = words[record + _RESULT + 1] & 0xFF
        finally:
            binding.value_delete(result)
        if not is_ok:
            raise _reported(answer)
        return answer

    def release(self, instance: Instance) -> None:
        """The component has given the answer's memory back at the end of its call."""
        if instance.fault is not None:
            raise instance.fault


def _reported(text: bytes) -> GuestError | OutOfMemory:
    """The exception for an error that the function reported: an object in JSON, or a plain message."""
    try:
        error = from_json(text)
    except ValueError:
        error = None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        message = text.decode("utf-8", "replace")
        return GuestError(message or "the function reported an error, and said nothing of it", type="Error")
    kind, stack = error.get("type"), error.get("stack")
    kind = kind if isinstance(kind, str) and kind else "Error"
    lines = [line for line in stack if isinstance(line, str)] if isinstance(stack, list) else []
    cls = OutOfMemory if kind == "OutOfMemory" else GuestError
    return cls(error["message"] or kind, type=kind, stack=lines)


def _placed(entry: str, exports: dict[str, str]) -> tuple[str | None, str]:
    """The exported instance that *entry* is a function of, if it is one's, and the function's own name."""
    for name, type_ in exports.items():
        if type_ == "instance" and entry.startswith(f"{name}."):
            return name, entry[len(name) + 1 :]
    return None, entry


def _choose_entry(function: Function, exports: dict[str, str]) -> str:
    handlers = [name for name, type_ in exports.items() if _HANDLER.fullmatch(type_)]
    wanted = function.entry or "handle"
    if wanted in handlers:
        return wanted
    shown = ", ".join(printable(name, 60) for name in handlers[:10])
    if wanted in exports:
        raise InvalidFunction(
            f"the export {printable(wanted)!r} must be {HANDLER}, not {printable(exports[wanted])}; build the component "
            "for the world wasmrun:function/function"
        )
    hint = f"; it exports {shown}: name one with --entry" if handlers else ""
    raise InvalidFunction(
        f"the export {printable(wanted)!r} is missing; it must be {HANDLER}, as in the world "
        f"wasmrun:function/function{hint}"
    )
