"""A shelf: the sandboxes of one function in the pool, and what is counted of them."""

from __future__ import annotations

from collections import deque

from wasmrun.function import Function
from wasmrun.hints import Any, NamedTuple
from wasmrun.machine.program import BaseProgram
from wasmrun.sandbox import Sandbox

_NO_LIMIT = 1 << 60


class ShelfStats(NamedTuple):
    """Counters of one function's sandboxes since its executor started."""

    ready: int
    in_flight: int
    warm_starts: int
    cold_starts: int
    waits: int
    throttled: int
    refills: int
    refill_failures: int
    evictions: int


class PoolStats(NamedTuple):
    """Counters of the whole pool; ``functions`` has those of each function.

    ``live`` is the sum of ``ready``, ``in_flight`` (events, and sandboxes being prepared) and ``spent``.
    """

    live: int
    ready: int
    in_flight: int
    spent: int
    warm_starts: int
    cold_starts: int
    waits: int
    throttled: int
    refills: int
    refill_failures: int
    evictions: int
    functions: dict[Function, ShelfStats]


class Shelf:
    """The sandboxes of one function, and its program. Every field is guarded by the pool's lock."""

    __slots__ = (
        "backoff",
        "by_tenant",
        "cold_starts",
        "evictions",
        "filling",
        "function",
        "in_flight",
        "is_noted",
        "is_removed",
        "is_slow",
        "last_used",
        "most",
        "needs_keeper",
        "number",
        "program",
        "ready",
        "refill_failures",
        "refills",
        "retry_at",
        "tenant",
        "throttled",
        "waits",
        "warm_starts",
    )

    def __init__(self, program: BaseProgram, number: int) -> None:
        self.program = program
        self.function = program.function
        self.number = number
        self.tenant = program.function.tenant
        self.ready: Any = deque()
        """What is ready, the newest last: sandboxes, or what has a length and stands for them."""
        self.in_flight = 0
        # Sandboxes that are being prepared ahead of their events.
        self.filling = 0
        self.is_removed = False
        # Of a start-up that was not seen yet nothing is known: it may loop.
        self.is_slow = program.runs_at_start
        self.most = program.function.concurrency or _NO_LIMIT
        self.by_tenant = program.function.reuse
        # Nothing is ever ready of a function that asks for nothing: the keeper need not look at it.
        self.needs_keeper = bool(program.function.warm or program.function.reuse)
        self.is_noted = not self.needs_keeper
        self.last_used = 0.0
        self.backoff = 0.0
        self.retry_at = 0.0
        self.warm_starts = self.cold_starts = self.waits = self.throttled = 0
        self.refills = self.refill_failures = self.evictions = 0

    def take(self) -> Sandbox | None:
        """The newest that is ready."""
        return self.ready.pop() if self.ready else None

    def put(self, sandbox: Sandbox) -> None:
        """Have *sandbox*, which is ready, as the newest."""
        self.ready.append(sandbox)

    def drop(self, count: int) -> list[Sandbox]:
        """Have no longer the oldest that are ready, *count* at most; those that the caller is to destroy."""
        going = [self.ready.popleft() for _ in range(min(count, len(self.ready)))]
        self.evictions += len(going)
        return going

    def shut(self) -> list[Sandbox] | None:
        """Have nothing ready any more; what the caller is to destroy, or None where an event runs."""
        return None if self.in_flight else self.drop(len(self.ready))

    def stats(self) -> ShelfStats:
        """The counters as a value."""
        return ShelfStats(
            len(self.ready), self.in_flight, self.warm_starts, self.cold_starts, self.waits, self.throttled,
            self.refills, self.refill_failures, self.evictions,
        )  # fmt: skip


class ExpressShelf(Shelf):
    """A shelf whose sandboxes are ready in *way*, the function's express, which takes and counts its own without the lock."""

    __slots__ = ("way",)

    def __init__(self, program: BaseProgram, number: int, way: Any) -> None:
        super().__init__(program, number)
        self.ready = self.way = way

    def take(self) -> Sandbox | None:
        """The newest that is ready."""
        held = self.way.pop()
        return None if held is None else Sandbox(self.program, held)

    def put(self, sandbox: Sandbox) -> None:
        """Have *sandbox*, which is ready, as the newest."""
        # In this order: from then on an event may have it and destroy it, and its context be another's.
        self.way.append(*sandbox.let_go())

    def drop(self, count: int) -> list[Sandbox]:
        """Have no longer the oldest that are ready; they are spent, in the yard."""
        self.evictions += self.way.trim(count)
        return []

    def shut(self) -> list[Sandbox] | None:
        """Have nothing ready any more, and carry nothing; None where an event runs."""
        return None if self.in_flight or not self.way.close() else []

    def stats(self) -> ShelfStats:
        """The counters as a value."""
        running, warm, cold = self.way.counts
        counted = super().stats()
        return counted._replace(
            in_flight=counted.in_flight + running,
            warm_starts=counted.warm_starts + warm,
            cold_starts=counted.cold_starts + cold,
        )
