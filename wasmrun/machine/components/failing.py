"""How calls of components fail: the engine gives a text and the names on the guest's stack, and no code of a trap.

So what a failure is follows from what we know ourselves: a reason to stop that the host had, a status that the guest
exited with, fuel that is used up. Of what is left, a failure with frames happened in the guest, and one without them
while its answer was read.
"""

from __future__ import annotations

import ctypes

from wasmrun.errors import GuestExit, GuestTrap, HostError, InvalidAnswer, InvalidFunction, printable
from wasmrun.machine import capi
from wasmrun.machine.components import binding
from wasmrun.machine.failures import out_of_fuel, read_frames, stopped
from wasmrun.machine.instance import Instance

KIND = "trap"
"""The kind of all traps of components: the engine tells it in words alone."""


def failure(instance: Instance, error: int, *, preparing: bool = False) -> BaseException:
    """The exception for the *error* that a call of *instance* ended with; deletes it."""
    status = ctypes.c_int()
    has_exited = binding.exit_status(error, ctypes.byref(status))
    frames = read_frames(capi.error_trace, error)
    cause = printable(capi.take_cause(error).removeprefix("wasm trap: "))
    ended = stopped(instance)
    if ended is not None:
        return ended
    if has_exited:
        if status.value:
            return GuestExit(status=status.value)
        return InvalidAnswer("the function exited instead of answering")
    if instance.fuel_given and not instance.fuel_left():
        return out_of_fuel(instance)
    if frames:
        return GuestTrap(f"the function trapped: {cause} in {frames[0]}", kind=KIND, frames=frames)
    if preparing:
        return refusal(cause)
    return InvalidAnswer(f"the function gave what cannot be read: {cause}")


def refusal(cause: str) -> InvalidFunction | HostError:
    """The exception for a component that cannot be instantiated, where none of its code has run."""
    if "(os error " in cause:
        # The engine's own words: nothing of the guest has run yet, nor has it a say in them.
        return HostError(f"the system has no room for another sandbox: {cause}; lower max_sandboxes")
    return InvalidFunction(f"the component cannot be instantiated: {cause}")
