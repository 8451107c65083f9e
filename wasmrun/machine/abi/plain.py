"""The plain ABI: an exported function that takes numbers and gives numbers."""

from __future__ import annotations

import ctypes
import math
import struct

from wasmrun.errors import InvalidAnswer, InvalidEvent, InvalidFunction, printable
from wasmrun.hints import TYPE_CHECKING, Any, ClassVar
from wasmrun.machine import capi
from wasmrun.machine.abi.base import Given
from wasmrun.machine.failures import failure
from wasmrun.machine.record import ENTRY, TRAP

if TYPE_CHECKING:
    from wasmrun.function import Function
    from wasmrun.machine.instance import Instance
    from wasmrun.machine.module import Module

_VALUE_BYTES = 16
_FORMATS = {"i32": "<i12x", "i64": "<q8x", "f32": "<f12x", "f64": "<d8x"}
_BITS = {"i32": 32, "i64": 64}


class PlainCodec:
    """The event is a list of numbers, the answer a number, a list, or None."""

    name: ClassVar[str] = "plain"
    is_raw = False
    needs_context = False

    def __init__(self, entry: str, params: tuple[str, ...], results: tuple[str, ...]) -> None:
        self.entry = entry
        self.params = params
        self.results = results

    def encode(self, event: Any, given: Given | None) -> bytes:
        """The numbers as the engine takes them, 16 bytes each. Raises `InvalidEvent` where they do not fit."""
        numbers = [] if event is None or event == {} else event if isinstance(event, (list, tuple)) else [event]
        if len(numbers) != len(self.params):
            raise InvalidEvent(
                f"{printable(self.entry)} takes {len(self.params)} numbers ({', '.join(self.params)}), "
                f"not {len(numbers)}; write the event as a list"
            )
        return b"".join(_pack(kind, number) for kind, number in zip(self.params, numbers, strict=True))

    def decode(self, answer: bytes) -> Any:
        """The number, a list where there are several, None where there is none."""
        if len(answer) < len(self.results) * _VALUE_BYTES:
            raise InvalidAnswer(f"{printable(self.entry)} gives {len(self.results)} numbers, and there are fewer")
        numbers = [
            struct.unpack_from(_FORMATS[kind], answer, at * _VALUE_BYTES)[0] for at, kind in enumerate(self.results)
        ]
        return numbers[0] if len(numbers) == 1 else numbers or None


class Plain(PlainCodec):
    """The plain ABI for one function. Raises `InvalidFunction` for a module that cannot serve it."""

    wasi_at_event = False
    can_reuse = True

    def __init__(self, function: Function, module: Module) -> None:
        numeric = [
            name
            for name, type_ in module.exports.items()
            if type_.kind == "function" and all(kind in _FORMATS for kind in (*type_.params, *type_.results))
        ]
        if function.raw:
            raise InvalidFunction(
                "raw=True (--raw) wants a handler of bytes, and this is a module of functions of numbers"
            )
        candidates = [name for name in numeric if not name.startswith(("_", "wasmrun_"))]
        entry = function.entry or (candidates[0] if len(candidates) == 1 else None)
        shown = ", ".join(printable(name, 60) for name in candidates[:10]) or "none"
        if entry is None:
            raise InvalidFunction(f"no entry is named; functions of numbers are {shown}: name one with --entry")
        if entry not in module.exports:
            raise InvalidFunction(f"the export {printable(entry)!r} is missing; functions of numbers are {shown}")
        if entry not in numeric:
            raise InvalidFunction(f"the export {printable(entry)!r} is no function of numbers: {module.exports[entry]}")
        super().__init__(entry, module.exports[entry].params, module.exports[entry].results)
        self._has_memory = getattr(module.exports.get("memory"), "kind", None) == "memory"
        self._entry_name = entry.encode()
        initialize = module.exports.get("_initialize")
        is_start_up = initialize is not None and (initialize.kind, initialize[1:3]) == ("function", ((), ()))
        self.start_up: tuple[bytes, ...] = (b"_initialize",) if is_start_up else ()

    def prepare(self, instance: Instance) -> None:
        """Find the entry, after ``_initialize`` where there is one."""
        if self._has_memory:
            instance.find_memory()
        for name in self.start_up:
            instance.call_named(name)
        instance.find(self._entry_name, ENTRY)

    def call(self, instance: Instance, payload: bytes) -> bytes:
        """Call the entry with the numbers in *payload*; its results, 16 bytes each."""
        count = max(len(self.params), len(self.results), 1)
        values = ctypes.create_string_buffer(payload, count * _VALUE_BYTES)
        error = capi.call(
            instance.context,
            instance.address + ENTRY * 8,
            ctypes.addressof(values),
            count,
            instance.address + TRAP * 8,
        )
        if error or instance.words[instance.record + TRAP]:
            raise failure(instance, error or 0)
        return values.raw[: len(self.results) * _VALUE_BYTES]

    def release(self, instance: Instance) -> None:
        """Numbers need no memory."""


def _pack(kind: str, number: Any) -> bytes:
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise InvalidEvent(f"a {type(number).__name__} is not a number; the function takes {kind}")
    if kind in _BITS:
        bits = _BITS[kind]
        if isinstance(number, float) and not (math.isfinite(number) and number == int(number)):
            raise InvalidEvent(f"{number!r} is not a whole number, and the function takes {kind}")
        whole = int(number)
        if not -(1 << (bits - 1)) <= whole < 1 << bits:
            raise InvalidEvent(f"{_shown(whole)} does not fit {kind}")
        # Unsigned numbers are welcome: the bits are what counts.
        number = whole - (1 << bits) if whole >= 1 << (bits - 1) else whole
    try:
        return struct.pack(_FORMATS[kind], number)
    except (OverflowError, struct.error):
        raise InvalidEvent(f"{_shown(number)} does not fit {kind}") from None


def _shown(number: float) -> str:
    # Python refuses to write very long integers in decimal.
    return f"a number of {number.bit_length()} bits" if isinstance(number, int) and abs(number) >> 128 else repr(number)
