"""Failures: what the engine says when a guest ends badly, as the error that the user gets.

Kinds come from the trap's code, from our own flags and from recorded errors; never from searching a
message, which carries names that the guest chose.
"""

from __future__ import annotations

import ctypes

from wasmrun.errors import (
    GuestTrap,
    HostError,
    InvalidFunction,
    OutOfFuel,
    ResultTooLarge,
    TimedOut,
    printable,
)
from wasmrun.hints import TYPE_CHECKING
from wasmrun.machine import capi
from wasmrun.units import format_duration, format_size

if TYPE_CHECKING:
    from wasmrun.machine.instance import Instance

_MOST_FRAMES = 32
_SHOWN = 200


class Stopped(Exception):
    """The host ended the guest on behalf of its caller; ``reason`` is "cancelled" or "interrupted"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def as_raised(self) -> BaseException:
        """What the caller of the invocation sees."""
        if self.reason == "interrupted":
            return KeyboardInterrupt()
        from concurrent.futures import CancelledError  # loaded by whoever has a future to cancel

        return CancelledError()


def failure(instance: Instance, error: int, *, preparing: bool = False) -> BaseException:
    """The exception for the *error* or the trap that *instance* ended with; deletes both."""
    from wasmrun.machine.record import TRAP

    words, at = instance.words, instance.record + TRAP
    trap, words[at] = words[at], 0
    if trap:
        return _from_trap(instance, trap)
    frames = read_frames(capi.error_trace, error)
    text = capi.take_error(error)
    ended = stopped(instance)
    if ended is not None:
        return ended
    if frames or not preparing:
        # The engine puts the cause last, after the names on the guest's stack, which may be long.
        return GuestTrap(f"a host call failed: {printable(text[-_SHOWN:].strip())}", kind="host call", frames=frames)
    if "(os error " in text:
        # The engine's own words: nothing of the guest has run yet, nor has it a say in them.
        return HostError(f"the system has no room for another sandbox: {printable(text)}; lower max_sandboxes")
    return InvalidFunction(f"the module cannot be instantiated: {printable(text)}")


def _from_trap(instance: Instance, trap: int) -> BaseException:
    code = ctypes.c_uint8(255)
    has_code = capi.trap_code(trap, capi.addressof(code))
    frames = read_frames(capi.trap_trace, trap)
    capi.trap_delete(trap)
    if not has_code or code.value == capi.TRAP_INTERRUPT:
        ended = stopped(instance)
        return ended if ended is not None else _timed_out(instance)
    if code.value == capi.TRAP_OUT_OF_FUEL:
        return out_of_fuel(instance)
    kind = capi.TRAP_KINDS.get(code.value, f"trap {code.value}")
    return GuestTrap(f"the function trapped: {kind}{_where(frames)}", kind=kind, frames=frames)


def stopped(instance: Instance) -> BaseException | None:
    """The reason that the host itself had, if it ended the guest."""
    raised = instance.engine.crossings.take_raised()
    if raised is not None:
        return raised
    if instance.fault is not None:
        return instance.fault
    match instance.stop:
        case None:
            return None
        case "deadline":
            return _timed_out(instance)
        case "output":
            limit = format_size(instance.program.function.result_bytes)
            return ResultTooLarge(
                f"the function wrote more than its limit of {limit}; write less, or raise `result_bytes`"
            )
        case reason:
            return Stopped(reason)


def out_of_fuel(instance: Instance) -> OutOfFuel:
    """What a guest is told to have done that has no fuel left."""
    return OutOfFuel(f"the function used up its fuel of {instance.fuel_given}; do less, or raise `fuel`")


def _timed_out(instance: Instance) -> TimedOut:
    limit = format_duration(instance.timeout_ns / 1e9)
    return TimedOut(f"the function ran past its time of {limit}; make it faster, or raise `{instance.timeout_name}`")


def _where(frames: tuple[str, ...]) -> str:
    return f" in {frames[0]}" if frames else ""


def read_frames(trace: object, pointer: int) -> tuple[str, ...]:
    """Names of the functions on the guest's stack, innermost first, escaped and cut."""
    vec = capi.ByteVec()
    trace(pointer, capi.addressof(vec))  # type: ignore[operator]  # one of two foreign functions
    names = []
    if vec.size:
        pointers = (ctypes.c_void_p * min(vec.size, _MOST_FRAMES)).from_address(vec.data)
        for frame in pointers:
            name = capi.frame_func_name(frame)
            index = capi.frame_func_index(frame)
            shown = printable(capi.take_text(name, 400), 100) if name else ""
            names.append(f"{shown} (function {index})" if shown else f"function {index}")
    capi.frame_vec_delete(capi.addressof(vec))
    return tuple(names)
