"""The Extism ABI: a plug-in whose functions take nothing, and find their event in a kernel that they are linked with."""

from __future__ import annotations

import struct

from wasmrun.errors import (
    GuestError,
    GuestExit,
    GuestTrap,
    InvalidAnswer,
    InvalidFunction,
    OutOfMemory,
    ResultTooLarge,
    printable,
)
from wasmrun.hints import TYPE_CHECKING, Any, ClassVar
from wasmrun.jsontext import from_json
from wasmrun.machine import capi
from wasmrun.machine.abi.command import CommandCodec
from wasmrun.machine.failures import failure
from wasmrun.machine.record import BEGIN, ENTRY, TRAP, VALUES, copy_in, copy_out
from wasmrun.units import format_size

if TYPE_CHECKING:
    from wasmrun.function import Function
    from wasmrun.machine.instance import Instance
    from wasmrun.machine.module import ExternType, Module

_MASK32 = 0xFFFFFFFF
_MOST_ERROR = 64 * 1024
_STATE = 32
"""Where the kernel keeps what an event left: offset and length of the output, handle and length of the error."""

_read_state = struct.Struct("<4Q").unpack


class ExtismCodec(CommandCodec):
    """JSON text in, and out where it is JSON; bytes as they stand."""

    name: ClassVar[str] = "extism"
    noun: ClassVar[str] = "plug-in"

    def decode(self, answer: bytes) -> Any:
        """The value of an answer that is JSON, else its text, else its bytes; None for one of no bytes."""
        if self.is_raw:
            return answer
        if not answer:
            return None
        try:
            text = answer.decode()
        except UnicodeDecodeError:
            return answer
        try:
            return from_json(text)
        except ValueError:
            return text


class Extism(ExtismCodec):
    """The Extism ABI for one function. Raises `InvalidFunction` for a module that cannot serve it."""

    wasi_at_event = False
    params: tuple[str, ...] = ()
    results: tuple[str, ...] = ()

    def __init__(self, function: Function, module: Module) -> None:
        entry = _choose_entry(function, module.exports)
        super().__init__(entry, is_raw=function.raw)
        self._entry_name = entry.encode()
        self._has_code = bool(module.exports[entry].results)
        self._result_bytes = function.result_bytes
        self.can_reuse = entry != "_start"  # a program that has ended does not start again
        self.start_up = _start_up(module.exports)
        memory = module.exports.get("memory")
        self._has_memory = memory is not None and memory.kind == "memory"

    def prepare(self, instance: Instance) -> None:
        """Start the runtime of the plug-in's language, as Extism does."""
        if self._has_memory:
            instance.find_memory()
        for name in self.start_up:
            instance.find(name, ENTRY)
            at = instance.record + VALUES
            instance.words[at] = instance.words[at + 2] = 0  # hs_init takes a count of arguments, and a pointer to them
            instance.call(ENTRY, 2)
        instance.find(self._entry_name, ENTRY)

    def call(self, instance: Instance, payload: bytes) -> bytes:
        """Give the kernel the event, call the entry, and copy its output out: the hot path, written out flat."""
        words, address, context = instance.words, instance.address, instance.context
        values, trap = instance.record + VALUES, instance.record + TRAP
        length = len(payload)
        words[values] = length
        error = capi.call(context, address + BEGIN * 8, instance.values, 1, address + TRAP * 8)
        if error or words[trap]:
            raise failure(instance, error or 0)
        if length:
            pointer = words[values] & _MASK32
            if not pointer or pointer + length > instance.kernel_bytes:
                raise OutOfMemory(f"the plug-in has no memory for an event of {length} bytes; raise `memory`")
            copy_in(instance.kernel_base + pointer, payload, length)
        error = capi.call(context, address + ENTRY * 8, instance.values, 1, address + TRAP * 8)
        code = words[values] & _MASK32 if self._has_code else 0
        if error or words[trap]:
            code = self._ended(instance, failure(instance, error or 0))
        pointer, length, handle, error_length = _read_state(copy_out(instance.kernel_base + _STATE, 32))
        if code or handle:
            raise _reported(instance, code, handle, error_length)
        if not length:
            return b""
        if pointer + length > instance.kernel_bytes:
            raise InvalidAnswer(
                f"the plug-in's output is {length} bytes at {pointer}, which are not in its kernel's memory of "
                f"{instance.kernel_bytes} bytes"
            )
        if length > self._result_bytes:
            raise ResultTooLarge(
                f"the plug-in answered {format_size(length)}, more than its limit of "
                f"{format_size(self._result_bytes)}; answer less, or raise `result_bytes`"
            )
        return copy_out(instance.kernel_base + pointer, length)  # type: ignore[no-any-return]  # a py_object

    def _ended(self, instance: Instance, error: BaseException) -> int:
        """0 where the plug-in left by WASI's exit with status 0; any other end is raised, with what it said before."""
        if isinstance(error, GuestExit) and error.status == 0:
            return 0
        if isinstance(error, (GuestExit, GuestTrap)) and instance.host_failure is None:
            _, _, handle, length = _read_state(copy_out(instance.kernel_base + _STATE, 32))
            text = _text(instance, handle, length)
            if text:
                error.args = (f"{error.message}; before, it reported: {printable(text)}",)
        raise error

    def release(self, instance: Instance) -> None:
        """The kernel forgets what it holds when the next event begins; a plug-in that has exited takes none."""
        if instance.fault is not None:
            raise instance.fault


def _reported(instance: Instance, code: int, handle: int, length: int) -> GuestError:
    """The error that a plug-in reported, by a text or by its return code alone."""
    text = _text(instance, handle, length)
    if text:
        return GuestError(text)
    shown = code - (1 << 32) if code >> 31 else code
    if handle:
        return GuestError(f"the plug-in reported an error without a text (it returned {shown})")
    return GuestError(f"the plug-in returned {shown}, and said nothing of why")


def _text(instance: Instance, pointer: int, length: int) -> str:
    length = min(length, _MOST_ERROR)
    if not length or pointer + length > instance.kernel_bytes:
        return ""
    return copy_out(instance.kernel_base + pointer, length).decode("utf-8", "replace")  # type: ignore[no-any-return]


def _start_up(exports: dict[str, ExternType]) -> tuple[bytes, ...]:
    """The functions that start the runtime of the plug-in's language."""
    starters = [name for name in ("__wasm_call_ctors", "_initialize") if _takes_nothing(exports.get(name))]
    haskell = exports.get("hs_init")
    if haskell is not None and haskell.kind == "function":
        if haskell.params != ("i32", "i32") or len(haskell.results) > 1:
            raise InvalidFunction(f"the export 'hs_init' must be (i32, i32) -> (), not {haskell}")
        return (*(b"_initialize" for name in starters if name == "_initialize"), b"hs_init")
    # One of the two: the second would call the first again.
    return tuple(name.encode() for name in starters[:1])


def _takes_nothing(type_: ExternType | None) -> bool:
    return type_ is not None and (type_.kind, type_.params, type_.results) == ("function", (), ())


def _is_entry(type_: ExternType) -> bool:
    return (type_.kind, type_.params) == ("function", ()) and type_.results in ((), ("i32",))


def _choose_entry(function: Function, exports: dict[str, ExternType]) -> str:
    entries = [name for name, type_ in exports.items() if _is_entry(type_)]
    # Names with an underscore are those of runtimes and linkers.
    usual = [name for name in entries if not name.startswith("_")]
    wanted = function.entry
    if wanted is None:
        if len(usual) == 1:
            return usual[0]
        if not usual and "_start" in entries:
            return "_start"
        raise InvalidFunction(f"no entry is named; the plug-in's functions are {_names(usual)}: name one with --entry")
    if wanted not in exports:
        raise InvalidFunction(
            f"the export {printable(wanted)!r} is missing; the plug-in's functions are {_names(usual)}"
        )
    if wanted not in entries:
        raise InvalidFunction(
            f"the export {printable(wanted)!r} must be () -> i32, as functions of plug-ins are, not {exports[wanted]}"
        )
    return wanted


def _names(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return (", ".join(printable(name, 60) for name in names[:10]) or "none") + more
