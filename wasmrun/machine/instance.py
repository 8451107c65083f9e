"""An instance: one store, one instance of a program in it, and every check between guest and host.

The layer above gives it a life (`wasmrun.sandbox`); a guest ABI (`wasmrun.machine.abi`) gives it a
meaning. Nothing here trusts a number that a guest chose.
"""

from __future__ import annotations

import time

from wasmrun.errors import HostError, InvalidAnswer
from wasmrun.hints import TYPE_CHECKING
from wasmrun.machine import capi
from wasmrun.machine.engine import LOOK_TICKS
from wasmrun.machine.failures import failure
from wasmrun.machine.ledger import Ledger
from wasmrun.machine.logbook import LogBook
from wasmrun.machine.record import ALLOC, ENTRY, ERROR, FUEL, INSTANCE, MEMORY, TRAP, VALUES, copy_in, copy_out
from wasmrun.machine.ticker import TICK_NS

if TYPE_CHECKING:
    from wasmrun.machine.components.wasi import Pollables
    from wasmrun.machine.program import BaseProgram
    from wasmrun.machine.proxy.host import Host
    from wasmrun.machine.wasi import Output


def first_look(timeout_ns: int) -> int:
    """The ticks after which a guest with *timeout_ns* is first looked at."""
    return LOOK_TICKS if timeout_ns >= LOOK_TICKS * TICK_NS else timeout_ns // TICK_NS + 1


class Instance:
    """A store with its limits set, and after `instantiate` a live instance in it.

    Used by one thread at a time. ``stop`` may be set by any thread: the reason for which the guest
    is to end at its next look. ``fault`` is an error that a host function recorded. ``is_hosting`` while
    a function of the embedding program runs for the guest. Only a component's has ``pollables`` and
    ``wasi_token``, only one of wasi:http/proxy ``proxy``.
    """

    __slots__ = (
        "address",
        "context",
        "deadline_ns",
        "engine",
        "fault",
        "fuel_given",
        "host_failure",
        "http_reply",
        "is_hosting",
        "kernel_base",
        "kernel_bytes",
        "ledger",
        "logbook",
        "memory_base",
        "memory_bytes",
        "output",
        "pollables",
        "program",
        "proxy",
        "record",
        "replies",
        "stop",
        "store",
        "timeout_name",
        "timeout_ns",
        "values",
        "wasi_start_ns",
        "wasi_token",
        "words",
    )
    pollables: Pollables
    proxy: Host
    wasi_token: int

    def __init__(self, program: BaseProgram, held: tuple[int, int, int, int] | None = None) -> None:
        """With *held*, a store that there is already: the addresses of it, its context, its record and its memory."""
        engine = program.engine
        self.program = program
        self.engine = engine
        # What `delete` looks at, for one that was made in part.
        self.store = self.context = 0
        self.record = -1
        self.words = engine.words
        if held is None:
            self.record = record = engine.take_record()
            self.address = address = engine.address + record * 8
        else:
            address = self.address = held[2]
            self.record = (address - engine.address) >> 3
        self.values = address + VALUES * 8
        self.memory_base = self.kernel_base = 0
        self.memory_bytes = self.kernel_bytes = 0
        self.stop: str | None = None
        self.fault: BaseException | None = None
        self.host_failure: HostError | None = None
        self.is_hosting = False
        self.ledger: Ledger | None = None
        self.logbook: LogBook | None = None
        self.output: Output | None = None
        self.http_reply: tuple[int, dict[str, str]] | None = None
        self.fuel_given = self.replies = 0
        self.deadline_ns = self.timeout_ns = self.wasi_start_ns = 0
        self.timeout_name = "timeout"
        if held is None:
            self.store, self.context = engine.crossings.open(program.plan)
        else:
            self.store, self.context, _, self.memory_base = held
            self.memory_bytes = program.memory_bytes
        engine.live[self.context] = self

    def arm(self, fuel: int, timeout_ns: int) -> None:
        """Give the guest *fuel* and *timeout_ns* from now. A reason to stop that is already there stays."""
        self.host_failure = None
        if fuel:
            self.fuel_given = fuel
        self.timeout_ns = timeout_ns
        self.deadline_ns = time.monotonic_ns() + timeout_ns
        self.engine.crossings.arm(self.context, fuel, first_look(timeout_ns))

    def instantiate(self) -> None:
        """Make the instance; its start function runs. Raises what the guest's failure is."""
        address = self.address
        link = self.program.link
        if link is None:
            instantiate = capi.instantiate if self.program.has_start else capi.instantiate_quick
            error = instantiate(self.program.pre, self.context, address + INSTANCE * 8, address + TRAP * 8)
        else:
            error = link.instantiate(self)
        if error or self.words[self.record + TRAP]:
            raise failure(self, error or 0, preparing=True)

    def prepare_at_once(self) -> None:
        """Instantiate, and find what the native ABI calls. For a program whose plan says how, and that runs nothing."""
        program = self.program
        base = self.engine.crossings.prepare(program.plan, self.context, self.address)
        if base is None:
            raise self.failed(preparing=True)
        self.memory_base = base
        self.memory_bytes = program.memory_bytes

    def failed(self, *, preparing: bool = False) -> BaseException:
        """The exception for what a step of the hot path left in the record."""
        words, at = self.words, self.record + ERROR
        error, words[at] = words[at], 0
        return failure(self, error, preparing=preparing)

    def find(self, name: bytes, word: int) -> None:
        """Put the handle of the exported function *name*, whose type is known to be right, at *word* of the record."""
        capi.export_get(self.context, self.address + INSTANCE * 8, name, len(name), self.address + (word - 1) * 8)

    def find_memory(self) -> None:
        """Learn where the exported memory is. It never moves, and it can only grow."""
        at = self.address + MEMORY * 8
        capi.export_get(self.context, self.address + INSTANCE * 8, b"memory", 6, at - 8)
        self.memory_base = capi.memory_data(self.context, at) or 0
        self.memory_bytes = self.program.memory_bytes

    def find_from(self, caller: int) -> None:
        """Learn where the memory and `wasmrun_alloc` are from inside a host call.

        Needed only while a start function runs: nothing is known of the exports until it has ended.
        """
        if self.program.has_memory:
            at = self.address + MEMORY * 8
            capi.caller_export_get(caller, b"memory", 6, at - 8)
            self.memory_base = capi.memory_data(self.context, at) or 0
            self.memory_bytes = self.program.memory_bytes
        if self.program.has_alloc:
            capi.caller_export_get(caller, b"wasmrun_alloc", 13, self.address + (ALLOC - 1) * 8)

    def current_memory_bytes(self) -> int:
        """Size of the exported memory now: its peak, since memories do not shrink. 0 without one."""
        if self.memory_base:
            self.memory_bytes = capi.memory_size(self.context, self.address + MEMORY * 8)
        return self.memory_bytes

    def call(self, word: int, count: int) -> None:
        """Call the function at *word* with the *count* values at VALUES; results take their place."""
        error = capi.call(self.context, self.address + word * 8, self.values, count, self.address + TRAP * 8)
        if error or self.words[self.record + TRAP]:
            raise failure(self, error or 0)

    def call_named(self, name: bytes) -> None:
        """Call the exported function *name*, which takes nothing."""
        self.find(name, ENTRY)
        self.call(ENTRY, 0)

    def holds(self, pointer: int, length: int) -> bool:
        """Whether *length* bytes at *pointer* lie inside the memory. Both unsigned."""
        end = pointer + length
        # Asking the engine is only needed where the size known so far is not enough.
        return end <= self.memory_bytes or end <= self.current_memory_bytes()

    def read(self, pointer: int, length: int) -> bytes:
        """The *length* bytes at *pointer*. Raises `InvalidAnswer` where they are not in the memory."""
        if not self.holds(pointer, length):
            raise InvalidAnswer(
                f"{length} bytes at {pointer} do not lie in the function's memory of {self.memory_bytes} bytes"
            )
        return copy_out(self.memory_base + pointer, length)  # type: ignore[no-any-return]  # a py_object

    def write(self, pointer: int, data: bytes) -> None:
        """Put *data* at *pointer*. Raises `InvalidAnswer` where there is no room for it."""
        if not self.holds(pointer, len(data)):
            raise InvalidAnswer(
                f"wasmrun_alloc answered {pointer} for {len(data)} bytes; the function's memory has {self.memory_bytes}"
            )
        copy_in(self.memory_base + pointer, data, len(data))

    def fuel_left(self) -> int:
        """Fuel that is left; 0 without metering."""
        if not self.fuel_given:
            return 0
        capi.get_fuel(self.context, self.address + FUEL * 8)
        return self.words[self.record + FUEL]

    def fuel_used(self) -> int:
        """Fuel used since `arm`; 0 without metering."""
        return self.fuel_given - self.fuel_left()

    def charge(self, fuel: int) -> bool:
        """Take *fuel* for work that the host does; False where there is not enough, and none is left."""
        if not self.fuel_given:
            return True
        left = self.fuel_left() - fuel
        capi.set_fuel(self.context, max(left, 0))
        return left >= 0

    def log(self) -> LogBook:
        """The log of this instance, made when something is first logged."""
        book = self.logbook
        if book is None:
            book = self.logbook = LogBook(self.program.log_bytes)
        return book

    def let_go(self) -> tuple[int, int, int, int]:
        """Have nothing any more of what `delete` would free; the addresses of it, as one is made with them."""
        self.engine.live.pop(self.context, None)
        held = self.store, self.context, self.address, self.memory_base
        self.store, self.record = 0, -1
        return held

    def delete(self) -> None:
        """Delete the store. Harmless when repeated."""
        store, self.store = self.store, 0
        if store:
            # Before the store: a new store may get the same context address at once.
            self.engine.live.pop(self.context, None)
            self.engine.crossings.close(store)
        record, self.record = self.record, -1
        if record >= 0:
            self.engine.give_record(record)
            # The tracebacks of the errors hold this object.
            self.output = self.fault = self.host_failure = None
            # So does the host of a proxy, which holds bodies, too.
            self.proxy = None  # type: ignore[assignment]  # nobody asks a deleted one
