"""The pool's counts hold whatever is done to it in whatever order: real sandboxes, no keeper, no waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import kit
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

import wasmrun
from wasmrun.machine.config import EngineSettings
from wasmrun.machine.engine import Engine
from wasmrun.machine.loader import Loader
from wasmrun.machine.program import Program
from wasmrun.machine.record import RECORD_WORDS
from wasmrun.machine.wasi import Streams
from wasmrun.pool import MOST_SPENT, Pool, Unloaded
from wasmrun.requestids import RequestIds
from wasmrun.sandbox import Sandbox
from wasmrun.shelf import ExpressShelf, Shelf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST = 5
FUNCTIONS = [
    kit.pure(warm=2),
    kit.pure(warm=1, concurrency=2, name="limited"),
    kit.pure(warm=1, reuse=True),
    kit.pure(warm=0),
    wasmrun.Function(kit.INIT_TRAPS, entry="echo_raw", warm=2),
]
NUMBERS = st.integers(0, len(FUNCTIONS) - 1)


@pytest.fixture(scope="module")
def programs(cache_dir: Path) -> Iterator[list[Program]]:
    """Programs of all functions in one engine that has room for exactly what the pool may hold."""
    function = FUNCTIONS[0]
    engine = Engine(EngineSettings(function.stack, function.is_metered), MOST, RECORD_WORDS)
    streams, loader = Streams(engine), Loader(cache_dir, None)
    programs = [Program(function, engine, loader.load(engine, function), streams) for function in FUNCTIONS]
    yield programs
    assert not engine.live
    for program in programs:
        program.close()
    engine.close()


class PoolMachine(RuleBasedStateMachine):
    """What events, the keeper and the executor may do to a pool; a model that knows only who holds what."""

    programs: list[Program]
    ids: RequestIds | None = None

    @initialize(idle=st.sampled_from([0.0, 1e6]))
    def begin(self, idle: float) -> None:
        self.engine = self.programs[0].engine
        self.is_short = False
        self.pool = Pool(most=MOST, wait=0.0, idle=idle, is_short_of_memory=lambda: self.is_short)
        self.shelves = [self.pool.add(program, self.ids) for program in self.programs]
        self.held: list[tuple[Shelf, Sandbox, str | None]] = []
        self.handed = 0
        self.is_closed = False

    @rule(number=NUMBERS, tenant=st.sampled_from([None, "a", "b"]), breaks=st.booleans())
    def event_begins(self, number: int, tenant: str | None, breaks: bool) -> None:
        shelf = self.shelves[number]
        mine = sum(one is shelf for one, _, _ in self.held)
        try:
            sandbox = self.pool.acquire(shelf, tenant)
        except wasmrun.Throttled:
            assert mine == shelf.function.concurrency or len(self.held) == MOST
            return
        except RuntimeError:
            assert self.is_closed
            return
        assert mine != shelf.function.concurrency
        if sandbox is None:
            if breaks:
                self.pool.forfeit(shelf)
                return
            sandbox = Sandbox(shelf.program)
        assert all(sandbox is not other for _, other, _ in self.held)
        assert not sandbox.is_used or (shelf.function.reuse and sandbox.tenant == tenant)
        sandbox.tenant = tenant
        self.held.append((shelf, sandbox, tenant))

    @rule(data=st.data(), answers=st.booleans(), reached=st.booleans())
    def event_ends(self, data: st.DataObject, answers: bool, reached: bool) -> None:
        if not self.held:
            return
        shelf, sandbox, _ = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        reusable = sandbox.is_ready and (not reached or (answers and shelf.function.reuse))
        if reusable and reached:
            sandbox.start = "reused"
        self.pool.release(shelf, sandbox, reusable=reusable)

    @rule(number=NUMBERS, lends=st.booleans(), count=st.integers(1, 8))
    def events_go_by_express(self, number: int, lends: bool, count: int) -> None:
        shelf = self.shelves[number]
        if not isinstance(shelf, ExpressShelf):
            return
        self.pool.start_clock(self.engine)
        for _ in range(count):
            if lends:
                self.pool.lend(shelf)
            expected = len(shelf.ready) or (
                shelf.program.is_prepared_at_once and not self.pool.yards.is_short(self.engine)
            )
            outcome = shelf.way.carry(b"x", 1 << 30)
            assert outcome == (b"x" if expected and not self.is_closed else NotImplemented)

    @rule(everything=st.booleans(), is_short=st.booleans())
    def keeper_goes_round(self, everything: bool, is_short: bool) -> None:
        self.is_short = is_short
        self.handed = self.pool.round(self.handed, everything=everything)
        if everything and is_short:
            before = self.pool.stats().refills
            self.handed = self.pool.round(self.handed)
            assert self.pool.stats().refills == before, "what went for memory came back at once"

    @rule(number=NUMBERS)
    def time_of_a_failure_passes(self, number: int) -> None:
        self.shelves[number].retry_at = 0.0

    @rule(number=NUMBERS, count=st.integers(0, 3))
    def user_prewarms(self, number: int, count: int) -> None:
        self.pool.fill(self.shelves[number], count)

    @rule(number=NUMBERS)
    def user_unloads(self, number: int) -> None:
        shelf = self.shelves[number]
        is_used = any(one is shelf for one, _, _ in self.held)
        assert self.pool.remove(shelf) is not is_used
        if not is_used:
            assert not self.pool.remove(shelf)
            if not self.is_closed:
                with pytest.raises(Unloaded):
                    self.pool.acquire(shelf)
            self.pool.fill(shelf, 1)
            assert not shelf.ready
            self.shelves[number] = self.pool.add(shelf.program, self.ids)

    @rule()
    def executor_refuses(self) -> None:
        self.pool.refuse()
        self.is_closed = True

    @invariant()
    def counts_agree(self) -> None:
        stats = self.pool.stats()
        assert stats.live == stats.ready + stats.in_flight + stats.spent
        yards = self.pool.yards
        in_yards = yards.spent + sum(len(shelf.ready) for shelf in self.shelves if isinstance(shelf, ExpressShelf))
        assert stats.live == len(self.engine.live) + in_yards
        assert MOST - len(self.engine._free) == stats.live + yards.free, "as many records as places"
        assert stats.in_flight == len(self.held) == sum(one.in_flight for one in stats.functions.values())
        assert 0 <= stats.live <= MOST
        assert stats.spent <= MOST_SPENT

    @invariant()
    def shelves_hold_what_is_theirs(self) -> None:
        ready = [sandbox for shelf in self._plain_shelves() for sandbox in shelf.ready]
        held = [sandbox for _, sandbox, _ in self.held]
        assert len({id(sandbox) for sandbox in ready + held}) == len(ready) + len(held)
        assert not any(shelf.filling for shelf in self.shelves)
        for shelf in self._plain_shelves():
            assert all(sandbox.program is shelf.program and sandbox.is_ready for sandbox in shelf.ready)
            assert all(sandbox.store for sandbox in shelf.ready)

    def _plain_shelves(self) -> list[Shelf]:
        return [shelf for shelf in self.shelves if not isinstance(shelf, ExpressShelf)]

    def teardown(self) -> None:
        if not hasattr(self, "pool"):
            return
        assert self.pool.close(0.0) is not bool(self.held)
        for shelf, sandbox, _ in self.held:
            self.pool.release(shelf, sandbox, reusable=sandbox.is_ready)
        assert self.pool.close(None)
        stats = self.pool.stats()
        assert (stats.live, stats.ready, stats.in_flight, stats.spent) == (0, 0, 0, 0)
        assert not self.engine.live
        assert len(self.engine._free) == MOST
        self.engine.ticker.stop()


@pytest.mark.parametrize("ids", [None, RequestIds()], ids=["plain", "with express"])
def test_pool_counts_hold_in_any_order(programs: list[Program], ids: RequestIds | None) -> None:
    """Live is ready, in flight and spent; at most `most`; never two events in one sandbox; nothing is left at the end."""
    machine = type("Machine", (PoolMachine,), {"programs": programs, "ids": ids})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
    )
