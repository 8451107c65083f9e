"""The compiled hot path: one crossing into C a step. See crossings.c."""

from __future__ import annotations

import ctypes

from wasmrun.machine import capi
from wasmrun.machine.hotpath import Plan
from wasmrun.machine.hotpath import _crossings as compiled

_INTERFACE = 5
if getattr(compiled, "INTERFACE", 1) != _INTERFACE:
    raise ImportError("it was built for another version of wasmrun; install that again")

_FUNCTIONS = {
    name: getattr(capi, name)
    for name in (
        "store_new", "store_context", "store_limiter", "store_look", "store_delete", "instantiate", "export_get",
        "memory_data", "memory_size", "set_fuel", "get_fuel", "set_deadline", "call", "error_new", "error_delete",
        "trap_new_code", "trap_delete",
    )
}  # fmt: skip
compiled.bind({name: ctypes.cast(function, ctypes.c_void_p).value for name, function in _FUNCTIONS.items()})


class _Address(int):
    """The address of a plan, which keeps what is there alive."""

    words: ctypes.Array[ctypes.c_uint64]
    entry: ctypes.Array[ctypes.c_char]


class Compiled:
    """The five steps in C. One for all engines would do: nothing is kept here."""

    kind = "compiled"
    # The functions themselves, so that nothing of Python's stands between a caller and them.
    open = staticmethod(compiled.open_store)
    prepare = staticmethod(compiled.prepare)
    arm = staticmethod(compiled.arm)
    call = staticmethod(compiled.call)
    close = staticmethod(compiled.close_store)
    run_each = staticmethod(compiled.run_each)
    entry = staticmethod(compiled.entry)
    put_raised = staticmethod(compiled.put_raised)
    take_raised = staticmethod(compiled.take_raised)
    new_yard = compiled.Yard
    new_express = compiled.Express

    def stand_in(self, name: str, own: int) -> tuple[int, ctypes.Array[ctypes.c_uint64]]:
        """The address of *name* in C, and its environment; for what does not run in one crossing it calls *own*."""
        return {"log": compiled.LOG, "abort": compiled.ABORT}[name], (ctypes.c_uint64 * 1)(own)

    def plan(self, plan: Plan) -> int:
        """The address of *plan* as C lays it out; what is there lives as long as the number."""
        entry = ctypes.create_string_buffer(plan.entry)
        words = (ctypes.c_uint64 * 11)(
            plan.engine, plan.look, *plan.limits, plan.pre, ctypes.addressof(entry), len(plan.entry), plan.has_free
        )
        address = _Address(ctypes.addressof(words))
        address.words, address.entry = words, entry
        return address
