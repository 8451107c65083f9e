"""Host calls: what a guest may import, each behind the same guard.

A guest calls these with numbers of its choosing, from any depth of its stack, while its deadline
runs. So every call is charged to its fuel, finds its own sandbox by the store it came from, ends the
guest when its time is over, and never raises: an exception that left here would be printed and lost,
or, in the wheel's own classes, surface in another tenant's call.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

from wasmrun.errors import GuestTrap, HostError, InvalidFunction, printable
from wasmrun.hints import Any
from wasmrun.machine import capi
from wasmrun.machine.engine import Engine
from wasmrun.machine.instance import Instance
from wasmrun.machine.module import ExternType
from wasmrun.machine.record import ALLOC, VALUES
from wasmrun.units import format_size

CALL_FUEL = 1_000
"""Fuel that a call of the host costs; each byte that it carries costs 1 more."""

# Replies on their way at once. Each is some Python frames; a guest that could use up the interpreter's
# recursion limit would have its look at the deadline fail, which counts as leave to go on.
_MOST_REPLIES = 8
_MASK32 = 0xFFFFFFFF

Body = Callable[[Instance, Any], int | None]
"""Takes the instance and its arguments as unsigned words, two words to a value; gives the result."""

Exchange = Callable[[Instance, bytes], bytes]
"""Gives the reply to a request, both MessagePack. May raise what ends the guest."""

LOG = ExternType("function", ("i32", "i32", "i32"), ())
MESSAGE = ExternType("function", ("i32", "i32"), ("i64",))
ALLOC_TYPE = ExternType("function", ("i32",), ("i32",))
ABORT = ExternType("function", ("i32", "i32", "i32", "i32"), ())


class Linker:
    """The host functions of one program, being put together. Keeps what the engine only borrows."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.pointer: int = capi.linker_new(engine.pointer)
        self._callbacks: list[Any] = []

    def define(self, module: str, name: str, type_: ExternType, body: Body, *, of_kernel: bool = False) -> None:
        """Offer *body*, guarded, as the import *module*.*name* of *type_*; *of_kernel* where a plug-in's kernel calls it."""
        guarded = _guard(self.engine, body, bool(type_.results), of_kernel=of_kernel)
        callback = capi.HostCallback(self.engine.crossings.entry(guarded, "trap"))
        self._callbacks.append(callback)
        environment = None
        stand_in, name_in_c = self.engine.crossings.stand_in, _NAMES_IN_C.get(body)
        if stand_in is not None and name_in_c is not None:
            address, words = stand_in(name_in_c, ctypes.cast(callback, ctypes.c_void_p).value or 0)
            self._callbacks.append(words)
            callback, environment = capi.HostCallback(address), ctypes.addressof(words)
        functype = _functype(type_)
        parts = module.encode(), name.encode()
        error = capi.linker_define_func(
            self.pointer, parts[0], len(parts[0]), parts[1], len(parts[1]), functype, callback, environment, None
        )
        capi.functype_delete(functype)
        if error:
            raise HostError(f"the import {module}.{name} cannot be offered: {capi.take_error(error)}")

    def define_wasi(self) -> None:
        """Offer WASI preview 1; what is defined later replaces functions of it."""
        error = capi.linker_define_wasi(self.pointer)
        if error:
            raise HostError(f"WASI cannot be offered: {capi.take_error(error)}")
        capi.linker_allow_shadowing(self.pointer, True)

    def link(self, module: int) -> int:
        """The address of the *module* with its imports resolved. Raises `InvalidFunction`."""
        out = ctypes.c_void_p()
        error = capi.linker_instantiate_pre(self.pointer, module, capi.addressof(out))
        if error:
            raise InvalidFunction(f"the module's imports cannot be satisfied: {printable(capi.take_error(error))}")
        return out.value or 0

    def close(self) -> None:
        """Free the linker; its callbacks live as long as this object."""
        pointer, self.pointer = self.pointer, 0
        if pointer:
            capi.linker_delete(pointer)


def _functype(type_: ExternType) -> int:
    vectors = []
    for kinds in (type_.params, type_.results):
        vec = capi.ByteVec()
        values = (ctypes.c_void_p * len(kinds))(*(capi.valtype_new(capi.KIND_OF[kind]) for kind in kinds))
        capi.valtype_vec_new(capi.addressof(vec), len(kinds), capi.addressof(values))
        vectors.append(vec)
    return capi.functype_new(capi.addressof(vectors[0]), capi.addressof(vectors[1]))  # type: ignore[no-any-return]


def _guard(engine: Engine, body: Body, has_result: bool, *, of_kernel: bool) -> Callable[[int, int, int, int], int]:
    live = engine.live

    def call(_env: int, caller: int, values: int, count: int) -> int:
        instance = None
        try:
            instance = live.get(capi.caller_context(caller))
            if instance is None:  # a store that nobody knows
                return capi.trap_new_code(capi.TRAP_INTERRUPT) or 0
            if not instance.memory_base and not of_kernel:
                instance.find_from(caller)
            if not instance.charge(CALL_FUEL):
                return capi.trap_new_code(capi.TRAP_OUT_OF_FUEL) or 0
            words = (ctypes.c_uint64 * (2 * count)).from_address(values)
            result = body(instance, words)
            if instance.stop is None and time.monotonic_ns() >= instance.deadline_ns:
                instance.stop = "deadline"
            if instance.stop is None:
                if has_result:
                    words[0] = result or 0
                return 0
        except NoFuel:
            return capi.trap_new_code(capi.TRAP_OUT_OF_FUEL) or 0
        except BaseException as error:
            if instance is None:
                engine.crossings.put_raised(error)
            else:
                instance.fault = error
        return capi.trap_new_code(capi.TRAP_INTERRUPT) or 0

    return call


class NoFuel(Exception):
    """The guest's fuel does not pay for what it asked the host to do."""


def _claim(instance: Instance, pointer: int, length: int, what: str) -> None:
    """Charge for *length* bytes at *pointer*, and see to it that the guest has them; what is copied may be less."""
    if not instance.charge(length):
        raise NoFuel
    if not instance.memory_base or not instance.holds(pointer, length):
        raise GuestTrap(
            f"the function gave {what} {length} bytes at {pointer}, which are not in its memory of "
            f"{instance.memory_bytes} bytes",
            kind="memory out of bounds",
        )


def log(instance: Instance, words: Any) -> None:
    """``log(level, ptr, len)``: one entry of the log; what is over the log's limit is neither copied nor kept."""
    level = words[0] & _MASK32
    length = words[4] & _MASK32
    book = instance.log()
    if book.is_cut:
        instance.charge(length)
        return
    pointer = words[2] & _MASK32
    _claim(instance, pointer, length, "wasmrun.log")
    # One byte more than there is room for, and the log is cut.
    text = instance.read(pointer, min(length, book.room + 1))
    book.add(level if level < 5 else (4 if level < 1 << 31 else 0), text)


def abort(instance: Instance, words: Any) -> None:
    """AssemblyScript's ``abort(message, file, line, column)``: the guest gives up."""
    message = _assemblyscript_text(instance, words[0] & _MASK32)
    file = _assemblyscript_text(instance, words[2] & _MASK32)
    where = f" at {printable(file)}:{words[4] & _MASK32}:{words[6] & _MASK32}" if file else ""
    raise GuestTrap(f"the function aborted: {printable(message) or 'no message'}{where}", kind="abort")


_NAMES_IN_C: dict[Body, str] = {log: "log", abort: "abort"}
"""What guests import that may run in one crossing."""


def _assemblyscript_text(instance: Instance, pointer: int) -> str:
    # A string object: UTF-16 at the pointer, its length in bytes in the 4 bytes before it.
    if pointer < 4 or not instance.holds(pointer - 4, 4):
        return ""
    length = min(int.from_bytes(instance.read(pointer - 4, 4), "little"), 2_000) & ~1
    return instance.read(pointer, length).decode("utf-16-le", "replace") if instance.holds(pointer, length) else ""


def message(name: str, exchange: Exchange) -> Body:
    """The import ``wasmrun.name`` of the type `MESSAGE`: a request in the guest's memory, answered by *exchange*."""

    def body(instance: Instance, words: Any) -> int:
        pointer, length = words[0] & _MASK32, words[2] & _MASK32
        _claim(instance, pointer, length, f"wasmrun.{name}")
        most = instance.program.function.result_bytes
        if length > most:
            # Decoding takes time and up to 80 times the memory, outside the sandbox and its limits.
            return _put(
                instance, refusal(f"{format_size(length)}, more than the limit of {format_size(most)} (result_bytes)")
            )
        return _put(instance, exchange(instance, instance.read(pointer, length)))

    return body


def local(name: str, function: Callable[[Any], Any]) -> Exchange:
    """Requests are answered by *function* of the embedding program, here and on this thread.

    What it raises is an error value for the guest, and is kept for the caller.
    """
    from wasmrun.machine import messages  # for the functions that exchange any

    def exchange(instance: Instance, request: bytes) -> bytes:
        try:
            value = messages.decode(request)
        except ValueError as error:
            return refusal(f"not MessagePack that can be read: {error}")
        # Only in here may a signal handler raise: all around is what would lose the exception.
        instance.is_hosting = True
        try:
            answer: bytes = messages.encode([0, function(value)])
            # The guest went on from an earlier failure: what it does from here is its own doing.
            instance.host_failure = None
        except Exception as error:
            instance.host_failure, answer = failed(name, error)
        finally:
            instance.is_hosting = False
        return answer

    return exchange


def failed(name: str, error: Exception) -> tuple[HostError, bytes]:
    """What the caller sees, and what the guest gets, when the host function *name* raised *error*."""
    from wasmrun.machine import messages  # as above

    kind, text = type(error).__name__, _text(error)
    failure = HostError(f"the host function {printable(name)!r} failed: {kind}: {printable(text)}")
    failure.__cause__ = error
    return failure, messages.encode([1, {"type": kind, "message": text}])


def refusal(reason: str) -> bytes:
    """The reply to a request that the host did not even try."""
    from wasmrun.machine import messages  # as above

    return messages.encode([1, {"type": "InvalidArgument", "message": reason}])  # type: ignore[no-any-return]  # bytes


def _text(error: Exception) -> str:
    """What *error* says, as text that UTF-8 can write; a substitute where it cannot say it."""
    try:
        # A path in a message may hold what UTF-8 can't write.
        return str(error).encode(errors="replace").decode()
    except Exception as failed:
        return f"(its text cannot be had: {type(failed).__name__})"


def _put(instance: Instance, data: bytes) -> int:
    """Place *data* in the guest's memory by its own allocator; 0 where it has none to give."""
    if not instance.charge(len(data)):
        raise NoFuel
    if instance.replies >= _MOST_REPLIES:
        raise GuestTrap("wasmrun_alloc called the host, which called wasmrun_alloc, and so on", kind="host call")
    at = instance.record + VALUES
    instance.words[at] = len(data)
    instance.replies += 1
    try:
        instance.call(ALLOC, 1)
    finally:
        instance.replies -= 1
    pointer = instance.words[at] & _MASK32
    if not pointer:
        return 0
    instance.write(pointer, data)
    return pointer << 32 | len(data)
