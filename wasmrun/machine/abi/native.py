"""The native ABI, version 1: memory, `wasmrun_alloc`, and handlers of ``(ptr, len) -> ptr << 32 | len``."""

from __future__ import annotations

import struct

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
from wasmrun.machine.abi.base import HANDLER, Given
from wasmrun.machine.hotpath import Step
from wasmrun.machine.record import ALLOC, ENTRY, FREE, VALUES
from wasmrun.units import format_size

if TYPE_CHECKING:
    from wasmrun.function import Function
    from wasmrun.machine.instance import Instance
    from wasmrun.machine.module import ExternType, Module

_SIGNATURES = {
    "wasmrun_alloc": (("i32",), ("i32",)),
    "wasmrun_free": (("i32", "i32"), ()),
    "wasmrun_init": ((), ()),
    "_initialize": ((), ()),
}
_MASK32 = 0xFFFFFFFF
_eight_bytes = struct.Struct(">Q").pack
# What MessagePack writes before a text of 0 to 255 bytes.
_TEXT_HEADS = tuple(bytes((0xA0 | length,)) if length < 32 else bytes((0xD9, length)) for length in range(256))


class NativeCodec:
    """MessagePack of ``[event, context]`` and of ``[0, value]`` or ``[1, error]``, or bytes as they stand."""

    name: ClassVar[str] = "native"

    def __init__(self, function: Function, entry: str) -> None:
        self.entry = entry
        self.is_raw = entry.endswith("_raw")
        self.needs_context = not self.is_raw
        self._function = function
        if self.is_raw:
            return
        from wasmrun.machine import messages  # for those that exchange any

        self._pack, self._unpack = messages.encode, messages.decode
        # The context map, but for what differs from event to event: its first four entries and the
        # key of the fifth, and the key of the sixth.
        self._head = b"\x86" + b"".join(
            self._pack(item)
            for item in (
                *("function", function.label, "version", function.version),
                *("memory_limit_bytes", function.memory, "fuel_limit", function.fuel_limit, "request_id"),
            )
        )
        self._middle = self._pack("deadline_ms") + b"\xcf"

    def encode(self, event: Any, given: Given | None) -> bytes:
        """MessagePack of ``[event, context]``, or the bytes of a raw event."""
        if given is None:
            if isinstance(event, bytes):
                return event
            if isinstance(event, (bytearray, memoryview)):
                return bytes(event)
            if event == {}:
                return b""
            raise InvalidEvent(
                f"{self.entry} takes bytes, not {type(event).__name__}; pass bytes, or name another entry"
            )
        try:
            packed: bytes = self._pack(event)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidEvent(f"the event cannot be encoded as MessagePack: {error}") from None
        try:
            request_id = given.request_id.encode()
        except UnicodeEncodeError as error:
            raise InvalidEvent(f"the request id cannot be encoded: {error}") from None
        length = len(request_id)
        if length > 255 or not (given[2] is given[3] is given[4] is None):
            return b"\x92" + packed + self._full_context(given)
        return b"".join(
            (
                b"\x92",
                packed,
                self._head,
                _TEXT_HEADS[length],
                request_id,
                self._middle,
                _eight_bytes(given.deadline_ms),
            )
        )

    def template(self) -> tuple[bytes | None, int]:
        """The usual context with gaps for a request id of 36 characters and a deadline, which are its last 8 bytes, and
        where the request id goes; None for raw events, which have none.
        """
        if self.is_raw:
            return None, 0
        head = self._head + _TEXT_HEADS[36]
        return b"".join((head, bytes(36), self._middle, bytes(8))), len(head)

    def _full_context(self, given: Given) -> bytes:
        function = self._function
        context: dict[str, Any] = {
            "request_id": given.request_id,
            "function": function.label,
            "version": function.version,
            "deadline_ms": given.deadline_ms,
            "memory_limit_bytes": function.memory,
            "fuel_limit": function.fuel_limit,
        }
        optional = {
            "client_context": given.client_context,
            "tenant_id": given.tenant,
            "trace_id": given.trace_id,
        }
        context.update((key, value) for key, value in optional.items() if value is not None)
        try:
            return bytes(self._pack(context))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidEvent(f"the client context cannot be encoded as MessagePack: {error}") from None

    def decode(self, answer: bytes) -> Any:
        """The value of ``[0, value]``, or the bytes of a raw answer; ``[1, error]`` is raised."""
        if self.is_raw:
            return answer
        try:
            envelope = self._unpack(answer)
        except ValueError as error:
            if not answer:
                raise InvalidAnswer(
                    "the function answered nothing; an answer is MessagePack [0, value] or [1, error]"
                ) from None
            raise InvalidAnswer(f"the answer is not MessagePack that can be read: {error}") from None
        if (
            type(envelope) is not list
            or len(envelope) != 2
            or type(envelope[0]) is not int
            or envelope[0] not in (0, 1)
        ):
            raise InvalidAnswer("the answer is not MessagePack [0, value] or [1, error]")
        if envelope[0] == 0:
            return envelope[1]
        raise _reported(envelope[1])


class Native(NativeCodec):
    """The native ABI for one function. Raises `InvalidFunction` for a module that cannot serve it."""

    wasi_at_event = False
    can_reuse = True
    params: tuple[str, ...] = ()
    results: tuple[str, ...] = ()

    def __init__(self, function: Function, module: Module) -> None:
        super().__init__(function, _choose_entry(function, module.exports))
        self._entry_name = self.entry.encode()
        for name, (params, results) in _SIGNATURES.items():
            found = module.exports.get(name)
            if found is None and name == "wasmrun_alloc":
                raise InvalidFunction("the export 'wasmrun_alloc' is missing; it must be (i32) -> i32")
            if found is not None and (found.kind, found.params, found.results) != ("function", params, results):
                raise InvalidFunction(f"the export {name!r} must be {_signature(params, results)}, not {found}")
        memory = module.exports.get("memory")
        if memory is None or memory.kind != "memory":
            what = "is missing" if memory is None else f"is not a memory but a {memory.kind}"
            raise InvalidFunction(f"the export 'memory' {what}")
        self._has_free = "wasmrun_free" in module.exports
        self.start_up = tuple(name.encode() for name in ("_initialize", "wasmrun_init") if name in module.exports)
        self._result_bytes = function.result_bytes
        self._event_bytes = function.event_bytes

    def prepare(self, instance: Instance) -> None:
        """Find the handles, then run ``_initialize`` and ``wasmrun_init``."""
        instance.find_memory()
        # Before the start-up: it may call the host, which answers through the allocator.
        instance.find(b"wasmrun_alloc", ALLOC)
        for name in self.start_up:
            instance.call_named(name)
        instance.find(self._entry_name, ENTRY)
        if self._has_free:
            instance.find(b"wasmrun_free", FREE)

    def call(self, instance: Instance, payload: bytes) -> bytes:
        """Copy the event in, call the handler, copy the answer out."""
        answer = instance.engine.crossings.call(
            instance.context, instance.address, instance.memory_base, instance.memory_bytes, self._result_bytes, payload
        )
        if type(answer) is bytes:
            return answer
        raise self._ended(instance, int(answer), len(payload))

    def _ended(self, instance: Instance, step: int, length: int) -> BaseException:
        """The exception for an event of *length* bytes that ended at *step*, from what that left in the record."""
        if step in (Step.FAILED_IN_ALLOC, Step.FAILED):
            return instance.failed()
        value = instance.words[instance.record + VALUES]
        if step == Step.NO_MEMORY:
            return OutOfMemory(f"the function has no memory for an event of {length} bytes (wasmrun_alloc answered 0)")
        if step == Step.EVENT_OUTSIDE:
            return InvalidAnswer(
                f"wasmrun_alloc answered {value & _MASK32} for {length} bytes; the function's memory has "
                f"{instance.current_memory_bytes()}"
            )
        pointer, length = value >> 32, value & _MASK32
        if step == Step.ANSWER_OUTSIDE:
            return InvalidAnswer(
                f"the function answered {length} bytes at {pointer}, which are not in its memory of "
                f"{instance.current_memory_bytes()} bytes"
            )
        if step == Step.ANSWER_TOO_LARGE:
            return ResultTooLarge(
                f"the function answered {format_size(length)}, more than its limit of "
                f"{format_size(self._result_bytes)}; answer less, or raise `result_bytes`"
            )
        return InvalidAnswer(f"the function answered {length} bytes at a null pointer")

    def release(self, instance: Instance) -> None:
        """Call ``wasmrun_free`` for the answer; the values that named it are still in the record."""
        if self._has_free:
            at = instance.record + VALUES
            packed = instance.words[at]
            instance.words[at] = packed >> 32
            instance.words[at + 2] = packed & _MASK32
            instance.call(FREE, 2)


def _choose_entry(function: Function, exports: dict[str, ExternType]) -> str:
    handlers = [name for name, type_ in exports.items() if _is_handler(type_)]
    wanted = function.entry
    if wanted is None:
        usual = ("wasmrun_handle_raw", "wasmrun_handle") if function.raw else ("wasmrun_handle", "wasmrun_handle_raw")
        wanted = next((name for name in usual if name in exports), None)
    if wanted is None:
        found = f"; it exports {_names(handlers)}: name one with --entry" if handlers else ""
        raise InvalidFunction(f"the export 'wasmrun_handle' is missing (or 'wasmrun_handle_raw'){found}")
    if wanted not in exports:
        raise InvalidFunction(f"the export {printable(wanted)!r} is missing; handlers are {_names(handlers)}")
    if not _is_handler(exports[wanted]):
        raise InvalidFunction(f"the export {printable(wanted)!r} must be {_signature(*HANDLER)}, not {exports[wanted]}")
    if function.raw and not wanted.endswith("_raw"):
        raise InvalidFunction(
            f"raw=True (--raw) wants a handler of bytes, and {printable(wanted)!r} takes the envelope; raw handlers "
            "have names that end in _raw"
        )
    return wanted


def _is_handler(type_: ExternType) -> bool:
    return (type_.kind, type_.params, type_.results) == ("function", *HANDLER)


def _names(names: list[str]) -> str:
    return ", ".join(printable(name, 60) for name in names[:10]) or "none"


def _signature(params: tuple[str, ...], results: tuple[str, ...]) -> str:
    return f"({', '.join(params)}) -> {results[0] if results else '()'}"


def _reported(error: Any) -> Exception:
    """The exception for what the function reported about itself."""
    if not isinstance(error, dict):
        raise InvalidAnswer('the error in the answer is not a map {"type", "message", "stack"}')
    kind, message, stack = error.get("type", "Error"), error.get("message", ""), error.get("stack", [])
    stack = [stack] if isinstance(stack, str) else stack
    if not isinstance(kind, str) or not isinstance(message, str) or not isinstance(stack, (list, type(None))):
        raise InvalidAnswer('in the error of the answer "type" and "message" must be strings, and "stack" a list')
    lines = [line for line in stack or [] if isinstance(line, str)]
    cls = OutOfMemory if kind == "OutOfMemory" else GuestError
    return cls(message or kind, type=kind, stack=lines)
