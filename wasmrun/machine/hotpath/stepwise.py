"""The hot path through ctypes: the engine's calls one by one, for installations without a compiler."""

from __future__ import annotations

import threading
from collections.abc import Callable

from wasmrun.machine import capi
from wasmrun.machine.hotpath import Plan, Step
from wasmrun.machine.record import ALLOC, ENTRY, ERROR, FREE, INSTANCE, MEMORY, TRAP, VALUES, copy_in, copy_out

_MASK32 = 0xFFFFFFFF


class Stepwise:
    """The five steps for the instances of one engine, whose records are *words*, which lie at *address*."""

    kind = "ctypes"
    run_each = new_yard = new_express = stand_in = None

    def __init__(self, words: memoryview, address: int) -> None:
        self._words = words
        self._address = address
        self._thread = threading.local()

    @staticmethod
    def entry(function: Callable[..., int], _kind: str) -> Callable[..., int]:
        """*function* itself: nothing of ctypes' stands between the engine and Python."""
        return function

    def put_raised(self, error: BaseException) -> None:
        """Keep what was raised on this thread."""
        self._thread.raised = error

    def take_raised(self) -> BaseException | None:
        """What was kept; what is raised where a function begins was printed."""
        raised = getattr(self._thread, "raised", None)
        if raised is not None:
            del self._thread.raised
        return raised

    def plan(self, plan: Plan) -> Plan:
        """*plan* itself."""
        return plan

    def open(self, plan: Plan) -> tuple[int, int]:
        """A store with every limit set: its address and its context's."""
        store = capi.store_new(plan.engine, None, None)
        # Every limit before anything runs: a start function runs inside instantiate.
        capi.store_limiter(store, *plan.limits)
        capi.store_look(store, plan.look, None, None)
        return store, capi.store_context(store)

    def prepare(self, plan: Plan, context: int, record: int) -> int | None:
        """Instantiate, and find what the native ABI calls; the address of the memory, None where that failed."""
        words, at = self._words, (record - self._address) >> 3
        instance = record + INSTANCE * 8
        words[at + ERROR] = capi.instantiate_quick(plan.pre, context, instance, record + TRAP * 8) or 0
        if words[at + ERROR] or words[at + TRAP]:
            return None
        get = capi.export_get
        # An item is its kind, in a word, and then the handle, whose place in the record is known.
        get(context, instance, b"memory", 6, record + (MEMORY - 1) * 8)
        get(context, instance, b"wasmrun_alloc", 13, record + (ALLOC - 1) * 8)
        get(context, instance, plan.entry, len(plan.entry), record + (ENTRY - 1) * 8)
        if plan.has_free:
            get(context, instance, b"wasmrun_free", 12, record + (FREE - 1) * 8)
        return capi.memory_data(context, record + MEMORY * 8) or 0

    def arm(self, context: int, fuel: int, ticks: int) -> None:
        """Set fuel and deadline."""
        if fuel:
            capi.set_fuel(context, fuel)
        capi.set_deadline(context, ticks)

    def call(self, context: int, record: int, memory: int, memory_bytes: int, most: int, event: bytes) -> bytes | int:
        """Copy the event in, call the handler, copy the answer out; or say at which step that ended."""
        words, at = self._words, (record - self._address) >> 3
        values = record + VALUES * 8
        length = len(event)
        pointer = 0
        if length:
            words[at + VALUES] = length
            error = capi.call(context, record + ALLOC * 8, values, 1, record + TRAP * 8)
            if error or words[at + TRAP]:
                words[at + ERROR] = error or 0
                return Step.FAILED_IN_ALLOC
            pointer = words[at + VALUES] & _MASK32
            if not pointer:
                return Step.NO_MEMORY
            end = pointer + length
            # Asking the engine is only needed where the size known so far is not enough.
            if end > memory_bytes and end > capi.memory_size(context, record + MEMORY * 8):
                return Step.EVENT_OUTSIDE
            copy_in(memory + pointer, event, length)
        words[at + VALUES] = pointer
        words[at + VALUES + 2] = length
        error = capi.call(context, record + ENTRY * 8, values, 2, record + TRAP * 8)
        if error or words[at + TRAP]:
            words[at + ERROR] = error or 0
            return Step.FAILED
        packed = words[at + VALUES]
        pointer = packed >> 32
        length = packed & _MASK32
        end = pointer + length
        if end > memory_bytes and end > capi.memory_size(context, record + MEMORY * 8):
            return Step.ANSWER_OUTSIDE
        if length > most:
            return Step.ANSWER_TOO_LARGE
        if not pointer and length:
            return Step.ANSWER_AT_NULL
        return copy_out(memory + pointer, length)  # type: ignore[no-any-return]  # a py_object

    def close(self, store: int) -> None:
        """Delete the store."""
        capi.store_delete(store)
