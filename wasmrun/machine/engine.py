"""The engine: wasmtime set up for many short-lived sandboxes, and the records their handles live in."""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
import time

from wasmrun.errors import HostError
from wasmrun.hints import TYPE_CHECKING
from wasmrun.limits import KIB, MIB
from wasmrun.machine import capi
from wasmrun.machine.config import EngineSettings, new_config
from wasmrun.machine.hotpath import crossings
from wasmrun.machine.ticker import TICK_NS, Ticker
from wasmrun.units import format_size

if TYPE_CHECKING:
    from wasmrun.machine.instance import Instance

MOST_SLOTS = 20_000
"""Sandboxes that the engines of one executor may hold together: 4 GiB of address space each."""

LOOK_TICKS = 2
"""Ticks between two looks at a running guest."""

_KEEP_RESIDENT = 16 * KIB
"""Memory that a slot keeps between sandboxes: it is cleared, not given back. More than most functions touch
would only stay resident under every idle sandbox. JavaScript's engine puts there what each event writes to (low.h)."""

_SLOT_BYTES = 4 * 1024 * MIB + 64 * MIB
_INSTANCE_BYTES = 1 * MIB
_MAP_NORESERVE = 0x4000  # Linux's value; the mmap module has no name for it


def address_space(slots: int) -> int:
    """What a pool of *slots* sandboxes reserves of it, and a little more."""
    return (slots + 1) * _SLOT_BYTES + 1024 * MIB


def probe_address_space(slots: int) -> None:
    """Raise `HostError` where a pool of *slots* sandboxes has no room: the engine would abort the process."""
    wanted = address_space(slots)
    try:
        mmap.mmap(-1, wanted, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE, prot=0).close()
    except (OSError, ValueError, OverflowError) as error:
        raise HostError(
            f"no address space for {slots} sandboxes ({format_size(wanted)}): {error}; "
            f"lower max_sandboxes, or raise the limit on virtual memory (ulimit -v)"
        ) from None


class Engine:
    """One wasmtime engine with its pooling allocator, its ticker and its records.

    A record is the memory that the C API writes a sandbox's handles and values to. All records are
    one array, addressed in words of 8 bytes, so that a sandbox costs no allocation of its own. *hotpath* names the
    kind of hot path that its instances take.

    Ticks may come more often than every `TICK_NS`, never more rarely: then guests are looked at more often.
    """

    def __init__(
        self,
        settings: EngineSettings,
        slots: int,
        record_words: int,
        hotpath: str | None = None,
        tick_ns: int = TICK_NS,
    ) -> None:
        room = settings.room
        self.memories = memories = slots * room.memories
        probe_address_space(memories)
        self.settings = settings
        self.slots = slots
        config = new_config(settings)
        pooling = capi.pooling_new()
        # Beyond the slots, room for one instance without a record.
        for name, count in room._asdict().items():
            capi.pooling_number(pooling, f"total_{name}", max(count * (slots + 1), 1))
        for name in ("total_stacks", "total_gc_heaps"):
            capi.pooling_number(pooling, name, 1)
        capi.pooling_number(pooling, "max_component_instance_size", _INSTANCE_BYTES)
        capi.pooling_number(pooling, "max_unused_warm_slots", memories)
        capi.pooling_number(pooling, "max_core_instance_size", _INSTANCE_BYTES)
        capi.pooling_number(pooling, "table_elements", 20_000)
        capi.pooling_number(pooling, "linear_memory_keep_resident", _KEEP_RESIDENT)
        capi.pooling_number(pooling, "table_keep_resident", 4 * KIB)
        capi.config_strategy_pooling(config, pooling)
        capi.pooling_delete(pooling)
        self.pointer: int = capi.engine_new(config) or 0
        if not self.pointer:
            raise HostError("wasmtime refused its engine's settings")
        self.ticker = Ticker(self.pointer, tick_ns)
        self.spare = threading.Lock()
        """Whoever holds it may have one instance without a record, beyond the slots."""
        self._pid = os.getpid()
        self.live: dict[int, Instance] = {}
        self._array = (ctypes.c_uint64 * (slots * record_words))()
        self.address = ctypes.addressof(self._array)
        self.words = memoryview(self._array).cast("B").cast("Q")
        self._free = list(range((slots - 1) * record_words, -1, -record_words))
        self.crossings = crossings(self, hotpath)
        self._look = capi.LookCallback(self.crossings.entry(self._on_look, "error"))
        self.look_address = ctypes.cast(self._look, ctypes.c_void_p).value

    def take_record(self) -> int:
        """The index of the first word of a record that nobody uses. What is in it is of another sandbox."""
        try:
            return self._free.pop()
        except IndexError:
            raise HostError(f"all {self.slots} sandboxes of the engine are in use") from None

    def give_record(self, record: int) -> None:
        """Take *record* back once its store is deleted."""
        # At the end that is taken from: the record that is still in the processor's cache.
        self._free.append(record)

    def _on_look(self, context: int, _data: int, delta: int, _kind: int) -> int:
        """Decide, on a tick, whether a guest goes on. Never raises: nobody is there to catch it."""
        instance = None
        try:
            instance = self.live.get(context)
            if instance is not None and instance.stop is None:
                left = instance.deadline_ns - time.monotonic_ns()
                if left > 0:
                    ticks = min(LOOK_TICKS, left // TICK_NS + 1)
                    ctypes.c_uint64.from_address(delta).value = ticks
                    return 0
                instance.stop = "deadline"
        except BaseException as error:  # a guest whose state is unknown is stopped, not forgotten
            if instance is None:
                self.crossings.put_raised(error)
            else:
                instance.fault = error
        return capi.error_new(b"stopped") or 0

    def close(self, *, at_exit: bool = False) -> None:
        """Delete the engine, its ticker first. At interpreter exit only the ticker goes.

        A store that is still alive keeps the engine's memory; in a forked child nothing is touched.
        """
        pointer, self.pointer = self.pointer, 0
        if not pointer or os.getpid() != self._pid:
            return
        self.ticker.close(settle=not at_exit)
        if not at_exit and not self.live:
            capi.engine_delete(pointer)
