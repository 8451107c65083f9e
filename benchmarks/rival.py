"""The rival: the same sandbox with the same limits, made with wasmtime-py's public classes."""

import dataclasses
from functools import partial
from typing import cast

import wasmtime
from wasmtime import _bindings as c_api

from .guests import PAYLOAD, echo
from .rounds import BURST, Round, time_bursts, time_each

MEMORY_BYTES = 2 << 20
TABLE_ELEMENTS = 20_000
FUEL = 20_000_000_000
DEADLINE_TICKS = 1 << 30
_UNSIGNED = (1 << 64) - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Sandbox:
    """A store and what was looked up in its instance."""

    store: wasmtime.Store
    memory: wasmtime.Memory
    alloc: wasmtime.Func
    handle: wasmtime.Func

    def arm(self) -> None:
        """Give one event its fuel and its deadline."""
        self.store.set_fuel(FUEL)
        self.store.set_epoch_deadline(DEADLINE_TICKS)

    def run(self, event: bytes) -> bytes:
        """The guest's answer to one event."""
        size = len(event)
        at = self.alloc(self.store, size)
        self.memory.write(self.store, event, at)
        packed = self.handle(self.store, at, size) & _UNSIGNED
        start, length = packed >> 32, packed & 0xFFFF_FFFF
        if start + length > self.memory.data_len(self.store):
            raise RuntimeError("the guest answered a region outside its memory")
        return bytes(self.memory.read(self.store, start, start + length))


class Rival:
    """One engine with the echo guest; `pooled` gives it the allocator that its public classes cannot reach."""

    def __init__(self, *, pooled: bool) -> None:
        config = wasmtime.Config()
        config.consume_fuel = True
        config.epoch_interruption = True
        if pooled:
            _set_pooling(config)
        self._engine = wasmtime.Engine(config)
        self._linker = wasmtime.Linker(self._engine)
        self._module = wasmtime.Module(self._engine, echo())
        self._pre = self._linker.instantiate_pre(self._module)
        self._ready: list[Sandbox] = []
        self._spent: list[Sandbox] = []
        if self.fresh() != PAYLOAD:
            raise RuntimeError("the rival did not answer with its event")

    def _store(self) -> wasmtime.Store:
        store = wasmtime.Store(self._engine)
        store.set_limits(memory_size=MEMORY_BYTES, table_elements=TABLE_ELEMENTS, instances=1, tables=1, memories=1)
        store.set_fuel(FUEL)
        store.set_epoch_deadline(DEADLINE_TICKS)
        return store

    def _prepare(self) -> Sandbox:
        store = self._store()
        return self._sandbox(store, self._pre.instantiate(store))

    def _sandbox(self, store: wasmtime.Store, instance: wasmtime.Instance) -> Sandbox:
        exports = instance.exports(store)
        return Sandbox(
            store,
            cast("wasmtime.Memory", exports["memory"]),
            cast("wasmtime.Func", exports["wasmrun_alloc"]),
            cast("wasmtime.Func", exports["wasmrun_handle_raw"]),
        )

    def naive(self) -> bytes:
        """One event in a sandbox made for it by `Linker.instantiate`, and left to the garbage collector."""
        store = self._store()
        return self._sandbox(store, self._linker.instantiate(store, self._module)).run(PAYLOAD)

    def fresh(self) -> bytes:
        """One event in a sandbox made for it and closed after it."""
        sandbox = self._prepare()
        answer = sandbox.run(PAYLOAD)
        sandbox.store.close()
        return answer

    def warm(self) -> bytes:
        """One event in a ready sandbox, which is closed by the next `refill`."""
        sandbox = self._ready.pop()
        sandbox.arm()
        answer = sandbox.run(PAYLOAD)
        self._spent.append(sandbox)
        return answer

    def refill(self, ready: int) -> None:
        """Close the spent sandboxes and prepare new ones until `ready` of them wait."""
        while self._spent:
            self._spent.pop().store.close()
        while len(self._ready) < ready:
            self._ready.append(self._prepare())


def _set_pooling(config: wasmtime.Config) -> None:
    # Only a private module declares these functions: what uses them is not the public API any more.
    pool = c_api.wasmtime_pooling_allocation_config_new()
    c_api.wasmtime_pooling_allocation_config_linear_memory_keep_resident_set(pool, 16 << 10)
    c_api.wasmtime_pooling_allocation_config_table_elements_set(pool, TABLE_ELEMENTS)
    c_api.wasmtime_pooling_allocation_strategy_set(config.ptr(), pool)
    c_api.wasmtime_pooling_allocation_config_delete(pool)


def rival_rounds(*, pooled: bool) -> dict[str, Round]:
    """The rounds of wasmtime-py, by name."""
    rival = Rival(pooled=pooled)
    suffix = " + pooling" if pooled else ""
    return {
        f"wasmtime-py{suffix}, fresh": partial(time_each, rival.fresh, 50),
        f"wasmtime-py{suffix}, warm": partial(time_bursts, rival.warm, partial(rival.refill, BURST), BURST, 2),
    }
